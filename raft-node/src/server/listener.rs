//! Connections of clients: HTTP/1.1 and HTTP/2 without TLS on one port, told apart by their first bytes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::api::Api;
use super::backend::Backend;
use super::dispatch::Dispatch;
use super::lenient::LenientStream;

/// How many connections are open at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// How many requests one connection has in flight; clients of HTTP/2 queue what exceeds it.
const STREAMS_PER_CONNECTION_MAX: u32 = 4_096;

/// How many bytes of requests one connection may send ahead of what is read.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The same for one request.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// How often a silent connection is asked whether it still stands, and how long its answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client of HTTP/1.1 may take to send its headers.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests may run on after the order to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server stopped serving.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listening socket broke.
    #[error("the socket for clients failed: {0}; restart the node")]
    Accept(#[source] io::Error),
}

/// Serves connections until `shutdown` resolves; then lets requests in flight finish, for a while.
pub(super) async fn run<B: Backend>(
    listener: TcpListener,
    api: Arc<Api<B>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let dispatch = Dispatch::new(Arc::clone(&api));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let result = loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break Ok(()),
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => break Err(error),
        };
        let watcher = graceful.watcher();
        let dispatch = dispatch.clone();
        let open = OpenConnection::count(Arc::clone(&api));
        connections.spawn(async move {
            serve_connection(stream, dispatch, watcher).await;
            drop((open, place));
        });
    };
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown())
        .await
        .is_err()
    {
        warn!("requests still ran {SHUTDOWN_GRACE:?} after the order to stop; their connections are cut");
    }
    connections.shutdown().await;
    result
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// Waits for a place, then for a connection to take it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Result<(TcpStream, Place), ServeError> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return Ok((stream, place)),
            Err(error) if concerns_one_connection(&error) => {
                debug!(%error, "a client left before it was served")
            }
            Err(error) if is_out_of_room(&error) => {
                warn!(%error, "no room for another connection; raise the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => return Err(ServeError::Accept(error)),
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Too many open files, in this process or in the system, or no memory for a socket.
fn is_out_of_room(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    let out_of_room = [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
        rustix::io::Errno::NOMEM,
    ];
    out_of_room.iter().any(|errno| errno.raw_os_error() == code)
}

async fn serve_connection<B: Backend>(
    stream: TcpStream,
    dispatch: Dispatch<B>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // A response is one small write; waiting to fill a packet would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a client left before it was served");
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        // Calls have no use for the date.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let service = service_fn(move |request| {
        let dispatch = dispatch.clone();
        async move { Ok::<_, Infallible>(dispatch.serve(request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(LenientStream::new(stream)), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        debug!(%error, "a connection of a client broke");
    }
}

/// Counts a connection as long as it is open.
struct OpenConnection<B>(Arc<Api<B>>);

impl<B> OpenConnection<B> {
    fn count(api: Arc<Api<B>>) -> OpenConnection<B> {
        api.metrics.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(api)
    }
}

impl<B> Drop for OpenConnection<B> {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
