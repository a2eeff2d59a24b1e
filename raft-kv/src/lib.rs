//! A replicated multi-version key-value store with etcd's data model: a [`StateMachine`](raft_core::traits::StateMachine)
//! for `raft-core` on a RocksDB of its own.
//!
//! [`KvStateMachine`] is the side that the log writes: [`Command`]s in, [`Response`]s out. [`KvStore`] is the side
//! that everybody reads: ranges at any revision, from any thread. They are made together by
//! [`KvStateMachine::open`].
//!
//! # The model
//!
//! Every command that changes something makes one new *revision* of the whole store; a command that changes nothing
//! makes none. An empty store has revision 1, so the first put has revision 2. A revision never changes again: a range
//! at an old revision answers what it answered then, until the history below a revision is compacted. A deletion of
//! several keys changes each of them at the same revision, in the order of the keys.
//!
//! # The layout
//!
//! | family | key | value | read by |
//! |---|---|---|---|
//! | `keys` | user key | revision, creation revision, version, lease | current ranges, counts, the one lookup of a put |
//! | `versions` | escaped user key, 00 00, inverted revision | kind; creation revision, version, lease, value | values; ranges at an old revision; the fingerprint |
//! | `history` | revision | kind, user key | whoever follows the changes in order |
//! | `meta` | `format`, `state` | the format; applied entry, revision, compacted revision | every start and every read |
//! | `sessions` | raft-core's | raft-core's: the sessions of the clients, in the same atom as the data | every start |
//!
//! - A revision is two big-endian numbers: the command (8 bytes) and the change within the command (4 bytes). Inverted,
//!   the newest version of a key comes first, so "the newest at or below a revision" is one seek and a short step.
//! - In an escaped key every zero byte is followed by ff, and 00 00 ends it: keys keep their order, and no key's
//!   versions mix with those of a longer key.
//! - A value is stored once, in `versions`. `keys` holds live keys only and is small, so that counting, sorting and
//!   limiting need not touch values, and deleted keys cost current ranges nothing.
//! - `keys` and `versions` have Bloom filters: a put of a new key reads no file.
//!
//! # What is durable, and when
//!
//! A batch of the log is one write to RocksDB, and the position in the log is part of it (R72). There is no
//! write-ahead log and no sync per batch, because the Raft log is both: after a crash the store is the state after some
//! earlier batch, and the entries after [`last_applied`](raft_core::traits::StateMachine::last_applied) are applied
//! again. All families are flushed as one atom. A snapshot is a checkpoint, which flushes first, so the log may be
//! compacted up to any finished snapshot. No entry is applied during that flush, which is one of
//! [`write_buffer_bytes`](KvOptions::write_buffer_bytes) at most; the files of the checkpoint are linked, not copied, and are streamed
//! while entries go on being applied.

// The encodings stand in `codec`, `command`, `layout`, `range` and `refusal`. These files name each other by `super` and
// nothing else of this crate, so that the fuzz targets compile them without RocksDB.
mod apply;
mod archive;
mod audit;
mod codec;
mod command;
mod database;
mod directory;
mod error;
mod layout;
mod machine;
mod query;
mod range;
mod refusal;
mod store;
mod view;

pub use codec::{CodecError, ENCODING_VERSION};
pub use command::{
    Command, DeleteRangeRequest, DeleteRangeResponse, Header, KeyValue, PutRequest, PutResponse, Response,
};
pub use database::KvOptions;
pub use error::OpenError;
pub use machine::KvStateMachine;
pub use range::{RangeRequest, RangeResponse, SortOrder, SortTarget};
pub use refusal::KvError;
pub use store::{AuditReport, KvStore, StateHash};
