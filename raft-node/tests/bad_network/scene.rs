//! A cluster whose nodes reach each other through a bad network only, and what is asked of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bad_network::{HostId, NamespaceError, Namespaces, UdpNetwork};

use super::common::{Cluster, Load, raft_node, run, wait_for};

/// What a node has that nobody told otherwise. The other tests make it shorter, and these are about elections.
const DEFAULT_TIMING: [&str; 4] = ["--election-timeout-ms", "1000", "--heartbeat-interval-ms", "100"];
/// Longer than any of these tests: the load is interrupted at the end.
const LOAD_SECONDS: &str = "600";
/// The ids of the nodes.
const ALL: [usize; 3] = [1, 2, 3];
/// The host of the clients, where nodes have hosts of their own.
const CLIENT_HOST: u8 = 4;

/// Three nodes in a bad network, and clients.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    // Behind the processes in it.
    network: Network,
    acked: PathBuf,
    load: Option<Load>,
}

enum Network {
    /// The nodes listen where only the network knows it, and are called where the network says. Clients reach them on perfect
    /// ways.
    Proxy(UdpNetwork, Vec<HostId>),
    /// Every node has a host of its own, and the clients have one.
    Hosts(Namespaces),
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) term: u64,
    pub(crate) leader: usize,
}

impl Scene {
    /// Starts three nodes behind a network that is perfect until somebody makes it worse.
    pub(crate) fn start(seed: u64) -> Scene {
        Scene::start_as(seed, &[])
    }

    /// The same with further `options` for each node.
    pub(crate) fn start_as(seed: u64, options: &[&str]) -> Scene {
        let cluster = Cluster::describe(3);
        let network = UdpNetwork::start(seed).unwrap();
        let listen = |id| cluster.peer_url(id).trim_start_matches("quic://").to_owned();
        let hosts: Vec<HostId> = (1..=3)
            .map(|id| network.add_host(listen(id).parse().unwrap()).unwrap())
            .collect();
        let peers = map(|id| format!("quic://{}", network.address(hosts[id - 1])));
        let commands = (1..=3)
            .map(|id| {
                let mut command = cluster.command(id);
                command.args(["--initial-cluster", &peers, "--listen-peer", &listen(id)]);
                command.args(options);
                command
            })
            .collect();
        Scene::start_with(cluster, Network::Proxy(network, hosts), commands)
    }

    /// Starts three nodes on hosts of their own if this user may have some, or else as [`start`](Scene::start) does.
    pub(crate) fn start_on_hosts(seed: u64) -> Scene {
        let network = match Namespaces::new(CLIENT_HOST) {
            Ok(network) => network,
            Err(error @ NamespaceError::Unavailable(_)) => {
                eprintln!("{error}; the nodes are on one host and behind a proxy instead");
                return Scene::start(seed);
            }
            Err(error) => panic!("{error}"),
        };
        let cluster = Cluster::describe(3);
        let peers = map(|id| format!("quic://{}:2380", network.address(host(id))));
        let clients = map(|id| url(&network, id));
        let commands = (1..=3)
            .map(|id| {
                let mut command = cluster.command(id);
                command.args(["--initial-cluster", &peers, "--initial-client-urls", &clients]);
                let mut command = network.command(host(id), &command);
                command.stdin(std::process::Stdio::piped());
                command
            })
            .collect();
        Scene::start_with(cluster, Network::Hosts(network), commands)
    }

    fn start_with(mut cluster: Cluster, network: Network, commands: Vec<Command>) -> Scene {
        for (mut command, id) in commands.into_iter().zip(1..) {
            command.args(DEFAULT_TIMING);
            cluster.start_with(id, command);
        }
        let scene = Scene {
            acked: cluster.path("acked"),
            cluster,
            network,
            load: None,
        };
        scene.agreement();
        scene
    }

    /// The proxy between the nodes, and the hosts in it.
    pub(crate) fn proxy(&self) -> (&UdpNetwork, &[HostId]) {
        match &self.network {
            Network::Proxy(network, hosts) => (network, hosts),
            Network::Hosts(_) => panic!("there is no proxy between hosts"),
        }
    }

    /// Cuts the link from one node to another, in this direction only, or mends it.
    pub(crate) fn set_cut(&self, from: usize, to: usize, cut: bool) {
        let (network, hosts) = self.proxy();
        network.set_cut(hosts[from - 1], hosts[to - 1], cut);
    }

    /// Cuts node `id` off from the other nodes.
    pub(crate) fn isolate(&self, id: usize) {
        match &self.network {
            Network::Proxy(..) => self.set_isolated(id, true),
            Network::Hosts(network) => network.unplug(host(id)).unwrap(),
        }
    }

    /// Connects node `id` with the other nodes again.
    pub(crate) fn reconnect(&self, id: usize) {
        match &self.network {
            Network::Proxy(..) => self.set_isolated(id, false),
            Network::Hosts(network) => network.plug(host(id)).unwrap(),
        }
    }

    fn set_isolated(&self, id: usize, isolated: bool) {
        for other in (1..=3).filter(|other| *other != id) {
            self.set_cut(id, other, isolated);
            self.set_cut(other, id, isolated);
        }
    }

    /// Waits until node `id` believes that it is connected to `peer`, or not.
    pub(crate) fn wait_connected(&self, id: usize, peer: usize, connected: bool) {
        let line = format!("raft_peer_connected{{peer=\"{peer}\"}} {}", u8::from(connected));
        wait_for(&format!("node {id} to say {line}"), || {
            let page = self.cluster.metrics(id);
            page.lines().any(|found| found == line).then_some(())
        });
    }

    /// A client's command to these nodes, which runs where the clients are.
    fn client(&self, ids: &[usize], arguments: &[&str]) -> Command {
        let mut command = raft_node();
        command.args(arguments).arg("--endpoints");
        let urls = |url: &dyn Fn(usize) -> String| {
            let urls: Vec<String> = ids.iter().map(|id| url(*id)).collect();
            urls.join(",")
        };
        match &self.network {
            Network::Proxy(..) => {
                command.arg(urls(&|id| self.cluster.url(id)));
                command
            }
            Network::Hosts(network) => {
                command.arg(urls(&|id| url(network, id)));
                network.command(CLIENT_HOST, &command)
            }
        }
    }

    /// Runs a client's command to its end and demands success; what it printed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let ended = run(&mut self.client(&ALL, arguments));
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Has eight clients write from now on, through every node in turn.
    pub(crate) fn write(&mut self) {
        self.write_to(&ALL, &["--clients", "8"]);
        self.wait_for_writes("the first writes", 1);
    }

    /// Has clients write to these nodes from now on, as `arguments` of `load` say.
    pub(crate) fn write_to(&mut self, ids: &[usize], arguments: &[&str]) {
        let mut command = self.client(ids, &["load", "--duration", LOAD_SECONDS]);
        command.args(arguments);
        self.load = Some(Load::start(command, &self.acked));
    }

    /// How many writes are acknowledged.
    pub(crate) fn acked(&self) -> usize {
        Cluster::acked(&self.acked)
    }

    /// Waits until `count` more writes are acknowledged than now.
    pub(crate) fn wait_for_writes(&self, when: &str, count: usize) {
        let before = self.acked();
        wait_for(&format!("writes: {when}"), || {
            (self.acked() >= before + count).then_some(())
        });
    }

    /// Has the writers go on for as long as `time`, and fails as soon as `check` does not hold for what the nodes say.
    pub(crate) fn watch(&self, time: Duration, check: impl Fn(&[View])) {
        let (begin, before) = (Instant::now(), self.acked());
        while begin.elapsed() < time {
            check(&self.views());
        }
        assert!(self.acked() > before, "nothing was acknowledged for {time:?}");
    }

    /// What all nodes say of themselves, in the order of their ids.
    pub(crate) fn views(&self) -> Vec<View> {
        self.views_of(&ALL)
    }

    /// What these nodes say of themselves.
    pub(crate) fn views_of(&self, ids: &[usize]) -> Vec<View> {
        wait_for(&format!("nodes {ids:?} to answer"), || {
            let printed = run(&mut self.client(ids, &["status", "--json"])).stdout;
            let rows: Vec<serde_json::Value> = serde_json::from_str(&printed).ok()?;
            let view = |id: &usize| {
                let row = rows.iter().find(|row| row["id"] == *id)?;
                Some(View {
                    term: row["term"].as_u64()?,
                    leader: usize::try_from(row["leader"].as_u64()?).ok()?,
                })
            };
            ids.iter().map(view).collect()
        })
    }

    /// The term that all nodes are in, and the leader that all know, as soon as they agree.
    pub(crate) fn agreement(&self) -> View {
        self.agreement_of(&ALL)
    }

    /// The term that these nodes are in, and the leader that they know, as soon as it is one of them and they agree.
    pub(crate) fn agreement_of(&self, ids: &[usize]) -> View {
        wait_for(&format!("nodes {ids:?} to agree"), || {
            let views = self.views_of(ids);
            let agree = views.iter().all(|view| *view == views[0]);
            (agree && ids.contains(&views[0].leader)).then_some(views[0])
        })
    }

    /// Makes node `id` the leader; the term in which it is.
    pub(crate) fn have_lead(&self, id: usize) -> u64 {
        self.ask(&["move-leader", &id.to_string()]);
        wait_for("the others to follow", || {
            let View { term, leader } = self.agreement();
            (leader == id).then_some(term)
        })
    }

    /// Ends the load, and demands that every write that was acknowledged is on every node, that none failed, and that no node
    /// ended or panicked.
    pub(crate) fn end(mut self) {
        let report = self.load.take().unwrap().interrupt();
        assert_eq!(report["failed"], 0, "{report}");
        let total = self.acked();
        assert!(total > 0 && report["acknowledged"] == total, "{total}: {report}");
        let verified = self.ask(&["verify", "--acked", self.acked.to_str().unwrap()]);
        assert_eq!(verified, format!("verified {total} keys on 3 nodes\n"));
        let logs = self.cluster.logs();
        assert!(!logs.contains("panicked"), "{logs}");
        for id in 1..=3 {
            assert_eq!(self.cluster.stop(id), Some(0), "{}", self.cluster.logs());
        }
    }
}

/// `1=…,2=…,3=…`.
fn map(value: impl Fn(usize) -> String) -> String {
    let pairs: Vec<String> = (1..=3).map(|id| format!("{id}={}", value(id))).collect();
    pairs.join(",")
}

/// The host of node `id`.
fn host(id: usize) -> u8 {
    u8::try_from(id).unwrap()
}

fn url(network: &Namespaces, id: usize) -> String {
    format!("http://{}:2379", network.address(host(id)))
}
