//! What the tests share: short ways to say commands and ranges, and a machine that counts log positions.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::message::SnapshotMeta;
use raft_core::traits::{SessionChanges, StateMachine};
use raft_core::types::{Index, NodeId, Term};
use raft_kv::{
    Command, DeleteRangeRequest, DeleteRangeResponse, KeyValue, KvError, KvOptions, KvStateMachine, KvStore,
    PutRequest, PutResponse, RangeRequest, RangeResponse, Response,
};

/// Small buffers, so that little data already reaches files.
pub(crate) const SMALL: KvOptions = KvOptions {
    cache_bytes: 1 << 20,
    write_buffer_bytes: 64 << 10,
    open_files_max: 64,
};

/// A state machine with its reader.
pub(crate) struct Machine {
    pub(crate) machine: KvStateMachine,
    pub(crate) store: Arc<KvStore>,
}

impl Machine {
    pub(crate) fn open(path: &Path) -> Machine {
        Machine::open_with(path, SMALL)
    }

    pub(crate) fn open_with(path: &Path, options: KvOptions) -> Machine {
        let (machine, store) = KvStateMachine::open(path, options).unwrap();
        Machine { machine, store }
    }

    /// The entries that carry `commands` at the next positions of the log.
    pub(crate) fn entries(&self, commands: impl IntoIterator<Item = Bytes>) -> Vec<Entry> {
        let next = self.machine.last_applied().index.next();
        commands
            .into_iter()
            .enumerate()
            .map(|(i, command)| Entry::command(Term(1), Index(next.0 + i as u64), command))
            .collect()
    }

    /// Applies and commits entries as one batch.
    pub(crate) fn apply_entries(&mut self, entries: &[Entry]) -> Vec<Bytes> {
        let responses = self.machine.apply(entries).unwrap();
        self.machine.commit(&SessionChanges::default()).unwrap();
        responses
    }

    /// Restores and commits a snapshot.
    pub(crate) fn restore(&mut self, meta: &SnapshotMeta, mut content: &[u8]) {
        self.machine.restore(meta, &mut content).unwrap();
        self.machine.commit(&SessionChanges::default()).unwrap();
    }

    /// Applies commands as one batch.
    pub(crate) fn apply_all(&mut self, commands: &[Command]) -> Vec<Result<Response, KvError>> {
        let entries = self.entries(commands.iter().map(Command::encode));
        let responses = self.apply_entries(&entries);
        responses
            .iter()
            .map(|bytes| Response::decode_outcome(bytes).unwrap())
            .collect()
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Response, KvError> {
        self.apply_all(&[command]).remove(0)
    }

    pub(crate) fn put(&mut self, request: PutRequest) -> Result<PutResponse, KvError> {
        self.apply(Command::Put(request)).map(|response| match response {
            Response::Put(response) => response,
            other => panic!("a put answered {other:?}"),
        })
    }

    pub(crate) fn put_value(&mut self, key: &str, value: &str) -> PutResponse {
        self.put(put(key, value)).unwrap()
    }

    pub(crate) fn delete(&mut self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, KvError> {
        self.apply(Command::DeleteRange(request))
            .map(|response| match response {
                Response::DeleteRange(response) => response,
                other => panic!("a deletion answered {other:?}"),
            })
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> RangeResponse {
        self.store.range(request).unwrap()
    }

    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        self.range(&one(key)).kvs.into_iter().next()
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last: self.machine.last_applied(),
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        }
    }

    pub(crate) fn snapshot_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.machine.snapshot().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..PutRequest::default()
    }
}

pub(crate) fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        prev_kv: false,
    }
}

pub(crate) fn one(key: &str) -> RangeRequest {
    span(key, "")
}

pub(crate) fn span(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        ..RangeRequest::default()
    }
}

pub(crate) fn everything() -> RangeRequest {
    span("\0", "\0")
}

pub(crate) fn names(response: &RangeResponse) -> Vec<&str> {
    response
        .kvs
        .iter()
        .map(|kv| std::str::from_utf8(&kv.key).unwrap())
        .collect()
}

/// The names in `directory`, sorted.
pub(crate) fn listing(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
