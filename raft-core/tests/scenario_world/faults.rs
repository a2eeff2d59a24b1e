//! The commands that break or mend something: links, disks, state machines, nodes.

use raft_core::message::Message;
use raft_core::types::NodeId;

use super::arguments::{self, Arguments};
use super::node::ReadMode;
use super::world::World;

impl World {
    /// Runs a command that breaks or mends something; says whether there is one of this name.
    #[expect(clippy::too_many_lines, reason = "a dispatch, one arm for each command")]
    pub(crate) fn fault(&mut self, arguments: &Arguments) -> bool {
        match arguments.name.as_str() {
            "drop" => {
                let (from, to) = arguments.link(0);
                let mut left = arguments.count(1, u64::MAX);
                self.network.retain(|message| {
                    let drop = left > 0 && (message.from, message.to) == (from, to);
                    left -= u64::from(drop);
                    !drop
                });
            }
            "duplicate" => {
                let (from, to) = arguments.link(0);
                let copies: Vec<_> = self
                    .network
                    .iter()
                    .filter(|message| (message.from, message.to) == (from, to))
                    .cloned()
                    .collect();
                self.network.extend(copies);
            }
            "reorder" => self.reorder(arguments.link(0)),
            "overtake" => self.overtake(arguments.link(0)),
            "cut" => self.cut(arguments),
            "isolate" => {
                let id = arguments.node(0);
                let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
                self.cut
                    .extend(others.iter().flat_map(|&other| [(id, other), (other, id)]));
                self.lose_cut();
            }
            "heal" => self.cut.clear(),
            "crash" => {
                let id = arguments.node(0);
                self.node(id).crash();
                self.history.stopped(id);
                self.proposals.retain(|_, proposal| proposal.0 != id);
            }
            "restart" => {
                let id = arguments.node(0);
                let kept = self.nodes[&id].applied.len();
                let applied = arguments.number("applied", kept as u64) as usize;
                self.node(id).applied.truncate(applied);
                self.start(id);
            }
            "stall" => self.node(arguments.node(0)).disk_stalled = true,
            "stall-apply" => self.node(arguments.node(0)).apply_stalled = true,
            "unstall" => {
                let id = arguments.node(0);
                while !self.node(id).writes.is_empty() {
                    self.complete_write(id, true);
                    self.work(id);
                }
                self.node(id).disk_stalled = false;
            }
            "unstall-apply" => {
                self.node(arguments.node(0)).apply_stalled = false;
                self.work(arguments.node(0));
            }
            "hold-completions" => self.node(arguments.node(0)).completions_held = true,
            "report-completions" => {
                let node = self.node(arguments.node(0));
                node.completions_held = false;
                node.inputs.extend(std::mem::take(&mut node.completions));
                self.work(arguments.node(0));
            }
            "log-reads" => {
                let id = arguments.node(0);
                self.node(id).read_mode = match arguments.word(1) {
                    "answer" => ReadMode::Answer,
                    "fail" => ReadMode::Fail,
                    "hold" => ReadMode::Hold,
                    other => panic!("`{other}` is none of answer, fail, hold"),
                };
                self.answer_reads(id);
                self.work(id);
            }
            _ => return false,
        }
        true
    }

    /// The messages of a link change places: the youngest comes first.
    fn reorder(&mut self, link: (NodeId, NodeId)) {
        let on_link = |at: &usize| (self.network[*at].from, self.network[*at].to) == link;
        let places: Vec<usize> = (0..self.network.len()).filter(on_link).collect();
        for swap in 0..places.len() / 2 {
            self.network.swap(places[swap], places[places.len() - 1 - swap]);
        }
    }

    /// The urgent messages of a link overtake the others; in each lane they keep their order.
    fn overtake(&mut self, link: (NodeId, NodeId)) {
        let on_link = |message: &Message| (message.from, message.to) == link;
        let places: Vec<usize> = (0..self.network.len())
            .filter(|&at| on_link(&self.network[at]))
            .collect();
        let mut messages: Vec<Message> = places.iter().map(|&at| self.network[at].clone()).collect();
        messages.sort_by_key(Message::lane);
        for (place, message) in places.into_iter().zip(messages) {
            self.network[place] = message;
        }
    }

    /// `cut 1 2`: both directions. `cut 1->2`: one.
    fn cut(&mut self, arguments: &Arguments) {
        match arguments::link(arguments.word(0)) {
            Some(link) => drop(self.cut.insert(link)),
            None => {
                let (a, b) = (arguments.node(0), arguments.node(1));
                self.cut.extend([(a, b), (b, a)]);
            }
        }
        self.lose_cut();
    }

    fn lose_cut(&mut self) {
        let cut = &self.cut;
        self.network
            .retain(|message| !cut.contains(&(message.from, message.to)));
    }
}
