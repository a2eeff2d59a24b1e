//! Archives that lie.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use super::format::ArchiveError;
use super::{ArchiveReader, unpack};
use crate::directory::RemoveOnDrop;

/// An archive written by hand, so that it can hold what the writer never writes.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"raft-kv\x01".to_vec();
    for (name, content) in files {
        let start = out.len();
        out.push(1);
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(content.len() as u64).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out[start..]).to_le_bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(&crc32c::crc32c(content).to_le_bytes());
    }
    out.push(2);
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// A directory for one test, and a name in it that does not exist yet.
fn target() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    (directory, path)
}

fn refusal(bytes: &[u8]) -> String {
    let (_directory, path) = target();
    match unpack(&mut &bytes[..], &path) {
        Err(error @ ArchiveError::Damaged { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

const FILES: [(&str, &[u8]); 3] = [
    ("000012.sst", b"abc"),
    ("CURRENT", b"MANIFEST-000005\n"),
    ("EMPTY", b""),
];

#[test]
fn what_is_packed_is_what_the_format_says_and_unpacks_again() {
    let (source, _) = target();
    let packed = source.path().join("packed");
    fs::create_dir(&packed).unwrap();
    for (name, content) in FILES {
        fs::write(packed.join(name), content).unwrap();
    }
    let mut bytes = Vec::new();
    let mut reader = ArchiveReader::new(RemoveOnDrop(packed.clone())).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, archive(&FILES));
    drop(reader);
    assert!(!packed.exists(), "the files of a snapshot go with its reader");

    let (_directory, path) = target();
    unpack(&mut &bytes[..], &path).unwrap();
    for (name, content) in FILES {
        assert_eq!(fs::read(path.join(name)).unwrap(), content);
    }
}

#[test]
fn large_files_are_streamed_in_pieces_of_any_size() {
    let (source, path) = target();
    let packed = source.path().join("packed");
    fs::create_dir(&packed).unwrap();
    let content: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    fs::write(packed.join("large"), &content).unwrap();
    let mut reader = ArchiveReader::new(RemoveOnDrop(packed)).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), [0; 777]);
    loop {
        match reader.read(&mut piece).unwrap() {
            0 => break,
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
    unpack(&mut &bytes[..], &path).unwrap();
    assert_eq!(fs::read(path.join("large")).unwrap(), content);
}

#[test]
fn names_cannot_leave_the_directory() {
    let long = "a".repeat(129);
    for name in [
        "../evil",
        "a/b",
        "/etc/evil",
        "..",
        ".",
        ".hidden",
        "",
        "a\\b",
        "a\0b",
        "é",
        &long,
    ] {
        let (directory, path) = target();
        let bytes = archive(&[(name, b"evil")]);
        let error = unpack(&mut &bytes[..], &path).unwrap_err().to_string();
        assert!(error.contains("file name"), "{name:?}: {error}");
        let outside: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "{name:?} wrote outside");
        assert_eq!(
            fs::read_dir(&path).unwrap().count(),
            0,
            "{name:?} wrote something"
        );
    }
}

#[test]
fn a_file_that_comes_twice_is_refused() {
    let error = refusal(&archive(&[("a", b"1"), ("a", b"2")]));
    assert!(error.contains("comes twice"), "{error}");
}

#[test]
fn every_cut_is_refused() {
    let bytes = archive(&FILES);
    for length in 0..bytes.len() {
        let error = refusal(&bytes[..length]);
        assert!(error.contains("ends too early"), "{length}: {error}");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = archive(&FILES);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refusal(&damaged);
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let mut bytes = archive(&FILES);
    bytes.push(0);
    assert!(refusal(&bytes).contains("follows the end"));
}

#[test]
fn a_length_that_lies_allocates_nothing_and_is_refused() {
    let mut bytes = archive(&[("a", b"1")]);
    let length_at = b"raft-kv\x01".len() + 1 + 2 + 1;
    bytes[length_at..length_at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let header = crc32c::crc32c(&bytes[8..length_at + 8]);
    bytes[length_at + 8..length_at + 12].copy_from_slice(&header.to_le_bytes());
    assert!(refusal(&bytes).contains("ends too early"));
}

#[test]
fn a_stream_that_fails_is_told_apart_from_one_that_lies() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_directory, path) = target();
    let bytes = archive(&FILES);
    let mut content = bytes[..20].chain(Failing);
    let error = unpack(&mut content, &path).unwrap_err();
    assert!(matches!(error, ArchiveError::Read { .. }), "{error}");
}
