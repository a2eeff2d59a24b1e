//! What one step sends, and what waits for the disk.

use std::collections::VecDeque;

use super::Ports;
use crate::entry::Entry;
use crate::message::Message;
use crate::types::{NodeId, WriteSeq};

/// Messages of one step, by receiver, in the order in which they arose.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    peers: Vec<(NodeId, Vec<Message>)>,
}

impl Outbox {
    pub(super) fn push(&mut self, message: Message) {
        let to = message.to;
        match self.peers.iter_mut().find(|(peer, _)| *peer == to) {
            Some((_, messages)) => messages.push(message),
            None => self.peers.push((to, vec![message])),
        }
    }

    pub(super) fn shrink(&mut self) {
        self.peers.shrink_to_fit();
    }

    pub(super) fn flush<P: Ports + ?Sized>(&mut self, ports: &mut P) {
        for (to, messages) in self.peers.drain(..) {
            ports.send(to, messages);
        }
    }
}

/// How many payload bytes wait for the disk of this node: a leader whose disk is slower than a quorum's must not queue
/// without limit.
#[derive(Debug, Default)]
pub(super) struct WriteBacklog {
    writes: VecDeque<(WriteSeq, usize)>,
    pub(super) bytes: usize,
}

impl WriteBacklog {
    pub(super) fn begun(&mut self, seq: WriteSeq, entries: &[Entry]) {
        let bytes = entries.iter().map(Entry::payload_bytes).sum();
        self.bytes += bytes;
        self.writes.push_back((seq, bytes));
    }

    pub(super) fn shrink(&mut self) {
        self.writes.shrink_to_fit();
    }

    pub(super) fn persisted(&mut self, seq: WriteSeq) {
        while let Some(&(begun, bytes)) = self.writes.front()
            && begun <= seq
        {
            self.writes.pop_front();
            self.bytes -= bytes;
        }
    }
}
