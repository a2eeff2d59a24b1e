//! `cargo xtask bench [NAME]`: the benchmarks of the crate `benches`.
//!
//! Each benchmark prints its own tables for people, and one line `ratio <name> <value>` for each ratio in them.

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::{cargo, prepare, project};

/// Runs one benchmark, or lists them.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut arguments = Arguments::new("bench", words);
    let name = arguments.name();
    arguments.finish()?;
    let names = project::programs(&project::root().join("benches/benches"));
    let Some(name) = name else {
        println!("benchmarks; run one with `cargo xtask bench NAME`:");
        for name in &names {
            println!("  {name}");
        }
        return Ok(());
    };
    if !names.contains(&name) {
        return Err(Failure::usage(format!(
            "no benchmark `{name}`; there are: {}",
            names.join(", ")
        )));
    }
    prepare::run()?;
    cargo::build(
        &mut cargo::cargo(["bench", "-p", "benches", "--bench", &name]),
        "release",
    )
}
