//! A byte stream with nothing of ours on it, used as well as it can be.
//!
//! A message is a length of four bytes and a payload. Small messages are copied together and leave in large writes; the payload
//! of a large one is written from where it lies. The receiver reads as much as there is and hands out each payload as a
//! [`Bytes`] that shares the memory it was read into. The one who sends waits for its answers itself, so that a round trip wakes
//! one task at each end and none beside it. There is no checksum, no identity of the sender, no queue and no bound on one:
//! what those cost is what the ratios show.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::arrivals::Arrivals;
use super::{Link, Load};

/// The bytes before each payload: its length.
const PREFIX_BYTES: usize = 4;
/// What is copied together for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Payloads from this size on are not copied.
const LARGE_BYTES: usize = 16 * 1024;
/// How much is read at once, at most.
const READ_BYTES: usize = 128 * 1024;
/// A payload that begins with this byte is sent back.
const ANSWER_ME: u8 = 1;

/// The end of a stream to write to.
pub trait Sink: Send + 'static {
    /// Writes all of `pieces`, one after the other.
    fn write(&mut self, pieces: &mut [Bytes]) -> impl Future<Output = ()> + Send;
}

/// The end of a socket to write to.
#[derive(Debug)]
pub struct Socket<W>(pub W);

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for Socket<W> {
    async fn write(&mut self, pieces: &mut [Bytes]) {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = self.0.write_vectored(left).await.expect("an open stream");
            IoSlice::advance_slices(&mut left, written);
        }
        self.0.flush().await.expect("an open stream");
    }
}

/// Two connected ends of byte streams.
#[derive(Debug)]
pub struct Raw<S, R, H> {
    name: &'static str,
    sender: S,
    answers: Splitter<R>,
    arrived: Arc<Arrivals>,
    there: JoinHandle<()>,
    /// What must not be dropped before.
    held: H,
}

impl<S: Sink, R: AsyncRead + Unpin + Send + 'static, H> Raw<S, R, H> {
    /// The streams of the end that sends, and of the one that answers.
    pub fn new(name: &'static str, here: (S, R), there: (S, R), held: H) -> Raw<S, R, H> {
        let arrived = Arc::new(Arrivals::new());
        Raw {
            name,
            sender: here.0,
            answers: Splitter::new(here.1),
            arrived: arrived.clone(),
            there: tokio::spawn(receive(Splitter::new(there.1), there.0, arrived)),
            held,
        }
    }

    /// Waits until `count` messages have arrived at the other end.
    pub(super) async fn arrived(&self, count: u64) {
        self.arrived.reach(count).await;
    }
}

#[async_trait]
impl<S: Sink, R: AsyncRead + Unpin + Send + 'static, H: Send> Link for Raw<S, R, H> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn round_trips(&mut self, load: Load, latencies: &mut Vec<Duration>) {
        let payload = Bytes::from(vec![ANSWER_ME; load.payload_bytes]);
        let mut batch = Batch::default();
        for _ in 0..load.round_trips {
            let begin = Instant::now();
            batch.add(&payload);
            self.sender.write(batch.pieces()).await;
            batch.clear();
            while self.answers.next().is_none() {
                assert!(self.answers.fill().await, "the stream is open");
            }
            latencies.push(begin.elapsed());
        }
    }

    async fn one_way(&mut self, load: Load) {
        let payload = Bytes::from(vec![0; load.payload_bytes]);
        let before = self.arrived.count();
        let mut batch = Batch::default();
        for _ in 0..load.messages {
            batch.add(&payload);
            if batch.is_full() {
                self.sender.write(batch.pieces()).await;
                batch.clear();
            }
        }
        self.sender.write(batch.pieces()).await;
        self.arrived.reach(before + load.messages).await;
    }

    async fn shutdown(self: Box<Self>) {
        let Raw {
            sender,
            answers,
            there,
            held,
            ..
        } = *self;
        // Both halves, so that the other end reads the end of the stream.
        drop((sender, answers));
        there.await.expect("the other end does not panic");
        drop(held);
    }
}

/// Counts what arrives, and sends back what asks for it.
async fn receive<S: Sink, R: AsyncRead + Unpin>(
    mut messages: Splitter<R>,
    mut sender: S,
    arrived: Arc<Arrivals>,
) {
    let mut answers = Batch::default();
    while messages.fill().await {
        let mut count = 0;
        while let Some(payload) = messages.next() {
            count += 1;
            if payload.first() == Some(&ANSWER_ME) {
                answers.add(&payload);
            }
        }
        if !answers.is_empty() {
            sender.write(answers.pieces()).await;
            answers.clear();
        }
        if count > 0 {
            arrived.add(count);
        }
    }
}

/// Messages that leave in one write.
#[derive(Debug, Default)]
struct Batch {
    /// What was copied together and is no piece yet.
    copied: BytesMut,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, payload: &Bytes) {
        if self.copied.is_empty() {
            self.copied.reserve(PREFIX_BYTES + payload.len().min(LARGE_BYTES));
        }
        let length = u32::try_from(payload.len()).expect("messages are small");
        self.copied.extend_from_slice(&length.to_le_bytes());
        self.bytes += PREFIX_BYTES + payload.len();
        if payload.len() < LARGE_BYTES {
            self.copied.extend_from_slice(payload);
        } else {
            self.pieces.push(self.copied.split().freeze());
            self.pieces.push(payload.clone());
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn is_full(&self) -> bool {
        self.bytes + PREFIX_BYTES >= WRITE_BYTES
    }

    fn pieces(&mut self) -> &mut [Bytes] {
        if !self.copied.is_empty() {
            self.pieces.push(self.copied.split().freeze());
        }
        &mut self.pieces
    }

    fn clear(&mut self) {
        self.pieces.clear();
        if self.bytes > WRITE_BYTES / 2 {
            self.copied.reserve(WRITE_BYTES);
        }
        self.bytes = 0;
    }
}

/// Cuts a stream into messages.
#[derive(Debug)]
struct Splitter<R> {
    stream: R,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin> Splitter<R> {
    fn new(stream: R) -> Splitter<R> {
        Splitter {
            stream,
            read: BytesMut::with_capacity(READ_BYTES),
        }
    }

    /// Reads more; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        // If nobody holds what was handed out, this only moves the rest to the front.
        self.read.reserve(READ_BYTES / 2);
        self.stream
            .read_buf(&mut self.read)
            .await
            .is_ok_and(|read| read > 0)
    }

    /// The next payload, if all of it is here.
    fn next(&mut self) -> Option<Bytes> {
        let prefix = self.read.first_chunk::<PREFIX_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*prefix)).expect("messages are small");
        if self.read.len() < PREFIX_BYTES + length {
            return None;
        }
        self.read.advance(PREFIX_BYTES);
        Some(self.read.split_to(length).freeze())
    }
}
