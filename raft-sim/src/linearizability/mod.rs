//! Whether what clients saw can be explained by one copy of the service that does one thing at a time (I16).
//!
//! A history is linearizable if its operations can be put into one order in which each stands between its call and its
//! return, and each answers what the sequential service would answer there (Herlihy and Wing, "Linearizability: a
//! correctness condition for concurrent objects", 1990). An operation without an answer may stand anywhere after its
//! call, or nowhere: whoever asked does not know whether it took effect.
//!
//! The order is searched depth first, as by Wing and Gong ("Testing and verifying concurrent objects", 1993), and
//! no pair of operations placed and state reached is searched twice (Lowe, "Testing for linearizability", 2017).
//! Three more things keep it fast:
//! - each key is searched alone: a history is linearizable if and only if that of each key is (Herlihy and Wing's
//!   theorem of locality). Which operations have the same key is the [`Model`]'s word;
//! - operations without an answer are tried last, where nothing else fits, only if they change something, and of equal
//!   ones only the first. They are what makes the problem hard: each doubles the sets that could have been placed;
//! - a model may say that an answer is out of reach for good ([`Model::may_still_answer`]).
//!
//! Invariants:
//! - the answer follows from the history and the model alone; the hash set of what was searched is never iterated;
//! - the search ends: it counts its steps, and says so when there were too many.

mod check;
mod explanation;
mod history;
mod model;
mod search;

pub use check::{Verdict, check};
pub use explanation::CounterExample;
pub use history::{Call, Moment};
pub use model::Model;

#[cfg(test)]
mod tests;
