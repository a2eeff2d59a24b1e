//! The end of a transport, and its return.

use tokio::time::timeout;

use super::cluster::{Cluster, LIVE, PATIENCE, World};
use super::recorder::Fate;
use super::snapshots::{header, reader, send_snapshot};
use super::traffic::message;
use crate::message::Lane;
use crate::traits::TransportError;
use crate::types::NodeId;

/// A transfer under way ends with `shutdown`, nothing is sent or delivered afterwards, and whoever asks for it is told why.
pub(super) async fn stops_everything(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    let under_way = header(1, 2, 70);
    let index = under_way.meta.last.index;
    let receiver = cluster.inbound(2).clone();
    receiver.set_fate(index, Some(Fate::StalledAt(1_000)));
    let content = reader(&under_way, 100_000).await;
    let sender = cluster.transport(1).clone();
    let transfer = tokio::spawn(async move { sender.send_snapshot(under_way, content).await });
    let stored = || receiver.stored(index) == 1_000;
    receiver.wait_until("a snapshot begins to arrive", stored).await;

    let stopped = cluster.transport(1).clone();
    let done = timeout(PATIENCE, stopped.shutdown()).await;
    assert!(done.is_ok(), "shutdown returns while a snapshot is under way");
    let ended = timeout(PATIENCE, transfer).await;
    let ended = ended.expect("a transfer ends with the shutdown of its sender");
    let ended = ended.expect("send_snapshot does not panic");
    assert!(
        matches!(ended, Err(TransportError::Closed)),
        "a transfer that ends with the shutdown of its sender is reported as Closed: {ended:?}"
    );
    let header = header(1, 2, 71);
    let after = send_snapshot(&cluster, &header, reader(&header, 100).await).await;
    assert!(
        matches!(after, Err(TransportError::Closed)),
        "send_snapshot after shutdown is refused as Closed: {after:?}"
    );

    let before = (receiver.received().len(), cluster.inbound(1).received().len());
    for _ in 0..100 {
        let (one, two) = (NodeId(1), NodeId(2));
        let sent = message(one, two, Lane::Urgent, cluster.next_number());
        stopped.send(two, vec![sent]);
        cluster.send(2, 1, Lane::Urgent);
    }
    cluster.exchange_in_both_lanes(3, 2).await;
    let received = receiver.received();
    assert!(
        received[before.0..].iter().all(|(from, _)| *from == NodeId(3)),
        "nothing is sent after shutdown"
    );
    assert_eq!(
        cluster.inbound(1).received().len(),
        before.1,
        "nothing is delivered after shutdown"
    );
    let done = timeout(PATIENCE, stopped.shutdown()).await;
    assert!(done.is_ok(), "shutdown returns again");
    drop((stopped, receiver));
    cluster.end().await;
}

/// Each node stops and returns at its place while the others run, and messages flow again without a restart of theirs.
pub(super) async fn leaves_room_for_a_restart(world: &World<'_>) {
    let mut cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for id in LIVE {
        cluster.stop(id).await;
        cluster.reopen(id).await;
        cluster.exchange_all().await;
    }
    cluster.end().await;
}
