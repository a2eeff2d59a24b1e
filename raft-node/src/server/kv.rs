//! The KV service: Range, Put and DeleteRange.
//!
//! Checks what etcd checks before it looks at the store, in the same order, so that clients get the same error.

use raft_kv::{KvError, Response};
use tonic::Status;

use super::api::Api;
use super::backend::{Backend, Failure};
use super::convert;
use super::error::refused;
use super::grpc::Call;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};

/// Reads the keys of a range.
pub(super) async fn range<B: Backend>(
    api: &Api<B>,
    call: Call<RangeRequest>,
) -> Result<RangeResponse, Status> {
    let Call { message, terms } = call;
    if message.key.is_empty() {
        return Err(refused(&KvError::EmptyKey));
    }
    api.check_terms(&terms)?;
    let serializable = message.serializable;
    let request = convert::range_request(message).map_err(|error| refused(&error))?;
    let answer = match serializable {
        true => api.read_serializable(request, &terms).await?,
        false => api.read_linearizable(request, &terms).await?,
    };
    Ok(RangeResponse {
        header: Some(api.header(answer.header.revision)),
        kvs: convert::key_values(answer.kvs),
        more: answer.more,
        count: answer.count,
    })
}

/// Writes one key.
pub(super) async fn put<B: Backend>(api: &Api<B>, call: Call<PutRequest>) -> Result<PutResponse, Status> {
    let Call { message, terms } = call;
    check_put(&message).map_err(|error| refused(&error))?;
    api.check_terms(&terms)?;
    match api.propose(convert::put_command(message), &terms).await? {
        Response::Put(answer) => Ok(PutResponse {
            header: Some(api.header(answer.header.revision)),
            prev_kv: answer.prev_kv.map(convert::key_value),
        }),
        other => Err(wrong_answer("Put", &other)),
    }
}

/// Deletes the keys of a range.
pub(super) async fn delete_range<B: Backend>(
    api: &Api<B>,
    call: Call<DeleteRangeRequest>,
) -> Result<DeleteRangeResponse, Status> {
    let Call { message, terms } = call;
    if message.key.is_empty() {
        return Err(refused(&KvError::EmptyKey));
    }
    api.check_terms(&terms)?;
    match api.propose(convert::delete_command(message), &terms).await? {
        Response::DeleteRange(answer) => Ok(DeleteRangeResponse {
            header: Some(api.header(answer.header.revision)),
            deleted: answer.deleted,
            prev_kvs: convert::key_values(answer.prev_kvs),
        }),
        other => Err(wrong_answer("DeleteRange", &other)),
    }
}

fn check_put(request: &PutRequest) -> Result<(), KvError> {
    if request.key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

/// The state machine answered a command with the response to another one: a defect, not the client's mistake.
fn wrong_answer(command: &str, answer: &Response) -> Status {
    Failure::Internal(format!("the store answered {command} with {answer:?}")).into()
}
