//! I1 Election safety: at most one leader per term, over the whole run, restarts included (paper §5.2, Figure 3).

use raft_core::effect::RoleKind;

use super::Invariant;
use crate::observation::{Observation, View};

/// I1. The history keeps who led a term first.
#[derive(Debug, Default)]
pub(super) struct LeaderPerTerm;

impl Invariant for LeaderPerTerm {
    fn name(&self) -> &'static str {
        "I1"
    }

    fn statement(&self) -> &'static str {
        "at most one leader per term"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        let Observation::RoleChanged { node, change } = seen else {
            return Ok(());
        };
        if change.to != RoleKind::Leader {
            return Ok(());
        }
        match view.history.leader_of(change.term) {
            Some(first) if first != *node => Err(format!(
                "nodes {first} and {node} both were elected in term {}",
                change.term
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world_for_tests::{SmallWorld, assert_violated};
    use super::*;

    /// I1: whoever led a term leads it again or nobody does, however much happened in between.
    #[test]
    fn a_second_leader_of_a_term_is_found() {
        let mut world = SmallWorld::new(3);
        let mut elect = |node, term| world.change_role(&mut LeaderPerTerm, node, RoleKind::Leader, term);
        assert_eq!(elect(1, 1), Ok(()));
        assert_eq!(elect(2, 2), Ok(()));
        assert_eq!(elect(1, 1), Ok(()));
        assert_violated(elect(3, 1), "nodes 1 and 3 both were elected in term 1");
    }
}
