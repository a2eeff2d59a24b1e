//! How large the files of a store are.

use std::fs;
use std::io;
use std::path::Path;

use super::error::InspectError;
use super::report::{DiskUsage, Usage};

/// The sizes of everything in the directories of a log store and of a snapshot store.
pub(super) fn measure(log: &Path, snapshots: &Path) -> Result<DiskUsage, InspectError> {
    let mut usage = DiskUsage::default();
    for_each_file(&log.join("journal"), &mut |_, bytes| {
        add(&mut usage.journal, bytes)
    })?;
    for_each_file(&log.join("watermarks"), &mut |_, bytes| {
        add(&mut usage.watermarks, bytes)
    })?;
    for_each_file(snapshots, &mut |_, bytes| add(&mut usage.snapshots, bytes))?;
    for_each_file(&log.join("db"), &mut |path, bytes| {
        if is_table(path) {
            add(&mut usage.tables, bytes);
        } else {
            add(&mut usage.database, bytes);
        }
    })?;
    Ok(usage)
}

/// Whether the file at `path` is a table of RocksDB.
pub(super) fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sst")
}

fn add(usage: &mut Usage, bytes: u64) {
    usage.files += 1;
    usage.bytes += bytes;
}

fn for_each_file(dir: &Path, take: &mut dyn FnMut(&Path, u64)) -> Result<(), InspectError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(InspectError::read(dir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| InspectError::read(dir, error))?;
        let path = entry.path();
        let metadata = entry
            .metadata()
            .map_err(|error| InspectError::read(&path, error))?;
        if metadata.is_dir() {
            for_each_file(&path, take)?;
        } else {
            take(&path, metadata.len());
        }
    }
    Ok(())
}
