//! The one door: inputs in, effects out.

use std::sync::Arc;

use thiserror::Error;

use super::common::Common;
use super::follower::Follower;
use super::quiescence::Nap;
use super::role::Role;
use crate::codec::recorded;
use crate::config::{Config, ConfigError};
use crate::effect::{Effect, RoleChangeReason, RoleKind};
use crate::input::{Input, LogReader};
use crate::log::TermAt;
use crate::request::RefusalReason;
use crate::traits::Recovered;
use crate::types::{EntryId, GroupId, Index, NodeId, Term, Ticket, Time};

/// Further away than every deadline.
pub(super) const NEVER: Time = Time::from_nanos(u64::MAX);

/// One replica of one group: the protocol, and nothing else.
///
/// [`step`](Raft::step) is the only way to change it; it cannot fail, and it reads no clock. A run is the list of its
/// inputs with their times, and replays exactly.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(super) common: Common,
    pub(super) role: Role,
}

/// Why a replica cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RaftError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log ends below what this replica knew to be committed (R11).
    #[error(transparent)]
    AcknowledgedEntryLost(#[from] LostEntries),
    /// The state machine needs entries that were compacted: restore it from the snapshot in force first.
    #[error(
        "the state machine has applied {applied}, but the log begins after {purged}; restore the state machine from \
         the snapshot at {purged} or later"
    )]
    StateMachineBehind {
        /// What the state machine has applied.
        applied: EntryId,
        /// The entry right before the first one of the log.
        purged: EntryId,
    },
}

/// Entries that a replica had acknowledged are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the log, which ends at {last}, lacks the entry at {commit} that this replica knew to be committed: acknowledged entries were lost; \
     remove its data and let it rejoin under a new id"
)]
pub struct LostEntries {
    /// What was known to be committed or was applied.
    pub commit: Index,
    /// The last entry of the log.
    pub last: EntryId,
}

impl Raft {
    /// A replica that goes on from what its store recovered. A restart never resumes leadership (R39): it begins as a
    /// follower, and leads again only in a new term.
    ///
    /// `applied` is the last entry that the state machine has applied, durably.
    pub fn new(
        config: impl Into<Arc<Config>>,
        recovered: Recovered,
        applied: EntryId,
        now: Time,
    ) -> Result<Raft, RaftError> {
        let config = config.into();
        config.validate()?;
        let mut common = Common::new(config, &recovered, applied, now);
        if common.commit > common.log.last().index {
            return Err(LostEntries {
                commit: common.commit,
                last: common.log.last(),
            }
            .into());
        }
        // A log that lost its end may show again what stood there before (R5): then `applied` is of what is lost.
        if let TermAt::Known(term) = common.log.term(applied.index)
            && term != applied.term
        {
            return Err(LostEntries {
                commit: applied.index,
                last: common.log.last(),
            }
            .into());
        }
        if applied.index < recovered.purged.index {
            return Err(RaftError::StateMachineBehind {
                applied,
                purged: recovered.purged,
            });
        }
        common.begin_trust(&recovered);
        let election_deadline = common.random_election_deadline();
        let role = Role::Follower(Follower {
            leader: None,
            election_deadline,
            nap: Nap::default(),
        });
        Ok(Raft { common, role })
    }

    /// Takes one input at `now`, which must not be earlier than before, and appends what is to be done to `effects`.
    pub fn step(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        self.step_all(now, [input], effects);
    }

    /// Takes several inputs as one step, so that what follows from them leaves together.
    pub fn step_all(
        &mut self,
        now: Time,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Vec<Effect>,
    ) {
        std::mem::swap(effects, &mut self.common.effects);
        self.common.now = self.common.now.max(now);
        for input in inputs {
            if !self.common.stopped {
                self.handle(input);
            }
        }
        if !self.common.stopped {
            self.check_timers();
            self.flush();
        }
        std::mem::swap(effects, &mut self.common.effects);
    }

    /// Gives back the memory that only a busy replica needs.
    pub fn shrink(&mut self) {
        self.common.shrink();
    }

    /// When [`Input::Tick`] is due if nothing else happens before; never, once the replica has stopped, and while it sleeps.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        if self.common.stopped {
            return NEVER;
        }
        let deadline = match &self.role {
            Role::Follower(follower) if follower.nap.is_asleep() => NEVER,
            Role::Follower(follower) => follower.election_deadline,
            Role::Candidate(candidate) => candidate.election_deadline,
            Role::Leader(leader) => leader.next_deadline(&self.common),
        };
        let handed_over = self.common.handed_over.map(|transfer| transfer.deadline);
        handed_over.map_or(deadline, |handed_over| handed_over.min(deadline))
    }

    fn handle(&mut self, input: Input) {
        self.rouse(&input);
        match input {
            Input::Tick => self.common.retry_cold_read(),
            Input::Receive(message) => self.receive(message),
            Input::Propose(proposals) => match &mut self.role {
                Role::Leader(leader) => leader.propose(&mut self.common, proposals),
                _ => proposals
                    .iter()
                    .for_each(|proposal| self.refuse_not_leader(proposal.ticket)),
            },
            Input::Read(tickets) => match &mut self.role {
                Role::Leader(leader) => leader.read(&mut self.common, tickets),
                _ => tickets.iter().for_each(|ticket| self.refuse_not_leader(*ticket)),
            },
            Input::ChangeMembership(request) => match &mut self.role {
                Role::Leader(leader) => leader.change_membership(&mut self.common, request),
                _ => self.refuse_not_leader(request.ticket),
            },
            Input::TransferLeadership { ticket, to } => match &mut self.role {
                Role::Leader(leader) => leader.transfer_leadership(&mut self.common, ticket, to),
                _ => self.refuse_not_leader(ticket),
            },
            Input::Persisted(seq) => {
                self.common.persisted(seq);
                match &mut self.role {
                    Role::Leader(leader) => leader.advance_commit(&mut self.common),
                    Role::Candidate(_) => self.count_votes(),
                    Role::Follower(_) => {}
                }
            }
            Input::LogRead(result) => match (result.request.reader, &mut self.role) {
                (LogReader::Apply, _) => self.common.log_read_for_apply(result),
                (LogReader::Peer(to), Role::Leader(leader)) => {
                    leader.log_read_for_peer(&mut self.common, to, result);
                }
                (LogReader::Peer(_), _) => {}
            },
            Input::Applied(index) => self.common.applied_to(index),
            Input::SnapshotReceived(header) => self.snapshot_received(header),
            Input::SnapshotRestored(last) => self.common.snapshot_restored(last),
            Input::SnapshotCreated(meta) => self.common.snapshot_created(Some(meta)),
            Input::SnapshotFailed => self.common.snapshot_created(None),
            Input::SnapshotSent { to, last, delivered } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.snapshot_sent(&self.common, to, last, delivered);
                }
            }
            Input::RoundTrips(round_trips) => self.round_trips_measured(&round_trips),
            Input::PeerLost(peer) => self.peer_lost(peer),
            Input::Campaign => self.campaign(RoleChangeReason::CampaignRequested),
        }
    }

    fn refuse_not_leader(&mut self, ticket: Ticket) {
        let reason = RefusalReason::NotLeader {
            leader: self.leader(),
        };
        self.common.effects.push(Effect::Refused { ticket, reason });
    }

    fn flush(&mut self) {
        let pinned = match &mut self.role {
            Role::Leader(leader) => {
                leader.flush(&mut self.common);
                leader.pinned(&self.common)
            }
            _ => None,
        };
        self.common.report_suspicion();
        // What is committed is handed out before anybody is told that its fate is unknown.
        self.common.flush_applies();
        self.leave_if_removed();
        self.common.flush(pinned);
        self.report_rest();
    }

    /// This replica.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.common.config.id
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.common.config.group
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.common.config
    }

    /// Its current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.common.term
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> RoleKind {
        self.role.kind()
    }

    /// The leader of the current term, if known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.id()),
        }
    }

    /// The last index known to be committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        self.common.commit
    }

    /// The last index that the state machine applied.
    #[must_use]
    pub fn applied_index(&self) -> Index {
        self.common.applied()
    }
}

recorded!(struct Raft { common, role });
