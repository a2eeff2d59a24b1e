//! `cargo xtask coverage`: which lines of the protocol the tests of raft-core reach.
//!
//! The tests are built once more, with rustc's instrumentation, in a target folder of their own. What they counted is
//! read by the LLVM tools of the same toolchain: those of another version do not know the format.
//!
//! A line that no test can reach has a comment right above it that says why; the report shows both.

use crate::cargo::{self, cargo};
use crate::failure::{Doing, Failure, Outcome};
use crate::json::Json;
use crate::project;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folders of raft-core that are measured: the protocol.
const FOLDERS: [&str; 4] = ["raft", "membership", "progress", "log"];
/// A folder with a smaller share of its lines reached fails, in percent.
const COVERED_MIN: usize = 95;
/// The tests that count: the scenarios, the random clusters and everything else of raft-core. With all features, those
/// of the mutants among them, which are the only ones to reach what only mutants do.
const TESTS: [&str; 6] = [
    "test",
    "--package",
    "raft-core",
    "--all-features",
    "--lib",
    "--tests",
];

/// The measured lines of one file, ascending, and whether each was reached.
type Lines = BTreeMap<usize, bool>;

/// Runs the command.
pub(crate) fn run() -> Outcome {
    let tools = tools()?;
    let target = project::target().join("coverage");
    let counts = target.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).doing(format_args!("remove {}", counts.display()))?;
    }
    let programs = build(&target)?;
    let mut tests = instrumented(&target);
    tests.args(TESTS).arg("--quiet");
    cargo::run(tests.env("LLVM_PROFILE_FILE", counts.join("%p-%m.profraw")))?;
    let report = report(&tools, &counts, &programs)?;
    judge(&project::root().join("raft-core/src"), &report)
}

/// The folder of llvm-profdata and llvm-cov.
fn tools() -> Outcome<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(project::root())
        .args(["--print", "target-libdir"]);
    let libraries = output(&mut rustc)?;
    let tools = Path::new(libraries.trim()).with_file_name("bin");
    for name in ["llvm-profdata", "llvm-cov"] {
        if !tools.join(name).exists() {
            return Err(Failure::work(format!(
                "{name} of this Rust toolchain is not installed; run: rustup component add llvm-tools"
            )));
        }
    }
    Ok(tools)
}

/// Cargo, set up to instrument what it builds.
fn instrumented(target: &Path) -> Command {
    let mut command = cargo([""; 0]);
    command
        .env("RUSTFLAGS", "-C instrument-coverage")
        .env("CARGO_TARGET_DIR", target);
    command
}

/// Builds the tests and returns the programs. Build scripts and macros that run meanwhile count nothing of ours.
fn build(target: &Path) -> Outcome<Vec<PathBuf>> {
    let mut command = instrumented(target);
    command
        .args(TESTS)
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .env("LLVM_PROFILE_FILE", target.join("build-counts/%m.profraw"))
        .stderr(Stdio::inherit());
    println!("$ {}", cargo::line(&command));
    let messages = output(&mut command)?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        if let Some(Json::Text(program)) = Json::parse(line)?.field("executable") {
            programs.push(PathBuf::from(program));
        }
    }
    Ok(programs)
}

/// What was counted, as a report in the format of lcov.
fn report(tools: &Path, counts: &Path, programs: &[PathBuf]) -> Outcome<String> {
    let merged = counts.join("all.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "--sparse", "--output"]).arg(&merged);
    for entry in fs::read_dir(counts).doing(format_args!("read {}", counts.display()))? {
        merge.arg(entry.doing(format_args!("read {}", counts.display()))?.path());
    }
    output(&mut merge)?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "--format=lcov"]);
    export.arg(format!("--instr-profile={}", merged.display()));
    for program in programs {
        export.arg("--object").arg(program);
    }
    output(&mut export)
}

/// What a command printed; its failure names it.
fn output(command: &mut Command) -> Outcome<String> {
    let line = cargo::line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(format_args!("run `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::work(format!(
            "`{line}` failed ({}): {said}",
            output.status
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Prints every file, its lines that no test reaches and why that is so, and fails if a folder has too many of them.
fn judge(source: &Path, report: &str) -> Outcome {
    let mut files = lines_by_file(report);
    let (mut too_low, mut unargued) = (Vec::new(), 0);
    for folder in FOLDERS {
        let (mut reached, mut all) = (0, 0);
        let inside = source.join(folder);
        for (path, lines) in files.iter_mut().filter(|(path, _)| path.starts_with(&inside)) {
            if is_test_module(path) {
                continue;
            }
            let text = fs::read_to_string(path).doing(format_args!("read {}", path.display()))?;
            lines.split_off(&first_line_of_tests(&text));
            let here = lines.values().filter(|reached| **reached).count();
            let name = path.strip_prefix(source).unwrap_or(path).display();
            println!(
                "{:>6}  {name}: {here} of {} lines",
                share(here, lines.len()),
                lines.len()
            );
            unargued += print_unreached(&text, lines);
            reached += here;
            all += lines.len();
        }
        println!(
            "{:>6}  {folder}/: {reached} of {all} lines\n",
            share(reached, all)
        );
        if reached * 100 < all * COVERED_MIN || all == 0 {
            too_low.push(format!("{folder} ({})", share(reached, all)));
        }
    }
    println!("{unargued} lines are not reached and have no comment right above that says why");
    if too_low.is_empty() {
        return Ok(());
    }
    Err(Failure::work(format!(
        "less than {COVERED_MIN} % of the lines are reached in {}; show the rest by scenarios, or take it away",
        too_low.join(", ")
    )))
}

/// Prints the lines that are not reached, each with the comment right above it: the reason, if there is one. Returns how
/// many have none.
fn print_unreached(text: &str, lines: &Lines) -> usize {
    let mut unargued = 0;
    let text: Vec<&str> = text.lines().collect();
    for (number, _) in lines.iter().filter(|(_, reached)| !**reached) {
        let above = text[..number - 1].iter().rev();
        let reason = above
            .take_while(|line| line.trim_start().starts_with("//"))
            .count();
        for shown in number - reason..=*number {
            println!("{shown:>12} {}", text[shown - 1]);
        }
        unargued += usize::from(reason == 0);
    }
    unargued
}

/// Whether the module above a file declares it for tests only.
fn is_test_module(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_stem()) else {
        return false;
    };
    let declaration = format!("#[cfg(test)]\nmod {};", name.to_string_lossy());
    fs::read_to_string(folder.join("mod.rs")).is_ok_and(|text| text.contains(&declaration))
}

fn share(part: usize, whole: usize) -> String {
    let tenths = part * 1_000 / whole.max(1);
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// Reads a report: `SF:path` begins a file, `DA:line,count` counts a line.
fn lines_by_file(report: &str) -> BTreeMap<PathBuf, Lines> {
    let mut files: BTreeMap<PathBuf, Lines> = BTreeMap::new();
    let mut path = PathBuf::new();
    for line in report.lines() {
        if let Some(name) = line.strip_prefix("SF:") {
            path = PathBuf::from(name);
        } else if let Some((number, count)) = line.strip_prefix("DA:").and_then(|line| line.split_once(','))
            && let Ok(number) = number.parse()
        {
            let reached = files.entry(path.clone()).or_default().entry(number).or_default();
            *reached |= count != "0";
        }
    }
    files
}

/// The number of the line with which the unit tests of a file begin; they are not what is measured.
fn first_line_of_tests(text: &str) -> usize {
    let before = text.lines().position(|line| line == "#[cfg(test)]");
    before.map_or(usize::MAX, |before| before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "SF:/p/a.rs\nFN:1,f\nDA:1,5\nDA:2,0\nend_of_record\nSF:/p/b.rs\nDA:7,0\nend_of_record\n\
                          SF:/p/a.rs\nDA:2,1\nend_of_record\n";

    #[test]
    fn a_line_is_reached_if_any_program_reaches_it() {
        let files = lines_by_file(REPORT);
        assert_eq!(files[Path::new("/p/a.rs")], Lines::from([(1, true), (2, true)]));
        assert_eq!(files[Path::new("/p/b.rs")], Lines::from([(7, false)]));
    }

    #[test]
    fn the_tests_of_a_file_do_not_count() {
        assert_eq!(
            first_line_of_tests("fn f() {}\n\n#[cfg(test)]\nmod tests {}\n"),
            3
        );
        assert_eq!(first_line_of_tests("fn f() {}\n"), usize::MAX);
    }

    #[test]
    fn a_folder_without_measured_lines_fails() {
        let said = judge(Path::new("/p"), REPORT).unwrap_err().to_string();
        assert!(said.contains("raft (0.0%), membership"), "{said}");
    }

    #[test]
    fn a_comment_above_is_the_reason() {
        let text = "fn f() {\n    // Never:\n    // so it is.\n    g();\n    h();\n}\n";
        let lines = |unreached: &[usize]| unreached.iter().map(|number| (*number, false)).collect();
        assert_eq!(print_unreached(text, &lines(&[4])), 0);
        assert_eq!(print_unreached(text, &lines(&[1, 4, 5])), 2);
        assert_eq!(print_unreached(text, &Lines::from([(5, true)])), 0);
    }

    #[test]
    fn a_module_of_tests_is_known() {
        let folder = project::root().join("raft-core/src/membership");
        assert!(!is_test_module(&folder.join("change.rs")));
        let text = fs::read_to_string(folder.join("mod.rs")).unwrap();
        let declared = text
            .split("#[cfg(test)]\nmod ")
            .nth(1)
            .and_then(|rest| rest.split(';').next());
        assert!(is_test_module(
            &folder.join(declared.unwrap()).with_extension("rs")
        ));
    }

    #[test]
    fn shares_are_cut_not_rounded() {
        assert_eq!(share(2_999, 3_000), "99.9%");
        assert_eq!(share(3, 3), "100.0%");
    }
}
