//! From a QUIC connection to a proven peer: the certificate's name, then hello in both directions.
//!
//! The lower id of a pair dials, the higher accepts. A connection that the higher id made is a knock: it says "I am here
//! now, dial me", and carries nothing else.

use std::time::Duration;

use quinn::{Connection, ConnectionError, SendStream, WriteError};
use raft_core::types::NodeId;
use raft_core::wire::FrameKind;
use thiserror::Error;

use crate::close_code::CloseCode;
use crate::frame_io::{FrameError, FrameReader};
use crate::identity::IdentityError;
use crate::protocol::{FORMAT_VERSION, HELLO_BYTES_MAX, Hello};
use crate::shared::Shared;

/// A connection whose other end has proved who it is, and its two streams of messages.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) incarnation: u64,
    pub(crate) sender: SendStream,
    pub(crate) reader: FrameReader,
}

/// Why a connection never came to carry messages.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// QUIC or TLS failed, or the other end closed.
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    /// Writing the hello failed.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// The certificate names nobody here.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// Another node answered.
    #[error("its certificate names node {found}, but node {wanted} was dialled")]
    WrongNode {
        /// Who was dialled.
        wanted: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// A node of this cluster that is not among the peers.
    #[error("node {0} is not among this node's peers")]
    NotAPeer(NodeId),
    /// The hello is malformed or late.
    #[error("its hello is wrong: {0}")]
    Frame(#[from] FrameError),
    /// The hello contradicts the certificate.
    #[error("its hello is wrong: {0}")]
    Hello(String),
    /// It took too long.
    #[error("it did not prove who it is within {0:?}")]
    TooSlow(Duration),
    /// The address cannot be resolved or dialled.
    #[error("{0}")]
    Address(String),
}

impl HandshakeError {
    /// What to tell the other end; nothing if it ended the connection itself.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        match self {
            HandshakeError::Identity(_) | HandshakeError::WrongNode { .. } => Some(CloseCode::Identity),
            HandshakeError::NotAPeer(_) => Some(CloseCode::NotAPeer),
            HandshakeError::Frame(FrameError::TooSlow(_) | FrameError::Silent(_))
            | HandshakeError::TooSlow(_) => Some(CloseCode::TooSlow),
            HandshakeError::Frame(FrameError::Ended(_)) => None,
            HandshakeError::Frame(_) | HandshakeError::Hello(_) => Some(CloseCode::Hello),
            HandshakeError::Connection(_) | HandshakeError::Write(_) | HandshakeError::Address(_) => None,
        }
    }
}

/// Says hello and hears it. `peer` is who the certificate names.
pub(crate) async fn exchange_hello(
    shared: &Shared,
    connection: Connection,
    peer: NodeId,
) -> Result<Established, HandshakeError> {
    let sender = say_hello(shared, &connection).await?;
    let (reader, incarnation) = hear_hello(shared, &connection, peer).await?;
    Ok(Established {
        connection,
        incarnation,
        sender,
        reader,
    })
}

/// Opens this node's stream of messages and writes the hello.
pub(crate) async fn say_hello(
    shared: &Shared,
    connection: &Connection,
) -> Result<SendStream, HandshakeError> {
    let mut sender = connection.open_uni().await?;
    sender.write_chunk(shared.hello().encode()).await?;
    Ok(sender)
}

/// Accepts the peer's stream of messages and reads the hello, which must repeat the certificate.
pub(crate) async fn hear_hello(
    shared: &Shared,
    connection: &Connection,
    peer: NodeId,
) -> Result<(FrameReader, u64), HandshakeError> {
    let stream = connection.accept_uni().await?;
    let mut reader = FrameReader::new(stream, shared.limits.frame_timeout);
    let body = reader.next(FrameKind::Hello, HELLO_BYTES_MAX).await?;
    let hello = Hello::decode(body).ok_or_else(|| HandshakeError::Hello("it is too short".to_string()))?;
    check_hello(shared, &hello, peer)?;
    Ok((reader, hello.incarnation))
}

fn check_hello(shared: &Shared, hello: &Hello, peer: NodeId) -> Result<(), HandshakeError> {
    let wrong = if hello.version != FORMAT_VERSION {
        format!(
            "it speaks version {}, this side speaks version {FORMAT_VERSION}",
            hello.version
        )
    } else if hello.id != peer {
        format!("it says node {}, the certificate says node {peer}", hello.id)
    } else if hello.cluster != shared.cluster {
        format!(
            "it says cluster {:?}, this is cluster {:?}",
            hello.cluster, shared.cluster
        )
    } else {
        return Ok(());
    };
    Err(HandshakeError::Hello(wrong))
}
