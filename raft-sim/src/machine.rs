//! One machine: its clock, its power and its disk as a device, and the process on it, which serves every group that has a
//! replica there.

use raft_core::pulse::Pulses;
use raft_core::types::NodeId;

use crate::by_id::{ById, Identified};
use crate::clock::{Clock, Instant};
use crate::random::Random;

/// All machines.
pub(crate) type Machines = ById<Machine>;

/// One machine. What it holds of a group is a [`Node`](crate::node::Node) of that group.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    /// How much its replicas should lead, where replicas differ in that.
    pub(crate) priority: u8,
    /// How many snapshots each of its replicas sends at once.
    pub(crate) transfers_max: usize,
    /// Whether its process runs.
    pub(crate) is_up: bool,
    /// Counts the starts and stops of the process: what was begun in an earlier life does not reach a later one.
    pub(crate) life: u64,
    /// Which groups of the process sleep, and whom it watches for that; none where no group sleeps.
    pub(crate) pulses: Option<Pulses>,
    /// The earliest timer that is set.
    pub(crate) timer: Instant,
    /// Whether a sync is under way, or its end not known to the process yet.
    pub(crate) is_syncing: bool,
    /// Until when the process does nothing.
    pub(crate) paused_until: Instant,
    /// Until when the disk completes nothing.
    pub(crate) disk_stalled_until: Instant,
    /// Counts how often its disks were replaced, or a part of them.
    pub(crate) disks: u64,
    /// Delays of its disk and its state machines.
    pub(crate) random: Random,
}

impl Machine {
    /// A machine that is down.
    pub(crate) fn new(
        id: NodeId,
        clock: Clock,
        priority: u8,
        transfers_max: usize,
        random: Random,
    ) -> Machine {
        Machine {
            id,
            clock,
            priority,
            transfers_max,
            is_up: false,
            life: 0,
            pulses: None,
            timer: Instant(u64::MAX),
            is_syncing: false,
            paused_until: Instant::ZERO,
            disk_stalled_until: Instant::ZERO,
            disks: 0,
            random,
        }
    }

    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until > now
    }

    /// Its process begins.
    pub(crate) fn begin(&mut self, pulses: Option<Pulses>) {
        self.is_up = true;
        self.pulses = pulses;
        self.timer = Instant(u64::MAX);
    }

    /// Its process ends, and with it whatever held it up.
    pub(crate) fn end(&mut self) {
        self.is_up = false;
        self.life += 1;
        self.pulses = None;
        self.is_syncing = false;
        self.recover();
    }

    /// Nothing holds it up any more.
    pub(crate) fn recover(&mut self) {
        (self.paused_until, self.disk_stalled_until) = (Instant::ZERO, Instant::ZERO);
    }
}

impl Identified for Machine {
    fn id(&self) -> NodeId {
        self.id
    }
}
