//! Why the transport cannot be built. Failures while it runs are [`TransportError`](raft_core::traits::TransportError).

use std::net::SocketAddr;
use std::path::PathBuf;

use raft_core::traits::{Cause, TransportError};
use thiserror::Error;

/// Why a transport cannot be built, or a change at run time was refused. Each names the input and
/// the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// An option is out of its range.
    #[error("{name} is {value}: {remedy}")]
    Option {
        /// The name of the option, as in [`TransportOptions`](crate::TransportOptions) or the carrier's own limits.
        name: &'static str,
        /// What was given.
        value: String,
        /// What to give instead.
        remedy: &'static str,
    },
    /// A file cannot be read.
    #[error("the {what} {} cannot be read: {source}", path.display())]
    ReadFile {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else can read the private key.
    #[error(
        "the private key {path} has mode {mode:04o}, so others can reach it; run: chmod 600 {path}",
        path = path.display()
    )]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds no PEM of the kind that is needed.
    #[error("{} holds no usable {what}: {reason}; give a PEM file", path.display())]
    Pem {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key belongs to another certificate.
    #[error(
        "the private key {} does not belong to the certificate {}; give the pair that was made together",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The certificate names another node or another cluster.
    #[error(
        "the certificate {} names {found}, but this node is {expected}; give this node's certificate, or correct its id \
         or the cluster's name",
        path.display()
    )]
    WrongName {
        /// The certificate file.
        path: PathBuf,
        /// The names in it.
        found: String,
        /// The one name that belongs in it.
        expected: String,
    },
    /// The peers would not accept the certificate.
    #[error(
        "the certificate {} would be refused by every peer that trusts {}: {reason}; make a new one that is valid now, \
         signed by this authority, for client and server authentication",
        path.display(), ca.display()
    )]
    Untrusted {
        /// The certificate file.
        path: PathBuf,
        /// The file of the certificate authority.
        ca: PathBuf,
        /// What the verifier said.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[source] Cause),
    /// The socket could not be opened.
    #[error(
        "cannot listen on {protocol} {address}: {source}; stop what uses the port, or choose another address"
    )]
    Listen {
        /// What runs there: `udp` or `tcp`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no tokio runtime.
    #[error("the transport must be built inside a tokio runtime with I/O and time enabled")]
    NoRuntime,
}

impl From<SetupError> for TransportError {
    fn from(error: SetupError) -> TransportError {
        TransportError::Io(error.into())
    }
}
