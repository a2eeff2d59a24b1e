//! The newest part of a recording, in memory.

use std::collections::VecDeque;

use super::format::Header;

/// The newest segments of a recording, in no more than a given number of bytes.
///
/// Invariants:
/// - each segment begins with a checkpoint, or with a start;
/// - all together are no larger than `bytes_max`.
#[derive(Debug)]
pub struct Ring {
    bytes_max: usize,
    segments: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The segment under way is larger than everything: the next one begins anew.
    is_too_large: bool,
    /// What was dropped last: its memory is used again.
    spare: Vec<u8>,
}

impl Ring {
    /// An empty ring of `bytes_max` bytes; of 0 bytes, it keeps nothing.
    #[must_use]
    pub fn new(bytes_max: usize) -> Ring {
        Ring {
            bytes_max,
            segments: VecDeque::new(),
            bytes: 0,
            is_too_large: bytes_max == 0,
            spare: Vec::new(),
        }
    }

    /// Whether it keeps anything at all.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.bytes_max > 0
    }

    /// How many bytes it may have.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends records, which begin a segment or go on with the last one.
    pub(super) fn push(&mut self, bytes: &[u8], begins_segment: bool) {
        if !self.is_kept() {
            return;
        }
        if begins_segment {
            self.is_too_large = false;
            let mut segment = std::mem::take(&mut self.spare);
            segment.clear();
            self.segments.push_back(segment);
        }
        if self.is_too_large {
            return;
        }
        let Some(last) = self.segments.back_mut() else {
            return;
        };
        last.extend_from_slice(bytes);
        self.bytes += bytes.len();
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.segments.pop_front()
        {
            self.bytes -= oldest.len();
            self.is_too_large = self.segments.is_empty();
            self.spare = oldest;
        }
    }

    /// What it has, oldest first.
    pub(super) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(Vec::as_slice)
    }

    /// What it has, as a recording with this header.
    #[must_use]
    pub fn recording(&self, header: &Header) -> Vec<u8> {
        let segments: Vec<&[u8]> = self.segments().collect();
        header.before(&segments.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound holds after every push, and what is kept begins with the beginning of a segment.
    #[test]
    fn the_oldest_segment_makes_room() {
        let mut ring = Ring::new(100);
        for segment in 0..50_u8 {
            ring.push(&[segment; 20], true);
            for _ in 0..3 {
                ring.push(&[segment; 7], false);
                assert!(ring.bytes() <= 100);
                assert_eq!(ring.bytes(), ring.segments.iter().map(Vec::len).sum::<usize>());
            }
        }
        let kept: Vec<(u8, usize)> = ring.segments.iter().map(|kept| (kept[0], kept.len())).collect();
        assert_eq!(kept, [(48, 41), (49, 41)]);
    }

    /// A segment that does not fit leaves nothing, until the next one begins.
    #[test]
    fn what_does_not_fit_is_not_kept_in_part() {
        let mut ring = Ring::new(100);
        ring.push(&[1; 50], true);
        ring.push(&[1; 60], false);
        ring.push(&[1; 10], false);
        assert_eq!(ring.bytes(), 0);
        ring.push(&[2; 50], true);
        assert_eq!(ring.bytes(), 50);
    }
}
