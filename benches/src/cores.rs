//! Three replicas in one thread, messages in memory: what a consensus core costs by itself.
//!
//! Both cores do the same work: append a batch on the leader, replicate it, store it on three memory logs, commit it,
//! hand it out for applying on all three, until nothing is left to do.

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::Effect;
use raft_core::entry::Entry;
use raft_core::input::{Input, Proposal};
use raft_core::membership::Membership;
use raft_core::message::{Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, NodeId, Ticket, Time};

/// A consensus core with three replicas.
pub trait CoreCluster {
    /// Appends `count` commands as one batch and runs until all replicas have them applied. Returns how many entries the
    /// leader committed since the last call.
    fn commit(&mut self, command: &Bytes, count: usize) -> u64;
}

/// Entries that a memory log keeps before it starts over: enough to be a log, little enough to stay in the cache of a
/// machine that is shared.
const KEPT_ENTRIES: usize = 4_096;

/// `raft-core`.
pub struct RaftCore {
    nodes: Vec<Raft>,
    inboxes: Vec<Vec<Input>>,
    logs: Vec<Vec<Entry>>,
    effects: Vec<Effect>,
    proposals: u64,
    now: Time,
}

impl Default for RaftCore {
    fn default() -> RaftCore {
        RaftCore::new()
    }
}

impl RaftCore {
    /// Three replicas of which the first leads.
    #[must_use]
    pub fn new() -> RaftCore {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let membership = Membership::of_voters(ids).expect("three distinct ids");
        let nodes = ids
            .iter()
            .map(|&id| {
                let mut config = Config::new(GroupId(1), id);
                // No snapshots here, and a memory that does not grow.
                config.snapshot_entries = u64::MAX >> 1;
                config.tail_bytes_max = 1 << 20;
                let snapshot = SnapshotMeta {
                    last: EntryId::ZERO,
                    membership: membership.clone(),
                };
                let recovered = Recovered {
                    snapshot,
                    ..Recovered::default()
                };
                Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).expect("the configuration is valid")
            })
            .collect();
        let mut cluster = RaftCore {
            nodes,
            inboxes: vec![Vec::new(); 3],
            logs: vec![Vec::new(); 3],
            effects: Vec::new(),
            proposals: 0,
            now: Time::ZERO,
        };
        cluster.inboxes[0].push(Input::Campaign);
        cluster.settle();
        cluster
    }

    fn settle(&mut self) {
        while self.inboxes.iter().any(|inbox| !inbox.is_empty()) {
            for position in 0..self.nodes.len() {
                if !self.inboxes[position].is_empty() {
                    self.step(position);
                }
            }
        }
    }

    fn step(&mut self, position: usize) {
        let mut inbox = std::mem::take(&mut self.inboxes[position]);
        let mut effects = std::mem::take(&mut self.effects);
        self.nodes[position].step_all(self.now, inbox.drain(..), &mut effects);
        // The emptied inbox keeps its memory; nothing was put into the other one meanwhile.
        self.inboxes[position] = inbox;
        for effect in effects.drain(..) {
            self.act(position, effect);
        }
        self.effects = effects;
    }

    fn act(&mut self, position: usize, effect: Effect) {
        match effect {
            Effect::Send(message) => self.deliver(message),
            Effect::Persist(write) => {
                let log = &mut self.logs[position];
                if log.len() > KEPT_ENTRIES {
                    log.clear();
                }
                log.extend_from_slice(write.log.entries());
                for message in write.then {
                    self.deliver(message);
                }
                self.inboxes[position].push(Input::Persisted(write.seq));
            }
            Effect::Apply(entries) => {
                if let Some(last) = entries.last() {
                    self.inboxes[position].push(Input::Applied(last.index()));
                }
            }
            _ => {}
        }
    }

    fn deliver(&mut self, message: Message) {
        let position = usize::try_from(message.to.0).expect("ids are 1 to 3") - 1;
        self.inboxes[position].push(Input::Receive(message));
    }
}

impl CoreCluster for RaftCore {
    fn commit(&mut self, command: &Bytes, count: usize) -> u64 {
        let before = self.nodes[0].commit_index();
        let proposals = (0..count)
            .map(|_| {
                self.proposals += 1;
                Proposal {
                    ticket: Ticket(self.proposals),
                    command: command.clone().into(),
                }
            })
            .collect();
        self.inboxes[0].push(Input::Propose(proposals));
        self.settle();
        self.nodes[0].commit_index().entries_since(before)
    }
}

/// `raft-rs` 0.7 on its own `MemStorage`.
pub struct RaftRs {
    nodes: Vec<raft_rs::RawNode<raft_rs::storage::MemStorage>>,
    inboxes: Vec<Vec<raft_rs::eraftpb::Message>>,
}

impl Default for RaftRs {
    fn default() -> RaftRs {
        RaftRs::new()
    }
}

impl RaftRs {
    /// Three replicas of which the first leads.
    #[must_use]
    pub fn new() -> RaftRs {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let nodes = (1..=3)
            .map(|id| {
                let config = raft_rs::Config {
                    id,
                    election_tick: 10,
                    heartbeat_tick: 3,
                    max_size_per_msg: 1 << 20,
                    max_inflight_msgs: 256,
                    pre_vote: true,
                    check_quorum: true,
                    ..raft_rs::Config::default()
                };
                let storage = raft_rs::storage::MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
                raft_rs::RawNode::new(&config, storage, &logger).expect("the configuration is valid")
            })
            .collect();
        let mut cluster = RaftRs {
            nodes,
            inboxes: vec![Vec::new(); 3],
        };
        cluster.nodes[0].campaign().expect("a voter may campaign");
        cluster.settle();
        cluster
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for position in 0..self.nodes.len() {
                for message in std::mem::take(&mut self.inboxes[position]) {
                    self.nodes[position]
                        .step(message)
                        .expect("messages come from replicas");
                }
                if self.nodes[position].has_ready() {
                    quiet = false;
                    self.ready(position);
                }
            }
            if quiet && self.inboxes.iter().all(Vec::is_empty) {
                return;
            }
        }
    }

    fn ready(&mut self, position: usize) {
        let node = &mut self.nodes[position];
        let mut ready = node.ready();
        let mut messages = ready.take_messages();
        let storage = node.raft.raft_log.store.clone();
        storage
            .wl()
            .append(ready.entries())
            .expect("entries are contiguous");
        if let Some(hard_state) = ready.hs() {
            storage.wl().set_hardstate(hard_state.clone());
        }
        messages.extend(ready.take_persisted_messages());
        let mut light = node.advance(ready);
        messages.extend(light.take_messages());
        node.advance_apply();
        let applied = node.raft.raft_log.applied;
        let first = raft_rs::Storage::first_index(&storage).expect("memory does not fail");
        if applied.saturating_sub(first) > KEPT_ENTRIES as u64 {
            storage
                .wl()
                .compact(applied - 1)
                .expect("what is applied may be compacted");
        }
        for message in messages {
            let to = usize::try_from(message.to).expect("ids are 1 to 3") - 1;
            self.inboxes[to].push(message);
        }
    }
}

impl CoreCluster for RaftRs {
    fn commit(&mut self, command: &Bytes, count: usize) -> u64 {
        let before = self.nodes[0].raft.raft_log.committed;
        for _ in 0..count {
            self.nodes[0]
                .propose(Vec::new(), command.to_vec())
                .expect("the first replica leads");
        }
        self.settle();
        self.nodes[0].raft.raft_log.committed - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of the comparison commit exactly what was proposed.
    #[test]
    fn both_cores_commit_what_was_proposed() {
        let command = Bytes::from_static(&[7; 128]);
        for batch in [1, 64, 1024] {
            assert_eq!(RaftCore::new().commit(&command, batch), batch as u64);
            assert_eq!(RaftRs::new().commit(&command, batch), batch as u64);
        }
    }
}
