//! The program `raft-sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    raft_sim::cli::main()
}
