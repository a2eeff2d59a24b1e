//! I4 Leader Append-Only: a leader never overwrites or deletes entries in its log; it only appends new ones (paper §5.3,
//! Figure 3).

use raft_core::effect::{LogChange, RoleKind};

use super::Invariant;
use crate::observation::{Observation, View};

/// I4. Keeps nothing.
#[derive(Debug, Default)]
pub(super) struct LeaderAppendOnly;

impl Invariant for LeaderAppendOnly {
    fn name(&self) -> &'static str {
        "I4"
    }

    fn statement(&self) -> &'static str {
        "a leader never overwrites its own log"
    }

    fn observe(&mut self, seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        let Observation::WriteBegun {
            node,
            role: RoleKind::Leader,
            log,
            write,
        } = seen
        else {
            return Ok(());
        };
        let last = log.last();
        match &write.log {
            LogChange::Reset(_) => Err(format!(
                "node {node} leads, and drops its whole log, which ends with {last}"
            )),
            LogChange::Append(entries) => match entries.first() {
                Some(first) if first.index() != last.index.next() => Err(format!(
                    "node {node} leads, its log ends with {last}, and it writes {} there",
                    first.id
                )),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::effect::Write;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, write_of};
    use super::*;

    /// I4: a leader appends; a follower may overwrite.
    #[test]
    fn a_leader_appends() {
        let (mut world, mut invariant) = (SmallWorld::new(3), LeaderAppendOnly);
        let (leader, follower) = (RoleKind::Leader, RoleKind::Follower);
        assert_eq!(
            world.append(&mut invariant, 1, leader, &entries(1..=3, 1)),
            Ok(())
        );
        assert_eq!(
            world.append(&mut invariant, 1, leader, &entries(4..=4, 1)),
            Ok(())
        );
        assert_eq!(
            world.append(&mut invariant, 1, follower, &entries(2..=3, 2)),
            Ok(())
        );
    }

    /// I4: a leader overwrites, or begins anew.
    #[test]
    fn a_leader_that_overwrites_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), LeaderAppendOnly);
        world.store(&[1], &entries(1..=3, 1));
        assert_violated(
            world.append(&mut invariant, 1, RoleKind::Leader, &entries(3..=4, 2)),
            "node 1 leads, its log ends with 3@1, and it writes 3@2 there",
        );
        let reset = Write {
            log: LogChange::Reset(Vec::new()),
            ..write_of(&[])
        };
        assert_violated(
            world.write(&mut invariant, 1, RoleKind::Leader, &reset),
            "drops its whole log, which ends with 4@2",
        );
    }
}
