//! A state machine of one's own under simulation: a counter, to which clients add and which they read.
//!
//! Run it: `cargo run -p raft-sim --example counter`.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::io::Read;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::message::SnapshotMeta;
use raft_core::traits::{StateMachine, StateMachineError};
use raft_core::types::EntryId;
use raft_sim::random::Random;
use raft_sim::simulation::Simulation;
use raft_sim::swarm::Swarm;
use raft_sim::workload::{Request, Workload};

#[derive(Default)]
struct Counter {
    sum: u64,
    applied: EntryId,
}

impl StateMachine for Counter {
    fn last_applied(&self) -> EntryId {
        self.applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let apply = |entry: &Entry| {
            if let Payload::Command(command) = &entry.payload {
                self.sum += command.len() as u64;
            }
            self.applied = entry.id;
            Bytes::copy_from_slice(&self.sum.to_be_bytes())
        };
        Ok(entries.iter().map(apply).collect())
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::copy_from_slice(&self.sum.to_be_bytes()))
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(std::io::Cursor::new(self.sum.to_be_bytes())))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut bytes = [0; 8];
        content.read_exact(&mut bytes)?;
        (self.sum, self.applied) = (u64::from_be_bytes(bytes), meta.last);
        Ok(())
    }
}

/// Clients add the length of what they send, or ask for the sum.
struct Additions;

impl Workload for Additions {
    type StateMachine = Counter;

    fn next(&mut self, _client: u64, random: &mut Random) -> Request {
        if random.percent(30) {
            return Request::read("sum");
        }
        Request::write(vec![1; random.position(10)])
    }

    fn state_hash(counter: &Counter) -> Option<u64> {
        Some(counter.sum)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for seed in 0..5 {
        let report = Simulation::new(seed)
            .nodes(3)
            .seconds(20)
            .faults(Swarm::default())
            .run(Counter::default, || Additions)?;
        println!(
            "seed {seed}: {} additions and {} reads through {} faults and {} elections",
            report.tally.acknowledged,
            report.tally.reads,
            report.tally.faults_total(),
            report.tally.elections
        );
    }
    Ok(())
}
