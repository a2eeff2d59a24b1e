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

    // ---- elections ----

    /// A voter votes for every candidate of a term (R32). I2; then I1.
    VoteTwice = "vote-twice",
    /// A voter votes whatever the candidate's log lacks (R37). I6.
    VoteForShorterLog = "vote-for-shorter-log",
    /// A candidate raises its term without having asked whether anybody would vote for it (R22). I26.
    NoPreVote = "no-pre-vote",
    /// A voter forgets at once that it hears a leader (R22, R34). I18, I26.
    NoStickiness = "no-stickiness",
    /// A leader that hears nobody goes on leading (R36). I26.
    CheckQuorumOff = "check-quorum-off",
    /// A replica that had voted for itself leads when it starts again (R39). I1.
    RestartResumesLeadership = "restart-resumes-leadership",

    // ---- sleep ----

    /// A leader sleeps as soon as one follower does (R36). I29.
    LeaderSleepsAlone = "leader-sleeps-alone",
    /// A follower sleeps when it is asked to, whatever it lacks of the log or has not applied. I29.
    FollowerSleepsBehind = "follower-sleeps-behind",
    /// A node takes the first sign of life of a node that was started again for one more of its old life. I29.
    RestartedPulseCounted = "restarted-pulse-counted",
    /// A node that lives does not say that it leads a group no more (R36). I29.
    EndedLeadershipNotTold = "ended-leadership-not-told",

    // ---- durability ----

    /// A vote is told before it is on disk (R55, R32). I3, I11.
    VoteReplyBeforeSync = "vote-reply-before-sync",
    /// A new vote is written before the term that it belongs to (R32). I2.
    TermAndVoteInTwoWrites = "term-and-vote-in-two-writes",
    /// Entries are acknowledged before they are on disk (R55). I11; then I7.
    AckBeforeSync = "ack-before-sync",
    /// The state machine gets committed entries that the own disk does not have yet (R72). I11, I12.
    ApplyBeforeDurable = "apply-before-durable",
    /// The state machine is given the last applied entry once more after a start (R72). I9, I10.
    DoubleApplyOnRestart = "double-apply-on-restart",

    // ---- reads ----

    /// Reads are confirmed at a commit index that an older leader may have passed (R40). I17; then I16.
    ReadIndexWithoutOwnTermCommit = "read-index-without-own-term-commit",
    /// Reads wait for a round that was begun before they came (R41). I17; then I16.
    ReadRoundReused = "read-round-reused",
    /// A confirmed read does not wait for the state machine (R75). I16.
    ReadBeforeApply = "read-before-apply",
    /// A leader reads by lease for as long as answers of a quorum let it lead, whenever they were asked for (R42). I18.
    LeaseFromCheckQuorum = "lease-from-check-quorum",

    // ---- membership ----

    /// A change is taken before anything of the leader's term is committed (R61). I19; then I1, I6.
    ChangeBeforeOwnTermCommit = "change-before-own-term-commit",
    /// A change is taken while another one is not committed (R61). I19.
    ChangeWhilePending = "change-while-pending",
    /// The new half of a joint configuration decides alone (R13, R43). I7, I19.
    JointByOneHalf = "joint-by-one-half",
    /// A learner's match counts towards the majority of the voters (R13). I7, I19.
    LearnerCounted = "learner-counted",
    /// A leader leads on when its removal is committed (R64). I20.
    RemovedLeaderStays = "removed-leader-stays",
    /// Messages of another group are heard (R69). I24.
    ForeignMessageHeard = "foreign-message-heard",

    // ---- lost memory ----

    /// A replica that may have lost what it promised is no suspect (R68, R11). I22; then I6, I7.
    WipedNodeTrusted = "wiped-node-trusted",
    /// A suspect votes (R68). I23.
    SuspectVotes = "suspect-votes",
    /// A leader counts what suspects acknowledge (R68). I23, I7.
    SuspectCounted = "suspect-counted",
    /// A leader does not tell one start of a follower from another, and counts what earlier ones acknowledged (R68). I23, I7.
    OldIncarnationCounted = "old-incarnation-counted",

    // ---- snapshots and limits ----

    /// A snapshot replaces a log that has all of it and more (R46, R47). I8, I21; then I11.
    SnapshotOverNewerLog = "snapshot-over-newer-log",
    /// The log is purged up to what is applied, in a snapshot or not (R52). I12.
    PurgeBeyondSnapshot = "purge-beyond-snapshot",
    /// A leader waits for ever for a snapshot whose transfer failed (R49). I27.
    SnapshotFailureForgotten = "snapshot-failure-forgotten",
    /// A follower is sent entries without limit (R18). I25.
    WindowIgnored = "window-ignored",

    // ---- clients ----

    /// A snapshot has no sessions in it (R73). I15, I21.
    SessionsMissingFromSnapshot = "sessions-missing-from-snapshot",
    /// Sessions expire by each replica's own clock, which is [set](set_wall_clock) from outside (R73). I10, I15.
    ExpiryByWallClock = "expiry-by-wall-clock",
    /// The command of a session is applied as often as it is in the log (R73). I15.
    DuplicateCommandApplied = "duplicate-command-applied",
    /// A leader that loses its office says that nothing under way was applied, as if it knew (R45). I14.
    LossToldAsRefusal = "loss-told-as-refusal",
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
    static WALL_CLOCK_MS: Cell<u64> = const { Cell::new(0) };
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

/// Says what the clock of the replica shows that is stepped next in this thread, in milliseconds. Only
/// [`Mutant::ExpiryByWallClock`] looks at it.
#[cfg(feature = "mutants")]
pub fn set_wall_clock(milliseconds: u64) {
    WALL_CLOCK_MS.set(milliseconds);
}

/// The clock of the replica, in milliseconds.
#[cfg(feature = "mutants")]
pub(crate) fn wall_clock_ms() -> u64 {
    WALL_CLOCK_MS.get()
}

/// Nobody has a clock.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn wall_clock_ms() -> u64 {
    0
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
