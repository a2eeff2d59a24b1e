//! Our own services beside etcd's: the configuration of the group as it is, several changes of it as one, and what a
//! change would do; and who leads. Refusals say what can be done.

use raft_core::membership::{ChangeError, MemberChange, Membership};
use raft_core::progress::ProgressState;
use raft_core::request::{ChangePreview, RefusalReason};
use raft_core::status::{PeerProgress, Status as ReplicaStatus};
use raft_core::types::NodeId;
use tonic::Status;

use super::api::Api;
use super::backend::Backend;
use super::changes::adds_voter;
use super::grpc::{Call, Terms};
use super::members::{Contacts, name_of};
use super::refusal::Refusal;
use crate::member_contact::MemberContact;
use crate::proto::raftnode::{
    self as wire, ChangeKind, ChangeRequest, ChangeResponse, DescribeRequest, DescribeResponse,
    PreviewResponse, Replication, TransferRequest, TransferResponse,
};

/// Tells the configuration, and how far the members are.
pub(super) async fn describe<B: Backend>(
    api: &Api<B>,
    call: Call<DescribeRequest>,
) -> Result<DescribeResponse, Status> {
    api.check_terms(&call.terms)?;
    if call.message.linearizable {
        api.barrier(&call.terms).await?;
    }
    let connected: Vec<NodeId> = api
        .backend
        .peers()
        .into_iter()
        .filter(|peer| peer.connected)
        .map(|peer| peer.id)
        .collect();
    let status = api.backend.with_status(ReplicaStatus::clone);
    let progress = status.peers.iter().map(|peer| wire::Progress {
        connected: connected.contains(&peer.id),
        ..progress(&status, peer)
    });
    Ok(DescribeResponse {
        id: status.id.0,
        leader: status.leader.map_or(0, |leader| leader.0),
        term: status.term.0,
        configuration: Some(configuration(&status.membership)),
        members: members(api, &status.membership),
        progress: progress.collect(),
    })
}

/// Says what a change would do.
pub(super) async fn preview<B: Backend>(
    api: &Api<B>,
    call: Call<ChangeRequest>,
) -> Result<PreviewResponse, Status> {
    let Call { message, terms } = call;
    let changes = changes(api, message, &terms).await?;
    let preview = api
        .preview_membership(&changes, &terms)
        .await
        .map_err(|not_done| not_done.refusal(adds_voter(&changes)).into_own_status())?;
    Ok(previewed(&preview))
}

/// Changes the members.
pub(super) async fn change<B: Backend>(
    api: &Api<B>,
    call: Call<ChangeRequest>,
) -> Result<ChangeResponse, Status> {
    let Call { message, terms } = call;
    let changes = changes(api, message, &terms).await?;
    let changed = api
        .change_membership(&changes, &terms)
        .await
        .map_err(|not_done| not_done.refusal(adds_voter(&changes)).into_own_status())?;
    Ok(ChangeResponse {
        index: changed.index.0,
        configuration: Some(configuration(&changed.membership)),
        members: members(api, &changed.membership),
    })
}

/// Lets another voter lead.
pub(super) async fn transfer<B: Backend>(
    api: &Api<B>,
    call: Call<TransferRequest>,
) -> Result<TransferResponse, Status> {
    api.check_terms(&call.terms)?;
    match api
        .transfer_leadership(NodeId(call.message.target), &call.terms)
        .await
    {
        Ok(term) => Ok(TransferResponse { term: term.0 }),
        Err(not_done) => Err(not_done.refusal().into_own_status()),
    }
}

/// The change that a request describes, with every address checked.
async fn changes<B: Backend>(
    api: &Api<B>,
    request: ChangeRequest,
    terms: &Terms,
) -> Result<Vec<MemberChange>, Status> {
    api.check_terms(terms)?;
    let membership = api.confirmed_membership(terms).await?;
    let mut contacts = api.contacts(&membership);
    let changes = request.changes.into_iter();
    let changes = changes.map(|change| member_change(&mut contacts, change));
    changes
        .collect::<Result<Vec<_>, Refusal>>()
        .map_err(Refusal::into_own_status)
}

fn member_change(contacts: &mut Contacts, change: wire::Change) -> Result<MemberChange, Refusal> {
    let id = NodeId(change.id);
    let kind = change.kind();
    let given = change.contact.map(given_contact).unwrap_or_default();
    match kind {
        ChangeKind::Unspecified => Err(Refusal::invalid(
            "a step of the change says nothing that this version knows; ask a newer node",
        )),
        ChangeKind::AddVoter => Ok(MemberChange::AddVoter {
            id,
            contact: Some(contacts.set(id, given)?),
        }),
        ChangeKind::AddLearner => Ok(MemberChange::AddLearner {
            id,
            contact: Some(contacts.set(id, given)?),
        }),
        ChangeKind::Promote => Ok(MemberChange::Promote(id)),
        ChangeKind::Demote => Ok(MemberChange::Demote(id)),
        ChangeKind::Remove => {
            contacts.remove(id);
            Ok(MemberChange::Remove(id))
        }
        ChangeKind::Update => {
            let old = contacts.of(id).cloned();
            let old = old.ok_or_else(|| Refusal::not_a_member(ChangeError::NotAMember(id)))?;
            let contact = contacts.set(id, updated(old, given))?;
            Ok(MemberChange::SetContact { id, contact })
        }
    }
}

fn given_contact(contact: wire::Contact) -> MemberContact {
    MemberContact {
        name: contact.name,
        peer_urls: contact.peer_urls,
        client_urls: contact.client_urls,
    }
}

/// What is not given stays.
fn updated(contact: MemberContact, given: MemberContact) -> MemberContact {
    let or = |given: Vec<String>, old| if given.is_empty() { old } else { given };
    MemberContact {
        name: match given.name.is_empty() {
            true => contact.name,
            false => given.name,
        },
        peer_urls: or(given.peer_urls, contact.peer_urls),
        client_urls: or(given.client_urls, contact.client_urls),
    }
}

fn configuration(membership: &Membership) -> wire::Configuration {
    wire::Configuration {
        voters: ids(membership.voters()),
        outgoing: ids(membership.outgoing()),
        learners: ids(membership.learners()),
        learners_next: ids(membership.learners_next()),
        highest_id: membership.highest_id().0,
    }
}

fn members<B>(api: &Api<B>, membership: &Membership) -> Vec<wire::Member> {
    let member = |node: NodeId| {
        let contact = api.contact(membership, node);
        wire::Member {
            id: node.0,
            contact: Some(wire::Contact {
                name: name_of(node, &contact),
                peer_urls: contact.peer_urls,
                client_urls: contact.client_urls,
            }),
        }
    };
    membership.members().into_iter().map(member).collect()
}

fn progress(status: &ReplicaStatus, peer: &PeerProgress) -> wire::Progress {
    let replication = match peer.state {
        ProgressState::Probe { .. } => Replication::Probe,
        ProgressState::Replicate => Replication::Stream,
        ProgressState::Snapshot { .. } => Replication::Snapshot,
    };
    wire::Progress {
        id: peer.id.0,
        match_index: peer.match_index.0,
        entries_behind: status.appended_index.0.saturating_sub(peer.match_index.0),
        replication: replication.into(),
        connected: false,
    }
}

fn previewed(preview: &ChangePreview) -> PreviewResponse {
    let plan = &preview.plan;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    PreviewResponse {
        current: Some(configuration(&plan.current)),
        joint: plan.joint.as_ref().map(configuration),
        target: Some(configuration(&plan.target)),
        quorum: count(plan.quorum()),
        failures_survived: count(plan.failures_survived()),
        reachable: ids(&preview.reachable),
        quorum_reachable: preview.quorum_is_reachable(),
        refusal: preview.refusal.map(refusal),
    }
}

fn refusal(reason: RefusalReason) -> wire::Refusal {
    let (learner, entries_behind) = match reason {
        RefusalReason::NotCaughtUp {
            learner,
            entries_behind,
        } => (learner.0, entries_behind),
        _ => (0, 0),
    };
    wire::Refusal {
        text: reason.to_string(),
        learner,
        entries_behind,
    }
}

fn ids(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}
