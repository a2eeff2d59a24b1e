//! A workload and its state machines as the world uses them, whatever their types.

use std::sync::mpsc::Receiver;

use raft_core::traits::StateMachine;

use crate::random::Random;
use crate::workload::{Exchange, Judgement, Request, Sighting, Violation, Workload};

/// Makes a state machine in its first state, and tells what it does.
pub(crate) type StateMachines<'r> = dyn FnMut() -> (Box<dyn StateMachine>, Receiver<Sighting>) + 'r;

/// A [`Workload`] without its types.
pub(crate) trait Requests {
    /// See [`Workload::next`].
    fn next(&mut self, client: u64, random: &mut Random) -> Request;

    /// See [`Workload::ended`].
    fn ended(&mut self, exchange: &Exchange);

    /// See [`Workload::SNAPSHOTS_ARE_EQUAL`].
    fn snapshots_are_equal(&self) -> bool;

    /// See [`Workload::check`].
    fn check(&self, history: &[Exchange]) -> Result<Judgement, Violation>;
}

impl<W: Workload> Requests for W {
    fn next(&mut self, client: u64, random: &mut Random) -> Request {
        Workload::next(self, client, random)
    }

    fn ended(&mut self, exchange: &Exchange) {
        Workload::ended(self, exchange);
    }

    fn snapshots_are_equal(&self) -> bool {
        W::SNAPSHOTS_ARE_EQUAL
    }

    fn check(&self, history: &[Exchange]) -> Result<Judgement, Violation> {
        Workload::check(self, history)
    }
}

/// Makes what the clients of one more group ask for.
pub(crate) type Workloads<'r> = dyn FnMut() -> Box<dyn Requests + 'r> + 'r;
