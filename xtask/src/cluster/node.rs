//! One `raft-node` process: started, watched, killed. What it prints goes to its log file.

use crate::failure::{Doing, Failure, Outcome};
use crate::ports::Ports;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// A node that may or may not be running.
pub(crate) struct Node {
    id: u64,
    ports: Ports,
    log: PathBuf,
    child: Option<Child>,
    ended: Option<ExitStatus>,
}

impl Node {
    /// Describes a node; it does not run yet.
    pub(crate) fn new(id: u64, ports: Ports, log: PathBuf) -> Node {
        Node {
            id,
            ports,
            log,
            child: None,
            ended: None,
        }
    }

    /// Its id in the cluster.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its ports on 127.0.0.1.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.client)
    }

    /// The file with everything it printed, over all its lives.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The process number, while it was not seen to end.
    pub(crate) fn process(&self) -> Option<u32> {
        if self.ended.is_some() {
            None
        } else {
            self.child.as_ref().map(Child::id)
        }
    }

    /// Starts the process. It must not be running.
    pub(crate) fn start(&mut self, command: &mut Command) -> Outcome<&Child> {
        assert!(self.process().is_none(), "node {} is already running", self.id);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .doing(format_args!("open {}", self.log.display()))?;
        let errors = log.try_clone().doing("share the log file")?;
        let child = command.stdout(log).stderr(errors).spawn();
        let child = child.map_err(|error| {
            Failure::work(format!(
                "cannot start {}: {error}",
                command.get_program().to_string_lossy()
            ))
        })?;
        self.ended = None;
        Ok(self.child.insert(child))
    }

    /// How it ended, if it was started and has ended.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        if let (Some(child), None) = (&mut self.child, self.ended) {
            self.ended = child
                .try_wait()
                .doing(format_args!("look after node {}", self.id))?;
        }
        Ok(self.ended)
    }

    /// Ends the process at once (SIGKILL) and collects it; its number, if there was one.
    pub(crate) fn kill(&mut self) -> Outcome<Option<u32>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        // An error here means that it has ended already; waiting then returns at once.
        let _ = child.kill();
        child
            .wait()
            .doing(format_args!("wait for node {} to end", self.id))?;
        self.ended = None;
        Ok(Some(child.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn node(name: &str) -> Node {
        let log = std::env::temp_dir().join(format!("xtask-node-{name}-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&log);
        Node::new(1, Ports { client: 1, peer: 2 }, log)
    }

    #[test]
    fn a_node_is_killed_and_starts_again_with_one_log() {
        let mut node = node("twice");
        for _ in 0..2 {
            node.start(Command::new("sh").args(["-c", "echo hello; exec sleep 1000"]))
                .unwrap();
            assert!(node.ended().unwrap().is_none());
            let deadline = Instant::now() + Duration::from_secs(30);
            while !std::fs::read_to_string(node.log()).unwrap().ends_with("hello\n") {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
            let process = node.kill().unwrap().unwrap();
            assert!(!crate::guard::is_alive(process));
        }
        let log = std::fs::read_to_string(node.log()).unwrap();
        assert!(log.starts_with("hello\n"), "{log}");
        std::fs::remove_file(node.log()).unwrap();
    }

    #[test]
    fn an_end_is_noticed() {
        let mut node = node("end");
        node.start(Command::new("sh").args(["-c", "exit 3"])).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while node.ended().unwrap().is_none() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(node.ended().unwrap().unwrap().code(), Some(3));
        assert_eq!(node.process(), None);
        std::fs::remove_file(node.log()).unwrap();
    }
}
