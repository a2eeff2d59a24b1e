//! Quorums against their definition, by brute force: every configuration with up to five voters in each half, with every
//! overlap of the halves, and everything that their members can say.

use std::collections::BTreeSet;

use raft_core::membership::{MemberChange, Membership, MembershipPlan, VoteResult};
use raft_core::types::{Index, NodeId};

/// The voters of one half.
type Half = Vec<NodeId>;

fn ids(range: std::ops::Range<u64>) -> Half {
    range.map(NodeId).collect()
}

/// Two halves of these sizes with so many nodes in common: nodes `1..` and nodes from somewhere in them on.
fn halves(incoming: u64, outgoing: u64, common: u64) -> (Half, Half) {
    let first = incoming - common + 1;
    (ids(1..incoming + 1), ids(first..first + outgoing))
}

/// Every pair of halves with up to five voters in each, up to the names of the nodes; the second may be empty.
fn all_halves() -> impl Iterator<Item = (Half, Half)> {
    (1..=5).flat_map(|incoming| {
        (0..=5).flat_map(move |outgoing| {
            (0..=incoming.min(outgoing)).map(move |common| halves(incoming, outgoing, common))
        })
    })
}

fn joint(incoming: &Half, outgoing: &Half) -> Membership {
    Membership::new(incoming.clone(), outgoing.clone(), Vec::new()).expect("two halves are a configuration")
}

/// The definition: more than half of every half that has voters.
fn is_quorum(halves: [&Half; 2], has: impl Fn(NodeId) -> bool) -> bool {
    let decides =
        |half: &Half| half.is_empty() || half.iter().filter(|id| has(**id)).count() * 2 > half.len();
    halves.into_iter().all(decides)
}

/// Every way to give each of nodes 1 to `nodes` a number below `choices`.
fn assignments(nodes: usize, choices: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..choices.pow(nodes as u32)).map(move |mut number| {
        let digits = std::iter::repeat_with(|| {
            let digit = number % choices;
            number /= choices;
            digit
        });
        digits.take(nodes).collect()
    })
}

fn highest(halves: [&Half; 2]) -> usize {
    let ids = halves.into_iter().flatten().map(|id| id.0 as usize);
    ids.max().expect("a configuration has voters")
}

/// R13, R43, R66: the commit index is the largest that a majority of every half has reached, and an empty half does not
/// hold it back.
#[test]
fn the_commit_index_is_what_every_half_has() {
    for (incoming, outgoing) in all_halves() {
        let membership = joint(&incoming, &outgoing);
        let halves = [&incoming, &outgoing];
        for matches in assignments(highest(halves), 3) {
            let of = |id: NodeId| matches[id.0 as usize - 1];
            let defined = (0..3)
                .rev()
                .find(|value| is_quorum(halves, |id| of(id) >= *value));
            let committed = membership.committed_index(|id| Index(of(id) as u64));
            assert_eq!(
                Some(committed.0 as usize),
                defined,
                "{membership:?} with {matches:?}"
            );
        }
    }
}

/// R30, R66: a vote is won with a majority of every half, and lost when that cannot be any more.
#[test]
fn a_vote_is_won_in_every_half() {
    for (incoming, outgoing) in all_halves() {
        let membership = joint(&incoming, &outgoing);
        let halves = [&incoming, &outgoing];
        // 0 has not answered, 1 refuses, 2 grants.
        for answers in assignments(highest(halves), 3) {
            let of = |id: NodeId| answers[id.0 as usize - 1];
            let defined = if is_quorum(halves, |id| of(id) == 2) {
                VoteResult::Won
            } else if is_quorum(halves, |id| of(id) != 1) {
                VoteResult::Pending
            } else {
                VoteResult::Lost
            };
            let result = membership.vote_result(|id| [None, Some(false), Some(true)][of(id)]);
            assert_eq!(result, defined, "{membership:?} with {answers:?}");
        }
    }
}

/// R13: groups of any size; beyond some number of voters the values are sorted elsewhere.
#[test]
fn large_groups_follow_the_same_definition() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    for voters in 6..=17 {
        let half = ids(1..voters + 1);
        let membership = joint(&half, &Vec::new());
        for _ in 0..200 {
            let matches: Vec<u64> = half.iter().map(|_| random() % 8).collect();
            let of = |id: NodeId| matches[id.0 as usize - 1];
            let defined = (0..8)
                .rev()
                .find(|value| is_quorum([&half, &half], |id| of(id) >= *value));
            let committed = membership.committed_index(|id| Index(of(id)));
            assert_eq!(Some(committed.0), defined, "{matches:?}");
        }
    }
}

/// The smallest sets of nodes that decide.
fn quorums(membership: &Membership, nodes: usize) -> Vec<BTreeSet<NodeId>> {
    let decides =
        |set: &BTreeSet<NodeId>| membership.vote_result(|id| Some(set.contains(&id))) == VoteResult::Won;
    let sets = assignments(nodes, 2).map(|bits| {
        let with = (1..).zip(bits).filter(|(_, bit)| *bit == 1);
        with.map(|(id, _)| NodeId(id)).collect::<BTreeSet<NodeId>>()
    });
    let is_smallest = |set: &BTreeSet<NodeId>| {
        set.iter().all(|id| {
            let without = set.iter().copied().filter(|other| other != id).collect();
            !decides(&without)
        })
    };
    sets.filter(|set| decides(set) && is_smallest(set)).collect()
}

/// Whether no decision of one can be made behind the back of the other.
fn intersect(one: &[BTreeSet<NodeId>], other: &[BTreeSet<NodeId>]) -> bool {
    one.iter()
        .all(|set| other.iter().all(|other| !set.is_disjoint(other)))
}

/// R61, I19, thesis §4.1 and §4.3: whatever a change does to up to five voters, the quorums of two configurations that
/// follow each other always intersect; it goes through a joint configuration when they would not.
#[test]
fn quorums_of_consecutive_configurations_intersect() {
    let (mut direct, mut through_joint) = (0, 0);
    for (current, target) in all_halves().filter(|(_, target)| !target.is_empty()) {
        let removed = current.iter().filter(|id| !target.contains(id));
        let added = target.iter().filter(|id| !current.contains(id));
        let changes: Vec<MemberChange> = removed
            .map(|id| MemberChange::Remove(*id))
            .chain(added.map(|id| MemberChange::AddVoter {
                id: *id,
                contact: None,
            }))
            .collect();
        if changes.is_empty() {
            continue;
        }
        let nodes = highest([&current, &target]);
        let current = Membership::of_voters(current).expect("voters are a configuration");
        let plan = MembershipPlan::new(&current, &changes).expect("the change fits");
        assert_eq!(plan.target.voters(), target);
        let way: Vec<&Membership> = [Some(&plan.current), plan.joint.as_ref(), Some(&plan.target)]
            .into_iter()
            .flatten()
            .collect();
        for pair in way.windows(2) {
            assert!(
                intersect(&quorums(pair[0], nodes), &quorums(pair[1], nodes)),
                "{:?} and {:?} have disjoint quorums",
                pair[0],
                pair[1]
            );
        }
        let disjoint = !intersect(&quorums(&plan.current, nodes), &quorums(&plan.target, nodes));
        assert!(plan.joint.is_some() || !disjoint);
        direct += u32::from(plan.joint.is_none());
        through_joint += u32::from(plan.joint.is_some());
    }
    // 80 pairs of halves, of which 5 are equal. Each size but the last grows by one voter, each but the first shrinks by one.
    assert_eq!((direct, through_joint), (8, 67));
}
