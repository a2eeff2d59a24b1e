//! The files of the store that know nothing of RocksDB.
#![allow(dead_code, unreachable_pub, reason = "the store uses and exports the rest")]

#[path = "../../../raft-kv/src/codec.rs"]
pub(super) mod codec;
#[path = "../../../raft-kv/src/command.rs"]
pub(super) mod command;
#[path = "../../../raft-kv/src/layout.rs"]
pub(super) mod layout;
#[path = "../../../raft-kv/src/range.rs"]
pub(super) mod range;
#[path = "../../../raft-kv/src/refusal.rs"]
pub(super) mod refusal;
