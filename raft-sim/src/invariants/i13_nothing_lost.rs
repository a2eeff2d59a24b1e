//! I13 No acknowledged write is lost (paper §5.3: a leader answers its client after the entry is committed and applied, and
//! "Raft guarantees that committed entries are durable").
//!
//! It follows what clients were told: the entry that an answer names holds the command that was asked for, its reply is the
//! one that the client got, every later leader has it, and nobody ever applies anything else in its place.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::request::RefusalReason;
use raft_core::sessions::Reply;
use raft_core::types::{EntryId, Index, NodeId, Term};

use super::{Invariant, command_of};
use crate::observation::{CallId, Ending, Observation, View};
use crate::workload::Request;

/// I13.
#[derive(Debug, Default)]
pub(super) struct NothingLost {
    /// What was asked in calls that have not ended.
    calls: BTreeMap<CallId, Bytes>,
    /// What was applied at each index, as it was seen first; index i stands at i - 1.
    applied: Vec<Option<Applied>>,
    /// The acknowledged entry with the highest index. All others are before it in the same log.
    last_acknowledged: Option<EntryId>,
}

/// An entry that was applied.
#[derive(Clone, Debug)]
struct Applied {
    id: EntryId,
    /// The command, if it took effect by this entry.
    command: Option<Bytes>,
    response: Bytes,
}

impl NothingLost {
    fn at(&self, index: Index) -> Option<&Applied> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.applied.get(position)?.as_ref()
    }

    fn applied(
        &mut self,
        node: NodeId,
        entry: &Entry,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        if let Some(known) = self.at(entry.index()) {
            let was_told = self
                .last_acknowledged
                .is_some_and(|last| entry.index() <= last.index);
            if known.id == entry.id || !was_told {
                return Ok(());
            }
            return Err(format!(
                "node {node} applies {} in the place of {}, and what stood there was acknowledged",
                entry.id, known.id
            ));
        }
        let took_effect = reply.as_ref().ok().filter(|reply| reply.index == entry.index());
        let seen = Applied {
            id: entry.id,
            command: took_effect.and_then(|_| command_of(entry).cloned()),
            response: took_effect.map_or_else(Bytes::new, |reply| reply.response.clone()),
        };
        let position = entry.index().previous().0 as usize;
        if self.applied.len() <= position {
            self.applied.resize(position + 1, None);
        }
        self.applied[position] = Some(seen);
        Ok(())
    }

    fn acknowledged(&mut self, call: CallId, reply: &Reply, view: &View<'_>) -> Result<(), String> {
        let Some(asked) = self.calls.remove(&call) else {
            return Err(format!("call {} has an answer, and nobody waits for one", call.0));
        };
        let Some(applied) = self.at(reply.index) else {
            return Err(format!(
                "call {} hears that it was applied at {}, and nobody applied anything there",
                call.0, reply.index
            ));
        };
        let id = applied.id;
        if applied.command.as_ref() != Some(&asked) {
            return Err(format!(
                "call {} asked for {asked:?} and hears that it was applied by {id}, by which took effect: {:?}",
                call.0, applied.command
            ));
        }
        if applied.response != reply.response {
            return Err(format!(
                "call {} hears {:?}, and the reply to {id} is {:?}",
                call.0, reply.response, applied.response
            ));
        }
        if view.history.committed_at(id.index) != Some(id) {
            return Err(format!(
                "call {} hears that {id} was applied, which is not committed",
                call.0
            ));
        }
        if self.last_acknowledged.is_none_or(|last| last.index < id.index) {
            self.last_acknowledged = Some(id);
        }
        Ok(())
    }

    /// A leader of a later term than the one in which an acknowledged entry was committed has it.
    fn elected(&self, node: NodeId, term: Term, view: &View<'_>) -> Result<(), String> {
        let Some(last) = self.last_acknowledged else {
            return Ok(());
        };
        let is_later = view
            .history
            .committed_in(last.index)
            .is_some_and(|committed| committed < term);
        if !is_later || view.nodes.get(node).issued.has(last) {
            return Ok(());
        }
        Err(format!(
            "node {node} was elected in term {term} without {last}, of which a client was told that it is applied"
        ))
    }
}

impl Invariant for NothingLost {
    fn name(&self) -> &'static str {
        "I13"
    }

    fn statement(&self) -> &'static str {
        "no acknowledged write is lost"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Called {
                call,
                request: Request::Write(command),
            } => {
                self.calls.insert(*call, command.clone());
                Ok(())
            }
            Observation::Applied { node, entry, reply } => self.applied(*node, entry, reply),
            Observation::Returned { call, ending } => match ending {
                Ending::Applied(reply) => self.acknowledged(*call, reply, view),
                Ending::Answered(_) | Ending::Refused | Ending::Unknown => {
                    self.calls.remove(call);
                    Ok(())
                }
            },
            Observation::RoleChanged { node, change } if change.to == RoleKind::Leader => {
                self.elected(*node, change.term, view)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world_for_tests::{Nothing, SmallWorld, assert_violated, command, entries};
    use super::*;

    const PUT: Bytes = Bytes::from_static(b"put");

    fn call(world: &mut SmallWorld, invariant: &mut NothingLost) {
        let (call, request) = (CallId(1), &Request::Write(PUT));
        assert_eq!(
            world.show(invariant, &Observation::Called { call, request }),
            Ok(())
        );
    }

    fn reply(index: u64, response: &'static str) -> Reply {
        Reply {
            index: Index(index),
            response: Bytes::from_static(response.as_bytes()),
        }
    }

    fn apply(
        world: &mut SmallWorld,
        invariant: &mut NothingLost,
        entry: &Entry,
        reply: Reply,
    ) -> Result<(), String> {
        let (node, reply) = (NodeId(1), &Ok(reply));
        world.show(invariant, &Observation::Applied { node, entry, reply })
    }

    fn acknowledge(world: &mut SmallWorld, invariant: &mut NothingLost, reply: Reply) -> Result<(), String> {
        let (call, ending) = (CallId(1), &Ending::Applied(reply));
        world.show(invariant, &Observation::Returned { call, ending })
    }

    /// Nodes 1 and 2 have a command at index 2, which is committed in term 1.
    fn world() -> SmallWorld {
        let mut world = SmallWorld::new(3);
        let log = [command(1, 1, "x"), command(2, 1, "put")];
        world.store(&[1, 2], &log);
        assert_eq!(world.commit(&mut Nothing, 1, 1, 2), Ok(()));
        world
    }

    /// Asked, applied, acknowledged.
    fn acknowledged(invariant: &mut NothingLost) -> SmallWorld {
        let mut world = world();
        call(&mut world, invariant);
        assert_eq!(
            apply(&mut world, invariant, &command(2, 1, "put"), reply(2, "done")),
            Ok(())
        );
        assert_eq!(acknowledge(&mut world, invariant, reply(2, "done")), Ok(()));
        world
    }

    /// I13: an acknowledged write is there, and whoever has it may lead.
    #[test]
    fn an_acknowledged_write_stays() {
        let mut invariant = NothingLost::default();
        let mut world = acknowledged(&mut invariant);
        let again = apply(
            &mut world,
            &mut invariant,
            &command(2, 1, "put"),
            reply(2, "done"),
        );
        assert_eq!(again, Ok(()));
        assert_eq!(world.change_role(&mut invariant, 2, RoleKind::Leader, 2), Ok(()));
    }

    /// I13: acknowledged, and applied nowhere, or something else was, or another reply was given.
    #[test]
    fn an_acknowledgement_of_nothing_is_found() {
        for (entry, told, expected) in [
            (
                command(1, 1, "x"),
                reply(2, "done"),
                "nobody applied anything there",
            ),
            (
                command(2, 1, "x"),
                reply(2, "done"),
                "by which took effect: Some(b\"x\")",
            ),
            (
                command(2, 1, "put"),
                reply(2, "other"),
                "and the reply to 2@1 is b\"done\"",
            ),
            (
                command(2, 2, "put"),
                reply(2, "done"),
                "2@2 was applied, which is not committed",
            ),
        ] {
            let (mut world, mut invariant) = (world(), NothingLost::default());
            call(&mut world, &mut invariant);
            let index = entry.index().0;
            assert_eq!(
                apply(&mut world, &mut invariant, &entry, reply(index, "done")),
                Ok(())
            );
            assert_violated(acknowledge(&mut world, &mut invariant, told), expected);
        }
    }

    /// I13: a copy that took no effect is not what was acknowledged.
    #[test]
    fn an_acknowledgement_of_a_copy_is_found() {
        let (mut world, mut invariant) = (world(), NothingLost::default());
        call(&mut world, &mut invariant);
        // The first time it was applied was at 1.
        assert_eq!(
            apply(
                &mut world,
                &mut invariant,
                &command(2, 1, "put"),
                reply(1, "done")
            ),
            Ok(())
        );
        assert_violated(
            acknowledge(&mut world, &mut invariant, reply(2, "done")),
            "by which took effect: None",
        );
    }

    /// I13: a leader does not have it, or something else is applied in its place.
    #[test]
    fn a_lost_write_is_found() {
        let mut invariant = NothingLost::default();
        let mut world = acknowledged(&mut invariant);
        world.store(&[3], &entries(1..=1, 1));
        assert_violated(
            world.change_role(&mut invariant, 3, RoleKind::Leader, 2),
            "node 3 was elected in term 2 without 2@1",
        );
        assert_violated(
            apply(&mut world, &mut invariant, &command(2, 3, "x"), reply(2, "")),
            "node 1 applies 2@3 in the place of 2@1",
        );
    }
}
