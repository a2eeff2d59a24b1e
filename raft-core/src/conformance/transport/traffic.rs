//! Messages with numbers, and the checks of what arrived.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::entry::Entry;
use crate::message::{AppendEntries, AppendEntriesResponse, AppendResult, Body, Lane, Message};
use crate::types::{EntryId, GroupId, Index, NodeId, Round, Term};

/// How many groups the messages are of.
pub(super) const GROUPS: u64 = 64;
/// What an ordered message carries besides its numbers, unless a check wants more.
const PAYLOAD_BYTES: usize = 256;

/// A message of `lane` that is told from all others by its number. Its group depends on it, too: a lane keeps the order of messages
/// of different groups.
pub(super) fn message(from: NodeId, to: NodeId, lane: Lane, number: u64) -> Message {
    let body = match lane {
        Lane::Ordered => Body::AppendEntries(AppendEntries {
            prev: EntryId::new(Term(2), Index(number)),
            prev_acknowledged: false,
            entries: vec![entry(number, PAYLOAD_BYTES)],
            leader_commit: Index(8),
            round: Round(number),
            sleep: false,
        }),
        Lane::Urgent => Body::AppendEntriesResponse(AppendEntriesResponse {
            round: Round(number),
            prev_acknowledged: false,
            incarnation: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            suspect: number.is_multiple_of(2),
            lease_ms: 500,
            disk_waits_ms: 0,
            result: AppendResult::Accepted {
                match_index: Index(number),
            },
            sleeps: false,
        }),
    };
    Message {
        group: GroupId(1 + number % GROUPS),
        from,
        to,
        term: Term(3),
        body,
    }
}

/// A message like the ordered ones, with a payload of `bytes`.
pub(super) fn large_message(from: NodeId, to: NodeId, number: u64, bytes: usize) -> Message {
    let mut message = message(from, to, Lane::Ordered, number);
    if let Body::AppendEntries(append) = &mut message.body {
        append.entries = vec![entry(number, bytes)];
    }
    message
}

fn entry(number: u64, bytes: usize) -> Entry {
    Entry::command(Term(3), Index(number + 1), Bytes::from(vec![number as u8; bytes]))
}

/// The number of a message that arrived.
pub(super) fn number_of(message: &Message) -> u64 {
    match &message.body {
        Body::AppendEntries(append) => append.round.0,
        Body::AppendEntriesResponse(response) => response.round.0,
        other => panic!("a message arrives unaltered: nobody sent {other:?}"),
    }
}

fn payload_bytes(message: &Message) -> usize {
    match &message.body {
        Body::AppendEntries(append) => append.entries.iter().map(Entry::payload_bytes).sum(),
        _ => 0,
    }
}

/// The numbers of what arrived at one node, by sender and lane.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    arrived: BTreeMap<(NodeId, Lane), BTreeSet<u64>>,
}

impl Traffic {
    /// Checks everything that arrived at `to`.
    pub(super) fn checked(to: NodeId, received: &[(NodeId, Message)]) -> Traffic {
        let mut traffic = Traffic::default();
        for (from, message) in received {
            let (lane, number) = (message.lane(), number_of(message));
            let sent = match lane {
                Lane::Ordered => large_message(*from, to, number, payload_bytes(message)),
                Lane::Urgent => self::message(*from, to, lane, number),
            };
            assert_eq!(
                *message, sent,
                "a message arrives unaltered and under its sender's name"
            );
            let before = traffic.arrived.entry((*from, lane)).or_default();
            let last = before.last().copied();
            assert!(
                before.insert(number),
                "no message arrives twice within a connection: number {number} from node {from} in the lane {lane:?} does"
            );
            assert!(
                last < Some(number),
                "a lane keeps its order: from node {from} in the lane {lane:?}, number {number} arrives after {last:?}"
            );
        }
        traffic
    }

    /// Whether everything of `numbers` arrived from `from`, in whatever lane.
    pub(super) fn has_all(&self, from: NodeId, numbers: &[u64]) -> bool {
        let arrived = |number| {
            [Lane::Urgent, Lane::Ordered]
                .iter()
                .any(|lane| self.in_lane(from, *lane).contains(number))
        };
        numbers.iter().all(arrived)
    }

    /// The numbers from `from` in `lane`.
    pub(super) fn in_lane(&self, from: NodeId, lane: Lane) -> BTreeSet<u64> {
        self.arrived.get(&(from, lane)).cloned().unwrap_or_default()
    }
}
