//! Snapshots that do not arrive: the sender learns of it, the receiver lets go, and the next attempt goes on.

use std::cell::Cell;

use tokio::time::timeout;

use super::cluster::{Cluster, DEAD, UNKNOWN, World};
use super::recorder::Fate;
use super::snapshots::{
    BadReader, ReaderFate, SNAPSHOT_BYTES_MAX, header, reader, send_snapshot, snapshot_bytes,
};
use crate::message::InstallSnapshot;
use crate::traits::TransportError;

/// Where a receiver stops.
const MIDDLE: u64 = 1_500_000;

/// R49: the sender learns that the receiver refused or failed, at whatever point, and that nobody is there.
pub(super) async fn are_reported(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for (index, fate, resumed_at) in [
        (30, Fate::RefusedAtBegin, 0),
        (31, Fate::RefusedAt(MIDDLE), MIDDLE),
        (32, Fate::RefusedAtFinish, SNAPSHOT_BYTES_MAX as u64),
    ] {
        let header = header(1, 2, index);
        let receiver = cluster.inbound(2);
        receiver.set_fate(header.meta.last.index, Some(fate));
        let result = send_snapshot(&cluster, &header, reader(&header, SNAPSHOT_BYTES_MAX).await).await;
        assert!(
            result.is_err(),
            "a snapshot that was {fate:?} is reported as failed"
        );
        assert!(!receiver.finished().contains(&header), "{fate:?}: it is stored");
        goes_on(&cluster, &header, resumed_at).await;
    }
    cluster.exchange_all().await;
    for dead in [DEAD, UNKNOWN] {
        let header = header(1, dead, 33);
        let result = send_snapshot(&cluster, &header, reader(&header, 100).await).await;
        assert!(result.is_err(), "a snapshot to the dead node {dead} is an error");
    }
    cluster.end().await;
}

/// After a failure the receiver has let go of the writer, and the next attempt begins at `resumed_at` and succeeds.
async fn goes_on(cluster: &Cluster<'_, '_>, header: &InstallSnapshot, resumed_at: u64) {
    let (receiver, index) = (cluster.inbound(header.to.0), header.meta.last.index);
    let lets_go = "the receiver lets go of the writer of a snapshot that failed";
    receiver
        .wait_until(lets_go, || receiver.open_writers() == 0)
        .await;
    receiver.set_fate(index, None);
    let sent = send_snapshot(cluster, header, reader(header, SNAPSHOT_BYTES_MAX).await).await;
    sent.expect("a snapshot that failed before can be sent again");
    assert_eq!(
        receiver.begun_at(index),
        Some(resumed_at),
        "the next attempt goes on where the one that failed stopped"
    );
    assert!(
        receiver.content(header).await == snapshot_bytes(SNAPSHOT_BYTES_MAX),
        "a snapshot that failed before arrives whole"
    );
}

/// R49: a receiver that does not go on is an error within the time-out, wherever it stops, and meanwhile both lanes are free.
pub(super) async fn of_a_stalled_receiver_hold_up_no_message(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for (index, fate) in [
        (40, Fate::StalledAtBegin),
        (41, Fate::StalledAt(MIDDLE)),
        (42, Fate::StalledAtFinish),
    ] {
        let header = header(1, 2, index);
        cluster.inbound(2).set_fate(header.meta.last.index, Some(fate));
        let has_failed = Cell::new(false);
        let transfer = async {
            fails_in_time(&cluster, &header, fate).await;
            has_failed.set(true);
        };
        let messages = async {
            for _ in 0..5 {
                cluster.exchange_in_both_lanes(1, 2).await;
                cluster.exchange_in_both_lanes(2, 1).await;
            }
            assert!(
                !has_failed.get(),
                "a snapshot does not hold up messages: it was {fate:?}, and they came only after it had failed"
            );
        };
        tokio::join!(transfer, messages);
        if let Fate::StalledAt(resumed_at) = fate {
            goes_on(&cluster, &header, resumed_at).await;
        }
    }
    cluster.end().await;
}

/// Sends a snapshot whose receiver does not go on.
async fn fails_in_time(cluster: &Cluster<'_, '_>, header: &InstallSnapshot, why: impl std::fmt::Debug) {
    let content = reader(header, SNAPSHOT_BYTES_MAX).await;
    let sender = cluster.transport(header.from.0);
    let sent = timeout(
        cluster.stall_limit(),
        sender.send_snapshot(header.clone(), content),
    );
    match sent.await {
        Ok(result) => assert!(
            result.is_err(),
            "{why:?}: a snapshot that stalled is reported as failed"
        ),
        Err(_) => panic!(
            "{why:?}: a snapshot transfer without progress fails after the stated {:?}",
            cluster.bounds().snapshot_stall_timeout
        ),
    }
}

/// R49: the receiver is shut down in the middle. Opened again, it gets the rest.
pub(super) async fn of_a_receiver_that_stops_are_reported(world: &World<'_>) {
    let mut cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    let header = header(1, 2, 50);
    let index = header.meta.last.index;
    let receiver = cluster.inbound(2).clone();
    receiver.set_fate(index, Some(Fate::StalledAt(MIDDLE)));
    let content = reader(&header, SNAPSHOT_BYTES_MAX).await;
    let (sender, sent_header) = (cluster.transport(1).clone(), header.clone());
    let transfer = tokio::spawn(async move { sender.send_snapshot(sent_header, content).await });
    let stored = || receiver.stored(index) == MIDDLE;
    receiver.wait_until("a snapshot begins to arrive", stored).await;
    drop(receiver);

    cluster.stop(2).await;
    let ended = timeout(cluster.stall_limit(), transfer).await;
    let result = ended.expect("a snapshot whose receiver stopped ends within the time-out");
    let result = result.expect("send_snapshot does not panic");
    assert!(
        result.is_err(),
        "a snapshot whose receiver stopped in the middle is reported as failed"
    );
    cluster.reopen(2).await;
    cluster.exchange_all().await;
    goes_on(&cluster, &header, MIDDLE).await;
    cluster.end().await;
}

/// R49, R50: the sender fails in the middle, or gives up by dropping the future.
pub(super) async fn of_the_sender_free_the_receiver(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    cluster.exchange_all().await;
    for (index, then) in [(60, ReaderFate::Fails), (61, ReaderFate::Stalls)] {
        let header = header(1, 2, index);
        let index = header.meta.last.index;
        let receiver = cluster.inbound(2);
        let content = Box::new(BadReader {
            reader: reader(&header, SNAPSHOT_BYTES_MAX).await,
            good_bytes: MIDDLE as usize,
            then,
        });
        if then == ReaderFate::Fails {
            let result = send_snapshot(&cluster, &header, content).await;
            let io = matches!(result, Err(TransportError::Io(_)));
            assert!(io, "a snapshot that cannot be read is reported as Io: {result:?}");
        } else {
            let begins = "a snapshot begins to arrive";
            let has_begun = || receiver.stored(index) > 0;
            tokio::select! {
                result = send_snapshot(&cluster, &header, content) => panic!("it has no end yet: {result:?}"),
                () = receiver.wait_until(begins, has_begun) => {}
            }
        }
        let lets_go = "the receiver lets go of the writer of a snapshot that its sender gave up";
        receiver
            .wait_until(lets_go, || receiver.open_writers() == 0)
            .await;
        goes_on(&cluster, &header, receiver.stored(index)).await;
    }
    cluster.end().await;
}
