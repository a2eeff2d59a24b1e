//! The Raft protocol as a pure state machine: inputs in, effects out. No clock, no thread, no I/O.
//!
//! Where to find what (paper: Ongaro and Ousterhout 2014; thesis: Ongaro 2014):
//!
//! | file | what | source |
//! |---|---|---|
//! | `machine` | [`Raft`]: the one door [`Raft::step`], terms, and the only place where roles change | paper §5.1, Figure 4 |
//! | `common` | what every role has: log, hard state, commit and apply marks; what becomes durable before what leaves | paper Figure 2 |
//! | `follower` | AppendEntries and snapshots, received | paper §5.3, §7 |
//! | `candidate` | PreVote and elections, and how votes are granted | paper §5.2, §5.4.1; thesis §9.6 |
//! | `leader` | replication, the commit rule, loss of quorum contact | paper §5.3, §5.4.2; thesis §6.2 |
//! | `reads` | linearizable reads without log entries | paper §8; thesis §6.4 |

mod candidate;
mod common;
mod follower;
mod leader;
mod machine;
mod reads;

pub use machine::{Raft, RaftError};
