//! The handle of a host: a process's part in many groups.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::NodeError;
use super::node::{Node, Owner};
use super::options::{GroupOptions, HostOptions};
use super::shared::HostShared;
use super::start::{self, Origin};
use crate::types::{GroupId, NodeId};

/// Serves many groups with one log store, one snapshot store, one transport and a fixed set of workers. Cheap to clone; when
/// the last handle is dropped, of the host or of one of its [nodes](Node), everything stops.
///
/// A group is created on each of its first members with the same `bootstrap`, and from then on opened after every start. To
/// move it onto another host, create it there without a `bootstrap`, change its members, and destroy it where it is a
/// member no more.
///
/// ```
/// # use std::io::Read;
/// # use bytes::Bytes;
/// # use raft_core::{config::Config, entry::Entry, membership::Membership, memory::InProcessNetwork, message::SnapshotMeta};
/// # use raft_core::{runtime::{GroupOptions, Host, HostOptions, NodeError}, traits::{StateMachine, StateMachineError}};
/// # use raft_core::types::{EntryId, GroupId, NodeId};
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
/// let host = Host::start(HostOptions::in_memory(id, &network)).await?;
/// for group in 1..=3 {
///     let options = GroupOptions {
///         config: Config::new(GroupId(group), id),
///         bootstrap: Some(Membership::of_voters([id])?),
///         state_machine: Box::new(Echo::default()),
///     };
///     let node = host.create_group(options).await?;
///     assert_eq!(node.propose(Bytes::from_static(b"a command")).await?.response, "done");
/// }
/// host.destroy_group(GroupId(2)).await?;
/// assert_eq!(host.groups(), [GroupId(1), GroupId(3)]);
/// host.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    owner: Arc<Owner>,
}

impl Host {
    /// Starts a host without groups in the current tokio runtime.
    pub async fn start(options: HostOptions) -> Result<Host, NodeError> {
        let host = start::start_host(options).await?;
        Ok(Host {
            owner: Arc::new(Owner::new(host)),
        })
    }

    /// Creates a group here: as one of its first members with a `bootstrap`, or as one that joins without.
    ///
    /// Refused with [`NodeError::GroupExists`] if the log store has something of the group, and with
    /// [`NodeError::GroupDestroyed`] if the group was destroyed here. What was begun goes on if the future is dropped: the group is
    /// one of [`groups`](Host::groups) then.
    pub async fn create_group(&self, options: GroupOptions) -> Result<Node, NodeError> {
        self.start_group(options, Origin::New).await
    }

    /// Opens a group that was created here before: recovers its log, and restores its state machine if that is behind.
    ///
    /// Refused with [`NodeError::GroupMissing`] if the log store has nothing of it: it was never created here, or it was
    /// to join and no leader ever wrote to it. Then create it. What was begun goes on if the future is dropped.
    pub async fn open_group(&self, options: GroupOptions) -> Result<Node, NodeError> {
        self.start_group(options, Origin::Stored).await
    }

    async fn start_group(&self, options: GroupOptions, origin: Origin) -> Result<Node, NodeError> {
        let group = start::start_group(self.shared(), options, origin).await?;
        Ok(Node::new(group, self.owner.clone()))
    }

    /// The replica of a group that runs here.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<Node> {
        let group = self.shared().directory.group(group)?;
        Some(Node::new(group, self.owner.clone()))
    }

    /// The groups that run here, in ascending order.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        let groups = self.shared().directory.groups();
        groups.iter().map(|group| group.config.group).collect()
    }

    /// Stops the replica of `group`, if it runs, and forgets everything about it: its log, its vote, its snapshots. What the
    /// state machine stored is its owner's to remove. Returns when that is durable and nothing of the group is under way
    /// any more; from then on no message and no call brings it back.
    ///
    /// Whoever destroys a replica that is a member still takes its vote away from the group for ever: remove it first. What was
    /// begun goes on if the future is dropped, and a stop waits for it. If this fails, the group may be destroyed or only stopped: call
    /// it again, on a host that runs.
    pub async fn destroy_group(&self, group: GroupId) -> Result<(), NodeError> {
        start::destroy_group(self.shared(), group).await
    }

    /// The node that this host is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared().id
    }

    /// How many messages of other nodes were lost here since the start because too many waited.
    #[must_use]
    pub fn messages_dropped(&self) -> u64 {
        let inboxes = self.shared().inboxes.iter();
        inboxes.map(|inbox| inbox.messages_dropped()).sum()
    }

    /// How many messages and snapshots came here since the start for groups that do not run here.
    #[must_use]
    pub fn unknown_group_messages(&self) -> u64 {
        self.shared().unknown_group_messages.load(Ordering::Relaxed)
    }

    /// Stops all groups and the host: every request is resolved, every task and thread ends. Returns when all have, so it
    /// waits for the calls that state machines and the log store are in, and for groups that are being created, opened or destroyed.
    pub async fn stop(&self) {
        self.shared().stop();
        // Whatever else it stopped for was logged, and `stopped` tells it.
        drop(self.stopped().await);
    }

    /// Waits until the host has stopped: `Ok` after [`stop`](Host::stop), the cause after a failure of the log store.
    pub async fn stopped(&self) -> Result<(), NodeError> {
        self.shared().lifecycle.ended().await
    }

    fn shared(&self) -> &Arc<HostShared> {
        self.owner.host()
    }
}
