//! Randomness from a seed, and which faults one run is given.

use std::time::Duration;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        (!list.is_empty()).then(|| list[self.below(list.len() as u64) as usize])
    }
}

/// The election timeout of every replica.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// What happens in one run and how often: each run is drawn a mix of its own, so that some reach states which the others'
/// faults would never let them reach.
#[derive(Debug)]
pub(crate) struct Swarm {
    /// How many voters there are at first.
    pub(crate) voters: u64,
    /// Whether reads are served by lease.
    pub(crate) leases: bool,
    /// By how many parts per million a clock may run too fast or too slow.
    pub(crate) clock_error_ppm: u64,
    /// Whether leases run against elections: node 1 has the slowest clock that is allowed and the others the fastest, and
    /// links are cut around one leader at a time.
    pub(crate) is_duel: bool,
    /// A node suffers a crash about once in so many turns; other faults are as rare.
    pub(crate) fault_period: u64,
    pub(crate) lost_percent: u64,
    pub(crate) late_percent: u64,
    /// How often a client asks a node to append.
    pub(crate) proposals_percent: u64,
    /// How often the members change, in 1,000 turns.
    pub(crate) changes: u64,
    pub(crate) transfers: u64,
    /// How often the leader is cut off from all others or from one of them, in 1,000 turns.
    pub(crate) isolations: u64,
    /// How often a node campaigns without waiting for its timer, in 1,000 turns: whoever may not vote is asked to.
    pub(crate) campaigns: u64,
    /// How often a follower restarts at once, in 1,000 turns.
    pub(crate) restarts: u64,
    /// Whether disks and state machines stand still now and then, for longer than an election timeout.
    pub(crate) stalls: bool,
    /// Whether processes do.
    pub(crate) pauses: bool,
    pub(crate) priorities: bool,
    /// Whether disks are replaced or lose their end, one at a time.
    pub(crate) losses: bool,
    pub(crate) snapshot_transfers_max: usize,
}

impl Swarm {
    /// Three nodes whose clocks are as wrong as allowed. Nothing happens but that leaders are cut off, and voters restart
    /// and campaign out of turn: each time a lease and an election run against each other.
    pub(crate) fn duel() -> Swarm {
        Swarm {
            voters: 3,
            leases: true,
            clock_error_ppm: 300_000,
            is_duel: true,
            fault_period: 900,
            lost_percent: 1,
            late_percent: 1,
            // Entries that a voter has and a candidate lacks would decide instead of the lease.
            proposals_percent: 2,
            changes: 0,
            // Else only nodes with fast clocks would lead.
            transfers: 15,
            isolations: 4,
            campaigns: 20,
            restarts: 4,
            stalls: false,
            pauses: true,
            priorities: false,
            losses: false,
            snapshot_transfers_max: 2,
        }
    }

    /// Memory is lost, one node at a time: a group of three or five whose members stay the same.
    pub(crate) fn losses(random: &mut Random) -> Swarm {
        Swarm {
            voters: random.one_of(&[3, 5]).expect("a choice"),
            losses: true,
            changes: 0,
            fault_period: 400,
            ..Swarm::draw(random, false)
        }
    }

    pub(crate) fn draw(random: &mut Random, leases: bool) -> Swarm {
        Swarm {
            voters: 1 + random.below(5),
            leases,
            clock_error_ppm: random.one_of(&[0, 50_000, 300_000]).expect("a choice"),
            is_duel: false,
            fault_period: random.one_of(&[400, 1_500, 5_000]).expect("a choice"),
            lost_percent: random.one_of(&[1, 5, 15]).expect("a choice"),
            late_percent: random.one_of(&[1, 5]).expect("a choice"),
            proposals_percent: 20,
            changes: random.one_of(&[0, 10, 25, 50]).expect("a choice"),
            transfers: random.one_of(&[0, 5, 20]).expect("a choice"),
            isolations: random.one_of(&[0, 3, 8]).expect("a choice"),
            restarts: random.one_of(&[0, 1]).expect("a choice"),
            campaigns: random.one_of(&[1, 50]).expect("a choice"),
            stalls: random.percent(50),
            pauses: random.percent(50),
            priorities: random.percent(30),
            losses: false,
            snapshot_transfers_max: random.one_of(&[1, 2]).expect("a choice"),
        }
    }

    /// What a replica is told about the clocks. While the fastest one passes an election timeout, the slowest one falls
    /// behind by exactly this much, so that a lease which lasts a moment too long is found out.
    pub(crate) fn lease_drift_max(&self) -> Option<Duration> {
        let (fast, slow) = (1_000_000 + self.clock_error_ppm, 1_000_000 - self.clock_error_ppm);
        let nanos = ELECTION_TIMEOUT.as_nanos() as u64;
        let behind = nanos - nanos / 1_000 * slow / fast * 1_000;
        // The rest is what rounding to nanoseconds can add up to.
        self.leases.then(|| Duration::from_nanos(behind + 10))
    }
}
