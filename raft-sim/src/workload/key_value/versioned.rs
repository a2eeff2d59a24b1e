//! What a key holds, and which writes made it so.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::fingerprint::Fingerprint;

/// A value, and how it came about. A key that never was written has revision 0 and no bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// How often the key was written.
    pub revision: u64,
    /// Which writes came last.
    pub trail: Trail,
    /// What was written last.
    pub value: Bytes,
}

/// Fingerprints of the last writes of a key, so that whoever sees one write learns which came before it.
///
/// Without it, writes whose clients never got an answer could have happened between two others in any order and
/// selection, and whoever judges the history would have to try them all.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Trail(Bytes);

/// How many writes a trail covers: more than get lost in one interruption on one key.
const WRITES_MAX: usize = 32;

/// The bytes of one fingerprint.
const WRITE_BYTES: usize = 4;

impl Versioned {
    /// Whether a key that holds this may hold `later` now or at any later time, whatever is written to it.
    #[must_use]
    pub fn may_become(&self, later: &Versioned) -> bool {
        let Some(writes) = later.revision.checked_sub(self.revision) else {
            return false;
        };
        let since = usize::try_from(writes)
            .unwrap_or(usize::MAX)
            .saturating_mul(WRITE_BYTES);
        let before = &later.trail.0[..later.trail.0.len().saturating_sub(since)];
        let both = before.len().min(self.trail.0.len());
        before[before.len() - both..] == self.trail.0[self.trail.0.len() - both..]
    }
}

/// One line for counter-examples.
impl fmt::Debug for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versioned {
            revision,
            trail,
            value,
        } = self;
        write!(f, "{:?} (revision {revision}, trail {trail:?})", Short(value))
    }
}

/// Four letters that differ if the trails do.
impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", Fingerprint::of(&self.0) as u16)
    }
}

/// Shows bytes, but no more than fit into a line.
pub(super) struct Short<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The end of a value says which write it came from.
        let start = self.0.len().saturating_sub(40);
        let dots = if start == 0 { "" } else { "…" };
        write!(f, "\"{dots}{}\"", self.0[start..].escape_ascii())
    }
}

impl Trail {
    /// The trail after a write of these bytes.
    #[must_use]
    pub fn followed_by(&self, written: &[u8]) -> Trail {
        let mut bytes = BytesMut::with_capacity(self.0.len() + WRITE_BYTES);
        bytes.put_slice(&self.0);
        bytes.put_u32_le(Fingerprint::of(written) as u32);
        let bytes = bytes.freeze();
        Trail(bytes.slice(bytes.len().saturating_sub(WRITES_MAX * WRITE_BYTES)..))
    }

    /// Its bytes, the newest last.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The trail of these bytes, if they are one.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Option<Trail> {
        let is_trail = bytes.len().is_multiple_of(WRITE_BYTES) && bytes.len() <= WRITES_MAX * WRITE_BYTES;
        is_trail.then_some(Trail(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writes: &[u64]) -> Versioned {
        let mut held = Versioned::default();
        for write in writes {
            let bytes = write.to_le_bytes();
            held = Versioned {
                revision: held.revision + 1,
                trail: held.trail.followed_by(&bytes),
                value: Bytes::copy_from_slice(&bytes),
            };
        }
        held
    }

    #[test]
    fn a_state_becomes_what_continues_it() {
        let all = (0..100).collect::<Vec<u64>>();
        for length in [0, 1, 2, 31, 32, 33, 40] {
            let now = written(&all[..length]);
            assert!(now.trail.bytes().len() <= WRITES_MAX * WRITE_BYTES);
            for later in length..100 {
                assert!(now.may_become(&written(&all[..later])), "{length} to {later}");
            }
            for earlier in 0..length {
                assert!(
                    !now.may_become(&written(&all[..earlier])),
                    "{length} to {earlier}"
                );
            }
            let mut other = all.clone();
            other[length] = 1_000;
            let after_another = written(&other[..=length]);
            for later in length + 1..length + 1 + WRITES_MAX {
                assert!(
                    !after_another.may_become(&written(&all[..later])),
                    "{length} to {later}"
                );
            }
            // Further back nobody can see.
            assert!(after_another.may_become(&written(&all[..length + 1 + WRITES_MAX])));
        }
    }
}
