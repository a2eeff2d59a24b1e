//! What a command says on standard error while it takes long.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::output;

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
