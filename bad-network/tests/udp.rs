//! The UDP network with real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bad_network::{HostId, LinkSettings, UdpNetwork};

/// How long something may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many packets are under way at once: far fewer than the sockets' buffers hold.
const BURST: u32 = 64;

/// Two hosts in a network.
struct Pair {
    network: UdpNetwork,
    sockets: [UdpSocket; 2],
    hosts: [HostId; 2],
}

impl Pair {
    fn new(settings: LinkSettings) -> Pair {
        let network = UdpNetwork::start(11).unwrap();
        network.set_all(settings);
        let sockets = [(); 2].map(|()| socket());
        let hosts = [0, 1].map(|at| network.add_host(sockets[at].local_addr().unwrap()).unwrap());
        Pair {
            network,
            sockets,
            hosts,
        }
    }

    fn send(&self, number: u32) {
        self.sockets[0]
            .send_to(&number.to_be_bytes(), self.network.address(self.hosts[1]))
            .unwrap();
    }

    /// Sends packets 0 to `count`, a few at a time; all that arrived.
    fn stream(&self, count: u32) -> Vec<u32> {
        let mut received = Vec::new();
        for first in (0..count).step_by(BURST as usize) {
            let end = count.min(first + BURST);
            (first..end).for_each(|number| self.send(number));
            let delivered = wait_for(|| {
                let counts = self.network.counts(self.hosts[0], self.hosts[1]);
                let is_over = counts.delivered + counts.lost == u64::from(end) + counts.duplicated;
                (counts.packets == u64::from(end) && is_over).then_some(counts.delivered)
            });
            while (received.len() as u64) < delivered {
                received.push(receive(&self.sockets[1]).0);
            }
        }
        received
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::yield_now();
    }
}

fn receive(socket: &UdpSocket) -> (u32, SocketAddr) {
    let mut buffer = [0; 16];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (u32::from_be_bytes(buffer[..length].try_into().unwrap()), from)
}

#[test]
fn both_ends_see_one_peer_at_one_address() {
    let Pair {
        network,
        sockets: [one, two],
        hosts,
    } = Pair::new(LinkSettings::default());
    let address = network.address(hosts[1]);
    one.send_to(&1_u32.to_be_bytes(), address).unwrap();
    let (number, from) = receive(&two);
    assert!(number == 1 && from != one.local_addr().unwrap());
    two.send_to(&2_u32.to_be_bytes(), from).unwrap();
    assert_eq!(receive(&one), (2, address));
    one.send_to(&3_u32.to_be_bytes(), address).unwrap();
    assert_eq!(receive(&two), (3, from));
    // Somebody else who knows the address of the flow does not get through it.
    let stranger = socket();
    stranger.send_to(&4_u32.to_be_bytes(), from).unwrap();
    stranger.send_to(&5_u32.to_be_bytes(), address).unwrap();
    let (number, from_stranger) = receive(&two);
    assert!(number == 5 && from_stranger != from);
}

#[test]
fn the_share_that_is_lost_is_what_was_asked_for() {
    const PACKETS: u32 = 20_000;
    let pair = Pair::new(LinkSettings {
        loss: 0.05,
        ..LinkSettings::default()
    });
    let received = pair.stream(PACKETS);
    assert!(received.is_sorted(), "without delays the order is kept");
    // Six standard deviations around the mean of 1,000.
    let lost = PACKETS as usize - received.len();
    assert!((815..=1_185).contains(&lost), "{lost} of {PACKETS} lost");
    let counts = pair.network.counts(pair.hosts[0], pair.hosts[1]);
    assert_eq!(counts.lost, lost as u64);
    assert_eq!(pair.network.total().packets, u64::from(PACKETS));
}

#[test]
fn repeated_packets_arrive_twice_and_damaged_ones_with_one_wrong_bit() {
    const PACKETS: u32 = 2_000;
    let pair = Pair::new(LinkSettings {
        duplicate: 0.1,
        ..LinkSettings::default()
    });
    let received = pair.stream(PACKETS);
    let different: BTreeSet<u32> = received.iter().copied().collect();
    assert_eq!(different.len(), PACKETS as usize);
    let twice = received.len() - different.len();
    assert!((120..=280).contains(&twice), "{twice} arrived twice");

    let pair = Pair::new(LinkSettings {
        corrupt: 1.0,
        ..LinkSettings::default()
    });
    pair.send(0);
    assert_eq!(receive(&pair.sockets[1]).0.count_ones(), 1);
}

#[test]
fn packets_that_are_held_back_are_overtaken_and_none_is_lost() {
    let pair = Pair::new(LinkSettings {
        reorder: 0.1,
        reorder_delay: Duration::from_millis(20),
        ..LinkSettings::default()
    });
    let received = pair.stream(1_000);
    assert!(!received.is_sorted());
    let different: BTreeSet<u32> = received.iter().copied().collect();
    assert_eq!((received.len(), different.len()), (1_000, 1_000));
}

#[test]
fn delays_hold_in_each_direction_by_itself() {
    let pair = Pair::new(LinkSettings::default());
    let [one, two] = pair.hosts;
    let delay = Duration::from_millis(30);
    pair.network.set_link(
        one,
        two,
        LinkSettings {
            delay,
            ..LinkSettings::default()
        },
    );
    let begin = Instant::now();
    (0..10).for_each(|number| pair.send(number));
    for expected in 0..10 {
        assert_eq!(receive(&pair.sockets[1]).0, expected);
        assert!(begin.elapsed() >= delay);
    }
    // The way back is as short as before; how short, a busy machine decides.
    pair.sockets[1]
        .send_to(&7_u32.to_be_bytes(), pair.network.address(one))
        .unwrap();
    assert_eq!(receive(&pair.sockets[0]).0, 7);
    let back = pair.network.counts(two, one);
    assert_eq!((back.packets, back.delivered), (1, 1));
}

#[test]
fn a_narrow_link_takes_its_time() {
    let pair = Pair::new(LinkSettings {
        bytes_per_second: Some(4_000),
        ..LinkSettings::default()
    });
    let begin = Instant::now();
    (0..100).for_each(|number| pair.send(number));
    for expected in 0..100 {
        assert_eq!(receive(&pair.sockets[1]).0, expected);
    }
    let elapsed = begin.elapsed();
    assert!(
        elapsed >= Duration::from_millis(100),
        "{elapsed:?} for 400 bytes at 4,000 per second"
    );
}

#[test]
fn a_cut_works_in_one_direction_and_loses_what_is_under_way() {
    let pair = Pair::new(LinkSettings {
        delay: Duration::from_millis(50),
        ..LinkSettings::default()
    });
    let [one, two] = pair.hosts;
    pair.send(1);
    wait_for(|| (pair.network.counts(one, two).packets == 1).then_some(()));
    pair.network.set_cut(one, two, true);
    pair.send(2);
    wait_for(|| (pair.network.counts(one, two).cut == 2).then_some(()));
    pair.sockets[1]
        .send_to(&3_u32.to_be_bytes(), pair.network.address(one))
        .unwrap();
    assert_eq!(receive(&pair.sockets[0]).0, 3);
    pair.network.set_cut(one, two, false);
    pair.send(4);
    assert_eq!(receive(&pair.sockets[1]).0, 4);
    pair.network.set_parted(one, two, true);
    pair.send(5);
    pair.sockets[1]
        .send_to(&6_u32.to_be_bytes(), pair.network.address(one))
        .unwrap();
    wait_for(|| (pair.network.total().cut == 4).then_some(()));
}

#[test]
fn a_host_that_moved_comes_from_elsewhere_and_is_lost_where_it_was() {
    let pair = Pair::new(LinkSettings::default());
    let [one, two] = pair.hosts;
    pair.send(1);
    let (_, before) = receive(&pair.sockets[1]);
    let ip = Ipv4Addr::new(127, 0, 0, 2);
    pair.network.rebind(one, ip.into()).unwrap();
    pair.send(2);
    let (number, after) = receive(&pair.sockets[1]);
    assert!(number == 2 && after.ip() == ip && after != before);
    // What still goes to the old address is lost, and what goes to the new one arrives.
    pair.sockets[1].send_to(&3_u32.to_be_bytes(), before).unwrap();
    pair.sockets[1].send_to(&4_u32.to_be_bytes(), after).unwrap();
    assert_eq!(receive(&pair.sockets[0]), (4, pair.network.address(two)));
    // Where it is called stays.
    pair.sockets[1]
        .send_to(&5_u32.to_be_bytes(), pair.network.address(one))
        .unwrap();
    assert_eq!(receive(&pair.sockets[0]).0, 5);
}

#[test]
fn strangers_are_served_and_only_so_many_are_known() {
    let pair = Pair::new(LinkSettings::default());
    let strangers: Vec<UdpSocket> = (0..300).map(|_| socket()).collect();
    for stranger in &strangers {
        stranger
            .send_to(&1_u32.to_be_bytes(), pair.network.address(pair.hosts[1]))
            .unwrap();
        let (_, from) = receive(&pair.sockets[1]);
        pair.sockets[1].send_to(&2_u32.to_be_bytes(), from).unwrap();
        assert_eq!(receive(stranger), (2, pair.network.address(pair.hosts[1])));
    }
    let links = format!("{:?}", pair.network);
    assert_eq!(links.matches("last_used").count(), 256);
}
