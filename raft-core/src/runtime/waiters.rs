//! The clients of one replica that wait, by ticket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::budget::Permit;
use super::error::{ProposeError, ReadError};
use super::node::Applied;
use crate::driver::Outcome;
use crate::request::RefusalReason;
use crate::types::{Index, Ticket};

/// A client that waits. If it gave up meanwhile, its answer goes nowhere.
#[derive(Debug)]
pub(super) enum Waiter {
    /// For the response to its command, whose bytes count until then.
    Propose(oneshot::Sender<Result<Applied, ProposeError>>, Option<Permit>),
    /// For the moment when the state machine may be read.
    Barrier(oneshot::Sender<Result<Index, ReadError>>),
    /// For the answer to its question.
    Query(Question),
    /// For the end of another request.
    Request(oneshot::Sender<Outcome>),
}

/// A question to the state machine.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) question: Bytes,
    pub(super) reply: oneshot::Sender<Result<Bytes, ReadError>>,
}

/// Everybody who waits, and how many of each kind have not been answered.
///
/// A request counts from its admission, before it has a ticket, until its answer is sent.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    slots: Mutex<Slots>,
    proposals: AtomicUsize,
    reads: AtomicUsize,
}

/// A slot map: a ticket is a position and how often the position was used before.
#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    waiter: Option<Waiter>,
}

impl Slots {
    fn insert(&mut self, waiter: Waiter) -> Ticket {
        let position = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                waiter: None,
            });
            u32::try_from(self.slots.len() - 1).expect("the limits on requests are far below 2^32")
        });
        let slot = &mut self.slots[position as usize];
        slot.waiter = Some(waiter);
        // The highest bit belongs to the driver.
        Ticket(u64::from(slot.generation & (u32::MAX >> 1)) << 32 | u64::from(position))
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let position = (ticket.0 & u64::from(u32::MAX)) as usize;
        let slot = self.slots.get_mut(position)?;
        if u64::from(slot.generation & (u32::MAX >> 1)) != ticket.0 >> 32 {
            return None;
        }
        let waiter = slot.waiter.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(position as u32);
        Some(waiter)
    }
}

impl Waiters {
    /// Counts a proposal in, unless there are `limit` already.
    pub(super) fn admit_proposal(&self, limit: usize) -> Result<(), RefusalReason> {
        admit(&self.proposals, limit)
    }

    /// Counts a read in, unless there are `limit` already.
    pub(super) fn admit_read(&self, limit: usize) -> Result<(), RefusalReason> {
        admit(&self.reads, limit)
    }

    /// How many requests were admitted and are not answered yet.
    pub(super) fn unresolved(&self) -> usize {
        self.proposals.load(Ordering::Relaxed) + self.reads.load(Ordering::Relaxed)
    }

    /// Gives each a ticket.
    pub(super) fn register(
        &self,
        waiters: impl IntoIterator<Item = Waiter>,
        mut with_ticket: impl FnMut(Ticket),
    ) {
        let mut slots = self.lock();
        for waiter in waiters {
            with_ticket(slots.insert(waiter));
        }
    }

    /// Answers requests that have ended, whose number was `outcomes`. Returns the questions that may be asked now.
    pub(super) fn resolve(&self, outcomes: &mut Vec<(Ticket, Outcome)>) -> Vec<Question> {
        if outcomes.is_empty() {
            return Vec::new();
        }
        let mut ended = Vec::with_capacity(outcomes.len());
        {
            let mut slots = self.lock();
            for (ticket, outcome) in outcomes.drain(..) {
                if let Some(waiter) = slots.remove(ticket) {
                    ended.push((waiter, outcome));
                }
            }
        }
        self.end(ended)
    }

    /// Answers everybody, because the node has stopped.
    pub(super) fn resolve_all_stopped(&self) {
        let mut ended = Vec::new();
        {
            let mut slots = self.lock();
            for slot in &mut slots.slots {
                match slot.waiter.take() {
                    // It may be in the log by now.
                    Some(waiter @ (Waiter::Propose(..) | Waiter::Request(_))) => {
                        ended.push((waiter, Outcome::Unknown))
                    }
                    Some(waiter) => ended.push((waiter, Outcome::Refused(RefusalReason::Stopped))),
                    None => {}
                }
            }
            slots.slots.clear();
            slots.free.clear();
        }
        self.end(ended);
    }

    /// Answers requests that never got a ticket.
    pub(super) fn refuse(&self, waiters: impl IntoIterator<Item = Waiter>, reason: RefusalReason) {
        let refused = |waiter| (waiter, Outcome::Refused(reason));
        self.end(waiters.into_iter().map(refused).collect());
    }

    fn end(&self, ended: Vec<(Waiter, Outcome)>) -> Vec<Question> {
        // First make room, then answer: whoever is answered may ask again at once.
        let (mut proposals, mut reads) = (0, 0);
        for (waiter, outcome) in &ended {
            match (waiter, outcome) {
                (Waiter::Propose(..) | Waiter::Request(_), _) => proposals += 1,
                // The question is still to be asked.
                (Waiter::Query(_), Outcome::ReadReady { .. }) => {}
                (Waiter::Barrier(_) | Waiter::Query(_), _) => reads += 1,
            }
        }
        self.proposals.fetch_sub(proposals, Ordering::Relaxed);
        self.reads.fetch_sub(reads, Ordering::Relaxed);
        let mut questions = Vec::new();
        for (waiter, outcome) in ended {
            match waiter {
                Waiter::Propose(reply, permit) => {
                    drop(permit);
                    drop(reply.send(proposed(outcome)));
                }
                Waiter::Barrier(reply) => drop(reply.send(read(outcome))),
                Waiter::Request(reply) => drop(reply.send(outcome)),
                Waiter::Query(question) => match read(outcome) {
                    Ok(_) => questions.push(question),
                    Err(error) => drop(question.reply.send(Err(error))),
                },
            }
        }
        questions
    }

    /// Answers a question.
    pub(super) fn answer(&self, question: Question, answer: Result<Bytes, crate::traits::StateMachineError>) {
        self.reads.fetch_sub(1, Ordering::Relaxed);
        let answer = answer.map_err(|error| ReadError::StateMachine(Arc::new(error)));
        drop(question.reply.send(answer));
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // A panic under this lock could only come from running out of memory.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admit(count: &AtomicUsize, limit: usize) -> Result<(), RefusalReason> {
    if count.fetch_add(1, Ordering::Relaxed) >= limit {
        count.fetch_sub(1, Ordering::Relaxed);
        return Err(RefusalReason::Busy);
    }
    Ok(())
}

fn proposed(outcome: Outcome) -> Result<Applied, ProposeError> {
    match outcome {
        Outcome::Applied { index, response } => Ok(Applied { index, response }),
        Outcome::Refused(reason) => Err(ProposeError::NotApplied(reason)),
        _ => Err(ProposeError::Unknown),
    }
}

fn read(outcome: Outcome) -> Result<Index, ReadError> {
    match outcome {
        Outcome::ReadReady { index } => Ok(index),
        Outcome::Refused(reason) => Err(ReadError::Refused(reason)),
        _ => Err(ReadError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal() -> (Waiter, oneshot::Receiver<Result<Applied, ProposeError>>) {
        let (reply, answer) = oneshot::channel();
        (Waiter::Propose(reply, None), answer)
    }

    fn register(waiters: &Waiters, waiter: Waiter) -> Ticket {
        let mut tickets = Vec::new();
        waiters.register([waiter], |ticket| tickets.push(ticket));
        tickets[0]
    }

    /// A ticket that was resolved never names a later request that got the same slot.
    #[test]
    fn a_ticket_is_good_once() {
        let waiters = Waiters::default();
        let (waiter, mut first) = proposal();
        waiters.admit_proposal(9).unwrap();
        let old = register(&waiters, waiter);
        waiters.resolve(&mut vec![(old, Outcome::Unknown), (old, Outcome::Unknown)]);
        assert_eq!(first.try_recv().unwrap(), Err(ProposeError::Unknown));
        let (waiter, mut second) = proposal();
        waiters.admit_proposal(9).unwrap();
        let new = register(&waiters, waiter);
        assert_ne!(old, new);
        waiters.resolve(&mut vec![(old, Outcome::Unknown)]);
        assert!(second.try_recv().is_err());
        assert_eq!(waiters.unresolved(), 1);
    }

    /// R20: the limit counts what is not answered.
    #[test]
    fn the_limit_is_exact() {
        let waiters = Waiters::default();
        waiters.admit_proposal(1).unwrap();
        assert_eq!(waiters.admit_proposal(1), Err(RefusalReason::Busy));
        waiters.admit_read(1).unwrap();
        let (waiter, _answer) = proposal();
        waiters.refuse([waiter], RefusalReason::Stopped);
        waiters.admit_proposal(1).unwrap();
        assert_eq!(waiters.unresolved(), 2);
    }

    /// R45: whoever still waits when the node has stopped is told so; only a command may have had an effect.
    #[test]
    fn a_stop_answers_everybody() {
        let waiters = Waiters::default();
        let (waiter, mut proposal) = proposal();
        let (reply, mut barrier) = oneshot::channel();
        waiters.admit_proposal(9).unwrap();
        waiters.admit_read(9).unwrap();
        waiters.register([waiter, Waiter::Barrier(reply)], |_| {});
        waiters.resolve_all_stopped();
        assert_eq!(proposal.try_recv().unwrap(), Err(ProposeError::Unknown));
        assert!(matches!(
            barrier.try_recv().unwrap(),
            Err(ReadError::Refused(RefusalReason::Stopped))
        ));
        assert_eq!(waiters.unresolved(), 0);
    }
}
