//! Generated operations: the store is reopened after each, or called by many at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::model::{Log, Model};
use super::writes::*;
use crate::effect::LogChange;
use crate::entry::{Entry, Payload};
use crate::message::SnapshotMeta;
use crate::random::Random;
use crate::traits::{GroupWrite, LogStore, LogStoreError};
use crate::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};

/// One call.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Write(Vec<GroupWrite>),
    Compact(GroupId, EntryId),
    Destroy(GroupId),
    /// A write that leaves a gap: it must be refused.
    Gap(GroupWrite),
}

impl Operation {
    /// Calls the store.
    pub(super) async fn call(&self, store: &dyn LogStore) -> Result<(), LogStoreError> {
        match self {
            Operation::Write(batch) => store.write(batch.clone()).await,
            Operation::Compact(group, through) => store.compact(*group, *through).await,
            Operation::Destroy(group) => store.destroy(*group).await,
            Operation::Gap(write) => store.write(vec![write.clone()]).await,
        }
    }

    /// What it does if it succeeds.
    pub(super) fn apply(&self, model: &mut Model) {
        match self {
            Operation::Write(batch) => model.write(batch),
            Operation::Compact(group, through) => model.compact(*group, *through),
            Operation::Destroy(group) => model.destroy(*group),
            Operation::Gap(_) => {}
        }
    }
}

/// How far the group is that takes the place of a destroyed one.
const NEXT_GROUP: u64 = 1_000_000;

/// Draws operations that a replica might ask for.
pub(super) struct Generator {
    random: Random,
    groups: Vec<GroupId>,
}

impl Generator {
    pub(super) fn new(seed: u64, groups: &[GroupId]) -> Generator {
        Generator {
            random: Random::new(seed),
            groups: groups.to_vec(),
        }
    }

    /// The groups that the next operation may be about.
    pub(super) fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end.max(1)
    }

    /// The next operation on a store that holds `model`.
    pub(super) fn next(&mut self, model: &Model) -> Operation {
        let position = self.below(self.groups.len() as u64) as usize;
        let group = self.groups[position];
        let log = model.log(group);
        match self.below(20) {
            0..=6 => Operation::Write(vec![self.append(group, &log)]),
            7..=9 => Operation::Write(vec![self.overwrite(group, &log)]),
            10..=11 => Operation::Write(vec![self.hard_state(group, &log)]),
            12..=13 => {
                let other = self.groups[(position + 1) % self.groups.len()];
                let mut first = self.append(group, &log);
                first.hard_state = self.hard_state(group, &log).hard_state;
                Operation::Write(vec![first, self.append(other, &model.log(other))])
            }
            14 => Operation::Write(vec![self.snapshot(group, &log)]),
            15..=16 => {
                let through = log
                    .entries
                    .values()
                    .find(|entry| entry.index() >= log.snapshot.last.index);
                match through
                    .map(|entry| entry.id)
                    .filter(|id| id.index <= log.snapshot.last.index)
                {
                    Some(through) => Operation::Compact(group, through),
                    None => Operation::Write(vec![self.snapshot(group, &log)]),
                }
            }
            17 => Operation::Write(vec![self.reset(group, &log)]),
            18 => {
                // A destroyed group never comes back: another takes its place.
                self.groups[position] = GroupId(group.0 + NEXT_GROUP);
                Operation::Destroy(group)
            }
            _ => {
                let mut write = self.append(group, &log);
                write.log = LogChange::Append(vec![command(
                    log.last().term.0 + 1,
                    log.last().index.0 + 2,
                    b"gap",
                )]);
                Operation::Gap(write)
            }
        }
    }

    fn entries(&mut self, first: Index, term: Term) -> Vec<Entry> {
        let count = 1 + self.below(4);
        (0..count)
            .map(|offset| {
                let id = EntryId::new(term, first + offset);
                let payload = match self.below(8) {
                    0 => Payload::Noop,
                    1 => Payload::Membership(membership(&[1, 2, 3 + self.below(3)])),
                    _ => {
                        let bytes = self.below(600) as usize;
                        return command(term.0, id.index.0, &vec![term.0 as u8; bytes]);
                    }
                };
                Entry { id, payload }
            })
            .collect()
    }

    fn append(&mut self, group: GroupId, log: &Log) -> GroupWrite {
        let last = log.last();
        let term = Term(last.term.0.max(1) + self.below(2));
        append(group, self.entries(last.index.next(), term))
    }

    fn overwrite(&mut self, group: GroupId, log: &Log) -> GroupWrite {
        let (first, last) = (log.purged.index.next(), log.last());
        let at = first + self.below(last.index.next().entries_since(first) + 1);
        let at = at.min(last.index.next());
        append(group, self.entries(at, last.term.next()))
    }

    fn hard_state(&mut self, group: GroupId, log: &Log) -> GroupWrite {
        let hard_state = HardState {
            term: Term(log.hard_state.term.0 + self.below(2)),
            vote: (self.below(2) == 0).then_some(NodeId(1 + self.below(3))),
            commit: log.last().index,
            trust: Trust::Trusted,
        };
        GroupWrite {
            hard_state: Some(hard_state),
            ..append(group, Vec::new())
        }
    }

    /// A snapshot of what is there.
    fn snapshot(&mut self, group: GroupId, log: &Log) -> GroupWrite {
        let stored: Vec<EntryId> = log.entries.values().map(|entry| entry.id).collect();
        let Some(last) = stored.get(self.below(stored.len() as u64) as usize) else {
            return self.append(group, log);
        };
        if last.index < log.snapshot.last.index {
            return self.hard_state(group, log);
        }
        GroupWrite {
            snapshot: Some(SnapshotMeta {
                last: *last,
                membership: membership(&[1, 2, 3]),
            }),
            ..append(group, Vec::new())
        }
    }

    /// A snapshot of another node takes the place of the log.
    fn reset(&mut self, group: GroupId, log: &Log) -> GroupWrite {
        let last = log.last();
        let meta = meta(last.term.0 + 1, last.index.0 + self.below(20));
        let entries = match self.below(2) {
            0 => Vec::new(),
            _ => self.entries(meta.last.index.next(), meta.last.term),
        };
        GroupWrite {
            snapshot: Some(meta),
            log: LogChange::Reset(entries),
            ..append(group, Vec::new())
        }
    }
}

/// Whatever was acknowledged is there after every single reopening, and nothing else.
pub(super) async fn every_operation_survives_reopening(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    groups: &[GroupId],
    operations: usize,
) {
    let mut model = Model::default();
    let mut generator = Generator::new(groups[0].0, groups);
    let mut groups = groups.to_vec();
    for number in 0..operations {
        let operation = generator.next(&model);
        let store = open().await;
        let result = operation.call(&*store).await;
        if let Operation::Gap(write) = &operation {
            assert!(
                matches!(result, Err(LogStoreError::NotContiguous { .. })),
                "operation {number} leaves a gap and must be refused as NotContiguous, but the answer was {result:?}: \
                 {write:?}"
            );
        } else {
            assert!(
                result.is_ok(),
                "operation {number} fails with {result:?}: {operation:?}"
            );
            operation.apply(&mut model);
            let difference = model.differs(&*store, &groups).await;
            assert_eq!(difference, None, "right after operation {number}, {operation:?}");
        }
        drop(store);
        let difference = model.differs(&*open().await, &groups).await;
        assert_eq!(
            difference, None,
            "after operation {number}, {operation:?}, and reopening"
        );
        groups.clone_from_slice(generator.groups());
    }
}

/// Many callers at once: each group has two calls outstanding, which take effect in the order of the calls.
pub(super) async fn callers_at_once_are_all_served(
    open: &impl AsyncFn() -> Arc<dyn LogStore>,
    groups: &[GroupId],
) {
    const ROUNDS: u64 = 10;
    let mut model = Model::default();
    let store = open().await;
    for round in 0..ROUNDS {
        let mut batches = Vec::new();
        for &group in groups {
            let last = model.log(group).last().index.0;
            let pair = [
                append(group, commands(round + 1, last + 1..=last + 3)),
                // Replaces the end of the first one.
                append(group, commands(round + 1, last + 3..=last + 4)),
            ];
            for write in pair {
                model.write(std::slice::from_ref(&write));
                batches.push(vec![write]);
            }
        }
        let calls = batches.into_iter().map(|batch| store.write(batch)).collect();
        for result in all(calls).await {
            assert!(result.is_ok(), "a call beside others fails: {result:?}");
        }
        let difference = model.differs(&*store, groups).await;
        assert_eq!(difference, None, "after round {round} of calls at once");
    }
    drop(store);
    let difference = model.differs(&*open().await, groups).await;
    assert_eq!(difference, None, "after calls at once, and reopening");
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<(), LogStoreError>> + Send + 'a>>;

/// Polls all calls, in their order, until all are done.
async fn all(calls: Vec<Call<'_>>) -> Vec<Result<(), LogStoreError>> {
    let mut calls: Vec<(Call<'_>, Option<Result<(), LogStoreError>>)> =
        calls.into_iter().map(|call| (call, None)).collect();
    poll_fn(|context| {
        for (call, result) in calls.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(done) = call.as_mut().poll(context) {
                *result = Some(done);
            }
        }
        match calls.iter().all(|(_, result)| result.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, result)| result).collect()
}
