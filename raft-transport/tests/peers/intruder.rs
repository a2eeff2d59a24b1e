//! Peers that do not keep to the protocol: bare endpoints that send what a test wants them to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use raft_core::message::Message;
use raft_core::wire::{FrameKind, encode_frame, encode_messages};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::carrier::{Client, Link, Server, Stream};
use crate::support::{CLUSTER, Certificates, DEADLINE, Identity};

const ALPN: &[u8] = b"raft/1";

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The node closed it and said why.
    ByNode { code: u32, reason: String },
    /// The node did not say a word of ours: its TLS refused.
    ByTls(String),
    /// Nobody refused; over TCP that cannot be told apart.
    #[allow(dead_code)]
    Lost(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::ByNode { code, reason } => write!(f, "closed with {code}: {reason}"),
            Ended::ByTls(text) | Ended::Lost(text) => f.write_str(text),
        }
    }
}

pub(crate) fn close_code(ended: &Ended) -> Option<u32> {
    match ended {
        Ended::ByNode { code, .. } => Some(*code),
        _ => None,
    }
}

/// The version that the protocol speaks.
pub(crate) const FORMAT: u16 = 2;

/// A hello as the protocol wants it, for the ordered lane.
pub(crate) fn hello(version: u16, id: u64, cluster: &str) -> Vec<u8> {
    hello_in(1, version, id, cluster)
}

pub(crate) fn hello_in(lane: u8, version: u16, id: u64, cluster: &str) -> Vec<u8> {
    hello_of(77, lane, version, id, cluster)
}

/// The same of a given incarnation.
pub(crate) fn hello_of(incarnation: u64, lane: u8, version: u16, id: u64, cluster: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(FrameKind::Hello, &mut out, |out| {
        out.extend_from_slice(&version.to_le_bytes());
        out.push(lane);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&incarnation.to_le_bytes());
        out.extend_from_slice(&2380u16.to_le_bytes());
        out.extend_from_slice(cluster.as_bytes());
    });
    out
}

/// Opens the urgent lane with its hello, and the ordered one with `bytes`.
pub(crate) async fn speak(link: &Link, claimed: u64, bytes: &[u8]) -> Option<[Stream; 2]> {
    let mut urgent = link.open_lane(0).await?;
    let mut ordered = link.open_lane(1).await?;
    // It may be closed before everything is written.
    let _ = urgent.write_all(&hello_in(0, FORMAT, claimed, CLUSTER)).await;
    let _ = ordered.write_all(bytes).await;
    Some([urgent, ordered])
}

pub(crate) fn messages_frame(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(FrameKind::Messages, &mut out, |out| {
        encode_messages(messages, out)
    });
    out
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(authority: CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    Arc::new(roots)
}

pub(crate) fn node_name(id: u64) -> String {
    format!("n{id}.{CLUSTER}.raft.internal")
}

/// A client that trusts the cluster's authority and shows whatever certificate it was given.
pub(crate) struct Intruder {
    pub(crate) client: Client,
    pub(crate) tls: rustls::ClientConfig,
}

impl Intruder {
    pub(crate) fn new(certificates: &Certificates, identity: Identity) -> Intruder {
        Intruder::with(certificates, Some(identity))
    }

    pub(crate) fn with(certificates: &Certificates, identity: Option<Identity>) -> Intruder {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots(certificates.authority.der()));
        let mut tls = match identity {
            Some(identity) => config
                .with_client_auth_cert(identity.chain, identity.key)
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Intruder {
            client: Client::new(),
            tls,
        }
    }

    pub(crate) async fn connect(&self, to: SocketAddr, id: u64) -> Result<Link, Ended> {
        self.client.connect(&self.tls, to, &node_name(id)).await
    }

    /// Connects as `claimed` and says hello.
    pub(crate) async fn join(&self, to: SocketAddr, id: u64, claimed: u64) -> (Link, Stream, Stream) {
        let connection = self.connect(to, id).await.unwrap();
        let hello = hello(FORMAT, claimed, CLUSTER);
        let [urgent, ordered] = speak(&connection, claimed, &hello).await.unwrap();
        (connection, urgent, ordered)
    }

    /// Connects, says hello as `claimed`, sends `messages`, and returns how the connection ended.
    pub(crate) async fn attack(&self, to: SocketAddr, id: u64, claimed: u64, messages: &[Message]) -> Ended {
        self.attack_after_hello(to, id, claimed, &messages_frame(messages))
            .await
    }

    /// Connects, says hello as `claimed`, sends `bytes`, and returns how the connection ended.
    pub(crate) async fn attack_after_hello(
        &self,
        to: SocketAddr,
        id: u64,
        claimed: u64,
        bytes: &[u8],
    ) -> Ended {
        let mut spoken = hello(FORMAT, claimed, CLUSTER);
        spoken.extend_from_slice(bytes);
        let connection = match self.connect(to, id).await {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        let _streams = speak(&connection, claimed, &spoken).await;
        ended(&connection).await
    }

    /// Connects, writes `bytes` to its only stream, and returns how the connection ended.
    pub(crate) async fn attack_with(&self, to: SocketAddr, id: u64, bytes: &[u8]) -> Ended {
        let connection = match self.connect(to, id).await {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        if let Some(mut stream) = connection.open_lane(1).await {
            // It may be closed before everything is written.
            let _ = stream.write_all(bytes).await;
            return ended(&connection).await;
        }
        ended(&connection).await
    }
}

/// How `connection` ended.
pub(crate) async fn ended(link: &Link) -> Ended {
    timeout(DEADLINE, link.closed())
        .await
        .expect("the connection is closed in time")
}

fn server_config(certificates: &Certificates, identity: Identity) -> rustls::ServerConfig {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(certificates.authority.der()), provider())
            .build()
            .unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls
}

/// A bare server with any certificate.
pub(crate) fn bare_server(certificates: &Certificates, identity: Identity) -> Server {
    Server::new(server_config(certificates, identity))
}

/// A server with any certificate. To whoever completes a handshake it says hello and sends messages.
pub(crate) struct RogueServer {
    address: SocketAddr,
    ended: mpsc::UnboundedReceiver<Ended>,
}

impl RogueServer {
    pub(crate) fn start(
        certificates: &Certificates,
        identity: Identity,
        claimed: u64,
        messages: Vec<Message>,
    ) -> RogueServer {
        let server = bare_server(certificates, identity);
        let address = server.address();
        let (sender, ended) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(accepted) = server.accept().await {
                let ended = RogueServer::serve(accepted, claimed, &messages).await;
                if sender.send(ended).is_err() {
                    break;
                }
            }
        });
        RogueServer { address, ended }
    }

    async fn serve(accepted: Result<Link, Ended>, claimed: u64, messages: &[Message]) -> Ended {
        let link = match accepted {
            Ok(link) => link,
            Err(ended) => return ended,
        };
        let mut bytes = hello(FORMAT, claimed, CLUSTER);
        bytes.extend(messages_frame(messages));
        let _streams = speak(&link, claimed, &bytes).await;
        link.closed().await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the next connection ended.
    pub(crate) async fn next_ended(&mut self) -> Ended {
        timeout(DEADLINE, self.ended.recv())
            .await
            .expect("a connection ends in time")
            .expect("the server runs")
    }
}

/// A node with a true certificate that says hello and then never reads, on a runtime of its own so that it can die
/// without a goodbye.
pub(crate) struct MuteServer {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl MuteServer {
    pub(crate) fn start(certificates: &Certificates, id: u64) -> MuteServer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let server = bare_server(certificates, certificates.authority.issue_node(id));
        let address = server.address();
        runtime.spawn(async move {
            let mut kept = Vec::new();
            while let Some(accepted) = server.accept().await {
                let Ok(link) = accepted else { continue };
                if let Some(streams) = speak(&link, id, &hello(FORMAT, id, CLUSTER)).await {
                    kept.push((link, streams));
                }
            }
        });
        drop(_inside);
        MuteServer {
            runtime: Some(runtime),
            address,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops like a process that was killed.
    pub(crate) fn die(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for MuteServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
