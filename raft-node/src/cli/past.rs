//! What a node that runs does for its past: it archives what its log forgets, and notes what it has applied when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use raft_core::runtime::Node;
use raft_core::traits::{LogStore, SnapshotStore};
use raft_core::types::Index;
use raft_storage_rocksdb::FileSnapshotStore;
use tokio::time::{MissedTickBehavior, interval};

use super::node::NodeStartError;
use super::stores::Stores;
use crate::archive::files::{Archive, ArchiveOptions, Retention};
use crate::archive::log_store::{ArchiveFigures, ArchivingLogStore};
use crate::archive::moments::Moment;
use crate::archive::times::{self, Times};
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
    let retention = config.log_retention_time.map(|time| Retention {
        time: time.duration(),
        times: data.times(),
    });
    let options = ArchiveOptions {
        retention,
        ..options_of(data, config.archive_bytes_max)
    };
    let archive = Archive::open(directory, options, bases_of(directory)?)?;
    for file in archive.missed() {
        tracing::warn!("{file}");
    }
    let log = ArchivingLogStore::new(stores.log.clone(), stores.snapshots.clone(), archive);
    let figures = Some(log.figures());
    let log = Arc::new(log);
    Ok(Kept { log, figures })
}

/// The archive that is in `directory`, of the node whose data is in `data`; it is only read.
pub(super) fn existing_archive(directory: &Path, data: &DataDirectory) -> Result<Archive, NodeStartError> {
    Archive::check_existence(directory)?;
    let bases = bases_of(directory)?;
    Ok(Archive::open_existing(
        directory,
        options_of(data, u64::MAX),
        bases,
    )?)
}

fn bases_of(directory: &Path) -> Result<Arc<dyn SnapshotStore>, NodeStartError> {
    let bases = FileSnapshotStore::open(Archive::bases_directory(directory));
    Ok(Arc::new(bases.map_err(NodeStartError::SnapshotStore)?))
}

fn options_of(data: &DataDirectory, bytes_max: u64) -> ArchiveOptions {
    ArchiveOptions {
        owner: format!("node {} of cluster {}", data.node(), data.cluster()),
        group: GROUP,
        bytes_max,
        retention: None,
    }
}

/// Notes once a second what `node` has applied, in the file at `path`, until the node stops, and in `figures` from when to when the
/// archive leads. If that fails, it goes on without: the state can still be restored at an index.
pub(super) async fn keep_times(path: PathBuf, node: Node, figures: Option<Arc<ArchiveFigures>>) {
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
    let mut began: (Option<Index>, Option<Moment>) = (None, None);
    loop {
        ticks.tick().await;
        if let Some(figures) = &figures {
            let first = figures.restorable().first;
            if first != began.0 || began.1.is_none() {
                began = (first, first_noted(&path, first).await);
            }
            figures.note_moments(began.1, times.last());
        }
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

/// When everything up to `first` was applied, if the file at `path` says it.
async fn first_noted(path: &Path, first: Option<Index>) -> Option<Moment> {
    let (path, first) = (path.to_owned(), first?);
    let read = tokio::task::spawn_blocking(move || times::read(&path));
    // A file that cannot be read says nothing; who writes it has the error.
    read.await.ok()?.ok()?.applied(first)
}

fn give_up(path: &Path, error: &std::io::Error) {
    tracing::warn!(
        "{}: {error}; until the next start it is not noted what was applied when, and `raft-node restore --at-time` does not \
         reach further",
        path.display()
    );
}
