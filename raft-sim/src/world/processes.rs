//! Processes: how they start and end, and what one step of a replica sets going.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use raft_core::config::{Config, PRIORITY_MAX};
use raft_core::driver::Driver;
use raft_core::effect::LogChange;
use raft_core::input::Input;
use raft_core::message::SnapshotMeta;
use raft_core::pulse::PulseInput;
use raft_core::raft::{Raft, RaftError};
use raft_core::sessions::ReplicatedState;
use raft_core::traits::{GroupWrite, Recovered};
use raft_core::types::{EntryId, GroupId, NodeId, Time};

use super::World;
use crate::clock::Instant;
use crate::disk::{Opened, Storage};
use crate::node::{Job, Presence, Process, ReplicaId};
use crate::observation::Observation;
use crate::ports::{Asked, Notes};
use crate::queue::Event;
use crate::random::Random;
use crate::violation::Violation;
use crate::workload::Sighting;

/// How long an operator takes to start a process that stopped by itself.
const RESTART_AFTER: Duration = Duration::from_millis(1_500);

/// The parts of one replica.
pub(super) struct Assembled {
    recovered: Recovered,
    is_suspicious: bool,
    driver: Driver,
    state: ReplicatedState,
    sightings: Receiver<Sighting>,
    applied: EntryId,
}

impl World<'_> {
    /// What differs from one machine to the next: how much its replicas should lead, and how many snapshots each sends at once.
    pub(super) fn draw_machine(&self, random: &mut Random) -> (u8, usize) {
        let priority = if self.plan.settings.priorities {
            random.below(u64::from(PRIORITY_MAX) + 1) as u8
        } else {
            PRIORITY_MAX
        };
        (priority, 1 + random.position(2))
    }

    /// The settings of one replica: small limits, so that every window fills and every log is compacted.
    pub(super) fn config(&self, at: ReplicaId) -> Config {
        let settings = &self.plan.settings;
        let machine = self.machines.get(at.node);
        let limit = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut config = Config::new(at.group, at.node);
        config.election_timeout = settings.election_timeout();
        config.election_timeout_max = settings.election_timeout_max_ms.map(Duration::from_millis);
        config.heartbeat_interval = Duration::from_millis(settings.heartbeat_interval_ms);
        config.quiesce_after = settings.quiesce_after_ms.map(Duration::from_millis);
        config.lease_drift_max = settings.lease_drift_max();
        if settings.priorities {
            // Another machine for each group.
            let steps = u64::from(machine.priority) + at.group.0 - 1;
            config.priority = (steps % (u64::from(PRIORITY_MAX) + 1)) as u8;
        }
        config.append_bytes_max = limit(settings.append_bytes_max);
        config.inflight_messages_max = limit(settings.inflight_messages_max);
        config.tail_bytes_max = limit(settings.tail_bytes_max);
        config.apply_bytes_max = limit(settings.tail_bytes_max);
        config.snapshot_entries = settings.snapshot_entries;
        config.retained_entries = settings.retained_entries;
        config.snapshot_transfers_max = machine.transfers_max;
        config
    }

    // ---- start and end ----

    /// A process is started, with every replica that the disks of its machine hold.
    pub(super) fn start(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let machine = self.machines.get_mut(id);
        if machine.life != life || machine.is_up {
            return Ok(());
        }
        machine.life += 1;
        let mut opened = Vec::new();
        for at in self.replicas_on(id) {
            let (recovered, is_suspicious) = self.open(at);
            opened.push((at, recovered, is_suspicious));
        }
        let incarnation = self.random.next_u64();
        let mut assembled = Vec::new();
        for (at, recovered, is_suspicious) in opened {
            let Some(replica) = self.assemble(at, incarnation, recovered, is_suspicious)? else {
                // Nothing that is there can be started from: the operator gives the replica new disks.
                self.replace_disks(at);
                let life = self.machines.get(id).life;
                self.queue
                    .push(self.now + RESTART_AFTER, Event::Start { node: id, life });
                return Ok(());
            };
            assembled.push((at, replica));
        }
        let pulses = self.new_pulses(id, incarnation);
        self.machines.get_mut(id).begin(pulses);
        let begun: Vec<ReplicaId> = assembled.iter().map(|(at, _)| *at).collect();
        for (at, replica) in assembled {
            self.begin(at, replica)?;
        }
        self.begin_pulses(id)?;
        let mut begun = begun.into_iter();
        begun.try_for_each(|at| self.step(at, vec![Input::Tick]))
    }

    /// The replicas of a machine, also those that somebody ordered while it was down.
    pub(super) fn replicas_on(&self, node: NodeId) -> Vec<ReplicaId> {
        let all = self.groups.ids().map(|group| ReplicaId { group, node });
        let is_there =
            |at: &ReplicaId| matches!(self.groups.node(*at).presence, Presence::Here | Presence::Ordered);
        all.filter(is_there).collect()
    }

    /// A replica begins in a process that runs.
    pub(super) fn begin(&mut self, at: ReplicaId, assembled: Assembled) -> Result<(), Violation> {
        let Assembled {
            recovered,
            is_suspicious,
            driver,
            state,
            sightings,
            applied,
        } = assembled;
        let node = self.groups.node_mut(at);
        node.issued = node.storage.durable().clone();
        node.process = Some(Process {
            status: driver.status(),
            driver,
            state,
            sightings,
            writes: Default::default(),
            writing: None,
            writing_since: Time::ZERO,
            jobs: Default::default(),
            is_working: false,
            lost_peers: Vec::new(),
            oldest_snapshot: EntryId::ZERO,
        });
        let promised = std::mem::take(&mut node.promised);
        if std::mem::replace(&mut node.presence, Presence::Here) == Presence::Ordered {
            self.observe(at.group, &Observation::Created { node: at.node })?;
        }
        let seen = Observation::Started {
            node: at.node,
            recovered: &recovered,
            applied,
            promised: &promised,
            is_suspicious,
        };
        self.observe(at.group, &seen)
    }

    /// Opens the log store, and begins the group on a machine that is one of the first. Also whether something is, or may
    /// be, missing.
    pub(super) fn open(&mut self, at: ReplicaId) -> (Recovered, bool) {
        let node = self.groups.node_mut(at);
        let (recovered, mut is_suspicious) = match node.storage.open() {
            Opened::Sound(recovered) => (recovered, node.lost),
            Opened::Suspect(recovered, _) => (recovered, true),
            Opened::Refused(_) => {
                self.replace_disks(at);
                let node = self.groups.node_mut(at);
                match node.storage.open() {
                    Opened::Sound(recovered) | Opened::Suspect(recovered, _) => (recovered, true),
                    Opened::Refused(_) => (Recovered::default(), true),
                }
            }
        };
        let node = self.groups.node_mut(at);
        is_suspicious |= node.lost;
        if !recovered.is_empty() || node.founding.voters().is_empty() {
            return (recovered, is_suspicious);
        }
        let first = GroupWrite {
            group: at.group,
            hard_state: None,
            snapshot: Some(SnapshotMeta {
                last: EntryId::ZERO,
                membership: node.founding.clone(),
            }),
            log: LogChange::Append(Vec::new()),
        };
        let storage = &mut node.storage;
        let stored = storage.write(&first).and_then(|_| storage.sync());
        match (stored, storage.open()) {
            (Ok(()), Opened::Sound(recovered) | Opened::Suspect(recovered, _)) => (recovered, is_suspicious),
            _ => (Recovered::default(), is_suspicious),
        }
    }

    /// New disks, because nothing can be started from the old ones. The operator may or may not say again who the first
    /// members were.
    fn replace_disks(&mut self, at: ReplicaId) {
        let forgets = self.random.percent(50);
        self.machines.get_mut(at.node).disks += 1;
        let node = self.groups.node_mut(at);
        node.storage = Storage::new(at.group);
        node.kept_state = None;
        node.lost = true;
        if forgets {
            node.founding = raft_core::membership::Membership::empty();
        }
    }

    /// State machine, protocol and driver of one replica; none if what was recovered cannot be started from.
    pub(super) fn assemble(
        &mut self,
        at: ReplicaId,
        incarnation: u64,
        recovered: Recovered,
        is_suspicious: bool,
    ) -> Result<Option<Assembled>, Violation> {
        let local_now = self.machines.get(at.node).clock.at(self.now);
        let node = self.groups.node_mut(at);
        node.config.random_seed = incarnation.rotate_left(17) ^ (at.group.0 - 1);
        node.config.incarnation = incarnation;
        let log = node.storage.durable();
        if node
            .kept_state
            .as_ref()
            .is_some_and(|kept| kept.0.index >= log.purged.index && !log.has(kept.0))
        {
            // The log lost what the state machine has: what it knows of the group is told to it again.
            node.kept_state = None;
        }
        let config = node.config.clone();
        let Some((state, sightings)) = self.recover_state(at, &recovered)? else {
            return Ok(None);
        };
        let applied = state.last_applied();
        match Raft::new(config, recovered.clone(), applied, local_now) {
            Ok(raft) => Ok(Some(Assembled {
                recovered,
                is_suspicious,
                driver: Driver::new(raft, incarnation),
                state,
                sightings,
                applied,
            })),
            Err(RaftError::AcknowledgedEntryLost(_)) if self.groups.node(at).lost => Ok(None),
            Err(error) => Err(self.broken(
                at.group,
                "start",
                &format!("node {} cannot start: {error}", at.node),
            )),
        }
    }

    /// Power is lost: everything that was not synced may be.
    pub(super) fn crash(&mut self, id: NodeId) -> Result<(), Violation> {
        let machine = self.machines.get_mut(id);
        if !machine.is_up {
            return Ok(());
        }
        machine.end();
        let mut ended = Vec::new();
        for group in self.groups.iter_mut() {
            let node = group.nodes.get_mut(id);
            if node.process.take().is_some() {
                node.promised = node.storage.crash(&mut machine.random);
                node.apply_stalled_until = Instant::ZERO;
                group.clients.node_ended(id);
                ended.push(group.id);
            }
        }
        let mut ended = ended.into_iter();
        ended.try_for_each(|group| self.observe(group, &Observation::Stopped { node: id }))
    }

    /// A process stops by itself, as it must when its disk fails, and somebody starts it again.
    pub(super) fn fail(&mut self, id: NodeId) -> Result<(), Violation> {
        self.crash(id)?;
        let life = self.machines.get(id).life;
        self.queue
            .push(self.now + RESTART_AFTER, Event::Start { node: id, life });
        Ok(())
    }

    /// Something that is wrong beside the invariants.
    pub(super) fn broken(&self, group: GroupId, invariant: &str, seen: &str) -> Violation {
        Violation {
            invariant: invariant.to_owned(),
            statement: "a replica goes on after every fault that Raft survives".to_owned(),
            seen: seen.to_owned(),
            group: group.0,
            at_nanos: self.now.0,
        }
    }

    // ---- steps ----

    /// A replica takes inputs; what it asks for is begun.
    pub(super) fn step(&mut self, at: ReplicaId, mut inputs: Vec<Input>) -> Result<(), Violation> {
        // A stranger's message comes alone: I24 compares what it does with what the passing of time does.
        let is_strange =
            |input: &Input| matches!(input, Input::Receive(message) if message.group != at.group);
        let is_alone = inputs.iter().any(is_strange);
        if !is_alone {
            inputs.extend(self.measure_round_trips(at.node));
        }
        let local_now = self.machines.get(at.node).clock.at(self.now);
        let group = self.groups.get_mut(at.group);
        let Some(process) = &mut group.nodes.get_mut(at.node).process else {
            return Ok(());
        };
        if !is_alone {
            let lost = process.lost_peers.drain(..).map(Input::PeerLost);
            inputs.splice(..0, lost);
        }
        let mut notes = Notes(std::mem::take(&mut self.asked));
        group.watch.history.begin_step(&process.status.membership);
        process.driver.step_all(local_now, inputs, &mut notes);
        let after = process.driver.status();
        let before = std::mem::replace(&mut process.status, after.clone());
        let mut asked = notes.0;
        for one in asked.drain(..) {
            self.perform(at, one)?;
        }
        self.asked = asked;
        let (before, after) = (&before, &after);
        self.observe(at.group, &Observation::Stepped { before, after })?;
        let node = self.groups.node_mut(at);
        node.lost = node.lost && !node.is_sound();
        if let Some(process) = &mut node.process {
            let needed = process.driver.raft().oldest_needed_snapshot();
            if needed > process.oldest_snapshot {
                process.oldest_snapshot = needed;
                node.storage.remove_snapshots_older(needed);
            }
        }
        self.begin_write(at.node)?;
        self.begin_work(at);
        self.set_timer(at.node);
        Ok(())
    }

    /// What the transport of a node measures now and then, if that matters: round trips as the network is now, more or less.
    fn measure_round_trips(&mut self, id: NodeId) -> Option<Input> {
        self.plan.settings.election_timeout_max_ms?;
        if !self.network.measures() {
            return None;
        }
        let mut peers = self.machines.ids();
        peers.retain(|peer| *peer != id);
        let mut known = Vec::new();
        for peer in peers {
            known.extend(self.network.round_trip(id, peer).map(|rtt| (peer, rtt)));
        }
        Some(Input::RoundTrips(known))
    }

    fn perform(&mut self, at: ReplicaId, asked: Asked) -> Result<(), Violation> {
        let ReplicaId { group, node } = at;
        match asked {
            Asked::Send(to, messages) => self.send(group, to, messages),
            Asked::Persist(write) => self.persist(at, write),
            Asked::ReadLog(request) => {
                self.read_log(at, request);
                Ok(())
            }
            Asked::Apply(batch) => {
                self.add_job(at, Job::Apply(batch));
                Ok(())
            }
            Asked::CreateSnapshot(meta) => {
                self.add_job(at, Job::CreateSnapshot(meta));
                Ok(())
            }
            Asked::RestoreSnapshot(meta) => {
                self.add_job(at, Job::RestoreSnapshot(meta));
                Ok(())
            }
            Asked::SendSnapshot(header) => self.send_snapshot(at, header),
            Asked::Compact(through) => self.compact(at, through),
            Asked::Resolve(ticket, outcome) => self.resolved(at, ticket, outcome),
            Asked::MembershipChanged(membership) => self.observe(
                group,
                &Observation::MembershipChanged {
                    node,
                    membership: &membership,
                },
            ),
            Asked::Suspected(reason) => self.observe(group, &Observation::Suspected { node, reason }),
            Asked::TrustRestored => self.observe(group, &Observation::TrustRestored { node }),
            Asked::Rested(rest) => self.rested(at, rest),
            Asked::RoleChanged(change) => self.observe(
                group,
                &Observation::RoleChanged {
                    node,
                    change: &change,
                },
            ),
            Asked::Fatal(reason) => {
                Err(self.broken(group, "fatal", &format!("node {node} stopped: {reason}")))
            }
        }
    }

    // ---- timers ----

    /// Makes the timer of a machine ring no later than any of its replicas wants.
    pub(super) fn set_timer(&mut self, id: NodeId) {
        let machine = self.machines.get_mut(id);
        if !machine.is_up {
            return;
        }
        let processes = self
            .groups
            .iter()
            .filter_map(|group| group.nodes.get(id).process.as_ref());
        let deadlines = processes.map(|process| process.driver.next_deadline());
        let deadline = deadlines.fold(World::pulse_deadline(machine), Time::min);
        let Some(at) = machine.clock.when(deadline) else {
            return;
        };
        // A deadline that has passed is looked at a moment later, so that time goes on.
        let at = at.max(self.now + Duration::from_micros(1));
        if at < machine.timer {
            machine.timer = at;
            let life = machine.life;
            self.queue.push(at, Event::Timer { node: id, life });
        }
    }

    pub(super) fn timer(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let machine = self.machines.get_mut(id);
        if machine.life != life || !machine.is_up {
            return Ok(());
        }
        if machine.is_paused(now) {
            let paused_until = machine.paused_until;
            self.queue
                .push(self.again(paused_until), Event::Timer { node: id, life });
            return Ok(());
        }
        if machine.timer > now {
            return Ok(());
        }
        machine.timer = Instant(u64::MAX);
        let local_now = machine.clock.at(now);
        if local_now >= World::pulse_deadline(machine) {
            self.step_pulses(id, PulseInput::Tick)?;
        }
        for group in self.groups.ids() {
            let machine = self.machines.get(id);
            if machine.life != life {
                return Ok(());
            }
            let at = ReplicaId { group, node: id };
            let process = self.groups.node(at).process.as_ref();
            if process.is_some_and(|process| machine.clock.at(now) >= process.driver.next_deadline()) {
                self.step(at, vec![Input::Tick])?;
            }
        }
        self.set_timer(id);
        Ok(())
    }
}
