//! Which of five nodes can talk to which.

use std::fmt;

use raft_core::types::NodeId;

/// The ten links of five nodes.
const LINKS: [(u64, u64); 10] = [
    (1, 2),
    (1, 3),
    (1, 4),
    (1, 5),
    (2, 3),
    (2, 4),
    (2, 5),
    (3, 4),
    (3, 5),
    (4, 5),
];

/// An undirected graph over nodes 1 to 5: link `LINKS[bit]` is up if the bit is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Graph(u16);

impl Graph {
    /// Every link is up.
    pub(crate) const FULL: Graph = Graph(0x3ff);

    /// All 1,024 of them.
    pub(crate) fn all() -> impl Iterator<Item = Graph> {
        (0..1 << LINKS.len()).map(Graph)
    }

    /// Whether messages between `a` and `b` arrive.
    pub(crate) fn links(self, a: NodeId, b: NodeId) -> bool {
        let (a, b) = (a.0.min(b.0) as usize, a.0.max(b.0) as usize);
        // How many links of LINKS come before those of node `a`: 4 of node 1, 3 of node 2, and so on.
        let before = [0, 0, 4, 7, 9][a];
        self.0 & 1 << (before + b - a - 1) != 0
    }

    /// How many others `node` can talk to.
    pub(crate) fn degree(self, node: NodeId) -> usize {
        let others = (1..=5).map(NodeId).filter(|other| *other != node);
        others.filter(|other| self.links(node, *other)).count()
    }

    /// Whether three of the five nodes can all talk to each other.
    pub(crate) fn has_connected_majority(self) -> bool {
        let linked = |a, b| self.links(NodeId(a), NodeId(b));
        (1..=5)
            .any(|a| (a + 1..=5).any(|b| linked(a, b) && (b + 1..=5).any(|c| linked(a, c) && linked(b, c))))
    }
}

/// The links that are up, as `1-2 1-3 2-3`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = LINKS.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        let names: Vec<String> = up.map(|(_, (a, b))| format!("{a}-{b}")).collect();
        f.write_str(&names.join(" "))
    }
}
