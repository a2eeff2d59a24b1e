//! What a command says on standard error while it takes long.

use std::pin::pin;
use std::time::Duration;

use raft_storage_rocksdb::inspect::ScanProgress;
use tokio::time::{Instant, interval_at};

use super::{output, status};

/// After how long a command says that it is still at work.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How often it says so again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Waits for `work`; if that takes long, says on standard error that `what` is under way.
pub(super) async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let started = Instant::now();
    let mut ticks = interval_at(started + SILENCE_MAX, REPEAT_INTERVAL);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = ticks.tick() => {
                output::complain(&format!("still {what} after {} s", started.elapsed().as_secs()));
            }
        }
    }
}

/// Says now and then how far a long scan is.
pub(super) struct ScanReporter {
    started: std::time::Instant,
    /// When it says so next.
    due: Duration,
}

impl ScanReporter {
    /// For a scan that begins now.
    pub(super) fn start() -> ScanReporter {
        ScanReporter {
            started: std::time::Instant::now(),
            due: SILENCE_MAX,
        }
    }

    /// Prints how far the scan is, if it is time to.
    pub(super) fn report(&mut self, progress: &ScanProgress) {
        if let Some(line) = self.line(self.started.elapsed(), progress) {
            output::complain(&line);
        }
    }

    fn line(&mut self, elapsed: Duration, progress: &ScanProgress) -> Option<String> {
        if elapsed < self.due {
            return None;
        }
        self.due = elapsed + SILENCE_MAX;
        let rate = |count: u64| (count as f64 / elapsed.as_secs_f64()) as i64;
        Some(format!(
            "{} of {} entries, {} read, {} % done, {} entries/s, {}/s",
            progress.entries,
            progress.entries_total,
            status::bytes(progress.bytes.cast_signed()),
            progress.percent(),
            rate(progress.entries),
            status::bytes(rate(progress.bytes)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_scan_says_how_far_it_is_every_two_seconds() {
        let mut reporter = ScanReporter::start();
        let progress = ScanProgress {
            entries: 3_000,
            entries_total: 12_000,
            bytes: 6_000_000,
            log_bytes_total: 24_000_000,
            ..ScanProgress::default()
        };
        assert_eq!(reporter.line(Duration::from_millis(1_999), &progress), None);
        assert_eq!(
            reporter.line(Duration::from_secs(2), &progress).unwrap(),
            "3000 of 12000 entries, 6.0 MB read, 25 % done, 1500 entries/s, 3.0 MB/s"
        );
        assert_eq!(reporter.line(Duration::from_millis(3_999), &progress), None);
        assert!(reporter.line(Duration::from_secs(4), &progress).is_some());
    }
}
