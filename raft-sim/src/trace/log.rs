//! A log in a trace: which entries there are, and of what kind.

use raft_core::entry::{Entry, Payload, SessionRequest};
use raft_core::types::EntryId;
use serde::{Deserialize, Serialize};

use super::format::Position;

/// Entries of one term that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The index of the first one.
    pub first: u64,
    /// The term of all of them.
    pub term: u64,
    /// One letter for each: `n` a no-op, `c` a command, `m` a configuration, `s` what opens, keeps or closes a session,
    /// `?` one that was there before the trace began.
    pub kinds: String,
}

impl Run {
    /// The index of the last one.
    #[must_use]
    pub fn last(&self) -> u64 {
        (self.first + self.kinds.len() as u64).saturating_sub(1)
    }
}

/// The entries that a log has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The position before the first entry.
    pub purged: Position,
    /// The entries, in order and without a gap.
    pub runs: Vec<Run>,
}

impl Log {
    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Position {
        self.runs
            .last()
            .map_or(self.purged, |run| Position(run.last(), run.term))
    }

    /// Drops every entry at or above the first of `runs`, then appends them.
    pub fn append(&mut self, runs: &[Run]) {
        let Some(first) = runs.first().map(|run| run.first) else {
            return;
        };
        while self.runs.last().is_some_and(|run| run.first >= first) {
            self.runs.pop();
        }
        if let Some(run) = self.runs.last_mut() {
            run.kinds.truncate((first - run.first) as usize);
        }
        for run in runs {
            match self.runs.last_mut() {
                Some(last) if last.term == run.term => last.kinds.push_str(&run.kinds),
                _ => self.runs.push(run.clone()),
            }
        }
    }

    /// Drops every entry up to and including `through`.
    pub fn compact(&mut self, through: Position) {
        if through.0 <= self.purged.0 {
            return;
        }
        self.purged = through;
        self.runs.retain(|run| run.last() > through.0);
        if let Some(run) = self.runs.first_mut()
            && run.first <= through.0
        {
            run.kinds.drain(..(through.0 + 1 - run.first) as usize);
            run.first = through.0 + 1;
        }
    }
}

/// The letter of an entry.
pub(super) fn kind(entry: &Entry) -> char {
    match &entry.payload {
        Payload::Noop => 'n',
        Payload::Command(_) => 'c',
        Payload::Membership(_) => 'm',
        Payload::Session(session) => match session.request {
            SessionRequest::Command(_) => 'c',
            _ => 's',
        },
    }
}

/// Entries that follow each other, as runs of one term.
pub(super) fn runs(entries: impl Iterator<Item = (EntryId, char)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (id, kind) in entries {
        match runs.last_mut() {
            Some(run) if run.term == id.term.0 => run.kinds.push(kind),
            _ => runs.push(Run {
                first: id.index.0,
                term: id.term.0,
                kinds: kind.to_string(),
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, term: u64, kinds: &str) -> Run {
        Run {
            first,
            term,
            kinds: kinds.to_owned(),
        }
    }

    #[test]
    fn what_is_appended_overwrites_the_end() {
        let mut log = Log::default();
        log.append(&[run(1, 1, "ncc"), run(4, 2, "nc")]);
        log.append(&[run(3, 3, "nm")]);
        assert_eq!(log.runs, [run(1, 1, "nc"), run(3, 3, "nm")]);
        log.append(&[run(5, 3, "c")]);
        assert_eq!(log.runs, [run(1, 1, "nc"), run(3, 3, "nmc")]);
        assert_eq!(log.last(), Position(5, 3));
    }

    #[test]
    fn what_is_compacted_is_gone() {
        let mut log = Log::default();
        log.append(&[run(1, 1, "ncc"), run(4, 2, "nc")]);
        log.compact(Position(2, 1));
        assert_eq!(log.runs, [run(3, 1, "c"), run(4, 2, "nc")]);
        log.compact(Position(1, 1));
        assert_eq!(log.purged, Position(2, 1));
        log.compact(Position(5, 2));
        assert_eq!((log.runs.len(), log.last()), (0, Position(5, 2)));
        log.append(&[run(6, 2, "c")]);
        assert_eq!(log.last(), Position(6, 2));
    }
}
