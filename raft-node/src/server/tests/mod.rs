//! The API against a node that fails on cue: over loopback with the generated client, and without a network where time
//! matters.

mod calls;
mod failures;
mod membership;
mod pages;
mod port;
mod refusals;
mod time_limits;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use raft_core::effect::RoleKind;
use raft_core::explain::{Case, Explanation, Question};
use raft_core::membership::{MemberChange, Membership, MembershipPlan};
use raft_core::request::{ChangePreview, RefusalReason};
use raft_core::runtime::{ChangeMembershipError, MembershipChanged, TransferError};
use raft_core::status::Status;
use raft_core::traits::PeerStatus;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};
use raft_kv::{Command, KvError, RangeRequest, RangeResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::api::Api;
use super::backend::{Backend, Failure};
use super::identity::{Identity, MemberUrls, cluster_id};
use super::listener::{self, ServeError};
use crate::proto::etcdserverpb::kv_client::KvClient;

const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// What the fake node does with one request.
enum Reply<T> {
    /// It answers.
    With(Result<T, Failure>),
    /// It answers when the test says so.
    Later(oneshot::Receiver<Result<T, Failure>>),
    /// It never answers.
    Never,
}

impl<T> Reply<T> {
    async fn wait(self) -> Result<T, Failure> {
        match self {
            Reply::With(result) => result,
            Reply::Later(result) => result.await.expect("the test answers"),
            Reply::Never => pending().await,
        }
    }
}

type Propose = dyn FnMut(Command) -> Reply<Result<Response, KvError>> + Send;
type Barrier = dyn FnMut() -> Reply<()> + Send;
type Read = dyn FnMut(RangeRequest) -> Result<RangeResponse, Failure> + Send;
type Change = dyn FnMut(Vec<MemberChange>) -> Result<MembershipChanged, ChangeMembershipError> + Send;
type Preview = dyn FnMut(Vec<MemberChange>) -> Result<ChangePreview, ChangeMembershipError> + Send;
type Explain = dyn FnMut(Question) -> Option<Explanation> + Send;
type Transfer = dyn FnMut(NodeId) -> Result<Term, TransferError> + Send;

/// A node that does what the test says.
struct FakeNode {
    status: watch::Sender<Status>,
    propose: Mutex<Box<Propose>>,
    barrier: Mutex<Box<Barrier>>,
    read: Mutex<Box<Read>>,
    change: Mutex<Box<Change>>,
    preview: Mutex<Box<Preview>>,
    transfer: Mutex<Box<Transfer>>,
    explain: Mutex<Box<Explain>>,
}

impl FakeNode {
    /// Node 1 of three, a follower of node 2 in term 7, which fails every request.
    fn new() -> FakeNode {
        FakeNode {
            status: watch::Sender::new(a_follower()),
            propose: Mutex::new(Box::new(|_| Reply::With(Err(Failure::Stopped)))),
            barrier: Mutex::new(Box::new(|| Reply::With(Ok(())))),
            read: Mutex::new(Box::new(|_| Err(Failure::Stopped))),
            change: Mutex::new(Box::new(|_| {
                Err(ChangeMembershipError::Refused(RefusalReason::Stopped))
            })),
            preview: Mutex::new(Box::new(|_| {
                Err(ChangeMembershipError::Refused(RefusalReason::Stopped))
            })),
            transfer: Mutex::new(Box::new(|_| Err(TransferError::Refused(RefusalReason::Stopped)))),
            explain: Mutex::new(Box::new(|_| {
                Some(Explanation {
                    by: NodeId(1),
                    case: Case::Well {
                        leader: NodeId(2),
                        term: Term(7),
                        commit: Index(12),
                        applied: Index(11),
                    },
                    causes: Vec::new(),
                })
            })),
        }
    }

    fn proposing(
        mut self,
        propose: impl FnMut(Command) -> Reply<Result<Response, KvError>> + Send + 'static,
    ) -> FakeNode {
        self.propose = Mutex::new(Box::new(propose));
        self
    }

    fn confirming(mut self, barrier: impl FnMut() -> Reply<()> + Send + 'static) -> FakeNode {
        self.barrier = Mutex::new(Box::new(barrier));
        self
    }

    fn reading(
        mut self,
        read: impl FnMut(RangeRequest) -> Result<RangeResponse, Failure> + Send + 'static,
    ) -> FakeNode {
        self.read = Mutex::new(Box::new(read));
        self
    }

    fn changing(
        mut self,
        change: impl FnMut(Vec<MemberChange>) -> Result<MembershipChanged, ChangeMembershipError> + Send + 'static,
    ) -> FakeNode {
        self.change = Mutex::new(Box::new(change));
        self
    }

    /// Plans each change and carries it out at index 15, as a leader would that refuses nothing which fits.
    fn changing_freely(self) -> FakeNode {
        let before = a_follower().membership;
        self.changing(move |changes| match MembershipPlan::new(&before, &changes) {
            Ok(plan) => Ok(MembershipChanged {
                index: Index(15),
                membership: plan.target,
            }),
            Err(error) => Err(ChangeMembershipError::Refused(RefusalReason::Membership(error))),
        })
    }

    fn previewing(
        mut self,
        preview: impl FnMut(Vec<MemberChange>) -> Result<ChangePreview, ChangeMembershipError> + Send + 'static,
    ) -> FakeNode {
        self.preview = Mutex::new(Box::new(preview));
        self
    }

    fn transferring(
        mut self,
        transfer: impl FnMut(NodeId) -> Result<Term, TransferError> + Send + 'static,
    ) -> FakeNode {
        self.transfer = Mutex::new(Box::new(transfer));
        self
    }

    fn explaining(
        mut self,
        explain: impl FnMut(Question) -> Option<Explanation> + Send + 'static,
    ) -> FakeNode {
        self.explain = Mutex::new(Box::new(explain));
        self
    }

    fn without_leader(self) -> FakeNode {
        self.status.send_modify(|status| status.leader = None);
        self
    }

    fn not_ready(self) -> FakeNode {
        self.status.send_modify(|status| status.ready = false);
        self
    }
}

impl Backend for FakeNode {
    async fn propose(&self, command: Bytes) -> Result<Bytes, Failure> {
        let command = Command::decode(&command).expect("the API proposes valid commands");
        let reply = (self.propose.lock().unwrap())(command);
        let outcome = reply.wait().await?;
        Ok(Response::encode_outcome(&outcome))
    }

    async fn read_barrier(&self) -> Result<(), Failure> {
        let reply = (self.barrier.lock().unwrap())();
        reply.wait().await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        (self.read.lock().unwrap())(request)
    }

    async fn change_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<MembershipChanged, ChangeMembershipError> {
        (self.change.lock().unwrap())(changes)
    }

    async fn preview_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<ChangePreview, ChangeMembershipError> {
        (self.preview.lock().unwrap())(changes)
    }

    async fn transfer_leadership(&self, to: NodeId) -> Result<Term, TransferError> {
        (self.transfer.lock().unwrap())(to)
    }

    fn revision(&self) -> i64 {
        41
    }

    fn store_bytes(&self) -> u64 {
        4096
    }

    fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.status.borrow())
    }

    async fn explain(&self, question: Question) -> Option<Explanation> {
        (self.explain.lock().unwrap())(question)
    }

    async fn status_changed(&self) {
        let mut status = self.status.subscribe();
        status
            .changed()
            .await
            .expect("the sender lives as long as the node");
    }

    fn recording(&self) -> Option<Vec<u8>> {
        None
    }

    fn peers(&self) -> Vec<PeerStatus> {
        vec![PeerStatus {
            id: NodeId(2),
            connected: true,
            rtt_us: Some(250),
            congestion_window_bytes: Some(14_720),
            sent_packets: Some(200),
            lost_packets: Some(4),
            queued_messages: 3,
            queued_bytes: 768,
            dropped_messages: 9,
        }]
    }
}

fn a_follower() -> Status {
    Status {
        group: GroupId(1),
        id: NodeId(1),
        role: RoleKind::Follower,
        term: Term(7),
        leader: Some(NodeId(2)),
        vote: None,
        membership: Membership::new(vec![NodeId(1), NodeId(2)], vec![], vec![NodeId(3)])
            .expect("two voters and a learner"),
        membership_index: Index(5),
        first_index: Index(1),
        appended_index: Index(14),
        durable_index: Index(13),
        commit_index: Index(12),
        applied_index: Index(11),
        snapshot: EntryId::new(Term(2), Index(5)),
        ready: true,
        suspect: false,
        asleep: false,
        peers: Vec::new(),
    }
}

fn api(node: FakeNode) -> Arc<Api<FakeNode>> {
    let member = |id: u64| {
        let urls = MemberUrls {
            peer: vec![format!("quic://10.0.0.{id}:2380")],
            client: vec![format!("http://10.0.0.{id}:2379")],
        };
        (NodeId(id), urls)
    };
    let identity = Identity {
        cluster_id: cluster_id("test"),
        member_id: 1,
        members: BTreeMap::from([member(1), member(2), member(3)]),
        version: "1.2.3".to_owned(),
    };
    Arc::new(Api::new(node, identity, ELECTION_TIMEOUT))
}

/// A server on a port of its own.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    async fn start(node: FakeNode) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A test that drops the server instead of stopping it wants it to end, too.
            let _ = stopped.await;
        };
        let task = tokio::spawn(listener::run(listener, api(node), shutdown));
        Server { address, stop, task }
    }

    async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.address);
        Channel::from_shared(url)
            .expect("an address is a valid URL")
            .connect()
            .await
            .expect("the server accepts")
    }

    async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel().await)
    }

    async fn stop(self) -> Result<(), ServeError> {
        self.stop.send(()).expect("the server runs");
        self.task.await.expect("the server does not panic")
    }
}
