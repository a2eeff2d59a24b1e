//! I6 Leader Completeness: an entry that is committed in a term is in the logs of the leaders of all higher terms (paper
//! §5.4, Figure 3).

use raft_core::effect::RoleKind;

use super::Invariant;
use crate::observation::{Observation, View};

/// I6. The history keeps what was committed, and in which term.
///
/// An election may be won by late votes, when its term is over already: that leader may lack what was committed in its own
/// term or a later one, and nothing that it does will count. What a log has purged was committed when it was purged (I8,
/// I12), so only the rest is compared.
#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness;

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "I6"
    }

    fn statement(&self) -> &'static str {
        "a new leader holds every entry that was committed in an earlier term"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        let Observation::RoleChanged { node, change } = seen else {
            return Ok(());
        };
        if change.to != RoleKind::Leader {
            return Ok(());
        }
        let (term, log) = (change.term, &view.nodes.get(*node).issued);
        for (id, committed_in) in view.history.committed_above(log.purged.index.previous()) {
            if committed_in < term && !log.has(id) {
                return Err(format!(
                    "node {node} was elected in term {term}, and has {} in the place of {id}, which was committed in \
                     term {committed_in}",
                    log.id_at(id.index)
                        .map_or_else(|| format!("nothing above {}", log.last()), |own| own.to_string()),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::world_for_tests::{Nothing, SmallWorld, assert_violated, entries};
    use super::*;

    /// Node 1 led term 2 and committed up to index 3 with node 2; node 3 has two of these, and another third.
    fn world() -> SmallWorld {
        let mut world = SmallWorld::new(3);
        world.store(&[1, 2], &entries(1..=3, 2));
        world.store(&[3], &entries(1..=2, 2));
        assert_eq!(world.commit(&mut Nothing, 1, 2, 3), Ok(()));
        world
    }

    fn elect(world: &mut SmallWorld, node: u64, term: u64) -> Result<(), String> {
        world.change_role(&mut LeaderCompleteness, node, RoleKind::Leader, term)
    }

    /// I6: who has everything may lead; who lacks something may be elected late, in a term that is over.
    #[test]
    fn a_leader_that_has_everything_is_fine() {
        let mut world = world();
        assert_eq!(elect(&mut world, 2, 3), Ok(()));
        assert_eq!(elect(&mut world, 3, 2), Ok(()));
    }

    /// I6: an entry is missing, or another one stands in its place.
    #[test]
    fn a_leader_that_lacks_a_committed_entry_is_found() {
        let mut world = world();
        assert_violated(
            elect(&mut world, 3, 3),
            "node 3 was elected in term 3, and has nothing above 2@2 in the place of 3@2, which was committed in term 2",
        );
        world.store(&[3], &entries(3..=5, 3));
        assert_violated(elect(&mut world, 3, 4), "has 3@3 in the place of 3@2");
    }
}
