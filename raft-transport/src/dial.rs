//! The dialling side: one task for each peer, as long as it is a peer.
//!
//! The lower id of a pair dials and keeps trying. The higher id cannot make the connection, but after a restart it is the
//! one that knows: it knocks, and the lower id dials at once, where the knock came from, instead of when its pause is over.
//! A peer that nobody says the address of is waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raft_core::message::Lane;
use tokio::time::{Instant, sleep, timeout};

use crate::carrier::{Carrier, Closed, Connection};
use crate::close_code::CloseCode;
use crate::connection;
use crate::handshake::{Established, HandshakeError, exchange_hello, say_hello};
use crate::identity::{node_name, peer_of};
use crate::options::TransportLimits;
use crate::peer::{Destination, Peer};
use crate::shared::{Shared, random_u64};

/// Keeps the pair connected until the peer is removed or the transport stops.
pub(crate) async fn keep_connected<C: Carrier>(shared: Arc<Shared<C>>, peer: Arc<Peer<C::Connection>>) {
    let keep = async {
        if shared.id < peer.id {
            dial_for_ever(&shared, &peer).await;
        } else {
            knock_for_ever(&shared, &peer).await;
        }
    };
    // A connection that stands sees the same token, and closes itself in its own order.
    tokio::select! {
        () = peer.stop.cancelled() => {}
        () = keep => {}
    }
}

async fn dial_for_ever<C: Carrier>(shared: &Arc<Shared<C>>, peer: &Arc<Peer<C::Connection>>) {
    let mut backoff = Backoff::new(&shared.limits);
    loop {
        // As a stranger it may have a connection already.
        peer.wait_connected(false).await;
        peer.wait_destination().await;
        // A connection that ended at once would end at once again.
        if dial_and_run(shared, peer).await >= shared.limits.dial_backoff_max {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.next()) => {}
            () = peer.redial.notified() => backoff.reset(),
        }
    }
}

/// Calls a stranger that knocked back, once; nothing is left of it when that connection ends, unless it turned out to be a
/// member meanwhile.
pub(crate) async fn call_back<C: Carrier>(shared: Arc<Shared<C>>, peer: Arc<Peer<C::Connection>>) {
    // A connection that stands sees the same token, and closes itself in its own order.
    tokio::select! {
        () = peer.stop.cancelled() => {}
        _ = dial_and_run(&shared, &peer) => {}
    }
    shared.forget_stranger(&peer);
}

/// Makes one attempt to connect, and serves the connection until it ends. Returns how long there was one.
async fn dial_and_run<C: Carrier>(shared: &Arc<Shared<C>>, peer: &Arc<Peer<C::Connection>>) -> Duration {
    match dial(shared, peer).await {
        Ok(established) => {
            let connected_at = Instant::now();
            let task = connection::run(shared.clone(), peer.clone(), established);
            // Not part of this task, which ends at once when the transport stops: closing takes its time.
            if shared.tasks.spawn(task).await.is_err() {
                tracing::error!(peer = %peer.id, "the task of a connection panicked");
            }
            connected_at.elapsed()
        }
        Err(error) => {
            report(shared, peer, &error);
            Duration::ZERO
        }
    }
}

async fn knock_for_ever<C: Carrier>(shared: &Arc<Shared<C>>, peer: &Arc<Peer<C::Connection>>) {
    loop {
        peer.wait_connected(false).await;
        let mut backoff = Backoff::new(&shared.limits);
        let knock = async {
            loop {
                // First the pause: whoever has the lower id is most likely dialling already.
                sleep(backoff.next()).await;
                peer.wait_destination().await;
                if let Err(error) = knock(shared, peer).await {
                    report(shared, peer, &error);
                }
            }
        };
        tokio::select! {
            () = peer.wait_connected(true) => {}
            () = knock => {}
        }
    }
}

/// One attempt to make the connection.
async fn dial<C: Carrier>(
    shared: &Shared<C>,
    peer: &Peer<C::Connection>,
) -> Result<Established<C::Connection>, HandshakeError> {
    let limit = shared.limits.handshake_timeout;
    let connection = loop {
        tokio::select! {
            biased;
            // This attempt may have begun before the peer could hear it, and would repeat itself too late: begin anew.
            // Once TLS is done the peer did hear it, and may use the connection already; then a knock changes nothing.
            () = peer.redial.notified() => {}
            connected = timeout(limit, connect(shared, peer)) => {
                break connected.unwrap_or(Err(HandshakeError::TooSlow(limit)))?;
            }
        }
    };
    let established = timeout(limit, exchange_hello(shared, connection.clone(), peer.id)).await;
    note_refusal(peer, &connection);
    close_after(
        &connection,
        established.unwrap_or(Err(HandshakeError::TooSlow(limit))),
    )
}

/// Remembers if the peer closed the connection because this node is none of its peers.
fn note_refusal<N: Connection>(peer: &Peer<N>, connection: &N) {
    if connection
        .close_reason()
        .is_some_and(|closed| closed.is_by_peer(CloseCode::NotAPeer))
    {
        peer.hear_refusal();
    }
}

/// One attempt to be heard.
pub(crate) async fn knock<C: Carrier>(
    shared: &Shared<C>,
    peer: &Peer<C::Connection>,
) -> Result<(), HandshakeError> {
    let attempt = async {
        let connection = connect(shared, peer).await?;
        let said = say_hello(shared, &connection, Lane::Urgent).await;
        note_refusal(peer, &connection);
        let _stream = close_after(&connection, said)?;
        let closed = connection.closed().await;
        note_refusal(peer, &connection);
        if closed.is_by_peer(CloseCode::Knock) {
            Ok(())
        } else {
            Err(closed.into())
        }
    };
    let limit = shared.limits.handshake_timeout;
    timeout(limit, attempt)
        .await
        .unwrap_or(Err(HandshakeError::TooSlow(limit)))
}

/// A connection to `peer` and to nobody else: TLS verifies the certificate for its name, and the identity rule is
/// checked on top.
async fn connect<C: Carrier>(
    shared: &Shared<C>,
    peer: &Peer<C::Connection>,
) -> Result<C::Connection, HandshakeError> {
    let connection = reach(shared, peer).await?;
    let found = close_after(
        &connection,
        peer_of(&connection, &shared.cluster).map_err(Into::into),
    )?;
    if found == peer.id {
        return Ok(connection);
    }
    let wrong = HandshakeError::WrongNode {
        wanted: peer.id,
        found,
    };
    close_after(&connection, Err(wrong))
}

/// A connection to where the peer should be.
async fn reach<C: Carrier>(
    shared: &Shared<C>,
    peer: &Peer<C::Connection>,
) -> Result<C::Connection, HandshakeError> {
    let (address, candidates) = candidates(peer).await?;
    // A host may have several addresses; each attempt takes another one.
    let choice = usize::try_from(random_u64() % 1024).unwrap_or(0) % candidates.len().max(1);
    let candidate = candidates
        .get(choice)
        .ok_or_else(|| HandshakeError::Address(format!("{address}: the name has no address")))?;
    let name = node_name(peer.id, &shared.cluster);
    Ok(shared.carrier.connect(*candidate, &name).await?)
}

/// Where to try now, as a text for people and as addresses.
async fn candidates<N: Connection>(peer: &Peer<N>) -> Result<(String, Vec<SocketAddr>), HandshakeError> {
    let address = match peer.take_destination() {
        Some(Destination::Knock(from)) => return Ok((from.to_string(), vec![from])),
        Some(Destination::Address(address)) => address,
        None => return Err(HandshakeError::Address("nobody says where it is".to_owned())),
    };
    let resolved = tokio::net::lookup_host(&address)
        .await
        .map_err(|error| HandshakeError::Address(format!("{address}: {error}")))?
        .collect();
    Ok((address, resolved))
}

/// Tells the other end why, if this end is the one that refuses.
fn close_after<T>(
    connection: &impl Connection,
    result: Result<T, HandshakeError>,
) -> Result<T, HandshakeError> {
    if let Err(error) = &result
        && let Some(code) = error.close_code()
    {
        connection.close(code);
    }
    result
}

/// A peer that is down is normal; one that is there and wrong, or that refuses us, is not.
fn report<C: Carrier>(shared: &Shared<C>, peer: &Peer<C::Connection>, error: &HandshakeError) {
    let (down, changed_its_mind) = match error {
        HandshakeError::TooSlow(_) => (true, false),
        HandshakeError::Closed(closed) => (
            matches!(closed, Closed::TimedOut | Closed::Unreachable(_)),
            closed.is_by_peer(CloseCode::Shutdown) || closed.is_by_peer(CloseCode::Replaced),
        ),
        _ => (false, false),
    };
    if down || changed_its_mind {
        tracing::debug!(peer = %peer.id, %error, "the peer cannot be reached");
    } else {
        let who = format!("node {} at {}", peer.id, peer.address());
        shared.warnings.refused(&who, error);
    }
}

/// The pause before the next attempt: doubles up to a limit, and a random half is taken off.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(limits: &TransportLimits) -> Backoff {
        Backoff {
            min: limits.dial_backoff_min,
            max: limits.dial_backoff_max,
            next: limits.dial_backoff_min,
        }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        let half_us = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX);
        pause - Duration::from_micros(random_u64() % (half_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_is_jittered() {
        let limits = TransportLimits::default();
        let mut backoff = Backoff::new(&limits);
        let mut expected = limits.dial_backoff_min;
        for _ in 0..12 {
            let pause = backoff.next();
            assert!(
                pause <= expected && pause >= expected / 2,
                "{pause:?} of {expected:?}"
            );
            expected = (expected * 2).min(limits.dial_backoff_max);
        }
        backoff.reset();
        assert!(backoff.next() <= limits.dial_backoff_min);
    }
}
