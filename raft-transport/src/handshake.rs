//! From a connection to a proven peer: the certificate's name, then hello in both directions.
//!
//! The lower id of a pair dials, the higher accepts. A connection that the higher id made is a knock: it says "I am here
//! now, dial me", and carries nothing else.

use std::io;
use std::time::Duration;

use raft_core::message::Lane;
use raft_core::types::NodeId;
use raft_core::wire::FrameKind;
use thiserror::Error;

use crate::carrier::{Carrier, Closed, Connection, StreamSender};
use crate::close_code::CloseCode;
use crate::frame_io::{FrameError, FrameReader};
use crate::identity::IdentityError;
use crate::lanes::LANES;
use crate::protocol::{FORMAT_VERSION, HELLO_BYTES_MAX, Hello};
use crate::shared::Shared;

/// A connection whose other end has proved who it is, and its streams of messages.
pub(crate) struct Established<N: Connection> {
    pub(crate) connection: N,
    pub(crate) incarnation: u64,
    /// For each lane.
    pub(crate) senders: Vec<(Lane, N::Sender)>,
    /// For each lane.
    pub(crate) readers: Vec<(Lane, FrameReader<N::Receiver>)>,
}

/// Why a connection never came to carry messages.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// The connection could not be made, or the other end closed it.
    #[error("{0}")]
    Closed(#[from] Closed),
    /// Writing the hello failed.
    #[error("its stream broke: {0}")]
    Write(#[from] io::Error),
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
            HandshakeError::Closed(_) | HandshakeError::Write(_) | HandshakeError::Address(_) => None,
        }
    }
}

/// Says hello and hears it, in every lane. `peer` is who the certificate names.
pub(crate) async fn exchange_hello<C: Carrier>(
    shared: &Shared<C>,
    connection: C::Connection,
    peer: NodeId,
) -> Result<Established<C::Connection>, HandshakeError> {
    let mut senders = Vec::with_capacity(LANES.len());
    for lane in LANES {
        senders.push((lane, say_hello(shared, &connection, lane).await?));
    }
    let first = hear_hello(shared, &connection, peer).await?;
    let mut readers = vec![(first.lane, first.reader)];
    while readers.len() < LANES.len() {
        let next = hear_hello(shared, &connection, peer).await?;
        if readers.iter().any(|(lane, _)| *lane == next.lane) {
            return Err(HandshakeError::Hello(format!(
                "two of its streams are {:?}",
                next.lane
            )));
        }
        if next.incarnation != first.incarnation {
            return Err(HandshakeError::Hello(
                "its streams are of two incarnations".to_owned(),
            ));
        }
        readers.push((next.lane, next.reader));
    }
    Ok(Established {
        connection,
        incarnation: first.incarnation,
        senders,
        readers,
    })
}

/// Opens this node's stream of messages in `lane` and writes the hello.
pub(crate) async fn say_hello<C: Carrier>(
    shared: &Shared<C>,
    connection: &C::Connection,
    lane: Lane,
) -> Result<<C::Connection as Connection>::Sender, HandshakeError> {
    let mut sender = connection.open_lane(lane).await?;
    sender.write(&mut [shared.hello(lane).encode()]).await?;
    Ok(sender)
}

/// A stream of messages whose hello was heard.
pub(crate) struct Heard<R> {
    pub(crate) lane: Lane,
    pub(crate) incarnation: u64,
    /// The port at which the peer listens.
    pub(crate) port: u16,
    reader: FrameReader<R>,
}

/// Accepts one of the peer's streams of messages and reads the hello, which must repeat the certificate.
pub(crate) async fn hear_hello<C: Carrier>(
    shared: &Shared<C>,
    connection: &C::Connection,
    peer: NodeId,
) -> Result<Heard<<C::Connection as Connection>::Receiver>, HandshakeError> {
    let stream = connection.accept_lane().await?;
    let mut reader = FrameReader::new(stream, shared.limits.frame_timeout);
    let body = reader.next(FrameKind::Hello, HELLO_BYTES_MAX).await?;
    let hello = Hello::decode(body)
        .ok_or_else(|| HandshakeError::Hello("it is too short, or names no lane".to_owned()))?;
    check_hello(shared, &hello, peer)?;
    Ok(Heard {
        lane: hello.lane,
        incarnation: hello.incarnation,
        port: hello.port,
        reader,
    })
}

fn check_hello<C: Carrier>(shared: &Shared<C>, hello: &Hello, peer: NodeId) -> Result<(), HandshakeError> {
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
