//! The one door, the rules about terms, and the only place where a role changes.

use thiserror::Error;

use super::candidate::{Candidate, Phase};
use super::common::Common;
use super::follower::Follower;
use super::leader::Leader;
use crate::config::{Config, ConfigError};
use crate::effect::{Effect, FatalReason, RoleChange, RoleChangeReason, RoleKind};
use crate::input::{Input, LogReader, RefusalReason};
use crate::membership::VoteResult;
use crate::message::{Body, InstallSnapshot, Message};
use crate::status::{PeerProgress, Status};
use crate::traits::Recovered;
use crate::types::{EntryId, GroupId, Index, NodeId, Term, Time};

/// One replica of one group: the protocol, and nothing else.
///
/// [`step`](Raft::step) is the only way to change it; it cannot fail, and it reads no clock. A run is the list of its
/// inputs with their times, and replays exactly.
#[derive(Clone, Debug)]
pub struct Raft {
    common: Common,
    role: Role,
}

/// A role with the data that only it has.
#[derive(Clone, Debug)]
enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Role {
    fn kind(&self) -> RoleKind {
        match self {
            Role::Follower(_) => RoleKind::Follower,
            Role::Candidate(Candidate {
                phase: Phase::PreVote,
                ..
            }) => RoleKind::PreCandidate,
            Role::Candidate(Candidate {
                phase: Phase::Vote, ..
            }) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }
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
#[error("{}", FatalReason::AcknowledgedEntryLost { commit: self.commit, last: self.last })]
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
    pub fn new(config: Config, recovered: Recovered, applied: EntryId, now: Time) -> Result<Raft, RaftError> {
        config.validate()?;
        let mut common = Common::new(config, &recovered, applied, now);
        if common.commit > common.log.last().index {
            return Err(LostEntries {
                commit: common.commit,
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
        let election_deadline = common.random_election_deadline();
        let role = Role::Follower(Follower {
            leader: None,
            leader_contact: now,
            election_deadline,
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

    /// When [`Input::Tick`] is due if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        match &self.role {
            Role::Follower(follower) => follower.election_deadline,
            Role::Candidate(candidate) => candidate.election_deadline,
            Role::Leader(leader) => {
                let give_up = leader.quorum_contact(&self.common) + self.common.config.election_timeout;
                leader.heartbeat_due.min(give_up)
            }
        }
    }

    fn handle(&mut self, input: Input) {
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
            Input::Persisted(seq) => {
                self.common.persisted(seq);
                if let Role::Leader(leader) = &mut self.role {
                    leader.advance_commit(&mut self.common);
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
            Input::SnapshotSent { to, delivered } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.snapshot_sent(to, delivered);
                }
            }
            Input::Campaign => self.campaign(RoleChangeReason::CampaignRequested),
        }
    }

    fn refuse_not_leader(&mut self, ticket: crate::types::Ticket) {
        let reason = RefusalReason::NotLeader {
            leader: self.leader(),
        };
        self.common.effects.push(Effect::Refused { ticket, reason });
    }

    fn flush(&mut self) {
        let pinned = match &mut self.role {
            Role::Leader(leader) => {
                leader.flush(&mut self.common);
                leader.pinned()
            }
            _ => None,
        };
        self.common.flush(pinned);
    }

    // ---- terms ----

    /// Compares terms first (paper §5.1): a lower one is answered or ignored, a higher one adopted, an equal one handled
    /// by the role.
    fn receive(&mut self, message: Message) {
        if message.to != self.id() || message.group != self.group() {
            return;
        }
        if let Body::RequestPreVote(request) = message.body {
            let has_leader = self.has_live_leader();
            self.common.answer_pre_vote(message.from, request, has_leader);
            return;
        }
        if message.term > self.term() && !self.adopt_term_of(&message) {
            return;
        }
        if message.term < self.term() {
            self.receive_from_lower_term(message);
        } else {
            self.receive_from_same_term(message);
        }
    }

    /// Moves to a higher term, unless a vote request is not wanted: while a leader is alive nobody is helped by an
    /// election, and the request changes neither term nor timer (R22).
    fn adopt_term_of(&mut self, message: &Message) -> bool {
        if matches!(message.body, Body::RequestVote(_)) && self.has_live_leader() {
            return false;
        }
        self.become_follower(
            Some(message.term),
            None,
            RoleChangeReason::HigherTerm { from: message.from },
        );
        true
    }

    /// Whether this replica leads, or follows a leader that was heard from lately.
    fn has_live_leader(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.has_live_leader(&self.common),
            Role::Candidate(_) => false,
            Role::Leader(_) => true,
        }
    }

    /// Requests are answered at the own term, so that their sender learns it (R24, R25). A pre-vote may be granted by a
    /// voter of a lower term; every other old answer is worth nothing.
    fn receive_from_lower_term(&mut self, message: Message) {
        match message.body {
            Body::AppendEntries(request) => {
                self.common
                    .reject_old_leader(message.from, request.round, request.prev);
            }
            Body::RequestVote(_) => {
                let response = crate::message::RequestVoteResponse { granted: false };
                self.common
                    .send_when_durable(message.from, Body::RequestVoteResponse(response));
            }
            Body::RequestPreVoteResponse(response) => {
                self.pre_vote_response(message.from, response.candidate_term, response.granted);
            }
            _ => {}
        }
    }

    fn receive_from_same_term(&mut self, message: Message) {
        let from = message.from;
        match message.body {
            Body::AppendEntries(request) => {
                if self.follow(from) {
                    self.common.append_entries(from, request);
                }
            }
            Body::AppendEntriesResponse(response) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.append_entries_response(&mut self.common, from, response);
                }
            }
            Body::RequestVote(request) => {
                if self.common.answer_vote(from, request) {
                    self.restart_election_timer();
                }
            }
            Body::RequestVoteResponse(response) => self.vote_response(from, response.granted),
            Body::RequestPreVoteResponse(response) => {
                self.pre_vote_response(from, response.candidate_term, response.granted);
            }
            // The driver handles these; PreVote requests are answered before terms are compared.
            Body::RequestPreVote(_) | Body::ForwardRequest(_) | Body::ForwardResponse(_) => {}
        }
    }

    /// Recognises `leader` as the leader of the current term. Returns false if that cannot be.
    fn follow(&mut self, leader: NodeId) -> bool {
        let term = self.term();
        match &mut self.role {
            Role::Follower(Follower {
                leader: Some(known), ..
            }) if *known != leader => {
                let reason = FatalReason::TwoLeaders {
                    term,
                    known: *known,
                    other: leader,
                };
                self.common.fail(reason);
                return false;
            }
            Role::Follower(Follower { leader: Some(_), .. }) => {}
            Role::Leader(_) => {
                let known = self.common.id();
                self.common.fail(FatalReason::TwoLeaders {
                    term,
                    known,
                    other: leader,
                });
                return false;
            }
            Role::Follower(_) | Role::Candidate(_) => {
                self.become_follower(None, Some(leader), RoleChangeReason::LeaderFound);
            }
        }
        self.restart_election_timer();
        if let Role::Follower(follower) = &mut self.role {
            follower.leader_contact = self.common.now;
        }
        true
    }

    fn snapshot_received(&mut self, header: InstallSnapshot) {
        if header.to != self.id() || header.group != self.group() || header.term < self.term() {
            return;
        }
        if header.term > self.term() {
            let reason = RoleChangeReason::HigherTerm { from: header.from };
            self.become_follower(Some(header.term), None, reason);
        }
        if self.follow(header.from) {
            self.common.receive_snapshot(header);
        }
    }

    // ---- elections ----

    fn check_timers(&mut self) {
        let now = self.common.now;
        match &mut self.role {
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => {
                if now >= *election_deadline {
                    self.campaign(RoleChangeReason::ElectionTimeout);
                }
            }
            Role::Leader(leader) => {
                if !leader.tick(&mut self.common) {
                    self.become_follower(None, None, RoleChangeReason::QuorumLost);
                }
            }
        }
    }

    /// Begins an election with a round of PreVote. Only voters campaign (R26), and nobody whose state is being replaced
    /// by a snapshot (R28).
    fn campaign(&mut self, reason: RoleChangeReason) {
        if matches!(self.role, Role::Leader(_)) {
            return;
        }
        if !self.common.membership().is_voter(self.id()) || self.common.is_restoring() {
            self.restart_election_timer();
            return;
        }
        let deadline = self.common.random_election_deadline();
        self.transition(
            Role::Candidate(Candidate::new(Phase::PreVote, deadline)),
            None,
            reason,
        );
        self.common.request_votes(Phase::PreVote);
        let (own_id, candidate_term) = (self.id(), self.term().next());
        self.pre_vote_response(own_id, candidate_term, true);
    }

    fn pre_vote_response(&mut self, from: NodeId, candidate_term: Term, granted: bool) {
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.phase != Phase::PreVote || candidate_term != self.common.term.next() {
            return;
        }
        match candidate.record(&self.common, from, granted) {
            VoteResult::Won => {
                let deadline = self.common.random_election_deadline();
                self.common.begin_own_term();
                let role = Role::Candidate(Candidate::new(Phase::Vote, deadline));
                self.transition(role, None, RoleChangeReason::PreVoteWon);
                self.common.request_votes(Phase::Vote);
            }
            VoteResult::Lost => self.become_follower(None, None, RoleChangeReason::VoteLost),
            VoteResult::Pending => {}
        }
    }

    fn vote_response(&mut self, from: NodeId, granted: bool) {
        let Role::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.phase != Phase::Vote {
            return;
        }
        match candidate.record(&self.common, from, granted) {
            VoteResult::Won => {
                let leader = Leader::new(&mut self.common);
                let id = self.id();
                self.transition(
                    Role::Leader(Box::new(leader)),
                    Some(id),
                    RoleChangeReason::ElectionWon,
                );
            }
            VoteResult::Lost => self.become_follower(None, None, RoleChangeReason::VoteLost),
            VoteResult::Pending => {}
        }
    }

    fn restart_election_timer(&mut self) {
        let deadline = self.common.random_election_deadline();
        match &mut self.role {
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => *election_deadline = deadline,
            Role::Leader(_) => {}
        }
    }

    // ---- roles ----

    /// Steps back, in a higher term if one is given. The election timer goes on as it was: only a leader's message or a
    /// granted vote restarts it (R22).
    fn become_follower(&mut self, term: Option<Term>, leader: Option<NodeId>, reason: RoleChangeReason) {
        if let Some(term) = term {
            self.common.adopt_term(term);
        }
        let election_deadline = match &self.role {
            Role::Follower(Follower {
                election_deadline, ..
            })
            | Role::Candidate(Candidate {
                election_deadline, ..
            }) => *election_deadline,
            Role::Leader(_) => self.common.random_election_deadline(),
        };
        let follower = Follower {
            leader,
            leader_contact: self.common.now,
            election_deadline,
        };
        self.transition(Role::Follower(follower), leader, reason);
    }

    /// The only place where a role changes. Asserts the legal edges (mission row S13):
    ///
    /// ```text
    /// follower ──election timeout──▶ pre-candidate ──quorum would vote──▶ candidate ──quorum voted──▶ leader
    ///    ▲  ▲                            │   │ ▲ └─election timeout─┐         │  │                       │
    ///    │  └──higher term, leader found─┘   │ └────────────────────┴─────────┘  │                       │
    ///    │      or a quorum refused ◀────────┴───────────────────────────────────┘                       │
    ///    └──────────────────────────higher term, or no quorum heard from─────────────────────────────────┘
    /// ```
    fn transition(&mut self, to: Role, leader: Option<NodeId>, reason: RoleChangeReason) {
        use RoleChangeReason as Why;
        use RoleKind as Kind;
        let (from, into) = (self.role.kind(), to.kind());
        let legal = match (from, into) {
            (Kind::Follower, Kind::Follower) => matches!(reason, Why::HigherTerm { .. } | Why::LeaderFound),
            (Kind::PreCandidate | Kind::Candidate, Kind::Follower) => {
                matches!(reason, Why::HigherTerm { .. } | Why::LeaderFound | Why::VoteLost)
            }
            (Kind::Leader, Kind::Follower) => matches!(reason, Why::HigherTerm { .. } | Why::QuorumLost),
            (Kind::Follower | Kind::PreCandidate | Kind::Candidate, Kind::PreCandidate) => {
                matches!(reason, Why::ElectionTimeout | Why::CampaignRequested)
            }
            (Kind::PreCandidate, Kind::Candidate) => reason == Why::PreVoteWon,
            (Kind::Candidate, Kind::Leader) => reason == Why::ElectionWon,
            _ => false,
        };
        assert!(legal, "no edge leads from {from} to {into} because {reason}");
        let old = std::mem::replace(&mut self.role, to);
        if let Role::Leader(old) = old {
            for ticket in old.reads.into_unresolved() {
                let reason = RefusalReason::NotLeader { leader };
                self.common.effects.push(Effect::Refused { ticket, reason });
            }
        }
        let term = self.term();
        self.common.effects.push(Effect::RoleChanged(RoleChange {
            from,
            to: into,
            term,
            leader,
            reason,
        }));
    }

    // ---- what others may see ----

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

    /// Everything there is to see.
    #[must_use]
    pub fn status(&self) -> Status {
        let common = &self.common;
        let peers = match &self.role {
            Role::Leader(leader) => leader
                .progress
                .iter()
                .map(|(&id, progress)| PeerProgress {
                    id,
                    match_index: progress.match_index(),
                    next_index: progress.next_index(),
                    state: progress.state(),
                    inflight_messages: progress.inflights().messages(),
                    inflight_bytes: progress.inflights().bytes(),
                    last_contact: progress.last_contact,
                })
                .collect(),
            Role::Follower(_) | Role::Candidate(_) => Vec::new(),
        };
        Status {
            group: self.group(),
            id: self.id(),
            role: self.role(),
            term: common.term,
            leader: self.leader(),
            vote: common.vote,
            membership: common.membership().clone(),
            first_index: common.log.first_index(),
            appended_index: common.log.last().index,
            durable_index: common.log.durable(),
            commit_index: common.commit,
            applied_index: common.applied(),
            snapshot: common.log.snapshot().last,
            ready: common.is_ready(),
            peers,
        }
    }
}
