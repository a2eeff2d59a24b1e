//! Quorums by their definition: counted anew, and never by the code that is under test.

use raft_core::membership::Membership;
use raft_core::types::NodeId;

/// Whether `holds` is true of a majority of each half.
pub(super) fn is_quorum(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    halves.iter().all(|half| {
        let count = half.iter().filter(|voter| holds(**voter)).count();
        half.is_empty() || count * 2 > half.len()
    })
}

/// The largest value that a majority of each half has reached; 0 if nobody votes.
pub(super) fn reached_by_quorum(membership: &Membership, reached: impl Fn(NodeId) -> u64) -> u64 {
    let values = membership.voters().iter().chain(membership.outgoing());
    let candidates = values.map(|voter| reached(*voter));
    let is_reached = |value: &u64| is_quorum(membership, |voter| reached(voter) >= *value);
    candidates.filter(is_reached).max().unwrap_or(0)
}

/// Whether no set of nodes decides in one configuration while all the others decide in the other.
pub(super) fn quorums_intersect(one: &Membership, other: &Membership) -> bool {
    let mut nodes = [one.members(), other.members()].concat();
    nodes.sort_unstable();
    nodes.dedup();
    let bit = |node: NodeId| nodes.binary_search(&node).map_or(0, |position| 1_u32 << position);
    (0..1_u32 << nodes.len()).all(|set| {
        let decides = is_quorum(one, |voter| set & bit(voter) != 0);
        !(decides && is_quorum(other, |voter| set & bit(voter) == 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[u64]) -> Membership {
        Membership::of_voters(ids.iter().map(|id| NodeId(*id))).expect("there are voters")
    }

    /// I19: one member more or less keeps quorums intersecting, two do not, and a joint configuration always does.
    #[test]
    fn disjoint_quorums_are_found() {
        assert!(quorums_intersect(&voters(&[1, 2, 3]), &voters(&[1, 2, 3, 4])));
        assert!(!quorums_intersect(&voters(&[1, 2, 3]), &voters(&[1, 2, 3, 4, 5])));
        let joint = Membership::new(vec![NodeId(3), NodeId(4)], vec![NodeId(1), NodeId(2)], vec![]);
        let joint = joint.expect("it is a configuration");
        assert!(quorums_intersect(&voters(&[1, 2]), &joint));
        assert!(quorums_intersect(&joint, &voters(&[3, 4])));
        assert!(!quorums_intersect(&voters(&[1, 2]), &voters(&[3, 4])));
    }

    /// R43: what is reached must be reached by both halves.
    #[test]
    fn both_halves_must_reach_it() {
        let joint = Membership::new(vec![NodeId(3)], vec![NodeId(1), NodeId(2)], vec![]);
        let joint = joint.expect("it is a configuration");
        assert_eq!(reached_by_quorum(&joint, |voter| voter.0 * 10), 10);
        assert_eq!(reached_by_quorum(&voters(&[1, 2, 3]), |voter| voter.0 * 10), 20);
        assert_eq!(reached_by_quorum(&Membership::empty(), |_| 7), 0);
    }
}
