//! How entries are recorded: as runs of those that are alike.

use super::{Entry, Payload, SessionRequest};
use crate::codec::{CodecError, Detail, Reader, Recorded, Writer};
use crate::types::{EntryId, Index};

/// Appends entries. Of those that follow each other and differ in nothing but what clients gave them, only the first says
/// more than its size, if that is all that is recorded.
pub(crate) fn put_entries<'a>(entries: impl Iterator<Item = &'a Entry>, out: &mut Writer) {
    let mut left = entries.peekable();
    while let Some(head) = left.next() {
        let mut count = 1;
        if out.detail != Detail::Whole {
            let bytes = command_bytes(head);
            let goes_on = |next: &Entry, count| {
                let follows = next.id.term == head.id.term && next.id.index == head.id.index + count;
                follows && bytes.is_some() && command_bytes(next) == bytes
            };
            while left.next_if(|next| goes_on(next, count)).is_some() {
                count += 1;
            }
        }
        out.number(count);
        head.put(out);
    }
    out.number(0);
}

/// Whose command an entry is, a client's or a session's, and how large; none if it is something else.
fn command_bytes(entry: &Entry) -> Option<(bool, usize)> {
    match &entry.payload {
        Payload::Command(command) => Some((false, command.len())),
        Payload::Session(session) => match &session.request {
            SessionRequest::Command(command) => Some((true, command.command.len())),
            _ => None,
        },
        _ => None,
    }
}

/// Takes what [`put_entries`] appended off the front, one by one.
pub(crate) fn take_entries(from: &mut Reader, mut each: impl FnMut(Entry)) -> Result<(), CodecError> {
    loop {
        let count = from.size()?;
        if count == 0 {
            return Ok(());
        }
        let too_large = CodecError::TooLarge { what: "a log" };
        from.entries_left = from.entries_left.checked_sub(count).ok_or(too_large)?;
        let head = Entry::take(from)?;
        let EntryId { term, index } = head.id;
        if index.0 >> 62 != 0 {
            // Indexes count up by one: no log gets there, and nothing that follows from this one overflows.
            return Err(CodecError::Invalid("the index of an entry"));
        }
        for further in 0..count as u64 {
            let index = Index(index.0 + further);
            each(Entry {
                id: EntryId { term, index },
                payload: head.payload.clone(),
            });
        }
    }
}

impl Recorded for Entry {
    fn put(&self, out: &mut Writer) {
        let Entry { id, payload } = self;
        id.put(out);
        payload.put(out);
    }

    fn take(from: &mut Reader) -> Result<Entry, CodecError> {
        Ok(Entry {
            id: Recorded::take(from)?,
            payload: Recorded::take(from)?,
        })
    }

    fn put_all(values: &[Entry], out: &mut Writer) {
        put_entries(values.iter(), out);
    }

    fn take_all(from: &mut Reader) -> Result<Vec<Entry>, CodecError> {
        let mut entries = Vec::new();
        take_entries(from, |entry| entries.push(entry))?;
        Ok(entries)
    }
}
