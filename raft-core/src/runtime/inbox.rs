//! Everything that waits for the consensus task.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::waiters::Waiter;
use crate::config::Config;
use crate::entry::Entry;
use crate::explain::{Explanation, Question};
use crate::input::{Input, Proposed};
use crate::message::{Body, Message};
use crate::request::{ClientRequest, RefusalReason};

/// How many messages of peers may wait. A peer's window is a few hundred messages; the rest are requests that replicas
/// forward for their clients.
const MESSAGES_MAX: usize = 65_536;
/// How many payload bytes of messages may wait, beyond which a message passes only if nothing else waits.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How many may ask at once why something is as it is.
const QUESTIONS_MAX: usize = 1_024;

/// The inbox of the consensus task: emptied in one go, under one lock.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
    proposal_bytes_max: usize,
}

/// What arrived since the last step.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Answers of the node's own tasks. Bounded by what the replica asked for.
    pub(super) completions: Vec<Input>,
    pub(super) messages: Vec<Message>,
    pub(super) proposals: Vec<(Proposed, Waiter)>,
    pub(super) reads: Vec<Waiter>,
    /// Changes of the members and transfers of leadership.
    pub(super) requests: Vec<(ClientRequest, Waiter)>,
    /// Whether the owner wants an election; asking twice is asking once.
    pub(super) campaign: bool,
    /// What the replica is asked about itself.
    pub(super) questions: Vec<(Question, oneshot::Sender<Explanation>)>,
}

#[derive(Debug, Default)]
struct State {
    arrivals: Arrivals,
    message_bytes: usize,
    proposal_bytes: usize,
    messages_dropped: u64,
    asleep: bool,
    stop: bool,
    closed: bool,
}

impl State {
    /// Makes room for a request of so many bytes; one always passes when there are none.
    fn admit(&mut self, bytes: usize, bytes_max: usize) -> Result<(), RefusalReason> {
        if self.stop || self.closed {
            return Err(RefusalReason::Stopped);
        }
        if self.proposal_bytes > 0 && self.proposal_bytes + bytes > bytes_max {
            return Err(RefusalReason::Busy);
        }
        self.proposal_bytes += bytes;
        Ok(())
    }
}

/// What the consensus task finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Something,
    Nothing,
    Stop,
}

impl Arrivals {
    /// The clients that wait for an answer.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let proposals = self.proposals.into_iter().map(|(_, waiter)| waiter);
        let requests = self.requests.into_iter().map(|(_, waiter)| waiter);
        proposals.chain(requests).chain(self.reads)
    }

    fn is_empty(&self) -> bool {
        self.completions.is_empty()
            && self.messages.is_empty()
            && self.proposals.is_empty()
            && self.reads.is_empty()
            && self.requests.is_empty()
            && !self.campaign
            && self.questions.is_empty()
    }
}

impl Inbox {
    pub(super) fn new(config: &Config) -> Inbox {
        Inbox {
            state: Mutex::default(),
            wake: Notify::new(),
            proposal_bytes_max: config.uncommitted_bytes_max,
        }
    }

    /// A client's command, which was admitted before. On refusal the waiter comes back.
    pub(super) fn propose(&self, command: Proposed, waiter: Waiter) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if let Err(reason) = state.admit(command.bytes(), self.proposal_bytes_max) {
            return Err((waiter, reason));
        }
        state.arrivals.proposals.push((command, waiter));
        self.wake(state);
        Ok(())
    }

    /// A client's read, which was admitted before. On refusal the waiter comes back.
    pub(super) fn read(&self, waiter: Waiter) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if state.stop || state.closed {
            return Err((waiter, RefusalReason::Stopped));
        }
        state.arrivals.reads.push(waiter);
        self.wake(state);
        Ok(())
    }

    /// Another request of a client, which was admitted before. On refusal the waiter comes back.
    pub(super) fn request(
        &self,
        request: ClientRequest,
        waiter: Waiter,
    ) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if let Err(reason) = state.admit(request.size_bytes(), self.proposal_bytes_max) {
            return Err((waiter, reason));
        }
        state.arrivals.requests.push((request, waiter));
        self.wake(state);
        Ok(())
    }

    /// The owner wants an election.
    pub(super) fn campaign(&self) {
        let mut state = self.lock();
        state.arrivals.campaign = true;
        self.wake(state);
    }

    /// Somebody asks the replica about itself. Returns false if nobody will answer: the node stops, or too many ask.
    pub(super) fn explain(&self, question: Question, reply: oneshot::Sender<Explanation>) -> bool {
        let mut state = self.lock();
        if state.stop || state.closed || state.arrivals.questions.len() >= QUESTIONS_MAX {
            return false;
        }
        state.arrivals.questions.push((question, reply));
        self.wake(state);
        true
    }

    /// Messages of a peer; what does not fit is lost.
    pub(super) fn receive(&self, messages: Vec<Message>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        for message in messages {
            let bytes = payload_bytes(&message);
            let full = state.arrivals.messages.len() >= MESSAGES_MAX
                || (state.message_bytes > 0 && state.message_bytes + bytes > MESSAGE_BYTES_MAX);
            if full {
                state.messages_dropped += 1;
                continue;
            }
            state.message_bytes += bytes;
            state.arrivals.messages.push(message);
        }
        self.wake(state);
    }

    /// A task of this node has done what the replica asked for.
    pub(super) fn complete(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut state = self.lock();
        if !state.closed {
            state.arrivals.completions.extend(inputs);
            self.wake(state);
        }
    }

    /// Tells the consensus task to end.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        self.wake(state);
    }

    /// Moves everything to `into`, which must be empty. If there is nothing, the caller must [wait](Inbox::wait).
    pub(super) fn take(&self, into: &mut Arrivals) -> Taken {
        let mut state = self.lock();
        if state.stop {
            return Taken::Stop;
        }
        if state.arrivals.is_empty() {
            state.asleep = true;
            return Taken::Nothing;
        }
        std::mem::swap(&mut state.arrivals, into);
        state.message_bytes = 0;
        state.proposal_bytes = 0;
        state.asleep = false;
        Taken::Something
    }

    /// Whether a [`take`](Inbox::take) would find something.
    pub(super) fn has_more(&self) -> bool {
        let state = self.lock();
        state.stop || !state.arrivals.is_empty()
    }

    /// Waits until something arrives.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// How many messages of peers were lost because they did not fit.
    pub(super) fn messages_dropped(&self) -> u64 {
        self.lock().messages_dropped
    }

    /// Takes nothing any more, and returns what was left.
    pub(super) fn close(&self) -> Arrivals {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.arrivals)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change above can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks, and wakes the task if it sleeps.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
    }
}

fn payload_bytes(message: &Message) -> usize {
    match &message.body {
        Body::AppendEntries(append) => append.entries.iter().map(Entry::payload_bytes).sum(),
        Body::ForwardRequest(request) => request.request.size_bytes(),
        _ => 0,
    }
}
