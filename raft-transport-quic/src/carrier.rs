//! [`QuicCarrier`]: connections at one UDP address.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig, VarInt};
use raft_core::traits::Cause;
use raft_transport::carrier::{Carrier, Closed, Incoming};
use raft_transport::{CloseCode, Credentials, SetupError, TransportLimits, TransportOptions};

use crate::connection::{QuicConnection, closed};
use crate::limits::QuicLimits;
use crate::socket::{QuicTasks, open_endpoint, transport_config};

/// The streams of messages that each end opens: one for each lane.
pub(crate) const LANES: usize = 2;

/// How long the peers are given to hear of the end. They notice without, only later.
const GOODBYE_MAX: Duration = Duration::from_millis(100);

/// What a stranger may make us keep before its handshake is even begun, in bytes: one connection, and all together.
const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;
const INCOMING_BUFFERS_BYTES: u64 = 4 * 1024 * 1024;

/// Connections over QUIC at one UDP address.
#[derive(Debug)]
pub struct QuicCarrier {
    limits: TransportLimits,
    quic: QuicLimits,
    local_addr: SocketAddr,
    /// None once it was closed: the socket closes with the last handle.
    endpoint: RwLock<Option<Endpoint>>,
    client: RwLock<ClientConfig>,
    /// The tasks of QUIC itself, which hold the socket.
    tasks: QuicTasks,
}

impl Carrier for QuicCarrier {
    type Connection = QuicConnection;
    type Incoming = Newcomer;
    type Limits = QuicLimits;

    const DIALS_FROM_WHERE_IT_LISTENS: bool = true;

    fn open(
        options: &TransportOptions,
        quic: QuicLimits,
        credentials: &Credentials,
    ) -> Result<QuicCarrier, SetupError> {
        quic.validate()?;
        let tasks = QuicTasks::default();
        let server = server_config(credentials, &options.limits, &quic)?;
        let listen = |source| SetupError::Listen {
            protocol: "udp",
            address: options.listen,
            source,
        };
        let endpoint =
            open_endpoint(options.listen, quic.socket_buffer_bytes, server, &tasks).map_err(listen)?;
        Ok(QuicCarrier {
            local_addr: endpoint.local_addr().map_err(listen)?,
            client: RwLock::new(client_config(credentials, &options.limits, &quic)?),
            limits: options.limits.clone(),
            quic,
            endpoint: RwLock::new(Some(endpoint)),
            tasks,
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    async fn connect(&self, address: SocketAddr, name: &str) -> Result<QuicConnection, Closed> {
        let endpoint = self.endpoint().ok_or(Closed::Here)?;
        // A new copy for each connection, because certificates may have been replaced.
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connecting = endpoint.connect_with(client, address, name);
        let connecting = connecting.map_err(|error| Closed::Lost(format!("{address}: {error}")))?;
        drop(endpoint);
        let connection = connecting.await.map_err(closed)?;
        Ok(QuicConnection::new(connection))
    }

    async fn accept(&self) -> Option<Newcomer> {
        let endpoint = self.endpoint()?;
        endpoint.accept().await.map(Newcomer)
    }

    fn renew(&self, credentials: &Credentials) -> Result<(), SetupError> {
        let server = server_config(credentials, &self.limits, &self.quic)?;
        let client = client_config(credentials, &self.limits, &self.quic)?;
        if let Some(endpoint) = self.endpoint() {
            endpoint.set_server_config(Some(server));
        }
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    fn close(&self, why: CloseCode) {
        let endpoint = self
            .endpoint
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(endpoint) = endpoint {
            endpoint.close(VarInt::from_u32(why.code()), why.reason().as_bytes());
        }
    }

    async fn ended(&self) {
        // Lost goodbyes are no harm: the peers' idle time-out does the same.
        self.tasks.end(GOODBYE_MAX).await;
    }
}

impl QuicCarrier {
    /// The socket with QUIC on it, until it was closed.
    fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Somebody whose first packet arrived.
#[derive(Debug)]
pub struct Newcomer(quinn::Incoming);

impl Incoming for Newcomer {
    type Connection = QuicConnection;

    fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    fn prove_address(self) -> Option<Newcomer> {
        if self.0.remote_address_validated() || !self.0.may_retry() {
            return Some(self);
        }
        // The answer is as large as the question, and nothing is kept until the sender repeats it from where it claims to be.
        if let Err(error) = self.0.retry() {
            tracing::debug!(%error, "a newcomer could not be asked to retry");
        }
        None
    }

    fn refuse(self) {
        self.0.refuse();
    }

    async fn handshake(self) -> Result<Option<QuicConnection>, Closed> {
        let connection = self.0.await.map_err(closed)?;
        Ok(Some(QuicConnection::new(connection)))
    }
}

/// How this node accepts.
fn server_config(
    credentials: &Credentials,
    limits: &TransportLimits,
    quic: &QuicLimits,
) -> Result<ServerConfig, SetupError> {
    let crypto = QuicServerConfig::try_from(credentials.server.clone()).map_err(tls)?;
    let mut config = ServerConfig::with_crypto(std::sync::Arc::new(crypto));
    config.transport_config(transport_config(limits, quic));
    config.max_incoming(limits.handshakes_max);
    config.incoming_buffer_size(INCOMING_BUFFER_BYTES);
    config.incoming_buffer_size_total(INCOMING_BUFFERS_BYTES);
    // Whoever has the keys of a connection is its other end, wherever its packets come from: an address that changes costs
    // no election. It must prove that it receives there before much is sent to it.
    config.migration(true);
    Ok(config)
}

/// How this node dials.
fn client_config(
    credentials: &Credentials,
    limits: &TransportLimits,
    quic: &QuicLimits,
) -> Result<ClientConfig, SetupError> {
    let crypto = QuicClientConfig::try_from(credentials.client.clone()).map_err(tls)?;
    let mut config = ClientConfig::new(std::sync::Arc::new(crypto));
    config.transport_config(transport_config(limits, quic));
    Ok(config)
}

fn tls(error: impl Into<Cause>) -> SetupError {
    SetupError::Tls(error.into())
}
