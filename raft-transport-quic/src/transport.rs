//! [`QuicTransport`]: the transport as its user sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, Message};
use raft_core::traits::{Inbound, PeerStatus, SnapshotReader, Transport, TransportError};
use raft_core::types::{GroupId, NodeId};
use tokio::time::sleep_until;

use crate::accept::accept_connections;
use crate::close_code::CloseCode;
use crate::credentials::Credentials;
use crate::dial::keep_connected;
use crate::error::QuicError;
use crate::options::{QuicOptions, check_peers};
use crate::peer::Peer;
use crate::roster::Roster;
use crate::shared::Shared;
use crate::snapshot_send::send_snapshot;
use crate::socket::{QuicTasks, client_config, open_endpoint, server_config};

/// How long `shutdown` waits until the peers have heard of it. They notice without, only later.
const GOODBYE_MAX: Duration = Duration::from_millis(100);

/// Messages and snapshots over QUIC. See the crate's documentation for the life of a connection and the limits.
///
/// Dropping it closes everything, too, but does not wait.
pub struct QuicTransport {
    shared: Arc<Shared>,
    /// The tasks of QUIC itself, which hold the socket.
    quic_tasks: QuicTasks,
    options: QuicOptions,
    local_addr: SocketAddr,
}

impl QuicTransport {
    /// Reads the certificate, the key and the authority, checks that peers would accept them, and opens the socket. Nothing
    /// is sent or accepted before [`start`](Transport::start). Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`QuicError`] names the option, file or address, and the remedy.
    pub fn bind(options: QuicOptions) -> Result<QuicTransport, QuicError> {
        options.validate()?;
        let credentials = Credentials::load(&options)?;
        let quic_tasks = QuicTasks::default();
        let server = server_config(&credentials, &options.limits);
        let endpoint = open_endpoint(&options, server, &quic_tasks)?;
        let local_addr = endpoint.local_addr().map_err(|source| QuicError::Listen {
            address: options.listen,
            source,
        })?;
        let client = client_config(&credentials, &options.limits);
        let shared = Arc::new(Shared::new(&options, endpoint, client));
        Ok(QuicTransport {
            shared,
            quic_tasks,
            options,
            local_addr,
        })
    }

    /// The address it listens on; with port 0 in the options, the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The peers that said last that this node is none of theirs, sorted: they count without it, or have no room for a stranger.
    #[must_use]
    pub fn refused_by(&self) -> Vec<NodeId> {
        let peers = self.shared.peers().into_iter();
        peers.filter(|peer| peer.refuses()).map(|peer| peer.id).collect()
    }

    /// Changes the addresses of the [options](QuicOptions::peers). A connection that stands is kept when only its address
    /// changed. As long as no replica has told the members of its group, these are the peers: one that is no longer in
    /// `peers` is disconnected at once and refused from now on, a new one is connected.
    ///
    /// # Errors
    /// [`QuicError::Option`] if an address is not `host:port` or an id is 0; nothing is changed then.
    pub fn set_peers(&self, peers: &BTreeMap<NodeId, String>) -> Result<(), QuicError> {
        check_peers(peers)?;
        self.update_peers(|roster| roster.give(peers));
        Ok(())
    }

    /// Reads the three files again. New connections use what they hold now; connections that stand are kept.
    ///
    /// # Errors
    /// As [`bind`](QuicTransport::bind); the former certificate stays in use then.
    pub fn reload_credentials(&self) -> Result<(), QuicError> {
        let credentials = Credentials::load(&self.options)?;
        let limits = &self.options.limits;
        if let Some(endpoint) = self.shared.endpoint() {
            endpoint.set_server_config(Some(server_config(&credentials, limits)));
        }
        self.shared.set_client_config(client_config(&credentials, limits));
        Ok(())
    }

    fn update_peers(&self, change: impl FnOnce(&mut Roster)) {
        let added = self.shared.update_peers(change);
        if self.shared.inbound.get().is_some() {
            self.connect(added);
        }
    }

    fn connect(&self, peers: Vec<Arc<Peer>>) {
        for peer in peers {
            let task = keep_connected(self.shared.clone(), peer);
            self.shared.tasks.spawn(task);
        }
    }

    fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
    }
}

#[async_trait]
impl Transport for QuicTransport {
    async fn start(&self, inbound: Arc<dyn Inbound>) -> Result<(), TransportError> {
        if self.shared.stop.is_cancelled() {
            return Err(TransportError::Closed);
        }
        if self.shared.inbound.set(inbound).is_err() {
            return Err(TransportError::Io("the transport was started before".into()));
        }
        self.shared.tasks.spawn(accept_connections(self.shared.clone()));
        self.connect(self.shared.peers());
        Ok(())
    }

    fn send(&self, to: NodeId, messages: Vec<Message>) {
        match self.shared.peer(to) {
            Some(peer) => peer.queue.push(messages),
            None => tracing::debug!(peer = %to, count = messages.len(), "messages for nobody"),
        }
    }

    fn membership_changed(&self, group: GroupId, membership: &Membership) {
        self.update_peers(|roster| roster.changed(group, membership));
    }

    fn membership_committed(&self, group: GroupId, membership: &Membership) {
        let mut cut_at = None;
        self.update_peers(|roster| cut_at = roster.committed(group, membership, Instant::now()));
        let Some(cut_at) = cut_at else { return };
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = sleep_until(cut_at.into()) => drop(shared.update_peers(|_| {})),
            }
        });
    }

    async fn send_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotReader>,
    ) -> Result<(), TransportError> {
        if self.shared.stop.is_cancelled() {
            return Err(TransportError::Closed);
        }
        let to = header.to;
        let peer = self.shared.peer(to).ok_or(TransportError::UnknownPeer(to))?;
        let connection = peer.connection().ok_or_else(|| TransportError::Unreachable {
            to,
            cause: "there is no connection".into(),
        })?;
        let sent = send_snapshot(connection, header, content, &self.shared.limits);
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Err(TransportError::Closed),
            sent = sent => sent,
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peers().iter().map(|peer| peer.status()).collect()
    }

    async fn shutdown(&self) {
        self.stop();
        self.shared.tasks.wait().await;
        if let Some(endpoint) = self.shared.take_endpoint() {
            endpoint.close(CloseCode::Shutdown.code(), CloseCode::Shutdown.reason());
        }
        // Lost goodbyes are no harm: the peers' idle time-out does the same.
        self.quic_tasks.end(GOODBYE_MAX).await;
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.stop();
        if let Some(endpoint) = self.shared.take_endpoint() {
            endpoint.close(CloseCode::Shutdown.code(), CloseCode::Shutdown.reason());
        }
    }
}

impl std::fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicTransport")
            .field("id", &self.shared.id)
            .field("cluster", &self.shared.cluster)
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}
