//! How often the store was opened, in a file outside the journal's directory.
//!
//! The control file has the same number. A journal whose directory was put back as it was at an earlier time is sound in itself,
//! and lacks what was acknowledged since; its number is lower than this one. The control file is written first, so a
//! crash between the two leaves it ahead.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::format::journal::{VERSION, decode_openings, encode_openings};
use crate::slots::{self, Slots};

/// The file, if there is one.
#[derive(Debug)]
pub(crate) struct Openings {
    path: PathBuf,
    slots: Option<Slots>,
    count: u64,
}

impl Openings {
    /// Reads the file at `path`; a store that was never opened has none.
    pub(crate) fn read(path: &Path) -> Result<Openings, OpenError> {
        let what = format!("the file {}", path.display());
        let newest = slots::newest(path, &what, VERSION, decode_openings)?;
        let (slots, count) = newest.map_or((None, 0), |(slots, count)| (Some(slots), count));
        Ok(Openings {
            path: path.to_path_buf(),
            slots,
            count,
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Notes, durably, that the store was opened for the `count`th time.
    pub(crate) fn note(mut self, count: u64) -> io::Result<()> {
        let encode = |sequence| encode_openings(sequence, count).to_vec();
        match &mut self.slots {
            Some(slots) => slots.write(encode),
            None => Slots::create(self.path, encode).map(drop),
        }
    }
}
