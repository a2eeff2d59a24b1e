//! Which ports are free: TCP for clients, UDP for peers (QUIC).

use crate::failure::{Doing, Failure, Outcome};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// How many nodes the local cluster has.
pub(crate) const NODES: u16 = 3;
/// Node k's ports are the first node's plus this times (k - 1), as in `raft-node dev`.
const STEP: u16 = 10;
/// The first node's ports unless the user says otherwise: etcd's.
const DEFAULT: (u16, u16) = (2379, 2380);

/// The ports of one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ports {
    /// TCP, for clients.
    pub(crate) client: u16,
    /// UDP, for the other nodes.
    pub(crate) peer: u16,
}

/// Three pairs of ports that were free a moment ago, chosen by the system.
pub(crate) fn free() -> Outcome<Vec<Ports>> {
    // All are held until the last one is chosen, so that none is given twice.
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..NODES {
        let client =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("find a free TCP port on 127.0.0.1")?;
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).doing("find a free UDP port on 127.0.0.1")?;
        ports.push(Ports {
            client: client.local_addr().doing("ask for a port")?.port(),
            peer: peer.local_addr().doing("ask for a port")?.port(),
        });
        held.push((client, peer));
    }
    Ok(ports)
}

/// The usual ports, or those the user named. Usual ports that are taken are replaced by others when `may_move`;
/// a port the user named is never replaced.
pub(crate) fn choose(client: Option<u16>, peer: Option<u16>, may_move: bool) -> Outcome<Vec<Ports>> {
    let mut offset = 0;
    loop {
        let ports = row(
            client.unwrap_or(DEFAULT.0 + offset),
            peer.unwrap_or(DEFAULT.1 + offset),
        );
        let taken_client = ports
            .iter()
            .map(|ports| ports.client)
            .find(|port| !tcp_is_free(*port));
        let taken_peer = ports
            .iter()
            .map(|ports| ports.peer)
            .find(|port| !udp_is_free(*port));
        let (what, port, flag, named) = match (taken_client, taken_peer) {
            (None, None) => return Ok(ports),
            (Some(port), _) => ("TCP", port, "--client-port", client.is_some()),
            (None, Some(port)) => ("UDP", port, "--peer-port", peer.is_some()),
        };
        if named || !may_move || offset >= 1000 {
            return Err(Failure::work(format!(
                "{what} port {port} on 127.0.0.1 is in use; give another first port with {flag}"
            )));
        }
        println!("{what} port {port} is in use; trying the ports 100 higher ({flag} chooses them)");
        offset += 100;
    }
}

fn row(client: u16, peer: u16) -> Vec<Ports> {
    (0..NODES)
        .map(|node| Ports {
            client: client + STEP * node,
            peer: peer + STEP * node,
        })
        .collect()
}

fn tcp_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn udp_is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let ports = free().unwrap();
        assert_eq!(ports.len(), usize::from(NODES));
        for (position, one) in ports.iter().enumerate() {
            assert!(
                ports[position + 1..]
                    .iter()
                    .all(|other| other.client != one.client && other.peer != one.peer)
            );
        }
    }

    #[test]
    fn a_named_port_that_is_taken_is_an_error_that_names_the_flag() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = choose(Some(port), None, true).unwrap_err().to_string();
        assert!(
            error.contains("--client-port") && error.contains(&port.to_string()),
            "{error}"
        );
    }

    #[test]
    fn node_k_listens_ten_ports_further() {
        assert_eq!(
            row(100, 200)[2],
            Ports {
                client: 120,
                peer: 220
            }
        );
    }
}
