//! The state machine with its sessions.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Cursor, Read};

use bytes::Bytes;

use super::table::{Decision, Reply, SessionTable};
use crate::entry::{Entry, Payload};
use crate::message::SnapshotMeta;
use crate::mutants::{self, Mutant};
use crate::request::RefusalReason;
use crate::traits::{StateMachine, StateMachineError};
use crate::types::EntryId;

/// A state machine, the sessions of its clients, and what keeps the two together.
///
/// The state machine sees the command of a session as [`Payload::Command`] the first time, and everything else that has to
/// do with sessions as [`Payload::Noop`].
pub struct ReplicatedState {
    state_machine: Box<dyn StateMachine>,
    sessions: SessionTable,
}

impl fmt::Debug for ReplicatedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedState")
            .field("last_applied", &self.last_applied())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl ReplicatedState {
    /// Takes a state machine over as it was recovered, with the sessions that it stored. Fails if it stored others than
    /// those of its state: then commands that were applied could be applied again.
    pub fn open(state_machine: Box<dyn StateMachine>) -> Result<ReplicatedState, StateMachineError> {
        let applied = state_machine.last_applied();
        let sessions = if applied == EntryId::ZERO {
            SessionTable::default()
        } else {
            let records = state_machine.sessions()?;
            SessionTable::from_records(records, applied).map_err(StateMachineError::new)?
        };
        Ok(ReplicatedState {
            state_machine,
            sessions,
        })
    }

    /// The last entry whose effect is part of the state.
    #[must_use]
    pub fn last_applied(&self) -> EntryId {
        self.state_machine.last_applied()
    }

    /// Whether the state machine needs a thread: see [`StateMachine::may_block`].
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.state_machine.may_block()
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Applies committed entries in order. The result of each says where its command was applied, or why not; that of an
    /// entry without a command means nothing.
    pub fn apply(
        &mut self,
        entries: &[Entry],
    ) -> Result<Vec<Result<Reply, RefusalReason>>, StateMachineError> {
        let mut results = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(self.part_length(rest));
            self.apply_part(part, &mut results)?;
            rest = later;
        }
        Ok(results)
    }

    /// Answers a question about the state.
    pub fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        self.state_machine.query(question)
    }

    /// A stream of the sessions and the state as they are now.
    pub fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        let none = SessionTable::default();
        let sessions = if mutants::is(Mutant::SessionsMissingFromSnapshot) {
            &none
        } else {
            &self.sessions
        };
        let header = sessions.snapshot_header(self.last_applied());
        let state = self.state_machine.snapshot()?;
        Ok(Box::new(Cursor::new(header).chain(state)))
    }

    /// Replaces the sessions and the state by what `content` holds, all of which is read before they are committed.
    pub fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let sessions = SessionTable::read_snapshot_header(content, meta.last)?;
        self.state_machine.restore(meta, content)?;
        // A checksum is verified at the end of the stream, to which a state machine need not have read.
        io::copy(content, &mut io::sink())?;
        self.expect_position("restoring the snapshot at", meta.last)?;
        self.state_machine.commit(&sessions.all_changes(meta.last))?;
        self.sessions = sessions;
        Ok(())
    }

    /// How many of `entries`, at least one, may be applied at once: up to where an epoch of the sessions begins.
    fn part_length(&self, entries: &[Entry]) -> usize {
        let is_session = |entry: &&Entry| matches!(entry.payload, Payload::Session(_));
        let Some(first) = entries.iter().find(is_session) else {
            return entries.len();
        };
        let later = |entry: &Entry| {
            is_session(&entry) && self.sessions.epoch(entry.index()) != self.sessions.epoch(first.index())
        };
        entries.iter().position(later).unwrap_or(entries.len())
    }

    fn apply_part(
        &mut self,
        entries: &[Entry],
        results: &mut Vec<Result<Reply, RefusalReason>>,
    ) -> Result<(), StateMachineError> {
        let decisions = self.decide(entries);
        let responses = if decisions.is_empty() {
            self.run(entries)?
        } else {
            self.run(&shown(entries, &decisions))?
        };
        let (base, first) = (results.len(), entries[0].index());
        let mut decisions = decisions.into_iter().collect::<VecDeque<_>>();
        for (position, (entry, response)) in entries.iter().zip(responses).enumerate() {
            let decision = decisions.pop_front_if(|decision| decision.0 == position);
            let index = entry.index();
            results.push(match decision {
                None => Ok(Reply { index, response }),
                Some((_, Decision::Apply(session, sequence, _))) => {
                    self.sessions.record(session, sequence, index, &response);
                    Ok(Reply { index, response })
                }
                Some((_, Decision::Answer(answer))) => answer,
                Some((_, Decision::SameAs(original))) => {
                    let distance = usize::try_from(original.entries_since(first)).unwrap_or(usize::MAX);
                    let original = results.get(base.saturating_add(distance));
                    original
                        .expect("what is not recorded yet stands in the same part")
                        .clone()
                }
            });
        }
        let changes = self.sessions.take_changes(self.last_applied());
        self.state_machine.commit(&changes)
    }

    /// What becomes of the entries of sessions, by their position.
    fn decide(&mut self, entries: &[Entry]) -> Vec<(usize, Decision)> {
        let mut decisions = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            if let Payload::Session(session) = &entry.payload {
                decisions.push((position, self.sessions.decide(entry.id, session)));
            }
        }
        decisions
    }

    /// Lets the state machine apply entries, and checks what it can get wrong.
    fn run(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let responses = self.state_machine.apply(entries)?;
        if responses.len() != entries.len() {
            let (given, expected) = (responses.len(), entries.len());
            let message = format!("it gave {given} responses to {expected} entries; give one for each");
            return Err(StateMachineError::new(message));
        }
        let last = entries.last().map_or(EntryId::ZERO, |entry| entry.id);
        self.expect_position("applying entries up to", last)?;
        Ok(responses)
    }

    /// A state machine that does not count every entry would apply some twice after a restart (R72).
    fn expect_position(&self, after: &str, expected: EntryId) -> Result<(), StateMachineError> {
        let found = self.state_machine.last_applied();
        if found == expected {
            return Ok(());
        }
        Err(StateMachineError::new(format!(
            "after {after} {expected} its last_applied is {found}; every entry counts, also one without a command"
        )))
    }
}

/// The entries as the state machine sees them.
fn shown(entries: &[Entry], decisions: &[(usize, Decision)]) -> Vec<Entry> {
    let mut shown = entries.to_vec();
    for (position, decision) in decisions {
        shown[*position].payload = match decision {
            Decision::Apply(_, _, command) => Payload::Command(command.clone()),
            Decision::Answer(_) | Decision::SameAs(_) => Payload::Noop,
        };
    }
    shown
}

#[cfg(test)]
mod tests;
