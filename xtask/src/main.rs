//! `cargo xtask`: the commands a person or a machine types to use and to check this project.
//!
//! Standard library only, so that it compiles in seconds on a fresh machine, before anything else is there.
//! It never links a crate of the workspace: it drives cargo and the `raft-node` binary from outside, as a user would.
#![allow(
    clippy::print_stdout,
    reason = "talking to the person at the terminal is what this program is for"
)]

mod arguments;
mod bench;
mod cargo;
mod check;
mod cluster;
mod coverage;
mod failure;
mod fuzz;
mod guard;
mod json;
mod layers;
mod ports;
mod prepare;
mod project;
mod sim;
mod test;
mod torture;
mod up;

use failure::{Failure, Outcome};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  up [--keep] [--client-port P] [--peer-port P]
                 prepare this machine, build, start three nodes and leave them running; Ctrl-C stops them
  up --check     prove it and exit: 1,000 keys through every node, the leader killed under load, every key compared
  test [--quick] [--from STEP]
                 prepare this machine, then every test; --quick: format, layers, clippy and the test suite;
                 --from: begin with this step of the summary, after a failure was mended
  layers         check that the arrows between the crates, and inside raft-core, point down
  coverage       which lines of the protocol the tests of raft-core reach; fails below 95 % of a folder
  bench [NAME] [ARGUMENTS]
                 run one benchmark of the crate `benches`, with arguments of its own; without a name, list them
  sim [ARGUMENTS]
                 simulate groups with faults from seeds, every invariant checked; `cargo xtask sim --help` lists what it takes
  store-torture [--points N] [--damages N] [--seed S]
                 kill processes that write to the log store, take their power, damage their files, and look for what is lost
                 silently; 20,000 and 5,000 by default; `cargo xtask store-torture --help` lists what else it takes
  fuzz [--seconds N] [TARGET]
                 run every fuzz target, or one, for so long each (default: 30); installs what fuzzing needs
  prepare        only find or install what the C++ build needs
  help           this text

Options of `up`:
  --keep           go on with the data of the last run; without it every run starts empty
  --client-port P  the first node's client port; node k listens on P + 10 (k - 1). Default: 2379
  --peer-port P    the first node's peer port, counted in the same way. Default: 2380
  --profile NAME   cargo profile of raft-node: release (default) or dev

Examples:
  cargo xtask up
  cargo xtask up --keep --client-port 12379 --peer-port 12380
  cargo xtask up --check
  cargo xtask test --quick
  cargo xtask test --from docs
  cargo xtask bench core
  cargo xtask bench loss --minutes 10
  cargo xtask sim --seeds 2000
  cargo xtask sim --seed 0x5eed
  cargo xtask store-torture --points 1000 --damages 500
  cargo xtask fuzz --seconds 60 step
";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let command = if words.is_empty() {
        "help".to_string()
    } else {
        words.remove(0)
    };
    match run(&command, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: &str, words: &[String]) -> Outcome {
    match command {
        "up" => up::run(words),
        "test" => test::run(words),
        "layers" => {
            arguments::nothing_more("layers", words)?;
            layers::run()
        }
        "coverage" => {
            arguments::nothing_more("coverage", words)?;
            coverage::run()
        }
        "bench" => bench::run(words),
        "sim" => sim::run(words),
        "store-torture" => torture::run(words),
        "fuzz" => fuzz::run(words),
        "prepare" => {
            arguments::nothing_more("prepare", words)?;
            prepare::run()
        }
        guard::COMMAND => guard::serve(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::usage(format!(
            "unknown command `{other}`; `cargo xtask help` lists them"
        ))),
    }
}
