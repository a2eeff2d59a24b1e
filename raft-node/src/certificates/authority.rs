//! The authority of one cluster: `ca.pem` and `ca.key` in one directory.
//!
//! While one authority takes the place of another, `ca.pem` has the certificates of both. The one that signs is the one whose
//! key is in `ca.key`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::description::Description;
use super::error::CertificateError;
use crate::config::cluster_name::ClusterName;
use crate::durable_file::{self, NewFile};

/// How long an authority is valid.
const VALID_DAYS: i64 = 3650;

/// Clocks of different machines differ: a certificate is valid from a little before it was made.
pub(super) const BACKDATED: Duration = Duration::hours(1);

/// What the subject of an authority is made of, around the name of its cluster.
const SUBJECT: (&str, &str) = ("raft cluster ", " authority");

/// The authority of one cluster, able to sign.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) cluster: ClusterName,
    pub(super) files: AuthorityFiles,
    /// Its certificate.
    pub(super) own: Description,
    /// Everything in `ca.pem`: whose certificates the nodes take.
    pub(super) trusted: Vec<Description>,
    is_new: bool,
}

/// Where the parts of an authority are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthorityFiles {
    /// The certificates.
    pub(super) certificates: PathBuf,
    /// The key that signs.
    pub(super) key: PathBuf,
    /// The key that signs next, while an authority takes the place of another.
    pub(super) next_key: PathBuf,
}

impl AuthorityFiles {
    pub(super) fn of(directory: &Path) -> AuthorityFiles {
        AuthorityFiles {
            certificates: directory.join("ca.pem"),
            key: directory.join("ca.key"),
            next_key: directory.join("ca.next.key"),
        }
    }
}

impl Authority {
    /// The authority in `directory`, which is made, together with a new authority, if there is none.
    pub fn open_or_make(directory: &Path, cluster: &ClusterName) -> Result<Authority, CertificateError> {
        let files = AuthorityFiles::of(directory);
        match (files.certificates.exists(), files.key.exists()) {
            (true, true) => {
                let authority = Authority::open(directory)?;
                if authority.cluster == *cluster {
                    return Ok(authority);
                }
                Err(CertificateError::WrongAuthority {
                    path: files.certificates,
                    reason: format!("it is the one of cluster {}", authority.cluster),
                    cluster: cluster.clone(),
                })
            }
            (false, false) => {
                make_directory(directory)?;
                Authority::make(files, cluster)
            }
            (true, false) => Err(CertificateError::HalfAuthority {
                present: files.certificates,
                missing: files.key,
            }),
            (false, true) => Err(CertificateError::HalfAuthority {
                present: files.key,
                missing: files.certificates,
            }),
        }
    }

    fn make(files: AuthorityFiles, cluster: &ClusterName) -> Result<Authority, CertificateError> {
        let new = NewAuthority::generate(cluster)?;
        // The key first: a certificate without its key is of no use, the other way round nothing is claimed yet.
        durable_file::replace_all(&[
            NewFile::secret(&files.key, new.key.as_bytes()),
            NewFile::public(&files.certificates, new.certificate.as_bytes()),
        ])
        .map_err(CertificateError::io("write", &files.certificates))?;
        let mut authority = Authority::open_files(files)?;
        authority.is_new = true;
        Ok(authority)
    }

    /// The authority in `directory`.
    pub fn open(directory: &Path) -> Result<Authority, CertificateError> {
        let files = AuthorityFiles::of(directory);
        for missing in [&files.certificates, &files.key] {
            if !missing.exists() {
                let missing = missing.clone();
                return Err(CertificateError::NoAuthority { missing });
            }
        }
        Authority::open_files(files)
    }

    fn open_files(files: AuthorityFiles) -> Result<Authority, CertificateError> {
        let trusted = Description::read_all(&files.certificates)?;
        let key_pair = read_key(&files.key)?;
        let own = trusted
            .iter()
            .find(|authority| authority.public_key == key_pair.public_key_raw())
            .cloned()
            .ok_or_else(|| CertificateError::Unusable {
                path: files.certificates.clone(),
                reason: format!("{} is the key of another certificate", files.key.display()),
            })?;
        let unusable = |reason: String| CertificateError::Unusable {
            path: files.certificates.clone(),
            reason,
        };
        let cluster = cluster_of(&own).ok_or_else(|| {
            unusable(format!(
                "its subject is {:?}, which is none of a cluster's authority",
                own.subject
            ))
        })?;
        if !own.is_authority {
            return Err(unusable("it may not sign certificates".to_owned()));
        }
        if own.not_after <= OffsetDateTime::now_utc() {
            return Err(unusable(format!("it expired on {}", own.not_after.date())));
        }
        Ok(Authority {
            issuer: Issuer::from_ca_cert_der(&own.der.as_slice().into(), key_pair)?,
            cluster,
            files,
            own,
            trusted,
            is_new: false,
        })
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.files.certificates
    }

    /// The cluster whose nodes it makes.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Until when it is valid.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.own.not_after
    }

    /// Whether it was made just now.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

/// An authority that is in no file yet.
pub(super) struct NewAuthority {
    /// Its certificate, PEM.
    pub(super) certificate: String,
    /// Its key, PEM.
    pub(super) key: String,
}

impl NewAuthority {
    pub(super) fn generate(cluster: &ClusterName) -> Result<NewAuthority, CertificateError> {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("{}{cluster}{}", SUBJECT.0, SUBJECT.1));
        params.not_before = now - BACKDATED;
        params.not_after = now + Duration::days(VALID_DAYS);
        // It signs leaves, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key_pair = KeyPair::generate()?;
        Ok(NewAuthority {
            certificate: params.self_signed(&key_pair)?.pem(),
            key: key_pair.serialize_pem(),
        })
    }
}

/// Reads a private key that nobody else can read.
pub(super) fn read_key(path: &Path) -> Result<KeyPair, CertificateError> {
    check_mode(path)?;
    let text = fs::read_to_string(path).map_err(CertificateError::io("read", path))?;
    KeyPair::from_pem(&text).map_err(|error| CertificateError::Unreadable {
        path: path.to_owned(),
        expected: "a private key",
        reason: error.to_string(),
    })
}

/// A distinguished name of nothing but a common name.
pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

/// Whose authority a certificate says that it is.
fn cluster_of(authority: &Description) -> Option<ClusterName> {
    let name = authority.subject.strip_prefix("CN=")?;
    name.strip_prefix(SUBJECT.0)?
        .strip_suffix(SUBJECT.1)?
        .parse()
        .ok()
}

fn make_directory(directory: &Path) -> Result<(), CertificateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(CertificateError::io("make the directory", directory))
}

/// A key that others can read is no longer a secret.
fn check_mode(key: &Path) -> Result<(), CertificateError> {
    let mode = fs::metadata(key)
        .map(|metadata| metadata.permissions().mode() & 0o777)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(0),
            _ => Err(error),
        })
        .map_err(CertificateError::io("read", key))?;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(CertificateError::OpenKey {
            path: key.to_owned(),
            mode,
        })
    }
}
