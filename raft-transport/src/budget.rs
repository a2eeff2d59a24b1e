//! How many handshakes an address may begin in a second: a handshake costs this node as much as the one who begins it, and
//! whoever fails one is free to try again at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many addresses are remembered. An address that spent nothing lately needs no place.
const ADDRESSES_MAX: usize = 4_096;

/// The budgets of all addresses.
///
/// Each address may begin `burst` handshakes at once, and `per_second` of them for ever. Invariant: at most
/// [`ADDRESSES_MAX`] addresses are kept.
pub(crate) struct Budgets {
    /// What one handshake costs.
    cost: Duration,
    /// What an address that begins none for long enough may spend at once.
    saved_max: Duration,
    /// Until when each address has spent its budget.
    spent_until: BTreeMap<IpAddr, Instant>,
}

impl Budgets {
    pub(crate) fn new(per_second: u32, burst: usize) -> Budgets {
        let cost = Duration::from_secs(1) / per_second.max(1);
        Budgets {
            cost,
            saved_max: cost * u32::try_from(burst).unwrap_or(u32::MAX),
            spent_until: BTreeMap::new(),
        }
    }

    /// Whether `address` may begin a handshake at `now`; if so, it is paid for.
    pub(crate) fn pay(&mut self, address: IpAddr, now: Instant) -> bool {
        let spent_until = self.spent_until.get(&address).copied().unwrap_or(now).max(now);
        if spent_until + self.cost > now + self.saved_max {
            return false;
        }
        if !self.spent_until.contains_key(&address) {
            self.make_room(now);
        }
        self.spent_until.insert(address, spent_until + self.cost);
        true
    }

    fn make_room(&mut self, now: Instant) {
        if self.spent_until.len() < ADDRESSES_MAX {
            return;
        }
        self.spent_until.retain(|_, until| *until > now);
        if self.spent_until.len() < ADDRESSES_MAX {
            return;
        }
        // All spend at once. Whoever spent least is forgiven.
        let frugal = self.spent_until.iter().min_by_key(|(_, until)| **until);
        if let Some(frugal) = frugal.map(|(address, _)| *address) {
            self.spent_until.remove(&frugal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn an_address_spends_what_it_saved_and_then_what_it_earns() {
        let mut budgets = Budgets::new(10, 5);
        let now = Instant::now();
        let mut pay = |after_ms: u64, count: usize| {
            let now = now + Duration::from_millis(after_ms);
            (0..count).filter(|_| budgets.pay(address(1), now)).count()
        };
        assert_eq!(pay(0, 100), 5);
        assert_eq!(pay(99, 100), 0);
        assert_eq!(pay(100, 100), 1);
        assert_eq!(pay(1_100, 100), 5, "a second earns ten, of which five are kept");
        assert!(
            budgets.pay(address(2), now),
            "another address has a budget of its own"
        );
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let mut budgets = Budgets::new(1, 2);
        let now = Instant::now();
        for number in 0..3 * u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(budgets.pay(address(number), now));
            assert!(budgets.spent_until.len() <= ADDRESSES_MAX);
        }
        budgets.pay(address(u32::MAX >> 8), now + Duration::from_secs(9));
        assert_eq!(budgets.spent_until.len(), 1);
    }
}
