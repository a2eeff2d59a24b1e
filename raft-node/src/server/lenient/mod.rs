//! Lets clients in whose `:authority` is not one.
//!
//! etcd's own clients send such requests: 3.4 names a URL there when it speaks to one endpoint (`etcdctl endpoint
//! status` with `http://…`), and 3.5.0 sends `#initially=[…]` with every request
//! (<https://github.com/etcd-io/etcd/issues/13192>). The HTTP/2 library refuses what RFC 9113 forbids, and nothing here
//! ever looks at an authority; so this module replaces an improper one by a proper one of the same length, on the way
//! from the socket to the library. The same length keeps both ends' header tables equal.
//!
//! A connection whose first request has a proper authority is left alone from then on: its bytes are not even copied.

mod frames;
mod hpack;
mod huffman;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use frames::Frames;

/// How many bytes are read from the socket at once while frames are looked at.
const READ_BYTES: usize = 16 * 1024;

/// How long a client may take to say which protocol it speaks. Later silence is the library's business.
const OPENING_TIME: Duration = Duration::from_secs(10);

/// A connection of a client.
pub(super) struct LenientStream<S> {
    stream: S,
    /// Until when the protocol must be known; `None` once it is.
    opening: Option<Pin<Box<Sleep>>>,
    /// `None` once the connection is left alone.
    frames: Option<Frames>,
    /// What was looked at and waits to be read.
    looked_at: BytesMut,
}

impl<S> LenientStream<S> {
    /// Looks at what `stream` brings.
    pub(super) fn new(stream: S) -> LenientStream<S> {
        LenientStream {
            stream,
            opening: Some(Box::pin(sleep(OPENING_TIME))),
            frames: Some(Frames::default()),
            looked_at: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.looked_at.is_empty() {
                let count = this.looked_at.len().min(buf.remaining());
                buf.put_slice(&this.looked_at[..count]);
                this.looked_at.advance(count);
                return Poll::Ready(Ok(()));
            }
            let Some(frames) = &mut this.frames else {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            };
            if let Some(deadline) = &mut this.opening
                && deadline.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let mut chunk = [0; READ_BYTES];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
            let ended = chunk.filled().is_empty();
            let watch_on = frames.push(chunk.filled(), &mut this.looked_at);
            if frames.are_known() || !watch_on {
                this.opening = None;
            }
            if ended || !watch_on {
                frames.finish(&mut this.looked_at);
                this.frames = None;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_says_its_protocol_is_cut() {
        for beginning in ["", "PRI * HTTP/2"] {
            let (mut client, server) = duplex(1024);
            client.write_all(beginning.as_bytes()).await.unwrap();
            let started = Instant::now();
            let error = LenientStream::new(server).read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(started.elapsed().as_secs(), OPENING_TIME.as_secs());
        }
    }

    /// Clients keep connections open before they have anything to ask.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_said_its_protocol_may_be_silent() {
        for beginning in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            let (mut client, server) = duplex(1024);
            let mut server = LenientStream::new(server);
            client.write_all(beginning.as_bytes()).await.unwrap();
            let mut received = vec![0; beginning.len()];
            server.read_exact(&mut received).await.unwrap();
            let silence = tokio::time::timeout(OPENING_TIME * 100, server.read_u8()).await;
            assert!(silence.is_err(), "{silence:?}");
        }
    }
}
