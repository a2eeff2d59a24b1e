//! I16 Linearizability, while the run goes on: a read is never older than what was committed before it began, hence not
//! older than the newest acknowledgement or answer that a client had by then (thesis §6.4; Herlihy and Wing 1990, §2.2;
//! R40, R75). At the end the whole history of the clients is checked as well, by their workload.
//!
//! Where leases are served this holds only while clocks keep their promise; a run in which one did not is not judged any
//! more.

use std::collections::HashMap;

use raft_core::types::{Index, NodeId};

use super::Invariant;
use crate::observation::{CallId, Ending, Observation, View};

/// I16.
#[derive(Debug, Default)]
pub(super) struct FreshReads {
    /// The reads under way.
    reads: HashMap<CallId, Read>,
    /// The highest index of which some client knows.
    known: Index,
    /// Whether leases may have been broken by a clock.
    may_be_stale: bool,
}

#[derive(Debug)]
struct Read {
    /// What some client knew when it began.
    known: Index,
    /// What was committed when it began.
    committed: Index,
    /// The lowest index from which a node answers it.
    served_at: Option<Index>,
}

impl Invariant for FreshReads {
    fn name(&self) -> &'static str {
        "I16"
    }

    fn statement(&self) -> &'static str {
        "a read is never older than the newest acknowledgement before it began"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Called { call, request } if request.is_read() => {
                let read = Read {
                    known: self.known,
                    committed: view.history.commit(),
                    served_at: None,
                };
                self.reads.insert(call, read);
            }
            Observation::ReadServed { call, node, index } => return self.served(call, node, index, view),
            Observation::Returned { call, ending } => return self.returned(call, ending),
            Observation::ChangeCompleted { index, .. } => self.known = self.known.max(index),
            _ => {}
        }
        Ok(())
    }
}

impl FreshReads {
    fn served(&mut self, call: CallId, node: NodeId, index: Index, view: &View<'_>) -> Result<(), String> {
        let serving = view.nodes.get(node);
        self.may_be_stale |= !view.clocks_in_bounds && serving.config.lease_drift_max.is_some();
        if let Some(process) = &serving.process
            && process.state.last_applied().index < index
        {
            return Err(format!(
                "node {node} serves {call:?} at index {index}, and its state machine has applied {}",
                process.state.last_applied()
            ));
        }
        // None: its client has its answer from another attempt.
        let Some(read) = self.reads.get_mut(&call) else {
            return Ok(());
        };
        read.served_at = Some(read.served_at.map_or(index, |before| before.min(index)));
        let (floor, who) = if index < read.known {
            (read.known, "a client knew of")
        } else {
            (read.committed, "a leader had committed")
        };
        if self.may_be_stale || index >= floor {
            return Ok(());
        }
        Err(format!(
            "node {node} serves {call:?} at index {index}; when it began, {who} index {floor}"
        ))
    }

    fn returned(&mut self, call: CallId, ending: &Ending) -> Result<(), String> {
        let read = self.reads.remove(&call);
        let known = match (ending, read) {
            (Ending::Applied(reply), _) => reply.index,
            (
                Ending::Answered(_),
                Some(Read {
                    served_at: Some(index),
                    ..
                }),
            ) => index,
            (Ending::Answered(_), _) => return Err(format!("{call:?} was answered, and no node served it")),
            (Ending::Refused | Ending::Unknown, _) => Index::ZERO,
        };
        self.known = self.known.max(known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::sessions::Reply;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries};
    use super::*;
    use crate::workload::Request;

    fn serve(world: &mut SmallWorld, reads: &mut FreshReads, call: u64, index: u64) -> Result<(), String> {
        let served = Observation::ReadServed {
            call: CallId(call),
            node: NodeId(1),
            index: Index(index),
        };
        world.show(reads, &served)
    }

    fn begin(world: &mut SmallWorld, reads: &mut FreshReads, call: u64) {
        let request = Request::read(Bytes::from_static(b"x"));
        let called = Observation::Called {
            call: CallId(call),
            request: &request,
        };
        assert_eq!(world.show(reads, &called), Ok(()));
    }

    fn end(world: &mut SmallWorld, reads: &mut FreshReads, call: u64, ending: &Ending) -> Result<(), String> {
        let call = CallId(call);
        world.show(reads, &Observation::Returned { call, ending })
    }

    fn applied(index: u64) -> Ending {
        Ending::Applied(Reply {
            index: Index(index),
            response: Bytes::new(),
        })
    }

    /// I16: a read sees what was acknowledged before it began, and need not see what was acknowledged since.
    #[test]
    fn a_read_that_misses_an_acknowledgement_is_found() {
        let (mut world, mut reads) = (SmallWorld::new(3), FreshReads::default());
        assert_eq!(end(&mut world, &mut reads, 1, &applied(3)), Ok(()));
        begin(&mut world, &mut reads, 2);
        assert_eq!(end(&mut world, &mut reads, 3, &applied(5)), Ok(()));
        assert_eq!(serve(&mut world, &mut reads, 2, 3), Ok(()));
        assert_violated(serve(&mut world, &mut reads, 2, 2), "a client knew of index 3");
    }

    /// I16: what one client read, every later read sees; and nobody has an answer that no node gave.
    #[test]
    fn a_read_that_misses_an_earlier_read_is_found() {
        let (mut world, mut reads) = (SmallWorld::new(3), FreshReads::default());
        begin(&mut world, &mut reads, 1);
        assert_eq!(serve(&mut world, &mut reads, 1, 4), Ok(()));
        let answered = Ending::Answered(Bytes::new());
        assert_eq!(end(&mut world, &mut reads, 1, &answered), Ok(()));
        begin(&mut world, &mut reads, 2);
        assert_violated(serve(&mut world, &mut reads, 2, 3), "a client knew of index 4");
        begin(&mut world, &mut reads, 3);
        assert_violated(end(&mut world, &mut reads, 3, &answered), "no node served it");
    }

    /// I16: a read sees what was committed when it began, unless a clock broke the promise of a lease.
    #[test]
    fn a_read_that_misses_a_commit_is_found() {
        let (mut world, mut reads) = (SmallWorld::new(3), FreshReads::default());
        world.store(&[1, 2], &entries(1..=2, 1));
        assert_eq!(world.commit(&mut reads, 1, 1, 2), Ok(()));
        begin(&mut world, &mut reads, 1);
        assert_violated(
            serve(&mut world, &mut reads, 1, 1),
            "a leader had committed index 2",
        );
        world.clocks_in_bounds = false;
        assert_violated(
            serve(&mut world, &mut reads, 1, 1),
            "a leader had committed index 2",
        );
        let config = &mut world.nodes.get_mut(NodeId(1)).config;
        config.lease_drift_max = Some(std::time::Duration::from_millis(1));
        assert_eq!(serve(&mut world, &mut reads, 1, 1), Ok(()));
    }
}
