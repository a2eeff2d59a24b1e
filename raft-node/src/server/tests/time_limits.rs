//! How long a request may take, and what is tried again meanwhile. Without a network: time is the test's own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use raft_core::types::NodeId;
use raft_kv::{Command, Header, PutRequest, PutResponse, RangeRequest, RangeResponse, Response};
use tokio::time::Instant;
use tonic::Code;

use super::{FakeNode, Reply, api};
use crate::server::backend::Failure;
use crate::server::grpc::Terms;

/// Five seconds and two election timeouts of one second.
const SERVER_TIME: Duration = Duration::from_secs(7);

fn a_command() -> Command {
    Command::Put(PutRequest {
        key: "k".into(),
        ..Default::default()
    })
}

fn a_response() -> Response {
    Response::Put(PutResponse {
        header: Header { revision: 2 },
        prev_kv: None,
    })
}

/// R45: a command that is in flight when the time is over is not a success; it may still be applied.
#[tokio::test(start_paused = true)]
async fn a_command_without_an_answer_times_out() {
    let api = api(FakeNode::new().proposing(|_| Reply::Never));
    let started = Instant::now();
    let status = api.propose(a_command(), &Terms::default()).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), SERVER_TIME.as_secs());
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: request timed out")
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_with_less_time_is_answered_earlier() {
    let api = api(FakeNode::new().proposing(|_| Reply::Never));
    let terms = Terms {
        timeout: Some(Duration::from_secs(2)),
        ..Default::default()
    };
    let started = Instant::now();
    let status = api.propose(a_command(), &terms).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

/// R20: a refusal means that nothing was done, so the command may wait for the next leader and be tried again.
#[tokio::test(start_paused = true)]
async fn a_refused_command_waits_for_a_leader() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let api = api(FakeNode::new().without_leader().proposing(move |_| {
        match counted.fetch_add(1, Ordering::Relaxed) {
            0..3 => Reply::With(Err(Failure::NoLeader)),
            _ => Reply::With(Ok(Ok(a_response()))),
        }
    }));
    let response = api.propose(a_command(), &Terms::default()).await.unwrap();
    assert_eq!(response, a_response());
    assert_eq!(attempts.load(Ordering::Relaxed), 4);
}

/// A change of the replica's state ends the wait at once.
#[tokio::test(start_paused = true)]
async fn a_new_leader_ends_the_wait_of_a_command() {
    let (attempt, attempts) = mpsc::channel();
    let api = api(FakeNode::new().without_leader().proposing(move |_| {
        attempt.send(Instant::now()).unwrap();
        Reply::With(Err(Failure::NoLeader))
    }));
    let electing = Arc::clone(&api);
    let terms = Terms {
        timeout: Some(Duration::from_millis(20)),
        ..Default::default()
    };
    let (result, ()) = tokio::join!(api.propose(a_command(), &terms), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        electing
            .backend
            .status
            .send_modify(|status| status.leader = Some(NodeId(3)));
    });
    result.unwrap_err();
    let times: Vec<Instant> = attempts.try_iter().collect();
    assert_eq!(times.len(), 2);
    assert_eq!(times[1].duration_since(times[0]), Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_finds_no_leader_in_time_says_so() {
    let node = FakeNode::new().without_leader();
    let api = api(node.proposing(|_| Reply::With(Err(Failure::NoLeader))));
    let started = Instant::now();
    let status = api.propose(a_command(), &Terms::default()).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), SERVER_TIME.as_secs());
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
}

/// A command whose outcome is unknown is never proposed twice: it could be applied twice.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_not_tried_again() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let api = api(FakeNode::new().proposing(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::With(Err(Failure::Unknown))
    }));
    let status = api.propose(a_command(), &Terms::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}

/// R44: a read is repeated until it is confirmed; reading twice does no harm.
#[tokio::test(start_paused = true)]
async fn an_unconfirmed_read_is_tried_again() {
    let mut failures = vec![Failure::LeaderLost, Failure::NoLeader];
    let node = FakeNode::new()
        .confirming(move || Reply::With(failures.pop().map_or(Ok(()), Err)))
        .reading(|_| Ok(RangeResponse::default()));
    let api = api(node);
    let request = RangeRequest::default();
    api.read_linearizable(request, &Terms::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_never_confirmed_says_why() {
    let refusals = [
        (Some(Failure::NoLeader), "etcdserver: no leader"),
        (Some(Failure::LeaderLost), "etcdserver: leader changed"),
        (None, "etcdserver: request timed out"),
    ];
    for (failure, text) in refusals {
        let barrier = move || match failure.clone() {
            Some(failure) => Reply::With(Err(failure)),
            None => Reply::Never,
        };
        let api = api(FakeNode::new().confirming(barrier));
        let request = RangeRequest::default();
        let status = api
            .read_linearizable(request, &Terms::default())
            .await
            .unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, text));
    }
}

/// R75: until the replay has reached what was known before the restart, even a serializable read waits.
#[tokio::test(start_paused = true)]
async fn a_serializable_read_waits_for_the_replay() {
    let node = FakeNode::new()
        .not_ready()
        .reading(|_| Ok(RangeResponse::default()));
    let api = api(node);
    let reading = Arc::clone(&api);
    let terms = Terms::default();
    let read = reading.read_serializable(RangeRequest::default(), &terms);
    tokio::pin!(read);
    tokio::select! {
        biased;
        _ = &mut read => panic!("the read did not wait"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    api.backend.status.send_modify(|status| status.ready = true);
    read.await.unwrap();
}
