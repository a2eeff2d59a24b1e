//! The three processes, their certificates and ports, and the network between them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bad_network::{HostId, LinkSettings, UdpNetwork};
use benches::place::Place;
use raft_core::types::NodeId;
use raft_node::certificates::{authority::Authority, holder::Holder, leaf};
use raft_node::client::endpoints::EndpointUrl;
use tempfile::TempDir;

/// The variable that makes this program a node.
pub(crate) const AS_NODE: &str = "BENCH_LOSS_AS_NODE";

/// Three running nodes, which end with this value.
pub(crate) struct Nodes {
    processes: Vec<Child>,
    clients: Vec<SocketAddr>,
    pub(crate) network: UdpNetwork,
    dir: TempDir,
}

impl Nodes {
    /// Starts them, with every link between two of them as `link` says from the first packet on.
    ///
    /// # Panics
    /// If one cannot be started.
    pub(crate) fn start(place: &Place, seed: u64, link: LinkSettings) -> Nodes {
        let dir = place.new_dir();
        let name = "bench".parse().expect("this is a name");
        let authority = Authority::open_or_make(dir.path(), &name).expect("a new authority");
        let holders: Vec<Holder> = (1..=3).map(|id| Holder::Node(NodeId(id))).collect();
        leaf::make(&authority, dir.path(), &holders, 1, false).expect("new certificates");
        let network = UdpNetwork::start(seed).expect("a network");
        network.set_all(link);
        // All sockets are open at once, so that no address is given twice.
        let free: Vec<(TcpListener, UdpSocket)> = (0..3)
            .map(|_| {
                let client = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                (
                    client,
                    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"),
                )
            })
            .collect();
        let clients: Vec<SocketAddr> = free
            .iter()
            .map(|(client, _)| client.local_addr().expect("a bound socket has an address"))
            .collect();
        let listen: Vec<SocketAddr> = free
            .iter()
            .map(|(_, peer)| peer.local_addr().expect("a bound socket has an address"))
            .collect();
        let hosts: Vec<HostId> = listen
            .iter()
            .map(|listen| network.add_host(*listen).expect("a socket in front of the host"))
            .collect();
        drop(free);
        let peers = map(|at| format!("quic://{}", network.address(hosts[at])));
        let urls = map(|at| format!("http://{}", clients[at]));
        let mut nodes = Nodes {
            processes: Vec::new(),
            clients,
            network,
            dir,
        };
        for (id, listen) in (1..).zip(listen) {
            let mut command = nodes.command(id);
            command.args(["--initial-cluster", &peers, "--initial-client-urls", &urls]);
            command.args(["--listen-peer", &listen.to_string()]);
            nodes.processes.push(command.spawn().expect("a process"));
        }
        nodes
    }

    fn command(&self, id: u64) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RAFT_NODE_") {
                command.env_remove(name);
            }
        }
        command.env(AS_NODE, "1");
        command.args([
            "start",
            "--stop-with-stdin",
            "--cluster",
            "bench",
            "--id",
            &id.to_string(),
        ]);
        for (flag, name) in [
            ("--data-dir", "data-n{id}"),
            ("--cert", "n{id}.pem"),
            ("--key", "n{id}.key"),
            ("--ca", "ca.pem"),
        ] {
            command.arg(flag).arg(self.dir.path().join(name));
        }
        let log = File::create(self.log(id)).expect("a new file");
        // It ends when this process does.
        command.stdin(Stdio::piped()).stderr(log);
        command
    }

    fn log(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("n{id}.log"))
    }

    /// Where clients reach the nodes.
    pub(crate) fn endpoints(&self) -> Vec<EndpointUrl> {
        self.clients
            .iter()
            .map(|address| EndpointUrl(format!("http://{address}")))
            .collect()
    }

    /// Prints what the nodes logged of connections and elections.
    pub(crate) fn print_elections(&self) {
        for id in 1..=3 {
            println!("\nnode {id}:");
            let log = fs::read_to_string(self.log(id)).unwrap_or_default();
            let words = ["became", "follow", "connected", "WARN", "ERROR"];
            for line in log
                .lines()
                .filter(|line| words.iter().any(|word| line.contains(word)))
            {
                println!("{line}");
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// `1=…,2=…,3=…` of the values at 0 to 2.
fn map(value: impl Fn(usize) -> String) -> String {
    let pairs: Vec<String> = (0..3).map(|at| format!("{}={}", at + 1, value(at))).collect();
    pairs.join(",")
}
