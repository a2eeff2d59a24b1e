//! Clients that fight for a few hot keys.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::command::{Command, Response, Status};
use super::machine::KeyValue;
use super::model::{KeyValueModel, Operation};
use crate::random::Random;
use crate::workload::contract::{Judgement, Violation, Workload};
use crate::workload::history::{Exchange, Outcome, Request};
use crate::workload::judge::linearizable_as;

/// Puts, appends, compare-and-sets and questions: half of them for a few hot keys, the rest for many cold ones. No two
/// writes write the same bytes, so that everything that is read says which write it came from.
///
/// Each run draws how often it does what: some never append, some do little but read.
#[derive(Debug, Default)]
pub struct KeyValueWorkload {
    mix: Option<Mix>,
    /// Writes so far, of all clients.
    writes: u64,
    /// The newest revision that any client saw, so that a compare-and-set has a chance.
    seen: BTreeMap<Bytes, u64>,
}

/// What a run does how often, by weight.
#[derive(Debug)]
struct Mix {
    hot_keys: u64,
    cold_keys: u64,
    hot_percent: u32,
    put: u64,
    append: u64,
    compare_and_set: u64,
    read: u64,
    large_percent: u32,
}

/// Large values are up to so many bytes: some dozens of them fill a message.
const LARGE_BYTES_MAX: u64 = 4_096;

impl Mix {
    fn draw(random: &mut Random) -> Mix {
        // At least one kind is left, since only puts are always there.
        let mut weight = || {
            if random.percent(20) {
                0
            } else {
                random.within(1..10)
            }
        };
        let (append, compare_and_set, read) = (weight(), weight(), weight());
        Mix {
            hot_keys: random.within(1..6),
            cold_keys: random.within(10..200),
            hot_percent: random.within(20..80) as u32,
            put: random.within(1..10),
            append,
            compare_and_set,
            read,
            large_percent: if random.percent(50) { 0 } else { 3 },
        }
    }

    fn key(&self, random: &mut Random) -> Bytes {
        Bytes::from(if random.percent(self.hot_percent) {
            format!("hot-{}", random.below(self.hot_keys))
        } else {
            format!("cold-{}", random.below(self.cold_keys))
        })
    }
}

impl KeyValueWorkload {
    /// One for a run.
    #[must_use]
    pub fn new() -> KeyValueWorkload {
        KeyValueWorkload::default()
    }

    /// A value that is written once: who wrote it and a number, at the end, where an append does not cut it off.
    fn value(&mut self, client: u64, large_percent: u32, random: &mut Random) -> Bytes {
        self.writes += 1;
        let mut value = String::new();
        if random.percent(large_percent) {
            let length = random.within(LARGE_BYTES_MAX / 8..LARGE_BYTES_MAX) as usize;
            value.extend(std::iter::repeat_n('.', length));
        }
        value.push_str(&format!("{client}.{};", self.writes));
        Bytes::from(value)
    }

    /// The revision for a compare-and-set: mostly one that may be right.
    fn revision(&self, key: &Bytes, random: &mut Random) -> u64 {
        let seen = self.seen.get(key).copied().unwrap_or(0);
        if random.percent(90) {
            seen
        } else {
            random.below(seen + 2)
        }
    }
}

impl Workload for KeyValueWorkload {
    type StateMachine = KeyValue;

    fn next(&mut self, client: u64, random: &mut Random) -> Request {
        let mix = self.mix.get_or_insert_with(|| Mix::draw(random));
        let key = mix.key(random);
        let (put, append, compare_and_set) = (mix.put, mix.append, mix.compare_and_set);
        let (read, large_percent) = (mix.read, mix.large_percent);
        let draw = random.below(put + append + compare_and_set + read);
        if draw < read {
            return Request::Read(key);
        }
        let value = self.value(client, large_percent, random);
        let command = if draw < read + put {
            Command::Put { key, value }
        } else if draw < read + put + append {
            Command::Append { key, value }
        } else {
            let revision = self.revision(&key, random);
            Command::CompareAndSet { key, revision, value }
        };
        Request::Write(command.encode())
    }

    fn ended(&mut self, exchange: &Exchange) {
        let Outcome::Answered { response, .. } = &exchange.outcome else {
            return;
        };
        let Some(response) = Response::decode(response.clone()) else {
            return;
        };
        let mut revision = response.found.revision;
        let key = match &exchange.request {
            Request::Read(key) => key.clone(),
            Request::Write(command) => {
                revision += u64::from(response.status == Status::Done);
                match Command::decode(command.clone()) {
                    Some(command) => command.key().clone(),
                    None => return,
                }
            }
        };
        let seen = self.seen.entry(key).or_default();
        *seen = revision.max(*seen);
    }

    fn state_hash(state_machine: &KeyValue) -> Option<u64> {
        Some(state_machine.state_hash())
    }

    fn check(&self, history: &[Exchange]) -> Result<Judgement, Violation> {
        linearizable_as::<KeyValueModel>(history, Operation::of, |_, bytes| Response::decode(bytes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn requests(seed: u64) -> Vec<Request> {
        let (mut workload, mut random) = (KeyValueWorkload::new(), Random::new(seed));
        (0..1_000)
            .map(|number| workload.next(number % 10, &mut random))
            .collect()
    }

    /// I28: what clients ask follows from the seed.
    #[test]
    fn equal_seeds_ask_the_same() {
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
    }

    #[test]
    fn no_two_writes_are_equal_and_all_kinds_occur() {
        let mut kinds = BTreeSet::new();
        for seed in 0..20 {
            let mut written = BTreeSet::new();
            for request in requests(seed) {
                let Request::Write(bytes) = request else {
                    kinds.insert("read");
                    continue;
                };
                let (kind, value) = match Command::decode(bytes) {
                    Some(Command::Put { value, .. }) => ("put", value),
                    Some(Command::CompareAndSet { value, .. }) => ("compare and set", value),
                    Some(Command::Append { value, .. }) => ("append", value),
                    None => ("malformed", Bytes::new()),
                };
                kinds.insert(kind);
                assert!(written.insert(value));
            }
        }
        let expected = ["append", "compare and set", "put", "read"];
        assert_eq!(kinds, BTreeSet::from(expected));
    }
}
