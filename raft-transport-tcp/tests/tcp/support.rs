//! Certificates and transports for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_core::types::NodeId;
use raft_transport_tcp::{ContactAddress, TcpLimits, TcpTransport, TransportLimits, TransportOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

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

/// An authority, and the files of the nodes that it signed for.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificates = Certificates {
            authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            directory: TempDir::new().unwrap(),
        };
        fs::write(certificates.path("ca.pem"), certificates.authority.pem()).unwrap();
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.authority.der().clone()
    }

    /// A certificate of node `id`.
    pub(crate) fn issue(&self, id: u64) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let name = format!("n{id}.{CLUSTER}.raft.internal");
        let mut params = CertificateParams::new(vec![name]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        (params.signed_by(&key, &self.authority).unwrap(), key)
    }

    /// The same for a bare TLS client.
    pub(crate) fn identity(&self, id: u64) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.issue(id);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }

    /// Node `id` at a port that the system chooses, without peers.
    pub(crate) fn bind(&self, id: u64, limits: &TransportLimits) -> Arc<TcpTransport> {
        let (certificate, key) = self.issue(id);
        let (certificate_path, key_path) =
            (self.path(&format!("n{id}.pem")), self.path(&format!("n{id}.key")));
        fs::write(&certificate_path, certificate.pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        set_mode(&key_path);
        let options = TransportOptions {
            id: NodeId(id),
            cluster: CLUSTER.to_string(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peers: BTreeMap::new(),
            contact_address: ContactAddress::default(),
            certificate: certificate_path,
            key: key_path,
            ca: self.path("ca.pem"),
            limits: limits.clone(),
        };
        Arc::new(TcpTransport::bind(options, TcpLimits::default()).unwrap())
    }

    /// Nodes with these ids that know each other's addresses, not started.
    pub(crate) fn cluster(&self, ids: &[NodeId], limits: &TransportLimits) -> Vec<Arc<TcpTransport>> {
        let nodes: Vec<_> = ids.iter().map(|id| self.bind(id.0, limits)).collect();
        let addresses = ids
            .iter()
            .copied()
            .zip(nodes.iter().map(|node| node.local_addr().to_string()));
        let addresses = addresses.collect();
        for node in &nodes {
            node.set_peers(&addresses).unwrap();
        }
        nodes
    }
}

#[cfg(unix)]
fn set_mode(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_path: &std::path::Path) {}
