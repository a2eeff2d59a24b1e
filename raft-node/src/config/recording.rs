//! How a node is recorded, of the settings that begin with `record`.

use std::path::PathBuf;

use super::error::ConfigError;
use super::settings::Settings;

/// What all files take if nothing else is set.
const BYTES_MAX: u64 = 256 << 20;

/// What the memory takes if nothing else is set.
const MEMORY_BYTES: usize = 4 << 20;

/// How a node is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// Where its recordings are; none if it is only recorded in memory.
    pub directory: Option<PathBuf>,
    /// How much they take at most.
    pub bytes_max: u64,
    /// See [`recording_bytes`](raft_core::config::Config::recording_bytes).
    pub memory_bytes: usize,
    /// See [`recording_payloads`](raft_core::config::Config::recording_payloads).
    pub payloads: bool,
}

impl RecordingConfig {
    /// What `settings` say, and the defaults; `complete` completes a path.
    pub(super) fn of(settings: &Settings, complete: impl Fn(&PathBuf) -> PathBuf) -> RecordingConfig {
        RecordingConfig {
            directory: settings.record.as_ref().map(complete),
            bytes_max: settings.record_bytes_max.unwrap_or(BYTES_MAX),
            memory_bytes: settings.record_memory_bytes.unwrap_or(MEMORY_BYTES),
            payloads: settings.record_payloads.unwrap_or(false),
        }
    }

    /// Refuses what would record nothing.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.directory.is_none() || self.bytes_max >= 1 << 20 {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            setting: "record-bytes-max",
            value: self.bytes_max.to_string(),
            reason: "give 1048576, which is 1 MiB, or more; or leave `record` out to record in memory only"
                .to_owned(),
        })
    }

    /// The same as settings.
    pub(super) fn complete(&self, settings: Settings) -> Settings {
        Settings {
            record: self.directory.clone(),
            record_bytes_max: Some(self.bytes_max),
            record_memory_bytes: Some(self.memory_bytes),
            record_payloads: Some(self.payloads),
            ..settings
        }
    }
}
