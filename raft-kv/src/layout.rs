//! How keys and records look on disk. The table is in the crate's documentation.
//!
//! Owns every byte that goes into RocksDB. Decoding never panics: bytes that are not ours are [`Undecodable`].

use raft_core::types::{EntryId, Index, Term};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::codec;

/// The format of the whole directory. A program opens no other.
pub(crate) const FORMAT: u32 = 2;

/// The live keys: user key → [`Live`].
pub(crate) const KEYS: &str = "keys";
/// Every version of every key: [`version_key`] → [`Version`].
pub(crate) const VERSIONS: &str = "versions";
/// Every change in order: [`Revision::to_bytes`] → kind and user key.
pub(crate) const HISTORY: &str = "history";
/// The format and the [`StoreState`].
pub(crate) const META: &str = "meta";

/// What raft-core keeps of the clients' sessions; what the records say is its business.
pub(crate) const SESSIONS: &str = "sessions";

/// The column families, beside RocksDB's own empty default one.
pub(crate) const FAMILIES: [&str; 5] = [KEYS, VERSIONS, HISTORY, META, SESSIONS];

/// Where `meta` holds [`FORMAT`].
pub(crate) const META_FORMAT: &[u8] = b"format";
/// Where `meta` holds the [`StoreState`].
pub(crate) const META_STATE: &[u8] = b"state";

/// The revision of an empty store; the first change gets the next one, as in etcd.
pub(crate) const FIRST_REVISION: i64 = 1;

const KIND_PUT: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;

/// The bytes of a [`Revision`].
pub(crate) const REVISION_BYTES: usize = 12;

/// What a zero byte inside a user key is followed by.
const ESCAPE: u8 = 0xff;
/// Two zero bytes end a user key: smaller than any byte that can go on, so that the order of keys is kept.
const END: [u8; 2] = [0, 0];
/// Greater than every version of a key, smaller than every version of the next one.
const AFTER: [u8; 2] = [0, 1];

/// Bytes in the database that are no record.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Undecodable(String);

/// One change: `main` counts commands, `sub` the changes of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: u32,
}

/// What `keys` knows of a live key: everything but its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) revision: Revision,
    pub(crate) create_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// What `versions` knows of one version of a key: what [`Live`] knows, but for the revision, which is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PutHeader {
    create_revision: i64,
    version: i64,
    lease: i64,
}

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version<'a> {
    /// It was stored.
    Put(Live, &'a [u8]),
    /// It was deleted.
    Tombstone,
}

/// Where the store stands; written with every batch, in the same atom as the data (R72).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreState {
    /// The last entry whose effect is in the store.
    pub(crate) applied: EntryId,
    /// The current revision.
    pub(crate) revision: i64,
    /// Reads below are refused; 0 as long as nothing was compacted.
    pub(crate) compact_revision: i64,
}

impl Default for StoreState {
    fn default() -> StoreState {
        StoreState {
            applied: EntryId::ZERO,
            revision: FIRST_REVISION,
            compact_revision: 0,
        }
    }
}

impl StoreState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (term, index) = (self.applied.term.0, self.applied.index.0);
        codec::append(&(term, index, self.revision, self.compact_revision), Vec::new())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<StoreState, Undecodable> {
        let (term, index, revision, compact_revision): (u64, u64, i64, i64) =
            whole("the state of the store", bytes)?;
        if revision < FIRST_REVISION || compact_revision > revision {
            return Err(damaged("the state of the store", bytes));
        }
        Ok(StoreState {
            applied: EntryId::new(Term(term), Index(index)),
            revision,
            compact_revision,
        })
    }
}

impl Revision {
    /// Big-endian, so that the order of the bytes is the order of the revisions.
    pub(crate) fn to_bytes(self) -> [u8; REVISION_BYTES] {
        let mut bytes = [0; REVISION_BYTES];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Revision, Undecodable> {
        let fail = || damaged("a revision", bytes);
        let (main, sub) = bytes.split_first_chunk::<8>().ok_or_else(fail)?;
        let revision = Revision {
            main: i64::from_be_bytes(*main),
            sub: u32::from_be_bytes(sub.try_into().map_err(|_| fail())?),
        };
        if revision.main <= FIRST_REVISION {
            return Err(fail());
        }
        Ok(revision)
    }
}

impl Live {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::append(self, Vec::with_capacity(24))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Live, Undecodable> {
        whole("the record of a live key", bytes)
    }
}

impl<'a> Version<'a> {
    /// Writes the record over what is in `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Version::Put(live, value) => {
                out.push(KIND_PUT);
                let header = PutHeader {
                    create_revision: live.create_revision,
                    version: live.version,
                    lease: live.lease,
                };
                *out = codec::append(&header, std::mem::take(out));
                out.extend_from_slice(value);
            }
            Version::Tombstone => out.push(KIND_TOMBSTONE),
        }
    }

    /// Decodes the record that is stored for `revision`.
    pub(crate) fn decode(revision: Revision, bytes: &'a [u8]) -> Result<Version<'a>, Undecodable> {
        match bytes.split_first() {
            Some((&KIND_PUT, rest)) => {
                let (header, value): (PutHeader, &[u8]) =
                    postcard::take_from_bytes(rest).map_err(|_| damaged("a version", bytes))?;
                let live = Live {
                    revision,
                    create_revision: header.create_revision,
                    version: header.version,
                    lease: header.lease,
                };
                Ok(Version::Put(live, value))
            }
            Some((&KIND_TOMBSTONE, [])) => Ok(Version::Tombstone),
            _ => Err(damaged("a version", bytes)),
        }
    }

    /// Writes what `history` holds for this version of `key` over what is in `out`.
    pub(crate) fn encode_history(&self, key: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.push(match self {
            Version::Put(..) => KIND_PUT,
            Version::Tombstone => KIND_TOMBSTONE,
        });
        out.extend_from_slice(key);
    }
}

/// What a record of `history` says: whether the key was deleted, and the key.
pub(crate) fn decode_history(bytes: &[u8]) -> Result<(bool, &[u8]), Undecodable> {
    match bytes.split_first() {
        Some((&KIND_PUT, key)) => Ok((false, key)),
        Some((&KIND_TOMBSTONE, key)) => Ok((true, key)),
        _ => Err(damaged("a record of the history", bytes)),
    }
}

/// Where `versions` holds `key` at `revision`. The versions of a key are together, the newest first, and keys are in
/// the order of their bytes; written over what is in `out`.
pub(crate) fn version_key(key: &[u8], revision: Revision, out: &mut Vec<u8>) {
    key_start(key, out);
    out.extend(revision.to_bytes().map(|byte| !byte));
}

/// Smaller than every version of `key`, greater than every version of the keys before it.
pub(crate) fn key_start(key: &[u8], out: &mut Vec<u8>) {
    escape(key, out);
    out.extend_from_slice(&END);
}

/// Greater than every version of `key`, smaller than every version of the keys behind it.
pub(crate) fn key_end(key: &[u8], out: &mut Vec<u8>) {
    escape(key, out);
    out.extend_from_slice(&AFTER);
}

/// Where `versions` holds the newest version of `key` at or below revision `main`, or of a later key if there is none.
pub(crate) fn newest_at(key: &[u8], main: i64, out: &mut Vec<u8>) {
    version_key(key, Revision { main, sub: u32::MAX }, out);
}

/// Takes a key of `versions` apart; the user key is written over what is in `key`.
pub(crate) fn decode_version_key(bytes: &[u8], key: &mut Vec<u8>) -> Result<Revision, Undecodable> {
    let fail = || damaged("the key of a version", bytes);
    let (escaped, inverted) = bytes.split_last_chunk::<REVISION_BYTES>().ok_or_else(fail)?;
    let (body, end) = escaped.split_last_chunk::<2>().ok_or_else(fail)?;
    if *end != END {
        return Err(fail());
    }
    key.clear();
    let mut rest = body;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        if rest.get(zero + 1) != Some(&ESCAPE) {
            return Err(fail());
        }
        key.extend_from_slice(&rest[..=zero]);
        rest = &rest[zero + 2..];
    }
    key.extend_from_slice(rest);
    Revision::decode(&inverted.map(|byte| !byte))
}

fn escape(key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(key.len() + END.len() + REVISION_BYTES);
    let mut rest = key;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(ESCAPE);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
}

fn whole<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Undecodable> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(damaged(what, bytes)),
    }
}

/// The first bytes of what does not decode are named, so that a person can find it.
fn damaged(what: &str, bytes: &[u8]) -> Undecodable {
    let shown: String = bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    Undecodable(format!("{what} does not decode ({} bytes: {shown})", bytes.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &[u8], main: i64, sub: u32) -> Vec<u8> {
        let mut out = Vec::new();
        version_key(key, Revision { main, sub }, &mut out);
        out
    }

    /// Keys full of zero bytes and of the escape byte, which is where an escape could go wrong.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn version_keys_order_by_key_then_newest_first(
            a in keys(), b in keys(), a_main in 2i64..9, b_main in 2i64..9, a_sub in 0u32..3, b_sub in 0u32..3,
        ) {
            let expected = a.cmp(&b).then((b_main, b_sub).cmp(&(a_main, a_sub)));
            prop_assert_eq!(encoded(&a, a_main, a_sub).cmp(&encoded(&b, b_main, b_sub)), expected);
            let (mut start, mut end) = (Vec::new(), Vec::new());
            key_start(&a, &mut start);
            key_end(&a, &mut end);
            prop_assert_eq!(start < encoded(&b, b_main, b_sub), a <= b);
            prop_assert_eq!(end > encoded(&b, b_main, b_sub), a >= b);
        }

        #[test]
        fn version_keys_round_trip(key in keys(), main in 2i64.., sub: u32) {
            let mut decoded = vec![7];
            let revision = decode_version_key(&encoded(&key, main, sub), &mut decoded).unwrap();
            prop_assert_eq!((decoded, revision), (key, Revision { main, sub }));
        }

        #[test]
        fn damaged_bytes_do_not_panic(bytes: Vec<u8>) {
            let revision = Revision { main: 2, sub: 0 };
            let _ = decode_version_key(&bytes, &mut Vec::new());
            let _ = Version::decode(revision, &bytes);
            let _ = Live::decode(&bytes);
            let _ = StoreState::decode(&bytes);
            let _ = decode_history(&bytes);
            let _ = Revision::decode(&bytes);
        }
    }

    #[test]
    fn damage_is_reported_with_its_bytes() {
        let error = Version::decode(Revision { main: 2, sub: 0 }, &[9, 0xab]).unwrap_err();
        assert!(error.to_string().contains("(2 bytes: 09ab)"), "{error}");
    }
}
