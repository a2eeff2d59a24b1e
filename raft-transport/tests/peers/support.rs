//! Certificates, transports and inbounds for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::message::{Body, ForwardRequest, InstallSnapshot, Message, SnapshotContent};
use raft_core::request::ClientRequest;
use raft_core::traits::{Inbound, PeerStatus, SnapshotStoreError, SnapshotWriter, Transport, TransportError};
use raft_core::types::{GroupId, NodeId, Term, Ticket};
use raft_transport::{ContactAddress, TransportLimits, TransportOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::carrier;

/// How long a test waits for what must happen: far longer than it takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const CLUSTER: &str = "alpha";

/// Waits until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} until {what}");
        tick.tick().await;
    }
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate says; the default is what it should say.
pub(crate) struct Leaf {
    pub(crate) names: Vec<String>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) years: (i32, i32),
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(leaf.names.clone()).unwrap();
        params.extended_key_usages = leaf.usages.clone();
        params.not_before = rcgen::date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(leaf.years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    pub(crate) fn issue_node(&self, id: u64) -> Identity {
        self.issue(&Leaf::node(id))
    }
}

impl Leaf {
    pub(crate) fn node(id: u64) -> Leaf {
        Leaf {
            names: vec![format!("n{id}.{CLUSTER}.raft.internal")],
            usages: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            years: (2020, 2120),
        }
    }
}

/// An authority and a directory with the certificates that it made.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let certificates = Certificates {
            authority: Authority::new(),
            directory: TempDir::new().unwrap(),
        };
        fs::write(certificates.path("ca.pem"), certificates.authority.pem()).unwrap();
        certificates
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, identity: &Identity) {
        fs::write(self.path(&format!("{name}.pem")), &identity.certificate_pem).unwrap();
        write_key(&self.path(&format!("{name}.key")), &identity.key_pem);
    }

    /// Options of node `id` with a fresh certificate, no peers, and a port that the system chooses.
    pub(crate) fn options(&self, id: u64) -> TransportOptions {
        self.write(&format!("n{id}"), &self.authority.issue_node(id));
        TransportOptions {
            id: NodeId(id),
            cluster: CLUSTER.to_string(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peers: BTreeMap::new(),
            contact_address: ContactAddress::default(),
            certificate: self.path(&format!("n{id}.pem")),
            key: self.path(&format!("n{id}.key")),
            ca: self.path("ca.pem"),
            limits: TransportLimits::default(),
        }
    }
}

fn write_key(path: &Path, pem: &str) {
    fs::write(path, pem).unwrap();
    set_mode(path, 0o600);
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_path: &Path, _mode: u32) {}

/// A transport and what it delivered.
pub(crate) struct TestNode {
    pub(crate) transport: Arc<carrier::TestTransport>,
    pub(crate) inbound: Arc<Recorder>,
}

impl TestNode {
    /// Binds without starting, so that the others can learn the address.
    pub(crate) fn bind(options: TransportOptions) -> TestNode {
        TestNode {
            transport: Arc::new(carrier::bind(options).unwrap()),
            inbound: Arc::new(Recorder::default()),
        }
    }

    pub(crate) async fn start(&self) {
        self.transport.start(self.inbound.clone()).await.unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    pub(crate) fn status(&self, id: u64) -> PeerStatus {
        let peers = self.transport.peers();
        peers.into_iter().find(|peer| peer.id == NodeId(id)).unwrap()
    }

    pub(crate) fn send(&self, to: u64, messages: Vec<Message>) {
        self.transport.send(NodeId(to), messages);
    }

    pub(crate) async fn wait_connected(&self, id: u64) {
        wait_until(&format!("node {id} is connected"), || self.status(id).connected).await;
    }
}

/// Starts nodes 1 to `count`, all peers of each other and connected.
pub(crate) async fn start_cluster(count: u64, limits: &TransportLimits) -> (Certificates, Vec<TestNode>) {
    let certificates = Certificates::new();
    let bind = |id| {
        TestNode::bind(TransportOptions {
            limits: limits.clone(),
            ..certificates.options(id)
        })
    };
    let nodes: Vec<_> = (1..=count).map(bind).collect();
    let addresses = addresses(&nodes);
    for node in &nodes {
        node.transport.set_peers(&addresses).unwrap();
        node.start().await;
    }
    for node in &nodes {
        wait_until("all are connected", || {
            node.transport.peers().iter().all(|peer| peer.connected)
        })
        .await;
    }
    (certificates, nodes)
}

/// Where nodes 1, 2, … are.
pub(crate) fn addresses(nodes: &[TestNode]) -> BTreeMap<NodeId, String> {
    (1..)
        .map(NodeId)
        .zip(nodes.iter().map(|node| node.address().to_string()))
        .collect()
}

/// Binds again at an address that was in use until just now.
pub(crate) async fn bind_again(options: &TransportOptions) -> TestNode {
    let mut bound = None;
    wait_until("the port is free again", || {
        bound = carrier::bind(options.clone()).ok();
        bound.is_some()
    })
    .await;
    TestNode {
        transport: Arc::new(bound.unwrap()),
        inbound: Arc::new(Recorder::default()),
    }
}

/// A message that carries a number.
pub(crate) fn message(from: u64, to: u64, number: u64, payload: Bytes) -> Message {
    Message {
        group: GroupId(number % 3),
        from: NodeId(from),
        to: NodeId(to),
        term: Term(1),
        body: Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(number),
            request: ClientRequest::Propose(payload),
        }),
    }
}

pub(crate) fn number_of(message: &Message) -> u64 {
    match &message.body {
        Body::ForwardRequest(request) => request.ticket.0,
        other => panic!("{other:?}"),
    }
}

/// What a test wants to happen to a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SnapshotFate {
    #[default]
    Store,
    RefuseAtBegin,
    RefuseInTheMiddle,
    RefuseAtFinish,
    HangAtBegin,
    HangInTheMiddle,
    HangAtFinish,
    /// Takes [`SLOW`] to begin and to finish.
    Slow,
    /// Finishes when it is [released](Recorder::release).
    HoldAtFinish,
}

/// Longer than an impatient transfer may stand still.
pub(crate) const SLOW: Duration = Duration::from_millis(900);

/// An inbound that keeps everything.
#[derive(Default)]
pub(crate) struct Recorder {
    received: Mutex<Vec<Message>>,
    frames: Mutex<usize>,
    /// What is stored of a snapshot; a transfer goes on at its end.
    pub(crate) snapshot: Arc<Mutex<Vec<u8>>>,
    pub(crate) finished: Mutex<Vec<InstallSnapshot>>,
    pub(crate) begun: Mutex<usize>,
    pub(crate) fate: Mutex<SnapshotFate>,
    pub(crate) holding: Notify,
    pub(crate) release: Notify,
}

impl Recorder {
    pub(crate) fn received(&self) -> Vec<Message> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.received.lock().unwrap().iter().map(number_of).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    pub(crate) fn frames(&self) -> usize {
        *self.frames.lock().unwrap()
    }

    pub(crate) async fn wait_count(&self, count: usize) {
        wait_until(&format!("{count} messages arrived"), || self.count() >= count).await;
    }

    /// Whether nothing at all came through.
    pub(crate) fn is_untouched(&self) -> bool {
        self.count() == 0 && *self.begun.lock().unwrap() == 0
    }

    fn fate(&self) -> SnapshotFate {
        *self.fate.lock().unwrap()
    }
}

#[async_trait]
impl Inbound for Recorder {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        assert!(messages.iter().all(|message| message.from == from));
        *self.frames.lock().unwrap() += 1;
        self.received.lock().unwrap().extend(messages);
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        _content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        *self.begun.lock().unwrap() += 1;
        match self.fate() {
            SnapshotFate::RefuseAtBegin => return Err(refusal(header, "no room here")),
            SnapshotFate::HangAtBegin => std::future::pending().await,
            SnapshotFate::Slow => sleep(SLOW).await,
            _ => {}
        }
        Ok(Box::new(MemoryWriter {
            stored: self.snapshot.clone(),
            fate: self.fate(),
        }))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        match self.fate() {
            SnapshotFate::RefuseAtFinish => return Err(refusal(&header, "the checksum is wrong")),
            SnapshotFate::HangAtFinish => std::future::pending().await,
            SnapshotFate::Slow => sleep(SLOW).await,
            SnapshotFate::HoldAtFinish => {
                self.holding.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        content.finish().await.unwrap();
        self.finished.lock().unwrap().push(header);
        Ok(())
    }
}

fn refusal(header: &InstallSnapshot, reason: &str) -> TransportError {
    TransportError::Refused {
        to: header.to,
        reason: reason.to_string(),
    }
}

struct MemoryWriter {
    stored: Arc<Mutex<Vec<u8>>>,
    fate: SnapshotFate,
}

#[async_trait]
impl SnapshotWriter for MemoryWriter {
    fn offset(&self) -> u64 {
        self.stored.lock().unwrap().len() as u64
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotStoreError> {
        match self.fate {
            SnapshotFate::RefuseInTheMiddle => {
                return Err(SnapshotStoreError::Corrupt("the disk is full".to_string()));
            }
            SnapshotFate::HangInTheMiddle => std::future::pending().await,
            _ => {}
        }
        self.stored.lock().unwrap().extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), SnapshotStoreError> {
        self.stored.lock().unwrap().clear();
        Ok(())
    }
}

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What this thread warns of, until the guard is dropped.
    pub(crate) fn of_this_thread() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
