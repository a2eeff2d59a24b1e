//! The file format: prose, then commands with the output that the world gave to each.
//!
//! - the file opens with prose: which rules it shows, and why they matter;
//! - a line that begins with `> ` is a command; the lines below it that begin with two spaces are its output, and are
//!   written by `UPDATE_SCENARIOS=1`;
//! - lines that begin with `#`, and empty ones, stay where they are.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::world::World;

/// One scenario file.
pub(crate) struct Scenario {
    /// `folder/name`, without the ending.
    pub(crate) name: String,
    text: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.txt"))
}

/// Every scenario there is, sorted by name.
pub(crate) fn load_all() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for group in fs::read_dir(folder()).expect("the folder of scenarios can be read") {
        let group = group.expect("the folder of scenarios can be read").path();
        if !group.is_dir() {
            continue;
        }
        for file in fs::read_dir(&group).expect("a group of scenarios is a folder") {
            let file = file.expect("a group of scenarios can be read").path();
            let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let name = format!(
                "{}/{}",
                stem(&group).unwrap_or_default(),
                stem(&file).unwrap_or_default()
            );
            scenarios.push(Scenario::load(&name));
        }
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    scenarios
}

/// Runs one scenario and compares its output with the file, or writes it into the file if `UPDATE_SCENARIOS` is set.
pub(crate) fn check(name: &str) {
    let scenario = Scenario::load(name);
    let found = scenario.run();
    if found == scenario.text {
        return;
    }
    if env::var_os("UPDATE_SCENARIOS").is_some() {
        fs::write(path(name), found).expect("the scenario can be written");
        return;
    }
    panic!(
        "{}\n\nthe output of tests/scenarios/{name}.txt changed (- expected, + found). Read each line; if the thesis allows \
         it, write it down with\n  UPDATE_SCENARIOS=1 cargo test -p raft-core --no-default-features --test scenarios {}",
        difference(&scenario.text, &found),
        name.replace('/', "::")
    );
}

/// Whether the scenario runs to its end with the output that is written down.
#[cfg(feature = "mutants")]
pub(crate) fn holds(name: &str) -> bool {
    let scenario = Scenario::load(name);
    let found = catch_unwind(AssertUnwindSafe(|| scenario.run()));
    found.is_ok_and(|found| found == scenario.text)
}

impl Scenario {
    fn load(name: &str) -> Scenario {
        let path = path(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Scenario {
            name: name.to_owned(),
            text,
        }
    }

    /// The prose that the file opens with.
    pub(crate) fn prose(&self) -> &str {
        self.text.split("\n>").next().unwrap_or_default().trim()
    }

    /// The lines of the file in which a replica explains itself: `  n1 [label] Case: causes`.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &str> {
        let is_answer = |line: &&str| {
            line.starts_with("  n") && line.split(' ').nth(3).is_some_and(|word| word.starts_with('['))
        };
        self.text.lines().filter(is_answer)
    }

    /// The text of the file with fresh output.
    fn run(&self) -> String {
        let mut world = World::new();
        let mut out = String::new();
        let mut began = false;
        for (number, line) in self.text.lines().enumerate() {
            if let Some(command) = line.strip_prefix("> ") {
                began = true;
                writeln!(out, "{line}").expect("a string takes everything");
                let result = catch_unwind(AssertUnwindSafe(|| world.run(command)));
                for line in world.take_trace() {
                    writeln!(out, "  {line}").expect("a string takes everything");
                }
                if let Err(panic) = result {
                    #[expect(clippy::print_stderr, reason = "a failed test shows how it got there")]
                    {
                        eprintln!(
                            "{out}\ntests/scenarios/{}.txt:{}: stopped here",
                            self.name,
                            number + 1
                        );
                    }
                    resume_unwind(panic);
                }
            } else if !began || line.is_empty() || line.starts_with('#') {
                writeln!(out, "{line}").expect("a string takes everything");
            } else {
                assert!(
                    line.starts_with("  "),
                    "tests/scenarios/{}.txt:{}: neither command, comment nor output: {line}",
                    self.name,
                    number + 1
                );
            }
        }
        out
    }
}

/// The lines that differ, with a little around them.
fn difference(expected: &str, found: &str) -> String {
    const AROUND: usize = 2;
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let changed: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].0 != ' ').collect();
    let near = |at: usize| changed.iter().any(|&change| change.abs_diff(at) <= AROUND);
    let shown = (0..lines.len()).filter(|&at| near(at));
    shown
        .map(|at| format!("{} {}", lines[at].0, lines[at].1))
        .collect::<Vec<_>>()
        .join("\n")
}
