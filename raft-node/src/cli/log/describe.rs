//! What is known about a stopped node, in the form in which it is printed as JSON. docs/operations/looking-into-a-log.md
//! explains the fields; a change here is a change there.

use raft_core::membership::Membership;
use raft_core::types::{EntryId, NodeId, Trust};
use raft_storage_rocksdb::inspect::{
    DiskUsage, Finding, GroupReport, Inspection, Place, Severity, SnapshotFile, SnapshotState, Usage,
};
use serde::Serialize;

use crate::client::membership::Configuration;
use crate::data_directory::stopped::StoppedDirectory;

/// A stopped node.
#[derive(Debug, Serialize)]
pub(super) struct Described {
    pub(super) directory: String,
    pub(super) node: Option<u64>,
    pub(super) cluster: Option<String>,
    pub(super) removed: bool,
    pub(super) groups: Vec<Group>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) disk: Disk,
    pub(super) journal_records: u64,
    pub(super) entries_read: u64,
    pub(super) bytes_read: u64,
    pub(super) findings: Vec<Found>,
    pub(super) damaged: bool,
}

/// One group's log.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub(super) group: u64,
    /// The entry right before the first one.
    pub(super) purged: Option<Position>,
    pub(super) first: Option<Position>,
    pub(super) last: Option<Position>,
    pub(super) entries: u64,
    pub(super) payload_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) terms: Vec<Terms>,
    pub(super) hard_state: Option<HardState>,
    pub(super) snapshot: Option<InForce>,
    pub(super) membership: Option<Configuration>,
    pub(super) memberships: Vec<Configured>,
    pub(super) watermark: Option<Watermark>,
}

/// An entry.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// Neighbouring entries of one term.
#[derive(Debug, Serialize)]
pub(super) struct Terms {
    pub(super) term: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Term, vote, commit and trust.
#[derive(Debug, Serialize)]
pub(super) struct HardState {
    pub(super) term: u64,
    pub(super) vote: Option<u64>,
    pub(super) commit: u64,
    pub(super) trust: &'static str,
}

/// The snapshot in force.
#[derive(Debug, Serialize)]
pub(super) struct InForce {
    pub(super) last: Position,
    pub(super) membership: Configuration,
}

/// A configuration in the log.
#[derive(Debug, Serialize)]
pub(super) struct Configured {
    pub(super) index: u64,
    pub(super) membership: Configuration,
}

/// What a watermark file says.
#[derive(Debug, Serialize)]
pub(super) struct Watermark {
    pub(super) term: u64,
    pub(super) vote: Option<u64>,
    pub(super) last: u64,
    pub(super) sequence: u64,
    pub(super) copies: usize,
}

/// A snapshot file.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    pub(super) path: String,
    pub(super) group: u64,
    pub(super) last: Position,
    pub(super) bytes: u64,
    pub(super) state: &'static str,
    pub(super) content_bytes: Option<u64>,
    pub(super) membership: Option<Configuration>,
}

/// The sizes of the files.
#[derive(Debug, Serialize)]
pub(super) struct Disk {
    pub(super) journal: Files,
    pub(super) tables: Files,
    pub(super) database: Files,
    pub(super) watermarks: Files,
    pub(super) snapshots: Files,
}

/// A number of files, and their size.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Something that does not fit.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) severity: &'static str,
    pub(super) place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<u64>,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Described {
    pub(super) fn new(directory: &StoppedDirectory, inspection: &Inspection) -> Described {
        let identity = directory.identity().ok().flatten();
        Described {
            directory: directory.path().display().to_string(),
            node: identity.map(|identity| identity.node().0),
            cluster: identity.map(|identity| identity.cluster.to_string()),
            removed: identity.is_some_and(|identity| identity.removed),
            groups: inspection.groups.iter().map(Group::from).collect(),
            snapshots: inspection.snapshots.iter().map(Snapshot::from).collect(),
            disk: Disk::from(&inspection.usage),
            journal_records: inspection.journal_records,
            entries_read: inspection.read.entries,
            bytes_read: inspection.read.bytes,
            findings: inspection.findings.iter().map(Found::from).collect(),
            damaged: inspection.is_damaged(),
        }
    }
}

impl From<&GroupReport> for Group {
    fn from(report: &GroupReport) -> Group {
        let terms = report.terms.iter().map(|run| Terms {
            term: run.term.0,
            first: run.first.0,
            last: run.last.0,
        });
        let memberships = report.memberships.iter().map(|(index, membership)| Configured {
            index: index.0,
            membership: configuration(membership),
        });
        // A new log has a record of a snapshot that covers nothing.
        let in_force = report.snapshot.as_ref();
        let in_force = in_force.filter(|snapshot| snapshot.last != EntryId::ZERO);
        Group {
            group: report.group.0,
            purged: report.purged.map(Position::from),
            first: report.first.map(Position::from),
            last: report.last.map(Position::from),
            entries: report.entries,
            payload_bytes: report.payload_bytes,
            stored_bytes: report.stored_bytes,
            terms: terms.collect(),
            hard_state: report.hard_state.map(|hard_state| HardState {
                term: hard_state.term.0,
                vote: id(hard_state.vote),
                commit: hard_state.commit.0,
                trust: match hard_state.trust {
                    Trust::Trusted => "trusted",
                    Trust::Founder => "founder",
                    Trust::Suspect => "suspect",
                },
            }),
            snapshot: in_force.map(|snapshot| InForce {
                last: snapshot.last.into(),
                membership: configuration(&snapshot.membership),
            }),
            membership: report.membership().map(configuration),
            memberships: memberships.collect(),
            watermark: report.watermark.map(|mark| Watermark {
                term: mark.term.0,
                vote: id(mark.vote),
                last: mark.last.0,
                sequence: mark.sequence,
                copies: mark.copies,
            }),
        }
    }
}

impl From<EntryId> for Position {
    fn from(id: EntryId) -> Position {
        Position {
            index: id.index.0,
            term: id.term.0,
        }
    }
}

impl From<&SnapshotFile> for Snapshot {
    fn from(file: &SnapshotFile) -> Snapshot {
        let (state, content_bytes, membership) = match &file.state {
            SnapshotState::Finished {
                content_bytes,
                membership,
            } => ("finished", Some(*content_bytes), Some(configuration(membership))),
            SnapshotState::Unfinished => ("unfinished", None, None),
            SnapshotState::Damaged => ("damaged", None, None),
        };
        Snapshot {
            path: file.path.display().to_string(),
            group: file.group.0,
            last: file.last.into(),
            bytes: file.bytes,
            state,
            content_bytes,
            membership,
        }
    }
}

impl From<&DiskUsage> for Disk {
    fn from(usage: &DiskUsage) -> Disk {
        let files = |usage: Usage| Files {
            files: usage.files,
            bytes: usage.bytes,
        };
        Disk {
            journal: files(usage.journal),
            tables: files(usage.tables),
            database: files(usage.database),
            watermarks: files(usage.watermarks),
            snapshots: files(usage.snapshots),
        }
    }
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Found {
        let mut found = Found {
            severity: match finding.severity {
                Severity::Damage => "damage",
                Severity::Notice => "notice",
            },
            place: finding.place.to_string(),
            file: None,
            group: None,
            first: None,
            last: None,
            problem: finding.problem.clone(),
            remedy: finding.remedy.clone(),
        };
        match &finding.place {
            Place::File(path) => found.file = Some(path.display().to_string()),
            Place::Group(group) | Place::Record(group, _) => found.group = Some(group.0),
            Place::Entries(group, first, last) => {
                found.group = Some(group.0);
                found.first = Some(first.0);
                found.last = last.map(|last| last.0);
            }
        }
        found
    }
}

/// A configuration in the form that `raft-node status` prints, too.
pub(super) fn configuration(membership: &Membership) -> Configuration {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    Configuration {
        voters: ids(membership.voters()),
        outgoing: ids(membership.outgoing()),
        learners: ids(membership.learners()),
        learners_next: ids(membership.learners_next()),
        highest_id: membership.highest_id().0,
    }
}

fn id(node: Option<NodeId>) -> Option<u64> {
    node.map(|node| node.0)
}
