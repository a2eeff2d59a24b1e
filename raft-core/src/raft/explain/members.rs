//! Why a member is behind.

use super::super::leader::Leader;
use super::super::machine::Raft;
use super::super::role::Role;
use crate::explain::{Case, Cause, FullWindow, Lag, LagReason, Need};
use crate::log::TermAt;
use crate::progress::{ColdRead, Progress, ProgressState};
use crate::types::{NodeId, Time};

impl Raft {
    /// The members that lag for too long, the worst first; the own disk counts, too.
    pub(super) fn who_lags(&self, now: Time) -> Option<(Case, Vec<Cause>)> {
        let mut causes = Vec::new();
        let mut first = None;
        if let Role::Leader(leader) = &self.role {
            let members = leader.progress.iter();
            let lagging = members.filter(|(_, progress)| self.lags_for_too_long(now, progress));
            let lags = lagging.filter_map(|(member, _)| self.lag_of(now, leader, *member));
            let mut lags: Vec<Lag> = lags.collect();
            lags.sort_by_key(|lag| !lag.is_silent());
            first = lags.first().map(|lag| lag.member);
            let is_silent = |member| lags.iter().any(|lag| lag.member == member && lag.is_silent());
            causes.extend(self.missing_quorums(Need::Contact, |voter| !is_silent(voter)));
            causes.extend(lags.into_iter().map(Cause::Behind));
        }
        let own_disk = self.common.disk_waits_since();
        if self.is_too_long(now, own_disk) {
            causes.extend(own_disk.map(|since| Cause::OwnDisk(now.since(since))));
            first = first.or(Some(self.id()));
        }
        if self.common.is_suspect() {
            causes.push(Cause::OwnSuspicion);
            first = first.or(Some(self.id()));
        }
        first.map(|member| (Case::Lagging(member), causes))
    }

    fn lags_for_too_long(&self, now: Time, progress: &Progress) -> bool {
        let arrears = &progress.arrears;
        progress.is_suspect
            || matches!(progress.state(), ProgressState::Snapshot { .. })
            || self.is_too_long(now, Some(progress.last_contact))
            || self.is_too_long(now, arrears.stands_since())
            || self.is_too_long(now, arrears.full_since())
    }

    /// Why `member` is behind: the leader knows it, and everybody else knows it of itself only.
    pub(super) fn why_lagging(&self, now: Time, member: NodeId) -> (Case, Vec<Cause>) {
        let is_led_elsewhere = self.leader() != Some(self.id());
        if !self.common.membership().contains(member) {
            let others = if is_led_elsewhere {
                self.whom_to_ask(now)
            } else {
                Vec::new()
            };
            return (Case::NoMember(member), others);
        }
        let mut causes = Vec::new();
        let mut lags = false;
        match &self.role {
            Role::Leader(leader) if member != self.id() => {
                let lag = self.lag_of(now, leader, member);
                lags |= lag
                    .is_some_and(|lag| lag.lacks > 0 || lag.is_silent() || lag.reason == LagReason::Suspect);
                causes.extend(lag.filter(|_| lags).map(Cause::Behind));
            }
            Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => {}
        }
        if member == self.id() {
            let own = self.what_is_slow_here(now);
            lags |= !own.is_empty();
            causes.extend(own);
        }
        let case = match self.leader() {
            None => return self.why_no_leader(now),
            Some(_) if lags => Case::Lagging(member),
            Some(leader) if leader != self.id() => {
                if let Some(silent) = self.why_leader_is_silent(now, leader) {
                    return silent;
                }
                Case::LeaderKnows(member)
            }
            Some(_) => Case::KeepsUp(member),
        };
        if is_led_elsewhere {
            causes.extend(self.whom_to_ask(now));
        }
        (case, causes)
    }

    /// What of the own parts has taken too long.
    fn what_is_slow_here(&self, now: Time) -> Vec<Cause> {
        let common = &self.common;
        let mut causes = Vec::new();
        if common.is_suspect() {
            causes.push(Cause::OwnSuspicion);
        }
        if let Some(since) = common
            .disk_waits_since()
            .filter(|since| self.is_too_long(now, Some(*since)))
        {
            causes.push(Cause::OwnDisk(now.since(since)));
        }
        let applies_for = common.apply.waiting_since();
        if common.is_restoring() || self.is_too_long(now, applies_for) {
            causes.extend(self.why_not_applied(now, common.applied().next()).1);
        }
        causes
    }

    /// What the leader knows of a follower, whether that is behind or not.
    pub(super) fn lag_of(&self, now: Time, leader: &Leader, member: NodeId) -> Option<Lag> {
        let progress = leader.progress.get(&member)?;
        let config = &self.common.config;
        let inflights = progress.inflights();
        let window = progress.arrears.full_since().map(|since| FullWindow {
            messages: inflights.messages(),
            messages_max: config.inflight_messages_max,
            bytes: inflights.bytes(),
            bytes_max: config.inflight_bytes_max,
            lasts: now.since(since),
        });
        Some(Lag {
            member,
            match_index: progress.match_index(),
            lacks: leader.lacks(member, self.common.log.last().index),
            stands: progress.arrears.stands_since().map(|since| now.since(since)),
            window,
            reason: self.lag_reason(now, progress),
        })
    }

    fn lag_reason(&self, now: Time, progress: &Progress) -> LagReason {
        let silent_for = now.since(progress.last_contact);
        let first = progress.next_index();
        let lacks_gone_entries = self.common.log.term(first.previous()) == TermAt::Compacted;
        if let ProgressState::Snapshot { index } = progress.state() {
            // Its bytes may be all that comes through.
            return LagReason::Snapshot(index);
        }
        if silent_for >= self.patience() && !self.is_asleep() {
            let heard = progress.was_heard.then_some(silent_for);
            return LagReason::Silent {
                heard,
                lasts: silent_for,
            };
        }
        if progress.is_suspect {
            return LagReason::Suspect;
        }
        if progress.is_contested {
            return LagReason::Restarted;
        }
        if lacks_gone_entries {
            return LagReason::AwaitsSnapshot;
        }
        match (progress.arrears.disk_waits(now), progress.state()) {
            (Some(waits), _) => LagReason::Disk(waits),
            (None, ProgressState::Probe { .. }) => LagReason::Probe,
            (None, _) if progress.cold_read != ColdRead::Idle => LagReason::LogRead {
                failed: progress.cold_read == ColdRead::Failed,
            },
            (None, _) => LagReason::UnderWay,
        }
    }
}
