//! Queues that are emptied in one go: one lock per batch instead of one channel operation per item.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What is locked: the items, and whether somebody waits for them.
#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    /// The consumer sleeps; producers need not wake one that is awake.
    asleep: bool,
    closed: bool,
}

impl<T> State<T> {
    fn new() -> Mutex<State<T>> {
        Mutex::new(State {
            items: Vec::new(),
            asleep: false,
            closed: false,
        })
    }

    /// Appends, and says whether the consumer must be woken.
    fn push_all(&mut self, items: &mut Vec<T>) -> bool {
        if self.closed {
            items.clear();
            return false;
        }
        if self.items.is_empty() {
            // The common case swaps two buffers and moves nothing.
            std::mem::swap(&mut self.items, items);
        } else {
            self.items.append(items);
        }
        std::mem::take(&mut self.asleep)
    }

    fn close(&mut self) -> Vec<T> {
        self.closed = true;
        std::mem::take(&mut self.items)
    }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // No change below can stop halfway.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A queue whose consumer is a task.
#[derive(Debug)]
pub(super) struct TaskQueue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T> TaskQueue<T> {
    pub(super) fn new() -> TaskQueue<T> {
        TaskQueue {
            state: State::new(),
            wake: Notify::new(),
        }
    }

    /// Moves everything out of `items` to the end of the queue. Drops it if the queue is closed.
    pub(super) fn push_all(&self, items: &mut Vec<T>) {
        if !items.is_empty() && lock(&self.state).push_all(items) {
            self.wake.notify_one();
        }
    }

    /// Adds one item at the end. Drops it if the queue is closed, or has `items_max`.
    pub(super) fn push(&self, item: T, items_max: usize) {
        let mut state = lock(&self.state);
        if state.closed || state.items.len() >= items_max {
            return;
        }
        state.items.push(item);
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
    }

    /// Waits until there is something and moves all of it to `into`, which must be empty. False if the queue is closed.
    /// Nothing is lost if the future is dropped.
    pub(super) async fn take(&self, into: &mut Vec<T>) -> bool {
        loop {
            {
                let mut state = lock(&self.state);
                if state.closed {
                    return false;
                }
                if !state.items.is_empty() {
                    std::mem::swap(&mut state.items, into);
                    return true;
                }
                state.asleep = true;
            }
            self.wake.notified().await;
        }
    }

    /// Lets the consumer end, and returns what it did not take.
    pub(super) fn close(&self) -> Vec<T> {
        let left = lock(&self.state).close();
        self.wake.notify_one();
        left
    }
}
