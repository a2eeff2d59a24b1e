//! Groups that share a store do not know of each other.

use std::sync::Arc;

use super::writes::*;
use crate::traits::{GroupWrite, LogStore, LogStoreError};
use crate::types::{EntryId, GroupId, HardState, Index, Term};

pub(super) async fn groups_do_not_touch_each_other(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    one: GroupId,
    other: GroupId,
) {
    let store = open().await;
    let batch = vec![append(one, commands(1, 1..=5)), append(other, commands(2, 1..=3))];
    store.write(batch).await.expect("one batch for two groups");
    write(&*store, append(one, commands(3, 2..=2))).await;
    store
        .compact(one, EntryId::new(Term(1), Index(1)))
        .await
        .expect("compact one group");
    drop(store);
    let store = open().await;
    assert_eq!(read(&*store, other, 1, 3).await, commands(2, 1..=3));
    assert_eq!(read(&*store, one, 2, 2).await, commands(3, 2..=2));
    assert_eq!(load(&*store, one).await.last_index, Index(2));
    assert_missing(&*store, one, 3, 3).await;
}

pub(super) async fn destroy_forgets_one_group(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    one: GroupId,
    neighbour: GroupId,
) {
    let store = open().await;
    for group in [one, neighbour] {
        let change = GroupWrite {
            hard_state: Some(HardState {
                term: Term(2),
                ..HardState::default()
            }),
            snapshot: Some(meta(1, 1)),
            ..append(group, commands(1, 1..=5))
        };
        write(&*store, change).await;
    }
    store.destroy(one).await.expect("destroy a group");
    assert_destroyed(&*store, one, "at once").await;
    assert_eq!(read(&*store, neighbour, 1, 5).await, commands(1, 1..=5));
    drop(store);
    let store = open().await;
    assert_destroyed(&*store, one, "after reopening").await;
    store
        .destroy(one)
        .await
        .expect("destroying it again does nothing");
    assert_eq!(
        read(&*store, neighbour, 1, 5).await,
        commands(1, 1..=5),
        "nor does a refused batch harm its neighbour"
    );
    write(&*store, append(neighbour, commands(1, 6..=6))).await;
    drop(store);
    let store = open().await;
    assert_destroyed(&*store, one, "after reopening twice").await;
    assert_eq!(read(&*store, neighbour, 1, 6).await, commands(1, 1..=6));
}

/// A group may be destroyed before anything of it was written: then it never comes into being.
pub(super) async fn destroy_is_for_ever_before_the_first_write(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    group: GroupId,
) {
    let store = open().await;
    store
        .destroy(group)
        .await
        .expect("destroy a group that was never written");
    assert_destroyed(&*store, group, "at once").await;
    drop(store);
    assert_destroyed(&*open().await, group, "after reopening").await;
}

/// Nothing can be done with a group that was destroyed, and a batch that tries to leaves nothing behind.
async fn assert_destroyed(store: &dyn LogStore, group: GroupId, when: &str) {
    let is_refusal = |error: &LogStoreError| matches!(error, LogStoreError::Destroyed(id) if *id == group);
    let loaded = store.load(group).await.expect_err("it must not be loaded");
    assert!(
        is_refusal(&loaded),
        "{when}, loading a destroyed group fails with {loaded}"
    );
    let beside = GroupId(1);
    let first = commands(1, 1..=1);
    let batch = vec![append(beside, first.clone()), append(group, first)];
    let written = store.write(batch).await.expect_err("it must not be written");
    assert!(
        is_refusal(&written),
        "{when}, writing a destroyed group fails with {written}"
    );
    assert!(
        load(store, beside).await.is_empty(),
        "{when}, another group's part of a refused batch was stored"
    );
    let found = store.read(group, Index(1), Index(1), usize::MAX).await;
    let found = found.expect_err("it must not be read");
    assert!(
        is_refusal(&found),
        "{when}, reading a destroyed group fails with {found}"
    );
    let through = EntryId::new(Term(1), Index(1));
    let purged = store
        .compact(group, through)
        .await
        .expect_err("it must not be purged");
    assert!(
        is_refusal(&purged),
        "{when}, purging a destroyed group fails with {purged}"
    );
}
