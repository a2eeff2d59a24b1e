//! What can happen in a state of the group.

use raft_core::types::Term;

use super::rules::{Rules, place_of};
use super::state::{Action, ActionKind, State};

impl Rules<'_> {
    /// Everything that can happen, but for what would change nothing.
    pub(super) fn offer(&mut self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        self.offer_unbounded(state, actions);
        for place in 0..self.replica_count() {
            self.offer_at(state, place, actions);
        }
        if state.left.losses > 0 {
            self.offer_losses(state, actions);
        }
        if state.left.ticks > 0
            && let Some(clocks) = &self.scope.clocks
        {
            actions.extend(clocks.fast.iter().map(|fast| Action {
                kind: ActionKind::Tick(*fast),
                replica: 0,
                step: 0,
            }));
        }
    }

    /// What has no bound: messages arrive, writes complete.
    pub(super) fn offer_unbounded(&mut self, state: &State, actions: &mut Vec<Action>) {
        for &message in &state.network {
            let place = place_of(self.atlas.message(message).to);
            self.consider(state, place, ActionKind::Deliver(message), actions);
        }
        for place in 0..self.replica_count() {
            let (unstored, unreported) = self.atlas.view(state.replicas[place]).writes;
            if !self.scope.late_reports {
                if unstored {
                    self.consider(state, place, ActionKind::Complete, actions);
                }
                continue;
            }
            if unstored {
                self.consider(state, place, ActionKind::Store, actions);
            }
            if unreported {
                self.consider(state, place, ActionKind::Report, actions);
            }
        }
    }

    /// What somebody does with a replica, or what befalls it.
    fn offer_at(&mut self, state: &State, place: usize, actions: &mut Vec<Action>) {
        let (scope, left) = (self.scope, &state.left);
        let view = self.atlas.view(state.replicas[place]);
        let (leads, is_due) = (view.leads(), view.is_due);
        let may_campaign =
            scope.campaigners.contains(&(place as u64 + 1)) && view.term < Term(u64::from(scope.terms_max));
        let mut consider = |kind| self.consider(state, place, kind, actions);
        if may_campaign {
            consider(ActionKind::Campaign);
        }
        if is_due {
            consider(ActionKind::Wake);
        }
        if left.crashes > 0 {
            consider(ActionKind::Crash);
        }
        if left.silences > 0 {
            consider(ActionKind::Silence);
        }
        if !leads {
            return;
        }
        if left.heartbeats > 0 {
            consider(ActionKind::Heartbeat);
        }
        if left.commands > 0 {
            let command = scope.commands - left.commands;
            consider(ActionKind::Propose(command));
        }
        if left.reads > 0 {
            let began = u8::try_from(state.history.committed_count()).unwrap_or(u8::MAX);
            consider(ActionKind::Read(began));
        }
        if left.changes > 0 {
            for (number, _) in (0..).zip(&scope.changes) {
                consider(ActionKind::Change(number));
            }
        }
    }

    /// A disk loses something only while everybody else remembers everything, and has stored something: fewer than a quorum
    /// of the disks are damaged, and the group is not new any more (docs/decisions/0006).
    fn offer_losses(&mut self, state: &State, actions: &mut Vec<Action>) {
        let count = self.replica_count();
        let is_sound = |number: &u32| self.atlas.view(*number).is_sound;
        if !state.replicas[..count].iter().all(is_sound) {
            return;
        }
        for place in 0..count {
            let entries = self.atlas.view(state.replicas[place]).durable.len();
            let kinds = self.scope.loss_kinds.iter();
            for loss in kinds.flat_map(|kind| kind.losses(entries)) {
                self.consider(state, place, ActionKind::Lose(loss), actions);
            }
        }
    }

    /// Adds an action unless it changes nothing at all.
    fn consider(&mut self, state: &State, place: usize, kind: ActionKind, actions: &mut Vec<Action>) {
        let number = self.step_number(state.replicas[place], kind);
        let step = self.atlas.step(number);
        let is_news =
            |message: &u32| state.network.binary_search(message).is_err() && !self.is_dead(state, *message);
        let changes = step.to != state.replicas[place] || !step.events.is_empty();
        if changes || step.sent.iter().any(is_news) {
            actions.push(Action {
                kind,
                replica: u8::try_from(place).expect("a model has few replicas"),
                step: number,
            });
        }
    }
}
