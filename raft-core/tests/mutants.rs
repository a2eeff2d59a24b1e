//! Bugs that no scenario can show, because they are about sessions, clients or other groups: what each of them changes.
//! Those of the protocol are in `scenario_mutants`.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::config::Config;
use raft_core::driver::{ApplyBatch, Driver, Outcome, Ports};
use raft_core::effect::{FatalReason, Rest, RoleChange, Write};
use raft_core::entry::{Entry, Payload, SessionCommand, SessionEntry, SessionRequest};
use raft_core::input::{Input, LogRead, Proposal, Proposed};
use raft_core::membership::Membership;
use raft_core::message::{
    Body, InstallSnapshot, Leadership, Message, Pulse, PulseId, RequestVote, SnapshotMeta,
};
use raft_core::mutants::{self, Mutant};
use raft_core::pulse::{PulseEffect, PulseInput, PulseSettings, Pulses};
use raft_core::raft::Raft;
use raft_core::request::RefusalReason;
use raft_core::sessions::{ReplicatedState, Reply};
use raft_core::traits::{Recovered, StateMachine, StateMachineError};
use raft_core::types::{EntryId, GroupId, Index, NodeId, Sequence, SessionId, Term, Ticket, Time};

/// What comes of `run` without the mutant, and with it.
fn without_and_with<T>(mutant: Mutant, run: impl Fn() -> T) -> (T, T) {
    mutants::choose(None);
    let without = run();
    mutants::choose(Some(mutant));
    let with = run();
    mutants::choose(None);
    (without, with)
}

// ---- sessions ----

/// Lists the commands that it applied.
#[derive(Default)]
struct List {
    commands: Vec<Bytes>,
    last: EntryId,
}

impl StateMachine for List {
    fn last_applied(&self) -> EntryId {
        self.last
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateMachineError> {
        for entry in entries {
            if let Payload::Command(command) = &entry.payload {
                self.commands.push(command.clone());
            }
            self.last = entry.id;
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn query(&self, _question: &[u8]) -> Result<Bytes, StateMachineError> {
        Ok(self.commands.concat().into())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Read + Send>, StateMachineError> {
        Ok(Box::new(Cursor::new(self.commands.concat())))
    }

    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> Result<(), StateMachineError> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        (self.commands, self.last) = (vec![bytes.into()], meta.last);
        Ok(())
    }
}

fn open() -> ReplicatedState {
    ReplicatedState::open(Box::new(List::default())).expect("an empty list has no sessions")
}

fn applied(state: &ReplicatedState) -> Bytes {
    state.query(b"").expect("a list answers everything")
}

fn session_entry(index: u64, elapsed_ms: u64, request: SessionRequest) -> Entry {
    Entry {
        id: EntryId::new(Term(1), Index(index)),
        payload: Payload::Session(Arc::new(SessionEntry { elapsed_ms, request })),
    }
}

/// Opens session 1, which ends when it is not used for a second.
fn opening() -> Entry {
    session_entry(1, 0, SessionRequest::Open { ttl_ms: 1_000 })
}

/// The first command of session 1.
fn command(index: u64) -> Entry {
    let command = SessionCommand {
        session: SessionId(1),
        sequence: Sequence::FIRST,
        acknowledged_below: Sequence::FIRST,
        command: Bytes::from_static(b"x"),
    };
    session_entry(index, 10, SessionRequest::Command(command))
}

/// R73, I15: the copy of a command is not applied.
#[test]
fn duplicate_command_applied() {
    let run = || {
        let mut state = open();
        state.apply(&[opening(), command(2), command(3)]).unwrap();
        applied(&state)
    };
    let (without, with) = without_and_with(Mutant::DuplicateCommandApplied, run);
    assert_eq!((&without[..], &with[..]), (&b"x"[..], &b"xx"[..]));
}

/// R73, I15, I21: who starts from a snapshot knows which commands were applied before.
#[test]
fn sessions_missing_from_snapshot() {
    let run = || {
        let mut old = open();
        old.apply(&[opening(), command(2)]).unwrap();
        let meta = SnapshotMeta {
            last: old.last_applied(),
            membership: Membership::of_voters([NodeId(1)]).unwrap(),
        };
        let mut restored = open();
        restored.restore(&meta, &mut old.snapshot().unwrap()).unwrap();
        restored.apply(&[command(3)]).unwrap().remove(0)
    };
    let (without, with) = without_and_with(Mutant::SessionsMissingFromSnapshot, run);
    let reply = Reply {
        index: Index(2),
        response: Bytes::new(),
    };
    assert_eq!(without, Ok(reply));
    assert_eq!(with, Err(RefusalReason::SessionExpired(SessionId(1))));
}

/// R73, I10: two replicas apply the same entries, at different times of their clocks, with the same result.
#[test]
fn expiry_by_wall_clock() {
    let run = || {
        [0, 2_000].map(|milliseconds| {
            let mut state = open();
            mutants::set_wall_clock(0);
            state.apply(&[opening()]).unwrap();
            mutants::set_wall_clock(milliseconds);
            state.apply(&[command(2)]).unwrap();
            applied(&state)
        })
    };
    let (without, with) = without_and_with(Mutant::ExpiryByWallClock, run);
    assert_eq!(without[0], without[1]);
    assert_ne!(with[0], with[1]);
}

// ---- clients ----

const GROUP: GroupId = GroupId(1);
const ME: NodeId = NodeId(1);

fn alone() -> Raft {
    let snapshot = SnapshotMeta {
        last: EntryId::ZERO,
        membership: Membership::of_voters([ME]).expect("one voter"),
    };
    let recovered = Recovered {
        snapshot,
        ..Recovered::default()
    };
    Raft::new(Config::new(GROUP, ME), recovered, EntryId::ZERO, Time::ZERO).expect("nothing was lost")
}

/// Surroundings that remember writes and answers.
#[derive(Default)]
struct Notes {
    writes: Vec<Write>,
    outcomes: Vec<(Ticket, Outcome)>,
}

impl Ports for Notes {
    fn send(&mut self, _to: NodeId, _messages: Vec<Message>) {}
    fn persist(&mut self, write: Write) {
        self.writes.push(write);
    }
    fn read_log(&mut self, _request: LogRead) {}
    fn apply(&mut self, _batch: ApplyBatch) {}
    fn create_snapshot(&mut self, _meta: SnapshotMeta) {}
    fn restore_snapshot(&mut self, _meta: SnapshotMeta) {}
    fn send_snapshot(&mut self, _header: InstallSnapshot) {}
    fn compact(&mut self, _through: EntryId) {}
    fn resolve(&mut self, ticket: Ticket, outcome: Outcome) {
        self.outcomes.push((ticket, outcome));
    }
    fn membership_changed(&mut self, _membership: &Membership) {}
    fn role_changed(&mut self, _change: &RoleChange) {}
    fn fatal(&mut self, reason: FatalReason) {
        panic!("{reason}");
    }
}

/// A leader of a group of its own, whose disk works and whose state machine has applied nothing yet.
fn leader() -> (Driver, Notes) {
    let (mut driver, mut notes) = (Driver::new(alone(), 1), Notes::default());
    let mut inputs = vec![Input::Campaign];
    while !inputs.is_empty() {
        driver.step_all(Time::ZERO, inputs.drain(..), &mut notes);
        for write in notes.writes.drain(..) {
            inputs.push(Input::Persisted(write.seq));
            inputs.extend(write.then.into_iter().map(Input::Receive));
        }
    }
    assert_eq!(driver.raft().commit_index(), Index(1));
    (driver, notes)
}

/// I16: a read waits until the state machine has applied what it must see.
#[test]
fn read_before_apply() {
    let run = || {
        let (mut driver, mut notes) = leader();
        driver.step_all(Time::ZERO, [Input::Read(vec![Ticket(1)])], &mut notes);
        notes.outcomes
    };
    let (without, with) = without_and_with(Mutant::ReadBeforeApply, run);
    let ready = Outcome::ReadReady { index: Index(1) };
    assert_eq!((without, with), (vec![], vec![(Ticket(1), ready)]));
}

/// R45, I14: nobody is told that his command was not applied while it may yet be.
#[test]
fn loss_told_as_refusal() {
    let run = || {
        let (mut driver, mut notes) = leader();
        let command = Proposed::Command(Bytes::from_static(b"x"));
        let ticket = Ticket(1);
        let proposal = Input::Propose(vec![Proposal { ticket, command }]);
        driver.step_all(Time::ZERO, [proposal], &mut notes);
        driver.stop(&mut notes);
        notes.outcomes
    };
    let (without, with) = without_and_with(Mutant::LossToldAsRefusal, run);
    let refused = Outcome::Refused(RefusalReason::NotLeader { leader: None });
    assert_eq!(without, [(Ticket(1), Outcome::Unknown)]);
    assert_eq!(with, [(Ticket(1), refused)]);
}

/// R69, I24: what is said in another group raises no term here.
#[test]
fn foreign_message_heard() {
    let run = || {
        let mut raft = alone();
        let request = RequestVote {
            last_log: EntryId::ZERO,
            leadership_transfer: false,
            incarnation: 0,
        };
        let message = Message {
            group: GroupId(2),
            from: NodeId(2),
            to: ME,
            term: Term(9),
            body: Body::RequestVote(request),
        };
        raft.step(Time::ZERO, Input::Receive(message), &mut Vec::new());
        raft.term()
    };
    let terms = without_and_with(Mutant::ForeignMessageHeard, run);
    assert_eq!(terms, (Term(0), Term(9)));
}

// ---- nodes ----

fn pulses(node: u64) -> Pulses {
    Pulses::new(PulseSettings {
        node: NodeId(node),
        incarnation: node,
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
    })
}

fn pulse(incarnation: u64, serial: u64, heard: u64) -> PulseInput {
    let id = |incarnation, serial| PulseId { incarnation, serial };
    let pulse = Pulse {
        id: id(incarnation, serial),
        heard: Some(id(2, heard)),
        watches: Vec::new(),
        ended: Vec::new(),
    };
    let from = NodeId(1);
    PulseInput::Received { from, pulse }
}

fn rested(rest: Rest) -> PulseInput {
    let group = GroupId(1);
    PulseInput::Rested { group, rest }
}

/// R39: a node that was started again leads nothing of what it led before, though it lives.
#[test]
fn the_pulse_of_another_start_is_no_sign_of_life() {
    let lost = || {
        let (mut pulses, mut effects) = (pulses(2), Vec::new());
        let (leader, term) = (NodeId(1), Term(1));
        let inputs = [
            rested(Rest::Following { leader, term }),
            pulse(7, 1, 1),
            pulse(7, 2, 1),
            pulse(7, 3, 2),
            pulse(8, 1, 2),
        ];
        for (step, input) in inputs.into_iter().enumerate() {
            pulses.step(Time::from_millis(100 * step as u64), input, &mut effects);
        }
        let lost = |effect: &&PulseEffect| matches!(effect, PulseEffect::Lost { .. });
        effects.iter().filter(lost).count()
    };
    assert_eq!(without_and_with(Mutant::RestartedPulseCounted, lost), (1, 0));
}

/// R36: a node that leads a group no more says so to who sleeps under it, since it goes on saying that it lives.
#[test]
fn the_end_of_a_leadership_is_told() {
    let told = || {
        let (mut pulses, mut effects) = (pulses(1), Vec::new());
        let (group, term) = (GroupId(1), Term(1));
        let watches = vec![Leadership { group, term }];
        let pulse = Pulse {
            id: PulseId {
                incarnation: 2,
                serial: 1,
            },
            heard: None,
            watches,
            ended: Vec::new(),
        };
        let from = NodeId(2);
        let inputs = [
            rested(Rest::Leading { term, asleep: true }),
            PulseInput::Received { from, pulse },
            rested(Rest::Awake),
            PulseInput::Tick,
        ];
        for (step, input) in inputs.into_iter().enumerate() {
            pulses.step(Time::from_millis(100 * step as u64), input, &mut effects);
        }
        let ended = |effect: &PulseEffect| match effect {
            PulseEffect::Send(message) => match &message.body {
                Body::Pulse(pulse) => pulse.ended.len(),
                _ => 0,
            },
            PulseEffect::Lost { .. } => 0,
        };
        effects.iter().map(ended).sum::<usize>()
    };
    assert_eq!(without_and_with(Mutant::EndedLeadershipNotTold, told), (2, 0));
}
