//! A [`LogStore`] on TiKV's [raft-engine], which was made for the logs of many groups and nothing else.
//!
//! A replica that forgets what it acknowledged can make its whole group lose committed data. raft-engine alone forgets too
//! easily: of its newest file it takes everything behind a flipped bit for the torn tail of a crash, and cuts it off. So this
//! crate looks at that file first, keeps a watermark of its own, and verifies every entry on open. What it then still cannot
//! notice stands in the table below.
//!
//! ```
//! use raft_core::traits::LogStore;
//! use raft_core::types::GroupId;
//! use raft_storage_engine::{EngineLogOptions, EngineLogStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let log_store = EngineLogStore::open(dir.join("log"), EngineLogOptions::default())?;
//! assert!(log_store.load(GroupId(1)).await?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # What is stored where
//!
//! | path | content |
//! |---|---|
//! | `<log>/LOCK` | locked by the process that has the store open |
//! | `<log>/engine/<16 digits>.raftlog` | raft-engine's records, in the order in which they were written |
//! | `<log>/engine/<16 digits>.rewrite` | what raft-engine moved out of old files, to delete those |
//! | `<log>/watermarks/group-<20 digits>.mark` | a group's watermark: what must be there at least |
//! | `<log>/watermarks/store.mark` | which `.raftlog` file was written to |
//!
//! Entries are entries of raft-engine, not key-value pairs of it: of those it keeps every byte in memory, of entries only the
//! place, about 50 bytes for each. It wants protobuf messages; ours override the two methods that it calls, and are our
//! own bytes, so that a payload is copied once on its way to the disk, and once on its way back. Where a log begins, the hard
//! state and the snapshot in force are three small key-value pairs of a group.
//!
//! # One write
//!
//! Any number of callers queue writes for any number of groups. One thread takes all that is queued, makes one `LogBatch` of it,
//! writes it with one sync, and answers in order. A batch is what arrived during the last sync; nothing waits for a timer. A
//! purge rides along. After any failed write or sync the store takes no more writes until it is opened, and thereby
//! verified, again (R60).
//!
//! # Which guarantee is whose
//!
//! | guarantee | kept by |
//! |---|---|
//! | a batch is there or not | raft-engine: one record with checksums, replayed whole |
//! | a batch is durable when it is acknowledged | raft-engine: `fdatasync` after each record, and of a directory after a new file in it; this crate syncs the directory after the first files |
//! | a torn last record is cut, damage is refused (R77) | this crate: raft-engine's tolerant mode cuts too much, and its strict mode refuses what every crash leaves |
//! | an entry is the one that was written | both: raft-engine's CRC-32 over each batch, our CRC-32C over each entry with its group and index, our chain of hashes through each log |
//! | a log has no hole (R12) | this crate, before raft-engine sees it, which would panic |
//! | what was forgotten does not come back | this crate: raft-engine loses the marks of a purge when it deletes the file that they are in, so that where a log begins is stored beside |
//! | nothing after a failed write (R60) | this crate: raft-engine panics when a sync fails, which is caught, and tries another file when the disk is full |
//! | a term and vote are not forgotten (R68) | this crate: the second copy in the watermark |
//! | two processes do not share a directory | both, each with a lock |
//!
//! # What `open` decides
//!
//! Each row is a test in `tests/it/damage.rs`, or of the module `format::tail`.
//!
//! | what is found | decision |
//! |---|---|
//! | the last record of the newest file lacks a sector or its end, as after a crash | it is dropped; it was never acknowledged |
//! | any other flaw in a record of the newest file: a flipped bit in the middle or in the last record, a zeroed sector in the middle | [`OpenError::Corrupt`] |
//! | a flipped bit, a cut or a missing file before the newest one | [`OpenError::Corrupt`], or nothing at all if all that was in it is purged |
//! | the newest file is missing, or all of them | [`OpenError::FileLost`] |
//! | a log that ends below its mark, such as after a cut of the newest file at the end of a record | [`OpenError::LogLost`] |
//! | at the mark, another entry than the one that was acknowledged | [`OpenError::Corrupt`] |
//! | a term or vote older than its copy | [`OpenError::HardStateLost`] |
//! | damage in what raft-engine moved, or its loss | [`OpenError::Corrupt`] or one of the losses above, as the entries, the beginning, the term and the vote do not fit any more |
//! | one slot of a watermark is torn, as after a crash | the other one counts, with a warning |
//! | both slots are damaged | [`OpenError::Corrupt`] |
//! | a watermark is missing, although there is a log | [`OpenError::WatermarkMissing`] |
//! | a record of another version | [`OpenError::Version`] |
//! | the store is open elsewhere | [`OpenError::Locked`] |
//! | a directory that is full, read-only, or none | [`OpenError::Directory`] |
//! | **the newest file cut at the end of a record, above the mark** | **not noticed**: entries of the last second, at most 4,096 of a group, by default, while nothing else of it is newer |
//! | **a sector of the last record zeroed, a flaw in a last record that has a sector of zeros in its payload, or one in its header where that lies in two sectors** | **not noticed** if it is above the mark: it looks like a torn write |
//! | the latest commit index or snapshot of a group lost with an undamaged log, term and vote | not noticed; an older one is in force, which is safe |
//!
//! The mark follows the log lazily, because raising it costs a sync of its own: by default every 4,096 entries, every second
//! and on a clean end; a truncation lowers it first.
//!
//! # Limits
//!
//! - raft-engine deletes files only when all of them together exceed [`EngineLogOptions::purge_bytes`], and moves what
//!   quiet groups still need in them. A group that is never purged is moved as a whole in the end.
//! - Its files grow in steps of 2 MiB, so that a sync is a change of the file system's metadata, too. Recycling files would spare
//!   that, and makes torn writes and damage look the same; it is off.
//! - When a sync fails it panics, which prints a message before it is caught here. Its files then stay open until the process ends, so
//!   that this process cannot open the store again.
//! - It reports to the crate `log`.
//! - A batch ends at 2 GiB.
//!
//! # Executors
//!
//! Nothing here needs a tokio runtime. The futures wait on channels; whatever blocks on a disk runs on threads of the store:
//! one writer, one for housekeeping, one or more for reads. Dropping the store waits until what was queued is written, and
//! releases its directory.
//!
//! [`LogStore`]: raft_core::traits::LogStore
//! [raft-engine]: https://github.com/tikv/raft-engine

mod error;
mod files;
mod format;
mod log;
mod worker;

pub use error::OpenError;
pub use log::{EngineLogOptions, EngineLogStore, OnLoss};
