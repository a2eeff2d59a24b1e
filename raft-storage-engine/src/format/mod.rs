//! Every byte that this crate writes to a disk, as pure functions: no I/O, no raft-engine, and nothing of the other modules.
//! So the fuzz targets compile this folder alone.
//!
//! - `record`: entries and states as raft-engine keeps them, and the chain of hashes through a log;
//! - `slot`: the slots of the files that this crate keeps beside raft-engine;
//! - `tail`: what the end of raft-engine's newest file shows.
//!
//! Decoding never panics, and nothing is allocated on the word of a length.

pub(crate) mod record;
pub(crate) mod slot;
pub(crate) mod tail;
