//! Random writes, syncs, losses of power and damages, against a model that remembers everything.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, fitting};
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, HardState, Index, NodeId, Term};

use super::common::*;
use crate::disk::{Damage, LogImage, Opened, Storage, SyncMark};
use crate::random::Random;

const DAMAGES: [Damage; 8] = [
    Damage::BitRot,
    Damage::LostWrite,
    Damage::Misdirected,
    Damage::TornTail,
    Damage::CutTail,
    Damage::StaleSector,
    Damage::SnapshotRot,
    Damage::Wipe,
];

/// What happened, so that a check that checks nothing is seen.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    kept_unsynced: u64,
    purged: u64,
    damages: u64,
    noticed: u64,
    refused: u64,
    harmless: u64,
}

/// A store, and what is known about it.
struct Model {
    storage: Storage,
    random: Random,
    /// What the store holds if nothing is lost, and what it held after each write since the last sync.
    asked: LogImage,
    since_sync: Vec<LogImage>,
    /// What was durable, whatever was damaged.
    promised: LogImage,
    syncing: Option<(SyncMark, usize)>,
    /// Every entry that was ever written.
    written: BTreeMap<EntryId, Entry>,
    is_damaged: bool,
    tally: Tally,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model {
            storage: storage(),
            random: Random::new(seed),
            asked: LogImage::default(),
            since_sync: vec![LogImage::default()],
            promised: LogImage::default(),
            syncing: None,
            written: BTreeMap::new(),
            is_damaged: false,
            tally: Tally::default(),
        }
    }

    fn run(&mut self, steps: u64, damages_percent: u32) {
        for step in 0..steps {
            match self.random.below(100) {
                0..45 => self.write(),
                45..60 => self.begin_sync(),
                60..75 => self.end_sync(),
                75..80 => self.take_snapshot(),
                80..85 => self.compact(),
                85..87 => self.install_snapshot(),
                87..93 => self.read(),
                93..95 => self.restart(),
                95..97 => self.crash(),
                _ if self.random.percent(damages_percent) => self.damage(),
                _ => {}
            }
            if step % 4 == 0 {
                self.check();
            }
        }
        self.crash();
    }

    /// What the store calls durable is what it would find.
    fn check(&self) {
        let judged = self.storage.judge_disk();
        assert_eq!(*self.storage.durable(), judged.image(), "{:?}", judged.verdict);
        if !self.is_damaged {
            assert!(self.storage.is_intact());
            assert_eq!(*self.storage.durable(), self.promised);
        }
    }

    fn note(&mut self, change: &GroupWrite) {
        self.storage.write(change).expect("nothing is armed");
        self.asked.apply(change);
        self.since_sync.push(self.asked.clone());
        for entry in change.log.entries() {
            self.written.insert(entry.id, entry.clone());
        }
    }

    fn write(&mut self) {
        let random = &mut self.random;
        let mut change = nothing();
        let mut state = self.asked.hard_state;
        if random.percent(30) {
            state.term = Term(state.term.0 + random.below(3));
            let is_new = state.term > self.asked.hard_state.term;
            state.vote = if is_new { None } else { state.vote };
            state.vote = state
                .vote
                .or(Some(NodeId(random.below(4))).filter(|vote| vote.0 > 0));
        }
        if random.percent(70) {
            change.log = LogChange::Append(entries(&self.asked, state, random));
        }
        let last = change
            .log
            .entries()
            .last()
            .map_or(self.asked.last(), |entry| entry.id);
        let committed = self.asked.snapshot.last.index.max(state.commit);
        if random.percent(30) && last.index > committed {
            state.commit = Index(random.within(committed.0..last.index.0 + 1));
        }
        change.hard_state = Some(state).filter(|state| *state != self.asked.hard_state);
        self.note(&change);
    }

    fn begin_sync(&mut self) {
        if self.syncing.is_none() {
            self.syncing = Some((self.storage.begin_sync(), self.since_sync.len() - 1));
        }
    }

    fn end_sync(&mut self) {
        if let Some((mark, synced)) = self.syncing.take() {
            self.storage.end_sync(mark).expect("nothing is armed");
            self.promised = self.since_sync[synced].clone();
            self.since_sync.drain(..synced);
        }
    }

    fn take_snapshot(&mut self) {
        let (first, last) = (self.asked.snapshot.last.index, self.asked.hard_state.commit);
        if last <= first {
            return;
        }
        let index = Index(self.random.within(first.0 + 1..last.0 + 1));
        let id = self.asked.id_at(index).expect("what is committed is there");
        let content = Bytes::from(format!("the state at {id}"));
        self.storage
            .save_snapshot(&meta(id), content)
            .expect("nothing is armed");
        self.note(&GroupWrite {
            snapshot: Some(meta(id)),
            ..nothing()
        });
        if self.random.percent(70) {
            // What is in force, durably, stays.
            self.storage.remove_snapshots_older(self.promised.snapshot.last);
        }
    }

    fn install_snapshot(&mut self) {
        let last = id(
            self.asked.last().index.0 + 1 + self.random.below(20),
            self.asked.hard_state.term.0 + 1,
        );
        self.storage
            .save_snapshot(&meta(last), Bytes::from_static(b"sent"))
            .expect("nothing is armed");
        self.note(&GroupWrite {
            hard_state: Some(HardState {
                term: last.term,
                vote: None,
                commit: last.index,
                ..HardState::default()
            }),
            snapshot: Some(meta(last)),
            log: LogChange::Reset(Vec::new()),
            ..nothing()
        });
    }

    fn compact(&mut self) {
        // What a damaged disk calls durable is less than what the process had made so.
        let limit = self
            .storage
            .durable()
            .snapshot
            .last
            .index
            .min(self.asked.last().index);
        let first = self.asked.purged.index;
        if limit <= first {
            return;
        }
        let through = Index(self.random.within(first.0 + 1..limit.0 + 1));
        let through = self.asked.id_at(through).expect("it is in the log");
        self.storage.compact(through);
        if self.storage.view.purged == through {
            self.tally.purged += 1;
            self.asked.compact(through);
            self.since_sync.push(self.asked.clone());
        }
    }

    fn read(&mut self) {
        let (purged, last) = (self.asked.purged.index.0, self.asked.last().index.0);
        if purged == last {
            return;
        }
        let first = self.random.within(purged + 1..last + 1);
        let end = self.random.within(first..last + 1);
        let bytes_max = self.random.below(3000) as usize;
        let read = self.storage.read(Index(first), Index(end), bytes_max);
        let expected = (first..=end).filter_map(|index| self.asked.id_at(Index(index)));
        let expected: Vec<Entry> = expected.map(|id| self.written[&id].clone()).collect();
        let fitting = fitting(&expected, bytes_max);
        match read {
            Ok(read) => assert_eq!(read, expected[..fitting]),
            Err(error) => assert!(self.is_damaged, "{error}"),
        }
    }

    /// The process ends, and the machine has power all the while.
    fn restart(&mut self) {
        self.syncing = None;
        match self.storage.open() {
            Opened::Sound(recovered) => {
                let found = LogImage::of(&recovered);
                // Rotten bits may be those of an unsynced write.
                let is_known = self.is_damaged && self.since_sync.contains(&found);
                assert!(
                    found == self.asked || is_known,
                    "the cache had {:?}, not {found:?}",
                    self.asked
                );
                self.goes_on_from(&recovered);
                self.is_damaged = !self.storage.is_intact();
            }
            other => self.loss_is_told(other),
        }
    }

    fn crash(&mut self) {
        self.tally.crashes += 1;
        self.syncing = None;
        let expected = self.storage.crash(&mut self.random);
        assert!(self.is_damaged || *self.storage.durable() == expected);
        if self.random.percent(20) {
            self.storage.crash(&mut self.random);
        }
        let was_intact = self.storage.is_intact();
        match self.storage.open() {
            Opened::Sound(recovered) => {
                let found = LogImage::of(&recovered);
                // I22, R52: it is what was durable, or that and whole writes after it, in their order.
                assert!(self.since_sync.contains(&found), "{found:?} was never written");
                self.tally.kept_unsynced += u64::from(found != self.promised);
                self.tally.harmless += u64::from(self.is_damaged);
                self.goes_on_from(&recovered);
                self.is_damaged = false;
            }
            other => {
                assert!(!was_intact, "a store that is intact opens");
                self.loss_is_told(other);
            }
        }
    }

    fn damage(&mut self) {
        let damage = *self.random.one_of(&DAMAGES).expect("there are some");
        // A running node, or one that has lost its power.
        let is_running = self.random.percent(50);
        if !is_running {
            self.storage.crash(&mut self.random);
        }
        if damage == Damage::Wipe {
            self.storage
                .damage(damage, &mut self.random)
                .expect("this always works");
            assert!(sound(self.storage.open()).is_empty());
            self.goes_on_from(&Recovered::default());
            self.is_damaged = false;
        } else if self.storage.damage(damage, &mut self.random).is_some() {
            self.tally.damages += 1;
            self.is_damaged = true;
        }
        if !is_running {
            self.crash();
        }
    }

    /// Something is missing: that is never said without a reason, and what is left can be relied on.
    fn loss_is_told(&mut self, opened: Opened) {
        assert!(self.is_damaged, "nothing was damaged, and it says {opened:?}");
        let Opened::Suspect(recovered, _) = opened else {
            self.tally.refused += 1;
            self.storage = storage();
            self.goes_on_from(&Recovered::default());
            self.is_damaged = false;
            return;
        };
        self.tally.noticed += 1;
        assert!(recovered.lost);
        let found = LogImage::of(&recovered);
        let (state, promised) = (found.hard_state, self.promised.hard_state);
        assert!(
            state.term >= promised.term,
            "R33: the term is not lost with the log"
        );
        if state.term == promised.term && promised.vote.is_some() {
            assert_eq!(state.vote, promised.vote, "R33: nor is the vote");
        }
        assert!(state.commit <= found.last().index && state.term >= found.last().term);
        if found.snapshot.last != EntryId::ZERO {
            let (meta, _) = self.storage.snapshot(found.snapshot.last).expect("it is sound");
            assert_eq!(meta, found.snapshot);
        }
        assert!(found.purged.index <= found.snapshot.last.index);
        if let Some(first) = found.ids.front() {
            let read = self
                .storage
                .read(first.index, found.last().index, usize::MAX)
                .expect("they are sound");
            for (entry, id) in read.iter().zip(&found.ids) {
                assert_eq!((entry.id, Some(entry)), (*id, self.written.get(id)));
            }
        }
        self.goes_on_from(&recovered);
        // A replica says at once that it is a suspect.
        self.note(&super::common::state(found.hard_state));
        self.storage.sync().expect("nothing is armed");
        self.promised = self.asked.clone();
        self.since_sync = vec![self.asked.clone()];
        self.is_damaged = !self.storage.is_intact();
    }

    fn goes_on_from(&mut self, recovered: &Recovered) {
        self.syncing = None;
        self.asked = LogImage::of(recovered);
        self.since_sync = vec![self.asked.clone()];
        self.promised = self.asked.clone();
    }
}

/// Some entries that continue a log, or overwrite its uncommitted end.
fn entries(log: &LogImage, state: HardState, random: &mut Random) -> Vec<Entry> {
    let last = log.last().index;
    let floor = log.snapshot.last.index.max(log.purged.index).max(state.commit);
    let is_overwriting = random.percent(15) && last > floor;
    let first = if is_overwriting {
        Index(random.within(floor.0 + 1..last.0 + 1))
    } else {
        last.next()
    };
    let before = log.id_at(first.previous()).map_or(Term::ZERO, |id| id.term);
    // What is overwritten is of another term, or it is the same entry.
    let replaced = log.id_at(first).map_or(Term::ZERO, |id| id.term);
    let term = before
        .max(state.term)
        .max(Term(replaced.0 + 1))
        .max(log.last().term);
    (0..1 + random.below(5))
        .map(|number| entry_of(id(first.0 + number, term.0)))
        .collect()
}

/// The entry with this id: an id that was lost may be used again, and then it is the same entry.
fn entry_of(id: EntryId) -> Entry {
    let mut random = Random::new(id.index.0 << 20 | id.term.0);
    let EntryId { term, index } = id;
    match random.below(50) {
        0..3 => membership_entry(index.0, term.0, &[1 + random.below(3), 5]),
        3 => Entry::command(term, index, vec![7; 40 << 10].into()),
        4..10 => Entry::command(term, index, vec![7; random.position(1500)].into()),
        10 => Entry::noop(term, index),
        _ => entry(index.0, term.0),
    }
}

fn run(seeds: u64, steps: u64, damages_percent: u32) -> Tally {
    let mut sum = Tally::default();
    for seed in 0..seeds {
        let mut model = Model::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            model.run(steps, damages_percent);
        }));
        assert!(result.is_ok(), "seed {seed}");
        let tally = model.tally;
        sum.crashes += tally.crashes;
        sum.kept_unsynced += tally.kept_unsynced;
        sum.purged += tally.purged;
        sum.damages += tally.damages;
        sum.noticed += tally.noticed;
        sum.refused += tally.refused;
        sum.harmless += tally.harmless;
    }
    sum
}

/// I22, R52: a loss of power alone loses nothing that was durable, and nothing of it looks like damage.
#[test]
fn a_loss_of_power_loses_only_what_was_not_synced() {
    let tally = run(100, 200, 0);
    assert!(
        tally.crashes > 400 && tally.kept_unsynced > 100 && tally.purged > 100,
        "too little happened: {tally:?}"
    );
}

/// I22: whatever is damaged, everything that was durable is there, or the store says that something is missing.
#[test]
fn no_loss_goes_unnoticed() {
    let tally = run(200, 200, 60);
    assert!(
        tally.damages > 300 && tally.noticed > 150 && tally.refused > 5 && tally.harmless > 80,
        "too little happened: {tally:?}"
    );
}
