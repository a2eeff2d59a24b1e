//! When a snapshot of the own state is made, and what of the log it lets go (paper §7).

use super::common::Common;
use crate::effect::Effect;
use crate::log::TermAt;
use crate::membership::Membership;
use crate::message::SnapshotMeta;
use crate::mutants::{self, Mutant};
use crate::types::{EntryId, Index};

impl Common {
    /// Asks for a snapshot when enough entries were applied since the last one.
    pub(super) fn flush_snapshots(&mut self) {
        let handed_out = self.apply.handed_out;
        if self.apply.creating_snapshot
            || self.apply.restoring.is_some()
            || handed_out < self.apply.snapshot_retry_at
            || handed_out.entries_since(self.log.snapshot().last.index) < self.config.snapshot_entries
        {
            return;
        }
        let TermAt::Known(term) = self.log.term(handed_out) else {
            // Never: the log is purged up to what was applied at most, and begins at a snapshot that was restored.
            return;
        };
        let membership = self.membership_at(handed_out);
        if membership == Membership::empty() {
            // Who joined late knows no configuration before the one that names it, and cannot put one into a snapshot.
            return;
        }
        self.apply.creating_snapshot = true;
        let meta = SnapshotMeta {
            last: EntryId::new(term, handed_out),
            membership,
        };
        self.effects.push(Effect::CreateSnapshot(meta));
    }

    /// Lets go of entries that a durable snapshot covers, but for the retained ones and those above `pinned` (R53).
    pub(super) fn flush_compaction(&mut self, pinned: Option<Index>) {
        let covered = self.log.snapshot_durable().index;
        let keep = self.config.retained_entries;
        let wanted = if mutants::is(Mutant::PurgeBeyondSnapshot) {
            self.apply.applied
        } else {
            Index(covered.0.saturating_sub(keep)).min(self.apply.applied)
        };
        let through = pinned.map_or(wanted, |pinned| wanted.min(pinned));
        // Compacting in steps of an eighth of what is retained keeps the store from purging entry by entry.
        if through.entries_since(self.log.purged().index) <= keep / 8 {
            return;
        }
        if let TermAt::Known(term) = self.log.term(through) {
            let through = EntryId::new(term, through);
            self.log.purge(through);
            self.effects.push(Effect::Compact(through));
        }
    }
}
