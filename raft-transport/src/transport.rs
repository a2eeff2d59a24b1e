//! [`PeerTransport`]: the transport as its user sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, Message};
use raft_core::traits::{Inbound, PeerStatus, SnapshotReader, Transport, TransportError};
use raft_core::types::{GroupId, NodeId};
use tokio::time::sleep_until;

use crate::accept::accept_connections;
use crate::carrier::{Carrier, Connection};
use crate::close_code::CloseCode;
use crate::credentials::Credentials;
use crate::dial::keep_connected;
use crate::error::SetupError;
use crate::options::{TransportOptions, check_peers};
use crate::peer::Peer;
use crate::roster::Roster;
use crate::shared::Shared;
use crate::snapshot_send::send_snapshot;

/// Messages and snapshots over a carrier. See the crate's documentation for the life of a connection and the limits.
///
/// Dropping it closes everything, too, but does not wait.
pub struct PeerTransport<C: Carrier> {
    shared: Arc<Shared<C>>,
    options: TransportOptions,
}

impl<C: Carrier> PeerTransport<C> {
    /// Reads the certificate, the key and the authority, checks that peers would accept them, and has the
    /// carrier listen. Nothing is sent or accepted before [`start`](Transport::start). Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`SetupError`] names the option, file or address, and the remedy.
    pub fn bind(options: TransportOptions, limits: C::Limits) -> Result<PeerTransport<C>, SetupError> {
        options.validate()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(SetupError::NoRuntime);
        }
        let credentials = Credentials::load(&options)?;
        let carrier = C::open(&options, limits, &credentials)?;
        let shared = Arc::new(Shared::new(&options, carrier, credentials));
        Ok(PeerTransport { shared, options })
    }

    /// The address it listens on; with port 0 in the options, the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.carrier.local_addr()
    }

    /// The peers that said last that this node is none of theirs, sorted: they count without it, or have no room for a stranger.
    #[must_use]
    pub fn refused_by(&self) -> Vec<NodeId> {
        let peers = self.shared.peers().into_iter();
        peers.filter(|peer| peer.refuses()).map(|peer| peer.id).collect()
    }

    /// Changes the addresses of the [options](TransportOptions::peers). A connection that stands is kept when only its address
    /// changed. As long as no replica has told the members of its group, these are the peers: one that is no longer in
    /// `peers` is disconnected at once and refused from now on, a new one is connected.
    ///
    /// # Errors
    /// [`SetupError::Option`] if an address is not `host:port` or an id is 0; nothing is changed then.
    pub fn set_peers(&self, peers: &BTreeMap<NodeId, String>) -> Result<(), SetupError> {
        check_peers(peers)?;
        self.update_peers(|roster| roster.give(peers));
        Ok(())
    }

    /// Reads the three files again. New connections use what they hold now. A connection that stands is kept, unless who is
    /// at its other end would no longer be let in: because the authority that signed its certificate is gone, or because
    /// the certificate expired. That one is closed, and is made anew if the peer has a better certificate by now.
    ///
    /// # Errors
    /// As [`bind`](PeerTransport::bind); the former certificate stays in use then.
    pub fn reload_credentials(&self) -> Result<(), SetupError> {
        let credentials = Credentials::load(&self.options)?;
        self.shared.carrier.renew(&credentials)?;
        // Before looking at the connections: one that is installed meanwhile looks at the credentials afterwards.
        self.shared.set_credentials(credentials);
        for peer in self.shared.peers() {
            let Some(connection) = peer.connection() else {
                continue;
            };
            if let Err(reason) = self.shared.accepts(&connection) {
                tracing::warn!(peer = %peer.id, %reason, "the certificate of a connected peer is no longer accepted");
                connection.close(CloseCode::Identity);
            }
        }
        Ok(())
    }

    fn update_peers(&self, change: impl FnOnce(&mut Roster)) {
        let added = self.shared.update_peers(change);
        if self.shared.inbound.get().is_some() {
            self.connect(added);
        }
    }

    fn connect(&self, peers: Vec<Arc<Peer<C::Connection>>>) {
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

/// What the program around a node asks of its transport, whatever carries it.
pub trait OperatedTransport: Transport {
    /// See [`PeerTransport::local_addr`].
    fn local_addr(&self) -> SocketAddr;

    /// See [`PeerTransport::refused_by`].
    fn refused_by(&self) -> Vec<NodeId>;

    /// See [`PeerTransport::reload_credentials`].
    ///
    /// # Errors
    /// [`SetupError`] names the file and the remedy.
    fn reload_credentials(&self) -> Result<(), SetupError>;
}

impl<C: Carrier> OperatedTransport for PeerTransport<C> {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr()
    }

    fn refused_by(&self) -> Vec<NodeId> {
        self.refused_by()
    }

    fn reload_credentials(&self) -> Result<(), SetupError> {
        self.reload_credentials()
    }
}

#[async_trait]
impl<C: Carrier> Transport for PeerTransport<C> {
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
            Some(peer) => peer.lanes.push(messages),
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

    fn group_left(&self, group: GroupId) {
        self.update_peers(|roster| roster.left(group));
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
            // What a shutdown cut off meanwhile looks as if the peer were gone.
            sent = sent => sent.map_err(|error| match self.shared.stop.is_cancelled() {
                true => TransportError::Closed,
                false => error,
            }),
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peers().iter().map(|peer| peer.status()).collect()
    }

    async fn shutdown(&self) {
        self.stop();
        self.shared.tasks.wait().await;
        self.shared.carrier.close(CloseCode::Shutdown);
        self.shared.carrier.ended().await;
    }
}

impl<C: Carrier> Drop for PeerTransport<C> {
    fn drop(&mut self) {
        self.stop();
        self.shared.carrier.close(CloseCode::Shutdown);
    }
}

impl<C: Carrier> std::fmt::Debug for PeerTransport<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTransport")
            .field("id", &self.shared.id)
            .field("cluster", &self.shared.cluster)
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}
