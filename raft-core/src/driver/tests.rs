//! Three drivers without threads, disks or clocks: what they persist is durable and applied when the test says so.

mod copies;
mod load;
mod ports;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use ports::TestPorts;

use super::*;
use crate::config::Config;
use crate::effect::{FatalReason, Write};
use crate::input::LogRead;
use crate::membership::{MemberChange, Membership};
use crate::message::{Message, SnapshotMeta};
use crate::sessions::Reply;
use crate::traits::Recovered;
use crate::types::{GroupId, NodeId};

struct Cluster {
    now: Time,
    drivers: Vec<Driver>,
    ports: Vec<TestPorts>,
    network: VecDeque<Message>,
    /// Messages that match are lost.
    lose: fn(&Message) -> bool,
    /// Nodes whose disk has stalled.
    stalled: Vec<NodeId>,
}

fn config(id: u64) -> Config {
    Config::new(GroupId(1), NodeId(id))
}

impl Cluster {
    fn new(change: impl Fn(&mut Config)) -> Cluster {
        let membership = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]).unwrap();
        let driver = |id: u64| {
            let mut config = config(id);
            change(&mut config);
            let recovered = Recovered {
                snapshot: SnapshotMeta {
                    last: EntryId::ZERO,
                    membership: membership.clone(),
                },
                ..Recovered::default()
            };
            Driver::new(
                Raft::new(config, recovered, EntryId::ZERO, Time::ZERO).unwrap(),
                id,
            )
        };
        Cluster {
            now: Time::ZERO,
            drivers: (1..=3).map(driver).collect(),
            ports: (0..3).map(|_| TestPorts::default()).collect(),
            network: VecDeque::new(),
            lose: |_| false,
            stalled: Vec::new(),
        }
    }

    /// A cluster whose node 1 leads.
    fn led_by_1(change: impl Fn(&mut Config)) -> Cluster {
        let mut cluster = Cluster::new(change);
        cluster.step(1, [Input::Campaign]);
        cluster.run();
        assert_eq!(cluster.drivers[0].raft().role(), RoleKind::Leader);
        assert_eq!(cluster.drivers[2].raft().leader(), Some(NodeId(1)));
        cluster
    }

    fn step(&mut self, id: u64, inputs: impl IntoIterator<Item = Input>) {
        let place = id as usize - 1;
        self.drivers[place].step_all(self.now, inputs, &mut self.ports[place]);
    }

    /// Lets disks, state machines and the network work until nothing is left to do.
    fn run(&mut self) {
        loop {
            let mut worked = false;
            for id in 1..=3 {
                worked |= self.work(id);
            }
            while let Some(message) = self.network.pop_front() {
                worked = true;
                if !(self.lose)(&message) {
                    self.step(message.to.0, [Input::Receive(message)]);
                }
            }
            if !worked {
                return;
            }
        }
    }

    fn work(&mut self, id: u64) -> bool {
        let ports = &mut self.ports[id as usize - 1];
        let mut inputs = Vec::new();
        let sent = std::mem::take(&mut ports.sent);
        let mut worked = !sent.is_empty();
        self.network.extend(sent);
        if !self.stalled.contains(&NodeId(id)) {
            for write in std::mem::take(&mut ports.written) {
                inputs.push(Input::Persisted(write.seq));
                let (own, others): (Vec<_>, Vec<_>) =
                    write.then.into_iter().partition(|message| message.to.0 == id);
                inputs.extend(own.into_iter().map(Input::Receive));
                self.network.extend(others);
            }
        }
        for batch in std::mem::take(&mut ports.applies) {
            inputs.push(Input::Applied(batch.last_index()));
            let reply = |entry: &Entry| {
                let index = entry.index();
                let response = Bytes::from(format!("response {index}"));
                Ok(Reply { index, response })
            };
            let results = batch.entries.iter().map(reply).collect();
            let settled = batch.settle(results);
            ports.ended.extend(settled.outcomes);
            self.network.extend(settled.messages);
        }
        worked |= !inputs.is_empty();
        self.step(id, inputs);
        worked
    }

    fn advance(&mut self, id: u64, duration: Duration) {
        self.now = self.now + duration;
        self.step(id, [Input::Tick]);
    }

    fn ended(&mut self, id: u64) -> Vec<(Ticket, Outcome)> {
        std::mem::take(&mut self.ports[id as usize - 1].ended)
    }
}

fn propose(tickets: impl IntoIterator<Item = u64>) -> Input {
    let proposal = |ticket: u64| Proposal {
        ticket: Ticket(ticket),
        command: Bytes::from(format!("command {ticket}")).into(),
    };
    Input::Propose(tickets.into_iter().map(proposal).collect())
}

fn applied(ticket: u64, index: u64) -> (Ticket, Outcome) {
    let response = Bytes::from(format!("response {index}"));
    (
        Ticket(ticket),
        Outcome::Applied {
            index: Index(index),
            response,
        },
    )
}

fn refused(ticket: u64, reason: RefusalReason) -> (Ticket, Outcome) {
    (Ticket(ticket), Outcome::Refused(reason))
}

fn is_forward(message: &Message) -> bool {
    matches!(message.body, Body::ForwardRequest(_))
}

#[test]
fn commands_are_applied_wherever_they_are_proposed() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(1, [propose([10, 11])]);
    cluster.step(2, [propose([20, 21])]);
    cluster.run();
    assert_eq!(cluster.ended(1), [applied(10, 2), applied(11, 3)]);
    assert_eq!(cluster.ended(2), [applied(20, 4), applied(21, 5)]);
    assert!(cluster.drivers[0].guests.stop().is_empty());
    assert!(cluster.drivers[1].forwards.is_empty());
}

#[test]
fn one_batch_per_peer_and_step() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.ports[0].batches_to.clear();
    cluster.step(1, [propose([1]), propose([2]), Input::Read(vec![Ticket(3)])]);
    assert_eq!(cluster.ports[0].batches_to, [NodeId(2), NodeId(3)]);
}

#[test]
fn a_read_on_a_follower_waits_for_its_own_state_machine() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(1, [propose([10])]);
    cluster.run();
    cluster.stalled = vec![NodeId(3)];
    cluster.step(1, [propose([11])]);
    cluster.run();
    cluster.step(3, [Input::Read(vec![Ticket(30)])]);
    cluster.step(2, [Input::Read(vec![Ticket(20)])]);
    cluster.step(1, [Input::Read(vec![Ticket(12)])]);
    cluster.run();
    let ready = Outcome::ReadReady { index: Index(3) };
    assert_eq!(cluster.ended(2), [(Ticket(20), ready.clone())]);
    assert_eq!(cluster.ended(1).pop(), Some((Ticket(12), ready.clone())));
    assert_eq!(cluster.ended(3), [], "node 3 has not applied index 3 yet");
    cluster.stalled.clear();
    cluster.run();
    cluster.advance(1, config(1).heartbeat_interval);
    cluster.run();
    assert_eq!(cluster.ended(3), [(Ticket(30), ready)]);
}

/// R45: on loss of leadership every pending proposal is resolved, also that of another node's client.
#[test]
fn a_leader_that_steps_down_resolves_what_is_in_flight() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.lose = |message| matches!(message.body, Body::AppendEntries(_));
    cluster.step(1, [propose([10]), propose([11]), Input::Read(vec![Ticket(12)])]);
    cluster.step(2, [propose([20]), Input::Read(vec![Ticket(21)])]);
    cluster.run();
    assert_eq!(
        cluster.ended(1),
        [],
        "nothing can be committed without AppendEntries"
    );
    cluster.advance(1, config(1).election_timeout);
    assert_ne!(
        cluster.drivers[0].raft().role(),
        RoleKind::Leader,
        "it steps down without a quorum"
    );
    let no_leader = RefusalReason::NotLeader { leader: None };
    assert_eq!(
        cluster.ended(1),
        [
            refused(12, no_leader),
            (Ticket(10), Outcome::Unknown),
            (Ticket(11), Outcome::Unknown)
        ]
    );
    cluster.run();
    assert_eq!(cluster.ended(2), [(Ticket(20), Outcome::Unknown)]);
    assert!(
        !cluster.drivers[1].forwards.is_empty(),
        "the read waits for another leader"
    );
}

#[test]
fn requests_wait_for_a_leader() {
    let mut cluster = Cluster::new(|_| {});
    cluster.step(1, [propose([10]), Input::Read(vec![Ticket(11)])]);
    cluster.step(2, [propose([20])]);
    cluster.run();
    assert_eq!(cluster.ended(1), []);
    cluster.step(1, [Input::Campaign]);
    cluster.run();
    let mut ended = cluster.ended(1);
    ended.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(ended[0], applied(10, 2));
    assert!(matches!(ended[1], (Ticket(11), Outcome::ReadReady { .. })));
    assert_eq!(cluster.ended(2), [applied(20, 3)]);
}

/// R20: a request that finds no leader in time is refused, with the reason.
#[test]
fn requests_do_not_wait_for_ever() {
    let mut cluster = Cluster::new(|_| {});
    cluster.lose = |_| true;
    cluster.step(1, [propose([10]), Input::Read(vec![Ticket(11)])]);
    cluster.advance(1, config(1).election_timeout * 2);
    let no_leader = RefusalReason::NotLeader { leader: None };
    assert_eq!(cluster.ended(1), [refused(10, no_leader), refused(11, no_leader)]);
    assert!(cluster.drivers[0].forwards.is_empty());
}

/// R45: a command whose answer is lost is unknown; a read is asked again.
#[test]
fn a_lost_forward_ends_by_its_deadline() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.lose = is_forward;
    cluster.step(2, [propose([20]), Input::Read(vec![Ticket(21)])]);
    cluster.run();
    cluster.lose = |_| false;
    let timeout = config(2).election_timeout;
    let ticks = 10 * 5;
    for _ in 0..ticks {
        cluster.advance(1, timeout / 10);
        cluster.step(2, [Input::Tick]);
        cluster.run();
    }
    let ended = cluster.ended(2);
    assert!(matches!(ended[0], (Ticket(21), Outcome::ReadReady { .. })));
    assert_eq!(ended[1..], [(Ticket(20), Outcome::Unknown)]);
}

/// R73: a network that delivers a request twice does not make the command be applied twice.
#[test]
fn a_request_delivered_twice_is_served_once() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(2, [propose([20])]);
    let request = cluster.ports[1].sent[0].clone();
    assert!(is_forward(&request));
    cluster.run();
    cluster.step(1, [Input::Receive(request.clone())]);
    cluster.run();
    assert_eq!(cluster.drivers[0].raft().commit_index(), Index(2));
    // In a later leadership of the same node, too.
    cluster.step(2, [Input::Campaign]);
    cluster.advance(1, config(1).election_timeout);
    cluster.step(1, [Input::Campaign]);
    cluster.run();
    assert_eq!(cluster.drivers[0].raft().role(), RoleKind::Leader);
    let before = cluster.drivers[0].status().appended_index;
    cluster.step(1, [Input::Receive(request)]);
    cluster.run();
    assert_eq!(cluster.drivers[0].status().appended_index, before);
}

fn forward_result(message: Message) -> Option<ForwardResult> {
    match message.body {
        Body::ForwardResponse(response) => Some(response.result),
        _ => None,
    }
}

/// R45: "not applied" must be true. Once a copy of a command was taken, a late copy is not refused, and a leader that
/// does not remember does not deny.
#[test]
fn a_late_copy_is_not_refused_after_the_first_was_taken() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(2, [propose([20])]);
    let taken = cluster.ports[1].sent[0].clone();
    cluster.lose = |message| matches!(message.body, Body::AppendEntries(_));
    cluster.run();
    let mut never_taken = taken.clone();
    if let Body::ForwardRequest(request) = &mut never_taken.body {
        request.ticket = Ticket(request.ticket.0 + 1);
    }
    cluster.advance(1, config(1).election_timeout);
    assert_ne!(cluster.drivers[0].raft().role(), RoleKind::Leader);
    let mut answers_to = |message: &Message| {
        cluster.ports[0].sent.clear();
        cluster.step(1, [Input::Receive(message.clone())]);
        let sent = std::mem::take(&mut cluster.ports[0].sent);
        sent.into_iter().filter_map(forward_result).collect::<Vec<_>>()
    };
    let not_leader = ForwardResult::Refused(RefusalReason::NotLeader { leader: None });
    assert_eq!(answers_to(&taken), []);
    assert_eq!(answers_to(&never_taken), [not_leader]);
    never_taken.term = crate::types::Term(0);
    assert_eq!(answers_to(&never_taken), [ForwardResult::Unknown]);
}

/// R45: nor is it refused because its sender was removed from the group meanwhile. Found by simulation.
#[test]
fn a_late_copy_from_a_removed_node_is_not_refused_after_the_first_was_taken() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(2, [propose([20])]);
    let taken = cluster.ports[1].sent[0].clone();
    cluster.run();
    let remove = ChangeRequest {
        ticket: Ticket(1),
        changes: vec![MemberChange::Remove(NodeId(2))],
        dry_run: false,
    };
    cluster.step(1, [Input::ChangeMembership(remove)]);
    cluster.run();
    assert!(!cluster.drivers[0].status().membership.contains(NodeId(2)));
    let mut never_taken = taken.clone();
    if let Body::ForwardRequest(request) = &mut never_taken.body {
        request.ticket = Ticket(request.ticket.0 + 1);
    }
    cluster.ports[0].sent.clear();
    cluster.step(1, [Input::Receive(taken), Input::Receive(never_taken)]);
    let sent = std::mem::take(&mut cluster.ports[0].sent);
    let results: Vec<_> = sent.into_iter().filter_map(forward_result).collect();
    assert_eq!(results, [ForwardResult::Refused(RefusalReason::Removed)]);
}

/// An answer meant for an earlier incarnation of a node must not end a request of this one.
#[test]
fn tickets_differ_between_incarnations() {
    let raft = Cluster::new(|_| {}).drivers.remove(0).raft;
    let mut first = Driver::new(raft.clone(), 5).forwards;
    let mut second = Driver::new(raft, 6).forwards;
    let leadership = (NodeId(1), crate::types::Term(1));
    first
        .add(Time::ZERO, Ticket(1), ClientRequest::ReadIndex)
        .unwrap();
    second
        .add(Time::ZERO, Ticket(1), ClientRequest::ReadIndex)
        .unwrap();
    let old = first.dispatch_last(Time::ZERO, leadership).unwrap();
    let new = second.dispatch_last(Time::ZERO, leadership).unwrap();
    assert_ne!(old.ticket, new.ticket);
    let outcome = Outcome::ReadReady { index: Index(1) };
    assert_eq!(second.answered(NodeId(1), old.ticket, outcome.clone()), None);
    assert_eq!(
        second.answered(NodeId(3), new.ticket, outcome.clone()),
        None,
        "not who was asked"
    );
    assert!(second.answered(NodeId(1), new.ticket, outcome).is_some());
}

/// R20: what exceeds a limit is refused with its own reason.
#[test]
fn limits_refuse_with_a_reason() {
    let limit = |config: &mut Config| {
        config.proposals_max = 2;
        config.reads_max = 1;
        config.entry_bytes_max = 20;
    };
    let mut cluster = Cluster::led_by_1(limit);
    cluster.lose = |_| true;
    for id in [1, 2] {
        cluster.step(
            id,
            [
                propose([1, 2, 3]),
                Input::Read(vec![Ticket(4)]),
                Input::Read(vec![Ticket(5)]),
            ],
        );
        let mut ended = cluster.ended(id);
        ended.sort_by_key(|(ticket, _)| *ticket);
        assert_eq!(
            ended,
            [refused(3, RefusalReason::Busy), refused(5, RefusalReason::Busy)],
            "node {id}"
        );
    }
    cluster.now = cluster.now + config(3).heartbeat_interval;
    let command = Bytes::from(vec![0; 21]);
    cluster.step(
        3,
        [Input::Propose(vec![Proposal {
            ticket: Ticket(9),
            command: command.into(),
        }])],
    );
    let too_large = RefusalReason::TooLarge {
        bytes: 21,
        bytes_max: 20,
    };
    assert_eq!(cluster.ended(3), [refused(9, too_large)]);
}

/// R35: a leader whose disk is slower than the others' does not queue without limit.
#[test]
fn a_stalled_disk_makes_the_leader_busy() {
    let mut cluster = Cluster::led_by_1(|config| config.uncommitted_bytes_max = 100);
    cluster.stalled = vec![NodeId(1)];
    let mut refusals = 0;
    for ticket in 0..100 {
        cluster.step(1, [propose([ticket])]);
        cluster.run();
        refusals += cluster
            .ended(1)
            .iter()
            .filter(|ended| ended.1 == Outcome::Refused(RefusalReason::Busy))
            .count();
    }
    assert!(refusals > 80, "only {refusals} of 100 were refused");
    cluster.stalled.clear();
    cluster.run();
    cluster.ended(1);
    cluster.step(1, [propose([200])]);
    cluster.run();
    assert!(matches!(
        cluster.ended(1)[..],
        [(Ticket(200), Outcome::Applied { .. })]
    ));
}

/// R45: a node that stops leaves nobody waiting.
#[test]
fn stopping_resolves_everything() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.lose = |message| matches!(message.body, Body::AppendEntriesResponse(_));
    cluster.step(1, [propose([10])]);
    cluster.step(2, [propose([20]), Input::Read(vec![Ticket(21)])]);
    cluster.run();
    let ports = &mut cluster.ports[0];
    cluster.drivers[0].stop(ports);
    assert_eq!(cluster.ended(1), [(Ticket(10), Outcome::Unknown)]);
    let sent = std::mem::take(&mut cluster.ports[0].sent);
    cluster.step(2, sent.into_iter().map(Input::Receive));
    assert_eq!(cluster.ended(2), [(Ticket(20), Outcome::Unknown)]);
    let ports = &mut cluster.ports[1];
    cluster.drivers[1].stop(ports);
    assert_eq!(cluster.ended(2), [refused(21, RefusalReason::Stopped)]);
}
