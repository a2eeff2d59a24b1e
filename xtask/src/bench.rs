//! `cargo xtask bench [NAME [ARGUMENTS]]`: the benchmarks of the crate `benches`; what follows the name is for the benchmark.
//!
//! Each benchmark prints its own tables for people, and one line `ratio <name> <value>` for each ratio in them.

use crate::failure::{Failure, Outcome};
use crate::{cargo, prepare, project};

/// Runs one benchmark, or lists them.
pub(crate) fn run(words: &[String]) -> Outcome {
    let names = project::programs(&project::root().join("benches/benches"));
    let Some((name, arguments)) = words.split_first() else {
        println!("benchmarks; run one with `cargo xtask bench NAME`:");
        for name in &names {
            println!("  {name}");
        }
        return Ok(());
    };
    if !names.contains(name) {
        return Err(Failure::usage(format!(
            "no benchmark `{name}`; there are: {}",
            names.join(", ")
        )));
    }
    prepare::run()?;
    cargo::build(
        cargo::cargo(["bench", "-p", "benches", "--bench", name, "--"]).args(arguments),
        "release",
    )
}
