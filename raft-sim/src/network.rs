//! Links between nodes, each direction for itself: what is lost, late, doubled or overtaken.
//!
//! Where messages travel in two lanes, what is urgent overtakes what is not, and each lane keeps its order for itself.

use raft_core::message::{Lane, Message};
use raft_core::types::{GroupId, NodeId, Term};

use crate::clock::Instant;
use crate::plan::NetworkFaults;
use crate::queue::Parcel;
use crate::random::Random;

/// More machines than these are not made in one run.
pub(crate) const NODES_MAX: usize = 9;

/// A group that no machine ever has.
const NOBODYS: GroupId = GroupId(1_000_000);

/// In how many lanes messages travel, at most.
const LANES: usize = 2;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// How many faults cut it now.
    cuts: u32,
    /// Until when it holds everything back.
    clogged_until: Instant,
    /// When the last message of each lane arrives that is under way, if none overtakes another.
    last_arrival: [Instant; LANES],
    /// How many are under way.
    under_way: u64,
}

/// What becomes of the messages that one node sends to another at once.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// What arrives when; at most three: each lane once, and all once more.
    pub(crate) arrivals: Vec<(Instant, Vec<Parcel>)>,
    /// What was lost.
    pub(crate) lost: Vec<Parcel>,
    /// How many arrive twice.
    pub(crate) duplicated: u64,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    faults: NetworkFaults,
    links: Vec<Link>,
    random: Random,
    /// Draws what strangers say.
    strangers: Random,
    /// Draws what is measured.
    measurements: Random,
    /// Whether anything goes wrong still.
    pub(crate) is_faulty: bool,
}

impl Network {
    pub(crate) fn new(faults: NetworkFaults, seed: u64) -> Network {
        Network {
            faults,
            links: vec![Link::default(); NODES_MAX * NODES_MAX],
            random: Random::fork(seed, "network"),
            strangers: Random::fork(seed, "strangers"),
            measurements: Random::fork(seed, "measurements"),
            is_faulty: true,
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        &mut self.links[(from.0 as usize - 1) * NODES_MAX + to.0 as usize - 1]
    }

    /// Whether messages pass in this direction.
    pub(crate) fn is_cut(&mut self, from: NodeId, to: NodeId) -> bool {
        self.link(from, to).cuts > 0
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).cuts += 1;
    }

    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) {
        let link = self.link(from, to);
        link.cuts = link.cuts.saturating_sub(1);
    }

    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId, until: Instant) {
        let link = self.link(from, to);
        link.clogged_until = link.clogged_until.max(until);
    }

    /// Nothing is wrong any more.
    pub(crate) fn heal(&mut self) {
        self.is_faulty = false;
        for link in &mut self.links {
            // What is late already arrives late; nothing waits for it.
            (link.cuts, link.clogged_until, link.under_way) = (0, Instant::ZERO, 0);
            link.last_arrival = [Instant::ZERO; LANES];
        }
    }

    /// Messages that were under way arrived, or were too late to.
    pub(crate) fn arrived(&mut self, from: NodeId, to: NodeId, count: usize) {
        let link = self.link(from, to);
        link.under_way = link.under_way.saturating_sub(count as u64);
    }

    /// How long something of this size takes on a link, beside what holds it back.
    pub(crate) fn delay(&mut self) -> std::time::Duration {
        let NetworkFaults {
            delay_us, jitter_us, ..
        } = self.faults;
        // A network that is well delays everything about equally.
        let mean = if self.is_faulty { jitter_us } else { delay_us / 8 };
        let jitter = self.random.exponential(mean);
        std::time::Duration::from_micros(self.faults.delay_us + jitter)
    }

    /// Whether somebody looks now at what was measured.
    pub(crate) fn measures(&mut self) -> bool {
        self.measurements.percent(10)
    }

    /// The round trip that a transport measures between two nodes; none if nothing passes. Each measures something else.
    pub(crate) fn round_trip(&mut self, from: NodeId, to: NodeId) -> Option<std::time::Duration> {
        if self.is_cut(from, to) || self.is_cut(to, from) {
            return None;
        }
        let NetworkFaults {
            delay_us, jitter_us, ..
        } = self.faults;
        let late = if self.is_faulty {
            2 * jitter_us
        } else {
            delay_us / 8
        };
        let micros = 2 * delay_us + self.measurements.exponential(late);
        Some(std::time::Duration::from_micros(micros))
    }

    /// What somebody of another group says to the same node now and then: the same, as of the same term or a later one.
    pub(crate) fn stranger(&mut self, now: Instant, messages: &[Parcel]) -> Option<(Instant, Message)> {
        if !self.is_faulty || !self.strangers.per_million(self.faults.strangers_ppm) {
            return None;
        }
        let mut strange = self.strangers.one_of(messages)?.message.clone();
        strange.group = NOBODYS;
        strange.term = Term(strange.term.0 + self.strangers.below(3));
        self.link(strange.from, strange.to).under_way += 1;
        let delay = self.faults.delay_us + self.strangers.exponential(self.faults.jitter_us);
        Some((now + std::time::Duration::from_micros(delay), strange))
    }

    /// Decides what becomes of messages from one node to another.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        from: NodeId,
        to: NodeId,
        mut messages: Vec<Parcel>,
    ) -> Deliveries {
        let mut deliveries = Deliveries::default();
        if self.is_faulty {
            let NetworkFaults { loss_ppm, .. } = self.faults;
            let random = &mut self.random;
            deliveries.lost = messages
                .extract_if(.., |_| random.per_million(loss_ppm))
                .collect();
        }
        if self.is_cut(from, to) {
            deliveries.lost.append(&mut messages);
        }
        let room = self.faults.capacity.saturating_sub(self.link(from, to).under_way) as usize;
        while messages.len() > room {
            // Whichever: a full link does not choose.
            let victim = self.random.position(messages.len());
            deliveries.lost.push(messages.remove(victim));
        }
        if messages.is_empty() {
            return deliveries;
        }
        if self.is_faulty && self.random.per_million(self.faults.duplicate_ppm) {
            let late = now + std::time::Duration::from_micros(self.random.below(2_000_000));
            deliveries.duplicated = messages.len() as u64;
            self.link(from, to).under_way += messages.len() as u64;
            deliveries.arrivals.push((late, messages.clone()));
        }
        if self.faults.ordered_behind_us.is_some() {
            let is_urgent = |parcel: &mut Parcel| parcel.message.lane() == Lane::Urgent;
            let urgent: Vec<Parcel> = messages.extract_if(.., is_urgent).collect();
            self.send_in_lane(Lane::Urgent, now, (from, to), urgent, &mut deliveries);
        }
        self.send_in_lane(Lane::Ordered, now, (from, to), messages, &mut deliveries);
        deliveries
    }

    /// Decides when messages of one lane arrive; if there is only one, of any.
    fn send_in_lane(
        &mut self,
        lane: Lane,
        now: Instant,
        (from, to): (NodeId, NodeId),
        messages: Vec<Parcel>,
        deliveries: &mut Deliveries,
    ) {
        if messages.is_empty() {
            return;
        }
        let mut at = now + self.delay();
        if let (Lane::Ordered, true, Some(behind_us)) = (lane, self.is_faulty, self.faults.ordered_behind_us)
        {
            at = at + std::time::Duration::from_micros(self.random.exponential(behind_us));
        }
        let reorder = self.is_faulty && self.faults.reorder;
        let link = self.link(from, to);
        at = at.max(link.clogged_until);
        let last_arrival = &mut link.last_arrival[lane as usize];
        if !reorder {
            at = at.max(*last_arrival);
        }
        *last_arrival = (*last_arrival).max(at);
        link.under_way += messages.len() as u64;
        deliveries.arrivals.push((at, messages));
    }
}
