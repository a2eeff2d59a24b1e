//! What the control socket of a connection knows: whether the connection stands, and how long the way is.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use raft_transport::carrier::Closed;
use raft_transport::{CloseCode, TransportLimits};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::control::Record;
use crate::streams::Socket;

/// How many records may wait for the control socket.
const RECORDS_MAX: usize = 64;
/// How long to wait for the reason after a lane ended, and for the other end to hear the last word.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);
/// The share of a new measurement in the smoothed round-trip time (RFC 6298).
const RTT_SHARE: u64 = 8;

/// A connection, as its control socket sees it.
///
/// Invariant: `closed` is cancelled if and only if `end` is set, and `end` is set once.
#[derive(Debug)]
pub(crate) struct State {
    /// Cancelled once the connection is over.
    pub(crate) closed: CancellationToken,
    end: OnceLock<End>,
    /// A lane ended, so the connection will.
    pub(crate) lane_ended: Notify,
    records: mpsc::Sender<Record>,
    /// When the last record arrived, in microseconds since the connection was made.
    heard_us: AtomicU64,
    /// Smoothed, in microseconds; 0 before the first measurement.
    rtt_us: AtomicU64,
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// This end closed it.
    Here(CloseCode),
    /// Anything else.
    There(Closed),
}

impl State {
    /// A connection that stands, and the records that wait for its control socket.
    pub(crate) fn new() -> (Arc<State>, mpsc::Receiver<Record>) {
        let (records, waiting) = mpsc::channel(RECORDS_MAX);
        let state = State {
            closed: CancellationToken::new(),
            end: OnceLock::new(),
            lane_ended: Notify::new(),
            records,
            heard_us: AtomicU64::new(0),
            rtt_us: AtomicU64::new(0),
        };
        (Arc::new(state), waiting)
    }

    pub(crate) fn close(&self, why: CloseCode) {
        self.finish(End::Here(why));
    }

    /// Asks the other end for a socket. Returns whether that could be queued.
    pub(crate) fn ask_for_socket(&self, number: u64) -> bool {
        self.records.try_send(Record::OpenSnapshot(number)).is_ok()
    }

    pub(crate) fn close_reason(&self) -> Option<Closed> {
        match self.end.get()? {
            End::Here(_) => Some(Closed::Here),
            End::There(closed) => Some(closed.clone()),
        }
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        let micros = self.rtt_us.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Grows with every record that arrives.
    pub(crate) fn heard(&self) -> u64 {
        self.heard_us.load(Ordering::Relaxed)
    }

    fn finish(&self, end: End) {
        if self.end.set(end).is_ok() {
            self.closed.cancel();
        }
    }

    fn measured(&self, rtt: Duration) {
        let new = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.rtt_us.load(Ordering::Relaxed);
        let smoothed = if old == 0 {
            new
        } else {
            old - old / RTT_SHARE + new / RTT_SHARE
        };
        self.rtt_us.store(smoothed.max(1), Ordering::Relaxed);
    }
}

/// Serves the control socket until the connection is over. `asked` is told of each socket that the other end asks for.
pub(crate) async fn control(
    socket: Socket,
    state: Arc<State>,
    mut waiting: mpsc::Receiver<Record>,
    limits: TransportLimits,
    asked: impl Fn(u64) + Send,
) {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let began = Instant::now();
    let end = tokio::select! {
        biased;
        () = state.closed.cancelled() => None,
        end = listen(&mut reader, &state, began, asked) => Some(end),
        end = speak(&mut writer, &mut waiting, began, limits.keep_alive_interval) => Some(end),
        () = silence(&state, began, limits.idle_timeout) => Some(Closed::TimedOut),
        () = a_lane_ended(&state) => Some(Closed::Lost("one of its sockets was closed".to_owned())),
    };
    if let Some(closed) = end {
        state.finish(End::There(closed));
    }
    if let Some(End::Here(why)) = state.end.get() {
        let last_word = Record::Close {
            code: why.code(),
            reason: why.reason().to_owned(),
        };
        let say = async {
            writer.write_all(&last_word.encode()).await?;
            writer.shutdown().await?;
            // Closed with bytes unread, the socket would take the last word with it.
            tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
        };
        let _ = timeout(LAST_WORD_MAX, say).await;
    }
}

/// Hears records until the other end closes, or goes.
async fn listen(reader: &mut ReadHalf<Socket>, state: &State, began: Instant, asked: impl Fn(u64)) -> Closed {
    loop {
        let record = match Record::read(reader).await {
            Ok(record) => record,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Closed::Lost("the other end is gone without a word".to_owned());
            }
            Err(error) => return Closed::Lost(error.to_string()),
        };
        let now_us = micros(began.elapsed());
        state.heard_us.store(now_us, Ordering::Relaxed);
        match record {
            // If the queue is full, what waits there answers as well.
            Record::Ping(number) => drop(state.records.try_send(Record::Pong(number))),
            // The number is the time at which the question was asked.
            Record::Pong(asked_us) => {
                state.measured(Duration::from_micros(now_us.saturating_sub(asked_us)));
            }
            Record::OpenSnapshot(number) => asked(number),
            Record::Close { code, reason } => return Closed::ByPeer { code, reason },
        }
    }
}

/// Says what waits, and asks at intervals whether the other end is there.
async fn speak(
    writer: &mut WriteHalf<Socket>,
    waiting: &mut mpsc::Receiver<Record>,
    began: Instant,
    keep_alive_interval: Duration,
) -> Closed {
    let mut ticks = interval(keep_alive_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let record = tokio::select! {
            record = waiting.recv() => record,
            _ = ticks.tick() => Some(Record::Ping(micros(began.elapsed()))),
        };
        // The queue lives as long as the state, which this task holds.
        let Some(record) = record else { return Closed::Here };
        let said: io::Result<()> = async {
            writer.write_all(&record.encode()).await?;
            writer.flush().await
        }
        .await;
        if let Err(error) = said {
            return Closed::Lost(error.to_string());
        }
    }
}

/// Ends when nothing was heard for `idle_timeout`.
async fn silence(state: &State, began: Instant, idle_timeout: Duration) {
    loop {
        let heard = Duration::from_micros(state.heard());
        let silent = began.elapsed().saturating_sub(heard);
        if silent >= idle_timeout {
            return;
        }
        sleep(idle_timeout - silent).await;
    }
}

/// Ends a moment after a lane did, in which the reason may still come.
async fn a_lane_ended(state: &State) {
    state.lane_ended.notified().await;
    sleep(LAST_WORD_MAX).await;
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
