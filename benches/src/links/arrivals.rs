//! Counting what arrived.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many messages arrived, for one who waits.
#[derive(Debug)]
pub(super) struct Arrivals {
    count: AtomicU64,
    /// The waiting one is only woken for this: to be woken for every arrival would cost more than what is measured.
    wanted: AtomicU64,
    reached: Notify,
}

impl Arrivals {
    pub(super) fn new() -> Arrivals {
        Arrivals {
            count: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn add(&self, count: u64) {
        // One order of all four accesses: either this sees what is wanted, or the one who waits sees the count.
        let count = self.count.fetch_add(count, Ordering::SeqCst) + count;
        if count >= self.wanted.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// Waits until `count` have arrived since the beginning.
    pub(super) async fn reach(&self, count: u64) {
        self.wanted.store(count, Ordering::SeqCst);
        while self.count() < count {
            self.reached.notified().await;
        }
        self.wanted.store(u64::MAX, Ordering::SeqCst);
    }
}
