//! The file of acknowledged keys: one line `KEY<TAB>VALUE` per acknowledgement, in their order.
//!
//! `load` writes it and `verify` reads it. A line is in the file soon after its acknowledgement, and only if there was
//! one; a torn last line, left by a killed `load`, is not an acknowledgement that anybody relied on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::error::ClientError;

/// Acknowledged keys and their newest values, in the order of the keys.
pub type Acked = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the file at `path`. Of several lines with one key the last one counts.
pub fn read(path: &Path) -> Result<Acked, ClientError> {
    let contents = fs::read(path).map_err(|source| ClientError::AckedFile {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let mut acked = Acked::new();
    for (position, line) in contents.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // Only a line that was written whole counts.
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let Some(tab) = line.iter().position(|byte| *byte == b'\t').filter(|tab| *tab > 0) else {
            return Err(ClientError::AckedLine {
                path: path.to_owned(),
                line: position + 1,
            });
        };
        acked.insert(line[..tab].to_vec(), line[tab + 1..].to_vec());
    }
    Ok(acked)
}

/// Appends to a file of acknowledged keys on a thread of its own, so that its disk never slows the clients down.
#[derive(Debug)]
pub struct AckedWriter {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    lines: Sender<String>,
    thread: JoinHandle<io::Result<()>>,
}

impl AckedWriter {
    /// Opens or makes the file at `path`.
    pub fn append(path: &Path) -> Result<AckedWriter, ClientError> {
        let failed = |source| ClientError::AckedFile {
            action: "write",
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        let (lines, receiver) = channel();
        let thread = thread::Builder::new()
            .name("acked".to_owned())
            .spawn(move || write_lines(file, &receiver))
            .map_err(failed)?;
        Ok(AckedWriter {
            path: path.to_owned(),
            open: Mutex::new(Some(Open { lines, thread })),
        })
    }

    /// Appends `line`, which ends with a newline. `false` if the file can no longer be written;
    /// [`finish`](AckedWriter::finish) then says why.
    pub fn write(&self, line: String) -> bool {
        self.open()
            .as_ref()
            .is_some_and(|open| open.lines.send(line).is_ok())
    }

    /// Waits until everything is written; later lines are refused.
    pub fn finish(&self) -> Result<(), ClientError> {
        let Some(Open { lines, thread }) = self.open().take() else {
            return Ok(());
        };
        drop(lines);
        let result = thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")));
        result.map_err(|source| ClientError::AckedFile {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        // Nothing panics while it holds the lock, and the value is whole at every moment anyway.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_lines(file: File, lines: &Receiver<String>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, file);
    while let Ok(line) = lines.recv() {
        file.write_all(line.as_bytes())?;
        // What is waiting already goes into the same write; then the file is complete up to here.
        for line in lines.try_iter() {
            file.write_all(line.as_bytes())?;
        }
        file.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        for value in ["old", "new"] {
            let writer = AckedWriter::append(&path).unwrap();
            assert!(writer.write(format!("k\t{value}\n")));
            assert!(writer.write(format!("{value}\tv\n")));
            writer.finish().unwrap();
        }
        let acked = read(&path).unwrap();
        let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(
            acked,
            Acked::from([pair("k", "new"), pair("old", "v"), pair("new", "v")])
        );
    }

    #[test]
    fn a_torn_last_line_does_not_count_and_a_strange_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acked");
        fs::write(&path, "a\tb\nc\tto").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        fs::write(&path, "a\tb\nno tab\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2"));
        let error = read(&directory.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none") && error.contains("--acked"), "{error}");
    }

    #[test]
    fn a_full_disk_is_reported() {
        let writer = AckedWriter::append(Path::new("/dev/full")).unwrap();
        writer.write("a\tb\n".to_owned());
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("/dev/full"), "{error}");
    }
}
