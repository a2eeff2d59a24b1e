//! A limit over all groups: the bytes of commands that clients of this host wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::request::RefusalReason;

/// How many bytes are unanswered, and how many may be.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Budget {
        Budget {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Takes `bytes` out of the budget until the answer is dropped. One command always passes when there is no other.
    pub(super) fn admit(self: &Arc<Budget>, bytes: usize) -> Result<Permit, RefusalReason> {
        // What is refused takes nothing away from others, not even for a moment.
        let fits = |before: usize| {
            let after = before.saturating_add(bytes);
            (before == 0 || after <= self.bytes_max).then_some(after)
        };
        let admitted = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        match admitted {
            Ok(_) => Ok(Permit {
                budget: self.clone(),
                bytes,
            }),
            Err(_) => Err(RefusalReason::Busy),
        }
    }
}

/// The bytes of one command. Dropped with the client that waits for it.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R20: what does not fit is refused and costs nothing; what was answered makes room.
    #[test]
    fn the_budget_is_given_back() {
        let budget = Arc::new(Budget::new(10));
        let large = budget.admit(100).unwrap();
        assert_eq!(budget.admit(1).unwrap_err(), RefusalReason::Busy);
        drop(large);
        let first = budget.admit(6).unwrap();
        let second = budget.admit(4).unwrap();
        assert_eq!(budget.admit(1).unwrap_err(), RefusalReason::Busy);
        drop(first);
        let third = budget.admit(5).unwrap();
        drop((second, third));
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
    }
}
