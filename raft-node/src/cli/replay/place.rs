//! Where recordings are: one file, or all of a directory in their order.

use std::fs;
use std::path::{Path, PathBuf};

use raft_core::record::{Header, Record, Records};

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
    /// The recordings in `path`.
    pub(super) fn find(path: &Path) -> Result<Recordings, ReplayFailure> {
        let unreadable = |source| ReplayFailure::Read {
            path: path.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            for entry in fs::read_dir(path).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?.path();
                if entry.extension().is_some_and(|extension| extension == EXTENSION) {
                    paths.push(entry);
                }
            }
            // Their names are numbers of equal length.
            paths.sort();
        } else {
            paths.push(path.to_owned());
        }
        let mut files = Vec::new();
        for path in paths {
            let bytes = fs::metadata(&path).map_err(unreadable)?.len();
            files.push((path, bytes));
        }
        if files.is_empty() {
            return Err(ReplayFailure::NoRecording(path.to_owned()));
        }
        let bytes = files.iter().map(|file| file.1).sum();
        Ok(Recordings { files, bytes })
    }

    /// The files, one after the other, each read as a whole when its turn comes.
    pub(super) fn open(&self) -> impl Iterator<Item = Result<Opened, ReplayFailure>> {
        let mut bytes_before = 0;
        let mut first: Option<Header> = None;
        self.files.iter().map(move |(path, bytes)| {
            let content = fs::read(path).map_err(|source| ReplayFailure::Read {
                path: path.clone(),
                source,
            })?;
            let records = Records::new(content.into()).map_err(|source| ReplayFailure::Recording {
                path: path.clone(),
                step: 0,
                source,
            })?;
            let whose = |header: &Header| (header.node, header.group);
            let found = records.header();
            let expected = first.get_or_insert_with(|| found.clone());
            if whose(expected) != whose(found) && records.position() > 0 {
                return Err(ReplayFailure::OtherReplica {
                    path: path.clone(),
                    expected: whose(expected),
                    found: whose(found),
                });
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
