//! One HTTP/2 connection that is made again when it broke.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Uri;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What one stream and all streams of a connection may receive unread. The answers are small; this only must never
/// be what limits them.
const WINDOW_BYTES: u32 = 1 << 20;

/// A connection to one node.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    /// Where a Put goes.
    pub(super) put_uri: Uri,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sender: Option<SendRequest<Bytes>>,
    /// Counts the connections, so that who saw an old one break does not close the new one.
    generation: u64,
}

/// An open connection and its number.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Where requests are sent.
    pub(super) sender: SendRequest<Bytes>,
    /// For [`Connection::forget`].
    pub(super) generation: u64,
}

impl Connection {
    /// A connection to `address`, made when it is first needed. `put_uri` is the URI of the Put method there.
    pub(super) fn new(address: String, put_uri: Uri) -> Connection {
        Connection {
            address,
            put_uri,
            state: Mutex::default(),
        }
    }

    /// An open connection; everybody who needs one waits for the same attempt.
    pub(super) async fn open(&self) -> Result<Open, String> {
        let mut state = self.state.lock().await;
        if let Some(sender) = &state.sender {
            return Ok(Open {
                sender: sender.clone(),
                generation: state.generation,
            });
        }
        let sender = match tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.address)).await {
            Ok(opened) => opened.map_err(|error| format!("{}: {error}", self.address))?,
            Err(_) => return Err(format!("{}: no connection within 1 s", self.address)),
        };
        state.generation += 1;
        state.sender = Some(sender.clone());
        Ok(Open {
            sender,
            generation: state.generation,
        })
    }

    /// Forgets the connection of this number, so that the next [`open`](Connection::open) makes a new one.
    pub(super) async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.sender = None;
        }
    }
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .enable_push(false)
        .handshake(stream)
        .await?;
    tokio::spawn(async move {
        // Every stream on it learns of its end by itself.
        let _ = connection.await;
    });
    Ok(sender)
}
