//! Why a connection or a stream was closed.

/// Why a connection or a stream was closed; the other end sees the number and the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// This node stops.
    Shutdown = 0,
    /// A newer connection of the same pair took over.
    Replaced = 1,
    /// The certificate is not one of a node of this cluster, or not of the node that was wanted.
    Identity = 2,
    /// The certificate's node is not among this node's peers.
    NotAPeer = 3,
    /// The hello does not repeat the certificate, or its version is unknown.
    Hello = 4,
    /// A message or a snapshot names another sender than the connection, or another receiver.
    Forged = 5,
    /// A frame is malformed or too large.
    Protocol = 6,
    /// A frame or the handshake took too long.
    TooSlow = 7,
    /// The higher id made itself known; the lower id dials now.
    Knock = 8,
    /// A snapshot stream was given up.
    SnapshotAborted = 9,
}

impl CloseCode {
    /// The number.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The word that travels with the number, for whoever reads the other side's log.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::Shutdown => "shutdown",
            CloseCode::Replaced => "replaced by a newer connection",
            CloseCode::Identity => "wrong certificate",
            CloseCode::NotAPeer => "not a peer",
            CloseCode::Hello => "wrong hello",
            CloseCode::Forged => "forged sender or receiver",
            CloseCode::Protocol => "malformed frame",
            CloseCode::TooSlow => "too slow",
            CloseCode::Knock => "knock heard",
            CloseCode::SnapshotAborted => "snapshot aborted",
        }
    }
}
