//! What a process finds when it starts: the log is read and verified, compared with the watermark, and judged.

use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, HardState, Index};

use super::error::Finding;
use super::image::LogImage;
use super::mark::Promise;
use super::record::{self, Base, HEADER_BYTES, Kind, Link, RecordView};
use super::sectors::{Sectors, Segment};
use super::snapshots::Snapshots;
use super::view::LogView;

/// What may be said of a disk.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Sound,
    Suspect(Finding),
    Refused(Finding),
}

/// What is there, and what to think of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// What is left.
    pub(super) view: LogView,
    pub(super) memberships: Vec<(Index, Membership)>,
    /// How many segments hold what was read, from the first on.
    pub(super) segments: usize,
}

impl Judged {
    /// What a replica gets.
    pub(super) fn recovered(&self) -> Recovered {
        Recovered {
            memberships: self.memberships.clone(),
            lost: !matches!(self.verdict, Verdict::Sound),
            ..self.view.recovered()
        }
    }

    /// The same without the places; nothing if it is not enough to start from.
    pub(super) fn image(&self) -> LogImage {
        if let Verdict::Refused(_) = self.verdict {
            return LogImage::default();
        }
        LogImage {
            memberships: self.memberships.iter().cloned().collect(),
            ..self.view.image()
        }
    }
}

/// Reads and judges everything.
pub(super) fn judge(
    group: GroupId,
    sectors: &Sectors,
    promise: Option<Promise>,
    snapshots: &Snapshots,
) -> Judged {
    let mut scan = Scan::run(group, sectors, promise.map_or(0, |promise| promise.link.number));
    let verdict = scan.verdict(group, promise, snapshots);
    let (mut memberships, view) = (scan.memberships, scan.view);
    let (covered, last) = (view.snapshot.last.index, view.last().index);
    memberships.retain(|(index, _)| *index > covered && *index <= last);
    Judged {
        verdict,
        view,
        memberships,
        segments: scan.segments,
    }
}

/// A reading of the log, from its first segment to the last record that is sound.
struct Scan {
    /// The log; it begins with the first entry that the segments hold, or later.
    view: LogView,
    memberships: Vec<(Index, Membership)>,
    /// Where the records say that the log was purged to.
    purged: EntryId,
    segments: usize,
    /// The number of the first record.
    first: u64,
    /// The record that the watermark names.
    promised: u64,
    /// Its chain value, once it was read.
    promised_chain: Option<u64>,
}

impl Scan {
    fn run(group: GroupId, sectors: &Sectors, promised: u64) -> Scan {
        let mut scan = Scan {
            view: LogView::new(Link::origin(group)),
            memberships: Vec::new(),
            purged: EntryId::ZERO,
            segments: 0,
            first: 0,
            promised,
            promised_chain: None,
        };
        for (position, segment) in sectors.segments.iter().enumerate() {
            let next = sectors.segments.get(position + 1);
            let end = next.and_then(|next| record::decode(&next.bytes));
            let end = end.map_or(u64::MAX, |base| base.link.number);
            if !scan.read_segment(group, segment, end) {
                break;
            }
            scan.segments += 1;
        }
        scan
    }

    /// Reads the records below number `end`. False if there is none, because the segment does not continue the log.
    fn read_segment(&mut self, group: GroupId, segment: &Segment, end: u64) -> bool {
        let mut place = 0;
        while let Some(record) = segment.bytes.get(place..).and_then(record::decode) {
            let is_first = place == 0;
            let follows = if is_first && self.segments == 0 {
                record.link.number != 1 || record.previous == self.view.link.chain
            } else {
                record.link.number == self.view.link.number + 1 && record.previous == self.view.link.chain
            };
            let belongs = follows && record.link.number < end && is_first == (record.kind == Kind::Base);
            if !belongs || !self.take(group, &record, segment.number, place) {
                break;
            }
            if self.first == 0 {
                self.first = record.link.number;
            }
            if record.link.number == self.promised {
                self.promised_chain = Some(record.link.chain);
            }
            self.view.link = record.link;
            place += HEADER_BYTES + record.body.len();
        }
        place > 0
    }

    /// Takes in what a record says. False if that makes no sense.
    fn take(&mut self, group: GroupId, record: &RecordView<'_>, segment: u64, place: usize) -> bool {
        match record.kind {
            Kind::Base => match record::base(group, record.body) {
                Some(base) if base.segment == segment => self.begin(base),
                _ => return false,
            },
            Kind::Change => {
                let Some(change) = record::change(record.body) else {
                    return false;
                };
                if !self.view.replay(&change, segment, place) {
                    return false;
                }
                if change.is_reset {
                    self.purged = self.view.purged;
                    self.memberships.clear();
                }
                if let Some(first) = change.entries.first() {
                    self.memberships.retain(|(index, _)| *index < first.id.index);
                }
                self.memberships.extend(change.memberships);
            }
            Kind::Purge => match record::purge(record.body) {
                Some(through) => self.purged = through,
                None => return false,
            },
        }
        true
    }

    /// A segment begins: what it says is the state of all before it.
    fn begin(&mut self, base: Base) {
        self.view.set_state(Some(base.hard_state), Some(&base.snapshot));
        self.purged = base.purged;
        if self.view.has(base.last) {
            self.view.truncate_from(base.last.index.next());
        } else {
            self.view.begin_after(base.last);
        }
        let last = base.last.index;
        self.memberships.retain(|(index, _)| *index <= last);
    }

    fn verdict(&mut self, group: GroupId, promise: Option<Promise>, snapshots: &Snapshots) -> Verdict {
        let lost = self.lost(promise);
        let snapshot = self.view.snapshot.last;
        let damaged = snapshots.load(group, snapshot).err();
        let damaged = damaged.filter(|_| snapshot != EntryId::ZERO);
        let Some(finding) = lost.clone().or(damaged.clone()) else {
            self.view.purge(self.purged);
            return Verdict::Sound;
        };
        let mut floor = self.purged;
        if let Some(promise) = promise.filter(|_| lost.is_some()) {
            if promise.purged.index > floor.index {
                floor = promise.purged;
            }
            // Its commit index is about entries that may be among those that are lost, with others left in their place.
            if promise.hard_state.term >= self.view.hard_state.term {
                self.view.hard_state = HardState {
                    commit: self.view.hard_state.commit,
                    ..promise.hard_state
                };
            }
        }
        // Every snapshot is of committed entries, so the newest is the best to begin with. The empty state of the
        // beginning is not stored.
        let beginning = (snapshot == EntryId::ZERO).then(|| self.view.snapshot.clone());
        let Some(snapshot) = snapshots
            .intact(group)
            .chain(beginning)
            .find(|snapshot| snapshot.last.index >= floor.index && self.reaches(snapshot))
        else {
            return Verdict::Refused(damaged.unwrap_or(finding));
        };
        self.start_from(snapshot, floor);
        Verdict::Suspect(finding)
    }

    /// What is missing that was durable.
    fn lost(&self, promise: Option<Promise>) -> Option<Finding> {
        let Some(promise) = promise else {
            return Some(Finding::WatermarkLost);
        };
        let (found, promised) = (self.view.link.number, promise.link.number);
        if found < promised {
            return Some(Finding::LogLost { found, promised });
        }
        // What is before the first record was thrown away because nobody needs it.
        let is_other = self
            .promised_chain
            .map_or(promised >= self.first, |chain| chain != promise.link.chain);
        if promised > 0 && is_other {
            return Some(Finding::LogReplaced { record: promised });
        }
        let (mine, copy) = (&self.view.hard_state, &promise.hard_state);
        let is_older = copy.term > mine.term
            || (copy.term == mine.term && copy.vote.is_some() && copy.vote != mine.vote);
        if is_older {
            return Some(Finding::HardStateLost {
                found: mine.term,
                promised: copy.term,
            });
        }
        let purged = self.purged;
        (self.view.purged.index > purged.index || self.view.last().index < purged.index)
            .then_some(Finding::LogBeginsLate { purged })
    }

    /// Whether nothing is missing between a snapshot and the log; a log that ends before it is not needed.
    fn reaches(&self, snapshot: &SnapshotMeta) -> bool {
        snapshot.last != EntryId::ZERO || self.view.purged.index == Index::ZERO
    }

    /// Makes the log continue a snapshot that is at or above `floor`.
    fn start_from(&mut self, snapshot: SnapshotMeta, floor: EntryId) {
        if !self.view.has(snapshot.last) {
            self.view.begin_after(snapshot.last);
        } else if self.view.purged.index <= floor.index {
            self.view.purge(floor);
        } else {
            self.view.purge(snapshot.last);
        }
        self.view.snapshot = snapshot;
        let last = self.view.last();
        let hard_state = &mut self.view.hard_state;
        hard_state.commit = hard_state.commit.min(last.index);
        if hard_state.term < last.term {
            *hard_state = HardState {
                term: last.term,
                vote: None,
                ..*hard_state
            };
        }
    }
}
