//! The suite itself: a sound store passes, and each store with one defect is caught, by the name of what it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::random::Operation;
use super::*;
use crate::memory::MemoryLogStore;

/// One defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    ForgetsTheLastWrite,
    TakesGaps,
    KeepsWhatWasOverwritten,
    PurgesOneMore,
    MixesGroups,
    DestroysUntilReopened,
    ForgetsHardStates,
    AnswersShort,
    TurnsCallsAround,
    GoesOnAfterAFailure,
    LeavesHalfABatch,
}

/// A disk: what was written, in order. Opening plays it back.
#[derive(Clone)]
struct Disk {
    bug: Bug,
    written: Arc<Mutex<Vec<Operation>>>,
}

struct Store {
    disk: Disk,
    memory: MemoryLogStore,
    fault: Option<Fault>,
    calls: AtomicU64,
}

impl Disk {
    fn new(bug: Bug) -> Disk {
        Disk {
            bug,
            written: Arc::default(),
        }
    }

    async fn open(&self, fault: Option<Fault>) -> Arc<dyn LogStore> {
        let mut written = self
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if self.bug == Bug::ForgetsTheLastWrite {
            written.pop();
        }
        let memory = MemoryLogStore::new();
        for operation in &written {
            apply(self.bug, &memory, operation)
                .await
                .expect("it was taken before");
        }
        Arc::new(Store {
            disk: self.clone(),
            memory,
            fault,
            calls: AtomicU64::new(0),
        })
    }

    fn append(&self, operation: Operation) {
        let operation = match (self.bug, operation) {
            (Bug::DestroysUntilReopened, Operation::Destroy(_)) => return,
            (Bug::ForgetsHardStates, Operation::Write(mut batch)) => {
                batch.iter_mut().for_each(|write| write.hard_state = None);
                Operation::Write(batch)
            }
            (_, operation) => operation,
        };
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
    }
}

/// What the store does in memory.
async fn apply(bug: Bug, memory: &MemoryLogStore, operation: &Operation) -> Result<(), LogStoreError> {
    let Operation::Write(batch) = operation else {
        if let (Bug::PurgesOneMore, Operation::Compact(group, through)) = (bug, operation) {
            let more = EntryId::new(through.term, through.index.next());
            return memory.compact(*group, more).await;
        }
        return operation.call(memory).await;
    };
    let mut batch = batch.clone();
    if bug == Bug::MixesGroups {
        let odd = |write: &GroupWrite| write.group.0 % 2 == 1 && write.hard_state.is_some();
        let foreign: Vec<GroupWrite> = batch.iter().filter(|write| odd(write)).cloned().collect();
        batch.extend(foreign.into_iter().map(|write| GroupWrite {
            group: GroupId(write.group.0 + 1),
            ..append(write.group, Vec::new())
        }));
        for write in &mut batch {
            if write.hard_state.is_none() && write.log.entries().is_empty() && write.snapshot.is_none() {
                write.hard_state = Some(HardState::default());
            }
        }
    }
    let mut tails = Vec::new();
    if bug == Bug::KeepsWhatWasOverwritten {
        for write in &batch {
            let (last, stored) = (
                write.log.entries().last(),
                memory.load(write.group).await?.last_index,
            );
            if let (LogChange::Append(_), Some(last)) = (&write.log, last)
                && last.index() < stored
            {
                let tail = memory
                    .read(write.group, last.index().next(), stored, usize::MAX)
                    .await?;
                tails.push(append(write.group, tail));
            }
        }
    }
    memory.write(batch).await?;
    if !tails.is_empty() {
        memory.write(tails).await?;
    }
    Ok(())
}

impl Store {
    async fn change(&self, operation: Operation) -> Result<(), LogStoreError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(fault) = self.fault
            && call >= fault.call
        {
            if call == fault.call {
                match (fault.reaches_disk, operation) {
                    (Reach::All, operation) => self.disk.append(operation),
                    (Reach::Half, Operation::Write(mut batch)) if self.disk.bug == Bug::LeavesHalfABatch => {
                        batch.truncate(1);
                        batch[0].log = LogChange::Append(Vec::new());
                        self.disk.append(Operation::Write(batch));
                    }
                    // Half a record is none: its checksum says so when it is read.
                    (Reach::Nothing | Reach::Half, _) => {}
                }
                return Err(LogStoreError::Io("the disk failed, as it was told".into()));
            }
            if self.disk.bug != Bug::GoesOnAfterAFailure {
                return Err(LogStoreError::Failed);
            }
        }
        match apply(self.disk.bug, &self.memory, &operation).await {
            Err(LogStoreError::NotContiguous { .. }) if self.disk.bug == Bug::TakesGaps => return Ok(()),
            result => result?,
        }
        self.disk.append(operation);
        Ok(())
    }
}

#[async_trait]
impl LogStore for Store {
    async fn load(&self, group: GroupId) -> Result<Recovered, LogStoreError> {
        self.memory.load(group).await
    }

    async fn write(&self, batch: Vec<GroupWrite>) -> Result<(), LogStoreError> {
        if self.disk.bug == Bug::TurnsCallsAround {
            // Lets another caller pass now and then.
            if self.calls.fetch_add(1, Ordering::Relaxed) % 7 == 3 {
                let mut has_waited = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut has_waited, true) {
                        return std::task::Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                })
                .await;
            }
        }
        self.change(Operation::Write(batch)).await
    }

    async fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        let last = match self.disk.bug {
            Bug::AnswersShort => last.min(self.memory.load(group).await?.last_index),
            _ => last,
        };
        self.memory.read(group, first, last, bytes_max).await
    }

    async fn compact(&self, group: GroupId, through: EntryId) -> Result<(), LogStoreError> {
        self.change(Operation::Compact(group, through)).await
    }

    async fn destroy(&self, group: GroupId) -> Result<(), LogStoreError> {
        self.change(Operation::Destroy(group)).await
    }
}

/// What the suites say about a store with `bug`; `None` if they are content.
async fn verdict(bug: Bug) -> Option<String> {
    let run = async move {
        let disk = Disk::new(bug);
        log_store(async || disk.open(None).await).await;
        let disk = Disk::new(bug);
        log_store_with_faults(async |fault| disk.open(fault).await).await;
    };
    let tasks = tokio::task::LocalSet::new();
    let run = tasks.run_until(async { tokio::task::spawn_local(run).await });
    let panic = run.await.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    Some(
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_sound_store_passes() {
    assert_eq!(verdict(Bug::None).await, None);
}

/// R12, R52, R60: a suite that passes a broken store is worse than none.
#[tokio::test]
async fn every_broken_store_is_caught() {
    let mut wrong: Vec<String> = Vec::new();
    for (bug, said) in [
        (Bug::ForgetsTheLastWrite, "after reopening"),
        (Bug::TakesGaps, "must be refused as NotContiguous"),
        (
            Bug::KeepsWhatWasOverwritten,
            "entries above a replaced one are gone",
        ),
        (Bug::PurgesOneMore, "stored entries must be readable"),
        (Bug::MixesGroups, "hard state"),
        (Bug::DestroysUntilReopened, "it must not be loaded"),
        (Bug::ForgetsHardStates, "the hard state after reopening"),
        (Bug::AnswersShort, "must fail as Missing"),
        (Bug::TurnsCallsAround, "a call beside others fails"),
        (Bug::GoesOnAfterAFailure, "is accepted after a write failed"),
        (Bug::LeavesHalfABatch, "must be there wholly or not at all"),
    ] {
        match verdict(bug).await {
            Some(verdict) if verdict.contains(said) => {}
            Some(other) => wrong.push(format!("{bug:?} is caught for another reason: {other}")),
            None => wrong.push(format!("{bug:?} passes the suite")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
