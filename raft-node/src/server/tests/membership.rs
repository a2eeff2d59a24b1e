//! Members that are added, removed, promoted and given new addresses, and leaders that are moved.

use std::sync::mpsc;

use raft_core::effect::RoleKind;
use raft_core::membership::{ChangeError, MemberChange, MembershipPlan};
use raft_core::progress::ProgressState;
use raft_core::request::{ChangePreview, RefusalReason};
use raft_core::runtime::{ChangeMembershipError, MembershipChanged};
use raft_core::status::PeerProgress;
use raft_core::types::{Index, NodeId, Term, Time};
use tonic::Code;
use tonic::transport::Channel;

use super::{FakeNode, Server, a_follower};
use crate::member_contact::MemberContact;
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{
    MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest,
};
use crate::proto::raftnode::leadership_client::LeadershipClient;
use crate::proto::raftnode::membership_client::MembershipClient;
use crate::proto::raftnode::{
    Change, ChangeKind, ChangeRequest, Configuration, Contact, DescribeRequest, Replication, TransferRequest,
};

async fn cluster(server: &Server) -> ClusterClient<Channel> {
    ClusterClient::new(server.channel().await)
}

fn add(url: &str, is_learner: bool) -> MemberAddRequest {
    MemberAddRequest {
        peer_urls: vec![url.to_owned()],
        is_learner,
    }
}

/// R68: a new member gets an id above any that was ever in use, and is in the list that comes back.
#[tokio::test]
async fn a_member_is_added_under_the_next_id() {
    let server = Server::start(FakeNode::new().changing_freely()).await;
    let mut cluster = cluster(&server).await;
    // The scheme is one that etcd's clients let through.
    let request = add("https://10.0.0.4:2380", true);
    let response = cluster.member_add(request).await.unwrap().into_inner();
    let member = response.member.unwrap();
    assert_eq!((member.id, member.is_learner), (4, true));
    assert_eq!(member.name, "n4");
    assert_eq!(member.peer_urls, ["quic://10.0.0.4:2380"]);
    assert_eq!(response.members.len(), 4);
    assert_eq!(response.members[3], member);
    // Who has no address in the configuration has the one of this node's settings.
    assert_eq!(response.members[0].peer_urls, ["quic://10.0.0.1:2380"]);
    assert_eq!(response.header.unwrap().raft_term, 7);

    let request = add("quic://10.0.0.5:2380", false);
    let response = cluster.member_add(request).await.unwrap().into_inner();
    assert!(!response.member.unwrap().is_learner);
}

/// R68: somebody else was given the id meanwhile, so the next one is tried.
#[tokio::test]
async fn an_id_that_is_taken_meanwhile_is_not_insisted_on() {
    let (asked, ids) = mpsc::channel();
    let node = FakeNode::new().changing(move |changes| {
        let [MemberChange::AddLearner { id, .. }] = changes[..] else {
            panic!("unexpected {changes:?}");
        };
        asked.send(id.0).unwrap();
        let refused = |error| Err(ChangeMembershipError::Refused(RefusalReason::Membership(error)));
        let highest_id = NodeId(8);
        match id.0 {
            4 => refused(ChangeError::AlreadyMember(id)),
            5 => refused(ChangeError::IdUsed { id, highest_id }),
            _ => {
                let plan = MembershipPlan::new(&a_follower().membership, &changes).unwrap();
                Ok(MembershipChanged {
                    index: Index(15),
                    membership: plan.target,
                })
            }
        }
    });
    let server = Server::start(node).await;
    let request = add("quic://10.0.0.9:2380", true);
    let response = cluster(&server).await.member_add(request).await.unwrap();
    assert_eq!(response.into_inner().member.unwrap().id, 9);
    assert_eq!(ids.try_iter().collect::<Vec<_>>(), [4, 5, 9]);
}

/// R68: who was given the id meanwhile was given the address, too: it is looked at again, and not given to two.
#[tokio::test]
async fn an_address_that_is_taken_meanwhile_is_refused() {
    let node = FakeNode::new();
    let status = node.status.clone();
    let (asked, ids) = mpsc::channel();
    let node = node.changing(move |changes| {
        let [MemberChange::AddLearner { id, .. }] = changes[..] else {
            panic!("unexpected {changes:?}");
        };
        asked.send(id.0).unwrap();
        // Another client's request for the same member came first.
        let plan = MembershipPlan::new(&status.borrow().membership, &changes).unwrap();
        status.send_modify(|status| status.membership = plan.target);
        let taken = RefusalReason::Membership(ChangeError::AlreadyMember(id));
        Err(ChangeMembershipError::Refused(taken))
    });
    let server = Server::start(node).await;
    let request = add("quic://10.0.0.4:2380", true);
    let status = cluster(&server).await.member_add(request).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::FailedPrecondition, "etcdserver: Peer URLs already exists")
    );
    assert_eq!(ids.try_iter().collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn addresses_are_checked_before_the_group_is_asked() {
    let node = FakeNode::new().changing(|changes| panic!("asked for {changes:?}"));
    let server = Server::start(node).await;
    let mut cluster = cluster(&server).await;
    let bad = "etcdserver: given member URLs are invalid";
    let taken = "etcdserver: Peer URLs already exists";
    let no_url = MemberAddRequest::default();
    let cases = [
        (no_url, Code::InvalidArgument, bad),
        (add("10.0.0.4:2380", false), Code::InvalidArgument, bad),
        (add("quic://10.0.0.4", false), Code::InvalidArgument, bad),
        (
            add("https://10.0.0.2:2380", false),
            Code::FailedPrecondition,
            taken,
        ),
    ];
    for (request, code, text) in cases {
        let status = cluster.member_add(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let update = |id: u64, url: &str| MemberUpdateRequest {
        id,
        peer_urls: vec![url.to_owned()],
    };
    let status = cluster
        .member_update(update(1, "quic://10.0.0.2:2380"))
        .await
        .unwrap_err();
    assert_eq!(status.message(), taken);
    let status = cluster
        .member_update(update(9, "quic://10.0.0.9:2380"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "etcdserver: member not found")
    );
}

#[tokio::test]
async fn members_are_removed_promoted_and_moved() {
    let server = Server::start(FakeNode::new().changing_freely()).await;
    let mut cluster = cluster(&server).await;
    let request = MemberRemoveRequest { id: 2 };
    let response = cluster.member_remove(request).await.unwrap().into_inner();
    let ids: Vec<u64> = response.members.iter().map(|member| member.id).collect();
    assert_eq!(ids, [1, 3]);

    let request = MemberPromoteRequest { id: 3 };
    let response = cluster.member_promote(request).await.unwrap().into_inner();
    assert!(response.members.iter().all(|member| !member.is_learner));

    let request = MemberUpdateRequest {
        id: 3,
        peer_urls: vec!["quic://elsewhere:2380".to_owned()],
    };
    let response = cluster.member_update(request).await.unwrap().into_inner();
    assert_eq!(response.members[2].peer_urls, ["quic://elsewhere:2380"]);
    assert_eq!(
        response.members[2].client_urls,
        ["http://10.0.0.3:2379"],
        "what is not given stays"
    );
}

/// To etcd it is no mistake to say what is already so.
#[tokio::test]
async fn an_update_that_changes_nothing_succeeds() {
    let node = FakeNode::new().changing(|changes| panic!("asked for {changes:?}"));
    let contact = MemberContact {
        peer_urls: vec!["quic://here:2380".to_owned()],
        ..MemberContact::default()
    };
    let contacts = [(NodeId(3), contact.to_contact().unwrap())];
    let membership = a_follower().membership.with_contacts(contacts).unwrap();
    node.status.send_modify(|status| status.membership = membership);
    let server = Server::start(node).await;
    let request = MemberUpdateRequest {
        id: 3,
        peer_urls: contact.peer_urls,
    };
    let response = cluster(&server).await.member_update(request).await.unwrap();
    assert_eq!(response.into_inner().members[2].peer_urls, ["quic://here:2380"]);
}

/// Any member takes the request, not only the leader.
#[tokio::test]
async fn leadership_is_moved() {
    let (asked, targets) = mpsc::channel();
    let server = Server::start(FakeNode::new().transferring(move |to| {
        asked.send(to).unwrap();
        Ok(Term(8))
    }))
    .await;
    let mut maintenance = MaintenanceClient::new(server.channel().await);
    let request = MoveLeaderRequest { target_id: 2 };
    maintenance.move_leader(request).await.unwrap();
    let mut leadership = LeadershipClient::new(server.channel().await);
    let request = TransferRequest { target: 3 };
    let response = leadership.transfer(request).await.unwrap().into_inner();
    assert_eq!(response.term, 8);
    assert_eq!(targets.try_iter().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
}

fn change(kind: ChangeKind, id: u64, url: Option<&str>) -> Change {
    let contact = url.map(|url| Contact {
        peer_urls: vec![url.to_owned()],
        ..Contact::default()
    });
    Change {
        kind: kind.into(),
        id,
        contact,
    }
}

/// A dead machine is replaced by another one at its address, in one change.
#[tokio::test]
async fn several_steps_are_one_change() {
    let (asked, changes) = mpsc::channel();
    let node = FakeNode::new().changing(move |changes| {
        let plan = MembershipPlan::new(&a_follower().membership, &changes).unwrap();
        asked.send(changes).unwrap();
        Ok(MembershipChanged {
            index: Index(16),
            membership: plan.target,
        })
    });
    let server = Server::start(node).await;
    let request = ChangeRequest {
        changes: vec![
            change(ChangeKind::Remove, 2, None),
            change(ChangeKind::AddVoter, 4, Some("quic://10.0.0.2:2380")),
            change(ChangeKind::Promote, 3, None),
            change(ChangeKind::Demote, 1, None),
        ],
    };
    let mut client = MembershipClient::new(server.channel().await);
    let response = client.change(request).await.unwrap().into_inner();
    assert_eq!(response.index, 16);
    let expected = Configuration {
        voters: vec![3, 4],
        learners: vec![1],
        highest_id: 4,
        ..Configuration::default()
    };
    assert_eq!(response.configuration, Some(expected));
    assert_eq!(response.members.len(), 3);
    let asked = changes.try_iter().next().unwrap();
    assert!(matches!(
        asked[..],
        [
            MemberChange::Remove(NodeId(2)),
            MemberChange::AddVoter {
                id: NodeId(4),
                contact: Some(_)
            },
            MemberChange::Promote(NodeId(3)),
            MemberChange::Demote(NodeId(1)),
        ]
    ));
}

#[tokio::test]
async fn our_own_service_says_what_can_be_done() {
    let server = Server::start(FakeNode::new().changing_freely()).await;
    let mut client = MembershipClient::new(server.channel().await);
    let cases = [
        (
            change(ChangeKind::AddVoter, 4, Some("quic://10.0.0.2:2380")),
            "member 2 has quic://10.0.0.2:2380 already",
        ),
        (change(ChangeKind::AddLearner, 4, None), "quic://10.0.0.4:2380"),
        (
            change(ChangeKind::AddVoter, 2, Some("quic://b:1")),
            "node 2 is a member already",
        ),
        (
            change(ChangeKind::Update, 9, Some("quic://b:1")),
            "node 9 is not a member",
        ),
        (change(ChangeKind::Unspecified, 1, None), "newer node"),
    ];
    for (change, text) in cases {
        let changes = vec![change];
        let status = client.change(ChangeRequest { changes }).await.unwrap_err();
        assert!(status.message().contains(text), "{status:?}");
    }
}

#[tokio::test]
async fn a_preview_tells_everything_and_changes_nothing() {
    let node = FakeNode::new()
        .changing(|changes| panic!("changed {changes:?}"))
        .previewing(|changes| {
            let refusal = RefusalReason::NotCaughtUp {
                learner: NodeId(3),
                entries_behind: 12,
            };
            Ok(ChangePreview {
                plan: MembershipPlan::new(&a_follower().membership, &changes).unwrap(),
                reachable: vec![NodeId(1), NodeId(2)],
                refusal: Some(refusal),
            })
        });
    let server = Server::start(node).await;
    let mut client = MembershipClient::new(server.channel().await);
    let request = ChangeRequest {
        changes: vec![
            change(ChangeKind::Promote, 3, None),
            change(ChangeKind::Demote, 1, None),
        ],
    };
    let preview = client.preview(request).await.unwrap().into_inner();
    assert_eq!(preview.current.unwrap().voters, [1, 2]);
    let joint = preview.joint.unwrap();
    assert_eq!((joint.voters, joint.outgoing), (vec![2, 3], vec![1, 2]));
    assert_eq!((joint.learners, joint.learners_next), (vec![], vec![1]));
    assert_eq!(preview.target.unwrap().learners, [1]);
    assert_eq!((preview.quorum, preview.failures_survived), (2, 0));
    assert_eq!(preview.reachable, [1, 2]);
    assert!(!preview.quorum_reachable, "3 would have to answer");
    let refusal = preview.refusal.unwrap();
    assert_eq!((refusal.learner, refusal.entries_behind), (3, 12));
    assert!(refusal.text.contains("lacks 12 entries"), "{refusal:?}");
}

#[tokio::test]
async fn a_leader_describes_how_far_the_others_are() {
    let node = FakeNode::new();
    node.status.send_modify(|status| {
        status.role = RoleKind::Leader;
        status.leader = Some(NodeId(1));
        let peer = |id: u64, matched: u64, state| PeerProgress {
            id: NodeId(id),
            match_index: Index(matched),
            next_index: Index(matched + 1),
            state,
            inflight_messages: 0,
            inflight_bytes: 0,
            last_contact: Time::ZERO,
            suspect: false,
        };
        status.peers = vec![
            peer(2, 14, ProgressState::Replicate),
            peer(3, 0, ProgressState::Snapshot { index: Index(5) }),
        ];
    });
    let server = Server::start(node).await;
    let mut client = MembershipClient::new(server.channel().await);
    let request = DescribeRequest { linearizable: true };
    let answer = client.describe(request).await.unwrap().into_inner();
    assert_eq!((answer.id, answer.leader, answer.term), (1, 1, 7));
    let configuration = answer.configuration.unwrap();
    assert_eq!(
        (configuration.voters, configuration.learners),
        (vec![1, 2], vec![3])
    );
    let progress = &answer.progress;
    assert_eq!((progress[0].entries_behind, progress[0].connected), (0, true));
    assert_eq!(progress[0].replication(), Replication::Stream);
    assert_eq!((progress[1].entries_behind, progress[1].connected), (14, false));
    assert_eq!(progress[1].replication(), Replication::Snapshot);
    assert_eq!(answer.members[2].contact.as_ref().unwrap().name, "n3");
}
