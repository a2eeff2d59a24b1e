//! Reads one group's whole state and log, and verifies every byte of it.
//!
//! This is what decides on open whether a log may be used. It never repairs and never skips: the first thing that does
//! not fit is an error that names the group, the index and the remedy (R77).

use std::time::{Duration, Instant};

use raft_core::entry::Payload;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, HardState, Index};
use thiserror::Error;

use super::database::{Database, View};
use crate::error::{OpenError, REMEDY};
use crate::format::record::{
    EntryView, Link, RecordError, StateKind, VERSION, decode_deleted, decode_hard_state, decode_purged,
    decode_snapshot, index_of_key,
};

/// How often a long scan says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) recovered: Recovered,
    pub(crate) purged: Link,
    pub(crate) last: Link,
    /// Up to where purged entries were deleted physically.
    pub(crate) deleted: Index,
}

/// Why a group cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ScanError {
    #[error("group {group}: {what} is damaged: {detail}; {REMEDY}")]
    Damaged {
        group: GroupId,
        what: String,
        detail: String,
    },
    #[error("group {group}: {what} has the unknown format version {found}; start the build that wrote it")]
    Version { group: GroupId, what: String, found: u8 },
    #[error("group {group}: RocksDB cannot read it: {source}")]
    Database {
        group: GroupId,
        #[source]
        source: rocksdb::Error,
    },
}

impl ScanError {
    /// What `error` says about the entry at `index`.
    pub(crate) fn entry(group: GroupId, index: Index, error: RecordError) -> ScanError {
        ScanError::record(group, format!("the log entry at index {index}"), error)
    }

    pub(crate) fn record(group: GroupId, what: impl Into<String>, error: RecordError) -> ScanError {
        let what = what.into();
        match error {
            RecordError::Version(found) => ScanError::Version { group, what, found },
            RecordError::Damaged(detail) => ScanError::Damaged { group, what, detail },
        }
    }

    /// What RocksDB said while it read the entries from `index` on.
    pub(crate) fn database(group: GroupId, index: Index, error: rocksdb::Error) -> ScanError {
        if error.kind() == rocksdb::ErrorKind::Corruption {
            return ScanError::Damaged {
                group,
                what: format!("the log at or after index {index}"),
                detail: error.to_string(),
            };
        }
        ScanError::Database { group, source: error }
    }
}

impl From<ScanError> for LogStoreError {
    fn from(error: ScanError) -> LogStoreError {
        match error {
            ScanError::Database { .. } => LogStoreError::Io(Box::new(error)),
            damaged => LogStoreError::Corrupt(damaged.to_string()),
        }
    }
}

impl ScanError {
    /// The same as an error of opening the store in `path`.
    pub(crate) fn into_open_error(self, database: &Database) -> OpenError {
        match self {
            ScanError::Damaged { group, what, detail } => OpenError::Corrupt {
                what: format!("group {group}: {what}"),
                detail,
            },
            ScanError::Version { group, what, found } => OpenError::Version {
                what: format!("group {group}: {what}"),
                found,
                known: VERSION,
            },
            ScanError::Database { source, .. } => OpenError::database(database.path(), source),
        }
    }
}

/// Everything about `group`; `None` if it does not exist. The entry at `promised`, if it is stored, must have that chain
/// value.
pub(crate) fn scan(
    database: &Database,
    group: GroupId,
    promised: Option<(Index, u64)>,
) -> Result<Option<Scanned>, ScanError> {
    let view = database.view();
    let Some(purged) = state(&view, group, StateKind::Purged, decode_purged)? else {
        return absent(&view, group).map(|()| None);
    };
    let hard_state = state(&view, group, StateKind::HardState, decode_hard_state)?.unwrap_or_default();
    let snapshot = state(&view, group, StateKind::Snapshot, decode_snapshot)?.unwrap_or_default();
    let deleted = state(&view, group, StateKind::Deleted, decode_deleted)?.unwrap_or_default();
    let mut scan = Scan::begin(group, hard_state, snapshot, purged, promised);
    scan.run(&view)?;
    Ok(Some(Scanned {
        last: scan.last,
        recovered: scan.recovered,
        purged,
        deleted,
    }))
}

/// A group without the record that says where its log begins has nothing else, either.
fn absent(view: &View<'_>, group: GroupId) -> Result<(), ScanError> {
    let orphan = |what: &str| ScanError::Damaged {
        group,
        what: String::from("its state"),
        detail: format!("there is {what}, but no record of where the log begins"),
    };
    for kind in [StateKind::HardState, StateKind::Snapshot] {
        if raw_state(view, group, kind)?.is_some() {
            return Err(orphan("a hard state or a snapshot"));
        }
    }
    let entries = view.entries_from(group, Index::ZERO);
    if entries.valid() {
        return Err(orphan("an entry"));
    }
    entries
        .status()
        .map_err(|error| ScanError::database(group, Index::ZERO, error))
}

fn raw_state(view: &View<'_>, group: GroupId, kind: StateKind) -> Result<Option<Vec<u8>>, ScanError> {
    view.state(group, kind).map_err(|error| match error.kind() {
        rocksdb::ErrorKind::Corruption => ScanError::Damaged {
            group,
            what: format!("its {kind:?} record"),
            detail: error.to_string(),
        },
        _ => ScanError::Database { group, source: error },
    })
}

fn state<T>(
    view: &View<'_>,
    group: GroupId,
    kind: StateKind,
    decode: impl FnOnce(GroupId, &[u8]) -> Result<T, RecordError>,
) -> Result<Option<T>, ScanError> {
    raw_state(view, group, kind)?
        .map(|value| decode(group, &value))
        .transpose()
        .map_err(|error| ScanError::record(group, format!("its {kind:?} record"), error))
}

/// A scan under way.
struct Scan {
    group: GroupId,
    recovered: Recovered,
    last: Link,
    promised: Option<(Index, u64)>,
    report_at: Instant,
}

impl Scan {
    fn begin(
        group: GroupId,
        hard_state: HardState,
        snapshot: SnapshotMeta,
        purged: Link,
        promised: Option<(Index, u64)>,
    ) -> Scan {
        Scan {
            group,
            recovered: Recovered {
                hard_state,
                snapshot,
                purged: purged.id,
                last_index: purged.id.index,
                ..Recovered::default()
            },
            last: purged,
            promised,
            report_at: Instant::now() + REPORT_EVERY,
        }
    }

    fn run(&mut self, view: &View<'_>) -> Result<(), ScanError> {
        let group = self.group;
        let mut entries = view.all_entries_from(group, self.last.id.index.next());
        while let Some((key, value)) = entries.item() {
            let expected = self.last.id.index.next();
            let found = index_of_key(group, key);
            if found != Some(expected) {
                return Err(ScanError::Damaged {
                    group,
                    what: format!("the log at index {expected}"),
                    detail: match found {
                        Some(found) => format!("the entry is missing, but entry {found} above it is there"),
                        None => String::from("a key of another shape stands there"),
                    },
                });
            }
            self.take(expected, value)
                .map_err(|error| ScanError::entry(group, expected, error))?;
            entries.next();
            self.report();
        }
        entries
            .status()
            .map_err(|error| ScanError::database(group, self.last.id.index.next(), error))?;
        self.recovered.last_index = self.last.id.index;
        Ok(())
    }

    fn take(&mut self, index: Index, value: &[u8]) -> Result<(), RecordError> {
        let entry = EntryView::verify(self.group, index, value)?;
        entry.follows(&self.last)?;
        if self
            .promised
            .is_some_and(|(marked, chain)| marked == index && chain != entry.link.chain)
        {
            return Err(RecordError::Damaged(String::from(
                "it is not the entry that the watermark file knows: it, or one before it, is a stale copy",
            )));
        }
        // Commands need no decoding: any bytes are one. Everything else is decoded to be verified.
        if !entry.is_command() {
            let payload = entry.decode()?;
            if let Payload::Membership(membership) = payload
                && index > self.recovered.snapshot.last.index
            {
                self.recovered.memberships.push((index, membership));
            }
        }
        let term = entry.link.id.term;
        if self
            .recovered
            .term_runs
            .last()
            .is_none_or(|(_, run)| *run != term)
        {
            self.recovered.term_runs.push((index, term));
        }
        self.last = entry.link;
        Ok(())
    }

    fn report(&mut self) {
        // The clock is read once in a thousand entries.
        if !self.last.id.index.0.is_multiple_of(1024) || Instant::now() < self.report_at {
            return;
        }
        self.report_at = Instant::now() + REPORT_EVERY;
        tracing::info!(
            group = %self.group,
            verified = self.last.id.index.entries_since(self.recovered.purged.index),
            index = %self.last.id.index,
            "verifying the log"
        );
    }
}

/// Reads and verifies one entry's place in the chain.
pub(crate) fn link_at(database: &Database, group: GroupId, index: Index) -> Result<Option<Link>, ScanError> {
    let value = database
        .entry(group, index)
        .map_err(|error| ScanError::database(group, index, error))?;
    let Some(value) = value else { return Ok(None) };
    let entry =
        EntryView::verify(group, index, &value).map_err(|error| ScanError::entry(group, index, error))?;
    Ok(Some(entry.link))
}

impl Scanned {
    /// A group that does not exist yet.
    pub(crate) fn nothing(group: GroupId) -> Scanned {
        let origin = Link {
            id: EntryId::ZERO,
            chain: crate::format::record::chain_origin(group, EntryId::ZERO),
        };
        Scanned {
            recovered: Recovered::default(),
            purged: origin,
            last: origin,
            deleted: Index::ZERO,
        }
    }
}

impl ScanError {
    /// An entry inside the log's bounds is not there.
    pub(crate) fn missing(group: GroupId, index: Index) -> ScanError {
        ScanError::Damaged {
            group,
            what: format!("the log at index {index}"),
            detail: String::from("the entry is missing, but entries above it are there"),
        }
    }

    /// The log was to be purged up to an entry that it does not have.
    pub(crate) fn other_entry(group: GroupId, stored: EntryId, asked: EntryId) -> ScanError {
        ScanError::Damaged {
            group,
            what: format!("the log at index {}", stored.index),
            detail: format!("entry {asked} is covered by a snapshot, but entry {stored} is stored"),
        }
    }
}
