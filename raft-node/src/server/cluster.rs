//! The Cluster service: MemberList.

use tonic::Status;

use super::api::Api;
use super::backend::Backend;
use super::grpc::Call;
use super::identity::{member_id, member_name};
use crate::proto::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

/// Lists the members of the configuration in force.
pub(super) async fn member_list<B: Backend>(
    api: &Api<B>,
    call: Call<MemberListRequest>,
) -> Result<MemberListResponse, Status> {
    api.check_terms(&call.terms)?;
    if call.message.linearizable {
        api.barrier(&call.terms).await?;
    }
    let membership = api.backend.with_status(|status| status.membership.clone());
    let member = |node| {
        let urls = api.identity.members.get(&node).cloned().unwrap_or_default();
        Member {
            id: member_id(node),
            name: member_name(node),
            peer_urls: urls.peer,
            client_urls: urls.client,
            is_learner: !membership.is_voter(node),
        }
    };
    Ok(MemberListResponse {
        header: Some(api.current_header()),
        members: membership.members().into_iter().map(member).collect(),
    })
}
