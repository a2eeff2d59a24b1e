//! Commands: what the log carries, and what they answer.
//!
//! The fields are those of etcd's messages of the same names, integers included, so that a server converts one to the
//! other field by field. Never holds anything that differs between replicas: no clock, no member id.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::refusal::KvError;

/// One command of the log. Each raises the revision by one, or by nothing if it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Stores one key.
    Put(PutRequest),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest),
}

/// Stores `value` under `key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// The key; never empty.
    pub key: Bytes,
    /// The value; empty if `ignore_value`.
    pub value: Bytes,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
    /// Whether the answer holds the previous key-value pair.
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist.
    pub ignore_lease: bool,
}

/// Deletes `key`, or every key of the range from `key` to `range_end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// The first key; never empty.
    pub key: Bytes,
    /// The end of the range, which is not part of it. Empty for the one `key`; a single zero byte for every key from
    /// `key` on.
    pub range_end: Bytes,
    /// Whether the answer holds the deleted key-value pairs.
    pub prev_kv: bool,
}

/// What every answer begins with. Cluster, member and term belong to the server, not to the replicated state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The revision of the store when the request was answered; 1 for an empty store.
    pub revision: i64,
}

/// A key, its value and their history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision at which the key was created; deleted and stored again, it is created anew.
    pub create_revision: i64,
    /// The revision at which the key was stored last.
    pub mod_revision: i64,
    /// How often the key was stored since it was created; 1 at its creation.
    pub version: i64,
    /// The value; empty if only keys were asked for.
    pub value: Bytes,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response {
    /// The answer to [`Command::Put`].
    Put(PutResponse),
    /// The answer to [`Command::DeleteRange`].
    DeleteRange(DeleteRangeResponse),
}

/// The answer to [`Command::Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResponse {
    /// Its revision is that of the put.
    pub header: Header,
    /// The previous key-value pair, if it was asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to [`Command::DeleteRange`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeResponse {
    /// Its revision is that of the deletion, or the current one if nothing was deleted.
    pub header: Header,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The deleted key-value pairs in the order of their keys, if they were asked for.
    pub prev_kvs: Vec<KeyValue>,
}

impl Command {
    /// The bytes to propose.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Decodes what [`encode`](Command::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Command, CodecError> {
        codec::decode("the command", bytes)
    }
}

impl Response {
    /// The header, whatever the answer is.
    #[must_use]
    pub fn header(&self) -> Header {
        match self {
            Response::Put(response) => response.header,
            Response::DeleteRange(response) => response.header,
        }
    }

    /// Encodes the outcome of a command; this is what the state machine answers.
    #[must_use]
    pub fn encode_outcome(outcome: &Result<Response, KvError>) -> Bytes {
        codec::encode(outcome)
    }

    /// Decodes the bytes that the state machine answered to a command: the outer error says that the bytes are not an
    /// outcome, the inner one that the command was refused.
    pub fn decode_outcome(bytes: &[u8]) -> Result<Result<Response, KvError>, CodecError> {
        codec::decode("the outcome of a command", bytes)
    }
}
