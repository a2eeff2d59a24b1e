//! Finds raft-engine's newest file, and what is wrong with it; see `format::tail`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::tail::damage;

const SUFFIX: &str = ".raftlog";
/// How many digits a file's name has.
const DIGITS: usize = 16;

/// The newest file, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Inspected {
    /// Its number; 0 if there is none.
    pub(crate) newest: u64,
    /// What is damaged in it, and where.
    pub(crate) damage: Option<(PathBuf, String)>,
}

/// Inspects the newest file in `dir`, which need not be there.
pub(crate) fn inspect(dir: &Path) -> io::Result<Inspected> {
    let newest = newest(dir)?;
    let mut inspected = Inspected { newest, damage: None };
    if newest > 0 {
        let path = dir.join(format!("{newest:0width$}{SUFFIX}", width = DIGITS));
        let bytes = fs::read(&path)?;
        inspected.damage = damage(&bytes, newest).map(|detail| (path, detail));
    }
    Ok(inspected)
}

fn newest(dir: &Path) -> io::Result<u64> {
    let files = match fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut newest = 0;
    for file in files {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let number = number.filter(|number| number.len() == DIGITS);
        newest = newest.max(number.and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    Ok(newest)
}
