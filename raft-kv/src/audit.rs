//! Checks over the whole store: its fingerprint, and whether its parts agree.
//!
//! Both walk one consistent view, read everything and change nothing.

use crate::error::StorageError;
use crate::layout::{Live, Revision, Version};
use crate::store::{AuditReport, StateHash};
use crate::view::View;

/// The fingerprint up to `revision`, which the view has.
pub(crate) fn hash(view: &View<'_>, revision: i64) -> Result<StateHash, StorageError> {
    let (mut hash, mut versions) = (0, 0);
    view.walk_all(|key, at, record| {
        if at.main <= revision {
            versions += 1;
            // Lengths are hashed, too, so that bytes cannot move from one field to the next unnoticed.
            for part in [key, record] {
                hash = crc32c::crc32c_append(hash, &(part.len() as u64).to_le_bytes());
                hash = crc32c::crc32c_append(hash, part);
            }
            hash = crc32c::crc32c_append(hash, &at.to_bytes());
        }
        Ok(())
    })?;
    Ok(StateHash {
        hash,
        revision,
        compact_revision: view.state().compact_revision,
        versions,
    })
}

/// Checks that every live key is the newest version of its key, that history and versions name each other, and that
/// no revision is beyond the current one.
pub(crate) fn audit(view: &View<'_>) -> Result<AuditReport, StorageError> {
    let mut report = AuditReport::default();
    let mut previous: Option<(Vec<u8>, Revision)> = None;
    view.walk_all(|key, revision, record| {
        report.versions += 1;
        let version = Version::decode(revision, record)?;
        if revision.main > view.state().revision {
            return Err(contradiction(key, revision, "it is beyond the current revision"));
        }
        let newest = previous.as_ref().is_none_or(|(other, _)| other != key);
        if newest {
            report.keys += u64::from(check_newest(view, key, revision, &version)?);
        }
        previous = Some((key.to_vec(), revision));
        Ok(())
    })?;
    let mut keys = 0;
    view.walk_current(&[], None, |_, _| keys += 1)?;
    if keys != report.keys {
        let text = format!("{keys} live keys, but the versions have {}", report.keys);
        return Err(StorageError::Damaged(text));
    }
    let mut changes = 0;
    view.walk_history(|revision, deleted, key| {
        changes += 1;
        view.has_version(key, revision, deleted)
    })?;
    if changes != report.versions {
        let text = format!(
            "{changes} changes in the history, but {} versions",
            report.versions
        );
        return Err(StorageError::Damaged(text));
    }
    Ok(report)
}

/// Whether the key is live.
fn check_newest(
    view: &View<'_>,
    key: &[u8],
    revision: Revision,
    version: &Version<'_>,
) -> Result<bool, StorageError> {
    let expected: Option<Live> = match version {
        Version::Put(live, _) => Some(*live),
        Version::Tombstone => None,
    };
    if view.live(key)? != expected {
        return Err(contradiction(key, revision, "the record of the live key differs"));
    }
    Ok(expected.is_some())
}

fn contradiction(key: &[u8], revision: Revision, what: &str) -> StorageError {
    let (key, main, sub) = (key.escape_ascii(), revision.main, revision.sub);
    StorageError::Damaged(format!("key {key} at revision {main}.{sub}: {what}"))
}
