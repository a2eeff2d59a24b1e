//! `raft-node replay`: takes recorded steps again, shows them, and makes other things of them.

mod error;
mod moment;
mod place;
mod player;
mod show;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

pub(super) use self::error::ReplayFailure;
use self::moment::Moment;
use self::place::Recordings;
use self::player::{Goes, Player};
use super::error::CliError;
use super::output;

/// Do again what a recorded node did, step by step
///
/// Takes every recorded input in its order and shows for each step the state before it, the inputs, and what the node did
/// about them. Steps are numbered over all files of the directory. Whenever the recording tells the state, the replayed one is compared
/// with it; the end says the state's hash and whether it is the recorded one.
///
/// Nothing is read but the recording, and nothing is sent: it needs no cluster and no data directory.
///
/// The exit code is 0 if the replay came to the same states, 1 if it diverged or cannot be made, and 4 if a file is damaged. An end
/// that is torn off, as that of a node that was killed, is no damage.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node replay recording                                   everything that is recorded
  raft-node replay recording --quiet                           does it come to the same states?
  raft-node replay recording --until 2026-01-31T12:30:00Z | tail -n 40     right before that
  raft-node replay recording --from -10m --until -9m           a minute of it, ten minutes ago
  raft-node replay recording --from 1500 --step                step by step at the keyboard
  raft-node replay recording --from 1500 --until 1520 --json   an object for each step
  raft-node replay recording --until 1520 --trace trace.json   a page that shows it: trace.html
  raft-node replay recording --until 1520 --export tests/what_happened.rs  as a test in Rust
  curl -o last.raftrec http://127.0.0.1:2379/debug/recording   what a running node remembers")]
pub(super) struct ReplayArguments {
    /// A directory that a node recorded in, or one file of it
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Show nothing before this step, or this time
    #[arg(long, value_name = "STEP|TIME", allow_hyphen_values = true)]
    from: Option<Moment>,

    /// Stop after this step, or with the last one at this time
    ///
    /// A step is a number as it is shown. A time is RFC 3339, as it is shown or with another offset from UTC, or so long ago: -90s, -10m,
    /// -2h, -1d. The state there is checked by going on silently to the next one that the recording tells.
    #[arg(long, value_name = "STEP|TIME", allow_hyphen_values = true)]
    until: Option<Moment>,

    /// Wait after each step that is shown: Enter shows the next one, q ends
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    step: bool,

    /// Show no step, only the end
    #[arg(long)]
    quiet: bool,

    /// Print one JSON object for each step, and one at the end
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Write a trace to this file, and the page that shows it beside it
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write a test in Rust to this file: it takes the steps from --from to --until, and demands what the node did
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: ReplayArguments) -> Result<ExitCode, CliError> {
    let recordings = Recordings::find(&arguments.path)?;
    let mut player = Player::new(&arguments, recordings.bytes);
    for opened in recordings.open() {
        if player.play(opened?)? == Goes::NoFurther {
            break;
        }
    }
    player.say_what_is_not_shown();
    let ending = player.ending();
    if let Some(path) = &arguments.export {
        let source = player.export(&recordings)?;
        write(path, |path| std::fs::write(path, source))?;
        output::complain(&format!(
            "wrote {}: a test; `rustfmt {0}` makes it readable",
            path.display()
        ));
    }
    if let Some(path) = &arguments.trace {
        let records = recordings.first(player.records());
        let from = player.shown_from();
        let trace = raft_sim::trace::of_recording(records, from).map_err(|source| ReplayFailure::Replay {
            at: player.place().clone(),
            step: ending.step,
            source,
        })?;
        let page = write(path, |path| raft_sim::trace::write(path, &trace))?;
        output::complain(&format!(
            "wrote {} and {}; open that in a browser",
            path.display(),
            page.display()
        ));
    }
    player.show().end(&ending)?;
    Ok(ExitCode::SUCCESS)
}

fn write<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, ReplayFailure> {
    work(path).map_err(|source| {
        let path = path.to_owned();
        ReplayFailure::Write { path, source }
    })
}
