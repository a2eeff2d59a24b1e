//! The handle that clients hold.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::apply::Job;
use super::error::{ChangeMembershipError, NodeError, ProposeError, ReadError, TransferError};
use super::group::Group;
use super::inbox::Inbox;
use super::options::NodeOptions;
use super::shared::HostShared;
use super::start;
use super::waiters::{Question, Waiter};
use crate::config::Config;
use crate::driver::{Driver, Load, Outcome};
use crate::explain::{self, Explanation};
use crate::input::Proposed;
use crate::membership::{MemberChange, Membership};
use crate::memory::InProcessNetwork;
use crate::request::{ChangePreview, ClientRequest, RefusalReason, TransferResult};
use crate::status::Status;
use crate::traits::StateMachine;
use crate::types::{Index, NodeId, Term, Time};

/// A running replica of one group. Cheap to clone; when the last handle is dropped, the node shuts down: with all of its
/// groups, if it is one of a [`Host`](super::Host).
///
/// ```
/// # use std::io::Read;
/// # use bytes::Bytes;
/// # use raft_core::{entry::Entry, membership::Membership, memory::InProcessNetwork, message::SnapshotMeta};
/// # use raft_core::{runtime::{Node, NodeOptions}, traits::{StateMachine, StateMachineError}, types::{EntryId, NodeId}};
/// # #[derive(Default)] struct Echo(EntryId);
/// # impl StateMachine for Echo {
/// #     fn last_applied(&self) -> EntryId { self.0 }
/// #     fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
/// #         self.0 = entries.last().map_or(self.0, |entry| entry.id);
/// #         Ok(vec![Bytes::from_static(b"done"); entries.len()])
/// #     }
/// #     fn query(&self, question: &[u8]) -> Result<Bytes, StateMachineError> { Ok(Bytes::copy_from_slice(question)) }
/// #     fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> { Ok(Box::new(std::io::empty())) }
/// #     fn restore(&mut self, meta: &SnapshotMeta, _: &mut dyn Read) -> Result<(), StateMachineError> {
/// #         self.0 = meta.last;
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (id, network) = (NodeId(1), InProcessNetwork::new());
/// let voters = Membership::of_voters([id])?;
/// let node = Node::start(NodeOptions::in_memory(id, &voters, &network, Echo::default())).await?;
/// let applied = node.propose(Bytes::from_static(b"a command")).await?;
/// assert_eq!(applied.response, "done");
/// assert_eq!(node.read(Bytes::from_static(b"a question")).await?, "a question");
/// node.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    group: Arc<Group>,
    owner: Arc<Owner>,
}

/// Where a command was applied, and what the state machine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The index of its log entry.
    pub index: Index,
    /// The state machine's response.
    pub response: Bytes,
}

/// How recent the answer to a question must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadConsistency {
    /// It reflects everything that any node acknowledged before the question was asked (ReadIndex, or a lease where
    /// [`Config::lease_drift_max`](crate::config::Config::lease_drift_max) is set).
    #[default]
    Linearizable,
    /// It reflects what this node has applied, which may be old; nobody else is asked. Never older than what this node
    /// answered before, also across a restart (R75).
    Local,
}

/// A change of the members that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChanged {
    /// The index of its last log entry.
    pub index: Index,
    /// The configuration from there on.
    pub membership: Membership,
}

/// What the handles of a host share. Tasks do not hold it, so that it is dropped with the last handle.
#[derive(Debug)]
pub(super) struct Owner {
    host: Arc<HostShared>,
}

impl Owner {
    pub(super) fn new(host: Arc<HostShared>) -> Owner {
        Owner { host }
    }

    pub(super) fn host(&self) -> &Arc<HostShared> {
        &self.host
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.host.stop();
    }
}

impl Node {
    /// Starts a replica in the current tokio runtime: recovers its log, begins the group if there is nothing stored,
    /// restores the state machine if it is behind the log, and joins the cluster.
    pub async fn start(options: NodeOptions) -> Result<Node, NodeError> {
        let group = start::start_node(options).await?;
        let owner = Arc::new(Owner::new(group.host.clone()));
        Ok(Node::new(group, owner))
    }

    pub(super) fn new(group: Arc<Group>, owner: Arc<Owner>) -> Node {
        Node { group, owner }
    }

    /// Starts nodes 1 to `count` of a new cluster in this process, with everything in memory: for examples and tests.
    /// `state_machine` makes the state machine of each.
    pub async fn start_in_memory<S: StateMachine>(
        count: u64,
        state_machine: impl Fn() -> S,
    ) -> Result<Vec<Node>, NodeError> {
        let network = InProcessNetwork::new();
        let voters = Membership::of_voters((1..=count).map(NodeId))?;
        let mut nodes = Vec::new();
        for &id in voters.voters() {
            let options = NodeOptions::in_memory(id, &voters, &network, state_machine());
            nodes.push(Node::start(options).await?);
        }
        Ok(nodes)
    }

    /// Proposes a command. Any node takes it: a follower forwards it to the leader, and holds it for a while if none is
    /// known. Returns when this command is applied.
    ///
    /// Dropping the future gives up the answer, not the command.
    pub async fn propose(&self, command: Bytes) -> Result<Applied, ProposeError> {
        self.propose_once(command.into()).await
    }

    /// One attempt to get something appended and applied.
    pub(super) async fn propose_once(&self, command: Proposed) -> Result<Applied, ProposeError> {
        let group = &self.group;
        let (bytes, bytes_max) = (command.bytes(), group.config.entry_bytes_max);
        if bytes > bytes_max {
            return Err(ProposeError::NotApplied(RefusalReason::TooLarge {
                bytes,
                bytes_max,
            }));
        }
        let budget = self.owner.host.budget.as_ref();
        let permit = budget.map(|budget| budget.admit(bytes)).transpose();
        let permit = permit.map_err(ProposeError::NotApplied)?;
        let limit = group.config.proposals_max;
        group
            .waiters
            .admit_proposal(limit)
            .map_err(ProposeError::NotApplied)?;
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter::Propose(reply, permit);
        if let Err(reason) = group.admit_bytes(bytes) {
            group.waiters.refuse([waiter], reason);
        } else if let Err((waiter, reason)) = self.inbox().propose(group, command, waiter) {
            group.release_bytes(bytes);
            group.waiters.refuse([waiter], reason);
        }
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Waits until the state machine of this node has applied everything that was acknowledged, by any node, before the
    /// call. Returns the index up to which it had to apply (ReadIndex, thesis §6.4).
    pub async fn read_barrier(&self) -> Result<Index, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.begin_read(Waiter::Barrier(reply))?;
        answer.await.unwrap_or(Err(ReadError::Unknown))
    }

    /// Asks the state machine of this node, after a [barrier](Node::read_barrier): the answer is linearizable.
    pub async fn read(&self, question: Bytes) -> Result<Bytes, ReadError> {
        self.read_with(question, ReadConsistency::Linearizable).await
    }

    /// Asks the state machine of this node.
    pub async fn read_with(&self, question: Bytes, consistency: ReadConsistency) -> Result<Bytes, ReadError> {
        let group = &self.group;
        let (reply, answer) = oneshot::channel();
        let question = Question { question, reply };
        match consistency {
            ReadConsistency::Linearizable => self.begin_read(Waiter::Query(question))?,
            // Before it has applied again what it knew, this node would go back in time (R75).
            ReadConsistency::Local if !group.status.borrow().ready => return Err(ReadError::NotReady),
            ReadConsistency::Local => {
                let Some(alive) = group.alive() else {
                    return Err(ReadError::Refused(RefusalReason::Stopped));
                };
                let limit = group.config.reads_max;
                group.waiters.admit_read(limit).map_err(ReadError::Refused)?;
                group.applying.push(&alive, &mut vec![Job::Ask(vec![question])]);
            }
        }
        answer.await.unwrap_or(Err(ReadError::Unknown))
    }

    /// Changes the members: all of `changes` as one change. Any node takes it. Returns when the last configuration that it
    /// needs is committed, also if the node that asks is no member any more.
    ///
    /// The leader refuses a change that would stop the group: see [`RefusalReason`].
    pub async fn change_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<MembershipChanged, ChangeMembershipError> {
        let request = ClientRequest::ChangeMembership {
            changes,
            dry_run: false,
        };
        match self.request(request).await {
            Outcome::MembershipChanged { index, membership } => Ok(MembershipChanged { index, membership }),
            Outcome::Refused(reason) => Err(ChangeMembershipError::Refused(reason)),
            _ => Err(ChangeMembershipError::Unknown),
        }
    }

    /// What [`change_membership`](Node::change_membership) would do, said by the leader; nothing is changed.
    pub async fn preview_membership(
        &self,
        changes: Vec<MemberChange>,
    ) -> Result<ChangePreview, ChangeMembershipError> {
        let request = ClientRequest::ChangeMembership {
            changes,
            dry_run: true,
        };
        match self.request(request).await {
            Outcome::Previewed(preview) => Ok(*preview),
            Outcome::Refused(reason) => Err(ChangeMembershipError::Refused(reason)),
            _ => Err(ChangeMembershipError::Unknown),
        }
    }

    /// Lets `to` lead (thesis §3.10). Any node takes it. Returns its term when it does, at the latest after about three
    /// election timeouts; meanwhile the old leader takes no commands.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<Term, TransferError> {
        match self.request(ClientRequest::TransferLeadership(to)).await {
            Outcome::Transferred(TransferResult::Done { term, .. }) => Ok(term),
            Outcome::Transferred(TransferResult::Aborted(reason)) => Err(TransferError::Aborted(reason)),
            Outcome::Refused(reason) => Err(TransferError::Refused(reason)),
            _ => Err(TransferError::Unknown),
        }
    }

    /// Asks for an election now, as if the election timeout of this node had passed. It begins with a PreVote, so it changes
    /// nothing while the others hear a leader. A node ignores it that leads, that may not campaign (one without a vote, or
    /// whose disk stands still), or that hears a leader while leases are served (R34). Whether it won, the
    /// [status](Node::watch_status) tells.
    pub fn campaign(&self) {
        self.inbox().campaign(self.group.key);
    }

    async fn request(&self, request: ClientRequest) -> Outcome {
        let group = &self.group;
        if let Err(reason) = group.waiters.admit_proposal(group.config.proposals_max) {
            return Outcome::Refused(reason);
        }
        let (reply, answer) = oneshot::channel();
        let (bytes, waiter) = (request.size_bytes(), Waiter::Request(reply));
        if let Err(reason) = group.admit_bytes(bytes) {
            group.waiters.refuse([waiter], reason);
        } else if let Err((waiter, reason)) = self.inbox().request(group, request, waiter) {
            group.release_bytes(bytes);
            group.waiters.refuse([waiter], reason);
        }
        answer.await.unwrap_or(Outcome::Unknown)
    }

    fn begin_read(&self, waiter: Waiter) -> Result<(), ReadError> {
        let group = &self.group;
        let limit = group.config.reads_max;
        group.waiters.admit_read(limit).map_err(ReadError::Refused)?;
        if let Err((waiter, reason)) = self.inbox().read(group, waiter) {
            group.waiters.refuse([waiter], reason);
        }
        Ok(())
    }

    /// Looks at the replica between two of its steps. None if it stops before, or too many want to look.
    pub(super) async fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Driver, Time) -> R + Send + 'static,
    ) -> Option<R> {
        let (reply, answer) = oneshot::channel();
        let look = move |driver: &Driver, now| drop(reply.send(look(driver, now)));
        self.inbox().inspect(self.group.key, Box::new(look));
        answer.await.ok()
    }

    /// Why something is as it is, with what this replica knows: why there is no leader, why an entry is not committed, and
    /// so on. The answer prints as a paragraph. None if the node has stopped, or too many ask at once.
    pub async fn explain(&self, question: explain::Question) -> Option<Explanation> {
        self.inspect(move |driver, now| driver.raft().explain(now, question))
            .await
    }

    /// How full the queues of the replica are; none if it has stopped.
    pub async fn load(&self) -> Option<Load> {
        self.inspect(|driver, _| driver.load()).await
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    fn inbox(&self) -> &Inbox {
        self.group.host.inbox_of(self.group.config.group)
    }

    /// The settings of the replica.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.group.config
    }

    /// The state of the replica, at most some milliseconds old.
    #[must_use]
    pub fn status(&self) -> Status {
        self.group.status.borrow().clone()
    }

    /// The state of the replica whenever it changes.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.group.status.subscribe()
    }

    /// How many requests of clients of this node wait for their answer.
    #[must_use]
    pub fn unresolved_requests(&self) -> usize {
        self.group.waiters.unresolved()
    }

    /// How many messages of other nodes were lost here since the start because too many waited: of this group, and of those
    /// that share its worker.
    #[must_use]
    pub fn messages_dropped(&self) -> u64 {
        self.inbox().messages_dropped()
    }

    /// Stops the node: every request is resolved, every task and thread ends. Returns when all have, so it waits for the
    /// call that the state machine or the log store is in.
    ///
    /// One of several groups of a [`Host`](super::Host) stops alone, and can be opened again.
    pub async fn shutdown(&self) {
        self.group.stop();
        // Whatever else it stopped for was logged, and `stopped` tells it.
        drop(self.group.ended().await);
    }

    /// Waits until the node has stopped: `Ok` after a shutdown, the cause after a failure.
    pub async fn stopped(&self) -> Result<(), NodeError> {
        self.group.ended().await
    }
}
