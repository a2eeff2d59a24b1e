//! What every [`StateMachine`] must do whose state survives a restart.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::state_machine::{ask, log_of, membership};
use crate::entry::Entry;
use crate::message::SnapshotMeta;
use crate::traits::{SessionChanges, StateMachine};
use crate::types::{EntryId, Index};

/// Checks that what a restart finds is of one moment: the position, the data, and the sessions that were committed with
/// them (R72, R73). It need not be the latest moment.
///
/// `open` opens the same place each time, which is empty at first; the suite drops a state machine before it opens the
/// next. `commands` are commands that it accepts, at least two; `questions` are questions whose answers together show
/// the state.
///
/// # Panics
/// Names the invariant that does not hold.
pub fn durable_state_machine(
    open: impl Fn() -> Box<dyn StateMachine>,
    commands: &[Bytes],
    questions: &[Bytes],
) {
    let mut place = Place {
        entries: log_of(commands),
        answers: vec![ask(&*open(), questions)],
        questions,
    };
    let mut machine = open();
    assert_eq!(
        machine.last_applied(),
        EntryId::ZERO,
        "the suite begins with nothing"
    );
    let length = place.entries.len();
    for reached in 1..=length {
        place.go_on(&mut *machine, reached);
        drop(machine);
        machine = open();
        place.check(&*machine, reached);
    }
    drop(machine);
    uncommitted_work_is_not_there(&open, &mut place);
    a_restored_state_has_its_own_sessions(&open, &mut place);
}

/// What the state machine was told, and what it should know.
struct Place<'a> {
    entries: Vec<Entry>,
    /// By the number of entries that are applied.
    answers: Vec<Vec<Bytes>>,
    questions: &'a [Bytes],
}

impl Place<'_> {
    /// Applies and commits entries, one at a time, until `reached` of them are applied.
    fn go_on(&mut self, machine: &mut dyn StateMachine, reached: usize) {
        for position in place_of(machine)..reached {
            let entry = std::slice::from_ref(&self.entries[position]);
            machine.apply(entry).expect("apply a committed entry");
            machine
                .commit(&changes(position + 1))
                .expect("commit what was applied");
            let answers = ask(machine, self.questions);
            match self.answers.get(position + 1) {
                Some(before) => assert!(answers == *before, "the same log made another state"),
                None => self.answers.push(answers),
            }
        }
    }

    /// Checks that the state machine is as it was after one of the first `reached` commits.
    fn check(&self, machine: &dyn StateMachine, reached: usize) {
        let found = place_of(machine);
        assert!(found <= reached, "entry {found} was not committed, and is there");
        assert!(
            sessions(machine) == expected_sessions(found),
            "the sessions that are found with the state after {found} entries were not committed with it"
        );
        assert!(
            ask(machine, self.questions) == self.answers[found],
            "the state that is found is not the one after its {found} entries"
        );
    }
}

fn uncommitted_work_is_not_there(open: &impl Fn() -> Box<dyn StateMachine>, place: &mut Place<'_>) {
    let mut machine = open();
    let before = place.entries.len();
    place.go_on(&mut *machine, before);
    let next = machine.last_applied();
    let next = Entry::noop(next.term, next.index.next());
    machine.apply(&[next]).expect("apply a committed entry");
    drop(machine);
    place.check(&*open(), before);
}

fn a_restored_state_has_its_own_sessions(open: &impl Fn() -> Box<dyn StateMachine>, place: &mut Place<'_>) {
    let length = place.entries.len();
    let mut machine = open();
    place.go_on(&mut *machine, length);
    let meta = SnapshotMeta {
        last: machine.last_applied(),
        membership: membership(),
    };
    let mut content = Vec::new();
    let mut stream = machine.snapshot().expect("take a snapshot");
    stream.read_to_end(&mut content).expect("read the snapshot");
    machine
        .restore(&meta, &mut content.as_slice())
        .expect("restore a snapshot");
    drop((stream, machine));
    place.check(&*open(), length);

    let mut machine = open();
    machine
        .restore(&meta, &mut content.as_slice())
        .expect("restore a snapshot");
    let record = (
        Bytes::from_static(b"restored"),
        Some(Bytes::from_static(b"with the state")),
    );
    let changes = SessionChanges {
        replaces_all: true,
        records: vec![record],
    };
    machine.commit(&changes).expect("commit what was restored");
    let restored = sessions(&*machine);
    assert!(
        restored.len() == 1 && restored.contains_key(&b"restored"[..]),
        "the sessions of a snapshot replace all that were stored before"
    );
    drop(machine);
    let machine = open();
    if sessions(&*machine) == restored {
        assert_eq!(
            machine.last_applied(),
            meta.last,
            "a restored state is at its snapshot"
        );
        assert!(
            ask(&*machine, place.questions) == place.answers[length],
            "the restored state is not the one of its snapshot"
        );
    } else {
        place.check(&*machine, length);
    }
}

/// How many entries the state machine has applied.
fn place_of(machine: &dyn StateMachine) -> usize {
    let Index(index) = machine.last_applied().index;
    usize::try_from(index).expect("the suite's log is short")
}

/// What is committed with entry `number`: a record that every entry changes, some that come, and some that go.
fn changes(number: usize) -> SessionChanges {
    let text = |text: String| Bytes::from(text);
    let mut records = vec![
        (text("position".into()), Some(text(number.to_string()))),
        (text(format!("entry {number}")), Some(text("here".into()))),
    ];
    if number > 2 {
        records.push((text(format!("entry {}", number - 2)), None));
    }
    SessionChanges {
        replaces_all: false,
        records,
    }
}

/// What [`changes`] add up to.
fn expected_sessions(reached: usize) -> BTreeMap<Bytes, Bytes> {
    let mut sessions = BTreeMap::new();
    for (key, value) in (1..=reached).flat_map(|number| changes(number).records) {
        match value {
            Some(value) => sessions.insert(key, value),
            None => sessions.remove(&key),
        };
    }
    sessions
}

fn sessions(machine: &dyn StateMachine) -> BTreeMap<Bytes, Bytes> {
    let records = machine.sessions().expect("read the stored sessions");
    records.into_iter().collect()
}
