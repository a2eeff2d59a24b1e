//! A deterministic simulator of Raft groups, of one or of several on the same machines.
//!
//! It runs the real core and the real driver of `raft-core`, and any state machine, over a network, disks and clocks that
//! exist only in memory. Everything that happens in a run follows from one seed of 64 bits. After every step every invariant is
//! checked; a run that violates one says which, what was seen instead, and when, and its plan shows the same again.
//!
//! ```
//! use raft_sim::simulation::Simulation;
//! use raft_sim::swarm::Swarm;
//! use raft_sim::workload::{KeyValue, KeyValueWorkload};
//!
//! let report = Simulation::new(0x5eed)
//!     .nodes(5)
//!     .seconds(5)
//!     .faults(Swarm::default())
//!     .run(KeyValue::new, KeyValueWorkload::new)?;
//! println!("{} commands, trace {:#x}", report.tally.acknowledged, report.trace_hash);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to begin
//!
//! | to | see |
//! |---|---|
//! | run a group from a seed | [`simulation`] |
//! | test a state machine of your own | [`workload`], which has a whole example |
//! | say what may go wrong | [`swarm`], and [`plan`] for what a run is made of |
//! | know what runs did, and whether that was enough | [`tally`], [`floors`] |
//! | read what did not hold | [`violation`]; the invariants are files of `src/invariants`, each with its statement and its source |
//! | look at a run | [`trace`] |
//! | make a run that found something smaller, and keep it | [`minimise`](mod@minimise), [`ledger`] |
//! | judge a history without a simulation | [`linearizability`] |
//! | use the disks alone | [`disk`] |
//! | draw and hash alike in every build | [`random`], [`fingerprint`] |
//! | take small groups through every order of events | `model`, with the feature of that name |
//!
//! # What it does not do
//!
//! The runtime of `raft-core`, its threads and its sockets are not in a simulation, nor are the backends on real disks and networks:
//! they have tests of their own. There are no more than nine machines, which all groups share, and no more than eight groups live
//! at a time.

mod availability;
mod by_id;
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
mod machine;
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
