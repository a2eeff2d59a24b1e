//! The process that writes: it opens the store, says all it has, then asks for call after call until it is done or dies.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::traits::{GroupWrite, LogStore, LogStoreError, Recovered};
use raft_core::types::{EntryId, GroupId, Index, Trust};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::model::Model;
use crate::random::Random;
use crate::record::{Change, Digest, Ended, Event, Found, Operation};
use crate::stores::{self, Kind, Liar, Lie};
use crate::workload::{GROUPS, Workload};

/// What a writing process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The store.
    pub kind: Kind,
    /// Its directory.
    pub dir: PathBuf,
    /// What all its calls follow from.
    pub seed: u64,
    /// How many calls it makes.
    pub calls: u64,
    /// Whether a group that lost something is opened as a suspect.
    pub suspect: bool,
    /// How the store lies.
    pub lie: Lie,
}

/// Payload bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Does what the orders say, and tells `to` all about it. A store that fails or refuses is no error of this process.
///
/// # Errors
/// Nobody listens any more.
pub fn run(orders: &Orders, to: &mut impl Write) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(write(orders, to))?;
    Event::Closed.write(to)
}

async fn write(orders: &Orders, to: &mut impl Write) -> io::Result<()> {
    let mut random = Random::new(orders.seed);
    let store = match stores::open(orders.kind, &orders.dir, random.next(), orders.suspect) {
        Ok(store) => store,
        Err(error) => return Event::Refused(error).write(to),
    };
    let opened = async {
        let groups = Groups::find(&*store).await?;
        let found = read_all(&*store, &groups).await?;
        Ok::<_, LogStoreError>((groups, found))
    };
    let (groups, found) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return Event::Refused(error.to_string()).write(to),
    };
    Event::Opened(found.clone()).write(to)?;
    let lying = lying(Arc::clone(&store), orders.lie);
    // A group that lost something writes no more before it caught up.
    let has_lost = found.iter().any(|found| found.lost);
    if has_lost {
        return Ok(());
    }
    ask(
        [&store, &lying],
        (Model::of(&found), groups),
        orders.calls,
        random,
        to,
    )
    .await
}

fn lying(store: Arc<dyn LogStore>, lie: Lie) -> Arc<dyn LogStore> {
    match lie {
        Lie::None | Lie::Disk => store,
        Lie::EarlyAck | Lie::LostWrite => Arc::new(Liar {
            store,
            lie,
            writes: 0.into(),
        }),
    }
}

/// Makes the calls; those that must be refused always of the honest store. Several are under way at once, so that they share syncs; the runtime has one thread and runs tasks in
/// the order in which they were spawned, so the order of the events is that of the calls.
async fn ask(
    [honest, store]: [&Arc<dyn LogStore>; 2],
    (mut model, mut groups): (Model, Groups),
    calls: u64,
    mut random: Random,
    to: &mut impl Write,
) -> io::Result<()> {
    let at_once = *random.pick(&[1, 1, 2, 4, 8]);
    let mut workload = Workload::new(random.fork());
    let mut under_way: VecDeque<(u64, JoinHandle<Ended>)> = VecDeque::new();
    let mut failed = false;
    for number in 0..calls {
        if failed {
            break;
        }
        let call = workload.next(&model);
        if !call.refusable {
            model.apply(&call.operation);
        }
        let begin = Event::Begin {
            operation: call.operation.clone(),
            refusable: call.refusable,
        };
        begin.write(to)?;
        let store = Arc::clone(if call.refusable { honest } else { store });
        let job = groups.job(&call.operation);
        let task = tokio::spawn(async move { carry_out(&*store, job).await });
        under_way.push_back((number, task));
        tokio::task::yield_now().await;
        while under_way.len() >= at_once {
            failed |= end_first(&mut under_way, to).await?;
        }
    }
    while !under_way.is_empty() {
        end_first(&mut under_way, to).await?;
    }
    Ok(())
}

/// Waits for the oldest call; whether it failed.
async fn end_first(
    under_way: &mut VecDeque<(u64, JoinHandle<Ended>)>,
    to: &mut impl Write,
) -> io::Result<bool> {
    let Some((number, task)) = under_way.pop_front() else {
        return Ok(false);
    };
    let outcome = task.await.map_err(io::Error::other)?;
    let failed = matches!(outcome, Ended::Failed(_));
    Event::End { number, outcome }.write(to)?;
    Ok(failed)
}

/// A call with the groups as the store knows them.
enum Job {
    Write(Vec<GroupWrite>),
    Compact(GroupId, EntryId),
    Destroy(GroupId),
}

/// The groups of the store that are the groups of the workload. A destroyed group never comes back: another takes its place.
struct Groups {
    by_number: Vec<GroupId>,
}

impl Groups {
    /// Those that are not destroyed.
    async fn find(store: &dyn LogStore) -> Result<Groups, LogStoreError> {
        let mut by_number = Vec::new();
        for group in 1..=GROUPS {
            let mut id = GroupId(group);
            loop {
                match store.load(id).await {
                    Err(LogStoreError::Destroyed(_)) => id = next(id),
                    loaded => break drop(loaded?),
                }
            }
            by_number.push(id);
        }
        Ok(Groups { by_number })
    }

    fn id(&self, group: u64) -> GroupId {
        self.by_number[(group - 1) as usize]
    }

    /// What `operation` is about now; one that destroys a group lets another take its place.
    fn job(&mut self, operation: &Operation) -> Job {
        match operation {
            Operation::Write(changes) => {
                let write = |change: &Change| GroupWrite {
                    group: self.id(change.group),
                    ..change.to_write()
                };
                Job::Write(changes.iter().map(write).collect())
            }
            Operation::Compact { group, through } => Job::Compact(self.id(*group), through.id()),
            Operation::Destroy(group) => {
                let id = self.id(*group);
                self.by_number[(group - 1) as usize] = next(id);
                Job::Destroy(id)
            }
        }
    }
}

fn next(id: GroupId) -> GroupId {
    GroupId(id.0 + GROUPS)
}

async fn carry_out(store: &dyn LogStore, job: Job) -> Ended {
    let result = match job {
        Job::Write(batch) => store.write(batch).await,
        Job::Compact(group, through) => store.compact(group, through).await,
        Job::Destroy(group) => store.destroy(group).await,
    };
    match result {
        Ok(()) => Ended::Acknowledged,
        Err(LogStoreError::NotContiguous { .. }) => Ended::Refused,
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// All that the store has.
async fn read_all(store: &dyn LogStore, groups: &Groups) -> Result<Vec<Found>, LogStoreError> {
    let mut found = Vec::new();
    for group in 1..=GROUPS {
        let id = groups.id(group);
        let recovered = store.load(id).await?;
        found.push(read_group(store, (group, id), &recovered).await?);
    }
    Ok(found)
}

async fn read_group(
    store: &dyn LogStore,
    (group, id): (u64, GroupId),
    recovered: &Recovered,
) -> Result<Found, LogStoreError> {
    let mut entries = Vec::new();
    let mut next = recovered.purged.index.next();
    while next <= recovered.last_index {
        let read = store.read(id, next, recovered.last_index, READ_BYTES).await?;
        for entry in &read {
            if entry.index() != next {
                let text = format!("read entry {} in the place of {next}", entry.id);
                return Err(LogStoreError::Corrupt(text));
            }
            next = Index(next.0 + 1);
            entries.push(Digest::of(entry));
        }
    }
    Ok(Found {
        group,
        hard_state: recovered.hard_state.into(),
        suspect: recovered.hard_state.trust == Trust::Suspect,
        lost: recovered.lost,
        snapshot: (&recovered.snapshot).into(),
        purged: recovered.purged.into(),
        last: recovered.last_index.0,
        entries,
    })
}
