//! What the suite writes, and how it looks at what is there.

use bytes::Bytes;

use crate::effect::LogChange;
use crate::entry::Entry;
use crate::membership::Membership;
use crate::message::SnapshotMeta;
use crate::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use crate::types::{EntryId, GroupId, Index, NodeId, Term};

pub(super) fn append(group: GroupId, entries: Vec<Entry>) -> GroupWrite {
    GroupWrite {
        group,
        hard_state: None,
        snapshot: None,
        log: LogChange::Append(entries),
    }
}

pub(super) fn command(term: u64, index: u64, bytes: &[u8]) -> Entry {
    Entry::command(Term(term), Index(index), Bytes::copy_from_slice(bytes))
}

pub(super) fn commands(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    indexes
        .map(|index| command(term, index, format!("{term}:{index}").as_bytes()))
        .collect()
}

pub(super) fn membership(voters: &[u64]) -> Membership {
    Membership::of_voters(voters.iter().copied().map(NodeId)).expect("the suite names valid voters")
}

pub(super) fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: EntryId::new(Term(term), Index(index)),
        membership: membership(&[1, 2, 3]),
    }
}

pub(super) async fn load(store: &dyn LogStore, group: GroupId) -> Recovered {
    store.load(group).await.expect("load must succeed")
}

pub(super) async fn write(store: &dyn LogStore, write: GroupWrite) {
    store
        .write(vec![write])
        .await
        .expect("a valid write must succeed");
}

pub(super) async fn read(store: &dyn LogStore, group: GroupId, first: u64, last: u64) -> Vec<Entry> {
    store
        .read(group, Index(first), Index(last), usize::MAX)
        .await
        .expect("stored entries must be readable")
}

pub(super) async fn assert_missing(store: &dyn LogStore, group: GroupId, first: u64, last: u64) {
    let result = store.read(group, Index(first), Index(last), usize::MAX).await;
    assert!(
        matches!(result, Err(LogStoreError::Missing { .. })),
        "reading {first} to {last} of group {group}, not all of it stored, must fail as Missing: {result:?}"
    );
}
