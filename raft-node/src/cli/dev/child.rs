//! One node of a local cluster as a child process.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::plan::Plan;
use super::{CliError, DevError, output};

/// The colours of the nodes, as ANSI codes: cyan, yellow, magenta, green, blue, red.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// What happens to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChildEvent {
    /// It printed a line.
    Line {
        /// Which node.
        node: u64,
        /// The line without its end.
        line: String,
    },
    /// It ended.
    Ended {
        /// Which node.
        node: u64,
        /// With which exit code, or by which signal.
        how: String,
    },
}

/// A running node.
pub(super) struct Child {
    process: Option<Pid>,
    /// Closing it stops the node, so the node dies with this process, however that ends.
    _stdin: Option<ChildStdin>,
    kill: Option<oneshot::Sender<()>>,
    watcher: JoinHandle<()>,
}

impl Child {
    /// Starts node `node` of `plan`. What happens to it goes to `events`.
    pub(super) fn start(plan: &Plan, node: u64, events: mpsc::Sender<ChildEvent>) -> Result<Child, DevError> {
        let failed = |source| DevError::Spawn { node, source };
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("start")
            .arg("--config")
            .arg(plan.config_file())
            .args(["--id", &node.to_string(), "--stop-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to this process alone, which then stops the nodes in its own way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let process = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let stdin = child.stdin.take();
        let readers = [
            child
                .stdout
                .take()
                .map(|stdout| forward(node, stdout, events.clone())),
            child
                .stderr
                .take()
                .map(|stderr| forward(node, stderr, events.clone())),
        ];
        let (kill, killed) = oneshot::channel();
        let watcher = tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                Ok(()) = killed => {
                    // It fails only if the child has ended by itself.
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            for reader in readers.into_iter().flatten() {
                // What the node said last belongs before its end.
                let _ = reader.await;
            }
            let how = status.map_or_else(|error| error.to_string(), describe);
            // Nobody listens any more when this process ends.
            let _ = events.send(ChildEvent::Ended { node, how }).await;
        });
        Ok(Child {
            process,
            _stdin: stdin,
            kill: Some(kill),
            watcher,
        })
    }

    /// Sends SIGTERM, if it still runs.
    pub(super) fn ask_to_stop(&self) {
        if let Some(process) = self.process.filter(|_| !self.watcher.is_finished()) {
            // It fails only if the child has just ended.
            let _ = kill_process(process, Signal::TERM);
        }
    }

    /// Sends SIGKILL, if it still runs, and waits for its end.
    pub(super) async fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            // It fails only if the child has ended.
            let _ = kill.send(());
            let _ = (&mut self.watcher).await;
        }
    }
}

fn forward(
    node: u64,
    stream: impl AsyncRead + Unpin + Send + 'static,
    events: mpsc::Sender<ChildEvent>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            if events.send(ChildEvent::Line { node, line }).await.is_err() {
                return;
            }
        }
    })
}

/// How a process ended that ended with `code`.
pub(super) fn exit_code(code: i32) -> String {
    format!("exit code {code}")
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    match (status.code(), status.signal()) {
        (Some(code), _) => exit_code(code),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Prints `line` with the name of its node in front, in the node's colour if colours are shown.
pub(super) fn print_line(node: u64, line: &str) -> Result<(), CliError> {
    output::print(&prefixed(node, line, output::stdout_has_colors()))
}

fn prefixed(node: u64, line: &str, is_colored: bool) -> String {
    if !is_colored {
        return format!("n{node} | {line}");
    }
    let place = usize::try_from(node.saturating_sub(1)).unwrap_or(0) % COLORS.len();
    format!("\u{1b}[{}mn{node} |\u{1b}[0m {line}", COLORS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_whose_they_are() {
        assert_eq!(prefixed(2, "hello", false), "n2 | hello");
        assert_eq!(prefixed(1, "hello", true), "\u{1b}[36mn1 |\u{1b}[0m hello");
        assert_eq!(prefixed(7, "x", true), "\u{1b}[36mn7 |\u{1b}[0m x");
    }
}
