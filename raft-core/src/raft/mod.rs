//! The Raft protocol as a pure state machine: inputs in, effects out. No clock, no thread, no I/O.
//!
//! Where to find what (paper: Ongaro and Ousterhout 2014; thesis: Ongaro 2014):
//!
//! | file | what | source |
//! |---|---|---|
//! | `machine` | [`Raft`]: the one door [`Raft::step`] | |
//! | `role` | the roles, and `transition`, the only place where one replaces another | paper Figure 4 |
//! | `terms` | who is heard, who is answered, and whose term is adopted | paper §5.1 |
//! | `election` | timers, PreVote, votes counted | paper §5.2; thesis §9.6 |
//! | `candidate` | votes asked for and granted | paper §5.2, §5.4.1 |
//! | `follower` | AppendEntries and snapshots, received | paper §5.3, §7 |
//! | `leader` | proposals, the commit rule, loss of quorum contact | paper §5.3, §5.4.2; thesis §6.2 |
//! | `replication` | what one follower is sent: entries, heartbeats, snapshots | paper §5.3, §7 |
//! | `patience` | how the election timeout grows with the round trip | paper §5.6 |
//! | `quiescence` | groups in which nothing happens sleep | docs/decisions/0016 |
//! | `reads` | linearizable reads without log entries | paper §8; thesis §6.4 |
//! | `lease` | reads by lease | thesis §6.4.1 |
//! | `reconfiguration` | changes of the members | paper §6; thesis chapter 4 |
//! | `transfer` | leadership handed to another voter | thesis §3.10 |
//! | `trust` | replicas that may have lost what they had promised | R68 |
//! | `common` | what every role has, and the order of durability | paper Figure 2 |
//! | `apply` | what reaches the state machine, and when | paper §5.3 |
//! | `compaction` | when a snapshot is made, and what of the log it lets go | paper §7 |
//! | `report` | what a replica shows of itself | |
//! | `explain` | why there is no leader, or something is not committed, and other questions | |
//! | `recollection` | what is remembered only to explain it | |
//! | `fingerprint` | what tells two states of a replica apart | |

mod apply;
mod candidate;
mod common;
mod compaction;
mod election;
mod explain;
mod fingerprint;
mod follower;
mod leader;
mod lease;
mod machine;
mod patience;
mod quiescence;
mod reads;
mod recollection;
mod reconfiguration;
mod replication;
mod report;
mod role;
mod terms;
mod transfer;
mod trust;

pub use machine::{LostEntries, Raft, RaftError};
