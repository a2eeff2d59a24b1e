//! A state machine that is watched: what the simulator compares between replicas (I9, I10).

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::traits::{SessionChanges, StateMachine, StateMachineError};
use raft_core::types::{EntryId, Index};

use super::contract::Workload;
use crate::fingerprint::Fingerprint;

/// Passes everything on to a state machine, and tells what it did.
///
/// It stands below the sessions: it sees each command of a session once, as the state machine does.
pub struct Observed<W: Workload> {
    state_machine: W::StateMachine,
    tell: Sender<Sighting>,
    workload: PhantomData<fn() -> W>,
}

/// What a state machine was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It applied a batch.
    Applied {
        /// The positions of its entries; 0 entries are never told.
        first: Index,
        /// The last entry.
        last: EntryId,
        /// The commands among them, and the hashes of the responses.
        responses: Vec<(Index, u64)>,
        /// The hash of the state afterwards, if the workload has one.
        state_hash: Option<u64>,
    },
    /// Its state was replaced by a snapshot.
    Restored {
        /// The last entry that the snapshot covers.
        last: EntryId,
        /// The hash of the state afterwards, if the workload has one.
        state_hash: Option<u64>,
    },
}

impl<W: Workload> Observed<W> {
    /// Watches a state machine. What it did is received in order; whoever does not want to know drops the receiver.
    #[must_use]
    pub fn new(state_machine: W::StateMachine) -> (Observed<W>, Receiver<Sighting>) {
        let (tell, sightings) = channel();
        let observed = Observed {
            state_machine,
            tell,
            workload: PhantomData,
        };
        (observed, sightings)
    }

    fn tell(&self, sighting: Sighting) {
        // Nobody listens any more: that is not the state machine's business.
        let _ = self.tell.send(sighting);
    }
}

impl<W: Workload> fmt::Debug for Observed<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("last_applied", &self.state_machine.last_applied())
            .finish_non_exhaustive()
    }
}

impl<W: Workload> StateMachine for Observed<W> {
    fn last_applied(&self) -> EntryId {
        self.state_machine.last_applied()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let responses = self.state_machine.apply(entries)?;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let commands = entries
                .iter()
                .zip(&responses)
                .filter(|(entry, _)| matches!(entry.payload, Payload::Command(_)));
            self.tell(Sighting::Applied {
                first: first.index(),
                last: last.id,
                responses: commands
                    .map(|(entry, response)| (entry.index(), Fingerprint::of(response)))
                    .collect(),
                state_hash: W::state_hash(&self.state_machine),
            });
        }
        Ok(responses)
    }

    fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> {
        self.state_machine.query(question)
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        self.state_machine.snapshot()
    }

    fn may_block(&self) -> bool {
        self.state_machine.may_block()
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.state_machine.restore(meta, content)?;
        self.tell(Sighting::Restored {
            last: meta.last,
            state_hash: W::state_hash(&self.state_machine),
        });
        Ok(())
    }

    fn commit(&mut self, sessions: &SessionChanges) -> Result<(), StateMachineError> {
        self.state_machine.commit(sessions)
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        self.state_machine.sessions()
    }
}

#[cfg(test)]
mod tests {
    use raft_core::membership::Membership;
    use raft_core::types::Term;

    use super::*;
    use crate::workload::{Command, KeyValue, KeyValueWorkload};

    fn log() -> Vec<Entry> {
        let put = |value: &'static str| {
            let command = Command::Put {
                key: Bytes::from("key"),
                value: Bytes::from(value),
            };
            command.encode()
        };
        vec![
            Entry::noop(Term(1), Index(1)),
            Entry::command(Term(1), Index(2), put("a")),
            Entry::command(Term(1), Index(3), put("a")),
        ]
    }

    fn sightings(batch: usize) -> Vec<Sighting> {
        let (mut observed, sightings) = Observed::<KeyValueWorkload>::new(KeyValue::new());
        for entries in log().chunks(batch) {
            assert_eq!(observed.apply(entries).unwrap().len(), entries.len());
        }
        sightings.try_iter().collect()
    }

    /// I10: batches differ between replicas; responses and states at the same position do not.
    #[test]
    fn what_is_compared_does_not_depend_on_batches() {
        let mut all = Vec::new();
        let mut last_hash = None;
        for sighting in sightings(1) {
            let Sighting::Applied {
                responses,
                state_hash,
                ..
            } = sighting
            else {
                panic!("nothing was restored")
            };
            all.extend(responses);
            last_hash = state_hash;
        }
        // Both commands are equal, and found something else.
        assert_eq!(all.len(), 2);
        assert_ne!(all[0].1, all[1].1);
        let at_once = Sighting::Applied {
            first: Index(1),
            last: EntryId::new(Term(1), Index(3)),
            responses: all,
            state_hash: last_hash,
        };
        assert_eq!(sightings(3), [at_once]);
    }

    /// I21: a state that was restored is compared like one that was applied.
    #[test]
    fn a_restored_state_is_told() {
        let (mut source, _) = Observed::<KeyValueWorkload>::new(KeyValue::new());
        source.apply(&log()).unwrap();
        let meta = SnapshotMeta {
            last: source.last_applied(),
            membership: Membership::default(),
        };
        let (mut target, told) = Observed::<KeyValueWorkload>::new(KeyValue::new());
        target.restore(&meta, &mut source.snapshot().unwrap()).unwrap();
        let state_hash = KeyValueWorkload::state_hash(&source.state_machine);
        let last = meta.last;
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            [Sighting::Restored { last, state_hash }]
        );
    }
}
