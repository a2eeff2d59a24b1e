//! [`TcpCarrier`]: connections at one TCP address.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use raft_core::message::Lane;
use raft_core::types::NodeId;
use raft_transport::carrier::{Carrier, Closed};
use raft_transport::{CloseCode, Credentials, SetupError, TransportLimits, TransportOptions, node_of};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_util::sync::CancellationToken;

use crate::accept::Newcomer;
use crate::connection::{Inner, TcpConnection};
use crate::limits::TcpLimits;
use crate::preamble::{Preamble, Purpose};
use crate::streams::Socket;
use crate::tasks::Tasks;

/// How long the peers are given to hear of the end. They notice without, only later.
const GOODBYE_MAX: Duration = Duration::from_millis(100);
/// How many sockets the system holds for us before we take them.
const BACKLOG: u32 = 1024;
/// The pause after the system refused to hand over a socket, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections over TCP at one address.
#[derive(Debug)]
pub struct TcpCarrier {
    net: Arc<Net>,
    local_addr: SocketAddr,
    /// None once it was closed.
    listener: RwLock<Option<Arc<TcpListener>>>,
    stop: CancellationToken,
}

/// What all sockets of a carrier share.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) limits: TransportLimits,
    pub(crate) tasks: Tasks,
    tcp: TcpLimits,
    cluster: String,
    client: RwLock<Arc<ClientConfig>>,
    server: RwLock<Arc<ServerConfig>>,
    connections: Mutex<BTreeMap<u64, Weak<Inner>>>,
    /// A connection was added.
    added: Notify,
}

impl Carrier for TcpCarrier {
    type Connection = TcpConnection;
    type Incoming = Newcomer;
    type Limits = TcpLimits;

    const DIALS_FROM_WHERE_IT_LISTENS: bool = false;

    fn open(
        options: &TransportOptions,
        tcp: TcpLimits,
        credentials: &Credentials,
    ) -> Result<TcpCarrier, SetupError> {
        tcp.validate()?;
        let failed = |source| SetupError::Listen {
            protocol: "tcp",
            address: options.listen,
            source,
        };
        let listener = listen(options.listen, &tcp).map_err(failed)?;
        Ok(TcpCarrier {
            local_addr: listener.local_addr().map_err(failed)?,
            listener: RwLock::new(Some(Arc::new(listener))),
            stop: CancellationToken::new(),
            net: Arc::new(Net {
                limits: options.limits.clone(),
                tasks: Tasks::default(),
                tcp,
                cluster: options.cluster.clone(),
                client: RwLock::new(credentials.client.clone()),
                server: RwLock::new(credentials.server.clone()),
                connections: Mutex::default(),
                added: Notify::new(),
            }),
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    async fn connect(&self, address: SocketAddr, name: &str) -> Result<TcpConnection, Closed> {
        if self.stop.is_cancelled() {
            return Err(Closed::Here);
        }
        let net = &self.net;
        let id = RandomState::new().hash_one(address);
        let dial = |purpose| net.dial(address, name, id, purpose);
        let (control, urgent, ordered) = tokio::try_join!(
            dial(Purpose::Control),
            dial(Purpose::Lane(Lane::Urgent)),
            dial(Purpose::Lane(Lane::Ordered)),
        )?;
        let connection = TcpConnection::new(net, id, control, address, Some(name.to_owned()));
        net.remember(&connection)?;
        connection.inner().attach(Purpose::Lane(Lane::Urgent), urgent)?;
        connection.inner().attach(Purpose::Lane(Lane::Ordered), ordered)?;
        Ok(connection)
    }

    async fn accept(&self) -> Option<Newcomer> {
        let listener = self
            .listener
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    return Some(Newcomer {
                        stream,
                        address,
                        net: self.net.clone(),
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a socket could not be accepted");
                    // It would fail again at once: sockets must be closed first.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn renew(&self, credentials: &Credentials) -> Result<(), SetupError> {
        *write(&self.net.client) = credentials.client.clone();
        *write(&self.net.server) = credentials.server.clone();
        Ok(())
    }

    fn close(&self, why: CloseCode) {
        *write(&self.listener) = None;
        self.stop.cancel();
        let connections: Vec<_> = self.net.connections().values().cloned().collect();
        for connection in connections {
            if let Some(connection) = connection.upgrade() {
                connection.state.close(why);
            }
        }
    }

    async fn ended(&self) {
        self.net.tasks.end(GOODBYE_MAX).await;
    }
}

impl Net {
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node that `chain` names, if it names one of this cluster.
    pub(crate) fn node_of(&self, chain: &[CertificateDer<'_>]) -> Option<NodeId> {
        chain
            .first()
            .and_then(|certificate| node_of(certificate, &self.cluster).ok())
    }

    /// Small records leave at once.
    pub(crate) fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)
    }

    /// A socket of the connection `id`, for `purpose`.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        id: u64,
        purpose: Purpose,
    ) -> Result<Socket, Closed> {
        let server = ServerName::try_from(name.to_owned()).map_err(lost)?;
        let unreachable = |error: io::Error| Closed::Unreachable(error.to_string());
        let socket = socket_for(address, &self.tcp).map_err(lost)?;
        let stream = socket.connect(address).await.map_err(unreachable)?;
        self.prepare(&stream).map_err(lost)?;
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connected = TlsConnector::from(client).connect(server, stream).await;
        let mut socket = TlsStream::Client(connected.map_err(lost)?);
        let preamble = Preamble {
            connection: id,
            purpose,
        };
        socket.write_all(&preamble.encode()).await.map_err(lost)?;
        socket.flush().await.map_err(lost)?;
        Ok(socket)
    }

    /// Makes `connection` known, so that further sockets find it.
    pub(crate) fn remember(&self, connection: &TcpConnection) -> Result<(), Closed> {
        let inner = connection.inner();
        match self.connections().entry(inner.id()) {
            Entry::Occupied(_) => {
                return Err(Closed::Lost("the number of its connection is taken".to_owned()));
            }
            Entry::Vacant(place) => drop(place.insert(Arc::downgrade(inner))),
        }
        inner.known.store(true, std::sync::atomic::Ordering::Release);
        self.added.notify_waiters();
        Ok(())
    }

    pub(crate) fn forget(&self, id: u64) {
        self.connections().remove(&id);
    }

    /// The connection `id`, once there is one.
    pub(crate) async fn wait_for(&self, id: u64) -> Arc<Inner> {
        loop {
            let added = self.added.notified();
            let found = self.connections().get(&id).and_then(Weak::upgrade);
            if let Some(inner) = found {
                return inner;
            }
            added.await;
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Weak<Inner>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr, tcp: &TcpLimits) -> io::Result<TcpListener> {
    let socket = socket_for(address, tcp)?;
    // Connections that were closed a moment ago must not keep the address from a node that restarts.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn socket_for(address: SocketAddr, tcp: &TcpLimits) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    if let Some(bytes) = tcp.socket_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(socket)
}

pub(crate) fn lost(error: impl std::fmt::Display) -> Closed {
    Closed::Lost(error.to_string())
}
