//! Questions: ranges of keys at a revision.
//!
//! Owns the request, its answer and the meaning of `range_end`; the execution is in `view`. The fields are those of
//! etcd's messages of the same names.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::command::{Header, KeyValue};
use super::refusal::KvError;

/// Asks for the keys from `key` to `range_end` at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    /// The first key; never empty.
    pub key: Bytes,
    /// The end of the range, which is not part of it. Empty for the one `key`; a single zero byte for every key from
    /// `key` on.
    pub range_end: Bytes,
    /// How many keys the answer holds at most; 0 or less for no limit.
    pub limit: i64,
    /// The revision to read at; 0 or less for the current one.
    pub revision: i64,
    /// The order of the answer.
    pub sort_order: SortOrder,
    /// What the answer is sorted by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Leave the keys out, too, and only count them.
    pub count_only: bool,
    /// Leave out keys with a lower modification revision; 0 for no bound.
    pub min_mod_revision: i64,
    /// Leave out keys with a higher modification revision; 0 for no bound.
    pub max_mod_revision: i64,
    /// Leave out keys with a lower creation revision; 0 for no bound.
    pub min_create_revision: i64,
    /// Leave out keys with a higher creation revision; 0 for no bound.
    pub max_create_revision: i64,
}

/// The order of a range; the numbers are etcd's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    /// Ascending keys are the natural order. With another target than the key the limit is applied in the order of
    /// the keys, and what is left is sorted ascending (so does etcd).
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// What a range is sorted by; the numbers are etcd's. Equal targets stay in ascending order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How often the key was stored since its creation.
    Version,
    /// The creation revision.
    Create,
    /// The modification revision.
    Mod,
    /// The value.
    Value,
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// Its revision is the current one, also if an older one was read.
    pub header: Header,
    /// The keys, in the order that was asked for; empty if they were only counted.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    pub more: bool,
    /// How many keys the range holds at the revision; limit and filters do not change it (so does etcd).
    pub count: i64,
}

impl TryFrom<i32> for SortOrder {
    type Error = KvError;

    fn try_from(number: i32) -> Result<SortOrder, KvError> {
        match number {
            0 => Ok(SortOrder::None),
            1 => Ok(SortOrder::Ascend),
            2 => Ok(SortOrder::Descend),
            _ => Err(KvError::InvalidSortOption),
        }
    }
}

impl TryFrom<i32> for SortTarget {
    type Error = KvError;

    fn try_from(number: i32) -> Result<SortTarget, KvError> {
        match number {
            0 => Ok(SortTarget::Key),
            1 => Ok(SortTarget::Version),
            2 => Ok(SortTarget::Create),
            3 => Ok(SortTarget::Mod),
            4 => Ok(SortTarget::Value),
            _ => Err(KvError::InvalidSortOption),
        }
    }
}

impl RangeRequest {
    /// The bytes to ask the state machine with.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Decodes what [`encode`](RangeRequest::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<RangeRequest, CodecError> {
        codec::decode("the range request", bytes)
    }

    /// Whether the answer comes in the natural order, so that the limit may be applied while reading.
    pub(crate) fn limits_in_key_order(&self) -> bool {
        self.sort_order == SortOrder::None
            || (self.sort_order == SortOrder::Ascend && self.sort_target == SortTarget::Key)
    }

    /// Whether a key with these revisions passes the filters.
    pub(crate) fn admits(&self, mod_revision: i64, create_revision: i64) -> bool {
        let within =
            |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        within(mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(
                create_revision,
                self.min_create_revision,
                self.max_create_revision,
            )
    }

    /// Whether any filter is set.
    pub(crate) fn filters(&self) -> bool {
        [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ]
        .iter()
        .any(|&bound| bound != 0)
    }
}

impl RangeResponse {
    /// Encodes the outcome of a question; this is what the state machine answers.
    #[must_use]
    pub fn encode_outcome(outcome: &Result<RangeResponse, KvError>) -> Bytes {
        codec::encode(outcome)
    }

    /// Decodes the bytes that the state machine answered to a question: the outer error says that the bytes are not
    /// an outcome, the inner one that the question was refused.
    pub fn decode_outcome(bytes: &[u8]) -> Result<Result<RangeResponse, KvError>, CodecError> {
        codec::decode("the outcome of a range", bytes)
    }
}

/// The keys that `key` and `range_end` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange<'a> {
    /// One key.
    Single(&'a [u8]),
    /// From the first key to the end, which is not part of it; `None` for no end. May be empty.
    Span(&'a [u8], Option<&'a [u8]>),
}

impl<'a> KeyRange<'a> {
    /// Refuses the empty key, as etcd does.
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Result<KeyRange<'a>, KvError> {
        match (key, range_end) {
            ([], _) => Err(KvError::EmptyKey),
            (key, []) => Ok(KeyRange::Single(key)),
            (key, [0]) => Ok(KeyRange::Span(key, None)),
            (key, end) => Ok(KeyRange::Span(key, Some(end))),
        }
    }

    /// Whether no key can be in the range.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, KeyRange::Span(start, Some(end)) if end <= start)
    }
}
