//! The figures about certificates.

use std::fmt;

use super::page::Page;
use crate::certificates::figures::CertificateFigures;

/// Writes them.
pub(super) fn encode(figures: &CertificateFigures, page: &mut Page<'_>) -> Result<(), fmt::Error> {
    page.counters(
        "raft_certificate_reloads",
        "How often certificates were read again, by how that ended",
        "result",
        figures.reloads(),
    )?;
    let expiries = figures.expiries();
    page.gauges(
        "raft_certificate_expiry_timestamp_seconds",
        "When the certificate in use expires, of several in one file the first, in seconds since 1970",
        "file",
        expiries.iter().map(|expiry| {
            (
                expiry.file.display().to_string(),
                expiry.not_after.unix_timestamp(),
            )
        }),
    )
}
