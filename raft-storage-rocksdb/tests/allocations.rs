//! The append path allocates for a batch, never for an entry: the payload that arrived is the one that is written.
//!
//! Alone in its program, because the allocator counts for all threads of it.

use std::alloc::System;

use bytes::Bytes;
use futures_executor::block_on;
use raft_core::effect::LogChange;
use raft_core::entry::Entry;
use raft_core::traits::{GroupWrite, LogStore};
use raft_core::types::{GroupId, Index, Term};
use raft_storage_rocksdb::RocksLogStore;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Batches that are counted.
const BATCHES: u64 = 64;

/// Rust's allocations of one append of `count` entries, on all threads, the entries made before.
fn allocations(count: u64) -> u64 {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = RocksLogStore::open_default(dir.path()).expect("an empty directory opens");
    let payload = Bytes::from(vec![7; 256]);
    let batches: Vec<Vec<GroupWrite>> = (0..2 * BATCHES)
        .map(|batch| {
            let first = Index(batch * count + 1);
            let entry = |place| Entry::command(Term(1), first + place, payload.clone());
            vec![GroupWrite {
                group: GroupId(1),
                hard_state: None,
                snapshot: None,
                log: LogChange::Append((0..count).map(entry).collect()),
            }]
        })
        .collect();
    let mut batches = batches.into_iter();
    let mut append = || {
        for batch in batches.by_ref().take(BATCHES as usize) {
            block_on(store.write(batch)).expect("the store takes the batch");
        }
    };
    // Buffers grow to the size that they keep.
    append();
    let region = Region::new(ALLOCATOR);
    append();
    let change = region.change();
    (change.allocations + change.reallocations) as u64 / BATCHES
}

#[test]
fn an_append_allocates_for_its_batch_and_nothing_for_an_entry() {
    let (one, some, many) = (allocations(1), allocations(16), allocations(256));
    // Twelve when this was written: the call's future, its answer, the batch, and what is noted of its groups.
    assert!(one <= 16, "{one} allocations for a batch of one entry");
    // Lists that double until they hold the batch may grow with its logarithm; 240 entries more may not show.
    assert!(
        many <= some + 8,
        "{many} allocations for 256 entries, {some} for 16"
    );
}
