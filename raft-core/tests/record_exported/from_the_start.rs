//! Recorded by node 1 of group 7: steps 1 to 8.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::input::{ChangeRequest, Input, LogRead, LogReadResult, LogReader, Proposal, Proposed};
use raft_core::membership::{Contact, MemberChange, Membership, MembershipParts};
use raft_core::message::{AppendEntries, AppendEntriesResponse, AppendResult, Body, EntriesLost, InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestPreVote, RequestPreVoteResponse, RequestVote, RequestVoteResponse, SnapshotMeta, TimeoutNow, TrustRestored, VoteRefusal};
use raft_core::raft::Raft;
use raft_core::record::{describe_effect, describe_state};
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Round, Sequence, SessionId, Term, Ticket, Time, WriteSeq};

#[test]
#[allow(clippy::too_many_lines, reason = "a recording is as long as what happened")]
fn steps_1_to_8() {
    let config = Config { ..Config::new(GroupId(7), NodeId(1)) };
    let recovered = Recovered { snapshot: SnapshotMeta { last: EntryId { term: Term(0), index: Index(0) }, membership: Membership::from_parts(MembershipParts { voters: vec![NodeId(1)], outgoing: vec![], learners: vec![], learners_next: vec![], contacts: BTreeMap::from([]), highest_id: NodeId(1) }).expect("it was one") }, ..Recovered::default() };
    let mut raft = Raft::new(config, recovered, EntryId { term: Term(0), index: Index(0) }, Time::from_nanos(0)).expect("it started");
    let mut effects = Vec::new();
    let mut step = |nanos, inputs: Vec<Input>, expected: &[&str]| {
        raft.step_all(Time::from_nanos(nanos), inputs, &mut effects);
        let found: Vec<String> = effects.drain(..).map(|effect| describe_effect(&effect)).collect();
        assert_eq!(found, expected, "at {nanos} ns");
    };
    // Step 1
    step(
        1_000_000,
        vec![
            // asked to campaign
            Input::Campaign,
        ],
        &[
            "follower becomes pre-candidate in term 0: was asked to campaign",
            "pre-candidate becomes candidate in term 1: a quorum would vote for it",
            "write 1: term 1, vote n1, commit 0, then send n1→n1 RequestVoteResponse [term 1] granted",
        ],
    );
    // Step 2
    step(
        2_000_000,
        vec![
            // write 1 is durable
            Input::Persisted(WriteSeq(1)),
            // received n1→n1 RequestVoteResponse [term 1] granted
            Input::Receive(Message { group: GroupId(7), from: NodeId(1), to: NodeId(1), term: Term(1), body: Body::RequestVoteResponse(RequestVoteResponse { refusal: None, incarnation: 0 }) }),
        ],
        &[
            "candidate becomes leader in term 1: a quorum voted for it",
            "write 2: entry 1@1 (a no-op)",
        ],
    );
    // Step 3
    step(
        3_000_000,
        vec![
            // write 2 is durable
            Input::Persisted(WriteSeq(2)),
        ],
        &[
            "apply entry 1@1 (a no-op)",
        ],
    );
    // Step 4
    step(
        4_000_000,
        vec![
            // applied up to 1
            Input::Applied(Index(1)),
        ],
        &[
        ],
    );
    // Step 5
    step(
        5_000_000,
        vec![
            // proposed 1 command of 24 bytes
            Input::Propose(vec![Proposal { ticket: Ticket(1), command: Proposed::Command(Bytes::from_static(b"a \"command\" with \\ and \x00")) }]),
        ],
        &[
            "request 1 is entry 2@1",
            "write 3: term 1, vote n1, commit 1; entry 2@1 (24 bytes)",
        ],
    );
    // Step 6
    step(
        6_000_000,
        vec![
            // write 3 is durable
            Input::Persisted(WriteSeq(3)),
        ],
        &[
            "apply entry 2@1 (24 bytes)",
        ],
    );
    // Step 7
    step(
        7_000_000,
        vec![
            // applied up to 2
            Input::Applied(Index(2)),
        ],
        &[
        ],
    );
    // Step 8
    step(
        8_000_000,
        vec![
            // time passed
            Input::Tick,
            // proposed 5 commands of 37 bytes, some of sessions
            Input::Propose(vec![Proposal { ticket: Ticket(9_223_372_036_854_775_807), command: Proposed::Session(SessionRequest::Open { ttl_ms: 60_000 }) }, Proposal { ticket: Ticket(9_223_372_036_854_775_807), command: Proposed::Session(SessionRequest::KeepAlive(SessionId(3))) }, Proposal { ticket: Ticket(9_223_372_036_854_775_807), command: Proposed::Session(SessionRequest::Close(SessionId(18_446_744_073_709_551_615))) }, Proposal { ticket: Ticket(9_223_372_036_854_775_807), command: Proposed::Session(SessionRequest::Command(SessionCommand { session: SessionId(4), sequence: Sequence(6), acknowledged_below: Sequence(5), command: Bytes::from_static(b"secret of a session") })) }, Proposal { ticket: Ticket(9_223_372_036_854_775_807), command: Proposed::Command(Bytes::from_static(b"secret of a client")) }]),
            // asked for 2 reads
            Input::Read(vec![Ticket(0), Ticket(9_223_372_036_854_775_807)]),
            // asked what would be if [AddVoter { id: NodeId(4), contact: None }, AddLearner { id: NodeId(5), contact: Some("http://a:1") }, Promote(NodeId(5)), Demote(NodeId(2)), Remove(NodeId(3)), SetContact { id: NodeId(1), contact: "http://a:1" }]
            Input::ChangeMembership(ChangeRequest { ticket: Ticket(9_223_372_036_854_775_807), changes: vec![MemberChange::AddVoter { id: NodeId(4), contact: None }, MemberChange::AddLearner { id: NodeId(5), contact: Some(Contact::new("http://a:1").expect("it was one")) }, MemberChange::Promote(NodeId(5)), MemberChange::Demote(NodeId(2)), MemberChange::Remove(NodeId(3)), MemberChange::SetContact { id: NodeId(1), contact: Contact::new("http://a:1").expect("it was one") }], dry_run: true }),
            // asked that node 2 leads
            Input::TransferLeadership { ticket: Ticket(9_223_372_036_854_775_807), to: NodeId(2) },
            // write 300 is durable
            Input::Persisted(WriteSeq(300)),
            // read entries 11 to 18 for the state machine: entries 11@3 to 18@3 (37 bytes)
            Input::LogRead(LogReadResult { request: LogRead { reader: LogReader::Apply, first: Index(11), last: Index(18), bytes_max: 18_446_744_073_709_551_615 }, entries: vec![Entry { id: EntryId { term: Term(3), index: Index(11) }, payload: Payload::Noop }, Entry { id: EntryId { term: Term(3), index: Index(12) }, payload: Payload::Command(Bytes::from_static(b"")) }, Entry { id: EntryId { term: Term(3), index: Index(13) }, payload: Payload::Command(Bytes::from_static(b"secret of an entry")) }, Entry { id: EntryId { term: Term(3), index: Index(14) }, payload: Payload::Membership(Membership::from_parts(MembershipParts { voters: vec![NodeId(1), NodeId(2), NodeId(3)], outgoing: vec![NodeId(1), NodeId(4)], learners: vec![NodeId(5)], learners_next: vec![NodeId(4)], contacts: BTreeMap::from([(NodeId(2), Contact::new("host:1").expect("it was one")), ]), highest_id: NodeId(9) }).expect("it was one")) }, Entry { id: EntryId { term: Term(3), index: Index(15) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Open { ttl_ms: 60_000 } })) }, Entry { id: EntryId { term: Term(3), index: Index(16) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::KeepAlive(SessionId(3)) })) }, Entry { id: EntryId { term: Term(3), index: Index(17) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Close(SessionId(18_446_744_073_709_551_615)) })) }, Entry { id: EntryId { term: Term(3), index: Index(18) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Command(SessionCommand { session: SessionId(4), sequence: Sequence(6), acknowledged_below: Sequence(5), command: Bytes::from_static(b"secret of a session") }) })) }] }),
            // could not read entries 11 to 18 for node 2
            Input::LogRead(LogReadResult { request: LogRead { reader: LogReader::Peer(NodeId(2)), first: Index(11), last: Index(18), bytes_max: 18_446_744_073_709_551_615 }, entries: vec![] }),
            // received the snapshot at 70@3 from node 2 in term 3
            Input::SnapshotReceived(InstallSnapshot { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), meta: SnapshotMeta { last: EntryId { term: Term(3), index: Index(70) }, membership: Membership::from_parts(MembershipParts { voters: vec![NodeId(1), NodeId(2), NodeId(3)], outgoing: vec![NodeId(1), NodeId(4)], learners: vec![NodeId(5)], learners_next: vec![NodeId(4)], contacts: BTreeMap::from([(NodeId(2), Contact::new("host:1").expect("it was one")), ]), highest_id: NodeId(9) }).expect("it was one") } }),
            // restored the snapshot at 70@3
            Input::SnapshotRestored(EntryId { term: Term(3), index: Index(70) }),
            // could not make a snapshot
            Input::SnapshotFailed,
            // sent the snapshot at 70@3 to node 2
            Input::SnapshotSent { to: NodeId(2), last: EntryId { term: Term(3), index: Index(70) }, delivered: true },
            // measured round trips of 120µs to node 2, 18446744073709551615.999999999s to node 3
            Input::RoundTrips(vec![(NodeId(2), Duration::new(0, 120_000)), (NodeId(3), Duration::new(18_446_744_073_709_551_615, 999_999_999))]),
            // asked to campaign
            Input::Campaign,
            // told that node 2 is gone, or leads no more
            Input::PeerLost(NodeId(2)),
            // received n2→n1 RequestVote [term 3] last 10@2, asked to by the leader
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::RequestVote(RequestVote { last_log: EntryId { term: Term(2), index: Index(10) }, leadership_transfer: true, incarnation: 18_446_744_073_709_551_615 }) }),
            // received n2→n1 RequestVoteResponse [term 3] granted
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::RequestVoteResponse(RequestVoteResponse { refusal: None, incarnation: 1 }) }),
            // received n2→n1 RequestPreVote [term 3] for term 4, last 10@2
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::RequestPreVote(RequestPreVote { candidate_term: Term(4), last_log: EntryId { term: Term(2), index: Index(10) }, incarnation: 1 }) }),
            // received n2→n1 RequestPreVoteResponse [term 3] refused for term 4
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::RequestPreVoteResponse(RequestPreVoteResponse { candidate_term: Term(4), refusal: Some(VoteRefusal::LogBehind(EntryId { term: Term(3), index: Index(8) })), incarnation: 1 }) }),
            // received n2→n1 AppendEntries [term 3] after 10@3: entries 11@3 to 18@3 (37 bytes); commit 9, round 5, asks for sleep
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::AppendEntries(AppendEntries { prev: EntryId { term: Term(3), index: Index(10) }, prev_acknowledged: true, entries: vec![Entry { id: EntryId { term: Term(3), index: Index(11) }, payload: Payload::Noop }, Entry { id: EntryId { term: Term(3), index: Index(12) }, payload: Payload::Command(Bytes::from_static(b"")) }, Entry { id: EntryId { term: Term(3), index: Index(13) }, payload: Payload::Command(Bytes::from_static(b"secret of an entry")) }, Entry { id: EntryId { term: Term(3), index: Index(14) }, payload: Payload::Membership(Membership::from_parts(MembershipParts { voters: vec![NodeId(1), NodeId(2), NodeId(3)], outgoing: vec![NodeId(1), NodeId(4)], learners: vec![NodeId(5)], learners_next: vec![NodeId(4)], contacts: BTreeMap::from([(NodeId(2), Contact::new("host:1").expect("it was one")), ]), highest_id: NodeId(9) }).expect("it was one")) }, Entry { id: EntryId { term: Term(3), index: Index(15) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Open { ttl_ms: 60_000 } })) }, Entry { id: EntryId { term: Term(3), index: Index(16) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::KeepAlive(SessionId(3)) })) }, Entry { id: EntryId { term: Term(3), index: Index(17) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Close(SessionId(18_446_744_073_709_551_615)) })) }, Entry { id: EntryId { term: Term(3), index: Index(18) }, payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms: 12, request: SessionRequest::Command(SessionCommand { session: SessionId(4), sequence: Sequence(6), acknowledged_below: Sequence(5), command: Bytes::from_static(b"secret of a session") }) })) }], leader_commit: Index(9), round: Round(5), sleep: true }) }),
            // received n2→n1 TimeoutNow [term 3] last 10@3
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::TimeoutNow(TimeoutNow { last_log: EntryId { term: Term(3), index: Index(10) } }) }),
            // received n2→n1 Pulse [term 3] number 300
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::Pulse(Pulse { id: PulseId { incarnation: 3, serial: 300 }, heard: Some(PulseId { incarnation: 4, serial: 2 }), watches: vec![Leadership { group: GroupId(700), term: Term(5) }], ended: vec![Leadership { group: GroupId(701), term: Term(6) }] }) }),
            // received n2→n1 TrustRestored [term 3] with 3
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::TrustRestored(TrustRestored { incarnation: 8, index: Index(3) }) }),
            // received n2→n1 EntriesLost [term 3] acknowledged 4
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::EntriesLost(EntriesLost { incarnation: 8, acknowledged: Index(4) }) }),
            // received n2→n1 AppendEntriesResponse [term 3] match 3, round 1, a suspect, sleeps
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::AppendEntriesResponse(AppendEntriesResponse { round: Round(1), prev_acknowledged: false, incarnation: 77, suspect: true, lease_ms: 4_294_967_295, sleeps: true, disk_waits_ms: 300, result: AppendResult::Accepted { match_index: Index(3) } }) }),
            // received n2→n1 AppendEntriesResponse [term 3] rejected after 3, hint 2@1, round 1, a suspect, sleeps
            Input::Receive(Message { group: GroupId(7), from: NodeId(2), to: NodeId(1), term: Term(3), body: Body::AppendEntriesResponse(AppendEntriesResponse { round: Round(1), prev_acknowledged: false, incarnation: 77, suspect: true, lease_ms: 4_294_967_295, sleeps: true, disk_waits_ms: 300, result: AppendResult::Rejected { prev_index: Index(3), hint: EntryId { term: Term(1), index: Index(2) } } }) }),
        ],
        &[
            "request 9223372036854775807 is entry 3@1",
            "request 9223372036854775807 is entry 4@1",
            "request 9223372036854775807 is entry 5@1",
            "request 9223372036854775807 is entry 6@1",
            "request 9223372036854775807 is entry 7@1",
            "refuse request 9223372036854775807: node 5 is not a learner; only a learner can be promoted",
            "refuse request 9223372036854775807: node 2 is not a voter, so it cannot lead; name a voter",
            "refuse request 0: there is no leader; retry after an election",
            "refuse request 9223372036854775807: there is no leader; retry after an election",
            "leader becomes follower in term 3: node 2 has a higher term",
            "follower becomes follower of n2 in term 3: the leader of this term made itself known",
            "count with the members {1,2,3}&{1,4}+5>4",
            "follower becomes pre-candidate in term 3: was asked to campaign",
            "pre-candidate becomes follower of n2 in term 3: the leader of this term made itself known",
            "write 4: term 3, vote nobody, commit 70; the snapshot at 70@3 in force; a new log with no entry, then send n1→n2 AppendEntriesResponse [term 3] match 70, round 0, n1→n2 RequestPreVote [term 3] for term 4, last 70@3, n1→n3 RequestPreVote [term 3] for term 4, last 70@3, n1→n4 RequestPreVote [term 3] for term 4, last 70@3, n1→n2 RequestVoteResponse [term 3] refused, n1→n2 RequestPreVoteResponse [term 3] refused for term 4, n1→n2 AppendEntriesResponse [term 3] match 70, round 5",
        ],
    );
    assert_eq!(describe_state(&raft), "follower of term 3, vote nobody, leader n2, log ends at 70, durable 2, commit 70, applied 70, members {1,2,3}&{1,4}+5>4");
}
