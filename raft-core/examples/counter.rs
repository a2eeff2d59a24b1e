//! A counter that survives any one of its three nodes: all in this process, all in memory.
#![allow(clippy::print_stdout)]
use bytes::Bytes;
use raft_core::{entry::*, message::SnapshotMeta, runtime::Node, traits::*, types::EntryId};
use std::io::{Cursor, Read, read_to_string};

#[derive(Default)]
pub(crate) struct Counter(usize, EntryId);
impl StateMachine for Counter {
    fn last_applied(&self) -> EntryId {
        self.1
    }
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        let is_command = |entry: &&Entry| matches!(entry.payload, Payload::Command(_));
        self.0 += entries.iter().filter(is_command).count();
        self.1 = entries.last().map_or(self.1, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }
    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(self.0.to_string().into())
    }
    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new(self.0.to_string())))
    }
    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let count = read_to_string(content)?.parse();
        *self = Counter(count.map_err(StateMachineError::new)?, meta.last);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = Node::start_in_memory(3, Counter::default).await?;
    for node in nodes.iter().cycle().take(30) {
        node.propose(Bytes::from("increment")).await?;
    }
    println!("node 3 counted {:?}", nodes[2].read(Bytes::new()).await?);
    Ok(())
}
