//! DIR/PUBLISHED: where the node last told its cluster that it is reached.
//!
//! Only a start with other settings than these has something new to tell: what an operator changed since stands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::DataDirectoryError;
use crate::durable_file;
use crate::member_contact::MemberContact;

const PUBLISHED: &str = "PUBLISHED";

/// What the node in `directory` told last; none if it told nothing yet, or if the file cannot be understood.
pub fn read(directory: &Path) -> Result<Option<MemberContact>, DataDirectoryError> {
    let path = path(directory);
    match fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataDirectoryError::io("read", path, error)),
    }
}

/// Remembers durably that the node in `directory` told `contact`.
pub fn write(directory: &Path, contact: &MemberContact) -> Result<(), DataDirectoryError> {
    let path = path(directory);
    let text = serde_json::to_string(contact).expect("strings and lists of strings have a JSON form");
    durable_file::replace(&path, text.as_bytes(), 0o600)
        .map_err(|source| DataDirectoryError::io("write", path, source))
}

fn path(directory: &Path) -> PathBuf {
    directory.join(PUBLISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        let contact = MemberContact {
            peer_urls: vec!["quic://a:1".to_owned()],
            ..MemberContact::default()
        };
        write(directory.path(), &contact).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some(contact));
        fs::write(path(directory.path()), "{").unwrap();
        assert_eq!(read(directory.path()).unwrap(), None, "then it is told again");
    }
}
