//! Which of five nodes can talk to which.

use std::fmt;

use raft_core::types::NodeId;

use crate::cluster::Random;

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

/// A graph over nodes 1 to 5. If the bit is set, link `LINKS[bit]` carries messages, to the higher id if in `up`, to the
/// lower id if in `down`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Graph {
    up: u16,
    down: u16,
}

impl Graph {
    /// Every link is up.
    pub(crate) const FULL: Graph = Graph {
        up: 0x3ff,
        down: 0x3ff,
    };

    /// All 1,024 with links that carry messages both ways or not at all.
    pub(crate) fn all() -> impl Iterator<Item = Graph> {
        (0..1 << LINKS.len()).map(|mask| Graph { up: mask, down: mask })
    }

    /// The same links, and of the others some that carry messages one way.
    pub(crate) fn with_one_way_links(self, random: &mut Random) -> Graph {
        let mut graph = self;
        for bit in 0..LINKS.len() {
            match random.below(3) {
                0 => graph.up |= 1 << bit,
                1 if graph.up & 1 << bit == 0 => graph.down |= 1 << bit,
                _ => {}
            }
        }
        graph
    }

    /// Whether a message of `from` arrives at `to`.
    pub(crate) fn carries(self, from: NodeId, to: NodeId) -> bool {
        let links = if from < to { self.up } else { self.down };
        let (low, high) = (from.min(to).0 as usize, from.max(to).0 as usize);
        // How many links of LINKS come before those of node `low`: 4 of node 1, 3 of node 2, and so on.
        let before = [0, 0, 4, 7, 9][low];
        links & 1 << (before + high - low - 1) != 0
    }

    /// Whether `a` and `b` hear each other.
    fn links(self, a: NodeId, b: NodeId) -> bool {
        self.carries(a, b) && self.carries(b, a)
    }

    /// How many others `node` can talk with.
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

/// The links that are up, as `1-2 1-3 2→3`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Vec::new();
        for (a, b) in LINKS {
            match (
                self.carries(NodeId(a), NodeId(b)),
                self.carries(NodeId(b), NodeId(a)),
            ) {
                (true, true) => names.push(format!("{a}-{b}")),
                (true, false) => names.push(format!("{a}→{b}")),
                (false, true) => names.push(format!("{b}→{a}")),
                (false, false) => {}
            }
        }
        f.write_str(&names.join(" "))
    }
}
