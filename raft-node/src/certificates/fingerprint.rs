//! Whether files changed.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What some files hold and who may read them, as far as it takes to notice a change.
///
/// The content is looked at, and no time of change: files that are mounted into a container are links to links that are
/// swapped, copies may keep their times, and two writes may fall into one tick of a clock. Three small files cost microseconds.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    hashes: Vec<u64>,
    /// With a secret of this process, so that nothing about a key can be learned from a hash of it.
    hasher: RandomState,
}

impl Fingerprint {
    /// Of `files` now. A file that cannot be read is one, too.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Fingerprint {
        let hasher = RandomState::new();
        let hashes = hash_all(&hasher, files);
        Fingerprint { hashes, hasher }
    }

    /// Looks at the same `files` again. `None` if nothing changed.
    #[must_use]
    pub fn changed<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Option<Fingerprint> {
        let hashes = hash_all(&self.hasher, files);
        let hasher = self.hasher.clone();
        (hashes != self.hashes).then_some(Fingerprint { hashes, hasher })
    }
}

fn hash_all<'a>(hasher: &RandomState, files: impl IntoIterator<Item = &'a Path>) -> Vec<u64> {
    files
        .into_iter()
        .map(|file| {
            let mode = fs::metadata(file).map(|metadata| metadata.permissions().mode());
            let content = fs::read(file).map_err(|error| error.kind());
            hasher.hash_one((mode.ok(), content))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn contents_permissions_and_links_count_and_times_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in [("a", "one"), ("b", "two"), ("same", "one")] {
            fs::write(path(name), text).unwrap();
        }
        symlink(path("a"), path("link")).unwrap();
        let link = path("link");
        let files = || [link.as_path()];
        let first = Fingerprint::of(files());
        assert!(first.changed(files()).is_none());

        let relink = |to: &str| {
            symlink(path(to), path("new")).unwrap();
            fs::rename(path("new"), &link).unwrap();
        };
        relink("same");
        assert!(first.changed(files()).is_none(), "the same content");
        relink("b");
        let second = first.changed(files()).expect("another content");
        fs::set_permissions(path("b"), fs::Permissions::from_mode(0o600)).unwrap();
        let third = second.changed(files()).expect("other permissions");
        fs::remove_file(path("b")).unwrap();
        let fourth = third.changed(files()).expect("it is gone");
        assert!(fourth.changed(files()).is_none(), "it is still gone");
    }
}
