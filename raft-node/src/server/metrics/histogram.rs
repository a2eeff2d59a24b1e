//! A histogram of durations that costs two atomic additions per observation and never locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many buckets there are; the last one has no upper bound.
const BUCKETS: usize = 20;
/// The upper bound of the first bucket, as a power of two of microseconds: 64 µs. Each bucket is twice as wide as the
/// one before; the last bounded one ends at 16.8 s.
const FIRST_BOUND_LOG2: u32 = 6;

/// Counts durations by their order of magnitude.
#[derive(Debug, Default)]
pub(super) struct DurationHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DurationCounts {
    /// The sum of all durations in seconds.
    pub(super) sum_seconds: f64,
    /// How many durations there are.
    pub(super) count: u64,
    /// Upper bound in seconds and number of durations of each bucket, not cumulated.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl DurationHistogram {
    /// Counts one duration.
    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far. Observations that arrive meanwhile may be in one figure and not in another.
    pub(super) fn counts(&self) -> DurationCounts {
        let buckets: Vec<(f64, u64)> = self
            .buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| (upper_bound_seconds(bucket), count.load(Ordering::Relaxed)))
            .collect();
        DurationCounts {
            sum_seconds: self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// The bucket whose upper bound is the first that is not below `micros`.
fn bucket_of(micros: u64) -> usize {
    let above = micros.saturating_sub(1) >> FIRST_BOUND_LOG2;
    let magnitude = (u64::BITS - above.leading_zeros()) as usize;
    magnitude.min(BUCKETS - 1)
}

fn upper_bound_seconds(bucket: usize) -> f64 {
    if bucket == BUCKETS - 1 {
        return f64::INFINITY;
    }
    (1_u64 << (FIRST_BOUND_LOG2 as usize + bucket)) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_that_bounds_it() {
        for micros in [
            0,
            1,
            63,
            64,
            65,
            128,
            129,
            1_000,
            1 << 24,
            (1 << 24) + 1,
            u64::MAX,
        ] {
            let bucket = bucket_of(micros);
            let seconds = micros as f64 / 1e6;
            assert!(
                seconds <= upper_bound_seconds(bucket),
                "{micros} µs in bucket {bucket}"
            );
            if bucket > 0 {
                assert!(
                    seconds > upper_bound_seconds(bucket - 1),
                    "{micros} µs in bucket {bucket}"
                );
            }
        }
    }

    #[test]
    fn counts_add_up() {
        let histogram = DurationHistogram::default();
        histogram.observe(Duration::from_micros(100));
        histogram.observe(Duration::from_millis(100));
        histogram.observe(Duration::from_secs(100));
        let counts = histogram.counts();
        assert_eq!(counts.count, 3);
        assert_eq!(counts.sum_seconds, 100.1001);
        assert_eq!(counts.buckets.last(), Some(&(f64::INFINITY, 1)));
    }
}
