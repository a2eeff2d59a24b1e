//! The client side of `raft-node`'s command line: put, get, status, load, verify.

use super::without_node_settings;
use crate::cargo;
use crate::failure::{Doing, Failure, Outcome};
use crate::json::Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `raft-node` as a client of some endpoints.
#[derive(Clone)]
pub(crate) struct Client {
    program: PathBuf,
    endpoints: Vec<String>,
}

/// What one node says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Status {
    /// Its id.
    pub(crate) id: u64,
    /// Whom it follows; none while there is no leader.
    pub(crate) leader: Option<u64>,
    /// How far its log is known to be committed.
    pub(crate) commit: u64,
    /// How far its state machine is.
    pub(crate) applied: u64,
}

impl Client {
    /// A client of these URLs.
    pub(crate) fn new(program: &Path, endpoints: Vec<String>) -> Client {
        Client {
            program: program.to_path_buf(),
            endpoints,
        }
    }

    /// The same client, of one of its endpoints only.
    pub(crate) fn of(&self, endpoint: String) -> Client {
        Client {
            program: self.program.clone(),
            endpoints: vec![endpoint],
        }
    }

    /// `http://...,http://...`
    pub(crate) fn endpoints(&self) -> String {
        self.endpoints.join(",")
    }

    /// `127.0.0.1:2379,...`, the form that etcdctl's own manual uses.
    pub(crate) fn addresses(&self) -> String {
        self.endpoints().replace("http://", "")
    }

    /// A command of raft-node, with the endpoints.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).args(["--endpoints", &self.endpoints()]);
        without_node_settings(&mut command);
        command
    }

    /// Runs a command to its end; what it printed. A failure carries what it said.
    pub(crate) fn ask(&self, words: &[&str]) -> Outcome<String> {
        output_of(&mut self.command(words))
    }

    /// The same, for an answer in JSON.
    pub(crate) fn ask_json(&self, words: &[&str]) -> Outcome<Json> {
        Json::parse(self.ask(words)?.trim())
    }

    /// What every node that answers says of itself; nodes that do not answer are left out.
    pub(crate) fn status(&self) -> Outcome<Vec<Status>> {
        // The command fails when a node is down, yet prints the others; only what it prints matters here.
        let mut command = self.command(&["status", "--json"]);
        let output = run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let json =
            Json::parse(text.trim()).map_err(|failure| explain(&command, &output, &failure.to_string()))?;
        Ok(statuses(&json))
    }

    /// The id of the leader that a majority of the nodes that answer agree on.
    pub(crate) fn leader(&self) -> Outcome<Option<u64>> {
        let leaders: Vec<u64> = self
            .status()?
            .into_iter()
            .filter_map(|status| status.leader)
            .collect();
        let agreed = leaders.iter().copied().find(|leader| {
            let votes = leaders.iter().filter(|other| *other == leader).count();
            votes * 2 > self.endpoints.len()
        });
        Ok(agreed)
    }
}

/// The rows of `raft-node status --json` that hold an answer.
fn statuses(json: &Json) -> Vec<Status> {
    json.items()
        .iter()
        .filter_map(|row| {
            let number = |name: &str| row.field(name).and_then(Json::whole);
            Some(Status {
                id: number("id")?,
                leader: number("leader").filter(|leader| *leader != 0),
                commit: number("commit_index").or_else(|| number("commit"))?,
                applied: number("applied_index").or_else(|| number("applied"))?,
            })
        })
        .collect()
}

/// Runs a command to its end and returns what it printed on standard output.
pub(crate) fn output_of(command: &mut Command) -> Outcome<String> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(explain(command, &output, &format!("failed ({})", output.status)))
}

fn run(command: &mut Command) -> Outcome<Output> {
    let line = cargo::line(command);
    command.output().doing(format_args!("run `{line}`"))
}

fn explain(command: &Command, output: &Output, what: &str) -> Failure {
    Failure::work(format!(
        "`{}`: {what}\n{}{}",
        cargo::line(command),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_rows_are_read_and_unreachable_nodes_left_out() {
        let json = Json::parse(
            r#"[{"id":1,"leader":2,"commit_index":7,"applied_index":6,"role":"follower"},
                {"endpoint":"http://x","error":"refused"},
                {"id":2,"leader":null,"commit_index":8,"applied_index":8}]"#,
        )
        .unwrap();
        let expected = [
            Status {
                id: 1,
                leader: Some(2),
                commit: 7,
                applied: 6,
            },
            Status {
                id: 2,
                leader: None,
                commit: 8,
                applied: 8,
            },
        ];
        assert_eq!(statuses(&json), expected);
    }

    #[test]
    fn endpoints_are_shown_with_and_without_a_scheme() {
        let client = Client::new(
            Path::new("raft-node"),
            vec!["http://a:1".into(), "http://b:2".into()],
        );
        assert_eq!(client.endpoints(), "http://a:1,http://b:2");
        assert_eq!(client.addresses(), "a:1,b:2");
        assert_eq!(client.of("http://b:2".into()).addresses(), "b:2");
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = output_of(Command::new("sh").args(["-c", "echo no leader >&2; exit 4"])).unwrap_err();
        assert!(error.to_string().contains("no leader"), "{error}");
    }
}
