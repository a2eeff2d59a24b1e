//! Warnings that whoever knocks at the port can cause: bounded in number, so that a flood of bad connections is not a
//! flood of log lines, too.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most this many warnings in each window; the rest are counted and mentioned by the next one.
const WARNINGS_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// Writes warnings, at a bounded rate.
#[derive(Default)]
pub(crate) struct Warnings {
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Warnings {
    /// One line: who was refused, and why.
    pub(crate) fn refused(&self, who: &dyn Display, why: &dyn Display) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            tracing::warn!(peer = %who, reason = %why, suppressed, "connection closed");
        }
    }

    /// `None` if this warning is one too many; else how many were suppressed before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = window
            .began
            .is_none_or(|began| now.duration_since(began) >= WINDOW);
        if fresh {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written >= WARNINGS_MAX {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let warnings = Warnings::default();
        let now = Instant::now();
        let written = (0..1_000).filter(|_| warnings.admit(now).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(warnings.admit(now + WINDOW), Some(980));
        assert_eq!(warnings.admit(now + WINDOW), Some(0));
    }
}
