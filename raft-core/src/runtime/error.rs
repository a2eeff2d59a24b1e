//! Why a node stopped, and why a request failed.

use std::sync::Arc;

use thiserror::Error;

use crate::config::ConfigError;
use crate::effect::FatalReason;
use crate::membership::MembershipError;
use crate::raft::RaftError;
use crate::request::{RefusalReason, TransferAbort};
use crate::traits::{LogStoreError, SnapshotStoreError, StateMachineError, TransportError};
use crate::types::{GroupId, NodeId};

/// Why a node cannot start or had to stop.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The first members do not make a configuration.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The stored state does not let the replica start.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// The log store failed: what the last write left on disk is unknown until the node is started again (R60).
    #[error(transparent)]
    LogStore(Arc<LogStoreError>),
    /// The log store did not complete a write within [`write_stall_max`](crate::config::Config::write_stall_max). What the
    /// write left on disk is unknown until the node is started again (R35, R60).
    #[error(
        "the disk of the log stands still: a write was not durable after {waited:?}; check the disk and the kernel's log, \
         then restart the process. Nothing that was acknowledged is lost"
    )]
    LogStalled {
        /// How long the write was waited for.
        waited: std::time::Duration,
    },
    /// A snapshot that the node cannot do without cannot be read.
    #[error(transparent)]
    SnapshotStore(Arc<SnapshotStoreError>),
    /// The state machine failed.
    #[error(transparent)]
    StateMachine(Arc<StateMachineError>),
    /// The transport could not start.
    #[error(transparent)]
    Transport(Arc<TransportError>),
    /// An invariant of the protocol does not hold any more (R11).
    #[error("{0}")]
    Fatal(FatalReason),
    /// A thread or task of the node panicked, which is a defect of the part that it names.
    #[error("the {0} panicked; please report it with the log")]
    Panicked(&'static str),
    /// A group with this id runs on this host already.
    #[error("group {0} runs on this host already")]
    GroupRuns(GroupId),
    /// The group is being created, opened or destroyed on this host. Try again.
    #[error("group {0} is being created, opened or destroyed on this host; try again")]
    GroupBusy(GroupId),
    /// The group cannot be created because the log store has something of it.
    #[error("group {0} was created on this host before; open it")]
    GroupExists(GroupId),
    /// The group cannot be opened because the log store has nothing of it.
    #[error("nothing of group {0} is stored on this host; create it")]
    GroupMissing(GroupId),
    /// The group was destroyed on this host. Ids of groups are never used twice, so that an old message cannot bring one
    /// back.
    #[error("group {0} was destroyed on this host, for ever; give a new group a new id")]
    GroupDestroyed(GroupId),
    /// No group may have this id.
    #[error("group id {0} is reserved; give another one")]
    GroupReserved(GroupId),
    /// The settings of a replica name another node than its host is.
    #[error("the replica is to be node {replica}, but its host is node {host}")]
    OtherNode {
        /// The node of the replica's settings.
        replica: NodeId,
        /// The node of the host.
        host: NodeId,
    },
    /// The host was stopped.
    #[error("the host was stopped")]
    HostStopped,
    /// The operating system gave no thread.
    #[error("no thread for a state machine: {0}")]
    Thread(Arc<std::io::Error>),
}

impl From<LogStoreError> for NodeError {
    fn from(error: LogStoreError) -> NodeError {
        match error {
            LogStoreError::Destroyed(group) => NodeError::GroupDestroyed(group),
            error => NodeError::LogStore(Arc::new(error)),
        }
    }
}

impl From<SnapshotStoreError> for NodeError {
    fn from(error: SnapshotStoreError) -> NodeError {
        NodeError::SnapshotStore(Arc::new(error))
    }
}

impl From<StateMachineError> for NodeError {
    fn from(error: StateMachineError) -> NodeError {
        NodeError::StateMachine(Arc::new(error))
    }
}

impl From<TransportError> for NodeError {
    fn from(error: TransportError) -> NodeError {
        NodeError::Transport(Arc::new(error))
    }
}

/// Why a command got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Not applied, and never will be; the reason says what to do.
    #[error("{0}")]
    NotApplied(RefusalReason),
    /// It may be applied, or may be yet, or never: a leader was lost with the command in flight. Repeat it only if
    /// applying it twice does no harm; a [`Session`](super::Session) repeats without harm.
    #[error("the command may or may not be applied; repeat it only if applying it twice does no harm")]
    Unknown,
}

/// Why the members were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeMembershipError {
    /// Nothing was changed, and nothing will be; the reason says what to do.
    #[error("{0}")]
    Refused(RefusalReason),
    /// Leadership was lost with the change under way: look at the members to see what became of it.
    #[error("the leader was lost during the change; look at the members to see whether it took place")]
    Unknown,
}

/// Why leadership was not transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// No transfer was begun; the reason says what to do.
    #[error("{0}")]
    Refused(RefusalReason),
    /// It was begun and came to nothing.
    #[error("{0}")]
    Aborted(TransferAbort),
    /// Nobody answered in time; the status tells who leads.
    #[error("the transfer was not answered in time; look at the status to see who leads")]
    Unknown,
}

/// Why a read got no answer.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The reason says what to do.
    #[error("{0}")]
    Refused(RefusalReason),
    /// The node was started a moment ago and has not applied again what it knew before. Retry, or ask another node.
    #[error("the node is still applying what it knew before its start; retry, or ask another node")]
    NotReady,
    /// No leader answered in time, or the node stopped. Reading changes nothing: try again.
    #[error("the read was not answered in time; try again")]
    Unknown,
    /// The state machine could not answer this question.
    #[error(transparent)]
    StateMachine(Arc<StateMachineError>),
}
