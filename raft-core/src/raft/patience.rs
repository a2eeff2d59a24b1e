//! How long this replica waits before it takes silence for a failure: the election timeout, which may grow with the
//! measured round trip (docs/decisions/0015).
//!
//! Nothing here is a promise. What others rely on, stickiness and leases (R42), is
//! [`Config::election_timeout`](crate::config::Config::election_timeout), which this never falls below.

use std::time::Duration;

use super::common::Common;
use super::machine::Raft;
use crate::types::NodeId;

/// The broadcast time is an order of magnitude shorter than the election timeout (paper §5.6).
const ROUND_TRIPS_PER_TIMEOUT: u32 = 10;

impl Common {
    /// The transport measured again. What counts is the way to the nearest quorum, which elections need, and to the leader,
    /// whose heartbeats are waited for. A peer that is not known is further away than any other; if there is no quorum
    /// without such peers, the farthest one that is known counts.
    fn measured(&mut self, round_trips: &[(NodeId, Duration)], leader: Option<NodeId>) {
        let Some(longest) = self.config.election_timeout_max else {
            return;
        };
        let own_id = self.id();
        let known = |peer: NodeId| {
            let mut measured = round_trips.iter();
            let of_peer = measured.find(|(measured, _)| *measured == peer);
            of_peer.map(|(_, round_trip)| *round_trip)
        };
        let nanos = |round_trip: Duration| u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        // Quorums are of those who reached most: the less of all time a round trip takes, the more is left of it.
        let left = self.membership().reached_by_quorum(|voter| {
            let round_trip = if voter == own_id {
                Some(Duration::ZERO)
            } else {
                known(voter)
            };
            round_trip.map_or(0, |round_trip| u64::MAX - nanos(round_trip))
        });
        let farthest = round_trips.iter().map(|(_, round_trip)| *round_trip).max();
        let quorum = if left == 0 {
            farthest.unwrap_or_default()
        } else {
            Duration::from_nanos(u64::MAX - left)
        };
        let round_trip = quorum.max(leader.and_then(known).unwrap_or_default());
        let wanted = round_trip.saturating_mul(ROUND_TRIPS_PER_TIMEOUT);
        self.election_timeout = wanted.clamp(self.config.election_timeout, longest);
    }
}

impl Raft {
    /// How long this replica waits now before it takes silence for a failure.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.common.election_timeout
    }

    pub(super) fn round_trips_measured(&mut self, round_trips: &[(NodeId, Duration)]) {
        let leader = self.leader().filter(|leader| *leader != self.id());
        self.common.measured(round_trips, leader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::input::Input;
    use crate::membership::Membership;
    use crate::traits::Recovered;
    use crate::types::{EntryId, GroupId, Time};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Replica 1 of five, whose timeout may grow from one second to `longest`.
    fn replica(longest: Option<Duration>) -> Raft {
        let mut config = Config::new(GroupId(1), NodeId(1));
        config.election_timeout_max = longest;
        let mut recovered = Recovered::default();
        recovered.snapshot.membership = Membership::of_voters((1..=5).map(NodeId)).expect("five voters");
        Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).expect("the configuration is valid")
    }

    fn measured(raft: &mut Raft, round_trips: &[(u64, u64)]) -> Duration {
        let round_trips = round_trips.iter().map(|&(peer, rtt)| (NodeId(peer), ms(rtt)));
        raft.step(
            Time::ZERO,
            Input::RoundTrips(round_trips.collect()),
            &mut Vec::new(),
        );
        raft.election_timeout()
    }

    /// The nearest quorum of five is this replica and two others; the bounds hold, whatever is measured.
    #[test]
    fn the_nearest_quorum_counts() {
        let mut raft = replica(Some(ms(5_000)));
        assert_eq!(raft.election_timeout(), ms(1_000), "nothing was measured");
        let far = [(2, 1), (3, 300), (4, 900), (5, 900)];
        assert_eq!(measured(&mut raft, &far), ms(3_000));
        assert_eq!(
            measured(&mut raft, &[(2, 1), (3, 2), (4, 900), (5, 900)]),
            ms(1_000)
        );
        assert_eq!(
            measured(&mut raft, &[(2, 900), (3, 900), (4, 900), (5, 900)]),
            ms(5_000)
        );
        assert_eq!(measured(&mut raft, &[(2, 200), (3, 300)]), ms(3_000));
        assert_eq!(measured(&mut raft, &[(2, 200)]), ms(2_000), "no quorum is known");
        assert_eq!(measured(&mut raft, &[]), ms(1_000));
    }

    /// It does not grow where that is not asked for.
    #[test]
    fn it_stays_by_default() {
        let mut raft = replica(None);
        assert_eq!(
            measured(&mut raft, &[(2, 900), (3, 900), (4, 900), (5, 900)]),
            ms(1_000)
        );
    }
}
