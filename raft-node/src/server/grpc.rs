//! One unary gRPC call: from the frames of a request to a message, and back.
//!
//! A call is one message in each direction, so nothing here streams: the message is decoded where it arrived, without a
//! copy, and encoded into a buffer of its own size. The library's own path copies both and sets 16 KiB aside per call.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use tonic::Status;

use super::api::REQUEST_BYTES_MAX;
use super::body::{GRPC_STATUS, ResponseBody};
use super::error;

/// What precedes every message: whether it is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// The media type of gRPC.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

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
pub(super) async fn unary<B, M, R, Fut>(
    request: Request<B>,
    method: impl FnOnce(Call<M>) -> Fut,
) -> Response<ResponseBody>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    M: Message + Default,
    R: Message,
    Fut: Future<Output = Result<R, Status>>,
{
    let terms = Terms::of(request.headers());
    let answer = async {
        let message = read_message(request.into_body()).await?;
        encode(&method(Call { message, terms }).await?)
    };
    match answer.await {
        Ok(bytes) => {
            let mut response = Response::new(ResponseBody::Message(Some(bytes)));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
        Err(status) => refusal(&status),
    }
}

/// A response that is nothing but a status.
pub(super) fn refusal(status: &Status) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Nothing);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    if let Err(unfit) = status.add_header(headers) {
        // The text has a character that no header may have: send the status alone.
        headers.insert(GRPC_STATUS, HeaderValue::from(unfit.code() as i32));
    }
    response
}

/// Reads the whole of `body` and decodes its only message.
async fn read_message<B, M>(body: B) -> Result<M, Status>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    M: Message + Default,
{
    let body = Limited::new(body, PREFIX_BYTES + MESSAGE_BYTES_MAX);
    // What arrived in one piece, as most messages do, is not copied.
    let mut bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(error::message_too_large()),
        Err(_broken) => return Err(Status::cancelled("the client gave up")),
    };
    let Some(&[compressed, ref length @ ..]) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Err(Status::internal("the request has no message"));
    };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not implemented"));
    }
    let length = u32::from_be_bytes(*length) as usize;
    bytes.advance(PREFIX_BYTES);
    if bytes.len() != length {
        return Err(Status::internal("the request is not exactly one message"));
    }
    M::decode(bytes).map_err(|error| Status::internal(format!("the message cannot be decoded: {error}")))
}

fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let Ok(prefix) = u32::try_from(length) else {
        return Err(Status::resource_exhausted(
            "the answer exceeds 4 GiB; ask for less with a limit",
        ));
    };
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(prefix);
    message.encode(&mut bytes).expect("a buffer that grows has room");
    Ok(bytes.freeze())
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
