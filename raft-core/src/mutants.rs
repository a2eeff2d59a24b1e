//! Bugs that can be switched on one at a time, so that whoever checks the protocol can show that the check finds them.
//!
//! Each [`Mutant`] is a mistake that implementations of Raft have made, at the very place where the right decision is made:
//! `if mutants::is(Mutant::QuorumMinusOne)`. Without the feature `mutants` the answer is a constant, and nothing of a
//! mutant is left in the program. With the feature this crate builds with debug assertions only, so that no release can have
//! one by accident.
//!
//! One mutant at most is chosen, for each thread apart. An assertion that would always stop a mutant before anybody can see
//! what it does is lifted for that mutant.

#![cfg_attr(
    not(feature = "mutants"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "public, and in use, with the feature only"
    )
)]

#[cfg(feature = "mutants")]
use std::cell::Cell;
use std::str::FromStr;

use thiserror::Error;

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!(
    "the feature `mutants` of raft-core puts bugs into the protocol and is not for releases; build without it, or with a \
     profile that has debug assertions, such as `--profile simulation`"
);

/// Declares the mutants, their names and the list of all.
macro_rules! mutants {
    ($($(#[$doc:meta])* $mutant:ident = $name:literal,)*) => {
        /// One mistake: what it is, which rule (`docs/rules.md`) it breaks, and by which invariant it shows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[$doc])* $mutant,)*
        }

        impl Mutant {
            /// Every mutant.
            pub const ALL: &[Mutant] = &[$(Mutant::$mutant,)*];

            /// Its name on a command line, such as `quorum-minus-one`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Mutant::$mutant => $name,)*
                }
            }
        }
    };
}

mutants! {
    // ---- log and commit ----

    /// A leader commits by counting replicas of an entry of an older term (R1, Figure 8). I7; then I6, I8.
    PriorTermCommit = "prior-term-commit",
    /// One voter less than a majority decides (R13, R30). I7 for the commit index, I1 for elections.
    QuorumMinusOne = "quorum-minus-one",
    /// The commit index is taken from the matches in the order of the voters, not of the matches (R13). I7.
    UnsortedProgress = "unsorted-progress",
    /// A leader counts itself for what its disk does not have yet (R58). I7, I11.
    LeaderCountsUnsynced = "leader-counts-unsynced",
    /// A follower commits up to the end of its own log, verified or not (R3). I8.
    CommitBeyondVerified = "commit-beyond-verified",
    /// A follower rewrites its log from the first entry of any message, also of a late one (R5). I11; then I6, I13.
    TruncateOnStaleAppend = "truncate-on-stale-append",
    /// A follower looks for an entry at the index before the new ones, whatever its term (R7; Figure 2, step 2). I5.
    PrevTermUnchecked = "prev-term-unchecked",
    /// A follower closes a hole before what it was sent with entries that nobody proposed (R12). I5, I10.
    GapAccepted = "gap-accepted",
    /// A follower acknowledges its whole log, not what the message has verified (R3, R4). I7.
    AckBeyondMatch = "ack-beyond-match",
    /// A leader takes the index in a rejection for one that matches (R8, R9). I7.
    MatchFromRejection = "match-from-rejection",
}

/// There is no mutant of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no mutant `{0}`; give one of: {names}", names = names())]
pub struct UnknownMutant(pub String);

fn names() -> String {
    let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    names.join(", ")
}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Mutant, UnknownMutant> {
        let mut all = Mutant::ALL.iter().copied();
        let found = all.find(|mutant| mutant.name() == name);
        found.ok_or_else(|| UnknownMutant(name.to_owned()))
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Switches one mutant on for this thread, or all of them off.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Whether this mutant is on in this thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// Whether this mutant is on: never, where there are none.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name is the variant's in small letters, and leads back to it.
    #[test]
    fn names_lead_back() {
        for &mutant in Mutant::ALL {
            let variant = format!("{mutant:?}");
            let mut name = String::new();
            for letter in variant.chars() {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.extend(letter.to_lowercase());
            }
            assert_eq!(mutant.name(), name);
            assert_eq!(name.parse(), Ok(mutant));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_known() {
        let error = "no-such-mutant".parse::<Mutant>().unwrap_err();
        assert!(error.to_string().contains("quorum-minus-one"), "{error}");
    }
}
