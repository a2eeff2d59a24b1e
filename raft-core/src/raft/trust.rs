//! A replica that may have lost what it had promised (R11, R68).
//!
//! Raft is safe because a majority remembers. A replica that was wiped, or whose disk lost its newest writes, must not be
//! part of a majority before it has caught up with everything that may have been decided with its help. Until then it is
//! a *suspect*: it stores and acknowledges what it is sent, but neither votes nor campaigns, and its acknowledgements do
//! not count.
//!
//! The way back: after it first heard of a suspect, the leader appends a barrier. A quorum without any suspect
//! commits it, so everything that was decided before the suspect started stands below it; and whoever is in that quorum
//! votes for nobody any more who lacks it, so that an election in which the suspect had a part before it forgot cannot
//! be won any more. When the suspect has the barrier, durably, the leader tells it so.
//!
//! Who is a suspect:
//! - a replica whose store noticed a loss, or that was a suspect when it stopped;
//! - one that starts with nothing and was not there when the group began;
//! - a founder that starts with nothing but the first configuration and then finds that the group has a past. As long as
//!   the group is new there is nothing to lose, so founders that know of nothing elect their first leader as usual, and
//!   are trusted from their first vote on;
//! - a follower that is told by the leader that it acknowledged more in an earlier incarnation than it has now.
//!
//! What nobody here can see, so that whoever replaces the disks of a founder must see to it (docs/decisions/0006, "Not
//! covered"):
//! - every founder had stored an entry before. One that has not, whether it voted or not, and one that was wiped take
//!   each other for founders of a new group;
//! - nothing that was sent to the founder before it was wiped arrives after. A late copy of the very first append does not
//!   show that the group has a past: who stores it is trusted.

use super::common::Common;
use super::leader::Leader;
use crate::effect::{Effect, SuspicionReason};
use crate::entry::{Entry, Payload};
use crate::membership::Membership;
use crate::message::{Body, EntriesLost, TrustRestored};
use crate::mutants::{self, Mutant};
use crate::progress::Progress;
use crate::traits::Recovered;
use crate::types::{EntryId, Index, NodeId, Round, Term, Trust};

impl Common {
    /// A replica starts: its store knows whether it was trusted, and whether something was lost since.
    pub(super) fn begin_trust(&mut self, recovered: &Recovered) {
        let knows_nothing = self.term == Term::ZERO && self.log.last() == EntryId::ZERO;
        if recovered.lost || self.is_suspect() {
            self.trust = Trust::Trusted;
            self.become_suspect(SuspicionReason::StoreNoticed);
        } else if knows_nothing {
            if recovered.snapshot.membership == Membership::empty() {
                self.become_suspect(SuspicionReason::StartedEmpty);
            } else {
                self.trust = Trust::Founder;
            }
            // It would be found out again: nothing needs to be stored for it.
            self.stored_hard_state.trust = self.trust;
        }
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.trust == Trust::Suspect
    }

    /// This replica may have lost something: nothing of it counts until it has caught up.
    pub(super) fn become_suspect(&mut self, reason: SuspicionReason) {
        if self.trust != Trust::Suspect && !mutants::is(Mutant::WipedNodeTrusted) {
            self.trust = Trust::Suspect;
            self.suspicion = Some(reason);
        }
    }

    /// Tells the surroundings, once.
    pub(super) fn report_suspicion(&mut self) {
        if let Some(reason) = self.suspicion.take() {
            self.effects.push(Effect::Suspected(reason));
        }
    }

    /// A message shows whether the group is as new as a founder thinks.
    pub(super) fn meet_the_past(&mut self, prev: EntryId, leader_commit: Index) {
        if self.trust == Trust::Founder && (prev != EntryId::ZERO || leader_commit > Index::ZERO) {
            self.become_suspect(SuspicionReason::GroupHasPast);
        }
    }

    /// A founder takes part in an election of the new group: from here on it remembers what it did. So there is always a
    /// majority that is trusted, however early the first leader stops.
    pub(super) fn take_part_in_founding(&mut self) {
        if self.trust == Trust::Founder {
            self.trust = Trust::Trusted;
        }
    }

    /// Whether this replica may vote for a candidate with this log, as far as its own memory is concerned. Founders who
    /// know of nothing vote for each other only.
    pub(super) fn may_vote_for(&self, last_log: EntryId) -> bool {
        match self.trust {
            Trust::Trusted => true,
            Trust::Founder => last_log == EntryId::ZERO,
            Trust::Suspect => mutants::is(Mutant::SuspectVotes),
        }
    }

    /// The leader says that this incarnation has everything that was ever decided. What this replica did in the current
    /// term before it lost its memory is not known: it takes the leader for the one that it voted for.
    pub(super) fn trust_restored(&mut self, leader: NodeId, restored: TrustRestored) {
        let is_meant =
            restored.incarnation == self.config.incarnation && self.log.durable() >= restored.index;
        if self.is_suspect() && is_meant {
            self.trust = Trust::Trusted;
            self.vote = self.vote.or(Some(leader));
            self.effects.push(Effect::TrustRestored);
        }
    }

    /// The leader says that an earlier incarnation of this replica acknowledged more than this one has.
    pub(super) fn entries_lost(&mut self, lost: EntriesLost) {
        if lost.incarnation == self.config.incarnation && self.log.last().index < lost.acknowledged {
            let (acknowledged, last) = (lost.acknowledged, self.log.last());
            self.become_suspect(SuspicionReason::EntriesLost { acknowledged, last });
        }
    }
}

impl Leader {
    /// A follower answered from an incarnation that was not heard before: nothing that an earlier one acknowledged counts
    /// any more. Returns false for an answer of an earlier incarnation: it arrived after the new one was known, and
    /// answers a round that was begun before that.
    pub(super) fn same_incarnation(
        &mut self,
        common: &mut Common,
        from: NodeId,
        incarnation: u64,
        round: Round,
    ) -> bool {
        let Some(progress) = self.progress.get_mut(&from) else {
            return false;
        };
        match progress.incarnation {
            Some(known) if known == incarnation => {
                progress.is_contested &= round < progress.incarnation_since;
                return true;
            }
            Some(_) if mutants::is(Mutant::OldIncarnationCounted) => {}
            Some(_) if round < progress.incarnation_since => {
                // It may be an old one that comes late, or a new one. Whichever answers the next round is the one that
                // runs; until then neither counts.
                progress.is_contested = true;
                if self.reads.round() < progress.incarnation_since {
                    self.begin_round(common);
                }
                return false;
            }
            Some(_) => progress.restarted(),
            None => {}
        }
        progress.incarnation = Some(incarnation);
        progress.is_contested = false;
        progress.incarnation_since = self.reads.round().next();
        progress.suspicion_since = Round::default();
        true
    }

    /// A follower told whether it is a suspect.
    pub(super) fn heed_suspicion(&mut self, common: &mut Common, from: NodeId, is_suspect: bool) {
        let Some(progress) = self.progress.get(&from) else {
            // Never: who says so was found before.
            return;
        };
        // Who lost entries and does not know it yet is not believed before it has them again.
        let is_known_loser = progress.is_suspect && progress.acknowledged_before.is_some();
        if progress.is_suspect == is_suspect || (!is_suspect && is_known_loser) {
            return;
        }
        if is_suspect {
            self.begin_round(common);
        }
        let round = self.reads.round();
        if let Some(progress) = self.progress.get_mut(&from) {
            progress.suspicion_since = round;
            progress.is_suspect = is_suspect;
            progress.trusted_from = None;
        }
    }

    /// Appends a barrier for the suspects that have none. It repeats the configuration: a suspect may have forgotten that,
    /// too, and the first one of a group stands in no entry. So it waits like a change does (R61).
    pub(super) fn append_barrier(&mut self, common: &mut Common) {
        let waits = |progress: &&mut Progress| progress.is_suspect && progress.trusted_from.is_none();
        if self.change_is_pending(common) || !self.progress.values_mut().any(|progress| waits(&progress)) {
            return;
        }
        let id = EntryId::new(common.term, common.log.last().index.next());
        for progress in self.progress.values_mut().filter(waits) {
            progress.trusted_from = Some(id.index);
        }
        let payload = Payload::Membership(common.membership().clone());
        common.append(Entry { id, payload });
    }

    /// A suspect that has everything is told so, until it says that it heard: the barrier is committed, which no suspect
    /// helped with, and the suspect has it.
    pub(super) fn restore_trust(&mut self, common: &mut Common, to: NodeId) {
        let Some(progress) = self.progress.get(&to) else {
            // Never: it has just answered.
            return;
        };
        if let (true, Some(index), Some(incarnation)) =
            (progress.is_suspect, progress.trusted_from, progress.incarnation)
            && progress.match_index() >= index
            && common.commit >= index
        {
            common.send_now(to, Body::TrustRestored(TrustRestored { incarnation, index }));
        }
    }

    /// A follower has less than an earlier incarnation of it acknowledged: it is told, and counts no more.
    pub(super) fn report_loss(&mut self, common: &mut Common, to: NodeId, last: Index) {
        let Some(progress) = self.progress.get(&to) else {
            // Never: it has just answered.
            return;
        };
        if let (Some(acknowledged), Some(incarnation)) = (progress.acknowledged_before, progress.incarnation)
            && last < acknowledged
        {
            let body = Body::EntriesLost(EntriesLost {
                incarnation,
                acknowledged,
            });
            common.send_now(to, body);
            self.heed_suspicion(common, to, true);
        }
    }
}
