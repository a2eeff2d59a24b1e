//! The authority of one cluster: `ca.pem` and `ca.key` in one directory.

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
use crate::durable_file;

/// How long an authority is valid.
const VALID_DAYS: i64 = 3650;

/// Clocks of different machines differ: a certificate is valid from a little before it was made.
pub(super) const BACKDATED: Duration = Duration::hours(1);

/// The authority of one cluster, able to sign.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) cluster: ClusterName,
    certificate: PathBuf,
    not_after: OffsetDateTime,
    is_new: bool,
}

impl Authority {
    /// The authority in `directory`, which is made, together with a new authority, if there is none.
    pub fn open_or_make(directory: &Path, cluster: &ClusterName) -> Result<Authority, CertificateError> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca.key"));
        match (certificate.exists(), key.exists()) {
            (true, true) => Authority::open(certificate, &key, cluster),
            (false, false) => {
                make_directory(directory)?;
                Authority::make(certificate, &key, cluster)
            }
            (true, false) => Err(CertificateError::HalfAuthority {
                present: certificate,
                missing: key,
            }),
            (false, true) => Err(CertificateError::HalfAuthority {
                present: key,
                missing: certificate,
            }),
        }
    }

    fn make(certificate: PathBuf, key: &Path, cluster: &ClusterName) -> Result<Authority, CertificateError> {
        let now = OffsetDateTime::now_utc();
        let not_after = now + Duration::days(VALID_DAYS);
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&authority_name(cluster));
        params.not_before = now - BACKDATED;
        params.not_after = not_after;
        // It signs nodes, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key_pair = KeyPair::generate()?;
        let signed = params.self_signed(&key_pair)?;
        // The key first: a certificate without its key is of no use, the other way round nothing is claimed yet.
        durable_file::replace(key, key_pair.serialize_pem().as_bytes(), 0o600)
            .map_err(CertificateError::io("write", key))?;
        durable_file::replace(&certificate, signed.pem().as_bytes(), 0o644)
            .map_err(CertificateError::io("write", &certificate))?;
        Ok(Authority {
            issuer: Issuer::new(params, key_pair),
            cluster: cluster.clone(),
            certificate,
            not_after,
            is_new: true,
        })
    }

    fn open(certificate: PathBuf, key: &Path, cluster: &ClusterName) -> Result<Authority, CertificateError> {
        let wrong = |reason: String| CertificateError::WrongAuthority {
            path: certificate.clone(),
            cluster: cluster.clone(),
            reason,
        };
        let description = Description::read(&certificate)?;
        let expected = format!("CN={}", authority_name(cluster));
        if description.subject != expected {
            return Err(wrong(format!(
                "its subject is {:?}, not {expected:?}",
                description.subject
            )));
        }
        if !description.is_authority {
            return Err(wrong("it may not sign certificates".to_owned()));
        }
        if description.not_after <= OffsetDateTime::now_utc() {
            return Err(wrong(format!("it expired on {}", description.not_after.date())));
        }
        check_mode(key)?;
        let text = fs::read_to_string(key).map_err(CertificateError::io("read", key))?;
        let key_pair = KeyPair::from_pem(&text).map_err(|error| CertificateError::Unreadable {
            path: key.to_owned(),
            expected: "a private key",
            reason: error.to_string(),
        })?;
        if description.public_key != key_pair.public_key_raw() {
            return Err(wrong(format!(
                "{} is the key of another certificate",
                key.display()
            )));
        }
        let text = fs::read_to_string(&certificate).map_err(CertificateError::io("read", &certificate))?;
        Ok(Authority {
            issuer: Issuer::from_ca_cert_pem(&text, key_pair)?,
            cluster: cluster.clone(),
            certificate,
            not_after: description.not_after,
            is_new: false,
        })
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Until when it is valid.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Whether it was made just now.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

/// A distinguished name of nothing but a common name.
pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn authority_name(cluster: &ClusterName) -> String {
    format!("raft cluster {cluster} authority")
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
