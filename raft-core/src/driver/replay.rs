//! Keeps a command that the network delivers twice from being appended twice.

use std::collections::BTreeMap;

use crate::types::{NodeId, Ticket};

/// How many tickets behind the newest one are remembered, per sender.
const WINDOW: u64 = 1 << 16;
/// How many incarnations of all senders are remembered.
const INCARNATIONS_MAX: usize = 64;
/// The upper bits of a ticket differ from one start of its sender to the next.
const INCARNATION_SHIFT: u32 = 40;

/// Remembers which forwarded proposals arrived during this leadership.
///
/// That is long enough: a request names the term of the leadership that it is meant for, and is refused in any other.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayGuard {
    /// By sender and incarnation.
    seen: BTreeMap<(NodeId, u64), Seen>,
    /// When each was seen last, to forget the one that is silent for longest.
    next_serial: u64,
    /// Whether any was forgotten: then one that looks new may have been here before.
    has_forgotten: bool,
}

#[derive(Clone, Debug)]
struct Seen {
    serial: u64,
    newest: u64,
    /// Bit `ticket % WINDOW` says whether the ticket arrived, for the last `WINDOW` tickets.
    bits: Vec<u64>,
}

impl ReplayGuard {
    /// Forgets everything: a new leadership begins.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.has_forgotten = false;
    }

    /// Whether this is the first time that `ticket` comes from `from`. What is too old to tell is not.
    pub(super) fn admit(&mut self, from: NodeId, ticket: Ticket) -> bool {
        let key = (from, ticket.0 >> INCARNATION_SHIFT);
        self.next_serial += 1;
        if !self.seen.contains_key(&key) {
            self.forget_oldest();
            // What came before the first ticket of a sender that may have been forgotten counts as seen.
            let word = if self.has_forgotten { u64::MAX } else { 0 };
            let mut seen = Seen {
                serial: self.next_serial,
                newest: ticket.0,
                bits: vec![word; (WINDOW / 64) as usize],
            };
            seen.clear(ticket.0);
            self.seen.insert(key, seen);
        }
        self.seen.get_mut(&key).is_some_and(|seen| {
            seen.serial = self.next_serial;
            seen.admit(ticket.0)
        })
    }

    /// Whether `ticket` came from `from`, if that is known for certain.
    pub(super) fn knows(&self, from: NodeId, ticket: Ticket) -> Option<bool> {
        let key = (from, ticket.0 >> INCARNATION_SHIFT);
        match self.seen.get(&key) {
            Some(seen) => seen.knows(ticket.0),
            // A forgotten incarnation looks like one that never was.
            None => (!self.has_forgotten).then_some(false),
        }
    }

    fn forget_oldest(&mut self) {
        if self.seen.len() < INCARNATIONS_MAX {
            return;
        }
        let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.serial);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.seen.remove(&key);
            self.has_forgotten = true;
        }
    }
}

impl Seen {
    fn admit(&mut self, ticket: u64) -> bool {
        if ticket > self.newest {
            if ticket - self.newest >= WINDOW {
                self.bits.fill(0);
            } else {
                (self.newest + 1..=ticket).for_each(|passed| self.clear(passed));
            }
            self.newest = ticket;
        } else if self.newest - ticket >= WINDOW {
            return false;
        }
        let (word, bit) = place(ticket);
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }

    fn knows(&self, ticket: u64) -> Option<bool> {
        if ticket > self.newest {
            return Some(false);
        }
        let (word, bit) = place(ticket);
        (self.newest - ticket < WINDOW).then(|| self.bits[word] & bit != 0)
    }

    fn clear(&mut self, ticket: u64) {
        let (word, bit) = place(ticket);
        self.bits[word] &= !bit;
    }
}

fn place(ticket: u64) -> (usize, u64) {
    let position = ticket % WINDOW;
    ((position / 64) as usize, 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// R73: a command delivered twice is appended once.
    #[test]
    fn a_ticket_is_admitted_once() {
        let mut guard = ReplayGuard::default();
        assert!(guard.admit(NodeId(1), Ticket(5)));
        assert!(!guard.admit(NodeId(1), Ticket(5)));
        assert!(guard.admit(NodeId(2), Ticket(5)), "senders are apart");
        assert!(
            guard.admit(NodeId(1), Ticket(3)),
            "a late one is new if it never came"
        );
        assert!(!guard.admit(NodeId(1), Ticket(3)));
        let restarted = Ticket((1 << INCARNATION_SHIFT) + 5);
        assert!(
            guard.admit(NodeId(1), restarted),
            "another incarnation counts anew"
        );
        assert!(
            !guard.admit(NodeId(1), Ticket(5)),
            "and the old one is remembered"
        );
        guard.clear();
        assert!(guard.admit(NodeId(1), Ticket(5)), "a new leadership begins anew");
    }

    #[test]
    fn what_is_too_old_to_tell_is_refused() {
        let mut guard = ReplayGuard::default();
        assert!(guard.admit(NodeId(1), Ticket(10)));
        assert!(guard.admit(NodeId(1), Ticket(10 + WINDOW)));
        assert!(!guard.admit(NodeId(1), Ticket(10)));
        assert!(guard.admit(NodeId(1), Ticket(11)));
    }

    /// Compared with a plain set, over a walk that goes up, down and far.
    #[test]
    fn agrees_with_a_set() {
        let (mut guard, mut all, mut newest) = (ReplayGuard::default(), BTreeSet::new(), 0);
        let mut state = 1_u64;
        for _ in 0..200_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let step = (state >> 33) % 200;
            let ticket = if step == 0 {
                newest + WINDOW - 50 + (state >> 45) % 100
            } else {
                newest + 100 - step.min(newest)
            };
            let expected = newest.saturating_sub(ticket) < WINDOW && all.insert(ticket);
            newest = newest.max(ticket);
            assert_eq!(
                guard.admit(NodeId(1), Ticket(ticket)),
                expected,
                "ticket {ticket}"
            );
        }
    }

    /// R73: whoever is heard is not forgotten for another node's restarts, and a forgotten sender's old tickets are not
    /// admitted again.
    #[test]
    fn a_crash_loop_displaces_nobody_else() {
        let mut guard = ReplayGuard::default();
        for incarnation in 0..200 {
            assert!(guard.admit(NodeId(1), Ticket(1_000 + incarnation)));
            assert!(guard.admit(NodeId(2), Ticket(incarnation << INCARNATION_SHIFT | 9)));
        }
        assert!(
            !guard.admit(NodeId(1), Ticket(1_000)),
            "it was heard all the time"
        );
        assert!(guard.admit(NodeId(2), Ticket(10)), "its window was forgotten");
        assert!(!guard.admit(NodeId(2), Ticket(9)), "so it cannot tell");
    }

    #[test]
    fn memory_is_bounded() {
        let mut guard = ReplayGuard::default();
        for incarnation in 0..1_000 {
            assert!(guard.admit(NodeId(1), Ticket(incarnation << INCARNATION_SHIFT)));
        }
        assert_eq!(guard.seen.len(), INCARNATIONS_MAX);
    }
}
