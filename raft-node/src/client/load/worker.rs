//! One client: writes one key after the other, each until it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Shared;
use super::connection::Connection;
use super::put::{self, Attempt, PutOutcome};

/// How long a key is tried before it is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// The first pause after every endpoint has failed once; it doubles with every further round.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Writes keys until there are no more or the load is stopped.
pub(super) async fn write_keys(shared: Arc<Shared>, client: usize) {
    // Clients begin at different endpoints, and every key goes to the next one.
    let mut turn = client;
    while shared.stopped_at().is_none() {
        let Some(pair) = shared.keys.next() else {
            return;
        };
        let sent = Instant::now();
        match write_one(&shared, client, &mut turn, put::body(&pair)).await {
            PutOutcome::Acknowledged => {
                shared.recorder.acknowledged_now(sent);
                let noted = shared.acked.as_ref().is_none_or(|acked| acked.write(pair.line()));
                if !noted {
                    // Nothing that is acknowledged from here on could be checked; `finish` says why.
                    shared.stop();
                }
            }
            PutOutcome::Refused(reason) | PutOutcome::NotDone(reason) => shared.recorder.failed(reason),
            PutOutcome::Unknown(reason) => shared.recorder.unknown(reason),
        }
    }
}

/// Writes one key. Once an attempt may have been applied, no later refusal makes the key a failed one.
async fn write_one(shared: &Shared, client: usize, turn: &mut usize, body: Bytes) -> PutOutcome {
    let began = Instant::now();
    let mut may_be_written = None;
    let mut attempts = 0;
    loop {
        let (node, connection) = shared.pool.choose(client, *turn);
        *turn = turn.wrapping_add(1);
        let outcome = attempt(shared, node, connection, body.clone()).await;
        let reason = match outcome {
            PutOutcome::Acknowledged => return outcome,
            PutOutcome::Refused(reason) => {
                return may_be_written.map_or(PutOutcome::Refused(reason), PutOutcome::Unknown);
            }
            PutOutcome::NotDone(reason) => reason,
            PutOutcome::Unknown(reason) => {
                may_be_written = Some(reason.clone());
                reason
            }
        };
        attempts += 1;
        let is_over = shared
            .stopped_at()
            .is_some_and(|stopped| stopped.elapsed() >= shared.attempt_timeout);
        if is_over || began.elapsed() >= GIVE_UP_AFTER {
            return may_be_written.map_or(PutOutcome::NotDone(reason), PutOutcome::Unknown);
        }
        tokio::time::sleep(pause(attempts, shared.pool.len())).await;
    }
}

async fn attempt(shared: &Shared, node: usize, connection: &Connection, body: Bytes) -> PutOutcome {
    let open = match connection.open().await {
        Ok(open) => open,
        Err(reason) => {
            shared.pool.rest(node);
            return PutOutcome::NotDone(reason);
        }
    };
    let put = put::put(open.sender, &connection.put_uri, body);
    let attempt = tokio::time::timeout(shared.attempt_timeout, put)
        .await
        .unwrap_or_else(|_| Attempt {
            outcome: PutOutcome::Unknown(format!(
                "no answer within {} ms",
                shared.attempt_timeout.as_millis()
            )),
            // A node that hangs, or a path that swallows packets: a new connection finds out.
            is_broken: true,
        });
    if attempt.is_broken {
        connection.forget(open.generation).await;
        shared.pool.rest(node);
    }
    attempt.outcome
}

/// No pause while there is another endpoint to try, then longer and longer ones.
fn pause(attempts: u32, endpoints: usize) -> Duration {
    let rounds = attempts / u32::try_from(endpoints.max(1)).unwrap_or(1);
    if rounds == 0 {
        Duration::ZERO
    } else {
        (PAUSE_MIN * 2_u32.saturating_pow(rounds - 1)).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses: Vec<u64> = [1, 2, 3, 6, 9, 300]
            .iter()
            .map(|n| pause(*n, 3).as_millis() as u64)
            .collect();
        assert_eq!(pauses, [0, 0, 5, 10, 20, 100]);
        assert_eq!(pause(1, 1), PAUSE_MIN);
    }
}
