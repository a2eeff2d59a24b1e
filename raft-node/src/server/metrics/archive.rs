//! The figures about the archive.

use std::fmt;

use super::page::Page;
use crate::archive::log_store::ArchiveFigures;

/// Writes them.
pub(super) fn encode(figures: &ArchiveFigures, page: &mut Page<'_>) -> Result<(), fmt::Error> {
    page.gauge(
        "raft_archive_index",
        "The last index that is archived",
        figures.last_index(),
    )?;
    page.gauge(
        "raft_archive_segment_bytes",
        "The bytes of all archived entries",
        figures.segment_bytes(),
    )?;
    page.counter(
        "raft_archive_failures",
        "How often entries could not be archived; the log keeps them until they are",
        figures.failures(),
    )?;
    let restorable = figures.restorable();
    let gauges = [
        (
            "raft_restorable_first_index",
            "The index from which on every state can be restored",
            restorable.first.map(|first| first.0),
        ),
        (
            "raft_restorable_first_timestamp_seconds",
            "The first time that can be restored, by the clock of this node",
            // A time before it is too early.
            restorable
                .first_noted
                .map(|moment| moment.unix_ms.div_ceil(1_000)),
        ),
        (
            "raft_restorable_last_index",
            "The last index of which is noted when it was applied",
            restorable.last_noted.map(|moment| moment.applied.0),
        ),
        (
            "raft_restorable_last_timestamp_seconds",
            "When that was",
            restorable.last_noted.map(|moment| moment.unix_ms.div_ceil(1_000)),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            page.gauge(name, help, value)?;
        }
    }
    Ok(())
}
