//! What waits for one peer: a queue for each lane, so that nothing urgent waits behind entries.

use raft_core::message::{Lane, Message};

use crate::carrier::StreamSender;
use crate::options::TransportLimits;
use crate::queue::{Depth, SendQueue};

/// Every lane of a connection.
pub(crate) const LANES: [Lane; 2] = [Lane::Urgent, Lane::Ordered];

/// The queues of one peer.
pub(crate) struct Lanes<S> {
    urgent: SendQueue<S>,
    ordered: SendQueue<S>,
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

    /// Tells whether messages can leave now.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.urgent.set_connected(connected);
        self.ordered.set_connected(connected);
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
