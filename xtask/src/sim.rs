//! `cargo xtask sim …`: builds the program `raft-sim` optimised and checked, and runs it with whatever words were given.
//! And the steps of `cargo xtask test` that simulate.

use crate::cargo::{self, cargo};
use crate::failure::{Doing, Failure, Outcome};
use crate::project;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The profile of simulations: optimised, with debug assertions and overflow checks.
const PROFILE: &str = "simulation";
/// The features of the program.
const FEATURES: &str = "cli,model";
/// The same, with the bugs of the core compiled in.
const FEATURES_WITH_MUTANTS: &str = "cli,model,mutants";

/// What each run of the tests simulates.
const SEEDS: &[&str] = &["--seeds", "2000"];
/// The first states of every scope of the model: about three million that are met, a third of them with all that follows.
const MODEL: &[&str] = &["model", "--states", "100000"];
/// Other mutants each time.
const MUTANTS: &[&str] = &["mutants", "--sample", "5"];
/// Enough to notice whatever depends on the build, and few enough for a debug build.
const HASHES: &[&str] = &["hashes", "--seeds", "6"];

/// Runs the command. It ends with the exit code of the program.
pub(crate) fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    simulate(&words)
}

/// New seeds, with every invariant checked after every step, and everything that once found something.
pub(crate) fn seeds() -> Outcome {
    simulate(SEEDS)?;
    simulate(&["ledger"])
}

/// Every order of events in small groups.
pub(crate) fn model() -> Outcome {
    simulate(MODEL)
}

/// Some bugs of the core, which the simulator and the model must find.
pub(crate) fn mutants() -> Outcome {
    let package = ["--package", "raft-sim", "--features", FEATURES_WITH_MUTANTS];
    let mut clippy = cargo(["clippy", "--quiet"]);
    clippy
        .args(package)
        .args(["--all-targets", "--", "-D", "warnings"]);
    cargo::run(&mut clippy)?;
    let mut test = cargo(["test", "--quiet", "--profile", PROFILE]);
    cargo::run(test.args(package).args(["--test", "model_mutants"]))?;
    simulate(MUTANTS)
}

/// The same seeds give the same traces in a debug build and in an optimised one, twice (I28).
pub(crate) fn same_traces() -> Outcome {
    let mut debug = cargo(["build", "--quiet", "--package", "raft-sim", "--bin", "raft-sim"]);
    cargo::run(debug.args(["--features", FEATURES]))?;
    let debug = project::target().join("debug/raft-sim");
    let optimised = build(FEATURES)?;
    let expected = output(&debug)?;
    for program in [&debug, &optimised, &optimised] {
        let hashes = output(program)?;
        if hashes != expected {
            return Err(Failure::work(format!(
                "the same seeds gave other traces: first\n{expected}\nand then, with {},\n{hashes}",
                program.display()
            )));
        }
    }
    println!("four times the same:\n{expected}");
    Ok(())
}

fn output(program: &Path) -> Outcome<String> {
    let output = Command::new(program)
        .args(HASHES)
        .stderr(Stdio::inherit())
        .output()
        .doing(format_args!("run {}", program.display()))?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(Failure::work(format!("`{}` failed", program.display())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn simulate(words: &[&str]) -> Outcome {
    let program = build(features(words))?;
    let mut command = Command::new(&program);
    command.args(words).current_dir(project::root());
    println!("$ raft-sim {}", words.join(" "));
    let status = command
        .status()
        .doing(format_args!("run {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(()),
        // The parser of the command line said what is wrong.
        Some(2) => Err(Failure::usage("`raft-sim` does not take these arguments")),
        _ => Err(Failure::work(format!("`raft-sim {}` failed", words.join(" ")))),
    }
}

/// Builds the program, and returns where it is.
fn build(features: &str) -> Outcome<PathBuf> {
    let mut command = cargo(["build", "--quiet", "--package", "raft-sim", "--bin", "raft-sim"]);
    command.args(["--features", features, "--profile", PROFILE]);
    cargo::run(&mut command)?;
    Ok(project::target().join(PROFILE).join("raft-sim"))
}

/// Nothing but what names mutants gets the bugs compiled in.
fn features(words: &[&str]) -> &'static str {
    let names_one = words.iter().any(|word| word.starts_with("--mutant"));
    if names_one || words.first() == Some(&"mutants") {
        FEATURES_WITH_MUTANTS
    } else {
        FEATURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mutants_are_built_with_bugs() {
        for (line, has_bugs) in [
            ("--seeds 10", false),
            ("mutants --seeds 10", true),
            ("--seed 1 --mutant vote-twice", true),
            ("replay x.json --mutant=vote-twice", true),
            ("model", false),
            ("", false),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(features(&words) == FEATURES_WITH_MUTANTS, has_bugs, "{line}");
        }
    }
}
