//! The log of one replica as the protocol sees it (paper §5.3).
//!
//! - [`TermTable`]: the term of every index as runs, so that asking for a term never needs I/O;
//! - [`Tail`]: the newest entries in memory;
//! - [`RaftLog`]: the façade over both, with what is durable and what is being written.
//!
//! Nothing here reads or writes a disk: entries that left the tail are asked for with an effect.

mod raft_log;
mod tail;
mod term_table;

pub use raft_log::RaftLog;
pub use tail::Tail;
pub use term_table::{TermAt, TermTable};
