//! `docs/rules.md`: the table from each rule to the tests that show it.
//!
//! The rules and their sentences are written by hand; the tests beside them are found in the sources. A test cites a rule
//! in the comment above it, a scenario in the prose it opens with, either as `R12` or as a range, `R1–R10`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The last rule.
const RULES: u32 = 77;
/// The last rule about the protocol itself: each of these is shown by a scenario. Those after it are about the nodes
/// around it, and any test may show them.
const PROTOCOL_RULES: u32 = 71;
/// Where the tests are, from the root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The tests that cite each rule: for each the file (a folder for scenarios) and the name.
#[derive(Default)]
struct Citations(BTreeMap<u32, BTreeSet<Test>>);

/// One test. Scenarios come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// `folder/name`, below `tests/scenarios`.
    Scenario(String),
    /// A function in a file of the workspace.
    Function { file: String, name: String },
}

impl Citations {
    /// Everything that is cited in the workspace.
    fn collect() -> Citations {
        let mut citations = Citations::default();
        let root = root();
        for file in files(&root) {
            let text = fs::read_to_string(&file).expect("a source file is readable");
            let name = file.strip_prefix(&root).expect("it is below the root");
            let name = name.to_str().expect("names are plain").to_string();
            if let Some(scenario) = name.strip_prefix("raft-core/tests/scenarios/") {
                let scenario = scenario.trim_end_matches(".txt").to_string();
                let prose = text.split("\n>").next().expect("a first part");
                citations.add(prose, &Test::Scenario(scenario));
            } else {
                for (comment, function) in tests(&text, name.contains("/src/conformance/")) {
                    let test = Test::Function {
                        file: name.clone(),
                        name: function,
                    };
                    citations.add(&comment, &test);
                }
            }
        }
        citations
    }

    fn add(&mut self, prose: &str, test: &Test) {
        for rule in cited(prose) {
            self.0.entry(rule).or_default().insert(test.clone());
        }
    }

    fn of(&self, rule: u32) -> impl Iterator<Item = &Test> {
        self.0.get(&rule).into_iter().flatten()
    }

    /// Whether the rule is shown as it must be.
    fn shows(&self, rule: u32) -> bool {
        let any = |test: &Test| rule > PROTOCOL_RULES || matches!(test, Test::Scenario(_));
        self.of(rule).any(any)
    }

    /// The last column of the table: scenarios, then functions by file.
    fn cell(&self, rule: u32) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut last = "";
        for test in self.of(rule) {
            let (file, name) = match test {
                Test::Scenario(name) => ("scenarios", name),
                Test::Function { file, name } => (file.as_str(), name),
            };
            match lines.last_mut() {
                Some(line) if file == last => line.push_str(&format!(", `{name}`")),
                _ if file == "scenarios" => lines.push(format!("`{name}`")),
                _ => lines.push(format!("{file}: `{name}`")),
            }
            last = file;
        }
        lines.join("<br>")
    }
}

/// Every source file and scenario of the workspace's crates.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = entries(root)
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .flat_map(|package| ["src", "tests", "benches"].map(|part| package.join(part)))
        .filter(|folder| folder.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let is_scenario = path
                .parent()
                .and_then(Path::parent)
                .is_some_and(|above| above.ends_with("scenarios"))
                && path.extension().is_some_and(|extension| extension == "txt");
            if path.is_dir() {
                folders.push(path);
            } else if is_scenario || path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the workspace is readable");
    entries.map(|entry| entry.expect("an entry is readable").path())
}

/// The tests of a source file with the comments above them. The suites of `conformance` are functions like any other.
fn tests(text: &str, is_conformance: bool) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    let (mut comment, mut is_test) = (String::new(), is_conformance);
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("//") {
            comment.push_str(line);
            comment.push('\n');
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            if let (true, Some((_, rest))) = (is_test, line.split_once("fn ")) {
                let end = rest.find(['(', '<']).unwrap_or(rest.len());
                tests.push((std::mem::take(&mut comment), rest[..end].to_string()));
            }
            comment.clear();
            is_test = is_conformance;
        }
    }
    tests
}

/// The rules that a text names.
fn cited(text: &str) -> BTreeSet<u32> {
    let mut rules = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find('R') {
        let is_word = rest[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
        rest = &rest[at + 1..];
        let Some((first, after)) = number(rest).filter(|_| !is_word) else {
            continue;
        };
        rest = after;
        let range = after
            .strip_prefix('–')
            .and_then(|last| last.strip_prefix('R'))
            .and_then(number);
        let last = range.map_or(first, |(last, _)| last);
        rules.extend(first..=last);
    }
    rules
}

/// The number that a text begins with, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The row of the table that a line is: its rule, and the line up to the last column.
fn row(line: &str) -> Option<(u32, &str)> {
    let (rule, _) = number(line.strip_prefix("| R")?)?;
    let third_bar = line.match_indices('|').nth(2)?.0;
    Some((rule, &line[..=third_bar]))
}

/// The table names every rule once, in order, with a sentence and all its tests.
#[test]
fn the_table_is_up_to_date() {
    let path = root().join("docs/rules.md");
    let committed = fs::read_to_string(&path).expect("docs/rules.md is there");
    let citations = Citations::collect();
    let mut rules = Vec::new();
    let mut generated = String::new();
    for line in committed.lines() {
        match row(line) {
            Some((rule, head)) => {
                let sentence = head.split('|').nth(2).expect("a row has a second column").trim();
                assert!(
                    sentence.ends_with('.') && sentence.len() > 30,
                    "R{rule} has no sentence"
                );
                rules.push(rule);
                generated.push_str(&format!("{head} {} |\n", citations.cell(rule)));
            }
            None => generated.push_str(&format!("{line}\n")),
        }
    }
    assert!(
        rules.into_iter().eq(1..=RULES),
        "docs/rules.md has a row for each rule, in order"
    );
    if std::env::var_os("UPDATE_RULES").is_some() {
        fs::write(&path, generated).expect("docs/rules.md is writable");
        return;
    }
    let stale: Vec<&str> = generated
        .lines()
        .zip(committed.lines())
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new)
        .collect();
    assert!(
        stale.is_empty(),
        "docs/rules.md is not up to date; UPDATE_RULES=1 with this test writes:\n{}",
        stale.join("\n")
    );
}

/// Every rule of the protocol has a scenario, and every other rule has a test.
#[test]
fn every_rule_is_shown() {
    let citations = Citations::collect();
    let missing: Vec<u32> = (1..=RULES).filter(|rule| !citations.shows(*rule)).collect();
    assert!(
        missing.is_empty(),
        "no scenario, or no test at all, cites the rules {missing:?}"
    );
}

/// No test cites a rule that does not exist.
#[test]
fn every_citation_names_a_rule() {
    let Citations(mut unknown) = Citations::collect();
    unknown.retain(|rule, _| !(1..=RULES).contains(rule));
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_citation_is_a_whole_word_or_a_range() {
    let rules = |text| cited(text).into_iter().collect::<Vec<u32>>();
    assert_eq!(
        rules("R1, R3–R5: not XR7, R_8, R or FOR9 (R22)."),
        [1, 3, 4, 5, 22]
    );
    assert_eq!(rules("R36 [openraft#2080], R6-R7"), [6, 7, 36]);
}

#[test]
fn a_test_is_found_with_the_comment_above_it() {
    let text = "/// R1: f.\nfn f() {}\n\n/// R2: g.\n#[test]\n#[allow(x)]\nfn g() {}\n\n    /// R3\n    /// and R4.\n    \
                #[tokio::test(flavor = \"x\")]\n    async fn h<T>() {}\n";
    let found = |is_conformance| {
        let tests = tests(text, is_conformance).into_iter();
        tests
            .map(|(comment, name)| (name, cited(&comment).into_iter().collect()))
            .collect::<Vec<(String, Vec<u32>)>>()
    };
    let (f, g, h) = (
        ("f".to_string(), vec![1]),
        ("g".to_string(), vec![2]),
        ("h".to_string(), vec![3, 4]),
    );
    assert_eq!(found(false), [g.clone(), h.clone()]);
    assert_eq!(found(true), [f, g, h]);
}
