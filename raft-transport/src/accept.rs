//! The accepting side: strangers are kept few, short and cheap until they have proved who they are.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};

use crate::budget::Budgets;
use crate::carrier::{Carrier, Closed, Connection, Incoming};
use crate::close_code::CloseCode;
use crate::connection;
use crate::dial::call_back;
use crate::handshake::{Established, HandshakeError, exchange_hello, hear_hello};
use crate::identity::peer_of;
use crate::options::TransportLimits;
use crate::peer::Peer;
use crate::shared::Shared;

/// Accepts connections until the transport stops.
pub(crate) async fn accept_connections<C: Carrier>(shared: Arc<Shared<C>>) {
    let mut handshakes = Handshakes::new(&shared.limits);
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            Some(_) = handshakes.running.join_next() => {}
            incoming = shared.carrier.accept() => match incoming {
                Some(incoming) => handshakes.admit(&shared, incoming),
                None => break,
            },
        }
    }
    handshakes.running.shutdown().await;
}

/// The connections that have not proved who they are.
///
/// Invariant: at most `handshakes_max` of them, and at most `handshakes_per_address_max` of one address. Beyond, the
/// oldest is given up, not the newcomer: an honest handshake takes milliseconds, so the oldest is the one that stalls.
struct Handshakes {
    running: JoinSet<()>,
    oldest_first: VecDeque<(IpAddr, AbortHandle)>,
    budgets: Budgets,
}

impl Handshakes {
    fn new(limits: &TransportLimits) -> Handshakes {
        Handshakes {
            running: JoinSet::new(),
            oldest_first: VecDeque::new(),
            budgets: Budgets::new(
                limits.handshakes_per_address_per_second,
                limits.handshakes_per_address_max,
            ),
        }
    }

    fn admit<C: Carrier>(&mut self, shared: &Arc<Shared<C>>, incoming: C::Incoming) {
        let limits = &shared.limits;
        self.oldest_first.retain(|(_, handle)| !handle.is_finished());
        let crowded = self.oldest_first.len() >= limits.retry_handshakes_min;
        let incoming = if crowded {
            incoming.prove_address()
        } else {
            Some(incoming)
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address().ip();
        if !self.budgets.pay(address, Instant::now()) {
            shared
                .warnings
                .refused(&incoming.remote_address(), &"too many handshakes in a second");
            return incoming.refuse();
        }
        self.make_room(address, limits);
        let shared = shared.clone();
        let handle = self.running.spawn(admit_one(shared, incoming));
        self.oldest_first.push_back((address, handle));
    }

    fn make_room(&mut self, address: IpAddr, limits: &TransportLimits) {
        let from_address = self.oldest_first.iter().filter(|(from, _)| *from == address);
        let victim = if from_address.count() >= limits.handshakes_per_address_max {
            self.oldest_first.iter().position(|(from, _)| *from == address)
        } else if self.oldest_first.len() >= limits.handshakes_max {
            Some(0)
        } else {
            None
        };
        if let Some((_, handle)) = victim.and_then(|at| self.oldest_first.remove(at)) {
            handle.abort();
        }
    }
}

/// Takes one connection from its first packet to a proven peer, or closes it.
async fn admit_one<C: Carrier>(shared: Arc<Shared<C>>, incoming: C::Incoming) {
    let address = incoming.remote_address();
    let timeout = shared.limits.handshake_timeout;
    let proved = tokio::time::timeout(timeout, prove(&shared, incoming)).await;
    match proved.unwrap_or(Err(HandshakeError::TooSlow(timeout))) {
        Ok(Proved::Peer(peer, established)) => {
            let tasks = shared.tasks.clone();
            tasks.spawn(async move {
                connection::run(shared.clone(), peer.clone(), *established).await;
                shared.forget_stranger(&peer);
            });
        }
        Ok(Proved::Knock | Proved::Stream) => {}
        Ok(Proved::StrangersKnock(peer)) => {
            let tasks = shared.tasks.clone();
            tasks.spawn(call_back(shared, peer));
        }
        // The other end changed its mind; it has the reason.
        Err(HandshakeError::Closed(Closed::ByPeer { .. })) => {}
        Err(error) => shared.warnings.refused(&address, &error),
    }
}

enum Proved<N: Connection> {
    Peer(Arc<Peer<N>>, Box<Established<N>>),
    Knock,
    /// Nobody keeps it connected, so it has to be called back.
    StrangersKnock(Arc<Peer<N>>),
    /// One more stream of a connection that stands.
    Stream,
}

async fn prove<C: Carrier>(
    shared: &Arc<Shared<C>>,
    incoming: C::Incoming,
) -> Result<Proved<C::Connection>, HandshakeError> {
    let Some(connection) = incoming.handshake().await? else {
        return Ok(Proved::Stream);
    };
    let proved = prove_connection(shared, connection.clone()).await;
    if let Err(error) = &proved
        && let Some(code) = error.close_code()
    {
        connection.close(code);
    }
    proved
}

async fn prove_connection<C: Carrier>(
    shared: &Arc<Shared<C>>,
    connection: C::Connection,
) -> Result<Proved<C::Connection>, HandshakeError> {
    let id = peer_of(&connection, &shared.cluster)?;
    if !shared.is_welcome(id) {
        return Err(HandshakeError::NotAPeer(id));
    }
    // Admitted only after its hello: a stranger whose hello is wrong leaves nothing behind.
    let admit = || shared.admit(id).ok_or(HandshakeError::NotAPeer(id));
    if id < shared.id {
        let established = exchange_hello(shared, connection, id).await?;
        let (peer, _) = admit()?;
        return Ok(Proved::Peer(peer, Box::new(established)));
    }
    let heard = hear_hello(shared, &connection, id).await?;
    let (peer, is_new) = admit()?;
    let mut from = connection.remote_address();
    if !C::DIALS_FROM_WHERE_IT_LISTENS {
        from.set_port(heard.port);
    }
    peer.hear_knock(heard.incarnation, from);
    connection.close(CloseCode::Knock);
    Ok(if is_new {
        Proved::StrangersKnock(peer)
    } else {
        Proved::Knock
    })
}
