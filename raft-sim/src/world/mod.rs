//! The world of one run: machines, a network, clients, and one queue of what happens next.

mod clients;
mod disks;
mod faults;
mod operator;
mod phases;
mod processes;
mod pulses;
mod snapshots;
mod state_machines;

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::message::Message;
use raft_core::types::{GroupId, NodeId};

use crate::clock::{Clock, Instant, RIGHT_RATE};
use crate::disk::{LogImage, Storage};
use crate::history::History;
use crate::network::Network;
use crate::node::{Node, Nodes};
use crate::observation::Observation;
use crate::plan::{FaultKind, Plan};
use crate::ports::Asked;
use crate::queue::{Event, Parcel, Queue};
use crate::random::Random;
use crate::requests::{Requests, StateMachines};
use crate::violation::Violation;
use crate::watch::Watch;
use clients::Clients;
use faults::Lasting;

/// The group of every run.
pub(crate) const GROUP: GroupId = GroupId(1);

/// How often it is looked whether a pause or a stall is over.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
/// Disks and state machines that are well take no longer than this on average, in microseconds.
const WELL_US: u64 = 1_000;

/// Everything there is in one run.
pub(crate) struct World<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) now: Instant,
    pub(crate) queue: Queue,
    pub(crate) nodes: Nodes,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) watch: Watch,
    /// Draws whatever has no generator of its own.
    random: Random,
    /// Makes a state machine in its first state.
    state_machines: &'r mut StateMachines<'r>,
    requests: &'r mut dyn Requests,
    /// Whether faults happen still.
    pub(crate) is_faulty: bool,
    /// What the faults of the plan do until they end.
    lasting: Vec<Option<Lasting>>,
    /// Room for what a step asks for.
    asked: Vec<Asked>,
}

impl<'r> World<'r> {
    /// A group that begins; every process starts within the first moments.
    pub(crate) fn new(
        plan: &'r Plan,
        state_machines: &'r mut StateMachines<'r>,
        requests: &'r mut dyn Requests,
    ) -> World<'r> {
        let voters = (1..=plan.voters).map(NodeId);
        let founding = Membership::of_voters(voters).unwrap_or_else(|_| Membership::empty());
        let clocks_in_bounds = plan
            .faults
            .iter()
            .all(|planned| planned.fault.kind() != FaultKind::Clock);
        let mut world = World {
            plan,
            now: Instant::ZERO,
            queue: Queue::default(),
            nodes: Nodes::default(),
            network: Network::new(plan.network.clone(), plan.seed),
            clients: Clients::new(plan),
            watch: Watch::new(
                History::new(founding.clone()),
                clocks_in_bounds,
                requests.snapshots_are_equal(),
            ),
            random: Random::fork(plan.seed, "world"),
            state_machines,
            requests,
            is_faulty: true,
            lasting: Vec::new(),
            asked: Vec::new(),
        };
        for _ in 0..plan.voters {
            world.add_node(founding.clone());
        }
        world.plan_faults();
        world.begin_clients();
        world
    }

    /// A new machine, which is started soon. It is one of the first members, or belongs to nobody yet.
    pub(crate) fn add_node(&mut self, founding: Membership) -> NodeId {
        let id = self.nodes.next_id();
        let mut random = Random::fork(self.plan.seed ^ id.0, "node");
        let error = self.plan.settings.clock_error_ppm;
        let slowest = RIGHT_RATE - error;
        // Clocks at the ends of the range find more than those between.
        let rate = match random.below(3) {
            0 => slowest,
            1 => RIGHT_RATE + error,
            _ => slowest + random.below(2 * error + 1),
        };
        let node = Node {
            config: self.config(id, &mut random),
            founding,
            clock: Clock::new(rate, random.below(1_000_000_000_000)),
            storage: Storage::new(GROUP),
            issued: LogImage::default(),
            promised: LogImage::default(),
            process: None,
            life: 0,
            paused_until: Instant::ZERO,
            disk_stalled_until: Instant::ZERO,
            apply_stalled_until: Instant::ZERO,
            lost: false,
            kept_state: None,
            disks: 0,
            random,
        };
        self.nodes.push(node);
        let soon = self.now + std::time::Duration::from_millis(self.random.below(200));
        self.queue.push(soon, Event::Start { node: id, life: 0 });
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
            Event::Deliver { parcels, disks } => self.deliver(parcels, disks),
            Event::Synced { node, life } => self.synced(node, life),
            Event::Written { node, life } => self.written(node, life),
            Event::LogRead { node, life, request } => self.log_read(node, life, request),
            Event::Worked { node, life } => self.worked(node, life),
            Event::SnapshotWritten {
                node,
                life,
                meta,
                content,
            } => self.snapshot_written(node, life, meta, content),
            Event::SnapshotArrives(transfer) => self.snapshot_arrives(*transfer),
            Event::PeerLost { node, life, peer } => self.peer_lost(node, life, peer),
            Event::Timer { node, life } => self.timer(node, life),
            Event::Start { node, life } => self.start(node, life),
            Event::Client { client, turn } => self.client_acts(client, turn),
            Event::FaultBegins(number) => self.fault_begins(number),
            Event::FaultEnds(number) => self.fault_ends(number),
        }
    }

    pub(crate) fn observe(&mut self, seen: &Observation<'_>) -> Result<(), Violation> {
        self.watch.observe(self.now, &self.nodes, seen)
    }

    // ---- the network ----

    /// Messages of one node, in order, leave for wherever they are meant.
    pub(crate) fn send_all(&mut self, messages: Vec<Message>) -> Result<(), Violation> {
        let mut rest = messages.into_iter().peekable();
        while let Some(first) = rest.next() {
            let to = first.to;
            let mut batch = vec![first];
            while let Some(next) = rest.next_if(|message| message.to == to) {
                batch.push(next);
            }
            self.send(to, batch)?;
        }
        Ok(())
    }

    /// Messages for one node leave together.
    pub(crate) fn send(&mut self, to: NodeId, messages: Vec<Message>) -> Result<(), Violation> {
        let post = |message| self.watch.post(self.now, message);
        let parcels: Vec<Parcel> = messages.into_iter().map(post).collect();
        for Parcel { message, .. } in &parcels {
            self.watch
                .observe(self.now, &self.nodes, &Observation::Sent { message })?;
        }
        let Some(from) = parcels.first().map(|parcel| parcel.message.from) else {
            return Ok(());
        };
        if !self.nodes.contains(to) {
            return Ok(());
        }
        let disks = self.nodes.get(to).disks;
        if let Some((at, strange)) = self.network.stranger(self.now, &parcels) {
            self.watch.tally.strangers += 1;
            let parcels = vec![self.watch.post(self.now, strange)];
            self.queue.push(at, Event::Deliver { parcels, disks });
        }
        let deliveries = self.network.send(self.now, from, to, parcels);
        self.watch.lost(self.now, &deliveries.lost);
        self.watch.tally.messages_duplicated += deliveries.duplicated;
        for (at, parcels) in deliveries.arrivals {
            self.queue.push(at, Event::Deliver { parcels, disks });
        }
        Ok(())
    }

    fn deliver(&mut self, mut parcels: Vec<Parcel>, disks: u64) -> Result<(), Violation> {
        let ends = |parcel: &Parcel| (parcel.message.from, parcel.message.to);
        let Some((from, to)) = parcels.first().map(ends) else {
            return Ok(());
        };
        let node = self.nodes.get(to);
        if node.process.is_some() && node.is_paused(self.now) {
            let later = self.again(node.paused_until);
            self.queue.push(later, Event::Deliver { parcels, disks });
            return Ok(());
        }
        self.network.arrived(from, to, parcels.len());
        if node.process.is_none() || node.disks != disks {
            self.watch.lost(self.now, &parcels);
            return Ok(());
        }
        for parcel in &parcels {
            self.watch.received(self.now, parcel);
            let message = &parcel.message;
            self.watch
                .observe(self.now, &self.nodes, &Observation::Received { message })?;
        }
        self.receive_pulses(to, &mut parcels)?;
        if parcels.is_empty() {
            return Ok(());
        }
        let inputs = parcels
            .into_iter()
            .map(|parcel| raft_core::input::Input::Receive(parcel.message))
            .collect();
        self.step(to, inputs)
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

    /// Whoever leads in the highest term and is awake to do so.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |node: &&Node| {
            node.status()
                .is_some_and(|status| status.role == RoleKind::Leader)
        };
        let leaders = self.nodes.iter().filter(leads);
        leaders
            .max_by_key(|node| node.status().map(|status| status.term))
            .map(Node::id)
    }
}
