//! What the clients of a simulation ask, and what their answers must look like.
//!
//! Whoever brings a state machine of their own implements [`Workload`] for it: how a client draws its next request, and, if
//! they have a [`Model`](crate::linearizability::Model) of the state machine, one line that judges the history with it.
//! Everything else is checked without their help.
//!
//! # How two replicas are found to differ (I10)
//! Three ways, of which the first and the last work with every state machine:
//! 1. [`Observed`] hashes the response to every command. A command is a position of the log, so every replica must give the same
//!    response to it.
//! 2. [`Workload::state_hash`], if implemented: compared whenever two replicas have applied up to the same entry. It is
//!    taken after every batch, so it should take constant time, as that of [`KeyValue`] does.
//! 3. Snapshots of one position, from whichever replica, must be of the same bytes. This needs a state machine that writes the
//!    same bytes for the same state; one that cannot promise it says so with [`Workload::SNAPSHOTS_ARE_EQUAL`].
//!
//! Batches stay as the driver makes them. Applying entries one at a time would give a hash at every position, and hide every
//! defect of a state machine that shows in longer batches only.
//!
//! Invariants:
//! - a workload draws from the [`Random`](crate::random::Random) that it is given, and from nothing else;
//! - nothing here knows a network, a disk or a node.

mod contract;
mod history;
mod judge;
mod key_value;
mod observed;

pub use crate::linearizability::Moment;
pub use contract::{Judgement, Violation, Workload};
pub use history::{Exchange, Outcome, Request};
pub use judge::{linearizable, linearizable_as};
pub use key_value::{
    APPENDED_BYTES_MAX, Command, KeyValue, KeyValueModel, KeyValueWorkload, Operation, Response, Status,
    Trail, Versioned,
};
pub use observed::{Observed, Sighting};
