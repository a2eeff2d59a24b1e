//! What every method shares: who answers, how long a request may take, and how a command or a read reaches the node.
//!
//! A request that the node refuses because nobody leads waits here for a leader, as long as its time allows: nothing
//! was done, so trying again is safe. A command whose outcome is unknown is never tried again.

use std::future::Future;
use std::time::{Duration, Instant};

use raft_core::status::Status as ReplicaStatus;
use raft_kv::{Command, RangeRequest, RangeResponse, Response};
use tonic::Status;

use super::backend::{Backend, Failure};
use super::error;
use super::grpc::Terms;
use super::identity::Identity;
use super::metrics::{Metrics, Outcome, RequestCounters};
use crate::proto::etcdserverpb::ResponseHeader;

/// How many bytes a command may have once it is encoded; etcd's limit.
///
/// [`Config::entry_bytes_max`](raft_core::config::Config::entry_bytes_max) must not be below it.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 + 512 * 1024;

/// How long a request may wait in queues, for disks and in the store.
const SERVICE_TIME: Duration = Duration::from_secs(5);

/// How many elections a request may outlive.
const ELECTIONS_PER_REQUEST: u32 = 2;

/// After a refusal for want of a leader, how long to wait before trying again although no change was seen: the
/// replica that refused may be another one, whose state is not visible here.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One node's answer to its clients.
pub(super) struct Api<B> {
    pub(super) backend: B,
    pub(super) identity: Identity,
    pub(super) metrics: Metrics,
    request_time_max: Duration,
}

impl<B: Backend> Api<B> {
    /// The API of a node whose election timeout is `election_timeout`.
    pub(super) fn new(backend: B, identity: Identity, election_timeout: Duration) -> Api<B> {
        Api {
            backend,
            identity,
            metrics: Metrics::default(),
            request_time_max: SERVICE_TIME + election_timeout * ELECTIONS_PER_REQUEST,
        }
    }

    /// The header of a response at `revision`.
    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.backend.with_status(|status| status.term.0),
        }
    }

    /// The header of a response that concerns no revision in particular.
    pub(super) fn current_header(&self) -> ResponseHeader {
        self.header(self.backend.revision())
    }

    /// Refuses a client that wants no answer from a node without a leader.
    pub(super) fn check_terms(&self, terms: &Terms) -> Result<(), Status> {
        match terms.require_leader && !self.backend.with_status(has_leader) {
            true => Err(error::no_leader()),
            false => Ok(()),
        }
    }

    /// Replicates and applies a command.
    pub(super) async fn propose(&self, command: Command, terms: &Terms) -> Result<Response, Status> {
        let started = Instant::now();
        let result = self.propose_in_time(command, terms).await;
        record(&self.metrics.proposals, started, &result);
        result.map_err(Missed::into_status)
    }

    async fn propose_in_time(&self, command: Command, terms: &Terms) -> Result<Response, Missed> {
        let command = command.encode();
        if command.len() > REQUEST_BYTES_MAX {
            return Err(Failure::TooLarge.into());
        }
        // Whether the command may be on its way when the time is over.
        let mut in_flight = true;
        let attempts = async {
            loop {
                match self.backend.propose(command.clone()).await {
                    Err(Failure::NoLeader) => in_flight = false,
                    result => break result,
                }
                self.wait_for_change().await;
                in_flight = true;
            }
        };
        let outcome = match self.within_time(terms, attempts).await {
            Ok(result) => result?,
            Err(missed) if in_flight => return Err(missed),
            Err(_) => return Err(Failure::NoLeader.into()),
        };
        match Response::decode_outcome(&outcome) {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(refusal)) => Err(Failure::Refused(refusal).into()),
            Err(error) => Err(Failure::Internal(error.to_string()).into()),
        }
    }

    /// Reads a range that sees every write that was acknowledged before the call.
    pub(super) async fn read_linearizable(
        &self,
        request: RangeRequest,
        terms: &Terms,
    ) -> Result<RangeResponse, Status> {
        let started = Instant::now();
        let result = async {
            self.confirm_read(terms).await?;
            Ok(self.backend.range(request).await?)
        }
        .await;
        record(&self.metrics.linearizable_reads, started, &result);
        result.map_err(Missed::into_status)
    }

    /// Reads a range as this node has it, which may be behind, but never what it once had and lost (R75).
    pub(super) async fn read_serializable(
        &self,
        request: RangeRequest,
        terms: &Terms,
    ) -> Result<RangeResponse, Status> {
        let started = Instant::now();
        let result = async {
            self.wait_until_ready(terms).await?;
            Ok(self.backend.range(request).await?)
        }
        .await;
        record(&self.metrics.serializable_reads, started, &result);
        result.map_err(Missed::into_status)
    }

    /// Returns when the local store holds every write that was acknowledged before the call.
    pub(super) async fn barrier(&self, terms: &Terms) -> Result<(), Status> {
        self.confirm_read(terms).await.map_err(Missed::into_status)
    }

    /// Returns when the local store is fit to be read.
    pub(super) async fn readable(&self, terms: &Terms) -> Result<(), Status> {
        self.wait_until_ready(terms).await.map_err(Missed::into_status)
    }

    async fn confirm_read(&self, terms: &Terms) -> Result<(), Missed> {
        let mut last = None;
        let attempts = async {
            loop {
                match self.backend.read_barrier().await {
                    Err(failure @ (Failure::NoLeader | Failure::LeaderLost | Failure::Unknown)) => {
                        last = Some(failure);
                    }
                    result => break result,
                }
                self.wait_for_change().await;
            }
        };
        match self.within_time(terms, attempts).await {
            Ok(result) => Ok(result?),
            Err(missed) => match last {
                Some(Failure::NoLeader) => Err(Failure::NoLeader.into()),
                Some(_) => Err(Failure::LeaderLost.into()),
                None => Err(missed),
            },
        }
    }

    async fn wait_until_ready(&self, terms: &Terms) -> Result<(), Missed> {
        let ready = |backend: &B| backend.with_status(|status| status.ready);
        if ready(&self.backend) {
            return Ok(());
        }
        let attempts = async {
            while !ready(&self.backend) {
                self.wait_for_change().await;
            }
        };
        self.within_time(terms, attempts).await
    }

    /// Waits for a change of the replica's state, which may bring a leader; not for long.
    pub(super) async fn wait_for_change(&self) {
        // Either way the caller tries again.
        let _ = tokio::time::timeout(RETRY_PAUSE, self.backend.status_changed()).await;
    }

    /// Runs `work` until the request's time is over.
    pub(super) async fn within_time<T>(
        &self,
        terms: &Terms,
        work: impl Future<Output = T>,
    ) -> Result<T, Missed> {
        let (limit, missed) = match terms.timeout {
            Some(timeout) if timeout < self.request_time_max => (timeout, Missed::ClientTime),
            _ => (self.request_time_max, Missed::ServerTime),
        };
        tokio::time::timeout(limit, work).await.map_err(|_elapsed| missed)
    }
}

/// Whether the replica knows a leader.
pub(super) fn has_leader(status: &ReplicaStatus) -> bool {
    status.leader.is_some()
}

/// Why a request was not served.
#[derive(Debug)]
pub(super) enum Missed {
    /// The node said why.
    Failure(Failure),
    /// The time that the client gave is over.
    ClientTime,
    /// The time that the server gives is over.
    ServerTime,
}

impl Missed {
    pub(super) fn into_status(self) -> Status {
        match self {
            Missed::Failure(failure) => failure.into(),
            Missed::ClientTime => error::deadline_exceeded(),
            Missed::ServerTime => error::timed_out(),
        }
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Missed {
        Missed::Failure(failure)
    }
}

fn record<T>(counters: &RequestCounters, started: Instant, result: &Result<T, Missed>) {
    let outcome = match result {
        Ok(_) => Outcome::Ok,
        Err(Missed::Failure(failure)) => Outcome::of_failure(failure),
        Err(Missed::ClientTime | Missed::ServerTime) => Outcome::Unknown,
    };
    counters.record(outcome, started.elapsed());
}
