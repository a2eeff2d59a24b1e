//! What runs did: to tell whether they were worth anything.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use crate::plan::FaultKind;

/// What one run did, or many together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Groups with which runs began, or that were created in them.
    pub groups: u64,
    /// Groups that were created while others ran.
    pub groups_created: u64,
    /// Groups of which nothing is left.
    pub groups_destroyed: u64,
    /// Replicas that were destroyed because their group moved elsewhere.
    pub replicas_moved: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Terms that had a leader.
    pub elections: u64,
    /// Entries that were committed.
    pub commits: u64,
    /// Commands that were acknowledged to a client.
    pub acknowledged: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Calls of which nobody learned how they ended.
    pub unknown: u64,
    /// Attempts that repeated a call.
    pub retries: u64,
    /// Snapshots that were taken.
    pub snapshots_created: u64,
    /// Snapshots that replaced the state of a follower.
    pub snapshots_installed: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Changes of the members that are complete.
    pub membership_changes: u64,
    /// Transfers of leadership that were done.
    pub transfers: u64,
    /// Replicas that became suspects.
    pub suspected: u64,
    /// Suspects that were trusted again.
    pub trust_restored: u64,
    /// How often a group fell asleep.
    pub slept: u64,
    /// Messages that were sent.
    pub messages: u64,
    /// Messages that were lost.
    pub messages_lost: u64,
    /// Messages that arrived twice.
    pub messages_duplicated: u64,
    /// Messages of another group that were sent.
    pub strangers: u64,
    /// Steps of replicas, after each of which every invariant was checked.
    pub steps: u64,
    /// Healed quorums that could not make progress, by proof.
    pub unavailable: u64,
    /// Groups that could not make progress with everybody up, by proof: too many lost what they had promised.
    pub lost: u64,
    /// Histories for which the check of linearizability gave up.
    pub undecided: u64,
}

impl Tally {
    /// A fault took effect.
    pub(crate) fn fault(&mut self, kind: FaultKind) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// How many faults took effect.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Faults per simulated hour.
    #[must_use]
    pub fn faults_per_hour(&self) -> f64 {
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        if hours > 0.0 {
            self.faults_total() as f64 / hours
        } else {
            0.0
        }
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.simulated += other.simulated;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (mine, others) in [
            (&mut self.runs, other.runs),
            (&mut self.groups, other.groups),
            (&mut self.groups_created, other.groups_created),
            (&mut self.groups_destroyed, other.groups_destroyed),
            (&mut self.replicas_moved, other.replicas_moved),
            (&mut self.elections, other.elections),
            (&mut self.commits, other.commits),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.reads, other.reads),
            (&mut self.unknown, other.unknown),
            (&mut self.retries, other.retries),
            (&mut self.snapshots_created, other.snapshots_created),
            (&mut self.snapshots_installed, other.snapshots_installed),
            (&mut self.starts, other.starts),
            (&mut self.membership_changes, other.membership_changes),
            (&mut self.transfers, other.transfers),
            (&mut self.suspected, other.suspected),
            (&mut self.trust_restored, other.trust_restored),
            (&mut self.slept, other.slept),
            (&mut self.messages, other.messages),
            (&mut self.messages_lost, other.messages_lost),
            (&mut self.messages_duplicated, other.messages_duplicated),
            (&mut self.strangers, other.strangers),
            (&mut self.steps, other.steps),
            (&mut self.unavailable, other.unavailable),
            (&mut self.lost, other.lost),
            (&mut self.undecided, other.undecided),
        ] {
            *mine += others;
        }
    }
}
