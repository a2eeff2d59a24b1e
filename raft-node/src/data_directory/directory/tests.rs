//! Whose a directory is, and when it is refused.

use super::*;

fn open(path: &Path, cluster: &str, node: u64) -> Result<DataDirectory, DataDirectoryError> {
    open_with(path, cluster, node, LogStoreKind::default())
}

fn open_with(
    path: &Path,
    cluster: &str,
    node: u64,
    log_store: LogStoreKind,
) -> Result<DataDirectory, DataDirectoryError> {
    DataDirectory::open(path, &cluster.parse().unwrap(), NodeId(node), log_store)
}

/// R68: a directory belongs to one node of one cluster for ever, and the refusal names both.
#[test]
fn another_node_and_another_cluster_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/b");
    drop(open(&path, "demo", 1).unwrap());
    drop(open(&path, "demo", 1).unwrap());
    let other = open(&path, "demo", 2).unwrap_err().to_string();
    assert!(
        other.contains("node 1 of cluster demo") && other.contains("node 2 of cluster demo"),
        "{other}"
    );
    let other = open(&path, "test", 1).unwrap_err().to_string();
    assert!(
        other.contains("cluster demo") && other.contains("cluster test"),
        "{other}"
    );
}

#[test]
fn another_log_store_is_refused_and_both_are_named() {
    let directory = tempfile::tempdir().unwrap();
    drop(open_with(directory.path(), "demo", 1, LogStoreKind::RaftEngine).unwrap());
    for asked in [LogStoreKind::Rocksdb, LogStoreKind::Memory] {
        let error = open_with(directory.path(), "demo", 1, asked)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("asks for {asked}")), "{error}");
        assert!(
            error.contains("start the node with --log-store raft-engine"),
            "{error}"
        );
    }
    // Who does not know the store is told.
    let found = DataDirectory::open_existing(directory.path(), None, None).unwrap();
    assert_eq!(found.log_store(), LogStoreKind::RaftEngine);
}

/// R68: a node that kept its log in memory has forgotten its votes; one that never ran has none to forget.
#[test]
fn a_log_in_memory_is_refused_after_its_node_ran() {
    let directory = tempfile::tempdir().unwrap();
    let open = || open_with(directory.path(), "demo", 2, LogStoreKind::Memory);
    drop(open().unwrap());
    open().unwrap().note_log_written().unwrap();
    let error = open().unwrap_err();
    assert!(matches!(
        error,
        DataDirectoryError::ForgottenLog { node: NodeId(2), .. }
    ));
    assert!(error.to_string().contains("under a new id"), "{error}");
    let recovery = DataDirectory::open_existing(directory.path(), None, None);
    assert!(matches!(recovery, Err(DataDirectoryError::ForgottenLog { .. })));
}

#[test]
fn an_existing_directory_says_whose_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let missing = DataDirectory::open_existing(&path, None, None);
    assert!(matches!(missing, Err(DataDirectoryError::Missing { .. })));
    assert!(!path.exists(), "nothing is made");
    drop(open(&path, "demo", 3).unwrap());
    let found = DataDirectory::open_existing(&path, None, None).unwrap();
    assert_eq!((found.node(), found.cluster().as_str()), (NodeId(3), "demo"));
    drop(found);
    let cluster = "demo".parse().unwrap();
    let other = DataDirectory::open_existing(&path, Some(&cluster), Some(NodeId(2)));
    assert!(matches!(other, Err(DataDirectoryError::OtherIdentity { .. })));
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), "demo", 1).unwrap();
    let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(first);
    open(directory.path(), "demo", 1).unwrap();
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "x").unwrap();
    let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
    assert!(error.contains("thesis.tex"), "{error}");
    assert!(!directory.path().join(IDENTITY).exists());
}

#[test]
fn a_file_in_the_way_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fs::write(&path, "x").unwrap();
    let error = open(&path, "demo", 1).unwrap_err().to_string();
    assert!(
        error.contains("data") && error.contains("must name a directory"),
        "{error}"
    );
    let error = open(&path.join("below"), "demo", 1).unwrap_err().to_string();
    assert!(error.contains("must name a directory"), "{error}");
}

#[test]
fn a_damaged_identity_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), "demo", 1).unwrap());
    fs::write(directory.path().join(IDENTITY), [0xff, 0xfe]).unwrap();
    let error = open(directory.path(), "demo", 1).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    fs::write(directory.path().join(IDENTITY), "").unwrap();
    assert!(open(directory.path(), "demo", 1).is_err());
}

/// R11, R68: a log that was there and is gone stops the node.
#[test]
fn a_lost_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut data = open(directory.path(), "demo", 1).unwrap();
    data.check_log(true).unwrap();
    data.note_log_written().unwrap();
    drop(data);
    let data = open(directory.path(), "demo", 1).unwrap();
    data.check_log(false).unwrap();
    assert!(matches!(
        data.check_log(true),
        Err(DataDirectoryError::LostLog { .. })
    ));
    fs::remove_dir(data.log()).unwrap();
    drop(data);
    assert!(matches!(
        open(directory.path(), "demo", 1),
        Err(DataDirectoryError::LostLog { .. })
    ));
}

/// R68: the directory of a node that was removed is not used again, and the refusal says what can be done.
#[test]
fn a_removed_nodes_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut data = open(directory.path(), "demo", 4).unwrap();
    data.note_log_written().unwrap();
    data.note_removed().unwrap();
    drop(data);
    let error = open(directory.path(), "demo", 4).unwrap_err().to_string();
    assert!(
        error.contains("node 4 was removed from cluster demo") && error.contains("can be deleted"),
        "{error}"
    );
}

/// What joined once never begins a cluster, whatever the flags of a later start say; what has a log goes on with it.
#[test]
fn a_node_that_joins_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let mut data = open(directory.path(), "demo", 4).unwrap();
    assert!(!data.joins());
    data.note_joins().unwrap();
    drop(data);
    assert!(open(directory.path(), "demo", 4).unwrap().joins());
    let other = tempfile::tempdir().unwrap();
    let mut data = open(other.path(), "demo", 1).unwrap();
    data.note_log_written().unwrap();
    data.note_joins().unwrap();
    assert!(!data.joins());
}

/// R11, R68: a note that could not be written is written when it is made again.
#[test]
fn a_note_that_failed_is_not_taken_for_written() {
    type Note = fn(&mut DataDirectory) -> Result<(), DataDirectoryError>;
    type IsNoted = fn(&Identity) -> bool;
    let notes: [(Note, IsNoted); 3] = [
        (DataDirectory::note_joins, |identity| identity.joins),
        (DataDirectory::note_log_written, |identity| identity.log_written),
        (DataDirectory::note_removed, |identity| identity.removed),
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut data = open(directory.path(), "demo", 4).unwrap();
    // Where the new identity is written first.
    let in_the_way = durable_file::temporary_path(&directory.path().join(IDENTITY));
    for (note, is_noted) in notes {
        let on_disk = || is_noted(&read_identity(directory.path()).unwrap().unwrap());
        fs::create_dir(&in_the_way).unwrap();
        for _ in 0..2 {
            assert!(matches!(note(&mut data), Err(DataDirectoryError::Io { .. })));
            assert!(!is_noted(&data.identity) && !on_disk());
        }
        fs::remove_dir(&in_the_way).unwrap();
        note(&mut data).unwrap();
        assert!(is_noted(&data.identity) && on_disk());
    }
}

#[test]
fn a_full_and_a_read_only_disk_have_their_remedies() {
    let message = |kind: io::ErrorKind| DataDirectoryError::io("write", "d".into(), kind.into()).to_string();
    assert!(message(io::ErrorKind::StorageFull).contains("free some space"));
    assert!(message(io::ErrorKind::ReadOnlyFilesystem).contains("mount the file system for writing"));
    assert!(message(io::ErrorKind::PermissionDenied).contains("write access"));
}
