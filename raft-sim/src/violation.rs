//! An invariant that does not hold.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Instant;

/// An invariant did not hold after a step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub struct Violation {
    /// The name of the invariant, like `I7`; `panic` if the code under test panicked.
    pub invariant: String,
    /// What should always be true.
    pub statement: String,
    /// What was seen instead.
    pub seen: String,
    /// In which group of the run; they count up from 1.
    #[serde(default = "first_group")]
    pub group: u64,
    /// When, in nanoseconds of true time since the run began.
    pub at_nanos: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            invariant,
            statement,
            seen,
            group,
            at_nanos,
        } = self;
        let at = Instant(*at_nanos);
        write!(f, "{invariant} is violated ")?;
        if *group != first_group() {
            write!(f, "in group {group} ")?;
        }
        write!(f, "at {at}: {seen} ({statement})")
    }
}

/// The group of runs that have only one.
const fn first_group() -> u64 {
    1
}
