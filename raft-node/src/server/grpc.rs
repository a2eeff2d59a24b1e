//! One unary gRPC call: its limits, and what the client demands of every method alike.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::api::REQUEST_BYTES_MAX;
use super::error;

/// How many bytes one message of a client may have: a command of the largest size and what stands around it, as in
/// etcd. A larger one is refused before memory is set aside for it.
pub(super) const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + 512 * 1024;

/// The message of a call, and its terms.
pub(super) struct Call<M> {
    pub(super) message: M,
    pub(super) terms: Terms,
}

/// What a client demands of any call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long the client waits; `None` if it does not say.
    pub(super) timeout: Option<Duration>,
    /// Whether the client wants an error at once from a node that knows no leader.
    pub(super) require_leader: bool,
}

impl Terms {
    fn of(headers: &HeaderMap) -> Terms {
        Terms {
            timeout: headers
                .get("grpc-timeout")
                .and_then(|value| parse_timeout(value.to_str().ok()?)),
            require_leader: headers.get("hasleader").is_some_and(|value| value == "true"),
        }
    }
}

/// Reads the value of the header `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Decodes the one message of `request`, calls `method` with it, and encodes the result.
pub(super) async fn unary<B, M, R, F, Fut>(request: Request<B>, mut method: F) -> Response<Body>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    M: Message + Default + Send + 'static,
    R: Message + Send + 'static,
    F: FnMut(Call<M>) -> Fut,
    Fut: Future<Output = Result<R, Status>>,
{
    let terms = Terms::of(request.headers());
    let method = Method(|message: tonic::Request<M>| {
        let answer = method(Call {
            message: message.into_inner(),
            terms,
        });
        async { answer.await.map(tonic::Response::new) }
    });
    let mut grpc = Grpc::new(ProstCodec::<R, M>::default()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = grpc.unary(method, request).await;
    match refused_by_size(response.headers()) {
        true => error::message_too_large().into_http(),
        false => response,
    }
}

/// Whether the decoder refused the message for its size. It says so with a code that etcd's clients read as a revision
/// out of range.
fn refused_by_size(headers: &HeaderMap) -> bool {
    // A call that went well has its status in the trailers and none in the headers.
    let Some(code) = headers.get("grpc-status") else {
        return false;
    };
    let text = headers
        .get("grpc-message")
        .map_or(&b""[..], |text| text.as_bytes());
    Code::from_bytes(code.as_bytes()) == Code::OutOfRange && !text.starts_with(b"etcdserver")
}

/// Lets a closure be the method of a call without a boxed future.
struct Method<F>(F);

impl<F, Fut, M, R> UnaryService<M> for Method<F>
where
    F: FnMut(tonic::Request<M>) -> Fut,
    Fut: Future<Output = Result<tonic::Response<R>, Status>>,
{
    type Response = R;
    type Future = Fut;

    fn call(&mut self, request: tonic::Request<M>) -> Fut {
        (self.0)(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        assert_eq!(parse_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout("4999908u"), Some(Duration::from_micros(4_999_908)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for wrong in ["", "S", "5", "-5S", "123456789S", "5s", "5µ"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong:?}");
        }
    }
}
