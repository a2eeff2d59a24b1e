//! Decides who serves a request: the table of gRPC methods, or the pages.
//!
//! Both arrive on one port. The table names every method that is served; any other is refused by its own name.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Incoming;
use tower_service::Service;

use super::api::Api;
use super::backend::Backend;
use super::body::ResponseBody;
use super::grpc::{refusal, unary};
use super::{cluster, error, kv, maintenance, membership, pages};

/// How many requests are served at once. It bounds memory; the node has queues of its own, which are shorter in count
/// of what they accept and answer `Busy`.
const REQUESTS_IN_FLIGHT_MAX: u64 = 65_536;

/// Serves every request of every connection.
pub(super) struct Dispatch<B> {
    api: Arc<Api<B>>,
    pages: Router,
}

impl<B> Clone for Dispatch<B> {
    fn clone(&self) -> Dispatch<B> {
        Dispatch {
            api: Arc::clone(&self.api),
            pages: self.pages.clone(),
        }
    }
}

impl<B: Backend> Dispatch<B> {
    /// Serves `api`.
    pub(super) fn new(api: Arc<Api<B>>) -> Dispatch<B> {
        let pages = pages::router(Arc::clone(&api));
        Dispatch { api, pages }
    }

    /// Serves one request.
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if !is_grpc(&request) {
            return self.page(request).await;
        }
        let api = &*self.api;
        let Some(_slot) = Slot::take(api) else {
            return refusal(&error::too_many_requests());
        };
        // The future of a call is large and what surrounds it moves it several times, hence the boxes.
        match request.uri().path() {
            "/etcdserverpb.KV/Range" => Box::pin(unary(request, |call| kv::range(api, call))).await,
            "/etcdserverpb.KV/Put" => Box::pin(unary(request, |call| kv::put(api, call))).await,
            "/etcdserverpb.KV/DeleteRange" => {
                Box::pin(unary(request, |call| kv::delete_range(api, call))).await
            }
            "/etcdserverpb.Cluster/MemberList" => {
                Box::pin(unary(request, |call| cluster::member_list(api, call))).await
            }
            "/etcdserverpb.Cluster/MemberAdd" => {
                Box::pin(unary(request, |call| cluster::member_add(api, call))).await
            }
            "/etcdserverpb.Cluster/MemberRemove" => {
                Box::pin(unary(request, |call| cluster::member_remove(api, call))).await
            }
            "/etcdserverpb.Cluster/MemberUpdate" => {
                Box::pin(unary(request, |call| cluster::member_update(api, call))).await
            }
            "/etcdserverpb.Cluster/MemberPromote" => {
                Box::pin(unary(request, |call| cluster::member_promote(api, call))).await
            }
            "/etcdserverpb.Maintenance/MoveLeader" => {
                Box::pin(unary(request, |call| maintenance::move_leader(api, call))).await
            }
            "/etcdserverpb.Maintenance/Status" => {
                Box::pin(unary(request, |call| maintenance::status(api, call))).await
            }
            "/etcdserverpb.Maintenance/Alarm" => {
                Box::pin(unary(request, |call| maintenance::alarm(api, call))).await
            }
            "/raftnode.v1.Membership/Describe" => {
                Box::pin(unary(request, |call| membership::describe(api, call))).await
            }
            "/raftnode.v1.Membership/Preview" => {
                Box::pin(unary(request, |call| membership::preview(api, call))).await
            }
            "/raftnode.v1.Membership/Change" => {
                Box::pin(unary(request, |call| membership::change(api, call))).await
            }
            "/raftnode.v1.Leadership/Transfer" => {
                Box::pin(unary(request, |call| membership::transfer(api, call))).await
            }
            other => refusal(&error::not_implemented(other)),
        }
    }

    async fn page(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let answer: Result<_, Infallible> = self.pages.clone().call(request).await;
        match answer {
            Ok(response) => response.map(ResponseBody::Page),
            Err(never) => match never {},
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// One of the requests in flight; leaving gives its place to another.
struct Slot<'a, B>(&'a Api<B>);

impl<B> Slot<'_, B> {
    fn take(api: &Api<B>) -> Option<Slot<'_, B>> {
        let slot = Slot(api);
        let before = api.metrics.requests_in_flight.fetch_add(1, Ordering::Relaxed);
        if before >= REQUESTS_IN_FLIGHT_MAX {
            api.metrics.overloads.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(slot)
    }
}

impl<B> Drop for Slot<'_, B> {
    fn drop(&mut self) {
        self.0.metrics.requests_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
