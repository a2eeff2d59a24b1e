//! [`Inventory`]: which segments an archive has, which files of it cannot be used, and what is missing between.

use std::fs;
use std::path::Path;

use raft_core::types::{GroupId, Index};

use super::error::{ArchiveError, Unusable};
use super::files::Window;
use super::format::{Place, SegmentFault};
use super::segment::Segment;

/// The files of an archive.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// By first and last index; each continues the one before, or begins anew.
    pub(super) segments: Vec<Segment>,
    /// What looks like a segment and cannot be used.
    pub(super) unusable: Vec<Unusable>,
}

impl Inventory {
    /// Looks at the header of every segment in `directory`.
    pub(super) fn of(directory: &Path, group: GroupId) -> Result<Inventory, ArchiveError> {
        let failed = || ArchiveError::io("list", directory);
        let mut found = Vec::new();
        let mut inventory = Inventory::default();
        for file in fs::read_dir(directory).map_err(failed())? {
            let path = file.map_err(failed())?.path();
            match Segment::find(&path, group) {
                Some(Ok(segment)) => found.push(segment),
                Some(Err(unusable)) => inventory.unusable.push(unusable),
                None => {}
            }
        }
        let (segments, contradicting) = consistent(found);
        inventory.segments = segments;
        inventory.unusable.extend(contradicting);
        inventory.unusable.sort_by_key(|file| (file.first, file.last));
        Ok(inventory)
    }

    /// Takes a segment that was just written behind those that are there.
    pub(super) fn add(&mut self, segment: Segment) {
        self.unusable.retain(|file| file.path != segment.path);
        self.segments.push(segment);
    }

    /// The place of the last entry.
    pub(super) fn end(&self) -> Place {
        self.segments
            .last()
            .map_or_else(Place::default, |last| last.header.end)
    }

    /// The bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// The segment that holds `index`.
    pub(super) fn holding(&self, index: Index) -> Option<&Segment> {
        let at = self.segments.partition_point(|segment| segment.last() < index);
        self.segments.get(at).filter(|segment| segment.first() <= index)
    }

    /// The runs of entries without a gap.
    pub(super) fn runs(&self) -> Vec<Window> {
        let windows = self.segments.iter().map(|segment| Window {
            first: segment.first(),
            last: segment.last(),
        });
        Window::merged(windows.collect())
    }

    /// The files that cannot be used and hold what no other one does.
    pub(super) fn missed(&self) -> impl Iterator<Item = &Unusable> {
        let runs = self.runs();
        self.unusable.iter().filter(move |file| {
            let covers = |run: &Window| run.first <= file.first && file.last <= run.last;
            !runs.iter().any(covers)
        })
    }
}

/// Those of `found` that can be of one history, in order, and the others. Where two contradict each other, the one is believed that
/// more segments go with: one that was put there by mistake stands alone.
fn consistent(mut found: Vec<Segment>) -> (Vec<Segment>, Vec<Unusable>) {
    found.sort_by_key(|segment| (segment.first(), segment.last()));
    let mut chains: Vec<Vec<Segment>> = Vec::new();
    for segment in found {
        match chains.last_mut() {
            Some(chain) if chain.last().is_some_and(|last| follows(last, &segment)) => chain.push(segment),
            _ => chains.push(vec![segment]),
        }
    }
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.len()));
    let (mut believed, mut others): (Vec<Segment>, Vec<Unusable>) = (Vec::new(), Vec::new());
    for chain in chains {
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
            continue;
        };
        let at = believed.partition_point(|other| other.first() < first.first());
        let before = at.checked_sub(1).and_then(|before| believed.get(before));
        let contradiction = before
            .and_then(|before| contradiction(before, first, before))
            .or_else(|| {
                believed
                    .get(at)
                    .and_then(|after| contradiction(last, after, after))
            });
        match contradiction {
            Some(fault) => others.extend(chain.iter().map(|segment| segment.unusable(fault.clone()))),
            None => drop(believed.splice(at..at, chain)),
        }
    }
    (believed, others)
}

/// Whether `after` begins right where `before` ends.
fn follows(before: &Segment, after: &Segment) -> bool {
    let (end, begin) = (before.header.end, after.header.begin);
    begin.id.index == end.id.index && begin.continues(end)
}

/// What speaks against two segments being of one history, where `named` is the one that is believed.
fn contradiction(before: &Segment, after: &Segment, named: &Segment) -> Option<SegmentFault> {
    let (end, begin) = (before.header.end, after.header.begin);
    let name = || named.path.display().to_string();
    if end.id.index < begin.id.index || follows(before, after) {
        return None;
    }
    if begin.id.index == end.id.index {
        return Some(SegmentFault::Seam(name()));
    }
    // What was written behind a gap may overlap with what fills the gap later; entry by entry they are compared when they are read.
    let leads_on = before.first() < after.first() && end.id.index < after.last() && begin.is_beginning();
    (!leads_on).then(|| SegmentFault::Overlap(name()))
}
