//! A state of the whole group, and what can happen in it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::atlas::{Atlas, MessageNumber, ReplicaNumber, StepNumber};
use super::history::{History, Violation};
use super::mark::Marks;
use super::replica::Loss;
use super::scope::{REPLICAS_MAX, Scope};

/// A state of the whole group: numbers of the atlas, and what is left of the bounds of the scope.
///
/// The network is the set of all messages that were ever sent, but for those that can change nothing any more. A message
/// of the set arrives any number of times, at any time, or never. So losing, duplicating, delaying and reordering take no
/// actions of their own.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) replicas: [ReplicaNumber; REPLICAS_MAX],
    /// Sorted.
    pub(super) network: Box<[MessageNumber]>,
    pub(super) history: Arc<History>,
    pub(super) left: Left,
    /// What the step that led here first was noteworthy for. It is no part of what the state is.
    pub(super) marks: Marks,
    /// What the step that led here broke. Nothing follows it.
    pub(super) violation: Option<Arc<Violation>>,
}

impl State {
    fn identity(&self) -> (&[ReplicaNumber], &[MessageNumber], &History, Left, Option<u8>) {
        let broken = self.violation.as_ref().map(|violation| violation.0);
        (&self.replicas, &self.network, &self.history, self.left, broken)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.identity().hash(hasher);
    }
}

/// What is left of the bounds of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) commands: u8,
    pub(super) reads: u8,
    pub(super) changes: u8,
    pub(super) crashes: u8,
    pub(super) losses: u8,
    pub(super) silences: u8,
    pub(super) heartbeats: u8,
    pub(super) ticks: u8,
}

impl Left {
    pub(super) fn of(scope: &Scope) -> Left {
        Left {
            commands: scope.commands,
            reads: scope.reads,
            changes: scope.changes_max,
            crashes: scope.crashes,
            losses: scope.losses,
            silences: scope.silences,
            heartbeats: scope.heartbeats,
            ticks: scope.clocks.as_ref().map_or(0, |clocks| clocks.ticks),
        }
    }

    pub(super) fn spend(&mut self, kind: ActionKind) {
        let spent = match kind {
            ActionKind::Propose(_) => &mut self.commands,
            ActionKind::Read(_) => &mut self.reads,
            ActionKind::Change(_) => &mut self.changes,
            ActionKind::Crash => &mut self.crashes,
            ActionKind::Lose(_) => &mut self.losses,
            ActionKind::Silence => &mut self.silences,
            ActionKind::Heartbeat => &mut self.heartbeats,
            ActionKind::Tick(_) => &mut self.ticks,
            ActionKind::Deliver(_)
            | ActionKind::Store
            | ActionKind::Report
            | ActionKind::Complete
            | ActionKind::Campaign
            | ActionKind::Wake => return,
        };
        *spent = spent.saturating_sub(1);
    }
}

/// What happens next. The steps are those of the atlas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) kind: ActionKind,
    /// Which replica takes the step.
    pub(super) replica: u8,
    pub(super) step: StepNumber,
}

/// The kinds of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ActionKind {
    Deliver(MessageNumber),
    Store,
    Report,
    Complete,
    Campaign,
    Propose(u8),
    /// When so many entries are committed.
    Read(u8),
    Change(u8),
    Crash,
    Lose(Loss),
    /// An election timeout passes at one replica.
    Silence,
    /// A heartbeat interval passes at one replica.
    Heartbeat,
    /// Time passes; the clocks of this set are fast. Every replica takes a step.
    Tick(u8),
    /// A replica looks at its clock.
    Wake,
}

impl Action {
    /// In words.
    pub(super) fn describe(self, atlas: &Atlas) -> String {
        let node = format_args!("n{}", self.replica + 1).to_string();
        match self.kind {
            ActionKind::Deliver(message) => {
                let message = atlas.message(message);
                format!(
                    "n{} ← n{} in term {}: {}",
                    message.to,
                    message.from,
                    message.term,
                    Body(message)
                )
            }
            ActionKind::Store => format!("{node}: a write is durable"),
            ActionKind::Report => format!("{node} hears that its writes are durable"),
            ActionKind::Complete => format!("{node}: a write completes"),
            ActionKind::Campaign => format!("{node} times out"),
            ActionKind::Propose(_) => format!("{node} is given a command"),
            ActionKind::Read(_) => format!("{node} is asked to read"),
            ActionKind::Change(number) => format!("{node} is asked for change {number} of the members"),
            ActionKind::Crash => format!("{node} crashes and starts again"),
            ActionKind::Lose(Loss::Wiped) => format!("{node} is wiped and starts as a first member"),
            ActionKind::Lose(Loss::Replaced) => format!("{node} is wiped and starts without a group"),
            ActionKind::Lose(Loss::End(kept)) => format!("{node} loses all but {kept} entries and starts"),
            ActionKind::Silence => format!("{node}: an election timeout passes"),
            ActionKind::Heartbeat => format!("{node}: a heartbeat interval passes"),
            ActionKind::Tick(fast) => {
                let nodes = (0..REPLICAS_MAX).filter(|place| fast & (1 << place) != 0);
                let names: Vec<String> = nodes.map(|place| format!("n{}", place + 1)).collect();
                format!(
                    "time passes, fast for {}",
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(" ")
                    }
                )
            }
            ActionKind::Wake => format!("{node} looks at its clock"),
        }
    }
}

/// The body of a message, short.
struct Body<'a>(&'a raft_core::message::Message);

impl fmt::Display for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use raft_core::message::{AppendResult, Body as Is};
        let word = |granted| if granted { "granted" } else { "refused" };
        match &self.0.body {
            Is::RequestVote(request) => write!(f, "RequestVote last={}", request.last_log),
            Is::RequestVoteResponse(response) => {
                write!(f, "RequestVoteResponse {}", word(response.is_granted()))
            }
            Is::RequestPreVote(request) => {
                write!(
                    f,
                    "RequestPreVote for {} last={}",
                    request.candidate_term, request.last_log
                )
            }
            Is::RequestPreVoteResponse(response) => {
                let granted = word(response.is_granted());
                write!(
                    f,
                    "RequestPreVoteResponse for {} {granted}",
                    response.candidate_term
                )
            }
            Is::AppendEntries(request) => {
                write!(f, "AppendEntries prev={} [", request.prev)?;
                for entry in &request.entries {
                    write!(f, " {} {:?}", entry.id, entry.payload)?;
                }
                write!(f, " ] commit={} round={}", request.leader_commit, request.round)
            }
            Is::AppendEntriesResponse(response) => {
                let suspect = if response.suspect { " suspect" } else { "" };
                match response.result {
                    AppendResult::Accepted { match_index } => {
                        write!(f, "AppendEntriesResponse accepted {match_index}")?;
                    }
                    AppendResult::Rejected { prev_index, hint } => {
                        write!(f, "AppendEntriesResponse rejected {prev_index} hint={hint}")?;
                    }
                }
                write!(
                    f,
                    " round={} incarnation={}{suspect}",
                    response.round, response.incarnation
                )
            }
            other => write!(f, "{other:?}"),
        }
    }
}
