//! Peers with a true certificate that lie, stall and flood.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::message::{InstallSnapshot, SnapshotContent, SnapshotMeta};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};
use raft_core::wire::{FRAME_HEADER_BYTES, FrameKind, VERSION, encode_frame, encode_install_snapshot};
use raft_transport::{TransportLimits, TransportOptions};

use crate::carrier::Silent;
use crate::intruder::{FORMAT, Intruder, close_code, ended, hello, messages_frame};
use crate::support::{Authority, CLUSTER, Certificates, Log, TestNode, message, wait_until};

const FORGED: u32 = 5;
const PROTOCOL: u32 = 6;
const TOO_SLOW: u32 = 7;

struct Scene {
    certificates: Certificates,
    target: TestNode,
    intruder: Intruder,
    _silent: Silent,
}

/// Node 2 with `limits`, and an intruder with the certificate of its peer, node 1.
async fn scene(limits: TransportLimits) -> Scene {
    let certificates = Certificates::new();
    let silent = Silent::new();
    let target = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([
            (NodeId(1), silent.address().to_string()),
            (NodeId(3), silent.address().to_string()),
        ]),
        limits,
        ..certificates.options(2)
    });
    target.start().await;
    let intruder = Intruder::new(&certificates, certificates.authority.issue_node(1));
    Scene {
        certificates,
        target,
        intruder,
        _silent: silent,
    }
}

impl Scene {
    async fn attack(&self, after_hello: &[u8]) -> Option<u32> {
        let address = self.target.address();
        let closed = self.intruder.attack_after_hello(address, 2, 1, after_hello).await;
        close_code(&closed)
    }
}

/// A speaks as B: the connection is closed, and nothing of the frame is delivered, not even what was true in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_sender_or_receiver_ends_the_connection() {
    let scene = scene(TransportLimits::default()).await;
    let own = message(1, 2, 1, Bytes::new());
    for forged in [
        message(3, 2, 2, Bytes::new()),
        message(2, 2, 2, Bytes::new()),
        message(1, 3, 2, Bytes::new()),
        message(1, 1, 2, Bytes::new()),
    ] {
        let frame = messages_frame(&[own.clone(), forged]);
        assert_eq!(scene.attack(&frame).await, Some(FORGED));
        assert!(scene.target.inbound.is_untouched());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_snapshot_ends_the_connection() {
    let scene = scene(TransportLimits::default()).await;
    for (from, to) in [(3, 2), (1, 3)] {
        let (connection, _urgent, _stream) = scene.intruder.join(scene.target.address(), 2, 1).await;
        let header = InstallSnapshot {
            group: GroupId(1),
            from: NodeId(from),
            to: NodeId(to),
            term: Term(9),
            meta: SnapshotMeta {
                last: EntryId::new(Term(1), Index(5)),
                ..SnapshotMeta::default()
            },
        };
        let mut bytes = Vec::new();
        encode_frame(FrameKind::InstallSnapshot, &mut bytes, |out| {
            encode_install_snapshot(&header, SnapshotContent::default(), out);
        });
        let mut sender = connection.open_snapshot().await.unwrap();
        sender.write_all(&bytes).await.unwrap();
        assert_eq!(close_code(&ended(&connection).await), Some(FORGED));
        assert!(scene.target.inbound.is_untouched());
    }
}

/// A frame of exactly the limit passes, one more byte does not, and a lie about the size costs no memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_at_and_above_the_limit() {
    const LIMIT: usize = 64 << 10;
    let scene = scene(TransportLimits {
        frame_bytes_max: LIMIT,
        snapshot_chunk_bytes_max: LIMIT,
        ..TransportLimits::default()
    })
    .await;
    let frame_of = |body_bytes: usize| {
        let empty = messages_frame(&[message(1, 2, 1, Bytes::new())]).len() - FRAME_HEADER_BYTES;
        let frame = messages_frame(&[message(1, 2, 1, Bytes::from(vec![0; body_bytes - empty]))]);
        assert_eq!(frame.len(), FRAME_HEADER_BYTES + body_bytes);
        frame
    };
    assert_eq!(scene.attack(&frame_of(LIMIT + 1)).await, Some(PROTOCOL));
    let mut header_only = vec![VERSION, FrameKind::Messages as u8, 0, 0];
    header_only.extend_from_slice(&u32::MAX.to_le_bytes());
    header_only.extend_from_slice(&[0; 4]);
    assert_eq!(scene.attack(&header_only).await, Some(PROTOCOL));
    assert!(scene.target.inbound.is_untouched());

    let (_connection, _urgent, mut stream) = scene.intruder.join(scene.target.address(), 2, 1).await;
    stream.write_all(&frame_of(LIMIT)).await.unwrap();
    scene.target.inbound.wait_count(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_after_hello_ends_the_connection() {
    let scene = scene(TransportLimits::default()).await;
    let garbage: Vec<u8> = (0..5_000u32).map(|byte| (byte * 7 + 3) as u8).collect();
    let mut damaged = messages_frame(&[message(1, 2, 1, Bytes::from_static(b"payload"))]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut nonsense = Vec::new();
    encode_frame(FrameKind::Messages, &mut nonsense, |out| {
        out.extend_from_slice(&[0xff; 64]);
    });
    let second_hello = hello(FORMAT, 1, CLUSTER);
    for bytes in [garbage, damaged, nonsense, second_hello] {
        assert_eq!(scene.attack(&bytes).await, Some(PROTOCOL));
        assert!(scene.target.inbound.is_untouched());
    }
}

/// An entry whose index would overflow, in a frame with a right checksum: refused, without a panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_no_log_holds_end_the_connection() {
    use raft_core::message::{AppendEntries, Body, Message};
    use raft_core::types::Round;
    let scene = scene(TransportLimits::default()).await;
    let append = Message {
        body: Body::AppendEntries(AppendEntries {
            prev: EntryId::new(Term(1), Index(u64::MAX)),
            prev_acknowledged: false,
            entries: vec![Entry::noop(Term(1), Index(0))],
            leader_commit: Index(0),
            round: Round(0),
            sleep: false,
        }),
        ..message(1, 2, 1, Bytes::new())
    };
    assert_eq!(scene.attack(&messages_frame(&[append])).await, Some(PROTOCOL));
    assert!(scene.target.inbound.is_untouched());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_never_ends_ends_the_connection() {
    let scene = scene(TransportLimits {
        frame_timeout: Duration::from_millis(100),
        ..TransportLimits::default()
    })
    .await;
    let frame = messages_frame(&[message(1, 2, 1, Bytes::from(vec![0; 1000]))]);
    for part in [&frame[..5], &frame[..FRAME_HEADER_BYTES], &frame[..500]] {
        assert_eq!(scene.attack(part).await, Some(TOO_SLOW));
        assert!(scene.target.inbound.is_untouched());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_never_says_hello_is_sent_away() {
    let scene = scene(TransportLimits {
        handshake_timeout: Duration::from_millis(200),
        ..TransportLimits::default()
    })
    .await;
    let connection = scene.intruder.connect(scene.target.address(), 2).await.unwrap();
    ended(&connection).await;
    assert!(!scene.target.status(1).connected);
}

/// Connections that stall are bounded in number, cost the connected nothing, and do not lock out an honest newcomer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_handshakes_lock_nobody_out() {
    const STALLED: usize = 1_000;
    let scene = scene(TransportLimits {
        handshakes_max: 16,
        handshakes_per_address_max: 8,
        handshakes_per_address_per_second: 100_000,
        retry_handshakes_min: 4,
        // Longer than the test may take: only the limits help.
        handshake_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        ..TransportLimits::default()
    })
    .await;
    let address = scene.target.address();
    let (_connected, _urgent, mut stream) = scene.intruder.join(address, 2, 1).await;
    stream
        .write_all(&messages_frame(&[message(1, 2, 0, Bytes::new())]))
        .await
        .unwrap();
    scene.target.inbound.wait_count(1).await;

    let flood = Intruder::new(&scene.certificates, scene.certificates.authority.issue_node(3));
    let mut open = Vec::new();
    for number in 1..=STALLED as u64 {
        // Some are given up while they connect, most afterwards.
        if let Ok(connection) = flood.connect(address, 2).await {
            open.push(connection);
        }
        let frame = messages_frame(&[message(1, 2, number, Bytes::new())]);
        stream.write_all(&frame).await.unwrap();
        scene.target.inbound.wait_count(number as usize + 1).await;
    }
    wait_until("all but the newest stalled connections are given up", || {
        open.iter().filter(|connection| connection.is_open()).count() <= 8
    })
    .await;

    let honest = Intruder::new(&scene.certificates, scene.certificates.authority.issue_node(1));
    let (_connection, _urgent, mut stream) = honest.join(address, 2, 1).await;
    let frame = messages_frame(&[message(1, 2, 999, Bytes::new())]);
    stream.write_all(&frame).await.unwrap();
    scene.target.inbound.wait_count(STALLED + 2).await;
}

/// Handshakes that fail fast fill no place that is limited, and each costs this node as much as the one who begins it: an address
/// has a budget of them, and beyond it they are refused before they cost anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_a_budget_of_handshakes() {
    const ATTEMPTS: usize = 20;
    const BURST: usize = 4;
    let scene = scene(TransportLimits {
        handshakes_per_address_max: BURST,
        handshakes_per_address_per_second: 1,
        ..TransportLimits::default()
    })
    .await;
    let stranger = Intruder::new(&scene.certificates, Authority::new().issue_node(1));
    let began = Instant::now();
    let mut refused = 0;
    for _ in 0..ATTEMPTS {
        // Who is let in so far hears later that its certificate is no good.
        let attempt = stranger.connect(scene.target.address(), 2).await;
        refused += usize::from(attempt.is_err());
    }
    let earned = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(
        refused + BURST + earned >= ATTEMPTS && refused > 0,
        "{refused} of {ATTEMPTS} were refused"
    );
}

/// A newer connection of the same peer takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_replaces_the_older() {
    let scene = scene(TransportLimits::default()).await;
    let (older, _urgent, _older_stream) = scene.intruder.join(scene.target.address(), 2, 1).await;
    wait_until("the first is installed", || scene.target.status(1).connected).await;
    let (newer, _urgent, mut stream) = scene.intruder.join(scene.target.address(), 2, 1).await;
    assert_eq!(close_code(&ended(&older).await), Some(1));
    stream
        .write_all(&messages_frame(&[message(1, 2, 1, Bytes::new())]))
        .await
        .unwrap();
    scene.target.inbound.wait_count(1).await;
    assert!(newer.is_open() && scene.target.status(1).connected);
}

/// The warning names the peer and the reason. On this single thread every task logs to the test's own subscriber.
#[tokio::test]
async fn a_forged_sender_is_logged_once() {
    let (log, _guard) = Log::of_this_thread();
    let scene = scene(TransportLimits::default()).await;
    let frame = messages_frame(&[message(3, 2, 1, Bytes::new())]);
    assert_eq!(scene.attack(&frame).await, Some(FORGED));
    wait_until("the connection is gone", || !scene.target.status(1).connected).await;
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("from node 3")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("node 1 at"),
        "{text}"
    );
}
