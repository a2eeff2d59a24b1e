//! What became of the certificates of a running node, for metrics.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::expiry::Expiry;

/// How it ended that certificates were read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// They are in use.
    Ok,
    /// The former ones stay in use.
    Failed,
    /// Somebody asked for it, and nothing had changed.
    Unchanged,
}

impl Reload {
    /// Every end and its label.
    const LABELS: [(Reload, &'static str); 3] = [
        (Reload::Ok, "ok"),
        (Reload::Failed, "failed"),
        (Reload::Unchanged, "unchanged"),
    ];
}

/// What became of the certificates of a running node.
#[derive(Debug, Default)]
pub struct CertificateFigures {
    reloads: [AtomicU64; Reload::LABELS.len()],
    expiries: RwLock<Vec<Expiry>>,
}

impl CertificateFigures {
    /// Counts a reload.
    pub fn count(&self, reload: Reload) {
        self.reloads[reload as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many reloads ended how.
    pub fn reloads(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reload::LABELS.iter().map(|&(reload, label)| {
            let count = self.reloads[reload as usize].load(Ordering::Relaxed);
            (label, count)
        })
    }

    /// Notes what is in use from now on, in place of all that was noted of the same files.
    pub fn note_expiries(&self, new: Vec<Expiry>) {
        let mut expiries = self.expiries.write().unwrap_or_else(PoisonError::into_inner);
        let files: Vec<PathBuf> = new.iter().map(|expiry| expiry.file.clone()).collect();
        expiries.retain(|expiry| !files.contains(&expiry.file));
        expiries.extend(new);
        expiries.sort_by(|one, other| one.file.cmp(&other.file));
    }

    /// When the certificates in use expire, by file.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.expiries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_the_place_of_their_end() {
        for (place, (reload, _)) in Reload::LABELS.iter().enumerate() {
            assert_eq!(*reload as usize, place);
        }
    }
}
