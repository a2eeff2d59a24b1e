//! The UDP socket, and the settings of QUIC on it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, Runtime,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use raft_transport::TransportLimits;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carrier::LANES;
use crate::limits::QuicLimits;

/// Opens the socket and puts QUIC on it.
///
/// The socket closes when the endpoint is dropped and QUIC's own `tasks` have ended.
pub(crate) fn open_endpoint(
    listen: SocketAddr,
    socket_buffer_bytes: usize,
    server: ServerConfig,
    tasks: &QuicTasks,
) -> io::Result<Endpoint> {
    let runtime = Arc::new(TrackedRuntime(tasks.clone()));
    let socket = open_socket(listen, socket_buffer_bytes)?;
    Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)
}

/// The tasks of QUIC itself: one for the socket and one for each connection. They hold the socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuicTasks {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl QuicTasks {
    /// Gives them `goodbye_max` to tell the peers, then ends them. Without that, a closed connection would keep the
    /// address for three of its probe time-outs, up to a second.
    pub(crate) async fn end(&self, goodbye_max: Duration) {
        self.tasks.close();
        if tokio::time::timeout(goodbye_max, self.tasks.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Tokio, with every task that QUIC spawns among [`QuicTasks`].
#[derive(Debug)]
struct TrackedRuntime(QuicTasks);

impl Runtime for TrackedRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(stop.run_until_cancelled_owned(task));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}

/// With the system's default buffers, bulk over loopback loses thousands of packets a second.
fn open_socket(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // An IPv6 wildcard serves IPv4 peers, too. Systems that cannot do that still serve IPv6.
        if let Err(error) = socket.set_only_v6(false) {
            tracing::debug!(%error, "IPv4 peers cannot be reached through this IPv6 socket");
        }
    }
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if granted < buffer_bytes {
        tracing::info!(
            wanted_bytes = buffer_bytes,
            granted_bytes = granted,
            "the system grants small UDP buffers; for bulk, raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The settings of every connection, whoever made it.
pub(crate) fn transport_config(limits: &TransportLimits, quic: &QuicLimits) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    // One stream of messages for each lane in each direction; beside them, snapshots.
    config.max_concurrent_uni_streams(varint(LANES as u64));
    config.max_concurrent_bidi_streams(varint(limits.snapshot_streams_max() as u64));
    config.datagram_receive_buffer_size(None);
    config.max_idle_timeout(IdleTimeout::try_from(limits.idle_timeout).ok());
    config.keep_alive_interval(Some(limits.keep_alive_interval));
    // The sum of all streams' windows, so that snapshots which nobody reads never hold up the messages. Larger windows
    // do not make bulk faster, and very large ones killed connections ("too many gaps in stream buffer").
    config.stream_receive_window(varint(quic.stream_window_bytes as u64));
    config.receive_window(varint(quic.connection_window_bytes(limits)));
    config.send_window(quic.connection_window_bytes(limits));
    // The first packet to a node that is not up yet is lost; the default of 333 ms would repeat it after a second.
    config.initial_rtt(Duration::from_millis(100));
    // Begin with what every path carries: with an initial MTU above the initial congestion window quinn sends nothing,
    // without an error. Discovery finds the rest; far above Ethernet's size it fell back to 1,200 under bulk.
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(quic.datagram_bytes_max);
    config.mtu_discovery_config(Some(discovery));
    Arc::new(config)
}

/// Limits are validated far below 2^62, where QUIC's integers end.
fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}
