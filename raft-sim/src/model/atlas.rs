//! Every state of a replica and every message that was met so far, each once, and where every step leads.
//!
//! The states of a whole group are many, those of its replicas few: a state of the group names them by number. A step of
//! the protocol is taken once for each state of a replica and each thing that can happen to it, and is looked up from then on.
//!
//! A number stands for a fingerprint of 128 bits: of everything that [`Replica::fingerprint`] calls different. Two replicas
//! with the same number are not the same in memory (they may have drawn other random numbers, or read other times), but do the
//! same from then on, so it does not matter which of the two was kept.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use raft_core::message::{Body, Message};

use super::digest::{Digest, Scatter};
use super::mark::Marks;
use super::replica::{Event, Nudge, Replica};
use super::state::ActionKind;
use super::view::View;

/// The number of a state of a replica.
pub(super) type ReplicaNumber = u32;
/// The number of a message.
pub(super) type MessageNumber = u32;
/// The number of a step.
pub(super) type StepNumber = u32;

/// What a step of one replica leads to.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) to: ReplicaNumber,
    pub(super) sent: Vec<MessageNumber>,
    pub(super) events: Vec<Event>,
    pub(super) marks: Marks,
}

type Table<K, V> = HashMap<K, V, BuildHasherDefault<Scatter>>;

/// Everything that was met so far.
#[derive(Debug, Default)]
pub(super) struct Atlas {
    replicas: Vec<(Replica, View)>,
    messages: Vec<Message>,
    steps: Vec<Step>,
    replica_numbers: Table<u128, ReplicaNumber>,
    message_numbers: Table<u128, MessageNumber>,
    step_numbers: Table<(ReplicaNumber, ActionKind), StepNumber>,
}

impl Atlas {
    pub(super) fn replica(&self, number: ReplicaNumber) -> &Replica {
        &self.replicas[number as usize].0
    }

    pub(super) fn view(&self, number: ReplicaNumber) -> &View {
        &self.replicas[number as usize].1
    }

    pub(super) fn message(&self, number: MessageNumber) -> &Message {
        &self.messages[number as usize]
    }

    pub(super) fn step(&self, number: StepNumber) -> &Step {
        &self.steps[number as usize]
    }

    pub(super) fn replica_count(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// The number of a state of a replica.
    pub(super) fn number_replica(&mut self, replica: Replica) -> ReplicaNumber {
        let next = number(self.replicas.len());
        let known = *self.replica_numbers.entry(replica.fingerprint()).or_insert(next);
        if known == next {
            let view = View::new(&replica);
            self.replicas.push((replica, view));
        }
        known
    }

    fn number_message(&mut self, message: Message) -> MessageNumber {
        let next = number(self.messages.len());
        let known = *self
            .message_numbers
            .entry(Digest::of_debug(&message))
            .or_insert(next);
        if known == next {
            self.messages.push(message);
        }
        known
    }

    /// Where what `kind` names leads, if that is known.
    pub(super) fn known_step(&self, from: ReplicaNumber, kind: ActionKind) -> Option<StepNumber> {
        self.step_numbers.get(&(from, kind)).copied()
    }

    /// Takes a step that is not known yet: the nudge that `kind` names.
    pub(super) fn take_step(&mut self, from: ReplicaNumber, kind: ActionKind, nudge: Nudge) -> StepNumber {
        let mut replica = self.replica(from).clone();
        let consequences = replica.step(nudge);
        let is_broken = |event: &Event| matches!(event, Event::Broken(..));
        let broken = consequences.events.iter().any(is_broken);
        let messages = consequences.sent.into_iter();
        let mut sent: Vec<MessageNumber> = messages.map(|message| self.number_message(message)).collect();
        sent.sort_unstable();
        sent.dedup();
        let step = Step {
            // What is left of a replica that broke is nobody's business.
            to: if broken {
                from
            } else {
                self.number_replica(replica)
            },
            sent,
            events: consequences.events,
            marks: consequences.marks,
        };
        let next = number(self.steps.len());
        self.steps.push(step);
        self.step_numbers.insert((from, kind), next);
        next
    }

    /// Whether a message can change nothing any more, because its receiver will for ever be in a later term: it is an
    /// answer to a question, or a word of a leader, of a term that is over.
    pub(super) fn is_dead(&self, message: MessageNumber, receiver: ReplicaNumber) -> bool {
        let message = self.message(message);
        let term = self.view(receiver).durable_term;
        match &message.body {
            Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::TimeoutNow(_)
            | Body::TrustRestored(_)
            | Body::EntriesLost(_) => message.term < term,
            Body::RequestPreVoteResponse(response) => message.term <= term && response.candidate_term <= term,
            _ => false,
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("four thousand million are more than fit into memory")
}
