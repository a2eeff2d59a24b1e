//! What every [`StateMachine`] must do.

use std::io::Read;

use bytes::Bytes;

use crate::entry::{Entry, Payload};
use crate::membership::Membership;
use crate::message::SnapshotMeta;
use crate::traits::{SessionChanges, StateMachine};
use crate::types::{EntryId, Index, NodeId, Term};

/// Checks that a state machine is a deterministic function of the log, and that a snapshot stands for its prefix.
///
/// `new` makes a state machine with an empty state, another one each time. `commands` are commands that it accepts,
/// at least two; `questions` are questions whose answers together show the state.
///
/// # Panics
/// Names the invariant that does not hold.
pub fn state_machine(new: impl Fn() -> Box<dyn StateMachine>, commands: &[Bytes], questions: &[Bytes]) {
    assert!(commands.len() >= 2, "the suite needs at least two commands");
    assert!(!questions.is_empty(), "the suite needs at least one question");
    let entries = log_of(commands);
    let (responses, answers) = apply_all(&mut *new(), &entries, entries.len(), questions);
    replay_is_deterministic(&new, &entries, questions, &responses, &answers);
    a_snapshot_stands_for_its_prefix(&new, &entries, questions, &responses, &answers);
    an_empty_batch_changes_nothing(&new, &entries, questions, &answers);
}

/// Mission row S2: the batches in which entries arrive make no difference.
fn replay_is_deterministic(
    new: &impl Fn() -> Box<dyn StateMachine>,
    entries: &[Entry],
    questions: &[Bytes],
    responses: &[Bytes],
    answers: &[Bytes],
) {
    for batch in [1, 2, 3, entries.len()] {
        let mut replica = new();
        assert_eq!(
            replica.last_applied(),
            EntryId::ZERO,
            "a new state machine has applied nothing"
        );
        let (again, answers_again) = apply_all(&mut *replica, entries, batch, questions);
        assert!(
            again == responses,
            "the responses differ when entries are applied {batch} at a time"
        );
        assert!(
            answers_again == answers,
            "the state differs when entries are applied {batch} at a time"
        );
    }
}

fn a_snapshot_stands_for_its_prefix(
    new: &impl Fn() -> Box<dyn StateMachine>,
    entries: &[Entry],
    questions: &[Bytes],
    responses: &[Bytes],
    answers: &[Bytes],
) {
    for covered in [1, entries.len() / 2, entries.len()] {
        let (before, after) = entries.split_at(covered);
        let mut source = new();
        let (_, answers_before) = apply_all(&mut *source, before, 1, questions);
        let mut stream = source.snapshot().expect("take a snapshot");
        // The source goes on while the snapshot is read.
        apply_all(&mut *source, after, 1, questions);
        let mut content = Vec::new();
        stream.read_to_end(&mut content).expect("read the snapshot");
        let meta = SnapshotMeta {
            last: before[covered - 1].id,
            membership: membership(),
        };
        // Restored over nothing, and over a state that must vanish.
        for already in [0, 1, entries.len()] {
            let mut replica = new();
            apply_all(&mut *replica, &entries[..already], 1, questions);
            replica.restore(&meta, &mut content.as_slice()).expect("restore");
            commit(&mut *replica);
            assert_eq!(
                replica.last_applied(),
                meta.last,
                "a restored state is at its snapshot"
            );
            assert!(
                ask(&*replica, questions) == answers_before,
                "a snapshot of {covered} entries, restored over {already}, is not the state after {covered}"
            );
            if after.is_empty() {
                continue;
            }
            let (rest, answers_after) = apply_all(&mut *replica, after, 2, questions);
            assert!(
                rest == responses[covered..],
                "the responses after a restore differ from those without one"
            );
            assert!(
                answers_after == answers,
                "the state after a restore differs from the one without"
            );
        }
    }
}

fn an_empty_batch_changes_nothing(
    new: &impl Fn() -> Box<dyn StateMachine>,
    entries: &[Entry],
    questions: &[Bytes],
    answers: &[Bytes],
) {
    let mut replica = new();
    apply_all(&mut *replica, entries, 1, questions);
    assert!(
        replica.apply(&[]).expect("apply nothing").is_empty(),
        "nothing was applied, yet there is a response"
    );
    assert_eq!(
        replica.last_applied(),
        entries.last().map_or(EntryId::ZERO, |last| last.id)
    );
    assert!(
        ask(&*replica, questions) == answers,
        "an empty batch changed the state"
    );
}

/// The commands, with the entries between them that a real log has.
pub(super) fn log_of(commands: &[Bytes]) -> Vec<Entry> {
    let mut payloads = vec![Payload::Noop];
    for (position, command) in commands.iter().enumerate() {
        payloads.push(Payload::Command(command.clone()));
        if position == 0 {
            payloads.push(Payload::Membership(membership()));
            payloads.push(Payload::Noop);
        }
    }
    let entry = |(position, payload)| Entry {
        id: EntryId::new(Term(1 + position as u64 / 4), Index(1 + position as u64)),
        payload,
    };
    payloads.into_iter().enumerate().map(entry).collect()
}

pub(super) fn membership() -> Membership {
    Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).expect("the suite names valid voters")
}

fn apply_all(
    replica: &mut dyn StateMachine,
    entries: &[Entry],
    batch: usize,
    questions: &[Bytes],
) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut responses = Vec::new();
    for chunk in entries.chunks(batch.max(1)) {
        let of_chunk = replica.apply(chunk).expect("apply committed entries");
        commit(replica);
        assert_eq!(of_chunk.len(), chunk.len(), "one response for each entry");
        let last = chunk.last().map(|entry| entry.id);
        assert_eq!(
            Some(replica.last_applied()),
            last,
            "last_applied follows every entry, commands or not"
        );
        for (entry, response) in chunk.iter().zip(of_chunk) {
            // Responses of entries without a command are ignored by everybody.
            responses.push(match entry.payload {
                Payload::Command(_) => response,
                Payload::Noop | Payload::Membership(_) | Payload::Session(_) => Bytes::new(),
            });
        }
    }
    (responses, ask(replica, questions))
}

/// Commits what was applied or restored; nobody has a session.
fn commit(replica: &mut dyn StateMachine) {
    replica
        .commit(&SessionChanges::default())
        .expect("commit what was applied");
}

pub(super) fn ask(replica: &dyn StateMachine, questions: &[Bytes]) -> Vec<Bytes> {
    questions
        .iter()
        .map(|question| replica.query(question).expect("answer a question"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::StateMachineError;

    /// Remembers all commands; its one question is answered with all of them.
    #[derive(Default)]
    struct Concatenation {
        last: EntryId,
        bytes: Vec<u8>,
        /// A defect to be found: the state depends on how entries are batched.
        counts_batches: bool,
    }

    impl StateMachine for Concatenation {
        fn last_applied(&self) -> EntryId {
            self.last
        }

        fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
            if self.counts_batches {
                self.bytes.push(b'|');
            }
            for entry in entries {
                if let Payload::Command(command) = &entry.payload {
                    self.bytes.extend_from_slice(command);
                }
                self.last = entry.id;
            }
            Ok(entries
                .iter()
                .map(|entry| Bytes::from(entry.id.to_string()))
                .collect())
        }

        fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
            Ok(Bytes::copy_from_slice(&self.bytes))
        }

        fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
            Ok(Box::new(std::io::Cursor::new(self.bytes.clone())))
        }

        fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
            self.bytes.clear();
            content.read_to_end(&mut self.bytes)?;
            self.last = meta.last;
            Ok(())
        }
    }

    fn run(counts_batches: bool) {
        let new = || {
            Box::new(Concatenation {
                counts_batches,
                ..Concatenation::default()
            }) as Box<dyn StateMachine>
        };
        let commands = ["a", "bb", "ccc", "dd"].map(Bytes::from);
        state_machine(new, &commands, &[Bytes::new()]);
    }

    #[test]
    fn a_deterministic_state_machine_passes() {
        run(false);
    }

    /// Mission row S2: the suite finds a state that depends on more than the log.
    #[test]
    #[should_panic(expected = "at a time")]
    fn a_state_that_depends_on_batches_fails() {
        run(true);
    }
}
