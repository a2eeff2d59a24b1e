//! Looks at the store of a stopped node, and changes nothing of it.
//!
//! [`LogInspector`] reads what [`RocksLogStore`](crate::RocksLogStore) and
//! [`FileSnapshotStore`](crate::FileSnapshotStore) wrote, with their formats and their checks. It differs in what it does
//! about damage: the store stops at the first thing that does not fit, and the inspector lists it as a [`Finding`] and
//! goes on with whatever can still be read. It decides nothing: whether a store may be used, opening it says.
//!
//! # How it reads without writing
//!
//! RocksDB is never given the directory of the store. It opens a working copy in a scratch directory of the caller's: copies
//! of the small files that name the tables, and symbolic links to the tables, which RocksDB never writes again
//! once they are finished. So RocksDB itself applies what lies beside the tables, range deletions included, and there
//! is no second implementation of that; the working copy costs no more than the journal.
//!
//! - `inspector`: opens, and puts a report together;
//! - `scratch`: the working copy; `lock`: proves that no process has the store open;
//! - `group`, `watermarks`, `snapshots`, `usage`: one part of the report each;
//! - `journal`: what is damaged behind the first loss of a journal;
//! - `walk`: goes through a log past everything that does not fit;
//! - `report`, `error`: what is found, as plain values.

mod error;
mod group;
mod inspector;
mod journal;
mod lock;
mod report;
mod scratch;
mod snapshots;
mod usage;
mod walk;
mod watermarks;

pub use error::InspectError;
pub use inspector::LogInspector;
pub use report::{
    DiskUsage, Finding, GroupReport, Inspection, Place, ScanProgress, Severity, SnapshotFile, SnapshotState,
    TermRun, Usage, WatermarkReport,
};
