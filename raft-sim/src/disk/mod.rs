//! The disks of a simulated node, sector by sector.
//!
//! A node has a log, a watermark and snapshots. Everything goes through sectors that a loss of power keeps, loses or
//! tears one by one as long as they are not synced, and that may rot, go astray or come back from the past even if they
//! are. A process that starts reads all of it, verifies all of it, and knows nothing else.
//!
//! **The log** is a row of segments. A segment is appended to and thrown away whole; it begins with a record of all that
//! must be known to start from it. A record is one write, with a checksum, a number, and the chain value of the record
//! before it. A segment is thrown away once a snapshot covers all of its entries, and that is durable.
//!
//! **The watermark** is two sectors elsewhere, written in turn after each sync: the last durable record, where the log
//! was purged to, and a second copy of the hard state.
//!
//! **Snapshots** are extents of their own, each with a checksum: whole, or not there.
//!
//! What [`Storage::open`] says (R11, R60, R68, I22):
//!
//! | what is found | answer |
//! |---|---|
//! | nothing was ever written, or everything was wiped | sound and empty: nobody can know; the replica is told by its group |
//! | the log ends with a record that is torn or out of the chain, at or above the watermark | the tail is cut; sound: it was never synced |
//! | unsynced records that are whole | sound, with them: a write that was not acknowledged may exist (R60) |
//! | one copy of the watermark is damaged or old | sound: the other one counts, and both are written anew |
//! | both copies of the watermark are damaged | suspect: nobody knows how much was durable |
//! | a record at or below the watermark is missing or damaged | suspect, with the log before it; term and vote from the watermark |
//! | the same, and the log before it ends below where it was purged to, or below the newest snapshot | suspect, with that snapshot and no more |
//! | the same, and no snapshot is sound that reaches that far | refused |
//! | the record that the watermark names is another one | suspect |
//! | the hard state of the log is older than that of the watermark | suspect, with that of the watermark |
//! | the snapshot in force is damaged, and another one is sound that the log continues, or that is newer | suspect, with that one |
//! | the snapshot in force is damaged, and no other one reaches where the log begins | refused |
//! | a snapshot that is not in force is damaged | sound: it is as if it had never been saved |
//!
//! A suspect's commit index is that of the log that is left, and its term at least that of the last entry.
//!
//! Nothing here reads a clock or draws at random, except where a [`Random`](crate::random::Random) is given.

mod damage;
mod error;
mod image;
mod life;
mod mark;
mod record;
mod recovery;
mod sectors;
mod snapshots;
mod storage;
#[cfg(test)]
mod tests;
mod view;

pub use damage::Damage;
pub use error::{DiskError, Finding};
pub use image::LogImage;
pub use life::Opened;
pub use storage::{Fault, Storage, SyncMark};
