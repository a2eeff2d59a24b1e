//! A network of UDP hosts in one process: a socket in front of every host, and one for every pair of a sender and a host.
//!
//! A packet for a host goes to the host's address in the network. It reaches the host from a socket that stands for its sender,
//! and what the host answers there goes back to the sender from the address that it had asked. So both ends see one peer at
//! one address, as they do behind a NAT.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::background::Background;
use crate::courier::{Courier, Packet};
use crate::link::{Link, LinkCounts, LinkSettings};
use crate::random::Random;

/// How many senders that are no hosts are known at once; the one that has been silent for longest is forgotten.
const STRANGERS_MAX: usize = 256;
/// With the system's default a burst of a host would be lost before the network saw it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// No UDP packet is longer.
const PACKET_BYTES_MAX: usize = 65_535;

/// A host of a [`UdpNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

/// Who is at the end of a link: a host, or any sender that is none.
type End = Option<HostId>;

/// A network of UDP hosts on this machine; the module's documentation says how packets go.
///
/// Links are perfect until [`set_link`](UdpNetwork::set_link) says otherwise. Everything ends when this is dropped.
#[derive(Debug)]
pub struct UdpNetwork {
    shared: Arc<Shared>,
    // Behind what its tasks use.
    _background: Background,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    handle: Handle,
    state: Mutex<State>,
    courier: Courier<(End, End)>,
}

#[derive(Debug, Default)]
struct State {
    hosts: Vec<Host>,
    by_address: BTreeMap<SocketAddr, HostId>,
    /// For links that nobody has set.
    default: LinkSettings,
    links: BTreeMap<(End, End), Link>,
    flows: BTreeMap<(SocketAddr, HostId), Flow>,
    /// Where the sockets of a host's flows are, if it was moved.
    moved: BTreeMap<HostId, IpAddr>,
}

#[derive(Debug)]
struct Host {
    /// Where it really is.
    real: SocketAddr,
    /// In front of it.
    socket: Arc<UdpSocket>,
    address: SocketAddr,
}

/// What one sender and one host say to each other.
#[derive(Debug)]
struct Flow {
    /// Stands for the sender.
    socket: Arc<UdpSocket>,
    last_used: Instant,
    answers: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl UdpNetwork {
    /// A network without hosts. The fate of packets follows from `seed`.
    ///
    /// # Errors
    /// If the machine has no thread or no sockets to spare.
    pub fn start(seed: u64) -> io::Result<UdpNetwork> {
        let background = Background::start("bad-network")?;
        let shared = Arc::new(Shared {
            seed,
            handle: background.handle().clone(),
            state: Mutex::default(),
            courier: Courier::new(),
        });
        let courier = shared.clone();
        shared.handle.spawn(async move {
            let arrives = |packet: &Packet<(End, End)>| courier.arrives(packet);
            courier.courier.run(arrives).await;
        });
        Ok(UdpNetwork {
            shared,
            _background: background,
        })
    }

    /// Takes in a host that really is at `real`, and sends from there.
    ///
    /// # Errors
    /// If the machine has no socket to spare.
    pub fn add_host(&self, real: SocketAddr) -> io::Result<HostId> {
        let socket = self.shared.bind(Ipv4Addr::LOCALHOST.into())?;
        let address = socket.local_addr()?;
        let mut state = self.shared.lock();
        let id = HostId(state.hosts.len());
        state.by_address.insert(real, id);
        state.hosts.push(Host {
            real,
            socket: socket.clone(),
            address,
        });
        drop(state);
        self.shared
            .handle
            .spawn(receive_for_host(self.shared.clone(), socket, id));
        Ok(id)
    }

    /// Where others reach `host` through the network.
    ///
    /// # Panics
    /// If the host belongs to another network.
    #[must_use]
    pub fn address(&self, host: HostId) -> SocketAddr {
        self.shared.lock().hosts[host.0].address
    }

    /// Makes the link from one host to another so bad, from now on. What is under way arrives as planned, unless it is cut off.
    pub fn set_link(&self, from: HostId, to: HostId, settings: LinkSettings) {
        self.change_link(from, to, |link| *link = settings);
    }

    /// Makes every link so bad, also those of hosts and strangers that are still to come.
    pub fn set_all(&self, settings: LinkSettings) {
        let mut state = self.shared.lock();
        for link in state.links.values_mut() {
            *link.settings_mut() = settings.clone();
        }
        state.default = settings;
    }

    /// Cuts the link from one host to another, in this direction only, or mends it.
    pub fn set_cut(&self, from: HostId, to: HostId, cut: bool) {
        self.change_link(from, to, |link| link.cut = cut);
    }

    /// Cuts or mends both directions between two hosts.
    pub fn set_parted(&self, one: HostId, other: HostId, parted: bool) {
        self.set_cut(one, other, parted);
        self.set_cut(other, one, parted);
    }

    /// Moves `host` to another address, as a NAT does that forgot: from now on all that it sends comes from `ip` and a new port,
    /// and what is sent to where it was before is lost. Its own address in the network, where it is called, stays.
    ///
    /// # Errors
    /// If there is no socket to be had at `ip`; then nothing is changed, or some of its flows are not moved.
    pub fn rebind(&self, host: HostId, ip: IpAddr) -> io::Result<()> {
        let mut state = self.shared.lock();
        let real = state.hosts[host.0].real;
        let targets: Vec<HostId> = state
            .flows
            .keys()
            .filter(|(from, _)| *from == real)
            .map(|(_, to)| *to)
            .collect();
        for to in targets {
            let flow = self.shared.open_flow(ip, real, to)?;
            // Whoever was listening on the old socket ends, and the socket with the packets that still name it.
            state.flows.insert((real, to), flow);
        }
        state.moved.insert(host, ip);
        Ok(())
    }

    /// What became of the packets from one host to another.
    #[must_use]
    pub fn counts(&self, from: HostId, to: HostId) -> LinkCounts {
        let state = self.shared.lock();
        let link = state.links.get(&(Some(from), Some(to)));
        link.map(Link::counts).unwrap_or_default()
    }

    /// What became of all packets.
    #[must_use]
    pub fn total(&self) -> LinkCounts {
        let state = self.shared.lock();
        state
            .links
            .values()
            .map(Link::counts)
            .fold(LinkCounts::default(), |sum, counts| sum + counts)
    }

    fn change_link(&self, from: HostId, to: HostId, change: impl FnOnce(&mut LinkSettings)) {
        let mut state = self.shared.lock();
        change(
            state
                .link(self.shared.seed, (Some(from), Some(to)))
                .settings_mut(),
        );
    }
}

impl Shared {
    /// A packet arrived in front of `to`.
    fn called(self: &Arc<Self>, from: SocketAddr, to: HostId, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let sender = state.by_address.get(&from).copied();
        let now = Instant::now();
        let socket = match state.flows.get_mut(&(from, to)) {
            Some(flow) => {
                flow.last_used = now;
                flow.socket.clone()
            }
            None => {
                if sender.is_none() {
                    state.forget_a_stranger();
                }
                let moved = sender.and_then(|sender| state.moved.get(&sender).copied());
                let flow = self.open_flow(moved.unwrap_or(Ipv4Addr::LOCALHOST.into()), from, to)?;
                let socket = flow.socket.clone();
                state.flows.insert((from, to), flow);
                socket
            }
        };
        let real = state.hosts[to.0].real;
        self.forward(&mut state, (sender, Some(to)), &socket, real, bytes);
        Ok(())
    }

    /// `host` answered to the socket that stands for `sender`.
    fn answered(&self, host: HostId, from: SocketAddr, sender: SocketAddr, bytes: &[u8]) {
        let mut state = self.lock();
        let Host { real, socket, .. } = &state.hosts[host.0];
        // Nobody else has business there.
        if *real != from {
            return;
        }
        let socket = socket.clone();
        let receiver = state.by_address.get(&sender).copied();
        self.forward(&mut state, (Some(host), receiver), &socket, sender, bytes);
    }

    /// Sends a packet on its way, as often as the link has it arrive.
    fn forward(
        &self,
        state: &mut State,
        link: (End, End),
        socket: &Arc<UdpSocket>,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        let fate = state.link(self.seed, link).admit(Instant::now(), bytes.len());
        let mut bytes: Arc<[u8]> = bytes.into();
        if let (Some(bit), Some(content)) = (fate.wrong_bit, Arc::get_mut(&mut bytes))
            && !content.is_empty()
        {
            let bit = bit % (content.len() as u64 * 8);
            content[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        for at in fate.arrivals {
            self.courier.take(Packet {
                at,
                link,
                socket: socket.clone(),
                to,
                bytes: bytes.clone(),
            });
        }
    }

    fn arrives(&self, packet: &Packet<(End, End)>) -> bool {
        self.lock()
            .link(self.seed, packet.link)
            .release(packet.bytes.len())
    }

    /// A socket at `ip` that stands for `sender` towards `host`.
    fn open_flow(self: &Arc<Self>, ip: IpAddr, sender: SocketAddr, host: HostId) -> io::Result<Flow> {
        let socket = self.bind(ip)?;
        let answers = receive_for_sender(self.clone(), socket.clone(), host, sender);
        Ok(Flow {
            socket,
            last_used: Instant::now(),
            answers: self.handle.spawn(answers).abort_handle(),
        })
    }

    fn bind(&self, ip: IpAddr) -> io::Result<Arc<UdpSocket>> {
        let socket = StdUdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        options.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        options.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        let _runtime = self.handle.enter();
        Ok(Arc::new(UdpSocket::from_std(socket)?))
    }

    /// No code that can panic runs under this lock but indexing by a [`HostId`], which the state survives whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn link(&mut self, seed: u64, ends: (End, End)) -> &mut Link {
        let number = |end: End| end.map_or(u64::MAX, |host| host.0 as u64);
        let default = &self.default;
        self.links.entry(ends).or_insert_with(|| {
            let random = Random::fork(seed, [number(ends.0), number(ends.1)]);
            Link::new(default.clone(), random)
        })
    }

    fn forget_a_stranger(&mut self) {
        let strangers = self
            .flows
            .iter()
            .filter(|((from, _), _)| !self.by_address.contains_key(from));
        if strangers.clone().count() < STRANGERS_MAX {
            return;
        }
        let silent = strangers
            .min_by_key(|(_, flow)| flow.last_used)
            .map(|(key, _)| *key);
        if let Some(key) = silent {
            self.flows.remove(&key);
        }
    }
}

async fn receive_for_host(shared: Arc<Shared>, socket: Arc<UdpSocket>, host: HostId) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        // What cannot be received or forwarded is lost: this is a network.
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = shared.called(from, host, &buffer[..length]);
        }
    }
}

async fn receive_for_sender(shared: Arc<Shared>, socket: Arc<UdpSocket>, host: HostId, sender: SocketAddr) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            shared.answered(host, from, sender, &buffer[..length]);
        }
    }
}
