//! What people, load balancers and Prometheus ask over plain HTTP: `/health`, `/livez`, `/readyz`, `/why`, `/version`,
//! `/metrics` and `/debug/recording`.
//!
//! Paths, parameters and answers of the health pages are etcd's, so that existing probes work. A probe never waits for
//! a leader: a node that knows none says so at once.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use raft_core::explain::Question;
use serde_json::{Value, json};
use tonic::Status;

use super::api::{Api, has_leader};
use super::backend::Backend;
use super::grpc::Terms;
use super::maintenance::API_VERSION;
use super::{metrics, why};

/// How a probe asks: an error at once if there is no leader, and no time limit but the server's.
const PROBE_TERMS: Terms = Terms {
    timeout: None,
    require_leader: true,
};

/// Everything that is not gRPC.
pub(super) fn router<B: Backend>(api: Arc<Api<B>>) -> Router {
    Router::new()
        .route("/health", get(health::<B>))
        .route("/livez", get(livez::<B>))
        .route("/livez/{check}", get(livez_check::<B>))
        .route("/readyz", get(readyz::<B>))
        .route("/readyz/{check}", get(readyz_check::<B>))
        .route("/version", get(version::<B>))
        .route("/metrics", get(metrics_page::<B>))
        .route("/debug/recording", get(recording::<B>))
        .route("/why", get(why_page::<B>))
        .fallback(not_found)
        .with_state(api)
}

/// One thing that a health page checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// The store of this node can be read.
    SerializableRead,
    /// The cluster has a quorum, and this node is up to date with it.
    LinearizableRead,
}

/// Whether the process works: if not, restart it.
const LIVEZ: &[Check] = &[Check::SerializableRead];

/// Whether the node can serve: if not, send clients elsewhere.
const READYZ: &[Check] = &[Check::SerializableRead, Check::LinearizableRead];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
        }
    }

    async fn run<B: Backend>(self, api: &Api<B>) -> Result<(), Status> {
        match self {
            Check::SerializableRead => api.readable(&PROBE_TERMS).await,
            Check::LinearizableRead => {
                api.check_terms(&PROBE_TERMS)?;
                api.barrier(&PROBE_TERMS).await
            }
        }
    }
}

/// The parameters of a page, in the order in which they were given.
type Parameters = Query<Vec<(String, String)>>;

fn has(parameters: &Parameters, name: &str, value: Option<&str>) -> bool {
    parameters
        .iter()
        .any(|(given, with)| given == name && value.is_none_or(|value| value == with))
}

/// The page of etcd 3.4 and 3.5: one JSON object. `?serializable=true` asks about this node alone.
async fn health<B: Backend>(State(api): State<Arc<Api<B>>>, parameters: Parameters) -> Response {
    let serializable = has(&parameters, "serializable", Some("true"));
    if !serializable && !api.backend.with_status(has_leader) {
        return json_page(StatusCode::SERVICE_UNAVAILABLE, &unhealthy("RAFT NO LEADER"));
    }
    let check = match serializable {
        true => Check::SerializableRead,
        false => Check::LinearizableRead,
    };
    match check.run(&api).await {
        Ok(()) => json_page(StatusCode::OK, &json!({"health": "true", "reason": ""})),
        Err(status) => {
            let reason = format!("RANGE ERROR:{}", status.message());
            json_page(StatusCode::SERVICE_UNAVAILABLE, &unhealthy(&reason))
        }
    }
}

fn unhealthy(reason: &str) -> Value {
    json!({"health": "false", "reason": reason})
}

async fn livez<B: Backend>(State(api): State<Arc<Api<B>>>, parameters: Parameters) -> Response {
    run_checks(&api, LIVEZ, &parameters).await
}

async fn readyz<B: Backend>(State(api): State<Arc<Api<B>>>, parameters: Parameters) -> Response {
    run_checks(&api, READYZ, &parameters).await
}

async fn livez_check<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Response {
    run_one_check(&api, LIVEZ, &name, &parameters).await
}

async fn readyz_check<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Response {
    run_one_check(&api, READYZ, &name, &parameters).await
}

async fn run_one_check<B: Backend>(
    api: &Api<B>,
    checks: &[Check],
    name: &str,
    parameters: &Parameters,
) -> Response {
    match checks.iter().position(|check| check.name() == name) {
        Some(place) => run_checks(api, &checks[place..=place], parameters).await,
        None => not_found().await,
    }
}

/// Runs the checks that `?exclude=` does not name. Prints each result if one fails, or if `?verbose` asks for it.
async fn run_checks<B: Backend>(api: &Api<B>, checks: &[Check], parameters: &Parameters) -> Response {
    let mut report = String::new();
    let mut healthy = true;
    for check in checks {
        let name = check.name();
        if has(parameters, "exclude", Some(name)) {
            continue;
        }
        let line = match check.run(api).await {
            Ok(()) => writeln!(report, "[+]{name} ok"),
            Err(status) => {
                healthy = false;
                writeln!(report, "[-]{name} failed: {}", status.message())
            }
        };
        line.expect("writing to a string never fails");
    }
    if !healthy {
        return (StatusCode::SERVICE_UNAVAILABLE, report).into_response();
    }
    if !has(parameters, "verbose", None) {
        report.clear();
    }
    report.push_str("ok\n");
    report.into_response()
}

/// The version of the API that this node speaks, where etcd's clients look for it, and the version of this program.
async fn version<B: Backend>(State(api): State<Arc<Api<B>>>) -> Response {
    let versions = json!({
        "etcdserver": API_VERSION,
        "etcdcluster": API_VERSION,
        "raft-node": api.identity.version,
    });
    json_page(StatusCode::OK, &versions)
}

async fn metrics_page<B: Backend>(State(api): State<Arc<Api<B>>>) -> Response {
    let explanation = api.backend.explain(Question::WhatIsWrong).await;
    let cause = explanation.map(|explanation| explanation.label());
    match metrics::render(&api.metrics, &api.backend, cause) {
        Ok(page) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What the memory has of everything that this node was given, for `raft-node replay`.
async fn recording<B: Backend>(State(api): State<Arc<Api<B>>>) -> Response {
    match api.backend.recording() {
        Some(recording) => ([(CONTENT_TYPE, "application/octet-stream")], recording).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            "nothing is recorded: --record-memory-bytes is 0\n",
        )
            .into_response(),
    }
}

/// Why something is as it is.
async fn why_page<B: Backend>(State(api): State<Arc<Api<B>>>, parameters: Parameters) -> Response {
    why::page(&api.backend, &parameters).await
}

async fn not_found() -> Response {
    let hint =
        "no such page; there are /health, /livez, /readyz, /why, /version, /metrics and /debug/recording\n";
    (StatusCode::NOT_FOUND, hint).into_response()
}

fn json_page(status: StatusCode, content: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], content.to_string()).into_response()
}
