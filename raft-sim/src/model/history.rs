//! What has happened so far in the whole group, and the invariants over it.
//!
//! The checks look at disks and logs, never at what a leader believes about them.

use std::collections::BTreeSet;

use raft_core::membership::Membership;
use raft_core::types::{EntryId, Index, NodeId, Term};

use super::disk::position;
use super::mark::{Mark, Marks};
use super::replica::Event;
use super::view::View;

/// An invariant that does not hold: its number, and what was seen.
pub(super) type Violation = (u8, String);

/// What no replica can be asked any more. Nothing else of the past is kept: two courses that agree in this and in the state
/// of the group have the same future.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// Who led each term so far, from term 1.
    leaders: Vec<Option<NodeId>>,
    /// What was ever committed, and in which term it was.
    committed: Vec<(EntryId, Term)>,
}

/// One step of one replica, seen from outside.
pub(super) struct Seen<'a> {
    pub(super) before: &'a View,
    pub(super) after: &'a View,
    pub(super) events: &'a [Event],
    /// Every replica after the step.
    pub(super) all: &'a [&'a View],
}

impl History {
    pub(super) fn committed_count(&self) -> usize {
        self.committed.len()
    }

    /// Takes a step into account, and checks what must hold after it. Returns what is noteworthy about it.
    pub(super) fn record(&mut self, seen: &Seen<'_>) -> Result<Marks, Violation> {
        let mut marks = Marks::default();
        let mut counted = vec![&seen.before.membership];
        for event in seen.events {
            match event {
                Event::Broken(invariant, what) => return Err((*invariant, what.clone())),
                Event::Counted(membership) => counted.push(membership),
                Event::Elected(term) => self.elected(seen.after, *term)?,
                Event::Read { began, index } if index.0 < u64::from(*began) => {
                    let what = format!("a read that began when {began} entries were committed sees {index}");
                    return Err((16, what));
                }
                Event::Read { .. } => {}
            }
        }
        self.commit(seen, &counted, &mut marks)?;
        self.check_commit(seen.after)?;
        self.check_changes(seen)?;
        check_removed_leader(seen.after)?;
        check_log_matching(seen)?;
        self.check_leases(seen.all, &mut marks)?;
        note(seen, &mut marks);
        Ok(marks)
    }

    /// I1: at most one leader per term. I6: a new leader holds every entry that was committed in an earlier term.
    fn elected(&mut self, leader: &View, term: Term) -> Result<(), Violation> {
        let place = position(Index(term.0));
        self.leaders.resize(self.leaders.len().max(place + 1), None);
        let known = *self.leaders[place].get_or_insert(leader.id);
        if known != leader.id {
            return Err((
                1,
                format!("nodes {known} and {} both lead term {term}", leader.id),
            ));
        }
        let lacks = |&&(id, in_term): &&(EntryId, Term)| in_term < term && !leader.has(id);
        match self.committed.iter().find(lacks) {
            Some((id, in_term)) => {
                let what = format!(
                    "node {} leads term {term} and lacks {id}, which was committed in term {in_term}",
                    leader.id
                );
                Err((6, what))
            }
            None => Ok(()),
        }
    }

    /// I7: what a leader commits ends with an entry of its term, and is on a quorum of the disks of each half of a
    /// configuration that it counted with. I23: the disks of suspects are none of them. I19: nor are those of learners.
    fn commit(
        &mut self,
        seen: &Seen<'_>,
        counted: &[&Membership],
        marks: &mut Marks,
    ) -> Result<(), Violation> {
        let leader = seen.after;
        let new = leader.commit.0.saturating_sub(self.committed.len() as u64);
        if new == 0 || !(leader.leads() || seen.before.leads()) {
            return Ok(());
        }
        let term = seen.before.term;
        let last = leader.at(leader.commit).map(|slot| slot.id);
        if last.is_none_or(|last| last.term != term) {
            return Err((
                7,
                format!("the leader of term {term} commits {last:?} by counting"),
            ));
        }
        for index in self.committed.len() as u64 + 1..=leader.commit.0 {
            let Some(slot) = leader.at(Index(index)) else {
                return Err((
                    8,
                    format!("node {} commits {index} and does not have it", leader.id),
                ));
            };
            let counts = |voter: NodeId| {
                let view = seen.all.iter().find(|view| view.id == voter);
                view.is_some_and(|view| view.counts_for(slot.id))
            };
            if !counted.iter().any(|membership| is_quorum(membership, counts)) {
                let what = format!("{} is committed and not on a quorum of disks that count", slot.id);
                return Err((7, what));
            }
            self.committed.push((slot.id, term));
            marks.set(if slot.is_command {
                Mark::Command
            } else {
                Mark::Commit
            });
        }
        Ok(())
    }

    /// I8: what a replica believes to be committed is, and is the same for all.
    fn check_commit(&self, view: &View) -> Result<(), Violation> {
        let commit = view.commit;
        if commit.0 > self.committed.len() as u64 {
            return Err((
                8,
                format!(
                    "node {} believes {commit} to be committed: nobody did that",
                    view.id
                ),
            ));
        }
        let prefix = self
            .committed
            .iter()
            .take(usize::try_from(commit.0).unwrap_or(usize::MAX));
        match prefix.clone().find(|(id, _)| !view.has(*id)) {
            Some((id, _)) => Err((
                8,
                format!("{id} is committed, and node {} has another entry there", view.id),
            )),
            None => Ok(()),
        }
    }

    /// I19: at most one configuration is uncommitted when another one is appended, its quorums intersect those of the one
    /// before, and it gives no id out twice. R61: the leader has committed an entry of its own term before.
    fn check_changes(&self, seen: &Seen<'_>) -> Result<(), Violation> {
        let leader = seen.after;
        if !leader.leads() || leader.log.len() <= seen.before.log.len() {
            return Ok(());
        }
        let known = Index(seen.before.log.len() as u64);
        let mut configurations = leader.memberships(Index(u64::MAX)).collect::<Vec<_>>();
        let old = configurations.partition_point(|(index, _)| *index <= known);
        configurations.drain(..old - 1);
        for pair in configurations.windows(2) {
            let ((before_at, before), (at, new)) = (pair[0], pair[1]);
            if before_at > leader.commit {
                let what = format!("{before} at {before_at} is not committed, and {new} is appended at {at}");
                return Err((19, what));
            }
            let committed = leader.at(leader.commit).map(|slot| slot.id.term);
            if committed != Some(leader.term) {
                return Err((
                    19,
                    format!("{new} is appended before an entry of the term is committed"),
                ));
            }
            if !quorums_intersect(before, new) {
                return Err((19, format!("{before} and {new} can decide apart")));
            }
            let is_old = |id: &NodeId| before.contains(*id) || *id > before.highest_id();
            if !new.members().iter().all(is_old) {
                return Err((19, format!("{new} uses an id of {before} again")));
            }
        }
        Ok(())
    }

    /// I18: at most one leader holds a valid lease, and whoever reads by it reads everything that was committed.
    fn check_leases(&self, all: &[&View], marks: &mut Marks) -> Result<(), Violation> {
        let mut holder: Option<&View> = None;
        for view in all {
            let Some(index) = view.lease else { continue };
            if let Some(other) = holder {
                let what = format!("nodes {} and {} both hold a valid lease", other.id, view.id);
                return Err((18, what));
            }
            if index.0 < self.committed.len() as u64 {
                let what = format!(
                    "node {} reads up to {index} by its lease, and {} entries are committed",
                    view.id,
                    self.committed.len()
                );
                return Err((18, what));
            }
            holder = Some(view);
            marks.set(if view.term > Term(1) {
                Mark::LaterLease
            } else {
                Mark::Lease
            });
        }
        Ok(())
    }
}

/// I5: if two logs hold entries of one index and term, they are equal up to there.
fn check_log_matching(seen: &Seen<'_>) -> Result<(), Violation> {
    for other in seen.all.iter().filter(|other| other.id != seen.after.id) {
        let pairs = || seen.after.log.iter().zip(&other.log);
        let Some(last) = pairs().rposition(|(one, two)| one.id == two.id) else {
            continue;
        };
        if let Some((one, two)) = pairs().take(last + 1).find(|(one, two)| one != two) {
            let what = format!(
                "nodes {} and {} agree in entry {last} and have {} and {} before it",
                seen.after.id, other.id, one.id, two.id
            );
            return Err((5, what));
        }
    }
    Ok(())
}

/// I20: a leader that is no voter of the committed configuration has stepped down.
fn check_removed_leader(leader: &View) -> Result<(), Violation> {
    if !leader.leads() {
        return Ok(());
    }
    let latest = leader.memberships(Index(u64::MAX)).last();
    let is_over = latest
        .is_some_and(|(at, latest)| at <= leader.commit && !latest.is_joint() && !latest.is_voter(leader.id));
    let has_own_commit = leader
        .at(leader.commit)
        .is_some_and(|slot| slot.id.term == leader.term);
    if is_over && has_own_commit {
        return Err((
            20,
            format!("node {} leads on after its removal was committed", leader.id),
        ));
    }
    Ok(())
}

/// What is noteworthy about the state of the group.
fn note(seen: &Seen<'_>, marks: &mut Marks) {
    let terms: BTreeSet<Term> = seen
        .all
        .iter()
        .filter(|view| view.leads())
        .map(|view| view.term)
        .collect();
    if terms.len() > 1 {
        marks.set(Mark::TwoLeaders);
    }
    let (before, after) = (&seen.before.log, &seen.after.log);
    if before.iter().zip(after).any(|(one, two)| one.id != two.id) {
        marks.set(Mark::Overwritten);
    }
}

/// Whether `holds` is true of a majority of each half, by definition.
fn is_quorum(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    halves.iter().all(|half| {
        let holding = half.iter().filter(|voter| holds(**voter)).count();
        half.is_empty() || 2 * holding > half.len()
    })
}

/// Whether no set of nodes decides in one configuration while all the others decide in the other.
fn quorums_intersect(one: &Membership, other: &Membership) -> bool {
    let mut nodes = [one.members(), other.members()].concat();
    nodes.sort_unstable();
    nodes.dedup();
    let bit = |node: NodeId| 1_u32 << nodes.binary_search(&node).expect("it is one of them");
    (0..1_u32 << nodes.len()).all(|set| {
        let decides = is_quorum(one, |voter| set & bit(voter) != 0);
        !(decides && is_quorum(other, |voter| set & bit(voter) == 0))
    })
}
