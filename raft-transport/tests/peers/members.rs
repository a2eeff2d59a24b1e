//! Peers by membership: members that come, move and leave, and nodes that know of it sooner or later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::membership::{Contact, Membership, MembershipParts};
use raft_core::traits::Transport;
use raft_core::types::{GroupId, NodeId};
use raft_transport::{ContactAddress, TransportLimits, TransportOptions};

use crate::intruder::{FORMAT, Intruder, close_code, hello};
use crate::support::{CLUSTER, Certificates, Log, TestNode, message, wait_until};

const GROUP: GroupId = GroupId(1);
const NOT_A_PEER: u32 = 3;

/// A configuration of these voters, reached where the nodes say. `highest_id` is that of the highest member ever.
fn members(ids: &[u64], highest_id: u64, contacts: &BTreeMap<u64, String>) -> Membership {
    let contact = |id: &u64| Some((NodeId(*id), Contact::new(contacts.get(id)?).unwrap()));
    let parts = MembershipParts {
        voters: ids.iter().copied().map(NodeId).collect(),
        contacts: ids.iter().filter_map(contact).collect(),
        highest_id: NodeId(highest_id),
        ..MembershipParts::default()
    };
    Membership::from_parts(parts).unwrap()
}

fn tell(node: &TestNode, group: GroupId, membership: &Membership) {
    node.transport.membership_changed(group, membership);
    node.transport.membership_committed(group, membership);
}

fn is_peer(node: &TestNode, id: u64) -> bool {
    node.transport.peers().iter().any(|peer| peer.id == NodeId(id))
}

fn is_connected(node: &TestNode, id: u64) -> bool {
    let peers = node.transport.peers();
    peers.iter().any(|peer| peer.id == NodeId(id) && peer.connected)
}

async fn wait_heard(from: (u64, &TestNode), to: (u64, &TestNode)) {
    let before = to.1.inbound.count();
    wait_until("a message arrives", || {
        from.1.send(to.0, vec![message(from.0, to.0, 1, Bytes::new())]);
        to.1.inbound.count() > before
    })
    .await;
}

/// Nodes that know nobody, and where they are.
struct Scene {
    certificates: Certificates,
    nodes: BTreeMap<u64, TestNode>,
    contacts: BTreeMap<u64, String>,
}

impl Scene {
    async fn start(ids: &[u64], limits: &TransportLimits) -> Scene {
        let mut scene = Scene {
            certificates: Certificates::new(),
            nodes: BTreeMap::new(),
            contacts: BTreeMap::new(),
        };
        for &id in ids {
            scene.start_node(id, limits).await;
        }
        scene
    }

    /// Starts node `id` at a new address.
    async fn start_node(&mut self, id: u64, limits: &TransportLimits) {
        let node = TestNode::bind(TransportOptions {
            limits: limits.clone(),
            ..self.certificates.options(id)
        });
        node.start().await;
        self.contacts.insert(id, node.address().to_string());
        self.nodes.insert(id, node);
    }

    fn node(&self, id: u64) -> &TestNode {
        &self.nodes[&id]
    }

    fn members(&self, ids: &[u64]) -> Membership {
        members(ids, 0, &self.contacts)
    }

    async fn wait_heard(&self, from: u64, to: u64) {
        wait_heard((from, self.node(from)), (to, self.node(to))).await;
    }

    /// A group of these nodes that know each other and are connected.
    async fn group(ids: &[u64], limits: &TransportLimits) -> Scene {
        let scene = Scene::start(ids, limits).await;
        let all = scene.members(ids);
        for node in scene.nodes.values() {
            tell(node, GROUP, &all);
        }
        for (id, node) in &scene.nodes {
            for other in ids.iter().filter(|other| *other != id) {
                node.wait_connected(*other).await;
            }
        }
        scene
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_is_connected_in_both_directions() {
    let limits = TransportLimits::default();
    let mut scene = Scene::group(&[1, 3], &limits).await;
    // One with a higher id than both, which dial it.
    scene.start_node(4, &limits).await;
    tell(scene.node(4), GROUP, &Membership::empty());
    let grown = scene.members(&[1, 3, 4]);
    tell(scene.node(1), GROUP, &grown);
    scene.wait_heard(1, 4).await;
    // The leader's entries make the new one a member in its own eyes; the other follower may hear last.
    tell(scene.node(4), GROUP, &grown);
    tell(scene.node(3), GROUP, &grown);
    for (from, to) in [(4, 1), (3, 4), (4, 3)] {
        scene.wait_heard(from, to).await;
    }
    assert_eq!(scene.node(4).transport.peers().len(), 2);
}

/// A contact wins over the options, and needs not be an address itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_may_be_any_text_that_tells_the_address() {
    let certificates = Certificates::new();
    let two = TestNode::bind(certificates.options(2));
    two.start().await;
    let one = TestNode::bind(TransportOptions {
        peers: BTreeMap::from([(NodeId(2), "127.0.0.1:1".to_owned())]),
        contact_address: ContactAddress::new(|text| text.strip_prefix("at ").map(str::to_owned)),
        ..certificates.options(1)
    });
    one.start().await;
    let contacts = BTreeMap::from([(2, format!("at {}", two.address()))]);
    tell(&one, GROUP, &members(&[1, 2], 0, &contacts));
    tell(&two, GROUP, &members(&[1, 2], 0, &BTreeMap::new()));
    wait_heard((1, &one), (2, &two)).await;
}

/// R76: a contact that says nothing is warned of, by member and text, and delays nobody. Its member is reached when it calls.
#[tokio::test]
async fn a_useless_contact_is_named_once_and_harms_nobody() {
    let (log, _guard) = Log::of_this_thread();
    let scene = Scene::start(&[1, 2, 3], &TransportLimits::default()).await;
    let mut contacts = scene.contacts.clone();
    contacts.insert(3, "third door on the left".to_owned());
    let useless = members(&[1, 2, 3], 0, &contacts);
    for _ in 0..3 {
        tell(scene.node(1), GROUP, &useless);
    }
    tell(scene.node(2), GROUP, &useless);
    scene.wait_heard(1, 2).await;
    let text = log.text();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("third door")).collect();
    // One of each node that was told.
    assert_eq!(warnings.len(), 2, "{text}");
    assert!(warnings[0].contains("member=3"), "{text}");

    tell(scene.node(3), GROUP, &scene.members(&[1, 2, 3]));
    scene.wait_heard(1, 3).await;
    scene.wait_heard(3, 2).await;
}

async fn a_member_moves(moved: u64, its_contact_is_told: bool) {
    let limits = TransportLimits {
        // What found the old address dead must not be needed to find the new one.
        dial_backoff_max: Duration::from_millis(100),
        ..TransportLimits::default()
    };
    let mut scene = Scene::group(&[1, 2], &limits).await;
    let stays = 3 - moved;
    scene.nodes[&moved].transport.shutdown().await;
    let old = scene.contacts.clone();
    scene.start_node(moved, &limits).await;
    assert_ne!(old, scene.contacts);
    // It has its old configuration, which says the same of the others.
    tell(scene.node(moved), GROUP, &members(&[1, 2], 0, &old));
    if its_contact_is_told {
        tell(scene.node(stays), GROUP, &scene.members(&[1, 2]));
    }
    scene.wait_heard(stays, moved).await;
    scene.wait_heard(moved, stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_found_at_its_new_contact() {
    a_member_moves(1, true).await;
    a_member_moves(2, true).await;
}

/// Who moved dials, or knocks from where it is now: it can tell the others its new address itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moved_finds_the_others() {
    a_member_moves(1, false).await;
    a_member_moves(2, false).await;
}

/// R70: as long as its removal can be taken back a member is reached; once that is committed it has a moment to hear of it, and is
/// cut off within a second, for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_hears_of_it_and_is_cut_off() {
    let scene = Scene::group(&[1, 2, 3], &TransportLimits::default()).await;
    let shrunk = members(&[1, 2], 3, &scene.contacts);
    let (one, three) = (scene.node(1), scene.node(3));
    one.transport.membership_changed(GROUP, &shrunk);
    scene.wait_heard(1, 3).await;

    let committed = Instant::now();
    one.transport.membership_committed(GROUP, &shrunk);
    one.send(3, vec![message(1, 3, 7, Bytes::new())]);
    let before = three.inbound.count();
    wait_until("the last word arrives", || three.inbound.count() > before).await;
    wait_until("node 3 is cut off", || !is_peer(one, 3)).await;
    assert!(
        committed.elapsed() < Duration::from_secs(1),
        "{:?}",
        committed.elapsed()
    );
    wait_until("node 3 notices", || !three.status(1).connected).await;
    wait_until("node 3 is told so when it calls", || {
        three.transport.refused_by() == [NodeId(1)]
    })
    .await;

    // It dials and knocks on, and its certificate is still good.
    let intruder = Intruder::new(&scene.certificates, scene.certificates.authority.issue_node(3));
    let heard = one.inbound.count();
    for _ in 0..3 {
        let closed = intruder
            .attack(one.address(), 1, 3, &[message(3, 1, 9, Bytes::new())])
            .await;
        assert_eq!(close_code(&closed), Some(NOT_A_PEER), "{closed}");
    }
    assert!(!is_peer(one, 3) && one.inbound.count() == heard);
    assert!(is_connected(one, 2), "the others are not concerned");
}

/// R70: a member that was removed while nobody could tell it hears that it is refused, whichever side dials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_removed_unheard_is_told_when_it_calls() {
    let scene = Scene::start(&[1, 2, 3], &TransportLimits::default()).await;
    let all = scene.members(&[1, 2, 3]);
    tell(scene.node(2), GROUP, &members(&[2], 3, &scene.contacts));
    for removed in [1, 3] {
        let node = scene.node(removed);
        tell(node, GROUP, &all);
        // Node 3 refuses node 1 as well as long as it knows nobody.
        wait_until("node 2 refuses", || {
            node.transport.refused_by().contains(&NodeId(2))
        })
        .await;
    }
    tell(scene.node(2), GROUP, &all);
    scene.wait_heard(1, 2).await;
    scene.wait_heard(3, 2).await;
    wait_until("nobody refuses any more", || {
        scene.node(1).transport.refused_by().is_empty()
    })
    .await;
}

/// R70: nothing is cut off for a removal that is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_taken_back_cuts_nobody_off() {
    let limits = TransportLimits {
        departed_grace: Duration::from_millis(1),
        ..TransportLimits::default()
    };
    let scene = Scene::group(&[1, 2, 3], &limits).await;
    let one = scene.node(1);
    one.transport
        .membership_changed(GROUP, &members(&[1, 2], 3, &scene.contacts));
    tell(one, GROUP, &scene.members(&[1, 2, 3]));
    // A removal that is committed runs its course beside it: when that is done, the other one would be, too.
    tell(one, GroupId(2), &scene.members(&[1, 2, 3, 4]));
    tell(one, GroupId(2), &members(&[1], 4, &scene.contacts));
    wait_until("the grace is over", || !is_peer(one, 4)).await;
    assert!(is_connected(one, 2) && is_connected(one, 3));
    scene.wait_heard(3, 1).await;
}

/// R70: a node is a peer as long as one group has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_group_stays() {
    let limits = TransportLimits {
        departed_grace: Duration::from_millis(1),
        ..TransportLimits::default()
    };
    let scene = Scene::group(&[1, 2, 3], &limits).await;
    let one = scene.node(1);
    tell(one, GroupId(2), &scene.members(&[1, 2, 3]));
    tell(one, GROUP, &members(&[1], 3, &scene.contacts));
    tell(one, GroupId(2), &members(&[1, 2], 3, &scene.contacts));
    wait_until("node 3 is cut off", || !is_peer(one, 3)).await;
    assert!(is_connected(one, 2));
    tell(one, GroupId(2), &members(&[1], 3, &scene.contacts));
    wait_until("node 2 is cut off", || !is_peer(one, 2)).await;
}

/// R69: a node that was away knows an old configuration, and the leader that could tell it the latest is not in that one. It
/// may have a higher id or a lower one than the node that was away, which then is one that joins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_have_joined_meanwhile_is_let_in() {
    let scene = Scene::start(&[2, 5, 7], &TransportLimits::default()).await;
    let latest = scene.members(&[2, 5, 7]);
    // Node 2 was away when 5 and 7 joined; node 7 has caught up with as little.
    let old = members(&[1, 2], 0, &BTreeMap::new());
    tell(scene.node(2), GROUP, &old);
    tell(scene.node(7), GROUP, &old);
    tell(scene.node(5), GROUP, &latest);
    for (from, to) in [(5, 2), (2, 5), (5, 7), (7, 5)] {
        scene.wait_heard(from, to).await;
    }
    for id in [2, 7] {
        tell(scene.node(id), GROUP, &latest);
        assert!(
            is_connected(scene.node(id), 5),
            "becoming a member costs no connection"
        );
    }
    scene.wait_heard(2, 7).await;
    scene.wait_heard(7, 2).await;
}

/// R69, R70: an id that could have been a member's and is none is not let in; nor are more strangers than the limit says, and
/// nothing of them is kept when they go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_few_and_only_ones_that_may_be_members() {
    let limits = TransportLimits {
        strangers_max: 1,
        ..TransportLimits::default()
    };
    let scene = Scene::start(&[9], &limits).await;
    let nine = scene.node(9);
    tell(nine, GROUP, &members(&[1, 3], 0, &BTreeMap::new()));
    let authority = &scene.certificates.authority;
    let [gone, first, second] =
        [2, 4, 5].map(|id| Intruder::new(&scene.certificates, authority.issue_node(id)));
    let refused = async |intruder: &Intruder, id: u64| {
        let closed = intruder
            .attack_with(nine.address(), 9, &hello(FORMAT, id, CLUSTER))
            .await;
        assert_eq!(close_code(&closed), Some(NOT_A_PEER), "node {id}: {closed}");
    };
    refused(&gone, 2).await;
    let (connection, _urgent, _stream) = first.join(nine.address(), 9, 4).await;
    wait_until("the stranger is connected", || is_connected(nine, 4)).await;
    refused(&second, 5).await;
    connection.close();
    wait_until("the stranger is forgotten", || !is_peer(nine, 4)).await;
    let (_connection, _urgent, _stream) = second.join(nine.address(), 9, 5).await;
    wait_until("there is room again", || is_connected(nine, 5)).await;
    // It turns out to have been removed before this node heard of it.
    tell(nine, GROUP, &members(&[1, 3, 9], 9, &BTreeMap::new()));
    wait_until("it is cut off", || !is_peer(nine, 5)).await;
}
