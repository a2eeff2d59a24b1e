//! The store against a model that is too simple to be wrong: it keeps every version of every key in a list and answers
//! every question by going through all of it.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::Machine;
use proptest::prelude::*;
use raft_kv::{
    Command, DeleteRangeRequest, DeleteRangeResponse, Header, KeyValue, KvError, PutRequest, PutResponse,
    RangeRequest, RangeResponse, Response, SortOrder, SortTarget,
};

/// The changes of each key: its revision, and what it was from then on.
#[derive(Default)]
struct Model {
    changes: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    revision: i64,
}

fn contains(key: &Bytes, range_end: &Bytes, candidate: &Bytes) -> bool {
    match &range_end[..] {
        [] => candidate == key,
        [0] => candidate >= key,
        end => candidate >= key && &candidate[..] < end,
    }
}

impl Model {
    fn at(&self, key: &Bytes, revision: i64) -> Option<KeyValue> {
        let changes = self.changes.get(key)?;
        let last = changes.iter().rev().find(|(at, _)| *at <= revision)?;
        last.1.clone()
    }

    fn in_range(&self, key: &Bytes, range_end: &Bytes, revision: i64) -> Vec<KeyValue> {
        self.changes
            .keys()
            .filter(|candidate| contains(key, range_end, candidate))
            .filter_map(|candidate| self.at(candidate, revision))
            .collect()
    }

    fn change(&mut self, key: Bytes, to: Option<KeyValue>) {
        self.changes.entry(key).or_default().push((self.revision, to));
    }

    fn header(&self) -> Header {
        Header {
            revision: self.revision,
        }
    }

    fn apply(&mut self, command: &Command) -> Result<Response, KvError> {
        match command {
            Command::Put(request) => self.put(request).map(Response::Put),
            Command::DeleteRange(request) => Ok(Response::DeleteRange(self.delete(request))),
            other => panic!("the model knows no {other:?}"),
        }
    }

    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, KvError> {
        let before = self.at(&request.key, self.revision);
        if before.is_none() && (request.ignore_value || request.ignore_lease) {
            return Err(KvError::KeyNotFound);
        }
        self.revision += 1;
        let after = KeyValue {
            key: request.key.clone(),
            create_revision: before.as_ref().map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            value: match &before {
                Some(kv) if request.ignore_value => kv.value.clone(),
                _ => request.value.clone(),
            },
            lease: 0,
        };
        self.change(request.key.clone(), Some(after));
        Ok(PutResponse {
            header: self.header(),
            prev_kv: before.filter(|_| request.prev_kv),
        })
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed = self.in_range(&request.key, &request.range_end, self.revision);
        if !doomed.is_empty() {
            self.revision += 1;
        }
        for kv in &doomed {
            self.change(kv.key.clone(), None);
        }
        DeleteRangeResponse {
            header: self.header(),
            deleted: doomed.len() as i64,
            prev_kvs: if request.prev_kv { doomed } else { Vec::new() },
        }
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        if request.revision > self.revision {
            return Err(KvError::FutureRevision {
                current_revision: self.revision,
            });
        }
        let at = if request.revision <= 0 {
            self.revision
        } else {
            request.revision
        };
        let mut kvs = self.in_range(&request.key, &request.range_end, at);
        let count = kvs.len() as i64;
        let bounds = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let [min_mod, max_mod, min_create, max_create] = bounds;
        kvs.retain(|kv| min_mod == 0 || kv.mod_revision >= min_mod);
        kvs.retain(|kv| max_mod == 0 || kv.mod_revision <= max_mod);
        kvs.retain(|kv| min_create == 0 || kv.create_revision >= min_create);
        kvs.retain(|kv| max_create == 0 || kv.create_revision <= max_create);
        let limit = if request.limit > 0 {
            request.limit as usize
        } else {
            usize::MAX
        };
        if request.sort_order == SortOrder::None && bounds == [0; 4] {
            kvs.truncate(limit.saturating_add(1));
        }
        let target = |kv: &KeyValue| match request.sort_target {
            SortTarget::Key => (0, kv.key.clone()),
            SortTarget::Version => (kv.version, Bytes::new()),
            SortTarget::Create => (kv.create_revision, Bytes::new()),
            SortTarget::Mod => (kv.mod_revision, Bytes::new()),
            SortTarget::Value => (0, kv.value.clone()),
        };
        kvs.sort_by_key(target);
        if request.sort_order == SortOrder::Descend {
            // Equal targets stay in the order of their keys.
            kvs.sort_by_key(|kv| std::cmp::Reverse(target(kv)));
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        if request.count_only {
            kvs.clear();
        }
        Ok(RangeResponse {
            header: self.header(),
            kvs,
            more: more && !request.count_only,
            count,
        })
    }
}

/// Few keys, so that they meet; with zero bytes and the escape byte, where an encoding could go wrong.
fn key() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)];
    proptest::collection::vec(byte, 1..=2).prop_map(Bytes::from)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![2 => Just(Bytes::new()), 1 => Just(Bytes::from_static(&[0])), 3 => key()]
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    let rarely = || proptest::bool::weighted(0.15);
    let value = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    (key(), value, any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: 0,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let delete =
        (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
            key,
            range_end,
            prev_kv,
        });
    prop_oneof![
        4 => put_request().prop_map(Command::Put),
        1 => delete.prop_map(Command::DeleteRange),
    ]
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let order = prop_oneof![
        Just(SortOrder::None),
        Just(SortOrder::Ascend),
        Just(SortOrder::Descend)
    ];
    let target = prop_oneof![
        Just(SortTarget::Key),
        Just(SortTarget::Version),
        Just(SortTarget::Create),
        Just(SortTarget::Mod),
        Just(SortTarget::Value),
    ];
    let bound = || prop_oneof![4 => Just(0i64), 1 => 1i64..40];
    let limit = prop_oneof![Just(0i64), 1i64..6];
    let rarely = || proptest::bool::weighted(0.15);
    (
        (key(), range_end(), limit, -1i64..50, order, target),
        (rarely(), rarely(), bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |((key, range_end, limit, revision, sort_order, sort_target), rest)| {
                let (keys_only, count_only, min_mod, max_mod, min_create, max_create) = rest;
                RangeRequest {
                    key,
                    range_end,
                    limit,
                    revision,
                    sort_order,
                    sort_target,
                    keys_only,
                    count_only,
                    min_mod_revision: min_mod,
                    max_mod_revision: max_mod,
                    min_create_revision: min_create,
                    max_create_revision: max_create,
                }
            },
        )
}

/// What one step of a case does: a batch of the log, and whether the store is closed and opened again behind it.
fn step() -> impl Strategy<Value = (Vec<Command>, bool)> {
    (
        proptest::collection::vec(command(), 1..12),
        proptest::bool::weighted(0.1),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_like_the_model(
        steps in proptest::collection::vec(step(), 1..8),
        questions in proptest::collection::vec(range_request(), 40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = Machine::open(directory.path());
        let mut model = Model { revision: 1, ..Model::default() };
        for (commands, reopen) in steps {
            let expected: Vec<_> = commands.iter().map(|command| model.apply(command)).collect();
            prop_assert_eq!(machine.apply_all(&commands), expected);
            prop_assert_eq!(machine.store.revision(), model.revision);
            if reopen {
                drop(machine);
                machine = Machine::open(directory.path());
            }
            for question in &questions {
                prop_assert_eq!(machine.store.range(question), model.range(question), "{:?}", question);
            }
        }
        let report = machine.store.audit().unwrap();
        let live = model.in_range(&Bytes::from_static(&[0]), &Bytes::from_static(&[0]), model.revision);
        let versions: usize = model.changes.values().map(Vec::len).sum();
        prop_assert_eq!((report.keys, report.versions), (live.len() as u64, versions as u64));
    }
}
