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
