//! The body of a response: one message and its status, or a page.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// The header, or trailer, that carries the status of a call.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What is sent back.
pub(super) enum ResponseBody {
    /// A call that went well: one message, then the status in the trailers.
    Message(Option<Bytes>),
    /// The trailers of such a call are sent, or there is nothing: the headers said it all.
    Nothing,
    /// A page.
    Page(axum::body::Body),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut *self {
            ResponseBody::Message(message @ Some(_)) => Poll::Ready(message.take().map(Frame::data).map(Ok)),
            ResponseBody::Message(None) => {
                *self = ResponseBody::Nothing;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            ResponseBody::Nothing => Poll::Ready(None),
            ResponseBody::Page(page) => Pin::new(page).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Message(_) => false,
            ResponseBody::Nothing => true,
            ResponseBody::Page(page) => page.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Message(_) => SizeHint::default(),
            ResponseBody::Nothing => SizeHint::with_exact(0),
            ResponseBody::Page(page) => page.size_hint(),
        }
    }
}
