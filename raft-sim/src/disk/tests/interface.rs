//! What the simulator relies on.

use crate::disk::{DiskError, Fault, LogImage};
use crate::random::Random;
use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{Index, Term};

use super::common::*;

#[test]
fn an_empty_disk_is_empty() {
    assert_eq!(sound(storage().open()), Recovered::default());
    let mut storage = storage();
    storage.crash(&mut Random::new(1));
    assert!(sound(storage.open()).is_empty());
}

/// R52: what was synced comes back whole, in the form that a replica starts from.
#[test]
fn what_was_synced_comes_back() {
    let mut storage = storage();
    put(
        &mut storage,
        GroupWrite {
            hard_state: Some(hard_state(1, 1, 0)),
            snapshot: Some(SnapshotMeta {
                last: id(0, 0),
                membership: membership(&[1, 2, 3]),
            }),
            log: LogChange::Append(vec![entry(1, 1), membership_entry(2, 1, &[1, 2]), entry(3, 1)]),
            ..nothing()
        },
    );
    put(
        &mut storage,
        append([entry(3, 2), membership_entry(4, 2, &[1]), entry(5, 2)]),
    );
    put(&mut storage, state(hard_state(2, 3, 4)));
    storage.crash(&mut Random::new(1));
    let recovered = sound(storage.open());
    let expected = Recovered {
        hard_state: hard_state(2, 3, 4),
        snapshot: SnapshotMeta {
            last: id(0, 0),
            membership: membership(&[1, 2, 3]),
        },
        purged: id(0, 0),
        term_runs: vec![(Index(1), Term(1)), (Index(3), Term(2))],
        last_index: Index(5),
        memberships: vec![(Index(2), membership(&[1, 2])), (Index(4), membership(&[1]))],
        lost: false,
    };
    assert_eq!(recovered, expected);
    assert_eq!(*storage.durable(), image(&recovered));
    let read = storage.read(Index(1), Index(5), usize::MAX);
    let stored = vec![
        entry(1, 1),
        membership_entry(2, 1, &[1, 2]),
        entry(3, 2),
        membership_entry(4, 2, &[1]),
        entry(5, 2),
    ];
    assert_eq!(read, Ok(stored));
}

/// R57: what is written is visible at once, and durable only once it is synced.
#[test]
fn a_write_is_visible_before_it_is_durable() {
    let mut storage = storage();
    storage.write(&append([entry(1, 1), entry(2, 1)])).unwrap();
    assert_eq!(storage.read(Index(2), Index(2), 0).unwrap(), [entry(2, 1)]);
    assert_eq!(*storage.durable(), LogImage::default());
    storage.sync().unwrap();
    assert_eq!(storage.durable().last(), id(2, 1));
}

/// A sync covers what was written before it began, and nothing after.
#[test]
fn a_sync_does_not_cover_what_was_written_after_it_began() {
    let mut seen_both = [false; 2];
    for seed in 0..64 {
        let mut storage = storage();
        storage.write(&append([entry(1, 1)])).unwrap();
        let mark = storage.begin_sync();
        storage.write(&append([entry(2, 1)])).unwrap();
        storage.end_sync(mark).unwrap();
        assert_eq!(storage.durable().last(), id(1, 1));
        storage.crash(&mut Random::new(seed));
        let last = sound(storage.open()).last_index;
        assert!((1..=2).contains(&last.0), "seed {seed}: {last}");
        seen_both[last.0 as usize - 1] = true;
    }
    assert_eq!(
        seen_both, [true; 2],
        "an unsynced write may be kept and may be lost"
    );
}

#[test]
fn a_read_is_cut_after_so_many_bytes() {
    let mut storage = storage();
    fill(&mut storage, 1, 5, 1);
    let lengths = [0, 64, 127, 128, 10_000].map(|bytes| {
        let read = storage.read(Index(1), Index(5), bytes).unwrap();
        read.len()
    });
    assert_eq!(lengths, [1, 1, 1, 2, 5]);
    assert_eq!(
        storage.read(Index(4), Index(6), usize::MAX),
        Err(DiskError::Missing(Index(6)))
    );
    assert_eq!(
        storage.read(Index(0), Index(2), usize::MAX),
        Err(DiskError::Missing(Index(0)))
    );
}

/// R12: a write that would leave a gap is refused whole.
#[test]
fn a_gap_is_refused() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    let gap = GroupWrite {
        hard_state: Some(hard_state(9, 0, 0)),
        ..append([entry(5, 1)])
    };
    assert_eq!(
        storage.write(&gap),
        Err(DiskError::NotContiguous { last: id(3, 1) })
    );
    put(&mut storage, append([entry(4, 1)]));
    assert_eq!(sound(storage.open()).hard_state.term, Term(0));
}

/// R60: after a failed write or sync nothing is written any more until the store was opened again.
#[test]
fn a_failed_write_closes_the_store() {
    for fails_at_once in [true, false] {
        let mut storage = storage();
        fill(&mut storage, 1, 1, 1);
        if fails_at_once {
            storage.arm(Fault::Eio);
            assert_eq!(storage.write(&append([entry(2, 1)])), Err(DiskError::Io));
        } else {
            storage.write(&append([entry(2, 1)])).unwrap();
            storage.arm(Fault::Eio);
        }
        assert!(storage.sync().is_err());
        assert_eq!(storage.write(&append([entry(3, 1)])), Err(DiskError::Failed));
        assert_eq!(storage.sync(), Err(DiskError::Failed));
        assert_eq!(storage.durable().last(), id(1, 1));
        let recovered = sound(storage.open());
        assert_eq!(
            recovered.last_index,
            Index(2),
            "a failed write may exist after all"
        );
        put(&mut storage, append([entry(3, 1)]));
    }
}

#[test]
fn a_full_disk_takes_nothing() {
    let mut storage = storage();
    fill(&mut storage, 1, 1, 1);
    storage.full(true);
    assert_eq!(
        storage.save_snapshot(&meta(id(1, 1)), Bytes::new()),
        Err(DiskError::Full)
    );
    assert_eq!(storage.write(&append([entry(2, 1)])), Err(DiskError::Full));
    storage.full(false);
    assert_eq!(storage.write(&append([entry(2, 1)])), Err(DiskError::Failed));
    assert_eq!(sound(storage.open()).last_index, Index(1));
    fill(&mut storage, 2, 2, 1);
}

#[test]
fn a_failed_read_fails_once() {
    let mut storage = storage();
    fill(&mut storage, 1, 1, 1);
    storage.arm(Fault::EioOnRead);
    assert_eq!(storage.read(Index(1), Index(1), 0), Err(DiskError::Io));
    assert_eq!(storage.read(Index(1), Index(1), 0).unwrap().len(), 1);
}

/// I12: what no durable snapshot in force covers is not purged.
#[test]
fn only_what_a_durable_snapshot_covers_is_purged() {
    let mut storage = storage();
    fill(&mut storage, 1, 9, 1);
    storage.compact(id(5, 1));
    assert!(storage.read(Index(1), Index(1), 0).is_ok());
    take_snapshot(&mut storage, id(6, 1));
    storage.compact(id(7, 1));
    assert!(storage.read(Index(1), Index(1), 0).is_ok());
    storage.compact(id(5, 1));
    assert_eq!(
        storage.read(Index(5), Index(6), 0),
        Err(DiskError::Missing(Index(5)))
    );
    assert_eq!(storage.durable().purged, id(0, 0), "a purge waits for a sync");
    storage.sync().unwrap();
    assert_eq!(storage.durable().purged, id(5, 1));
    storage.crash(&mut Random::new(1));
    let recovered = sound(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(5, 1), Index(9)));
}

/// R46: an installed snapshot replaces the log.
#[test]
fn a_reset_begins_the_log_anew() {
    let mut storage = storage();
    fill(&mut storage, 1, 9, 1);
    storage
        .save_snapshot(&meta(id(20, 3)), Bytes::from_static(b"state"))
        .unwrap();
    put(
        &mut storage,
        GroupWrite {
            snapshot: Some(meta(id(20, 3))),
            log: LogChange::Reset(vec![entry(21, 3)]),
            ..nothing()
        },
    );
    storage.crash(&mut Random::new(1));
    let recovered = sound(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(20, 3), Index(21)));
    assert_eq!(
        storage.snapshot(id(20, 3)).unwrap().1,
        Bytes::from_static(b"state")
    );
}

/// A snapshot that was received and is not in force yet does not displace the one that is. Age goes by index, not term.
#[test]
fn the_two_newest_snapshots_are_kept() {
    let mut storage = storage();
    for (index, term) in [(3, 1), (7, 2), (8, 4), (9, 3)] {
        storage
            .save_snapshot(&meta(id(index, term)), Bytes::new())
            .unwrap();
    }
    let mut kept_after = |keep| {
        storage.remove_snapshots_older(keep);
        let names = storage.snapshots.names();
        names.iter().map(|last| last.index.0).collect::<Vec<_>>()
    };
    assert_eq!(kept_after(id(7, 2)), [7, 8, 9]);
    assert_eq!(kept_after(id(9, 3)), [8, 9]);
}

/// One that cannot be read is not one of the two.
#[test]
fn a_damaged_snapshot_does_not_displace_a_sound_one() {
    let mut storage = storage();
    for index in 1..=3 {
        storage.save_snapshot(&meta(id(index, 1)), Bytes::new()).unwrap();
    }
    storage.snapshots.alter(id(3, 1), |bytes| bytes[0] ^= 1);
    storage.remove_snapshots_older(id(2, 1));
    assert!(storage.snapshot(id(1, 1)).is_ok());
}
