//! TCP, as the shared tests see it: what an intruder calls a connection is a control socket and a socket for each lane.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use raft_transport_tcp::{SetupError, TcpLimits, TcpTransport, TransportOptions};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::sync::CancellationToken;

use crate::intruder::Ended;

pub(crate) type TestTransport = TcpTransport;
type Socket = TlsStream<TcpStream>;

pub(crate) const URGENT: u8 = 1;
pub(crate) const ORDERED: u8 = 2;
pub(crate) const CONTROL: u8 = 0;
const SNAPSHOT: u8 = 3;

pub(crate) fn bind(options: TransportOptions) -> Result<TestTransport, SetupError> {
    TcpTransport::bind(options, TcpLimits::default())
}

/// The first bytes of a socket.
pub(crate) fn preamble(connection: u64, purpose: u8) -> Vec<u8> {
    let mut bytes = b"rafttcp1".to_vec();
    bytes.extend(connection.to_le_bytes());
    bytes.push(purpose);
    bytes.extend([0; 8]);
    bytes
}

fn listen() -> TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

/// An address that takes what is sent there and never answers.
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn new() -> Silent {
        Silent(listen())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Somebody tried to connect.
    pub(crate) async fn called(&self) {
        self.0.accept().await.unwrap();
    }
}

/// Where connections of an intruder come from.
pub(crate) struct Client;

impl Client {
    pub(crate) fn new() -> Client {
        Client
    }

    pub(crate) async fn connect(
        &self,
        tls: &rustls::ClientConfig,
        to: SocketAddr,
        name: &str,
    ) -> Result<Link, Ended> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
        let dial = Dial {
            tls: TlsConnector::from(Arc::new(tls.clone())),
            to,
            name: ServerName::try_from(name.to_owned()).unwrap(),
            connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        };
        let control = dial.socket(CONTROL).await.map_err(refused)?;
        Ok(Link::new(control, Lanes::ToDial(dial)))
    }
}

/// How to make one more socket of a connection.
struct Dial {
    tls: TlsConnector,
    to: SocketAddr,
    name: ServerName<'static>,
    connection: u64,
}

impl Dial {
    async fn socket(&self, purpose: u8) -> io::Result<Socket> {
        let stream = TcpStream::connect(self.to).await?;
        let mut socket = self.tls.connect(self.name.clone(), stream).await?;
        socket.write_all(&preamble(self.connection, purpose)).await?;
        socket.flush().await?;
        Ok(socket.into())
    }
}

/// The other end closes a socket without a word of ours when TLS is not content, and whether its alert arrives before the end
/// of the socket is a matter of luck.
fn refused(error: io::Error) -> Ended {
    Ended::ByTls(error.to_string())
}

/// A bare server.
pub(crate) struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    /// The sockets of connections that are not complete, by the number of the connection and the purpose.
    partial: Mutex<BTreeMap<u64, BTreeMap<u8, Socket>>>,
}

impl Server {
    pub(crate) fn new(tls: rustls::ServerConfig) -> Server {
        Server {
            listener: listen(),
            tls: TlsAcceptor::from(Arc::new(tls)),
            partial: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Option<Result<Link, Ended>> {
        loop {
            let (stream, _) = self.listener.accept().await.ok()?;
            match self.take(stream).await {
                Ok(Some(link)) => return Some(Ok(link)),
                Ok(None) => {}
                Err(error) => return Some(Err(refused(error))),
            }
        }
    }

    /// The connection that `stream` completes, if it completes one.
    async fn take(&self, stream: TcpStream) -> io::Result<Option<Link>> {
        let mut socket = TlsStream::from(self.tls.accept(stream).await?);
        let mut preamble = [0; 25];
        socket.read_exact(&mut preamble).await?;
        let connection = u64::from_le_bytes(preamble[8..16].try_into().unwrap());
        let mut partial = self.partial.lock().unwrap();
        let sockets = partial.entry(connection).or_default();
        sockets.insert(preamble[16], socket);
        if sockets.len() < 3 {
            return Ok(None);
        }
        let mut sockets = partial.remove(&connection).unwrap();
        let control = sockets.remove(&CONTROL).unwrap();
        Ok(Some(Link::new(control, Lanes::Dialled(Mutex::new(sockets)))))
    }
}

/// A connection of an intruder. It is closed when it is dropped.
pub(crate) struct Link {
    lanes: Lanes,
    ended: Arc<OnceLock<Ended>>,
    over: CancellationToken,
    stop: CancellationToken,
}

enum Lanes {
    ToDial(Dial),
    Dialled(Mutex<BTreeMap<u8, Socket>>),
}

impl Link {
    fn new(control: Socket, lanes: Lanes) -> Link {
        let link = Link {
            lanes,
            ended: Arc::default(),
            over: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        let (ended, over, stop) = (link.ended.clone(), link.over.clone(), link.stop.clone());
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(control);
            tokio::select! {
                () = stop.cancelled() => {}
                how = answer(&mut reader, &mut writer) => drop(ended.set(how)),
            }
            over.cancel();
        });
        link
    }

    pub(crate) async fn open_lane(&self, lane: u8) -> Option<Stream> {
        let purpose = if lane == 0 { URGENT } else { ORDERED };
        match &self.lanes {
            Lanes::ToDial(dial) => dial.socket(purpose).await.ok().map(Stream),
            Lanes::Dialled(sockets) => sockets.lock().unwrap().remove(&purpose).map(Stream),
        }
    }

    pub(crate) async fn open_snapshot(&self) -> Option<Stream> {
        match &self.lanes {
            Lanes::ToDial(dial) => dial.socket(SNAPSHOT).await.ok().map(Stream),
            Lanes::Dialled(_) => None,
        }
    }

    /// The other end said hello.
    pub(crate) async fn hear_hello(&self) {
        let Lanes::Dialled(sockets) = &self.lanes else {
            panic!("only who was dialled hears first");
        };
        let mut socket = sockets.lock().unwrap().remove(&ORDERED).unwrap();
        socket.read_u8().await.unwrap();
        sockets.lock().unwrap().insert(ORDERED, socket);
    }

    pub(crate) async fn closed(&self) -> Ended {
        self.over.cancelled().await;
        self.ended.get().expect("it is over").clone()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.get().is_none()
    }

    pub(crate) fn close(&self) {
        self.stop.cancel();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const PING: u8 = 1;
const PONG: u8 = 2;
const CLOSE: u8 = 4;

/// Answers the node on the control socket as a true peer does, until it closes.
async fn answer(reader: &mut ReadHalf<Socket>, writer: &mut WriteHalf<Socket>) -> Ended {
    loop {
        let (tag, number, text) = match read_record(reader).await {
            Ok(record) => record,
            Err(error) => return refused(error),
        };
        match tag {
            PING => {
                let mut pong = vec![PONG];
                pong.extend(number.to_le_bytes());
                pong.push(0);
                // If it is gone, reading tells why.
                let _ = writer.write_all(&pong).await;
                let _ = writer.flush().await;
            }
            CLOSE => {
                return Ended::ByNode {
                    code: u32::try_from(number).unwrap(),
                    reason: text,
                };
            }
            _ => {}
        }
    }
}

async fn read_record(reader: &mut ReadHalf<Socket>) -> io::Result<(u8, u64, String)> {
    let tag = reader.read_u8().await?;
    let number = reader.read_u64_le().await?;
    let mut text = vec![0; usize::from(reader.read_u8().await?)];
    reader.read_exact(&mut text).await?;
    Ok((tag, number, String::from_utf8(text).unwrap()))
}

/// What an intruder writes to.
pub(crate) struct Stream(Socket);

impl Stream {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }
}
