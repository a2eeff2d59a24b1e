//! A world as small as a test needs: what is in logs and on disks is written down, and nothing runs.

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::driver::Driver;
use raft_core::effect::{LogChange, RoleChange, RoleChangeReason, RoleKind, Write};
use raft_core::entry::{Entry, Payload};
use raft_core::input::Input;
use raft_core::membership::Membership;
use raft_core::message::{Body, Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::sessions::ReplicatedState;
use raft_core::status::Status;
use raft_core::traits::GroupWrite;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Time, WriteSeq};

use super::Invariant;
use crate::clock::{Clock, Instant, RIGHT_RATE};
use crate::disk::{Opened, Storage};
use crate::history::History;
use crate::machine::{Machine, Machines};
use crate::node::{Node, Nodes, Presence, Process};
use crate::observation::{Observation, View};
use crate::ports::{Asked, Notes};
use crate::random::Random;
use crate::workload::KeyValue;

const GROUP: GroupId = GroupId(1);

/// Machines that are down, with what is in their logs and on their disks, and the history of what was shown.
pub(crate) struct SmallWorld {
    pub(crate) now: Instant,
    machines: Machines,
    pub(crate) nodes: Nodes,
    pub(crate) history: History,
    pub(crate) snapshots_are_equal: bool,
    pub(crate) clocks_in_bounds: bool,
    /// What replicas wrote and no disk has yet.
    unsynced: Vec<(NodeId, GroupWrite)>,
}

impl SmallWorld {
    /// Nodes 1 to `voters` with empty disks; the group begins with all of them.
    pub(crate) fn new(voters: u64) -> SmallWorld {
        let membership = voters_up_to(voters);
        let (mut machines, mut nodes) = (Machines::default(), Nodes::default());
        for id in (1..=voters).map(NodeId) {
            let clock = Clock::new(RIGHT_RATE, 0);
            machines.push(Machine::new(id, clock, 0, 1, Random::new(id.0)));
            nodes.push(founder(id, membership.clone()));
        }
        SmallWorld {
            now: Instant::ZERO,
            machines,
            nodes,
            history: History::new(membership),
            snapshots_are_equal: true,
            clocks_in_bounds: true,
            unsynced: Vec::new(),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            now: self.now,
            group: GROUP,
            machines: &self.machines,
            nodes: &self.nodes,
            history: &self.history,
            snapshots_are_equal: self.snapshots_are_equal,
            clocks_in_bounds: self.clocks_in_bounds,
        }
    }

    /// Something happens: the history takes note, then the invariant looks.
    pub(crate) fn show(
        &mut self,
        invariant: &mut impl Invariant,
        seen: &Observation<'_>,
    ) -> Result<(), String> {
        self.history.observe(seen, &self.nodes);
        invariant.observe(seen, &self.view())
    }

    /// A step of one replica that did nothing else worth showing.
    pub(crate) fn step(
        &mut self,
        invariant: &mut impl Invariant,
        before: &Status,
        after: &Status,
    ) -> Result<(), String> {
        self.history.begin_step(&before.membership);
        self.show(invariant, &Observation::Stepped { before, after })
    }

    /// A replica changes its role, by an election if it leads from now on.
    pub(crate) fn change_role(
        &mut self,
        invariant: &mut impl Invariant,
        node: u64,
        to: RoleKind,
        term: u64,
    ) -> Result<(), String> {
        let change = RoleChange {
            from: RoleKind::Candidate,
            to,
            term: Term(term),
            leader: (to == RoleKind::Leader).then_some(NodeId(node)),
            reason: RoleChangeReason::ElectionWon,
        };
        let (node, change) = (NodeId(node), &change);
        self.show(invariant, &Observation::RoleChanged { node, change })
    }

    /// A replica begins to write.
    pub(crate) fn write(
        &mut self,
        invariant: &mut impl Invariant,
        node: u64,
        role: RoleKind,
        write: &Write,
    ) -> Result<(), String> {
        let node = NodeId(node);
        let log = &self.nodes.get(node).issued.clone();
        let result = self.show(
            invariant,
            &Observation::WriteBegun {
                node,
                role,
                log,
                write,
            },
        );
        let change = GroupWrite::new(GROUP, write);
        self.nodes.get_mut(node).issued.apply(&change);
        self.unsynced.push((node, change));
        result
    }

    /// A replica begins to write entries, which overwrite what stands in their place.
    pub(crate) fn append(
        &mut self,
        invariant: &mut impl Invariant,
        node: u64,
        role: RoleKind,
        entries: &[Entry],
    ) -> Result<(), String> {
        self.write(invariant, node, role, &write_of(entries))
    }

    /// These replicas have the entries in their logs and on their disks.
    pub(crate) fn store(&mut self, nodes: &[u64], entries: &[Entry]) {
        for node in nodes {
            let written = self.append(&mut Nothing, *node, RoleKind::Follower, entries);
            assert_eq!(written, Ok(()));
            self.sync(*node);
        }
    }

    /// Everything that a replica wrote is durable.
    pub(crate) fn sync(&mut self, node: u64) {
        let storage = &mut self.nodes.get_mut(NodeId(node)).storage;
        for (_, change) in self
            .unsynced
            .extract_if(.., |(writer, _)| *writer == NodeId(node))
        {
            storage.write(&change).expect("it fits");
        }
        storage.sync().expect("the disk works");
    }

    /// Another hard state is durable.
    pub(crate) fn set_hard_state(&mut self, node: u64, term: u64, vote: Option<u64>) {
        let write = Write {
            hard_state: Some(hard_state(term, vote)),
            ..write_of(&[])
        };
        assert_eq!(self.write(&mut Nothing, node, RoleKind::Follower, &write), Ok(()));
        self.sync(node);
    }

    /// The disks of a replica hold nothing but these entries, whatever was there before.
    pub(crate) fn replace_disks(&mut self, node: u64, entries: &[Entry]) {
        let storage = &mut self.nodes.get_mut(NodeId(node)).storage;
        *storage = Storage::new(GROUP);
        storage
            .write(&GroupWrite::new(GROUP, &write_of(entries)))
            .expect("it fits");
        storage.sync().expect("the disk works");
    }

    /// A log is purged up to where the snapshot in force covers it, durably.
    pub(crate) fn compact(&mut self, node: u64, through: EntryId) {
        let node = self.nodes.get_mut(NodeId(node));
        let snapshot = node.durable().snapshot.clone();
        node.storage
            .save_snapshot(&snapshot, Bytes::new())
            .expect("the disk works");
        node.issued.compact(through);
        node.storage.compact(through);
        node.storage.sync().expect("the disk works");
    }

    /// The disks of a machine are new, and it was told that it founds a group of these members.
    pub(crate) fn found(&mut self, node: u64, membership: Membership) {
        *self.nodes.get_mut(NodeId(node)) = founder(NodeId(node), membership);
    }

    /// The process of a machine starts from what its disks hold.
    pub(crate) fn start(&mut self, node: u64) {
        let now = self.machines.get(NodeId(node)).clock.at(self.now);
        let node = self.nodes.get_mut(NodeId(node));
        let Opened::Sound(recovered) = node.storage.open() else {
            panic!("the disks are sound");
        };
        let raft = Raft::new(node.config.clone(), recovered, EntryId::ZERO, now).expect("it can start");
        let driver = Driver::new(raft, 1);
        let state = ReplicatedState::open(Box::new(KeyValue::new())).expect("it is new");
        node.process = Some(Process {
            status: driver.status(),
            driver,
            state,
            sightings: std::sync::mpsc::channel().1,
            writes: Default::default(),
            writing: None,
            writing_since: Time::ZERO,
            jobs: Default::default(),
            is_working: false,
            lost_peers: Vec::new(),
            oldest_snapshot: EntryId::ZERO,
        });
    }

    /// The process of a machine takes inputs. Whatever it writes is durable at once, and whatever it sends is lost.
    pub(crate) fn drive(&mut self, node: u64, inputs: Vec<Input>) {
        let now = self.machines.get(NodeId(node)).clock.at(self.now);
        let node = self.nodes.get_mut(NodeId(node));
        let process = node.process.as_mut().expect("it runs");
        let mut inputs = inputs;
        while !inputs.is_empty() {
            let mut notes = Notes::default();
            process
                .driver
                .step_all(now, std::mem::take(&mut inputs), &mut notes);
            for asked in notes.0 {
                if let Asked::Persist(write) = asked {
                    inputs.push(Input::Persisted(write.seq));
                    let own = write
                        .then
                        .into_iter()
                        .filter(|message| message.to == node.config.id);
                    inputs.extend(own.map(Input::Receive));
                }
            }
        }
        process.status = process.driver.status();
    }

    /// A leader of `term` commits everything up to `index` of its log, in a step.
    pub(crate) fn commit(
        &mut self,
        invariant: &mut impl Invariant,
        leader: u64,
        term: u64,
        index: u64,
    ) -> Result<(), String> {
        let (before, after) = self.commit_statuses(leader, term, index);
        self.step(invariant, &before, &after)
    }

    /// The statuses before and after a step in which a leader commits.
    pub(crate) fn commit_statuses(&self, leader: u64, term: u64, index: u64) -> (Status, Status) {
        let mut before = self.status(leader);
        (before.role, before.term) = (RoleKind::Leader, Term(term));
        let mut after = before.clone();
        after.commit_index = Index(index);
        (before, after)
    }

    /// What a follower says that has its log and committed nothing.
    pub(crate) fn status(&self, node: u64) -> Status {
        let image = &self.nodes.get(NodeId(node)).issued;
        let durable = self.nodes.get(NodeId(node)).durable();
        Status {
            group: GROUP,
            id: NodeId(node),
            role: RoleKind::Follower,
            term: image.hard_state.term,
            leader: None,
            vote: image.hard_state.vote,
            membership: self.history.configurations()[&Index::ZERO].clone(),
            membership_index: Index::ZERO,
            first_index: image.purged.index.next(),
            appended_index: image.last().index,
            durable_index: durable.last().index,
            commit_index: Index::ZERO,
            applied_index: Index::ZERO,
            snapshot: image.snapshot.last,
            ready: true,
            asleep: false,
            suspect: false,
            peers: Vec::new(),
        }
    }
}

/// Sees everything and says nothing.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Invariant for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn statement(&self) -> &'static str {
        "whatever happens happens"
    }

    fn observe(&mut self, _seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        Ok(())
    }
}

fn founder(id: NodeId, founding: Membership) -> Node {
    let first = GroupWrite {
        group: GROUP,
        hard_state: None,
        snapshot: Some(SnapshotMeta {
            last: EntryId::ZERO,
            membership: founding.clone(),
        }),
        log: LogChange::Append(Vec::new()),
    };
    let mut storage = Storage::new(GROUP);
    storage.write(&first).expect("it fits");
    storage.sync().expect("the disk works");
    let founded = storage.durable().clone();
    Node {
        presence: Presence::Here,
        founding,
        storage,
        promised: founded.clone(),
        issued: founded,
        ..Node::absent(Config::new(GROUP, id))
    }
}

/// A configuration of the voters 1 to `count`.
pub(crate) fn voters_up_to(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(NodeId)).expect("there are voters")
}

/// The id of the entry of `term` at `index`.
pub(crate) fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

/// A command of `term` at `index`.
pub(crate) fn command(index: u64, term: u64, command: &'static str) -> Entry {
    Entry::command(Term(term), Index(index), Bytes::from_static(command.as_bytes()))
}

/// Commands of `term` at these indexes.
pub(crate) fn entries(indexes: impl IntoIterator<Item = u64>, term: u64) -> Vec<Entry> {
    let entries = indexes.into_iter().map(|index| command(index, term, "x"));
    entries.collect()
}

/// A configuration of `term` at `index`.
pub(crate) fn configuration(index: u64, term: u64, membership: Membership) -> Entry {
    Entry {
        id: id(index, term),
        payload: Payload::Membership(membership),
    }
}

/// A hard state of somebody who is trusted.
pub(crate) fn hard_state(term: u64, vote: Option<u64>) -> HardState {
    HardState {
        term: Term(term),
        vote: vote.map(NodeId),
        ..HardState::default()
    }
}

/// A write of entries.
pub(crate) fn write_of(entries: &[Entry]) -> Write {
    Write {
        seq: WriteSeq(1),
        hard_state: None,
        snapshot: None,
        log: LogChange::Append(entries.to_vec()),
        then: Vec::new(),
    }
}

/// A message.
pub(crate) fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    Message {
        group: GROUP,
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        body,
    }
}

/// What was expected is there: the invariant does not hold, and says why.
pub(crate) fn assert_violated(result: Result<(), String>, expected: &str) {
    match result {
        Err(seen) => assert!(seen.contains(expected), "it says: {seen}"),
        Ok(()) => panic!("it should say: {expected}"),
    }
}
