//! Majorities of one sorted set of voters.

use crate::mutants::{self, Mutant};
use crate::types::{Index, NodeId};

/// The state of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// A majority said yes.
    Won,
    /// So many said no that a majority can no longer say yes.
    Lost,
    /// Neither yet.
    Pending,
}

/// How many of `count` voters are a majority. An empty set decides nothing by itself (R66).
#[must_use]
pub fn quorum(count: usize) -> usize {
    if mutants::is(Mutant::QuorumMinusOne) {
        return (count / 2).max(1);
    }
    count / 2 + 1
}

/// The state of a vote among `voters`: `answer` says yes, no, or nothing yet.
/// An empty set has won (R66: it is the missing half of a configuration that is not joint).
#[must_use]
pub fn vote_result(voters: &[NodeId], mut answer: impl FnMut(NodeId) -> Option<bool>) -> VoteResult {
    if voters.is_empty() {
        return VoteResult::Won;
    }
    let (mut yes, mut no) = (0, 0);
    for &voter in voters {
        match answer(voter) {
            Some(true) => yes += 1,
            Some(false) => no += 1,
            None => {}
        }
    }
    if yes >= quorum(voters.len()) {
        VoteResult::Won
    } else if no > voters.len() - quorum(voters.len()) {
        VoteResult::Lost
    } else {
        VoteResult::Pending
    }
}

/// The largest value that a majority of `voters` has reached, where `reached` gives each voter's value.
/// An empty set has reached everything (R66).
#[must_use]
pub fn reached_by_majority(voters: &[NodeId], mut reached: impl FnMut(NodeId) -> u64) -> u64 {
    const ON_STACK: usize = 9;
    if voters.is_empty() {
        return u64::MAX;
    }
    let mut on_stack = [0; ON_STACK];
    let mut on_heap;
    let values: &mut [u64] = if voters.len() <= ON_STACK {
        &mut on_stack[..voters.len()]
    } else {
        on_heap = vec![0; voters.len()];
        &mut on_heap
    };
    for (value, &voter) in values.iter_mut().zip(voters) {
        *value = reached(voter);
    }
    if !mutants::is(Mutant::UnsortedProgress) {
        values.sort_unstable();
    }
    values[values.len() - quorum(values.len())]
}

/// The largest index that a majority of `voters` has made durable.
#[must_use]
pub fn committed_index(voters: &[NodeId], mut matched: impl FnMut(NodeId) -> Index) -> Index {
    Index(reached_by_majority(voters, |voter| matched(voter).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brute force over every assignment of values 0..=2 to up to five voters.
    #[test]
    fn reached_by_majority_agrees_with_its_definition() {
        for count in 1..=5usize {
            let voters: Vec<NodeId> = (1..=count as u64).map(NodeId).collect();
            for mut code in 0..3usize.pow(u32::try_from(count).unwrap()) {
                let values: Vec<u64> = (0..count)
                    .map(|_| {
                        let value = code % 3;
                        code /= 3;
                        value as u64
                    })
                    .collect();
                let expected = (0..=2)
                    .rev()
                    .find(|&v| values.iter().filter(|&&x| x >= v).count() * 2 > count)
                    .unwrap();
                assert_eq!(
                    reached_by_majority(&voters, |id| values[id.0 as usize - 1]),
                    expected
                );
            }
        }
    }

    /// Brute force over every assignment of yes, no and silence to up to five voters.
    #[test]
    fn vote_result_agrees_with_its_definition() {
        for count in 1..=5usize {
            let voters: Vec<NodeId> = (1..=count as u64).map(NodeId).collect();
            for mut code in 0..3usize.pow(u32::try_from(count).unwrap()) {
                let answers: Vec<Option<bool>> = (0..count)
                    .map(|_| {
                        let answer = [None, Some(false), Some(true)][code % 3];
                        code /= 3;
                        answer
                    })
                    .collect();
                let yes = answers.iter().filter(|a| **a == Some(true)).count();
                let silent = answers.iter().filter(|a| a.is_none()).count();
                let expected = if yes * 2 > count {
                    VoteResult::Won
                } else if (yes + silent) * 2 > count {
                    VoteResult::Pending
                } else {
                    VoteResult::Lost
                };
                assert_eq!(vote_result(&voters, |id| answers[id.0 as usize - 1]), expected);
            }
        }
    }

    /// R66: an empty half of a joint quorum decides nothing: commit = infinity, vote = won.
    #[test]
    fn an_empty_half_is_always_satisfied() {
        assert_eq!(vote_result(&[], |_| None), VoteResult::Won);
        assert_eq!(committed_index(&[], |_| Index::ZERO), Index(u64::MAX));
    }
}
