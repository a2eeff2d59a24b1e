//! What a driver asks for within one step, in the order in which it asks.

use raft_core::driver::{ApplyBatch, Outcome, Ports};
use raft_core::effect::{FatalReason, Rest, RoleChange, SuspicionReason, Write};
use raft_core::input::LogRead;
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, Message, SnapshotMeta};
use raft_core::types::{EntryId, NodeId, Ticket};

/// One thing that a driver asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    Send(NodeId, Vec<Message>),
    Persist(Write),
    ReadLog(LogRead),
    Apply(ApplyBatch),
    CreateSnapshot(SnapshotMeta),
    RestoreSnapshot(SnapshotMeta),
    SendSnapshot(InstallSnapshot),
    Compact(EntryId),
    Resolve(Ticket, Outcome),
    MembershipChanged(Membership),
    Suspected(SuspicionReason),
    TrustRestored,
    RoleChanged(RoleChange),
    Rested(Rest),
    Fatal(FatalReason),
}

/// Notes everything down; it is done when the step is over.
#[derive(Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<Asked>);

impl Ports for Notes {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        self.0.push(Asked::Send(to, messages));
    }

    fn persist(&mut self, write: Write) {
        self.0.push(Asked::Persist(write));
    }

    fn read_log(&mut self, request: LogRead) {
        self.0.push(Asked::ReadLog(request));
    }

    fn apply(&mut self, batch: ApplyBatch) {
        self.0.push(Asked::Apply(batch));
    }

    fn create_snapshot(&mut self, meta: SnapshotMeta) {
        self.0.push(Asked::CreateSnapshot(meta));
    }

    fn restore_snapshot(&mut self, meta: SnapshotMeta) {
        self.0.push(Asked::RestoreSnapshot(meta));
    }

    fn send_snapshot(&mut self, header: InstallSnapshot) {
        self.0.push(Asked::SendSnapshot(header));
    }

    fn compact(&mut self, through: EntryId) {
        self.0.push(Asked::Compact(through));
    }

    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.0.push(Asked::Resolve(ticket, outcome));
    }

    fn membership_changed(&mut self, membership: &Membership) {
        self.0.push(Asked::MembershipChanged(membership.clone()));
    }

    fn suspected(&mut self, reason: SuspicionReason) {
        self.0.push(Asked::Suspected(reason));
    }

    fn trust_restored(&mut self) {
        self.0.push(Asked::TrustRestored);
    }

    fn role_changed(&mut self, change: &RoleChange) {
        self.0.push(Asked::RoleChanged(*change));
    }

    fn rested(&mut self, rest: Rest) {
        self.0.push(Asked::Rested(rest));
    }

    fn fatal(&mut self, reason: FatalReason) {
        self.0.push(Asked::Fatal(reason));
    }
}
