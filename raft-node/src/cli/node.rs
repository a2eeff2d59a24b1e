//! One node, assembled: its data directory, its stores, its transport, its server, and how all of it stops.
//!
//! What can be refused cheaply comes first: the data directory, the ports and the certificates, before the stores are
//! opened. Whatever fails, nothing that was acknowledged is lost: a node that stops is a node that crashed politely.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use raft_core::membership::{Membership, MembershipError};
use raft_core::runtime::{Node, NodeError, NodeOptions, RecordingError};
use raft_core::traits::{LogStoreError, SnapshotStoreError};
use raft_core::types::NodeId;
use raft_transport::{ContactAddress, OperatedTransport, SetupError, TransportLimits, TransportOptions};
use raft_transport_quic::{QuicLimits, QuicTransport};
use raft_transport_tcp::{TcpLimits, TcpTransport};
use thiserror::Error;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::belonging;
use super::credentials::{self, Watched};
use super::explaining;
use super::past;
use super::recording::{self, RunningRecording};
use super::signals::{Hangups, StopSignals};
use super::stores::{self, Closer, OnLoss, Stores};
use crate::archive::error::ArchiveError;
use crate::archive::log_store::ArchiveFigures;
use crate::certificates::figures::CertificateFigures;
use crate::certificates::watched::WatchedCertificates;
use crate::config::log_store::LogStoreKind;
use crate::config::node_config::NodeConfig;
use crate::config::transport::TransportKind;
use crate::data_directory::directory::DataDirectory;
use crate::data_directory::error::DataDirectoryError;
use crate::member_contact::MemberContact;
use crate::server::{MemberUrls, ServeError, ServerOptions, serve};

/// Why a node does not start, or stopped by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum NodeStartError {
    /// The data directory is refused.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// A listen address names no address of this machine.
    #[error("cannot find the address {address} to listen on: {source}; correct --{flag}")]
    Resolve {
        /// The address.
        address: String,
        /// The flag that gives it.
        flag: &'static str,
        /// What the resolver said.
        source: io::Error,
    },
    /// The port for clients is taken or forbidden.
    #[error("cannot listen for clients on {address}: {source}; {remedy} with --{flag}")]
    ListenClient {
        /// The address.
        address: String,
        /// The flag that gives it.
        flag: &'static str,
        /// What the operating system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The transport is refused: its port, or a certificate.
    #[error("{0}{1}")]
    Transport(#[source] SetupError, FlagHint),
    /// The log store does not open.
    #[error("{0}")]
    LogStore(#[source] raft_storage_rocksdb::OpenError),
    /// The log store on raft-engine does not open.
    #[error("{0}")]
    EngineLogStore(#[source] raft_storage_engine::OpenError),
    /// The log cannot be read.
    #[error("{0}")]
    ReadLog(#[source] LogStoreError),
    /// The snapshot store does not open.
    #[error("{0}")]
    SnapshotStore(#[source] raft_storage_rocksdb::OpenError),
    /// The state machine does not open.
    #[error("{0}")]
    StateMachine(#[source] raft_kv::OpenError),
    /// What the state machine has would have to be set aside, and cannot be made again.
    #[error(
        "the state in {path} has entries that the log lost, and the snapshot that it could be made again from cannot be read: \
         {source}; nothing was set aside. Remove this node from the cluster and add it again under a new id with an empty \
         data directory",
        path = .path.display()
    )]
    NoWayBack {
        /// Where the state machine's data is.
        path: PathBuf,
        /// What is wrong with the snapshot.
        source: SnapshotStoreError,
    },
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The members are refused.
    #[error("`initial-cluster`: {0}")]
    Membership(#[from] MembershipError),
    /// The node does not start, or stopped by itself.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The disk of the log stands still.
    #[error("{path}: {source}", path = .path.display())]
    Stalled {
        /// Where the log is.
        path: PathBuf,
        /// How long it was waited for.
        source: NodeError,
    },
    /// It cannot be recorded where it should be.
    #[error("{0}; correct --record, or leave it out")]
    Recording(#[from] RecordingError),
    /// The server stopped by itself.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// A thread that opens a store panicked.
    #[error("opening the stores failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl NodeStartError {
    /// Why the node stopped whose log is in `log`: the core does not know the place.
    fn of_stopped(error: NodeError, log: &Path) -> NodeStartError {
        match error {
            NodeError::LogStalled { .. } => NodeStartError::Stalled {
                path: log.to_owned(),
                source: error,
            },
            error => NodeStartError::Node(error),
        }
    }
}

/// Which flag to change, where the error of a library cannot know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlagHint(Option<&'static str>);

impl fmt::Display for FlagHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(flag) => write!(f, " with --{flag}"),
            None => Ok(()),
        }
    }
}

/// Everything that was opened for one node.
struct Opened {
    data: DataDirectory,
    listener: TcpListener,
    transport: Arc<dyn OperatedTransport>,
    stores: Stores,
}

/// Runs a node until a signal stops it, `Ok`, or until it cannot go on. The databases stay open for `closer`.
pub(super) async fn run(
    config: NodeConfig,
    (mut signals, hangups): (StopSignals, Hangups),
    on_loss: OnLoss,
    stop_with_stdin: bool,
    closer: &mut Closer,
) -> Result<(), NodeStartError> {
    let config = Arc::new(config);
    let certificates = peer_certificates(&config);
    recording::prepare(&config)?;
    let opened = Box::pin(open(&config, on_loss, closer)).await?;
    report_start(&config, &opened);
    let transport = opened.transport;
    let kept = past::archived(&config, &opened.data, &opened.stores)?;
    let node = Box::pin(Node::start(NodeOptions {
        config: seeded(&config),
        bootstrap: first_members(&config, &opened.data)?,
        log_store: kept.log,
        snapshot_store: opened.stores.snapshots,
        transport: transport.clone(),
        state_machine: Box::new(opened.stores.state_machine),
    }))
    .await?;
    let recorded = RunningRecording::begin(&config, &node)?;
    report_other_members(&config, &node);
    let log = opened.data.log();
    let mut removed = tokio::spawn(belonging::keep_notes(opened.data, node.clone()));
    let _belonging = begin_to_belong(&config, &node, &transport, &kept.figures);

    let figures = Arc::new(CertificateFigures::default());
    let watched = vec![watched_by(certificates, &transport)];
    let renewed = credentials::keep_current(watched, hangups, figures.clone(), config.cert_warn_days);
    let _credentials = AbortOnDrop(tokio::spawn(renewed));

    let (stop, stopped) = watch::channel(false);
    let server = serve(
        ServerOptions {
            listener: opened.listener,
            node: node.clone(),
            store: opened.stores.store,
            transport: transport.clone(),
            cluster: config.cluster.to_string(),
            id: config.id,
            members: members(&config),
            election_timeout: config.core().election_timeout_longest(),
            certificates: figures,
            archive: kept.figures,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        wait_until(stopped),
    );
    let mut server = tokio::spawn(server);
    let end = tokio::select! {
        signal = signals.next() => End::Asked(signal),
        () = stdin_closed(stop_with_stdin) => End::Asked("standard input was closed"),
        stopped = node.stopped() => End::Failed(stopped.err().map(|error| NodeStartError::of_stopped(error, &log))),
        removed = &mut removed => match removed {
            Ok(removed) => End::Removed(removed.into()),
            Err(error) => End::Failed(Some(error.into())),
        },
        served = &mut server => End::Failed(served.map_err(NodeStartError::from).and_then(|served| Ok(served?)).err()),
    };
    if let End::Asked(reason) = &end {
        tracing::info!("{reason}: the node stops");
    }
    // The receiver lives as long as the server; if that is gone already, there is nothing to stop.
    let _ = stop.send(true);
    tokio::select! {
        () = finish(server, &end, &*transport, &node) => {}
        signal = signals.next() => tracing::warn!("{signal} again: the node stops at once"),
    }
    removed.abort();
    recorded.end(matches!(end, End::Failed(Some(_))));
    end.into_result()
}

/// The files that the peers know this node by, before anybody reads them.
fn peer_certificates(config: &NodeConfig) -> WatchedCertificates {
    let files = vec![config.cert.clone(), config.ca.clone()];
    WatchedCertificates::new("peer certificates", files, config.key.clone())
}

/// The certificates that `transport` authenticates by.
fn watched_by(certificates: WatchedCertificates, transport: &Arc<dyn OperatedTransport>) -> Watched {
    let transport = transport.clone();
    (
        certificates,
        Arc::new(move || Ok(transport.reload_credentials()?)),
    )
}

/// Why a node ends.
enum End {
    /// Somebody asked it to, in the way that the text says.
    Asked(&'static str),
    /// A part of it ended by itself.
    Failed(Option<NodeStartError>),
    /// It was removed from its cluster.
    Removed(NodeStartError),
}

impl End {
    fn into_result(self) -> Result<(), NodeStartError> {
        match self {
            End::Failed(Some(error)) | End::Removed(error) => Err(error),
            End::Failed(None) | End::Asked(_) => Ok(()),
        }
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins what [`belong`] does.
fn begin_to_belong(
    config: &Arc<NodeConfig>,
    node: &Node,
    transport: &Arc<dyn OperatedTransport>,
    archive: &Option<Arc<ArchiveFigures>>,
) -> AbortOnDrop {
    let (config, node) = (config.clone(), node.clone());
    AbortOnDrop(tokio::spawn(belong(
        config,
        node,
        transport.clone(),
        archive.clone(),
    )))
}

/// What a node does to belong to its cluster, and to say if it seems not to.
async fn belong(
    config: Arc<NodeConfig>,
    node: Node,
    transport: Arc<dyn OperatedTransport>,
    archive: Option<Arc<ArchiveFigures>>,
) {
    belonging::remind_to_add(&config, &node, &*transport).await;
    tokio::join!(
        past::keep_times(DataDirectory::times_in(&config.data_dir), node.clone(), archive),
        explaining::warn_without_leader(node.clone()),
        belonging::publish_contact(&config, &node),
        belonging::report_refusals(&config, &node, &*transport),
    );
}

/// The first members of the group, if this node is one that begins it. They have no contacts: nodes whose files differ in an
/// address would begin different groups.
fn first_members(config: &NodeConfig, data: &DataDirectory) -> Result<Option<Membership>, MembershipError> {
    if data.joins() {
        return Ok(None);
    }
    Membership::of_voters(config.peers.keys().copied()).map(Some)
}

fn report_start(config: &NodeConfig, opened: &Opened) {
    let client_address = opened.listener.local_addr();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %opened.data.path().display(),
        log_store = %opened.data.log_store(),
        "node {} of cluster {} starts; it listens for clients on {} and for its peers on {}",
        config.id,
        config.cluster,
        client_address.map_or_else(|_| config.listen_client.clone(), |address| address.to_string()),
        opened.transport.local_addr(),
    );
}

/// Lets the requests in flight finish, then stops the node.
async fn finish(
    server: JoinHandle<Result<(), ServeError>>,
    end: &End,
    transport: &dyn OperatedTransport,
    node: &Node,
) {
    // A server that ended by itself was the reason to stop and is not asked again.
    if !server.is_finished() {
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("{error}"),
            Err(error) => tracing::error!("the server failed: {error}"),
        }
    }
    if let End::Removed(_) = end {
        belonging::farewell(transport).await;
    }
    node.shutdown().await;
}

async fn wait_until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process's main task.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn stdin_closed(is_watched: bool) {
    if !is_watched {
        return std::future::pending().await;
    }
    let (closed, is_closed) = oneshot::channel();
    // A thread of its own: one of the runtime's would be waited for at the end, for as long as nobody types.
    let reader = thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let read = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Nobody listens any more if the node stops for another reason.
        let _ = closed.send(read);
    });
    match reader {
        Ok(_) => drop(is_closed.await),
        Err(error) => {
            tracing::warn!("standard input is not watched: {error}");
            std::future::pending().await
        }
    }
}

async fn open(config: &NodeConfig, on_loss: OnLoss, closer: &mut Closer) -> Result<Opened, NodeStartError> {
    let mut data = DataDirectory::open(&config.data_dir, &config.cluster, config.id, config.log_store)?;
    if config.join {
        data.note_joins()?;
    }
    let listener = listen_for_clients(config).await?;
    let transport = open_transport(config).await?;
    let stores = stores::open(&data, on_loss, closer).await?;
    if data.log_store() == LogStoreKind::Memory {
        // Before the first vote: from here on this directory must not be started from again (R68).
        data.note_log_written()?;
        tracing::warn!(
            "the log is in memory: when this node stops, it has forgotten its votes and entries and cannot start again; if \
             a majority stops, acknowledged writes are lost. Use --log-store memory for tests only"
        );
    }
    Ok(Opened {
        data,
        listener,
        transport,
        stores,
    })
}

async fn listen_for_clients(config: &NodeConfig) -> Result<TcpListener, NodeStartError> {
    let address = resolve(&config.listen_client, "listen-client").await?;
    TcpListener::bind(address)
        .await
        .map_err(|source| NodeStartError::ListenClient {
            address: config.listen_client.clone(),
            flag: "listen-client",
            remedy: match source.kind() {
                io::ErrorKind::AddrInUse => "stop what uses the port, or choose another address",
                _ => "choose an address of this machine and a port that this user may use",
            },
            source,
        })
}

async fn open_transport(config: &NodeConfig) -> Result<Arc<dyn OperatedTransport>, NodeStartError> {
    let options = TransportOptions {
        id: config.id,
        cluster: config.cluster.to_string(),
        listen: resolve(&config.listen_peer, "listen-peer").await?,
        peers: config.peers.clone(),
        contact_address: ContactAddress::new(MemberContact::peer_address_in),
        certificate: config.cert.clone(),
        key: config.key.clone(),
        ca: config.ca.clone(),
        limits: TransportLimits::default(),
    };
    let bound: Result<Arc<dyn OperatedTransport>, SetupError> = match config.transport {
        TransportKind::Quic => {
            QuicTransport::bind(options, QuicLimits::default()).map(|transport| Arc::new(transport) as _)
        }
        TransportKind::Tcp => {
            TcpTransport::bind(options, TcpLimits::default()).map(|transport| Arc::new(transport) as _)
        }
    };
    bound.map_err(|error| {
        let hint = match &error {
            SetupError::Listen { .. } => FlagHint(Some("listen-peer")),
            _ => FlagHint(None),
        };
        NodeStartError::Transport(error, hint)
    })
}

/// The first address of `address`; names are looked up.
async fn resolve(address: &str, flag: &'static str) -> Result<SocketAddr, NodeStartError> {
    let failed = |source| NodeStartError::Resolve {
        address: address.to_owned(),
        flag,
        source,
    };
    let mut found = lookup_host(address).await.map_err(failed)?;
    found
        .next()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// The settings of the core, with election timeouts that differ from node to node and from start to start.
fn seeded(config: &NodeConfig) -> raft_core::config::Config {
    let mut core = config.core();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    core.random_seed ^= now;
    core
}

/// Where members are reached, as far as the settings say.
fn members(config: &NodeConfig) -> BTreeMap<NodeId, MemberUrls> {
    let mut members: BTreeMap<NodeId, MemberUrls> = BTreeMap::new();
    for (id, address) in &config.peers {
        members.entry(*id).or_default().peer = vec![format!("quic://{address}")];
    }
    for (id, url) in &config.client_urls {
        members.entry(*id).or_default().client = vec![url.clone()];
    }
    let own = MemberUrls {
        peer: vec![config.peer_url.clone()],
        client: vec![config.client_url.clone()],
    };
    members.insert(config.id, own);
    members
}

/// The members come from the data; tell whoever reads the settings that they say something else.
fn report_other_members(config: &NodeConfig, node: &Node) {
    let members = node.status().membership.members();
    if !members.is_empty() && !members.iter().eq(config.peers.keys()) {
        let members: Vec<String> = members.iter().map(ToString::to_string).collect();
        tracing::info!(
            "the data directory knows the members {}, `initial-cluster` names others; the data directory counts",
            members.join(", ")
        );
    }
}
