//! QUIC, as the shared tests see it.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use raft_transport_quic::{QuicLimits, QuicTransport, SetupError, TransportOptions};
use tokio::net::UdpSocket;

use crate::intruder::Ended;

pub(crate) type TestTransport = QuicTransport;

pub(crate) fn bind(options: TransportOptions) -> Result<TestTransport, SetupError> {
    QuicTransport::bind(options, QuicLimits::default())
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An address that takes what is sent there and never answers.
pub(crate) struct Silent(UdpSocket);

impl Silent {
    pub(crate) fn new() -> Silent {
        let socket = std::net::UdpSocket::bind(loopback()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Silent(UdpSocket::from_std(socket).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Somebody tried to connect.
    pub(crate) async fn called(&self) {
        self.0.recv_from(&mut [0; 2048]).await.unwrap();
    }
}

/// Where connections of an intruder come from.
pub(crate) struct Client(Endpoint);

impl Client {
    pub(crate) fn new() -> Client {
        Client(Endpoint::client(loopback()).unwrap())
    }

    pub(crate) fn connecting(
        &self,
        tls: &rustls::ClientConfig,
        to: SocketAddr,
        name: &str,
    ) -> quinn::Connecting {
        let crypto = QuicClientConfig::try_from(tls.clone()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        self.0.connect_with(config, to, name).unwrap()
    }

    pub(crate) async fn connect(
        &self,
        tls: &rustls::ClientConfig,
        to: SocketAddr,
        name: &str,
    ) -> Result<Link, Ended> {
        Ok(Link(self.connecting(tls, to, name).await?))
    }
}

/// A bare server.
pub(crate) struct Server(Endpoint);

impl Server {
    pub(crate) fn new(tls: rustls::ServerConfig) -> Server {
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        Server(Endpoint::server(config, loopback()).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Option<Result<Link, Ended>> {
        let incoming = self.0.accept().await?;
        Some(incoming.await.map(Link).map_err(Ended::from))
    }
}

/// A connection of an intruder. It is closed when it is dropped.
pub(crate) struct Link(pub(crate) Connection);

impl Link {
    /// A stream of messages; QUIC leaves it to the hello to say of which lane.
    pub(crate) async fn open_lane(&self, _lane: u8) -> Option<Stream> {
        self.0.open_uni().await.ok().map(Stream)
    }

    pub(crate) async fn open_snapshot(&self) -> Option<Stream> {
        self.0.open_bi().await.ok().map(|(sender, _)| Stream(sender))
    }

    /// The other end said hello.
    pub(crate) async fn hear_hello(&self) {
        self.0.accept_uni().await.unwrap();
    }

    pub(crate) async fn closed(&self) -> Ended {
        self.0.closed().await.into()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.close_reason().is_none()
    }

    pub(crate) fn close(&self) {
        self.0.close(0u32.into(), b"");
    }
}

/// What an intruder writes to.
pub(crate) struct Stream(SendStream);

impl Stream {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), quinn::WriteError> {
        self.0.write_all(bytes).await
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Ended {
        match error {
            ConnectionError::ApplicationClosed(closed) => Ended::ByNode {
                code: u32::try_from(closed.error_code.into_inner()).unwrap(),
                reason: String::from_utf8_lossy(&closed.reason).into_owned(),
            },
            ConnectionError::ConnectionClosed(_) | ConnectionError::TransportError(_) => {
                Ended::ByTls(error.to_string())
            }
            error => Ended::Lost(error.to_string()),
        }
    }
}
