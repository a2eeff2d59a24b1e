//! Noticing that nothing arrives: on a connection, and on a lane of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_core::message::Lane;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::carrier::{Carrier, Connection};
use crate::connection::LinkError;
use crate::dial::knock;
use crate::peer::Peer;
use crate::shared::Shared;

/// What arrives on one way: a number that grows with it.
struct Way {
    heard: u64,
    heard_at: Instant,
}

impl Way {
    fn new(heard: u64) -> Way {
        let heard_at = Instant::now();
        Way { heard, heard_at }
    }

    /// For how long nothing arrived, if `heard` is the number now.
    fn silence(&mut self, heard: u64) -> Duration {
        if heard != self.heard {
            *self = Way::new(heard);
        }
        self.heard_at.elapsed()
    }
}

/// Notices when nothing arrives, on the connection or on one of its lanes.
///
/// The end that accepted the connection knocks if that is silent: if its address changed, nothing that it sends on the connection is
/// taken at the other end, which dials the new address as soon as it hears from there. Where a lane may fail alone, both ends write to
/// each at intervals, and whoever hears nothing on one closes the connection: a firewall may have forgotten the lane that nothing
/// crossed for hours, while heartbeats go on in the other one.
pub(crate) async fn watch_silence<C: Carrier>(
    shared: Arc<Shared<C>>,
    peer: Arc<Peer<C::Connection>>,
    connection: C::Connection,
    lanes: Vec<(Lane, Arc<AtomicU64>)>,
) -> Result<Infallible, LinkError> {
    let limits = &shared.limits;
    let silence_max = limits.silence_max;
    let mut ticks = interval(silence_max / 8);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut way = Way::new(connection.heard());
    let mut lane_ways = Vec::new();
    if C::Connection::STREAMS_FAIL_ALONE {
        let with_way = |(lane, heard)| (lane, heard, Way::new(0));
        lane_ways.extend(lanes.into_iter().map(with_way));
    }
    // Between two signs of life nothing is wrong yet.
    let doubtful = (limits.keep_alive_interval + silence_max) / 2;
    let mut kept_alive_at = Instant::now();
    loop {
        ticks.tick().await;
        let silence = way.silence(connection.heard());
        peer.set_silent(silence >= doubtful);
        if peer.id < shared.id && silence >= silence_max {
            if let Err(error) = knock(&shared, &peer).await {
                tracing::debug!(peer = %peer.id, %error, "a silent peer does not hear the knock");
            }
            way.heard_at = Instant::now();
        }
        for (lane, heard, way) in &mut lane_ways {
            let silence = way.silence(heard.load(Ordering::Relaxed));
            if silence >= limits.idle_timeout {
                return Err(LinkError::LaneLost(*lane, silence));
            }
        }
        if !lane_ways.is_empty() && kept_alive_at.elapsed() >= limits.keep_alive_interval {
            kept_alive_at = Instant::now();
            peer.lanes.keep_alive();
        }
    }
}
