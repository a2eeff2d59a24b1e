//! Spreads runs over threads. What a run does is decided by its number alone, so nothing depends on how many there are.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How often whoever waits for results hears that there is none.
const PATIENCE: Duration = Duration::from_millis(200);

/// As many threads as the machine has cores.
pub(super) fn cores() -> NonZero<u64> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    NonZero::new(cores).unwrap_or(NonZero::<u64>::MIN)
}

/// Does `work` for the numbers below `count`, on `jobs` threads, and tells each result as it comes; now and then it tells that
/// none came. After a break no further number is begun, and the results of those under way are told still: whatever was
/// begun before a number is told, if that number is.
pub(super) fn for_each<T: Send>(
    count: u64,
    jobs: NonZero<u64>,
    work: impl Fn(u64) -> T + Sync,
    mut tell: impl FnMut(Option<(u64, T)>) -> ControlFlow<()>,
) {
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(count));
    let (send, results) = mpsc::channel();
    let take = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        (number < end.load(Ordering::Relaxed)).then_some(number)
    };
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(count) {
            let send = send.clone();
            let (take, work) = (&take, &work);
            scope.spawn(move || {
                while let Some(number) = take() {
                    let sent = send.send((number, work(number)));
                    sent.expect("results are received until every thread has ended");
                }
            });
        }
        drop(send);
        loop {
            let told = match results.recv_timeout(PATIENCE) {
                Ok(result) => tell(Some(result)),
                Err(RecvTimeoutError::Timeout) => tell(None),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if told.is_break() {
                end.store(0, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn squares(count: u64, jobs: u64) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        for_each(count, NonZero::new(jobs).unwrap(), square, |result| {
            all.extend(result);
            ControlFlow::Continue(())
        });
        all.sort_unstable();
        all
    }

    fn square(number: u64) -> u64 {
        number * number
    }

    #[test]
    fn every_number_is_worked_on_once() {
        let expected: Vec<(u64, u64)> = (0..100).map(|number| (number, square(number))).collect();
        for jobs in [1, 3, 200] {
            assert_eq!(squares(100, jobs), expected);
        }
        assert_eq!(squares(0, 2), []);
    }

    /// Whatever the number of threads, everything before the first number at which to stop is told, and little after it.
    #[test]
    fn a_break_leaves_no_hole_before_it() {
        for jobs in [1, 3, 8] {
            let is_over = AtomicBool::new(false);
            let work = |number| {
                while number > 100 && !is_over.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            };
            let mut numbers = Vec::new();
            for_each(1_000, NonZero::new(jobs).unwrap(), work, |result| {
                let Some((number, ())) = result else {
                    return ControlFlow::Continue(());
                };
                numbers.push(number);
                if number < 40 {
                    return ControlFlow::Continue(());
                }
                is_over.store(true, Ordering::Relaxed);
                ControlFlow::Break(())
            });
            numbers.sort_unstable();
            assert!(numbers.starts_with(&Vec::from_iter(0..=40)), "{numbers:?}");
            assert!(numbers.len() < 1_000, "{jobs} threads did them all");
        }
    }
}
