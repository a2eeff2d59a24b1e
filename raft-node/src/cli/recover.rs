//! `raft-node recover`.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use raft_core::raft::LostEntries;
use raft_core::recovery::{Position, RecoveryError, RecoveryPlan};
use raft_core::traits::{LogStoreError, Recovered, SnapshotStore, SnapshotStoreError, StateMachine};
use raft_core::types::{EntryId, Index, NodeId, Term};
use thiserror::Error;

use super::error::CliError;
use super::node::NodeStartError;
use super::stores::{self, Closer, OnLoss, Stores};
use super::{logging, output};
use crate::config::cluster_name::ClusterName;
use crate::config::file;
use crate::config::log_output::LogFormat;
use crate::config::node_config::{self, GROUP};
use crate::config::settings::Settings;
use crate::data_directory::directory::DataDirectory;
use crate::data_directory::error::DataDirectoryError;

/// How long the tasks of the stores are waited for at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Let one stopped node go on alone after its cluster lost the majority for good
///
/// A last resort: acknowledged writes may be lost. Use it only when so many nodes are gone that the cluster has no
/// leader, and none of them can be brought back with its data. It states what may be lost, asks, and makes this node the
/// only member. --inspect shows how far a stopped node is, so that you can choose the right one of several.
///
/// The other nodes must never be started again with their data: wipe them, and add them under new ids.
/// docs/operations/losing-a-quorum.md goes through it step by step.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  raft-node recover --config demo.toml --id 1 --inspect    how far node 1 is; do this on every node that is left
  raft-node recover --config demo.toml --id 1 --dry-run    what would be decided, and what may be lost
  raft-node recover --config demo.toml --id 1              states it, asks, and does it
  raft-node recover --data-dir /var/lib/raft-node/n1 --contains 1040@7 --yes-lose-data")]
pub(super) struct RecoverArguments {
    /// The TOML file that the node is started with
    #[arg(long, env = "RAFT_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The number of the node
    #[arg(long, env = "RAFT_NODE_ID", value_name = "N")]
    id: Option<u64>,

    /// Where the node keeps its data; `{id}` stands for the node's number
    #[arg(long, env = "RAFT_NODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Print in one line how far the node is, and change nothing
    #[arg(long, conflicts_with_all = ["dry_run", "contains", "yes_lose_data"])]
    inspect: bool,

    /// State what would be decided and what may be lost, and change nothing
    #[arg(long, conflicts_with = "yes_lose_data")]
    dry_run: bool,

    /// Refuse unless the log contains this entry: what --inspect shows as committed on another node that is left
    #[arg(long, value_name = "INDEX@TERM", value_delimiter = ',')]
    contains: Vec<EntryArgument>,

    /// Do not ask
    #[arg(long)]
    yes_lose_data: bool,
}

/// `1040@7`: an entry by its index and term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EntryArgument(EntryId);

impl FromStr for EntryArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<EntryArgument, &'static str> {
        let parsed = text.split_once('@').and_then(|(index, term)| {
            let (index, term) = (index.parse().ok()?, term.parse().ok()?);
            Some(EntryArgument(EntryId::new(Term(term), Index(index))))
        });
        parsed.ok_or("write index@term as --inspect shows it, such as 1040@7")
    }
}

/// Why a node is not recovered. Nothing was changed, unless it says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum RecoverError {
    /// The node cannot go on alone.
    #[error("{0}; nothing was changed")]
    Refused(#[from] RecoveryError),
    /// Its position cannot be told.
    #[error(transparent)]
    Lost(#[from] LostEntries),
    /// Another survivor knows of a committed entry that is not in this log.
    #[error(
        "the log of node {survivor} does not contain entry {entry}, which another node knows to be committed; recover that \
         node instead, or leave --contains away and lose the entry. Nothing was changed"
    )]
    NotContained {
        /// The node.
        survivor: NodeId,
        /// The entry.
        entry: EntryId,
    },
    /// The node could not start afterwards.
    #[error(
        "the state of the node is behind its log, and its snapshot cannot be read: {0}; nothing was changed"
    )]
    Snapshot(#[source] SnapshotStoreError),
    /// Nobody is there to ask.
    #[error("nothing was changed; to recover node {0}, give --yes-lose-data")]
    Unconfirmed(NodeId),
    /// The answer was no.
    #[error("nothing was changed: the answer was not the name of the cluster")]
    Declined,
    /// The answer cannot be read.
    #[error("nothing was changed: the answer cannot be read: {0}")]
    Answer(#[source] io::Error),
    /// The write failed. Whether it took effect is known after the next start.
    #[error(
        "{0}; whether the node is recovered, `raft-node recover --inspect` shows: it is if it is the only member"
    )]
    Write(#[source] LogStoreError),
    /// The node is recovered, and the note of it failed.
    #[error(
        "node {survivor} is recovered, and is the only member now. Only the note that it has a log could not be written, which \
         the next start writes: {source}"
    )]
    NotNoted {
        /// The node.
        survivor: NodeId,
        /// Why.
        source: DataDirectoryError,
    },
}

/// Runs the command.
pub(super) fn run(arguments: RecoverArguments) -> Result<ExitCode, CliError> {
    let from_file = arguments.config.as_deref().map(file::read).transpose()?;
    let given = Settings {
        id: arguments.id,
        data_dir: arguments.data_dir.clone(),
        ..Settings::default()
    };
    let settings = given.or(from_file.unwrap_or_default());
    let data_dir = node_config::data_dir(&settings)?;
    logging::start("warn", LogFormat::Text);
    let data = DataDirectory::open_existing(&data_dir, settings.cluster.as_ref(), settings.id.map(NodeId))
        .map_err(NodeStartError::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let mut closer = Closer::default();
    let result = runtime.block_on(with_stores(&arguments, data, &mut closer));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    closer.close();
    result
}

async fn with_stores(
    arguments: &RecoverArguments,
    mut data: DataDirectory,
    closer: &mut Closer,
) -> Result<ExitCode, CliError> {
    let stores = stores::open(&data, OnLoss::Refuse, closer).await?;
    let recovered = stores.log.load(GROUP).await.map_err(NodeStartError::ReadLog)?;
    let (node, cluster) = (data.node(), data.cluster().clone());
    if arguments.inspect {
        let position =
            Position::new(&recovered, stores.state_machine.last_applied()).map_err(RecoverError::from)?;
        output::print(&format!("node {node} of cluster {cluster}: {position}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(arguments, node, &stores, &recovered).await?;
    output::print(&format!(
        "Cluster {cluster}, {}\n\n{plan}\n",
        data.path().display()
    ))?;
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    confirm(arguments, node, &cluster)?;
    let written = stores.log.write(vec![plan.write()]).await;
    written.map_err(RecoverError::Write)?;
    let noted = note(&mut data);
    output::print(&next_steps(&plan, &cluster))?;
    noted?;
    Ok(ExitCode::SUCCESS)
}

/// Notes after a recovery that the node has a log.
fn note(data: &mut DataDirectory) -> Result<(), RecoverError> {
    let survivor = data.node();
    data.note_log_written()
        .map_err(|source| RecoverError::NotNoted { survivor, source })
}

/// Works out the recovery, and checks what can be checked before anybody is asked.
async fn plan(
    arguments: &RecoverArguments,
    node: NodeId,
    stores: &Stores,
    recovered: &Recovered,
) -> Result<RecoveryPlan, RecoverError> {
    let applied = stores.state_machine.last_applied();
    let plan = RecoveryPlan::new(GROUP, node, recovered, applied)?;
    let missing = |entry: &&EntryArgument| !plan.contains(entry.0);
    if let Some(EntryArgument(entry)) = arguments.contains.iter().find(missing) {
        return Err(RecoverError::NotContained {
            survivor: node,
            entry: *entry,
        });
    }
    if applied.index < recovered.purged.index {
        let snapshot = stores.snapshots.open(GROUP, recovered.snapshot.last).await;
        drop(snapshot.map_err(RecoverError::Snapshot)?);
    }
    Ok(plan)
}

/// Asks, unless the arguments have answered.
fn confirm(arguments: &RecoverArguments, node: NodeId, cluster: &ClusterName) -> Result<(), RecoverError> {
    if arguments.yes_lose_data {
        return Ok(());
    }
    let mut stdin = io::stdin().lock();
    if !stdin.is_terminal() {
        return Err(RecoverError::Unconfirmed(node));
    }
    output::complain("To let it go on alone, and to lose what may be lost, type the name of the cluster:");
    answer(&mut stdin, cluster)
}

fn answer(input: &mut dyn BufRead, cluster: &ClusterName) -> Result<(), RecoverError> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(RecoverError::Answer)?;
    if line.trim() == cluster.as_str() {
        Ok(())
    } else {
        Err(RecoverError::Declined)
    }
}

fn next_steps(plan: &RecoveryPlan, cluster: &ClusterName) -> String {
    let (survivor, next_id) = (plan.survivor, plan.target.highest_id().0 + 1);
    format!(
        "Node {survivor} is the only member of cluster {cluster} now. What to do next:\n\
         \x20 1. Start it as always: raft-node start --id {survivor} …\n\
         \x20 2. Wipe the data of every other node.\n\
         \x20 3. Make a certificate for each new node: raft-node cert --cluster {cluster} --node {next_id} --out …\n\
         \x20 4. Add the new nodes one after the other, each as a learner that is promoted when it has caught up:\n\
         \x20    raft-node member add --id {next_id} --peer-url quic://… --client-url http://… --learner\n\
         \x20    raft-node member promote {next_id} --wait"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::log_store::LogStoreKind;

    #[test]
    fn only_the_name_of_the_cluster_is_a_yes() {
        let cluster: ClusterName = "demo".parse().unwrap();
        let answer = |text: &str| answer(&mut text.as_bytes(), &cluster);
        assert!(answer("demo\n").is_ok());
        for no in ["", "\n", "y\n", "yes\n", "demo2\n"] {
            assert!(matches!(answer(no), Err(RecoverError::Declined)), "{no:?}");
        }
    }

    /// Whoever reads that it failed must not take the recovery for undone, and do it on another node.
    #[test]
    fn a_note_that_fails_says_that_the_recovery_took_effect() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = "demo".parse().unwrap();
        let mut data =
            DataDirectory::open(directory.path(), &cluster, NodeId(2), LogStoreKind::default()).unwrap();
        std::fs::create_dir(directory.path().join("IDENTITY.tmp")).unwrap();
        let error = note(&mut data).unwrap_err().to_string();
        assert!(
            error.starts_with("node 2 is recovered, and is the only member now"),
            "{error}"
        );
        assert!(error.contains("the next start writes"), "{error}");
    }

    #[test]
    fn entries_are_written_as_they_are_shown() {
        let entry = EntryId::new(Term(7), Index(1040));
        assert_eq!(entry.to_string().parse(), Ok(EntryArgument(entry)));
        for bad in ["", "1040", "7@", "@7", "x@7", "-1@7"] {
            assert!(bad.parse::<EntryArgument>().is_err(), "{bad}");
        }
    }
}
