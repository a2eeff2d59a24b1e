//! Certificates of nodes, of client ports and of clients: what an authority signs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use time::{Duration, OffsetDateTime};

use super::authority::{Authority, BACKDATED, common_name};
use super::error::CertificateError;
use super::holder::{Claims, Holder};
use crate::durable_file::{self, NewFile};

/// The longest validity, in days: that of an authority.
pub(super) const DAYS_MAX: u32 = 3650;

/// A certificate that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its common name.
    pub name: String,
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// Until when it is valid: as long as asked, but never longer than the authority.
    pub not_after: OffsetDateTime,
}

/// Makes a certificate and a key in `directory` for each of `holders`, valid for `days`.
///
/// Without `force` nothing is made if any of the files exists.
pub fn make(
    authority: &Authority,
    directory: &Path,
    holders: &[Holder],
    days: u32,
    force: bool,
) -> Result<Vec<Leaf>, CertificateError> {
    check(directory, holders, days, force)?;
    holders
        .iter()
        .map(|holder| {
            let (certificate, key) = paths(directory, holder);
            let claims = holder.claims(&authority.cluster);
            issue(authority, &claims, certificate, key, days)
        })
        .collect()
}

/// Refuses what [`make`] would refuse, before there is an authority.
pub fn check(directory: &Path, holders: &[Holder], days: u32, force: bool) -> Result<(), CertificateError> {
    check_days(days)?;
    let mut seen = BTreeSet::new();
    for holder in holders {
        if !seen.insert(holder.stem()) {
            let (path, _) = paths(directory, holder);
            return Err(CertificateError::Twice { path });
        }
    }
    if force {
        return Ok(());
    }
    refuse_to_replace(directory, holders)
}

/// Refuses if a file of one of `holders` is already in `directory`.
pub fn refuse_to_replace(directory: &Path, holders: &[Holder]) -> Result<(), CertificateError> {
    for holder in holders {
        let (certificate, key) = paths(directory, holder);
        if let Some(path) = [certificate, key].into_iter().find(|path| path.exists()) {
            return Err(CertificateError::Exists { path });
        }
    }
    Ok(())
}

/// Refuses a validity of nothing, and one that no authority has.
pub(super) fn check_days(days: u32) -> Result<(), CertificateError> {
    if (1..=DAYS_MAX).contains(&days) {
        Ok(())
    } else {
        Err(CertificateError::Days(days))
    }
}

fn paths(directory: &Path, holder: &Holder) -> (PathBuf, PathBuf) {
    let stem = holder.stem();
    (
        directory.join(format!("{stem}.pem")),
        directory.join(format!("{stem}.key")),
    )
}

/// Makes a key and a certificate with `claims` and writes both.
pub(super) fn issue(
    authority: &Authority,
    claims: &Claims,
    certificate: PathBuf,
    key: PathBuf,
    days: u32,
) -> Result<Leaf, CertificateError> {
    let now = OffsetDateTime::now_utc();
    let not_after = (now + Duration::days(i64::from(days))).min(authority.not_after());
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&claims.common_name);
    params.subject_alt_names = claims
        .names
        .iter()
        .map(|name| alternative_name(name))
        .collect::<Result<_, _>>()?;
    params.not_before = now - BACKDATED;
    params.not_after = not_after;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let usages = [
        (claims.server, ExtendedKeyUsagePurpose::ServerAuth),
        (claims.client, ExtendedKeyUsagePurpose::ClientAuth),
    ];
    params.extended_key_usages = usages
        .into_iter()
        .filter_map(|(is_used, usage)| is_used.then_some(usage))
        .collect();
    params.use_authority_key_identifier_extension = true;
    let key_pair = KeyPair::generate()?;
    let signed = params.signed_by(&key_pair, &authority.issuer)?;
    // A running node that reads between the two renames finds a pair that does not match, keeps its former one and reads again
    // . A crash between them leaves such a pair: `renew` makes it whole again.
    durable_file::replace_all(&[
        NewFile::secret(&key, key_pair.serialize_pem().as_bytes()),
        NewFile::public(&certificate, signed.pem().as_bytes()),
    ])
    .map_err(CertificateError::io("write", &certificate))?;
    Ok(Leaf {
        name: claims.common_name.clone(),
        certificate,
        key,
        not_after,
    })
}

fn alternative_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(Ia5String::try_from(name)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use raft_core::types::NodeId;

    use super::super::description::Description;
    use super::*;
    use crate::config::cluster_name::ClusterName;

    fn cluster() -> ClusterName {
        "demo".parse().unwrap()
    }

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<Holder> {
        ids.into_iter().map(|id| Holder::Node(NodeId(id))).collect()
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
    fn a_server_and_a_client_have_one_usage_each_and_no_name_of_a_node() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &cluster()).unwrap();
        let holders = [
            Holder::Server("127.0.0.1,::1,localhost".parse().unwrap()),
            Holder::Client("root".parse().unwrap()),
        ];
        let made = make(&authority, directory.path(), &holders, 30, false).unwrap();
        assert!(made[0].certificate.ends_with("server.pem") && made[0].key.ends_with("server.key"));
        let server = Description::read(&made[0].certificate).unwrap();
        assert_eq!(server.names, ["127.0.0.1", "::1", "localhost"]);
        assert_eq!(server.usages, ["server"]);
        assert!(made[1].certificate.ends_with("client-root.pem") && made[1].key.ends_with("client-root.key"));
        let client = Description::read(&made[1].certificate).unwrap();
        assert_eq!(client.subject, "CN=root");
        assert!(client.names.is_empty(), "{client:?}");
        assert_eq!(client.usages, ["client"]);
    }

    #[test]
    fn two_certificates_do_not_go_into_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &cluster()).unwrap();
        let servers = ["a", "b"].map(|host| Holder::Server(host.parse().unwrap()));
        let error = make(&authority, directory.path(), &servers, 30, true).unwrap_err();
        assert!(matches!(error, CertificateError::Twice { .. }), "{error}");
        assert!(!directory.path().join("server.pem").exists());
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
        crate::durable_file::replace(&path.join("ca.key"), other.as_bytes(), 0o600).unwrap();
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
