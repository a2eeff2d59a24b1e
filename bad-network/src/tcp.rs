//! A TCP connection that takes a bad way: the bytes all arrive, in order, but late, slowly, or not until somebody mends it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::background::Background;

/// How much is read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// How many chunks may be under way in one direction of one connection; then the sender has to wait, as TCP has it.
const CHUNKS_MAX: usize = 256;
/// How many connections there may be at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;

/// How bad the way is, in both directions. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSettings {
    /// How long everything is under way, to the millisecond.
    pub delay: Duration,
    /// How many bytes leave per second, in each direction of each connection. Default: as many as come.
    pub bytes_per_second: Option<u64>,
    /// Nothing moves, but connections stand: what is sent arrives when this ends.
    pub stalled: bool,
    /// Connections break, and new ones break at once.
    pub cut: bool,
}

/// A way to one TCP server.
///
/// Everything ends when this is dropped.
#[derive(Debug)]
pub struct TcpPath {
    address: SocketAddr,
    settings: watch::Sender<TcpSettings>,
    _background: Background,
}

impl TcpPath {
    /// A perfect way to the server at `to`, for now.
    ///
    /// # Errors
    /// If the machine has no thread or no socket to spare.
    pub fn start(to: SocketAddr) -> io::Result<TcpPath> {
        let background = Background::start("bad-tcp")?;
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (settings, watched) = watch::channel(TcpSettings::default());
        let listener = {
            let _runtime = background.handle().enter();
            TcpListener::from_std(listener)?
        };
        background.handle().spawn(accept(listener, to, watched));
        Ok(TcpPath {
            address,
            settings,
            _background: background,
        })
    }

    /// Where clients reach the server on this way.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the way so bad, from now on.
    pub fn set(&self, settings: TcpSettings) {
        self.settings.send_replace(settings);
    }

    /// Changes something about the way, from now on.
    pub fn change(&self, change: impl FnOnce(&mut TcpSettings)) {
        self.settings.send_modify(change);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, settings: watch::Receiver<TcpSettings>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        // A client that went away while it waited is no reason to stop.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let settings = settings.clone();
        tokio::spawn(async move {
            connect(client, to, settings).await;
            drop(permit);
        });
    }
}

/// Serves one connection until an end closes it in both directions, an error breaks it, or it is cut.
async fn connect(client: TcpStream, to: SocketAddr, settings: watch::Receiver<TcpSettings>) {
    let mut watched = settings.clone();
    let work = async {
        let server = TcpStream::connect(to).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            carry(from_client, to_server, settings.clone()),
            carry(from_server, to_client, settings),
        )
    };
    tokio::select! {
        biased;
        // An error means that the path is gone, and every connection with it.
        _ = watched.wait_for(|settings| settings.cut) => {}
        // Both ends see what happened to the other one.
        _ = work => {}
    }
}

/// One direction: reads as long as there is room for what is under way, and writes everything at its time.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    settings: watch::Receiver<TcpSettings>,
) -> io::Result<()> {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let mut watched = settings.clone();
    let read = async move {
        let mut free_at = Instant::now();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            chunk.truncate(length);
            let TcpSettings {
                delay,
                bytes_per_second,
                ..
            } = *settings.borrow();
            free_at = free_at.max(Instant::now());
            if let Some(rate) = bytes_per_second {
                free_at += Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
            }
            if under_way.send((free_at + delay, chunk)).await.is_err() {
                // Writing failed, and says why.
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, chunk)) = arriving.recv().await {
            sleep_until(at).await;
            // An error means that the path is gone, and this task with it.
            let _ = watched.wait_for(|settings| !settings.stalled).await;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_: ((), ())| ())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// A server that sends everything back, and the way to it.
    fn echo() -> TcpPath {
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let path = TcpPath::start(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    // A connection that is cut ends with an error.
                    let _ = io::copy(&mut reader, &mut stream);
                });
            }
        });
        path
    }

    fn ask(stream: &mut TcpStream, length: usize) -> Duration {
        let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let begin = Instant::now();
        let mut writer = stream.try_clone().unwrap();
        let sent = content.clone();
        let sending = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        sending.join().unwrap();
        assert_eq!(answer, content);
        begin.elapsed()
    }

    #[test]
    fn everything_arrives_late_in_both_directions() {
        let path = echo();
        let mut stream = TcpStream::connect(path.address()).unwrap();
        ask(&mut stream, 10 << 20);
        path.change(|settings| settings.delay = Duration::from_millis(40));
        let elapsed = ask(&mut stream, 10);
        assert!(elapsed >= Duration::from_millis(80), "{elapsed:?}");
    }

    #[test]
    fn a_narrow_way_takes_its_time() {
        let path = echo();
        path.set(TcpSettings {
            bytes_per_second: Some(1 << 20),
            ..TcpSettings::default()
        });
        let mut stream = TcpStream::connect(path.address()).unwrap();
        let elapsed = ask(&mut stream, 256 << 10);
        assert!(elapsed >= Duration::from_millis(250), "{elapsed:?}");
    }

    #[test]
    fn a_stall_holds_everything_until_it_ends() {
        let path = echo();
        let mut stream = TcpStream::connect(path.address()).unwrap();
        ask(&mut stream, 10);
        path.change(|settings| settings.stalled = true);
        let (answered, answer) = mpsc::channel();
        let asking = thread::spawn(move || {
            ask(&mut stream, 10);
            answered.send(()).unwrap();
        });
        assert!(answer.recv_timeout(Duration::from_millis(100)).is_err());
        path.change(|settings| settings.stalled = false);
        answer.recv().unwrap();
        asking.join().unwrap();
    }

    #[test]
    fn a_cut_breaks_connections_until_it_is_mended() {
        let path = echo();
        let mut stream = TcpStream::connect(path.address()).unwrap();
        ask(&mut stream, 10);
        path.change(|settings| settings.cut = true);
        let is_broken = |stream: &mut TcpStream| match stream.read(&mut [0; 1]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_broken(&mut stream));
        assert!(is_broken(&mut TcpStream::connect(path.address()).unwrap()));
        path.change(|settings| settings.cut = false);
        ask(&mut TcpStream::connect(path.address()).unwrap(), 10);
    }

    #[test]
    fn an_end_that_closes_its_direction_still_gets_the_answer() {
        let path = echo();
        let mut stream = TcpStream::connect(path.address()).unwrap();
        stream.write_all(b"last words").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "last words");
    }
}
