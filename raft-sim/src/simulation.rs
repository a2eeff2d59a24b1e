//! The front door: one run from one seed.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use raft_core::traits::StateMachine;
use raft_core::types::GroupId;
use thiserror::Error;

use crate::floors;
use crate::plan::Plan;
use crate::requests::Requests;
use crate::swarm::{Size, Swarm};
use crate::tally::Tally;
use crate::trace::{Recorder, Trace};
use crate::violation::Violation;
use crate::workload::{Observed, Workload};
use crate::world::{FIRST_GROUP, World};

/// How long faults happen if nothing else is said: one minute of simulated time.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(60);

/// One run of a group, from its seed.
///
/// ```
/// use raft_sim::simulation::Simulation;
/// use raft_sim::swarm::Swarm;
/// use raft_sim::workload::{KeyValue, KeyValueWorkload};
///
/// let report = Simulation::new(7)
///     .nodes(3)
///     .seconds(10)
///     .faults(Swarm::default())
///     .run(KeyValue::new, KeyValueWorkload::new)?;
/// assert!(report.tally.acknowledged > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    size: Size,
    duration: Duration,
    faults: Swarm,
}

/// What a run without a violation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened, and how often.
    pub tally: Tally,
    /// A hash of everything that happened: equal for equal seeds, in every build (I28).
    pub trace_hash: u64,
}

/// A run found something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("seed {:#x}: {violation}", plan.seed)]
pub struct Failure {
    /// What does not hold.
    pub violation: Violation,
    /// The run: it shows the same again.
    pub plan: Box<Plan>,
}

/// A run that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What it did, or what it found.
    pub result: Result<Report, Failure>,
    /// What happened, with the violation at its end.
    pub trace: Trace,
}

impl Simulation {
    /// A run from this seed, of a size that the seed decides, with everything that can go wrong.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            size: Size::default(),
            duration: DEFAULT_DURATION,
            faults: Swarm::default(),
        }
    }

    /// How many voters each group begins with, from 1 to 7.
    #[must_use]
    pub fn nodes(mut self, voters: u64) -> Simulation {
        self.size.voters = Some(voters.clamp(1, 7));
        self
    }

    /// How many groups share the machines at the beginning, from 1 to 8. If there are several, more are created while the run
    /// lasts, some move, and some are destroyed.
    #[must_use]
    pub fn groups(mut self, groups: u64) -> Simulation {
        self.size.groups = Some(groups.clamp(1, 8));
        self
    }

    /// How long faults happen, in seconds of simulated time.
    #[must_use]
    pub fn seconds(mut self, seconds: u64) -> Simulation {
        self.duration = Duration::from_secs(seconds);
        self
    }

    /// What may go wrong.
    #[must_use]
    pub fn faults(mut self, faults: Swarm) -> Simulation {
        self.faults = faults;
        self
    }

    /// The run before it happens.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.faults.draw(self.seed, self.size, self.duration)
    }

    /// Runs it with a state machine and a workload for it.
    pub fn run<W, M>(
        &self,
        state_machine: impl FnMut() -> M,
        workload: impl FnMut() -> W,
    ) -> Result<Report, Failure>
    where
        W: Workload<StateMachine = M>,
        M: StateMachine,
    {
        run_plan(&self.plan(), state_machine, workload)
    }

    /// Runs it and records its first group: the last `window` before its end, or all of it. It does what it does without being
    /// recorded.
    pub fn trace<W, M>(
        &self,
        window: Option<Duration>,
        state_machine: impl FnMut() -> M,
        workload: impl FnMut() -> W,
    ) -> Traced
    where
        W: Workload<StateMachine = M>,
        M: StateMachine,
    {
        trace_plan(&self.plan(), FIRST_GROUP, window, state_machine, workload)
    }
}

/// Runs a plan, which may have been drawn earlier and made smaller since.
pub fn run_plan<W, M>(
    plan: &Plan,
    state_machine: impl FnMut() -> M,
    workload: impl FnMut() -> W,
) -> Result<Report, Failure>
where
    W: Workload<StateMachine = M>,
    M: StateMachine,
{
    run_watched(plan, None, state_machine, workload).0
}

/// Runs a plan and records one of its groups, which count up from 1: the last `window` before its end, or all of it. Nothing is
/// recorded of a group that never existed.
pub fn trace_plan<W, M>(
    plan: &Plan,
    group: GroupId,
    window: Option<Duration>,
    state_machine: impl FnMut() -> M,
    workload: impl FnMut() -> W,
) -> Traced
where
    W: Workload<StateMachine = M>,
    M: StateMachine,
{
    let recorder = Box::new(Recorder::new(window));
    let (result, trace) = run_watched(plan, Some((group, recorder)), state_machine, workload);
    let trace = trace.expect("a run that is recorded has a trace");
    Traced { result, trace }
}

fn run_watched<W, M>(
    plan: &Plan,
    recorder: Option<(GroupId, Box<Recorder>)>,
    mut state_machine: impl FnMut() -> M,
    mut workload: impl FnMut() -> W,
) -> (Result<Report, Failure>, Option<Trace>)
where
    W: Workload<StateMachine = M>,
    M: StateMachine,
{
    let mut workloads = || Box::new(workload()) as Box<dyn Requests + '_>;
    let mut state_machines = || {
        let (observed, sightings) = Observed::<W>::new(state_machine());
        (Box::new(observed) as Box<dyn StateMachine>, sightings)
    };
    let mut world = World::new(plan, &mut state_machines, &mut workloads, recorder);
    let run = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let at_nanos = world.now.0;
    let ended = run.unwrap_or_else(|cause| {
        Err(Violation {
            invariant: "panic".to_owned(),
            statement: "nothing panics".to_owned(),
            seen: panic_text(cause.as_ref()),
            group: FIRST_GROUP.0,
            at_nanos,
        })
    });
    let result = match ended {
        Ok(()) => report(&world, plan),
        Err(violation) => Err(Failure {
            violation,
            plan: Box::new(plan.clone()),
        }),
    };
    let now = world.now;
    let recorder = world.take_recorder();
    let found = result.as_ref().err().map(|failure| failure.violation.clone());
    let trace = recorder.map(|recorder| recorder.finish(plan, now, found));
    (result, trace)
}

/// What a run did, if that was anything.
fn report(world: &World<'_>, plan: &Plan) -> Result<Report, Failure> {
    let tally = world.tally();
    let missed: Vec<String> = floors::of_run(&tally).iter().map(ToString::to_string).collect();
    if missed.is_empty() {
        let trace_hash = world.hash();
        return Ok(Report { tally, trace_hash });
    }
    let violation = Violation {
        invariant: "vacuity".to_owned(),
        statement: "a run does enough to find something".to_owned(),
        seen: missed.join("; "),
        group: FIRST_GROUP.0,
        at_nanos: world.now.0,
    };
    let plan = Box::new(plan.clone());
    Err(Failure { violation, plan })
}

fn panic_text(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text").to_owned()
}
