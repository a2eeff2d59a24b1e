//! Recordings in files: a bounded queue, and a thread that empties it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::record::{Header, Tap};

/// The ending of the names of recordings.
pub(super) const EXTENSION: &str = "raftrec";

/// How much waits for the disk at most.
const QUEUE_BYTES_MAX: usize = 8 << 20;

/// With so much in the queue, the thread is woken.
const WRITE_BYTES: usize = 256 << 10;

/// With less, it waits so long for more.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// A file is closed when it has this part of all bytes.
const FILES: u64 = 8;

/// The least that all files together may take.
const BYTES_MAX_LEAST: u64 = 1 << 20;

/// Why a replica is not recorded in files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The directory cannot be used.
    #[error("cannot record in {path}: {source}", path = .path.display())]
    Directory {
        /// The directory, or what is in it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Too little space to record anything.
    #[error("{0} bytes are too few for recordings; give at least {BYTES_MAX_LEAST}")]
    TooFewBytes(u64),
    /// There is no thread to write them.
    #[error("cannot start a thread for recordings: {0}")]
    Thread(#[source] io::Error),
}

/// A recording that goes to files. Dropping it changes nothing: it ends when its replica does.
#[derive(Debug)]
pub struct RecordingFiles {
    queue: Arc<Queue>,
}

/// The queue's end at the replica.
#[derive(Debug)]
pub(super) struct FilesTap {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Where in `bytes` segments begin, ascending.
    beginnings: Vec<usize>,
    /// Nothing is added any more.
    is_closed: bool,
    /// The thread has ended.
    is_ended: bool,
    /// What went wrong; nothing is written any more.
    error: Option<String>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No change of the state can stop halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until there is enough to write, or something and a while has passed. None at the end.
    fn take(&self, empty: &mut State) -> Option<()> {
        let state = self.lock();
        let is_idle = |state: &mut State| state.bytes.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(state, is_idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let is_little = |state: &mut State| state.bytes.len() < WRITE_BYTES && !state.is_closed;
        let waited = self.changed.wait_timeout_while(state, WRITE_INTERVAL, is_little);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.bytes.is_empty() {
            return None;
        }
        empty.bytes.clear();
        empty.beginnings.clear();
        std::mem::swap(&mut state.bytes, &mut empty.bytes);
        std::mem::swap(&mut state.beginnings, &mut empty.beginnings);
        Some(())
    }

    fn end(&self, error: Option<io::Error>) {
        let mut state = self.lock();
        state.error = error.map(|error| error.to_string());
        state.is_closed = true;
        state.is_ended = true;
        drop(state);
        self.changed.notify_all();
    }
}

impl Tap for FilesTap {
    fn push(&mut self, records: &[u8], begins_segment: bool) -> bool {
        let mut state = self.queue.lock();
        let before = state.bytes.len();
        if state.is_closed || (before > 0 && before + records.len() > QUEUE_BYTES_MAX) {
            return false;
        }
        if begins_segment {
            state.beginnings.push(before);
        }
        state.bytes.extend_from_slice(records);
        let after = state.bytes.len();
        drop(state);
        if before == 0 || (before < WRITE_BYTES && after >= WRITE_BYTES) {
            self.queue.changed.notify_all();
        }
        true
    }

    fn has_room(&self) -> bool {
        let state = self.queue.lock();
        !state.is_closed && state.bytes.len() <= QUEUE_BYTES_MAX / 2
    }
}

impl Drop for FilesTap {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl RecordingFiles {
    pub(super) fn open(
        directory: &Path,
        header: Header,
        bytes_max: u64,
    ) -> Result<(FilesTap, RecordingFiles), RecordingError> {
        if bytes_max < BYTES_MAX_LEAST {
            return Err(RecordingError::TooFewBytes(bytes_max));
        }
        let files = Files::open(directory, header, bytes_max).map_err(|source| {
            let path = directory.to_owned();
            RecordingError::Directory { path, source }
        })?;
        let queue = Arc::new(Queue::default());
        let writer = queue.clone();
        thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || write_all(&writer, files))
            .map_err(RecordingError::Thread)?;
        let tap = FilesTap { queue: queue.clone() };
        Ok((tap, RecordingFiles { queue }))
    }

    /// Why nothing is recorded any more, if something went wrong. The replica goes on without it.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.queue.lock().error.clone()
    }

    /// Ends the recording, or its files if the replica goes on, and waits until everything is in them, for at most `timeout`: a disk
    /// that stands still must hold up nobody. Returns whether it is.
    pub fn close(self, timeout: Duration) -> bool {
        self.queue.close();
        let state = self.queue.lock();
        let has_more = |state: &mut State| !state.is_ended;
        let waited = self.queue.changed.wait_timeout_while(state, timeout, has_more);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_ended && state.error.is_none()
    }
}

/// Runs until the queue is closed and empty, or something fails.
fn write_all(queue: &Queue, mut files: Files) {
    let mut taken = State::default();
    let mut result = Ok(());
    while result.is_ok() && queue.take(&mut taken).is_some() {
        result = files.write(&taken.bytes, &taken.beginnings);
    }
    if let Err(error) = &result {
        let path = files.directory.display();
        tracing::error!("recording in {path} ended: {error}; the node goes on without it");
    }
    queue.end(result.err());
}

/// The files of one directory.
struct Files {
    directory: PathBuf,
    header: Header,
    bytes_max: u64,
    /// The numbers and sizes of all files, oldest first.
    sizes: Vec<(u64, u64)>,
    /// The one that is written.
    open: Option<File>,
}

impl Files {
    fn open(directory: &Path, header: Header, bytes_max: u64) -> io::Result<Files> {
        fs::create_dir_all(directory)?;
        let mut sizes = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path()) {
                sizes.push((number, entry.metadata()?.len()));
            }
        }
        sizes.sort_unstable();
        Ok(Files {
            directory: directory.to_owned(),
            header,
            bytes_max,
            sizes,
            open: None,
        })
    }

    /// Appends `bytes`, in which segments begin at `beginnings`: there a file may end and the next one begin.
    fn write(&mut self, bytes: &[u8], beginnings: &[usize]) -> io::Result<()> {
        let mut at = 0;
        for &beginning in beginnings {
            self.append(&bytes[at..beginning])?;
            at = beginning;
            let is_full = self
                .sizes
                .last()
                .is_some_and(|file| file.1 >= self.bytes_max / FILES);
            if self.open.is_none() || is_full {
                self.begin_file()?;
            }
        }
        self.append(&bytes[at..])
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.make_room(bytes.len() as u64)?;
        if let (Some(file), Some(size)) = (&mut self.open, self.sizes.last_mut()) {
            size.1 += bytes.len() as u64;
            file.write_all(bytes)?;
        }
        Ok(())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.sizes.last().map_or(1, |file| file.0 + 1);
        let path = self.path(number);
        self.open = Some(OpenOptions::new().write(true).create_new(true).open(path)?);
        self.sizes.push((number, 0));
        self.append(&self.header.before(&[]))
    }

    /// Removes the oldest files until there is room for so many more bytes; the open one stays.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let mut all: u64 = self.sizes.iter().map(|file| file.1).sum();
        while all + bytes > self.bytes_max && self.sizes.len() > 1 {
            let (number, size) = self.sizes.remove(0);
            fs::remove_file(self.path(number))?;
            all -= size;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:08}.{EXTENSION}"))
    }
}

/// The number in the name of a recording; none if it is something else.
fn number_of(path: &Path) -> Option<u64> {
    let is_recording = path.extension().is_some_and(|extension| extension == EXTENSION);
    path.file_stem()
        .filter(|_| is_recording)
        .and_then(|stem| stem.to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R76: whoever records never waits: what does not fit is refused at once, and asked for again when half is gone.
    #[test]
    fn a_full_queue_refuses() {
        let queue = Arc::new(Queue::default());
        let mut tap = FilesTap { queue: queue.clone() };
        let records = vec![7; QUEUE_BYTES_MAX / 4];
        let taken = (0..10).take_while(|_| tap.push(&records, true)).count();
        assert_eq!(taken, 4);
        assert!(!tap.has_room());
        let mut state = State::default();
        assert!(queue.take(&mut state).is_some());
        assert_eq!(
            state.beginnings,
            [0, 1, 2, 3].map(|part| part * QUEUE_BYTES_MAX / 4)
        );
        assert!(tap.has_room());
        // One that is larger than everything passes when the queue is empty.
        assert!(tap.push(&vec![7; QUEUE_BYTES_MAX * 2], true));
        assert!(!tap.push(&[7], false));
    }

    #[test]
    fn names_of_other_files_are_no_numbers() {
        for (name, number) in [
            ("00000012.raftrec", Some(12)),
            ("12.raftrec.tmp", None),
            ("x.raftrec", None),
            ("12", None),
        ] {
            assert_eq!(number_of(Path::new(name)), number, "{name}");
        }
    }
}
