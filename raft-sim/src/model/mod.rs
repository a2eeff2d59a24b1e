//! An exhaustive model of small groups: stateright drives the real protocol through every order of events.
//!
//! A simulation draws some courses of events at random; a model takes all of them, in a world that is small enough. The
//! replicas are [`raft_core::raft::Raft`] itself, its steps and effects. Nothing of the protocol is written down a second time
//! but the invariants, which are checked after every step, against what is on the disks.
//!
//! # The world
//!
//! A [`Scope`] says how much there is of everything: replicas, terms, commands, crashes, changes of the members, lost disks.
//! Within it every order is tried:
//! - a message arrives at any time, any number of times, or never;
//! - a write is durable at any time, after those before it; a crash takes what is not;
//! - whoever may time out does so at any time.
//!
//! There are no snapshots, no sessions and no failures of a disk but the loss of what was on it. The random simulation has
//! all of them.
//!
//! # Why every state is seen
//!
//! Four things are left out of what a state is, or of what can happen, and none of them can hide a violation:
//! - *Times and random numbers.* [`Raft::fingerprint`](raft_core::raft::Raft::fingerprint) tells two replicas apart by all that
//!   decides anything but the election timer, which never expires here by itself. Replicas are told apart by 128 bits of that,
//!   states of the group by 64 (stateright's own): with a hundred million states, one in four thousand runs takes two states for
//!   one.
//! - *What has arrived.* The network is the set of all messages that were ever sent. It only grows, and what is in it may arrive
//!   again: so a message that was lost, and one that was delivered, look alike. Taken out are answers and words of leaders of
//!   terms that are over for their receiver, durably: whatever else happens, it ignores them.
//! - *Writes that store nothing.* They complete with the write before them. What waits for them could leave later, but a message
//!   that leaves earlier may also arrive later; and whether the replica knows of the completion a moment sooner decides only
//!   whether the next such message waits, too.
//! - *Time on the ground.* A replica that crashes starts again at once. Being down longer is the same as being sent nothing.
//!
//! # The models
//!
//! - [`replication`]: elections, logs, crashes and changes of the members;
//! - [`suspects`]: replicas that lose their memory;
//! - [`leases`]: reads by lease, and clocks that drift.
//!
//! Each has scopes of several sizes; [`check`] explores one of them.

mod actions;
mod atlas;
mod check;
mod cluster;
mod digest;
mod disk;
mod history;
pub mod leases;
mod mark;
mod replica;
pub mod replication;
mod rules;
mod scope;
mod state;
pub mod suspects;
mod view;

pub use check::{Ended, Outcome, Progress, Verdict, check};
pub use mark::Mark;
pub use scope::{Clocks, LossKind, Order, REPLICAS_MAX, Scope, Start};
