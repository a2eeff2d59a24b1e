//! The certificate of one node.

use std::path::{Path, PathBuf};

use raft_core::types::NodeId;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use time::{Duration, OffsetDateTime};

use super::authority::{Authority, BACKDATED, common_name};
use super::error::CertificateError;
use crate::config::cluster_name::ClusterName;
use crate::durable_file;

/// The longest validity, in days: that of an authority.
const DAYS_MAX: u32 = 3650;

/// What was made for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The node.
    pub node: NodeId,
    /// The only name in the certificate.
    pub name: String,
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// Until when it is valid: as long as asked, but never longer than the authority.
    pub not_after: OffsetDateTime,
}

/// The name by which `node` of `cluster` is known to its peers.
#[must_use]
pub fn node_name(cluster: &ClusterName, node: NodeId) -> String {
    format!("n{node}.{cluster}.raft.internal")
}

/// Makes `n<ID>.pem` and `n<ID>.key` in `directory` for each of `nodes`, valid for `days`.
///
/// Without `force` nothing is made if any of the files exists.
pub fn make(
    authority: &Authority,
    directory: &Path,
    nodes: &[NodeId],
    days: u32,
    force: bool,
) -> Result<Vec<NodeCertificate>, CertificateError> {
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(CertificateError::Days(days));
    }
    if !force {
        refuse_to_replace(directory, nodes)?;
    }
    nodes
        .iter()
        .map(|&node| make_one(authority, directory, node, days))
        .collect()
}

/// Refuses if a file of one of `nodes` is already in `directory`.
pub fn refuse_to_replace(directory: &Path, nodes: &[NodeId]) -> Result<(), CertificateError> {
    for &node in nodes {
        let (certificate, key) = paths(directory, node);
        if let Some(path) = [certificate, key].into_iter().find(|path| path.exists()) {
            return Err(CertificateError::Exists { path });
        }
    }
    Ok(())
}

fn paths(directory: &Path, node: NodeId) -> (PathBuf, PathBuf) {
    (
        directory.join(format!("n{node}.pem")),
        directory.join(format!("n{node}.key")),
    )
}

fn make_one(
    authority: &Authority,
    directory: &Path,
    node: NodeId,
    days: u32,
) -> Result<NodeCertificate, CertificateError> {
    let name = node_name(&authority.cluster, node);
    let now = OffsetDateTime::now_utc();
    let not_after = (now + Duration::days(i64::from(days))).min(authority.not_after());
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&name);
    params.subject_alt_names = vec![SanType::DnsName(Ia5String::try_from(name.clone())?)];
    params.not_before = now - BACKDATED;
    params.not_after = not_after;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let key_pair = KeyPair::generate()?;
    let signed = params.signed_by(&key_pair, &authority.issuer)?;
    let (certificate, key) = paths(directory, node);
    durable_file::replace(&key, key_pair.serialize_pem().as_bytes(), 0o600)
        .map_err(CertificateError::io("write", &key))?;
    durable_file::replace(&certificate, signed.pem().as_bytes(), 0o644)
        .map_err(CertificateError::io("write", &certificate))?;
    Ok(NodeCertificate {
        node,
        name,
        certificate,
        key,
        not_after,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::description::Description;
    use super::*;

    fn cluster() -> ClusterName {
        "demo".parse().unwrap()
    }

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn a_certificate_has_one_name_both_usages_and_a_private_key() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &cluster()).unwrap();
        let made = make(&authority, directory.path(), &nodes([7]), 30, false).unwrap();
        let found = Description::read(&made[0].certificate).unwrap();
        assert_eq!(found.names, ["n7.demo.raft.internal"]);
        assert_eq!(found.usages, ["server", "client"]);
        assert!(!found.is_authority);
        assert_eq!(found.issuer, "CN=raft cluster demo authority");
        let validity = found.not_after - OffsetDateTime::now_utc();
        assert!((29..=30).contains(&validity.whole_days()), "{validity}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&made[0].key), 0o600);
        assert_eq!(mode(&directory.path().join("ca.key")), 0o600);
        let ca = Description::read(authority.certificate()).unwrap();
        assert!(ca.is_authority && found.is_signed_by(&ca));
        assert_eq!(ca.path_length, Some(0));
    }

    #[test]
    fn an_authority_is_used_again_and_nothing_is_replaced_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = Authority::open_or_make(path, &cluster()).unwrap();
        assert!(first.is_new());
        make(&first, path, &nodes(1..=3), 365, false).unwrap();
        let again = Authority::open_or_make(path, &cluster()).unwrap();
        assert!(!again.is_new());
        let before = fs::read(path.join("n3.pem")).unwrap();
        let error = make(&again, path, &nodes(3..=4), 365, false).unwrap_err();
        assert!(
            matches!(&error, CertificateError::Exists { path } if path.ends_with("n3.pem")),
            "{error}"
        );
        assert!(!path.join("n4.pem").exists());
        let made = make(&again, path, &nodes([4]), 365, false).unwrap();
        let ca = Description::read(again.certificate()).unwrap();
        assert!(Description::read(&made[0].certificate).unwrap().is_signed_by(&ca));
        make(&again, path, &nodes([3]), 365, true).unwrap();
        assert_ne!(fs::read(path.join("n3.pem")).unwrap(), before);
    }

    #[test]
    fn another_clusters_authority_does_not_sign() {
        let directory = tempfile::tempdir().unwrap();
        Authority::open_or_make(directory.path(), &cluster()).unwrap();
        let error = Authority::open_or_make(directory.path(), &"test".parse().unwrap())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("cluster test") && error.contains("cluster demo"),
            "{error}"
        );
        fs::remove_file(directory.path().join("ca.key")).unwrap();
        let error = Authority::open_or_make(directory.path(), &cluster())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("but not") && error.contains("ca.key"), "{error}");
    }

    #[test]
    fn an_open_key_and_a_foreign_key_do_not_sign() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        Authority::open_or_make(path, &cluster()).unwrap();
        fs::set_permissions(path.join("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Authority::open_or_make(path, &cluster())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("mode 0644") && error.contains("chmod 600"),
            "{error}"
        );
        let other = KeyPair::generate().unwrap().serialize_pem();
        durable_file::replace(&path.join("ca.key"), other.as_bytes(), 0o600).unwrap();
        let error = Authority::open_or_make(path, &cluster())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("key of another certificate"), "{error}");
    }

    #[test]
    fn a_validity_of_nothing_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &cluster()).unwrap();
        for days in [0, 3651] {
            let error = make(&authority, directory.path(), &nodes([1]), days, false).unwrap_err();
            assert!(matches!(error, CertificateError::Days(_)));
        }
    }
}
