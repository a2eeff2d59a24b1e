//! The history of every key, one after the other.

use std::collections::BTreeMap;

use super::explanation::CounterExample;
use super::history::Call;
use super::model::Model;
use super::search::{Search, SearchEnd};

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<K> {
    /// It is: for each key an order of its operations that explains every answer, by their positions in the history.
    /// Operations that were never answered and are not needed are missing.
    Linearizable(BTreeMap<K, Vec<usize>>),
    /// It is not, because of this key.
    NotLinearizable(Box<CounterExample<K>>),
    /// No key was found wrong, and for at least one, such as this, the search was given up.
    Undecided {
        /// The first key for which it was.
        key: K,
        /// How many of its operations could be placed.
        placed: usize,
        /// How many steps were taken for all keys.
        steps: u64,
    },
}

/// Judges a history, given in any order. The search for each key is given up after `steps_max` steps, each of which is one
/// operation that is tried at one place.
///
/// # Panics
/// If an operation returned before it was called.
#[must_use]
pub fn check<M: Model>(history: &[Call<M>], steps_max: u64) -> Verdict<M::Key> {
    let mut keys = BTreeMap::<M::Key, Vec<usize>>::new();
    for (position, call) in history.iter().enumerate() {
        if let Some((returned, _)) = &call.returned {
            assert!(call.called <= *returned, "{call:?} returned before it was called");
        }
        keys.entry(M::key(&call.operation)).or_default().push(position);
    }
    let mut witness = BTreeMap::new();
    let mut undecided = None;
    let mut steps = 0;
    for (key, positions) in keys {
        let (end, taken) = Search::new(history, &positions, M::initial(&key)).run(steps_max);
        steps += taken;
        match end {
            SearchEnd::Order(order) => {
                witness.insert(key, order);
            }
            SearchEnd::NoOrder { longest } => {
                let example = CounterExample::new(key, history, &positions, longest);
                return Verdict::NotLinearizable(Box::new(example));
            }
            SearchEnd::GivenUp { longest } => undecided = undecided.or(Some((key, longest.len()))),
        }
    }
    match undecided {
        Some((key, placed)) => Verdict::Undecided { key, placed, steps },
        None => Verdict::Linearizable(witness),
    }
}
