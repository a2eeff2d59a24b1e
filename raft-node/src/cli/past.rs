//! What a node that runs does for its past: it archives what its log forgets, and notes what it has applied when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use raft_core::runtime::Node;
use raft_core::traits::LogStore;
use raft_storage_rocksdb::FileSnapshotStore;
use tokio::time::{MissedTickBehavior, interval};

use super::node::NodeStartError;
use super::stores::Stores;
use crate::archive::files::{Archive, ArchiveOptions};
use crate::archive::log_store::{ArchiveFigures, ArchivingLogStore};
use crate::archive::times::Times;
use crate::config::node_config::{GROUP, NodeConfig};
use crate::data_directory::directory::DataDirectory;

/// How often is noted what is applied.
const TIMES_INTERVAL: Duration = Duration::from_secs(1);

/// The log store of a node, and how its archive is, if it has one.
pub(super) struct Kept {
    pub(super) log: Arc<dyn LogStore>,
    pub(super) figures: Option<Arc<ArchiveFigures>>,
}

/// The log store for the node: with an archive around it if the settings ask for one.
pub(super) fn archived(
    config: &NodeConfig,
    data: &DataDirectory,
    stores: &Stores,
) -> Result<Kept, NodeStartError> {
    let Some(directory) = &config.archive else {
        return Ok(Kept {
            log: stores.log.clone(),
            figures: None,
        });
    };
    let archive = open_archive(directory, data, config.archive_bytes_max)?;
    let log = ArchivingLogStore::new(stores.log.clone(), stores.snapshots.clone(), archive);
    let figures = Some(log.figures());
    let log = Arc::new(log);
    Ok(Kept { log, figures })
}

/// The archive of the node whose data is in `data`.
pub(super) fn open_archive(
    directory: &Path,
    data: &DataDirectory,
    bytes_max: u64,
) -> Result<Archive, NodeStartError> {
    let bases = FileSnapshotStore::open(Archive::bases_directory(directory))
        .map_err(NodeStartError::SnapshotStore)?;
    let options = ArchiveOptions {
        owner: format!("node {} of cluster {}", data.node(), data.cluster()),
        group: GROUP,
        bytes_max,
    };
    Ok(Archive::open(directory, options, Arc::new(bases))?)
}

/// Notes once a second what `node` has applied, in the file at `path`, until the node stops. If that fails, it goes on without: the
/// state can still be restored at an index.
pub(super) async fn keep_times(path: PathBuf, node: Node) {
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || Times::open(&path)
    });
    let mut times = match opened.await {
        Ok(Ok(times)) => times,
        Ok(Err(error)) => return give_up(&path, &error),
        Err(_) => return,
    };
    let mut ticks = interval(TIMES_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let applied = node.status().applied_index;
        let noted =
            tokio::task::spawn_blocking(move || times.note(SystemTime::now(), applied).map(|()| times));
        times = match noted.await {
            Ok(Ok(times)) => times,
            Ok(Err(error)) => return give_up(&path, &error),
            Err(_) => return,
        };
    }
}

fn give_up(path: &Path, error: &std::io::Error) {
    tracing::warn!(
        "{}: {error}; until the next start it is not noted what was applied when, and `raft-node restore --at-time` does not \
         reach further",
        path.display()
    );
}
