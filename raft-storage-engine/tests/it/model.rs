//! Random writes on many small files, with raft-engine moving and deleting beneath, against a model in memory.
//!
//! raft-engine forgets a truncation, a purge and a destroyed group when it deletes the file that said so; what it moved to
//! other files before must not come back.

use std::collections::BTreeMap;
use std::path::Path;

use raft_core::traits::LogStore;
use raft_core::types::{GroupId, Index};
use raft_storage_engine::EngineLogStore;

use crate::support::*;

/// What a group must have.
#[derive(Clone, Default)]
struct Log {
    purged: u64,
    /// The terms of the entries behind `purged`.
    terms: Vec<u64>,
    term: u64,
    /// How often the group was destroyed: each time another one took its place.
    destroyed: u64,
}

impl Log {
    fn id(&self, group: u64) -> GroupId {
        GroupId(group + 10 * self.destroyed)
    }

    fn last(&self) -> u64 {
        self.purged + self.terms.len() as u64
    }
}

async fn step(store: &EngineLogStore, group: GroupId, log: &mut Log, numbers: &mut Numbers) {
    log.term += numbers.below(2);
    match numbers.below(40) {
        0 => {
            let at = 1 + numbers.below(log.last() + 30);
            let count = numbers.below(8);
            log.purged = at;
            // Terms never fall within a log, and its snapshot is of the present term.
            log.term += 1;
            log.terms = vec![log.term; count as usize];
            let entries = commands(log.term, at + 1..=at + count);
            write(store, reset(group, log.term, at, entries)).await;
        }
        1 => {
            store.destroy(group).await.unwrap();
            *log = Log {
                destroyed: log.destroyed + 1,
                ..Log::default()
            };
        }
        2..=5 => {
            let keep = numbers.below(log.terms.len() as u64 + 1) as usize;
            if keep > 0 {
                let through = log.purged + keep as u64;
                store
                    .compact(group, id(log.terms[keep - 1], through))
                    .await
                    .unwrap();
                log.terms.drain(..keep);
                log.purged = through;
            }
        }
        _ => {
            let back = numbers.below(5).min(log.terms.len() as u64) * numbers.below(2);
            let first = log.last() + 1 - back;
            let count = 1 + numbers.below(12);
            log.terms.truncate((first - log.purged - 1) as usize);
            log.term = log.term.max(1);
            log.terms.extend(std::iter::repeat_n(log.term, count as usize));
            write(
                store,
                append(group, commands(log.term, first..=first + count - 1)),
            )
            .await;
        }
    }
}

async fn check(store: &EngineLogStore, group: GroupId, log: &Log) {
    let recovered = store.load(group).await.unwrap();
    assert_eq!(
        (recovered.purged.index, recovered.last_index),
        (Index(log.purged), Index(log.last())),
        "group {group}"
    );
    if !log.terms.is_empty() {
        let entries = read(store, group, log.purged + 1, log.last()).await;
        for ((index, term), entry) in (log.purged + 1..).zip(&log.terms).zip(&entries) {
            assert_eq!(*entry, command(*term, index), "group {group}");
        }
        assert_eq!(entries.len(), log.terms.len());
    }
}

async fn run(dir: &Path, numbers: &mut Numbers) {
    const ROUNDS: u64 = 12;
    let mut logs: BTreeMap<u64, Log> = (1..=5).map(|group| (group, Log::default())).collect();
    for _ in 0..ROUNDS {
        let store = open_with_small_files(dir);
        for _ in 0..numbers.below(400) {
            // Some groups are busy, others quiet.
            let group = 1 + numbers.below(5).min(numbers.below(5));
            let log = logs.get_mut(&group).unwrap();
            step(&store, log.id(group), log, numbers).await;
        }
        for (&group, log) in &logs {
            check(&store, log.id(group), log).await;
        }
        drop(store);
        let store = open_with_small_files(dir);
        for (&group, log) in &logs {
            check(&store, log.id(group), log).await;
        }
    }
    let first = &engine_files(dir, "raftlog")[0];
    assert!(
        !first.ends_with("0000000000000001.raftlog"),
        "nothing was ever deleted"
    );
}

/// R12, R52: whatever raft-engine moves and deletes, the logs are those that were written.
#[tokio::test]
async fn what_was_forgotten_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let seed = std::env::var("RAFT_STORAGE_TEST_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    println!("seed {seed}");
    run(dir.path(), &mut Numbers(seed)).await;
}
