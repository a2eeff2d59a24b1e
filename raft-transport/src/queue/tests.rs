//! What waits, what is dropped, and who writes.

use std::io;
use std::sync::Arc;

use raft_core::message::{Body, ForwardRequest};
use raft_core::request::ClientRequest;
use raft_core::types::{GroupId, NodeId, Term, Ticket};
use raft_core::wire::{FrameHeader, decode_frame_body, decode_messages};

use super::*;
use crate::close_code::CloseCode;

type Queue = SendQueue<Pipe>;

/// A stream that takes so many bytes, and then waits for more room.
#[derive(Clone)]
struct Pipe(Arc<Mutex<PipeState>>);

struct PipeState {
    taken: Vec<u8>,
    room: usize,
    broken: bool,
}

impl Pipe {
    fn new(room: usize) -> Pipe {
        let (taken, broken) = (Vec::new(), false);
        Pipe(Arc::new(Mutex::new(PipeState { taken, room, broken })))
    }

    fn state(&self) -> MutexGuard<'_, PipeState> {
        self.0.lock().unwrap()
    }

    /// The messages in what it took, all of which must be whole frames.
    fn messages(&self) -> Vec<u64> {
        let mut taken = Bytes::from(self.state().taken.clone());
        let mut all = Vec::new();
        while !taken.is_empty() {
            let header = FrameHeader::decode(taken.first_chunk().unwrap(), usize::MAX).unwrap();
            let body = taken.slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.body_bytes);
            taken = taken.slice(FRAME_HEADER_BYTES + header.body_bytes..);
            let body = decode_frame_body(&header, body).unwrap();
            all.extend(numbers(&decode_messages(body).unwrap()));
        }
        all
    }
}

impl StreamSender for Pipe {
    const ONLY_HANDS_OVER: bool = true;

    async fn write(&mut self, chunks: &mut [Bytes]) -> io::Result<()> {
        for chunk in chunks {
            std::future::poll_fn(|_| {
                let mut state = self.state();
                if state.broken {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
                }
                let bytes = chunk.len().min(state.room);
                state.room -= bytes;
                state.taken.extend(chunk.split_to(bytes));
                // Nobody is woken: the tests ask again.
                if chunk.is_empty() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            })
            .await?;
        }
        Ok(())
    }

    fn finish(&mut self) {}

    fn reset(&mut self, _why: CloseCode) {}
}

/// What there is to write now, for the task of this turn.
fn work(queue: &Queue, turn: Turn, pipe: &Pipe) -> Option<Work<Pipe>> {
    let waiting = pin!(queue.work(turn, pipe.clone()));
    match waiting.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(work) => Some(work),
        Poll::Pending => None,
    }
}

/// Who sends while the stream rests writes itself, and everything keeps its order.
#[test]
fn a_resting_stream_is_written_to_at_once() {
    let (queue, pipe) = (queue(TransportLimits::default()), Pipe::new(usize::MAX));
    queue.push(vec![message(1, 0)]);
    let turn = queue.begin_turn();
    let waiting = work(&queue, turn, &pipe).expect("what was sent before waits for the task");
    assert_eq!(numbers(&waiting.batch.messages), [1]);
    queue.push(vec![message(2, 0)]);
    assert_eq!(depth_and_dropped(&queue).0, 1, "the task has the stream");
    let waiting = work(&queue, turn, &pipe).unwrap();
    assert_eq!(numbers(&waiting.batch.messages), [2]);
    assert!(work(&queue, turn, &pipe).is_none(), "the stream rests");
    queue.push(vec![message(3, 10)]);
    queue.push(vec![message(4, 0), message(5, 0)]);
    assert_eq!(pipe.messages(), [3, 4, 5]);
    assert_eq!(depth_and_dropped(&queue), (0, 0));
    queue.push(vec![message(6, DIRECT_BYTES_MAX)]);
    assert_eq!(depth_and_dropped(&queue).0, 1, "to encode that takes long");
}

/// What a stream does not take at once is finished by the task before anything else leaves.
#[test]
fn the_rest_of_a_frame_leaves_first() {
    let (queue, pipe) = (queue(TransportLimits::default()), Pipe::new(20));
    let turn = queue.begin_turn();
    assert!(work(&queue, turn, &pipe).is_none());
    queue.push(vec![message(1, 100)]);
    assert_eq!(pipe.state().taken.len(), 20);
    queue.push(vec![message(2, 0)]);
    assert_eq!(depth_and_dropped(&queue).0, 1, "it may not overtake");
    pipe.state().room = usize::MAX;
    let mut waiting = queue.take_work(turn).unwrap();
    let written = pin!(waiting.stream.write(&mut waiting.rest)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(written.is_ready());
    assert_eq!(pipe.messages(), [1]);
    assert_eq!(numbers(&waiting.batch.messages), [2]);
}

/// An idle stream can be made to carry something.
#[test]
fn a_sign_of_life_is_an_empty_frame_if_nothing_else_is_written() {
    let (queue, pipe) = (queue(TransportLimits::default()), Pipe::new(usize::MAX));
    let turn = queue.begin_turn();
    queue.keep_alive();
    assert!(
        work(&queue, turn, &pipe).is_none(),
        "who has the stream is about to write"
    );
    queue.keep_alive();
    let mut sign = queue.take_work(turn).unwrap();
    assert!(sign.batch.messages.is_empty());
    assert!(
        pin!(sign.write())
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    assert_eq!(pipe.state().taken.len(), FRAME_HEADER_BYTES + COUNT_BYTES);
    assert!(work(&queue, turn, &pipe).is_none(), "one is enough");
    queue.push(vec![message(1, DIRECT_BYTES_MAX)]);
    queue.keep_alive();
    let mut waiting = queue.take_work(turn).unwrap();
    assert!(
        pin!(waiting.write())
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    assert_eq!(pipe.messages(), [1], "a message is a sign, too");
    assert!(work(&queue, turn, &pipe).is_none());
}

/// R76: what a broken connection did not take waits for the next one, whose task is told of it.
#[test]
fn what_a_broken_stream_did_not_take_is_kept() {
    let (queue, old) = (queue(TransportLimits::default()), Pipe::new(usize::MAX));
    let old_turn = queue.begin_turn();
    assert!(work(&queue, old_turn, &old).is_none());
    old.state().broken = true;
    queue.push(vec![message(1, 0)]);
    assert_eq!(depth_and_dropped(&queue), (1, 0));
    let (turn, new) = (queue.begin_turn(), Pipe::new(usize::MAX));
    assert!(work(&queue, old_turn, &old).is_none(), "its turn is over");
    let waiting = work(&queue, turn, &new).unwrap();
    assert_eq!(numbers(&waiting.batch.messages), [1]);
}

/// A task whose turn is over passes on what woke it, or the one that took over would never wake.
#[tokio::test]
async fn a_late_task_does_not_swallow_the_call() {
    let queue = Arc::new(queue(TransportLimits::default()));
    let wait = |turn, pipe: Pipe| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.work(turn, pipe).await.batch.messages.len() })
    };
    let late = wait(queue.begin_turn(), Pipe::new(0));
    tokio::task::yield_now().await;
    let turn = queue.begin_turn();
    let next = wait(turn, Pipe::new(0));
    tokio::task::yield_now().await;
    queue.push(vec![message(1, DIRECT_BYTES_MAX)]);
    assert_eq!(next.await.unwrap(), 1);
    late.abort();
}

fn message(number: u64, payload_bytes: usize) -> Message {
    Message {
        group: GroupId(1),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(1),
        body: Body::ForwardRequest(ForwardRequest {
            ticket: Ticket(number),
            request: ClientRequest::Propose(Bytes::from(vec![7; payload_bytes])),
        }),
    }
}

fn depth_and_dropped(queue: &Queue) -> (usize, u64) {
    let depth = queue.depth();
    assert_eq!(depth.messages == 0, depth.bytes == 0, "{depth:?}");
    (depth.messages, depth.dropped)
}

fn take_numbers(queue: &Queue) -> Vec<u64> {
    let taken = queue.lock().take(queue.batch_bytes_max);
    numbers(&taken.messages)
}

fn numbers(messages: &[Message]) -> Vec<u64> {
    let number = |message: &Message| match &message.body {
        Body::ForwardRequest(request) => request.ticket.0,
        other => panic!("{other:?}"),
    };
    messages.iter().map(number).collect()
}

fn queue(limits: TransportLimits) -> Queue {
    let queue = Queue::new(&limits);
    queue.set_connected(true);
    queue
}

/// R76: a full queue drops the newest and counts them; what is inside keeps its order.
#[test]
fn a_full_queue_drops_the_newest() {
    let queue = queue(TransportLimits {
        queue_messages_max: 3,
        ..TransportLimits::default()
    });
    queue.push(vec![message(1, 0), message(2, 0)]);
    queue.push(vec![message(3, 0), message(4, 0), message(5, 0)]);
    queue.push(vec![message(6, 0)]);
    assert_eq!(depth_and_dropped(&queue), (3, 3));
    assert_eq!(take_numbers(&queue), [1, 2, 3]);
    assert_eq!(depth_and_dropped(&queue), (0, 3));
}

/// R76: the bound counts bytes, too.
#[test]
fn the_queue_is_bounded_in_bytes() {
    let queue = queue(TransportLimits {
        queue_bytes_max: 4 << 20,
        ..TransportLimits::default()
    });
    for number in 1..=5 {
        queue.push(vec![message(number, 1 << 20)]);
    }
    assert_eq!(depth_and_dropped(&queue), (3, 2));
}

#[test]
fn a_message_that_fits_no_frame_is_dropped() {
    let queue = queue(TransportLimits::default());
    queue.push(vec![message(1, 5 << 20)]);
    queue.push(vec![message(2, 10)]);
    assert_eq!(take_numbers(&queue), [2]);
}

/// What was sent together and what was sent one by one is cut into the same frames.
#[test]
fn a_frame_holds_what_fits_but_at_least_one_message() {
    let limits = TransportLimits {
        coalesce_bytes_max: 2 * message_bytes(&message(0, 1000)),
        ..TransportLimits::default()
    };
    let messages = || {
        let small = (1..=5).map(|number| message(number, 1000));
        small.chain([message(6, 100_000), message(7, 0)])
    };
    let together = queue(limits.clone());
    together.push(messages().collect());
    let one_by_one = queue(limits);
    messages().for_each(|message| one_by_one.push(vec![message]));
    for queue in [together, one_by_one] {
        for expected in [&[1, 2][..], &[3, 4], &[5], &[6], &[7], &[]] {
            assert_eq!(take_numbers(&queue), expected);
        }
        assert_eq!(depth_and_dropped(&queue), (0, 0));
    }
}

#[test]
fn messages_for_an_absent_peer_grow_stale() {
    let queue = Queue::new(&TransportLimits {
        queue_age_max: Duration::ZERO,
        ..TransportLimits::default()
    });
    queue.push(vec![message(1, 0)]);
    let pushed_at = Instant::now();
    while pushed_at.elapsed().is_zero() {
        std::hint::spin_loop();
    }
    queue.set_connected(true);
    assert_eq!(depth_and_dropped(&queue), (0, 1));
}
