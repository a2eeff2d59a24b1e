//! Changes against a model of two sets, and the parts of a configuration against its invariants, by brute force. What the
//! resulting quorums have in common is checked in `tests/quorums.rs`.

use super::change::{MemberChange, MembershipPlan, leave_joint};
use super::configuration::{Membership, MembershipError, MembershipParts};
use crate::types::NodeId;

/// A set of nodes: bit i is node i + 1.
type Set = u32;

fn nodes(set: Set) -> Vec<NodeId> {
    let ids = (0..Set::BITS).filter(|bit| set & (1 << bit) != 0);
    ids.map(|bit| NodeId(u64::from(bit) + 1)).collect()
}

fn set(nodes: &[NodeId]) -> Set {
    nodes.iter().map(|node| 1 << (node.0 - 1)).sum()
}

fn has(set: Set, node: NodeId) -> bool {
    set & (1 << (node.0 - 1)) != 0
}

/// The change from the voters `from` among nodes 1 to 5, of which the others are learners, to `to` of the same and `new`
/// new ones. Who loses its vote is demoted if its id is even, and removed if it is odd.
fn plan(from: Set, to: Set, new: u64) -> Option<MembershipPlan> {
    let current = Membership::new(nodes(from), Vec::new(), nodes(0b1_1111 & !from)).unwrap();
    let promoted = nodes(to & !from).into_iter().map(MemberChange::Promote);
    let lost = nodes(from & !to).into_iter().map(|id| {
        if id.0.is_multiple_of(2) {
            MemberChange::Demote(id)
        } else {
            MemberChange::Remove(id)
        }
    });
    let added = (6..6 + new).map(|id| MemberChange::AddVoter {
        id: NodeId(id),
        contact: None,
    });
    let changes: Vec<MemberChange> = promoted.chain(lost).chain(added).collect();
    MembershipPlan::new(&current, &changes).ok()
}

/// R63, R65, thesis §4.3: from every set of voters among five nodes to every other and up to five new ones, a change that
/// touches more than one vote is joint; who is demoted in it learns after it, and the end is what was asked for.
#[test]
fn a_change_ends_with_what_was_asked_for() {
    let mut joint = 0;
    for from in 1..=0b1_1111 {
        for (to, new) in (0..=0b1_1111).flat_map(|to: Set| (0..=5).map(move |new| (to, new))) {
            let voters = u64::from(to.count_ones()) + new;
            let Some(plan) = plan(from, to, new) else {
                assert!(
                    voters == 0 || (from == to && new == 0),
                    "{from:b} to {to:b} and {new}"
                );
                continue;
            };
            let gained = nodes(((1 << new) - 1) << 5);
            assert_eq!(plan.target.voters(), [nodes(to), gained].concat());
            let demoted = |id: &NodeId| id.0.is_multiple_of(2) && has(from & !to, *id);
            let stays = |id: &NodeId| demoted(id) || has(!from & !to & 0b1_1111, *id);
            assert!(plan.target.learners().iter().all(stays));
            let votes_changed = u64::from((from ^ to).count_ones()) + new;
            assert_eq!(plan.joint.is_some(), votes_changed > 1);
            if let Some(way) = &plan.joint {
                joint += 1;
                assert_eq!(way.voters(), plan.target.voters());
                assert_eq!(way.outgoing(), plan.current.voters());
                assert_eq!(leave_joint(way), plan.target);
                let demoted: Vec<NodeId> = nodes(from).into_iter().filter(demoted).collect();
                assert_eq!(way.learners_next(), demoted);
            }
        }
    }
    assert!(joint > 1_000, "{joint}");
}

/// What a list of changes does, by a model without lists: who votes and who learns.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Model {
    voters: Set,
    learners: Set,
    highest: u64,
}

impl Model {
    fn apply(mut self, change: &MemberChange) -> Option<Model> {
        match change {
            MemberChange::AddVoter { id, .. } if id.0 > self.highest => {
                self.voters |= set(&[*id]);
                self.highest = id.0;
            }
            MemberChange::AddLearner { id, .. } if id.0 > self.highest => {
                self.learners |= set(&[*id]);
                self.highest = id.0;
            }
            MemberChange::Promote(id) if has(self.learners, *id) => {
                self.learners &= !set(&[*id]);
                self.voters |= set(&[*id]);
            }
            MemberChange::Demote(id) if has(self.voters, *id) => {
                self.voters &= !set(&[*id]);
                self.learners |= set(&[*id]);
            }
            MemberChange::Remove(id) if has(self.voters | self.learners, *id) => {
                self.voters &= !set(&[*id]);
                self.learners &= !set(&[*id]);
            }
            _ => return None,
        }
        Some(self)
    }
}

/// R62, R68: every list of up to three changes of four nodes does what a model of two sets does, or is refused.
#[test]
fn changes_agree_with_a_model() {
    let kinds = |id: NodeId| {
        let contact = None;
        let added = MemberChange::AddVoter {
            id,
            contact: contact.clone(),
        };
        [
            added,
            MemberChange::AddLearner { id, contact },
            MemberChange::Promote(id),
            MemberChange::Demote(id),
            MemberChange::Remove(id),
        ]
    };
    let changes: Vec<MemberChange> = (1..=4).map(NodeId).flat_map(kinds).collect();
    let mut lists: Vec<Vec<MemberChange>> = vec![Vec::new()];
    let mut taken = 0;
    for (voters, learners) in [(0b1, 0b10), (0b11, 0), (0b111, 0), (0b11, 0b1100)] {
        let first = Model {
            voters,
            learners,
            highest: nodes(voters | learners).last().unwrap().0,
        };
        let current = Membership::new(nodes(voters), Vec::new(), nodes(learners)).unwrap();
        for length in 1..=3 {
            lists.retain(|list| list.len() + 1 >= length || length == 1 && list.is_empty());
            lists = longer(&lists, length, &changes);
            for list in lists.iter().filter(|list| list.len() == length) {
                // R71: who is a learner only by this very change cannot have caught up.
                let is_early = |change: &MemberChange| matches!(change, MemberChange::Promote(id) if !has(learners, *id));
                let model = list.iter().try_fold(first.clone(), Model::apply);
                let model = model.filter(|_| !list.iter().any(is_early));
                let expected = model.filter(|model| model.voters != 0 && *model != first);
                let found = MembershipPlan::new(&current, list).ok().map(|plan| Model {
                    voters: set(plan.target.voters()),
                    learners: set(plan.target.learners()),
                    highest: plan.target.highest_id().0,
                });
                assert_eq!(found, expected, "{current}: {list:?}");
                taken += usize::from(found.is_some());
            }
        }
        lists = vec![Vec::new()];
    }
    assert!(taken > 1_000, "{taken}");
}

/// The lists of one more change than `length - 1`.
fn longer(lists: &[Vec<MemberChange>], length: usize, changes: &[MemberChange]) -> Vec<Vec<MemberChange>> {
    let shorter = lists.iter().filter(|list| list.len() + 1 == length);
    shorter
        .flat_map(|list| {
            changes
                .iter()
                .map(|change| [&list[..], std::slice::from_ref(change)].concat())
        })
        .collect()
}

/// Why these lists are no configuration, by the invariants of [`Membership`]; none if they are one.
fn is_valid(parts: &MembershipParts) -> bool {
    let lists = [
        &parts.voters,
        &parts.outgoing,
        &parts.learners,
        &parts.learners_next,
    ];
    let count = |list: &[NodeId], id: NodeId| list.iter().filter(|node| **node == id).count();
    let fits = |id: NodeId| {
        let [voters, outgoing, learners, next] = lists.map(|list| count(list, id));
        let once = [voters, outgoing, learners, next].iter().all(|count| *count <= 1);
        let learns_only = learners == 0 || voters + outgoing == 0;
        let leaves = next == 0 || (outgoing == 1 && voters == 0);
        id != NodeId(0) && once && learns_only && leaves
    };
    !parts.voters.is_empty() && lists.iter().all(|list| list.iter().all(|id| fits(*id)))
}

/// I19, I20, R65: every way in which three ids, one of them perhaps 0, stand in the four lists, each up to twice.
#[test]
fn exactly_the_invalid_parts_are_refused() {
    let mut valid = 0;
    for (smallest, ids, repeats) in [(0, 2, 3), (1, 2, 3), (1, 3, 2)] {
        // One digit for each id and list says how often it stands there.
        let digits = ids * 4;
        for code in 0..u64::pow(repeats, digits) {
            let list = |number: u32| -> Vec<NodeId> {
                let id = |at: u32| {
                    let times = code / u64::pow(repeats, number * ids + at) % repeats;
                    std::iter::repeat_n(NodeId(smallest + u64::from(at)), times as usize)
                };
                (0..ids).rev().flat_map(id).collect()
            };
            let parts = MembershipParts {
                voters: list(0),
                outgoing: list(1),
                learners: list(2),
                learners_next: list(3),
                ..MembershipParts::default()
            };
            let expected = is_valid(&parts);
            let found = Membership::from_parts(parts.clone());
            assert_eq!(found.is_ok(), expected, "{parts:?}");
            valid += u64::from(expected);
            if parts.voters.is_empty() && parts == MembershipParts::default() {
                assert_eq!(found, Err(MembershipError::NoVoters));
            }
        }
    }
    assert!(valid > 100, "{valid}");
}
