//! Directories that cannot be opened are named.

use std::fs;

use raft_storage_engine::{EngineLogStore, OpenError};

use crate::support::*;

#[tokio::test]
async fn a_directory_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = EngineLogStore::open_default(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("another process has this data directory open")
    );
    drop(store);
    open(dir.path());
}

#[test]
fn a_path_that_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = EngineLogStore::open_default(&path).unwrap_err();
        assert!(matches!(error, OpenError::Directory { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("this is not a directory; choose another"),
            "{error}"
        );
    }
}
