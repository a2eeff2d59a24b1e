//! The past of a node: what its log forgets is kept in an archive, so that the state can be made again as it was at any index or
//! time of a window that the operator chose.
//!
//! ```text
//! DIR/ARCHIVE          whose past it is (text)
//! DIR/entries          segments: the entries of the log from an index to another, in files that are never changed
//! DIR/bases            snapshots that the state can be made from
//! ```
//!
//! - A segment is durable before the log forgets its entries (R54, R74); if that fails, the log keeps them, and the next
//!   compaction tries again.
//! - A segment says where it begins and ends, and fits only behind the one that it was written after. What is damaged, is of another
//!   history or lacks is named, and nothing is restored through it.
//! - Where the log was replaced by a snapshot of the leader's, entries are missing: there the snapshot is a base, and what follows
//!   is restorable from it.
//! - Over its limit in bytes, and when it is older than the operator wants, the archive forgets its oldest part up to a base, so that
//!   what remains is restorable from its beginning on.
//!
//! Entries carry no time. Each node notes once a second what it has applied by then, by its own clock: [`times`].
//!
//! This room knows the core's traits and no store.

mod disk;
pub mod error;
pub mod files;
mod format;
mod inventory;
pub mod log_store;
pub mod moments;
pub mod restore;
mod segment;
pub mod times;
mod upkeep;

#[cfg(test)]
mod tests;
