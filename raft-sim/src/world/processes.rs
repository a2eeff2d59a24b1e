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
use raft_core::types::{EntryId, NodeId};

use super::{GROUP, World};
use crate::clock::Instant;
use crate::disk::{Opened, Storage};
use crate::node::{Job, Process};
use crate::observation::Observation;
use crate::ports::{Asked, Notes};
use crate::queue::Event;
use crate::random::Random;
use crate::violation::Violation;
use crate::workload::Sighting;

/// How long an operator takes to start a process that stopped by itself.
const RESTART_AFTER: Duration = Duration::from_millis(1_500);

/// The parts of one process.
struct Assembled {
    driver: Driver,
    state: ReplicatedState,
    sightings: Receiver<Sighting>,
    applied: EntryId,
}

impl World<'_> {
    /// The settings of one replica: small limits, so that every window fills and every log is compacted.
    pub(super) fn config(&self, id: NodeId, random: &mut Random) -> Config {
        let settings = &self.plan.settings;
        let limit = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut config = Config::new(GROUP, id);
        config.election_timeout = settings.election_timeout();
        config.election_timeout_max = settings.election_timeout_max_ms.map(Duration::from_millis);
        config.heartbeat_interval = Duration::from_millis(settings.heartbeat_interval_ms);
        config.quiesce_after = settings.quiesce_after_ms.map(Duration::from_millis);
        config.lease_drift_max = settings.lease_drift_max();
        if settings.priorities {
            config.priority = random.below(u64::from(PRIORITY_MAX) + 1) as u8;
        }
        config.append_bytes_max = limit(settings.append_bytes_max);
        config.inflight_messages_max = limit(settings.inflight_messages_max);
        config.tail_bytes_max = limit(settings.tail_bytes_max);
        config.apply_bytes_max = limit(settings.tail_bytes_max);
        config.snapshot_entries = settings.snapshot_entries;
        config.retained_entries = settings.retained_entries;
        config.snapshot_transfers_max = 1 + random.position(2);
        config
    }

    // ---- start and end ----

    /// A process is started from what its disks hold.
    pub(super) fn start(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(id);
        if node.life != life || node.process.is_some() {
            return Ok(());
        }
        node.life += 1;
        let (recovered, is_suspicious) = self.open(id);
        let Some(Assembled {
            driver,
            state,
            sightings,
            applied,
        }) = self.assemble(id, recovered.clone())?
        else {
            // Nothing that is there can be started from: the operator gives the machine new disks.
            self.replace_disks(id);
            let life = self.nodes.get(id).life;
            self.queue
                .push(self.now + RESTART_AFTER, Event::Start { node: id, life });
            return Ok(());
        };
        let pulses = self.new_pulses(id, self.nodes.get(id).config.incarnation);
        let node = self.nodes.get_mut(id);
        node.issued = node.storage.durable().clone();
        node.process = Some(Process {
            status: driver.status(),
            driver,
            pulses,
            state,
            sightings,
            writes: Default::default(),
            writing: None,
            writing_since: raft_core::types::Time::ZERO,
            jobs: Default::default(),
            is_working: false,
            timer: Instant(u64::MAX),
            oldest_snapshot: EntryId::ZERO,
        });
        let promised = std::mem::take(&mut node.promised);
        let seen = Observation::Started {
            node: id,
            recovered: &recovered,
            applied,
            promised: &promised,
            is_suspicious,
        };
        self.observe(&seen)?;
        self.begin_pulses(id)?;
        self.step(id, vec![Input::Tick])
    }

    /// Opens the log store, and begins the group on a machine that is one of the first. Also whether something is, or may
    /// be, missing.
    fn open(&mut self, id: NodeId) -> (Recovered, bool) {
        let node = self.nodes.get_mut(id);
        let (recovered, mut is_suspicious) = match node.storage.open() {
            Opened::Sound(recovered) => (recovered, node.lost),
            Opened::Suspect(recovered, _) => (recovered, true),
            Opened::Refused(_) => {
                self.replace_disks(id);
                let node = self.nodes.get_mut(id);
                match node.storage.open() {
                    Opened::Sound(recovered) | Opened::Suspect(recovered, _) => (recovered, true),
                    Opened::Refused(_) => (Recovered::default(), true),
                }
            }
        };
        let node = self.nodes.get_mut(id);
        is_suspicious |= node.lost;
        if !recovered.is_empty() || node.founding.voters().is_empty() {
            return (recovered, is_suspicious);
        }
        let first = GroupWrite {
            group: GROUP,
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
    fn replace_disks(&mut self, id: NodeId) {
        let forgets = self.random.percent(50);
        let node = self.nodes.get_mut(id);
        node.storage = Storage::new(GROUP);
        node.disks += 1;
        node.kept_state = None;
        node.lost = true;
        if forgets {
            node.founding = raft_core::membership::Membership::empty();
        }
    }

    /// State machine, protocol and driver of one process; none if what was recovered cannot be started from.
    fn assemble(&mut self, id: NodeId, recovered: Recovered) -> Result<Option<Assembled>, Violation> {
        let incarnation = self.random.next_u64();
        let local_now = self.nodes.get(id).clock.at(self.now);
        let node = self.nodes.get_mut(id);
        node.config.random_seed = incarnation.rotate_left(17);
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
        let Some((state, sightings)) = self.recover_state(id, &recovered)? else {
            return Ok(None);
        };
        let applied = state.last_applied();
        match Raft::new(config, recovered, applied, local_now) {
            Ok(raft) => Ok(Some(Assembled {
                driver: Driver::new(raft, incarnation),
                state,
                sightings,
                applied,
            })),
            Err(RaftError::AcknowledgedEntryLost(_)) if self.nodes.get(id).lost => Ok(None),
            Err(error) => Err(self.broken("start", &format!("node {id} cannot start: {error}"))),
        }
    }

    /// Power is lost: everything that was not synced may be.
    pub(super) fn crash(&mut self, id: NodeId) -> Result<(), Violation> {
        let node = self.nodes.get_mut(id);
        if node.process.is_none() {
            return Ok(());
        }
        node.process = None;
        node.life += 1;
        node.promised = node.storage.crash(&mut node.random);
        let zero = Instant::ZERO;
        (
            node.paused_until,
            node.disk_stalled_until,
            node.apply_stalled_until,
        ) = (zero, zero, zero);
        self.clients.node_ended(id);
        self.observe(&Observation::Stopped { node: id })
    }

    /// A process stops by itself, as it must when its disk fails, and somebody starts it again.
    pub(super) fn fail(&mut self, id: NodeId) -> Result<(), Violation> {
        self.crash(id)?;
        let life = self.nodes.get(id).life;
        self.queue
            .push(self.now + RESTART_AFTER, Event::Start { node: id, life });
        Ok(())
    }

    /// Something that is wrong beside the invariants.
    pub(super) fn broken(&self, invariant: &str, seen: &str) -> Violation {
        Violation {
            invariant: invariant.to_owned(),
            statement: "a replica goes on after every fault that Raft survives".to_owned(),
            seen: seen.to_owned(),
            at_nanos: self.now.0,
        }
    }

    // ---- steps ----

    /// A replica takes inputs; what it asks for is begun.
    pub(super) fn step(&mut self, id: NodeId, mut inputs: Vec<Input>) -> Result<(), Violation> {
        inputs.extend(self.measure_round_trips(id));
        let node = self.nodes.get_mut(id);
        let local_now = node.clock.at(self.now);
        let Some(process) = &mut node.process else {
            return Ok(());
        };
        let mut notes = Notes(std::mem::take(&mut self.asked));
        self.watch.history.begin_step(&process.status.membership);
        process.driver.step_all(local_now, inputs, &mut notes);
        let after = process.driver.status();
        let before = std::mem::replace(&mut process.status, after.clone());
        let mut asked = notes.0;
        for one in asked.drain(..) {
            self.perform(id, one)?;
        }
        self.asked = asked;
        let (before, after) = (&before, &after);
        self.watch
            .observe(self.now, &self.nodes, &Observation::Stepped { before, after })?;
        let node = self.nodes.get_mut(id);
        node.lost = node.lost && !node.is_sound();
        if let Some(process) = &mut node.process {
            let needed = process.driver.raft().oldest_needed_snapshot();
            if needed > process.oldest_snapshot {
                process.oldest_snapshot = needed;
                node.storage.remove_snapshots_older(needed);
            }
        }
        self.begin_write(id)?;
        self.begin_work(id);
        self.set_timer(id);
        Ok(())
    }

    /// What the transport of a node measures now and then, if that matters: round trips as the network is now, more or less.
    fn measure_round_trips(&mut self, id: NodeId) -> Option<Input> {
        self.plan.settings.election_timeout_max_ms?;
        if !self.network.measures() {
            return None;
        }
        let peers: Vec<NodeId> = self
            .nodes
            .iter()
            .map(crate::node::Node::id)
            .filter(|peer| *peer != id)
            .collect();
        let mut known = Vec::new();
        for peer in peers {
            known.extend(self.network.round_trip(id, peer).map(|rtt| (peer, rtt)));
        }
        Some(Input::RoundTrips(known))
    }

    fn perform(&mut self, id: NodeId, asked: Asked) -> Result<(), Violation> {
        match asked {
            Asked::Send(to, messages) => self.send(to, messages),
            Asked::Persist(write) => self.persist(id, write),
            Asked::ReadLog(request) => {
                self.read_log(id, request);
                Ok(())
            }
            Asked::Apply(batch) => {
                self.add_job(id, Job::Apply(batch));
                Ok(())
            }
            Asked::CreateSnapshot(meta) => {
                self.add_job(id, Job::CreateSnapshot(meta));
                Ok(())
            }
            Asked::RestoreSnapshot(meta) => {
                self.add_job(id, Job::RestoreSnapshot(meta));
                Ok(())
            }
            Asked::SendSnapshot(header) => self.send_snapshot(id, header),
            Asked::Compact(through) => self.compact(id, through),
            Asked::Resolve(ticket, outcome) => self.resolved(id, ticket, outcome),
            Asked::MembershipChanged(membership) => self.observe(&Observation::MembershipChanged {
                node: id,
                membership: &membership,
            }),
            Asked::Suspected(reason) => self.observe(&Observation::Suspected { node: id, reason }),
            Asked::TrustRestored => self.observe(&Observation::TrustRestored { node: id }),
            Asked::Rested(rest) => self.rested(id, rest),
            Asked::RoleChanged(change) => self.observe(&Observation::RoleChanged {
                node: id,
                change: &change,
            }),
            Asked::Fatal(reason) => Err(self.broken("fatal", &format!("node {id} stopped: {reason}"))),
        }
    }

    // ---- timers ----

    /// Makes the timer ring no later than the replica wants.
    pub(super) fn set_timer(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(id);
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let deadline = process.driver.next_deadline().min(World::pulse_deadline(process));
        let Some(at) = node.clock.when(deadline) else {
            return;
        };
        // A deadline that has passed is looked at a moment later, so that time goes on.
        let at = at.max(self.now + Duration::from_micros(1));
        if at < process.timer {
            process.timer = at;
            self.queue.push(at, Event::Timer { node: id, life });
        }
    }

    pub(super) fn timer(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let now = self.now;
        let node = self.nodes.get_mut(id);
        let paused_until = node.paused_until;
        let is_paused = node.is_paused(now);
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else {
            return Ok(());
        };
        if is_paused {
            self.queue
                .push(self.again(paused_until), Event::Timer { node: id, life });
            return Ok(());
        }
        if process.timer > now {
            return Ok(());
        }
        process.timer = Instant(u64::MAX);
        let local_now = node.clock.at(now);
        if local_now >= World::pulse_deadline(process) {
            self.step_pulses(id, PulseInput::Tick)?;
        }
        let node = self.nodes.get_mut(id);
        let Some(process) = &node.process else {
            return Ok(());
        };
        if node.clock.at(now) >= process.driver.next_deadline() {
            return self.step(id, vec![Input::Tick]);
        }
        self.set_timer(id);
        Ok(())
    }
}
