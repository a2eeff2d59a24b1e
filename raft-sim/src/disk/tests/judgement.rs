//! The table in the module's documentation, row by row.

use bytes::Bytes;
use raft_core::types::{Index, Term};

use super::common::*;
use crate::disk::record;
use crate::disk::sectors::{Place, SECTOR_BYTES};
use crate::disk::{Damage, DiskError, Finding, LogImage, Storage};
use crate::random::Random;

/// Everything unsynced is lost.
fn crash(storage: &mut Storage) {
    storage.sectors = storage.sectors.on_disk();
    storage.crash(&mut Random::new(1));
}

/// Flips a bit of an entry on the disk, by the place where it stands.
fn damage_entry(storage: &mut Storage, index: u64) {
    let place = *storage.view.located(Index(index)).expect("it is stored");
    flip(storage, place.segment, place.begin as usize);
}

fn flip(storage: &mut Storage, segment: u64, byte: usize) {
    let sector = byte / SECTOR_BYTES;
    storage.sectors.alter(Place { segment, sector }, |content| {
        content[byte % SECTOR_BYTES] ^= 4;
    });
}

fn ids(recovered: &LogImage) -> Vec<u64> {
    recovered.ids.iter().map(|id| id.index.0).collect()
}

/// R68: nobody can tell a wiped disk from a new one.
#[test]
fn a_wiped_disk_is_empty() {
    let mut storage = storage();
    fill(&mut storage, 1, 9, 1);
    assert!(storage.damage(Damage::Wipe, &mut Random::new(1)).is_some());
    assert!(!storage.is_intact());
    assert_eq!(*storage.durable(), LogImage::default());
    assert!(sound(storage.open()).is_empty());
}

/// R60: a torn record that was never synced is cut off, and what is written then is not continued by its remains.
#[test]
fn a_torn_unsynced_tail_is_cut() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    storage.write(&append([entry(4, 1)])).unwrap();
    storage.write(&append([entry(5, 1)])).unwrap();
    damage_entry(&mut storage, 4);
    storage.sectors.dirty.clear();
    storage.crash(&mut Random::new(1));
    assert!(storage.is_intact());
    assert_eq!(sound(storage.open()).last_index, Index(3));
    // The same write again: the old record after it is whole and would continue it.
    put(&mut storage, append([entry(4, 1)]));
    crash(&mut storage);
    assert_eq!(sound(storage.open()).last_index, Index(4));
}

/// R60: an unsynced write that is whole counts.
#[test]
fn an_unsynced_write_may_exist() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    storage.write(&append([entry(4, 1)])).unwrap();
    storage.sectors.dirty.clear();
    storage.crash(&mut Random::new(1));
    assert_eq!(sound(storage.open()).last_index, Index(4));
    assert_eq!(storage.durable().last(), id(4, 1));
}

/// R68: one damaged copy of the watermark is no loss, whichever it is; and it is mended.
#[test]
fn one_damaged_watermark_is_mended() {
    for slot in 0..2 {
        let mut storage = storage();
        fill(&mut storage, 1, 3, 1);
        storage.mark.slots[slot][20] ^= 1;
        crash(&mut storage);
        assert_eq!(sound(storage.open()).last_index, Index(3));
        storage.mark.slots[1 - slot][20] ^= 1;
        assert_eq!(sound(storage.open()).last_index, Index(3));
    }
}

/// R68: without a watermark nobody knows how much was durable.
#[test]
fn two_damaged_watermarks_make_a_suspect() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    for slot in &mut storage.mark.slots {
        slot[20] ^= 1;
    }
    crash(&mut storage);
    let (recovered, finding) = suspect(storage.open());
    assert_eq!(
        (recovered.last_index, finding),
        (Index(3), Finding::WatermarkLost)
    );
    // It stays a suspect until the replica has made something durable.
    assert!(!storage.is_intact());
    crash(&mut storage);
    suspect(storage.open());
    fill(&mut storage, 4, 4, 1);
    assert!(storage.is_intact());
    crash(&mut storage);
    assert_eq!(sound(storage.open()).last_index, Index(4));
}

/// I22: what is damaged below the watermark is noticed; the log before it is sound, and the vote is not lost with it.
#[test]
fn damage_below_the_watermark_makes_a_suspect() {
    for index in 1..=9 {
        let mut storage = storage();
        fill(&mut storage, 1, 9, 1);
        put(&mut storage, state(hard_state(4, 2, 8)));
        damage_entry(&mut storage, index);
        assert_eq!(
            storage.read(Index(index), Index(index), 0),
            Err(DiskError::Corrupt(Index(index)))
        );
        crash(&mut storage);
        let before = index - 1;
        assert_eq!(storage.durable().last().index, Index(before));
        let (recovered, finding) = suspect(storage.open());
        assert!(matches!(finding, Finding::LogLost { .. }), "{finding}");
        assert_eq!(recovered.last_index, Index(before));
        // R59: the commit index was about entries that may be lost.
        assert_eq!(recovered.hard_state, hard_state(4, 2, 0));
        assert_eq!(*storage.durable(), image(&recovered));
    }
}

/// I22: a cut at a record's end looks like a shorter log; only the watermark tells.
#[test]
fn a_log_that_is_cut_at_the_end_of_a_record_makes_a_suspect() {
    let mut storage = storage();
    fill(&mut storage, 1, 9, 1);
    let place = *storage.view.located(Index(9)).unwrap();
    let segment = storage.sectors.segments.back_mut().unwrap();
    segment.bytes[place.begin as usize - 35..].fill(0);
    crash(&mut storage);
    let (recovered, finding) = suspect(storage.open());
    assert_eq!(recovered.last_index, Index(8));
    assert!(matches!(finding, Finding::LogLost { found, promised } if found + 1 == promised));
}

/// I22: a synced write that never reached the disk. While the machine has power the cache hides it.
#[test]
fn a_lost_write_shows_when_the_power_is_lost() {
    let mut storage = storage();
    fill(&mut storage, 1, 9, 1);
    let last = storage.sectors.history.back().cloned().unwrap();
    storage.sectors.lead_astray(last.place, last.content);
    assert_eq!(sound(storage.open()).last_index, Index(9));
    assert!(!storage.is_intact());
    assert_eq!(storage.durable().last(), id(8, 1));
    crash(&mut storage);
    assert_eq!(suspect(storage.open()).0.last_index, Index(8));
}

/// What was lost is written again with the rest of its sector, if that is written again.
#[test]
fn a_lost_write_may_be_mended_unnoticed() {
    let mut storage = storage();
    fill(&mut storage, 1, 1, 1);
    let last = storage.sectors.history.back().cloned().unwrap();
    storage.sectors.lead_astray(last.place, last.content);
    storage.reassess();
    assert!(!storage.is_intact());
    fill(&mut storage, 2, 2, 1);
    crash(&mut storage);
    assert_eq!(sound(storage.open()).last_index, Index(2));
}

/// A log of several segments, whose first entries are purged: they lie below a snapshot at 600, in force, and one at
/// 500. All is durable.
fn purged() -> Storage {
    let mut storage = storage();
    fill(&mut storage, 1, 500, 1);
    take_snapshot(&mut storage, id(500, 1));
    fill(&mut storage, 501, 600, 1);
    take_snapshot(&mut storage, id(600, 1));
    fill(&mut storage, 601, 700, 1);
    storage.compact(id(505, 1));
    put(&mut storage, state(hard_state(3, 1, 650)));
    assert!(storage.sectors.segments.len() > 1);
    assert!(
        storage.sectors.segments[0].number > 0,
        "segments were thrown away"
    );
    storage
}

#[test]
fn a_purged_log_comes_back() {
    let mut storage = purged();
    crash(&mut storage);
    let recovered = sound(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(505, 1), Index(700)));
    assert_eq!(recovered.snapshot, meta(id(600, 1)));
    assert_eq!(ids(storage.durable()), (506..=700).collect::<Vec<_>>());
}

/// R52: if the log ends below its newest snapshot, that snapshot is all there is.
#[test]
fn a_log_that_ends_below_its_snapshot_is_replaced_by_it() {
    let mut storage = purged();
    // The first segment that is left holds entries that are purged, and others.
    damage_entry(&mut storage, 506);
    crash(&mut storage);
    let (recovered, _) = suspect(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(600, 1), Index(600)));
    assert_eq!(recovered.snapshot, meta(id(600, 1)));
    assert_eq!(recovered.hard_state, hard_state(3, 1, 0));
    // The replica goes on from there.
    put(&mut storage, append([entry(601, 3)]));
    crash(&mut storage);
    let recovered = sound(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(600, 1), Index(601)));
    assert_eq!(recovered.term_runs, [(Index(601), Term(3))]);
}

/// R11: if what is left is not enough to start from, nothing starts.
#[test]
fn a_log_that_ends_below_its_damaged_snapshot_is_refused() {
    let mut storage = purged();
    damage_entry(&mut storage, 506);
    storage.snapshots.alter(id(600, 1), |bytes| bytes[30] ^= 1);
    crash(&mut storage);
    assert_eq!(*storage.durable(), LogImage::default());
    refused(storage.open());
    assert_eq!(storage.write(&append([entry(1, 1)])), Err(DiskError::Closed));
    refused(storage.open());
    storage.damage(Damage::Wipe, &mut Random::new(1));
    sound(storage.open());
}

/// A segment that does not say what must be known to start from it is not one to start from.
#[test]
fn a_segment_without_its_first_record_is_not_read() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    let first = record::decode(&storage.sectors.segments[0].bytes).unwrap();
    let length = record::HEADER_BYTES + first.body.len();
    let segment = &mut storage.sectors.segments[0];
    segment.bytes.copy_within(length.., 0);
    crash(&mut storage);
    let (recovered, finding) = suspect(storage.open());
    assert_eq!(recovered.last_index, Index(0));
    assert!(matches!(finding, Finding::LogLost { found: 0, .. }), "{finding}");
}

/// A segment in the place of another one is whole, and not the one that belongs there.
#[test]
fn a_segment_in_the_place_of_another_one_is_not_read() {
    let mut storage = storage();
    fill(&mut storage, 1, 3, 1);
    storage.sectors.segments[0].number += 1;
    crash(&mut storage);
    assert!(matches!(
        suspect(storage.open()).1,
        Finding::LogLost { found: 0, .. }
    ));
}

/// I22: nobody could notice if the log were cut and the watermark taken back to the cut. So only one of them is damaged
/// until a process has started again.
#[test]
fn log_and_watermark_are_not_damaged_both() {
    let mut hit = [false; 2];
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut storage = storage();
        fill(&mut storage, 1, 50, 1);
        let (before, slots) = (storage.sectors.on_disk(), storage.mark.slots);
        for _ in 0..20 {
            let damage = [
                Damage::BitRot,
                Damage::LostWrite,
                Damage::CutTail,
                Damage::StaleSector,
            ];
            storage.damage(damage[random.position(4)], &mut random);
        }
        let after = storage.sectors.on_disk();
        let is_cut = after.segments[0].bytes != before.segments[0].bytes;
        let is_marked = storage.mark.slots != slots;
        assert!(!(is_cut && is_marked), "seed {seed}");
        hit[0] |= is_cut;
        hit[1] |= is_marked;
    }
    assert_eq!(hit, [true; 2], "either of them is damaged sometimes");
}

/// R68: another record stands where the watermark vouches for one.
#[test]
fn a_replaced_record_makes_a_suspect() {
    let mut storage = storage();
    fill(&mut storage, 1, 5, 1);
    let mut other = storage.mark.read().unwrap();
    other.link.chain ^= 1;
    for _ in 0..2 {
        storage.mark.write(&other);
    }
    crash(&mut storage);
    let (_, finding) = suspect(storage.open());
    assert!(matches!(finding, Finding::LogReplaced { .. }), "{finding}");
}

/// R33: term and vote come from whichever copy is newer.
#[test]
fn an_old_hard_state_makes_a_suspect() {
    for (term, vote) in [(5, 1), (4, 3)] {
        let mut storage = storage();
        put(&mut storage, state(hard_state(4, 2, 0)));
        let mut promise = storage.mark.read().unwrap();
        promise.hard_state = hard_state(term, vote, 0);
        storage.mark.write(&promise);
        crash(&mut storage);
        let (recovered, finding) = suspect(storage.open());
        assert!(matches!(finding, Finding::HardStateLost { .. }), "{finding}");
        assert_eq!(recovered.hard_state, hard_state(term, vote, 0));
    }
}

/// R54: an older snapshot serves as long as the log reaches back to it.
#[test]
fn an_older_snapshot_stands_in_for_a_damaged_one() {
    let mut storage = storage();
    fill(&mut storage, 1, 500, 1);
    take_snapshot(&mut storage, id(400, 1));
    take_snapshot(&mut storage, id(450, 1));
    storage.compact(id(400, 1));
    put(&mut storage, append([membership_entry(501, 2, &[1, 2])]));
    storage.snapshots.alter(id(450, 1), |bytes| bytes[30] ^= 1);
    crash(&mut storage);
    let (recovered, finding) = suspect(storage.open());
    assert_eq!(finding, Finding::SnapshotDamaged(id(450, 1)));
    assert_eq!(recovered.snapshot, meta(id(400, 1)));
    assert_eq!((recovered.purged, recovered.last_index), (id(400, 1), Index(501)));
    assert_eq!(recovered.memberships, [(Index(501), membership(&[1, 2]))]);
}

/// A snapshot that was received and not put in force is of committed entries all the same.
#[test]
fn a_newer_snapshot_stands_in_for_a_damaged_one() {
    let mut storage = purged();
    storage
        .save_snapshot(&meta(id(900, 3)), Bytes::from_static(b"received"))
        .unwrap();
    storage.snapshots.alter(id(600, 1), |bytes| bytes[30] ^= 1);
    crash(&mut storage);
    let (recovered, _) = suspect(storage.open());
    assert_eq!((recovered.purged, recovered.last_index), (id(900, 3), Index(900)));
    assert_eq!(recovered.snapshot, meta(id(900, 3)));
}

/// R11: nothing starts from a log whose beginning is a snapshot that cannot be read.
#[test]
fn a_damaged_snapshot_without_which_the_log_is_nothing_is_refused() {
    let mut storage = purged();
    storage.snapshots.alter(id(600, 1), |bytes| bytes[30] ^= 1);
    crash(&mut storage);
    assert_eq!(refused(storage.open()), Finding::SnapshotDamaged(id(600, 1)));
    assert_eq!(
        storage.snapshot(id(600, 1)),
        Err(Finding::SnapshotDamaged(id(600, 1)))
    );
}

#[test]
fn a_damaged_snapshot_that_is_not_in_force_is_no_loss() {
    let mut storage = purged();
    storage
        .save_snapshot(&meta(id(900, 3)), Bytes::from_static(b"received"))
        .unwrap();
    for last in [id(500, 1), id(900, 3)] {
        storage.snapshots.alter(last, |bytes| bytes[30] ^= 1);
    }
    crash(&mut storage);
    assert_eq!(sound(storage.open()).snapshot, meta(id(600, 1)));
    assert_eq!(
        storage.snapshot(id(700, 1)),
        Err(Finding::SnapshotMissing(id(700, 1)))
    );
}
