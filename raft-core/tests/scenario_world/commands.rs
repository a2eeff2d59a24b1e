//! What each command of a scenario does; those that break something are in `faults`. The list, with an example of each, is
//! in `tests/scenarios/README.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::config::Config;
use raft_core::effect::RoleKind;
use raft_core::input::{Input, Proposal};
use raft_core::membership::Membership;
use raft_core::message::{InstallSnapshot, SnapshotMeta};
use raft_core::types::{EntryId, HardState, Index, NodeId, Term, Ticket, Trust};

use super::arguments::{self, Arguments};
use super::disk::Disk;
use super::messages;
use super::node::Node;
use super::render;
use super::world::{GROUP, Kind, World};

impl World {
    /// Runs one command line.
    pub(crate) fn run(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("quiet ") {
            let hidden = self.hidden.clone();
            self.hidden
                .extend([Kind::Messages, Kind::Disk, Kind::Apply, Kind::Commit]);
            self.run(rest);
            self.hidden = hidden;
            return;
        }
        let arguments = Arguments::parse(line);
        if self.look(&arguments) || self.fault(&arguments) || self.operation(&arguments) {
            return;
        }
        match arguments.name.as_str() {
            "cluster" => self.cluster(&arguments),
            "boot" => self.boot(&arguments),
            "hide" => self.hidden.extend(arguments.words.iter().map(|word| kind(word))),
            "show" => self
                .hidden
                .retain(|hidden| !arguments.words.iter().any(|word| kind(word) == *hidden)),
            "campaign" => self.step(arguments.node(0), Input::Campaign),
            "elect" => self.elect(arguments.node(0)),
            "lost" => self.step(arguments.node(0), Input::PeerLost(arguments.node(1))),
            "tick" => self.tick(&arguments),
            "run" => self.pass_time(arguments.count(0, 0), None, true),
            "propose" => self.propose(&arguments),
            "read" => self.read(&arguments),
            "deliver" => self.deliver(&arguments),
            "settle" => self.settle(),
            "send" => self.inject(&arguments),
            "persist" => self.persist_some(&arguments),
            "apply" => self.apply_some(&arguments),
            "snapshot-arrives" => self.snapshot_arrives(&arguments),
            "snapshot-sent" => {
                let (to, delivered) = (arguments.node(1), arguments.word(2) == "ok");
                let last = self.last_snapshot_to[&to];
                self.step(arguments.node(0), Input::SnapshotSent { to, last, delivered });
            }
            other => panic!("there is no command `{other}`"),
        }
    }

    // ---- building ----

    /// `cluster 1 2 3 [members={1,2,3}+4] [key=value] [n2.key=value]`: members that are not listed are puppets, which
    /// only `send` speaks for.
    fn cluster(&mut self, arguments: &Arguments) {
        let ids: Vec<NodeId> = (0..arguments.words.len())
            .map(|position| arguments.node(position))
            .collect();
        let membership = match arguments.value("members") {
            Some(word) => arguments::membership(word),
            None => Membership::of_voters(ids.iter().copied()).expect("a cluster has voters"),
        };
        self.history.puppets = membership
            .members()
            .into_iter()
            .filter(|id| !ids.contains(id))
            .collect();
        for id in ids {
            let config = settings(id, arguments);
            let disk = Disk {
                snapshot: SnapshotMeta {
                    last: EntryId::ZERO,
                    membership: membership.clone(),
                },
                ..Disk::default()
            };
            self.nodes.insert(id, Node::new(config, disk));
            self.start(id);
        }
    }

    /// `boot 1 term=3 vote=2 log=[1 1 2] commit=2 applied=1 snapshot=1 purged=1`: begins again with this on its disk.
    fn boot(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        let log = arguments.value("log").map_or(Vec::new(), arguments::log);
        let commit = Index(arguments.number("commit", 0));
        self.history.booted(&log, commit);
        let at = |index: u64| {
            index
                .checked_sub(1)
                .map_or(EntryId::ZERO, |at| log[at as usize].id)
        };
        let upto = |index: u64| {
            log[..index as usize]
                .iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        };
        let members = self.node(id).disk.snapshot.membership.clone();
        let snapshot = arguments.number("snapshot", 0);
        let meta = SnapshotMeta {
            last: at(snapshot),
            membership: members,
        };
        let term = log.last().map_or(0, |entry| entry.term().0);
        let mut disk = Disk {
            hard_state: HardState {
                term: Term(arguments.number("term", term)),
                vote: arguments
                    .value("vote")
                    .filter(|vote| *vote != "-")
                    .map(|vote| NodeId(arguments::number(vote))),
                commit,
                trust: Trust::Trusted,
            },
            snapshot: meta.clone(),
            purged: EntryId::ZERO,
            entries: log.clone(),
        };
        disk.compact(at(arguments.number("purged", 0)));
        let config = self.node(id).config.clone();
        let mut node = Node::new(config, disk);
        node.applied = upto(arguments.number("applied", commit.0));
        node.snapshots = BTreeMap::from([(meta.last.index, (meta, upto(snapshot)))]);
        self.nodes.insert(id, node);
        self.start(id);
    }

    /// Starts a node that is down.
    pub(crate) fn start(&mut self, id: NodeId) {
        let now = self.now();
        match self.node(id).start(now) {
            Ok(None) => {}
            Ok(Some(snapshot)) => self.say(
                Kind::Always,
                format!("n{id} restores the snapshot at {snapshot} before it starts"),
            ),
            Err(error) => self.say(Kind::Always, format!("n{id} does not start: {error}")),
        }
        self.work(id);
    }

    // ---- time and elections ----

    /// Makes a node the leader without showing how. A leader that is known counts as silent for long enough.
    fn elect(&mut self, id: NodeId) {
        let hidden = self.hidden.clone();
        self.hidden
            .extend([Kind::Messages, Kind::Disk, Kind::Apply, Kind::Commit, Kind::Roles]);
        let knows_leader = |node: &Node| node.raft.as_ref().is_some_and(|raft| raft.leader().is_some());
        if self.nodes.values().any(knows_leader) {
            self.now_ms += 1000;
        }
        self.step(id, Input::Campaign);
        self.settle();
        self.hidden = hidden;
        let raft = self.node(id).raft.as_ref().expect("a node that is elected is up");
        assert_eq!(raft.role(), RoleKind::Leader, "node {id} was not elected");
        let line = format!("n{id} leads term {}", raft.term());
        self.say(Kind::Always, line);
    }

    /// `tick 500`: time passes, no message arrives. `tick 2 500`: only node 2 looks at its clock.
    fn tick(&mut self, arguments: &Arguments) {
        if arguments.words.len() == 2 {
            self.pass_time(arguments.count(1, 0), Some(arguments.node(0)), false);
        } else {
            self.pass_time(arguments.count(0, 0), None, false);
        }
    }

    /// Fires timers in order; with `deliver`, messages take no time.
    fn pass_time(&mut self, millis: u64, only: Option<NodeId>, deliver: bool) {
        let end = self.now_ms + millis;
        if deliver {
            self.settle();
        }
        loop {
            let due = |node: &Node| {
                let deadline = node.raft.as_ref()?.next_deadline().as_nanos().div_ceil(1_000_000);
                Some((deadline, node.id()))
            };
            let considered = self
                .nodes
                .values()
                .filter(|node| only.is_none_or(|id| node.id() == id));
            let Some((deadline, id)) = considered.filter_map(due).min().filter(|next| next.0 <= end) else {
                break;
            };
            self.now_ms = self.now_ms.max(deadline);
            self.step(id, Input::Tick);
            let next = self.nodes[&id]
                .raft
                .as_ref()
                .map(|raft| raft.next_deadline().as_nanos());
            assert!(
                next > Some(self.now().as_nanos()),
                "the timer of node {id} stands still"
            );
            if deliver {
                self.settle();
            }
        }
        self.now_ms = end;
    }

    // ---- clients ----

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// `propose 1 x y 100*z`: one batch.
    fn propose(&mut self, arguments: &Arguments) {
        let proposals = arguments.words[1..].iter().map(|word| Proposal {
            ticket: self.next_ticket(),
            command: arguments::command(word).into(),
        });
        let proposals = proposals.collect();
        self.step(arguments.node(0), Input::Propose(proposals));
    }

    /// `read 1 [count]`.
    fn read(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        let tickets: Vec<Ticket> = (0..arguments.count(1, 1)).map(|_| self.next_ticket()).collect();
        for ticket in &tickets {
            self.say(Kind::Always, format!("n{id} is asked to read: request {ticket}"));
            self.history.read_began(*ticket, id);
        }
        self.step(id, Input::Read(tickets));
    }

    // ---- messages ----

    /// `deliver`: everything that is under way now. `deliver 1->2 [count]`: the oldest of one link.
    fn deliver(&mut self, arguments: &Arguments) {
        let link = arguments.words.first().and_then(|word| arguments::link(word));
        let on_link = |from, to| link.is_none_or(|link| link == (from, to));
        let waiting = self
            .network
            .iter()
            .filter(|message| on_link(message.from, message.to))
            .count();
        let count = arguments.count(1, if link.is_some() { 1 } else { waiting as u64 });
        assert!(
            count <= waiting as u64,
            "only {waiting} messages are under way there"
        );
        for _ in 0..count {
            let oldest = self
                .network
                .iter()
                .position(|message| on_link(message.from, message.to));
            self.deliver_at(oldest.expect("it was counted"));
        }
    }

    fn deliver_at(&mut self, position: usize) {
        let message = self.network.remove(position);
        let text = render::brief(&message);
        self.receive(message, &text);
    }

    /// Delivers until nothing is under way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..5_000 {
            if self.network.is_empty() {
                return;
            }
            self.deliver_at(0);
        }
        panic!("the network does not settle");
    }

    /// `send 2->1 RequestVote term=3 last=4@2`: a message that nobody here sent.
    fn inject(&mut self, arguments: &Arguments) {
        let (history, nodes) = (&self.history, &self.nodes);
        let incarnation = |id| nodes.get(&id).map_or(0, |node| node.config.incarnation);
        let message = messages::parse(arguments, |id| history.payload(id), incarnation);
        self.history.injected = true;
        let text = render::body(&message);
        self.receive(message, &text);
    }

    // ---- disks, state machines, snapshots ----

    /// `persist 1 [count]`: a stalled disk finishes its oldest writes.
    fn persist_some(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        for _ in 0..arguments.count(1, 1) {
            assert!(!self.node(id).writes.is_empty(), "node {id} writes nothing");
            self.complete_write(id, true);
            self.work(id);
        }
    }

    /// `apply 1 [count]`: a stalled state machine does its next work; `apply 1 fails` makes a snapshot fail.
    fn apply_some(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        let fails = arguments.words.get(1).is_some_and(|word| word == "fails");
        let count = if fails { 1 } else { arguments.count(1, 1) };
        for _ in 0..count {
            assert!(
                !self.node(id).work.is_empty(),
                "the state machine of node {id} has nothing to do"
            );
            self.complete_work(id, fails);
            self.work(id);
        }
    }

    /// `snapshot-arrives 1->3`: the last byte of the oldest snapshot of a link is durable at the receiver. With
    /// `term=2 last=3@2 members={1,2} log=[1 1 2]` it is a snapshot that nobody here sent.
    fn snapshot_arrives(&mut self, arguments: &Arguments) {
        let (from, to) = arguments.link(0);
        if let Some(last) = arguments.value("last") {
            self.history.injected = true;
            let meta = SnapshotMeta {
                last: arguments::entry_id(last),
                membership: arguments::membership(
                    arguments.value("members").expect("a snapshot has members"),
                ),
            };
            let term = Term(arguments.number("term", 0));
            let log = arguments.value("log").map_or(Vec::new(), arguments::log);
            let state = self.history.committed_up_to(meta.last, &log);
            let group = GROUP;
            self.streams.insert(
                0,
                (
                    InstallSnapshot {
                        group,
                        from,
                        to,
                        term,
                        meta,
                    },
                    state,
                ),
            );
        }
        let position = self
            .streams
            .iter()
            .position(|(header, _)| (header.from, header.to) == (from, to));
        let (header, state) = self
            .streams
            .remove(position.expect("a snapshot is under way there"));
        self.say(
            Kind::Always,
            format!("n{to} ⇐ n{from} snapshot {}", header.meta.last),
        );
        let stored = (header.meta.clone(), state);
        self.node(to).snapshots.insert(header.meta.last.index, stored);
        self.step(to, Input::SnapshotReceived(header));
    }
}

fn kind(word: &str) -> Kind {
    match word {
        "messages" => Kind::Messages,
        "disk" => Kind::Disk,
        "apply" => Kind::Apply,
        "commit" => Kind::Commit,
        "roles" => Kind::Roles,
        other => panic!("`{other}` is none of messages, disk, apply, commit, roles"),
    }
}

/// `key=value` for every node, `n2.key=value` for one.
pub(crate) fn settings(id: NodeId, arguments: &Arguments) -> Config {
    let mut config = Config::new(GROUP, id);
    let own = format!("n{id}.");
    let settings = arguments.values.iter().filter(|(key, _)| *key != "members");
    for (key, value) in settings.clone().filter(|(key, _)| !key.contains('.')) {
        configure(&mut config, key, value);
    }
    for (key, value) in settings {
        if let Some(key) = key.strip_prefix(&own) {
            configure(&mut config, key, value);
        }
    }
    config
}

fn configure(config: &mut Config, key: &str, value: &str) {
    if (key, value) == ("quiesce_after_ms", "none") {
        config.quiesce_after = None;
        return;
    }
    let number = arguments::number(value);
    let size = usize::try_from(number).expect("a test's limit is small");
    match key {
        "election_timeout_ms" => config.election_timeout = Duration::from_millis(number),
        "heartbeat_interval_ms" => config.heartbeat_interval = Duration::from_millis(number),
        "entry_bytes_max" => config.entry_bytes_max = size,
        "append_bytes_max" => config.append_bytes_max = size,
        "inflight_messages_max" => config.inflight_messages_max = size,
        "inflight_bytes_max" => config.inflight_bytes_max = size,
        "uncommitted_bytes_max" => config.uncommitted_bytes_max = size,
        "reads_max" => config.reads_max = size,
        "apply_bytes_max" => config.apply_bytes_max = size,
        "tail_bytes_max" => config.tail_bytes_max = size,
        "quiesce_after_ms" => config.quiesce_after = Some(Duration::from_millis(number)),
        "priority" => config.priority = u8::try_from(number).expect("a priority is small"),
        "lease_drift_max_ms" => config.lease_drift_max = Some(Duration::from_millis(number)),
        "snapshot_transfers_max" => config.snapshot_transfers_max = size,
        "snapshot_entries" => config.snapshot_entries = number,
        "retained_entries" => config.retained_entries = number,
        other => panic!("there is no setting `{other}`"),
    }
}
