//! Who has a session, what was replied in it, and when it ends.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::entry::{SessionCommand, SessionEntry, SessionRequest};
use crate::mutants::{self, Mutant};
use crate::request::RefusalReason;
use crate::types::{EntryId, Index, Sequence, SessionId};

/// How many sessions there are at most. One more ends the one that was not used for longest.
pub const SESSIONS_MAX: usize = 16_384;
/// How far the sequence of a command may be above what its client has acknowledged, which is also how many replies are kept
/// for a session.
pub const SESSION_WINDOW: u64 = 1_024;
/// How many bytes the kept replies of all sessions may take, looked at once in [`EPOCH_ENTRIES`] entries. Beyond, the
/// session that keeps most ends.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// How many entries an epoch has. Entries are applied in batches, and the size of a reply is known at the end of its batch:
/// what depends on it is decided where an epoch begins, which is at the same entry on every replica.
pub const EPOCH_ENTRIES: u64 = 256;

/// What a kept reply costs beside its bytes.
const REPLY_OVERHEAD_BYTES: usize = 64;

/// The limits above. They are part of what the log means: all replicas have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) sessions_max: usize,
    pub(super) window: u64,
    pub(super) reply_bytes_max: usize,
    pub(super) epoch_entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions_max: SESSIONS_MAX,
            window: SESSION_WINDOW,
            reply_bytes_max: REPLY_BYTES_MAX,
            epoch_entries: EPOCH_ENTRIES,
        }
    }
}

/// Where a command was applied, and what the state machine replied. A duplicate gets the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The index of the entry by which the command was applied.
    pub index: Index,
    /// The state machine's response.
    pub response: Bytes,
}

/// The sessions of all clients: a function of the log.
///
/// Invariants:
/// - a sequence of a session is applied at most once: it is at or above what its client acknowledged and has no reply yet;
/// - log time never falls, and depends on entries only;
/// - there are at most [`SESSIONS_MAX`] sessions, and at most [`SESSION_WINDOW`] replies in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTable {
    pub(super) limits: Limits,
    /// Milliseconds for which the group was seen to have had a leader.
    pub(super) log_time_ms: u64,
    /// The log time at which the leader of `last.term` was elected.
    pub(super) elected_at_ms: u64,
    /// The last entry of any session.
    pub(super) last: EntryId,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// By the entry that used them last.
    by_use: BTreeMap<Index, SessionId>,
    by_deadline: BTreeSet<(u64, SessionId)>,
    reply_bytes: usize,
    pub(super) dirty: Dirty,
}

/// What changed since it was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) replies: BTreeSet<(SessionId, Sequence)>,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) ttl_ms: u64,
    /// In log time.
    pub(super) last_used_ms: u64,
    /// The entry that used it last.
    pub(super) used_at: Index,
    pub(super) acknowledged_below: Sequence,
    pub(super) replies: BTreeMap<Sequence, Kept>,
    /// What the replies cost.
    pub(super) bytes: usize,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) index: Index,
    /// None while its batch is being applied.
    pub(super) response: Option<Bytes>,
}

/// What becomes of an entry of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its command is applied; the response is to be [recorded](SessionTable::record).
    Apply(SessionId, Sequence, Bytes),
    /// It changes nothing but the table, and this is the answer.
    Answer(Result<Reply, RefusalReason>),
    /// It is a copy of the command at this index, which is being applied, too.
    SameAs(Index),
}

impl Session {
    fn deadline_ms(&self) -> u64 {
        self.last_used_ms.saturating_add(self.ttl_ms)
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        REPLY_OVERHEAD_BYTES + self.response.as_ref().map_or(0, Bytes::len)
    }
}

impl SessionTable {
    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The epoch of an entry. Before the first entry of a session in an epoch is decided, every response to commands of
    /// earlier epochs must be recorded.
    pub(super) fn epoch(&self, index: Index) -> u64 {
        index.0 / self.limits.epoch_entries
    }

    /// Decides what becomes of the next entry of a session.
    pub(super) fn decide(&mut self, id: EntryId, entry: &SessionEntry) -> Decision {
        self.advance_time(id, entry.elapsed_ms);
        self.expire();
        if self.epoch(id.index) != self.epoch(self.last.index) {
            self.limit_reply_bytes();
        }
        self.last = id;
        match &entry.request {
            SessionRequest::Open { ttl_ms } => self.open(id.index, *ttl_ms),
            SessionRequest::KeepAlive(session) if self.sessions.contains_key(session) => {
                self.touch(*session, id.index);
                Decision::answer(id.index)
            }
            SessionRequest::KeepAlive(session) => {
                Decision::Answer(Err(RefusalReason::SessionExpired(*session)))
            }
            SessionRequest::Close(session) => {
                self.remove(*session);
                Decision::answer(id.index)
            }
            SessionRequest::Command(command) => self.command(id.index, command),
        }
    }

    /// Keeps the response to a command that was applied, unless its client acknowledged it since.
    pub(super) fn record(&mut self, session: SessionId, sequence: Sequence, index: Index, response: &Bytes) {
        let Some(owner) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Some(kept) = owner.replies.get_mut(&sequence)
            && kept.index == index
        {
            kept.response = Some(response.clone());
            owner.bytes += response.len();
            self.reply_bytes += response.len();
        }
    }

    /// Log time goes on by what leaders measured; a leadership begins where the one before it was last heard of.
    fn advance_time(&mut self, id: EntryId, elapsed_ms: u64) {
        if id.term > self.last.term {
            self.elected_at_ms = self.log_time_ms;
        }
        let time = if mutants::is(Mutant::ExpiryByWallClock) {
            mutants::wall_clock_ms()
        } else {
            self.elected_at_ms.saturating_add(elapsed_ms)
        };
        self.log_time_ms = self.log_time_ms.max(time);
    }

    fn expire(&mut self) {
        while let Some(&(deadline_ms, session)) = self.by_deadline.first()
            && deadline_ms < self.log_time_ms
        {
            self.remove(session);
        }
    }

    fn limit_reply_bytes(&mut self) {
        while self.reply_bytes > self.limits.reply_bytes_max {
            let largest = self.sessions.iter().max_by_key(|(_, session)| session.bytes);
            let Some((&session, _)) = largest else {
                return;
            };
            self.remove(session);
        }
    }

    fn open(&mut self, index: Index, ttl_ms: u64) -> Decision {
        if self.sessions.len() >= self.limits.sessions_max
            && let Some((_, &oldest)) = self.by_use.first_key_value()
        {
            self.remove(oldest);
        }
        self.insert(
            SessionId(index.0),
            Session {
                ttl_ms,
                last_used_ms: self.log_time_ms,
                used_at: index,
                acknowledged_below: Sequence::FIRST,
                ..Session::default()
            },
        );
        Decision::answer(index)
    }

    fn command(&mut self, index: Index, command: &SessionCommand) -> Decision {
        let id = command.session;
        let sequence = command.sequence;
        if !self.sessions.contains_key(&id) {
            return Decision::Answer(Err(RefusalReason::SessionExpired(id)));
        }
        self.touch(id, index);
        self.acknowledge(id, command.acknowledged_below);
        let session = self.sessions.get_mut(&id).expect("it was there above");
        let acknowledged_below = session.acknowledged_below;
        if sequence < acknowledged_below {
            return Decision::Answer(Err(RefusalReason::SequenceAcknowledged { acknowledged_below }));
        }
        if let Some(Kept { index, response }) = session.replies.get(&sequence)
            && !mutants::is(Mutant::DuplicateCommandApplied)
        {
            let reply = |response: &Bytes| Reply {
                index: *index,
                response: response.clone(),
            };
            let known = response.as_ref().map(reply);
            return known.map_or(Decision::SameAs(*index), |reply| Decision::Answer(Ok(reply)));
        }
        let limit = Sequence(acknowledged_below.0.saturating_add(self.limits.window));
        if sequence >= limit {
            return Decision::Answer(Err(RefusalReason::SessionWindowFull { limit }));
        }
        let kept = Kept {
            index,
            response: None,
        };
        session.bytes += kept.bytes();
        self.reply_bytes += kept.bytes();
        session.replies.insert(sequence, kept);
        self.dirty.replies.insert((id, sequence));
        Decision::Apply(id, sequence, command.command.clone())
    }

    /// Counts the entry at `index` as a use of the session, which is there.
    fn touch(&mut self, id: SessionId, index: Index) {
        let session = self.sessions.get_mut(&id).expect("the caller looked");
        self.by_use.remove(&session.used_at);
        self.by_deadline.remove(&(session.deadline_ms(), id));
        session.used_at = index;
        session.last_used_ms = self.log_time_ms;
        self.by_use.insert(index, id);
        self.by_deadline.insert((session.deadline_ms(), id));
        self.dirty.sessions.insert(id);
    }

    /// Forgets the replies of the session, which is there, below what its client acknowledged.
    fn acknowledge(&mut self, id: SessionId, below: Sequence) {
        let session = self.sessions.get_mut(&id).expect("the caller looked");
        if below <= session.acknowledged_below {
            return;
        }
        session.acknowledged_below = below;
        while let Some(reply) = session.replies.first_entry()
            && *reply.key() < below
        {
            let (sequence, kept) = reply.remove_entry();
            session.bytes -= kept.bytes();
            self.reply_bytes -= kept.bytes();
            self.dirty.replies.insert((id, sequence));
        }
    }

    /// Adds a session with all that it has.
    pub(super) fn insert(&mut self, id: SessionId, mut session: Session) {
        session.bytes = session.replies.values().map(Kept::bytes).sum();
        self.reply_bytes += session.bytes;
        self.by_use.insert(session.used_at, id);
        self.by_deadline.insert((session.deadline_ms(), id));
        self.sessions.insert(id, session);
        self.dirty.sessions.insert(id);
    }

    fn remove(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.by_use.remove(&session.used_at);
        self.by_deadline.remove(&(session.deadline_ms(), id));
        self.reply_bytes -= session.bytes;
        self.dirty.sessions.insert(id);
        let replies = session.replies.keys().map(|sequence| (id, *sequence));
        self.dirty.replies.extend(replies);
    }
}

impl Decision {
    fn answer(index: Index) -> Decision {
        Decision::Answer(Ok(Reply {
            index,
            response: Bytes::new(),
        }))
    }
}

#[cfg(test)]
mod tests;
