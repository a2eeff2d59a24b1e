//! [`TcpConnection`]: several sockets that are one connection.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::message::Lane;
use raft_core::types::NodeId;
use raft_transport::CloseCode;
use raft_transport::carrier::{Closed, Connection, Path};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::carrier::Net;
use crate::preamble::Purpose;
use crate::state::{State, control};
use crate::streams::{Socket, TcpReceiver, TcpSender, lane, snapshot};

const LANES: usize = 2;

/// A connection over TCP. It is closed when its last clone is dropped.
#[derive(Clone)]
pub struct TcpConnection(Arc<Inner>);

/// Tells connections of this process apart.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// The sockets of one connection.
///
/// Invariants: each lane is attached once; at most `snapshot_streams_max` snapshots of each end are under way.
pub(crate) struct Inner {
    /// The number in the preamble of each of its sockets.
    id: u64,
    stable_id: usize,
    /// Whom the certificate names, if it names a node.
    pub(crate) node: Option<NodeId>,
    certificates: Vec<CertificateDer<'static>>,
    remote_address: SocketAddr,
    pub(crate) state: Arc<State>,
    net: Arc<Net>,
    /// The name to dial further sockets by; none at the end that accepted.
    dialled: Option<String>,
    attached: [AtomicBool; LANES],
    lanes: [Handover<TcpSender>; LANES],
    lanes_in: Handover<TcpReceiver>,
    snapshots_in: Handover<(TcpSender, TcpReceiver)>,
    /// Places for the snapshots of this end and of the other one.
    places: Arc<Semaphore>,
    places_in: Arc<Semaphore>,
    asked: Mutex<Asked>,
    /// Whether further sockets find it by its number.
    pub(crate) known: AtomicBool,
}

/// The sockets that the other end was asked for.
#[derive(Default)]
struct Asked {
    last: u64,
    expected: BTreeMap<u64, oneshot::Sender<Socket>>,
}

/// Where one task leaves what another one takes.
struct Handover<T> {
    give: mpsc::Sender<T>,
    take: tokio::sync::Mutex<mpsc::Receiver<T>>,
}

impl<T> Handover<T> {
    fn new(room: usize) -> Handover<T> {
        let (give, take) = mpsc::channel(room);
        Handover {
            give,
            take: tokio::sync::Mutex::new(take),
        }
    }

    /// Safe to cancel.
    async fn take(&self) -> Option<T> {
        self.take.lock().await.recv().await
    }
}

impl TcpConnection {
    /// A connection whose control socket is `socket`; `dialled` is the name by which this end dialled it, if it did.
    pub(crate) fn new(
        net: &Arc<Net>,
        id: u64,
        socket: Socket,
        remote_address: SocketAddr,
        dialled: Option<String>,
    ) -> TcpConnection {
        let (state, waiting) = State::new();
        let certificates = certificates(&socket);
        let streams = net.limits.snapshot_streams_max();
        let inner = Arc::new(Inner {
            id,
            stable_id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            node: net.node_of(&certificates),
            certificates,
            remote_address,
            state: state.clone(),
            net: net.clone(),
            dialled,
            attached: Default::default(),
            lanes: [Handover::new(1), Handover::new(1)],
            lanes_in: Handover::new(LANES),
            snapshots_in: Handover::new(streams),
            places: Arc::new(Semaphore::new(streams)),
            places_in: Arc::new(Semaphore::new(streams)),
            asked: Mutex::default(),
            known: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&inner);
        let asked = move |number| {
            if let Some(inner) = weak.upgrade() {
                inner.dial_asked(number);
            }
        };
        let limits = net.limits.clone();
        net.tasks.spawn(control(socket, state, waiting, limits, asked));
        TcpConnection(inner)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// What is done before the connection ends.
    async fn before_closed<T>(&self, step: impl Future<Output = Option<T>>) -> Result<T, Closed> {
        tokio::select! {
            biased;
            () = self.0.state.closed.cancelled() => Err(self.0.reason()),
            step = step => step.ok_or_else(|| self.0.reason()),
        }
    }
}

impl Inner {
    /// Gives the connection one more socket. Returns what is wrong with it, if anything is.
    pub(crate) fn attach(&self, purpose: Purpose, socket: Socket) -> Result<(), Closed> {
        let wrong = |what: &str| Err(Closed::Lost(what.to_owned()));
        match purpose {
            Purpose::Control => wrong("a second control socket"),
            Purpose::Lane(which) => {
                let at = index(which);
                if self.attached[at].swap(true, Ordering::AcqRel) {
                    return wrong("a second socket for a lane");
                }
                let (sender, receiver) = lane(socket, &self.net.tasks, &self.state);
                // Each has room for the one that can come.
                drop(self.lanes[at].give.try_send(sender));
                drop(self.lanes_in.give.try_send(receiver));
                Ok(())
            }
            Purpose::Snapshot => {
                let Ok(place) = self.places_in.clone().try_acquire_owned() else {
                    return wrong("too many snapshots at once");
                };
                let streams = snapshot(socket, &self.net.tasks, Some(place));
                drop(self.snapshots_in.give.try_send(streams));
                Ok(())
            }
            Purpose::AskedFor(number) => match self.lock_asked().expected.remove(&number) {
                Some(waiting) => {
                    // Whoever asked may have given up.
                    drop(waiting.send(socket));
                    Ok(())
                }
                None => wrong("a socket that nobody asked for"),
            },
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn reason(&self) -> Closed {
        self.state.close_reason().unwrap_or(Closed::Here)
    }

    async fn dial(&self, purpose: Purpose) -> Result<Socket, Closed> {
        let name = self.dialled.as_deref().ok_or(Closed::Here)?;
        self.net.dial(self.remote_address, name, self.id, purpose).await
    }

    /// The other end asks for a socket. Only the end that dialled is asked by an honest one.
    fn dial_asked(self: Arc<Inner>, number: u64) {
        if self.dialled.is_none() {
            return;
        }
        let Ok(place) = self.places_in.clone().try_acquire_owned() else {
            return;
        };
        let tasks = self.net.tasks.clone();
        tasks.spawn(async move {
            let limit = self.net.limits.handshake_timeout;
            let dialled = tokio::select! {
                biased;
                () = self.state.closed.cancelled() => return,
                dialled = timeout(limit, self.dial(Purpose::AskedFor(number))) => dialled.unwrap_or(Err(Closed::TimedOut)),
            };
            match dialled {
                Ok(socket) => {
                    let streams = snapshot(socket, &self.net.tasks, Some(place));
                    drop(self.snapshots_in.give.try_send(streams));
                }
                Err(error) => tracing::debug!(%error, "a socket for a snapshot could not be dialled"),
            }
        });
    }

    /// No code that can panic runs under this lock, so a poisoned one is whole.
    fn lock_asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.close(CloseCode::Shutdown);
        if self.known.load(Ordering::Acquire) {
            self.net.forget(self.id);
        }
    }
}

/// A socket that was asked for; forgotten if it is no longer wanted.
struct Expectation<'a> {
    inner: &'a Inner,
    number: u64,
    socket: oneshot::Receiver<Socket>,
}

impl<'a> Expectation<'a> {
    fn new(inner: &'a Inner) -> Expectation<'a> {
        let (give, socket) = oneshot::channel();
        let mut asked = inner.lock_asked();
        asked.last += 1;
        let number = asked.last;
        asked.expected.insert(number, give);
        drop(asked);
        Expectation {
            inner,
            number,
            socket,
        }
    }
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        self.inner.lock_asked().expected.remove(&self.number);
    }
}

impl Connection for TcpConnection {
    type Sender = TcpSender;
    type Receiver = TcpReceiver;

    // Each has a socket of its own, which a firewall may forget.
    const STREAMS_FAIL_ALONE: bool = true;

    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.0.certificates.clone()
    }

    fn remote_address(&self) -> SocketAddr {
        self.0.remote_address
    }

    fn stable_id(&self) -> usize {
        self.0.stable_id
    }

    async fn open_lane(&self, lane: Lane) -> Result<TcpSender, Closed> {
        self.before_closed(self.0.lanes[index(lane)].take()).await
    }

    async fn accept_lane(&self) -> Result<TcpReceiver, Closed> {
        self.before_closed(self.0.lanes_in.take()).await
    }

    async fn open_snapshot(&self) -> Result<(TcpSender, TcpReceiver), Closed> {
        let places = self.0.places.clone();
        let place = self
            .before_closed(async { places.acquire_owned().await.ok() })
            .await?;
        let socket = if self.0.dialled.is_some() {
            self.0.dial(Purpose::Snapshot).await?
        } else {
            let mut expectation = Expectation::new(&self.0);
            if !self.0.state.ask_for_socket(expectation.number) {
                return Err(Closed::Lost("the control socket is full".to_owned()));
            }
            self.before_closed(async { (&mut expectation.socket).await.ok() })
                .await?
        };
        Ok(snapshot(socket, &self.0.net.tasks, Some(place)))
    }

    async fn accept_snapshot(&self) -> Result<(TcpSender, TcpReceiver), Closed> {
        self.before_closed(self.0.snapshots_in.take()).await
    }

    fn close(&self, why: CloseCode) {
        self.0.state.close(why);
    }

    async fn closed(&self) -> Closed {
        self.0.state.closed.cancelled().await;
        self.0.reason()
    }

    fn close_reason(&self) -> Option<Closed> {
        self.0.state.close_reason()
    }

    fn heard(&self) -> u64 {
        self.0.state.heard()
    }

    fn path(&self) -> Path {
        Path {
            rtt: self.0.state.rtt(),
            ..Path::default()
        }
    }
}

impl fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnection")
            .field("remote_address", &self.0.remote_address)
            .field("node", &self.0.node)
            .finish_non_exhaustive()
    }
}

/// What the other end showed.
pub(crate) fn certificates(socket: &Socket) -> Vec<CertificateDer<'static>> {
    let (_, tls) = socket.get_ref();
    let chain = tls.peer_certificates().unwrap_or_default();
    chain
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect()
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => 0,
        Lane::Ordered => 1,
    }
}
