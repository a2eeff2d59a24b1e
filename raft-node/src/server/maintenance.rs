//! The Maintenance service: Status, MoveLeader, and Alarm as far as there are alarms.

use raft_core::status::Status as ReplicaStatus;
use raft_core::types::NodeId;
use tonic::Status;

use super::api::{Api, has_leader};
use super::backend::Backend;
use super::error;
use super::grpc::Call;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, MoveLeaderRequest, MoveLeaderResponse, StatusRequest, StatusResponse,
};

/// The version of etcd whose API this node speaks. Clients parse it to learn what they may ask for, so it is a plain
/// version number, and the oldest whose methods we aim at.
pub(super) const API_VERSION: &str = "3.5.0";

/// The state of this member. Answered without a leader, too.
pub(super) async fn status<B: Backend>(
    api: &Api<B>,
    _call: Call<StatusRequest>,
) -> Result<StatusResponse, Status> {
    let bytes = i64::try_from(api.backend.store_bytes()).unwrap_or(i64::MAX);
    let mut response = api.backend.with_status(describe);
    response.header = Some(api.current_header());
    response.version = API_VERSION.to_owned();
    response.db_size = bytes;
    // The store compacts itself; there is no free space inside it that could be given back.
    response.db_size_in_use = bytes;
    Ok(response)
}

/// What the replica itself says.
fn describe(status: &ReplicaStatus) -> StatusResponse {
    let errors = match has_leader(status) {
        true => Vec::new(),
        false => vec![error::NO_LEADER.to_owned()],
    };
    StatusResponse {
        leader: status.leader.map_or(0, |leader| leader.0),
        raft_index: status.commit_index.0,
        raft_term: status.term.0,
        raft_applied_index: status.applied_index.0,
        errors,
        is_learner: status.membership.learners().contains(&status.id),
        ..StatusResponse::default()
    }
}

/// Lets another member lead. Unlike etcd's members, any member takes the request.
pub(super) async fn move_leader<B: Backend>(
    api: &Api<B>,
    call: Call<MoveLeaderRequest>,
) -> Result<MoveLeaderResponse, Status> {
    api.check_terms(&call.terms)?;
    let target = NodeId(call.message.target_id);
    match api.transfer_leadership(target, &call.terms).await {
        Ok(_term) => Ok(MoveLeaderResponse {
            header: Some(api.current_header()),
        }),
        Err(not_done) => Err(not_done.refusal().into_etcd_status()),
    }
}

/// Lists the alarms. Nothing can raise one yet, so there are none, and none can be raised or cleared.
pub(super) async fn alarm<B: Backend>(
    api: &Api<B>,
    call: Call<AlarmRequest>,
) -> Result<AlarmResponse, Status> {
    match call.message.action() {
        AlarmAction::Get => Ok(AlarmResponse {
            header: Some(api.current_header()),
            alarms: Vec::new(),
        }),
        action => Err(error::not_implemented(&format!(
            "etcdserverpb.Maintenance/Alarm with action {}",
            action.as_str_name()
        ))),
    }
}
