//! The state machines: they apply what is committed, answer questions, take and restore snapshots.
//!
//! A state machine has one turn at a time, and does in it what waits for it. Those that may block have their turns on a fixed
//! set of threads, those that never block on a fixed set of tasks. Whoever has a turn behind it and more to do goes to the
//! end of the line.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::NodeError;
use super::group::Alive;
use super::shared::HostShared;
use super::snapshots::{self, SnapshotStream};
use super::waiters::{Question, Waiter};
use crate::driver::ApplyBatch;
use crate::input::Input;
use crate::message::SnapshotMeta;
use crate::sessions::ReplicatedState;
use crate::traits::StateMachineError;

/// One thing for the state machine to do.
#[derive(Debug)]
pub(super) enum Job {
    Apply(ApplyBatch),
    CreateSnapshot(SnapshotMeta),
    RestoreSnapshot(SnapshotMeta),
    Ask(Vec<Question>),
}

/// Batches are merged up to about this size: each is a sign of life for the replica, which hands leadership over when its
/// state machine gives none for an election timeout (R35).
const MERGED_BYTES_MAX: usize = 4 << 20;

/// The state machine of one group, and what waits for it. Bounded by `apply_bytes_max` and `reads_max`.
#[derive(Debug)]
pub(super) struct Applying {
    may_block: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    jobs: Vec<Job>,
    /// None while it has its turn, and after it has ended.
    machine: Option<Box<ReplicatedState>>,
    /// It stands in line, or has its turn.
    is_called: bool,
    closed: bool,
}

impl Applying {
    pub(super) fn new(machine: ReplicatedState) -> Applying {
        Applying {
            may_block: machine.may_block(),
            state: Mutex::new(State {
                jobs: Vec::new(),
                machine: Some(Box::new(machine)),
                is_called: false,
                closed: false,
            }),
        }
    }

    /// Moves everything out of `jobs` to the end of the queue of `group`, whose state machine this is.
    pub(super) fn push(&self, group: &Alive, jobs: &mut Vec<Job>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return refuse(group, jobs.drain(..));
        }
        if state.jobs.is_empty() {
            // The common case swaps two buffers and moves nothing.
            std::mem::swap(&mut state.jobs, jobs);
        } else {
            state.jobs.append(jobs);
        }
        let was_called = std::mem::replace(&mut state.is_called, true);
        drop(state);
        if !was_called {
            self.call(group.clone());
        }
    }

    /// The group stops: what waits is not done any more, and the state machine ends after its turn.
    pub(super) fn close(&self, group: Alive) {
        let mut state = self.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        let was_called = std::mem::replace(&mut state.is_called, true);
        drop(state);
        refuse(&group, jobs);
        if !was_called {
            // Ending may take as long as everything else that it does.
            self.call(group);
        }
    }

    fn call(&self, group: Alive) {
        let host = group.host.clone();
        let line = host.appliers.line(self.may_block);
        if let Err(group) = line.push(group) {
            // Nobody has turns any more.
            drop(group.applying.end());
        }
    }

    /// Begins a turn: the state machine, unless it has ended, with what it has to do.
    fn begin(&self, jobs: &mut Vec<Job>) -> Option<Box<ReplicatedState>> {
        let mut state = self.lock();
        // An idle state machine keeps no buffer.
        *jobs = std::mem::take(&mut state.jobs);
        if state.closed {
            return None;
        }
        state.machine.take()
    }

    /// Ends a turn. Whether there is more to do, for which it has to be called again.
    fn finish(&self, machine: Box<ReplicatedState>) -> bool {
        let mut state = self.lock();
        state.machine = Some(machine);
        state.is_called = state.closed || !state.jobs.is_empty();
        state.is_called
    }

    /// Puts jobs back that came before all that wait.
    fn put_back(&self, mut jobs: Vec<Job>) {
        let mut state = self.lock();
        jobs.append(&mut state.jobs);
        state.jobs = jobs;
    }

    /// Takes the state machine away for good.
    fn end(&self) -> Option<Box<ReplicatedState>> {
        let mut state = self.lock();
        state.closed = true;
        state.machine.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change above can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells clients whose questions will not be asked.
fn refuse(group: &Alive, jobs: impl IntoIterator<Item = Job>) {
    for job in jobs {
        if let Job::Ask(questions) = job {
            group.refuse_stopped(questions.into_iter().map(Waiter::Query));
        }
    }
}

/// Everybody who lets state machines have their turns.
#[derive(Debug)]
pub(super) struct Appliers {
    threads: Line,
    tasks: Line,
    /// How many threads and tasks there are to be.
    counts: (usize, usize),
    /// Whether they were started.
    started: Mutex<(bool, bool)>,
}

impl Appliers {
    /// Nobody yet: threads and tasks are started when they are first needed.
    pub(super) fn new(threads: usize, tasks: usize) -> Appliers {
        Appliers {
            threads: Line::default(),
            tasks: Line::default(),
            counts: (threads.max(1), tasks.max(1)),
            started: Mutex::default(),
        }
    }

    fn line(&self, may_block: bool) -> &Line {
        if may_block { &self.threads } else { &self.tasks }
    }

    /// Makes sure that there is somebody for a state machine of this kind.
    pub(super) fn start(&self, host: &Arc<HostShared>, may_block: bool) -> std::io::Result<()> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if may_block && !started.0 {
            for number in 0..self.counts.0 {
                spawn_thread(host, number, self.counts.0)?;
            }
            started.0 = true;
        } else if !may_block && !started.1 {
            for _ in 0..self.counts.1 {
                spawn_task(host);
            }
            started.1 = true;
        }
        Ok(())
    }

    /// Lets threads and tasks end when nobody stands in line any more.
    pub(super) fn close(&self) {
        self.threads.close();
        self.tasks.close();
    }
}

fn spawn_thread(host: &Arc<HostShared>, number: usize, count: usize) -> std::io::Result<()> {
    let (host, alive) = (host.clone(), host.lifecycle.alive());
    let name = match count {
        1 => format!("raft-apply-{}", host.id),
        _ => format!("raft-apply-{}-{number}", host.id),
    };
    let work = move || {
        let _alive = alive;
        // A transport may spawn tasks when it is given an answer to send.
        let _context = host.handle.enter();
        let mut jobs = Vec::new();
        while let Some(group) = host.appliers.threads.next_blocking() {
            turn(group, &mut jobs, &host.appliers.threads);
        }
    };
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

fn spawn_task(host: &Arc<HostShared>) {
    let (task_host, alive) = (host.clone(), host.lifecycle.alive());
    host.handle.spawn(async move {
        let _alive = alive;
        let line = Emptied(&task_host.appliers.tasks);
        let mut jobs = Vec::new();
        while let Some(group) = line.0.next().await {
            turn(group, &mut jobs, line.0);
        }
    });
}

/// The line of tasks: if their runtime goes away, nobody who stands in it waits for ever.
struct Emptied<'a>(&'a Line);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        self.0.close();
        while let Some(group) = self.0.try_next() {
            bury(group.applying.end());
        }
    }
}

/// Groups whose state machines have something to do.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<LineState>,
    thread: Condvar,
    task: Notify,
}

#[derive(Debug, Default)]
struct LineState {
    groups: VecDeque<Alive>,
    /// How many threads sleep: the others need not be woken.
    asleep: usize,
    closed: bool,
}

impl Line {
    /// Adds a group at the end; it comes back if nobody would serve it.
    fn push(&self, group: Alive) -> Result<(), Alive> {
        let mut state = self.lock();
        if state.closed {
            return Err(group);
        }
        state.groups.push_back(group);
        let asleep = state.asleep;
        drop(state);
        if asleep > 0 {
            self.thread.notify_one();
        }
        self.task.notify_one();
        Ok(())
    }

    /// Adds a group at the end; the caller takes the next turn himself, so there is somebody who serves it.
    fn push_again(&self, group: Alive) {
        self.lock().groups.push_back(group);
    }

    fn try_next(&self) -> Option<Alive> {
        self.lock().groups.pop_front()
    }

    /// Whose turn it is; none when the line is closed and empty.
    fn next_blocking(&self) -> Option<Alive> {
        let mut state = self.lock();
        loop {
            if let Some(group) = state.groups.pop_front() {
                return Some(group);
            }
            if state.closed {
                return None;
            }
            state.asleep += 1;
            state = self.thread.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }

    /// Whose turn it is; none when the line is closed and empty.
    async fn next(&self) -> Option<Alive> {
        loop {
            // Made before the look, so that nothing is missed in between.
            let called = self.task.notified();
            {
                let mut state = self.lock();
                if let Some(group) = state.groups.pop_front() {
                    return Some(group);
                }
                if state.closed {
                    return None;
                }
            }
            called.await;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.thread.notify_all();
        self.task.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, LineState> {
        // No change above can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the state machine of `group` do what waits for it.
fn turn(group: Alive, jobs: &mut Vec<Job>, line: &Line) {
    let Some(machine) = group.applying.begin(jobs) else {
        bury(group.applying.end());
        return refuse(&group, jobs.drain(..));
    };
    let mut applier = Applier {
        group: &group,
        machine,
    };
    // A defect of one state machine is no end to the others. What is left of it is never used again.
    let performed = catch_unwind(AssertUnwindSafe(|| {
        let mut rest = jobs.drain(..);
        let meta = applier.perform(&mut rest)?;
        Ok::<_, StateMachineError>(meta.map(|meta| (meta, rest.collect::<Vec<Job>>())))
    }));
    let machine = applier.machine;
    match performed {
        Ok(Ok(None)) => {
            if group.applying.finish(machine) {
                line.push_again(group);
            }
        }
        Ok(Ok(Some((meta, rest)))) => {
            group.applying.put_back(rest);
            restore(group, machine, meta);
        }
        Ok(Err(error)) => give_up(group, machine, error.into()),
        Err(_) => give_up(group, machine, NodeError::Panicked("state machine")),
    }
}

/// The state machine cannot go on, and neither can its replica.
fn give_up(group: Alive, machine: Box<ReplicatedState>, error: NodeError) {
    bury(Some(machine));
    group.fail(error);
}

/// A state machine ends. What drops it may panic as well, which is no end to who serves the others.
fn bury(machine: Option<Box<ReplicatedState>>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(machine))));
}

/// A snapshot is read as a blocking stream, and takes its time: others have their turns meanwhile.
fn restore(group: Alive, mut machine: Box<ReplicatedState>, meta: SnapshotMeta) {
    let handle = group.host.handle.clone();
    handle.spawn(async move {
        let mut content = open(&group, &meta);
        let restoring = group.host.handle.spawn_blocking(move || {
            let restored = machine.restore(&meta, &mut content);
            restored.map(|()| (machine, meta.last))
        });
        match restoring.await {
            Ok(Ok((machine, last))) => {
                let more = group.applying.finish(machine);
                group.complete([Input::SnapshotRestored(last)]);
                if more {
                    let called = group.clone();
                    group.applying.call(called);
                }
            }
            Ok(Err(error)) => group.fail(error.into()),
            Err(_) => group.fail(NodeError::Panicked("state machine")),
        }
    });
}

fn open(group: &Alive, meta: &SnapshotMeta) -> SnapshotStream {
    let store = group.host.snapshot_store.clone();
    let (handle, id) = (&group.host.handle, group.config.group);
    snapshots::open_stream(handle, store, id, meta.last, Some(group.clone()))
}

struct Applier<'a> {
    group: &'a Alive,
    machine: Box<ReplicatedState>,
}

impl Applier<'_> {
    /// Does jobs in order up to the next snapshot to restore, which is returned. Entries that arrived in several
    /// batches are applied as one.
    fn perform(
        &mut self,
        jobs: &mut impl Iterator<Item = Job>,
    ) -> Result<Option<SnapshotMeta>, StateMachineError> {
        let mut pending: Option<ApplyBatch> = None;
        let mut pending_bytes = 0;
        for job in jobs {
            match (job, &mut pending) {
                (Job::Apply(next), Some(batch)) if pending_bytes < MERGED_BYTES_MAX => {
                    pending_bytes += next.payload_bytes();
                    batch.merge(next);
                }
                (Job::Apply(next), _) => {
                    self.apply(pending.take())?;
                    pending_bytes = next.payload_bytes();
                    pending = Some(next);
                }
                (Job::CreateSnapshot(meta), _) => {
                    self.apply(pending.take())?;
                    let content = self.machine.snapshot()?;
                    snapshots::save(self.group, meta, content);
                }
                (Job::RestoreSnapshot(meta), _) => {
                    self.apply(pending.take())?;
                    return Ok(Some(meta));
                }
                (Job::Ask(questions), _) => {
                    self.apply(pending.take())?;
                    self.answer(questions);
                }
            }
        }
        self.apply(pending)?;
        Ok(None)
    }

    fn apply(&mut self, batch: Option<ApplyBatch>) -> Result<(), StateMachineError> {
        let Some(batch) = batch else {
            return Ok(());
        };
        let results = self.machine.apply(&batch.entries)?;
        let last = batch.last_index();
        let mut settled = batch.settle(results);
        // Whoever is answered and then looks at the replica finds that it knows.
        self.group.complete([Input::Applied(last)]);
        let questions = self.group.waiters.resolve(&mut settled.outcomes);
        self.group.host.send_all(&mut settled.messages);
        self.answer(questions);
        Ok(())
    }

    /// A question that cannot be answered concerns nobody but who asked it.
    fn answer(&self, questions: Vec<Question>) {
        for question in questions {
            let answer = self.machine.query(&question.question);
            self.group.waiters.answer(question, answer);
        }
    }
}
