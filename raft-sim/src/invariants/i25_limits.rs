//! I25 Limits: every queue and buffer stays within what its configuration allows, and every message within what one may
//! carry (R9, R18, R19, R40; thesis §10.2).
//!
//! A limit in bytes lets one entry pass when nothing else is there, however large that is. The lower end of a follower's
//! window is here as well: what is known to match lies below what is sent next (R9).

use raft_core::config::Config;
use raft_core::driver::Load;
use raft_core::entry::{Entry, MESSAGE_ENTRIES_MAX};
use raft_core::message::{Body, Message};
use raft_core::progress::ProgressState;
use raft_core::status::{PeerProgress, Status};

use super::Invariant;
use crate::observation::{Observation, View};

/// I25.
#[derive(Debug, Default)]
pub(super) struct Limits;

impl Invariant for Limits {
    fn name(&self) -> &'static str {
        "I25"
    }

    fn statement(&self) -> &'static str {
        "every queue and buffer is under its configured limit"
    }

    fn observe(&mut self, seen: &Observation<'_>, view: &View<'_>) -> Result<(), String> {
        match *seen {
            Observation::Stepped { after, .. } => {
                let node = view.nodes.get(after.id);
                let peers = after.peers.iter();
                peers
                    .clone()
                    .try_for_each(|peer| check_peer(&node.config, after, peer))?;
                let in_transfer = |peer: &&PeerProgress| matches!(peer.state, ProgressState::Snapshot { .. });
                let transfers = peers.filter(in_transfer).count();
                check(
                    after,
                    "snapshot_transfers",
                    transfers,
                    node.config.snapshot_transfers_max,
                )?;
                match &node.process {
                    Some(process) => check_load(&node.config, after, &process.driver.load()),
                    None => Ok(()),
                }
            }
            Observation::Sent { message } => check_message(&view.nodes.get(message.from).config, message),
            _ => Ok(()),
        }
    }
}

fn check(status: &Status, what: &str, found: usize, limit: usize) -> Result<(), String> {
    if found <= limit {
        return Ok(());
    }
    Err(format!(
        "{what} of node {} is {found} in term {}, and its limit is {limit}",
        status.id, status.term
    ))
}

fn check_peer(config: &Config, leader: &Status, peer: &PeerProgress) -> Result<(), String> {
    if peer.match_index >= peer.next_index {
        return Err(format!(
            "node {} leads term {} and is to send index {} next to node {}, which it knows to match up to {}",
            leader.id, leader.term, peer.next_index, peer.id, peer.match_index
        ));
    }
    // The window is full when its bytes reach the limit, which the last message may have passed.
    let message_bytes = config.append_bytes_max.max(config.entry_bytes_max);
    let window = [
        (
            "inflight_messages",
            peer.inflight_messages,
            config.inflight_messages_max,
        ),
        (
            "inflight_bytes",
            peer.inflight_bytes,
            config.inflight_bytes_max.saturating_add(message_bytes),
        ),
    ];
    window.into_iter().try_for_each(|(what, found, limit)| {
        check(leader, what, found, limit).map_err(|seen| format!("to node {}: {seen}", peer.id))
    })
}

fn check_load(config: &Config, after: &Status, load: &Load) -> Result<(), String> {
    let one = config.entry_bytes_max;
    let uncommitted_bytes_max = config.uncommitted_bytes_max.max(one);
    let limits = [
        ("proposals", load.proposals, config.proposals_max),
        ("uncommitted_bytes", load.uncommitted_bytes, uncommitted_bytes_max),
        ("unconfirmed_reads", load.unconfirmed_reads, config.reads_max),
        (
            "forwarded_proposals",
            load.forwarded_proposals,
            config.proposals_max,
        ),
        ("forwarded_reads", load.forwarded_reads, config.reads_max),
        ("forwarded_bytes", load.forwarded_bytes, uncommitted_bytes_max),
        ("guest_proposals", load.guest_proposals, config.proposals_max),
        ("guest_reads", load.guest_reads, config.reads_max),
        (
            "applying_bytes",
            load.applying_bytes,
            config.apply_bytes_max.saturating_add(one),
        ),
    ];
    limits
        .into_iter()
        .try_for_each(|(what, found, limit)| check(after, what, found, limit))?;
    let is_needed = load.tail_first > after.applied_index.min(after.durable_index);
    if is_needed {
        return Ok(());
    }
    check(after, "tail_bytes", load.tail_bytes, config.tail_bytes_max)
}

fn check_message(config: &Config, message: &Message) -> Result<(), String> {
    let Body::AppendEntries(request) = &message.body else {
        return Ok(());
    };
    let bytes: usize = request.entries.iter().map(Entry::payload_bytes).sum();
    let count = request.entries.len();
    let fits = count <= 1 || (bytes <= config.append_bytes_max && count <= MESSAGE_ENTRIES_MAX);
    if fits && (count != 1 || bytes <= config.entry_bytes_max.max(config.append_bytes_max)) {
        return Ok(());
    }
    Err(format!(
        "node {} sends node {} {count} entries of {bytes} bytes after {} in term {}; its limits are {} bytes a message and \
         {} an entry",
        message.from, message.to, request.prev, message.term, config.append_bytes_max, config.entry_bytes_max
    ))
}

#[cfg(test)]
mod tests {
    use raft_core::effect::RoleKind;
    use raft_core::input::Input;
    use raft_core::message::AppendEntries;
    use raft_core::types::{Index, NodeId, Round, Ticket, Time};

    use super::super::world_for_tests::{SmallWorld, assert_violated, entries, id, message};
    use super::*;

    fn leader_with(world: &SmallWorld, change: impl Fn(&mut PeerProgress)) -> Status {
        let mut peer = PeerProgress {
            id: NodeId(2),
            match_index: Index(3),
            next_index: Index(4),
            state: ProgressState::Replicate,
            inflight_messages: 1,
            inflight_bytes: 10,
            last_contact: Time::ZERO,
            suspect: false,
        };
        change(&mut peer);
        let mut status = world.status(1);
        (status.role, status.peers) = (RoleKind::Leader, vec![peer]);
        status
    }

    /// I25, R9, R18: the window of a follower has two ends.
    #[test]
    fn a_window_that_is_too_wide_is_found() {
        let mut world = SmallWorld::new(3);
        let config = world.nodes.get(NodeId(1)).config.clone();
        let mut step = |status: &Status| world.step(&mut Limits, status, status);
        let world = SmallWorld::new(3);
        assert_eq!(step(&leader_with(&world, |_| ())), Ok(()));
        let full = leader_with(&world, |peer| {
            peer.inflight_messages = config.inflight_messages_max + 1
        });
        assert_violated(
            step(&full),
            "to node 2: inflight_messages of node 1 is 257 in term 0, and its limit is 256",
        );
        let heavy = leader_with(&world, |peer| peer.inflight_bytes = config.inflight_bytes_max * 2);
        assert_violated(step(&heavy), "inflight_bytes");
        let inverted = leader_with(&world, |peer| peer.next_index = Index(3));
        assert_violated(step(&inverted), "which it knows to match up to 3");
    }

    /// I25, R53: snapshots go to a few followers at a time.
    #[test]
    fn too_many_transfers_are_found() {
        let mut world = SmallWorld::new(3);
        let index = Index(3);
        let mut status = leader_with(&world, |peer| peer.state = ProgressState::Snapshot { index });
        status.peers.push(status.peers[0].clone());
        assert_eq!(world.step(&mut Limits, &status, &status), Ok(()));
        status.peers.push(status.peers[0].clone());
        assert_violated(
            world.step(&mut Limits, &status, &status),
            "snapshot_transfers of node 1 is 3",
        );
    }

    /// I25: what waits in a replica is counted.
    #[test]
    fn a_queue_that_is_too_long_is_found() {
        let mut world = SmallWorld::new(3);
        world.start(1);
        world.drive(1, vec![Input::Read(vec![Ticket(1), Ticket(2)])]);
        let status = world.nodes.get(NodeId(1)).status().expect("it runs").clone();
        assert_eq!(world.step(&mut Limits, &status, &status), Ok(()));
        world.nodes.get_mut(NodeId(1)).config.reads_max = 1;
        assert_violated(
            world.step(&mut Limits, &status, &status),
            "forwarded_reads of node 1 is 2 in term 0, and its limit is 1",
        );
    }

    /// I25, R18: a message carries no more than it may, or one entry.
    #[test]
    fn a_message_that_is_too_large_is_found() {
        let mut world = SmallWorld::new(3);
        world.nodes.get_mut(NodeId(1)).config.append_bytes_max = 2;
        let mut send = |count: u64| {
            let request = AppendEntries {
                prev: id(0, 0),
                prev_acknowledged: false,
                entries: entries(1..=count, 1),
                leader_commit: Index::ZERO,
                round: Round(1),
                sleep: false,
            };
            let message = message(1, 2, 1, Body::AppendEntries(request));
            world.show(&mut Limits, &Observation::Sent { message: &message })
        };
        assert_eq!(send(2), Ok(()));
        assert_violated(send(3), "node 1 sends node 2 3 entries of 3 bytes");
    }
}
