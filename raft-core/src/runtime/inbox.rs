//! Everything that waits for one worker.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::group::{Group, Key};
use super::replica::Replica;
use super::waiters::Waiter;
use crate::driver::Driver;
use crate::entry::Entry;
use crate::input::{Input, Proposed};
use crate::message::{Body, Message};
use crate::request::{ClientRequest, RefusalReason};
use crate::types::Time;

/// How many messages of peers may wait. A peer's window is a few hundred messages; the rest are requests that replicas
/// forward for their clients.
const MESSAGES_MAX: usize = 65_536;
/// How many payload bytes of messages may wait, beyond which a message passes only if nothing else waits.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How many may want to look at replicas at once.
const LOOKS_MAX: usize = 1_024;

/// The inbox of a worker: emptied in one go, under one lock.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
}

/// What arrived since the last round.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) controls: Vec<Control>,
    /// Answers of the host's own tasks. Bounded by what the replicas asked for.
    pub(super) completions: Vec<(Key, Input)>,
    pub(super) messages: Vec<Message>,
    pub(super) proposals: Vec<(Arc<Group>, Proposed, Waiter)>,
    pub(super) reads: Vec<(Arc<Group>, Waiter)>,
    /// Changes of the members and transfers of leadership.
    pub(super) requests: Vec<(Arc<Group>, ClientRequest, Waiter)>,
    /// Whose owner wants an election.
    pub(super) campaigns: Vec<Key>,
}

/// What a worker does beside letting replicas step.
pub(super) enum Control {
    /// A replica is this worker's from now on.
    Attach(Box<Replica>),
    /// The replica stops.
    Detach(Key),
    /// Somebody looks at a replica.
    Inspect(Key, Look),
}

/// Looks at a replica between two steps.
pub(super) type Look = Box<dyn FnOnce(&Driver, Time) + Send>;

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Control::Attach(replica) => write!(f, "Attach({:?})", replica.key()),
            Control::Detach(key) => write!(f, "Detach({key:?})"),
            Control::Inspect(key, _) => write!(f, "Inspect({key:?})"),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    arrivals: Arrivals,
    message_bytes: usize,
    messages_dropped: u64,
    asleep: bool,
    stop: bool,
    closed: bool,
}

/// What a worker finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Something,
    Nothing,
    Stop,
}

impl Arrivals {
    /// The clients that wait for an answer.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = (Arc<Group>, Waiter)> {
        let proposals = self
            .proposals
            .into_iter()
            .map(|(group, _, waiter)| (group, waiter));
        let requests = self
            .requests
            .into_iter()
            .map(|(group, _, waiter)| (group, waiter));
        proposals.chain(requests).chain(self.reads)
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.is_empty_but_for_messages()
    }

    fn is_empty_but_for_messages(&self) -> bool {
        self.controls.is_empty()
            && self.completions.is_empty()
            && self.proposals.is_empty()
            && self.reads.is_empty()
            && self.requests.is_empty()
            && self.campaigns.is_empty()
    }
}

impl Inbox {
    /// A client's command, which was admitted before. On refusal the waiter comes back.
    pub(super) fn propose(
        &self,
        group: &Arc<Group>,
        command: Proposed,
        waiter: Waiter,
    ) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if state.stop || state.closed {
            return Err((waiter, RefusalReason::Stopped));
        }
        state.arrivals.proposals.push((group.clone(), command, waiter));
        self.wake(state);
        Ok(())
    }

    /// A client's read, which was admitted before. On refusal the waiter comes back.
    pub(super) fn read(&self, group: &Arc<Group>, waiter: Waiter) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if state.stop || state.closed {
            return Err((waiter, RefusalReason::Stopped));
        }
        state.arrivals.reads.push((group.clone(), waiter));
        self.wake(state);
        Ok(())
    }

    /// Another request of a client, which was admitted before. On refusal the waiter comes back.
    pub(super) fn request(
        &self,
        group: &Arc<Group>,
        request: ClientRequest,
        waiter: Waiter,
    ) -> Result<(), (Waiter, RefusalReason)> {
        let mut state = self.lock();
        if state.stop || state.closed {
            return Err((waiter, RefusalReason::Stopped));
        }
        state.arrivals.requests.push((group.clone(), request, waiter));
        self.wake(state);
        Ok(())
    }

    /// The owner wants an election.
    pub(super) fn campaign(&self, key: Key) {
        let mut state = self.lock();
        if !state.closed && !state.arrivals.campaigns.contains(&key) {
            state.arrivals.campaigns.push(key);
            self.wake(state);
        }
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

    /// A task has done what the replica asked for.
    pub(super) fn complete(&self, key: Key, inputs: impl IntoIterator<Item = Input>) {
        let mut state = self.lock();
        if !state.closed {
            let inputs = inputs.into_iter().map(|input| (key, input));
            state.arrivals.completions.extend(inputs);
            self.wake(state);
        }
    }

    /// Tasks have done what several replicas asked for.
    pub(super) fn complete_all(&self, inputs: impl IntoIterator<Item = (Key, Input)>) {
        let mut state = self.lock();
        if !state.closed {
            state.arrivals.completions.extend(inputs);
            self.wake(state);
        }
    }

    /// The worker shall own the replica. It comes back if the worker is stopping.
    pub(super) fn attach(&self, replica: Box<Replica>) -> Result<(), Box<Replica>> {
        let mut state = self.lock();
        if state.stop || state.closed {
            return Err(replica);
        }
        state.arrivals.controls.push(Control::Attach(replica));
        self.wake(state);
        Ok(())
    }

    /// The worker shall let go of the replica.
    pub(super) fn detach(&self, key: Key) {
        let mut state = self.lock();
        if !state.closed {
            state.arrivals.controls.push(Control::Detach(key));
            self.wake(state);
        }
    }

    /// Somebody wants to look at the replica. Forgotten if there is none, or too many do.
    pub(super) fn inspect(&self, key: Key, look: Look) {
        let mut state = self.lock();
        if !state.stop && !state.closed && state.arrivals.controls.len() < LOOKS_MAX {
            state.arrivals.controls.push(Control::Inspect(key, look));
            self.wake(state);
        }
    }

    /// Tells the worker to end.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        self.wake(state);
    }

    /// Moves everything to `into`, which must be empty; messages only if they are wanted. If there is nothing, the caller
    /// may [wait](Inbox::wait).
    pub(super) fn take(&self, into: &mut Arrivals, messages_wanted: bool) -> Taken {
        let mut state = self.lock();
        if state.stop {
            return Taken::Stop;
        }
        let is_empty = match messages_wanted {
            true => state.arrivals.is_empty(),
            false => state.arrivals.is_empty_but_for_messages(),
        };
        if is_empty {
            state.asleep = true;
            return Taken::Nothing;
        }
        std::mem::swap(&mut state.arrivals, into);
        if messages_wanted {
            state.message_bytes = 0;
        } else {
            std::mem::swap(&mut state.arrivals.messages, &mut into.messages);
        }
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

    /// Unlocks, and wakes the worker if it sleeps.
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
