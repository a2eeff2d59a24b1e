//! Figures for Prometheus, on `/metrics`.
//!
//! Counting a request costs a few relaxed atomic additions; everything else happens when somebody scrapes.

mod archive;
mod certificates;
mod histogram;
mod page;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::DurationHistogram;
pub(super) use page::{CONTENT_TYPE, render};

use super::backend::Failure;
use crate::archive::log_store::ArchiveFigures;
use crate::certificates::figures::CertificateFigures;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was served.
    Ok,
    /// The store or the group refused it: mostly the client's mistake.
    Refused,
    /// A queue was full.
    Busy,
    /// It was larger than the limit.
    TooLarge,
    /// Nobody led.
    NoLeader,
    /// It was in flight when its time was over, or when the leader was lost.
    Unknown,
    /// The node stopped, or failed.
    Failed,
}

impl Outcome {
    /// Every outcome and its label.
    const LABELS: [(Outcome, &'static str); 7] = [
        (Outcome::Ok, "ok"),
        (Outcome::Refused, "refused"),
        (Outcome::Busy, "busy"),
        (Outcome::TooLarge, "too_large"),
        (Outcome::NoLeader, "no_leader"),
        (Outcome::Unknown, "unknown"),
        (Outcome::Failed, "failed"),
    ];

    /// How a request that failed ended.
    pub(super) fn of_failure(failure: &Failure) -> Outcome {
        match failure {
            Failure::Refused(_) => Outcome::Refused,
            Failure::Busy => Outcome::Busy,
            Failure::TooLarge => Outcome::TooLarge,
            Failure::NoLeader => Outcome::NoLeader,
            Failure::LeaderLost | Failure::Unknown => Outcome::Unknown,
            Failure::Stopped | Failure::Internal(_) => Outcome::Failed,
        }
    }
}

/// Requests of one kind: how many ended how, and how long those took that were served.
#[derive(Debug, Default)]
pub(super) struct RequestCounters {
    outcomes: [AtomicU64; Outcome::LABELS.len()],
    durations: DurationHistogram,
}

impl RequestCounters {
    /// Counts one request.
    pub(super) fn record(&self, outcome: Outcome, duration: Duration) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Ok {
            self.durations.observe(duration);
        }
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }
}

/// Everything the server counts itself.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Commands, from the arrival of the request to the response of the state machine.
    pub(super) proposals: RequestCounters,
    /// Linearizable reads, the barrier included.
    pub(super) linearizable_reads: RequestCounters,
    /// Serializable reads.
    pub(super) serializable_reads: RequestCounters,
    /// Changes of the members that this node was asked for.
    pub(super) membership_changes: RequestCounters,
    /// Transfers of leadership that this node was asked for.
    pub(super) leadership_transfers: RequestCounters,
    /// Requests that were turned away because too many were in flight.
    pub(super) overloads: AtomicU64,
    /// Requests that are being served.
    pub(super) requests_in_flight: AtomicU64,
    /// Connections that are open.
    pub(super) connections: AtomicU64,
    /// What became of the node's certificates.
    pub(super) certificates: Arc<CertificateFigures>,
    /// How its archive is, if it has one.
    pub(super) archive: Option<Arc<ArchiveFigures>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_the_place_of_their_outcome() {
        for (place, (outcome, _)) in Outcome::LABELS.iter().enumerate() {
            assert_eq!(*outcome as usize, place);
        }
    }
}
