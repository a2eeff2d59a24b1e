//! Replicas, a network of messages in order, and a clock: effects become lines of the trace, and inputs.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::effect::{Effect, RoleChange, RoleKind, Write};
use raft_core::input::{Input, LogRead, LogReadResult, LogReader};
use raft_core::message::{InstallSnapshot, Message};
use raft_core::request::RefusalReason;
use raft_core::types::{EntryId, GroupId, NodeId, Ticket, Time};

use super::history::History;
use super::node::{Node, ReadMode, Work};
use super::render;

/// The group of every scenario.
pub(crate) const GROUP: GroupId = GroupId(1);

/// What a line of the trace is about; each kind can be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Messages sent and received.
    Messages,
    /// Writes.
    Disk,
    /// Entries applied.
    Apply,
    /// Commit indexes.
    Commit,
    /// Changes of role, term and leader.
    Roles,
    /// Everything else, never hidden.
    Always,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, oldest first.
    pub(crate) network: Vec<Message>,
    /// Directed links that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Snapshots under way, with the state that they hold.
    pub(crate) streams: Vec<(InstallSnapshot, Vec<EntryId>)>,
    /// The snapshot that was last sent to a node.
    pub(crate) last_snapshot_to: BTreeMap<NodeId, EntryId>,
    pub(crate) now_ms: u64,
    pub(crate) history: History,
    pub(crate) hidden: BTreeSet<Kind>,
    /// Commands that were appended and not resolved.
    pub(crate) proposals: BTreeMap<Ticket, (NodeId, EntryId)>,
    pub(crate) last_ticket: u64,
    /// Why a request was refused last.
    pub(crate) last_refusal: Option<RefusalReason>,
    trace: Vec<String>,
    indent: usize,
}

impl World {
    /// An empty world.
    pub(crate) fn new() -> World {
        World {
            nodes: BTreeMap::new(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            streams: Vec::new(),
            last_snapshot_to: BTreeMap::new(),
            now_ms: 0,
            history: History::default(),
            hidden: BTreeSet::new(),
            proposals: BTreeMap::new(),
            last_ticket: 0,
            last_refusal: None,
            trace: Vec::new(),
            indent: 0,
        }
    }

    /// The lines since the last call.
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.indent = 0;
        std::mem::take(&mut self.trace)
    }

    /// Adds a line, unless its kind is hidden.
    pub(crate) fn say(&mut self, kind: Kind, line: impl AsRef<str>) {
        if !self.hidden.contains(&kind) {
            self.trace
                .push(format!("{:1$}{2}", "", self.indent, line.as_ref()));
        }
    }

    /// The node, which the scenario must have made.
    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .get_mut(&id)
            .unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// The time.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.now_ms)
    }

    /// Gives a replica one input, and does what follows from it.
    pub(crate) fn step(&mut self, id: NodeId, input: Input) {
        self.node(id).inputs.push_back(input);
        self.work(id);
    }

    /// Hands a message over, with a line that says so.
    pub(crate) fn receive(&mut self, message: Message, text: &str) {
        let (from, to) = (message.from, message.to);
        if self.nodes.get(&to).is_none_or(|node| node.raft.is_none()) {
            self.say(
                Kind::Messages,
                format!("n{to} ← n{from} {text} (nobody is there)"),
            );
            return;
        }
        self.say(Kind::Messages, format!("n{to} ← n{from} {text}"));
        let inner = if self.hidden.contains(&Kind::Messages) {
            0
        } else {
            2
        };
        self.indent += inner;
        self.step(to, Input::Receive(message));
        self.indent -= inner;
    }

    /// Lets a node do everything that it does by itself: take completions, write, apply.
    pub(crate) fn work(&mut self, id: NodeId) {
        loop {
            if let Some(input) = self.node(id).inputs.pop_front() {
                self.step_once(id, input);
            } else if !self.node(id).disk_stalled && !self.node(id).writes.is_empty() {
                self.complete_write(id, false);
            } else if !self.node(id).apply_stalled && !self.node(id).work.is_empty() {
                self.complete_work(id, false);
            } else {
                return;
            }
        }
    }

    fn step_once(&mut self, id: NodeId, input: Input) {
        let now = self.now();
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        let before = raft.status();
        let mut effects = Vec::new();
        raft.step(now, input, &mut effects);
        let after = raft.status();
        if after.commit_index > before.commit_index {
            self.say(Kind::Commit, format!("n{id} commits {}", after.commit_index));
        }
        for effect in effects {
            self.effect(id, effect, after.role);
        }
        self.history.stepped(&self.nodes, &before, &after);
    }

    fn effect(&mut self, id: NodeId, effect: Effect, role: RoleKind) {
        match effect {
            Effect::Send(message) => self.send(id, message),
            Effect::Persist(write) => self.persist(id, write, role),
            Effect::ReadLog(request) => self.read_log(id, request),
            Effect::Apply(entries) => self.queue_work(id, Work::Apply(entries)),
            Effect::CreateSnapshot(meta) => self.queue_work(id, Work::Create(meta)),
            Effect::RestoreSnapshot(meta) => self.queue_work(id, Work::Restore(meta)),
            Effect::SendSnapshot { to, term, meta } => {
                self.say(
                    Kind::Always,
                    format!("n{id} ⇒ n{to} snapshot {} term={term}", meta.last),
                );
                let state = self.node(id).snapshots[&meta.last.index].1.clone();
                let header = InstallSnapshot {
                    group: GROUP,
                    from: id,
                    to,
                    term,
                    meta,
                };
                self.last_snapshot_to.insert(to, header.meta.last);
                self.streams.push((header, state));
            }
            Effect::Compact(through) => {
                let covered = self.node(id).disk.snapshot.last;
                assert!(
                    through.index <= covered.index,
                    "I12: {through} is purged, {covered} is covered"
                );
                self.node(id).disk.compact(through);
                self.node(id).issued.compact(through);
                self.say(Kind::Disk, format!("n{id} purges its log to {through}"));
            }
            Effect::Proposed { ticket, id: entry } => {
                self.say(Kind::Always, format!("n{id} appends request {ticket} as {entry}"));
                self.proposals.insert(ticket, (id, entry));
            }
            Effect::Refused { ticket, reason } => {
                self.last_refusal = Some(reason);
                self.say(Kind::Always, format!("n{id} refuses request {ticket}: {reason}"));
                self.history.refused(ticket);
            }
            Effect::ReadConfirmed { ticket, index } => {
                self.say(
                    Kind::Always,
                    format!("n{id} confirms request {ticket}: read at {index}"),
                );
                self.history.read_confirmed(ticket, index);
            }
            Effect::MembershipChanged(_)
            | Effect::ChangeCommitted { .. }
            | Effect::Previewed { .. }
            | Effect::TransferEnded { .. }
            | Effect::Suspected(_)
            | Effect::TrustRestored
            | Effect::Unresolved { .. } => self.operation_effect(id, effect),
            Effect::Rested(rest) => self.say(Kind::Roles, render::rest(id, rest)),
            Effect::RoleChanged(change) => self.role_changed(id, &change),
            Effect::Fatal(reason) => {
                self.say(Kind::Always, format!("n{id} STOPS: {reason}"));
                self.lose_proposals(id);
                self.history.stopped(id);
            }
        }
    }

    fn role_changed(&mut self, id: NodeId, change: &RoleChange) {
        self.say(Kind::Roles, render::role_change(id, change));
        if change.from == RoleKind::Leader {
            self.lose_proposals(id);
        }
    }

    /// R45: whoever waits for a command hears that its fate is unknown. The owner of a replica does this.
    fn lose_proposals(&mut self, id: NodeId) {
        for (ticket, (node, entry)) in std::mem::take(&mut self.proposals) {
            if node == id {
                self.say(
                    Kind::Always,
                    format!("n{id} answers request {ticket}: {entry} may or may not be applied"),
                );
            } else {
                self.proposals.insert(ticket, (node, entry));
            }
        }
    }

    // ---- messages ----

    fn send(&mut self, id: NodeId, message: Message) {
        self.history.sent(&self.nodes[&id].disk, &message);
        let to = message.to;
        let text = format!("n{id} → n{to} {}", render::body(&message));
        if to == id {
            self.say(Kind::Messages, text);
            self.node(id).inputs.push_back(Input::Receive(message));
        } else if self.cut.contains(&(id, to)) {
            self.say(Kind::Messages, format!("{text} (lost)"));
        } else {
            self.say(Kind::Messages, text);
            self.network.push(message);
        }
    }

    // ---- the disk ----

    fn persist(&mut self, id: NodeId, write: Write, role: RoleKind) {
        self.history.write_issued(role, &self.nodes[&id].issued, &write);
        let node = self.node(id);
        node.issued.apply(&write);
        let verb = if node.disk_stalled {
            "begins to write"
        } else {
            "persists"
        };
        let line = format!("n{id} {verb} {}", render::write(&write));
        node.writes.push_back(write);
        self.say(Kind::Disk, line);
        if role == RoleKind::Leader {
            let term = self.nodes[&id].raft.as_ref().map(raft_core::raft::Raft::term);
            self.history.elected(term.unwrap_or_default(), &self.nodes[&id]);
        }
    }

    /// The oldest write becomes durable; its messages leave.
    pub(crate) fn complete_write(&mut self, id: NodeId, loudly: bool) {
        let Some(write) = self.node(id).writes.pop_front() else {
            return;
        };
        self.node(id).disk.apply(&write);
        self.history.write_completed(id, &write);
        if loudly {
            self.say(Kind::Disk, format!("n{id} finished #{}", write.seq));
        }
        for message in write.then {
            self.send(id, message);
        }
        let node = self.node(id);
        if node.completions_held {
            node.completions.push(Input::Persisted(write.seq));
        } else {
            node.inputs.push_back(Input::Persisted(write.seq));
        }
    }

    fn read_log(&mut self, id: NodeId, request: LogRead) {
        let whom = match request.reader {
            LogReader::Apply => "itself".to_owned(),
            LogReader::Peer(peer) => format!("n{peer}"),
        };
        let range = format!("{} to {} for {whom}", request.first, request.last);
        self.say(Kind::Disk, format!("n{id} reads {range} from its disk"));
        self.node(id).log_reads.push_back(request);
        self.answer_reads(id);
    }

    /// Answers the reads of the log store as its mode says.
    pub(crate) fn answer_reads(&mut self, id: NodeId) {
        let mode = self.node(id).read_mode;
        if mode == ReadMode::Hold {
            return;
        }
        for request in std::mem::take(&mut self.node(id).log_reads) {
            let entries = match mode {
                ReadMode::Answer => self.node(id).disk.read(&request),
                ReadMode::Fail | ReadMode::Hold => Vec::new(),
            };
            if entries.is_empty() {
                self.say(Kind::Disk, format!("n{id} cannot read"));
            }
            let result = LogReadResult { request, entries };
            self.node(id).inputs.push_back(Input::LogRead(result));
        }
    }

    // ---- the state machine ----

    fn queue_work(&mut self, id: NodeId, work: Work) {
        if self.node(id).apply_stalled {
            let what = match &work {
                Work::Apply(entries) => format!("hands {} to its state machine", render::entries(entries)),
                Work::Create(meta) => format!("asks for a snapshot at {}", meta.last),
                Work::Restore(meta) => format!("asks to restore the snapshot at {}", meta.last),
            };
            self.say(Kind::Apply, format!("n{id} {what}"));
        }
        self.node(id).work.push_back(work);
    }

    /// The state machine does its next piece of work; `fail` makes a snapshot fail.
    pub(crate) fn complete_work(&mut self, id: NodeId, fail: bool) {
        let Some(work) = self.node(id).work.pop_front() else {
            return;
        };
        let input = match work {
            Work::Apply(entries) => {
                self.say(
                    Kind::Apply,
                    format!("n{id} applies {}", render::entries(&entries)),
                );
                for entry in &entries {
                    self.history.applied(self.nodes[&id].last_applied(), entry.id);
                    assert!(
                        self.nodes[&id].disk.covers(entry.id),
                        "I11: {} is applied, not durable",
                        entry.id
                    );
                    self.node(id).applied.push(entry.id);
                    self.resolve(id, entry.id);
                }
                Input::Applied(self.nodes[&id].last_applied().index)
            }
            Work::Create(meta) if fail => {
                self.say(
                    Kind::Always,
                    format!("n{id} cannot save a snapshot at {}", meta.last),
                );
                Input::SnapshotFailed
            }
            Work::Create(meta) => {
                self.say(Kind::Always, format!("n{id} saves a snapshot at {}", meta.last));
                let state = self.nodes[&id].applied.clone();
                assert_eq!(
                    state.last(),
                    Some(&meta.last),
                    "I21: a snapshot is named after its last entry"
                );
                self.node(id)
                    .snapshots
                    .insert(meta.last.index, (meta.clone(), state));
                Input::SnapshotCreated(meta)
            }
            Work::Restore(meta) => {
                self.say(
                    Kind::Always,
                    format!("n{id} restores the snapshot at {}", meta.last),
                );
                let state = self.nodes[&id].snapshots[&meta.last.index].1.clone();
                self.history.restored(&state);
                self.node(id).applied = state;
                Input::SnapshotRestored(meta.last)
            }
        };
        self.node(id).inputs.push_back(input);
    }

    /// An entry was applied: whoever waits for its index hears of it.
    fn resolve(&mut self, id: NodeId, applied: EntryId) {
        let mut lines = Vec::new();
        self.proposals.retain(|ticket, (node, entry)| {
            if *node != id || entry.index != applied.index {
                return true;
            }
            lines.push(if *entry == applied {
                format!("n{id} answers request {ticket}: applied at {entry}")
            } else {
                format!("n{id} answers request {ticket}: not applied, {applied} took its place")
            });
            false
        });
        for line in lines {
            self.say(Kind::Always, line);
        }
    }
}
