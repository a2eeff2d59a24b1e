//! One Put as gRPC over HTTP/2, and what its answer means for the key.

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use prost::Message;
use tonic::Code;

use super::super::endpoints::is_elsewhere_too;
use super::keys::Pair;
use crate::proto::etcdserverpb::PutRequest;

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PutOutcome {
    /// The key is written.
    Acknowledged,
    /// It is not, and no other node would write it.
    Refused(String),
    /// It is not; another attempt may succeed.
    NotDone(String),
    /// It may be.
    Unknown(String),
}

/// The body of a Put: one uncompressed gRPC message.
pub(super) fn body(pair: &Pair) -> Bytes {
    let request = PutRequest {
        key: pair.key.clone(),
        value: pair.value.clone(),
        ..PutRequest::default()
    };
    let length = request.encoded_len();
    let mut body = BytesMut::with_capacity(5 + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows, so there is always room.
    let _ = request.encode(&mut body);
    body.freeze()
}

/// What one attempt came to, and whether its connection still serves.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What happened to the key.
    pub(super) outcome: PutOutcome,
    /// Whether the connection broke.
    pub(super) is_broken: bool,
}

impl Attempt {
    fn not_sent(error: &h2::Error) -> Attempt {
        Attempt {
            outcome: PutOutcome::NotDone(error.to_string()),
            is_broken: true,
        }
    }

    /// What a broken stream means: only one that the server refused to begin is certainly not done.
    fn lost(error: &h2::Error) -> Attempt {
        let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
        Attempt {
            outcome: if is_refused {
                PutOutcome::NotDone(error.to_string())
            } else {
                PutOutcome::Unknown(error.to_string())
            },
            // A reset ends one stream; everything else ends them all.
            is_broken: !error.is_reset(),
        }
    }
}

/// Sends one Put on an open connection.
pub(super) async fn put(connection: SendRequest<Bytes>, uri: &Uri, body: Bytes) -> Attempt {
    let mut connection = match connection.ready().await {
        Ok(connection) => connection,
        Err(error) => return Attempt::not_sent(&error),
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let (response, mut stream) = match connection.send_request(request, false) {
        Ok(sent) => sent,
        Err(error) => return Attempt::not_sent(&error),
    };
    // A failure from here on may come after the server has read everything.
    if let Err(error) = stream.send_data(body, true) {
        return Attempt::lost(&error);
    }
    match receive(response).await {
        Ok(outcome) => Attempt {
            outcome,
            is_broken: false,
        },
        Err(error) => Attempt::lost(&error),
    }
}

async fn receive(response: h2::client::ResponseFuture) -> Result<PutOutcome, h2::Error> {
    let response = response.await?;
    if response.status() != StatusCode::OK {
        return Ok(PutOutcome::Unknown(format!("HTTP status {}", response.status())));
    }
    // A refusal has no body: its status stands in the headers already.
    if response.headers().contains_key("grpc-status") {
        return Ok(outcome(response.headers()));
    }
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        let length = chunk?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(match body.trailers().await? {
        Some(trailers) => outcome(&trailers),
        None => PutOutcome::Unknown("the answer ended without a status".to_owned()),
    })
}

fn outcome(headers: &HeaderMap) -> PutOutcome {
    let status = tonic::Status::from_header_map(headers)
        .unwrap_or_else(|| tonic::Status::unknown("the answer has no readable status"));
    let message = format!("{}: {}", status.code(), status.message());
    match status.code() {
        Code::Ok => PutOutcome::Acknowledged,
        // Turned away before anything was done.
        Code::ResourceExhausted => PutOutcome::NotDone(message),
        Code::Unavailable if is_refusal(status.message()) => PutOutcome::NotDone(message),
        code if is_elsewhere_too(code) => PutOutcome::Refused(message),
        _ => PutOutcome::Unknown(message),
    }
}

/// The texts of etcd's API by which a node says that it did nothing.
fn is_refusal(message: &str) -> bool {
    ["etcdserver: no leader", "etcdserver: not leader"].contains(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: &str, message: &str) -> PutOutcome {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.parse().unwrap());
        headers.insert("grpc-message", message.parse().unwrap());
        outcome(&headers)
    }

    #[test]
    fn only_status_0_is_an_acknowledgement() {
        assert_eq!(judged("0", ""), PutOutcome::Acknowledged);
        assert!(matches!(
            judged("3", "etcdserver: key is not provided"),
            PutOutcome::Refused(_)
        ));
        assert!(matches!(
            judged("14", "etcdserver: no leader"),
            PutOutcome::NotDone(_)
        ));
        assert!(matches!(
            judged("8", "etcdserver: too many requests"),
            PutOutcome::NotDone(_)
        ));
        for code in ["1", "2", "4", "13", "14", "nonsense"] {
            assert!(
                matches!(
                    judged(code, "etcdserver: request timed out"),
                    PutOutcome::Unknown(_)
                ),
                "{code}"
            );
        }
        assert!(matches!(outcome(&HeaderMap::new()), PutOutcome::Unknown(_)));
    }

    #[test]
    fn the_body_is_one_framed_message() {
        let pair = Pair {
            key: "k".into(),
            value: "v".into(),
        };
        let body = body(&pair);
        assert_eq!(&body[..5], &[0, 0, 0, 0, 6]);
        assert_eq!(PutRequest::decode(&body[5..]).unwrap().value, "v");
    }
}
