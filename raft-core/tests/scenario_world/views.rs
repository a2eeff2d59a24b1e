//! The commands that only look.

use raft_core::explain::Question;
use raft_core::types::{Index, NodeId};

use super::arguments::Arguments;
use super::explanations;
use super::render;
use super::world::{Kind, World};

impl World {
    /// Runs a command that only looks; says whether there is one of this name.
    pub(crate) fn look(&mut self, arguments: &Arguments) -> bool {
        let lines = match arguments.name.as_str() {
            "network" => self.view_network(),
            "timer" => vec![self.view_timer(arguments.node(0))],
            "why" => self.view_why(arguments),
            name @ ("status" | "log" | "progress" | "disk" | "state") => {
                let ids: Vec<NodeId> = if arguments.words.is_empty() {
                    self.nodes.keys().copied().collect()
                } else {
                    (0..arguments.words.len())
                        .map(|position| arguments.node(position))
                        .collect()
                };
                ids.into_iter().flat_map(|id| self.view(name, id)).collect()
            }
            _ => return false,
        };
        for line in lines {
            self.say(Kind::Always, line);
        }
        true
    }

    fn view(&mut self, what: &str, id: NodeId) -> Vec<String> {
        let node = self.node(id);
        let status = node.raft.as_ref().map(raft_core::raft::Raft::status);
        match (what, status) {
            ("disk", _) => {
                let mut lines = vec![format!(
                    "n{id} disk: term={} vote={} commit={} snapshot={} log: {}",
                    node.disk.hard_state.term,
                    render::vote(node.disk.hard_state.vote),
                    node.disk.hard_state.commit,
                    node.disk.snapshot.last,
                    render::log(node.disk.purged, &node.disk.entries, node.disk.hard_state.commit)
                )];
                lines.extend(
                    node.writes
                        .iter()
                        .map(|write| format!("waiting: {}", render::write(write))),
                );
                lines
            }
            ("state", _) => {
                let applied: Vec<String> = node.applied.iter().map(ToString::to_string).collect();
                vec![format!("n{id} applied: {}", applied.join(" "))]
            }
            (_, None) => vec![format!("n{id} is down")],
            ("log", Some(status)) => vec![format!(
                "n{id} log: {}",
                render::log(node.issued.purged, &node.issued.entries, status.commit_index)
            )],
            ("progress", Some(status)) => render::progress(&status),
            (_, Some(status)) => vec![render::status(&status)],
        }
    }

    /// What a replica answers to a question about itself.
    fn view_why(&mut self, arguments: &Arguments) -> Vec<String> {
        let (id, now) = (arguments.node(0), self.now());
        let question = match arguments.words.get(1).map(String::as_str) {
            None => Question::WhatIsWrong,
            Some("no-leader") => Question::NoLeader,
            Some("leader-changed") => Question::LeaderChange,
            Some("not-committed") => Question::NotCommitted(Index(arguments.count(2, 0))),
            Some("not-applied") => Question::NotApplied(Index(arguments.count(2, 0))),
            Some("lags") => Question::Lagging(arguments.node(2)),
            Some("refused") => {
                let last = self.last_refusal.expect("something was refused");
                Question::Refused(last)
            }
            Some(other) => panic!("`{other}` is no question"),
        };
        match &self.node(id).raft {
            Some(raft) => explanations::explanation(&raft.explain(now, question)),
            None => vec![format!("n{id} is down")],
        }
    }

    fn view_network(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .network
            .iter()
            .map(|message| format!("n{} → n{} {}", message.from, message.to, render::body(message)))
            .collect();
        for (header, _) in &self.streams {
            lines.push(format!(
                "n{} ⇒ n{} snapshot {}",
                header.from, header.to, header.meta.last
            ));
        }
        if lines.is_empty() {
            lines.push("nothing is under way".to_owned());
        }
        lines
    }

    /// Says whether the replica's next deadline moved since this was last asked: times themselves are random.
    fn view_timer(&mut self, id: NodeId) -> String {
        let node = self.node(id);
        let deadline = node.raft.as_ref().map(raft_core::raft::Raft::next_deadline);
        let text = match (node.timer, deadline) {
            (_, None) => "down",
            (None, _) => "running",
            (before, after) if before == after => "not restarted",
            _ => "restarted",
        };
        node.timer = deadline;
        format!("n{id} timer: {text}")
    }
}
