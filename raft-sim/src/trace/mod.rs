//! Traces: what happened in one run, in a file that a person can look at.
//!
//! A [`Trace`] is one JSON object. [`write()`] puts it into a file, and next to it one page of HTML that holds the same data
//! and shows it: the page needs no network and nothing beside itself.
//!
//! # The format, version 1
//! Times are nanoseconds of true time since the run began. Nodes are their numbers; 0 stands for nobody. A position in a
//! log is `[index, term]`. Fields that are false, empty or did not change are left out.
//!
//! | Field | What it is |
//! |---|---|
//! | `format`, `version` | `"raft-sim trace"` and 1: a reader refuses anything else |
//! | `seed` | the seed in hexadecimal, because a number in JSON may lose its last digits |
//! | `plan` | the whole [plan](crate::plan::Plan): it shows the run again |
//! | `from_nanos`, `to_nanos` | what part of the run this is |
//! | `violation` | what did not hold, if anything |
//! | `start` | the [state](GroupState) of the group at `from_nanos` |
//! | `events` | what [happened](What) since, in order: each has `at`, mostly `node`, a `kind`, and what changed |
//!
//! The state at any later moment is `start` with every [event](GroupState::apply) up to there. A message is known by its
//! number: one `sent`, then any number of `received` and `lost`. Those that were under way at `from_nanos` stand in
//! `start.messages`.
//!
//! # What a trace costs
//! About 80 bytes an event. A long run is told from a [window](crate::simulation::Simulation::trace) before its end: what
//! happened earlier is only kept as the state at the beginning.

mod format;
mod html;
mod log;
mod recorder;
mod recording;
mod state;
mod summary;

use std::io;
use std::path::{Path, PathBuf};

pub use format::{Event, Message, Position, Standing, Trace, What};
pub use log::{Log, Run};
pub use recording::of_recording;
pub use state::{ActiveFault, GroupState, NodeState};

pub(crate) use recorder::Recorder;

/// Writes a trace to `path` as JSON, and next to it, with the extension `html`, the page that shows it. Folders that are
/// missing are made. Returns the path of the page.
///
/// The error is that of the file system.
pub fn write(path: &Path, trace: &Trace) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let json = trace.to_json();
    std::fs::write(path, &json)?;
    let page = path.with_extension("html");
    std::fs::write(&page, html::page(&json, trace))?;
    Ok(page)
}
