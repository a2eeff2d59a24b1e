//! Groups that share a store do not know of each other.

use std::sync::Arc;

use super::writes::*;
use crate::traits::{GroupWrite, LogStore};
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
    assert!(
        load(&*store, one).await.is_empty(),
        "a destroyed group is empty at once"
    );
    drop(store);
    let store = open().await;
    assert!(
        load(&*store, one).await.is_empty(),
        "a destroyed group stays empty"
    );
    assert_missing(&*store, one, 1, 1).await;
    assert_eq!(read(&*store, neighbour, 1, 5).await, commands(1, 1..=5));
    write(&*store, append(one, commands(5, 1..=1))).await;
    assert_eq!(read(&*store, one, 1, 1).await, commands(5, 1..=1));
}
