//! One authority takes the place of another while the cluster runs.
//!
//! Three steps, each complete in `ca.pem` and the keys beside it, and each to be followed by what spreads it:
//! 1. [`add`]: `ca.pem` has both certificates, the former authority still signs. Every node must have this `ca.pem` before the
//!    next step: one that lacks it refuses what the new authority signs.
//! 2. [`switch`]: the new authority signs; the former key is gone. Every certificate is renewed.
//! 3. [`drop_former`]: `ca.pem` has the new certificate alone. Whoever still has a certificate of the former authority, a thief
//!    among them, is nobody from here on.

use std::fs;
use std::path::Path;

use super::authority::{Authority, AuthorityFiles, NewAuthority, read_key};
use super::description::Description;
use super::error::CertificateError;
use super::renewal::leaves_in;
use crate::durable_file::{self, NewFile};

/// How far the rotation of an authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is one authority.
    None,
    /// There are two, and the former signs.
    Added,
    /// There are two, and the new one signs.
    Switched,
}

impl Stage {
    fn of(authority: &Authority) -> Result<Stage, CertificateError> {
        if authority.trusted.len() == 1 {
            // A key whose certificate is nowhere is what is left of an `add` that crashed.
            return Ok(Stage::None);
        }
        let next = &authority.files.next_key;
        if !next.exists() {
            return Ok(Stage::Switched);
        }
        let next = read_key(next)?;
        let is_trusted = |key: &[u8]| authority.trusted.iter().any(|found| found.public_key == key);
        Ok(if is_trusted(next.public_key_raw()) {
            Stage::Added
        } else {
            Stage::Switched
        })
    }

    fn refusal(self, files: &AuthorityFiles) -> CertificateError {
        let (state, remedy) = match self {
            Stage::None => (
                "no authority takes the place of another",
                "begin with: raft-node cert rotate-ca add",
            ),
            Stage::Added => (
                "a new authority was added and does not sign yet",
                "when every node has this file, go on with: raft-node cert rotate-ca switch",
            ),
            Stage::Switched => (
                "the new authority signs and the former is still trusted",
                "when every certificate is renewed, end with: raft-node cert rotate-ca drop",
            ),
        };
        CertificateError::WrongStep {
            path: files.certificates.clone(),
            state,
            remedy,
        }
    }
}

fn open_at(directory: &Path, stage: Stage) -> Result<Authority, CertificateError> {
    let authority = Authority::open(directory)?;
    let found = Stage::of(&authority)?;
    if found == stage {
        Ok(authority)
    } else {
        Err(found.refusal(&authority.files))
    }
}

/// Makes a new authority beside the one in `directory`, trusted like it.
pub fn add(directory: &Path) -> Result<Authority, CertificateError> {
    let authority = open_at(directory, Stage::None)?;
    let new = NewAuthority::generate(&authority.cluster)?;
    let files = &authority.files;
    let both = authority.own.pem() + &new.certificate;
    durable_file::replace_all(&[
        NewFile::secret(&files.next_key, new.key.as_bytes()),
        NewFile::public(&files.certificates, both.as_bytes()),
    ])
    .map_err(CertificateError::io("write", &files.certificates))?;
    Authority::open(directory)
}

/// Lets the new authority in `directory` sign. The key of the former one is no longer needed, and is replaced.
pub fn switch(directory: &Path) -> Result<Authority, CertificateError> {
    let authority = open_at(directory, Stage::Added)?;
    let files = &authority.files;
    fs::rename(&files.next_key, &files.key)
        .and_then(|()| durable_file::sync_directory(directory))
        .map_err(CertificateError::io("replace", &files.key))?;
    Authority::open(directory)
}

/// Takes the former authority out of `directory`. Refuses if a certificate beside it is still signed by that one.
pub fn drop_former(directory: &Path) -> Result<Authority, CertificateError> {
    let authority = open_at(directory, Stage::Switched)?;
    for path in leaves_in(directory)? {
        if !Description::read(&path)?.is_signed_by(&authority.own) {
            return Err(CertificateError::StillFormer { path });
        }
    }
    let certificates = &authority.files.certificates;
    durable_file::replace(certificates, authority.own.pem().as_bytes(), 0o644)
        .map_err(CertificateError::io("write", certificates))?;
    Authority::open(directory)
}

#[cfg(test)]
mod tests {
    use raft_core::types::NodeId;

    use super::super::holder::Holder;
    use super::super::leaf::make;
    use super::super::renewal::{RenewalOptions, renew};
    use super::*;

    #[test]
    fn an_authority_is_replaced_in_three_steps_and_in_no_other_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let former = Authority::open_or_make(path, &"demo".parse().unwrap()).unwrap();
        let node = |id| [Holder::Node(NodeId(id))];
        make(&former, path, &node(1), 30, false).unwrap();
        let refused = |result: Result<Authority, CertificateError>, step: &str| {
            let error = result.err().unwrap().to_string();
            assert!(error.ends_with(step), "{error}");
        };
        refused(switch(path), "rotate-ca add");
        refused(drop_former(path), "rotate-ca add");

        let both = add(path).unwrap();
        assert_eq!((both.trusted.len(), &both.own), (2, &former.own));
        refused(add(path), "rotate-ca switch");
        refused(drop_former(path), "rotate-ca switch");
        let made = make(&both, path, &node(2), 30, false).unwrap();
        assert!(
            Description::read(&made[0].certificate)
                .unwrap()
                .is_signed_by(&former.own)
        );

        let new = switch(path).unwrap();
        assert_ne!(new.own.public_key, former.own.public_key);
        assert_eq!((new.trusted.len(), &new.own), (2, &both.trusted[1]));
        assert!(!path.join("ca.next.key").exists());
        refused(add(path), "rotate-ca drop");
        refused(switch(path), "rotate-ca drop");

        for id in [1, 2] {
            let file = path.join(format!("n{id}.pem"));
            let error = drop_former(path).err().unwrap().to_string();
            assert!(error.ends_with(&format!("renew {}", file.display())), "{error}");
            // What another authority signed is renewed however long it is valid.
            let options = RenewalOptions {
                within_days: Some(1),
                ..RenewalOptions::default()
            };
            renew(&file, &new, options).unwrap();
            assert!(Description::read(&file).unwrap().is_signed_by(&new.own));
        }
        let alone = drop_former(path).unwrap();
        assert_eq!(alone.trusted, std::slice::from_ref(&new.own));
        assert!(add(path).is_ok(), "and once more");
    }

    #[test]
    fn a_rotation_that_crashed_at_its_begin_begins_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        Authority::open_or_make(path, &"demo".parse().unwrap()).unwrap();
        let left = NewAuthority::generate(&"demo".parse().unwrap()).unwrap();
        durable_file::replace(&path.join("ca.next.key"), left.key.as_bytes(), 0o600).unwrap();
        let both = add(path).unwrap();
        assert_eq!(Stage::of(&both).unwrap(), Stage::Added);
        switch(path).unwrap();
    }
}
