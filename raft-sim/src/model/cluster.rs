//! The model as stateright sees it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use stateright::{Model, Property};

use super::atlas::Atlas;
use super::check::{Progress, Report};
use super::mark::Mark;
use super::rules::Rules;
use super::scope::Scope;
use super::state::{Action, State};

/// How often the progress of a check is told, in states.
const PROGRESS_STATES: usize = 50_000;

/// The invariants, by number, with what they say. 0 is no invariant of the protocol: it stands for a replica that panicked.
const INVARIANTS: [(u8, &str); 16] = [
    (0, "no replica panics"),
    (1, "I1: at most one leader per term"),
    (2, "I2: the vote of a term is written once"),
    (
        3,
        "I3: the durable term never falls, and no message is ahead of it",
    ),
    (4, "I4: a leader never overwrites its own log"),
    (5, "I5: logs that share an entry are equal up to it"),
    (6, "I6: a new leader holds every committed entry"),
    (
        7,
        "I7: what is committed is of the term, and on a quorum of disks",
    ),
    (8, "I8: commit never falls, and what is committed stays"),
    (11, "I11: what is promised is durable"),
    (12, "I12: a log has no gap, and is not below commit"),
    (16, "I16: a read sees what was committed before it began"),
    (18, "I18: at most one valid lease, and no read by it is stale"),
    (19, "I19: one uncommitted configuration, and quorums intersect"),
    (20, "I20: a removed leader steps down"),
    (23, "I23: a suspect neither votes nor counts"),
];

/// A group within a scope.
pub(super) struct Cluster {
    pub(super) scope: Scope,
    pub(super) atlas: Mutex<Atlas>,
    expanded: AtomicUsize,
    generated: AtomicUsize,
    /// After so many states nothing follows from one any more.
    expanded_max: AtomicUsize,
    reports: Sender<Report>,
}

impl Cluster {
    pub(super) fn new(scope: Scope, reports: Sender<Report>) -> Cluster {
        Cluster {
            expanded_max: AtomicUsize::new(scope.states_max),
            scope,
            atlas: Mutex::default(),
            expanded: AtomicUsize::new(0),
            generated: AtomicUsize::new(0),
            reports,
        }
    }

    pub(super) fn with_rules<T>(&self, act: impl FnOnce(&mut Rules<'_>) -> T) -> T {
        // A panic of a replica is caught before it gets here; one of the model ends the check.
        let mut atlas = self.atlas.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "mutants")]
        let _chosen = self.scope.mutant.map(Chosen::new);
        act(&mut Rules {
            scope: &self.scope,
            atlas: &mut atlas,
        })
    }

    /// How many states were looked at, with all that follows from them.
    pub(super) fn expanded(&self) -> usize {
        self.expanded.load(Ordering::Relaxed)
    }

    /// Whether the bound on states ended the search.
    pub(super) fn is_cut(&self) -> bool {
        self.expanded() >= self.expanded_max.load(Ordering::Relaxed)
    }

    /// From now on everything is shown again, for paths to be told.
    pub(super) fn replay(&self) {
        self.expanded_max.store(usize::MAX, Ordering::Relaxed);
    }

    fn count_expanded(&self) -> bool {
        if self.is_cut() {
            return false;
        }
        let expanded = self.expanded.fetch_add(1, Ordering::Relaxed) + 1;
        if expanded.is_multiple_of(PROGRESS_STATES) {
            let progress = self.with_rules(|rules| Progress {
                expanded,
                generated: self.generated.load(Ordering::Relaxed),
                replica_states: rules.atlas.replica_count(),
                messages: rules.atlas.message_count(),
            });
            // Whoever does not listen does not want to know.
            let _ = self.reports.send(Report::Progress(progress));
        }
        true
    }
}

/// A mutant of the core that is on in this thread until this is dropped.
#[cfg(feature = "mutants")]
struct Chosen;

#[cfg(feature = "mutants")]
impl Chosen {
    fn new(mutant: raft_core::mutants::Mutant) -> Chosen {
        raft_core::mutants::choose(Some(mutant));
        Chosen
    }
}

#[cfg(feature = "mutants")]
impl Drop for Chosen {
    fn drop(&mut self) {
        raft_core::mutants::choose(None);
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.with_rules(|rules| rules.start())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.count_expanded() {
            self.with_rules(|rules| rules.offer(state, actions));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.generated.fetch_add(1, Ordering::Relaxed);
        Some(self.with_rules(|rules| rules.apply(state, action)))
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        let holding = INVARIANTS
            .iter()
            .map(|(number, name)| Property::always(name, HOLDS[usize::from(*number)]));
        let expected = self.scope.expected.iter();
        let shown = expected.map(|mark| Property::sometimes(mark.name(), SHOWN[*mark as usize]));
        holding.chain(shown).collect()
    }
}

type Condition = fn(&Cluster, &State) -> bool;

/// Whether the step to a state kept the invariant of a number.
fn holds<const INVARIANT: u8>(_: &Cluster, state: &State) -> bool {
    state
        .violation
        .as_ref()
        .is_none_or(|violation| violation.0 != INVARIANT)
}

fn is_shown<const MARK: u8>(_: &Cluster, state: &State) -> bool {
    state.marks.has(MARK)
}

/// One condition for each number, since a property cannot carry one.
const HOLDS: [Condition; 24] = [
    holds::<0>,
    holds::<1>,
    holds::<2>,
    holds::<3>,
    holds::<4>,
    holds::<5>,
    holds::<6>,
    holds::<7>,
    holds::<8>,
    holds::<9>,
    holds::<10>,
    holds::<11>,
    holds::<12>,
    holds::<13>,
    holds::<14>,
    holds::<15>,
    holds::<16>,
    holds::<17>,
    holds::<18>,
    holds::<19>,
    holds::<20>,
    holds::<21>,
    holds::<22>,
    holds::<23>,
];

const SHOWN: [Condition; Mark::ALL.len()] = [
    is_shown::<0>,
    is_shown::<1>,
    is_shown::<2>,
    is_shown::<3>,
    is_shown::<4>,
    is_shown::<5>,
    is_shown::<6>,
    is_shown::<7>,
    is_shown::<8>,
    is_shown::<9>,
    is_shown::<10>,
    is_shown::<11>,
    is_shown::<12>,
];
