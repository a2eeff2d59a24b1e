//! `cargo xtask sim …`: builds the program `raft-sim` optimised and checked, and runs it with whatever words were given.

use crate::cargo::{self, cargo};
use crate::failure::{Doing, Failure, Outcome};
use crate::project;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The profile of simulations: optimised, with debug assertions and overflow checks.
pub(crate) const PROFILE: &str = "simulation";

/// Runs the command. It ends with the exit code of the program.
pub(crate) fn run(words: &[String]) -> Outcome {
    let program = build(words)?;
    let mut command = Command::new(&program);
    command.args(words).current_dir(project::root());
    let status = command
        .status()
        .doing(format_args!("run {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(()),
        // The parser of the command line said what is wrong.
        Some(2) => Err(Failure::usage("`raft-sim` does not take these arguments")),
        _ => Err(Failure::work(format!(
            "`raft-sim {}` found something",
            words.join(" ")
        ))),
    }
}

/// Builds the program with what the words need, and returns where it is.
fn build(words: &[String]) -> Outcome<PathBuf> {
    let mut command = cargo(["build", "--quiet", "--package", "raft-sim", "--bin", "raft-sim"]);
    command.args(["--features", features(words), "--profile", PROFILE]);
    // Progress bars of cargo are for whoever waits for it alone.
    command.stdin(Stdio::null());
    cargo::run(&mut command)?;
    Ok(project::target().join(PROFILE).join("raft-sim"))
}

/// Nothing but `mutants` gets the bugs compiled in.
fn features(words: &[String]) -> &'static str {
    match words.first().map(String::as_str) {
        Some("mutants") => "cli,mutants",
        _ if words.iter().any(|word| word.starts_with("--mutant")) => "cli,mutants",
        Some("model") => "cli,model",
        _ => "cli",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mutants_are_built_with_bugs() {
        for (line, expected) in [
            ("--seeds 10", "cli"),
            ("mutants --seeds 10", "cli,mutants"),
            ("--seed 1 --mutant vote-twice", "cli,mutants"),
            ("replay x.json --mutant=vote-twice", "cli,mutants"),
            ("model", "cli,model"),
            ("", "cli"),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
            assert_eq!(features(&words), expected, "{line}");
        }
    }
}
