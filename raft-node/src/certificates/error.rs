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
