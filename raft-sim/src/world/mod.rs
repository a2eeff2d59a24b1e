//! The world of one run: machines, a network, groups with their clients, and one queue of what happens next.

mod clients;
mod disks;
mod faults;
mod groups;
mod lifecycle;
mod operator;
mod phases;
mod processes;
mod pulses;
mod snapshots;
mod state_machines;

use std::time::Duration;

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::message::{Message, PULSE_GROUP};
use raft_core::types::{GroupId, NodeId};

use crate::clock::{Clock, Instant, RIGHT_RATE};
use crate::history::{History, mix};
use crate::machine::{Machine, Machines};
use crate::network::Network;
use crate::node::{Node, ReplicaId};
use crate::observation::Observation;
use crate::plan::{FaultKind, Plan};
use crate::ports::Asked;
use crate::queue::{Event, Parcel, Queue};
use crate::random::Random;
use crate::requests::{StateMachines, Workloads};
use crate::tally::Tally;
use crate::trace::Recorder;
use crate::violation::Violation;
use crate::watch::Watch;
use clients::Clients;
use faults::Lasting;
pub(crate) use groups::FIRST_GROUP;
use groups::{Group, Groups};

/// How often it is looked whether a pause or a stall is over.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Disks and state machines that are well take no longer than this on average, in microseconds.
const WELL_US: u64 = 1_000;

/// Everything there is in one run.
pub(crate) struct World<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) now: Instant,
    pub(crate) queue: Queue,
    pub(crate) machines: Machines,
    pub(crate) network: Network,
    pub(crate) groups: Groups<'r>,
    /// What happened to all groups together.
    tally: Tally,
    /// Records one group, and that one it watches as soon as it exists.
    recorder: Option<(GroupId, Box<Recorder>)>,
    /// Draws whatever has no generator of its own.
    random: Random,
    /// Makes a state machine in its first state.
    state_machines: &'r mut StateMachines<'r>,
    workloads: &'r mut Workloads<'r>,
    /// Whether faults happen still.
    pub(crate) is_faulty: bool,
    /// What the faults of the plan do until they end.
    lasting: Vec<Option<Lasting>>,
    /// Room for what a step asks for.
    asked: Vec<Asked>,
}

impl<'r> World<'r> {
    /// Groups that begin; every process starts within the first moments.
    pub(crate) fn new(
        plan: &'r Plan,
        state_machines: &'r mut StateMachines<'r>,
        workloads: &'r mut Workloads<'r>,
        recorder: Option<(GroupId, Box<Recorder>)>,
    ) -> World<'r> {
        let mut world = World {
            plan,
            now: Instant::ZERO,
            queue: Queue::default(),
            machines: Machines::default(),
            network: Network::new(plan.network.clone(), plan.seed),
            groups: Groups::default(),
            tally: Tally::default(),
            recorder,
            random: Random::fork(plan.seed, "world"),
            state_machines,
            workloads,
            is_faulty: true,
            lasting: Vec::new(),
            asked: Vec::new(),
        };
        world.begin_groups();
        world.plan_faults();
        world.groups.ids().for_each(|group| world.begin_clients(group));
        world
    }

    /// What the run did so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        self.groups.iter().for_each(|group| tally += &group.watch.tally);
        tally
    }

    /// A hash of everything that happened so far: equal seeds give equal hashes (I28).
    pub(crate) fn hash(&self) -> u64 {
        let hashes = self.groups.iter().map(|group| group.watch.hash());
        hashes
            .reduce(|all, one| mix(all.rotate_left(7) ^ one))
            .unwrap_or_default()
    }

    /// What was recorded, if anything.
    pub(crate) fn take_recorder(&mut self) -> Option<Box<Recorder>> {
        let mut recorders = self
            .groups
            .iter_mut()
            .filter_map(|group| group.watch.recorder.take());
        let recorder = recorders.next();
        recorder.or_else(|| self.recorder.take().map(|(_, recorder)| recorder))
    }

    /// A new machine, which is started soon. It has nothing of any group.
    pub(crate) fn add_machine(&mut self) -> NodeId {
        let id = self.machines.next_id();
        let mut random = Random::fork(self.plan.seed ^ id.0, "node");
        let error = self.plan.settings.clock_error_ppm;
        let slowest = RIGHT_RATE - error;
        // Clocks at the ends of the range find more than those between.
        let rate = match random.below(3) {
            0 => slowest,
            1 => RIGHT_RATE + error,
            _ => slowest + random.below(2 * error + 1),
        };
        let (priority, transfers_max) = self.draw_machine(&mut random);
        let clock = Clock::new(rate, random.below(1_000_000_000_000));
        self.machines
            .push(Machine::new(id, clock, priority, transfers_max, random));
        for group in self.groups.ids() {
            let config = self.config(ReplicaId { group, node: id });
            self.groups.get_mut(group).nodes.push(Node::absent(config));
        }
        let soon = self.now + Duration::from_millis(self.random.below(200));
        self.queue.push(soon, Event::Start { node: id, life: 0 });
        id
    }

    /// A new group of these first members, of which nothing exists yet.
    fn add_group(&mut self, founding: &Membership) -> GroupId {
        let id = self.groups.next_id();
        let requests = (self.workloads)();
        let faults = &self.plan.faults;
        let clocks_in_bounds = faults
            .iter()
            .all(|planned| planned.fault.kind() != FaultKind::Clock);
        let snapshots_are_equal = requests.snapshots_are_equal();
        let history = History::new(founding.clone());
        let mut watch = Watch::new(id, history, clocks_in_bounds, snapshots_are_equal);
        if let Some((_, recorder)) = self.recorder.take_if(|(traced, _)| *traced == id) {
            watch.recorder = Some(recorder);
        }
        self.groups.push(Group {
            id,
            nodes: Default::default(),
            clients: Clients::new(self.plan, id, founding.voters()),
            watch,
            requests,
            is_doomed: false,
        });
        for node in self.machines.ids() {
            let mut place = Node::absent(self.config(ReplicaId { group: id, node }));
            if founding.is_voter(node) {
                place.founding = founding.clone();
            }
            self.groups.get_mut(id).nodes.push(place);
        }
        id
    }

    // ---- what happens ----

    /// Goes on with everything that happens up to `until`.
    pub(crate) fn run_until(&mut self, until: Instant) -> Result<(), Violation> {
        while let Some((at, event)) = self.queue.pop_before(until) {
            self.now = self.now.max(at);
            self.happen(event)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver {
                group,
                parcels,
                disks,
            } => self.deliver(group, parcels, disks),
            Event::Synced { node, life } => self.synced(node, life),
            Event::Written { node, life } => self.written(node, life),
            Event::LogRead { at, life, request } => self.log_read(at, life, request),
            Event::Worked { at, life } => self.worked(at, life),
            Event::SnapshotWritten {
                at,
                life,
                meta,
                content,
            } => self.snapshot_written(at, life, meta, content),
            Event::SnapshotArrives(transfer) => self.snapshot_arrives(*transfer),
            Event::PeersLost { at, life } => self.peers_lost(at, life),
            Event::Timer { node, life } => self.timer(node, life),
            Event::Start { node, life } => self.start(node, life),
            Event::Client { group, client, turn } => self.client_acts(group, client, turn),
            Event::Create(at) => self.create(at),
            Event::Destroy(at) => self.destroy(at),
            Event::FaultBegins(number) => self.fault_begins(number),
            Event::FaultEnds(number) => self.fault_ends(number),
        }
    }

    /// Something happened in a group: its watchers see it.
    pub(crate) fn observe(&mut self, group: GroupId, seen: &Observation<'_>) -> Result<(), Violation> {
        let group = self.groups.get_mut(group);
        group.watch.observe(self.now, &self.machines, &group.nodes, seen)
    }

    /// Something happened that concerns all groups.
    pub(crate) fn observe_everywhere(&mut self, seen: &Observation<'_>) -> Result<(), Violation> {
        let mut groups = self.groups.ids();
        groups.try_for_each(|group| self.observe(group, seen))
    }

    /// A message leaves or arrives. What machines say to each other for all groups concerns all of them.
    fn observe_message(&mut self, group: GroupId, seen: &Observation<'_>) -> Result<(), Violation> {
        if group == PULSE_GROUP {
            return self.observe_everywhere(seen);
        }
        self.observe(group, seen)
    }

    // ---- the network ----

    /// Messages of one replica, in order, leave for wherever they are meant.
    pub(crate) fn send_all(&mut self, group: GroupId, messages: Vec<Message>) -> Result<(), Violation> {
        let mut rest = messages.into_iter().peekable();
        while let Some(first) = rest.next() {
            let to = first.to;
            let mut batch = vec![first];
            while let Some(next) = rest.next_if(|message| message.to == to) {
                batch.push(next);
            }
            self.send(group, to, batch)?;
        }
        Ok(())
    }

    /// Messages of a group, or pulses, for one node leave together.
    pub(crate) fn send(
        &mut self,
        group: GroupId,
        to: NodeId,
        messages: Vec<Message>,
    ) -> Result<(), Violation> {
        let now = self.now;
        let watch = self.watch_of(group);
        let post = |message| watch.post(now, message);
        let parcels: Vec<Parcel> = messages.into_iter().map(post).collect();
        for Parcel { message, .. } in &parcels {
            self.observe_message(group, &Observation::Sent { message })?;
        }
        let Some(from) = parcels.first().map(|parcel| parcel.message.from) else {
            return Ok(());
        };
        if !self.machines.contains(to) {
            return Ok(());
        }
        let disks = self.machines.get(to).disks;
        if let Some((at, strange)) = self.network.stranger(now, &parcels) {
            let group = group_to_watch(group);
            let watch = self.watch_of(group);
            watch.tally.strangers += 1;
            let parcels = vec![watch.post(now, strange)];
            self.queue.push(
                at,
                Event::Deliver {
                    group,
                    parcels,
                    disks,
                },
            );
        }
        let deliveries = self.network.send(now, from, to, parcels);
        let watch = self.watch_of(group);
        watch.lost(now, &deliveries.lost);
        watch.tally.messages_duplicated += deliveries.duplicated;
        for (at, parcels) in deliveries.arrivals {
            let arrives = Event::Deliver {
                group,
                parcels,
                disks,
            };
            self.queue.push(at, arrives);
        }
        Ok(())
    }

    /// Who counts what is sent.
    fn watch_of(&mut self, group: GroupId) -> &mut Watch {
        &mut self.groups.get_mut(group_to_watch(group)).watch
    }

    fn deliver(&mut self, group: GroupId, parcels: Vec<Parcel>, disks: u64) -> Result<(), Violation> {
        let now = self.now;
        let ends = |parcel: &Parcel| (parcel.message.from, parcel.message.to);
        let Some((from, to)) = parcels.first().map(ends) else {
            return Ok(());
        };
        let machine = self.machines.get(to);
        if machine.is_up && machine.is_paused(now) {
            let later = self.again(machine.paused_until);
            let again = Event::Deliver {
                group,
                parcels,
                disks,
            };
            self.queue.push(later, again);
            return Ok(());
        }
        let is_there = machine.is_up && machine.disks == disks;
        self.network.arrived(from, to, parcels.len());
        let at = ReplicaId { group, node: to };
        // A group that the machine does not have is nobody's: nothing begins because somebody wrote to it.
        let is_known = group == PULSE_GROUP || self.groups.node(at).process.is_some();
        if !is_there || !is_known {
            self.watch_of(group).lost(now, &parcels);
            return Ok(());
        }
        for parcel in &parcels {
            self.watch_of(group).received(now, parcel);
            let message = &parcel.message;
            self.observe_message(group, &Observation::Received { message })?;
        }
        let messages = parcels.into_iter().map(|parcel| parcel.message);
        if group == PULSE_GROUP {
            return self.receive_pulses(to, messages.collect());
        }
        self.step(at, messages.map(raft_core::input::Input::Receive).collect())
    }

    /// When to look again whether something is over that lasts until then, unless it is over before: healing ends everything.
    fn again(&self, until: Instant) -> Instant {
        until.min(self.now + LOOK_AGAIN)
    }

    /// How long a disk takes to sync, in microseconds on average. One that is well is fast.
    pub(crate) fn sync_us(&self) -> u64 {
        let sync_us = self.plan.settings.sync_us;
        if self.is_faulty {
            sync_us
        } else {
            sync_us.min(WELL_US)
        }
    }

    /// How long a state machine takes for what is next, in microseconds on average.
    pub(crate) fn apply_us(&self) -> u64 {
        let apply_us = self.plan.settings.apply_us;
        if self.is_faulty {
            apply_us
        } else {
            apply_us.min(WELL_US)
        }
    }

    // ---- who is who ----

    /// Whoever leads a group in the highest term and is awake to do so.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        let leads = |node: &&Node| {
            node.status()
                .is_some_and(|status| status.role == RoleKind::Leader)
        };
        let leaders = self.groups.get(group).nodes.iter().filter(leads);
        leaders
            .max_by_key(|node| node.status().map(|status| status.term))
            .map(Node::id)
    }
}

/// The group whose watchers count and record something: what machines say for all of them is the business of the first.
fn group_to_watch(group: GroupId) -> GroupId {
    if group == PULSE_GROUP { FIRST_GROUP } else { group }
}
