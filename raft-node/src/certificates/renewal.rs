//! New certificates in the place of old ones: a new key, the same names and usages, in the same files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use time::{Duration, OffsetDateTime};

use super::authority::Authority;
use super::description::Description;
use super::error::CertificateError;
use super::holder::Claims;
use super::leaf::{self, Leaf};

/// What became of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new one.
    Renewed(Leaf),
    /// It was left alone, because it is valid until then.
    Kept(OffsetDateTime),
}

/// Which certificates to renew, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenewalOptions {
    /// For how many days; if absent, for as long as the old one was.
    pub days: Option<u32>,
    /// Only a certificate that has no more than this many days left, or that another authority signed than would now.
    pub within_days: Option<u32>,
}

/// Replaces the certificate in `file` and the key beside it.
pub fn renew(
    file: &Path,
    authority: &Authority,
    options: RenewalOptions,
) -> Result<Renewal, CertificateError> {
    let refused = |reason: &str| CertificateError::NotRenewed {
        path: file.to_owned(),
        reason: reason.to_owned(),
    };
    let old = Description::read(file)?;
    if old.is_authority {
        return Err(refused("it is an authority; see raft-node cert rotate-ca --help"));
    }
    if !authority
        .trusted
        .iter()
        .any(|authority| old.is_signed_by(authority))
    {
        return Err(refused(
            "it is signed by another authority; say with --ca where that one is",
        ));
    }
    let claims = claims(&old)
        .ok_or_else(|| refused("it says more than this program writes; renew it with what made it"))?;
    let limit = options
        .within_days
        .map(|days| OffsetDateTime::now_utc() + Duration::days(i64::from(days)));
    if limit.is_some_and(|limit| old.not_after > limit) && old.is_signed_by(&authority.own) {
        return Ok(Renewal::Kept(old.not_after));
    }
    let days = options.days.unwrap_or_else(|| validity_days(&old));
    leaf::check_days(days)?;
    let key = file.with_extension("key");
    check_key(&key, &old).map_err(|reason| refused(&reason))?;
    let leaf = leaf::issue(authority, &claims, file.to_owned(), key, days)?;
    Ok(Renewal::Renewed(leaf))
}

/// Refuses to put a new key where the old one is not.
fn check_key(key: &Path, certificate: &Description) -> Result<(), String> {
    let path = key.display();
    if !key.exists() {
        return Err(format!(
            "there is no {path}; a new key is put there, so bring the old one there first"
        ));
    }
    let text = fs::read_to_string(key).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let is_its_own = KeyPair::from_pem(&text).is_ok_and(|own| own.public_key_raw() == certificate.public_key);
    if is_its_own {
        return Ok(());
    }
    Err(format!(
        "{path} is not its key; move that away and bring its own there, or make both anew with raft-node cert --force"
    ))
}

/// The certificates in `directory` that can be renewed: those that are no authority, and have their key beside them. Sorted.
pub fn leaves_in(directory: &Path) -> Result<Vec<PathBuf>, CertificateError> {
    let mut files = certificates_in(directory)?;
    files.retain(|file| {
        let is_authority = Description::read(file).is_ok_and(|certificate| certificate.is_authority);
        !is_authority && file.with_extension("key").exists()
    });
    Ok(files)
}

/// The files `*.pem` in `directory` that have a certificate, sorted.
pub fn certificates_in(directory: &Path) -> Result<Vec<PathBuf>, CertificateError> {
    let failed = |error| CertificateError::io("read", directory)(error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_certificate = path.extension() == Some(OsStr::new("pem"))
            && fs::read(&path).is_ok_and(|text| contains(&text, b"-----BEGIN CERTIFICATE-----"));
        if is_certificate {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What `old` says, if that is no more than this program writes.
fn claims(old: &Description) -> Option<Claims> {
    let common_name = old.subject.strip_prefix("CN=")?;
    let is_plain = |name: &String| {
        name.parse::<std::net::IpAddr>().is_ok()
            || name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte))
    };
    let has = |usage: &str| old.usages.contains(&usage);
    (!common_name.contains(", ") && old.names.iter().all(is_plain)).then(|| Claims {
        common_name: common_name.to_owned(),
        names: old.names.clone(),
        server: has("server"),
        client: has("client"),
    })
}

/// For how many whole days `old` was made, at least one.
fn validity_days(old: &Description) -> u32 {
    let days = (old.not_after - old.not_before).whole_days();
    u32::try_from(days).unwrap_or(u32::MAX).clamp(1, leaf::DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::super::authority::read_key;
    use super::super::holder::Holder;
    use super::super::leaf::make;
    use super::*;

    fn demo(directory: &Path) -> Authority {
        Authority::open_or_make(directory, &"demo".parse().unwrap()).unwrap()
    }

    fn holders() -> [Holder; 3] {
        [
            Holder::Node(raft_core::types::NodeId(1)),
            Holder::Server("10.0.0.1,kv.example.com".parse().unwrap()),
            Holder::Client("root".parse().unwrap()),
        ]
    }

    #[test]
    fn a_renewed_certificate_differs_only_in_its_key_and_its_dates() {
        let directory = tempfile::tempdir().unwrap();
        let authority = demo(directory.path());
        make(&authority, directory.path(), &holders(), 30, false).unwrap();
        let files = leaves_in(directory.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["client-root.pem", "n1.pem", "server.pem"]);
        for file in files {
            let old = Description::read(&file).unwrap();
            let key = fs::read(file.with_extension("key")).unwrap();
            let Renewal::Renewed(_) = renew(&file, &authority, RenewalOptions::default()).unwrap() else {
                panic!("{} was kept", file.display());
            };
            let new = Description::read(&file).unwrap();
            assert_eq!(
                (&new.subject, &new.names, &new.usages),
                (&old.subject, &old.names, &old.usages)
            );
            assert_ne!(new.public_key, old.public_key);
            assert_ne!(fs::read(file.with_extension("key")).unwrap(), key);
            let own = read_key(&file.with_extension("key")).unwrap();
            assert_eq!(own.public_key_raw(), new.public_key, "the pair matches");
            assert_eq!(validity_days(&new), validity_days(&old));
        }
    }

    #[test]
    fn what_is_valid_for_long_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let authority = demo(directory.path());
        let made = make(&authority, directory.path(), &holders()[..1], 30, false).unwrap();
        let file = &made[0].certificate;
        let within = |days| RenewalOptions {
            within_days: Some(days),
            days: Some(90),
        };
        assert!(matches!(
            renew(file, &authority, within(29)).unwrap(),
            Renewal::Kept(_)
        ));
        assert!(matches!(
            renew(file, &authority, within(31)).unwrap(),
            Renewal::Renewed(_)
        ));
        assert_eq!(validity_days(&Description::read(file).unwrap()), 90);
    }

    #[test]
    fn a_certificate_without_its_own_key_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let authority = demo(directory.path());
        let made = make(&authority, directory.path(), &holders(), 30, false).unwrap();
        let (file, key) = (&made[0].certificate, &made[0].key);
        let (certificate, own_key) = (fs::read(file).unwrap(), fs::read(key).unwrap());
        let refused = || {
            renew(file, &authority, RenewalOptions::default())
                .unwrap_err()
                .to_string()
        };
        fs::remove_file(key).unwrap();
        let error = refused();
        assert!(
            error.contains("there is no") && error.contains("n1.key"),
            "{error}"
        );
        let others_key = fs::read(&made[1].key).unwrap();
        fs::write(key, &others_key).unwrap();
        let error = refused();
        assert!(
            error.contains("n1.key is not its key") && error.contains("--force"),
            "{error}"
        );
        assert_eq!(fs::read(file).unwrap(), certificate);
        assert_eq!(fs::read(key).unwrap(), others_key);
        fs::write(key, own_key).unwrap();
        renew(file, &authority, RenewalOptions::default()).unwrap();
    }

    #[test]
    fn authorities_and_the_certificates_of_others_are_refused() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = demo(own.path());
        let foreign = make(&demo(other.path()), other.path(), &holders(), 30, false).unwrap();
        let refused = |file: &Path| {
            renew(file, &authority, RenewalOptions::default())
                .unwrap_err()
                .to_string()
        };
        let error = refused(&foreign[0].certificate);
        assert!(
            error.contains("another authority") && error.contains("--ca"),
            "{error}"
        );
        let error = refused(authority.certificate());
        assert!(error.contains("rotate-ca"), "{error}");
    }
}
