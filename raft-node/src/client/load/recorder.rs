//! Counts, latencies and the longest gap.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::report::LoadReport;

/// The longest latency that is told apart from longer ones.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counts what happened to every key.
#[derive(Debug)]
pub(super) struct Recorder {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    acknowledged: u64,
    failed: u64,
    unknown: u64,
    latencies_us: Histogram<u64>,
    last_acknowledged: Option<Instant>,
    longest_gap: Duration,
    /// Why keys were not acknowledged, in the words of the newest refusal.
    last_reason: Option<String>,
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder {
            counts: Mutex::new(Counts {
                acknowledged: 0,
                failed: 0,
                unknown: 0,
                latencies_us: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                    .expect("1 to 600 s with three digits are valid bounds"),
                last_acknowledged: None,
                longest_gap: Duration::ZERO,
                last_reason: None,
            }),
        }
    }

    /// Counts an acknowledgement that arrives now for a key first sent at `sent`.
    pub(super) fn acknowledged_now(&self, sent: Instant) {
        let mut counts = self.lock();
        // The clock is read under the lock, so that acknowledgements are recorded in the order of their times.
        let now = Instant::now();
        counts.acknowledged += 1;
        counts.latencies_us.saturating_record(micros(now - sent).max(1));
        if let Some(last) = counts.last_acknowledged.replace(now) {
            counts.longest_gap = counts.longest_gap.max(now - last);
        }
    }

    /// Counts a key that is certainly not written.
    pub(super) fn failed(&self, reason: String) {
        let mut counts = self.lock();
        counts.failed += 1;
        counts.last_reason = Some(reason);
    }

    /// Counts a key that may be written.
    pub(super) fn unknown(&self, reason: String) {
        let mut counts = self.lock();
        counts.unknown += 1;
        counts.last_reason = Some(reason);
    }

    /// How many keys were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// The summary of a load that ran from `started` to `ended`.
    ///
    /// The time from the last acknowledgement to the end counts as a gap as well: a cluster that stopped answering in
    /// the middle must not look quick.
    pub(super) fn report(&self, started: Instant, ended: Instant) -> LoadReport {
        let counts = self.lock();
        let ended = counts.last_acknowledged.map_or(ended, |last| last.max(ended));
        let seconds = (ended - started).as_secs_f64();
        let last = counts.last_acknowledged.unwrap_or(started);
        let gap = counts.longest_gap.max(ended - last);
        LoadReport {
            acknowledged: counts.acknowledged,
            failed: counts.failed,
            unknown: counts.unknown,
            seconds: (seconds * 1e3).round() / 1e3,
            rate: (counts.acknowledged as f64 / seconds.max(1e-9)).round() as u64,
            p50_us: counts.latencies_us.value_at_quantile(0.5),
            p99_us: counts.latencies_us.value_at_quantile(0.99),
            longest_gap_ms: u64::try_from((gap.as_micros() + 500) / 1000).unwrap_or(u64::MAX),
            last_reason: counts.last_reason.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic under this lock would be a defect here; the figures of the others still stand.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gaps_and_latencies_are_those_of_the_acknowledgements() {
        let recorder = Recorder::new();
        let started = Instant::now();
        for gap_ms in [10, 20, 700, 30] {
            let sent = Instant::now();
            tokio::time::advance(Duration::from_millis(gap_ms)).await;
            recorder.acknowledged_now(sent);
        }
        recorder.unknown("lost".to_owned());
        recorder.failed("refused".to_owned());
        let report = recorder.report(started, Instant::now());
        assert_eq!((report.acknowledged, report.failed, report.unknown), (4, 1, 1));
        assert_eq!(report.longest_gap_ms, 700);
        assert_eq!(report.seconds, 0.76);
        assert!((19_900..=20_100).contains(&report.p50_us), "{report:?}");
        assert!((699_000..=701_000).contains(&report.p99_us), "{report:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_until_the_end_is_a_gap() {
        let recorder = Recorder::new();
        let started = Instant::now();
        recorder.acknowledged_now(started);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(recorder.report(started, Instant::now()).longest_gap_ms, 3000);
    }
}
