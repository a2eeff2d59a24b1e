//! A deterministic simulator of Raft groups.
//!
//! It runs the real core and the real driver of `raft-core`, and any state machine, over a network, disks and clocks that
//! exist only in memory. Everything that happens in a run follows from one seed of 64 bits.

mod availability;
#[cfg(feature = "cli")]
pub mod cli;
mod clock;
pub mod disk;
pub mod fingerprint;
pub mod floors;
mod history;
mod invariants;
pub mod ledger;
pub mod linearizability;
pub mod minimise;
#[cfg(feature = "model")]
pub mod model;
mod network;
mod node;
mod observation;
pub mod plan;
mod ports;
mod queue;
pub mod random;
mod requests;
pub mod simulation;
pub mod swarm;
pub mod tally;
pub mod trace;
pub mod violation;
mod watch;
pub mod workload;
mod world;
