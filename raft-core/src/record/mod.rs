//! Recordings: every input of a replica, kept so that what it did can be done again.
//!
//! The protocol is a function of its inputs and their times ([`Raft::step_all`]), so a recording needs nothing else: no effect, no
//! state but the one it begins with. A [`Recorder`] stands where the driver steps the replica and puts down each step before it is
//! taken, so that a recording ends with the step that went wrong. A [`Replay`] takes the same steps again, and
//! notices at once if it does not come to the same states.
//!
//! # What a recording is
//! A recording is a list of [`Record`]s behind [`MAGIC`] and a header. Each has its length and a CRC-32C; a torn end is cut off, and
//! damage in the middle is an error.
//!
//! | record | what it says |
//! |---|---|
//! | `Header` | the format's version, the group, the replica, and which version of this crate wrote it |
//! | `Start` | what [`Raft::new`] was given |
//! | `Checkpoint` | the whole state of the replica between two steps |
//! | `Step` | the time, and everything that the protocol took as one step |
//! | `State` | a [hash](StateHash) of the whole state after so many steps, and the time of day |
//! | `End` | the replica stopped, in this state |
//!
//! Every so many bytes a checkpoint begins a *segment*, from which on everything can be replayed: old segments are thrown away.
//! A recording whose writer could not keep up goes on with a checkpoint, too; the numbers of the steps tell what is missing.
//!
//! # What it does not hold
//! The protocol never looks into commands: it decides by their length. So only their length is recorded, unless
//! [`RecorderOptions::payloads`] says otherwise, and a recording can be given away without the data of the clients. A replay has
//! zeros in their place.
//!
//! The format is that of one version of this crate: states change with it, and what another version would do with the same inputs
//! is no replay. [Exported](source_of) as a test, a recording survives.
//!
//! Reasons: docs/decisions/0018-recordings.md.

mod checkpoint;
mod describe;
mod export;
mod format;
mod recorder;
mod replay;
mod ring;
mod source;
mod values;

pub use crate::codec::CodecError;
pub use checkpoint::{StateHash, state_hash};
pub use describe::{describe_effect, describe_input, describe_message, describe_state};
pub use export::{ExportError, source_of};
pub use format::{Header, MAGIC, Record, RecordError, Records, VERSION, WallTime};
pub use recorder::{Recorder, RecorderOptions, StepObserver, Tap};
pub use replay::{Replay, ReplayError, Replayed};
pub use ring::Ring;

#[cfg(doc)]
use crate::raft::Raft;
