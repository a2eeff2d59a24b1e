//! How full the queues of one replica are.

use super::Driver;
use crate::types::Index;

/// How full the queues of one replica are, each of which has its limit in [`Config`](crate::config::Config). For metrics,
/// and to check that the limits are kept; cheap to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Commands that this node appended as the leader and did not hand to its state machine yet; at most `proposals_max`.
    pub proposals: usize,
    /// Payload bytes that this leader has not committed; at most `uncommitted_bytes_max`, or one command.
    pub uncommitted_bytes: usize,
    /// Reads that this leader has not confirmed; at most `reads_max`.
    pub unconfirmed_reads: usize,
    /// Commands and changes of own clients that another node must serve; at most `proposals_max`.
    pub forwarded_proposals: usize,
    /// Reads of own clients that another node must confirm; at most `reads_max`.
    pub forwarded_reads: usize,
    /// The bytes of both; at most `uncommitted_bytes_max`, or one request.
    pub forwarded_bytes: usize,
    /// Commands and changes that this leader serves for other replicas; at most `proposals_max`.
    pub guest_proposals: usize,
    /// Reads that this leader serves for other replicas; at most `reads_max`.
    pub guest_reads: usize,
    /// Payload bytes handed to the state machine and not applied; at most `apply_bytes_max` and one entry.
    pub applying_bytes: usize,
    /// Payload bytes of the log in memory. Above `tail_bytes_max` only while the first entry there is not durable, or not
    /// handed to the state machine.
    pub tail_bytes: usize,
    /// The first entry of the log in memory, or the next one to come.
    pub tail_first: Index,
}

impl Driver {
    /// How full the queues are.
    #[must_use]
    pub fn load(&self) -> Load {
        let (forwarded_proposals, forwarded_reads, forwarded_bytes) = self.forwards.load();
        let (guest_proposals, guest_reads) = self.guests.load();
        let (tail_first, tail_bytes) = self.raft.tail();
        Load {
            proposals: self.pending.len(),
            uncommitted_bytes: self.raft.uncommitted_bytes(),
            unconfirmed_reads: self.raft.unconfirmed_reads(),
            forwarded_proposals,
            forwarded_reads,
            forwarded_bytes,
            guest_proposals,
            guest_reads,
            applying_bytes: self.raft.applying_bytes(),
            tail_bytes,
            tail_first,
        }
    }
}
