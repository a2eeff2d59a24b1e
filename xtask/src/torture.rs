//! `cargo xtask store-torture …`: builds the program `store-torture` and the library that it preloads, and runs it with
//! whatever words were given. And the step of `cargo xtask test` that tortures.

use crate::cargo::{self, cargo};
use crate::failure::{Doing, Failure, Outcome};
use crate::project;
use std::process::Command;

/// How much each run of the tests tries, from other seeds each time.
const EACH_RUN: &[&str] = &["--points", "500", "--damages", "100"];

/// Runs the command. It ends with the exit code of the program.
pub(crate) fn run(words: &[String]) -> Outcome {
    let program = ["build", "--package", "store-torture", "--bin", "store-torture"];
    cargo::build(&mut cargo(program), "dev")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    torture(&words)
}

/// Crashes and damages, after the program was built with everything else.
pub(crate) fn each_run() -> Outcome {
    torture(EACH_RUN)
}

fn torture(words: &[&str]) -> Outcome {
    let program = project::target().join("debug/store-torture");
    let status = Command::new(&program)
        .args(words)
        .current_dir(project::root())
        .status()
        .doing(format_args!("run {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(()),
        // The parser of the command line said what is wrong.
        Some(2) => Err(Failure::usage("`store-torture` does not take these arguments")),
        _ => Err(Failure::work(format!(
            "`store-torture {}` failed",
            words.join(" ")
        ))),
    }
}
