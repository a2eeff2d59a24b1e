//! I3 Terms only rise, and nobody speaks of a term that it could forget (paper §5.1, Figure 2: `currentTerm` is updated on
//! stable storage before responding).

use raft_core::message::Body;
use raft_core::types::{NodeId, Term};

use super::Invariant;
use crate::observation::{Observation, View};

/// I3. Keeps nothing: the disks know.
#[derive(Debug, Default)]
pub(super) struct DurableTerm;

impl Invariant for DurableTerm {
    fn name(&self) -> &'static str {
        "I3"
    }

    fn statement(&self) -> &'static str {
        "the durable term never falls, and no message carries a term above its sender's durable term"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::WriteBegun { node, log, write, .. } => {
                let after = write.hard_state.map(|after| after.term);
                never_falls(*node, "log", log.hard_state.term, after)
            }
            Observation::WriteDurable { node, before, change } => {
                let after = change.hard_state.map(|after| after.term);
                never_falls(*node, "disk", before.term, after)
            }
            Observation::Stepped { before, after } => {
                never_falls(after.id, "memory", before.term, Some(after.term))
            }
            Observation::Sent { message } => match message.body {
                // These are no messages of the protocol: their term means nothing.
                Body::ForwardRequest(_) | Body::ForwardResponse(_) => Ok(()),
                _ => is_durable(message.from, message.term, view),
            },
            Observation::SnapshotSent { header } => is_durable(header.from, header.term, view),
            _ => Ok(()),
        }
    }
}

fn never_falls(node: NodeId, place: &str, before: Term, after: Option<Term>) -> Result<(), String> {
    match after {
        Some(after) if after < before => Err(format!(
            "the term in the {place} of node {node} falls from {before} to {after}"
        )),
        _ => Ok(()),
    }
}

fn is_durable(node: NodeId, term: Term, view: &View<'_>) -> Result<(), String> {
    let durable = view.nodes.get(node).durable().hard_state.term;
    if term <= durable {
        return Ok(());
    }
    Err(format!(
        "node {node} sends a message of term {term}, and its disk knows of terms up to {durable} only"
    ))
}

#[cfg(test)]
mod tests {
    use raft_core::effect::{RoleKind, Write};
    use raft_core::message::{ForwardResponse, ForwardResult, RequestVote};
    use raft_core::types::{EntryId, Ticket};

    use super::super::world_for_tests::{SmallWorld, assert_violated, hard_state, message, write_of};
    use super::*;

    fn request_vote() -> Body {
        Body::RequestVote(RequestVote {
            last_log: EntryId::ZERO,
            leadership_transfer: false,
            incarnation: 0,
        })
    }

    /// I3: a term is written, and then told.
    #[test]
    fn a_durable_term_may_be_told() {
        let (mut world, mut invariant) = (SmallWorld::new(3), DurableTerm);
        let write = Write {
            hard_state: Some(hard_state(2, None)),
            ..write_of(&[])
        };
        assert_eq!(
            world.write(&mut invariant, 1, RoleKind::Candidate, &write),
            Ok(())
        );
        let message = &message(1, 2, 2, request_vote());
        assert_violated(
            world.show(&mut invariant, &Observation::Sent { message }),
            "node 1 sends a message of term 2, and its disk knows of terms up to 0",
        );
        world.sync(1);
        assert_eq!(world.show(&mut invariant, &Observation::Sent { message }), Ok(()));
    }

    /// I3: an answer to a forwarded request says nothing about terms.
    #[test]
    fn the_term_of_a_forwarded_request_means_nothing() {
        let (mut world, mut invariant) = (SmallWorld::new(3), DurableTerm);
        let body = Body::ForwardResponse(ForwardResponse {
            ticket: Ticket(1),
            result: ForwardResult::Unknown,
        });
        let message = &message(1, 2, 9, body);
        assert_eq!(world.show(&mut invariant, &Observation::Sent { message }), Ok(()));
    }

    /// I3: the term falls in what is written, and in memory.
    #[test]
    fn a_term_that_falls_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), DurableTerm);
        world.set_hard_state(1, 5, None);
        let write = Write {
            hard_state: Some(hard_state(4, None)),
            ..write_of(&[])
        };
        let written = world.write(&mut invariant, 1, RoleKind::Follower, &write);
        assert_violated(written, "the term in the log of node 1 falls from 5 to 4");
        let (before, mut after) = (world.status(2), world.status(2));
        assert_eq!(world.step(&mut invariant, &before, &after), Ok(()));
        after.term = Term(1);
        let stepped = world.step(&mut invariant, &after, &before);
        assert_violated(stepped, "the term in the memory of node 2 falls from 1 to 0");
    }
}
