//! Takes recorded steps again.

use thiserror::Error;

use super::checkpoint::{StateHash, state_hash};
use super::format::{Record, WallTime};
use crate::effect::Effect;
use crate::raft::{Raft, RaftError};
use crate::types::Time;

/// A replica that does again what was recorded, record by record.
///
/// ```
/// # use raft_core::record::{Records, Replay, ReplayError};
/// # fn replay(bytes: bytes::Bytes) -> Result<(), Box<dyn std::error::Error>> {
/// let mut replay = Replay::default();
/// let mut effects = Vec::new();
/// for record in Records::new(bytes)? {
///     replay.take(record?, &mut effects)?;
/// }
/// println!("{} steps end in {:?}", replay.steps(), replay.hash());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Replay {
    raft: Option<Raft>,
    steps: u64,
    verified: Option<u64>,
    /// A moment, and the time of day then.
    anchor: Option<(Time, WallTime)>,
    starts: u64,
}

/// What a record did to a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It only says who recorded.
    Header,
    /// The replica was started.
    Started,
    /// The replica goes on from this state, without the steps before it.
    Resumed {
        /// How many steps are missing, if that can be told.
        missing: Option<u64>,
    },
    /// The replica took this step.
    Stepped {
        /// Its number.
        step: u64,
    },
    /// The state is the recorded one.
    Verified {
        /// Its hash.
        hash: StateHash,
    },
    /// The state is the recorded one, and the replica stopped.
    Ended {
        /// Its hash.
        hash: StateHash,
    },
}

/// Why a replay cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The replica does something else than when it was recorded.
    #[error(
        "the replay diverges at step {step}: the state was {recorded} when it was recorded and is {replayed} now; the states were \
         equal after step {equal_until}. Is this the program that made the recording?"
    )]
    Diverged {
        /// The step after which the states differ. It is this one or one after `equal_until`.
        step: u64,
        /// The last step after which the states were seen to be equal.
        equal_until: u64,
        /// The recorded state.
        recorded: StateHash,
        /// The state now.
        replayed: StateHash,
    },
    /// A record tells of another number of steps.
    #[error("step {found} is recorded where step {expected} belongs")]
    OutOfOrder {
        /// The number that belongs there.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// A step without a state to take it in.
    #[error("a step is recorded before any state")]
    NoState,
    /// A state is said to have more steps before it than can be counted.
    #[error("more steps are recorded than can be counted")]
    TooManySteps,
    /// The replica does not start from what it was started from.
    #[error("the replica does not start: {0}")]
    Start(#[from] RaftError),
}

impl Replay {
    /// The replica, once there is one.
    #[must_use]
    pub fn raft(&self) -> Option<&Raft> {
        self.raft.as_ref()
    }

    /// How many steps the replica has taken since it was started, with those that are not in the recording.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The last step after which the state was seen to be the recorded one.
    #[must_use]
    pub fn verified(&self) -> Option<u64> {
        self.verified
    }

    /// How many starts of the replica the recording has told of.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The hash of the state, once there is one.
    #[must_use]
    pub fn hash(&self) -> Option<StateHash> {
        self.raft.as_ref().map(state_hash)
    }

    /// The time of day at `at`, as far as the recording tells.
    #[must_use]
    pub fn wall(&self, at: Time) -> Option<WallTime> {
        let (anchor, wall) = self.anchor?;
        // A recording may say anything.
        let nanos = wall.0.checked_add(at.as_nanos())?.checked_sub(anchor.as_nanos());
        nanos.map(WallTime)
    }

    /// Takes the next record; what a step asks for is appended to `effects`.
    ///
    /// # Panics
    /// If the step that was recorded violates an invariant of the protocol, as it did then.
    pub fn take(&mut self, record: Record, effects: &mut Vec<Effect>) -> Result<Replayed, ReplayError> {
        match record {
            Record::Header(_) => Ok(Replayed::Header),
            Record::Start {
                config,
                recovered,
                applied,
                at,
                wall,
            } => {
                self.raft = Some(Raft::new(*config, *recovered, applied, at)?);
                self.anchor = Some((at, wall));
                (self.steps, self.verified) = (0, None);
                self.starts += 1;
                Ok(Replayed::Started)
            }
            Record::Checkpoint {
                steps,
                at,
                wall,
                raft,
            } => {
                self.anchor = Some((at, wall));
                let incarnation = |raft: &Raft| raft.config().incarnation;
                let goes_on = self
                    .raft
                    .as_ref()
                    .is_some_and(|own| incarnation(own) == incarnation(&raft));
                if goes_on && self.steps == steps {
                    return self.verify(steps, state_hash(&raft));
                }
                let missing = self
                    .raft
                    .is_some()
                    .then(|| steps.checked_sub(self.steps))
                    .flatten();
                self.raft = Some(*raft);
                (self.steps, self.verified) = (steps, Some(steps));
                Ok(Replayed::Resumed { missing })
            }
            Record::Step { at, inputs } => {
                let raft = self.raft.as_mut().ok_or(ReplayError::NoState)?;
                let step = self.steps.checked_add(1).ok_or(ReplayError::TooManySteps)?;
                raft.step_all(at, inputs, effects);
                self.steps = step;
                Ok(Replayed::Stepped { step: self.steps })
            }
            Record::State {
                steps,
                at,
                wall,
                hash,
            } => {
                self.anchor = Some((at, wall));
                self.verify(steps, hash)
            }
            Record::End { steps, hash } => {
                self.verify(steps, hash)?;
                Ok(Replayed::Ended { hash })
            }
        }
    }

    fn verify(&mut self, steps: u64, recorded: StateHash) -> Result<Replayed, ReplayError> {
        let raft = self.raft.as_ref().ok_or(ReplayError::NoState)?;
        if steps != self.steps {
            let (expected, found) = (self.steps, steps);
            return Err(ReplayError::OutOfOrder { expected, found });
        }
        let replayed = state_hash(raft);
        if replayed != recorded {
            return Err(ReplayError::Diverged {
                step: steps,
                equal_until: self.verified.unwrap_or(0),
                recorded,
                replayed,
            });
        }
        self.verified = Some(steps);
        Ok(Replayed::Verified { hash: recorded })
    }
}
