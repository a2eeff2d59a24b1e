//! What waits for one peer: a bounded queue that never makes its caller wait.
//!
//! Invariants:
//! - at most `messages_max` messages and `bytes_max` encoded bytes wait;
//! - what does not fit is dropped at once, the newest first, and counted;
//! - order is kept;
//! - nothing waits longer than about `age_max` for a peer without a connection: it would be stale news.
//!
//! While nothing waits, the stream of the lane lies here: whoever sends writes to it at once, which spares a change of task
//! at each end of a round trip. What the stream does not take at once waits for the task that writes, as everything does
//! that is sent meanwhile.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::message::Message;
use raft_core::wire::{FRAME_HEADER_BYTES, encode_messages_frame};
use tokio::sync::Notify;

use crate::carrier::StreamSender;
use crate::options::TransportLimits;
use crate::size::message_bytes;

/// Up to so many bytes are written by whoever sends. More is left to the task that writes: nobody who sends shall encode
/// for long.
const DIRECT_BYTES_MAX: usize = 128 * 1024;

/// What precedes the messages in the body of a frame: their number.
const COUNT_BYTES: usize = 4;

/// The messages that wait for one peer in one lane, and the stream that they leave by.
pub(crate) struct SendQueue<S> {
    state: Mutex<State<S>>,
    ready: Notify,
    messages_max: usize,
    bytes_max: usize,
    message_bytes_max: usize,
    batch_bytes_max: usize,
    age_max: Duration,
}

struct State<S> {
    batches: VecDeque<Batch>,
    messages: usize,
    bytes: usize,
    dropped: u64,
    connected: bool,
    /// Since when the oldest message may have waited without a connection.
    waiting_since: Option<Instant>,
    /// Which connection the messages leave by: the newest.
    turn: Turn,
    /// Its stream, while nobody writes to it.
    resting: Option<Resting<S>>,
    /// Something is to be written, even if nothing waits.
    is_sign_due: bool,
}

/// Tells one connection that used a queue from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn(u64);

/// A stream that nobody writes to.
struct Resting<S> {
    stream: S,
    /// What it did not take yet of the frame before.
    rest: Vec<Bytes>,
}

/// What there is to write, and the stream to write it to.
pub(crate) struct Work<S> {
    pub(crate) stream: S,
    /// What must leave first.
    pub(crate) rest: Vec<Bytes>,
    /// Empty if there is only the rest, or nothing to say but that this end is there.
    pub(crate) batch: Batch,
}

impl<S: StreamSender> Work<S> {
    /// Writes all of it.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        if self.batch.messages.is_empty() && !self.rest.is_empty() {
            return self.stream.write(&mut self.rest).await;
        }
        self.stream.write(&mut self.rest).await?;
        self.stream.write(&mut self.batch.encode()).await
    }
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

impl Batch {
    /// The batch as a frame. Large payloads are pieces of their own, where the entries have them.
    pub(crate) fn encode(&self) -> Vec<Bytes> {
        let bytes = FRAME_HEADER_BYTES + COUNT_BYTES + self.bytes;
        encode_messages_frame(&self.messages, bytes)
    }
}

impl<S: StreamSender> SendQueue<S> {
    pub(crate) fn new(limits: &TransportLimits) -> SendQueue<S> {
        // A frame begins with the count of its messages.
        let message_bytes_max = limits.frame_bytes_max - limits.frame_bytes_max.min(4);
        SendQueue {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                messages: 0,
                bytes: 0,
                dropped: 0,
                connected: false,
                waiting_since: None,
                turn: Turn::default(),
                resting: None,
                is_sign_due: false,
            }),
            ready: Notify::new(),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            message_bytes_max,
            batch_bytes_max: limits.coalesce_bytes_max.min(message_bytes_max),
            age_max: limits.queue_age_max,
        }
    }

    /// Writes `messages` to the stream if nothing else is to be written, or adds what fits. Never waits.
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
        let turn = state.turn;
        if whole.bytes <= DIRECT_BYTES_MAX
            && let Some(stream) = state.lend_stream()
        {
            drop(state);
            return self.write_directly(stream, turn, whole);
        }
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

    /// Writes what the stream takes at once, and gives it back with what is left.
    fn write_directly(&self, mut stream: S, turn: Turn, batch: Batch) {
        let mut rest = batch.encode();
        let written = pin!(stream.write(&mut rest)).poll(&mut Context::from_waker(Waker::noop()));
        let mut lost = None;
        match written {
            Poll::Ready(Ok(())) => rest.clear(),
            Poll::Pending => {}
            Poll::Ready(Err(_)) => {
                // The connection is over, as its task will find: the batch is for the next one.
                rest.clear();
                lost = Some(batch);
            }
        }
        let mut state = self.lock();
        if let Some(batch) = lost {
            state.messages += batch.messages.len();
            state.bytes += batch.bytes;
            state.batches.push_front(batch);
            if !state.connected {
                state.waiting_since.get_or_insert_with(Instant::now);
            }
        }
        let wake = state.messages > 0 || !rest.is_empty();
        let replaced = state.rest(turn, Resting { stream, rest });
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        drop(replaced);
    }

    /// Adds a batch that is too large for one frame or for the room that is left. Returns what found no room.
    fn push_piecewise(&self, state: &mut State<S>, messages: Vec<Message>) -> Vec<Message> {
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

    /// A newer connection takes the queue over; the streams of the earlier ones are not used any more.
    pub(crate) fn begin_turn(&self) -> Turn {
        let mut state = self.lock();
        state.turn.0 += 1;
        state.is_sign_due = false;
        let resting = state.resting.take();
        let turn = state.turn;
        drop(state);
        drop(resting);
        turn
    }

    /// Leaves `stream` here until there is something to write. Safe to cancel; the stream stays here then.
    pub(crate) async fn work(&self, turn: Turn, stream: S) -> Work<S> {
        let rest = Vec::new();
        let replaced = self.lock().rest(turn, Resting { stream, rest });
        drop(replaced);
        loop {
            if let Some(work) = self.take_work(turn) {
                return work;
            }
            if self.lock().turn != turn {
                // Whoever took over may have been meant.
                self.ready.notify_one();
                return std::future::pending().await;
            }
            self.ready.notified().await;
        }
    }

    fn take_work(&self, turn: Turn) -> Option<Work<S>> {
        let mut state = self.lock();
        let resting = state.resting.as_ref().filter(|_| state.turn == turn)?;
        if state.messages == 0 && resting.rest.is_empty() && !state.is_sign_due {
            return None;
        }
        state.is_sign_due = false;
        let Resting { stream, rest } = state.resting.take()?;
        let batch = state.take(self.batch_bytes_max);
        Some(Work { stream, rest, batch })
    }

    /// Has something written soon, an empty frame if nothing else: whoever reads learns that there is a way.
    pub(crate) fn keep_alive(&self) {
        let mut state = self.lock();
        // Otherwise something is being written.
        if state.resting.is_some() && state.messages == 0 {
            state.is_sign_due = true;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Tells whether messages can leave now.
    pub(crate) fn set_connected(&self, connected: bool) {
        let mut state = self.lock();
        let stale = self.take_stale(&mut state);
        state.connected = connected;
        state.waiting_since = (!connected && state.messages > 0).then(Instant::now);
        let resting = if connected { None } else { state.resting.take() };
        drop(state);
        drop((stale, resting));
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

    fn take_stale(&self, state: &mut State<S>) -> VecDeque<Batch> {
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
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: StreamSender> State<S> {
    /// The stream, if it may be written to by whoever sends: nothing waits that must leave first.
    fn lend_stream(&mut self) -> Option<S> {
        let is_free = S::ONLY_HANDS_OVER && self.connected && self.messages == 0;
        let resting = self
            .resting
            .take_if(|resting| is_free && resting.rest.is_empty())?;
        Some(resting.stream)
    }

    /// Takes a stream back. Returns what nobody will use any more.
    fn rest(&mut self, turn: Turn, resting: Resting<S>) -> Option<Resting<S>> {
        if self.turn != turn {
            return Some(resting);
        }
        self.resting.replace(resting)
    }

    /// The oldest messages, as many as share a frame: at least one if any waits.
    fn take(&mut self, batch_bytes_max: usize) -> Batch {
        let mut taken = self.batches.pop_front().unwrap_or_default();
        while let Some(next) = self.batches.front_mut()
            && taken.bytes + next.bytes <= batch_bytes_max
        {
            taken.bytes += next.bytes;
            taken.messages.append(&mut next.messages);
            self.batches.pop_front();
        }
        self.messages -= taken.messages.len();
        self.bytes -= taken.bytes;
        taken
    }

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
mod tests;
