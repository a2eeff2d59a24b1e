//! The log writer: everything that waits, of all groups, becomes one durable write.

use std::sync::Arc;

use tokio::time::timeout;

use super::error::NodeError;
use super::group::{Alive, Key};
use super::shared::HostShared;
use crate::effect::Write;
use crate::input::Input;
use crate::message::Message;
use crate::traits::GroupWrite;
use crate::types::{NodeId, WriteSeq};

/// A write of one replica. Its group does not end before it is done.
#[derive(Debug)]
pub(super) struct PendingWrite {
    pub(super) group: Alive,
    pub(super) write: Write,
}

/// Starts the task.
pub(super) fn spawn(host: &Arc<HostShared>) {
    let (task_host, alive) = (host.clone(), host.lifecycle.alive());
    host.handle.spawn(async move {
        let _alive = alive;
        run(task_host).await;
    });
}

/// Runs until the queue is closed or a write fails. What a failed write left on disk is unknown, so nothing may be
/// written, and no message may leave, after it (R60).
async fn run(host: Arc<HostShared>) {
    let _guard = PanicGuard(host.clone());
    let mut writes = Vec::new();
    while host.writes.take(&mut writes).await {
        let Ok(completions) = write(&host, &mut writes).await else {
            return;
        };
        tell(&host, completions);
    }
}

/// Stops the host if the writer panics.
struct PanicGuard(Arc<HostShared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(NodeError::Panicked("log writer"));
        }
    }
}

/// Tells the replicas that their writes are durable, with one lock per worker.
fn tell(host: &HostShared, mut completions: Vec<(Key, Input)>) {
    if host.inboxes.len() == 1 {
        return host.inboxes[0].complete_all(completions);
    }
    // A stable sort keeps the order of each replica's completions.
    completions.sort_by_key(|(key, _)| host.worker_of(key.group));
    let mut rest = completions.into_iter().peekable();
    while let Some(first) = rest.next() {
        let worker = host.worker_of(first.0.group);
        let mut own = vec![first];
        while let Some(next) = rest.next_if(|(key, _)| host.worker_of(key.group) == worker) {
            own.push(next);
        }
        host.inboxes[worker].complete_all(own);
    }
}

/// Makes all of `writes` durable at once and sends what waited for that, one batch per peer. Returns what the replicas
/// must hear of it, each replica's together. If that fails, the host stops.
pub(super) async fn write(
    host: &HostShared,
    writes: &mut Vec<PendingWrite>,
) -> Result<Vec<(Key, Input)>, Stopped> {
    let Batch {
        changes,
        mut messages,
        completions,
        groups: _groups,
    } = Batch::of(host.id, writes);
    if !changes.is_empty()
        && let Err(error) = make_durable(host, changes).await
    {
        host.fail(error);
        return Err(Stopped);
    }
    // Others wait for these; the replicas themselves come second.
    host.send_all(&mut messages);
    Ok(completions)
}

/// Writes `changes`, and waits for the disk as long as the settings allow.
pub(super) async fn make_durable(host: &HostShared, changes: Vec<GroupWrite>) -> Result<(), NodeError> {
    let write = host.log_store.write(changes);
    let Some(waited) = host.write_stall_max else {
        return Ok(write.await?);
    };
    match timeout(waited, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(NodeError::LogStalled { waited }),
    }
}

/// The write failed, and the host is told to stop.
#[derive(Debug)]
pub(super) struct Stopped;

/// Several writes as one.
#[derive(Default)]
struct Batch {
    /// At most one for each group; none for one whose writes only kept a place for their messages.
    changes: Vec<GroupWrite>,
    /// To other nodes.
    messages: Vec<Message>,
    /// For each replica the number of its last write, and its messages to itself.
    completions: Vec<(Key, Input)>,
    /// They do not end before their writes.
    groups: Vec<Alive>,
}

impl Batch {
    fn of(own_id: NodeId, writes: &mut Vec<PendingWrite>) -> Batch {
        // A stable sort keeps the order of each group's writes.
        writes.sort_by_key(|pending| pending.group.key.serial);
        let mut batch = Batch::default();
        let mut rest = writes.drain(..).peekable();
        while let Some(PendingWrite { group, write }) = rest.next() {
            let mut merged = Merged::default();
            merged.add(&group, write);
            while let Some(next) = rest.next_if(|next| next.group.key == group.key) {
                merged.add(&group, next.write);
            }
            batch.add(own_id, group, merged);
        }
        batch
    }

    fn add(&mut self, own_id: NodeId, group: Alive, merged: Merged) {
        self.changes.extend(merged.change);
        self.completions.push((group.key, Input::Persisted(merged.last)));
        if merged.messages.iter().all(|message| message.to != own_id) && self.messages.is_empty() {
            self.messages = merged.messages;
        } else {
            for message in merged.messages {
                if message.to == own_id {
                    self.completions.push((group.key, Input::Receive(message)));
                } else {
                    self.messages.push(message);
                }
            }
        }
        self.groups.push(group);
    }
}

/// The writes of one group as one.
#[derive(Default)]
struct Merged {
    change: Option<GroupWrite>,
    messages: Vec<Message>,
    last: WriteSeq,
}

impl Merged {
    fn add(&mut self, group: &Alive, write: Write) {
        self.last = write.seq;
        let is_empty = write.is_empty();
        if self.messages.is_empty() {
            self.messages = write.then;
        } else {
            self.messages.extend(write.then);
        }
        if is_empty {
            return;
        }
        let next = GroupWrite {
            group: group.config.group,
            hard_state: write.hard_state,
            snapshot: write.snapshot,
            log: write.log,
        };
        match &mut self.change {
            Some(change) => change.merge(next),
            None => self.change = Some(next),
        }
    }
}
