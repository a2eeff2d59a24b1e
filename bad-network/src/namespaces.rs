//! Hosts with addresses of their own, each in a network namespace of its own, on a switch whose cables can be pulled.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

/// Why there are no namespaces.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// This process may not make them, or there is no program that does.
    #[error("no network namespaces here: {0}; run as root, with the program `ip` of iproute2")]
    Unavailable(String),
    /// There are namespaces, but something about them fails.
    #[error("`ip {command}` failed: {reason}")]
    Failed {
        /// What was asked for.
        command: String,
        /// What it said.
        reason: String,
    },
    /// More hosts than an address has room for.
    #[error("{0} hosts do not fit into one network; give 1 to 200")]
    TooMany(u8),
}

/// The most hosts in one network.
const HOSTS_MAX: u8 = 200;
/// Where `ip` keeps the names.
const NAMES: &str = "/run/netns";
/// What every name begins with; then come the process that made it and a number.
const PREFIX: &str = "badnet";

/// Tells networks of one process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Hosts, from 1 on, on one switch.
///
/// Host k has the address `10.77.0.k`, in a namespace of its own; the switch has one, too, so nothing of the machine's own
/// network changes. Dropping this takes everything away, during a panic as well; processes that run on a host have to be ended
/// before. What a killed process left behind is taken away by the next one that makes namespaces.
#[derive(Debug)]
pub struct Namespaces {
    /// Of this network, and nobody else's.
    name: String,
    hosts: u8,
}

impl Namespaces {
    /// `hosts` hosts that reach each other.
    ///
    /// # Errors
    /// [`NamespaceError::Unavailable`] if this machine or this user cannot have them: then a [`UdpNetwork`](crate::UdpNetwork)
    /// is the way. Another error if it could and something failed.
    pub fn new(hosts: u8) -> Result<Namespaces, NamespaceError> {
        if !(1..=HOSTS_MAX).contains(&hosts) {
            return Err(NamespaceError::TooMany(hosts));
        }
        remove_left_behind();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Namespaces {
            name: format!("{PREFIX}-{}-{number}", process::id()),
            hosts,
        };
        let switch = network.switch();
        ip(&["netns", "add", &switch]).map_err(|error| NamespaceError::Unavailable(error.to_string()))?;
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])
            .map_err(|error| NamespaceError::Unavailable(error.to_string()))?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        for host in 1..=hosts {
            network.add_host(host)?;
        }
        Ok(network)
    }

    fn add_host(&self, host: u8) -> Result<(), NamespaceError> {
        let (switch, namespace) = (self.switch(), self.namespace(host));
        let (socket, address) = (socket(host), format!("{}/24", self.address(host)));
        ip(&["netns", "add", &namespace])?;
        // One end of the cable is `eth0` on the host, the other one a socket of the switch.
        ip(&[
            "-n", &switch, "link", "add", &socket, "type", "veth", "peer", "name", "eth0", "netns",
            &namespace,
        ])?;
        ip(&["-n", &switch, "link", "set", &socket, "master", "switch", "up"])?;
        ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, host)
    }

    /// The command that runs `program` on a host, with its arguments, variables and directory; what its standard streams are
    /// is still to be said. The process that it starts becomes the program.
    #[must_use]
    pub fn command(&self, host: u8, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = program.get_current_dir() {
            command.current_dir(directory);
        }
        command
    }

    /// Pulls the cable of a host out of the switch: what is sent is lost, in both directions.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn unplug(&self, host: u8) -> Result<(), NamespaceError> {
        ip(&["-n", &self.switch(), "link", "set", &socket(host), "down"])
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn plug(&self, host: u8) -> Result<(), NamespaceError> {
        ip(&["-n", &self.switch(), "link", "set", &socket(host), "up"])
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // With the switch go the cables, even if a process still holds its host.
        remove(&self.switch());
        for host in 1..=self.hosts {
            remove(&self.namespace(host));
        }
    }
}

/// The switch's end of a host's cable.
fn socket(host: u8) -> String {
    format!("port{host}")
}

fn remove(namespace: &str) {
    // It may be gone, or never have been made.
    let _ = ip(&["netns", "delete", namespace]);
}

/// Removes the namespaces of processes that are gone.
fn remove_left_behind() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-')?.split('-').next());
        let is_ours = owner.is_some_and(|owner| owner.parse::<u32>().is_ok());
        if is_ours && !owner.is_some_and(|owner| Path::new("/proc").join(owner).exists()) {
            remove(&name);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), NamespaceError> {
    let failed = |reason: String| NamespaceError::Failed {
        command: words.join(" "),
        reason,
    };
    let output = Command::new("ip")
        .args(words)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// None where there can be none; then the reason says what is missing.
    fn network(hosts: u8) -> Option<Namespaces> {
        match Namespaces::new(hosts) {
            Ok(network) => Some(network),
            Err(NamespaceError::Unavailable(reason)) => {
                assert!(!reason.is_empty());
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn names(of: &str) -> usize {
        let Ok(names) = fs::read_dir(NAMES) else { return 0 };
        let names = names
            .flatten()
            .map(|name| name.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(of)).count()
    }

    /// Whether a connection from one host to another is answered, by its refusal: nobody listens there.
    fn reaches(network: &Namespaces, from: u8, to: u8) -> bool {
        let mut shell = Command::new("timeout");
        let connect = format!("exec 3<>/dev/tcp/{}/9", network.address(to));
        shell.args(["1", "bash", "-c", &connect]);
        let output = network.command(from, &shell).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("refused")
    }

    #[test]
    fn cables_are_pulled_and_put_back() {
        let Some(network) = network(3) else { return };
        assert!(reaches(&network, 1, 2) && reaches(&network, 2, 3));
        network.unplug(2).unwrap();
        assert!(!reaches(&network, 1, 2) && !reaches(&network, 2, 3));
        assert!(reaches(&network, 1, 3));
        network.plug(2).unwrap();
        assert!((0..20).any(|_| reaches(&network, 1, 2)));
        assert!(network.unplug(4).is_err());
    }

    #[test]
    fn nothing_is_left_after_a_panic() {
        let Some(network) = network(2) else { return };
        let name = network.name.clone();
        assert_eq!(names(&name), 3);
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _network = network;
            panic!("a test that fails");
        }));
        assert!(panicked.is_err());
        assert_eq!(names(&name), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let Some(_network) = network(1) else { return };
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let left = format!("{PREFIX}-{}-0-1", child.id());
        ip(&["netns", "add", &left]).unwrap();
        let _other = Namespaces::new(1).unwrap();
        assert_eq!(names(&left), 0);
    }

    #[test]
    fn too_many_hosts_are_refused() {
        assert!(matches!(Namespaces::new(0), Err(NamespaceError::TooMany(0))));
        assert!(matches!(Namespaces::new(201), Err(NamespaceError::TooMany(201))));
    }
}
