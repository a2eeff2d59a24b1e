//! Reads one group's whole state and log, and verifies every byte of it.
//!
//! This is what decides on open whether a log may be used. It never repairs and never skips: the first thing that does
//! not fit is an error that names the group, the index and the remedy (R77). raft-engine may still have entries that were
//! purged long ago; where the log begins is what the record of it says.

use std::time::{Duration, Instant};

use raft_core::entry::Payload;
use raft_core::traits::{LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index};
use thiserror::Error;

use super::database::Database;
use super::message::Record;
use crate::error::{EngineError, EngineErrorKind, OpenError, REMEDY};
use crate::format::record::{
    COMMAND, EntryView, Link, RecordError, StateKind, VERSION, chain_origin, decode_hard_state,
    decode_purged, decode_snapshot,
};

/// How often a long scan says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) recovered: Recovered,
    pub(crate) purged: Link,
    pub(crate) last: Link,
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
    #[error("group {group}: raft-engine cannot read it: {source}")]
    Engine {
        group: GroupId,
        #[source]
        source: EngineError,
    },
}

impl ScanError {
    /// What `error` says about the entry at `index`.
    pub(crate) fn entry(group: GroupId, index: Index, error: RecordError) -> ScanError {
        ScanError::record(group, format!("the log entry at index {index}"), error)
    }

    fn record(group: GroupId, what: impl Into<String>, error: RecordError) -> ScanError {
        let what = what.into();
        match error {
            RecordError::Version(found) => ScanError::Version { group, what, found },
            RecordError::Damaged(detail) => ScanError::Damaged { group, what, detail },
        }
    }

    /// What raft-engine said while it read the entries from `index` on.
    pub(crate) fn engine(group: GroupId, index: Index, error: EngineError) -> ScanError {
        if matches!(error.kind, EngineErrorKind::Damaged | EngineErrorKind::Panicked) {
            return ScanError::Damaged {
                group,
                what: format!("the log at or after index {index}"),
                detail: error.text,
            };
        }
        ScanError::Engine { group, source: error }
    }

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

    /// The same as an error of opening the store.
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
            ScanError::Engine { source, .. } => OpenError::engine(database.path(), source),
        }
    }
}

impl From<ScanError> for LogStoreError {
    fn from(error: ScanError) -> LogStoreError {
        match error {
            ScanError::Engine { .. } => LogStoreError::Io(Box::new(error)),
            damaged => LogStoreError::Corrupt(damaged.to_string()),
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
    let Some(purged) = state(database, group, StateKind::Purged, decode_purged)? else {
        return absent(database, group).map(|()| None);
    };
    let mut scan = Scan {
        group,
        recovered: Recovered {
            hard_state: state(database, group, StateKind::HardState, decode_hard_state)?.unwrap_or_default(),
            snapshot: state(database, group, StateKind::Snapshot, decode_snapshot)?.unwrap_or_default(),
            purged: purged.id,
            last_index: purged.id.index,
            ..Recovered::default()
        },
        last: purged,
        promised,
        report_at: Instant::now() + REPORT_EVERY,
    };
    scan.run(database)?;
    Ok(Some(Scanned {
        last: scan.last,
        recovered: scan.recovered,
        purged,
    }))
}

/// A group without the record that says where its log begins has nothing else, either.
fn absent(database: &Database, group: GroupId) -> Result<(), ScanError> {
    let has_state = [StateKind::HardState, StateKind::Snapshot]
        .into_iter()
        .any(|kind| database.state(group, kind).is_some());
    let orphan = match (has_state, database.bounds(group)) {
        (true, _) => "a hard state or a snapshot",
        (false, Some(_)) => "an entry",
        (false, None) => return Ok(()),
    };
    Err(ScanError::Damaged {
        group,
        what: String::from("its state"),
        detail: format!("there is {orphan}, but no record of where the log begins"),
    })
}

fn state<T>(
    database: &Database,
    group: GroupId,
    kind: StateKind,
    decode: impl FnOnce(GroupId, &[u8]) -> Result<T, RecordError>,
) -> Result<Option<T>, ScanError> {
    let value = database.state(group, kind).map(|value| decode(group, &value));
    value
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
    fn run(&mut self, database: &Database) -> Result<(), ScanError> {
        let group = self.group;
        let begin = self.last.id.index.next();
        let Some((first, last)) = database.bounds(group).filter(|(_, last)| *last >= begin) else {
            return Ok(());
        };
        if first > begin {
            return Err(ScanError::missing(group, begin));
        }
        while self.last.id.index < last {
            let from = self.last.id.index.next();
            let records = database
                .entries(group, from, last, READ_BYTES)
                .map_err(|error| ScanError::engine(group, from, error))?;
            if records.is_empty() {
                return Err(ScanError::missing(group, from));
            }
            for record in &records {
                let index = self.last.id.index.next();
                self.take(index, record)
                    .map_err(|error| ScanError::entry(group, index, error))?;
            }
            self.report();
        }
        self.recovered.last_index = self.last.id.index;
        Ok(())
    }

    fn take(&mut self, index: Index, record: &Record) -> Result<(), RecordError> {
        let entry = EntryView::verify(self.group, index, &record.header, &record.payload)?;
        entry.follows(&self.last)?;
        if self
            .promised
            .is_some_and(|(marked, chain)| marked == index && chain != entry.link.chain)
        {
            return Err(RecordError::damaged(
                "it is not the entry that the watermark file knows: it, or one before it, is a stale copy",
            ));
        }
        // Commands need no decoding: any bytes are one. Everything else is decoded to be verified.
        if entry.kind != COMMAND
            && let Payload::Membership(membership) = entry.decode()?
            && index > self.recovered.snapshot.last.index
        {
            self.recovered.memberships.push((index, membership));
        }
        let term = entry.link.id.term;
        let run = self.recovered.term_runs.last();
        if run.is_none_or(|(_, run)| *run != term) {
            self.recovered.term_runs.push((index, term));
        }
        self.last = entry.link;
        Ok(())
    }

    fn report(&mut self) {
        if Instant::now() < self.report_at {
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

/// Reads and verifies the place in the chain of one entry that is stored.
pub(crate) fn link_at(database: &Database, group: GroupId, index: Index) -> Result<Link, ScanError> {
    let records = database
        .entries(group, index, index, 0)
        .map_err(|error| ScanError::engine(group, index, error))?;
    let Some(record) = records.first() else {
        return Err(ScanError::missing(group, index));
    };
    EntryView::verify(group, index, &record.header, &record.payload)
        .map(|entry| entry.link)
        .map_err(|error| ScanError::entry(group, index, error))
}

impl Scanned {
    /// A group that does not exist yet.
    pub(crate) fn nothing(group: GroupId) -> Scanned {
        let origin = Link {
            id: EntryId::ZERO,
            chain: chain_origin(group, EntryId::ZERO),
        };
        Scanned {
            recovered: Recovered::default(),
            purged: origin,
            last: origin,
        }
    }
}
