//! The search for an order of the operations of one key (Wing and Gong 1993, Lowe 2017).
//!
//! Calls and returns of answered operations form one list, by time. Whatever was called before the first return in it
//! can come next, and nothing else can: the operation of that return must stand before everything that was called
//! later. Placing an operation takes its two events out of the list; going back puts them in again where they were.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::history::{Call, Moment};
use super::model::Model;
use crate::fingerprint::Fingerprint;
use crate::random::Random;

/// How a search ended. Orders are positions in the history.
pub(super) enum SearchEnd {
    /// Every answered operation is placed.
    Order(Vec<usize>),
    /// There is no such order.
    NoOrder {
        /// One that places as many answered operations as can be.
        longest: Vec<usize>,
    },
    /// There were too many steps.
    GivenUp {
        /// The one that placed most answered operations so far.
        longest: Vec<usize>,
    },
}

/// The search for one key.
pub(super) struct Search<'a, M: Model> {
    history: &'a [Call<M>],
    events: Events,
    /// Positions in the history of what was never answered, by call.
    unanswered: Vec<Unanswered>,
    /// How many answered operations are not placed.
    remaining: usize,
    state: M::State,
    placed: Vec<Placed<M::State>>,
    /// A name of the set of placed operations: the numbers of all, combined.
    placed_set: u128,
    /// Which sets of placed operations with which states were searched. States are compared as they are; two different sets
    /// have the same name once in 2^128.
    searched: HashSet<(u128, M::State), BuildHasherDefault<Fingerprint>>,
    longest: Vec<usize>,
    longest_answered: usize,
    answered: usize,
}

/// An operation that was placed, and how to take it back.
struct Placed<S> {
    choice: Choice,
    /// Its position in the history.
    position: usize,
    number: u128,
    previous: S,
}

/// What to try next.
#[derive(Clone, Copy)]
enum Choice {
    /// An event in the list.
    Event(usize),
    /// An operation without an answer.
    Unanswered(usize),
}

struct Unanswered {
    position: usize,
    called: Moment,
    number: u128,
    placed: bool,
    /// The one before among those that ask the same, by its place in the list. Whatever this one could explain, that one could,
    /// since it was called earlier; so it is placed first.
    twin: Option<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    /// A search among the operations at these positions of the history.
    pub(super) fn new(history: &'a [Call<M>], positions: &[usize], initial: M::State) -> Search<'a, M> {
        let mut random = Random::fork(0, "sets of operations");
        let mut number = || u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        let mut spans = Vec::new();
        let mut unanswered = Vec::new();
        for &position in positions {
            let call = &history[position];
            let (called, number) = (call.called, number());
            match &call.returned {
                Some((returned, _)) => spans.push(Span {
                    position,
                    called,
                    returned: *returned,
                    number,
                }),
                None => unanswered.push(Unanswered {
                    position,
                    called,
                    number,
                    placed: false,
                    twin: None,
                }),
            }
        }
        unanswered.sort_by_key(|operation| (operation.called, operation.position));
        find_twins(history, &mut unanswered);
        Search {
            history,
            remaining: spans.len(),
            answered: spans.len(),
            events: Events::new(&spans),
            unanswered,
            state: initial,
            placed: Vec::new(),
            placed_set: 0,
            searched: HashSet::default(),
            longest: Vec::new(),
            longest_answered: 0,
        }
    }

    /// Searches, and says how many steps it took.
    pub(super) fn run(mut self, steps_max: u64) -> (SearchEnd, u64) {
        let mut choice = self.first();
        let mut steps = 0;
        while self.remaining > 0 {
            if steps == steps_max {
                self.keep_if_longest();
                let longest = self.longest;
                return (SearchEnd::GivenUp { longest }, steps);
            }
            steps += 1;
            choice = match self.candidate(choice) {
                Candidate::Try(position, number) if self.place(choice, position, number) => self.first(),
                Candidate::Try(..) | Candidate::Skip => self.after(choice),
                Candidate::NoMore => {
                    self.keep_if_longest();
                    match self.take_back() {
                        Some(failed) => self.after(failed),
                        None => {
                            let longest = self.longest;
                            return (SearchEnd::NoOrder { longest }, steps);
                        }
                    }
                }
            };
        }
        (SearchEnd::Order(self.order()), steps)
    }

    fn first(&self) -> Choice {
        Choice::Event(self.events.first())
    }

    fn after(&self, choice: Choice) -> Choice {
        match choice {
            Choice::Event(event) if self.events.is_return(event) => Choice::Unanswered(0),
            Choice::Event(event) => Choice::Event(self.events.next[event]),
            Choice::Unanswered(place) => Choice::Unanswered(place + 1),
        }
    }

    fn candidate(&self, choice: Choice) -> Candidate {
        match choice {
            // Whatever comes later in the list was called after this return. What was never answered comes last.
            Choice::Event(event) if self.events.is_return(event) => Candidate::Skip,
            Choice::Event(event) => {
                let span = self.events.span(event);
                Candidate::Try(span.position, span.number)
            }
            Choice::Unanswered(place) => match self.unanswered.get(place) {
                Some(operation) if operation.called > self.events.first_return() => Candidate::NoMore,
                Some(operation) if operation.placed => Candidate::Skip,
                Some(operation) if operation.twin.is_some_and(|twin| !self.unanswered[twin].placed) => {
                    Candidate::Skip
                }
                Some(operation) => Candidate::Try(operation.position, operation.number),
                None => Candidate::NoMore,
            },
        }
    }

    /// Places an operation next, if it fits there and that was not searched before.
    fn place(&mut self, choice: Choice, position: usize, number: u128) -> bool {
        let call = &self.history[position];
        let response = call.returned.as_ref().map(|(_, response)| response);
        let Some(next) = M::step(&self.state, &call.operation, response) else {
            return false;
        };
        // What nobody heard of and changes nothing can as well not have happened.
        if response.is_none() && next == self.state {
            return false;
        }
        if !self.all_may_still_answer(&next, position) {
            return false;
        }
        let placed_set = self.placed_set ^ number;
        if !self.searched.insert((placed_set, next.clone())) {
            return false;
        }
        self.placed_set = placed_set;
        let previous = std::mem::replace(&mut self.state, next);
        match choice {
            Choice::Event(event) => {
                self.events.remove(event);
                self.remaining -= 1;
            }
            Choice::Unanswered(place) => self.unanswered[place].placed = true,
        }
        self.placed.push(Placed {
            choice,
            position,
            number,
            previous,
        });
        true
    }

    /// Whether each operation that can come next, but for the one at `except`, can in this state or later.
    fn all_may_still_answer(&self, state: &M::State, except: usize) -> bool {
        let mut event = self.events.first();
        while !self.events.is_return(event) {
            let position = self.events.span(event).position;
            let call = &self.history[position];
            if position != except
                && let Some((_, response)) = &call.returned
                && !M::may_still_answer(state, &call.operation, response)
            {
                return false;
            }
            event = self.events.next[event];
        }
        true
    }

    /// Takes back what was placed last.
    fn take_back(&mut self) -> Option<Choice> {
        let last = self.placed.pop()?;
        self.placed_set ^= last.number;
        self.state = last.previous;
        match last.choice {
            Choice::Event(event) => {
                self.events.restore(event);
                self.remaining += 1;
            }
            Choice::Unanswered(place) => self.unanswered[place].placed = false,
        }
        Some(last.choice)
    }

    fn keep_if_longest(&mut self) {
        let answered = self.answered - self.remaining;
        if answered > self.longest_answered {
            self.longest_answered = answered;
            self.longest = self.order();
            // Those at the end without an answer were tried, and did not help.
            let is_answered = |&position: &usize| self.history[position].returned.is_some();
            let length = self
                .longest
                .iter()
                .rposition(is_answered)
                .map_or(0, |last| last + 1);
            self.longest.truncate(length);
        }
    }

    fn order(&self) -> Vec<usize> {
        self.placed.iter().map(|placed| placed.position).collect()
    }
}

fn find_twins<M: Model>(history: &[Call<M>], unanswered: &mut [Unanswered]) {
    for place in 1..unanswered.len() {
        let operation = |operation: &Unanswered| &history[operation.position].operation;
        let same = |earlier: &Unanswered| operation(earlier) == operation(&unanswered[place]);
        unanswered[place].twin = unanswered[..place].iter().rposition(same);
    }
}

/// What a choice stands for.
enum Candidate {
    /// The operation at this position of the history, with its number.
    Try(usize, u128),
    /// Nothing.
    Skip,
    /// Nothing, and neither do those after it.
    NoMore,
}

/// An answered operation.
#[derive(Clone)]
struct Span {
    position: usize,
    called: Moment,
    returned: Moment,
    number: u128,
}

/// The calls and returns that are not placed, by time: a doubly linked list in vectors.
///
/// Event `2 * n` is the call of operation `n`, and `2 * n + 1` its return. The last event of all stands for both ends.
struct Events {
    spans: Vec<Span>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Events {
    fn new(spans: &[Span]) -> Events {
        let end = spans.len() * 2;
        let mut order = (0..end).collect::<Vec<_>>();
        order.sort_by_key(|&event| {
            let span = &spans[event / 2];
            // Calls come before returns of the same moment: these operations are concurrent.
            match event % 2 {
                0 => (span.called, 0, event),
                _ => (span.returned, 1, event),
            }
        });
        let mut events = Events {
            spans: spans.to_vec(),
            next: vec![end; end + 1],
            previous: vec![end; end + 1],
        };
        let mut last = end;
        for event in order {
            events.link(last, event);
            last = event;
        }
        events.link(last, end);
        events
    }

    fn first(&self) -> usize {
        self.next[self.spans.len() * 2]
    }

    fn is_return(&self, event: usize) -> bool {
        event % 2 == 1
    }

    fn span(&self, event: usize) -> &Span {
        &self.spans[event / 2]
    }

    /// When the first of those that are not placed returned. There must be one.
    fn first_return(&self) -> Moment {
        let mut event = self.first();
        while !self.is_return(event) {
            event = self.next[event];
        }
        self.span(event).returned
    }

    /// Takes out a call and its return.
    fn remove(&mut self, call: usize) {
        for event in [call, call + 1] {
            self.link(self.previous[event], self.next[event]);
        }
    }

    /// Puts in again what was taken out last.
    fn restore(&mut self, call: usize) {
        for event in [call + 1, call] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = event;
            self.previous[next] = event;
        }
    }

    fn link(&mut self, previous: usize, next: usize) {
        self.next[previous] = next;
        self.previous[next] = previous;
    }
}
