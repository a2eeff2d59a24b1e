//! Sockets that others dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use raft_transport::carrier::{Closed, Incoming};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::carrier::{Net, lost};
use crate::connection::{TcpConnection, certificates};
use crate::preamble::{PREAMBLE_BYTES, Preamble, Purpose};

/// A socket that somebody dialled, who has proved nothing but where it is.
#[derive(Debug)]
pub struct Newcomer {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) net: Arc<Net>,
}

impl Incoming for Newcomer {
    type Connection = TcpConnection;

    fn remote_address(&self) -> SocketAddr {
        self.address
    }

    fn prove_address(self) -> Option<Newcomer> {
        // It answered our first packet, so it has.
        Some(self)
    }

    fn refuse(self) {
        // The socket closes.
    }

    async fn handshake(self) -> Result<Option<TcpConnection>, Closed> {
        let Newcomer { stream, address, net } = self;
        net.prepare(&stream).map_err(lost)?;
        let accepted = TlsAcceptor::from(net.server()).accept(stream).await;
        let mut socket = TlsStream::Server(accepted.map_err(lost)?);
        let mut bytes = [0; PREAMBLE_BYTES];
        socket.read_exact(&mut bytes).await.map_err(lost)?;
        let Some(Preamble { connection, purpose }) = Preamble::decode(&bytes) else {
            return Err(Closed::Lost("its first bytes are no preamble".to_owned()));
        };
        if purpose == Purpose::Control {
            let connection = TcpConnection::new(&net, connection, socket, address, None);
            net.remember(&connection)?;
            return Ok(Some(connection));
        }
        // All sockets are dialled at once, so the first may be the last to come. Whoever admits newcomers limits the time.
        let inner = net.wait_for(connection).await;
        if inner.node.is_none() || inner.node != net.node_of(&certificates(&socket)) {
            return Err(Closed::Lost(
                "its certificate is not that of its connection".to_owned(),
            ));
        }
        inner.attach(purpose, socket)?;
        Ok(None)
    }
}
