//! Forced recovery: one replica goes on alone after its group lost the majority for good.
//!
//! A group that lost more voters than it survives can decide nothing any more, not even to give those voters up. Whoever
//! owns it can: by writing into the log of one stopped replica that it is the only voter from now on. That is no step of
//! the protocol, and it breaks the protocol's promise: what the majority acknowledged without this replica is lost. So a
//! [`RecoveryPlan`] first says what may be lost, and only then gives the [write](RecoveryPlan::write) that does it.
//!
//! The write appends one configuration, in a term that no lost replica can have reached, and does nothing else: no entry
//! is dropped, none is declared committed, the state machine and its sessions are not touched. The next start is an
//! ordinary one. The configuration counts because it is the latest in the log (thesis §4.1); the replica elects itself,
//! and commits its whole log with the first entry of its own term (paper §5.4.2).
//!
//! What nobody here can check, its owner must see to: the lost replicas never start again with their data. They have a
//! majority of the configuration that is given up here, and would go on without this replica as if nothing had happened.
//! The same goes for other survivors, whose logs may contradict this one: they are wiped and join under new ids, because a
//! wiped replica with its old id might break the promises it once gave (R68).
//!
//! Everything here is pure: the caller loads, asks, and writes.

use std::fmt;

use thiserror::Error;

use crate::effect::LogChange;
use crate::entry::{Entry, Payload};
use crate::log::{RaftLog, TermAt};
use crate::membership::{Membership, MembershipParts};
use crate::raft::LostEntries;
use crate::traits::{GroupWrite, Recovered};
use crate::types::{EntryId, GroupId, HardState, Index, NodeId, Term, Trust};

/// How many terms are skipped. The lost majority may have held elections that were never heard of here; an entry of the
/// recovery must not have the id of an entry of theirs, or two different logs would count as one.
const TERMS_SKIPPED: u64 = 1_000_000;

/// How far a stopped replica is. Displayed, it is one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The highest term that it has seen.
    pub term: Term,
    /// The last entry of its log: of several survivors the one is best where it is highest (R37).
    pub last: EntryId,
    /// The last entry that it knows to be committed.
    pub commit: EntryId,
    /// What its state machine has applied.
    pub applied: EntryId,
    /// The latest configuration in its log, committed or not.
    pub membership: Membership,
    /// Whether it may itself have lost something that it had acknowledged, and has not caught up since (R68).
    pub is_suspect: bool,
}

impl Position {
    /// How far the replica is whose log store loaded `recovered`, and whose state machine has applied `applied`. Fails if
    /// the log ends below what is known to be committed (R11).
    pub fn new(recovered: &Recovered, applied: EntryId) -> Result<Position, LostEntries> {
        let log = RaftLog::new(recovered);
        let last = log.last();
        let commit = [recovered.snapshot.last, recovered.purged, applied]
            .iter()
            .fold(recovered.hard_state.commit, |commit, id| commit.max(id.index));
        let TermAt::Known(commit_term) = log.term(commit) else {
            return Err(LostEntries { commit, last });
        };
        let latest = recovered.memberships.last().map(|(_, membership)| membership);
        Ok(Position {
            term: recovered.hard_state.term,
            last,
            commit: EntryId::new(commit_term, commit),
            applied,
            membership: latest.unwrap_or(&recovered.snapshot.membership).clone(),
            is_suspect: recovered.lost || recovered.hard_state.trust == Trust::Suspect,
        })
    }
}

/// `last 10@2, term 3, committed 8@2, applied 7@2, members {1,2,3}`: entries as index@term.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position {
            term,
            last,
            commit,
            applied,
            membership,
            is_suspect,
        } = self;
        write!(
            f,
            "last {last}, term {term}, committed {commit}, applied {applied}, members {membership}"
        )?;
        if *is_suspect {
            f.write_str(", a suspect")?;
        }
        Ok(())
    }
}

/// What a forced recovery from one replica would do, and what may be lost by it. Displayed, it is a statement for people.
#[derive(Clone, Debug)]
pub struct RecoveryPlan {
    /// The group.
    pub group: GroupId,
    /// The replica that goes on alone.
    pub survivor: NodeId,
    /// How far it is.
    pub found: Position,
    /// The configuration from now on: the survivor as the only voter. It keeps its contact, and the highest id that is
    /// known here stays in use (R68).
    pub target: Membership,
    /// Everybody else who may be a member: none of them may ever be started again with the data that it has.
    pub lost: Vec<NodeId>,
    stored_commit: Index,
    log: RaftLog,
}

/// Why a replica cannot go on alone by a forced recovery.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// It never belonged to the group.
    #[error("node {0} has stored nothing of the group; recover a replica that has been a member")]
    NothingStored(NodeId),
    /// It was removed, and that is committed: the group went on without it.
    #[error("node {survivor} is not a member of {membership} any more; recover a replica that is")]
    NotAMember {
        /// The replica.
        survivor: NodeId,
        /// The configuration that it is not part of.
        membership: Membership,
    },
    /// It can elect itself as it is: it is the only voter, and no suspect.
    #[error("node {0} is the only voter already; just start it")]
    NotNeeded(NodeId),
    /// Its log ends below what it knew to be committed (R11).
    #[error(transparent)]
    AcknowledgedEntryLost(#[from] LostEntries),
}

impl RecoveryPlan {
    /// Works out what it means that `survivor` goes on alone. `recovered` is what its log store loaded, `applied` the last
    /// entry that its state machine has applied.
    pub fn new(
        group: GroupId,
        survivor: NodeId,
        recovered: &Recovered,
        applied: EntryId,
    ) -> Result<RecoveryPlan, RecoveryError> {
        let found = Position::new(recovered, applied)?;
        let configurations = possible_configurations(recovered, found.commit.index);
        if configurations.iter().all(|one| one.voters().is_empty()) {
            return Err(RecoveryError::NothingStored(survivor));
        }
        let current = &found.membership;
        if !configurations.iter().any(|one| one.contains(survivor)) {
            return Err(RecoveryError::NotAMember {
                survivor,
                membership: current.clone(),
            });
        }
        let leads_alone = current.voters() == [survivor] && !current.is_joint();
        if leads_alone && !found.is_suspect {
            return Err(RecoveryError::NotNeeded(survivor));
        }
        Ok(RecoveryPlan {
            group,
            survivor,
            target: alone(survivor, &configurations),
            lost: others(survivor, &configurations),
            found,
            stored_commit: recovered.hard_state.commit,
            log: RaftLog::new(recovered),
        })
    }

    /// The entries that are not known here to be committed and will be, whatever the group had decided: the first and the
    /// last index.
    #[must_use]
    pub fn undecided(&self) -> Option<(Index, Index)> {
        let (commit, last) = (self.found.commit.index, self.found.last.index);
        (commit < last).then(|| (commit.next(), last))
    }

    /// Whether an entry that another survivor knows to be committed is in this log. The highest last entry does not
    /// guarantee it when there is no majority: it may be one that was never committed (paper, Figure 8).
    #[must_use]
    pub fn contains(&self, committed_elsewhere: EntryId) -> bool {
        // What was purged is committed here, and two replicas never know different entries to be committed (I8).
        committed_elsewhere.index <= self.log.purged().index || self.log.matches(committed_elsewhere)
    }

    /// The write that does it: durable, it is the new configuration of the group.
    #[must_use]
    pub fn write(&self) -> GroupWrite {
        let term = Term(self.found.term.max(self.found.last.term).0 + TERMS_SKIPPED);
        let entry = Entry {
            id: EntryId::new(term, self.found.last.index.next()),
            payload: Payload::Membership(self.target.clone()),
        };
        GroupWrite {
            group: self.group,
            hard_state: Some(HardState {
                term,
                vote: None,
                commit: self.stored_commit,
                // Nobody is left who could tell a suspect what it lacks.
                trust: Trust::Trusted,
            }),
            snapshot: None,
            log: LogChange::Append(vec![entry]),
        }
    }
}

/// The configurations that the group may have: the committed one and all that follow it. Never empty.
fn possible_configurations(recovered: &Recovered, commit: Index) -> Vec<&Membership> {
    let later = &recovered.memberships;
    let committed = later.partition_point(|(index, _)| *index <= commit);
    let mut configurations = Vec::with_capacity(1 + later.len() - committed);
    configurations.push(match committed.checked_sub(1) {
        Some(position) => &later[position].1,
        None => &recovered.snapshot.membership,
    });
    configurations.extend(later[committed..].iter().map(|(_, membership)| membership));
    configurations
}

/// `survivor` as the only member.
fn alone(survivor: NodeId, configurations: &[&Membership]) -> Membership {
    let newest_first = configurations.iter().rev();
    let contact = newest_first.clone().find_map(|one| one.contact(survivor));
    let highest_id = newest_first.map(|one| one.highest_id()).max();
    Membership::from_parts(MembershipParts {
        voters: vec![survivor],
        contacts: contact
            .map(|contact| (survivor, contact.clone()))
            .into_iter()
            .collect(),
        highest_id: highest_id.unwrap_or_default(),
        ..MembershipParts::default()
    })
    .expect("one voter, who was a member, is a configuration")
}

fn others(survivor: NodeId, configurations: &[&Membership]) -> Vec<NodeId> {
    let mut others: Vec<NodeId> = configurations.iter().flat_map(|one| one.members()).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|other| *other != survivor);
    others
}

impl fmt::Display for RecoveryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (survivor, membership) = (self.survivor, &self.found.membership);
        writeln!(
            f,
            "Node {survivor} is to go on alone. The members it knows of are {membership}; it will be the only one."
        )?;
        if !membership.is_voter(survivor) {
            writeln!(f, "It has no vote there; it will have the only one.")?;
        }
        self.describe_log(f)?;
        writeln!(f, "\nWhat will be decided now")?;
        match self.undecided() {
            Some((first, last)) => writeln!(
                f,
                "  Entries {first} to {last} are not known here to be committed, and will be: a write takes effect\n  \
                 even if its client was told that it was not applied, or was told nothing."
            )?,
            None => writeln!(f, "  Nothing: every entry is known to be committed.")?,
        }
        self.describe_loss(f)?;
        self.describe_danger(f)
    }
}

impl RecoveryPlan {
    fn describe_log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.found.last;
        writeln!(f, "\nWhat it has")?;
        if last == EntryId::ZERO {
            writeln!(f, "  No entry at all: whatever the group decided is lost.")?;
        } else {
            let (commit, applied) = (entry_name(self.found.commit), entry_name(self.found.applied));
            writeln!(
                f,
                "  The log up to entry {last} (index@term). It knows that the log is committed up to {commit};\n  its \
                 state machine has applied {applied}."
            )?;
        }
        writeln!(
            f,
            "  If other nodes are left, the right one to recover has the highest last entry, by term first and\n  then by \
             index, and its log contains what every other one knows to be committed."
        )
    }

    fn describe_loss(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nWhat may be lost\n  Every write that was acknowledged above index {} and is not in this log. The lost majority may \
             have\n  replaced what stands here above that index, and gone on beyond entry {}; nobody can tell from here\n  \
             how many there were. Clients may have read them, and may see older data now.",
            self.found.commit.index, self.found.last
        )?;
        if self.found.is_suspect {
            writeln!(
                f,
                "  Node {} is a suspect: it may also lack writes that it had acknowledged itself. Prefer another\n  \
                 survivor that is none.",
                self.survivor
            )?;
        }
        Ok(())
    }

    fn describe_danger(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat must never happen")?;
        for member in &self.lost {
            writeln!(
                f,
                "  Node {member} must never be started again, neither with its data nor, wiped, under its id."
            )?;
        }
        write!(
            f,
            "  The lost nodes would go on as the group that is given up here, and other survivors may\n  contradict this \
             log. Wipe them. New nodes join under new ids: above {}, and above every id that\n  the group ever gave out.",
            self.target.highest_id()
        )
    }
}

fn entry_name(id: EntryId) -> String {
    if id == EntryId::ZERO {
        "no entry".to_owned()
    } else {
        format!("entry {id}")
    }
}

#[cfg(test)]
mod tests;
