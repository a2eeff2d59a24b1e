//! Storage that keeps its promises: a [`LogStore`] on RocksDB, and a [`SnapshotStore`] on files.
//!
//! A replica that forgets what it acknowledged can make its whole group lose committed data. So the one rule of this
//! crate is: **a store that cannot prove that it has everything it ever acknowledged does not open**. It says what is
//! missing and what to do; it never repairs, skips or cuts anything but the torn last record of a crash.
//!
//! ```
//! use raft_core::traits::LogStore;
//! use raft_core::types::GroupId;
//! use raft_storage_rocksdb::{FileSnapshotStore, RocksLogOptions, RocksLogStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let log_store = RocksLogStore::open(dir.join("log"), RocksLogOptions::default())?;
//! let snapshot_store = FileSnapshotStore::open(dir.join("snapshots"))?;
//! assert!(log_store.load(GroupId(1)).await?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # What is stored where
//!
//! | path | content |
//! |---|---|
//! | `<log>/journal/<20 digits>.seg` | a segment of the journal: the newest batches, in the order they were acknowledged |
//! | `<log>/journal/control` | which segments there are, and up to where everything was acknowledged |
//! | `<log>/lock` | empty; locked while the store is open |
//! | `<log>/openings` | how often the store was opened; the control file has the same number |
//! | `<log>/db/` | one RocksDB database with the logs and states of all groups, as far as its tables are written |
//! | `<log>/watermarks/group-<20 digits>.mark` | a group's watermark: what must be in the database at least |
//! | `<snapshots>/group-<20 digits>/snap-<index, 20 digits>-<term>.snap` | a finished snapshot |
//! | `<snapshots>/group-<20 digits>/snap-<index, 20 digits>-<term>.tmp` | one that was begun, to go on with |
//!
//! The keys of the database, big-endian, so that they sort by group, then kind or index:
//!
//! | column family | key | value |
//! |---|---|---|
//! | `entries` | group (8), index (8) | version, kind, length, term, chain value of the entry before, CRC-32C, payload |
//! | `state` | group (8), 1 | the entry right before the first one, and its chain value: where the log begins |
//! | `state` | group (8), 2 | term, vote, commit: one record (R32) |
//! | `state` | group (8), 3 | the snapshot in force |
//! | `state` | group (8), 4 | up to where purged entries were deleted |
//! | `default` | `applied` | the last record of the journal that is in the tables |
//!
//! Every value has a version and a checksum that covers its key. The entries of a log are chained by a 64-bit hash, so that
//! a whole but stale or foreign entry is noticed, too. Where a log begins is stored, never inferred from the first
//! key, and nothing reads below it. A snapshot file has a checksum for its header, for each block of 256 KiB, and for
//! its whole content. The byte layouts stand in the module `format`.
//!
//! # One write
//!
//! Any number of callers queue writes for any number of groups. One thread takes all that is queued, makes one
//! batch of it (truncations, entries, hard states, snapshots), appends that to the journal with one sync, and
//! answers in order. A batch is what arrived during the last sync; nothing waits for a timer. Another thread brings the batch
//! to RocksDB meanwhile; until then, and as long as there is room, its entries are read from memory. Purged
//! entries are deleted by a third thread, in small batches that need no sync; a range deletion happens only when a
//! group is destroyed.
//!
//! RocksDB's own write-ahead log is off. Its files grow with every write, so that each sync is one of the file system's
//! metadata, too; and none of its recovery modes can tell a torn last record from a damaged one, or notice that the
//! end of the log is missing. The journal's segments have all their blocks from the beginning, and each sector says what it belongs to.
//! A record of up to a sixteenth of its segment and at most 128 KiB is written twice under one sync, in two places of the segment, so that one of them may be lost
//! or damaged afterwards; for a larger one the control file is written before it is acknowledged. When a segment is full, the
//! next one is ready, RocksDB writes its tables, and the full one is used again.
//!
//! After any failed write or sync the store takes no more writes until it is opened, and thereby verified, again:
//! what a failed write left on disk is unknown (R60).
//!
//! # The watermark
//!
//! Each group has a small file outside the journal and the database: two slots with checksums, written in turn and
//! synced. It holds a second copy of term and vote, written before a change of either is acknowledged, and a mark:
//! an index up to which the log is durable, with the chain value there. The mark follows the log lazily, by default
//! every 4,096 entries, every second and on a clean end; a truncation lowers it first.
//!
//! The control file of the journal has such a mark, too, for all groups together, raised ten times in a second. What is
//! *not* noticed is a journal segment that was replaced by an older copy of itself, if nothing that it lacks is older than
//! that tenth of a second.
//!
//! # What `open` decides
//!
//! | what is found | decision |
//! |---|---|
//! | the last record of the journal is incomplete in both its places, as after power loss | it is wiped; it was never acknowledged |
//! | the last record, or the one before it, is damaged or missing in one of its places | it is put back from the other, with a warning |
//! | any other damage in the journal, wherever it is | [`OpenError::JournalLost`], naming the record (R77) |
//! | a segment that is missing, cut, stale or of another store; tables that are older than the journal's beginning, or newer than its end | [`OpenError::JournalLost`] |
//! | a journal that ends before what its control file knows as acknowledged | [`OpenError::JournalLost`] |
//! | the directory `journal/` as a whole as it was before an earlier opening | [`OpenError::JournalLost`] |
//! | **the whole store put back as it was earlier** | **not noticed**: a backup is sound in itself |
//! | no control file although something was written | [`OpenError::JournalLost`] |
//! | two damaged slots in the control file, or in the one that counts openings | [`OpenError::Corrupt`] |
//! | RocksDB's tables are gone or older, and the journal has everything since | they are made again |
//! | the end of RocksDB's MANIFEST is torn, as after power loss | it is cut off; the journal has what was being written to tables |
//! | damage in RocksDB's tables or other files | [`OpenError::Corrupt`] |
//! | an entry whose checksum, place, term or chain does not fit, or a hole | [`OpenError::Corrupt`], naming group and index |
//! | a log that ends below its mark | [`OpenError::LogLost`], naming what was recovered and what was acknowledged |
//! | at the mark, another entry than the one that was acknowledged | [`OpenError::Corrupt`] |
//! | a term or vote older than its copy | [`OpenError::HardStateLost`] |
//! | one slot of a watermark is torn, as after a crash | the other one counts, with a warning |
//! | both slots are damaged | [`OpenError::Corrupt`] |
//! | a group without its watermark | [`OpenError::WatermarkMissing`] |
//! | a watermark of a group that is not there | refused as above, unless it promises nothing: a crash while the group was created or destroyed |
//! | a record of another version | [`OpenError::Version`] |
//! | the database is open elsewhere | [`OpenError::Locked`] |
//! | a directory that is full, read-only, or none | [`OpenError::Directory`] |
//!
//! With [`OnLoss::Suspect`], `JournalLost`, `LogLost` and `HardStateLost` do not refuse: what is left is sound, and the
//! replica is stored as a suspect, which neither votes nor counts until it has caught up with the others (R68).
//!
//! # RocksDB's settings, and why
//!
//! | setting | why |
//! |---|---|
//! | no write-ahead log | the journal is one, see above |
//! | paranoid checks, checksums on every read | damage is an error at once, and stops writes |
//! | atomic flush | entries, state and the number of the last record reach table files together |
//! | 128 MiB memtables | tables are written when a segment is full, not before |
//! | no compression | payloads are often compressed already, and the writer's core is the scarce thing |
//!
//! # Looking without touching
//!
//! [`inspect::LogInspector`] reads the stores of a stopped node and lists everything that does not fit, without writing a
//! byte into their directories.
//!
//! # Executors
//!
//! Nothing here needs a tokio runtime. The futures wait on channels; whatever blocks on a disk runs on threads of the
//! stores: one writer, one that applies to RocksDB, one for housekeeping, one or more for reads of the log, two for snapshots. Dropping a store waits
//! until what was queued is written, and releases its directory.
//!
//! [`LogStore`]: raft_core::traits::LogStore
//! [`SnapshotStore`]: raft_core::traits::SnapshotStore

mod error;
mod files;
mod format;
pub mod inspect;
mod log;
mod slots;
mod snapshot;
mod worker;

pub use error::OpenError;
pub use log::{LogCounters, OnLoss, RocksLogOptions, RocksLogStore};
pub use snapshot::FileSnapshotStore;
