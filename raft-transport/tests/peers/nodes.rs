//! Whole nodes over the transport, and what a removed one can still do.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::effect::RoleKind;
use raft_core::entry::Entry;
use raft_core::membership::{MemberChange, Membership};
use raft_core::memory::InProcessNetwork;
use raft_core::message::{Body, Message, RequestVote, SnapshotMeta};
use raft_core::request::RefusalReason;
use raft_core::runtime::{ChangeMembershipError, Node, NodeOptions};
use raft_core::traits::{StateMachine, StateMachineError, Transport};
use raft_core::types::{EntryId, Index, NodeId, Term};

use crate::carrier::{self, TestTransport};
use crate::intruder::{Intruder, close_code};
use crate::support::{Certificates, DEADLINE, wait_until};

/// Remembers only where it is.
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

    fn may_block(&self) -> bool {
        false
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new([])))
    }

    fn restore(&mut self, meta: &SnapshotMeta, _content: &mut dyn Read) -> Result<(), StateMachineError> {
        self.0 = meta.last;
        Ok(())
    }
}

/// Three nodes with their logs in memory, and the leader among them.
pub(crate) async fn start(certificates: &Certificates) -> (Vec<Node>, Vec<Arc<TestTransport>>, usize) {
    let ids = [1, 2, 3].map(NodeId);
    let voters = Membership::of_voters(ids).unwrap();
    let transports: Vec<_> = ids
        .iter()
        .map(|id| {
            let options = certificates.options(id.0);
            Arc::new(carrier::bind(options).unwrap())
        })
        .collect();
    let addresses = ids
        .iter()
        .zip(&transports)
        .map(|(id, transport)| (*id, transport.local_addr().to_string()));
    let addresses: BTreeMap<NodeId, String> = addresses.collect();
    let mut nodes = Vec::new();
    for (id, transport) in ids.iter().zip(&transports) {
        transport.set_peers(&addresses).unwrap();
        let unused = InProcessNetwork::new();
        let options = NodeOptions {
            transport: transport.clone(),
            ..NodeOptions::in_memory(*id, &voters, &unused, Nothing::default())
        };
        nodes.push(Node::start(options).await.unwrap());
    }
    let leads = |node: &Node| node.status().role == RoleKind::Leader;
    wait_until("there is a leader", || nodes.iter().any(leads)).await;
    let leader = nodes.iter().position(leads).unwrap();
    (nodes, transports, leader)
}

/// Has the leader remove node 1, and returns when that was committed. The leader refuses until it has heard from the two that
/// remain: the entries before may have been committed with node 1.
async fn remove_node_1(leader: &Node) -> Instant {
    let began = Instant::now();
    loop {
        let removal = vec![MemberChange::Remove(NodeId(1))];
        match leader.change_membership(removal).await {
            Ok(_) => return Instant::now(),
            Err(ChangeMembershipError::Refused(RefusalReason::QuorumUnreachable { .. })) => {
                assert!(began.elapsed() < DEADLINE, "the leader hears from everybody");
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// R70: a removed node is cut off within a second of the commit. From then on nobody hears it ask for votes in the way that no
/// stickiness protects from: as if its leader wanted it to take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_for_a_removed_node_move_no_term() {
    const NOT_A_PEER: u32 = 3;
    const TRIES: usize = 10;
    let certificates = Certificates::new();
    let (nodes, transports, at) = start(&certificates).await;
    // Who has a higher id is dialled, so the node that dials everybody is the one that leaves.
    let began = Instant::now();
    // The new leader has not heard from everybody yet.
    while at == 0 && nodes[0].transfer_leadership(NodeId(2)).await.is_err() {
        assert!(began.elapsed() < DEADLINE, "node 2 is to lead");
        tokio::task::yield_now().await;
    }
    let leads = |node: &Node| node.status().role == RoleKind::Leader;
    wait_until("node 2 or 3 leads", || nodes[1..].iter().any(leads)).await;
    // Node 1 may not have noticed yet that it leads no more.
    let leader = 1 + nodes[1..].iter().position(leads).unwrap();
    // A leader changes the members only after a commit of its own term.
    nodes[leader].propose(Bytes::from_static(b"x")).await.unwrap();
    let committed = remove_node_1(&nodes[leader]).await;
    let has_it = |transport: &TestTransport| transport.peers().iter().any(|peer| peer.id == NodeId(1));
    wait_until("the leader cuts node 1 off", || !has_it(&transports[leader])).await;
    assert!(
        committed.elapsed() < Duration::from_secs(1),
        "{:?}",
        committed.elapsed()
    );
    wait_until("so does everybody", || {
        !transports[1..].iter().any(|other| has_it(other))
    })
    .await;

    let term = nodes[leader].status().term;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    for number in 0..TRIES {
        for to in [2u64, 3] {
            let vote = Message {
                group: nodes[leader].config().group,
                from: NodeId(1),
                to: NodeId(to),
                term: Term(term.0 + 100 + number as u64),
                body: Body::RequestVote(RequestVote {
                    last_log: EntryId::new(Term(u64::MAX), Index(u64::MAX)),
                    leadership_transfer: true,
                    incarnation: 1,
                }),
            };
            let address = transports[to as usize - 1].local_addr();
            let closed = intruder.attack(address, to, 1, &[vote]).await;
            assert_eq!(close_code(&closed), Some(NOT_A_PEER), "{closed}");
        }
    }
    nodes[leader].propose(Bytes::from_static(b"x")).await.unwrap();
    for node in &nodes[1..] {
        assert_eq!(node.status().term, term);
    }
    assert!(leads(&nodes[leader]));
    for node in &nodes {
        node.shutdown().await;
    }
}
