//! Runs stateright over a scope, and says what it found.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::cluster::Cluster;
use super::scope::{Order, Scope};
use super::state::{Action, State};

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many states were looked at, with all that follows from them.
    pub expanded: usize,
    /// How many states followed from those, repeats included.
    pub generated: usize,
    /// How many different states of a replica there were.
    pub replica_states: usize,
    /// How many different messages there were.
    pub messages: usize,
}

/// What a check is told while it goes on.
pub(super) enum Report {
    Progress(Progress),
    Done,
}

/// Why a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every state of the scope was seen.
    Exhausted,
    /// The scope has more states than the check may look at.
    StatesMax,
    /// The scope has longer courses than the check may follow; every shorter one was followed.
    DepthMax,
    /// An invariant does not hold.
    Violated,
}

/// What became of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the property says.
    pub property: &'static str,
    /// Whether it holds in every state (for an invariant), or is shown by some state (for what must happen).
    pub holds: bool,
    /// Whether it is an invariant.
    pub is_invariant: bool,
    /// What happened up to the state that breaks the invariant, or that shows what must happen; empty without one.
    pub path: Vec<String>,
    /// What was seen of the broken invariant.
    pub broken: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The scope.
    pub scope: &'static str,
    /// How many different states were met, and checked.
    pub states: usize,
    /// How many of these were looked at with all that follows from them.
    pub expanded: usize,
    /// How many states followed from those, repeats included.
    pub generated: usize,
    /// How many steps the longest course took.
    pub depth: usize,
    /// How many different states of a replica there were.
    pub replica_states: usize,
    /// How many different messages there were.
    pub messages: usize,
    /// Why it ended.
    pub ended: Ended,
    /// What became of every property.
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    /// The invariants that do not hold, and what should have happened and did not.
    pub fn failures(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.holds)
    }
}

/// Explores a scope, until it is exhausted, a bound is met or an invariant is broken.
pub fn check(scope: Scope, report: &mut dyn FnMut(&Progress)) -> Outcome {
    let (reports, received) = channel();
    let (order, depth_max) = (scope.order, scope.depth_max);
    let cluster = Cluster::new(scope, reports.clone());
    let mut checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth_max.and_then(NonZeroUsize::new) {
        // The beginning is at depth 1 there.
        checker = checker.target_max_depth(depth.get() + 1);
    }
    let listen = |handles| listen(handles, reports, received, report);
    match order {
        Order::Breadth => conclude(checker.spawn_bfs(), listen),
        Order::Depth => conclude(checker.spawn_dfs(), listen),
    }
}

/// Tells how far the check is, until its threads end.
fn listen(
    handles: Vec<JoinHandle<()>>,
    reports: std::sync::mpsc::Sender<Report>,
    received: Receiver<Report>,
    report: &mut dyn FnMut(&Progress),
) {
    let waiting = std::thread::spawn(move || {
        let ends: Vec<_> = handles.into_iter().map(JoinHandle::join).collect();
        // The other end is this function, which waits for it.
        let _ = reports.send(Report::Done);
        ends
    });
    while let Ok(Report::Progress(progress)) = received.recv() {
        report(&progress);
    }
    for end in waiting.join().expect("joining threads does not panic") {
        if let Err(panic) = end {
            std::panic::resume_unwind(panic);
        }
    }
}

fn conclude(mut checker: impl Checker<Cluster>, listen: impl FnOnce(Vec<JoinHandle<()>>)) -> Outcome {
    listen(checker.handles());
    let cluster = checker.model();
    let (is_cut, expanded) = (cluster.is_cut(), cluster.expanded());
    cluster.replay();
    let mut discoveries = checker.discoveries();
    let verdicts: Vec<Verdict> = cluster
        .properties()
        .into_iter()
        .map(|property| {
            let is_invariant = property.expectation == Expectation::Always;
            let found = discoveries.remove(property.name);
            let broken = found
                .as_ref()
                .and_then(|path| path.last_state().violation.clone());
            Verdict {
                property: property.name,
                holds: found.is_some() != is_invariant,
                is_invariant,
                path: found.map_or_else(Vec::new, |path| describe(cluster, path.into_vec())),
                broken: broken.map(|violation| violation.1.clone()),
            }
        })
        .collect();
    let is_broken = |verdict: &Verdict| verdict.is_invariant && !verdict.holds;
    let depth_max = cluster.scope.depth_max.unwrap_or(usize::MAX);
    let depth = checker.max_depth() - 1;
    let ended = if verdicts.iter().any(is_broken) {
        Ended::Violated
    } else if is_cut {
        Ended::StatesMax
    } else if depth >= depth_max {
        Ended::DepthMax
    } else {
        Ended::Exhausted
    };
    let (replica_states, messages) =
        cluster.with_rules(|rules| (rules.atlas.replica_count(), rules.atlas.message_count()));
    Outcome {
        scope: cluster.scope.name,
        states: checker.unique_state_count(),
        expanded,
        generated: checker.state_count(),
        depth,
        replica_states,
        messages,
        ended,
        verdicts,
    }
}

fn describe(cluster: &Cluster, path: Vec<(State, Option<Action>)>) -> Vec<String> {
    let actions = path.into_iter().filter_map(|(_, action)| action);
    cluster.with_rules(|rules| actions.map(|action| action.describe(rules.atlas)).collect())
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Exhausted => "exhausted",
            Ended::StatesMax => "cut at the bound on states",
            Ended::DepthMax => "cut at the bound on steps",
            Ended::Violated => "VIOLATED",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} states ({} with all that follows), {} generated, {} steps deep, {} states of a replica, {} messages: {}",
            self.scope,
            self.states,
            self.expanded,
            self.generated,
            self.depth,
            self.replica_states,
            self.messages,
            self.ended
        )?;
        for verdict in &self.verdicts {
            let word = match (verdict.is_invariant, verdict.holds) {
                (true, true) => "holds",
                (true, false) => "BROKEN",
                (false, true) => "happens",
                (false, false) => "NEVER HAPPENS",
            };
            writeln!(f, "  {word}: {}", verdict.property)?;
            if verdict.is_invariant && !verdict.holds {
                for (number, step) in (1..).zip(&verdict.path) {
                    writeln!(f, "    {number:>3} {step}")?;
                }
                if let Some(broken) = &verdict.broken {
                    writeln!(f, "        {broken}")?;
                }
            }
        }
        Ok(())
    }
}
