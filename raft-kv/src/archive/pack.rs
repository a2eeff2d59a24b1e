//! Writing: a directory becomes a stream.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use super::format::{CHUNK_BYTES, MAGIC, TAG_END, TAG_FILE, valid_name};
use crate::directory::RemoveOnDrop;

/// Streams the files of a directory, and removes it when dropped.
#[derive(Debug)]
pub(crate) struct ArchiveReader {
    files: std::vec::IntoIter<(String, PathBuf)>,
    count: u32,
    open: Option<OpenFile>,
    buffer: Vec<u8>,
    position: usize,
    checksum: u32,
    finished: bool,
    _directory: RemoveOnDrop,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    left: u64,
    checksum: u32,
}

impl ArchiveReader {
    /// An archive of all files in `directory`, in the order of their names.
    pub(crate) fn new(directory: RemoveOnDrop) -> io::Result<ArchiveReader> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&directory.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| valid_name(name));
            let name = name.ok_or_else(|| {
                io::Error::other(format!(
                    "{}: cannot be part of a snapshot",
                    entry.path().display()
                ))
            })?;
            files.push((name.to_owned(), entry.path()));
        }
        files.sort();
        let count = u32::try_from(files.len()).map_err(io::Error::other)?;
        Ok(ArchiveReader {
            files: files.into_iter(),
            count,
            open: None,
            buffer: MAGIC.to_vec(),
            position: 0,
            checksum: crc32c::crc32c(MAGIC),
            finished: false,
            _directory: directory,
        })
    }

    /// Fills the empty buffer with what comes next.
    fn refill(&mut self) -> io::Result<()> {
        self.position = 0;
        self.buffer.clear();
        if let Some(open) = &mut self.open {
            if open.left > 0 {
                read_chunk(open, &mut self.buffer)?;
            } else {
                self.buffer.extend_from_slice(&open.checksum.to_le_bytes());
                self.open = None;
            }
        } else if let Some((name, path)) = self.files.next() {
            self.begin_file(&name, path)?;
        } else {
            self.buffer.push(TAG_END);
            self.buffer.extend_from_slice(&self.count.to_le_bytes());
            let checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
            self.buffer.extend_from_slice(&checksum.to_le_bytes());
            self.finished = true;
        }
        self.checksum = crc32c::crc32c_append(self.checksum, &self.buffer);
        Ok(())
    }

    fn begin_file(&mut self, name: &str, path: PathBuf) -> io::Result<()> {
        let file = File::open(&path)?;
        let left = file.metadata()?.len();
        let length = u16::try_from(name.len()).map_err(io::Error::other)?;
        self.buffer.push(TAG_FILE);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(&left.to_le_bytes());
        let checksum = crc32c::crc32c(&self.buffer);
        self.buffer.extend_from_slice(&checksum.to_le_bytes());
        self.open = Some(OpenFile {
            file,
            path,
            left,
            checksum: 0,
        });
        Ok(())
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.buffer.len() {
            if self.finished {
                return Ok(0);
            }
            self.refill()?;
        }
        let ready = &self.buffer[self.position..];
        let length = ready.len().min(out.len());
        out[..length].copy_from_slice(&ready[..length]);
        self.position += length;
        Ok(length)
    }
}

fn read_chunk(open: &mut OpenFile, buffer: &mut Vec<u8>) -> io::Result<()> {
    let wanted = open.left.min(CHUNK_BYTES as u64);
    let got = (&mut open.file).take(wanted).read_to_end(buffer)? as u64;
    if got < wanted {
        let path = open.path.display();
        return Err(io::Error::other(format!("{path}: shrank while it was read")));
    }
    open.left -= got;
    open.checksum = crc32c::crc32c_append(open.checksum, buffer);
    Ok(())
}
