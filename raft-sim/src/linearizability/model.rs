//! What a service answers that does one thing at a time.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification, one key at a time.
///
/// Operations of different keys must not depend on each other. A service for which that is not true has the one key `()`.
pub trait Model {
    /// What an operation concerns.
    type Key: Ord + Clone + Debug;
    /// What the service knows of one key. Small ones make the search fast: it keeps one for each step.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked. Equal operations have equal effects.
    type Operation: PartialEq + Debug;
    /// What is answered.
    type Response: Debug;

    /// The key of an operation.
    fn key(operation: &Self::Operation) -> Self::Key;

    /// What is known of a key before the first operation.
    fn initial(key: &Self::Key) -> Self::State;

    /// The state after an operation. None if it could not have answered so in this state. Without a response any answer is
    /// possible, since nobody got it.
    fn step(
        state: &Self::State,
        operation: &Self::Operation,
        response: Option<&Self::Response>,
    ) -> Option<Self::State>;

    /// Whether an operation may answer so in this state or in any that can follow it, whatever happens in between.
    ///
    /// A hint that spares the search what cannot end well: true is always right, and false must be certain. A service that
    /// counts its writes and shows the count knows that no later state has a lower one.
    fn may_still_answer(
        _state: &Self::State,
        _operation: &Self::Operation,
        _response: &Self::Response,
    ) -> bool {
        true
    }
}
