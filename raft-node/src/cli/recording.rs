//! How a running node is recorded, and what is left of it when it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_core::runtime::{Node, RecordingError, RecordingFiles};

use crate::config::node_config::NodeConfig;

/// The name of what the memory had when the node failed, in its data directory.
const LAST_FAILURE: &str = "last-failure.raftrec";

/// How long the last bytes of a recording are waited for: its disk must not keep a node from stopping.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The recording of a running node.
pub(super) struct RunningRecording {
    node: Node,
    data: PathBuf,
    directory: Option<PathBuf>,
    files: Option<RecordingFiles>,
}

impl RunningRecording {
    /// Begins to record `node` as it is set.
    pub(super) fn begin(config: &NodeConfig, node: &Node) -> Result<RunningRecording, RecordingError> {
        let directory = config.recording.directory.clone();
        let record = |directory: &PathBuf| node.record_to(directory, config.recording.bytes_max);
        let files = directory.as_ref().map(record).transpose()?;
        if let Some(directory) = &directory {
            tracing::info!("the node is recorded in {}", directory.display());
        }
        Ok(RunningRecording {
            node: node.clone(),
            data: config.data_dir.clone(),
            directory,
            files,
        })
    }

    /// The node has stopped, because something failed or in an orderly way.
    pub(super) fn end(self, failed: bool) {
        if failed {
            keep_last_failure(&self.node, &self.data);
        }
        if let (Some(directory), Some(files)) = (self.directory, self.files)
            && !files.close(CLOSE_TIMEOUT)
        {
            tracing::warn!("the end of the recording in {} is missing", directory.display());
        }
    }
}

/// Writes what the memory has of a node that failed into its data directory.
fn keep_last_failure(node: &Node, data: &Path) {
    let Some(recording) = node.recording() else {
        return;
    };
    let path = data.join(LAST_FAILURE);
    let shown = path.display();
    match fs::write(&path, recording) {
        Ok(()) => tracing::error!(
            "what the node did before it failed is in {shown}; `raft-node replay {shown}` shows it"
        ),
        Err(error) => {
            tracing::error!("what the node did before it failed cannot be written to {shown}: {error}")
        }
    }
}
