//! Raw quinn: one stream in each direction.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use raft_core::types::NodeId;
use raft_transport_quic::{QuicLimits, TransportLimits};
use socket2::{Domain, Protocol, Socket, Type};

use super::raw::{Raw, Sink};
use crate::certificates::Certificates;

impl Sink for SendStream {
    async fn write(&mut self, pieces: &mut [Bytes]) {
        self.write_all_chunks(pieces).await.expect("an open stream");
    }
}

/// Connects two endpoints with the TLS, the buffers, the windows and the discovery of the path that our transport has, so
/// that a ratio of the two shows our code and no setting.
///
/// # Panics
/// If that fails.
pub async fn connect(
    name: &'static str,
    certificates: &Certificates,
) -> Raw<SendStream, RecvStream, (Endpoint, Endpoint, Connection, Connection)> {
    let (here, _) = certificates.credentials(NodeId(1));
    let (there, there_name) = certificates.credentials(NodeId(2));
    let client = QuicClientConfig::try_from(here.client).expect("TLS 1.3 as QUIC needs it");
    let server = QuicServerConfig::try_from(there.server).expect("TLS 1.3 as QUIC needs it");
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(settings());
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(settings());

    let listening = endpoint(Some(server));
    let dialling = endpoint(None);
    let address = listening.local_addr().expect("a bound socket has an address");
    let connecting = dialling
        .connect_with(client, address, &there_name)
        .expect("a valid configuration");
    let accept = async { listening.accept().await.expect("an open endpoint").await };
    let (dialled, accepted) = tokio::join!(connecting, accept);
    let (dialled, accepted) = (dialled.expect("a handshake"), accepted.expect("a handshake"));

    let (mut sender, receiver) = dialled.open_bi().await.expect("an open connection");
    // The stream exists for the other end once something was written: a message without a payload.
    sender.write_all(&[0; 4]).await.expect("an open stream");
    let there = accepted.accept_bi().await.expect("an open connection");
    let held = (dialling, listening, dialled, accepted);
    let link = Raw::new(name, (sender, receiver), there, held);
    link.arrived(1).await;
    link
}

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let buffer_bytes = QuicLimits::default().socket_buffer_bytes;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_recv_buffer_size(buffer_bytes).expect("a buffer");
    socket.set_send_buffer_size(buffer_bytes).expect("a buffer");
    socket
        .set_nonblocking(true)
        .expect("a socket that does not block");
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&address.into()).expect("loopback has free ports");
    let socket = UdpSocket::from(socket);
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime)).expect("an endpoint")
}

fn settings() -> Arc<TransportConfig> {
    /// Messages have two streams, one for each lane.
    const LANES: usize = 2;
    let (limits, quic) = (TransportLimits::default(), QuicLimits::default());
    let stream_window = quic.stream_window_bytes as u64;
    let window = stream_window * (limits.snapshot_streams_max() + LANES) as u64;
    let varint = |value| VarInt::from_u64(value).expect("windows are far below 2^62");
    let mut config = TransportConfig::default();
    config.datagram_receive_buffer_size(None);
    config.keep_alive_interval(Some(limits.keep_alive_interval));
    config.stream_receive_window(varint(stream_window));
    config.receive_window(varint(window));
    config.send_window(window);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(quic.datagram_bytes_max);
    config.mtu_discovery_config(Some(discovery));
    Arc::new(config)
}
