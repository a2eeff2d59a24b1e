//! Decides whether what a store has after a crash is what it must have.
//!
//! The calls of one process have one order, and a store makes them durable in that order: so what it has must be what
//! the first so many calls make, at least up to the last acknowledged one. That includes every rule at once: nothing
//! acknowledged is missing, no call is there in part, nothing refused is there, no log has a hole, no term falls.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Model;
use crate::record::{Change, Digest, Ended, Event, Found, Operation};

/// What is known about a store: what it had for certain, and what was asked since.
#[derive(Clone, Debug, Default)]
pub struct History {
    base: Model,
    calls: Vec<Asked>,
    /// Every entry that was ever written, by group and index: what a replica that lost something may have.
    written: BTreeMap<(u64, u64), BTreeSet<Digest>>,
}

#[derive(Clone, Debug)]
struct Asked {
    operation: Operation,
    refusable: bool,
    outcome: Option<Ended>,
}

/// How the next process found the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything acknowledged is there.
    Whole,
    /// It says that something is missing, and what is there is sound.
    Suspect,
    /// It does not open, and says why.
    Refused,
    /// The process ended before it could say anything, as it was to.
    Unseen,
}

impl History {
    /// Takes in what a process asked for, after what it found was judged.
    ///
    /// # Errors
    /// A call ended as it must not.
    pub fn extend(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match event {
                Event::Begin { operation, refusable } => {
                    self.note(operation);
                    self.calls.push(Asked {
                        operation: operation.clone(),
                        refusable: *refusable,
                        outcome: None,
                    });
                }
                Event::End { number, outcome } => {
                    // What a process found is judged before, so that its first call is the first here, too.
                    let call = usize::try_from(*number)
                        .ok()
                        .and_then(|number| self.calls.get_mut(number));
                    let Some(call) = call else {
                        return Err(format!("call {number} ended before it began"));
                    };
                    check_outcome(call, outcome)?;
                    call.outcome = Some(outcome.clone());
                }
                Event::Opened(_) | Event::Refused(_) | Event::Closed => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, operation: &Operation) {
        let changes: &[Change] = match operation {
            Operation::Write(changes) => changes,
            _ => &[],
        };
        for change in changes {
            for entry in change.entries.entries() {
                let at = (change.group, entry.index().0);
                self.written.entry(at).or_default().insert(Digest::of(&entry));
            }
        }
    }

    /// The calls that must be there, and all that may be.
    fn range(&self) -> (usize, usize) {
        let acknowledged = |call: &Asked| call.outcome == Some(Ended::Acknowledged);
        let must = self.calls.iter().rposition(acknowledged);
        (must.map_or(0, |last| last + 1), self.calls.len())
    }

    /// Judges what a process found when it opened the store. If everything is there, that is what the next one must find.
    ///
    /// # Errors
    /// What is missing, or there although it must not be.
    pub fn judge(&mut self, found: &[Found]) -> Result<Verdict, String> {
        let lost: Vec<&Found> = found.iter().filter(|found| found.lost).collect();
        let trusted: Vec<Found> = found.iter().filter(|found| !found.lost).cloned().collect();
        let mut model = self.base.clone();
        let (must, may) = self.range();
        let mut first_difference = None;
        for count in 0..=may {
            if count >= must {
                match model.difference(&trusted) {
                    None => {
                        if !lost.is_empty() {
                            lost.iter().try_for_each(|found| self.judge_suspect(found))?;
                            return Ok(Verdict::Suspect);
                        }
                        // Not what was found: a purge that was, and is not durable, may still be forgotten.
                        self.base = model;
                        self.calls.clear();
                        return Ok(Verdict::Whole);
                    }
                    Some(difference) => first_difference = first_difference.or(Some(difference)),
                }
            }
            if let Some(call) = self.calls.get(count)
                && !call.refusable
            {
                model.apply(&call.operation);
            }
        }
        Err(format!(
            "after {must} acknowledged calls, {} more begun: {}",
            may - must,
            first_difference.unwrap_or_default()
        ))
    }

    /// What the groups have that say that they lost something.
    #[must_use]
    pub fn explain(&self, found: &[Found]) -> String {
        let mut model = self.base.clone();
        let (must, _) = self.range();
        for call in self.calls.iter().take(must).filter(|call| !call.refusable) {
            model.apply(&call.operation);
        }
        let texts = found.iter().filter(|found| found.lost).map(|found| {
            let expected = model.group(found.group);
            format!(
                "group {} has term {}, vote {}, entries {} to {}; acknowledged were term {}, vote {}, entries {} to {}",
                found.group,
                found.hard_state.term,
                found.hard_state.vote,
                found.purged.index + 1,
                found.last,
                expected.hard_state.term,
                expected.hard_state.vote,
                expected.purged.index + 1,
                expected.last
            )
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    /// A replica that lost something has nothing that was never written, and says that it is a suspect.
    fn judge_suspect(&self, found: &Found) -> Result<(), String> {
        let group = found.group;
        if !found.suspect {
            return Err(format!(
                "group {group} lost something, and its hard state does not say so"
            ));
        }
        let base = self.base.group(group);
        for (index, entry) in (found.purged.index + 1..).zip(&found.entries) {
            let written = self.written.get(&(group, index));
            let known = base.entries.get(&index) == Some(entry)
                || written.is_some_and(|written| written.contains(entry));
            if !known {
                return Err(format!(
                    "group {group}: entry {index} is {entry:?}, which was never written"
                ));
            }
        }
        Ok(())
    }
}

fn check_outcome(call: &Asked, outcome: &Ended) -> Result<(), String> {
    match (call.refusable, outcome) {
        (true, Ended::Acknowledged) => Err(format!("a gap was acknowledged: {:?}", call.operation)),
        (false, Ended::Refused) => Err(format!("a sound call was refused: {:?}", call.operation)),
        _ => Ok(()),
    }
}
