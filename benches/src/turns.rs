//! Any number of sides measured in turns, in one run: A B C D, D C B A, and so on.
//!
//! The machines are shared and noisy, and drift within minutes: a ratio is the median of the ratios of neighbouring turns.
//! Must never print: what is printed is the benchmark's affair.

use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::logs::{BatchWriter, Log};

/// What the callers do in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Callers at the same time, each on a thread of its own, each with a group of its own.
    pub callers: u64,
    /// Entries of a batch.
    pub batch: u64,
    /// Batches of a caller in one turn.
    pub batches: u64,
    /// Turns of each log that count; one more before them does not.
    pub turns: usize,
}

/// What one side, mostly a log, did in all its turns.
#[derive(Debug, Default)]
pub struct Measured {
    /// Entries per second, for each turn.
    pub rates: Vec<f64>,
    /// How long each batch took.
    pub latencies: Vec<Duration>,
    /// CPU time of the whole process during the turns of this side, whoever used it.
    pub cpu: Duration,
    /// Entries in all turns.
    pub entries: u64,
}

impl Measured {
    /// Counts a turn: its rate, how much was done in it, and the CPU time since `cpu_before`.
    pub fn note(&mut self, rate: f64, entries: u64, cpu_before: Duration) {
        self.rates.push(rate);
        self.entries += entries;
        self.cpu += cpu_time().saturating_sub(cpu_before);
    }

    /// The median rate, in entries per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        median(self.rates.iter().copied())
    }

    /// The time that `share` of the batches took at most; 0 ≤ `share` ≤ 1.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        quantile(&self.latencies, share)
    }

    /// CPU time for one entry.
    #[must_use]
    pub fn cpu_per_entry(&self) -> Duration {
        self.cpu / u32::try_from(self.entries.max(1)).unwrap_or(u32::MAX)
    }

    /// The median of the ratios of the rates, turn by turn.
    #[must_use]
    pub fn ratio_to(&self, other: &Measured) -> f64 {
        let pairs = self.rates.iter().zip(&other.rates);
        median(pairs.map(|(ours, theirs)| ours / theirs))
    }
}

/// Measures every log by the same plan; the results have the order of the logs.
///
/// # Panics
/// If a log fails.
#[must_use]
pub fn interleave(logs: &[Box<dyn Log>], plan: Plan) -> Vec<Measured> {
    let mut writers: Vec<Vec<Box<dyn BatchWriter>>> = logs
        .iter()
        .map(|log| (0..plan.callers).map(|caller| log.writer(caller + 1)).collect())
        .collect();
    let mut measured: Vec<Measured> = logs.iter().map(|_| Measured::default()).collect();
    for writers in &mut writers {
        turn(writers, plan, &mut Measured::default());
    }
    for number in 0..plan.turns {
        for side in order(logs.len(), number) {
            turn(&mut writers[side], plan, &mut measured[side]);
        }
    }
    measured
}

/// Which of `sides` comes when in the turns of this `number`: every second time backwards.
#[must_use]
pub fn order(sides: usize, number: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sides).collect();
    if !number.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// The time that `share` of `latencies` do not exceed; 0 ≤ `share` ≤ 1.
#[must_use]
pub fn quantile(latencies: &[Duration], share: f64) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

fn turn(writers: &mut [Box<dyn BatchWriter>], plan: Plan, measured: &mut Measured) {
    let cpu = cpu_time();
    let elapsed = match writers {
        [writer] => {
            let begin = Instant::now();
            append(writer.as_mut(), plan, &mut measured.latencies);
            begin.elapsed()
        }
        writers => together(writers, plan, &mut measured.latencies),
    };
    let entries = plan.callers * plan.batches * plan.batch;
    measured.note(entries as f64 / elapsed.as_secs_f64(), entries, cpu);
}

/// All callers at once, each on its thread; the time from the moment when all threads stand ready.
fn together(writers: &mut [Box<dyn BatchWriter>], plan: Plan, latencies: &mut Vec<Duration>) -> Duration {
    let ready = Barrier::new(writers.len());
    let begin = OnceLock::new();
    std::thread::scope(|scope| {
        let callers: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let (ready, begin) = (&ready, &begin);
                scope.spawn(move || {
                    let mut latencies = Vec::new();
                    ready.wait();
                    begin.get_or_init(Instant::now);
                    append(writer.as_mut(), plan, &mut latencies);
                    latencies
                })
            })
            .collect();
        for caller in callers {
            latencies.extend(caller.join().expect("a caller that does not panic"));
        }
    });
    begin.get().map_or(Duration::ZERO, Instant::elapsed)
}

fn append(writer: &mut dyn BatchWriter, plan: Plan, latencies: &mut Vec<Duration>) {
    for _ in 0..plan.batches {
        let begin = Instant::now();
        writer.append(plan.batch);
        latencies.push(begin.elapsed());
    }
}

/// The CPU time of this process so far.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A log that notes which caller of which log was called.
    struct Noted {
        name: &'static str,
        calls: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Log for Noted {
        fn name(&self) -> &'static str {
            self.name
        }

        fn writer(&self, _group: u64) -> Box<dyn BatchWriter> {
            Box::new(Noted {
                name: self.name,
                calls: Arc::clone(&self.calls),
            })
        }
    }

    impl BatchWriter for Noted {
        fn append(&mut self, _count: u64) {
            self.calls.lock().unwrap().push(self.name);
        }
    }

    fn logs(calls: &Arc<Mutex<Vec<&'static str>>>) -> Vec<Box<dyn Log>> {
        ["a", "b", "c"]
            .into_iter()
            .map(|name| -> Box<dyn Log> {
                Box::new(Noted {
                    name,
                    calls: Arc::clone(calls),
                })
            })
            .collect()
    }

    #[test]
    fn every_second_turn_goes_backwards_after_one_that_does_not_count() {
        let calls = Arc::default();
        let plan = Plan {
            callers: 1,
            batch: 5,
            batches: 1,
            turns: 2,
        };
        let measured = interleave(&logs(&calls), plan);
        assert_eq!(calls.lock().unwrap().concat(), "abcabccba");
        assert_eq!(measured[0].entries, 10);
        assert_eq!((measured[2].rates.len(), measured[2].latencies.len()), (2, 2));
    }

    #[test]
    fn every_caller_does_all_its_batches() {
        let calls = Arc::default();
        let plan = Plan {
            callers: 4,
            batch: 1,
            batches: 3,
            turns: 1,
        };
        let measured = interleave(&logs(&calls), plan);
        assert_eq!(measured[1].latencies.len(), 12);
        assert_eq!(calls.lock().unwrap().len(), 3 * 12 * 2);
    }

    #[test]
    fn ratios_are_taken_turn_by_turn() {
        let side = |rates: &[f64]| Measured {
            rates: rates.to_vec(),
            ..Measured::default()
        };
        let (ours, theirs) = (side(&[2.0, 40.0, 9.0]), side(&[1.0, 10.0, 3.0]));
        assert!((ours.ratio_to(&theirs) - 3.0).abs() < f64::EPSILON);
        assert!((ours.rate() - 9.0).abs() < f64::EPSILON);
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let measured = Measured {
            latencies: (1..=101).rev().map(Duration::from_micros).collect(),
            ..Measured::default()
        };
        assert_eq!(measured.quantile(0.5), Duration::from_micros(51));
        assert_eq!(measured.quantile(0.99), Duration::from_micros(100));
        assert_eq!(Measured::default().quantile(0.5), Duration::ZERO);
    }
}
