//! What is found in a store, as plain values.

use std::fmt;
use std::path::PathBuf;

use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term};

use crate::error::{OpenError, REMEDY};
use crate::format::record::RecordError;

/// Everything that was found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The groups, by id.
    pub groups: Vec<GroupReport>,
    /// The files of the snapshot directory, by group and age.
    pub snapshots: Vec<SnapshotFile>,
    /// How large the files of the store are.
    pub usage: DiskUsage,
    /// Records of the journal that are not in the tables yet, and were read from the journal.
    pub journal_records: u64,
    /// How much was read.
    pub read: ScanProgress,
    /// Everything that does not fit, in the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Whether a finding is [`Severity::Damage`].
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damages() > 0
    }

    /// How many findings are [`Severity::Damage`].
    #[must_use]
    pub fn damages(&self) -> usize {
        let damages = self.findings.iter();
        damages
            .filter(|finding| finding.severity == Severity::Damage)
            .count()
    }
}

/// What is known about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub group: GroupId,
    /// The entry right before the first one; `None` if the record of it cannot be read.
    pub purged: Option<EntryId>,
    /// The first entry that can be read.
    pub first: Option<EntryId>,
    /// The last entry that can be read.
    pub last: Option<EntryId>,
    /// How many entries can be read.
    pub entries: u64,
    /// The size of their payloads.
    pub payload_bytes: u64,
    /// The size of their keys and values.
    pub stored_bytes: u64,
    /// The terms of the entries, as runs.
    pub terms: Vec<TermRun>,
    /// Term, vote, commit and trust; `None` if nothing was stored or it cannot be read.
    pub hard_state: Option<HardState>,
    /// The snapshot in force; `None` if there is none or it cannot be read.
    pub snapshot: Option<SnapshotMeta>,
    /// The configurations in the log.
    pub memberships: Vec<(Index, Membership)>,
    /// What the watermark file says; `None` if there is none or it cannot be read.
    pub watermark: Option<WatermarkReport>,
}

impl GroupReport {
    pub(super) fn new(group: GroupId) -> GroupReport {
        GroupReport {
            group,
            purged: None,
            first: None,
            last: None,
            entries: 0,
            payload_bytes: 0,
            stored_bytes: 0,
            terms: Vec::new(),
            hard_state: None,
            snapshot: None,
            memberships: Vec::new(),
            watermark: None,
        }
    }

    /// The configuration in force: the latest one in the log, committed or not (thesis §4.1), else the snapshot's.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        let in_log = self.memberships.last().map(|(_, membership)| membership);
        in_log.or(self.snapshot.as_ref().map(|snapshot| &snapshot.membership))
    }
}

/// Neighbouring entries of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// The term.
    pub term: Term,
    /// The first entry of the run.
    pub first: Index,
    /// The last entry of the run.
    pub last: Index,
}

/// What a watermark file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkReport {
    /// How often the file was written; the copy with the higher number counts.
    pub sequence: u64,
    /// The second copy of the term.
    pub term: Term,
    /// The second copy of the vote.
    pub vote: Option<NodeId>,
    /// Every entry up to here was durable.
    pub last: Index,
    /// How many of the two copies in the file are whole.
    pub copies: usize,
}

/// A file of the snapshot directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The file.
    pub path: PathBuf,
    /// The group whose directory it stands in.
    pub group: GroupId,
    /// The last entry that it covers, as its name says.
    pub last: EntryId,
    /// The size of the file.
    pub bytes: u64,
    /// What it holds.
    pub state: SnapshotState,
}

/// What a snapshot file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// A finished snapshot.
    Finished {
        /// The size of its content.
        content_bytes: u64,
        /// The configuration at its last entry.
        membership: Membership,
    },
    /// One that was begun; its transfer goes on when the node runs.
    Unfinished,
    /// One that does not pass its checks: a finding says why.
    Damaged,
}

/// How large the files of a store are, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// The journal.
    pub journal: Usage,
    /// The tables of RocksDB.
    pub tables: Usage,
    /// What else RocksDB keeps: its manifest, options and notes.
    pub database: Usage,
    /// The watermark files.
    pub watermarks: Usage,
    /// The snapshot directory.
    pub snapshots: Usage,
}

/// A number of files and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub files: u64,
    /// Their bytes together, as their lengths say.
    pub bytes: u64,
}

/// How far a scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanProgress {
    /// Entries that were read and checked.
    pub entries: u64,
    /// How many there are, if every log has every entry between its ends.
    pub entries_total: u64,
    /// Bytes of entries and snapshots that were read and checked.
    pub bytes: u64,
    /// Bytes of snapshots among them.
    pub snapshot_bytes: u64,
    /// The bytes of all snapshots that are to be read.
    pub snapshot_bytes_total: u64,
    /// The bytes of all tables and of the journal.
    pub log_bytes_total: u64,
}

impl ScanProgress {
    /// How much is done, from 0 to 100. Entries count as much as the files that hold them.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let of_log = match self.entries_total {
            0 => u128::from(self.log_bytes_total),
            total => {
                let entries = self.entries.min(total);
                u128::from(self.log_bytes_total) * u128::from(entries) / u128::from(total)
            }
        };
        let done = of_log + u128::from(self.snapshot_bytes);
        let all = u128::from(self.log_bytes_total) + u128::from(self.snapshot_bytes_total);
        match all {
            0 => 100,
            all => u64::try_from((done * 100 / all).min(100)).unwrap_or(100),
        }
    }
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something that was stored is gone or changed.
    Damage,
    /// What a crash may leave, and the next start puts right by itself.
    Notice,
}

/// Where something does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or directory.
    File(PathBuf),
    /// A group as a whole.
    Group(GroupId),
    /// A record of a group's state.
    Record(GroupId, &'static str),
    /// Entries of a group's log, from the first to the last index; without a last one, all from the first on.
    Entries(GroupId, Index, Option<Index>),
}

impl Finding {
    pub(super) fn damage(place: Place, problem: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Damage,
            place,
            problem: problem.into(),
            remedy: String::from(REMEDY),
        }
    }

    pub(super) fn notice(place: Place, problem: impl Into<String>, remedy: &str) -> Finding {
        Finding {
            severity: Severity::Notice,
            place,
            problem: problem.into(),
            remedy: String::from(remedy),
        }
    }

    /// What the checks of the store say about a record.
    pub(super) fn record(place: Place, error: &RecordError) -> Finding {
        let mut finding = Finding::damage(place, error.to_string());
        if matches!(error, RecordError::Version(_)) {
            finding.remedy = String::from("use the build that wrote it");
        }
        finding
    }

    /// What the store would say when it refuses to open.
    pub(super) fn refusal(place: Place, error: &OpenError) -> Finding {
        let (problem, remedy) = error.to_string_and_remedy();
        Finding {
            severity: Severity::Damage,
            place,
            problem,
            remedy,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Group(group) => write!(f, "group {group}"),
            Place::Record(group, record) => write!(f, "group {group}, its {record}"),
            Place::Entries(group, first, Some(last)) if first == last => {
                write!(f, "group {group}, entry {first}")
            }
            Place::Entries(group, first, Some(last)) => write!(f, "group {group}, entries {first} to {last}"),
            Place::Entries(group, first, None) => write!(f, "group {group}, entries from {first} on"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.problem, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_entries_as_much_as_their_files() {
        let mut progress = ScanProgress {
            entries_total: 10,
            log_bytes_total: 300,
            snapshot_bytes_total: 100,
            ..ScanProgress::default()
        };
        assert_eq!(progress.percent(), 0);
        progress.entries = 5;
        assert_eq!(progress.percent(), 37);
        progress.entries = 12;
        assert_eq!(progress.percent(), 75);
        progress.snapshot_bytes = 100;
        assert_eq!(progress.percent(), 100);
        assert_eq!(ScanProgress::default().percent(), 100);
    }

    #[test]
    fn places_are_named() {
        let group = GroupId(3);
        let one = Place::Entries(group, Index(5), Some(Index(5)));
        assert_eq!(one.to_string(), "group 3, entry 5");
        let some = Place::Entries(group, Index(5), Some(Index(9)));
        assert_eq!(some.to_string(), "group 3, entries 5 to 9");
        let rest = Place::Entries(group, Index(5), None);
        assert_eq!(rest.to_string(), "group 3, entries from 5 on");
    }
}
