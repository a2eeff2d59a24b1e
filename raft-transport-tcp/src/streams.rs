//! The two ends of a stream: halves of a socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use raft_transport::CloseCode;
use raft_transport::carrier::{StreamReceiver, StreamSender};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::state::State;
use crate::tasks::Tasks;

/// A socket after the TLS handshake.
pub(crate) type Socket = TlsStream<TcpStream>;

/// How long the end of a stream may take to be told, or to come.
const ENDING_MAX: Duration = Duration::from_secs(1);
/// How many slices of memory are given to the socket at once.
const SLICES_MAX: usize = 64;

/// The end of a stream to write to.
#[derive(Debug)]
pub struct TcpSender {
    /// None once it was finished or reset.
    half: Option<WriteHalf<Socket>>,
    tasks: Tasks,
    /// The place of a snapshot among those of its connection.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// The end of a stream to read from.
#[derive(Debug)]
pub struct TcpReceiver {
    /// None once it was stopped.
    half: Option<ReadHalf<Socket>>,
    tasks: Tasks,
    end: Option<LaneEnd>,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// A lane ends only together with its connection. Why, is told on another socket, and is waited for.
#[derive(Debug)]
struct LaneEnd {
    state: Arc<State>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The two ends of a lane of the connection of `state`.
pub(crate) fn lane(socket: Socket, tasks: &Tasks, state: &Arc<State>) -> (TcpSender, TcpReceiver) {
    let (sender, mut receiver) = snapshot(socket, tasks, None);
    receiver.end = Some(LaneEnd {
        state: state.clone(),
        closed: Box::pin(state.closed.clone().cancelled_owned()),
    });
    (sender, receiver)
}

/// The two ends of a stream for a snapshot, which gives `place` back when both are gone.
pub(crate) fn snapshot(
    socket: Socket,
    tasks: &Tasks,
    place: Option<OwnedSemaphorePermit>,
) -> (TcpSender, TcpReceiver) {
    let (read, write) = tokio::io::split(socket);
    let place = place.map(Arc::new);
    let sender = TcpSender {
        half: Some(write),
        tasks: tasks.clone(),
        _place: place.clone(),
    };
    let receiver = TcpReceiver {
        half: Some(read),
        tasks: tasks.clone(),
        end: None,
        _place: place,
    };
    (sender, receiver)
}

impl StreamSender for TcpSender {
    const ONLY_HANDS_OVER: bool = false;

    async fn write(&mut self, chunks: &mut [Bytes]) -> io::Result<()> {
        let half = self.half.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut first = 0;
        loop {
            while chunks.get(first).is_some_and(Bytes::is_empty) {
                first += 1;
            }
            let rest = &mut chunks[first..];
            if rest.is_empty() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, chunk) in slices.iter_mut().zip(rest.iter()) {
                *slice = IoSlice::new(chunk);
            }
            let used = rest.len().min(SLICES_MAX);
            let mut written = half.write_vectored(&slices[..used]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            for chunk in rest {
                let taken = written.min(chunk.len());
                chunk.advance(taken);
                written -= taken;
            }
        }
        // What TLS still holds leaves now: nothing more may follow for long.
        half.flush().await
    }

    fn finish(&mut self) {
        if let Some(mut half) = self.half.take() {
            // Whoever does not read by then does not wait for the end either.
            self.tasks.spawn(async move {
                let _ = timeout(ENDING_MAX, half.shutdown()).await;
            });
        }
    }

    fn reset(&mut self, _why: CloseCode) {
        self.half = None;
    }
}

impl AsyncRead for TcpReceiver {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(half) = &mut this.half else {
            return Poll::Ready(Ok(()));
        };
        let before = buffer.filled().len();
        let read = ready!(Pin::new(half).poll_read(context, buffer));
        let ended = read.is_err() || buffer.filled().len() == before;
        if ended && let Some(end) = &mut this.end {
            // A moment at most: the task of the control socket sees to it.
            end.state.lane_ended.notify_one();
            ready!(end.closed.as_mut().poll(context));
        }
        Poll::Ready(read)
    }
}

impl StreamReceiver for TcpReceiver {
    fn stop(&mut self, _why: CloseCode) {
        let Some(mut half) = self.half.take() else { return };
        // A socket that is closed with bytes unread takes what was written before with it: they are read away, for a moment.
        self.tasks.spawn(async move {
            let mut away = vec![0; 64 * 1024];
            let drained = async { while matches!(half.read(&mut away).await, Ok(1..)) {} };
            let _ = timeout(ENDING_MAX, drained).await;
        });
    }
}
