//! A thread with a runtime of its own, so that tests without one can use the network, and a busy one does not delay packets.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread. Everything on it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(name: &str) -> io::Result<Background> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, wait) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    // Whoever started this thread waits for the answer.
                    let _ = started.send(Ok(runtime.handle().clone()));
                    // An error means that the owner is gone, which is the same wish.
                    let _ = runtime.block_on(stopped);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let ended = || io::Error::other("the thread of the network ended at once");
        Ok(Background {
            handle: wait.recv().map_err(|_| ended())??,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where to spawn tasks and register sockets.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It cannot have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic over there was printed there, and the tests saw what became of their packets.
            let _ = thread.join();
        }
    }
}
