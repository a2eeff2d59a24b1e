//! One replica of the model: the real protocol, its disk, and the writes between them.
//!
//! A replica takes one [`Nudge`] at a time. What follows from it at once, follows in the same step: entries are applied as
//! soon as they are handed out, and reads of the log store are answered. Neither is a promise to anybody, so that doing it
//! later would only be another order of steps that do not touch each other.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::effect::{Effect, FatalReason, RoleKind};
use raft_core::input::{ChangeRequest, Input, LogReadResult, Proposal};
use raft_core::membership::{MemberChange, Membership};
use raft_core::message::{AppendResult, Body, Message};
use raft_core::raft::Raft;
use raft_core::types::{EntryId, Index, Term, Ticket, Time, Trust};

use super::digest::Digest;
use super::disk::{Disk, Pending};
use super::mark::{Mark, Marks};

/// What happens to one replica.
#[derive(Clone, Debug)]
pub(super) enum Nudge {
    /// A message arrives.
    Deliver(Message),
    /// The oldest write that is not durable becomes durable, and what waited for it leaves; the replica is told later.
    Store,
    /// The replica is told of every write that is durable.
    Report,
    /// The one, and at once the other.
    Complete,
    /// The election timeout passes.
    Campaign,
    /// A client proposes a command.
    Propose(u8),
    /// A client reads, when so many entries are committed.
    Read(u8),
    /// Somebody wants to change the members.
    Change(Vec<MemberChange>),
    /// The process ends and begins again. What was not durable is gone.
    Crash,
    /// The same, and something that was durable is gone, too.
    Lose(Loss),
    /// The clock goes on, and nobody notices yet.
    Drift(Duration),
    /// The clock goes on, and the replica looks at it.
    Pass(Duration),
    /// The replica looks at its clock.
    Wake,
}

/// What a disk loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Loss {
    /// Everything; the new one is set up as the first members were.
    Wiped,
    /// Everything; the new one knows of no group.
    Replaced,
    /// The entries above so many, and the vote. The store notices.
    End(u8),
}

/// What a step did that others must know.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// It became leader.
    Elected(Term),
    /// It counted with this configuration beside the one before the step.
    Counted(Membership),
    /// A read that began when so many entries were committed will see what is committed at this index.
    Read { began: u8, index: Index },
    /// An invariant of this one replica, or of its surroundings, does not hold.
    Broken(u8, String),
}

/// One replica with its disk.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) raft: Raft,
    pub(super) disk: Disk,
    pub(super) writes: VecDeque<Pending>,
    pub(super) clock: Time,
    /// What it had stored when its disk lost something, until it is trusted again. What it acknowledged then counts.
    pub(super) lost: Vec<EntryId>,
}

/// What follows from a step.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    pub(super) sent: Vec<Message>,
    pub(super) events: Vec<Event>,
    pub(super) marks: Marks,
}

impl Consequences {
    fn broken(&mut self, invariant: u8, what: String) {
        self.events.push(Event::Broken(invariant, what));
    }
}

impl Replica {
    /// A replica of a new group.
    pub(super) fn founder(config: Config, founders: Membership) -> Replica {
        let disk = Disk {
            founders,
            ..Disk::default()
        };
        Replica {
            raft: start(config, &disk, false, Time::ZERO),
            disk,
            writes: VecDeque::new(),
            clock: Time::ZERO,
            lost: Vec::new(),
        }
    }

    /// Tells it apart from others by everything that decides anything.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut digest = Digest::new();
        self.raft.id().hash(&mut digest);
        self.raft.fingerprint(self.clock, &mut digest);
        (self.disk.hard_state, &self.disk.founders, &self.disk.entries).hash(&mut digest);
        self.lost.hash(&mut digest);
        for write in &self.writes {
            (write.is_done, write.hard_state, &write.entries).hash(&mut digest);
            let mut then: Vec<u128> = write.then.iter().map(Digest::of_debug).collect();
            then.sort_unstable();
            then.hash(&mut digest);
        }
        digest.write_usize(self.writes.len());
        digest.value()
    }

    /// The log as the replica sees it: what is durable, and what will be.
    pub(super) fn issued(&self) -> Disk {
        let mut disk = self.disk.clone();
        for write in self.writes.iter().filter(|write| !write.is_done) {
            // What cannot be applied is noticed when it becomes durable.
            let _ = disk.apply(write.hard_state, &write.entries);
        }
        disk
    }

    /// The index that a read by lease would be given now; none if there is no lease.
    pub(super) fn lease(&self) -> Option<Index> {
        if self.raft.role() != RoleKind::Leader || self.raft.config().lease_drift_max.is_none() {
            return None;
        }
        let mut effects = Vec::new();
        let mut copy = self.raft.clone();
        copy.step(self.clock, Input::Read(vec![Ticket(0)]), &mut effects);
        effects.into_iter().find_map(|effect| match effect {
            Effect::ReadConfirmed { index, .. } => Some(index),
            _ => None,
        })
    }

    /// Takes one nudge.
    pub(super) fn step(&mut self, nudge: Nudge) -> Consequences {
        let mut out = Consequences::default();
        let input = match nudge {
            Nudge::Deliver(message) => Input::Receive(message),
            Nudge::Campaign => Input::Campaign,
            Nudge::Wake => Input::Tick,
            Nudge::Pass(by) => {
                self.clock = self.clock + by;
                Input::Tick
            }
            Nudge::Read(committed) => Input::Read(vec![Ticket(u64::from(committed))]),
            Nudge::Propose(command) => Input::Propose(vec![Proposal {
                ticket: Ticket(0),
                command: Bytes::copy_from_slice(&[b'a' + command]).into(),
            }]),
            Nudge::Change(changes) => Input::ChangeMembership(ChangeRequest {
                ticket: Ticket(0),
                changes,
                dry_run: false,
            }),
            Nudge::Store => {
                self.store(&mut out);
                return out;
            }
            Nudge::Drift(by) => {
                self.clock = self.clock + by;
                return out;
            }
            Nudge::Crash => {
                self.crash(None, &mut out);
                return out;
            }
            Nudge::Lose(loss) => {
                self.crash(Some(loss), &mut out);
                return out;
            }
            Nudge::Report | Nudge::Complete => {
                if matches!(nudge, Nudge::Complete) {
                    self.store(&mut out);
                }
                let inputs = self.report();
                self.run(inputs, &mut out);
                return out;
            }
        };
        self.run(vec![input], &mut out);
        out
    }

    // ---- the protocol ----

    /// Hands inputs to the protocol, and what follows from them at once, until nothing does.
    fn run(&mut self, mut inputs: Vec<Input>, out: &mut Consequences) {
        let (commit, was_leader) = (self.raft.commit_index(), self.raft.role() == RoleKind::Leader);
        while !inputs.is_empty() {
            let mut effects = Vec::new();
            let (raft, clock) = (&mut self.raft, self.clock);
            let step = AssertUnwindSafe(|| raft.step_all(clock, std::mem::take(&mut inputs), &mut effects));
            if let Err(panic) = catch_unwind(step) {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                return out.broken(0, text.unwrap_or("the replica panicked").to_owned());
            }
            let still_leads = was_leader && self.raft.role() == RoleKind::Leader;
            for effect in effects {
                inputs.extend(self.perform(effect, still_leads, out));
            }
        }
        if self.raft.commit_index() < commit {
            out.broken(
                8,
                format!("commit falls from {commit} to {}", self.raft.commit_index()),
            );
        }
        let suspect = self.raft.status().suspect;
        if suspect && matches!(self.raft.role(), RoleKind::Candidate | RoleKind::PreCandidate) {
            out.broken(23, "a suspect campaigns".to_owned());
        }
    }

    /// Does what an effect asks for. Returns what the protocol is told at once.
    fn perform(&mut self, effect: Effect, leads: bool, out: &mut Consequences) -> Option<Input> {
        match effect {
            Effect::Send(message) => self.send(message, out),
            Effect::Persist(write) => {
                let write = Pending::new(write);
                let first = write.entries.first().map(|entry| entry.index());
                if leads && first.is_some_and(|first| first <= self.issued().last().index) {
                    out.broken(4, format!("a leader overwrites {first:?} of its own log"));
                }
                self.begin(write, out);
            }
            Effect::ReadLog(request) => {
                let entries = self.disk.read(&request);
                if entries.is_empty() {
                    out.broken(11, format!("{request:?} asks for what is not durable"));
                }
                return Some(Input::LogRead(LogReadResult { request, entries }));
            }
            Effect::Apply(entries) => {
                let last = entries.last().map(|entry| entry.index())?;
                let missing = entries.iter().find(|entry| !self.disk.has(entry.id));
                if let Some(entry) = missing {
                    out.broken(11, format!("{} is applied and not durable", entry.id));
                }
                return Some(Input::Applied(last));
            }
            Effect::RoleChanged(change) => {
                if change.to == RoleKind::Leader {
                    out.events.push(Event::Elected(change.term));
                    out.marks.set(Mark::Election);
                }
            }
            Effect::MembershipChanged(membership) => out.events.push(Event::Counted(membership)),
            Effect::ReadConfirmed { ticket, index } => {
                let began = u8::try_from(ticket.0).unwrap_or(u8::MAX);
                out.events.push(Event::Read { began, index });
                out.marks.set(Mark::Read);
            }
            Effect::ChangeCommitted { .. } => out.marks.set(Mark::Change),
            Effect::Suspected(_) => out.marks.set(Mark::Suspicion),
            Effect::TrustRestored => {
                out.marks.set(Mark::Trust);
                self.lost.clear();
            }
            Effect::Fatal(reason @ FatalReason::TwoLeaders { .. }) => out.broken(1, reason.to_string()),
            Effect::Fatal(reason) => out.broken(8, reason.to_string()),
            Effect::Proposed { .. }
            | Effect::Refused { .. }
            | Effect::Previewed { .. }
            | Effect::TransferEnded { .. }
            | Effect::Unresolved { .. }
            | Effect::Rested(_) => {}
            Effect::CreateSnapshot(_)
            | Effect::RestoreSnapshot(_)
            | Effect::SendSnapshot { .. }
            | Effect::Compact(_) => out.broken(0, "the model has no snapshots".to_owned()),
        }
        None
    }

    // ---- messages ----

    /// A message leaves: everything that it promises is on the disk.
    fn send(&self, message: Message, out: &mut Consequences) {
        let stored = self.disk.hard_state;
        if message.term > stored.term {
            out.broken(3, format!("{message:?} carries a term that is not durable"));
        }
        let suspect = self.raft.status().suspect;
        match &message.body {
            Body::AppendEntriesResponse(response) => {
                if let AppendResult::Accepted { match_index } = response.result
                    && match_index > self.disk.last().index
                {
                    out.broken(11, format!("{match_index} is acknowledged and not durable"));
                }
            }
            Body::RequestVoteResponse(response) if response.is_granted() => {
                if stored.term == message.term && stored.vote != Some(message.to) {
                    out.broken(11, format!("the vote for {} is not durable", message.to));
                }
                if suspect {
                    out.broken(23, format!("a suspect votes for {}", message.to));
                }
            }
            Body::RequestPreVoteResponse(response) if response.is_granted() && suspect => {
                out.broken(23, format!("a suspect would vote for {}", message.to));
            }
            _ => {}
        }
        out.sent.push(message);
    }

    // ---- writes ----

    /// A write begins. One that stores nothing is a place in the order for its messages: it completes with the write
    /// before it.
    fn begin(&mut self, write: Pending, out: &mut Consequences) {
        let is_empty = write.hard_state.is_none() && write.entries.is_empty();
        match self.writes.back_mut() {
            Some(last) if is_empty => {
                last.seq = write.seq;
                if last.is_done {
                    let (own, others) = self.split(write.then);
                    self.keep_own(own);
                    others.into_iter().for_each(|message| self.send(message, out));
                } else {
                    for message in write.then {
                        if !last.then.contains(&message) {
                            last.then.push(message);
                        }
                    }
                }
            }
            _ => self.writes.push_back(write),
        }
    }

    fn split(&self, messages: Vec<Message>) -> (Vec<Message>, Vec<Message>) {
        let own_id = self.raft.id();
        messages.into_iter().partition(|message| message.to == own_id)
    }

    /// Messages to itself arrive when the replica is told of the write.
    fn keep_own(&mut self, own: Vec<Message>) {
        if let Some(last) = self.writes.back_mut() {
            last.then.extend(own);
        }
    }

    /// The oldest write becomes durable, and its messages to others leave.
    fn store(&mut self, out: &mut Consequences) {
        let Some(position) = self.writes.iter().position(|write| !write.is_done) else {
            return;
        };
        let write = &mut self.writes[position];
        write.is_done = true;
        if let Err((invariant, what)) = self.disk.apply(write.hard_state, &write.entries) {
            out.broken(invariant, what);
        }
        let then = std::mem::take(&mut write.then);
        let (own, others) = self.split(then);
        self.writes[position].then = own;
        others.into_iter().for_each(|message| self.send(message, out));
    }

    /// What the replica is told of the writes that are durable.
    fn report(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        while self.writes.front().is_some_and(|write| write.is_done) {
            let write = self.writes.pop_front().expect("the loop saw it");
            inputs.extend(write.then.into_iter().map(Input::Receive));
            inputs.push(Input::Persisted(write.seq));
        }
        inputs
    }

    // ---- crashes and losses ----

    fn crash(&mut self, loss: Option<Loss>, out: &mut Consequences) {
        let stored_something = |write: &Pending| !write.is_done && !write.entries.is_empty();
        if self.writes.iter().any(stored_something) {
            out.marks.set(Mark::CrashDuringWrite);
        }
        self.writes.clear();
        let mut noticed = false;
        if let Some(loss) = loss {
            out.marks.set(Mark::Loss);
            self.lost = self.disk.entries.iter().map(|entry| entry.id).collect();
            noticed = self.lose(loss);
        }
        let mut config = self.raft.config().clone();
        config.incarnation += 1;
        let disk = &self.disk;
        let clock = self.clock;
        match catch_unwind(AssertUnwindSafe(|| start(config, disk, noticed, clock))) {
            Ok(raft) => self.raft = raft,
            Err(_) => out.broken(0, "the replica does not start again".to_owned()),
        }
    }

    /// The disk loses something. Returns whether the store notices.
    fn lose(&mut self, loss: Loss) -> bool {
        let founders = match loss {
            Loss::Wiped => self.disk.founders.clone(),
            Loss::Replaced => Membership::empty(),
            Loss::End(kept) => {
                self.disk.entries.truncate(usize::from(kept));
                let last = self.disk.last().index;
                let hard_state = &mut self.disk.hard_state;
                hard_state.vote = None;
                hard_state.commit = hard_state.commit.min(last);
                // The store writes this down before anything else.
                hard_state.trust = Trust::Suspect;
                return true;
            }
        };
        self.disk = Disk {
            founders,
            ..Disk::default()
        };
        false
    }
}

fn start(config: Config, disk: &Disk, noticed: bool, now: Time) -> Raft {
    Raft::new(config, disk.recovered(noticed), EntryId::ZERO, now)
        .expect("a disk that only lost what it may lose")
}
