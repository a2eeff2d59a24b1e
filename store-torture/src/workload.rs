//! What is asked of a store: calls that follow from a seed and from what was asked before.

use crate::model::{Group, Model};
use crate::random::Random;
use crate::record::{Change, Hard, Operation, Place, Run, Snapshot};

/// The groups are numbered from 1 to this.
pub(crate) const GROUPS: u64 = 5;

/// Draws calls.
#[derive(Debug)]
pub(crate) struct Workload {
    random: Random,
}

/// A call, and whether the store must refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The call.
    pub(crate) operation: Operation,
    /// It leaves a gap.
    pub(crate) refusable: bool,
}

impl Workload {
    /// Begins with a generator of its own.
    #[must_use]
    pub(crate) fn new(random: Random) -> Workload {
        Workload { random }
    }

    /// The next call on top of `model`, which is everything that was asked for before.
    pub(crate) fn next(&mut self, model: &Model) -> Call {
        let group = self.random.between(1, GROUPS);
        let state = model.group(group);
        let stored = state.last - state.purged.index;
        match self.random.below(100) {
            0..3 => Call {
                operation: Operation::Destroy(group),
                refusable: false,
            },
            3..11 if state.snapshot.last.index > state.purged.index && stored > 0 => {
                self.compact(group, &state)
            }
            11..14 => self.gap(group, &state),
            _ => self.write(group, model),
        }
    }

    fn compact(&mut self, group: u64, state: &Group) -> Call {
        let end = state.snapshot.last.index.min(state.last);
        let index = self.random.between(state.purged.index + 1, end);
        let through = Place {
            term: state.term_at(index),
            index,
        };
        Call {
            operation: Operation::Compact { group, through },
            refusable: false,
        }
    }

    /// A write that must be refused whole: its second group is fine.
    fn gap(&mut self, group: u64, state: &Group) -> Call {
        let first = Place {
            term: self.term(state),
            index: state.last + 2,
        };
        let mut change = plain(group);
        change.entries = self.run(first);
        change.hard_state = Some(self.hard_state(state, first.term));
        let mut other = plain(group % GROUPS + 1);
        other.hard_state = Some(Hard {
            term: u64::MAX,
            ..Hard::default()
        });
        Call {
            operation: Operation::Write(vec![other, change]),
            refusable: true,
        }
    }

    fn write(&mut self, group: u64, model: &Model) -> Call {
        let groups = match self.random.chance(15) {
            true => self.random.between(2, 3),
            false => 1,
        };
        let changes = (0..groups).map(|more| {
            let group = (group - 1 + more) % GROUPS + 1;
            self.change(group, &model.group(group))
        });
        Call {
            operation: Operation::Write(changes.collect()),
            refusable: false,
        }
    }

    fn change(&mut self, group: u64, state: &Group) -> Change {
        let mut change = plain(group);
        match self.random.below(100) {
            // A vote, in a new term or the present one, alone.
            0..15 => {
                let hard_state = self.hard_state(state, state.hard_state.term.max(1));
                change.hard_state = Some(hard_state);
            }
            // A snapshot of what is applied.
            15..25 if state.last > state.snapshot.last.index.max(state.purged.index) => {
                let low = state.snapshot.last.index.max(state.purged.index) + 1;
                let index = self.random.between(low, state.last);
                change.snapshot = Some(Snapshot {
                    last: Place {
                        term: state.term_at(index),
                        index,
                    },
                    voters: self.random.between(1, 5),
                });
            }
            // A snapshot that a leader sent, which takes the place of the log.
            25..29 => self.reset(&mut change, state),
            // The end of the log is overwritten.
            29..39 if state.last > state.purged.index => {
                let first = Place {
                    term: self.term(state).max(state.hard_state.term + 1),
                    index: self.random.between(
                        state
                            .purged
                            .index
                            .max(state.last - (state.last - state.purged.index).min(20))
                            + 1,
                        state.last,
                    ),
                };
                change.entries = self.run(first);
                change.hard_state = Some(self.hard_state(state, first.term));
            }
            _ => {
                let first = Place {
                    term: self.term(state),
                    index: state.last + 1,
                };
                change.entries = self.run(first);
                if first.term > state.hard_state.term || self.random.chance(10) {
                    change.hard_state = Some(self.hard_state(state, first.term));
                }
            }
        }
        change
    }

    fn reset(&mut self, change: &mut Change, state: &Group) {
        let last = Place {
            term: self.term(state),
            index: state.last.max(state.snapshot.last.index) + self.random.between(1, 30),
        };
        change.reset = true;
        change.snapshot = Some(Snapshot {
            last,
            voters: self.random.between(1, 5),
        });
        change.hard_state = Some(self.hard_state(state, last.term));
        if self.random.chance(50) {
            change.entries = self.run(Place {
                term: last.term,
                index: last.index + 1,
            });
        }
    }

    /// A term that an entry at the end of the log can have.
    fn term(&mut self, state: &Group) -> u64 {
        let least = state.term_at(state.last).max(state.snapshot.last.term).max(1);
        least.max(state.hard_state.term) + self.random.below(10) / 9
    }

    /// A hard state of at least `term`: a term never falls, and a vote is written once.
    fn hard_state(&mut self, state: &Group, term: u64) -> Hard {
        let before = state.hard_state;
        let term = term.max(before.term) + self.random.below(4) / 3;
        let vote = match term == before.term && before.vote > 0 {
            true => before.vote,
            false => self.random.below(4),
        };
        let commit = before.commit.max(state.snapshot.last.index).min(state.last);
        Hard { term, vote, commit }
    }

    /// Few small entries most of the time, and sometimes many, or one that is large.
    fn run(&mut self, first: Place) -> Run {
        let (count, bytes) = match self.random.below(100) {
            0..5 => (1, 0),
            5..40 => (1, 16),
            40..70 => (self.random.between(1, 16), self.random.between(1, 256)),
            70..85 => (self.random.between(1, 8), self.random.between(400, 3000)),
            85..93 => (256, 256),
            93..97 => (self.random.between(2, 40), 1024),
            _ => (1, self.random.between(50_000, 300_000)),
        };
        Run {
            first,
            count,
            bytes,
            seed: self.random.next(),
        }
    }
}

fn plain(group: u64) -> Change {
    Change {
        group,
        hard_state: None,
        snapshot: None,
        reset: false,
        entries: Run::default(),
    }
}
