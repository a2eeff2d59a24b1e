//! Files that somebody damaged, removed, or put there: each is named, with its place and what to do, and nothing is restored through it.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::types::{EntryId, GroupId, Index, Term};
use raft_kv::StateHash;

use super::scene::{GROUP, Scene, open_bases, options};
use crate::archive::disk::OwnDisk;
use crate::archive::error::{ArchiveError, RestoreError};
use crate::archive::files::Archive;
use crate::archive::format::{CHECKSUM_BYTES, HEADER_BYTES, Place};
use crate::archive::segment::Segment;

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    range
        .map(|index| Entry::command(Term(2), Index(index), Bytes::from(vec![7; 20])))
        .collect()
}

fn write(directory: &Path, begin: Place, entries: &[Entry]) -> Segment {
    Segment::write(&OwnDisk, directory, GROUP, begin, entries).unwrap()
}

/// What reading the file gives, from its name on.
fn read(path: &Path) -> Result<Vec<Entry>, ArchiveError> {
    Segment::find(path, GROUP).unwrap()?.read()
}

/// R77: a bit that flips anywhere in a segment is noticed, and a file that ends early, too; the error names the file.
#[test]
fn a_damaged_segment_is_refused_wherever_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(4..9);
    let begin = Place {
        id: EntryId::new(Term(1), Index(3)),
        checksum: 99,
    };
    let segment = write(directory.path(), begin, &entries);
    assert_eq!(read(&segment.path).unwrap(), entries);
    let of_other = Segment::find(&segment.path, GroupId(2)).unwrap().unwrap_err();
    assert!(
        of_other.to_string().contains("is of group 1, not of group 2"),
        "{of_other}"
    );
    let whole = fs::read(&segment.path).unwrap();
    let is_refused = |contents: &[u8]| {
        fs::write(&segment.path, contents).unwrap();
        let refused = read(&segment.path).unwrap_err().to_string();
        let path = segment.path.display().to_string();
        assert!(
            refused.starts_with(&path) && refused.contains("Put a good copy"),
            "{refused}"
        );
        refused
    };
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << bit;
            is_refused(&damaged);
        }
        is_refused(&whole[..place]);
    }
    assert!(is_refused(&[]).contains("it is empty"));
    is_refused(&[&whole[..], &[0]].concat());
    let mut damaged = whole.clone();
    let last = whole.len() - CHECKSUM_BYTES - 1;
    damaged[last] ^= 1;
    let refused = is_refused(&damaged);
    assert!(refused.contains("the checksum of entry 8, at byte "), "{refused}");
}

/// A node of which five segments of 100 entries are archived, and the hashes of its states.
async fn archived(share: u64) -> (Scene, Vec<(u64, StateHash)>) {
    let mut scene = Scene::new(u64::MAX).await;
    let mut hashes = Vec::new();
    for _ in 0..5 {
        for _ in 0..2 {
            scene.commit(50, share).await;
            hashes.push((scene.last.index.0, scene.hash()));
        }
        scene.compact(0).await;
    }
    // From here on the nearest snapshot is the empty state.
    let files = fs::read_dir(scene.archive_directory().join("bases")).unwrap();
    assert_eq!(files.count(), 0);
    (scene, hashes)
}

/// Restores at every index; each is right, or refused. Returns the refusals.
async fn restore_everywhere(scene: &Scene, hashes: &[(u64, StateHash)]) -> Vec<(u64, RestoreError)> {
    let past = scene.past(true).await;
    let mut refused = Vec::new();
    for (index, hash) in hashes {
        match scene.try_restore(&past, *index).await {
            Ok(found) => assert_eq!(found, *hash, "at index {index}"),
            Err(error) => refused.push((*index, error)),
        }
    }
    refused
}

/// What somebody does to the third of five segments, and a word of what is said about it.
type Attack = (&'static str, fn(&Path, &[PathBuf]), &'static str);

const ATTACKS: &[Attack] = &[
    (
        "an empty file",
        |path, _| fs::write(path, []).unwrap(),
        "it is empty",
    ),
    (
        "a torn tail",
        |path, _| cut(path, -30),
        "bytes long and should be",
    ),
    (
        "a torn header",
        |path, _| fs::write(path, &fs::read(path).unwrap()[..40]).unwrap(),
        "it ends at byte 40, within its header",
    ),
    (
        "a longer file",
        |path, _| cut(path, 30),
        "bytes long and should be",
    ),
    (
        "a bit of the magic",
        |path, _| flip(path, 3),
        "does not begin as a segment does",
    ),
    (
        "a bit of the version",
        |path, _| flip(path, 7),
        "version 3 of the format",
    ),
    (
        "a bit of the group",
        |path, _| flip(path, 8),
        "checksum of its header",
    ),
    (
        "a bit of the header",
        |path, _| flip(path, 50),
        "checksum of its header",
    ),
    (
        "a bit of a term",
        |path, _| flip(path, HEADER_BYTES),
        "the checksum of entry 201, at byte 68",
    ),
    (
        "a bit of a length",
        |path, _| flip(path, HEADER_BYTES + 20),
        "ends in the middle of entry 201",
    ),
    (
        "a bit of a payload",
        |path, _| flip(path, HEADER_BYTES + 30),
        "the checksum of entry 201, at byte 68",
    ),
    (
        "the segment before under this name",
        |path, all| assert!(fs::copy(&all[1], path).unwrap() > 0),
        "it should be called 00000000000000000101-00000000000000000200-",
    ),
    (
        "no file",
        |path, _| fs::remove_file(path).unwrap(),
        "the entries 201 to 300 are in no file",
    ),
];

pub(super) fn flip(path: &Path, at: usize) {
    let mut contents = fs::read(path).unwrap();
    contents[at] ^= 1;
    fs::write(path, contents).unwrap();
}

fn cut(path: &Path, bytes: i64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.checked_add_signed(bytes).unwrap()).unwrap();
}

/// R77: whatever happened to a segment in the middle, what is before it is restored, what is behind it is refused, and the refusal
/// names the file, or the entries if there is none.
#[tokio::test]
async fn nothing_is_restored_through_a_damaged_segment() {
    let (scene, mut hashes) = archived(1).await;
    let files = scene.segment_files();
    assert_eq!(files.len(), 5);
    let whole = fs::read(&files[2]).unwrap();
    hashes.retain(|(index, _)| [200, 250, 350, 400].contains(index));
    assert!(restore_everywhere(&scene, &hashes).await.is_empty());
    for (what, attack, said) in ATTACKS {
        attack(&files[2], &files);
        let refused = restore_everywhere(&scene, &hashes).await;
        let indexes: Vec<u64> = refused.iter().map(|(index, _)| *index).collect();
        // From 400 on the node's own snapshots lead on.
        assert_eq!(indexes, [250, 350], "{what}");
        for (_, error) in refused {
            let error = error.to_string();
            let place = match *what {
                "no file" => scene.archive_directory(),
                _ => files[2].clone(),
            };
            assert!(
                error.contains(said) && error.contains(&place.display().to_string()),
                "{what}: {error}"
            );
            assert!(
                error.contains("copy") && error.contains("another node"),
                "{what}: {error}"
            );
        }
        fs::write(&files[2], &whole).unwrap();
    }
    assert!(restore_everywhere(&scene, &hashes).await.is_empty());
}

/// A segment of another history with the same indexes and terms is not taken for the right one, wherever it is put.
#[tokio::test]
async fn a_segment_of_another_history_is_refused() {
    let (scene, hashes) = archived(1).await;
    let (other, _) = archived(2).await;
    let (files, others) = (scene.segment_files(), other.segment_files());
    for (place, file) in files.iter().enumerate() {
        let whole = fs::read(file).unwrap();
        fs::copy(&others[place], file).unwrap();
        let refused = restore_everywhere(&scene, &hashes).await;
        for (_, error) in &refused {
            let error = error.to_string();
            let is_named = error.starts_with(&file.display().to_string());
            assert!(
                is_named && error.contains("of another history"),
                "{place}: {error}"
            );
        }
        let refused: Vec<u64> = refused.into_iter().map(|(index, _)| index).collect();
        let before = place as u64 * 100;
        // The node has snapshots at 400 and 500.
        let expected = [50, 100, 150, 200, 250, 300, 350].into_iter();
        let expected: Vec<u64> = expected.filter(|index| before < *index).collect();
        assert_eq!(refused, if place == 4 { vec![450] } else { expected }, "{place}");
        fs::write(file, whole).unwrap();
    }
}

/// A beginning of another history is not preferred for being shorter.
#[tokio::test]
async fn another_beginning_is_refused() {
    let (scene, hashes) = archived(1).await;
    let directory = scene.archive_directory().join("entries");
    let other = write(&directory, Place::default(), &entries(1..51));
    let past = scene.past(true).await;
    let unusable = past.archive.as_ref().unwrap().unusable();
    assert_eq!(
        unusable.iter().map(|file| &file.path).collect::<Vec<_>>(),
        [&other.path]
    );
    assert!(restore_everywhere(&scene, &hashes).await.is_empty());
}

/// A node goes on although its newest segment is damaged; when the right one is put back, everything can be restored.
#[tokio::test]
async fn what_is_put_back_is_taken_up_again() {
    let (mut scene, mut hashes) = archived(1).await;
    let files = scene.segment_files();
    let whole = fs::read(&files[4]).unwrap();
    flip(&files[4], 50);
    scene.reopen();
    for _ in 0..3 {
        scene.put(100).await;
        hashes.push((scene.last.index.0, scene.hash()));
        scene.compact(0).await;
    }
    let refused = restore_everywhere(&scene, &hashes).await;
    let indexes: Vec<u64> = refused.iter().map(|(index, _)| *index).collect();
    // The snapshot at 500 leads over the gap.
    assert_eq!(indexes, [450]);
    fs::write(&files[4], whole).unwrap();
    assert_eq!(restore_everywhere(&scene, &hashes).await.len(), 0);
    scene.reopen();
    assert_eq!(scene.log.figures().last_index(), 800);
}

/// A snapshot of the archive that is damaged is named, and an older one leads to the same state when it is moved away.
#[tokio::test]
async fn a_damaged_base_is_named() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(100).await;
    scene.compact(0).await;
    scene.keep_base().await;
    scene.put(50).await;
    let hash = scene.hash();
    scene.put(300).await;
    scene.compact(0).await;
    scene.put(10).await;
    scene.compact(0).await;
    let base = files_below(&scene.archive_directory().join("bases"))
        .pop()
        .unwrap();
    let length = usize::try_from(fs::metadata(&base).unwrap().len()).unwrap();
    let whole = fs::read(&base).unwrap();
    for at in [0, 9, length / 2, length - 1] {
        flip(&base, at);
        let past = scene.past(true).await;
        match scene.try_restore(&past, 150).await {
            // It is not listed; the entries from the first on lead there, too.
            Ok(found) => assert_eq!(found, hash, "at byte {at}"),
            Err(error) => {
                let error = error.to_string();
                let name = base.display().to_string();
                assert!(
                    error.contains(&name) && error.contains("remove the file"),
                    "{error}"
                );
            }
        }
        fs::write(&base, &whole).unwrap();
    }
    flip(&base, length / 2);
    fs::rename(&base, scene.directory.path().join("moved away")).unwrap();
    let past = scene.past(true).await;
    assert_eq!(scene.try_restore(&past, 150).await.unwrap(), hash);
}

pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// An archive whose file ARCHIVE is gone is not taken for a new one, nor one whose file says something else.
#[tokio::test]
async fn an_archive_without_an_owner_is_not_taken() {
    let (scene, _) = archived(1).await;
    let directory = scene.archive_directory();
    let open = || Archive::open(&directory, options(u64::MAX), open_bases(&directory));
    let owner = directory.join("ARCHIVE");
    for damage in [&b""[..], b"node 1 of clust", b"\xff\xfe"] {
        fs::write(&owner, damage).unwrap();
        let refused = open().unwrap_err().to_string();
        assert!(
            refused.contains("write the line \"node 1 of cluster test\""),
            "{refused}"
        );
    }
    fs::remove_file(&owner).unwrap();
    let refused = open().unwrap_err().to_string();
    assert!(
        refused.contains(&owner.display().to_string()) && refused.contains("\"node 1 of cluster test\""),
        "{refused}"
    );
    fs::write(&owner, "node 1 of cluster test\n").unwrap();
    assert_eq!(open().unwrap().last().index, Index(500));
}
