//! Raw TCP, and TLS on it, as tokio and rustls give them.

use std::net::Ipv4Addr;

use raft_core::types::NodeId;
use rustls::pki_types::ServerName;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::raw::{Raw, Socket};
use crate::certificates::Certificates;

type Half<S> = Socket<WriteHalf<S>>;

/// Connects two sockets.
///
/// # Panics
/// If that fails.
pub async fn connect(name: &'static str) -> Raw<Socket<OwnedWriteHalf>, OwnedReadHalf, ()> {
    let (here, there) = sockets().await;
    let halves = |stream: TcpStream| {
        let (receiver, sender) = stream.into_split();
        (Socket(sender), receiver)
    };
    Raw::new(name, halves(here), halves(there), ())
}

/// Connects two sockets with the TLS that our transports have: 1.3, both ends authenticated, the same ciphers.
///
/// # Panics
/// If that fails.
pub async fn connect_tls(
    name: &'static str,
    certificates: &Certificates,
) -> Raw<Half<TlsStream<TcpStream>>, ReadHalf<TlsStream<TcpStream>>, ()> {
    let (here, there) = sockets().await;
    let (client, _) = certificates.credentials(NodeId(1));
    let (server, there_name) = certificates.credentials(NodeId(2));
    let there_name = ServerName::try_from(there_name).expect("the name of a node");
    let (here, there) = tokio::join!(
        TlsConnector::from(client.client).connect(there_name, here),
        TlsAcceptor::from(server.server).accept(there)
    );
    let here = TlsStream::from(here.expect("a handshake"));
    let there = TlsStream::from(there.expect("a handshake"));
    let halves = |stream| {
        let (receiver, sender) = tokio::io::split(stream);
        (Socket(sender), receiver)
    };
    Raw::new(name, halves(here), halves(there), ())
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (here, (there, _)) = (here.expect("a connection"), there.expect("a connection"));
    for socket in [&here, &there] {
        socket.set_nodelay(true).expect("a connected socket");
    }
    (here, there)
}
