//! `raft-node load`, running beside the proof while the leader is killed.

use crate::cluster::{Client, Cluster};
use crate::failure::{Doing, Failure, Outcome};
use crate::json::Json;
use std::process::{Child, Command, Stdio};

/// How long the load lasts, in seconds.
const LOAD_SECONDS: &str = "12";

/// The load generator, running beside us. It is killed when this goes away.
pub(super) struct Load {
    child: Option<Child>,
}

impl Load {
    /// Starts it; every acknowledged write goes to the file `acked`.
    pub(super) fn start(client: &Client, acked: &str) -> Outcome<Load> {
        let mut command: Command =
            client.command(&["load", "--duration", LOAD_SECONDS, "--clients", "8", "--json"]);
        command
            .args(["--acked", acked])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Load {
            child: Some(command.spawn().doing("start the load")?),
        })
    }

    /// Has it stopped should we be killed; its process number.
    pub(super) fn watched_by(&self, cluster: &mut Cluster) -> Outcome<u32> {
        let child = self
            .child
            .as_ref()
            .ok_or_else(|| Failure::work("the load has ended before"))?;
        cluster.watch(child)?;
        Ok(child.id())
    }

    /// Waits for its end; its report.
    pub(super) fn finish(&mut self) -> Outcome<Json> {
        let child = self
            .child
            .take()
            .ok_or_else(|| Failure::work("the load has ended before"))?;
        let output = child.wait_with_output().doing("wait for the load")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::work(format!(
                "the load failed ({}):\n{text}{errors}",
                output.status
            )));
        }
        Json::parse(text.trim())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
