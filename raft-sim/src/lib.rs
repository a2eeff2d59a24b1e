//! A deterministic simulator of Raft groups.
//!
//! It runs the real core and the real driver of `raft-core`, and any state machine, over a network, disks and clocks that
//! exist only in memory. Everything that happens in a run follows from one seed of 64 bits.

pub mod fingerprint;
pub mod linearizability;
pub mod random;
pub mod workload;
