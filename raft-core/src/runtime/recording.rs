//! What a node does to be recorded, and how its recording is had.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::node::Node;
use super::recording_files::{RecordingError, RecordingFiles};
use crate::config::Config;
use crate::input::Input;
use crate::raft::Raft;
use crate::record::{Recorder, RecorderOptions, StepObserver, WallTime};
use crate::traits::Recovered;
use crate::types::{EntryId, Time};

/// The recorder of one replica, shared by the task that steps it and by whoever wants its recording.
#[derive(Clone, Debug)]
pub(super) struct Recording(Arc<Mutex<Recorder>>);

impl Recording {
    /// The recording of a replica that is about to be made of these parts.
    pub(super) fn new(config: &Config, recovered: &Recovered, applied: EntryId, now: Time) -> Recording {
        let options = RecorderOptions {
            payloads: config.recording_payloads,
            ..RecorderOptions::new(config.recording_bytes, wall)
        };
        let recorder = Recorder::new(options, config, recovered, applied, now);
        Recording(Arc::new(Mutex::new(recorder)))
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        // A recording that ends in the middle of a record is cut off there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StepObserver for Recording {
    fn step(&mut self, raft: &Raft, now: Time, inputs: &[Input]) {
        self.lock().step(raft, now, inputs);
    }

    fn finish(&mut self, raft: &Raft) {
        self.lock().finish(raft);
    }
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    WallTime(since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

impl Node {
    /// The newest of everything that this replica was given, as a [recording](crate::record), also after it stopped, for
    /// whatever reason: the last step is the one that it took last, or could not. None if
    /// [`Config::recording_bytes`] is 0.
    #[must_use]
    pub fn recording(&self) -> Option<Vec<u8>> {
        self.group().recording.lock().recording()
    }

    /// From now on everything that this replica is given is recorded in files of the directory, too, which is made if it is
    /// missing: first what the memory has. The oldest files are removed, so that all together take no more than
    /// `bytes_max`. An earlier such wish ends.
    ///
    /// The replica never waits for these files: what they cannot take is left out, and the recording goes on behind it.
    pub fn record_to(&self, directory: &Path, bytes_max: u64) -> Result<RecordingFiles, RecordingError> {
        let recording = &self.group().recording;
        // The replica must not wait for the disk, so nothing is locked meanwhile.
        let header = recording.lock().header().clone();
        let (tap, files) = RecordingFiles::open(directory, header, bytes_max)?;
        recording.lock().set_tap(Box::new(tap));
        Ok(files)
    }
}
