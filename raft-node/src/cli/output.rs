//! Writing to standard output and standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::error::CliError;

/// Whoever read standard output, such as `head`, went away.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// Whether it is in vain to print anything more.
pub(super) fn reader_is_gone() -> bool {
    READER_IS_GONE.load(Ordering::Relaxed)
}

/// Prints `line` and a newline to standard output. A reader that went away, such as `head`, is not an error.
pub(super) fn print(line: &str) -> Result<(), CliError> {
    print_bytes(&[line.as_bytes(), b"\n"].concat())
}

/// Prints `value` as JSON, on one line.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string(value).map_err(|error| CliError::Format(error.to_string()))?;
    print(&json)
}

/// Prints `bytes` to standard output as they are.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            READER_IS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(CliError::Output(error)),
        Ok(()) => Ok(()),
    }
}

/// Prints `line` and a newline to standard error. If even that fails there is nobody left to tell.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// How long the lines of a paragraph become on a terminal.
const LINE_CHARS: usize = 100;

/// Paragraphs with an empty line between two; broken into lines if a person is likely to look at them, and one line each for `grep`.
pub(super) fn for_people(paragraphs: &[String]) -> String {
    if io::stdout().is_terminal() {
        let wrapped: Vec<String> = paragraphs.iter().map(|text| wrapped(text, LINE_CHARS)).collect();
        return wrapped.join("\n\n");
    }
    paragraphs.join("\n\n")
}

/// The words of `text` on lines of at most `chars`, or of one word.
fn wrapped(text: &str, chars: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= chars => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// Whether a person is likely to be looking at standard error.
pub(super) fn stderr_is_interactive() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard output may be coloured: it is a terminal, and nobody objects (no-color.org).
pub(super) fn stdout_has_colors() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("one two three", 8), "one two\nthree");
        assert_eq!(wrapped("inseparable", 4), "inseparable");
        let text = wrapped(["word"; 101].join(" ").as_str(), LINE_CHARS);
        assert!(text.lines().all(|line| line.len() <= LINE_CHARS) && text.lines().count() == 6);
    }
}
