//! What waits for one peer: a bounded queue that never makes its caller wait.
//!
//! Invariants:
//! - at most `messages_max` messages and `bytes_max` encoded bytes wait;
//! - what does not fit is dropped at once, the newest first, and counted;
//! - order is kept;
//! - nothing waits longer than about `age_max` for a peer without a connection: it would be stale news.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use raft_core::message::Message;
use tokio::sync::Notify;

use crate::options::QuicLimits;
use crate::size::message_bytes;

/// The messages that wait for one peer.
pub(crate) struct SendQueue {
    state: Mutex<State>,
    ready: Notify,
    messages_max: usize,
    bytes_max: usize,
    message_bytes_max: usize,
    age_max: Duration,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// The encoded size of each message, in step with `messages`.
    sizes: VecDeque<usize>,
    bytes: usize,
    dropped: u64,
    connected: bool,
    /// Since when the oldest message may have waited without a connection.
    waiting_since: Option<Instant>,
}

impl SendQueue {
    pub(crate) fn new(limits: &QuicLimits) -> SendQueue {
        SendQueue {
            state: Mutex::default(),
            ready: Notify::new(),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            // A frame begins with the count of its messages.
            message_bytes_max: limits.frame_bytes_max - limits.frame_bytes_max.min(4),
            age_max: limits.queue_age_max,
        }
    }

    /// Adds what fits of `messages`. Never blocks.
    pub(crate) fn push(&self, messages: Vec<Message>) {
        let mut sizes = Vec::with_capacity(messages.len());
        sizes.extend(messages.iter().map(message_bytes));
        let mut state = self.lock();
        let stale = self.take_stale(&mut state);
        let was_empty = state.messages.is_empty();
        if was_empty && !state.connected {
            state.waiting_since = Some(Instant::now());
        }
        let mut refused = Vec::new();
        for (message, bytes) in messages.into_iter().zip(sizes) {
            let fits = state.messages.len() < self.messages_max
                && state.bytes.saturating_add(bytes) <= self.bytes_max
                && bytes <= self.message_bytes_max;
            // Once one was refused, the rest of the batch goes, too: a gap in the middle would only cost a rejection.
            if fits && refused.is_empty() {
                state.bytes += bytes;
                state.messages.push_back(message);
                state.sizes.push_back(bytes);
            } else {
                refused.push(message);
            }
        }
        state.dropped += refused.len() as u64;
        let wake = was_empty && !state.messages.is_empty();
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        // Payloads are freed after the lock is.
        drop((stale, refused));
    }

    /// Waits until something waits. Safe to cancel.
    pub(crate) async fn ready(&self) {
        loop {
            if !self.lock().messages.is_empty() {
                return;
            }
            self.ready.notified().await;
        }
    }

    /// Moves the oldest messages into `batch`, at least one if any waits, and then as many as fit into `bytes_max` encoded
    /// bytes. Returns their encoded size.
    pub(crate) fn take(&self, batch: &mut Vec<Message>, bytes_max: usize) -> usize {
        let mut state = self.lock();
        let mut bytes = 0;
        let mut count = 0;
        if state.bytes <= bytes_max {
            bytes = state.bytes;
            count = state.messages.len();
        } else {
            for &size in &state.sizes {
                if count > 0 && bytes + size > bytes_max {
                    break;
                }
                bytes += size;
                count += 1;
            }
        }
        state.bytes -= bytes;
        state.sizes.drain(..count);
        batch.extend(state.messages.drain(..count));
        bytes
    }

    /// Tells whether messages can leave now.
    pub(crate) fn set_connected(&self, connected: bool) {
        let mut state = self.lock();
        let stale = self.take_stale(&mut state);
        state.connected = connected;
        state.waiting_since = (!connected && !state.messages.is_empty()).then(Instant::now);
        drop(state);
        drop(stale);
    }

    /// Counts messages that were taken and then lost.
    pub(crate) fn count_dropped(&self, messages: usize) {
        self.lock().dropped += messages as u64;
    }

    /// How many messages wait, and how many were dropped since the start.
    pub(crate) fn depth_and_dropped(&self) -> (usize, u64) {
        let state = self.lock();
        (state.messages.len(), state.dropped)
    }

    fn take_stale(&self, state: &mut State) -> VecDeque<Message> {
        let old = state
            .waiting_since
            .is_some_and(|since| since.elapsed() > self.age_max);
        if state.connected || !old {
            return VecDeque::new();
        }
        state.waiting_since = None;
        state.dropped += state.messages.len() as u64;
        state.sizes.clear();
        state.bytes = 0;
        std::mem::take(&mut state.messages)
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::message::{Body, ForwardRequest, ForwardedRequest};
    use raft_core::types::{GroupId, NodeId, Term, Ticket};

    use super::*;

    fn message(number: u64, payload_bytes: usize) -> Message {
        Message {
            group: GroupId(1),
            from: NodeId(1),
            to: NodeId(2),
            term: Term(1),
            body: Body::ForwardRequest(ForwardRequest {
                ticket: Ticket(number),
                request: ForwardedRequest::Propose(Bytes::from(vec![7; payload_bytes])),
            }),
        }
    }

    fn numbers(batch: &[Message]) -> Vec<u64> {
        batch
            .iter()
            .map(|message| match &message.body {
                Body::ForwardRequest(request) => request.ticket.0,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn queue(limits: QuicLimits) -> SendQueue {
        let queue = SendQueue::new(&limits);
        queue.set_connected(true);
        queue
    }

    /// R76: a full queue drops the newest and counts them; what is inside keeps its order.
    #[test]
    fn a_full_queue_drops_the_newest() {
        let queue = queue(QuicLimits {
            queue_messages_max: 3,
            ..QuicLimits::default()
        });
        queue.push(vec![message(1, 0), message(2, 0)]);
        queue.push(vec![message(3, 0), message(4, 0), message(5, 0)]);
        queue.push(vec![message(6, 0)]);
        assert_eq!(queue.depth_and_dropped(), (3, 3));
        let mut batch = Vec::new();
        queue.take(&mut batch, usize::MAX);
        assert_eq!(numbers(&batch), [1, 2, 3]);
    }

    /// R76: the bound counts bytes, too.
    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let queue = queue(QuicLimits {
            queue_bytes_max: 4 << 20,
            ..QuicLimits::default()
        });
        for number in 1..=5 {
            queue.push(vec![message(number, 1 << 20)]);
        }
        assert_eq!(queue.depth_and_dropped(), (3, 2));
    }

    #[test]
    fn a_message_that_fits_no_frame_is_dropped() {
        let queue = queue(QuicLimits::default());
        queue.push(vec![message(1, 5 << 20)]);
        queue.push(vec![message(2, 10)]);
        let mut batch = Vec::new();
        queue.take(&mut batch, usize::MAX);
        assert_eq!(numbers(&batch), [2]);
    }

    #[test]
    fn take_stops_at_the_limit_but_always_takes_one() {
        let queue = queue(QuicLimits::default());
        queue.push((1..=4).map(|number| message(number, 1000)).collect());
        let mut batch = Vec::new();
        queue.take(&mut batch, 10);
        assert_eq!(numbers(&batch), [1]);
        batch.clear();
        queue.take(&mut batch, 2 * message_bytes(&message(0, 1000)));
        assert_eq!(numbers(&batch), [2, 3]);
        assert_eq!(queue.depth_and_dropped().0, 1);
    }

    #[test]
    fn messages_for_an_absent_peer_grow_stale() {
        let queue = SendQueue::new(&QuicLimits {
            queue_age_max: Duration::ZERO,
            ..QuicLimits::default()
        });
        queue.push(vec![message(1, 0)]);
        let pushed_at = Instant::now();
        while pushed_at.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        queue.set_connected(true);
        assert_eq!(queue.depth_and_dropped(), (0, 1));
    }
}
