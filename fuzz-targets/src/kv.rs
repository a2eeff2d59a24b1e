//! What the key-value store decodes: commands, questions and their answers, the records in its database, and the archive
//! that a snapshot is.

use std::cell::RefCell;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::types::{EntryId, Index, Term};
use tempfile::TempDir;

mod encodings;
mod unpacking;

use encodings::codec::CodecError;
use encodings::command::{
    Command, DeleteRangeRequest, DeleteRangeResponse, Header, KeyValue, PutRequest, PutResponse, Response,
};
use encodings::layout::{
    Live, Revision, StoreState, Version, decode_history, decode_version_key, version_key,
};
use encodings::range::{RangeRequest, RangeResponse, SortOrder, SortTarget};
use encodings::refusal::KvError;

/// The first byte says what the rest is: a command, a question, or the answer to one of them. What decodes is written and
/// read back as the same.
///
/// # Panics
/// If it is not, or if decoding panics.
pub fn commands(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    match form % 4 {
        0 => survives(bytes, Command::decode, Command::encode),
        1 => survives(bytes, RangeRequest::decode, RangeRequest::encode),
        2 => survives(bytes, Response::decode_outcome, Response::encode_outcome),
        _ => survives(
            bytes,
            RangeResponse::decode_outcome,
            RangeResponse::encode_outcome,
        ),
    }
}

fn survives<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, CodecError>,
    encode: impl Fn(&T) -> Bytes,
) {
    let Ok(value) = decode(bytes) else { return };
    let written = encode(&value);
    assert!(
        written.len() <= bytes.len(),
        "the form that is written is the shortest"
    );
    assert_eq!(
        decode(&written),
        Ok(value),
        "what was written is read as the same value"
    );
}

/// The first byte says which record of the database the rest is. What decodes is written and read back as the same.
///
/// # Panics
/// If it is not, or if decoding panics.
pub fn records(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    match form % 6 {
        0 => {
            if let Ok(state) = StoreState::decode(bytes) {
                let again = StoreState::decode(&state.encode()).expect("what was written is read");
                assert_eq!(again, state);
            }
        }
        1 => {
            if let Ok(live) = Live::decode(bytes) {
                let again = Live::decode(&live.encode()).expect("what was written is read");
                assert_eq!(again, live);
            }
        }
        2 => version(bytes),
        3 => {
            if let Ok(revision) = Revision::decode(bytes) {
                assert_eq!(revision.to_bytes()[..], *bytes, "a revision has one form");
            }
        }
        4 => {
            let mut key = Vec::new();
            if let Ok(revision) = decode_version_key(bytes, &mut key) {
                let mut written = Vec::new();
                version_key(&key, revision, &mut written);
                assert_eq!(written, bytes, "the key of a version has one form");
            }
        }
        _ => {
            if let Ok((_, key)) = decode_history(bytes) {
                assert_eq!(key.len() + 1, bytes.len());
            }
        }
    }
}

fn version(bytes: &[u8]) {
    let revision = Revision { main: 7, sub: 1 };
    let Ok(version) = Version::decode(revision, bytes) else {
        return;
    };
    let mut written = Vec::new();
    version.encode(&mut written);
    let again = Version::decode(revision, &written).expect("what was written is read");
    assert_eq!(again, version);
    assert_eq!(again.encode_and_history(b"k"), version.encode_and_history(b"k"));
}

impl Version<'_> {
    fn encode_and_history(&self, key: &[u8]) -> Vec<u8> {
        let mut history = Vec::new();
        self.encode_history(key, &mut history);
        history
    }
}

thread_local! {
    /// Where archives are unpacked, in memory if the machine has such a place; removed with the thread.
    static SCRATCH: RefCell<TempDir> = RefCell::new(scratch());
}

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("there is room for a folder of temporary files")
}

/// An archive. The first byte says whether the checksums are to be made right. What is unpacked stays in its directory.
///
/// # Panics
/// If unpacking panics, or if it writes anything anywhere else.
pub fn archive(data: &[u8]) {
    let Some((&form, stream)) = data.split_first() else {
        return;
    };
    let sealed = (form & 1 != 0).then(|| unpacking::sealed(stream));
    let mut stream = sealed.as_deref().unwrap_or(stream);
    SCRATCH.with_borrow(|scratch| {
        let into = scratch.path().join("archive");
        let result = unpacking::unpack(&mut stream, &into);
        assert!(result.is_err() || stream.is_empty(), "nothing follows an archive");
        for path in paths_in(&into) {
            assert!(path.is_file(), "an archive holds files only: {}", path.display());
        }
        assert_eq!(paths_in(scratch.path()).len(), 1, "nothing is written elsewhere");
        fs::remove_dir_all(&into).expect("it was made above");
    });
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries
        .map(|entry| entry.expect("the folder is read").path())
        .collect()
}

/// A command, a question and answers of each kind.
#[must_use]
pub fn command_seeds() -> Vec<Vec<u8>> {
    let key = Bytes::from_static(b"key");
    let pair = KeyValue {
        key: key.clone(),
        create_revision: 2,
        mod_revision: 300,
        version: 1,
        value: Bytes::from_static(b"value"),
        lease: -1,
    };
    let header = Header { revision: 300 };
    let put = PutRequest {
        key: key.clone(),
        value: Bytes::from_static(b"value"),
        prev_kv: true,
        ..PutRequest::default()
    };
    let delete = DeleteRangeRequest {
        key: key.clone(),
        range_end: Bytes::from_static(b"\0"),
        prev_kv: true,
    };
    let range = RangeRequest {
        key,
        limit: 10,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        ..RangeRequest::default()
    };
    let put_response = Response::Put(PutResponse {
        header,
        prev_kv: Some(pair.clone()),
    });
    let delete_response = Response::DeleteRange(DeleteRangeResponse {
        header,
        deleted: 1,
        prev_kvs: vec![pair.clone()],
    });
    let range_response = RangeResponse {
        header,
        kvs: vec![pair],
        more: true,
        count: 2,
    };
    let compacted = KvError::Compacted { compact_revision: 3 };
    let refused = KvError::Malformed("the command is empty".to_owned());
    [
        (0, Command::Put(put).encode()),
        (0, Command::DeleteRange(delete).encode()),
        (1, range.encode()),
        (2, Response::encode_outcome(&Ok(put_response))),
        (2, Response::encode_outcome(&Ok(delete_response))),
        (2, Response::encode_outcome(&Err(refused))),
        (3, RangeResponse::encode_outcome(&Ok(range_response))),
        (3, RangeResponse::encode_outcome(&Err(compacted))),
    ]
    .map(|(form, bytes)| [&[form], &bytes[..]].concat())
    .to_vec()
}

/// A record of each kind.
#[must_use]
pub fn record_seeds() -> Vec<Vec<u8>> {
    let revision = Revision { main: 7, sub: 1 };
    let live = Live {
        revision,
        create_revision: 2,
        version: 3,
        lease: 0,
    };
    let state = StoreState {
        applied: EntryId::new(Term(2), Index(9)),
        revision: 7,
        compact_revision: 0,
    };
    let (mut put, mut deleted, mut key, mut history) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Version::Put(live, b"value").encode(&mut put);
    Version::Tombstone.encode(&mut deleted);
    version_key(b"a\0b", revision, &mut key);
    Version::Tombstone.encode_history(b"a\0b", &mut history);
    let records = [
        (0, state.encode()),
        (1, live.encode()),
        (2, put),
        (2, deleted),
        (3, revision.to_bytes().to_vec()),
        (4, key),
        (5, history),
    ];
    records
        .map(|(form, bytes)| [&[form], &bytes[..]].concat())
        .to_vec()
}

/// An empty archive and one of two files, whole and without checksums.
#[must_use]
pub fn archive_seeds() -> Vec<Vec<u8>> {
    let described = [&b"\x08CURRENT\n\x05hello"[..], b"\x0a000012.sst\x00"].concat();
    let mut whole = unpacking::sealed(&described);
    whole.insert(0, 0);
    let mut empty = unpacking::sealed(b"");
    empty.insert(0, 0);
    vec![
        whole,
        empty,
        [&[1], &described[..]].concat(),
        b"\x01\x02..\x00\x01a\x00".to_vec(),
    ]
}
