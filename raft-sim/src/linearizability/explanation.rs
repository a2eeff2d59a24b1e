//! Why a history is not linearizable, for people who have to find out what went wrong.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};

use super::history::Call;
use super::model::Model;

/// The longest order of the operations of a key that explains their answers, and what cannot follow.
///
/// Positions are those in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample<K> {
    /// The key.
    pub key: K,
    /// How many operations it has.
    pub operations: usize,
    /// An order that places as many answered operations as can be.
    pub prefix: Vec<usize>,
    /// The operations of which one had to come next: they were called before any operation that is not placed returned.
    pub unplaced: Vec<usize>,
    /// Operations without an answer that could have come next, as far as time is concerned.
    pub unanswered: Vec<usize>,
    story: Story,
}

/// The same in words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Story {
    prefix: Vec<String>,
    state: String,
    unplaced: Vec<String>,
    unanswered: Vec<String>,
}

/// How many operations of the prefix, and of those without an answer, are shown.
const SHOWN_MAX: usize = 12;

impl<K: Debug> CounterExample<K> {
    /// Explains the operations at `positions`, of which `prefix` is the longest order.
    pub(super) fn new<M: Model<Key = K>>(
        key: K,
        history: &[Call<M>],
        positions: &[usize],
        prefix: Vec<usize>,
    ) -> CounterExample<K> {
        let placed = prefix.iter().copied().collect::<BTreeSet<_>>();
        let missing = positions
            .iter()
            .copied()
            .filter(|position| !placed.contains(position));
        let (unplaced, unanswered) = next_of(history, &missing.collect::<Vec<_>>());
        let mut state = M::initial(&key);
        for &position in &prefix {
            state = after(&state, &history[position]).expect("the search placed it here");
        }
        let told = |positions: &[usize]| positions.iter().map(|&at| format!("{:?}", history[at])).collect();
        let story = Story {
            prefix: told(&prefix[prefix.len().saturating_sub(SHOWN_MAX)..]),
            unplaced: unplaced
                .iter()
                .map(|&position| why_not(history, &state, &unplaced, position))
                .collect(),
            unanswered: told(&unanswered[..unanswered.len().min(SHOWN_MAX)]),
            state: format!("{state:?}"),
        };
        CounterExample {
            key,
            operations: positions.len(),
            prefix,
            unplaced,
            unanswered,
            story,
        }
    }
}

/// Which of the operations that are missing can come next as far as time is concerned: those with an answer, and those
/// without.
fn next_of<M: Model>(history: &[Call<M>], missing: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let returned = |&position: &usize| history[position].returned.as_ref().map(|(moment, _)| *moment);
    let first_return = missing.iter().filter_map(returned).min();
    let mut next = missing.to_vec();
    next.retain(|&position| Some(history[position].called) <= first_return);
    next.sort_by_key(|&position| (history[position].called, position));
    next.into_iter()
        .partition(|&position| history[position].returned.is_some())
}

fn after<M: Model>(state: &M::State, call: &Call<M>) -> Option<M::State> {
    let response = call.returned.as_ref().map(|(_, response)| response);
    M::step(state, &call.operation, response)
}

/// An operation, and why it cannot come next.
fn why_not<M: Model>(history: &[Call<M>], state: &M::State, unplaced: &[usize], position: usize) -> String {
    let call = &history[position];
    let Some(next) = after(state, call) else {
        return format!("{call:?}, which contradicts that state");
    };
    let others = unplaced.iter().filter(|&&other| other != position);
    let lost = others
        .map(|&other| &history[other])
        .find(|other| match &other.returned {
            Some((_, response)) => !M::may_still_answer(&next, &other.operation, response),
            None => false,
        });
    match lost {
        Some(other) => format!(
            "{call:?}, after which client {} could never get its answer",
            other.client
        ),
        None => format!("{call:?}, after which the others do not fit"),
    }
}

/// Several lines, for a newcomer.
impl<K: Debug> fmt::Display for CounterExample<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story {
            prefix,
            state,
            unplaced,
            unanswered,
        } = &self.story;
        writeln!(
            f,
            "Not linearizable: no order of the {} operations on key {:?} explains every answer.",
            self.operations, self.key
        )?;
        if prefix.is_empty() {
            writeln!(f, "Already the first is impossible. The state is {state}.")?;
        } else {
            let count = self.prefix.len();
            writeln!(
                f,
                "The longest order that can be explained has {count} and ends with:"
            )?;
            for (line, number) in prefix.iter().zip(count - prefix.len() + 1..) {
                writeln!(f, "  {number:>4}. {line}")?;
            }
            writeln!(f, "Then the state is {state}.")?;
        }
        writeln!(
            f,
            "One of these must come next, because all others were called after one of them had returned:"
        )?;
        for line in unplaced {
            writeln!(f, "     ✗ {line}")?;
        }
        if !unanswered.is_empty() {
            writeln!(
                f,
                "Nobody knows whether these took effect. It does not help to assume it of any:"
            )?;
            for line in unanswered {
                writeln!(f, "     ? {line}")?;
            }
        }
        if self.unanswered.len() > unanswered.len() {
            writeln!(f, "     … and {} more", self.unanswered.len() - unanswered.len())?;
        }
        Ok(())
    }
}
