//! What every [`LogStore`] must do.

mod faults;
mod groups;
mod model;
mod random;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::Arc;

use bytes::Bytes;

use crate::effect::LogChange;
use crate::entry::{Entry, Payload, SessionEntry, SessionRequest};
use crate::message::SnapshotMeta;
use crate::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use crate::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
pub use faults::{Fault, Reach, log_store_with_faults};
use groups::{
    destroy_forgets_one_group, destroy_is_for_ever_before_the_first_write, groups_do_not_touch_each_other,
};
use random::{callers_at_once_are_all_served, every_operation_survives_reopening};
use writes::*;

/// How often the generated run reopens the store.
const REOPENINGS: usize = 120;

/// Checks every invariant of [`LogStore`] that can be checked without pulling the plug: each by a test of its own, and all together
/// by generated operations with the store reopened after each, and by many callers at once. What a store does when
/// its disk fails is checked by [`log_store_with_faults`](super::log_store_with_faults).
///
/// `open` opens the same, initially empty place each time. The suite uses groups 1 to 41 and leaves data behind.
///
/// # Panics
/// Names the invariant that does not hold.
pub async fn log_store<Open>(open: Open)
where
    Open: AsyncFn() -> Arc<dyn LogStore>,
{
    a_group_without_writes_is_empty(&open, GroupId(1)).await;
    hard_state_survives(&open, GroupId(2)).await;
    entries_survive(&open, GroupId(3)).await;
    an_append_replaces_what_it_overlaps(&open, GroupId(4)).await;
    a_gap_is_refused_whole(&open, GroupId(5), GroupId(6)).await;
    a_reset_replaces_the_log(&open, GroupId(7)).await;
    a_purge_forgets_the_beginning(&open, GroupId(8)).await;
    a_purge_of_everything_keeps_the_place(&open, GroupId(9)).await;
    reads_are_limited_but_never_empty(&open, GroupId(10)).await;
    missing_entries_are_errors(&open, GroupId(11)).await;
    groups_do_not_touch_each_other(&open, GroupId(12), GroupId(13)).await;
    destroy_forgets_one_group(&open, GroupId(14), GroupId(15)).await;
    configurations_are_found(&open, GroupId(16)).await;
    merged_writes_equal_their_sequence(&open, GroupId(17), GroupId(18)).await;
    a_long_log_survives(&open, GroupId(19)).await;
    hard_state_and_snapshot_stand_alone(&open, GroupId(20)).await;
    destroy_is_for_ever_before_the_first_write(&open, GroupId(41)).await;
    let groups: Vec<GroupId> = (21..=24).map(GroupId).collect();
    every_operation_survives_reopening(&open, &groups, REOPENINGS).await;
    let groups: Vec<GroupId> = (25..=40).map(GroupId).collect();
    callers_at_once_are_all_served(&open, &groups).await;
}

async fn a_group_without_writes_is_empty(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let recovered = load(&*open().await, group).await;
    assert!(recovered.is_empty(), "a group without writes has {recovered:?}");
}

async fn hard_state_survives(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    for (vote, trust) in [
        (None, Trust::Founder),
        (Some(NodeId(3)), Trust::Suspect),
        (None, Trust::Trusted),
    ] {
        let hard_state = HardState {
            term: Term(7),
            vote,
            commit: Index::ZERO,
            trust,
        };
        let store = open().await;
        let change = GroupWrite {
            hard_state: Some(hard_state),
            ..append(group, Vec::new())
        };
        write(&*store, change).await;
        drop(store);
        let recovered = load(&*open().await, group).await;
        assert_eq!(recovered.hard_state, hard_state, "the hard state after reopening");
        assert_eq!(
            recovered.last_index,
            Index::ZERO,
            "a hard state alone adds no entry"
        );
    }
}

async fn entries_survive(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let entries = vec![
        Entry::noop(Term(1), Index(1)),
        Entry::command(Term(1), Index(2), Bytes::new()),
        Entry::command(Term(1), Index(3), Bytes::from_static(b"third")),
        Entry::noop(Term(4), Index(4)),
        Entry {
            id: EntryId::new(Term(4), Index(5)),
            payload: Payload::Membership(membership(&[1, 2, 3])),
        },
        Entry {
            id: EntryId::new(Term(4), Index(6)),
            payload: Payload::Session(Arc::new(SessionEntry {
                elapsed_ms: 7,
                request: SessionRequest::Open { ttl_ms: 60_000 },
            })),
        },
    ];
    let store = open().await;
    write(&*store, append(group, entries[..2].to_vec())).await;
    write(&*store, append(group, entries[2..].to_vec())).await;
    assert_eq!(read(&*store, group, 1, 6).await, entries, "reading back at once");
    drop(store);
    let store = open().await;
    assert_eq!(
        read(&*store, group, 1, 6).await,
        entries,
        "reading back after reopening"
    );
    assert_eq!(
        read(&*store, group, 2, 3).await,
        entries[1..3],
        "reading from the middle"
    );
    let recovered = load(&*store, group).await;
    assert_eq!(recovered.last_index, Index(6));
    assert_eq!(recovered.purged, EntryId::ZERO);
    assert_eq!(recovered.term_runs, [(Index(1), Term(1)), (Index(4), Term(4))]);
    drop(store);
    let store = open().await;
    let more = commands(4, 7..=9);
    write(&*store, append(group, more.clone())).await;
    drop(store);
    assert_eq!(
        read(&*open().await, group, 7, 9).await,
        more,
        "appending after reopening"
    );
}

async fn an_append_replaces_what_it_overlaps(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    write(&*store, append(group, commands(1, 1..=10))).await;
    let replacement = vec![command(2, 4, b"new")];
    write(&*store, append(group, replacement.clone())).await;
    let check = async |store: &dyn LogStore, when: &str| {
        let recovered = load(store, group).await;
        assert_eq!(
            recovered.last_index,
            Index(4),
            "entries above a replaced one are gone {when}"
        );
        assert_eq!(recovered.term_runs, [(Index(1), Term(1)), (Index(4), Term(2))]);
        assert_eq!(read(store, group, 4, 4).await, replacement);
        assert_missing(store, group, 4, 5).await;
        assert_missing(store, group, 10, 10).await;
    };
    check(&*store, "at once").await;
    drop(store);
    check(&*open().await, "after reopening").await;
    // A log that is replaced from its first entry.
    let store = open().await;
    write(&*store, append(group, commands(3, 1..=2))).await;
    drop(store);
    let recovered = load(&*open().await, group).await;
    assert_eq!(
        (recovered.last_index, recovered.purged),
        (Index(2), EntryId::ZERO)
    );
    assert_eq!(recovered.term_runs, [(Index(1), Term(3))]);
}

/// R12: a follower must never store a gap, and a refused batch leaves no trace, in any of its groups.
async fn a_gap_is_refused_whole(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    group: GroupId,
    neighbour: GroupId,
) {
    let store = open().await;
    write(&*store, append(group, commands(1, 1..=3))).await;
    store
        .compact(group, EntryId::new(Term(1), Index(1)))
        .await
        .expect("compact a stored prefix");
    drop(store);
    let gaps = [
        ("a batch that begins after a gap", commands(1, 5..=6)),
        (
            "a batch with a gap inside",
            vec![command(1, 4, b""), command(1, 6, b"")],
        ),
        (
            "a batch that repeats an index",
            vec![command(1, 4, b""), command(1, 4, b"")],
        ),
        (
            "a batch that begins at or below the purged entry",
            commands(1, 1..=4),
        ),
    ];
    for (what, entries) in gaps {
        // A store may stop taking writes after a refusal, so each has a store of its own.
        let store = open().await;
        let harmless = append(neighbour, commands(1, 1..=1));
        let refused = GroupWrite {
            hard_state: Some(HardState {
                term: Term(9),
                ..HardState::default()
            }),
            ..append(group, entries)
        };
        let result = store.write(vec![harmless, refused]).await;
        assert!(
            matches!(result, Err(LogStoreError::NotContiguous { group: named, .. }) if named == group),
            "{what} must be refused as NotContiguous of group {group}, but the answer was {result:?}"
        );
        drop(store);
        let store = open().await;
        let recovered = load(&*store, group).await;
        assert_eq!(recovered.last_index, Index(3), "{what} was stored in part");
        assert_eq!(
            recovered.hard_state,
            HardState::default(),
            "{what}: its hard state was stored"
        );
        assert!(
            load(&*store, neighbour).await.is_empty(),
            "{what}: another group's part was stored"
        );
    }
}

/// R52: an installed snapshot and the log it replaces change in one write.
async fn a_reset_replaces_the_log(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    write(&*store, append(group, commands(1, 1..=10))).await;
    let snapshot = meta(3, 50);
    let reset = GroupWrite {
        group,
        hard_state: Some(HardState {
            term: Term(3),
            vote: None,
            commit: Index(50),
            trust: Trust::Trusted,
        }),
        snapshot: Some(snapshot.clone()),
        log: LogChange::Reset(Vec::new()),
    };
    write(&*store, reset.clone()).await;
    drop(store);
    let store = open().await;
    let recovered = load(&*store, group).await;
    assert_eq!(recovered.snapshot, snapshot);
    assert_eq!(
        recovered.purged, snapshot.last,
        "the log begins after the snapshot"
    );
    assert_eq!(recovered.last_index, Index(50));
    assert!(recovered.term_runs.is_empty());
    assert_eq!(recovered.hard_state.commit, Index(50));
    assert_missing(&*store, group, 10, 10).await;
    assert_missing(&*store, group, 50, 50).await;
    write(&*store, append(group, commands(3, 51..=53))).await;
    drop(store);
    let store = open().await;
    assert_eq!(read(&*store, group, 51, 53).await, commands(3, 51..=53));
    // A reset that brings entries of its own.
    let with_entries = GroupWrite {
        log: LogChange::Reset(commands(4, 51..=52)),
        ..reset
    };
    write(&*store, with_entries).await;
    drop(store);
    let store = open().await;
    assert_eq!(read(&*store, group, 51, 52).await, commands(4, 51..=52));
    assert_missing(&*store, group, 53, 53).await;
}

async fn a_purge_forgets_the_beginning(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    write(&*store, append(group, commands(1, 1..=20))).await;
    let change = GroupWrite {
        snapshot: Some(meta(1, 12)),
        ..append(group, Vec::new())
    };
    write(&*store, change).await;
    let purged = EntryId::new(Term(1), Index(10));
    store
        .compact(group, purged)
        .await
        .expect("compact a stored prefix");
    assert_missing(&*store, group, 10, 10).await;
    assert_missing(&*store, group, 10, 12).await;
    assert_eq!(read(&*store, group, 11, 20).await, commands(1, 11..=20));
    let recovered = load(&*store, group).await;
    assert_eq!(recovered.purged, purged, "the purged entry is known by its id");
    assert_eq!(
        recovered.term_runs,
        [(Index(11), Term(1))],
        "runs begin after the purge"
    );
    drop(store);
    // After a restart some purged entries may be there again, but nothing else may have changed.
    let store = open().await;
    let recovered = load(&*store, group).await;
    assert!(recovered.purged <= purged, "more was purged than was asked for");
    assert_eq!(recovered.last_index, Index(20));
    assert_eq!(recovered.snapshot, meta(1, 12));
    assert_eq!(read(&*store, group, 11, 20).await, commands(1, 11..=20));
    // Purging less than is purged already does nothing.
    store
        .compact(group, EntryId::new(Term(1), Index(5)))
        .await
        .expect("a repeated purge");
    assert_eq!(load(&*store, group).await.last_index, Index(20));
    assert_eq!(read(&*store, group, 11, 20).await, commands(1, 11..=20));
}

async fn a_purge_of_everything_keeps_the_place(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    write(&*store, append(group, commands(2, 1..=4))).await;
    let change = GroupWrite {
        snapshot: Some(meta(2, 4)),
        ..append(group, Vec::new())
    };
    write(&*store, change).await;
    store
        .compact(group, EntryId::new(Term(2), Index(4)))
        .await
        .expect("compact the whole log");
    let recovered = load(&*store, group).await;
    assert_eq!(recovered.purged, EntryId::new(Term(2), Index(4)));
    assert_eq!(
        recovered.last_index,
        Index(4),
        "an emptied log does not begin again at 1"
    );
    write(&*store, append(group, commands(2, 5..=5))).await;
    drop(store);
    let store = open().await;
    assert_eq!(load(&*store, group).await.last_index, Index(5));
    assert_eq!(read(&*store, group, 5, 5).await, commands(2, 5..=5));
}

async fn reads_are_limited_but_never_empty(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    let entries: Vec<Entry> = (1..=5).map(|index| command(1, index, &[7; 100])).collect();
    write(&*store, append(group, entries.clone())).await;
    for (bytes_max, expected) in [(0, 1), (99, 1), (100, 1), (200, 2), (250, 2), (usize::MAX, 5)] {
        let got = store.read(group, Index(1), Index(5), bytes_max).await;
        let got = got.expect("reading stored entries");
        assert_eq!(
            got,
            entries[..expected],
            "a read limited to {bytes_max} bytes returns the first entry and all that fit"
        );
    }
}

/// R7: an entry that is not stored is an error, never a short or empty answer.
async fn missing_entries_are_errors(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    assert_missing(&*store, group, 1, 1).await;
    write(&*store, append(group, commands(1, 1..=3))).await;
    assert_missing(&*store, group, 0, 2).await;
    assert_missing(&*store, group, 2, 4).await;
    assert_missing(&*store, group, 4, 4).await;
    assert_missing(&*store, group, 100, 200).await;
}

async fn configurations_are_found(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let change = |index: u64, voters: &[u64]| Entry {
        id: EntryId::new(Term(1), Index(index)),
        payload: Payload::Membership(membership(voters)),
    };
    let store = open().await;
    let mut entries = commands(1, 1..=9);
    entries[1] = change(2, &[1]);
    entries[4] = change(5, &[1, 2]);
    entries[7] = change(8, &[1, 2, 3]);
    write(&*store, append(group, entries)).await;
    drop(store);
    let all = [
        (Index(2), membership(&[1])),
        (Index(5), membership(&[1, 2])),
        (Index(8), membership(&[1, 2, 3])),
    ];
    let store = open().await;
    assert_eq!(load(&*store, group).await.memberships, all);
    // Those that a snapshot covers are part of the snapshot; those that are truncated are gone.
    let covered = GroupWrite {
        snapshot: Some(meta(1, 4)),
        ..append(group, commands(2, 8..=8))
    };
    write(&*store, covered).await;
    drop(store);
    assert_eq!(load(&*open().await, group).await.memberships, all[1..2]);
}

/// A writer may merge what it finds in its queue: the result must be that of the single writes.
async fn merged_writes_equal_their_sequence(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    one_by_one: GroupId,
    merged: GroupId,
) {
    let writes = |group| {
        let hard_state = Some(HardState {
            term: Term(2),
            ..HardState::default()
        });
        vec![
            append(group, commands(1, 1..=5)),
            GroupWrite {
                hard_state,
                ..append(group, commands(2, 3..=4))
            },
            append(group, commands(2, 5..=9)),
            append(group, commands(3, 2..=3)),
        ]
    };
    let store = open().await;
    for single in writes(one_by_one) {
        write(&*store, single).await;
    }
    let mut all = append(merged, Vec::new());
    writes(merged).into_iter().for_each(|single| all.merge(single));
    write(&*store, all).await;
    drop(store);
    let store = open().await;
    assert_eq!(
        load(&*store, one_by_one).await,
        load(&*store, merged).await,
        "a merged write differs"
    );
    assert_eq!(
        read(&*store, one_by_one, 1, 3).await,
        read(&*store, merged, 1, 3).await
    );
}

async fn a_long_log_survives(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    const ENTRIES: u64 = 5_000;
    let store = open().await;
    for first in (1..=ENTRIES).step_by(500) {
        write(&*store, append(group, commands(first, first..=first + 499))).await;
    }
    drop(store);
    let store = open().await;
    let recovered = load(&*store, group).await;
    assert_eq!(recovered.last_index, Index(ENTRIES));
    assert_eq!(recovered.term_runs.len(), 10);
    assert_eq!(read(&*store, group, 1, ENTRIES).await.len(), 5_000);
    assert_eq!(read(&*store, group, 499, 502).await, {
        let mut expected = commands(1, 499..=500);
        expected.extend(commands(501, 501..=502));
        expected
    });
}

async fn hard_state_and_snapshot_stand_alone(open: &impl AsyncFn() -> Arc<dyn LogStore>, group: GroupId) {
    let store = open().await;
    let bootstrap = GroupWrite {
        snapshot: Some(SnapshotMeta {
            last: EntryId::ZERO,
            membership: membership(&[1, 2, 3]),
        }),
        ..append(group, Vec::new())
    };
    write(&*store, bootstrap).await;
    drop(store);
    let store = open().await;
    let hard_state = HardState {
        term: Term(1),
        vote: Some(NodeId(1)),
        commit: Index::ZERO,
        trust: Trust::Trusted,
    };
    let vote = GroupWrite {
        hard_state: Some(hard_state),
        ..append(group, Vec::new())
    };
    write(&*store, vote).await;
    drop(store);
    let recovered = load(&*open().await, group).await;
    let expected = Recovered {
        hard_state,
        snapshot: SnapshotMeta {
            last: EntryId::ZERO,
            membership: membership(&[1, 2, 3]),
        },
        ..Recovered::default()
    };
    assert_eq!(
        recovered, expected,
        "a vote without entries keeps the first configuration"
    );
}
