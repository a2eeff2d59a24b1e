//! What one copy of the service would answer.

use std::fmt;

use bytes::Bytes;

use super::command::{Command, Response, Status};
use super::versioned::{Short, Versioned};
use crate::linearizability::Model;
use crate::workload::history::Request;

/// The sequential specification of [`KeyValue`](super::KeyValue), each key alone.
#[derive(Debug)]
pub struct KeyValueModel;

/// What a client asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// What a key holds.
    Get(Bytes),
    /// A change.
    Change(Command),
}

/// One line for counter-examples.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Get(key) => write!(f, "get {:?}", Short(key)),
            Operation::Change(command) => command.fmt(f),
        }
    }
}

impl Operation {
    /// What a request asks, if it makes sense.
    #[must_use]
    pub fn of(request: &Request) -> Option<Operation> {
        match request {
            Request::Read(key) => Some(Operation::Get(key.clone())),
            Request::Write(bytes) => Command::decode(bytes.clone()).map(Operation::Change),
        }
    }
}

impl Model for KeyValueModel {
    type Key = Bytes;
    type State = Versioned;
    type Operation = Operation;
    type Response = Response;

    fn key(operation: &Operation) -> Bytes {
        match operation {
            Operation::Get(key) => key.clone(),
            Operation::Change(command) => command.key().clone(),
        }
    }

    fn initial(_key: &Bytes) -> Versioned {
        Versioned::default()
    }

    fn step(state: &Versioned, operation: &Operation, response: Option<&Response>) -> Option<Versioned> {
        let (next, status) = match operation {
            Operation::Get(_) => (state.clone(), Status::Done),
            Operation::Change(command) => command.apply(state),
        };
        let fits = |response: &Response| response.status == status && response.found == *state;
        response.is_none_or(fits).then_some(next)
    }

    /// Revisions never fall, and trails show what came before.
    fn may_still_answer(state: &Versioned, _operation: &Operation, response: &Response) -> bool {
        state.may_become(&response.found)
    }
}
