//! R36: under a partial partition a connected majority elects a leader within ten election timeouts, and keeps it.
//!
//! Every graph of links over five nodes in which some three are fully connected is imposed on five real replicas: on a
//! cluster that has no leader yet, on one whose logs diverge, and on a healthy one, with each node as the leader that
//! holds entries which are not everywhere. What the others can or cannot hear must not matter: a node outside of the
//! majority may see a leader that the majority does not see, or none, or hold a longer log. Leases and priorities, which
//! both keep replicas from asking for votes, are on with half of the seeds each.
//!
//! A failure names the case; `PARTIAL_PARTITION_SEEDS=<count>` runs more seeds for each.

#![allow(
    clippy::print_stdout,
    reason = "how long the slowest election took is worth reading"
)]

mod cluster;
mod graph;

use std::fmt;
use std::time::Duration;

use cluster::{Cluster, ELECTION_TIMEOUT, Leadership, Past, Random};
use graph::Graph;
use raft_core::types::{NodeId, Time};

/// For how long a leader must go on leading and committing.
const LASTING: Duration = ELECTION_TIMEOUT.saturating_mul(10);

/// What the replicas are doing when the graph is imposed on them.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// They have just been started, with empty logs.
    Fresh,
    /// They have just been started, each with a tail of its own behind a common log.
    Diverged,
    /// They follow this leader, which has appended entries that not all of its followers have.
    Led(u64),
}

/// One run.
struct Case {
    start: Start,
    graph: Graph,
    seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, links {}, seed {}", self.start, self.graph, self.seed)
    }
}

impl Case {
    /// Runs it. Returns how long after the graph was imposed the leader that lasts had committed its first command.
    fn run(&self) -> Result<Duration, String> {
        let mut cluster = self.begin();
        let imposed = cluster.now;
        if let Start::Led(old_leader) = self.start {
            self.begin_partition(&mut cluster, NodeId(old_leader))?;
        }
        let mut lasting: Option<(Leadership, Time)> = None;
        while cluster.now < imposed + cluster.habits.patience() + LASTING {
            let proposed = cluster.now;
            cluster.propose_to_all_leaders();
            cluster.run_until(proposed + ELECTION_TIMEOUT / 2);
            let working = working_leader(&cluster, proposed);
            lasting = match (lasting, working) {
                (Some(known), Some((leadership, _))) if known.0 == leadership => Some(known),
                (_, working) => working,
            };
            match lasting {
                Some((_, since)) if cluster.now >= since + LASTING => return Ok(since.since(imposed)),
                _ => {}
            }
        }
        match lasting {
            Some((leadership, since)) => Err(format!("{leadership:?} only since {:?}", since.since(imposed))),
            None => Err("nobody leads and commits".to_string()),
        }
    }

    /// The cluster right before the graph is imposed on it.
    fn begin(&self) -> Cluster {
        let mut random = Random(self.seed);
        match self.start {
            Start::Fresh => Cluster::new(self.seed, self.graph, &Default::default()),
            Start::Diverged => Cluster::new(self.seed, self.graph, &diverged(&mut random)),
            Start::Led(old_leader) => {
                let mut cluster = Cluster::new(self.seed, Graph::FULL, &Default::default());
                cluster.campaign(NodeId(old_leader));
                let moment = Duration::from_millis(500 + random.below(500));
                cluster.run_until(cluster.now + moment);
                let leaders = cluster.leaderships();
                assert!(
                    matches!(leaders[..], [only] if only.leader == NodeId(old_leader)),
                    "a healthy cluster elects whoever campaigns first"
                );
                cluster
            }
        }
    }

    /// Imposes the graph on a cluster that `old_leader` leads. With every second seed that leader has just appended
    /// entries, which reach some; with the others the clients are silent for a while, so that nobody's log tells the
    /// old leader's followers from the rest, and only its heartbeats do (R22).
    fn begin_partition(&self, cluster: &mut Cluster, old_leader: NodeId) -> Result<(), String> {
        let before = cluster.leaderships();
        cluster.impose(self.graph);
        if (self.seed + old_leader.0).is_multiple_of(2) {
            cluster.propose_lossily(old_leader, 3);
        } else {
            cluster.run_until(cluster.now + ELECTION_TIMEOUT * 3);
            if self.graph.degree(old_leader) >= 2 && cluster.leaderships() != before {
                return Err("a leader that hears a quorum was replaced".to_string());
            }
        }
        Ok(())
    }
}

/// Who still leads, has committed what was proposed to it at `proposed`, and when. An old leader that nobody hears may
/// not have noticed, and commits nothing.
fn working_leader(cluster: &Cluster, proposed: Time) -> Option<(Leadership, Time)> {
    let newest_first = cluster.taken.iter().rev();
    let (leadership, committed) = newest_first
        .take_while(|taken| taken.at >= proposed)
        .filter_map(|taken| Some((taken.leadership(), taken.committed?)))
        .max()?;
    cluster
        .leaderships()
        .contains(&leadership)
        .then_some((leadership, committed))
}

/// Logs that agree up to some point; each may go on with entries of a term that only this node has led. Two nodes may
/// have missed the newest terms, but not more: each term had a leader, so a majority has seen it. All were there when the
/// group began: one that never was must catch up before it votes (R68).
fn diverged(random: &mut Random) -> [Past; 5] {
    let common = vec![1; random.below(3) as usize];
    let behind = [1 + random.below(5), 1 + random.below(5)];
    std::array::from_fn(|position| {
        let id = position as u64 + 1;
        let mut log = common.clone();
        log.extend(vec![id + 1; random.below(3) as usize]);
        if behind.contains(&id) {
            let term = log.last().copied().unwrap_or(1);
            let vote = (term == id + 1).then_some(id);
            Past { term, vote, log }
        } else {
            let (term, vote) = (6, Some(5));
            Past { term, vote, log }
        }
    })
}

/// Runs every graph with a connected majority from the start that belongs to the number of the run.
fn every_graph(start: impl Fn(u64) -> Start, change: impl Fn(Graph, &mut Random) -> Graph) {
    let seeds: u64 =
        std::env::var("PARTIAL_PARTITION_SEEDS").map_or(1, |count| count.parse().expect("a count"));
    let graphs: Vec<Graph> = Graph::all()
        .filter(|graph| graph.has_connected_majority())
        .collect();
    assert_eq!(
        graphs.len(),
        636,
        "the graphs on five nodes that are not free of triangles"
    );
    let (mut slowest, mut failures) = (Duration::ZERO, Vec::new());
    for (number, graph) in (0..).zip(&graphs) {
        for round in 0..seeds {
            let seed = number + round * 1_023;
            let case = Case {
                start: start(seed),
                graph: change(*graph, &mut Random(seed)),
                seed,
            };
            match case.run() {
                Ok(time) => slowest = slowest.max(time),
                Err(why) => failures.push(format!("{case}: {why}")),
            }
        }
    }
    println!(
        "the slowest of {} runs took {slowest:?}",
        graphs.len() as u64 * seeds
    );
    assert!(
        failures.is_empty(),
        "{} runs failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The links of the graph and no others.
fn as_it_is(graph: Graph, _: &mut Random) -> Graph {
    graph
}

/// R36: replicas that have just started and see each other only in part.
#[test]
fn a_fresh_cluster_elects() {
    every_graph(|_| Start::Fresh, as_it_is);
}

/// R36, R37: the newest log may be outside of the majority, or anywhere in it.
#[test]
fn replicas_whose_logs_diverge_elect() {
    every_graph(|_| Start::Diverged, as_it_is);
}

/// R22, R36: the links of a healthy cluster fail, and its leader is one of the nodes on whatever is left.
#[test]
fn a_cluster_led_by_node_1_keeps_or_replaces_it() {
    every_graph(|_| Start::Led(1), as_it_is);
}

/// R22, R36: the links of a healthy cluster fail, and its leader is one of the nodes on whatever is left.
#[test]
fn a_cluster_led_by_node_2_keeps_or_replaces_it() {
    every_graph(|_| Start::Led(2), as_it_is);
}

/// R22, R36: the links of a healthy cluster fail, and its leader is one of the nodes on whatever is left.
#[test]
fn a_cluster_led_by_node_3_keeps_or_replaces_it() {
    every_graph(|_| Start::Led(3), as_it_is);
}

/// R22, R36: the links of a healthy cluster fail, and its leader is one of the nodes on whatever is left.
#[test]
fn a_cluster_led_by_node_4_keeps_or_replaces_it() {
    every_graph(|_| Start::Led(4), as_it_is);
}

/// R22, R36: the links of a healthy cluster fail, and its leader is one of the nodes on whatever is left.
#[test]
fn a_cluster_led_by_node_5_keeps_or_replaces_it() {
    every_graph(|_| Start::Led(5), as_it_is);
}

/// R36: beside the links of the graph there are some that carry messages one way only. Who is heard and does not hear, or
/// hears and is not heard, neither leads nor keeps others from it.
#[test]
fn links_of_one_direction_change_nothing() {
    let start = |seed| match seed % 7 {
        0 => Start::Fresh,
        1 => Start::Diverged,
        leader => Start::Led(leader - 1),
    };
    every_graph(start, Graph::with_one_way_links);
}
