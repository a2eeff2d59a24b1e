//! Goes through a group's log past everything that does not fit.
//!
//! The checks are those of the format; what differs from the scan on open is that nothing ends it.

use std::ops::ControlFlow;

use raft_core::types::{GroupId, Index};

use crate::format::record::{EntryView, Link, RecordError, index_of_key};
use crate::log::database::View;

/// What is met on the way through a log.
pub(super) enum Met<'a> {
    /// An entry that is whole, the size of its value, and what is wrong with its place, if anything.
    Entry(EntryView<'a>, usize, Option<RecordError>),
    /// An entry that is not whole.
    Damaged(Index, RecordError),
    /// No entries from the first to the last index, though there are some above.
    Missing(Index, Index),
    /// RocksDB cannot read what is there from an index on: up to another one, or at all.
    Unreadable(Index, Option<Index>, String),
    /// A key of another shape among the entries.
    StrangeKey,
}

impl Met<'_> {
    /// The first index that it is about, if any.
    pub(super) fn first(&self) -> Option<Index> {
        match self {
            Met::Entry(entry, ..) => Some(entry.link.id.index),
            Met::Damaged(index, _) | Met::Missing(index, _) | Met::Unreadable(index, ..) => Some(*index),
            Met::StrangeKey => None,
        }
    }
}

/// Where a walk begins.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// The first index that there should be; `None` if nobody knows.
    pub(super) first: Option<Index>,
    /// The entry before it, if it is known.
    pub(super) previous: Option<Link>,
}

/// Shows `meet` everything of `group`'s log from `start` on, in order, until it breaks off.
pub(super) fn walk(
    view: &View<'_>,
    group: GroupId,
    start: Start,
    meet: &mut dyn FnMut(Met<'_>) -> ControlFlow<()>,
) {
    let mut walker = Walker {
        group,
        expected: start.first,
        previous: start.previous,
        meet,
    };
    // Whoever breaks off knows why.
    let _ = walker.run(view);
}

struct Walker<'m> {
    group: GroupId,
    /// The index that comes next, if it is known.
    expected: Option<Index>,
    previous: Option<Link>,
    meet: &'m mut dyn FnMut(Met<'_>) -> ControlFlow<()>,
}

impl Walker<'_> {
    fn run(&mut self, view: &View<'_>) -> ControlFlow<()> {
        let mut entries = view.all_entries_from(self.group, self.expected.unwrap_or(Index::ZERO));
        loop {
            if let Some((key, value)) = entries.item() {
                self.take(key, value)?;
                entries.next();
                continue;
            }
            let Err(error) = entries.status() else {
                return ControlFlow::Continue(());
            };
            let from = self.expected.unwrap_or(Index::ZERO);
            let after = readable_after(view, self.group, from);
            let last = after.map(Index::previous);
            (self.meet)(Met::Unreadable(from, last, error.to_string()))?;
            let Some(after) = after else {
                return ControlFlow::Continue(());
            };
            (self.expected, self.previous) = (Some(after), None);
            entries = view.all_entries_from(self.group, after);
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        let Some(index) = index_of_key(self.group, key) else {
            return (self.meet)(Met::StrangeKey);
        };
        if let Some(expected) = self.expected
            && index > expected
        {
            self.previous = None;
            (self.meet)(Met::Missing(expected, index.previous()))?;
        }
        self.expected = Some(index.next());
        match EntryView::verify(self.group, index, value) {
            Ok(entry) => {
                let misplaced = self.previous.and_then(|previous| entry.follows(&previous).err());
                self.previous = Some(entry.link);
                (self.meet)(Met::Entry(entry, value.len(), misplaced))
            }
            Err(error) => {
                self.previous = None;
                (self.meet)(Met::Damaged(index, error))
            }
        }
    }
}

/// The first index after `from` at which RocksDB can go on; `None` if it cannot at all. A damaged block hides all of
/// its keys, and which keys those are cannot be asked: so it is found out by looking, in steps that double and then halve.
fn readable_after(view: &View<'_>, group: GroupId, from: Index) -> Option<Index> {
    let readable = |index: u64| view.entries_from(group, Index(index)).status().is_ok();
    let (mut hidden, mut step) = (from.0, 1_u64);
    let mut found = loop {
        let next = from.0.saturating_add(step);
        if readable(next) {
            break next;
        }
        if next == u64::MAX {
            return None;
        }
        hidden = next;
        step = step.saturating_mul(2);
    };
    while found - hidden > 1 {
        let middle = hidden + (found - hidden) / 2;
        if readable(middle) {
            found = middle;
        } else {
            hidden = middle;
        }
    }
    Some(Index(found))
}
