//! Surroundings that only note what is asked of them.

use super::*;

#[derive(Default)]
pub(super) struct TestPorts {
    pub(super) sent: Vec<Message>,
    pub(super) batches_to: Vec<NodeId>,
    pub(super) written: Vec<Write>,
    pub(super) applies: Vec<ApplyBatch>,
    pub(super) ended: Vec<(Ticket, Outcome)>,
}

impl Ports for TestPorts {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        self.batches_to.push(to);
        self.sent.extend(messages);
    }
    fn persist(&mut self, write: Write) {
        self.written.push(write);
    }
    fn read_log(&mut self, request: LogRead) {
        panic!("everything is in memory: {request:?}");
    }
    fn apply(&mut self, batch: ApplyBatch) {
        self.applies.push(batch);
    }
    fn create_snapshot(&mut self, meta: SnapshotMeta) {
        panic!("too few entries for a snapshot: {meta:?}");
    }
    fn restore_snapshot(&mut self, meta: SnapshotMeta) {
        panic!("nobody made a snapshot: {meta:?}");
    }
    fn send_snapshot(&mut self, header: InstallSnapshot) {
        panic!("nobody made a snapshot: {header:?}");
    }
    fn compact(&mut self, through: EntryId) {
        panic!("nobody made a snapshot: {through}");
    }
    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.ended.push((ticket, outcome));
    }
    fn membership_changed(&mut self, _membership: &Membership) {}

    fn role_changed(&mut self, _change: &RoleChange) {}
    fn fatal(&mut self, reason: FatalReason) {
        panic!("{reason}");
    }
}
