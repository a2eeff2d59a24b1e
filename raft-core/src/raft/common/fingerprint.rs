//! What of the part of every role tells two states apart.

use super::Common;
use crate::fingerprint::Fingerprint;

impl Common {
    /// Writes in flight are known by what they prove; one that proves no more than the one before it is left out.
    pub(in crate::raft) fn fingerprint(&self, fingerprint: &mut Fingerprint<'_>) {
        let Common {
            config,
            log,
            term,
            vote,
            commit,
            // Decides about nothing but the election timer.
            random: _,
            // The time of a step that is over.
            now: _,
            stopped,
            effects,
            trust,
            suspicion,
            leader_contact,
            election_timeout,
            // Decides about nothing but the election timer.
            timeouts_without_leader: _,
            handed_over,
            // Counted anew before it is asked for.
            snapshot_transfers_left: _,
            memberships,
            stored_hard_state,
            durable_term,
            // Only the order of the numbers matters.
            last_seq: _,
            writes_in_flight,
            promises,
            apply,
            rest_told,
            // Decides nothing.
            recollection: _,
        } = self;
        debug_assert!(
            effects.is_empty() && (promises.is_empty() || *stopped),
            "a step is over"
        );
        fingerprint.feed(&(config.incarnation, term, vote, commit, stopped));
        fingerprint.feed(&(trust, suspicion, memberships, stored_hard_state, durable_term));
        fingerprint.feed(&(election_timeout, handed_over.is_some(), rest_told));
        fingerprint.feed_past(*leader_contact);
        handed_over
            .iter()
            .for_each(|transfer| transfer.fingerprint(fingerprint));
        log.fingerprint(fingerprint);
        apply.fingerprint(fingerprint);
        fingerprint.feed(&writes_in_flight.len().min(1));
        let mut proven = None;
        for write in writes_in_flight {
            if proven.is_none_or(|proven| write.term > proven) {
                fingerprint.feed(&write.term);
                fingerprint.feed_past(write.began);
                proven = Some(write.term);
            }
        }
    }
}
