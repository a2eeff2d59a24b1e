//! Range requests: which keys, in which order, how many, with or without values.
//!
//! Values are read last, for the keys that are answered, unless they decide the order. Never writes.

use std::cmp::Reverse;

use bytes::Bytes;

use crate::command::{Header, KeyValue};
use crate::error::StorageError;
use crate::layout::{Live, key_end, key_start, version_key};
use crate::range::{KeyRange, RangeRequest, RangeResponse, SortOrder, SortTarget};
use crate::refusal::KvError;
use crate::view::{View, advance, key_value, missing, value_of};

/// A key of a range, whose value may not have been read yet.
struct Found {
    key: Bytes,
    live: Live,
    value: Option<Bytes>,
}

/// What a walk over a range collects.
struct Collected {
    count: i64,
    found: Vec<Found>,
}

impl View<'_> {
    /// Answers a range request.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let range = KeyRange::new(&request.key, &request.range_end)?;
        let at = self.resolve(request.revision)?;
        let mut collected = Collected {
            count: 0,
            found: Vec::new(),
        };
        if !range.is_empty() {
            self.collect(request, range, at, &mut collected)?;
        }
        let Collected { count, mut found } = collected;
        let by_value = request.sort_target == SortTarget::Value;
        if by_value {
            self.load_values(&mut found)?;
        }
        sort(&mut found, request.sort_order, request.sort_target);
        let more = truncate(&mut found, request.limit);
        if !request.keys_only && !by_value {
            self.load_values(&mut found)?;
        }
        let kvs = found
            .into_iter()
            .map(|item| item.into_key_value(!request.keys_only))
            .collect();
        let header = Header {
            revision: self.state().revision,
        };
        Ok(RangeResponse {
            header,
            kvs,
            more,
            count,
        })
    }

    fn collect(
        &self,
        request: &RangeRequest,
        range: KeyRange<'_>,
        at: i64,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        // One key more than the limit tells whether there are more.
        let found_max = match usize::try_from(request.limit) {
            _ if request.count_only => 0,
            Ok(limit) if limit > 0 && request.limits_in_key_order() && !request.filters() => {
                limit.saturating_add(1)
            }
            _ => usize::MAX,
        };
        let values_wanted = !request.keys_only || request.sort_target == SortTarget::Value;
        let mut visit = |key: &[u8], live: Live, value: Option<&[u8]>| {
            collected.count += 1;
            if collected.found.len() < found_max && request.admits(live.revision.main, live.create_revision) {
                collected.found.push(Found {
                    key: Bytes::copy_from_slice(key),
                    live,
                    value: value.filter(|_| values_wanted).map(Bytes::copy_from_slice),
                });
            }
        };
        match range {
            KeyRange::Single(key) if at == self.state().revision => {
                if let Some(live) = self.live(key)? {
                    visit(key, live, None);
                }
                Ok(())
            }
            KeyRange::Span(start, end) if at == self.state().revision => {
                self.walk_current(start, end, |key, live| visit(key, live, None))
            }
            KeyRange::Single(key) => {
                let (mut lower, mut upper) = (Vec::new(), Vec::new());
                key_start(key, &mut lower);
                key_end(key, &mut upper);
                self.walk_versions(lower, Some(upper), at, &mut visit)
            }
            KeyRange::Span(start, end) => {
                let (mut lower, mut upper) = (Vec::new(), Vec::new());
                key_start(start, &mut lower);
                if let Some(end) = end {
                    key_start(end, &mut upper);
                }
                self.walk_versions(lower, end.map(|_| upper), at, &mut visit)
            }
        }
    }

    /// Reads the values that are not there yet.
    fn load_values(&self, found: &mut [Found]) -> Result<(), StorageError> {
        if found.len() > 1 && found.is_sorted_by(|a, b| a.key < b.key) {
            return self.load_neighbours(found);
        }
        for item in found.iter_mut().filter(|item| item.value.is_none()) {
            item.value = Some(self.value(&item.key, item.live.revision)?);
        }
        Ok(())
    }

    /// The same for keys in order, with one iterator: mostly the next value is a step away.
    fn load_neighbours(&self, found: &mut [Found]) -> Result<(), StorageError> {
        let mut missing_values = found.iter_mut().filter(|item| item.value.is_none()).peekable();
        let mut stored = Vec::new();
        let Some(first) = missing_values.peek() else {
            return Ok(());
        };
        let mut cursor = self.iterate(self.database().versions(), None);
        version_key(&first.key, first.live.revision, &mut stored);
        cursor.seek(&stored);
        for item in missing_values {
            let revision = item.live.revision;
            version_key(&item.key, revision, &mut stored);
            advance(&mut cursor, &stored);
            match cursor.item() {
                Some((at, record)) if at == stored => {
                    item.value = Some(value_of(&item.key, revision, record)?);
                }
                _ => {
                    cursor.status()?;
                    return Err(missing(&item.key, revision));
                }
            }
        }
        Ok(())
    }
}

impl Found {
    fn into_key_value(self, with_value: bool) -> KeyValue {
        KeyValue {
            value: self.value.filter(|_| with_value).unwrap_or_default(),
            ..key_value(self.key, &self.live, Bytes::new())
        }
    }
}

/// Sorts what is in the order of the keys; equal targets keep that order.
fn sort(found: &mut [Found], order: SortOrder, target: SortTarget) {
    match target {
        SortTarget::Key if order == SortOrder::Descend => found.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => sort_by(found, order, |item| item.live.version),
        SortTarget::Create => sort_by(found, order, |item| item.live.create_revision),
        SortTarget::Mod => sort_by(found, order, |item| item.live.revision.main),
        SortTarget::Value => sort_by(found, order, |item| item.value.clone()),
    }
}

fn sort_by<T: Ord>(found: &mut [Found], order: SortOrder, target: impl Fn(&Found) -> T) {
    match order {
        SortOrder::Descend => found.sort_by_key(|item| Reverse(target(item))),
        // Another target than the key without an order is sorted ascending, as etcd does.
        SortOrder::None | SortOrder::Ascend => found.sort_by_key(target),
    }
}

/// Applies the limit; whether it left keys out.
fn truncate(found: &mut Vec<Found>, limit: i64) -> bool {
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 && found.len() > limit => {
            found.truncate(limit);
            true
        }
        _ => false,
    }
}
