//! The changes of directories that a disk may still forget.
//!
//! They are one sequence, as in the journal of a file system: a loss of power takes back its end, never something from
//! its middle. A sync of a directory makes everything durable up to the last change of that directory. A sync of a file
//! does not make its name durable; some file systems would, but POSIX does not promise it (R74).

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::sys;

/// One change of a directory. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A file was created, or got a second name.
    Created(String),
    /// A directory was created.
    DirectoryCreated(String),
    /// A name was removed; `kept` is a hidden link to what it named.
    Removed { path: String, kept: String },
    /// An empty directory was removed.
    DirectoryRemoved(String),
    /// A name was changed; `kept` is a hidden link to what the new name meant before.
    Renamed {
        from: String,
        to: String,
        kept: Option<String>,
    },
}

/// The changes that are not durable, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    pub(crate) changes: Vec<Change>,
    /// Makes the names of hidden links unique.
    links: u64,
}

impl Names {
    /// Where to keep what is about to lose its name.
    pub(crate) fn link(&mut self, hidden: &str) -> String {
        self.links += 1;
        format!("{hidden}/kept-{}", self.links)
    }

    pub(crate) fn add(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// `directory` was synced.
    pub(crate) fn sync(&mut self, directory: &str) {
        let last = self.changes.iter().rposition(|change| change.touches(directory));
        for change in self.changes.drain(..last.map_or(0, |last| last + 1)) {
            if let Some(kept) = change.kept() {
                sys::unlink(kept);
            }
        }
    }

    /// Loses power: takes the last changes back, any number of them.
    pub(crate) fn lose(&mut self, random: &mut Random) -> usize {
        let all = self.changes.len();
        let kept = match random.below(3) {
            0 => 0,
            1 => all,
            _ => random.below(all as u64 + 1) as usize,
        };
        for change in self.changes.drain(kept..).rev() {
            change.undo();
        }
        for change in self.changes.drain(..) {
            if let Some(kept) = change.kept() {
                sys::unlink(kept);
            }
        }
        all - kept
    }
}

impl Change {
    fn touches(&self, directory: &str) -> bool {
        let within = |path: &str| parent(path) == directory;
        match self {
            Change::Created(path)
            | Change::DirectoryCreated(path)
            | Change::DirectoryRemoved(path)
            | Change::Removed { path, .. } => within(path),
            Change::Renamed { from, to, .. } => within(from) || within(to),
        }
    }

    fn kept(&self) -> Option<&str> {
        match self {
            Change::Removed { kept, .. } => Some(kept),
            Change::Renamed { kept, .. } => kept.as_deref(),
            _ => None,
        }
    }

    /// Everything that happened later was undone before, so that each of these can succeed.
    fn undo(&self) {
        match self {
            Change::Created(path) => sys::unlink(path),
            Change::DirectoryCreated(path) => sys::remove_directory(path),
            Change::Removed { path, kept } => sys::rename(kept, path),
            Change::DirectoryRemoved(path) => sys::create_directory(path),
            Change::Renamed { from, to, kept } => {
                sys::rename(to, from);
                if let Some(kept) = kept {
                    sys::rename(kept, to);
                }
            }
        }
    }
}

/// The directory that holds `path`.
fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_of_a_directory_ends_at_its_last_change() {
        let mut names = Names::default();
        for path in ["/a/1", "/b/1", "/a/2", "/b/2"] {
            names.add(Change::Created(path.into()));
        }
        names.sync("/c");
        assert_eq!(names.changes.len(), 4);
        names.sync("/a");
        assert_eq!(names.changes, [Change::Created("/b/2".into())]);
    }
}
