//! The page that shows a trace: everything in one file.

use super::format::Trace;

const PAGE: &str = include_str!("viewer/page.html");
const STYLE: &str = include_str!("viewer/style.css");
/// The parts of the script, in order: the first knows nothing of a page, the last one begins.
const SCRIPT: [&str; 3] = [
    include_str!("viewer/model.js"),
    include_str!("viewer/draw.js"),
    include_str!("viewer/main.js"),
];

/// The page with the trace in it, given as JSON, too.
pub(super) fn page(json: &str, trace: &Trace) -> String {
    let title = match &trace.violation {
        Some(violation) => format!("{} · seed {}", violation.invariant, trace.seed),
        None => format!("seed {}", trace.seed),
    };
    // The data is put in last, so that nothing in it is taken for a place to be filled.
    let (head, tail) = PAGE
        .split_once("{{trace}}")
        .expect("the page has a place for the trace");
    let head = head.replace("{{style}}", STYLE);
    let mut page = head.replace("{{title}}", &escaped(&title));
    page.push_str(&embedded(json));
    page.push_str(&tail.replace("{{script}}", &SCRIPT.concat()));
    page
}

/// JSON that may stand in a script: no text in it ends the script or begins a comment. Only strings can hold these
/// characters, and there the escapes mean the same.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
