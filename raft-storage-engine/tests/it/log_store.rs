//! What the log store does when nothing goes wrong, beyond what the conformance suite asks of every store.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use raft_storage_engine::{EngineLogOptions, EngineLogStore};

use crate::support::*;

#[tokio::test]
async fn an_unknown_group_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("not/there/yet"));
    assert_eq!(store.load(G).await.unwrap(), Recovered::default());
    assert!(matches!(
        store.read(G, Index(1), Index(1), 100).await,
        Err(LogStoreError::Missing { .. })
    ));
    assert!(store.read(G, Index(2), Index(1), 100).await.unwrap().is_empty());
    store.destroy(G).await.unwrap();
}

#[tokio::test]
async fn everything_of_a_write_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let membership = Membership::of_voters([NodeId(4), NodeId(5)]).unwrap();
    let mut entries = commands(1, 1..=4);
    entries.push(Entry {
        id: id(2, 5),
        payload: Payload::Membership(membership.clone()),
    });
    entries.push(Entry::noop(Term(3), Index(6)));
    let hard_state = HardState {
        term: Term(3),
        vote: Some(NodeId(2)),
        commit: Index(4),
        trust: Trust::Trusted,
    };
    let expected = Recovered {
        lost: false,
        hard_state,
        snapshot: meta(1, 2),
        purged: EntryId::ZERO,
        term_runs: vec![(Index(1), Term(1)), (Index(5), Term(2)), (Index(6), Term(3))],
        last_index: Index(6),
        memberships: vec![(Index(5), membership)],
    };
    let store = open(dir.path());
    let change = GroupWrite {
        hard_state: Some(hard_state),
        snapshot: Some(meta(1, 2)),
        ..append(G, entries.clone())
    };
    write(&store, change).await;
    assert_eq!(store.load(G).await.unwrap(), expected);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.load(G).await.unwrap(), expected);
    assert_eq!(read(&store, G, 1, 6).await, entries);
}

/// R12: one caller's gap is refused; what others wrote in the same moment is stored.
#[tokio::test]
async fn a_gap_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut calls = Vec::new();
    for group in 1..=40 {
        let store = Arc::clone(&store);
        let first = if group % 4 == 0 { 2 } else { 1 };
        let entries = commands(1, first..=3);
        calls.push(tokio::spawn(async move {
            store.write(vec![append(GroupId(group), entries)]).await
        }));
    }
    for (call, group) in calls.into_iter().zip(1..) {
        let result = call.await.unwrap();
        let recovered = store.load(GroupId(group)).await.unwrap();
        if group % 4 == 0 {
            let refused = matches!(result, Err(LogStoreError::NotContiguous { last: Index(0), .. }));
            assert!(refused, "{result:?}");
            assert!(recovered.is_empty());
        } else {
            result.unwrap();
            assert_eq!(recovered.last_index, Index(3));
        }
    }
    write(&store, append(GroupId(4), commands(1, 1..=3))).await;
}

#[tokio::test]
async fn a_falling_term_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(5, 1..=3))).await;
    for entries in [commands(4, 4..=4), vec![command(6, 4), command(5, 5)]] {
        let result = store.write(vec![append(G, entries)]).await;
        assert!(
            matches!(result, Err(LogStoreError::NotContiguous { .. })),
            "{result:?}"
        );
    }
    write(&store, append(G, commands(6, 4..=5))).await;
}

/// R56: calls are done in the order in which they were made, also when they wait for room in the queue.
#[tokio::test]
async fn calls_in_flight_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineLogOptions {
        queue_bytes_max: 500,
        queue_requests_max: 3,
        ..EngineLogOptions::default()
    };
    let store = Arc::new(EngineLogStore::open(dir.path(), options).unwrap());
    let mut calls = Vec::new();
    for index in 1..=300 {
        let store = Arc::clone(&store);
        // The terms rise along the way: any other order would leave a gap or a falling term.
        let term = index / 3;
        calls.push(tokio::spawn(async move {
            store
                .write(vec![append(G, commands(1 + term, index..=index))])
                .await?;
            Ok::<_, LogStoreError>(index)
        }));
        tokio::task::yield_now().await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.load(G).await.unwrap().last_index, Index(300));
}

/// Queued together, writes meet in one batch: each cuts what the one before has just staged.
#[tokio::test]
async fn truncations_follow_each_other_within_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(1, 1..=10))).await;
    let writes = [
        // The writer takes the first one alone; the others wait for its sync.
        commands(2, 8..=20),
        commands(3, 9..=20),
        commands(4, 12..=14),
        commands(5, 13..=18),
        commands(6, 16..=16),
    ];
    let calls = writes.map(|entries| store.write(vec![append(G, entries)]));
    for result in join_all(calls).await {
        result.unwrap();
    }
    let parts = [
        (1, 1..=7),
        (2, 8..=8),
        (3, 9..=11),
        (4, 12..=12),
        (5, 13..=15),
        (6, 16..=16),
    ];
    let expected: Vec<Entry> = parts
        .into_iter()
        .flat_map(|(term, indexes)| commands(term, indexes))
        .collect();
    assert_eq!(read(&store, G, 1, 16).await, expected);
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store, G, 1, 16).await, expected);
    assert_eq!(store.load(G).await.unwrap().last_index, Index(16));
}

/// R60: a batch that breaks the contract is an error like any other: nothing of it is stored, and nothing after it.
#[tokio::test]
async fn a_group_named_twice_in_one_batch_fails_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let twice = vec![
        append(G, commands(1, 1..=1)),
        append(GroupId(1), commands(1, 1..=1)),
        append(G, commands(1, 2..=2)),
    ];
    let error = store.write(twice).await.unwrap_err();
    assert!(error.to_string().contains("group 7 is named twice"), "{error}");
    let later = store.write(vec![append(G, commands(1, 1..=1))]).await;
    assert!(matches!(later, Err(LogStoreError::Failed)), "{later:?}");
    drop(store);
    assert!(open(dir.path()).load(G).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reset_and_its_neighbours_meet_in_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let writes = [
        append(G, commands(1, 1..=10)),
        append(G, commands(2, 5..=10)),
        reset(G, 2, 100, commands(3, 101..=110)),
        append(G, commands(4, 105..=107)),
    ];
    let calls = writes.map(|change| store.write(vec![change]));
    for result in join_all(calls).await {
        result.unwrap();
    }
    drop(store);
    let store = open(dir.path());
    let recovered = store.load(G).await.unwrap();
    assert_eq!((recovered.purged, recovered.last_index), (id(2, 100), Index(107)));
    assert_eq!(
        recovered.term_runs,
        [(Index(101), Term(3)), (Index(105), Term(4))]
    );
}

/// Polls all of them in order, then waits for each.
async fn join_all<T: Send + 'static, const N: usize>(
    calls: [std::pin::Pin<Box<dyn Future<Output = T> + Send + '_>>; N],
) -> Vec<T> {
    let mut calls: Vec<_> = calls.into_iter().map(|call| (call, None)).collect();
    std::future::poll_fn(|context| {
        for (call, result) in &mut calls {
            if result.is_none()
                && let std::task::Poll::Ready(ready) = call.as_mut().poll(context)
            {
                *result = Some(ready);
            }
        }
        match calls.iter().all(|(_, result)| result.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, result)| result).collect()
}

/// R52: a reset drops every entry, on both sides of where the log begins anew.
#[tokio::test]
async fn a_reset_below_above_and_inside_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    write(&store, append(G, commands(1, 1..=600))).await;
    store.compact(G, id(1, 300)).await.unwrap();
    for (begin, entries) in [(500, 3), (200, 50), (900, 0), (10, 0), (10, 700)] {
        let last = begin + entries;
        let term = begin + 1000;
        write(&store, reset(G, term, begin, commands(term, begin + 1..=last))).await;
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = open(dir.path());
            }
            let recovered = store.load(G).await.unwrap();
            assert_eq!(recovered.purged, id(term, begin));
            assert_eq!(recovered.snapshot, meta(term, begin));
            assert_eq!(recovered.last_index, Index(last));
            assert_eq!(
                read(&store, G, begin + 1, last).await,
                commands(term, begin + 1..=last)
            );
            let above = store.read(G, Index(last + 1), Index(last + 1), 1).await;
            assert!(matches!(above, Err(LogStoreError::Missing { .. })));
        }
    }
}

/// A later snapshot that a caller merged into a reset covers the first of its entries.
#[tokio::test]
async fn a_reset_with_a_snapshot_inside_its_entries_begins_after_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut change = reset(G, 2, 100, commands(2, 101..=110));
    change.merge(GroupWrite {
        snapshot: Some(meta(2, 105)),
        ..append(G, commands(2, 111..=112))
    });
    write(&store, change).await;
    let recovered = store.load(G).await.unwrap();
    assert_eq!((recovered.purged, recovered.last_index), (id(2, 105), Index(112)));
    assert_eq!(read(&store, G, 106, 112).await, commands(2, 106..=112));
}

#[tokio::test]
async fn a_purge_names_a_stored_entry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(2, 1..=10))).await;
    let above = store.compact(G, id(2, 11)).await;
    assert!(matches!(above, Err(LogStoreError::Missing { .. })), "{above:?}");
    let other = store.compact(G, id(1, 5)).await;
    assert!(matches!(other, Err(LogStoreError::Corrupt(_))), "{other:?}");
    store.compact(G, id(2, 5)).await.unwrap();
    assert_eq!(store.load(G).await.unwrap().purged, id(2, 5));
    // The chain goes on over the purge.
    write(&store, append(G, commands(3, 6..=7))).await;
    drop(store);
    assert_eq!(read(&open(dir.path()), G, 6, 7).await, commands(3, 6..=7));
}

/// The watermark follows the log while the store is open: by count, or with time.
#[tokio::test]
async fn the_watermark_follows() {
    let by_count = EngineLogOptions {
        mark_entries_max: 10,
        mark_interval: Duration::from_secs(3600),
        ..EngineLogOptions::default()
    };
    let with_time = EngineLogOptions {
        mark_entries_max: u64::MAX,
        mark_interval: Duration::from_millis(5),
        ..EngineLogOptions::default()
    };
    for (options, expected) in [(by_count, 91), (with_time, 100)] {
        let dir = tempfile::tempdir().unwrap();
        let store = EngineLogStore::open(dir.path(), options).unwrap();
        for index in 1..=100 {
            write(&store, append(G, commands(1, index..=index))).await;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while marked_index(dir.path()) < expected {
            assert!(
                Instant::now() < deadline,
                "the mark stands at {}",
                marked_index(dir.path())
            );
            tokio::task::yield_now().await;
        }
        // It never shows more than a truncation leaves.
        write(&store, append(G, commands(2, 51..=60))).await;
        assert!(marked_index(dir.path()) <= 60);
    }
}

/// The marked index of group `G`: the layout is that of `format::watermark`.
fn marked_index(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join(format!("watermarks/group-{:020}.mark", G.0))).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let newest = if word(8) > word(4096 + 8) { 0 } else { 4096 };
    word(newest + 40)
}

/// A call that nobody waits for any more is done if it was queued, and leaves the order intact.
#[tokio::test]
async fn a_call_that_is_given_up_is_done_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut given_up = store.write(vec![append(G, commands(1, 1..=3))]);
    std::future::poll_fn(|context| {
        let _ = given_up.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(given_up);
    write(&store, append(G, commands(1, 4..=4))).await;
    drop(store.write(vec![append(G, commands(1, 5..=5))]));
    assert_eq!(store.load(G).await.unwrap().last_index, Index(4));
}

#[tokio::test]
async fn a_destroyed_group_leaves_nothing_but_that_it_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let groups = [GroupId(0), G, GroupId(u64::MAX)];
    for group in groups {
        write(&store, append(group, commands(4, 1..=10))).await;
        write(&store, vote(group, 4, Some(1))).await;
        store.destroy(group).await.unwrap();
    }
    let left = files_of(&dir.path().join("watermarks"), "mark");
    assert!(left.iter().all(|path| path.ends_with("store.mark")), "{left:?}");
    drop(store);
    let store = open(dir.path());
    for group in groups {
        let error = store.load(group).await.unwrap_err();
        assert!(
            matches!(error, LogStoreError::Destroyed(id) if id == group),
            "{error}"
        );
    }
}

/// A crash in the middle of a destruction, at its worst: the group is destroyed, and all of it is there still.
#[tokio::test]
async fn a_destruction_that_a_crash_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, append(G, commands(4, 1..=10))).await;
    write(&store, append(GroupId(8), commands(4, 1..=3))).await;
    drop(store);
    let marks = dir.path().join("watermarks");
    std::fs::write(marks.join(format!("group-{:020}.destroyed", G.0)), b"").unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        let error = store.load(G).await.unwrap_err();
        assert!(matches!(error, LogStoreError::Destroyed(G)), "{error}");
        let refused = store.write(vec![append(G, commands(4, 1..=1))]).await;
        assert!(matches!(refused, Err(LogStoreError::Destroyed(G))));
        assert_eq!(read(&store, GroupId(8), 1, 3).await, commands(4, 1..=3));
    }
    assert!(!marks.join(format!("group-{:020}.mark", G.0)).exists());
}

#[tokio::test]
async fn hundreds_of_groups_in_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch = (0..300).map(|group| append(GroupId(group), commands(1 + group, 1..=1 + group % 5)));
    store.write(batch.collect()).await.unwrap();
    drop(store);
    let store = open(dir.path());
    for group in 0..300 {
        assert_eq!(
            read(&store, GroupId(group), 1, 1 + group % 5).await,
            commands(1 + group, 1..=1 + group % 5)
        );
    }
}

#[tokio::test]
async fn reads_beside_truncations_never_mix_two_logs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    write(&store, append(G, commands(1, 1..=50))).await;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 2..150 {
                match round % 3 {
                    0 => {
                        write(
                            &store,
                            reset(G, round, round % 20, commands(round, round % 20 + 1..=50)),
                        )
                        .await
                    }
                    _ => write(&store, append(G, commands(round, 40 + round % 5..=50))).await,
                }
            }
        })
    };
    while !writer.is_finished() {
        match store.read(G, Index(25), Index(50), usize::MAX).await {
            Ok(entries) => {
                let terms: Vec<Term> = entries.iter().map(Entry::term).collect();
                assert!(terms.is_sorted(), "{terms:?}");
                assert_eq!(entries.len(), 26);
            }
            Err(error) => assert!(matches!(error, LogStoreError::Missing { .. }), "{error}"),
        }
    }
    writer.await.unwrap();
}

/// R57: what raft-engine moves from file to file while it is read stays readable.
#[tokio::test]
async fn reads_beside_a_purge_find_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open_with_small_files(dir.path()));
    let quiet = GroupId(1);
    write(&store, append(quiet, commands(1, 1..=20))).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reading = tokio::spawn({
        let (store, done) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&done));
        async move {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                assert_eq!(read(&store, quiet, 1, 20).await, commands(1, 1..=20));
                reads += 1;
                tokio::task::yield_now().await;
            }
            reads
        }
    });
    let mut index = 0;
    while engine_files(dir.path(), "raftlog")[0] < dir.path().join("engine/0000000000000008.raftlog") {
        index += 1;
        write(&store, append(G, commands(1, index..=index))).await;
        if index % 50 == 0 {
            store.compact(G, id(1, index - 5)).await.unwrap();
        }
        assert!(index < 100_000, "raft-engine never deleted its first files");
    }
    done.store(true, std::sync::atomic::Ordering::Release);
    assert!(reading.await.unwrap() > 10);
}
