//! Between the messages of clients and the types of the store, field by field. Payloads are shared, never copied.

use raft_kv::{KvError, SortOrder, SortTarget};

use crate::proto::{etcdserverpb as wire, mvccpb};

/// The question that a Range asks.
pub(super) fn range_request(request: wire::RangeRequest) -> Result<raft_kv::RangeRequest, KvError> {
    Ok(raft_kv::RangeRequest {
        sort_order: SortOrder::try_from(request.sort_order)?,
        sort_target: SortTarget::try_from(request.sort_target)?,
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

/// The command that a Put proposes.
pub(super) fn put_command(request: wire::PutRequest) -> raft_kv::Command {
    raft_kv::Command::Put(raft_kv::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// The command that a DeleteRange proposes.
pub(super) fn delete_command(request: wire::DeleteRangeRequest) -> raft_kv::Command {
    raft_kv::Command::DeleteRange(raft_kv::DeleteRangeRequest {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    })
}

/// A key as clients see it.
pub(super) fn key_value(pair: raft_kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: pair.key,
        create_revision: pair.create_revision,
        mod_revision: pair.mod_revision,
        version: pair.version,
        value: pair.value,
        lease: pair.lease,
    }
}

/// Keys as clients see them.
pub(super) fn key_values(pairs: Vec<raft_kv::KeyValue>) -> Vec<mvccpb::KeyValue> {
    pairs.into_iter().map(key_value).collect()
}
