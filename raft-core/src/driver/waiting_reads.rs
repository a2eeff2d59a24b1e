//! Reads that were confirmed and wait for the state machine of this node.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::types::{Index, Ticket, Time};

/// Confirmed reads, by the index that the state machine must have applied.
///
/// None waits for ever: a node that was removed meanwhile may never apply what it waits for (R45).
#[derive(Debug)]
pub(super) struct WaitingReads {
    by_index: BTreeMap<Index, Vec<(Time, Ticket)>>,
    next_scan: Time,
    scan_interval: Duration,
    waiting_max: Duration,
}

impl WaitingReads {
    pub(super) fn new(config: &Config) -> WaitingReads {
        WaitingReads {
            by_index: BTreeMap::new(),
            next_scan: Time::ZERO,
            scan_interval: config.election_timeout,
            waiting_max: config.election_timeout * 10,
        }
    }

    /// A read was confirmed.
    pub(super) fn add(&mut self, now: Time, index: Index, ticket: Ticket) {
        if self.by_index.is_empty() {
            self.next_scan = now + self.scan_interval;
        }
        self.by_index.entry(index).or_default().push((now, ticket));
    }

    /// Gives away the reads of the lowest index, if the state machine has applied it.
    pub(super) fn take_ready(
        &mut self,
        applied: Index,
    ) -> Option<(Index, impl Iterator<Item = Ticket> + use<>)> {
        let lowest = self
            .by_index
            .first_entry()
            .filter(|lowest| *lowest.key() <= applied)?;
        let (index, waiting) = lowest.remove_entry();
        Some((index, waiting.into_iter().map(|(_, ticket)| ticket)))
    }

    /// When [`take_overdue`](WaitingReads::take_overdue) wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        (!self.by_index.is_empty()).then_some(self.next_scan)
    }

    /// Gives away the reads that waited too long.
    pub(super) fn take_overdue(&mut self, now: Time) -> Vec<Ticket> {
        let mut overdue = Vec::new();
        if self.by_index.is_empty() || now < self.next_scan {
            return overdue;
        }
        self.next_scan = now + self.scan_interval;
        let waiting_max = self.waiting_max;
        self.by_index.retain(|_, waiting| {
            let late = waiting.extract_if(.., |(since, _)| now.since(*since) >= waiting_max);
            overdue.extend(late.map(|(_, ticket)| ticket));
            !waiting.is_empty()
        });
        overdue
    }

    /// Gives all reads away: this node stops.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        let all = std::mem::take(&mut self.by_index).into_values().flatten();
        all.map(|(_, ticket)| ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, NodeId};

    /// R45: a read whose index is never applied ends all the same, and the others are not touched.
    #[test]
    fn no_read_waits_for_ever() {
        let config = Config::new(GroupId(1), NodeId(1));
        let mut reads = WaitingReads::new(&config);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        reads.add(at(0), Index(9), Ticket(1));
        reads.add(at(5), Index(9), Ticket(2));
        reads.add(at(5), Index(3), Ticket(3));
        assert!(reads.take_overdue(at(9)).is_empty());
        assert_eq!(reads.take_overdue(at(11)), [Ticket(1)]);
        let (index, tickets) = reads.take_ready(Index(3)).expect("index 3 is applied");
        assert_eq!((index, tickets.collect::<Vec<_>>()), (Index(3), vec![Ticket(3)]));
        assert!(reads.take_ready(Index(8)).is_none());
        assert!(reads.next_deadline().is_some());
        assert_eq!(reads.take_all(), [Ticket(2)]);
        assert_eq!(reads.next_deadline(), None);
    }
}
