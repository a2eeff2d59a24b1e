//! The contract between the simulator and whoever brings a state machine of their own.

use std::fmt;

use raft_core::traits::StateMachine;
use thiserror::Error;

use super::history::{Exchange, Request};
use crate::random::Random;

/// What the clients of a run ask, and what must be true of all their answers together.
///
/// Only [`next`](Workload::next) has to be written: the invariants of Raft are checked whatever clients ask. With a
/// [`Model`](crate::linearizability::Model) of the state machine, [`check`](Workload::check) is one line.
pub trait Workload: 'static {
    /// The state machine that understands the requests.
    type StateMachine: StateMachine;

    /// Whether equal states have equal snapshots, byte for byte. If they do, snapshots of the same position are compared.
    const SNAPSHOTS_ARE_EQUAL: bool = true;

    /// Draws the next request of a client. Each is asked when the one before has ended.
    fn next(&mut self, client: u64, random: &mut Random) -> Request;

    /// A request has ended. A workload that builds on what its clients saw learns it here.
    fn ended(&mut self, _exchange: &Exchange) {}

    /// A hash that is equal for equal states, which is asked for after every batch that a replica applied. None if there is
    /// none.
    fn state_hash(_state_machine: &Self::StateMachine) -> Option<u64> {
        None
    }

    /// Judges the history of a whole run, in the order of the calls (I13, I14, I16).
    fn check(&self, _history: &[Exchange]) -> Result<Judgement, Violation> {
        Ok(Judgement::Unjudged)
    }
}

/// What is known of a history in which no fault was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nobody looked.
    Unjudged,
    /// An order of all operations was found that explains every answer.
    Linearizable {
        /// How many operations were placed in it.
        operations: usize,
    },
    /// The search for such an order was given up. A run should not end like this often: a check that gives up finds nothing.
    Undecided {
        /// How many steps the search took.
        steps: u64,
    },
}

/// The clients saw what no correct service can show.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Violation(String);

impl Violation {
    /// States what is wrong, in sentences that stand alone.
    #[must_use]
    pub fn new(statement: impl fmt::Display) -> Violation {
        Violation(statement.to_string())
    }
}
