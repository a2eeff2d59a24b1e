//! What tells two states of a replica apart, for programs that enumerate states.

use std::hash::Hasher;

use super::follower::Follower;
use super::machine::Raft;
use super::role::Role;
use crate::fingerprint::Fingerprint;
use crate::types::Time;

impl Raft {
    /// Feeds `hasher` with everything by which two replicas of one configuration can differ in what they do from `now` on,
    /// and with nothing else, so that equal values mean equal behaviour. Times count as their distance from `now`.
    ///
    /// What it leaves out, the caller must keep from mattering:
    /// - the election timer and its source of randomness: no timer may expire by itself;
    /// - the settings but for the incarnation: they must be the same;
    /// - the numbers of writes, and writes in flight that prove no more than the one before them: such a write must
    ///   complete together with the one before it.
    pub fn fingerprint(&self, now: Time, hasher: &mut dyn Hasher) {
        let Raft { common, role } = self;
        let mut fingerprint = Fingerprint::new(hasher, now, common.config.election_timeout_longest());
        common.fingerprint(&mut fingerprint);
        match role {
            Role::Follower(Follower {
                leader,
                election_deadline: _,
                nap,
            }) => fingerprint.feed(&(0_u8, leader, nap)),
            Role::Candidate(candidate) => {
                fingerprint.feed(&1_u8);
                candidate.fingerprint(&mut fingerprint);
            }
            Role::Leader(leader) => {
                fingerprint.feed(&2_u8);
                leader.fingerprint(&mut fingerprint);
            }
        }
    }
}
