//! What the clients of a simulation ask, and what their answers must look like.
//!
//! Whoever brings a state machine of their own implements [`Workload`] for it: how a client draws its next request, and, if
//! they have a [`Model`](crate::linearizability::Model) of the state machine, one line that judges the history with it.
//! Everything else is checked without their help.
//!
//! ```
//! use bytes::Bytes;
//! use raft_sim::linearizability::Model;
//! use raft_sim::random::Random;
//! use raft_sim::simulation::{Failure, Report, Simulation};
//! use raft_sim::workload::{Exchange, Judgement, Request, Violation, Workload, linearizable};
//! # use raft_core::entry::{Entry, Payload};
//! # use raft_core::message::SnapshotMeta;
//! # use raft_core::traits::{StateMachine, StateMachineError};
//! # use raft_core::types::EntryId;
//! # use std::io::{Cursor, Read};
//! #
//! # #[derive(Default)]
//! # struct Counter(u64, EntryId);
//! # impl StateMachine for Counter {
//! #     fn last_applied(&self) -> EntryId {
//! #         self.1
//! #     }
//! #     fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
//! #         let mut responses = Vec::new();
//! #         for entry in entries {
//! #             self.0 += u64::from(matches!(entry.payload, Payload::Command(_)));
//! #             self.1 = entry.id;
//! #             responses.push(Bytes::from(self.0.to_string()));
//! #         }
//! #         Ok(responses)
//! #     }
//! #     fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
//! #         Ok(Bytes::from(self.0.to_string()))
//! #     }
//! #     fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
//! #         Ok(Box::new(Cursor::new(self.0.to_le_bytes())))
//! #     }
//! #     fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
//! #         let mut count = [0; 8];
//! #         content.read_exact(&mut count)?;
//! #         *self = Counter(u64::from_le_bytes(count), meta.last);
//! #         Ok(())
//! #     }
//! # }
//!
//! struct Clicks;
//!
//! /// Clients of a `Counter`, a state machine that counts commands and answers with the count.
//! impl Workload for Clicks {
//!     type StateMachine = Counter;
//!
//!     fn next(&mut self, _client: u64, random: &mut Random) -> Request {
//!         if random.percent(50) { Request::write("click") } else { Request::read("how many?") }
//!     }
//!
//!     fn check(&self, history: &[Exchange]) -> Result<Judgement, Violation> {
//!         linearizable::<Clicks>(history)
//!     }
//! }
//!
//! /// What one counter would answer.
//! impl Model for Clicks {
//!     type Key = ();
//!     type State = u64;
//!     type Operation = Request;
//!     type Response = Bytes;
//!
//!     fn key(_: &Request) {}
//!
//!     fn initial(_: &()) -> u64 {
//!         0
//!     }
//!
//!     fn step(count: &u64, request: &Request, response: Option<&Bytes>) -> Option<u64> {
//!         let next = if request.is_read() { *count } else { count + 1 };
//!         response.is_none_or(|shown| *shown == next.to_string()).then_some(next)
//!     }
//! }
//!
//! fn run(seed: u64) -> Result<Report, Failure> {
//!     Simulation::new(seed).nodes(5).run(Counter::default, || Clicks)
//! }
//! #
//! # use raft_core::types::Time;
//! # use raft_sim::workload::{Moment, Outcome};
//! # let moment = |order| Moment::new(Time::ZERO, order);
//! # let click = |called, count: &'static str| Exchange {
//! #     client: 1,
//! #     request: Request::write("click"),
//! #     called: moment(called),
//! #     outcome: Outcome::Answered { returned: moment(called + 1), response: Bytes::from(count) },
//! # };
//! # let counted = Clicks.check(&[click(1, "1"), click(3, "2")]);
//! # assert_eq!(counted, Ok(Judgement::Linearizable { operations: 2 }));
//! # assert!(Clicks.check(&[click(1, "1"), click(3, "1")]).is_err());
//! ```
//!
//! # How two replicas are found to differ (I10)
//! Three ways, of which the first and the last work with every state machine:
//! 1. [`Observed`] hashes the response to every command. A command is a position of the log, so every replica must give
//!    the same response to it.
//! 2. [`Workload::state_hash`], if implemented: compared whenever two replicas have applied up to the same entry. It is
//!    taken after every batch, so it should take constant time, as that of [`KeyValue`] does.
//! 3. Snapshots of one position, from whichever replica, must be of the same bytes. This needs a state machine that
//!    writes the same bytes for the same state; one that cannot promise it says so with
//!    [`Workload::SNAPSHOTS_ARE_EQUAL`].
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
