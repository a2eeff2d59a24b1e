//! I17 ReadIndex: what confirms a read is a round of heartbeats that began after the read, in the term of its leader, under
//! a number that was not used before, and after an entry of that term was committed (thesis §6.4; R40, R41, R43).
//!
//! Rounds are counted here from the messages alone: a round begins when its number is sent first, and is confirmed when a
//! quorum of voters answered it or a later one in the same term, each of them trusted by then (docs/decisions/0006). An answer
//! to a number that its sender was not yet sent in that term is one to an earlier term, and confirms nothing. Where reads are
//! served by lease (I18) there is no round to be found: then only the term is judged.

use std::collections::{BTreeMap, HashMap};

use raft_core::effect::RoleKind;
use raft_core::membership::Membership;
use raft_core::message::{AppendEntries, Body, Message};
use raft_core::types::{Index, NodeId, Round, Term};

use super::Invariant;
use super::quorums::{is_quorum, reached_by_quorum};
use crate::observation::{CallId, Observation, View};

/// I17.
#[derive(Debug, Default)]
pub(super) struct ReadRounds {
    /// Counts what is seen.
    order: u64,
    leaderships: BTreeMap<Term, Leadership>,
    /// The newest round of each term that reached each node. An answer may arrive when its sender is in another term.
    reached: BTreeMap<(NodeId, Term), Round>,
    /// When each read under way began.
    reads: HashMap<CallId, u64>,
}

/// What was heard and said by one leader.
#[derive(Debug)]
struct Leadership {
    node: NodeId,
    term: Term,
    /// When it ended.
    ended: Option<u64>,
    membership: Membership,
    /// When the leader alone was a quorum last.
    alone: Option<u64>,
    rounds: Vec<Begun>,
    /// The newest round that each follower was sent.
    sent: BTreeMap<NodeId, Round>,
    /// The newest round that each follower answered, and whether it ever said that it is no suspect.
    answered: BTreeMap<NodeId, (Round, bool)>,
    /// The newest round that a quorum answered.
    confirmed: Round,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    round: Round,
    order: u64,
    /// The leader's commit index at that moment.
    commit: Index,
}

impl Invariant for ReadRounds {
    fn name(&self) -> &'static str {
        "I17"
    }

    fn statement(&self) -> &'static str {
        "a read round began after its request, in this term, with a unique number, after an own-term commit"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        self.order += 1;
        match *seen {
            Observation::RoleChanged { node, change } => {
                self.end(node);
                if change.to == RoleKind::Leader {
                    let membership = view.history.step_memberships().last();
                    let membership = membership.cloned().unwrap_or_default();
                    let leadership = Leadership::new(node, change.term, membership, self.order);
                    self.leaderships.insert(change.term, leadership);
                }
            }
            Observation::Stopped { node } => self.end(node),
            Observation::MembershipChanged { node, membership } => {
                let order = self.order;
                if let Some(leadership) = self.current(node) {
                    leadership.membership = membership.clone();
                    leadership.count(order);
                }
            }
            Observation::Stepped { after, .. } if after.role == RoleKind::Leader => {
                let order = self.order;
                if let Some(leadership) = self.current(after.id) {
                    leadership.count(order);
                }
            }
            Observation::Sent { message } => return self.sent(message),
            Observation::Received { message } => self.received(message),
            Observation::Called { call, request } if request.is_read() => {
                self.reads.insert(call, self.order);
            }
            Observation::Returned { call, .. } => {
                self.reads.remove(&call);
            }
            Observation::ReadServed { call, node, index } => return self.served(call, node, index, view),
            _ => {}
        }
        Ok(())
    }
}

impl Leadership {
    fn new(node: NodeId, term: Term, membership: Membership, order: u64) -> Leadership {
        let mut leadership = Leadership {
            node,
            term,
            ended: None,
            membership,
            alone: None,
            rounds: Vec::new(),
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
            confirmed: Round::default(),
        };
        leadership.count(order);
        leadership
    }

    /// Counts which round a quorum has answered.
    fn count(&mut self, order: u64) {
        if is_quorum(&self.membership, |voter| voter == self.node) {
            self.alone = Some(order);
        }
        let confirmed = reached_by_quorum(&self.membership, |voter| {
            if voter == self.node {
                u64::MAX
            } else {
                let trusted = self.answered.get(&voter).filter(|(_, is_trusted)| *is_trusted);
                trusted.map_or(0, |(round, _)| round.0)
            }
        });
        // Who leads alone confirms what it began, and nothing that it will begin.
        let newest = self.rounds.last().map_or(0, |begun| begun.round.0);
        self.confirmed = self.confirmed.max(Round(confirmed.min(newest)));
    }

    fn sent(&mut self, to: NodeId, request: &AppendEntries, order: u64) -> Result<(), String> {
        let round = request.round;
        let before = self.sent.insert(to, round).unwrap_or_default();
        if round < before {
            return Err(format!(
                "node {} used round {round} of term {} again: it had sent round {before} to node {to}",
                self.node, self.term
            ));
        }
        if self.rounds.last().is_none_or(|last| last.round < round) {
            let commit = request.leader_commit;
            self.rounds.push(Begun { round, order, commit });
        }
        Ok(())
    }

    /// Whether some round confirms a read that began at `began` and is served at `index`.
    fn confirms(&self, began: u64, index: Index) -> bool {
        if self.alone.is_some_and(|alone| alone >= began) {
            return true;
        }
        let first = self.rounds.partition_point(|round| round.order < began);
        let mut later = self.rounds[first..].iter();
        later.any(|begun| begun.commit == index && begun.round <= self.confirmed)
    }
}

impl ReadRounds {
    /// The leadership that a node is in.
    fn current(&mut self, node: NodeId) -> Option<&mut Leadership> {
        let newest_first = self.leaderships.values_mut().rev();
        let mut own = newest_first.filter(|leadership| leadership.node == node);
        own.next().filter(|leadership| leadership.ended.is_none())
    }

    fn end(&mut self, node: NodeId) {
        let order = self.order;
        if let Some(leadership) = self.current(node) {
            leadership.ended = Some(order);
        }
    }

    fn sent(&mut self, message: &Message) -> Result<(), String> {
        let Body::AppendEntries(request) = &message.body else {
            return Ok(());
        };
        let order = self.order;
        match self.leaderships.get_mut(&message.term) {
            Some(leadership) if leadership.node == message.from => {
                leadership.sent(message.to, request, order)
            }
            _ => Ok(()),
        }
    }

    fn received(&mut self, message: &Message) {
        let response = match &message.body {
            Body::AppendEntries(request) => {
                let reached = self.reached.entry((message.to, message.term)).or_default();
                *reached = request.round.max(*reached);
                return;
            }
            Body::AppendEntriesResponse(response) => response,
            _ => return,
        };
        let order = self.order;
        let newest = self.reached.get(&(message.from, message.term)).copied();
        if let Some(leadership) = self.leaderships.get_mut(&message.term)
            && leadership.node == message.to
            && leadership.ended.is_none()
        {
            let (round, is_trusted) = leadership.answered.entry(message.from).or_default();
            *round = response.round.min(newest.unwrap_or_default()).max(*round);
            *is_trusted |= !response.suspect;
            leadership.count(order);
        }
    }

    fn served(&mut self, call: CallId, node: NodeId, index: Index, view: &View<'_>) -> Result<(), String> {
        // None: its client has its answer from another attempt.
        let Some(&began) = self.reads.get(&call) else {
            return Ok(());
        };
        let what = format!("node {node} serves {call:?} at index {index}");
        let Some(id) = view.history.committed_at(index) else {
            return Err(format!("{what}, where nothing is committed"));
        };
        let order = self.order;
        let Some(leadership) = self.leaderships.get_mut(&id.term) else {
            return Err(format!("{what}: that is entry {id}, and nobody led that term"));
        };
        let leader = leadership.node;
        match leadership.ended {
            Some(ended) if ended < began => {
                return Err(format!(
                    "{what}: that is entry {id}, and node {leader} led that term for the last time before the read began; \
                     whoever confirmed it had committed nothing of its own term"
                ));
            }
            Some(_) => {}
            None => leadership.count(order),
        }
        let has_leases = view.nodes.get(leader).config.lease_drift_max.is_some();
        if has_leases || leadership.confirms(began, index) {
            return Ok(());
        }
        Err(format!(
            "{what}: node {leader} began no round of term {} after the read, with that commit index, which a quorum of {} \
             answered; round {} is the newest that one did",
            id.term, leadership.membership, leadership.confirmed
        ))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::message::{AppendEntriesResponse, AppendResult};
    use raft_core::types::EntryId;

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, message, voters_up_to};
    use super::*;
    use crate::workload::Request;

    /// Node 1 leads term 2, and committed index 2.
    fn led() -> (SmallWorld, ReadRounds) {
        let (mut world, mut rounds) = (SmallWorld::new(3), ReadRounds::default());
        world.store(&[1, 2, 3], &entries(1..=1, 1));
        world.store(&[1, 2, 3], &entries(2..=3, 2));
        world.history.begin_step(&voters_up_to(3));
        assert_eq!(world.change_role(&mut rounds, 1, RoleKind::Leader, 2), Ok(()));
        assert_eq!(world.commit(&mut rounds, 1, 2, 2), Ok(()));
        (world, rounds)
    }

    fn send(
        world: &mut SmallWorld,
        rounds: &mut ReadRounds,
        to: u64,
        round: u64,
        commit: u64,
    ) -> Result<(), String> {
        let request = AppendEntries {
            prev: EntryId::ZERO,
            prev_acknowledged: false,
            entries: Vec::new(),
            leader_commit: Index(commit),
            round: Round(round),
            sleep: false,
        };
        let message = message(1, to, 2, Body::AppendEntries(request));
        world.show(rounds, &Observation::Sent { message: &message })
    }

    /// What node 1 sent last reaches a follower.
    fn reach(world: &mut SmallWorld, rounds: &mut ReadRounds, to: u64, term: u64, round: u64) {
        let request = AppendEntries {
            prev: EntryId::ZERO,
            prev_acknowledged: false,
            entries: Vec::new(),
            leader_commit: Index(2),
            round: Round(round),
            sleep: false,
        };
        let message = message(1, to, term, Body::AppendEntries(request));
        let received = world.show(rounds, &Observation::Received { message: &message });
        assert_eq!(received, Ok(()));
    }

    fn answer(world: &mut SmallWorld, rounds: &mut ReadRounds, from: u64, round: u64, suspect: bool) {
        let response = AppendEntriesResponse {
            round: Round(round),
            prev_acknowledged: false,
            incarnation: 1,
            suspect,
            lease_ms: 0,
            disk_waits_ms: 0,
            result: AppendResult::Accepted {
                match_index: Index(2),
            },
            sleeps: false,
        };
        let message = message(from, 1, 2, Body::AppendEntriesResponse(response));
        assert_eq!(
            world.show(rounds, &Observation::Received { message: &message }),
            Ok(())
        );
    }

    fn begin(world: &mut SmallWorld, rounds: &mut ReadRounds) {
        let request = Request::read(Bytes::from_static(b"x"));
        let call = CallId(1);
        assert_eq!(
            world.show(
                rounds,
                &Observation::Called {
                    call,
                    request: &request
                }
            ),
            Ok(())
        );
    }

    fn serve(world: &mut SmallWorld, rounds: &mut ReadRounds, index: u64) -> Result<(), String> {
        let served = Observation::ReadServed {
            call: CallId(1),
            node: NodeId(1),
            index: Index(index),
        };
        world.show(rounds, &served)
    }

    /// I17: a round that a quorum answered confirms the reads that began before it.
    #[test]
    fn a_round_confirms_what_began_before_it() {
        let (mut world, mut rounds) = led();
        begin(&mut world, &mut rounds);
        assert_eq!(send(&mut world, &mut rounds, 2, 1, 2), Ok(()));
        reach(&mut world, &mut rounds, 2, 2, 1);
        reach(&mut world, &mut rounds, 3, 2, 1);
        answer(&mut world, &mut rounds, 3, 1, true);
        assert_violated(
            serve(&mut world, &mut rounds, 2),
            "began no round of term 2 after the read",
        );
        answer(&mut world, &mut rounds, 2, 1, false);
        assert_eq!(serve(&mut world, &mut rounds, 2), Ok(()));
    }

    /// I17, R41: an answer to an earlier round confirms no later read, and no number is used twice.
    #[test]
    fn an_earlier_round_confirms_nothing() {
        let (mut world, mut rounds) = led();
        assert_eq!(send(&mut world, &mut rounds, 2, 1, 2), Ok(()));
        begin(&mut world, &mut rounds);
        answer(&mut world, &mut rounds, 2, 1, false);
        assert_violated(
            serve(&mut world, &mut rounds, 2),
            "began no round of term 2 after the read",
        );
        assert_eq!(send(&mut world, &mut rounds, 2, 2, 2), Ok(()));
        assert_violated(
            send(&mut world, &mut rounds, 2, 1, 2),
            "used round 1 of term 2 again",
        );
    }

    /// I17, R41: an answer of this term to a heartbeat of an earlier one confirms nothing.
    #[test]
    fn a_round_of_an_earlier_term_confirms_nothing() {
        let (mut world, mut rounds) = led();
        begin(&mut world, &mut rounds);
        assert_eq!(send(&mut world, &mut rounds, 2, 1, 2), Ok(()));
        reach(&mut world, &mut rounds, 2, 1, 7);
        answer(&mut world, &mut rounds, 2, 7, false);
        assert_violated(
            serve(&mut world, &mut rounds, 2),
            "began no round of term 2 after the read",
        );
    }

    /// I17, R40: a leader that has committed nothing of its own term confirms nothing.
    #[test]
    fn a_read_before_the_first_own_commit_is_found() {
        let (mut world, mut rounds) = led();
        begin(&mut world, &mut rounds);
        assert_violated(serve(&mut world, &mut rounds, 1), "nobody led that term");
        assert_violated(serve(&mut world, &mut rounds, 3), "where nothing is committed");
        assert_eq!(world.change_role(&mut rounds, 1, RoleKind::Follower, 3), Ok(()));
        begin(&mut world, &mut rounds);
        assert_violated(
            serve(&mut world, &mut rounds, 2),
            "led that term for the last time before the read began",
        );
    }

    /// I17: who is alone asks nobody.
    #[test]
    fn a_single_voter_confirms_by_itself() {
        let (mut world, mut rounds) = (SmallWorld::new(1), ReadRounds::default());
        world.store(&[1], &entries(1..=2, 2));
        world.history.begin_step(&voters_up_to(1));
        assert_eq!(world.change_role(&mut rounds, 1, RoleKind::Leader, 2), Ok(()));
        assert_eq!(world.commit(&mut rounds, 1, 2, 2), Ok(()));
        begin(&mut world, &mut rounds);
        assert_eq!(serve(&mut world, &mut rounds, 2), Ok(()));
    }
}
