//! Replicas that lose their memory (docs/decisions/0006): one at a time, with messages to and from its earlier life still
//! under way.
//!
//! A group that is new has nothing to lose, and a first member that is wiped before every first member has stored an entry
//! cannot be told from a new one. So this model begins with a leader whose first entry all have, and only then a disk may lose
//! something: everything, as a first member or as a stranger to the group, or the end of the log and the vote. The messages of
//! that first election are not under way any more; all later ones are. With them, a wiped first member can be made to vote as in
//! the new group, which the decision names as not covered.

use super::mark::Mark;
use super::scope::{LossKind, Scope, Start};

/// The scopes of this model, from the smallest on.
#[must_use]
pub fn scopes() -> Vec<Scope> {
    vec![
        lost_after_a_commit(),
        wiped_voter(),
        damaged_voter(),
        wiped_twice(),
    ]
}

/// A command is committed by two of three voters. One of the three loses its disk or the end of it, and the one that lacks the
/// command wants to lead.
#[must_use]
pub fn lost_after_a_commit() -> Scope {
    Scope {
        start: Start::Behind,
        campaigners: vec![3],
        terms_max: 2,
        losses: 1,
        loss_kinds: vec![LossKind::Wiped, LossKind::Replaced, LossKind::End],
        expected: vec![Mark::Loss, Mark::Suspicion, Mark::Trust],
        ..Scope::new("suspects/lost-after-a-commit")
    }
}

/// A voter is wiped while it votes, or asks for votes.
#[must_use]
pub fn wiped_voter() -> Scope {
    Scope {
        start: Start::Led { late_messages: false },
        campaigners: vec![2, 3],
        terms_max: 2,
        losses: 1,
        loss_kinds: vec![LossKind::Wiped],
        expected: vec![Mark::Election, Mark::Loss, Mark::Suspicion],
        ..Scope::new("suspects/wiped-voter")
    }
}

/// The same, and the disk is replaced by one that knows of no group, or lost its end.
#[must_use]
pub fn damaged_voter() -> Scope {
    Scope {
        loss_kinds: vec![LossKind::Replaced, LossKind::End],
        name: "suspects/damaged-voter",
        ..wiped_voter()
    }
}

/// A second disk is lost after the first one's replica was trusted again, whoever leads by then.
#[must_use]
pub fn wiped_twice() -> Scope {
    Scope {
        start: Start::Behind,
        campaigners: vec![2, 3],
        terms_max: 3,
        losses: 2,
        loss_kinds: vec![LossKind::Wiped, LossKind::Replaced, LossKind::End],
        // To be trusted again takes more steps than there is time for with so many courses.
        expected: vec![Mark::Loss, Mark::Suspicion],
        ..Scope::new("suspects/wiped-twice")
    }
}
