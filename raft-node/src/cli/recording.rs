//! How a running node is recorded, and what is left of it when it fails.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_core::record::{Header, Records};
use raft_core::runtime::{Node, RecordingError, RecordingFiles};

use crate::config::node_config::{GROUP, NodeConfig};

/// The name of what the memory had when the node failed, in its data directory.
const LAST_FAILURE: &str = "last-failure.raftrec";

/// How long the last bytes of a recording are waited for: its disk must not keep a node from stopping.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes the directory of recordings, before anything else is opened. One that has those of another node is refused: the two would remove
/// each other's files, and be replayed as one.
pub(super) fn prepare(config: &NodeConfig) -> Result<(), RecordingError> {
    let Some(directory) = &config.recording.directory else {
        return Ok(());
    };
    let refused = |source| RecordingError::Directory {
        path: directory.clone(),
        source,
    };
    fs::create_dir_all(directory).map_err(refused)?;
    for entry in fs::read_dir(directory).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let Some(header) = header_of(&path) else {
            continue;
        };
        if (header.node, header.group) != (config.id, GROUP) {
            let whose = format!(
                "{} is of node {} of group {}, and each node needs a directory of its own",
                path.display(),
                header.node,
                header.group
            );
            return Err(refused(io::Error::other(whose)));
        }
    }
    Ok(())
}

/// Who made the recording at `path`; none if it is no recording that this program can read, which is left alone.
fn header_of(path: &Path) -> Option<Header> {
    if path.extension()? != "raftrec" || !path.metadata().ok()?.is_file() {
        return None;
    }
    let records = Records::from_reader(File::open(path).ok()?).ok()?;
    records.header().cloned()
}

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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::Bytes;
    use raft_core::entry::Entry;
    use raft_core::membership::Membership;
    use raft_core::memory::InProcessNetwork;
    use raft_core::message::SnapshotMeta;
    use raft_core::record::{Records, Replay};
    use raft_core::runtime::NodeOptions;
    use raft_core::traits::{StateMachine, StateMachineError};
    use raft_core::types::{EntryId, NodeId};

    use super::*;

    /// Fails at the first entry.
    struct Broken;

    impl StateMachine for Broken {
        fn last_applied(&self) -> EntryId {
            EntryId::ZERO
        }
        fn apply(&mut self, _: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
            Err(StateMachineError::new("it is broken"))
        }
        fn query(&self, _: &[u8]) -> Result<Bytes, StateMachineError> {
            Ok(Bytes::new())
        }
        fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
            Ok(Box::new(io::empty()))
        }
        fn restore(&mut self, _: &SnapshotMeta, _: &mut dyn Read) -> Result<(), StateMachineError> {
            Ok(())
        }
    }

    /// A node that failed leaves a recording behind that ends in the state in which it stopped.
    #[tokio::test]
    async fn a_failure_leaves_a_recording_behind() {
        let voters = Membership::of_voters([NodeId(1)]).unwrap();
        let mut options = NodeOptions::in_memory(NodeId(1), &voters, &InProcessNetwork::new(), Broken);
        options.config.recording_bytes = 1 << 20;
        let node = Node::start(options).await.unwrap();
        assert!(node.stopped().await.is_err());
        let directory = tempfile::tempdir().unwrap();
        keep_last_failure(&node, directory.path());
        let bytes = fs::read(directory.path().join(LAST_FAILURE)).unwrap();
        let mut replay = Replay::default();
        for record in Records::new(bytes.into()).unwrap() {
            replay.take(record.unwrap(), &mut Vec::new()).unwrap();
        }
        assert!(replay.steps() > 2);
        assert_eq!(replay.verified(), Some(replay.steps()));
    }
}
