//! Peers that are dead, unknown, or only sometimes there.

use super::cluster::{Cluster, DEAD, UNKNOWN, World};
use crate::membership::{Contact, Membership};
use crate::message::Lane;
use crate::types::{GroupId, NodeId};

const GROUP: GroupId = GroupId(1);
const OTHER_GROUP: GroupId = GroupId(2);

/// R76: an unknown peer and a dead one neither block the sender nor delay messages to others.
pub(super) async fn that_are_dead_cost_nothing(world: &World<'_>) {
    let cluster = Cluster::start(world).await;
    for _ in 0..5_000 {
        cluster.send(1, DEAD, Lane::Ordered);
        cluster.send(1, DEAD, Lane::Urgent);
        cluster.send(1, UNKNOWN, Lane::Ordered);
    }
    cluster.exchange_in_both_lanes(1, 2).await;
    let peers = cluster.transport(1).peers();
    assert!(
        peers.is_sorted_by_key(|peer| peer.id),
        "peers are sorted by id: {peers:?}"
    );
    assert!(
        cluster.status(1, 2).connected,
        "a peer that just received a message counts as connected: {peers:?}"
    );
    let dead = cluster.status(1, DEAD);
    assert!(
        !dead.connected,
        "a dead peer does not count as connected: {peers:?}"
    );
    cluster.end().await;
}

/// R70: members of any number of groups are peers, whatever is known of how they are reached; and who is a member of one group
/// stays reachable when another one lets it go.
pub(super) async fn come_and_go(world: &World<'_>) {
    let members = |ids: &[u64]| {
        let ids = ids.iter().copied().map(NodeId);
        Membership::of_voters(ids).expect("ids without duplicates")
    };
    let contact = Contact::new("no transport knows this place").expect("a short text");
    let all = members(&[1, 2, 3]);
    let unreachable = members(&[1, 2, 3, 5]).with_contacts([(NodeId(5), contact)]);
    let unreachable = unreachable.expect("node 5 is a member");
    let cluster = Cluster::start(world).await;
    for transport in [cluster.transport(1), cluster.transport(2)] {
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
    cluster.exchange_in_both_lanes(1, 2).await;
    cluster.exchange_in_both_lanes(2, 1).await;
    cluster.end().await;
}
