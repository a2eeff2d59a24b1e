//! Where recordings are: one file, or all of a directory in their order.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use raft_core::record::{Record, Records};
use raft_core::types::{GroupId, NodeId};

use super::error::ReplayFailure;

/// The ending of the names of recordings.
const EXTENSION: &str = "raftrec";

/// Recordings that follow each other.
#[derive(Debug)]
pub(super) struct Recordings {
    /// The files and their sizes.
    files: Vec<(PathBuf, u64)>,
    /// How much is in all of them.
    pub(super) bytes: u64,
}

/// One file that was opened.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) records: Records,
    /// How many bytes are in the files before it.
    pub(super) bytes_before: u64,
}

impl Recordings {
    /// The recordings in `path`. What is no regular file in a directory is none of ours.
    pub(super) fn find(path: &Path) -> Result<Recordings, ReplayFailure> {
        let found = fs::metadata(path).map_err(unreadable(path))?;
        let files = if found.is_dir() {
            in_directory(path)?
        } else if found.is_file() {
            vec![(path.to_owned(), found.len())]
        } else {
            return Err(ReplayFailure::NoFile(path.to_owned()));
        };
        if files.is_empty() {
            return Err(ReplayFailure::NoRecording(path.to_owned()));
        }
        let bytes = files.iter().map(|file| file.1).sum();
        Ok(Recordings { files, bytes })
    }

    /// The files, one after the other, each opened when its turn comes and read record by record.
    pub(super) fn open(&self) -> impl Iterator<Item = Result<Opened, ReplayFailure>> {
        let mut bytes_before = 0;
        let mut first: Option<(NodeId, GroupId)> = None;
        self.files.iter().map(move |(path, bytes)| {
            let file = File::open(path).map_err(unreadable(path))?;
            let records =
                Records::from_reader(BufReader::new(file)).map_err(|source| ReplayFailure::Recording {
                    path: path.clone(),
                    step: None,
                    source,
                })?;
            // Who died before writing its header has not said whose it is, and has recorded nothing.
            if let Some(header) = records.header() {
                let found = (header.node, header.group);
                let expected = *first.get_or_insert(found);
                if expected != found {
                    return Err(ReplayFailure::OtherReplica {
                        path: path.clone(),
                        expected,
                        found,
                    });
                }
            }
            let opened = Opened {
                path: path.clone(),
                records,
                bytes_before,
            };
            bytes_before += bytes;
            Ok(opened)
        })
    }

    /// The first `count` records again, which were read before without an error.
    pub(super) fn first(&self, count: u64) -> impl Iterator<Item = Record> {
        let opened = self.open().filter_map(Result::ok);
        let records = opened.flat_map(|opened| opened.records.filter_map(Result::ok));
        records.take(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

/// The files of a directory that have the name of recordings, in their order, and their sizes.
fn in_directory(directory: &Path) -> Result<Vec<(PathBuf, u64)>, ReplayFailure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let found = fs::metadata(&path).map_err(unreadable(&path))?;
        if found.is_file() {
            files.push((path, found.len()));
        }
    }
    // Their names are numbers of equal length.
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ReplayFailure {
    let path = path.to_owned();
    |source| ReplayFailure::Read { path, source }
}
