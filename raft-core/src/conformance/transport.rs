//! What every [`Transport`] must do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::entry::Entry;
use crate::membership::{Contact, Membership};
use crate::memory::MemorySnapshotStore;
use crate::message::{AppendEntries, Body, InstallSnapshot, Message, SnapshotContent, SnapshotMeta};
use crate::traits::{Inbound, SnapshotReader, SnapshotStore, SnapshotWriter, Transport, TransportError};
use crate::types::{EntryId, GroupId, Index, NodeId, Round, Term};

/// Far more than any step takes; only a defect waits this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for a message before it counts as lost and is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(100);
const GROUP: GroupId = GroupId(1);
const OTHER_GROUP: GroupId = GroupId(2);
const BATCH: u64 = 100;

/// Checks the invariants of [`Transport`] on a small cluster.
///
/// `connect` makes transports for these nodes, in their order, that can reach each other. The last one is never
/// started: it stands for a dead peer.
///
/// # Panics
/// Names the invariant that does not hold.
pub async fn transport<Connect>(connect: Connect)
where
    Connect: AsyncFn(&[NodeId]) -> Vec<Arc<dyn Transport>>,
{
    let ids = [NodeId(1), NodeId(2), NodeId(3)];
    let transports = connect(&ids).await;
    let [one, two, _dead] = &transports[..] else {
        panic!("three transports were asked for");
    };
    let (inbound_one, inbound_two) = (Arc::<Recorder>::default(), Arc::<Recorder>::default());
    one.start(inbound_one.clone()).await.expect("start node 1");
    two.start(inbound_two.clone()).await.expect("start node 2");

    messages_arrive_unaltered(&**one, &inbound_two, NodeId(1), NodeId(2)).await;
    messages_arrive_unaltered(&**two, &inbound_one, NodeId(2), NodeId(1)).await;
    a_batch_keeps_its_order(&**one, &inbound_two).await;
    dead_peers_cost_nothing(&**one, &inbound_two).await;
    members_come_and_go(&**one, &**two, &inbound_one, &inbound_two).await;
    a_snapshot_arrives_whole(&**one, &inbound_two).await;
    an_interrupted_snapshot_is_resumed(&**one, &inbound_two).await;
    a_beginning_from_another_sender_is_no_part_of_it(&**one, &inbound_two).await;
    a_refused_snapshot_is_reported(&**one, &inbound_two).await;
    snapshots_to_dead_peers_fail(&**one).await;
    for transport in &transports {
        let done = timeout(PATIENCE, transport.shutdown()).await;
        assert!(done.is_ok(), "shutdown must return");
    }
    one.send(NodeId(2), vec![message(NodeId(1), NodeId(2), 0)]);
}

async fn messages_arrive_unaltered(sender: &dyn Transport, receiver: &Recorder, from: NodeId, to: NodeId) {
    let sent = message(from, to, 7);
    let arrived = send_until_received(sender, receiver, std::slice::from_ref(&sent)).await;
    assert!(
        arrived
            .iter()
            .all(|(name, message)| *name == from && *message == sent),
        "a message from {from} arrived altered or under another name: {arrived:?}"
    );
}

async fn a_batch_keeps_its_order(sender: &dyn Transport, receiver: &Recorder) {
    let batch: Vec<Message> = (0..BATCH)
        .map(|round| message(NodeId(1), NodeId(2), round))
        .collect();
    let arrived = send_until_received(sender, receiver, &batch).await;
    let rounds: Vec<u64> = arrived.iter().map(|(_, message)| round_of(message)).collect();
    // A slow transport may have been given the batch again; each copy is in order by itself.
    let falls = rounds.windows(2).filter(|pair| pair[1] <= pair[0]);
    assert!(
        falls.clone().all(|pair| pair[1] == 0),
        "messages of one batch arrived out of order: {rounds:?}"
    );
}

/// R76: an unknown peer and a dead one neither block the sender nor delay messages to others.
async fn dead_peers_cost_nothing(sender: &dyn Transport, receiver: &Recorder) {
    for round in 0..10_000 {
        for dead in [NodeId(3), NodeId(77)] {
            sender.send(dead, vec![message(NodeId(1), dead, round)]);
        }
    }
    send_until_received(sender, receiver, &[message(NodeId(1), NodeId(2), 1)]).await;
    let peers = sender.peers();
    assert!(
        peers.is_sorted_by_key(|peer| peer.id),
        "peers must be sorted by id"
    );
    assert!(
        peers.iter().any(|peer| peer.id == NodeId(2) && peer.connected),
        "a peer that just received a message must count as connected: {peers:?}"
    );
}

/// Members of any number of groups are peers, whatever is known of how they are reached; and who is a member of one group
/// stays reachable when another one lets it go (R70).
async fn members_come_and_go(
    one: &dyn Transport,
    two: &dyn Transport,
    inbound_one: &Recorder,
    inbound_two: &Recorder,
) {
    let members = |ids: &[u64]| {
        let ids = ids.iter().copied().map(NodeId);
        Membership::of_voters(ids).expect("ids without duplicates")
    };
    let contact = Contact::new("no transport knows this place").expect("a short text");
    let all = members(&[1, 2, 3]);
    let unreachable = members(&[1, 2, 3, 4]).with_contacts([(NodeId(4), contact)]);
    let unreachable = unreachable.expect("node 4 is a member");
    for transport in [one, two] {
        for membership in [&all, &unreachable] {
            transport.membership_changed(GROUP, membership);
            transport.membership_committed(GROUP, membership);
        }
        transport.membership_changed(OTHER_GROUP, &all);
        transport.membership_committed(OTHER_GROUP, &all);
        // Taken back, and done again.
        transport.membership_changed(OTHER_GROUP, &members(&[1]));
        transport.membership_changed(OTHER_GROUP, &all);
        transport.membership_changed(OTHER_GROUP, &members(&[3]));
        transport.membership_committed(OTHER_GROUP, &members(&[3]));
    }
    messages_arrive_unaltered(one, inbound_two, NodeId(1), NodeId(2)).await;
    messages_arrive_unaltered(two, inbound_one, NodeId(2), NodeId(1)).await;
}

async fn a_snapshot_arrives_whole(sender: &dyn Transport, receiver: &Recorder) {
    for (index, bytes) in [(10, 0), (11, 1), (12, 3_000_000)] {
        let (header, content) = snapshot(index, bytes).await;
        send_snapshot(sender, header.clone(), content)
            .await
            .expect("send a snapshot");
        assert_eq!(
            receiver.finished().last(),
            Some(&header),
            "the receiver was offered it"
        );
        assert_eq!(receiver.content(&header).await, snapshot_bytes(bytes));
    }
}

async fn an_interrupted_snapshot_is_resumed(sender: &dyn Transport, receiver: &Recorder) {
    let (header, content) = snapshot(20, 500_000).await;
    let begun = receiver
        .snapshots
        .begin(GROUP, &header.meta, Some(content.content()));
    let begun = begun.await;
    let mut writer = begun.expect("begin in memory");
    let beginning = Bytes::from(snapshot_bytes(200_000));
    writer.write_chunk(beginning).await.expect("write in memory");
    drop(writer);
    send_snapshot(sender, header.clone(), content)
        .await
        .expect("resume a snapshot");
    assert_eq!(
        receiver.content(&header).await,
        snapshot_bytes(500_000),
        "a resumed snapshot must be the whole one"
    );
}

/// R54: two replicas save the same state as different bytes. What one has begun to send, another one must not end.
async fn a_beginning_from_another_sender_is_no_part_of_it(sender: &dyn Transport, receiver: &Recorder) {
    let (header, content) = snapshot(21, 500_000).await;
    let other = vec![0xa5; 500_000];
    let begun = receiver
        .snapshots
        .begin(GROUP, &header.meta, Some(SnapshotContent::of(&other)));
    let mut writer = begun.await.expect("begin in memory");
    let beginning = Bytes::from(other).slice(..200_000);
    writer.write_chunk(beginning).await.expect("write in memory");
    drop(writer);
    send_snapshot(sender, header.clone(), content)
        .await
        .expect("send a snapshot that another sender began");
    assert_eq!(
        receiver.content(&header).await,
        snapshot_bytes(500_000),
        "the content of one sender, not of two"
    );
}

/// R49: the sender learns that the receiver refused.
async fn a_refused_snapshot_is_reported(sender: &dyn Transport, receiver: &Recorder) {
    let (header, content) = snapshot(REFUSED.0, 100).await;
    let result = send_snapshot(sender, header, content).await;
    assert!(result.is_err(), "a refused snapshot must be an error");
    assert!(
        !receiver
            .finished()
            .iter()
            .any(|header| header.meta.last.index == REFUSED)
    );
}

async fn snapshots_to_dead_peers_fail(sender: &dyn Transport) {
    for dead in [NodeId(3), NodeId(77)] {
        let (header, content) = snapshot(30, 100).await;
        let header = InstallSnapshot { to: dead, ..header };
        let result = send_snapshot(sender, header, content).await;
        assert!(
            result.is_err(),
            "a snapshot to node {dead}, which is dead, must be an error"
        );
    }
}

async fn send_snapshot(
    sender: &dyn Transport,
    header: InstallSnapshot,
    content: Box<dyn SnapshotReader>,
) -> Result<(), TransportError> {
    timeout(PATIENCE, sender.send_snapshot(header, content))
        .await
        .expect("send_snapshot must return")
}

/// Sends `batch`, again whenever nothing comes, until its last message has arrived. Returns what arrived.
async fn send_until_received(
    sender: &dyn Transport,
    receiver: &Recorder,
    batch: &[Message],
) -> Vec<(NodeId, Message)> {
    let last = batch.last().expect("the batch is not empty");
    receiver.take_received();
    let mut arrived = Vec::new();
    let work = async {
        loop {
            sender.send(last.to, batch.to_vec());
            while timeout(RESEND_AFTER, receiver.changed.notified()).await.is_ok() {
                arrived.extend(receiver.take_received());
                if arrived.last().is_some_and(|(_, message)| message == last) {
                    return;
                }
            }
        }
    };
    let done = timeout(PATIENCE, work).await;
    assert!(done.is_ok(), "messages sent again and again never arrived");
    arrived
}

/// The snapshot that the recorder refuses.
const REFUSED: Index = Index(666);

/// Remembers what arrives.
#[derive(Default)]
struct Recorder {
    received: Mutex<Vec<(NodeId, Message)>>,
    finished: Mutex<Vec<InstallSnapshot>>,
    snapshots: MemorySnapshotStore,
    changed: Notify,
}

impl Recorder {
    fn take_received(&self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn finished(&self) -> Vec<InstallSnapshot> {
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn content(&self, header: &InstallSnapshot) -> Vec<u8> {
        let opened = self.snapshots.open(GROUP, header.meta.last).await;
        let mut reader = opened.expect("a snapshot that was finished can be opened");
        let chunk = reader.read_chunk(usize::MAX).await;
        chunk.expect("memory can be read").to_vec()
    }
}

#[async_trait]
impl Inbound for Recorder {
    fn receive(&self, from: NodeId, messages: Vec<Message>) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.extend(messages.into_iter().map(|message| (from, message)));
        drop(received);
        self.changed.notify_one();
    }

    async fn begin_snapshot(
        &self,
        header: &InstallSnapshot,
        content: SnapshotContent,
    ) -> Result<Box<dyn SnapshotWriter>, TransportError> {
        if header.meta.last.index == REFUSED {
            return Err(TransportError::Refused {
                to: header.to,
                reason: "this snapshot is not wanted".into(),
            });
        }
        let begun = self.snapshots.begin(header.group, &header.meta, Some(content));
        begun.await.map_err(|error| TransportError::Io(error.into()))
    }

    async fn finish_snapshot(
        &self,
        header: InstallSnapshot,
        content: Box<dyn SnapshotWriter>,
    ) -> Result<(), TransportError> {
        content
            .finish()
            .await
            .map_err(|error| TransportError::Io(error.into()))?;
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(header);
        Ok(())
    }
}

fn message(from: NodeId, to: NodeId, round: u64) -> Message {
    Message {
        group: GROUP,
        from,
        to,
        term: Term(3),
        body: Body::AppendEntries(AppendEntries {
            prev: EntryId::new(Term(2), Index(9)),
            prev_acknowledged: false,
            entries: vec![Entry::command(
                Term(3),
                Index(10),
                Bytes::from(vec![round as u8; 256]),
            )],
            leader_commit: Index(8),
            round: Round(round),
        }),
    }
}

fn round_of(message: &Message) -> u64 {
    match &message.body {
        Body::AppendEntries(append) => append.round.0,
        other => panic!("a message was altered: {other:?}"),
    }
}

fn snapshot_bytes(bytes: usize) -> Vec<u8> {
    let byte = |position: usize| (position.wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..bytes).map(byte).collect()
}

async fn snapshot(index: u64, bytes: usize) -> (InstallSnapshot, Box<dyn SnapshotReader>) {
    let meta = SnapshotMeta {
        last: EntryId::new(Term(2), Index(index)),
        membership: Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)])
            .expect("the suite names valid voters"),
    };
    let store = MemorySnapshotStore::new();
    let mut writer = store.begin(GROUP, &meta, None).await.expect("begin in memory");
    let content = Bytes::from(snapshot_bytes(bytes));
    writer.write_chunk(content).await.expect("write in memory");
    writer.finish().await.expect("finish in memory");
    let header = InstallSnapshot {
        group: GROUP,
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        meta: meta.clone(),
    };
    let reader = store.open(GROUP, meta.last).await.expect("open in memory");
    (header, reader)
}
