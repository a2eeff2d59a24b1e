//! Many cases, several at once.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::case::{self, CaseId, Setup, Tally};
use crate::random::Random;

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Crash points; cases are added until there were so many.
    pub points: u64,
    /// Damages.
    pub damages: u64,
    /// What all cases follow from.
    pub seed: u64,
    /// How many cases run at once.
    pub jobs: NonZeroUsize,
    /// No case begins after so many failures.
    pub failures_max: usize,
}

/// Crashes of one case.
const POINTS_OF_A_CASE: u64 = 8;

/// Where the stores are: in memory if there is a file system for that. What a crash leaves is decided by the library, not
/// by the disk, and memory is faster.
#[must_use]
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(_) => memory.to_path_buf(),
        Err(_) => std::env::temp_dir(),
    }
}

/// What is shared by the threads.
struct Shared {
    seeds: Random,
    tally: Tally,
    cases: u64,
    error: Option<io::Error>,
}

impl Campaign {
    /// Runs all cases. `progress` is called now and then.
    ///
    /// # Errors
    /// The machine does not let it.
    pub fn run(
        &self,
        setup: &Setup,
        calls: u64,
        progress: impl Fn(&Tally, Duration) + Sync,
    ) -> io::Result<Tally> {
        let started = Instant::now();
        let shared = Mutex::new(Shared {
            seeds: Random::new(self.seed),
            tally: Tally::default(),
            cases: 0,
            error: None,
        });
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.get() {
                scope.spawn(|| {
                    let next = || self.next(&mut lock(), calls);
                    while let Some(id) = next() {
                        let ran = one(setup, id);
                        let mut shared = lock();
                        match ran {
                            Ok(tally) => shared.tally.add(tally),
                            Err(error) => shared.error = shared.error.take().or(Some(error)),
                        }
                        progress(&shared.tally, started.elapsed());
                    }
                });
            }
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.error {
            Some(error) => Err(error),
            None => Ok(shared.tally),
        }
    }

    /// The next case, if one is needed. Damages are spread evenly over the cases.
    fn next(&self, shared: &mut Shared, calls: u64) -> Option<CaseId> {
        let tally = &shared.tally;
        let enough = tally.points() >= self.points && tally.damages() >= self.damages;
        if enough || shared.error.is_some() || tally.failures.len() >= self.failures_max {
            return None;
        }
        let cases = self.points.div_ceil(POINTS_OF_A_CASE).max(1);
        let damages_until = |nth: u64| nth * self.damages / cases;
        let nth = shared.cases;
        shared.cases += 1;
        Some(CaseId {
            seed: shared.seeds.next() >> 16,
            calls,
            points: POINTS_OF_A_CASE,
            damages: damages_until(nth + 1) - damages_until(nth),
        })
    }
}

/// Runs one case in a directory that goes away with it.
///
/// # Errors
/// The machine does not let it.
pub fn one(setup: &Setup, id: CaseId) -> io::Result<Tally> {
    let dir = tempfile::Builder::new()
        .prefix("store-torture-")
        .tempdir_in(scratch())?;
    case::run(setup, id, dir.path())
}
