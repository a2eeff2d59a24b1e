//! What must always hold, one file each. Every invariant sees everything that happens, in order, and speaks up at once.
//!
//! Where two of them could notice the same mistake, each does so by its own means: I5 compares logs, I7 disks, I16 answers.

mod decisions;
mod i01_leader_per_term;
mod i02_vote_once;
mod i03_durable_term;
mod i04_leader_append_only;
mod i05_log_matching;
mod i06_leader_completeness;
mod i07_commit_quorum;
mod i08_commit_immutable;
mod i09_apply_in_order;
mod i10_equal_states;
mod i11_durable_before_told;
mod i12_marks_in_order;
mod i13_nothing_lost;
mod i14_nothing_invented;
mod i15_sessions;
mod i16_fresh_reads;
mod i17_read_rounds;
mod i18_leases;
mod i19_configurations;
mod i20_removed_leaders;
mod i21_snapshots;
mod i22_recovery;
mod i23_suspects;
mod i24_strangers;
mod i25_limits;
mod i26_peace;
mod i27_recovery_of_service;
mod i29_sleepers;
mod i30_one_life;
mod quorums;
#[cfg(test)]
pub(crate) mod world_for_tests;

use std::fmt;

use bytes::Bytes;
use raft_core::entry::{Entry, Payload, SessionRequest};
use raft_core::message::PULSE_GROUP;

use crate::observation::{Observation, View};
use crate::violation::Violation;

/// Something that always holds.
pub(crate) trait Invariant: fmt::Debug {
    /// Its name, like `I7`.
    fn name(&self) -> &'static str;

    /// What always holds, in one sentence.
    fn statement(&self) -> &'static str;

    /// Looks at one thing that happened. The error says what was seen instead.
    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String>;

    /// Looks once more when the run is over.
    fn finish(&mut self, _view: &View<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    pub(crate) fn new() -> Invariants {
        Invariants(vec![
            Box::<i01_leader_per_term::LeaderPerTerm>::default(),
            Box::<i02_vote_once::VoteOnce>::default(),
            Box::<i03_durable_term::DurableTerm>::default(),
            Box::<i04_leader_append_only::LeaderAppendOnly>::default(),
            Box::<i05_log_matching::LogMatching>::default(),
            Box::<i06_leader_completeness::LeaderCompleteness>::default(),
            Box::<i07_commit_quorum::CommitQuorum>::default(),
            Box::<i08_commit_immutable::CommitImmutable>::default(),
            Box::<i09_apply_in_order::ApplyInOrder>::default(),
            Box::<i10_equal_states::EqualStates>::default(),
            Box::<i11_durable_before_told::DurableBeforeTold>::default(),
            Box::<i12_marks_in_order::MarksInOrder>::default(),
            Box::<i13_nothing_lost::NothingLost>::default(),
            Box::<i14_nothing_invented::NothingInvented>::default(),
            Box::<i15_sessions::Sessions>::default(),
            Box::<i16_fresh_reads::FreshReads>::default(),
            Box::<i17_read_rounds::ReadRounds>::default(),
            Box::<i18_leases::Leases>::default(),
            Box::<i19_configurations::Configurations>::default(),
            Box::<i20_removed_leaders::RemovedLeaders>::default(),
            Box::<i21_snapshots::Snapshots>::default(),
            Box::<i22_recovery::Recovery>::default(),
            Box::<i23_suspects::Suspects>::default(),
            Box::<i24_strangers::Strangers>::default(),
            Box::<i25_limits::Limits>::default(),
            Box::<i26_peace::Peace>::default(),
            Box::<i27_recovery_of_service::ServiceReturns>::default(),
            Box::<i29_sleepers::Sleepers>::default(),
            Box::<i30_one_life::OneLife>::default(),
        ])
    }

    /// Shows all of them what happened.
    pub(crate) fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), Violation> {
        // What is said in another group is nobody's business but that of I24, and what nodes say for groups that sleep
        // that of I29 and I30.
        let only_for: &[&str] = match seen {
            Observation::Received { message } | Observation::Sent { message }
                if message.group == PULSE_GROUP =>
            {
                &["I29", "I30"]
            }
            Observation::Received { message } if message.group != view.group => &["I24"],
            _ => &[],
        };
        self.check(view, |invariant| {
            if !only_for.is_empty() && !only_for.contains(&invariant.name()) {
                return Ok(());
            }
            invariant.observe(seen, view)
        })
    }

    /// The run is over.
    pub(crate) fn finish(&mut self, view: &View<'_>) -> Result<(), Violation> {
        self.check(view, |invariant| invariant.finish(view))
    }

    fn check(
        &mut self,
        view: &View<'_>,
        mut look: impl FnMut(&mut dyn Invariant) -> Result<(), String>,
    ) -> Result<(), Violation> {
        for invariant in &mut self.0 {
            look(invariant.as_mut()).map_err(|seen| Violation {
                invariant: invariant.name().to_owned(),
                statement: invariant.statement().to_owned(),
                seen,
                group: view.group.0,
                at_nanos: view.now.0,
            })?;
        }
        Ok(())
    }
}

/// The command in an entry, within a session or outside.
fn command_of(entry: &Entry) -> Option<&Bytes> {
    match &entry.payload {
        Payload::Command(command) => Some(command),
        Payload::Session(session) => match &session.request {
            SessionRequest::Command(command) => Some(&command.command),
            _ => None,
        },
        Payload::Noop | Payload::Membership(_) => None,
    }
}
