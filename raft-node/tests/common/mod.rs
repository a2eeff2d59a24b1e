//! Real processes for the integration tests: commands, and clusters on free ports that never outlive their test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "every test program uses its own part of this module")]

pub(crate) mod disk;
mod ports;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use ports::free_ports;
use tempfile::TempDir;

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long anything may take that has no deadline of its own: three processes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test, without the settings of whoever runs the tests.
pub(crate) fn raft_node() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-node"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RAFT_NODE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Runs `raft-node` with `arguments` and demands success; its standard output.
pub(crate) fn output_of(arguments: &[&str]) -> String {
    let ended = run(raft_node().args(arguments));
    assert_eq!(ended.code, Some(0), "raft-node {arguments:?}: {ended:?}");
    ended.stdout
}

/// Waits until `condition` gives a value.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain for {what}"
        );
        thread::sleep(POLL_INTERVAL);
    }
}

/// A cluster of real processes, described by one file that serves every node.
pub(crate) struct Cluster {
    directory: TempDir,
    ports: Vec<(u16, u16)>,
    running: Vec<Option<Child>>,
}

impl Cluster {
    /// Makes certificates and the file for `count` nodes; starts nothing.
    pub(crate) fn describe(count: usize) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let pki = path.join("pki");
        output_of(&[
            "cert",
            "--cluster",
            "test",
            "--nodes",
            &count.to_string(),
            "--out",
            pki.to_str().unwrap(),
        ]);
        let ports = free_ports(count);
        let map = |url: &dyn Fn(&(u16, u16)) -> String| {
            let entries: Vec<String> = ports
                .iter()
                .zip(1..)
                .map(|(ports, id)| format!("{id}={}", url(ports)))
                .collect();
            entries.join(",")
        };
        let text = format!(
            "cluster = \"test\"\ndata-dir = \"{0}/data-n{{id}}\"\ncert = \"{0}/pki/n{{id}}.pem\"\n\
             key = \"{0}/pki/n{{id}}.key\"\nca = \"{0}/pki/ca.pem\"\n\
             initial-cluster = \"{1}\"\ninitial-client-urls = \"{2}\"\n\
             election-timeout-ms = 500\nheartbeat-interval-ms = 50\n",
            path.display(),
            map(&|(_, peer)| format!("quic://127.0.0.1:{peer}")),
            map(&|(client, _)| format!("http://127.0.0.1:{client}")),
        );
        fs::write(path.join("node.toml"), text).unwrap();
        Cluster {
            directory,
            ports,
            running: (0..count).map(|_| None).collect(),
        }
    }

    /// Describes and starts `count` nodes and waits until all know one leader.
    pub(crate) fn start(count: usize) -> Cluster {
        let mut cluster = Cluster::describe(count);
        for id in 1..=count {
            cluster.start_node(id);
        }
        cluster.leader();
        cluster
    }

    /// Makes a certificate and finds ports for one more node, which is none of the first members; its id.
    pub(crate) fn describe_joining(&mut self) -> usize {
        self.ports.extend(free_ports(1));
        self.running.push(None);
        let id = self.ports.len();
        output_of(&[
            "cert",
            "--cluster",
            "test",
            "--node",
            &id.to_string(),
            "--out",
            self.path("pki").to_str().unwrap(),
        ]);
        id
    }

    /// The command that starts node `id`, which the file does not name.
    pub(crate) fn joining_command(&self, id: usize) -> Command {
        let mut command = self.command(id);
        command.args(["--join", "--peer-url", &self.peer_url(id)]);
        command.args(["--client-url", &self.url(id)]);
        command
    }

    /// A file or directory of the cluster.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command that starts node `id`.
    pub(crate) fn command(&self, id: usize) -> Command {
        let mut command = raft_node();
        command.arg("start").arg("--config").arg(self.path("node.toml"));
        command.args(["--id", &id.to_string(), "--stop-with-stdin"]);
        command.stdin(Stdio::piped());
        command
    }

    /// The command that starts node `id`, one of three, told to talk over TCP.
    pub(crate) fn command_over_tcp(&self, id: usize) -> Command {
        let urls = (1..=3).map(|id| self.peer_url(id).replace("quic://", "tcp://"));
        let members: Vec<String> = (1..).zip(urls).map(|(id, url)| format!("{id}={url}")).collect();
        let mut command = self.command(id);
        command.args(["--transport", "tcp", "--initial-cluster", &members.join(",")]);
        command
    }

    /// Starts node `id`; its log is appended to `n<ID>.log`.
    pub(crate) fn start_node(&mut self, id: usize) {
        let command = self.command(id);
        self.start_with(id, command);
    }

    /// Starts node `id` by `command`; its log is appended to `n<ID>.log`.
    pub(crate) fn start_with(&mut self, id: usize, mut command: Command) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.path(&format!("n{id}.log")))
            .unwrap();
        // Standard input stays open as long as this process lives, so the node cannot outlive it.
        let child = command.stderr(log).spawn().unwrap();
        assert!(
            self.running[id - 1].replace(child).is_none(),
            "node {id} runs already"
        );
    }

    /// Kills node `id` as a power cut would.
    pub(crate) fn kill(&mut self, id: usize) {
        let mut child = self.running[id - 1].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks node `id` to stop and returns its exit code.
    pub(crate) fn stop(&mut self, id: usize) -> Option<i32> {
        let mut child = self.running[id - 1].take().unwrap();
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        wait_for("the node to stop", || child.try_wait().unwrap()).code()
    }

    /// Sends the signal `name` to node `id`.
    pub(crate) fn signal(&self, id: usize, name: &str) {
        let process = self.running[id - 1].as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &process]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until node `id` ends by itself and returns its exit code.
    pub(crate) fn ended(&mut self, id: usize) -> Option<i32> {
        let mut child = self.running[id - 1].take().unwrap();
        let status = wait_for(&format!("node {id} to end by itself"), || {
            child.try_wait().unwrap()
        });
        status.code()
    }

    /// The ids of the nodes that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let ids = (1..).zip(&self.running);
        ids.filter(|(_, child)| child.is_some())
            .map(|(id, _)| id)
            .collect()
    }

    /// What node `id` logged.
    pub(crate) fn log(&self, id: usize) -> String {
        fs::read_to_string(self.path(&format!("n{id}.log"))).unwrap_or_default()
    }

    /// What node `id` answers to a request for `path`, with its head.
    pub(crate) fn answer(&self, id: usize, path: &str) -> String {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[id - 1].0)).unwrap();
        connection
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut page = String::new();
        connection.read_to_string(&mut page).unwrap();
        page
    }

    /// What node `id` says is wrong, in one word and as a paragraph.
    pub(crate) fn why(&self, id: usize) -> (String, String) {
        let page = self.answer(id, "/why?format=json");
        let (_, body) = page.split_once("\r\n\r\n").unwrap();
        let why: serde_json::Value = serde_json::from_str(body).unwrap();
        let text = |field: &str| why[field].as_str().unwrap().to_owned();
        (text("cause"), text("text"))
    }

    /// Waits until node `id` names one of `causes` as what is wrong, and demands that it does within `limit` of `since`:
    /// whatever is asked later is answered by one of them. The paragraph.
    pub(crate) fn named(&self, id: usize, causes: &[&str], since: Instant, limit: Duration) -> String {
        wait_for(&format!("node {id} to name one of {causes:?}"), || {
            let asked = since.elapsed();
            let (cause, text) = self.why(id);
            if causes.contains(&cause.as_str()) {
                return Some(text);
            }
            assert!(
                asked < limit,
                "asked {asked:?} after the failure: {cause}: {text}"
            );
            None
        })
    }

    /// The page of figures of node `id`.
    pub(crate) fn metrics(&self, id: usize) -> String {
        let page = self.answer(id, "/metrics");
        assert!(page.contains("raft_role"), "{page}");
        page
    }

    /// The content of another page of node `id`.
    pub(crate) fn page(&self, id: usize, path: &str) -> Vec<u8> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[id - 1].0)).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: node\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut page = Vec::new();
        connection.read_to_end(&mut page).unwrap();
        let head = page.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        assert!(
            page.starts_with(b"HTTP/1.0 200"),
            "{}",
            String::from_utf8_lossy(&page[..head])
        );
        page.split_off(head + 4)
    }

    /// The URL of node `id` for the other nodes.
    pub(crate) fn peer_url(&self, id: usize) -> String {
        format!("quic://127.0.0.1:{}", self.ports[id - 1].1)
    }

    /// The client URL of node `id`.
    pub(crate) fn url(&self, id: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[id - 1].0)
    }

    /// All client URLs.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = (1..=self.ports.len()).map(|id| self.url(id)).collect();
        urls.join(",")
    }

    /// The rows of `status --json`.
    pub(crate) fn status(&self) -> Vec<serde_json::Value> {
        let ended = run(raft_node().args(["status", "--json", "--endpoints", &self.urls()]));
        serde_json::from_str(&ended.stdout).unwrap_or_default()
    }

    /// The leader, as soon as every running node knows the same one and it runs.
    pub(crate) fn leader(&self) -> usize {
        let running = self.running();
        wait_for(&format!("a leader; logs:\n{}", self.logs()), || {
            let status = self.status();
            let leader_of = |id: usize| {
                let row = status.iter().find(|row| row["id"] == id)?;
                usize::try_from(row["leader"].as_u64()?).ok()
            };
            let leader = leader_of(*running.first()?).filter(|leader| running.contains(leader))?;
            running
                .iter()
                .all(|id| leader_of(*id) == Some(leader))
                .then_some(leader)
        })
    }

    /// Everything that the nodes logged.
    pub(crate) fn logs(&self) -> String {
        (1..=self.ports.len())
            .map(|id| format!("n{id}:\n{}", self.log(id)))
            .collect()
    }

    /// How many acknowledged writes `file` has so far.
    pub(crate) fn acked(file: &Path) -> usize {
        fs::read(file)
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    /// Writes keys until `count` are acknowledged and notes them in `file`.
    pub(crate) fn load(&self, count: usize, file: &Path) {
        let report = output_of(&[
            "load",
            "--keys",
            &count.to_string(),
            "--clients",
            "8",
            "--json",
            "--acked",
            file.to_str().unwrap(),
            "--endpoints",
            &self.urls(),
        ]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["acknowledged"], count, "{report}");
        assert_eq!(Cluster::acked(file), count);
    }

    /// Begins to write keys for `seconds` and to note them in `file`.
    pub(crate) fn start_load(&self, seconds: u32, file: &Path) -> Load {
        let mut command = raft_node();
        command.args(["load", "--duration", &seconds.to_string(), "--clients", "8"]);
        command.args(["--endpoints", &self.urls()]);
        Load::start(command, file)
    }

    /// Compares what `file` says on every node.
    pub(crate) fn verify(&self, file: &Path) -> String {
        output_of(&[
            "verify",
            "--acked",
            file.to_str().unwrap(),
            "--endpoints",
            &self.urls(),
        ])
    }
}

/// A load that runs beside the test and ends with it.
pub(crate) struct Load(Option<Child>);

impl Load {
    /// Begins what `command`, which says where and for how long, and notes it in `file`.
    pub(crate) fn start(mut command: Command, file: &Path) -> Load {
        command.args(["--json", "--acked"]).arg(file);
        Load(Some(command.stdout(Stdio::piped()).spawn().unwrap()))
    }

    /// Ends it now; its summary.
    pub(crate) fn interrupt(self) -> serde_json::Value {
        let process = self.0.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-INT", &process]).status().unwrap();
        assert!(sent.success());
        self.report()
    }

    /// Waits for its end; its summary.
    pub(crate) fn report(mut self) -> serde_json::Value {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
