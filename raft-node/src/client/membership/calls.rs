//! The questions and the requests.

use std::time::Duration;

use tonic::Code;

use super::values::{Changed, Members, Preview, Step};
use crate::client::endpoints::{self, Endpoint};
use crate::client::error::{ClientError, Failed, reason};
use crate::proto::raftnode as wire;
use crate::proto::raftnode::leadership_client::LeadershipClient;
use crate::proto::raftnode::membership_client::MembershipClient;

/// Asks for the members: of the first endpoint that answers, which confirms them with the cluster if `linearizable`.
pub async fn describe(
    endpoints: &[Endpoint],
    linearizable: bool,
    timeout: Duration,
) -> Result<Members, ClientError> {
    let request = wire::DescribeRequest { linearizable };
    let answer = endpoints::first_answer(endpoints, timeout, |channel| async move {
        MembershipClient::new(channel).describe(request).await
    });
    Ok(answer.await?.into())
}

/// The endpoint that is asked for a change, and the members as it has them: the first that is a member and knows a leader,
/// or else the first that answers.
pub async fn choose(endpoints: &[Endpoint], timeout: Duration) -> Result<(Endpoint, Members), ClientError> {
    let mut second_best = None;
    let mut failed = Vec::new();
    let request = wire::DescribeRequest { linearizable: false };
    for endpoint in endpoints {
        let answer = endpoints::answer(endpoint, timeout, |channel| async move {
            MembershipClient::new(channel).describe(request).await
        });
        match answer.await.map(Members::from) {
            // Who was removed may know a leader still, who does not listen to him any more.
            Ok(members) if members.leader != 0 && members.has(members.id) => {
                return Ok((endpoint.clone(), members));
            }
            Ok(members) => {
                second_best.get_or_insert((endpoint.clone(), members));
            }
            Err(status) => failed.push(Failed {
                endpoint: endpoint.url().to_owned(),
                reason: reason(&status),
            }),
        }
    }
    second_best.ok_or(ClientError::NoAnswer(failed))
}

/// Asks what `steps` would do.
pub async fn preview(endpoint: &Endpoint, steps: &[Step], timeout: Duration) -> Result<Preview, ClientError> {
    let request = request(steps);
    let answer = endpoints::answer(endpoint, timeout, |channel| async move {
        MembershipClient::new(channel).preview(request).await
    });
    answer
        .await
        .map(Preview::from)
        .map_err(|status| refused(endpoint, &status))
}

/// Changes the members: all of `steps` as one change.
pub async fn change(endpoint: &Endpoint, steps: &[Step], timeout: Duration) -> Result<Changed, ClientError> {
    let request = request(steps);
    let answer = endpoints::answer(endpoint, timeout, |channel| async move {
        MembershipClient::new(channel).change(request).await
    });
    answer
        .await
        .map(Changed::from)
        .map_err(|status| refused(endpoint, &status))
}

/// Lets the voter `target` lead; its term.
pub async fn move_leader(endpoint: &Endpoint, target: u64, timeout: Duration) -> Result<u64, ClientError> {
    let answer = endpoints::answer(endpoint, timeout, |channel| async move {
        LeadershipClient::new(channel)
            .transfer(wire::TransferRequest { target })
            .await
    });
    match answer.await {
        Ok(response) => Ok(response.term),
        Err(status) => Err(refused(endpoint, &status)),
    }
}

/// Why a request to `endpoint` came to nothing, or may have.
fn refused(endpoint: &Endpoint, status: &tonic::Status) -> ClientError {
    let endpoint = endpoint.url().to_owned();
    // What the server says has no cause on this side, and no time limit but its own.
    let is_lost = std::error::Error::source(status).is_some()
        || matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    match is_lost {
        true => ClientError::Unanswered {
            endpoint,
            reason: reason(status),
        },
        false => ClientError::Refused {
            endpoint,
            message: status.message().to_owned(),
        },
    }
}

fn request(steps: &[Step]) -> wire::ChangeRequest {
    wire::ChangeRequest {
        changes: steps.iter().map(wire::Change::from).collect(),
    }
}
