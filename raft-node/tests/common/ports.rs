//! Ports that are nobody else's for as long as a test lives, though its nodes let go of them now and then.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

/// The kernel gives others, from 32,768 on, to connections that go out: one of those could have the port of a node that is down.
const CANDIDATES: Range<u16> = 20_000..30_000;

/// What this process holds: a locked file for each port, which is free again when the process ends, however it does.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Pairs of ports, for clients and for peers, over TCP and over UDP.
pub(crate) fn free_ports(count: usize) -> Vec<(u16, u16)> {
    (0..count).map(|_| (free_port(), free_port())).collect()
}

fn free_port() -> u16 {
    let directory = std::env::temp_dir().join("raft-node-test-ports");
    fs::create_dir_all(&directory).unwrap();
    let mut held = HELD.lock().unwrap();
    // Processes of the same time begin far from each other.
    let first = std::process::id().wrapping_mul(2_654_435_761) >> 16;
    let free = (0..CANDIDATES.len()).find_map(|step| {
        let place = (first as usize + step) % CANDIDATES.len();
        let port = CANDIDATES.start + place as u16;
        let path = directory.join(port.to_string());
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, file))
    });
    let (port, file) = free.expect("some port is free");
    held.push(file);
    port
}
