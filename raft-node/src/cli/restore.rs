//! `raft-node restore`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use raft_core::sessions::ReplicatedState;
use raft_core::traits::StateMachine;
use raft_core::types::{EntryId, Index, NodeId};
use raft_kv::{KvOptions, KvStateMachine, KvStore, StateHash};
use raft_storage_rocksdb::FileSnapshotStore;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::CliError;
use super::node::NodeStartError;
use super::past::existing_archive;
use super::progress::SILENCE_MAX;
use super::stores::{self, Closer, OnLoss};
use super::{logging, output};
use crate::archive::error::RestoreError;
use crate::archive::files::Archive;
use crate::archive::moments::{Moment, Moments, NotKnown};
use crate::archive::restore::{Past, describe, found_group};
use crate::archive::times;
use crate::config::cluster_name::ClusterName;
use crate::config::log_output::LogFormat;
use crate::config::node_config::GROUP;
use crate::data_directory::directory::DataDirectory;

/// How long the tasks of the stores are waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Make the state of a stopped node again as it was at an index or a time
///
/// From the nearest snapshot and the entries after it, in the node's data and in its archive, into a fresh directory. A new
/// cluster of one node starts from that, under a new name, so that it never meets the old one; it takes further members as any
/// cluster does. The node's own data is only read.
///
/// The time is that of this node's clock, which it notes once a second: what is restored is the last state that was noted at or
/// before it. docs/operations/point-in-time.md goes through it step by step.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("point").required(true).args(["at_index", "at_time", "show"]), after_help = "\
Examples:
  raft-node restore --data data/n1 --show                                     what can be restored
  raft-node restore --data data/n1 --at-index 1040 --out data/restored
  raft-node restore --data data/n1 --archive backup/n1 --at-time 2026-11-23T04:00:00Z --out data/restored
  raft-node restore --data data/n1 --at-time -10m --out data/restored         ten minutes ago
  raft-node start --id 1 --cluster demo-restored --data-dir data/restored …   as --out says at its end")]
pub(super) struct RestoreArguments {
    /// The data directory of a node that is stopped
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The archive of that node, as it was started with
    #[arg(long, env = "RAFT_NODE_ARCHIVE", value_name = "DIR")]
    archive: Option<PathBuf>,

    /// The last entry of the state
    #[arg(long, value_name = "N")]
    at_index: Option<u64>,

    /// The time of the state: RFC 3339, seconds since 1970, or so long ago: -90s, -10m, -2h, -1d
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    at_time: Option<String>,

    /// Print what can be restored, and change nothing
    #[arg(long)]
    show: bool,

    /// Where the restored data goes; nothing may be there
    #[arg(long, value_name = "DIR", required_unless_present_any = ["show", "dry_run"], value_parser = new_directory)]
    out: Option<PathBuf>,

    /// The name of the new cluster [default: that of the old one with -restored]
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,

    /// The number of the new cluster's first node
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..u64::MAX))]
    id: u64,

    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Without a slash at its end: another directory is made beside it first.
fn new_directory(path: &str) -> Result<PathBuf, &'static str> {
    let name = Path::new(path).file_name();
    let name = name.ok_or("it has no name; give the path of a directory that is to be made")?;
    Ok(Path::new(path).with_file_name(name))
}

/// Why a state is not restored, beside what the past itself does not give.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum RestoreCommandError {
    /// The past does not give it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The time cannot be read.
    #[error(
        "--at-time {0:?} is no time; write 2026-11-23T04:00:00Z, or seconds since 1970, or -90s, -10m, -2h or -1d"
    )]
    Time(String),
    /// Something is where the result should be.
    #[error("{path} is not empty; choose another --out", path = .0.display())]
    Occupied(PathBuf),
    /// An earlier attempt did not end.
    #[error("{path} is left from an attempt that did not end; remove it", path = .0.display())]
    Unfinished(PathBuf),
    /// The name of the new cluster is the old one's.
    #[error(
        "the new cluster must not have the name of the old one, {0}: their nodes could meet; choose another --cluster"
    )]
    SameCluster(ClusterName),
    /// The new name would be too long.
    #[error("{0}-restored is no good name for a cluster; choose one with --cluster")]
    NoName(ClusterName),
    /// A file cannot be used.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The restored state cannot be read.
    #[error("the restored state cannot be read: {0}")]
    Hash(#[source] raft_kv::KvError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestoreCommandError {
    let path = path.to_owned();
    move |source| RestoreCommandError::Io { action, path, source }
}

/// Runs the command.
pub(super) fn run(arguments: &RestoreArguments) -> Result<ExitCode, CliError> {
    logging::start("warn", LogFormat::Text);
    let data = DataDirectory::open_existing(&arguments.data, None, None).map_err(NodeStartError::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let mut closers = (Closer::default(), Closer::default());
    let result = runtime.block_on(with_data(arguments, &data, &mut closers));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    closers.0.close();
    closers.1.close();
    result
}

async fn with_data(
    arguments: &RestoreArguments,
    data: &DataDirectory,
    closers: &mut (Closer, Closer),
) -> Result<ExitCode, CliError> {
    let moments = times::read(&data.times()).map_err(failed("read", &data.times()))?;
    let past = open_past(data, arguments.archive.as_deref(), &mut closers.0).await?;
    if arguments.show {
        output::print(
            &overview(&past, &moments)
                .await
                .map_err(RestoreCommandError::from)?,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let target = target(arguments, &moments, &data.times())?;
    let plan = past.plan(target).await.map_err(RestoreCommandError::from)?;
    let cluster = new_name(arguments, data.cluster())?;
    let base = match plan.base() {
        EntryId::ZERO => "nothing".to_owned(),
        base => format!("the snapshot at {base}"),
    };
    let entries = plan.target.entries_since(plan.base().index);
    output::print(&format!(
        "index {}: from {base} and {entries} entries{}",
        plan.target,
        noted(&moments.list, plan.target)
    ))?;
    let Some(out) = arguments.out.as_deref().filter(|_| !arguments.dry_run) else {
        return Ok(ExitCode::SUCCESS);
    };
    let target = New {
        cluster,
        node: NodeId(arguments.id),
        out,
    };
    let (last, hash) = target.restore(&past, &plan, data, &mut closers.1).await?;
    output::print(&target.closing_words(last, hash))?;
    Ok(ExitCode::SUCCESS)
}

/// What `data` and the archive have of the past.
pub(super) async fn open_past(
    data: &DataDirectory,
    archive: Option<&Path>,
    closer: &mut Closer,
) -> Result<Past, CliError> {
    let stores = stores::open(data, OnLoss::Refuse, closer).await?;
    let recovered = stores.log.load(GROUP).await.map_err(NodeStartError::ReadLog)?;
    let applied = stores.state_machine.last_applied().index;
    let commit = recovered
        .hard_state
        .commit
        .max(applied)
        .max(recovered.snapshot.last.index);
    let archive = archive
        .map(|archive| existing_archive(archive, data))
        .transpose()?;
    if let Some(archive) = &archive {
        archive
            .check_history(&recovered)
            .map_err(RestoreError::from)
            .map_err(RestoreCommandError::from)?;
    }
    Ok(Past {
        group: GROUP,
        commit,
        recovered,
        log: stores.log.clone(),
        snapshots: stores.snapshots.clone(),
        archive,
    })
}

async fn overview(past: &Past, moments: &Moments) -> Result<String, RestoreError> {
    let windows = past.windows().await?;
    let times = match (moments.list.first(), moments.list.last()) {
        (Some(first), Some(last)) => format!(
            "times are noted from {} (index {}) to {} (index {})",
            text_of(first.unix_ms),
            first.applied,
            text_of(last.unix_ms),
            last.applied
        ),
        _ => "no times are noted".to_owned(),
    };
    let mut text = format!("{}; {} is committed; {times}", describe(&windows), past.commit);
    for damage in &moments.damages {
        text.push_str(&format!("\nthe file of times is damaged at byte {}", damage.at));
    }
    for file in past.archive.iter().flat_map(Archive::missed) {
        text.push_str(&format!("\n{file}"));
    }
    Ok(text)
}

fn new_name(arguments: &RestoreArguments, old: &ClusterName) -> Result<ClusterName, RestoreCommandError> {
    let restored = || format!("{old}-restored").parse();
    let name = match &arguments.cluster {
        Some(name) => name.clone(),
        None => restored().map_err(|_| RestoreCommandError::NoName(old.clone()))?,
    };
    if name == *old {
        return Err(RestoreCommandError::SameCluster(name));
    }
    Ok(name)
}

/// The index that the arguments name. The times are in the file at `path`.
fn target(
    arguments: &RestoreArguments,
    moments: &Moments,
    path: &Path,
) -> Result<Index, RestoreCommandError> {
    let Some(text) = &arguments.at_time else {
        return Ok(Index(arguments.at_index.unwrap_or_default()));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked = parse_time(text, now).ok_or_else(|| RestoreCommandError::Time(text.clone()))?;
    let found = moments
        .find(asked)
        .map_err(|not_known| time_not_known(asked, path, not_known))?;
    let first = moments.list.first().ok_or(RestoreError::NoTimes)?;
    let found = found.ok_or_else(|| RestoreError::TooEarly {
        asked: text_of(asked),
        first: text_of(first.unix_ms),
    })?;
    Ok(found.applied)
}

fn time_not_known(asked: u64, path: &Path, not_known: NotKnown) -> RestoreError {
    let text = |moment: Moment| format!("{} (index {})", text_of(moment.unix_ms), moment.applied);
    RestoreError::TimeNotKnown {
        asked: text_of(asked),
        path: path.to_owned(),
        at: not_known.at,
        known: match (not_known.before.map(text), not_known.after.map(text)) {
            (Some(before), Some(after)) => format!("choose a time up to {before} or from {after} on"),
            (Some(before), None) => format!("choose a time up to {before}"),
            (None, Some(after)) => format!("choose a time from {after} on"),
            (None, None) => "it names no time that can be believed".to_owned(),
        },
    }
}

/// A time as milliseconds since 1970.
fn parse_time(text: &str, now: Duration) -> Option<u64> {
    if let Some(ago) = text.strip_prefix('-') {
        let unit = match ago.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let count = ago.get(..ago.len() - 1)?.parse::<u64>().ok()?;
        let ago = Duration::from_secs(count.checked_mul(unit)?);
        return u64::try_from(now.checked_sub(ago)?.as_millis()).ok();
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1_000);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// A time in words.
pub(super) fn text_of(unix_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{unix_ms} ms after 1970"))
}

/// When an index was applied, as far as that was noted.
fn noted(moments: &[Moment], index: Index) -> String {
    let after = moments.partition_point(|moment| moment.applied < index);
    let before = after.checked_sub(1).and_then(|before| moments.get(before));
    match (before, moments.get(after)) {
        (_, Some(moment)) if moment.applied == index => format!(", applied by {}", text_of(moment.unix_ms)),
        (Some(before), Some(after)) => {
            format!(
                ", applied between {} and {}",
                text_of(before.unix_ms),
                text_of(after.unix_ms)
            )
        }
        (None, Some(after)) => format!(", applied by {}", text_of(after.unix_ms)),
        (Some(before), None) => format!(", applied after {}", text_of(before.unix_ms)),
        (None, None) => String::new(),
    }
}

/// The new cluster, and where its first node's data goes.
struct New<'a> {
    cluster: ClusterName,
    node: NodeId,
    out: &'a Path,
}

impl New<'_> {
    /// Restores into a directory beside `out`, which takes its place when everything in it is durable.
    async fn restore(
        &self,
        past: &Past,
        plan: &crate::archive::restore::Plan,
        old: &DataDirectory,
        closer: &mut Closer,
    ) -> Result<(EntryId, StateHash), CliError> {
        let unfinished = self.make_room()?;
        let paths = DataDirectory::paths(&unfinished);
        let opened = KvStateMachine::open(&paths.kv, KvOptions::default());
        let (state_machine, store) = opened.map_err(NodeStartError::StateMachine)?;
        let state = ReplicatedState::open(Box::new(state_machine)).map_err(RestoreError::from);
        let state = state.map_err(RestoreCommandError::from)?;
        let started = std::time::Instant::now();
        let mut due = SILENCE_MAX;
        let progress = |index: Index| {
            if started.elapsed() >= due {
                due = started.elapsed() + SILENCE_MAX;
                output::complain(&format!("index {index} of {}", plan.target));
            }
        };
        let replayed = past.replay(plan, state, progress).await;
        let (mut state, last) = replayed.map_err(RestoreCommandError::from)?;
        let hash = store.hash(0).map_err(RestoreCommandError::Hash)?;
        let snapshots = FileSnapshotStore::open(&paths.snapshots).map_err(NodeStartError::SnapshotStore)?;
        // What is kept in memory there cannot begin here.
        let kind = old.log_store().durable();
        let log = stores::open_log(kind, &paths.log, OnLoss::Refuse)?;
        let founded = found_group(GROUP, self.node, last, &mut state, &snapshots, &*log).await;
        founded.map_err(RestoreCommandError::from)?;
        drop((state, snapshots));
        close(log, store, closer);
        DataDirectory::adopt(&unfinished, &self.cluster, self.node, kind).map_err(NodeStartError::from)?;
        self.take_place(&unfinished)?;
        Ok((last, hash))
    }

    fn make_room(&self) -> Result<PathBuf, RestoreCommandError> {
        let is_empty = match fs::read_dir(self.out) {
            Ok(mut files) => files.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed("look into", self.out)(error)),
        };
        if !is_empty {
            return Err(RestoreCommandError::Occupied(self.out.to_owned()));
        }
        let mut name = self.out.as_os_str().to_owned();
        name.push(".unfinished");
        let unfinished = PathBuf::from(name);
        if unfinished.exists() {
            return Err(RestoreCommandError::Unfinished(unfinished));
        }
        let paths = DataDirectory::paths(&unfinished);
        for path in [&paths.kv, &paths.snapshots, &paths.log] {
            crate::durable_file::create_directory(path, 0o700).map_err(failed("make", path))?;
        }
        Ok(unfinished)
    }

    fn take_place(&self, unfinished: &Path) -> Result<(), RestoreCommandError> {
        fs::rename(unfinished, self.out).map_err(failed("put in its place", unfinished))?;
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        crate::durable_file::sync_directory(parent).map_err(failed("sync", parent))
    }

    fn closing_words(&self, last: EntryId, hash: StateHash) -> String {
        let (cluster, node, out) = (&self.cluster, self.node, self.out.display());
        format!(
            "restored entry {last} (index@term): revision {}, {} versions, hash {:08x}\n\
             What to do next:\n\
             \x20 1. Make certificates for the new cluster: raft-node cert --cluster {cluster} --node {node} --out …\n\
             \x20 2. Start it: raft-node start --id {node} --cluster {cluster} --data-dir {out} …\n\
             \x20 3. Add further nodes: raft-node member add --id {} --peer-url quic://… --client-url http://… --learner",
            hash.revision,
            hash.versions,
            hash.hash,
            node.0 + 1
        )
    }
}

/// Lets `closer` close what was written: when this returns, nobody else holds it.
fn close(log: Arc<dyn raft_core::traits::LogStore>, store: Arc<KvStore>, closer: &mut Closer) {
    std::mem::take(closer).with(log, store).close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let now = Duration::from_secs(1_000_000);
        assert_eq!(parse_time("1970-01-02T00:00:00Z", now), Some(86_400_000));
        assert_eq!(parse_time("1970-01-02T01:00:00.5+01:00", now), Some(86_400_500));
        assert_eq!(parse_time("86400", now), Some(86_400_000));
        for (ago, seconds) in [
            ("-0s", 0),
            ("-90s", 90),
            ("-10m", 600),
            ("-2h", 7_200),
            ("-1d", 86_400),
        ] {
            assert_eq!(parse_time(ago, now), Some((1_000_000 - seconds) * 1_000), "{ago}");
        }
        for bad in [
            "",
            "-",
            "-m",
            "-10",
            "10m",
            "-10w",
            "yesterday",
            "-99999999999d",
            "2026-11-23",
        ] {
            assert_eq!(parse_time(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn an_index_is_placed_between_the_times_around_it() {
        let moment = |seconds: u64, applied| Moment {
            unix_ms: seconds * 1_000,
            applied: Index(applied),
        };
        let moments = [moment(10, 5), moment(11, 8)];
        let noted = |index| noted(&moments, Index(index));
        assert_eq!(noted(3), ", applied by 1970-01-01T00:00:10Z");
        assert_eq!(noted(8), ", applied by 1970-01-01T00:00:11Z");
        assert_eq!(
            noted(6),
            ", applied between 1970-01-01T00:00:10Z and 1970-01-01T00:00:11Z"
        );
        assert_eq!(noted(9), ", applied after 1970-01-01T00:00:11Z");
    }
}
