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

use crate::options::TransportLimits;
use crate::size::message_bytes;

/// The messages that wait for one peer.
pub(crate) struct SendQueue {
    state: Mutex<State>,
    ready: Notify,
    messages_max: usize,
    bytes_max: usize,
    message_bytes_max: usize,
    batch_bytes_max: usize,
    age_max: Duration,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    messages: usize,
    bytes: usize,
    dropped: u64,
    connected: bool,
    /// Since when the oldest message may have waited without a connection.
    waiting_since: Option<Instant>,
}

/// Messages that leave together.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// An upper bound of their encoded size.
    pub(crate) bytes: usize,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) messages: usize,
    /// An upper bound of their encoded size.
    pub(crate) bytes: usize,
    /// Messages that were dropped since the start.
    pub(crate) dropped: u64,
}

impl SendQueue {
    pub(crate) fn new(limits: &TransportLimits) -> SendQueue {
        // A frame begins with the count of its messages.
        let message_bytes_max = limits.frame_bytes_max - limits.frame_bytes_max.min(4);
        SendQueue {
            state: Mutex::default(),
            ready: Notify::new(),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            message_bytes_max,
            batch_bytes_max: limits.coalesce_bytes_max.min(message_bytes_max),
            age_max: limits.queue_age_max,
        }
    }

    /// Adds what fits of `messages`. Never blocks.
    pub(crate) fn push(&self, messages: Vec<Message>) {
        // Outside the lock: the size of a large batch takes a while to add up.
        let whole = Batch {
            bytes: messages.iter().map(message_bytes).sum(),
            messages,
        };
        if whole.messages.is_empty() {
            return;
        }
        let mut state = self.lock();
        let stale = self.take_stale(&mut state);
        let was_empty = state.messages == 0;
        if was_empty && !state.connected {
            state.waiting_since = Some(Instant::now());
        }
        let fits = state.messages + whole.messages.len() <= self.messages_max
            && state.bytes + whole.bytes <= self.bytes_max
            && whole.bytes <= self.batch_bytes_max;
        let refused = if fits {
            state.add(whole);
            Vec::new()
        } else {
            self.push_piecewise(&mut state, whole.messages)
        };
        state.dropped += refused.len() as u64;
        let wake = was_empty && state.messages > 0;
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        // Payloads are freed after the lock is.
        drop((stale, refused));
    }

    /// Adds a batch that is too large for one frame or for the room that is left. Returns what found no room.
    fn push_piecewise(&self, state: &mut State, messages: Vec<Message>) -> Vec<Message> {
        let mut refused = Vec::new();
        let mut batch = Batch::default();
        for message in messages {
            let bytes = message_bytes(&message);
            let fits = state.messages + batch.messages.len() < self.messages_max
                && state.bytes + batch.bytes + bytes <= self.bytes_max
                && bytes <= self.message_bytes_max;
            // Once one was refused, the rest goes, too: a gap in the middle would only cost a rejection.
            if !fits || !refused.is_empty() {
                refused.push(message);
                continue;
            }
            if batch.bytes + bytes > self.batch_bytes_max {
                state.add(std::mem::take(&mut batch));
            }
            batch.bytes += bytes;
            batch.messages.push(message);
        }
        state.add(batch);
        refused
    }

    /// Waits until something waits. Safe to cancel.
    pub(crate) async fn ready(&self) {
        loop {
            if self.lock().messages > 0 {
                return;
            }
            self.ready.notified().await;
        }
    }

    /// The oldest messages, as many as share a frame: at least one if any waits.
    pub(crate) fn take(&self) -> Batch {
        let mut state = self.lock();
        let mut taken = state.batches.pop_front().unwrap_or_default();
        while let Some(next) = state.batches.front_mut()
            && taken.bytes + next.bytes <= self.batch_bytes_max
        {
            taken.bytes += next.bytes;
            taken.messages.append(&mut next.messages);
            state.batches.pop_front();
        }
        state.messages -= taken.messages.len();
        state.bytes -= taken.bytes;
        taken
    }

    /// Tells whether messages can leave now.
    pub(crate) fn set_connected(&self, connected: bool) {
        let mut state = self.lock();
        let stale = self.take_stale(&mut state);
        state.connected = connected;
        state.waiting_since = (!connected && state.messages > 0).then(Instant::now);
        drop(state);
        drop(stale);
    }

    /// Counts messages that were taken and then lost.
    pub(crate) fn count_dropped(&self, messages: usize) {
        self.lock().dropped += messages as u64;
    }

    /// What waits, and what was dropped.
    pub(crate) fn depth(&self) -> Depth {
        let state = self.lock();
        Depth {
            messages: state.messages,
            bytes: state.bytes,
            dropped: state.dropped,
        }
    }

    fn take_stale(&self, state: &mut State) -> VecDeque<Batch> {
        let old = state
            .waiting_since
            .is_some_and(|since| since.elapsed() > self.age_max);
        if state.connected || !old {
            return VecDeque::new();
        }
        state.waiting_since = None;
        state.dropped += state.messages as u64;
        state.messages = 0;
        state.bytes = 0;
        std::mem::take(&mut state.batches)
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, batch: Batch) {
        if batch.messages.is_empty() {
            return;
        }
        self.messages += batch.messages.len();
        self.bytes += batch.bytes;
        self.batches.push_back(batch);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::message::{Body, ForwardRequest};
    use raft_core::request::ClientRequest;
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
                request: ClientRequest::Propose(Bytes::from(vec![7; payload_bytes])),
            }),
        }
    }

    fn depth_and_dropped(queue: &SendQueue) -> (usize, u64) {
        let depth = queue.depth();
        assert_eq!(depth.messages == 0, depth.bytes == 0, "{depth:?}");
        (depth.messages, depth.dropped)
    }

    fn take_numbers(queue: &SendQueue) -> Vec<u64> {
        let taken = queue.take();
        let number = |message: &Message| match &message.body {
            Body::ForwardRequest(request) => request.ticket.0,
            other => panic!("{other:?}"),
        };
        taken.messages.iter().map(number).collect()
    }

    fn queue(limits: TransportLimits) -> SendQueue {
        let queue = SendQueue::new(&limits);
        queue.set_connected(true);
        queue
    }

    /// R76: a full queue drops the newest and counts them; what is inside keeps its order.
    #[test]
    fn a_full_queue_drops_the_newest() {
        let queue = queue(TransportLimits {
            queue_messages_max: 3,
            ..TransportLimits::default()
        });
        queue.push(vec![message(1, 0), message(2, 0)]);
        queue.push(vec![message(3, 0), message(4, 0), message(5, 0)]);
        queue.push(vec![message(6, 0)]);
        assert_eq!(depth_and_dropped(&queue), (3, 3));
        assert_eq!(take_numbers(&queue), [1, 2, 3]);
        assert_eq!(depth_and_dropped(&queue), (0, 3));
    }

    /// R76: the bound counts bytes, too.
    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let queue = queue(TransportLimits {
            queue_bytes_max: 4 << 20,
            ..TransportLimits::default()
        });
        for number in 1..=5 {
            queue.push(vec![message(number, 1 << 20)]);
        }
        assert_eq!(depth_and_dropped(&queue), (3, 2));
    }

    #[test]
    fn a_message_that_fits_no_frame_is_dropped() {
        let queue = queue(TransportLimits::default());
        queue.push(vec![message(1, 5 << 20)]);
        queue.push(vec![message(2, 10)]);
        assert_eq!(take_numbers(&queue), [2]);
    }

    /// What was sent together and what was sent one by one is cut into the same frames.
    #[test]
    fn a_frame_holds_what_fits_but_at_least_one_message() {
        let limits = TransportLimits {
            coalesce_bytes_max: 2 * message_bytes(&message(0, 1000)),
            ..TransportLimits::default()
        };
        let messages = || {
            let small = (1..=5).map(|number| message(number, 1000));
            small.chain([message(6, 100_000), message(7, 0)])
        };
        let together = queue(limits.clone());
        together.push(messages().collect());
        let one_by_one = queue(limits);
        messages().for_each(|message| one_by_one.push(vec![message]));
        for queue in [together, one_by_one] {
            for expected in [&[1, 2][..], &[3, 4], &[5], &[6], &[7], &[]] {
                assert_eq!(take_numbers(&queue), expected);
            }
            assert_eq!(depth_and_dropped(&queue), (0, 0));
        }
    }

    #[test]
    fn messages_for_an_absent_peer_grow_stale() {
        let queue = SendQueue::new(&TransportLimits {
            queue_age_max: Duration::ZERO,
            ..TransportLimits::default()
        });
        queue.push(vec![message(1, 0)]);
        let pushed_at = Instant::now();
        while pushed_at.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        queue.set_connected(true);
        assert_eq!(depth_and_dropped(&queue), (0, 1));
    }
}
