//! `/why`: the node explains what is wrong, for people as a paragraph and for programs as JSON.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use raft_core::effect::RoleKind;
use raft_core::explain::{Explanation, Question};
use raft_core::types::{Index, NodeId};

use super::backend::Backend;
use crate::why::Why;

/// The answer to the parameters of a request: `index=N`, `member=ID` or `leader`, and `format=json`.
pub(super) async fn page<B: Backend>(backend: &B, parameters: &[(String, String)]) -> Response {
    let question = match question(parameters) {
        Ok(question) => question,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    let Some(explanation) = backend.explain(question).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the node stops\n").into_response();
    };
    if parameters
        .iter()
        .any(|(name, value)| name == "format" && value == "json")
    {
        let leads = backend.with_status(|status| status.role == RoleKind::Leader);
        return match serde_json::to_string(&told(&explanation, leads)) {
            Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        };
    }
    format!("{explanation}\n").into_response()
}

fn question(parameters: &[(String, String)]) -> Result<Question, String> {
    for (name, value) in parameters {
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{name}={value:?} is not a whole number\n"))
        };
        match name.as_str() {
            "index" => return Ok(Question::NotApplied(Index(number()?))),
            "member" => return Ok(Question::Lagging(NodeId(number()?))),
            "leader" => return Ok(Question::LeaderChange),
            "format" => {}
            _ => return Err("the parameters are index=N, member=ID, leader and format=json\n".to_owned()),
        }
    }
    Ok(Question::WhatIsWrong)
}

/// An explanation as programs read it.
fn told(explanation: &Explanation, leads: bool) -> Why {
    Why {
        node: explanation.by.0,
        leads,
        severity: explanation.severity() as u8,
        cause: explanation.label().to_owned(),
        text: explanation.to_string(),
        silent: explanation.silent().into_iter().map(|node| node.0).collect(),
    }
}
