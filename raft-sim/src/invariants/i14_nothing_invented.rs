//! I14 No write takes effect that nobody made, or that was refused (thesis §6.3: linearizable semantics, each operation takes
//! effect at most once, between its call and its answer).
//!
//! Equal commands are counted: they take effect no more often than they were asked for. A client outside of sessions that
//! asks for the same thing again makes another call.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::request::RefusalReason;
use raft_core::sessions::Reply;
use raft_core::types::{Index, NodeId};

use super::{Invariant, command_of};
use crate::observation::{CallId, Ending, Observation, View};
use crate::workload::Request;

/// I14.
#[derive(Debug, Default)]
pub(super) struct NothingInvented {
    /// What was asked in calls that have not ended.
    calls: BTreeMap<CallId, Bytes>,
    counts: HashMap<Bytes, Counts>,
    /// The last index that was applied anywhere: what is applied below has been counted.
    counted: Index,
}

/// What happened to equal commands.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    called: u64,
    refused: u64,
    took_effect: u64,
}

impl Counts {
    fn check(self, command: &Bytes) -> Result<(), String> {
        let Counts {
            called,
            refused,
            took_effect,
        } = self;
        if took_effect + refused <= called {
            return Ok(());
        }
        Err(format!(
            "{command:?} took effect {took_effect} times; it was asked for {called} times, {refused} of which were refused"
        ))
    }
}

impl NothingInvented {
    fn applied(
        &mut self,
        node: NodeId,
        entry: &Entry,
        reply: &Result<Reply, RefusalReason>,
    ) -> Result<(), String> {
        if entry.index() <= self.counted {
            return Ok(());
        }
        self.counted = entry.index();
        let Some(command) = command_of(entry) else {
            return Ok(());
        };
        let Some(counts) = self.counts.get_mut(command) else {
            return Err(format!(
                "node {node} applies {}, which is {command:?}, and nobody ever asked for that",
                entry.id
            ));
        };
        // The copy of a command of a session names where the first one was applied, or is refused.
        if reply.as_ref().is_ok_and(|reply| reply.index == entry.index()) {
            counts.took_effect += 1;
        }
        let counts = *counts;
        counts
            .check(command)
            .map_err(|seen| format!("node {node} applies {}: {seen}", entry.id))
    }
}

impl Invariant for NothingInvented {
    fn name(&self) -> &'static str {
        "I14"
    }

    fn statement(&self) -> &'static str {
        "no write takes effect that was never made or was refused"
    }

    fn observe(&mut self, seen: &Observation<'_>, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Called {
                call,
                request: Request::Write(command),
            } => {
                self.counts.entry(command.clone()).or_default().called += 1;
                self.calls.insert(*call, command.clone());
                Ok(())
            }
            Observation::Applied { node, entry, reply } => self.applied(*node, entry, reply),
            Observation::Returned { call, ending } => {
                let command = self.calls.remove(call);
                let (Some(command), Ending::Refused) = (command, ending) else {
                    return Ok(());
                };
                let counts = self.counts.entry(command.clone()).or_default();
                counts.refused += 1;
                counts
                    .check(&command)
                    .map_err(|seen| format!("call {} was refused, and {seen}", call.0))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world_for_tests::{SmallWorld, assert_violated, command};
    use super::*;

    fn call(world: &mut SmallWorld, invariant: &mut NothingInvented, call: u64) {
        let request = &Request::Write(Bytes::from_static(b"put"));
        let call = CallId(call);
        assert_eq!(
            world.show(invariant, &Observation::Called { call, request }),
            Ok(())
        );
    }

    fn refuse(world: &mut SmallWorld, invariant: &mut NothingInvented, call: u64) -> Result<(), String> {
        let (call, ending) = (CallId(call), &Ending::Refused);
        world.show(invariant, &Observation::Returned { call, ending })
    }

    /// The command is applied at `index`, as a copy of what was applied at `first`.
    fn apply(
        world: &mut SmallWorld,
        invariant: &mut NothingInvented,
        index: u64,
        first: u64,
    ) -> Result<(), String> {
        let reply = &Ok(Reply {
            index: Index(first),
            response: Bytes::new(),
        });
        let (node, entry) = (NodeId(1), &command(index, 1, "put"));
        world.show(invariant, &Observation::Applied { node, entry, reply })
    }

    /// I14: what was asked for takes effect; other replicas and copies add nothing.
    #[test]
    fn what_was_asked_for_takes_effect() {
        let (mut world, mut invariant) = (SmallWorld::new(3), NothingInvented::default());
        call(&mut world, &mut invariant, 1);
        assert_eq!(apply(&mut world, &mut invariant, 1, 1), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 1, 1), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 2, 1), Ok(()));
        call(&mut world, &mut invariant, 2);
        call(&mut world, &mut invariant, 3);
        assert_eq!(refuse(&mut world, &mut invariant, 3), Ok(()));
        assert_eq!(apply(&mut world, &mut invariant, 3, 3), Ok(()));
    }

    /// I14: nobody asked.
    #[test]
    fn an_invented_write_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), NothingInvented::default());
        assert_violated(
            apply(&mut world, &mut invariant, 1, 1),
            "node 1 applies 1@1, which is b\"put\", and nobody ever asked for that",
        );
    }

    /// I14: it takes effect twice, although it was asked for once.
    #[test]
    fn a_doubled_write_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), NothingInvented::default());
        call(&mut world, &mut invariant, 1);
        assert_eq!(apply(&mut world, &mut invariant, 1, 1), Ok(()));
        assert_violated(
            apply(&mut world, &mut invariant, 2, 2),
            "took effect 2 times; it was asked for 1 times",
        );
    }

    /// I14: refused before it takes effect, or after.
    #[test]
    fn a_refused_write_that_takes_effect_is_found() {
        let (mut world, mut invariant) = (SmallWorld::new(3), NothingInvented::default());
        call(&mut world, &mut invariant, 1);
        assert_eq!(refuse(&mut world, &mut invariant, 1), Ok(()));
        assert_violated(apply(&mut world, &mut invariant, 1, 1), "1 of which were refused");
        let (mut world, mut invariant) = (SmallWorld::new(3), NothingInvented::default());
        call(&mut world, &mut invariant, 1);
        assert_eq!(apply(&mut world, &mut invariant, 1, 1), Ok(()));
        assert_violated(refuse(&mut world, &mut invariant, 1), "call 1 was refused, and");
    }
}
