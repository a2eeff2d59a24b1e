//! Bad networks for real processes: what the simulator does to messages, done to packets and connections.
//!
//! Three ways, from the one that needs nothing to the one that needs root:
//!
//! - [`UdpNetwork`] stands between the UDP sockets of any number of hosts. Each directed link delays, loses, reorders, repeats,
//!   damages, limits and cuts what it carries, at run time, and a host can be moved to another address in the middle of a
//!   connection, as a NAT does it.
//! - [`TcpPath`] stands between TCP clients and one server, and delays, limits, stalls and cuts.
//! - [`Namespaces`] are hosts with addresses of their own on a switch of their own, whose cables can be pulled. It needs root and
//!   the program `ip`.
//!
//! What happens to the n-th packet of a link depends on the seed, the link and n only. When it happens depends on the machine.
//! Everything is bounded: packets that wait, flows of strangers, connections.
//!
//! Must never: know anything of what it carries.
//!
//! ```
//! use std::net::UdpSocket;
//! use bad_network::{LinkSettings, UdpNetwork};
//!
//! let (alice, bob) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
//! let network = UdpNetwork::start(7)?;
//! let from = network.add_host(alice.local_addr()?)?;
//! let to = network.add_host(bob.local_addr()?)?;
//! network.set_link(from, to, LinkSettings { duplicate: 1.0, ..LinkSettings::default() });
//! alice.send_to(b"hello", network.address(to))?;
//! let mut buffer = [0; 16];
//! for _ in 0..2 {
//!     let (length, _) = bob.recv_from(&mut buffer)?;
//!     assert_eq!(&buffer[..length], b"hello");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod background;
mod courier;
mod link;
mod namespaces;
mod random;
mod tcp;
mod udp;

pub use link::{LinkCounts, LinkSettings};
pub use namespaces::{NamespaceError, Namespaces};
pub use tcp::{TcpPath, TcpSettings};
pub use udp::{HostId, UdpNetwork};
