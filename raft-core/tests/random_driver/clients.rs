//! What clients ask, and what they must be told.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::driver::Outcome;
use raft_core::entry::{Payload, SessionCommand, SessionRequest};
use raft_core::input::{Input, Proposal, Proposed};
use raft_core::types::{Index, Sequence, SessionId, Ticket};

use super::World;

/// What a client asked for, and what was acknowledged before it asked.
pub(crate) struct Request {
    pub(crate) node: u64,
    pub(crate) what: What,
    acknowledged_before: Index,
}

/// What a client asked for.
#[derive(Clone)]
pub(crate) enum What {
    Read,
    /// This command, of which there is one copy.
    Command(Bytes),
    OpenSession,
    /// This command of a session, of which there may be more copies.
    InSession(Bytes),
}

impl World {
    pub(crate) fn ask(&mut self, id: u64) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (what, command) = match self.random.below(10) {
            0..=3 => (What::Read, None),
            4..=6 => {
                let command = Bytes::from(format!("command {ticket}"));
                (What::Command(command.clone()), Some(command.into()))
            }
            7 if self.sessions.len() < 3 || self.random.chance(20) => {
                let ttl_ms = 200 + self.random.below(3_000);
                let request = SessionRequest::Open { ttl_ms };
                (What::OpenSession, Some(Proposed::Session(request)))
            }
            _ => self.in_session(),
        };
        let request = Request {
            node: id,
            what,
            acknowledged_before: self.acknowledged,
        };
        self.requests.insert(ticket, request);
        let input = match command {
            Some(command) => Input::Propose(vec![Proposal { ticket, command }]),
            None => Input::Read(vec![ticket]),
        };
        self.step(id, vec![input]);
    }

    /// A command of one of the newer sessions: the next one, or a copy of one of the last.
    fn in_session(&mut self) -> (What, Option<Proposed>) {
        let back = 1 + self.random.below(3);
        let place = (self.sessions.len() as u64).checked_sub(back);
        let Some((session, highest)) = place.and_then(|place| self.sessions.get_mut(place as usize)) else {
            return (What::Read, None);
        };
        let oldest = highest.saturating_sub(3).max(1);
        let sequence = oldest + self.random.below(*highest + 2 - oldest);
        let acknowledged_below = Sequence(if self.random.chance(15) { sequence } else { 1 });
        let command = Bytes::from(format!("session {session} command {sequence}"));
        let request = SessionRequest::Command(SessionCommand {
            session: *session,
            sequence: Sequence(sequence),
            acknowledged_below,
            command: command.clone(),
        });
        *highest = sequence.max(*highest);
        (What::InSession(command), Some(Proposed::Session(request)))
    }

    pub(crate) fn take_ended(&mut self, id: u64, ended: Vec<(Ticket, Outcome)>) {
        for (ticket, outcome) in ended {
            let request = &self.requests[&ticket];
            assert_eq!(request.node, id, "{ticket} ended on another node");
            match &outcome {
                Outcome::Applied { index, response } => {
                    match &request.what {
                        What::Command(command) | What::InSession(command) => {
                            assert_eq!(command, response, "the response is another command's");
                        }
                        What::OpenSession => self.sessions.push((SessionId(index.0), 0)),
                        What::Read => panic!("a read was applied"),
                    }
                    self.acknowledged = self.acknowledged.max(*index);
                }
                Outcome::ReadReady { index } => {
                    assert!(matches!(request.what, What::Read));
                    let seen = self.replicas[id as usize - 1].state.last_applied().index;
                    assert!(
                        seen >= *index && seen >= request.acknowledged_before,
                        "read {ticket} sees {seen}, but {} was acknowledged before",
                        request.acknowledged_before
                    );
                }
                Outcome::Refused(_) | Outcome::Unknown => {}
                other => panic!("nobody asked for {other:?}"),
            }
            let before = self.outcomes.insert(ticket, outcome);
            assert!(before.is_none(), "{ticket} ended twice, first with {before:?}");
        }
    }

    /// Compares every outcome with what the longest state machine has applied.
    pub(crate) fn check(&self) {
        let all = self.replicas.iter().map(|replica| replica.state_disk.applied());
        let all: Vec<_> = all.collect();
        let longest = all.iter().max_by_key(|applied| applied.len()).expect("three");
        for applied in &all {
            assert!(longest.starts_with(applied), "two state machines differ");
        }
        let mut places = BTreeMap::new();
        for entry in longest {
            if let Payload::Command(command) = &entry.payload {
                let before = places.insert(command.clone(), entry.index());
                assert!(before.is_none(), "{command:?} was applied twice");
            }
        }
        let mut copies = BTreeMap::<&Bytes, usize>::new();
        for request in self.requests.values() {
            if let What::Command(command) | What::InSession(command) = &request.what {
                *copies.entry(command).or_default() += 1;
            }
        }
        for (ticket, outcome) in &self.outcomes {
            let (What::Command(command) | What::InSession(command)) = &self.requests[ticket].what else {
                continue;
            };
            match outcome {
                Outcome::Applied { index, .. } => {
                    assert_eq!(
                        places.get(command),
                        Some(index),
                        "an acknowledged command is not where it was"
                    );
                }
                // The refusal of one copy says nothing about another.
                Outcome::Refused(reason) if copies[command] == 1 => {
                    assert_eq!(
                        places.get(command),
                        None,
                        "{command:?} was refused ({reason}) and applied all the same"
                    );
                }
                _ => {}
            }
        }
    }
}
