//! The limits of a log store.

use std::time::Duration;

/// The limits of an [`EngineLogStore`](crate::EngineLogStore). The defaults suit a server with some tens of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineLogOptions {
    /// Payload bytes that may wait for the writer; further writes wait for room. At least 1, at most 1 GiB: a
    /// batch of raft-engine ends at 2 GiB.
    pub queue_bytes_max: usize,
    /// Calls of `write`, `compact` and `destroy` that may wait for the writer. At least 1.
    pub queue_requests_max: usize,
    /// The size at which raft-engine begins a new file, in bytes.
    pub file_bytes: u64,
    /// The size of all of raft-engine's files together, in bytes, beyond which it frees those that hold purged entries only,
    /// and moves the last entries of quiet groups out of the others. Less than this is never freed. Taken for at
    /// least four times [`file_bytes`](EngineLogOptions::file_bytes).
    pub purge_bytes: u64,
    /// How often raft-engine is asked to free files, if anything was purged since.
    pub purge_interval: Duration,
    /// How many entries may become durable before the watermark follows. Entries above the watermark are durable all
    /// the same; but if the disk loses exactly those, nobody notices.
    pub mark_entries_max: u64,
    /// How long the watermark may lag behind the durable log.
    pub mark_interval: Duration,
    /// Threads that serve `load` and `read`.
    pub reader_threads: usize,
    /// Calls of `load` and `read` that may wait for such a thread.
    pub reader_requests_max: usize,
    /// What to do on open about a group that lost entries, a term or a vote that it had acknowledged (R11).
    pub on_loss: OnLoss,
}

/// What a store does about a group that lost something that it had acknowledged, while what is left of it is sound.
/// Damage within the log is refused always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It does not open: an operator looks at the disk first.
    #[default]
    Refuse,
    /// It opens, and stores that the replica is a suspect: it neither votes nor counts until it has caught up with a
    /// majority without it (R68).
    Suspect,
}

impl Default for EngineLogOptions {
    fn default() -> EngineLogOptions {
        EngineLogOptions {
            queue_bytes_max: 64 << 20,
            queue_requests_max: 4096,
            file_bytes: 64 << 20,
            purge_bytes: 512 << 20,
            purge_interval: Duration::from_secs(10),
            mark_entries_max: 4096,
            mark_interval: Duration::from_secs(1),
            reader_threads: 1,
            reader_requests_max: 256,
            on_loss: OnLoss::Refuse,
        }
    }
}
