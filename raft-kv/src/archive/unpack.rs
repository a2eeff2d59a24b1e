//! Reading: a stream becomes a directory. Believes nothing. The fuzz targets compile this file and `format` alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::format::{ArchiveError, CHUNK_BYTES, MAGIC, NAME_BYTES_MAX, TAG_END, TAG_FILE, valid_name};
use super::sync_directory;

/// Writes the files of an archive into the new directory `into`, durably. After an error the directory holds a part of
/// them and is of no use.
pub(crate) fn unpack(content: &mut dyn Read, into: &Path) -> Result<(), ArchiveError> {
    let write_error = |source| ArchiveError::Write {
        path: into.to_owned(),
        source,
    };
    fs::create_dir(into).map_err(write_error)?;
    let mut input = Input {
        content,
        offset: 0,
        checksum: 0,
        chunk: vec![0; CHUNK_BYTES],
    };
    if &input.array()? != MAGIC {
        return Err(input.damaged("it does not begin like a key-value snapshot of version 1"));
    }
    let mut count = 0u32;
    loop {
        match input.array()? {
            [TAG_FILE] => input.unpack_file(into)?,
            [TAG_END] => break,
            [tag] => return Err(input.damaged(format!("unknown tag {tag}"))),
        }
        count += 1;
    }
    input.expect_end(count)?;
    sync_directory(into).map_err(write_error)
}

struct Input<'a> {
    content: &'a mut dyn Read,
    offset: u64,
    /// Of everything read so far.
    checksum: u32,
    chunk: Vec<u8>,
}

impl Input<'_> {
    fn unpack_file(&mut self, into: &Path) -> Result<(), ArchiveError> {
        let (path, length) = self.file_header(into)?;
        let write_error = |source| ArchiveError::Write {
            path: path.clone(),
            source,
        };
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.damaged(format!("{} comes twice", path.display())));
            }
            Err(error) => return Err(write_error(error)),
        };
        let (mut left, mut checksum) = (length, 0);
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let mut chunk = std::mem::take(&mut self.chunk);
            let result = self.fill(&mut chunk[..size]);
            self.chunk = chunk;
            result?;
            checksum = crc32c::crc32c_append(checksum, &self.chunk[..size]);
            file.write_all(&self.chunk[..size]).map_err(write_error)?;
            left -= size as u64;
        }
        let expected = u32::from_le_bytes(self.array()?);
        if checksum != expected {
            let name = path.display();
            return Err(self.damaged(format!(
                "{name}: checksum {checksum:08x} instead of {expected:08x}"
            )));
        }
        file.sync_all().map_err(write_error)
    }

    fn file_header(&mut self, into: &Path) -> Result<(PathBuf, u64), ArchiveError> {
        let length_bytes: [u8; 2] = self.array()?;
        let name_length = usize::from(u16::from_le_bytes(length_bytes));
        if name_length > NAME_BYTES_MAX {
            return Err(self.damaged(format!("a file name of {name_length} bytes")));
        }
        let mut name = [0; NAME_BYTES_MAX];
        let name = &mut name[..name_length];
        self.fill(name)?;
        let content_length: [u8; 8] = self.array()?;
        let mut checksum = crc32c::crc32c(&[TAG_FILE]);
        for part in [&length_bytes[..], name, &content_length] {
            checksum = crc32c::crc32c_append(checksum, part);
        }
        if u32::from_le_bytes(self.array()?) != checksum {
            return Err(self.damaged("the checksum of a file header is wrong"));
        }
        match std::str::from_utf8(name) {
            Ok(text) if valid_name(text) => Ok((into.join(text), u64::from_le_bytes(content_length))),
            _ => {
                let name = name.escape_ascii();
                Err(self.damaged(format!("the file name \"{name}\" is not allowed")))
            }
        }
    }

    fn expect_end(&mut self, count: u32) -> Result<(), ArchiveError> {
        let claimed = u32::from_le_bytes(self.array()?);
        if claimed != count {
            return Err(self.damaged(format!("{count} files instead of {claimed}")));
        }
        let checksum = self.checksum;
        if u32::from_le_bytes(self.array()?) != checksum {
            return Err(self.damaged("the checksum of the whole is wrong"));
        }
        match self.content.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows the end")),
            Err(source) => Err(ArchiveError::Read {
                offset: self.offset,
                source,
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        match self.content.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                self.checksum = crc32c::crc32c_append(self.checksum, bytes);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("it ends too early"))
            }
            Err(source) => Err(ArchiveError::Read {
                offset: self.offset,
                source,
            }),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged {
            offset: self.offset,
            reason: reason.into(),
        }
    }
}
