//! Members that come and go: what the node tells its transport, and what it says of itself.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod node_world;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use node_world::{Counter, World, add, read, until};
use raft_core::membership::{Contact, MemberChange, Membership};
use raft_core::memory::{MemoryLogStore, MemorySnapshotStore};
use raft_core::message::{InstallSnapshot, Message};
use raft_core::request::RefusalReason;
use raft_core::runtime::{Node, NodeOptions, ProposeError, ReadConsistency, ReadError};
use raft_core::traits::{Inbound, PeerStatus, SnapshotReader, Transport, TransportError};
use raft_core::types::{GroupId, NodeId};

/// What a transport is told about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Changed(Membership),
    Committed(Membership),
}

/// A transport that notes what it is told about the members.
struct Noting {
    inner: Arc<dyn Transport>,
    told: Arc<Mutex<Vec<Told>>>,
}

#[async_trait]
impl Transport for Noting {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        self.inner.start(inbound).await
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        self.inner.send(to, messages);
    }

    fn membership_changed(&self, group: GroupId, membership: &Membership) {
        assert_eq!(group, GroupId(1));
        self.told.lock().unwrap().push(Told::Changed(membership.clone()));
    }

    fn membership_committed(&self, group: GroupId, membership: &Membership) {
        assert_eq!(group, GroupId(1));
        self.told
            .lock()
            .unwrap()
            .push(Told::Committed(membership.clone()));
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        self.inner.send_snapshot(header, content).await
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.inner.peers()
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}

/// R67, R70: the transport hears of a configuration when it is appended and once more when it is committed, because only
/// then nobody who left is needed any more. A node that was removed knows that it was, and one that has not joined yet does
/// not take itself for removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_hears_of_every_configuration_twice() {
    let mut world = World::new(3, |_| {});
    world.logs.push(MemoryLogStore::new());
    world.snapshots.push(MemorySnapshotStore::new());
    world.nodes.push(None);
    for id in 2..=3 {
        world.start(id).await;
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let options = world.options(1, Counter::default());
    let noting = Noting {
        inner: options.transport.clone(),
        told: told.clone(),
    };
    let first = Node::start(NodeOptions {
        transport: Arc::new(noting),
        ..options
    });
    world.nodes[0] = Some(first.await.unwrap());
    let joining = Node::start(NodeOptions {
        bootstrap: None,
        ..world.options(4, Counter::default())
    });
    world.nodes[3] = Some(joining.await.unwrap());
    world.leader_among(&[1, 2, 3]).await;
    let status = world.node(4).status();
    assert!(status.membership_is_committed() && !status.is_removed());

    let (three, four) = (NodeId(3), NodeId(4));
    let contact = Some(Contact::new("somewhere").unwrap());
    let learner = vec![MemberChange::AddLearner { id: four, contact }];
    let grown = world.node(2).change_membership(learner).await.unwrap().membership;
    add(world.node(2), 5).await;
    assert_eq!(read(world.node(4)).await, 5);
    until(world.node(1), "node 1 knows that node 4 joined", |status| {
        status.membership == grown && status.membership_is_committed()
    })
    .await;
    let removal = vec![MemberChange::Remove(three)];
    let shrunk = world.node(2).change_membership(removal).await.unwrap().membership;
    until(world.node(1), "node 1 knows that node 3 left", |status| {
        status.membership == shrunk && status.membership_is_committed()
    })
    .await;
    until(world.node(3), "node 3 knows that it was removed", |status| {
        status.is_removed()
    })
    .await;
    assert!(!world.node(1).status().is_removed());
    // R20: whoever still asks the removed node is told where the mistake is; what it knew can still be read.
    let refused = world.node(3).propose(Bytes::from_static(b"")).await;
    assert_eq!(refused, Err(ProposeError::NotApplied(RefusalReason::Removed)));
    let question = || Bytes::from_static(b"");
    let removed = world.node(3).read(question()).await;
    assert!(matches!(removed, Err(ReadError::Refused(RefusalReason::Removed))));
    let known = world.node(3).read_with(question(), ReadConsistency::Local).await;
    assert_eq!(known.unwrap(), 5_u64.to_le_bytes()[..]);

    // Told before it is shown.
    let expected = [world.voters.clone(), grown, shrunk]
        .into_iter()
        .flat_map(|membership| [Told::Changed(membership.clone()), Told::Committed(membership)]);
    assert_eq!(*told.lock().unwrap(), expected.collect::<Vec<_>>());
}
