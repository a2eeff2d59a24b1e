//! The suite itself: a sound transport passes, and each one with one defect is caught, by the name of what it breaks.

mod broken;
mod queued;

use std::panic::resume_unwind;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use tokio::runtime::Builder;

use super::cluster::{Connected, World};
use super::{TransportBounds, messages, stall};
use crate::memory::InProcessNetwork;
use crate::types::NodeId;

/// What a check panics with; `None` if it is content.
fn verdict(check: JoinHandle<()>) -> Option<String> {
    let payload = check.join().err()?;
    match payload.downcast::<String>() {
        Ok(text) => Some(*text),
        Err(payload) => match payload.downcast::<&str>() {
            Ok(text) => Some((*text).to_owned()),
            Err(payload) => resume_unwind(payload),
        },
    }
}

fn check_broken(bug: broken::Bug) -> JoinHandle<()> {
    spawn(move || {
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all().start_paused(true);
        let network = broken::Network::new(bug);
        let bounds = TransportBounds {
            queued_messages_max: 0,
            queued_bytes_max: 0,
            snapshot_stall_timeout: InProcessNetwork::SNAPSHOT_STALL_TIMEOUT,
        };
        let suite = super::transport(bounds, async |ids: &[NodeId]| {
            ids.iter().map(|&id| network.transport(id)).collect()
        });
        runtime_of(runtime).block_on(suite);
    })
}

/// The checks that a queue matters to.
fn check_queued(bug: queued::Bug) -> JoinHandle<()> {
    spawn(move || {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(2).enable_all();
        let network = queued::Network::new(bug);
        let connect = |ids: Vec<NodeId>| -> Connected<'_> {
            let transports = ids.into_iter().map(|id| network.transport(id)).collect();
            Box::pin(std::future::ready(transports))
        };
        let world = World {
            bounds: TransportBounds {
                queued_messages_max: queued::MESSAGES_MAX,
                queued_bytes_max: queued::BYTES_MAX,
                snapshot_stall_timeout: Duration::ZERO,
            },
            connect: &connect,
        };
        let checks = async {
            messages::arrive_unaltered(&world).await;
            messages::keep_the_order_of_their_lane(&world).await;
            messages::of_many_groups_arrive_whole(&world).await;
            stall::costs_a_bounded_queue(&world).await;
        };
        runtime_of(runtime).block_on(checks);
    })
}

fn runtime_of(mut builder: Builder) -> tokio::runtime::Runtime {
    builder.build().expect("a runtime")
}

/// Each check must fail, and say this.
fn assert_caught<const N: usize>(checks: [(String, &'static str, JoinHandle<()>); N]) {
    let mut wrong: Vec<String> = Vec::new();
    for (bug, said, check) in checks {
        match verdict(check) {
            Some(verdict) if verdict.contains(said) => {}
            Some(other) => wrong.push(format!("{bug} is caught for another reason: {other}")),
            None => wrong.push(format!("{bug} passes the suite")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sound_transports_pass() {
    assert_eq!(verdict(check_broken(broken::Bug::None)), None);
    assert_eq!(verdict(check_queued(queued::Bug::None)), None);
}

/// R49, R76: a suite that passes a broken transport is worse than none.
#[test]
fn every_broken_transport_is_caught() {
    use broken::Bug;
    let bugs = [
        (Bug::ReordersALane, "a lane keeps its order"),
        (Bug::DeliversTwice, "no message arrives twice"),
        (Bug::LosesTheTail, "leave together arrive whole"),
        (Bug::Alters, "a message arrives unaltered"),
        (
            Bug::TakesTheDeadForConnected,
            "a dead peer does not count as connected",
        ),
        (Bug::SwallowsSnapshotFailures, "is reported as failed"),
        (
            Bug::WaitsForEver,
            "a snapshot transfer without progress fails after the stated",
        ),
        (
            Bug::HoldsMessagesBehindSnapshots,
            "a snapshot does not hold up messages",
        ),
        (
            Bug::NeverResumes,
            "the next attempt goes on where the one that failed stopped",
        ),
        (Bug::KeepsTheWriter, "lets go of the writer"),
        (Bug::LeaksTheInbound, "nobody holds the inbound"),
        (Bug::SendsAfterShutdown, "nothing is sent after shutdown"),
        (Bug::TransfersAfterShutdown, "is refused as Closed"),
        (Bug::NeverReconnects, "sent again and again"),
    ];
    assert_caught(bugs.map(|(bug, said)| (format!("{bug:?}"), said, check_broken(bug))));
}

/// R76: the same of transports with queues.
#[test]
fn every_broken_queue_is_caught() {
    use queued::Bug;
    let bugs = [
        (
            Bug::Unbounded,
            "the queue to a peer is bounded by count and bytes",
        ),
        (
            Bug::UnboundedAndHidden,
            "messages to a stalled receiver are dropped and counted",
        ),
        (
            Bug::DropsUncounted,
            "messages to a stalled receiver are dropped and counted",
        ),
        (Bug::CountsTwice, "what is counted as dropped does not arrive"),
        (Bug::OneLane, "urgent messages overtake ordered ones"),
        (
            Bug::OneTaskForAllPeers,
            "a stalled receiver does not delay the messages of other peers",
        ),
    ];
    assert_caught(bugs.map(|(bug, said)| (format!("{bug:?}"), said, check_queued(bug))));
}
