//! The watermark: the second copy of what must never be forgotten, away from the log.
//!
//! A log whose end was cut at a record's end looks like a shorter log. So two sectors elsewhere say how much there must
//! be: which record was the last durable one, up to where the log was purged, and the hard state. They are written in
//! turn, each after the sync that it vouches for, so that the other one is whole whenever the power is lost.
//!
//! A store of files raises its mark lazily, because each raise costs a sync of its own. Here it costs nothing, and is
//! raised with every sync: so a synced write that is lost is never lost unnoticed.

use raft_core::types::{EntryId, GroupId, HardState};

use super::record::{Link, Reader, put_hard_state, put_id, put_u64};
use super::sectors::{Content, SECTOR_BYTES};

const MAGIC: u64 = 0x6b72_616d_7266_6172;

/// What was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// The last record.
    pub(super) link: Link,
    pub(super) hard_state: HardState,
    /// The entries up to here are not needed any more: a durable snapshot covers them.
    pub(super) purged: EntryId,
}

/// The two copies.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    group: GroupId,
    pub(super) slots: [Content; 2],
    /// The slot that was written last, and what it held before.
    pub(super) before: (usize, Content),
    /// Counts the writes.
    count: u64,
}

impl Mark {
    /// Two copies of a promise of nothing.
    pub(super) fn new(group: GroupId) -> Mark {
        let promise = Promise {
            link: Link::origin(group),
            hard_state: HardState::default(),
            purged: EntryId::ZERO,
        };
        let slots = [0, 1].map(|count| encode(group, count, &promise));
        Mark {
            group,
            slots,
            before: (1, slots[1]),
            count: 1,
        }
    }

    /// The newest promise that can be read; none if both copies are damaged.
    pub(super) fn read(&self) -> Option<Promise> {
        self.newest().map(|copy| copy.1)
    }

    fn newest(&self) -> Option<(u64, Promise)> {
        let copies = self.slots.iter().filter_map(|slot| decode(self.group, slot));
        copies.max_by_key(|copy| copy.0)
    }

    /// A process starts: it goes on after the newest copy that it can read, so that it never overwrites the only whole
    /// one.
    pub(super) fn reopen(&mut self) {
        self.count = self.newest().map_or(self.count, |copy| copy.0);
    }

    /// Writes a promise over the older copy, durably.
    pub(super) fn write(&mut self, promise: &Promise) {
        self.count += 1;
        let (slot, content) = (self.last_slot(), encode(self.group, self.count, promise));
        self.before = (slot, std::mem::replace(&mut self.slots[slot], content));
    }

    /// The position of the copy that was written last.
    pub(super) fn last_slot(&self) -> usize {
        usize::from(!self.count.is_multiple_of(2))
    }
}

fn encode(group: GroupId, count: u64, promise: &Promise) -> Content {
    let mut bytes = Vec::with_capacity(SECTOR_BYTES);
    put_u64(MAGIC, &mut bytes);
    put_u64(group.0, &mut bytes);
    put_u64(count, &mut bytes);
    put_u64(promise.link.number, &mut bytes);
    put_u64(promise.link.chain, &mut bytes);
    put_id(promise.purged, &mut bytes);
    put_hard_state(&promise.hard_state, &mut bytes);
    let checksum = crc32c::crc32c(&bytes);
    put_u64(u64::from(checksum), &mut bytes);
    let mut content = [0; SECTOR_BYTES];
    content[..bytes.len()].copy_from_slice(&bytes);
    content
}

/// The bytes of a slot that mean something, without the checksum: eleven words.
const BODY_BYTES: usize = 88;

fn decode(group: GroupId, slot: &Content) -> Option<(u64, Promise)> {
    let mut reader = Reader(slot);
    let body = reader.take(BODY_BYTES)?;
    if reader.u64()? != u64::from(crc32c::crc32c(body)) {
        return None;
    }
    let mut reader = Reader(body);
    if reader.u64()? != MAGIC || reader.u64()? != group.0 {
        return None;
    }
    let count = reader.u64()?;
    let link = Link {
        number: reader.u64()?,
        chain: reader.u64()?,
    };
    let promise = Promise {
        link,
        purged: reader.id()?,
        hard_state: reader.hard_state()?,
    };
    Some((count, promise))
}

#[cfg(test)]
mod tests {
    use raft_core::types::{Index, NodeId, Term, Trust};

    use super::*;

    fn promise(number: u64) -> Promise {
        Promise {
            link: Link {
                number,
                chain: !number,
            },
            hard_state: HardState {
                term: Term(number),
                vote: Some(NodeId(2)),
                commit: Index(number),
                trust: Trust::Suspect,
            },
            purged: EntryId::new(Term(1), Index(number / 2)),
        }
    }

    /// R68: while one copy is whole, its promise is known; the newer one counts.
    #[test]
    fn the_newest_whole_copy_counts() {
        let mut mark = Mark::new(GroupId(7));
        for number in 1..6 {
            mark.write(&promise(number));
            assert_eq!(mark.read(), Some(promise(number)));
        }
        for byte in 0..BODY_BYTES + 8 {
            let mut damaged = mark.clone();
            damaged.slots[damaged.last_slot()][byte] ^= 0x10;
            assert_eq!(damaged.read(), Some(promise(4)), "byte {byte}");
            damaged.slots[1 - damaged.last_slot()][byte] ^= 0x10;
            assert_eq!(damaged.read(), None, "byte {byte}");
        }
    }

    /// R68: what is written after a torn write goes over the torn copy, never over the only whole one.
    #[test]
    fn a_torn_copy_is_overwritten_first() {
        let mut mark = Mark::new(GroupId(7));
        mark.write(&promise(1));
        mark.write(&promise(2));
        let torn = mark.last_slot();
        mark.slots[torn][50] ^= 1;
        mark.reopen();
        mark.write(&promise(3));
        assert_eq!(mark.last_slot(), torn);
        mark.slots[torn][50] ^= 1;
        assert_eq!(mark.read(), Some(promise(1)));
    }

    #[test]
    fn a_copy_of_another_group_does_not_count() {
        let mut mark = Mark::new(GroupId(1));
        mark.group = GroupId(2);
        assert_eq!(mark.read(), None);
    }
}
