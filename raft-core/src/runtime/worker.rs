//! A worker: one task that owns many replicas, and lets those step that have something to do.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::error::NodeError;
use super::group::Key;
use super::inbox::{Arrivals, Control, Inbox, Look, Taken};
use super::replica::{Mail, Replica, STEP_INPUTS_MAX, Stepped};
use super::round::Round;
use super::shared::HostShared;
use super::timetable::{NEVER, Timer, Timetable};
use super::writer;
use crate::input::Input;
use crate::types::{GroupId, Time};

/// How old the published status may be while the worker never rests.
const STATUS_AGE_MAX: Duration = Duration::from_millis(1);

/// How many messages may wait here for a replica that has much to do; the others wait in the inbox, which has a limit.
const MESSAGES_HELD_MAX: usize = 8_192;

/// The replicas of one worker. Dropping it ends them.
pub(super) struct Worker {
    host: Arc<HostShared>,
    index: usize,
    replicas: HashMap<GroupId, Box<Replica>, BuildHasherDefault<GroupHasher>>,
    timetable: Timetable,
    /// Who has something to do in this round, each once.
    ready: Vec<GroupId>,
    /// Who has something left to do after this round.
    left: Vec<GroupId>,
    messages_held: usize,
    round: Round,
    /// Who wants to look at a replica after this round.
    looks: Vec<(Key, Look)>,
    /// Whose status changed since it was published.
    unpublished: Vec<GroupId>,
    published_at: Time,
}

impl Worker {
    pub(super) fn new(host: &Arc<HostShared>, index: usize) -> Worker {
        Worker {
            host: host.clone(),
            index,
            replicas: HashMap::default(),
            timetable: Timetable::default(),
            ready: Vec::new(),
            left: Vec::new(),
            messages_held: 0,
            round: Round::default(),
            looks: Vec::new(),
            unpublished: Vec::new(),
            published_at: Time::ZERO,
        }
    }

    /// Runs until the host is to stop; then every request that the replicas know of is resolved.
    pub(super) async fn run(mut self) {
        let host = self.host.clone();
        let (inbox, clock) = (&host.inboxes[self.index], host.clock);
        let mut arrivals = Arrivals::default();
        let mut timer = Timer::new(clock);
        loop {
            let taken = inbox.take(&mut arrivals, self.messages_held < MESSAGES_HELD_MAX);
            if taken == Taken::Stop {
                break;
            }
            let mut now = clock.now();
            if taken == Taken::Nothing && self.ready.is_empty() {
                self.publish(now);
                timer.wait(inbox, self.timetable.next()).await;
                now = clock.now();
                if now < self.timetable.next() {
                    continue;
                }
            }
            self.distribute(&mut arrivals);
            self.ring(now);
            self.round(now).await;
            self.look(now);
            if now.since(self.published_at) >= STATUS_AGE_MAX {
                self.publish(now);
            }
            if !self.ready.is_empty() || inbox.has_more() {
                // Whoever shares the thread may have something to say as well; that makes the next batch larger.
                tokio::task::yield_now().await;
            }
        }
        self.stop(inbox);
    }

    /// Puts what arrived where it belongs.
    fn distribute(&mut self, arrivals: &mut Arrivals) {
        // Who is attached may have mail already, and who is detached still gets what came before.
        let mut detached = Vec::new();
        for control in arrivals.controls.drain(..) {
            match control {
                Control::Attach(replica) => self.attach(replica),
                Control::Detach(key) => detached.push(key),
                Control::Inspect(key, look) => self.looks.push((key, look)),
            }
        }
        for (key, input) in arrivals.completions.drain(..) {
            if let Some(mail) = self.mail(key) {
                mail.completions.push(input);
            }
        }
        for message in arrivals.messages.drain(..) {
            let Some(mail) = self.mail_of_group(message.group) else {
                self.host.count_unknown_group();
                continue;
            };
            mail.messages.push(message);
            self.messages_held += 1;
        }
        for key in arrivals.campaigns.drain(..) {
            if let Some(mail) = self.mail(key) {
                mail.campaign = true;
            }
        }
        for (group, command, waiter) in arrivals.proposals.drain(..) {
            match self.mail(group.key) {
                Some(mail) => mail.proposals.push((command, waiter)),
                None => group.refuse_stopped([waiter]),
            }
        }
        for (group, waiter) in arrivals.reads.drain(..) {
            match self.mail(group.key) {
                Some(mail) => mail.reads.push(waiter),
                None => group.refuse_stopped([waiter]),
            }
        }
        for (group, request, waiter) in arrivals.requests.drain(..) {
            match self.mail(group.key) {
                Some(mail) => mail.requests.push((request, waiter)),
                None => group.refuse_stopped([waiter]),
            }
        }
        detached.into_iter().for_each(|key| self.detach(key));
    }

    fn attach(&mut self, mut replica: Box<Replica>) {
        let group = replica.key().group;
        if replica.group().is_stopping() {
            // The call to let go of it came too early.
            return self.let_go(replica);
        }
        replica.tell_committed_members();
        let deadline = replica.next_deadline();
        self.timetable.set(group, &mut replica.alarm, deadline);
        self.replicas.insert(group, replica);
    }

    fn detach(&mut self, key: Key) {
        if self.replica(key).is_some()
            && let Some(replica) = self.replicas.remove(&key.group)
        {
            self.timetable.cancel(key.group, replica.alarm);
            self.messages_held -= replica.waiting_messages();
            self.let_go(replica);
        }
    }

    /// Ends a replica. If it panics, it ends all the same, and no other one does.
    fn let_go(&mut self, replica: Box<Replica>) {
        let (group, round) = (replica.group().clone(), &mut self.round);
        if catch_unwind(AssertUnwindSafe(|| replica.stop(round))).is_err() {
            group.fail(NodeError::Panicked("replica"));
        }
    }

    fn replica(&self, key: Key) -> Option<&Replica> {
        let replica = self.replicas.get(&key.group)?;
        (replica.key() == key).then_some(replica)
    }

    fn mail(&mut self, key: Key) -> Option<&mut Mail> {
        let replica = self.replicas.get_mut(&key.group)?;
        if replica.key() != key {
            return None;
        }
        let (mail, is_first) = replica.mail(&mut self.round.spare_mails);
        if is_first {
            self.ready.push(key.group);
        }
        Some(mail)
    }

    fn mail_of_group(&mut self, group: GroupId) -> Option<&mut Mail> {
        let replica = self.replicas.get_mut(&group)?;
        let (mail, is_first) = replica.mail(&mut self.round.spare_mails);
        if is_first {
            self.ready.push(group);
        }
        Some(mail)
    }

    /// Adds those whose deadline has come; those whose deadline moved away get a new alarm.
    fn ring(&mut self, now: Time) {
        while let Some(group) = self.timetable.pop(now) {
            let Some(replica) = self.replicas.get_mut(&group) else {
                continue;
            };
            replica.alarm = NEVER;
            let deadline = replica.next_deadline();
            if deadline > now {
                self.timetable.set(group, &mut replica.alarm, deadline);
            } else if replica.mail(&mut self.round.spare_mails).1 {
                self.ready.push(group);
            }
        }
    }

    /// Lets everybody step who has something to do, and hands over what follows from it.
    async fn round(&mut self, now: Time) {
        let host = self.host.clone();
        let inputs_max = match self.replicas.len() {
            // There is nobody who would have to wait.
            0 | 1 => usize::MAX,
            _ => STEP_INPUTS_MAX,
        };
        let mut ready = std::mem::take(&mut self.ready);
        for group in ready.drain(..) {
            self.step(group, now, |replica, round| replica.step(now, inputs_max, round));
        }
        // Others wait for these; appends overlap the write.
        self.round.send(&host);
        while !self.round.writes.is_empty() && host.writes_here {
            // What the log store never waits for is written here: there is nothing to overlap it with.
            let Ok(completions) = writer::write(&host, &mut self.round.writes).await else {
                break;
            };
            self.written(completions, now);
            self.round.send(&host);
        }
        self.round.flush(&host);
        self.ready = ready;
        self.ready.append(&mut self.left);
    }

    /// Tells replicas what became of their writes.
    fn written(&mut self, completions: Vec<(Key, Input)>, now: Time) {
        let mut completions = completions.into_iter().peekable();
        let mut inputs = Vec::new();
        while let Some((key, first)) = completions.next() {
            inputs.push(first);
            while let Some((_, input)) = completions.next_if(|(next, _)| *next == key) {
                inputs.push(input);
            }
            self.step(key.group, now, |replica, round| {
                replica.step_with(now, &mut inputs, round)
            });
            inputs.clear();
        }
    }

    fn step(&mut self, group: GroupId, now: Time, step: impl FnOnce(&mut Replica, &mut Round) -> Stepped) {
        let Some(replica) = self.replicas.get_mut(&group) else {
            return;
        };
        let waiting = replica.waiting_messages();
        let stepped = step(replica, &mut self.round);
        self.messages_held -= waiting - replica.waiting_messages();
        match stepped {
            Stepped::Done => {}
            Stepped::More => self.left.push(group),
            Stepped::Panicked => return self.give_up(group),
        }
        // What is due still has to wait for the next round.
        let deadline = replica.next_deadline().max(now);
        self.timetable.set(group, &mut replica.alarm, deadline);
        if !std::mem::replace(&mut replica.is_unpublished, true) {
            self.unpublished.push(group);
        }
    }

    /// A replica panicked.
    fn give_up(&mut self, group: GroupId) {
        if let Some(replica) = self.replicas.remove(&group) {
            self.timetable.cancel(group, replica.alarm);
            self.messages_held -= replica.waiting_messages();
            // What it said of its rest comes before that it rests no more.
            self.host.pulses.push_all(&mut self.round.rests);
            replica.abandon();
        }
    }

    /// Lets those look at replicas who asked to, after everything that came before.
    fn look(&mut self, now: Time) {
        for (key, look) in std::mem::take(&mut self.looks) {
            let Some(replica) = self.replica(key) else {
                continue;
            };
            let driver = replica.driver();
            if catch_unwind(AssertUnwindSafe(|| look(driver, now))).is_err() {
                self.give_up(key.group);
            }
        }
    }

    fn publish(&mut self, now: Time) {
        self.published_at = now;
        for group in self.unpublished.drain(..) {
            if let Some(replica) = self.replicas.get_mut(&group) {
                replica.publish();
            }
        }
    }

    fn stop(mut self, inbox: &Inbox) {
        let left = inbox.close();
        for (group, waiter) in left.into_waiters() {
            group.refuse_stopped([waiter]);
        }
        for (_, replica) in std::mem::take(&mut self.replicas) {
            self.let_go(replica);
        }
        self.round.flush(&self.host);
    }
}

/// Spreads the numbers of groups, which nobody chooses to do harm.
#[derive(Default)]
pub(super) struct GroupHasher(u64);

impl Hasher for GroupHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
