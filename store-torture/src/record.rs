//! What the writing process tells the one that watches it: what it is about to do, what was acknowledged, what it found.

use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_core::effect::LogChange;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// One call of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `LogStore::write`.
    Write(Vec<Change>),
    /// `LogStore::compact`.
    Compact {
        /// The group.
        group: u64,
        /// Up to this entry.
        through: Place,
    },
    /// `LogStore::destroy`.
    Destroy(u64),
}

/// An entry's term and index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The term.
    pub term: u64,
    /// The index.
    pub index: u64,
}

/// What a write changes for one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The group.
    pub group: u64,
    /// The hard state, if it changes.
    pub hard_state: Option<Hard>,
    /// The snapshot, if it changes.
    pub snapshot: Option<Snapshot>,
    /// Whether the log begins anew after the snapshot.
    pub reset: bool,
    /// The entries.
    pub entries: Run,
}

/// A hard state of a trusted replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hard {
    /// The term.
    pub term: u64,
    /// The vote; 0 for none.
    pub vote: u64,
    /// The commit index.
    pub commit: u64,
}

/// A snapshot in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its last entry.
    pub last: Place,
    /// How many voters its configuration has.
    pub voters: u64,
}

/// Entries of one term, whose payloads follow from a seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first entry.
    pub first: Place,
    /// How many.
    pub count: u64,
    /// The size of each command; 0 for no-ops.
    pub bytes: u64,
    /// What the payloads follow from.
    pub seed: u64,
}

/// What tells an entry from any other: its term, its kind and size, and a checksum of its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest {
    /// The term.
    pub term: u64,
    /// The size of its command; `u32::MAX` for a no-op.
    pub bytes: u32,
    /// The checksum of the command.
    pub crc: u32,
}

/// What a store has of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The group.
    pub group: u64,
    /// The hard state.
    pub hard_state: Hard,
    /// Whether the replica is a suspect by its hard state.
    pub suspect: bool,
    /// Whether the store says that something is missing.
    pub lost: bool,
    /// The snapshot in force.
    pub snapshot: Snapshot,
    /// Where the log begins.
    pub purged: Place,
    /// The index of the last entry.
    pub last: u64,
    /// The entries after `purged`.
    pub entries: Vec<Digest>,
}

/// What the writing process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The store is open, and this is all it has.
    Opened(Vec<Found>),
    /// The store refused to open, or to be read.
    Refused(String),
    /// A call begins. `refusable`: it must be refused.
    Begin {
        /// The call.
        operation: Operation,
        /// Whether the store must refuse it.
        refusable: bool,
    },
    /// The call with this number (the first is 0) ended.
    End {
        /// The call.
        number: u64,
        /// How.
        outcome: Ended,
    },
    /// The store was closed in an orderly way.
    Closed,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It was acknowledged.
    Acknowledged,
    /// It was refused because of what it asked for: nothing of it may be there.
    Refused,
    /// It failed: all of it may be there, or nothing.
    Failed(String),
}

impl Event {
    /// Writes the event as one frame.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let body = postcard::to_allocvec(self).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        to.write_all(&frame)?;
        to.flush()
    }

    /// Reads frames to the end. A last one that was cut short by the writer's death is left out.
    ///
    /// # Errors
    /// The pipe broke, or a frame makes no sense.
    pub fn read_all(from: &mut impl Read) -> io::Result<Vec<Event>> {
        let mut content = Vec::new();
        from.read_to_end(&mut content)?;
        let mut rest = &content[..];
        let mut events = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let Some((body, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                break;
            };
            events.push(postcard::from_bytes(body).map_err(io::Error::other)?);
            rest = after;
        }
        Ok(events)
    }
}

impl Place {
    pub(crate) fn id(self) -> EntryId {
        EntryId::new(Term(self.term), Index(self.index))
    }
}

impl From<EntryId> for Place {
    fn from(id: EntryId) -> Place {
        Place {
            term: id.term.0,
            index: id.index.0,
        }
    }
}

impl Change {
    pub(crate) fn to_write(&self) -> GroupWrite {
        let entries = self.entries.entries().collect();
        GroupWrite {
            group: GroupId(self.group),
            hard_state: self.hard_state.map(Hard::to_hard_state),
            snapshot: self.snapshot.map(Snapshot::to_meta),
            log: match self.reset {
                true => LogChange::Reset(entries),
                false => LogChange::Append(entries),
            },
        }
    }
}

impl Hard {
    fn to_hard_state(self) -> HardState {
        HardState {
            term: Term(self.term),
            vote: (self.vote > 0).then_some(NodeId(self.vote)),
            commit: Index(self.commit),
            trust: Trust::Trusted,
        }
    }
}

impl From<HardState> for Hard {
    fn from(state: HardState) -> Hard {
        Hard {
            term: state.term.0,
            vote: state.vote.map_or(0, |vote| vote.0),
            commit: state.commit.0,
        }
    }
}

impl Snapshot {
    fn to_meta(self) -> SnapshotMeta {
        let membership = Membership::of_voters((1..=self.voters).map(NodeId));
        SnapshotMeta {
            last: self.last.id(),
            membership: membership.unwrap_or_default(),
        }
    }
}

impl From<&SnapshotMeta> for Snapshot {
    fn from(meta: &SnapshotMeta) -> Snapshot {
        Snapshot {
            last: meta.last.into(),
            voters: meta.membership.voters().len() as u64,
        }
    }
}

impl Run {
    /// The entries themselves.
    pub(crate) fn entries(self) -> impl Iterator<Item = Entry> {
        (self.first.index..self.first.index + self.count).map(move |index| {
            let payload = match self.bytes {
                0 => Payload::Noop,
                bytes => Payload::Command(payload(self.seed ^ index, bytes as usize)),
            };
            let id = EntryId::new(Term(self.first.term), Index(index));
            Entry { id, payload }
        })
    }
}

/// Bytes that follow from a seed.
pub(crate) fn payload(seed: u64, bytes: usize) -> Bytes {
    let mut random = Random::new(seed);
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        content.extend_from_slice(&random.next().to_le_bytes());
    }
    content.truncate(bytes);
    Bytes::from(content)
}

impl Digest {
    pub(crate) fn of(entry: &Entry) -> Digest {
        let (bytes, crc) = match &entry.payload {
            Payload::Command(command) => (command.len() as u32, crc32c::crc32c(command)),
            _ => (u32::MAX, 0),
        };
        Digest {
            term: entry.id.term.0,
            bytes,
            crc,
        }
    }
}
