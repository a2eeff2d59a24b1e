//! What is done about RocksDB's own files before RocksDB opens them, because its reader fails on them where it need not.
//!
//! Must never hide a loss: what is cut off a MANIFEST is a change that RocksDB had not finished. If it had, the database is
//! older now than the journal's beginning, and the journal says so.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::format::rocksdb_file::{foreign_record, torn_end};

/// Mends a torn MANIFEST in the database's directory, and refuses the files that RocksDB's reader never gets to the end of.
pub(crate) fn prepare(path: &Path) -> Result<(), OpenError> {
    if let Some(manifest) = current(path)? {
        mend(&manifest)?;
    }
    check_framing(path)
}

/// The MANIFEST that counts, if there is one.
fn current(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    let file = path.join("CURRENT");
    match fs::read_to_string(&file) {
        Ok(name) => {
            let name = name.trim_end();
            // Anything else is damage, which RocksDB reports.
            let manifest = name.starts_with("MANIFEST-").then(|| path.join(name));
            Ok(manifest.filter(|manifest| manifest.is_file()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(OpenError::directory(&file, error)),
    }
}

/// Cuts off the end of a MANIFEST that a loss of power has torn. RocksDB takes a last record for damaged of which a sector is
/// missing.
fn mend(manifest: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::directory(manifest, error);
    let bytes = fs::read(manifest).map_err(failed)?;
    let Some(end) = torn_end(&bytes) else {
        return Ok(());
    };
    tracing::warn!(
        path = %manifest.display(),
        torn = bytes.len() - end,
        "the end of RocksDB's MANIFEST is torn, as after power loss; it is cut off"
    );
    let file = OpenOptions::new().write(true).open(manifest).map_err(failed)?;
    file.set_len(end as u64).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn check_framing(path: &Path) -> Result<(), OpenError> {
    let files = match fs::read_dir(path) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::directory(path, error)),
    };
    for file in files {
        let file = file.map_err(|error| OpenError::directory(path, error))?.path();
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !name.starts_with("MANIFEST-") && !name.ends_with(".log") {
            continue;
        }
        let bytes = fs::read(&file).map_err(|error| OpenError::directory(&file, error))?;
        if let Some((at, kind)) = foreign_record(&bytes) {
            return Err(OpenError::Corrupt {
                what: format!("RocksDB's file {}", file.display()),
                detail: format!(
                    "at byte {at} stands a record of type {kind}, which RocksDB never wrote there"
                ),
            });
        }
    }
    Ok(())
}
