//! Clients and operators: what they ask for, and that each of them hears exactly once how it ended (R45).

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::effect::{Effect, RoleKind};
use raft_core::input::{ChangeRequest, Input, Proposal};
use raft_core::membership::{MemberChange, Membership};
use raft_core::request::TransferResult;
use raft_core::types::{EntryId, Index, NodeId, Ticket};

use super::history::History;
use super::random::Swarm;
use super::world::{Counts, World};

/// More nodes than these are not made in one run.
const NODES_MAX: usize = 10;
/// More members than these are not wanted.
const MEMBERS_MAX: usize = 7;

/// What somebody waits for.
#[derive(Debug)]
enum Waiting {
    /// A command: where it was appended, once that is known.
    Proposal(Option<EntryId>),
    /// A read, with the newest index that was committed when it began.
    Read(Index),
    Change,
    Transfer,
}

/// Who waits for an answer of which node.
#[derive(Default)]
pub(crate) struct Clients {
    waiting: BTreeMap<Ticket, (NodeId, Waiting)>,
    last_ticket: u64,
}

impl Clients {
    fn begin(&mut self, node: NodeId, waiting: Waiting) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket, (node, waiting));
        ticket
    }

    /// A node crashed: its clients ask another one.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.waiting.retain(|_, (at, _)| *at != node);
    }

    fn take(&mut self, node: NodeId, ticket: Ticket) -> Waiting {
        let (at, waiting) = self
            .waiting
            .remove(&ticket)
            .expect("R45: a request is resolved once");
        assert_eq!(at, node, "R45: a request is answered where it was asked");
        waiting
    }

    /// A replica answered a request.
    pub(crate) fn answered(
        &mut self,
        node: NodeId,
        answer: Effect,
        history: &mut History,
        counts: &mut Counts,
    ) {
        match answer {
            Effect::Refused { ticket, .. } => {
                let waiting = self.take(node, ticket);
                assert!(
                    !matches!(waiting, Waiting::Proposal(Some(_))),
                    "R45: it was appended"
                );
            }
            Effect::Proposed { ticket, id } => {
                let waiting = self.take(node, ticket);
                assert!(
                    matches!(waiting, Waiting::Proposal(None)),
                    "{waiting:?} is no new proposal"
                );
                self.waiting.insert(ticket, (node, Waiting::Proposal(Some(id))));
            }
            Effect::ReadConfirmed { ticket, index } => {
                let Waiting::Read(newest) = self.take(node, ticket) else {
                    panic!("only a read is confirmed");
                };
                assert!(
                    index >= newest,
                    "I16: a read at {index} misses {newest}, which was committed before"
                );
                counts.reads += 1;
            }
            Effect::ChangeCommitted {
                ticket,
                index,
                membership,
            } => {
                assert!(matches!(self.take(node, ticket), Waiting::Change));
                history.change_is_complete(index, membership);
                counts.changes += 1;
            }
            Effect::Previewed { ticket, .. } | Effect::Unresolved { ticket } => {
                assert!(matches!(self.take(node, ticket), Waiting::Change));
            }
            Effect::TransferEnded { ticket, result } => {
                assert!(matches!(self.take(node, ticket), Waiting::Transfer));
                match result {
                    TransferResult::Done { leader, term } => {
                        history.led(term, leader);
                        counts.transfers += 1;
                    }
                    TransferResult::Aborted(_) => counts.transfers_aborted += 1,
                }
            }
            other => panic!("{other:?} is no answer"),
        }
    }

    /// An entry was applied on a node: whoever waits there for its index hears of it.
    pub(crate) fn applied(&mut self, node: NodeId, applied: EntryId) {
        self.waiting.retain(|_, (at, waiting)| {
            let is_answered =
                matches!(waiting, Waiting::Proposal(Some(id)) if *at == node && id.index == applied.index);
            !is_answered
        });
    }

    /// R45: a replica that does not lead owes nothing but the end of a transfer; commands in flight are its owner's to
    /// answer, and nobody knows how they end.
    pub(crate) fn leadership_is_over(&mut self, node: NodeId) {
        self.waiting.retain(|_, (at, waiting)| {
            if *at != node {
                return true;
            }
            assert!(
                matches!(waiting, Waiting::Transfer | Waiting::Proposal(Some(_))),
                "R45: node {node} does not lead and owes {waiting:?}"
            );
            matches!(waiting, Waiting::Transfer)
        });
    }

    /// After a long time without faults only what was just asked is unanswered.
    pub(crate) fn check_nobody_waits(&self) {
        let long_ago = self.last_ticket.saturating_sub(2_000);
        let forgotten = self.waiting.iter().find(|(ticket, (_, waiting))| {
            ticket.0 < long_ago || matches!(waiting, Waiting::Change | Waiting::Transfer)
        });
        assert!(forgotten.is_none(), "R45: {forgotten:?} was never answered");
    }
}

impl World {
    /// Clients ask a node to append and to read.
    pub(crate) fn clients_act(&mut self, id: NodeId) {
        if self.random.percent(self.swarm.proposals_percent) {
            let ticket = self.clients.begin(id, Waiting::Proposal(None));
            let command = Bytes::from_static(b"x");
            self.step(
                id,
                Input::Propose(vec![Proposal {
                    ticket,
                    command: command.into(),
                }]),
            );
        }
        if self.random.percent(10) {
            let newest = Index(self.history.committed_count());
            let ticket = self.clients.begin(id, Waiting::Read(newest));
            let before = self.counts.reads;
            self.step(id, Input::Read(vec![ticket]));
            let has_peers = |raft: &raft_core::raft::Raft| raft.status().membership.voters().len() > 1;
            let is_lease = self.swarm.leases && self.nodes[&id].raft.as_ref().is_some_and(has_peers);
            self.counts.lease_reads += u64::from(is_lease && self.counts.reads > before);
        }
    }

    /// Operators ask whoever leads, and sometimes somebody else.
    pub(crate) fn operate(&mut self) {
        let Swarm {
            changes,
            transfers,
            isolations,
            ..
        } = self.swarm;
        let dice = self.random.below(1_000);
        let is_change = dice < changes;
        let is_transfer = !is_change && dice < changes + transfers;
        if dice >= changes + transfers + isolations {
            return;
        }
        let now = self.now;
        let awake = self
            .nodes
            .iter()
            .filter(|(_, node)| node.raft.is_some() && node.paused_until <= now);
        let leads = |id: &NodeId| {
            let raft = self.nodes[id].raft.as_ref();
            raft.is_some_and(|raft| raft.role() == RoleKind::Leader)
        };
        let awake: Vec<NodeId> = awake.map(|(id, _)| *id).collect();
        let leaders: Vec<NodeId> = awake.iter().copied().filter(leads).collect();
        let asks_any = self.random.percent(5);
        let Some(id) = self.random.one_of(if asks_any { &awake } else { &leaders }) else {
            return;
        };
        let raft = self.nodes[&id].raft.as_ref().expect("it is awake");
        let membership = raft.status().membership;
        if is_transfer {
            let targets: Vec<NodeId> = self.nodes.keys().copied().collect();
            let voter = self.random.one_of(membership.voters());
            let anybody = self.random.one_of(&targets).expect("there are nodes");
            let to = voter.filter(|_| self.random.percent(90)).unwrap_or(anybody);
            let ticket = self.clients.begin(id, Waiting::Transfer);
            self.step(id, Input::TransferLeadership { ticket, to });
        } else if is_change {
            let changes = self.random_changes(&membership);
            let ticket = self.clients.begin(id, Waiting::Change);
            let dry_run = self.random.percent(5);
            let request = ChangeRequest {
                ticket,
                changes,
                dry_run,
            };
            self.step(id, Input::ChangeMembership(request));
        }
        if !is_change && !is_transfer || self.random.percent(15) {
            // What was just begun reaches some, or nobody.
            self.isolate(id);
        }
    }

    /// One to four steps as one change; some of them do not fit, and are refused.
    fn random_changes(&mut self, membership: &Membership) -> Vec<MemberChange> {
        let count = 1 + if self.random.percent(65) {
            self.random.below(4)
        } else {
            0
        };
        let mut new = membership.highest_id();
        let mut changes = Vec::new();
        for _ in 0..count {
            let change = match self.random.below(10) {
                0..=2 if membership.members().len() < MEMBERS_MAX => self.new_node(&mut new).map(|id| {
                    let contact = None;
                    if self.random.percent(80) {
                        MemberChange::AddLearner { id, contact }
                    } else {
                        MemberChange::AddVoter { id, contact }
                    }
                }),
                3..=6 => self
                    .random
                    .one_of(membership.learners())
                    .map(MemberChange::Promote),
                7 => self.random.one_of(membership.voters()).map(MemberChange::Demote),
                _ => self
                    .random
                    .one_of(&membership.members())
                    .map(MemberChange::Remove),
            };
            changes.extend(change);
        }
        changes
    }

    /// A machine that was never a member as far as the leader knows, with an id above `new`. It may have been one of a
    /// change that came to nothing.
    fn new_node(&mut self, new: &mut NodeId) -> Option<NodeId> {
        let unused = self.nodes.keys().copied().find(|id| id > new);
        let id = unused.or_else(|| {
            let id = NodeId(self.nodes.keys().next_back()?.0 + 1);
            (self.nodes.len() < NODES_MAX).then_some(id)
        })?;
        if !self.nodes.contains_key(&id) {
            self.add_node(id, Membership::empty());
        }
        *new = id;
        Some(id)
    }
}
