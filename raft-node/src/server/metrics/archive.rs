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
    )
}
