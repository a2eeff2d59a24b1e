//! The state machine and its sessions through batches, crashes and snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::entry::{SessionCommand, SessionEntry, SessionRequest};
use crate::membership::Membership;
use crate::sessions::table::Limits;
use crate::traits::SessionChanges;
use crate::types::{Index, Sequence, SessionId, Term};

/// What a [`Ledger`] has stored.
#[derive(Clone, Default)]
struct Disk {
    commands: Vec<Bytes>,
    last: EntryId,
    sessions: BTreeMap<Bytes, Bytes>,
}

/// Lists every command it was given. Its state survives a restart, as far as it was committed.
#[derive(Default)]
struct Ledger {
    commands: Vec<Bytes>,
    last: EntryId,
    disk: Arc<Mutex<Disk>>,
    /// It forgets to store the sessions.
    careless: bool,
}

impl Ledger {
    /// What a restart finds on the disk.
    fn recovered(disk: &Arc<Mutex<Disk>>) -> Ledger {
        let stored = disk.lock().unwrap().clone();
        Ledger {
            commands: stored.commands,
            last: stored.last,
            disk: disk.clone(),
            careless: false,
        }
    }
}

impl StateMachine for Ledger {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let mut responses = Vec::new();
        for entry in entries {
            if let Payload::Command(command) = &entry.payload {
                self.commands.push(command.clone());
            }
            assert!(
                !matches!(entry.payload, Payload::Session(_)),
                "sessions are not its business"
            );
            responses.push(Bytes::from(format!("{} commands", self.commands.len())));
            self.last = entry.id;
        }
        Ok(responses)
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(self.commands.concat().into())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new(self.commands.join(&b'\n'))))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.commands = bytes
            .split(|byte| *byte == b'\n')
            .map(Bytes::copy_from_slice)
            .collect();
        self.last = meta.last;
        Ok(())
    }

    fn commit(&mut self, changes: &SessionChanges) -> Result<(), StateMachineError> {
        let mut disk = self.disk.lock().unwrap();
        (disk.commands, disk.last) = (self.commands.clone(), self.last);
        if self.careless {
            return Ok(());
        }
        if changes.replaces_all {
            disk.sessions.clear();
        }
        for (key, value) in changes.records.clone() {
            match value {
                Some(value) => disk.sessions.insert(key, value),
                None => disk.sessions.remove(&key),
            };
        }
        Ok(())
    }

    fn sessions(&self) -> Result<Vec<(Bytes, Bytes)>, StateMachineError> {
        Ok(self.disk.lock().unwrap().sessions.clone().into_iter().collect())
    }
}

fn open(ledger: Ledger) -> ReplicatedState {
    ReplicatedState::open(Box::new(ledger)).unwrap()
}

fn session_entry(index: u64, elapsed_ms: u64, request: SessionRequest) -> Entry {
    Entry {
        id: EntryId::new(Term(1), Index(index)),
        payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms, request })),
    }
}

/// The command `text` of session 1.
fn command(index: u64, sequence: u64, text: &str) -> Entry {
    let request = SessionRequest::Command(SessionCommand {
        session: SessionId(1),
        sequence: Sequence(sequence),
        acknowledged_below: Sequence(1),
        command: Bytes::copy_from_slice(text.as_bytes()),
    });
    session_entry(index, index, request)
}

/// Opens session 1.
fn opening() -> Entry {
    session_entry(1, 1, SessionRequest::Open { ttl_ms: 10_000 })
}

fn meta(last: EntryId) -> SnapshotMeta {
    SnapshotMeta {
        last,
        membership: Membership::empty(),
    }
}

fn stored(state: &mut ReplicatedState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.snapshot().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// R73, I15: within one batch, too.
#[test]
fn a_duplicate_in_the_same_batch_gets_the_identical_reply() {
    let mut state = open(Ledger::default());
    let entries = [
        Entry::noop(Term(1), Index(1)),
        session_entry(2, 1, SessionRequest::Open { ttl_ms: 10 }),
    ];
    state.apply(&entries).unwrap();
    let entry = |index, sequence| {
        session_entry(
            index,
            1,
            SessionRequest::Command(SessionCommand {
                session: SessionId(2),
                sequence: Sequence(sequence),
                acknowledged_below: Sequence(1),
                command: Bytes::from(format!("<{sequence}>")),
            }),
        )
    };
    let plain = Entry::command(Term(1), Index(4), Bytes::from("plain"));
    let entries = [
        entry(3, 1),
        plain,
        entry(5, 1),
        entry(6, 2),
        entry(7, 2),
        entry(8, 1),
    ];
    let results = state.apply(&entries).unwrap();
    let reply = |index, response: &str| {
        Ok(Reply {
            index: Index(index),
            response: Bytes::copy_from_slice(response.as_bytes()),
        })
    };
    let (first, second) = (reply(3, "1 commands"), reply(6, "3 commands"));
    let plain = reply(4, "2 commands");
    assert_eq!(
        results,
        [first.clone(), plain, first.clone(), second.clone(), second, first]
    );
    assert_eq!(state.query(b"").unwrap(), "<1>plain<2>");
}

/// R73: a duplicate after the state was restored from a snapshot is still a duplicate (mutant: sessions missing from the
/// snapshot), on a replica that never saw the original.
#[test]
fn a_snapshot_carries_the_sessions() {
    let mut state = open(Ledger::default());
    let original = state
        .apply(&[opening(), command(2, 1, "once")])
        .unwrap()
        .pop()
        .unwrap();
    let bytes = stored(&mut state);

    let disk = Arc::new(Mutex::new(Disk::default()));
    let mut restored = open(Ledger::recovered(&disk));
    restored
        .restore(&meta(state.last_applied()), &mut &bytes[..])
        .unwrap();
    assert_eq!(
        restored.apply(&[command(3, 1, "once")]).unwrap(),
        std::slice::from_ref(&original)
    );
    drop(restored);

    // What was restored was stored, too.
    let mut reopened = open(Ledger::recovered(&disk));
    assert_eq!(reopened.apply(&[command(4, 1, "once")]).unwrap(), [original]);
    assert_eq!(reopened.query(b"").unwrap(), "once");
}

/// R72, R73: a crash between the effect of a command and its commit leaves neither the effect nor the reply.
#[test]
fn a_crash_before_the_commit_loses_both() {
    let disk = Arc::new(Mutex::new(Disk::default()));
    let mut state = open(Ledger::recovered(&disk));
    state.apply(&[opening(), command(2, 1, "a")]).unwrap();
    let before = disk.lock().unwrap().clone();
    let reply = state.apply(&[command(3, 2, "b")]).unwrap();
    // The machine stops before the commit: the disk is as it was.
    *disk.lock().unwrap() = before;
    let mut recovered = open(Ledger::recovered(&disk));
    assert_eq!(recovered.last_applied().index, Index(2));
    assert_eq!(
        recovered.apply(&[command(3, 2, "b")]).unwrap(),
        reply,
        "the log replays it"
    );
    let mut recovered = open(Ledger::recovered(&disk));
    assert_eq!(recovered.apply(&[command(4, 2, "b")]).unwrap(), reply);
    assert_eq!(recovered.query(b"").unwrap(), "ab");
}

/// R72: a state machine that survives a restart without its sessions would apply commands twice; it is found out.
#[test]
fn a_state_without_its_sessions_is_refused() {
    let disk = Arc::new(Mutex::new(Disk::default()));
    let ledger = Ledger {
        careless: true,
        ..Ledger::recovered(&disk)
    };
    open(ledger).apply(&[opening()]).unwrap();
    let error = ReplicatedState::open(Box::new(Ledger::recovered(&disk)))
        .unwrap_err()
        .to_string();
    assert!(error.contains("must store what `commit` gives it"), "{error}");
}

/// R54: what a snapshot says of the sessions is checked, and nothing is restored before.
#[test]
fn a_damaged_snapshot_is_refused() {
    let mut state = open(Ledger::default());
    state.apply(&[opening(), command(2, 1, "once")]).unwrap();
    let (bytes, meta) = (stored(&mut state), meta(state.last_applied()));
    let sessions_end = bytes.len() - "once".len();
    for position in 0..sessions_end {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        let mut target = open(Ledger::default());
        assert!(
            target.restore(&meta, &mut &damaged[..]).is_err(),
            "byte {position}"
        );
        assert!(
            target.restore(&meta, &mut &bytes[..position]).is_err(),
            "cut at {position}"
        );
        assert_eq!(target.last_applied(), EntryId::ZERO);
    }
}

/// A log of what clients do with three sessions, two of which are lost for the others' sake or expire.
fn random_log(seed: u64, length: u64) -> Vec<Entry> {
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut elapsed_ms = 0;
    let entry = |index: u64| {
        elapsed_ms += random(3);
        let request = match random(30) {
            0 => SessionRequest::Open {
                ttl_ms: 50 + random(400),
            },
            1 => return Entry::noop(Term(1), Index(index)),
            2 => return Entry::command(Term(1), Index(index), Bytes::from(format!("<{index}>"))),
            _ => {
                let acknowledged_below = 1 + index / 20 + random(3);
                SessionRequest::Command(SessionCommand {
                    session: SessionId(1 + random(index / 40 + 1) * 40),
                    sequence: Sequence(index / 20 + random(9)),
                    acknowledged_below: Sequence(acknowledged_below),
                    command: Bytes::from(format!("<{index}>")),
                })
            }
        };
        // Every 40th entry opens a session, so that there are some to be used.
        let opens = SessionRequest::Open { ttl_ms: 300 };
        session_entry(index, elapsed_ms, if index % 40 == 1 { opens } else { request })
    };
    (1..=length).map(entry).collect()
}

/// I10, I15: replicas that apply the same log in other batches, at other times, hold the same table and state. What
/// decides is in the log; how long a replica takes over it is not (mutant: expiry by wall clock).
#[test]
fn batches_make_no_difference() {
    let limits = Limits {
        reply_bytes_max: 1_500,
        epoch_entries: 16,
        ..Limits::default()
    };
    let limited = || {
        let mut replica = open(Ledger::default());
        replica.sessions.limits = limits;
        replica
    };
    for seed in 0..20 {
        let log = random_log(seed, 600);
        let mut whole = limited();
        let results = whole.apply(&log).unwrap();
        assert!(
            results.iter().filter(|result| result.is_err()).count() > 20,
            "too few refusals"
        );
        for size in [1, 7, 64] {
            let mut replica = limited();
            let mut again = Vec::new();
            for batch in log.chunks(size) {
                again.extend(replica.apply(batch).unwrap());
            }
            assert!(
                again == results,
                "seed {seed}: other results in batches of {size}"
            );
            assert_eq!(replica.sessions(), whole.sessions());
            assert_eq!(stored(&mut replica), stored(&mut whole));
        }
    }
}
