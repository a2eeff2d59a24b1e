//! The Cluster service: the list of members, and etcd's four ways to change it.
//!
//! Ids are counted up from the highest that was ever a member, so that none is given out twice (R68).

use raft_core::membership::{ChangeError, MemberChange};
use raft_core::request::RefusalReason;
use raft_core::runtime::ChangeMembershipError;
use raft_core::types::NodeId;
use tonic::Status;

use super::api::Api;
use super::backend::Backend;
use super::changes::{NotDone, adds_voter};
use super::grpc::{Call, Terms};
use super::refusal::Refusal;
use crate::member_contact::MemberContact;
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse,
};

/// How often an id is chosen for a new member. Each time but the first, somebody else was given the one before.
const ID_CHOICES_MAX: u32 = 16;

/// Lists the members of the configuration in force.
pub(super) async fn member_list<B: Backend>(
    api: &Api<B>,
    call: Call<MemberListRequest>,
) -> Result<MemberListResponse, Status> {
    api.check_terms(&call.terms)?;
    if call.message.linearizable {
        api.barrier(&call.terms).await?;
    }
    Ok(MemberListResponse {
        header: Some(api.current_header()),
        members: api.members(&api.membership()),
    })
}

/// Adds a member, under the next id.
pub(super) async fn member_add<B: Backend>(
    api: &Api<B>,
    call: Call<MemberAddRequest>,
) -> Result<MemberAddResponse, Status> {
    let Call { message, terms } = call;
    api.check_terms(&terms)?;
    let contact = MemberContact {
        peer_urls: message.peer_urls,
        ..MemberContact::default()
    };
    let mut id_min = NodeId(0);
    for _ in 0..ID_CHOICES_MAX {
        // Each time anew: whoever was given the id before may have been given the address, too.
        let membership = api.confirmed_membership(&terms).await?;
        let id = next_id(membership.highest_id()).max(id_min);
        let contact = api.contacts(&membership).set(id, contact.clone());
        let contact = Some(contact.map_err(Refusal::into_etcd_status)?);
        let change = match message.is_learner {
            true => MemberChange::AddLearner { id, contact },
            false => MemberChange::AddVoter { id, contact },
        };
        match api.change_membership(&[change], &terms).await {
            Ok(changed) => {
                return Ok(MemberAddResponse {
                    header: Some(api.current_header()),
                    member: Some(api.member(&changed.membership, id)),
                    members: api.members(&changed.membership),
                });
            }
            Err(not_done) => match id_after(&not_done) {
                Some(next) => id_min = next,
                None => return Err(not_done.refusal(!message.is_learner).into_etcd_status()),
            },
        }
    }
    let error = ChangeMembershipError::Refused(RefusalReason::MembershipChangePending);
    Err(Refusal::of_change(error, !message.is_learner).into_etcd_status())
}

/// Removes a member.
pub(super) async fn member_remove<B: Backend>(
    api: &Api<B>,
    call: Call<MemberRemoveRequest>,
) -> Result<MemberRemoveResponse, Status> {
    let change = MemberChange::Remove(NodeId(call.message.id));
    let members = change_one(api, change, &call.terms).await?;
    Ok(MemberRemoveResponse {
        header: Some(api.current_header()),
        members,
    })
}

/// Makes a learner a voter.
pub(super) async fn member_promote<B: Backend>(
    api: &Api<B>,
    call: Call<MemberPromoteRequest>,
) -> Result<MemberPromoteResponse, Status> {
    let change = MemberChange::Promote(NodeId(call.message.id));
    let members = change_one(api, change, &call.terms).await?;
    Ok(MemberPromoteResponse {
        header: Some(api.current_header()),
        members,
    })
}

/// Gives a member other addresses. Its name and its addresses for clients stay.
pub(super) async fn member_update<B: Backend>(
    api: &Api<B>,
    call: Call<MemberUpdateRequest>,
) -> Result<MemberUpdateResponse, Status> {
    let Call { message, terms } = call;
    api.check_terms(&terms)?;
    let id = NodeId(message.id);
    let membership = api.confirmed_membership(&terms).await?;
    let mut contacts = api.contacts(&membership);
    let Some(contact) = contacts.of(id).cloned() else {
        return Err(Refusal::not_a_member(ChangeError::NotAMember(id)).into_etcd_status());
    };
    let contact = MemberContact {
        peer_urls: message.peer_urls,
        ..contact
    };
    let contact = contacts.set(id, contact).map_err(Refusal::into_etcd_status)?;
    let members = match membership.contact(id) == Some(&contact) {
        // To etcd it is no mistake to say what is already so.
        true => api.members(&membership),
        false => change_one(api, MemberChange::SetContact { id, contact }, &terms).await?,
    };
    Ok(MemberUpdateResponse {
        header: Some(api.current_header()),
        members,
    })
}

async fn change_one<B: Backend>(
    api: &Api<B>,
    change: MemberChange,
    terms: &Terms,
) -> Result<Vec<Member>, Status> {
    api.check_terms(terms)?;
    let changes = [change];
    match api.change_membership(&changes, terms).await {
        Ok(changed) => Ok(api.members(&changed.membership)),
        Err(not_done) => Err(not_done.refusal(adds_voter(&changes)).into_etcd_status()),
    }
}

/// The id to try next, if a member was refused for having one that is in use by now.
fn id_after(not_done: &NotDone<ChangeMembershipError>) -> Option<NodeId> {
    let NotDone::Said(ChangeMembershipError::Refused(RefusalReason::Membership(error))) = not_done else {
        return None;
    };
    match error {
        ChangeError::AlreadyMember(id) => Some(next_id(*id)),
        ChangeError::IdUsed { highest_id, .. } => Some(next_id(*highest_id)),
        _ => None,
    }
}

fn next_id(highest_id: NodeId) -> NodeId {
    NodeId(highest_id.0.saturating_add(1))
}
