//! What a replica does with inputs that no scenario can express: they are meant for others, or come before it starts.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use raft_core::config::{Config, ConfigError};
use raft_core::effect::{Effect, Rest, RoleKind};
use raft_core::input::Input;
use raft_core::membership::Membership;
use raft_core::message::{
    AppendEntries, Body, ForwardRequest, InstallSnapshot, Message, RequestPreVoteResponse, RequestVote,
    RequestVoteResponse, SnapshotMeta, VoteRefusal,
};
use raft_core::raft::{LostEntries, Raft, RaftError};
use raft_core::request::ClientRequest;
use raft_core::traits::Recovered;
use raft_core::types::{EntryId, GroupId, HardState, Index, NodeId, Round, Term, Ticket, Time, WriteSeq};

const GROUP: GroupId = GroupId(1);
const NOW: Time = Time::from_millis(1);

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

fn snapshot(last: EntryId) -> SnapshotMeta {
    let membership = Membership::of_voters([1, 2, 3].map(NodeId)).expect("three voters");
    SnapshotMeta { last, membership }
}

/// Entries 3 to 5 of term 2 are stored; a snapshot covers what is before them.
fn recovered(commit: u64) -> Recovered {
    Recovered {
        hard_state: HardState {
            term: Term(2),
            vote: None,
            commit: Index(commit),
            ..HardState::default()
        },
        snapshot: snapshot(id(2, 1)),
        purged: id(2, 1),
        term_runs: vec![(Index(3), Term(2))],
        last_index: Index(5),
        ..Recovered::default()
    }
}

fn start(commit: u64, applied: EntryId) -> Result<Raft, RaftError> {
    Raft::new(Config::new(GROUP, NodeId(1)), recovered(commit), applied, NOW)
}

/// Hands one input over and returns what follows from it.
fn step(raft: &mut Raft, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    raft.step(NOW, input, &mut effects);
    effects
}

fn message(group: GroupId, to: u64, body: Body) -> Input {
    Input::Receive(Message {
        group,
        from: NodeId(2),
        to: NodeId(to),
        term: Term(9),
        body,
    })
}

/// R69, I24: a message of another group, or one for another node, changes nothing, not even the term.
#[test]
fn what_is_meant_for_others_is_ignored() {
    let mut raft = start(3, id(3, 2)).unwrap();
    let before = raft.status();
    let request = || {
        Body::RequestVote(RequestVote {
            last_log: id(99, 9),
            leadership_transfer: true,
            incarnation: 0,
        })
    };
    let header = |group, to| {
        Input::SnapshotReceived(InstallSnapshot {
            group,
            from: NodeId(2),
            to: NodeId(to),
            term: Term(9),
            meta: snapshot(id(99, 9)),
        })
    };
    for (group, to) in [(GroupId(2), 1), (GROUP, 3)] {
        assert_eq!(step(&mut raft, message(group, to, request())), []);
        assert_eq!(step(&mut raft, header(group, to)), []);
    }
    assert_eq!(raft.status(), before);
    // The same for this group and node is heard.
    assert_ne!(step(&mut raft, message(GROUP, 1, request())), []);
    assert_eq!(raft.term(), Term(9));
}

/// R69: a snapshot that ends in a later term than its sender leads comes from nobody who could have made it.
#[test]
fn a_snapshot_from_the_future_is_ignored() {
    let mut raft = start(3, id(3, 2)).unwrap();
    let before = raft.status();
    let header = |term| {
        Input::SnapshotReceived(InstallSnapshot {
            group: GROUP,
            from: NodeId(2),
            to: NodeId(1),
            term: Term(term),
            meta: snapshot(id(99, 9)),
        })
    };
    assert_eq!(step(&mut raft, header(8)), []);
    assert_eq!(raft.status(), before);
    assert_ne!(step(&mut raft, header(9)), []);
    assert_eq!(raft.leader(), Some(NodeId(2)));
}

/// S6: requests that a client's node passes on are the driver's; the protocol takes from them the term and nothing else.
#[test]
fn forwarded_requests_are_not_of_the_protocol() {
    let mut raft = start(3, id(3, 2)).unwrap();
    raft.step(NOW, Input::Tick, &mut Vec::new());
    let body = Body::ForwardRequest(ForwardRequest {
        ticket: Ticket(1),
        request: ClientRequest::ReadIndex,
    });
    let mut before = raft.status();
    step(&mut raft, message(GROUP, 1, body));
    before.term = Term(9);
    assert_eq!(raft.status(), before);
}

/// R52, R75: a state machine that is behind the log's beginning must be restored before the replica starts.
#[test]
fn no_hole_between_state_and_log() {
    let refused = start(4, id(1, 1)).unwrap_err();
    assert_eq!(
        refused,
        RaftError::StateMachineBehind {
            applied: id(1, 1),
            purged: id(2, 1),
        }
    );
    assert!(
        refused
            .to_string()
            .contains("restore the state machine from the snapshot at 2@1")
    );
    // At the beginning, and ahead of the stored commit index, which is only a hint (R59).
    assert_eq!(start(4, id(2, 1)).unwrap().commit_index(), Index(4));
    assert_eq!(start(3, id(5, 2)).unwrap().commit_index(), Index(5));
}

/// R11: a log that ends below what was committed or applied has lost acknowledged entries.
#[test]
fn a_log_that_lost_entries_is_refused() {
    for (commit, applied) in [(6, id(2, 1)), (3, id(6, 2))] {
        let lost = LostEntries {
            commit: Index(6),
            last: id(5, 2),
        };
        assert_eq!(start(commit, applied).unwrap_err(), lost.into());
    }
}

/// R5, R11: so has one whose end shows again what stood there before something else was applied. Found by simulation.
#[test]
fn a_log_that_shows_overwritten_entries_is_refused() {
    let lost = LostEntries {
        commit: Index(5),
        last: id(5, 2),
    };
    assert_eq!(start(3, id(5, 3)).unwrap_err(), lost.into());
}

/// What a program that enumerates states takes for the same is the same but for times, random numbers and numbers of writes;
/// what decides anything is told apart.
#[test]
fn fingerprints_tell_apart_what_decides() {
    let fingerprint = |seed: u64, at_ms: u64, inputs: Vec<Input>| {
        let mut config = Config::new(GROUP, NodeId(1));
        config.random_seed = seed;
        let now = Time::from_millis(at_ms);
        let mut raft = Raft::new(config, recovered(3), id(3, 2), now).unwrap();
        for input in inputs {
            raft.step(now, input, &mut Vec::new());
        }
        let mut hasher = DefaultHasher::new();
        raft.fingerprint(now, &mut hasher);
        hasher.finish()
    };
    let vote = |last_log| {
        let leadership_transfer = false;
        message(
            GROUP,
            1,
            Body::RequestVote(RequestVote {
                last_log,
                leadership_transfer,
                incarnation: 0,
            }),
        )
    };
    let follower = fingerprint(1, 1, vec![]);
    assert_eq!(follower, fingerprint(2, 5_000, vec![]));
    let voted = fingerprint(1, 1, vec![vote(id(5, 2))]);
    // The same question again is answered again, by a write that stores nothing.
    assert_eq!(voted, fingerprint(1, 1, vec![vote(id(5, 2)), vote(id(5, 2))]));
    let refused = fingerprint(1, 1, vec![vote(id(4, 2))]);
    let candidate = fingerprint(1, 1, vec![Input::Campaign]);
    let all = [follower, voted, refused, candidate];
    assert!(
        (0..4).all(|one| (0..one).all(|other| all[one] != all[other])),
        "{all:?}"
    );
}

/// S15: a configuration that cannot work is refused before anything happens.
#[test]
fn a_configuration_is_validated() {
    let mut config = Config::new(GROUP, NodeId(1));
    config.heartbeat_interval = config.election_timeout;
    let refused = Raft::new(config, recovered(3), id(3, 2), NOW).unwrap_err();
    assert!(matches!(
        refused,
        RaftError::Config(ConfigError::HeartbeatTooSlow { .. })
    ));
}

/// I3: a late refusal of an earlier vote request does not prove that the candidate's new term is durable, and neither does a
/// vote: no message leaves in a term that is not on the own disk.
#[test]
fn what_others_say_proves_nothing_about_the_own_disk() {
    let candidate = || {
        let mut raft = start(3, id(3, 2)).unwrap();
        step(&mut raft, Input::Campaign);
        let granted = |candidate_term, granted: bool| {
            Body::RequestPreVoteResponse(RequestPreVoteResponse {
                candidate_term,
                refusal: (!granted).then_some(VoteRefusal::LaterTerm),
                incarnation: 0,
            })
        };
        let mut pre_vote = message(GROUP, 1, granted(Term(3), true));
        if let Input::Receive(message) = &mut pre_vote {
            message.term = Term(2);
        }
        let effects = step(&mut raft, pre_vote);
        assert_eq!((raft.role(), raft.term()), (RoleKind::Candidate, Term(3)));
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Persist(_))));
        raft
    };
    let receive = |raft: &mut Raft, from, body| {
        let message = Message {
            group: GROUP,
            from: NodeId(from),
            to: NodeId(1),
            term: Term(3),
            body,
        };
        step(raft, Input::Receive(message))
    };
    let sends = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Send(_)));

    let mut raft = candidate();
    let vote = |granted: bool| {
        Body::RequestVoteResponse(RequestVoteResponse {
            refusal: (!granted).then_some(VoteRefusal::LaterTerm),
            incarnation: 0,
        })
    };
    // Node 2 has refused a request of term 2 in term 3; node 3 leads that term.
    receive(&mut raft, 2, vote(false));
    let heartbeat = AppendEntries {
        prev: EntryId::ZERO,
        prev_acknowledged: false,
        entries: Vec::new(),
        leader_commit: Index(0),
        round: Round(1),
        sleep: false,
    };
    let effects = receive(&mut raft, 3, Body::AppendEntries(heartbeat));
    assert_eq!(raft.role(), RoleKind::Follower);
    assert!(!sends(&effects), "{effects:?}");

    let mut raft = candidate();
    let effects = [
        receive(&mut raft, 2, vote(true)),
        receive(&mut raft, 3, vote(true)),
    ]
    .concat();
    assert_eq!(raft.role(), RoleKind::Candidate);
    assert!(!sends(&effects), "{effects:?}");
    let effects = step(&mut raft, Input::Persisted(WriteSeq(1)));
    assert_eq!(raft.role(), RoleKind::Leader, "the votes were kept");
    assert!(sends(&effects));
}

/// R36: whose node is not watched any more must be watched anew, even if it wakes up and falls asleep again in one step.
#[test]
fn who_falls_asleep_again_in_the_step_in_which_its_leader_was_lost_says_so() {
    let mut config = Config::new(GROUP, NodeId(1));
    config.quiesce_after = Some(Duration::from_millis(200));
    let mut raft = Raft::new(config, recovered(5), id(5, 2), NOW).expect("it starts");
    let sleep = |round: u64| {
        Input::Receive(Message {
            group: GROUP,
            from: NodeId(2),
            to: NodeId(1),
            term: Term(2),
            body: Body::AppendEntries(AppendEntries {
                prev: id(5, 2),
                prev_acknowledged: false,
                entries: Vec::new(),
                leader_commit: Index(5),
                round: Round(round),
                sleep: true,
            }),
        })
    };
    let rests = |effects: &[Effect]| -> Vec<Rest> {
        let rest = |effect: &Effect| match effect {
            Effect::Rested(rest) => Some(*rest),
            _ => None,
        };
        effects.iter().filter_map(rest).collect()
    };
    let following = Rest::Following {
        leader: NodeId(2),
        term: Term(2),
    };
    assert_eq!(rests(&step(&mut raft, sleep(1))), [following]);
    let mut effects = Vec::new();
    raft.step_all(NOW, [Input::PeerLost(NodeId(2)), sleep(2)], &mut effects);
    assert_eq!(rests(&effects), [Rest::Awake, following]);
    let effects = step(&mut raft, Input::PeerLost(NodeId(3)));
    assert_eq!(rests(&effects), [], "it follows another node");
    let effects = step(&mut raft, Input::PeerLost(NodeId(2)));
    assert_eq!(rests(&effects), [Rest::Awake]);
}

/// Lets every write complete.
fn persist(raft: &mut Raft, effects: Vec<Effect>) {
    for effect in effects {
        if let Effect::Persist(write) = effect {
            let effects = step(raft, Input::Persisted(write.seq));
            persist(raft, effects);
        }
    }
}

/// R52: the snapshot in force is needed until the record of a newer one is durable, or a crash in between leaves a log
/// without its beginning. While a received one is restored, none goes. Found by simulation.
#[test]
fn a_snapshot_is_needed_until_a_newer_one_is_durably_in_force() {
    let mut raft = start(5, id(5, 2)).expect("it starts");
    let effects = step(&mut raft, Input::SnapshotCreated(snapshot(id(4, 2))));
    assert_eq!(raft.status().snapshot, id(4, 2));
    assert_eq!(raft.oldest_needed_snapshot(), id(2, 1));
    persist(&mut raft, effects);
    assert_eq!(raft.oldest_needed_snapshot(), id(4, 2));
    let received = Input::SnapshotReceived(InstallSnapshot {
        group: GROUP,
        from: NodeId(2),
        to: NodeId(1),
        term: Term(2),
        meta: snapshot(id(9, 2)),
    });
    let effects = step(&mut raft, received);
    persist(&mut raft, effects);
    assert_eq!(raft.oldest_needed_snapshot(), EntryId::ZERO);
    step(&mut raft, Input::SnapshotRestored(id(9, 2)));
    assert_eq!(raft.oldest_needed_snapshot(), id(9, 2));
}
