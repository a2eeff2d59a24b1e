//! The target `step` finds what one replica can do wrong: each of these bugs is switched on, and must be seen. A check that
//! cannot fail is no check.

use std::panic::catch_unwind;

use fuzz_targets::mutation::Random;
use fuzz_targets::step;
use raft_core::mutants::{self, Mutant};

/// The bugs that show in what one replica says and writes.
const SEEN: &[Mutant] = &[
    Mutant::AckBeyondMatch,
    Mutant::SuspectVotes,
    Mutant::VoteTwice,
    Mutant::VoteReplyBeforeSync,
    Mutant::AckBeforeSync,
    Mutant::ApplyBeforeDurable,
    Mutant::DoubleApplyOnRestart,
    Mutant::ForeignMessageHeard,
    Mutant::SnapshotOverNewerLog,
    Mutant::PurgeBeyondSnapshot,
    Mutant::PrevTermUnchecked,
    Mutant::TermAndVoteInTwoWrites,
];

/// Each was seen within 70 inputs when this was written.
const INPUTS_MAX: u64 = 400;

/// Inputs of all lengths, without any knowledge of what they mean.
fn input(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let length = 200 + random.below(1_800);
    (0..length).map(|_| random.next_u64() as u8).collect()
}

#[test]
fn every_bug_of_one_replica_is_seen() {
    let mut unseen = Vec::new();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for &mutant in SEEN {
        mutants::choose(Some(mutant));
        let is_seen = (0..INPUTS_MAX).any(|seed| catch_unwind(|| step::step(&input(seed))).is_err());
        mutants::choose(None);
        if !is_seen {
            unseen.push(mutant);
        }
    }
    std::panic::set_hook(hook);
    assert_eq!(unseen, []);
}

/// What is seen above is the bugs: without one, the same inputs find nothing.
#[test]
fn without_a_bug_nothing_is_seen() {
    for seed in 0..70 {
        step::step(&input(seed));
    }
}
