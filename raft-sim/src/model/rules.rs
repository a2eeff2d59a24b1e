//! What can happen in a state of the group, and what follows from it.

use std::sync::Arc;

use raft_core::membership::Membership;
use raft_core::types::NodeId;

use super::atlas::{Atlas, MessageNumber, ReplicaNumber, Step, StepNumber};
use super::history::{History, Seen};
use super::mark::Marks;
use super::replica::{Nudge, Replica};
use super::scope::{Clocks, QUARTER, REPLICAS_MAX, Scope, Start};
use super::state::{Action, ActionKind, Left, State};
use super::view::View;

/// The command that is there before the first client comes.
const FIRST_COMMAND: u8 = 25;

/// A scope, with what was met in it so far.
pub(super) struct Rules<'a> {
    pub(super) scope: &'a Scope,
    pub(super) atlas: &'a mut Atlas,
}

/// Where a node stands in lists of replicas.
pub(super) fn place_of(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("a model's node ids are small")
}

impl Rules<'_> {
    pub(super) fn replica_count(&self) -> usize {
        usize::from(self.scope.replicas)
    }

    // ---- the beginning ----

    /// Where everything begins.
    pub(super) fn start(&mut self) -> State {
        let mut state = self.cold();
        if self.scope.start == Start::Cold {
            return state;
        }
        state = self.begin_with(&state, ActionKind::Campaign, |_| true);
        if self.scope.clocks.is_some() && state.violation.is_none() {
            // What a quorum answers for a read begins a lease.
            state = self.begin_with(&state, ActionKind::Read(0), |_| true);
        }
        let is_over = state.violation.is_some();
        let last = usize::from(self.scope.voters - 1);
        match self.scope.start {
            _ if is_over => return state,
            Start::Cold | Start::Led { late_messages: true } => {}
            Start::Led { late_messages: false } => state.network = Box::default(),
            Start::Behind => {
                state.network = Box::default();
                let kind = ActionKind::Propose(FIRST_COMMAND);
                state = self.begin_with(&state, kind, |action| usize::from(action.replica) != last);
                let is_for_last = |message: &MessageNumber| place_of(self.atlas.message(*message).to) == last;
                state.network = state.network.iter().copied().filter(is_for_last).collect();
            }
            Start::Undecided => {
                state.network = Box::default();
                let kind = ActionKind::Propose(FIRST_COMMAND);
                let is_answer =
                    |action: &Action| action.replica == 0 && matches!(action.kind, ActionKind::Deliver(_));
                let happens = |action: &Action| usize::from(action.replica) != last && !is_answer(action);
                state = self.begin_with(&state, kind, happens);
                state.network = Box::default();
            }
        }
        state.marks = Marks::default();
        state
    }

    /// Nobody has stored anything.
    fn cold(&mut self) -> State {
        let scope = self.scope;
        let founders = Membership::of_voters((1..=u64::from(scope.voters)).map(NodeId));
        let founders = founders.expect("a scope has voters");
        let mut replicas = [ReplicaNumber::MAX; REPLICAS_MAX];
        for (place, number) in (0..).zip(&mut replicas).take(self.replica_count()) {
            let id = NodeId(place + 1);
            let known = if founders.contains(id) {
                founders.clone()
            } else {
                Membership::empty()
            };
            *number = self
                .atlas
                .number_replica(Replica::founder(scope.config(id), known));
        }
        State {
            replicas,
            network: Box::default(),
            history: Arc::new(History::default()),
            left: Left::of(scope),
            marks: Marks::default(),
            violation: None,
        }
    }

    /// Begins with something at node 1, and lets everything happen that follows by itself and may.
    fn begin_with(&mut self, state: &State, kind: ActionKind, may: impl Fn(&Action) -> bool) -> State {
        let first = Action {
            kind,
            replica: 0,
            step: self.step_number(state.replicas[0], kind),
        };
        let mut state = State {
            left: state.left,
            ..self.apply(state, first)
        };
        let mut actions = Vec::new();
        while state.violation.is_none() {
            actions.clear();
            self.offer_unbounded(&state, &mut actions);
            let action = actions.iter().find(|action| may(action));
            let Some(action) = action else { break };
            state = self.apply(&state, *action);
        }
        state
    }

    // ---- steps of one replica ----

    /// Where what happens to a replica leads.
    pub(super) fn step_number(&mut self, from: ReplicaNumber, kind: ActionKind) -> StepNumber {
        if let Some(known) = self.atlas.known_step(from, kind) {
            return known;
        }
        let nudge = self.nudge(kind);
        self.atlas.take_step(from, kind, nudge)
    }

    /// What a replica is told when something happens to it. The set of clocks of a tick is their quarters here.
    fn nudge(&self, kind: ActionKind) -> Nudge {
        let config = || self.scope.config(NodeId(1));
        match kind {
            ActionKind::Deliver(message) => Nudge::Deliver(self.atlas.message(message).clone()),
            ActionKind::Store => Nudge::Store,
            ActionKind::Report => Nudge::Report,
            ActionKind::Complete => Nudge::Complete,
            ActionKind::Campaign => Nudge::Campaign,
            ActionKind::Propose(command) => Nudge::Propose(command),
            ActionKind::Read(committed) => Nudge::Read(committed),
            ActionKind::Change(number) => Nudge::Change(self.scope.changes[usize::from(number)].clone()),
            ActionKind::Crash => Nudge::Crash,
            ActionKind::Lose(loss) => Nudge::Lose(loss),
            ActionKind::Silence => Nudge::Pass(config().election_timeout),
            ActionKind::Heartbeat => Nudge::Pass(config().heartbeat_interval),
            ActionKind::Tick(quarters) => Nudge::Drift(QUARTER * u32::from(quarters)),
            ActionKind::Wake => Nudge::Wake,
        }
    }

    // ---- what follows ----

    /// The state after an action.
    pub(super) fn apply(&mut self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        next.marks = Marks::default();
        next.left.spend(action.kind);
        if let ActionKind::Tick(fast) = action.kind {
            self.tick(&mut next, fast);
            self.judge(state, &mut next, 0, None);
            return next;
        }
        let place = usize::from(action.replica);
        let step = self.atlas.step(action.step);
        next.replicas[place] = step.to;
        next.network = self.send(&next, &step.sent);
        next.marks.union(step.marks);
        self.judge(state, &mut next, place, Some(step));
        next
    }

    /// Takes a step into the history, and checks what must hold after it.
    fn judge(&self, before: &State, next: &mut State, place: usize, step: Option<&Step>) {
        let numbers = &next.replicas[..self.replica_count()];
        let all: Vec<&View> = numbers.iter().map(|number| self.atlas.view(*number)).collect();
        let seen = Seen {
            before: self.atlas.view(before.replicas[place]),
            after: all[place],
            events: step.map_or(&[], |step| &step.events),
            all: &all,
        };
        let mut history = (*before.history).clone();
        match history.record(&seen) {
            Ok(marks) => next.marks.union(marks),
            Err(violation) => next.violation = Some(Arc::new(violation)),
        }
        if history != *before.history {
            next.history = Arc::new(history);
        }
    }

    /// The network with what a step sent, and without what can change nothing any more.
    fn send(&self, next: &State, sent: &[MessageNumber]) -> Box<[MessageNumber]> {
        let mut network = Vec::with_capacity(next.network.len() + sent.len());
        network.extend_from_slice(&next.network);
        network.extend(
            sent.iter()
                .filter(|message| next.network.binary_search(message).is_err()),
        );
        network.retain(|message| !self.is_dead(next, *message));
        network.sort_unstable();
        network.into_boxed_slice()
    }

    /// Whether a message of the network can change nothing any more.
    pub(super) fn is_dead(&self, state: &State, message: MessageNumber) -> bool {
        let place = place_of(self.atlas.message(message).to);
        // A disk that is lost takes its replica back to an earlier term.
        place >= self.replica_count()
            || (state.left.losses == 0 && self.atlas.is_dead(message, state.replicas[place]))
    }

    fn tick(&mut self, next: &mut State, fast: u8) {
        for place in 0..self.replica_count() {
            let quarters = self.quarters(place, fast);
            let step = self.step_number(next.replicas[place], ActionKind::Tick(quarters));
            next.replicas[place] = self.atlas.step(step).to;
        }
    }

    /// By how much the clock of a replica goes on in a tick.
    fn quarters(&self, place: usize, fast: u8) -> u8 {
        let slow = self
            .scope
            .clocks
            .as_ref()
            .map_or(0, |clocks| clocks.slow_quarters);
        if fast & (1 << place) == 0 {
            slow
        } else {
            Clocks::FAST_QUARTERS
        }
    }
}
