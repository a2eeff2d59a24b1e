//! One replica with its disk and its state machine, and what must hold after each of its steps.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft_core::config::Config;
use raft_core::effect::{Effect, LogChange, RoleKind, Write};
use raft_core::entry::Entry;
use raft_core::input::{Input, LogRead, LogReadResult};
use raft_core::message::{Body, InstallSnapshot, Message, SnapshotMeta};
use raft_core::raft::Raft;
use raft_core::status::Status;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Time, WriteSeq};

use super::disk::Disk;
use super::promises::Promises;

/// What the state machine is asked for, in order.
#[derive(Clone, Debug)]
enum Job {
    Apply(EntryId),
    Restore(SnapshotMeta),
    Create(SnapshotMeta),
}

/// One replica.
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) raft: Raft,
    pub(super) now: Time,
    disk: Disk,
    /// The disk as it will be when every write is done.
    written: Disk,
    promises: Promises,
    /// Writes that were begun, with how far the log was committed then.
    writes: VecDeque<Write>,
    /// The last write that is done and not reported.
    done: Option<WriteSeq>,
    last_seq: WriteSeq,
    /// Messages to the replica itself that wait to be handed back.
    own: VecDeque<Message>,
    jobs: VecDeque<Job>,
    reads: VecDeque<LogRead>,
    transfers: VecDeque<(NodeId, EntryId)>,
    /// What the state machine has applied; it keeps that through a crash.
    applied: EntryId,
    handed_out: Index,
    /// Every entry that was ever handed to the state machine.
    committed: BTreeMap<Index, EntryId>,
    before: Status,
    is_stopped: bool,
}

impl Node {
    /// A replica that starts for the first time.
    pub(super) fn new(config: Config, founders: SnapshotMeta) -> Node {
        let disk = Disk::founded(founders);
        let raft = Raft::new(config.clone(), disk.recovered(), EntryId::ZERO, Time::ZERO)
            .expect("the settings are valid and nothing is stored");
        let before = raft.status();
        let mut node = Node {
            config,
            raft,
            now: Time::ZERO,
            written: disk.clone(),
            disk,
            promises: Promises::default(),
            writes: VecDeque::new(),
            done: None,
            last_seq: WriteSeq(0),
            own: VecDeque::new(),
            jobs: VecDeque::new(),
            reads: VecDeque::new(),
            transfers: VecDeque::new(),
            applied: EntryId::ZERO,
            handed_out: Index::ZERO,
            committed: BTreeMap::new(),
            before,
            is_stopped: false,
        };
        // What follows from the start itself is done now, so that nothing else is blamed for it.
        node.step(Input::Tick);
        node
    }

    /// Whether it has not stopped for good.
    pub(super) fn is_running(&self) -> bool {
        !self.is_stopped
    }

    /// What it last said of itself.
    pub(super) fn status(&self) -> &Status {
        &self.before
    }

    /// The entry at `index` of its log, as far as it is known here.
    pub(super) fn entry_at(&self, index: Index) -> Option<EntryId> {
        self.written.id_at(index)
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(Input::Tick);
    }

    /// A message arrives.
    pub(super) fn receive(&mut self, message: Message) {
        if message.group != self.group() || message.to != self.config.id {
            return self.receive_foreign(message);
        }
        if let Body::AppendEntries(request) = &message.body {
            self.promises.heard(message.from, message.term, request);
        }
        self.step(Input::Receive(message));
    }

    fn group(&self) -> GroupId {
        self.config.group
    }

    /// I24: a message for somebody else changes nothing. The time is that of the last step, so nothing else is due.
    fn receive_foreign(&mut self, message: Message) {
        let before = format!("{:?}", self.raft);
        let mut effects = Vec::new();
        self.raft
            .step(self.now, Input::Receive(message.clone()), &mut effects);
        assert_eq!(effects, [], "I24: {message:?} has effects");
        assert_eq!(
            format!("{:?}", self.raft),
            before,
            "I24: {message:?} changes something"
        );
    }

    /// A snapshot from a leader is complete and in the snapshot store.
    pub(super) fn receive_snapshot(&mut self, header: InstallSnapshot) {
        self.promises
            .heard_snapshot(header.from, header.term, header.meta.last);
        self.step(Input::SnapshotReceived(header));
    }

    /// The disk finishes its oldest write, and what waits for it leaves; the replica learns of it later.
    pub(super) fn write(&mut self) {
        let Some(write) = self.writes.pop_front() else {
            return;
        };
        self.disk.apply(&write);
        self.done = Some(write.seq);
        for message in write.then {
            self.send(message);
        }
    }

    /// The replica learns of the writes that are done.
    pub(super) fn report_writes(&mut self) {
        if let Some(seq) = self.done.take() {
            self.step(Input::Persisted(seq));
        }
    }

    /// The replica gets a message of its own back.
    pub(super) fn receive_own(&mut self) {
        if let Some(message) = self.own.pop_front() {
            self.step(Input::Receive(message));
        }
    }

    /// The state machine does the oldest thing that it was asked for; `works` says whether a snapshot can be made.
    pub(super) fn work(&mut self, works: bool) {
        let input = match self.jobs.pop_front() {
            None => return,
            Some(Job::Apply(last)) => {
                self.applied = last;
                Input::Applied(last.index)
            }
            Some(Job::Restore(meta)) => {
                self.applied = meta.last;
                Input::SnapshotRestored(meta.last)
            }
            Some(Job::Create(_)) if !works => Input::SnapshotFailed,
            Some(Job::Create(meta)) => Input::SnapshotCreated(meta),
        };
        self.step(input);
    }

    /// The disk answers the oldest read, or fails to.
    pub(super) fn answer_read(&mut self, works: bool) {
        if let Some(request) = self.reads.pop_front() {
            let entries = if works {
                self.disk.read(&request)
            } else {
                Vec::new()
            };
            self.step(Input::LogRead(LogReadResult { request, entries }));
        }
    }

    /// The oldest transfer of a snapshot ends.
    pub(super) fn end_transfer(&mut self, delivered: bool) {
        if let Some((to, last)) = self.transfers.pop_front() {
            self.step(Input::SnapshotSent { to, last, delivered });
        }
    }

    /// The process dies and is started again: what was not written is gone.
    pub(super) fn restart(&mut self) {
        self.config.incarnation += 1;
        self.written = self.disk.clone();
        self.writes.clear();
        self.done = None;
        self.last_seq = WriteSeq(0);
        self.own.clear();
        self.jobs.clear();
        self.reads.clear();
        self.transfers.clear();
        if self.applied.index < self.disk.snapshot.last.index {
            // The start restores the snapshot in force first.
            self.applied = self.disk.snapshot.last;
        }
        self.handed_out = self.applied.index;
        // Entries that were committed and not applied may have been so on the word of a node that lied.
        self.committed.retain(|index, _| *index <= self.applied.index);
        let raft = Raft::new(self.config.clone(), self.disk.recovered(), self.applied, self.now);
        self.raft = raft.expect("what an honest disk kept is enough to start");
        self.before = self.raft.status();
        self.step(Input::Tick);
    }

    /// Gives the replica one input, begins what it asks for, and checks everything.
    pub(super) fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.raft.step(self.now, input, &mut effects);
        let status = self.raft.status();
        for effect in effects {
            self.begin(effect, &status);
        }
        self.check(&status);
        self.before = status;
    }

    fn begin(&mut self, effect: Effect, status: &Status) {
        let said = match &effect {
            Effect::Send(message) => std::slice::from_ref(message),
            Effect::Persist(write) => &write.then,
            _ => &[],
        };
        if self.before.suspect && status.suspect {
            assert!(!said.iter().any(grants_a_vote), "I23: a suspect votes: {said:?}");
        }
        match effect {
            Effect::Send(message) => self.send(message),
            Effect::Persist(write) => self.begin_write(write, status),
            Effect::ReadLog(request) => self.reads.push_back(request),
            Effect::Apply(entries) => self.begin_apply(&entries, status),
            Effect::CreateSnapshot(meta) => {
                assert_eq!(
                    meta.last.index, self.handed_out,
                    "a snapshot is of what was handed out"
                );
                self.jobs.push_back(Job::Create(meta));
            }
            Effect::RestoreSnapshot(meta) => {
                assert_eq!(
                    self.disk.snapshot, meta,
                    "R50: a snapshot is restored when it is in force"
                );
                self.handed_out = meta.last.index;
                self.jobs.push_back(Job::Restore(meta));
            }
            Effect::SendSnapshot { to, term, meta } => {
                assert_eq!(term, status.term, "only who leads sends snapshots");
                assert_ne!(to, self.config.id, "nobody sends a snapshot to itself");
                self.transfers.push_back((to, meta.last));
            }
            Effect::Compact(through) => {
                assert!(
                    through.index <= status.applied_index,
                    "I12: purged beyond what was applied"
                );
                self.disk.compact(through);
                self.written.compact(through);
            }
            Effect::ReadConfirmed { index, .. } => {
                assert!(
                    index <= status.commit_index,
                    "I17: a read is confirmed beyond what is committed"
                );
            }
            Effect::Fatal(_) => self.is_stopped = true,
            _ => {}
        }
    }

    fn send(&mut self, message: Message) {
        let commit = self.raft.commit_index();
        self.promises
            .check(self.group(), self.config.id, &self.disk, commit, &message);
        if message.to == self.config.id {
            self.own.push_back(message);
        }
    }

    fn begin_write(&mut self, write: Write, status: &Status) {
        assert_eq!(
            write.seq,
            self.last_seq.next(),
            "R56: writes are numbered in order"
        );
        self.last_seq = write.seq;
        let commit = self.before.commit_index;
        if let LogChange::Reset(_) = write.log {
            assert!(
                status.snapshot.index > commit,
                "I8: a snapshot replaces what is committed"
            );
        }
        if let (LogChange::Append(_), Some(first)) = (&write.log, write.log.entries().first()) {
            let leads_on = [&self.before, status]
                .iter()
                .all(|at| at.role == RoleKind::Leader)
                && self.before.term == status.term;
            if leads_on {
                let next = self.written.last().index.next();
                assert_eq!(first.index(), next, "I4: a leader overwrites its own log");
            }
            for entry in write
                .log
                .entries()
                .iter()
                .take_while(|entry| entry.index() <= commit)
            {
                let known = self.written.id_at(entry.index());
                assert_eq!(known, Some(entry.id), "I8: a committed entry is replaced");
            }
        }
        self.written.apply(&write);
        assert!(
            self.written.last().index >= commit,
            "I8: a committed entry is cut off"
        );
        self.writes.push_back(write);
    }

    fn begin_apply(&mut self, entries: &[Entry], status: &Status) {
        for entry in entries {
            assert_eq!(
                entry.index(),
                self.handed_out.next(),
                "I9: entries are applied one after the other"
            );
            assert!(
                entry.index() <= status.commit_index,
                "I9: applied beyond what is committed"
            );
            assert_eq!(
                self.disk.id_at(entry.index()),
                Some(entry.id),
                "R58: what is applied is durable"
            );
            let known = *self.committed.entry(entry.index()).or_insert(entry.id);
            assert_eq!(known, entry.id, "I8: another entry was applied here before");
            self.handed_out = entry.index();
        }
        if let Some(last) = entries.last() {
            self.jobs.push_back(Job::Apply(last.id));
        }
    }

    fn check(&self, status: &Status) {
        let before = &self.before;
        assert!(
            status.term >= before.term,
            "I3: the term falls from {} to {}",
            before.term,
            status.term
        );
        assert!(status.commit_index >= before.commit_index, "I8: commit falls");
        assert!(
            status.applied_index <= status.commit_index && status.commit_index <= status.appended_index,
            "I9, I12: applied {}, committed {}, appended {}",
            status.applied_index,
            status.commit_index,
            status.appended_index
        );
        assert!(
            status.durable_index <= status.appended_index,
            "what is durable is in the log"
        );
        assert!(
            status.durable_index <= self.disk.last().index,
            "I11: durable here, and not on the disk"
        );
        assert!(
            status.snapshot.index <= status.commit_index,
            "I12: a snapshot beyond what is committed"
        );
        if status.term == before.term && before.vote.is_some() {
            assert_eq!(status.vote, before.vote, "I2: the vote of a term changes");
        }
        if status.suspect {
            let follows = matches!(status.role, RoleKind::Follower) || before.role != RoleKind::Follower;
            assert!(follows, "I23: a suspect stands for election");
        }
        if !self.is_stopped {
            assert_eq!(
                self.written.last().index,
                status.appended_index,
                "everything is on its way to the disk"
            );
        }
    }
}

fn grants_a_vote(message: &Message) -> bool {
    match &message.body {
        Body::RequestVoteResponse(response) => response.is_granted(),
        Body::RequestPreVoteResponse(response) => response.is_granted(),
        _ => false,
    }
}
