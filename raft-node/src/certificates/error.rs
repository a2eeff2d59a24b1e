//! Why a certificate cannot be made or shown.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::cluster_name::ClusterName;

/// Why a certificate cannot be made or shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file or directory cannot be read or written.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is there already.
    #[error("{path} exists and is left as it is; give --force to replace it, never the authority, or another --out", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Two certificates would be written to one file.
    #[error("two certificates would go into {path}; give every --server a LABEL= of its own, and every --client once", path = .path.display())]
    Twice {
        /// The file.
        path: PathBuf,
    },
    /// One half of the authority is missing.
    #[error(
        "{present} is there, but not {missing}; put it back to sign with this authority, or give another --out to \
         make a new one",
        present = .present.display(),
        missing = .missing.display()
    )]
    HalfAuthority {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// The authority cannot sign for this cluster.
    #[error("{path} is not the authority of cluster {cluster}: {reason}; correct --cluster or --out", path = .path.display())]
    WrongAuthority {
        /// The authority's certificate.
        path: PathBuf,
        /// The cluster.
        cluster: ClusterName,
        /// What is wrong.
        reason: String,
    },
    /// There is no authority where one is needed.
    #[error(
        "there is no {missing}; do this where the authority of the cluster is kept, or say with --ca which directory has its \
         ca.pem and ca.key",
        missing = .missing.display()
    )]
    NoAuthority {
        /// The file that does not exist.
        missing: PathBuf,
    },
    /// The authority cannot sign.
    #[error("{path} cannot sign certificates: {reason}; put the ca.pem and ca.key there that belong together and are valid, or make a new authority in another directory", path = .path.display())]
    Unusable {
        /// The authority's certificate.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate cannot be renewed.
    #[error("{path} is not renewed: {reason}", path = .path.display())]
    NotRenewed {
        /// The certificate.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// It is not the time for this step of the rotation of an authority.
    #[error("{path}: {state}; {remedy}", path = .path.display())]
    WrongStep {
        /// The authority's certificate.
        path: PathBuf,
        /// How far the rotation is.
        state: &'static str,
        /// Which step to take.
        remedy: &'static str,
    },
    /// A certificate would be refused after the former authority is dropped.
    #[error("{path} is signed by the authority that would be dropped; renew it first: raft-node cert renew {path}", path = .path.display())]
    StillFormer {
        /// The certificate.
        path: PathBuf,
    },
    /// A file does not contain what it should.
    #[error("{path} does not contain {expected}: {reason}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key file can be read by others.
    #[error("{path} can be read by others (mode {mode:04o}); make it yours alone: chmod 600 {path}", path = .path.display())]
    OpenKey {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The validity is 0 or beyond the calendar.
    #[error("--days {0} is out of range; use 1 to 3650")]
    Days(u32),
    /// The cryptography refuses.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

impl CertificateError {
    /// The constructor of [`CertificateError::Io`] for `action` on `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
        let path = path.to_owned();
        move |source| CertificateError::Io { action, path, source }
    }
}
