//! Writes as a replica makes them.

use crate::disk::{Finding, LogImage, Opened, Storage};
use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term};

pub(crate) const GROUP: GroupId = GroupId(7);

pub(crate) fn storage() -> Storage {
    Storage::new(GROUP)
}

pub(crate) fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

/// A command of 64 bytes that says where it stands.
pub(crate) fn entry(index: u64, term: u64) -> Entry {
    let mut command = vec![0; 64];
    command[..8].copy_from_slice(&index.to_le_bytes());
    command[8..16].copy_from_slice(&term.to_le_bytes());
    Entry::command(Term(term), Index(index), Bytes::from(command))
}

pub(crate) fn membership(voters: &[u64]) -> Membership {
    Membership::of_voters(voters.iter().map(|voter| NodeId(*voter))).expect("these are voters")
}

pub(crate) fn membership_entry(index: u64, term: u64, voters: &[u64]) -> Entry {
    Entry {
        id: id(index, term),
        payload: Payload::Membership(membership(voters)),
    }
}

pub(crate) fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState {
        term: Term(term),
        vote: Some(NodeId(vote)).filter(|vote| vote.0 > 0),
        commit: Index(commit),
        ..HardState::default()
    }
}

/// A write of nothing.
pub(crate) fn nothing() -> GroupWrite {
    GroupWrite {
        group: GROUP,
        hard_state: None,
        snapshot: None,
        log: LogChange::Append(Vec::new()),
    }
}

pub(crate) fn append(entries: impl IntoIterator<Item = Entry>) -> GroupWrite {
    GroupWrite {
        log: LogChange::Append(entries.into_iter().collect()),
        ..nothing()
    }
}

pub(crate) fn state(hard_state: HardState) -> GroupWrite {
    GroupWrite {
        hard_state: Some(hard_state),
        ..nothing()
    }
}

pub(crate) fn meta(last: EntryId) -> SnapshotMeta {
    SnapshotMeta {
        last,
        membership: membership(&[1, 2, 3]),
    }
}

/// Saves a snapshot and puts it in force, durably.
pub(crate) fn take_snapshot(storage: &mut Storage, last: EntryId) {
    let content = Bytes::from(format!("the state at {last}").repeat(40));
    storage.save_snapshot(&meta(last), content).expect("it is saved");
    put(
        storage,
        GroupWrite {
            snapshot: Some(meta(last)),
            ..nothing()
        },
    );
}

/// Writes, durably.
pub(crate) fn put(storage: &mut Storage, change: GroupWrite) {
    storage.write(&change).expect("it is written");
    storage.sync().expect("it is synced");
}

/// Appends so many entries of a term, one write each, durably.
pub(crate) fn fill(storage: &mut Storage, first: u64, last: u64, term: u64) {
    for index in first..=last {
        put(storage, append([entry(index, term)]));
    }
}

pub(crate) fn sound(opened: Opened) -> Recovered {
    match opened {
        Opened::Sound(recovered) => {
            assert!(!recovered.lost, "what is sound has lost nothing");
            recovered
        }
        other => panic!("should be sound: {other:?}"),
    }
}

pub(crate) fn suspect(opened: Opened) -> (Recovered, Finding) {
    match opened {
        Opened::Suspect(recovered, finding) => {
            assert!(recovered.lost, "a suspect says that something is lost");
            (recovered, finding)
        }
        other => panic!("should be a suspect: {other:?}"),
    }
}

pub(crate) fn refused(opened: Opened) -> Finding {
    match opened {
        Opened::Refused(finding) => finding,
        other => panic!("should be refused: {other:?}"),
    }
}

/// What a replica would be told, as an image.
pub(crate) fn image(recovered: &Recovered) -> LogImage {
    LogImage::of(recovered)
}
