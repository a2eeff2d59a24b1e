//! A stopped store is looked at without a change, and every damage is listed, not only the first.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::entry::{Entry, Payload};
use raft_core::membership::Membership;
use raft_core::traits::SnapshotStore;
use raft_core::types::{GroupId, Index, NodeId, Term};
use raft_storage_rocksdb::inspect::{
    Finding, InspectError, Inspection, LogInspector, Place, ScanProgress, Severity, SnapshotState, TermRun,
};
use raft_storage_rocksdb::{FileSnapshotStore, RocksLogStore};

use crate::damage::{key, with_raw};
use crate::process::{DIR, again};
use crate::support::*;

/// Everything that a look at a directory could change: names, sizes, times, contents.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_dir() {
            all.extend(listing(&path));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        all.insert(
            path,
            (data.len(), data.mtime(), data.mtime_nsec(), data.ino(), content),
        );
    }
    all
}

fn open_inspector(dir: &Path, scratch: &Path) -> Result<LogInspector, InspectError> {
    LogInspector::open(&dir.join("log"), &dir.join("snapshots"), scratch)
}

/// Looks at the stores in `dir`, and demands that this changed nothing.
fn look(dir: &Path) -> Inspection {
    let before = listing(dir);
    let scratch = tempfile::tempdir().unwrap();
    let inspection = open_inspector(dir, scratch.path())
        .unwrap()
        .verify(&mut |_| {})
        .unwrap();
    assert!(listing(dir) == before, "looking changed something");
    inspection
}

fn damages(inspection: &Inspection) -> Vec<&Finding> {
    let findings = inspection.findings.iter();
    findings
        .filter(|finding| finding.severity == Severity::Damage)
        .collect()
}

fn membership_entry(term: u64, index: u64, voters: &[u64]) -> Entry {
    Entry {
        id: id(term, index),
        payload: Payload::Membership(Membership::of_voters(voters.iter().copied().map(NodeId)).unwrap()),
    }
}

/// Two groups; one with three terms, a vote, a configuration in the log, and a finished snapshot.
async fn stores(dir: &Path) {
    let log = open(&dir.join("log"));
    write(&log, vote(G, 1, Some(2))).await;
    write(&log, append(G, commands(1, 1..=100))).await;
    write(&log, append(G, vec![membership_entry(2, 101, &[1, 2, 3, 4])])).await;
    write(&log, append(G, commands(2, 102..=200))).await;
    write(&log, append(G, commands(4, 190..=300))).await;
    write(&log, vote(G, 4, Some(3))).await;
    write(&log, reset(GroupId(9), 3, 50, commands(3, 51..=60))).await;
    drop(log);
    snapshot(dir, 3, 50).await;
}

async fn snapshot(dir: &Path, term: u64, index: u64) {
    let snapshots = FileSnapshotStore::open(dir.join("snapshots")).unwrap();
    let mut writer = snapshots
        .begin(GroupId(9), &meta(term, index), None)
        .await
        .unwrap();
    let content = Bytes::from(vec![7; 600_000]);
    writer.write_chunk(content).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test]
async fn a_sound_store_is_told_as_it_is_and_stays_as_it_is() {
    for flushed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        stores(dir.path()).await;
        if flushed {
            // RocksDB writes its tables when another handle of it closes.
            with_raw(&dir.path().join("log"), |_, _, _| {});
            drop(open(&dir.path().join("log")));
        }
        let inspection = look(dir.path());
        assert_eq!(inspection.findings, []);
        assert_eq!(inspection.groups.len(), 2);
        let group = &inspection.groups[0];
        assert_eq!((group.group, group.entries), (G, 300));
        assert_eq!((group.first, group.last), (Some(id(1, 1)), Some(id(4, 300))));
        let run = |term, first, last| TermRun {
            term: Term(term),
            first: Index(first),
            last: Index(last),
        };
        assert_eq!(group.terms, [run(1, 1, 100), run(2, 101, 189), run(4, 190, 300)]);
        let hard_state = group.hard_state.unwrap();
        assert_eq!((hard_state.term, hard_state.vote), (Term(4), Some(NodeId(3))));
        assert_eq!(group.membership().unwrap().voters().len(), 4);
        assert_eq!(group.memberships[0].0, Index(101));
        let mark = group.watermark.unwrap();
        assert_eq!((mark.term, mark.last, mark.copies), (Term(4), Index(300), 2));
        let other = &inspection.groups[1];
        assert_eq!(other.purged, Some(id(3, 50)));
        assert_eq!(other.snapshot.as_ref().unwrap().last, id(3, 50));
        assert_eq!(other.membership().unwrap().voters().len(), 3);
        assert_eq!((other.first, other.entries), (Some(id(3, 51)), 10));
        assert_eq!(inspection.snapshots.len(), 1);
        assert!(matches!(
            inspection.snapshots[0].state,
            SnapshotState::Finished {
                content_bytes: 600_000,
                ..
            }
        ));
        assert_eq!(
            (inspection.read.entries, inspection.read.entries_total),
            (310, 310)
        );
        assert_eq!(inspection.read.percent(), 100);
        assert!(inspection.usage.journal.bytes > 0 && inspection.usage.watermarks.files == 2);
        assert!(inspection.usage.snapshots.bytes > 600_000);
    }
}

/// What the journal has and the tables do not is part of the log.
#[tokio::test]
async fn what_is_in_the_journal_only_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let original = tempfile::tempdir().unwrap();
    stores(original.path()).await;
    copy_dir(original.path(), dir.path());
    // Without its tables, all of it is in the journal.
    fs::remove_dir_all(dir.path().join("log/db")).unwrap();
    let inspection = look(dir.path());
    assert_eq!(damages(&inspection), [] as [&Finding; 0]);
    assert!(inspection.journal_records >= 7, "{}", inspection.journal_records);
    assert_eq!(inspection.groups, look(original.path()).groups);
}

/// R77: damage of different kinds and places, at once: each is a finding of its own, and the rest is told all the same.
#[tokio::test]
async fn every_finding_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    let log = dir.path().join("log");
    with_raw(&log, |database, entries, state| {
        database.delete_cf(entries, key(G, 20)).unwrap();
        database.delete_cf(entries, key(G, 21)).unwrap();
        let foreign = database.get_cf(entries, key(GroupId(9), 55)).unwrap().unwrap();
        database.put_cf(entries, key(G, 40), foreign).unwrap();
        let mut value = database.get_cf(entries, key(G, 60)).unwrap().unwrap();
        value[0] = 99;
        database.put_cf(entries, key(G, 60), value).unwrap();
        let record = [&G.0.to_be_bytes()[..], &[2]].concat();
        let mut value = database.get_cf(state, &record).unwrap().unwrap();
        value[8] ^= 1;
        database.put_cf(state, &record, value).unwrap();
    });
    let mark = log.join("watermarks/group-00000000000000000009.mark");
    fs::write(&mark, vec![0; 8192]).unwrap();
    let snapshot = dir
        .path()
        .join("snapshots/group-00000000000000000009/snap-00000000000000000050-3.snap");
    flip(&snapshot, 300_000, 3);

    let inspection = look(dir.path());
    let found: Vec<String> = damages(&inspection).iter().map(ToString::to_string).collect();
    for parts in [
        ["group 7, entries 20 to 21", "missing", "rejoin under a new id"],
        ["group 7, entry 40", "checksum", "rejoin under a new id"],
        ["group 7, entry 60", "version 99", "use the build that wrote it"],
        ["group 7, its record of term", "checksum", "rejoin under a new id"],
        [
            "group 7",
            "term 4 with vote for node 3 was acknowledged",
            "suspect",
        ],
        [
            "group-00000000000000000009.mark",
            "neither of the two copies",
            "rejoin",
        ],
        ["snap-00000000000000000050-3.snap", "checksum", "remove the file"],
    ] {
        let named = found
            .iter()
            .filter(|text| parts.iter().all(|part| text.contains(part)));
        assert_eq!(named.count(), 1, "{parts:?} in {found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
    let group = &inspection.groups[0];
    assert_eq!((group.entries, group.last), (296, Some(id(4, 300))));
    assert_eq!(inspection.groups[1].entries, 10);
    assert_eq!(inspection.snapshots[0].state, SnapshotState::Damaged);
}

/// A table that cannot be opened, or not read everywhere, hides its entries and nothing else.
#[tokio::test]
async fn what_the_tables_still_have_is_read() {
    for whole_table in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        stores(dir.path()).await;
        let log = dir.path().join("log");
        with_raw(&log, |database, entries, _| database.flush_cf(entries).unwrap());
        let mut tables = files_of(&log.join("db"), "sst");
        tables.sort_by_key(|path| fs::metadata(path).unwrap().len());
        let table = tables.pop().unwrap();
        let bytes = fs::metadata(&table).unwrap().len();
        if whole_table {
            fs::remove_file(&table).unwrap();
        } else {
            flip(&table, bytes as usize / 3, 3);
        }
        let inspection = look(dir.path());
        assert!(inspection.is_damaged(), "{inspection:#?}");
        let group = inspection.groups.iter().find(|group| group.group == G).unwrap();
        assert_eq!(
            group.hard_state.unwrap().term,
            Term(4),
            "the state has tables of its own"
        );
        if !whole_table {
            assert!(group.entries > 100 && group.entries < 300, "{}", group.entries);
            let unreadable = damages(&inspection);
            assert!(
                matches!(unreadable[0].place, Place::Entries(G, _, Some(_))),
                "{unreadable:#?}"
            );
            assert!(
                unreadable[0].problem.contains(&*table.to_string_lossy()),
                "{unreadable:#?}"
            );
        }
        assert!(RocksLogStore::open(&log, options()).is_err());
    }
}

/// R77: the inspector calls damaged what the store refuses, and nothing else, whatever one bit or one cut does anywhere.
#[tokio::test]
async fn the_inspector_and_the_store_agree() {
    const ROUNDS: u64 = 60;
    let original = tempfile::tempdir().unwrap();
    stores(original.path()).await;
    let mut numbers = Numbers(5);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(original.path(), dir.path());
        let log = dir.path().join("log");
        let mut files: Vec<_> = ["db", "journal", "watermarks"]
            .map(|part| log.join(part))
            .iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| fs::metadata(path).unwrap().len() > 0)
            .collect();
        files.sort();
        let file = &files[numbers.below(files.len() as u64) as usize];
        let bytes = fs::metadata(file).unwrap().len();
        let at = numbers.below(bytes);
        if numbers.below(3) == 0 {
            cut(file, at);
        } else {
            flip(file, at as usize, numbers.below(8) as u8);
        }
        let inspection = look(dir.path());
        let opened = RocksLogStore::open(&log, options());
        refused += u64::from(opened.is_err());
        assert_eq!(
            inspection.is_damaged(),
            opened.is_err(),
            "round {round}: {} at {at} of {bytes}: {:?}, {:#?}",
            file.display(),
            opened.err(),
            inspection.findings
        );
    }
    assert!(refused > ROUNDS / 10, "only {refused} damages mattered");
}

#[tokio::test]
async fn entries_are_handed_out_by_range() {
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path()).await;
    let scratch = tempfile::tempdir().unwrap();
    let mut inspector = open_inspector(dir.path(), scratch.path()).unwrap();
    let mut entries = |from, to| {
        let mut taken = Vec::new();
        let findings = inspector.entries(G, Index(from)..=Index(to), &mut |entry| {
            taken.push(entry);
            ControlFlow::Continue(())
        });
        findings.map(|findings| {
            assert_eq!(findings, []);
            taken
        })
    };
    assert_eq!(entries(5, 8).unwrap(), commands(1, 5..=8));
    assert_eq!(
        entries(101, 101).unwrap(),
        [membership_entry(2, 101, &[1, 2, 3, 4])]
    );
    assert_eq!(entries(0, u64::MAX).unwrap().len(), 300);
    for (from, to) in [(301, 400), (8, 5)] {
        let error = entries(from, to).unwrap_err();
        assert!(matches!(error, InspectError::NoSuchEntries { .. }), "{error}");
        assert!(
            error.to_string().contains("its log has entries 1 to 300"),
            "{error}"
        );
    }
    let error = inspector.inspect(Some(GroupId(8)), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "there is no group 8; the store has 7, 9");
    let mut reports = Vec::new();
    let mut report = |progress: &ScanProgress| reports.push(*progress);
    let one = inspector.inspect(Some(GroupId(9)), &mut report).unwrap();
    assert_eq!(one.groups.len(), 1);
    assert_eq!(reports.last().unwrap().entries, 10);
}

#[test]
fn a_directory_without_a_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = open_inspector(dir.path(), dir.path()).unwrap_err();
    assert!(matches!(error, InspectError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("holds no log"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_store_that_is_open_elsewhere_is_left_alone() {
    const TEST: &str = "inspect::a_store_that_is_open_elsewhere_is_left_alone";
    if let Ok(dir) = std::env::var(DIR) {
        let scratch = tempfile::tempdir().unwrap();
        let error = open_inspector(Path::new(&dir), scratch.path()).unwrap_err();
        assert!(matches!(error, InspectError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("stop the node"), "{error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("log"));
    assert!(again(TEST, &[], dir.path(), 0).wait().unwrap().success());
    drop(store);
}
