//! A small file with two slots, written in turn: the valid slot with the higher sequence number counts.
//!
//! A slot has 4 KiB and is written with `O_DSYNC`. A torn write therefore damages only the slot that was not
//! acknowledged, on disks with 512-byte and with 4 KiB sectors alike. What stands in a slot is the caller's; its
//! encoding carries the sequence number and a checksum.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::files::sync_parent;
use crate::format::journal::HeadError;

/// The bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 4096;

/// An open pair of slots. The file is opened for each write: with thousands of groups, descriptors would be the scarcer
/// thing.
#[derive(Debug)]
pub(crate) struct Slots {
    path: PathBuf,
    /// Of the slot that was written last.
    sequence: u64,
}

/// Where the slot with the sequence number `sequence` stands.
pub(crate) fn slot_at(sequence: u64) -> usize {
    if sequence.is_multiple_of(2) { 0 } else { SLOT_BYTES }
}

impl Slots {
    /// Creates the file, durably, or replaces it: it appears whole, with both slots written.
    /// `encode` gives the content of the slot with a sequence number.
    pub(crate) fn create(path: PathBuf, encode: impl Fn(u64) -> Vec<u8>) -> io::Result<Slots> {
        let unfinished = path.with_extension("tmp");
        let mut content = vec![0; 2 * SLOT_BYTES];
        for sequence in 0..2 {
            let slot = encode(sequence);
            let at = slot_at(sequence);
            content[at..at + slot.len()].copy_from_slice(&slot);
        }
        fs::write(&unfinished, content)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_parent(&path)?;
        Ok(Slots { path, sequence: 1 })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the next slot, durably.
    pub(crate) fn write(&mut self, encode: impl Fn(u64) -> Vec<u8>) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let mut slot = encode(sequence);
        slot.resize(SLOT_BYTES, 0);
        // The bits are a small set of flags; the type differs between rustix and the standard library only in sign.
        let flags = rustix::fs::OFlags::DSYNC.bits().cast_signed();
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(&self.path)?;
        file.write_all_at(&slot, slot_at(sequence) as u64)?;
        self.sequence = sequence;
        Ok(())
    }
}

/// The file at `path` and the content of its newest valid slot; `None` if there is no file. `what` names the file in errors, and
/// `known` is the version that `decode` reads.
///
/// # Errors
/// Neither slot is valid, one has another version, or the file cannot be read. One damaged slot is a warning: a crash
/// may have torn it, and the other one counts.
pub(crate) fn newest<T: Copy>(
    path: &Path,
    what: &str,
    known: u8,
    decode: impl Fn(&[u8]) -> Result<(u64, T), HeadError>,
) -> Result<Option<(Slots, T)>, OpenError> {
    let slots = match read(path) {
        Ok(slots) => slots.map(|slot| decode(&slot)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::directory(path, error)),
    };
    for slot in &slots {
        if let Err(HeadError::Version(found)) = slot {
            return Err(OpenError::Version {
                what: what.to_owned(),
                found: *found,
                known,
            });
        }
    }
    let Some(&(sequence, content)) = slots.iter().flatten().max_by_key(|(sequence, _)| *sequence) else {
        return Err(OpenError::Corrupt {
            what: what.to_owned(),
            detail: String::from("neither of its two copies has a right checksum"),
        });
    };
    if slots.iter().any(Result::is_err) {
        tracing::warn!("one of the two copies in {what} is torn; the other one counts");
    }
    let slots = Slots {
        path: path.to_path_buf(),
        sequence,
    };
    Ok(Some((slots, content)))
}

/// The two slots in the file at `path`; short or empty where the file is.
pub(crate) fn read(path: &Path) -> io::Result<[Vec<u8>; 2]> {
    let content = fs::read(path)?;
    Ok([0, 1].map(|slot| {
        content
            .chunks(SLOT_BYTES)
            .nth(slot)
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    }))
}
