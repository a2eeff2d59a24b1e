//! Replicas that come and go at the wrong moment, and panics.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::entry::Entry;
use crate::memory::InProcessNetwork;
use crate::traits::{StateMachine, StateMachineError};
use crate::types::NodeId;

/// A state machine without a state.
#[derive(Default)]
struct Nothing(EntryId);

impl StateMachine for Nothing {
    fn last_applied(&self) -> EntryId {
        self.0
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        self.0 = entries.last().map_or(self.0, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(Bytes::new())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(std::io::empty()))
    }

    fn restore(&mut self, meta: &SnapshotMeta, _content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.0 = meta.last;
        Ok(())
    }
}

async fn host() -> Arc<HostShared> {
    let options = HostOptions {
        workers: 1,
        ..HostOptions::in_memory(NodeId(1), &InProcessNetwork::new())
    };
    start_host(options).await.unwrap()
}

fn options(group: u64) -> GroupOptions {
    GroupOptions {
        config: Config::new(GroupId(group), NodeId(1)),
        bootstrap: Some(Membership::of_voters([NodeId(1)]).unwrap()),
        state_machine: Box::new(Nothing::default()),
    }
}

async fn end_of(group: &Group) -> Result<(), NodeError> {
    let end = timeout(Duration::from_secs(30), group.ended()).await;
    end.expect("the group ends")
}

/// A group can be found, and stopped, a moment before its worker has the replica.
#[tokio::test]
async fn a_stop_that_comes_before_the_replica_is_not_lost() {
    let host = host().await;
    // As `start_group` does, with a pause where another thread may come in between.
    let options_of_one = options(1);
    let claim = claim(&host, &options_of_one.config).unwrap();
    let replica = prepare_group(&host, options_of_one, Origin::New).await.unwrap();
    let group = replica.group().clone();
    claim.fill(&group);
    group.stop();
    // The worker takes the call, and finds no replica that it could mean.
    while host.inboxes[0].has_more() {
        tokio::task::yield_now().await;
    }
    assert!(host.inboxes[0].attach(Box::new(replica)).is_ok());
    end_of(&group).await.unwrap();
    start_group(&host, options(1), Origin::Stored)
        .await
        .expect("its place is free");
    host.stop();
    host.lifecycle.ended().await.unwrap();
}

/// A failure ends its group only.
#[tokio::test]
async fn who_panics_while_somebody_looks_ends_alone() {
    let host = host().await;
    let looked_at = start_group(&host, options(1), Origin::New).await.unwrap();
    let other = start_group(&host, options(2), Origin::New).await.unwrap();
    host.inboxes[0].inspect(looked_at.key, Box::new(|_, _| panic!("it cannot be explained")));
    let end = end_of(&looked_at).await;
    assert!(matches!(end, Err(NodeError::Panicked("replica"))), "{end:?}");
    let (tell, told) = tokio::sync::oneshot::channel();
    let look = move |driver: &crate::driver::Driver, _| {
        tell.send(driver.status().id).unwrap();
    };
    host.inboxes[0].inspect(other.key, Box::new(look));
    assert_eq!(told.await.unwrap(), NodeId(1), "the other one goes on");
    host.stop();
    host.lifecycle.ended().await.unwrap();
}
