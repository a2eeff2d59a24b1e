//! The log writer: everything that waits becomes one durable write.

use std::sync::Arc;

use tokio::time::timeout;

use super::error::NodeError;
use super::shared::{PanicGuard, Shared};
use crate::effect::Write;
use crate::input::Input;
use crate::message::Message;
use crate::traits::GroupWrite;
use crate::types::{NodeId, WriteSeq};

/// Starts the task.
pub(super) fn spawn(shared: &Arc<Shared>) {
    let (shared, alive) = (shared.clone(), shared.lifecycle.alive());
    shared.handle.clone().spawn(async move {
        let _alive = alive;
        run(shared).await;
    });
}

/// Runs until the queue is closed or a write fails. What a failed write left on disk is unknown, so nothing may be
/// written, and no message may leave, after it (R60).
async fn run(shared: Arc<Shared>) {
    let _guard = PanicGuard {
        shared: shared.clone(),
        part: "log writer",
    };
    let (mut writes, mut completions) = (Vec::new(), Vec::new());
    while shared.writes.take(&mut writes).await {
        if write(&shared, &mut writes, &mut completions).await.is_err() {
            return;
        }
        shared.inbox.complete(completions.drain(..));
    }
}

/// Makes all of `writes` durable at once, sends what waited for that, and adds what the replica must hear of it to
/// `completions`. If that fails, the node stops.
pub(super) async fn write(
    shared: &Shared,
    writes: &mut Vec<Write>,
    completions: &mut Vec<Input>,
) -> Result<(), Stopped> {
    let batch = Batch::of(shared, writes);
    if let Some(change) = batch.change
        && let Err(error) = make_durable(shared, change).await
    {
        shared.fail(error);
        return Err(Stopped);
    }
    let (own, mut messages) = split(shared.config.id, batch.messages);
    // Others wait for these; the replica itself comes second.
    shared.send_all(&mut messages);
    completions.push(Input::Persisted(batch.last));
    completions.extend(own.into_iter().map(Input::Receive));
    Ok(())
}

/// Writes `change`, and waits for the disk as long as the settings allow.
async fn make_durable(shared: &Shared, change: GroupWrite) -> Result<(), NodeError> {
    let write = shared.log_store.write(vec![change]);
    let Some(waited) = shared.config.write_stall_max else {
        return Ok(write.await?);
    };
    match timeout(waited, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(NodeError::LogStalled { waited }),
    }
}

/// The write failed, and the node is told to stop.
#[derive(Debug)]
pub(super) struct Stopped;

/// Several writes as one.
struct Batch {
    /// None if all of them only kept a place for their messages.
    change: Option<GroupWrite>,
    messages: Vec<Message>,
    last: WriteSeq,
}

impl Batch {
    fn of(shared: &Shared, writes: &mut Vec<Write>) -> Batch {
        let mut batch = Batch {
            change: None,
            messages: Vec::new(),
            last: WriteSeq::default(),
        };
        for write in writes.drain(..) {
            batch.last = write.seq;
            let is_empty = write.is_empty();
            if batch.messages.is_empty() {
                batch.messages = write.then;
            } else {
                batch.messages.extend(write.then);
            }
            if is_empty {
                continue;
            }
            let next = GroupWrite {
                group: shared.config.group,
                hard_state: write.hard_state,
                snapshot: write.snapshot,
                log: write.log,
            };
            match &mut batch.change {
                Some(change) => change.merge(next),
                None => batch.change = Some(next),
            }
        }
        batch
    }
}

/// Messages of the replica to itself, and the others.
fn split(own_id: NodeId, messages: Vec<Message>) -> (Vec<Message>, Vec<Message>) {
    if messages.iter().all(|message| message.to != own_id) {
        return (Vec::new(), messages);
    }
    messages.into_iter().partition(|message| message.to == own_id)
}
