//! What waits for one peer: a queue for each lane, so that nothing urgent waits behind entries.

use raft_core::message::{Lane, Message};

use crate::carrier::StreamSender;
use crate::options::TransportLimits;
use crate::queue::{Depth, SendQueue, Turn};

/// Every lane of a connection.
pub(crate) const LANES: [Lane; 2] = [Lane::Urgent, Lane::Ordered];

/// The queues of one peer.
pub(crate) struct Lanes<S> {
    urgent: SendQueue<S>,
    ordered: SendQueue<S>,
}

/// Which connection the messages of each lane leave by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    urgent: Turn,
    ordered: Turn,
}

impl Turns {
    pub(crate) fn of(self, lane: Lane) -> Turn {
        match lane {
            Lane::Urgent => self.urgent,
            Lane::Ordered => self.ordered,
        }
    }
}

impl<S: StreamSender> Lanes<S> {
    pub(crate) fn new(limits: &TransportLimits) -> Lanes<S> {
        Lanes {
            urgent: SendQueue::new(limits),
            ordered: SendQueue::new(limits),
        }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &SendQueue<S> {
        match lane {
            Lane::Urgent => &self.urgent,
            Lane::Ordered => &self.ordered,
        }
    }

    /// See [`SendQueue::keep_alive`].
    pub(crate) fn keep_alive(&self) {
        self.urgent.keep_alive();
        self.ordered.keep_alive();
    }

    /// Adds what fits of `messages`, each to its lane. Never blocks.
    pub(crate) fn push(&self, messages: Vec<Message>) {
        let is_urgent = |message: &Message| message.lane() == Lane::Urgent;
        let Some(first) = messages.first() else { return };
        let first_is_urgent = is_urgent(first);
        // Mostly all are of one lane; then nothing is moved.
        if messages
            .iter()
            .all(|message| is_urgent(message) == first_is_urgent)
        {
            let lane = if first_is_urgent {
                Lane::Urgent
            } else {
                Lane::Ordered
            };
            return self.queue(lane).push(messages);
        }
        let (urgent, ordered) = messages.into_iter().partition(is_urgent);
        self.urgent.push(urgent);
        self.ordered.push(ordered);
    }

    /// A newer connection takes over, and messages can leave.
    pub(crate) fn take_over(&self) -> Turns {
        let (urgent, ordered) = (self.urgent.begin_turn(), self.ordered.begin_turn());
        self.urgent.set_connected(true);
        self.ordered.set_connected(true);
        Turns { urgent, ordered }
    }

    /// Messages cannot leave any more.
    pub(crate) fn disconnect(&self) {
        self.urgent.set_connected(false);
        self.ordered.set_connected(false);
    }

    /// What waits and what was dropped, in all lanes together.
    pub(crate) fn depth(&self) -> Depth {
        let (urgent, ordered) = (self.urgent.depth(), self.ordered.depth());
        Depth {
            messages: urgent.messages + ordered.messages,
            bytes: urgent.bytes + ordered.bytes,
            dropped: urgent.dropped + ordered.dropped,
        }
    }
}
