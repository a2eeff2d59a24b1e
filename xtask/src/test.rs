//! `cargo xtask test`: everything that continuous integration checks, in one command, each step timed.
//!
//! All steps but the first few build with the same profile and the same features (`--workspace` with [`FEATURES`]),
//! so that what one step compiled serves the next.

use crate::arguments::Arguments;
use crate::cargo::{self, cargo};
use crate::failure::{Failure, Outcome};
use crate::{check, layers, prepare, project, sim, torture, up};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The features of everything that is tested: all of the workspace but the bugs of `mutants`, which would otherwise be
/// in whatever the tests, the examples and `up --check` run, and have a step of their own.
const FEATURES: &str = "raft-core/conformance,raft-sim/cli,raft-sim/model";
/// How the commands that people type name them.
const FEATURES_HERE: &str = "FEATURES";

/// An example that runs longer than this hangs.
const EXAMPLE_WITHIN: Duration = Duration::from_secs(120);

/// One step: its name, whether `--quick` runs it, what a person types to repeat it, and what it does.
struct Step {
    name: &'static str,
    quick: bool,
    again: &'static str,
    run: fn() -> Outcome,
}

/// The steps in order: what is cheap and fails often comes first.
const STEPS: &[Step] = &[
    Step {
        name: "prepare",
        quick: true,
        again: "cargo xtask prepare",
        run: prepare::run,
    },
    Step {
        name: "format",
        quick: true,
        again: "cargo fmt --all --check",
        run: format,
    },
    Step {
        name: "layers",
        quick: true,
        again: "cargo xtask layers",
        run: layers::run,
    },
    Step {
        name: "clippy",
        quick: true,
        again: "cargo clippy --workspace --features FEATURES --all-targets -- -D warnings",
        run: clippy,
    },
    Step {
        name: "core alone",
        quick: false,
        again: "cargo build -p raft-core --no-default-features",
        run: core_alone,
    },
    Step {
        name: "docs",
        quick: false,
        again: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --features FEATURES --no-deps",
        run: docs,
    },
    Step {
        name: "tests",
        quick: true,
        again: "cargo nextest run --workspace --features FEATURES",
        run: tests,
    },
    Step {
        name: "mutants",
        quick: true,
        again: "cargo test -p raft-core --no-default-features --features mutants --test mutants --test scenarios, or \
                cargo test -p fuzz-targets --features mutants --test mutants",
        run: mutants,
    },
    Step {
        name: "same traces",
        quick: false,
        again: "cargo xtask sim hashes, and cargo run -p raft-sim --features cli -- hashes",
        run: sim::same_traces,
    },
    Step {
        name: "simulation",
        quick: false,
        again: "cargo xtask sim --seeds 2000 --first SEED, with the seed printed above, or cargo xtask sim ledger",
        run: sim::seeds,
    },
    Step {
        name: "model",
        quick: false,
        again: "cargo xtask sim model --states 100000",
        run: sim::model,
    },
    Step {
        name: "simulated mutants",
        quick: false,
        again: "cargo xtask sim mutants --sample 5 --first SEED, with the seed printed above",
        run: sim::mutants,
    },
    Step {
        name: "store torture",
        quick: false,
        again: "cargo xtask store-torture --points 500 --damages 100 --seed SEED, with the seed printed above, or with the \
                --case of a failure",
        run: store_torture,
    },
    Step {
        name: "doctests",
        quick: false,
        again: "cargo test --doc --workspace --features FEATURES",
        run: doctests,
    },
    Step {
        name: "examples",
        quick: false,
        again: "cargo run --package CRATE --example NAME, with the example named above",
        run: examples,
    },
    Step {
        name: "benches",
        quick: false,
        again: "cargo test --workspace --features FEATURES --bench '*'",
        run: benches,
    },
    Step {
        name: "up --check",
        quick: false,
        again: "cargo xtask up --check --profile dev",
        run: up_check,
    },
];

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Outcome {
    let mut arguments = Arguments::new("test", words);
    let quick = arguments.switch("--quick");
    let first = arguments
        .value("--from")?
        .unwrap_or_else(|| "prepare".to_string());
    arguments.finish()?;
    let Some(skipped) = STEPS.iter().position(|step| step.name == first) else {
        let names: Vec<String> = STEPS.iter().map(|step| format!("`{}`", step.name)).collect();
        return Err(Failure::usage(format!(
            "there is no step `{first}`; there are {}",
            names.join(", ")
        )));
    };
    let mut times = Vec::new();
    let mut outcome = Ok(());
    for step in STEPS.iter().skip(skipped).filter(|step| step.quick || !quick) {
        println!("\n=== {} ===", step.name);
        let started = Instant::now();
        let result = (step.run)();
        times.push((step.name, started.elapsed(), result.is_ok()));
        if let Err(failure) = result {
            outcome = Err(Failure::work(format!(
                "{}: {failure}\nrepeat it with: {}",
                step.name,
                step.again.replace(FEATURES_HERE, FEATURES)
            )));
            break;
        }
    }
    print_summary(&times);
    outcome
}

fn print_summary(times: &[(&str, Duration, bool)]) {
    println!("\n{:>9}  step", "seconds");
    for (name, duration, held) in times {
        println!(
            "{:>9.1}  {name}{}",
            duration.as_secs_f64(),
            if *held { "" } else { "  FAILED" }
        );
    }
    let all: Duration = times.iter().map(|(_, duration, _)| *duration).sum();
    println!("{:>9.1}  all", all.as_secs_f64());
}

fn format() -> Outcome {
    need_component("fmt", "rustfmt")?;
    cargo::run(&mut cargo(["fmt", "--all", "--check"]))
}

fn clippy() -> Outcome {
    need_component("clippy", "clippy")?;
    let words = [
        "clippy",
        "--workspace",
        "--features",
        FEATURES,
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    cargo::build(&mut cargo(words), "dev")
}

/// The protocol core without tokio, threads, clocks, files and sockets.
fn core_alone() -> Outcome {
    cargo::run(&mut cargo(["build", "-p", "raft-core", "--no-default-features"]))
}

fn docs() -> Outcome {
    let mut command = cargo(["doc", "--workspace", "--features", FEATURES, "--no-deps"]);
    cargo::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> Outcome {
    if cargo::has_subcommand("nextest") {
        // The closing line of nextest, with the number of tests, is what CI reads.
        let words = [
            "nextest",
            "run",
            "--workspace",
            "--features",
            FEATURES,
            "--profile",
            "ci",
        ];
        return cargo::build(&mut cargo(words), "dev");
    }
    println!("cargo-nextest is not installed; falling back to cargo test, which is slower and says less.");
    println!("install it: cargo install --locked cargo-nextest (or a binary from https://nexte.st)");
    cargo::build(
        &mut cargo([
            "test",
            "--workspace",
            "--features",
            FEATURES,
            "--lib",
            "--bins",
            "--tests",
        ]),
        "dev",
    )
}

/// Bugs are seen where they are switched on, and do nothing where they are not.
fn mutants() -> Outcome {
    let of_the_core = [
        "-p",
        "raft-core",
        "--no-default-features",
        "--features",
        "mutants",
    ];
    let mut clippy = cargo(["clippy"]);
    clippy
        .args(of_the_core)
        .args(["--all-targets", "--", "-D", "warnings"]);
    cargo::run(&mut clippy)?;
    let mut test = cargo(["test", "--quiet"]);
    test.args(of_the_core)
        .args(["--test", "mutants", "--test", "scenarios"]);
    cargo::run(&mut test)?;
    let words = [
        "test",
        "--quiet",
        "-p",
        "fuzz-targets",
        "--features",
        "mutants",
        "--test",
        "mutants",
    ];
    cargo::run(&mut cargo(words))?;
    let mut model = cargo(["test", "--quiet", "-p", "raft-sim"]);
    model.args(["--features", "mutants,model", "--test", "model_mutants"]);
    cargo::run(&mut model)
}

fn doctests() -> Outcome {
    cargo::run(&mut cargo([
        "test",
        "--doc",
        "--workspace",
        "--features",
        FEATURES,
    ]))
}

/// Processes that write to the log store die, and their files are damaged.
fn store_torture() -> Outcome {
    build_programs()?;
    torture::each_run()
}

/// Runs every example to its end.
fn examples() -> Outcome {
    build_programs()?;
    let root = project::root();
    for member in project::members(&root)? {
        for name in project::programs(&root.join(&member).join("examples")) {
            println!("--- example {name} of {member}");
            run_example(&member, &name)?;
        }
    }
    Ok(())
}

/// Builds what the step `tests` has built: with just these words cargo takes it from there. Any other selection of
/// targets gives the build scripts' dependencies other flags, and compiles RocksDB once more.
fn build_programs() -> Outcome {
    cargo::build(
        &mut cargo([
            "test",
            "--workspace",
            "--features",
            FEATURES,
            "--no-run",
            "--quiet",
        ]),
        "dev",
    )
}

fn run_example(member: &str, name: &str) -> Outcome {
    let program: PathBuf = project::target().join("debug/examples").join(name);
    let mut command = Command::new(&program);
    command.current_dir(project::root()).stdin(Stdio::null());
    let failed = |what: String| Failure::work(format!("example {name} of {member} {what}"));
    let mut child = command
        .spawn()
        .map(Running)
        .map_err(|error| failed(format!("does not start: {error}")))?;
    let deadline = Instant::now() + EXAMPLE_WITHIN;
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(format!("failed ({status})"))),
            Ok(None) if Instant::now() > deadline => {
                return Err(failed(format!("still ran after {} s", EXAMPLE_WITHIN.as_secs())));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(failed(format!("cannot be waited for: {error}"))),
        }
    }
}

/// A process that does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every benchmark once, unmeasured: they must not rot.
fn benches() -> Outcome {
    cargo::build(
        &mut cargo(["test", "--workspace", "--features", FEATURES, "--bench", "*"]),
        "dev",
    )
}

fn up_check() -> Outcome {
    build_programs()?;
    check::run(&up::program("dev"))
}

fn need_component(subcommand: &str, component: &str) -> Outcome {
    if cargo::has_subcommand(subcommand) {
        return Ok(());
    }
    Err(Failure::work(format!(
        "{component} is not installed; run: rustup component add {component}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The features that a manifest declares.
    fn declared(manifest: &str) -> impl Iterator<Item = &str> {
        let table = manifest
            .split("\n[")
            .find_map(|table| table.strip_prefix("features]"));
        let lines = table.unwrap_or_default().lines();
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name.trim())
    }

    /// Nothing is left untested because somebody added a feature.
    #[test]
    fn every_feature_but_the_mutants_is_tested() {
        let root = project::root();
        let mut expected = Vec::new();
        for member in project::members(&root).expect("the workspace lists its members") {
            let manifest = std::fs::read_to_string(root.join(&member).join("Cargo.toml"));
            let manifest = manifest.expect("a member has a manifest");
            for feature in declared(&manifest) {
                // The features that are on by default are on here, too.
                if !["default", "runtime", "mutants"].contains(&feature) {
                    expected.push(format!("{member}/{feature}"));
                }
            }
        }
        let mut listed: Vec<&str> = FEATURES.split(',').collect();
        expected.sort();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}
