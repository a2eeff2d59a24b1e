//! How the bytes of an input are read as what happens to a replica.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use raft_core::config::Config;
use raft_core::entry::{SessionCommand, SessionRequest};
use raft_core::input::{ChangeRequest, Input, Proposal, Proposed};
use raft_core::membership::{MemberChange, Membership, MembershipParts};
use raft_core::message::{Message, SnapshotContent, SnapshotMeta};
use raft_core::types::{EntryId, GroupId, NodeId, Sequence, SessionId, Ticket};
use raft_core::wire::{decode_install_snapshot, decode_messages, encode_install_snapshot, encode_messages};

use super::messages;
use super::node::Node;

/// The replica.
pub(super) const OWN_ID: NodeId = NodeId(1);
/// Its group.
pub(super) const GROUP: GroupId = GroupId(7);

/// Small limits, so that short inputs reach them.
pub(super) fn config(input: &mut Unstructured<'_>) -> Result<Config> {
    let flags: u8 = input.arbitrary()?;
    let is = |bit: u8| flags & (1 << bit) != 0;
    let mut config = Config::new(GROUP, OWN_ID);
    config.random_seed = u64::from(flags);
    config.lease_drift_max = is(0).then_some(Duration::from_millis(10));
    config.priority = if is(1) { 0 } else { 4 };
    config.snapshot_entries = if is(2) { 4 } else { 50 };
    config.retained_entries = if is(3) { 0 } else { 3 };
    config.tail_bytes_max = if is(4) { 8 } else { 1 << 16 };
    config.entry_bytes_max = 32;
    config.append_bytes_max = 40;
    config.inflight_messages_max = 3;
    config.inflight_bytes_max = 64;
    config.uncommitted_bytes_max = 128;
    config.apply_bytes_max = 24;
    config.reads_max = 2;
    config.snapshot_transfers_max = 1;
    Ok(config)
}

/// The first configuration; none for a replica that joins.
pub(super) fn founders(input: &mut Unstructured<'_>) -> Result<SnapshotMeta> {
    let membership = membership(input)?;
    Ok(SnapshotMeta {
        last: EntryId::ZERO,
        membership,
    })
}

/// Configurations with the replica and without it; every form that there is.
pub(super) fn membership(input: &mut Unstructured<'_>) -> Result<Membership> {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let choice: u8 = input.arbitrary()?;
    let (voters, outgoing, learners, learners_next): (&[u64], &[u64], &[u64], &[u64]) = match choice % 10 {
        0 => (&[1, 2, 3], &[], &[], &[]),
        1 => (&[1], &[], &[], &[]),
        2 => (&[1, 2], &[], &[3], &[]),
        3 => (&[2, 3], &[], &[], &[]),
        4 => (&[1, 2, 4], &[1, 2, 3], &[5], &[]),
        5 => (&[2, 3, 4], &[1, 2, 3], &[], &[1]),
        6 => (&[2], &[], &[1], &[]),
        7 => (&[1, 2, 3, 4, 5], &[], &[], &[]),
        8 => (&[4], &[1], &[], &[]),
        _ => return Ok(Membership::empty()),
    };
    let parts = MembershipParts {
        voters: nodes(voters),
        outgoing: nodes(outgoing),
        learners: nodes(learners),
        learners_next: nodes(learners_next),
        highest_id: NodeId(if choice >= 250 { u64::MAX } else { 0 }),
        ..MembershipParts::default()
    };
    Ok(Membership::from_parts(parts).expect("each is made by the rules"))
}

const MESSAGES: u8 = 6;
const PASS: u8 = 6;
const WRITE: u8 = 7;
const REPORT: u8 = 8;
const OWN: u8 = 9;
const WORK: u8 = 10;
const READ: u8 = 11;
const CLIENT: u8 = 12;
const SNAPSHOT: u8 = 13;
const SETTLE: u8 = 14;

/// Lets the next thing happen.
pub(super) fn event(node: &mut Node, input: &mut Unstructured<'_>) -> Result<()> {
    let event: u8 = input.arbitrary()?;
    match event % 16 {
        ..MESSAGES => {
            let message = messages::message(node, input)?;
            receive(node, &message);
        }
        PASS => {
            let time = u64::from(input.arbitrary::<u8>()?);
            node.pass(Duration::from_millis(time * 10));
        }
        WRITE => node.write(),
        REPORT => node.report_writes(),
        OWN => node.receive_own(),
        WORK => node.work(event & 0x80 == 0),
        READ => node.answer_read(event & 0x80 == 0),
        CLIENT => client(node, input)?,
        SNAPSHOT => snapshot(node, input)?,
        SETTLE => {
            for _ in 0..8 {
                node.write();
                node.report_writes();
                node.receive_own();
                node.answer_read(true);
                node.work(true);
            }
        }
        _ => rare(node, input)?,
    }
    Ok(())
}

/// A message arrives, if the codec lets it through.
fn receive(node: &mut Node, message: &Message) {
    let mut bytes = Vec::new();
    encode_messages(std::slice::from_ref(message), &mut bytes);
    for message in decode_messages(Bytes::from(bytes)).into_iter().flatten() {
        node.receive(message);
    }
}

fn client(node: &mut Node, input: &mut Unstructured<'_>) -> Result<()> {
    let kind: u8 = input.arbitrary()?;
    let number: u8 = input.arbitrary()?;
    let ticket = Ticket(u64::from(number));
    let id = NodeId(u64::from(number % 8));
    let command = Bytes::from(vec![number; usize::from(number % 40)]);
    let change = |change| ChangeRequest {
        ticket,
        changes: vec![change],
        dry_run: kind & 0x80 != 0,
    };
    let session = SessionCommand {
        session: SessionId(u64::from(number % 16)),
        sequence: Sequence(1),
        acknowledged_below: Sequence(1),
        command: command.clone(),
    };
    let proposal = |command| Input::Propose(vec![Proposal { ticket, command }]);
    node.step(match kind % 10 {
        0..3 => proposal(Proposed::Command(command)),
        3 => proposal(Proposed::Session(SessionRequest::Command(session))),
        4 => Input::Read(vec![ticket, Ticket(900)]),
        5 => Input::ChangeMembership(change(MemberChange::AddLearner { id, contact: None })),
        6 => Input::ChangeMembership(change(MemberChange::AddVoter { id, contact: None })),
        7 => Input::ChangeMembership(change(MemberChange::Promote(id))),
        8 => Input::ChangeMembership(change(MemberChange::Remove(id))),
        _ => Input::TransferLeadership { ticket, to: id },
    });
    Ok(())
}

/// A snapshot arrives, if the codec lets its header through; or one that was being sent ends.
fn snapshot(node: &mut Node, input: &mut Unstructured<'_>) -> Result<()> {
    let kind: u8 = input.arbitrary()?;
    if kind & 1 != 0 {
        node.end_transfer(kind & 2 != 0);
        return Ok(());
    }
    let header = messages::snapshot_header(node, input)?;
    let mut bytes = Vec::new();
    encode_install_snapshot(&header, SnapshotContent::default(), &mut bytes);
    if let Ok((header, _)) = decode_install_snapshot(Bytes::from(bytes)) {
        node.receive_snapshot(header);
    }
    Ok(())
}

fn rare(node: &mut Node, input: &mut Unstructured<'_>) -> Result<()> {
    match input.arbitrary::<u8>()? % 4 {
        0 => node.restart(),
        1 => node.step(Input::Campaign),
        2 => {
            let mut message = messages::message(node, input)?;
            message.group = GroupId(8);
            receive(node, &message);
        }
        _ => {
            let mut message = messages::message(node, input)?;
            message.to = NodeId(2);
            receive(node, &message);
        }
    }
    Ok(())
}

/// The beginnings of lives: one that leads alone, one that is elected by others, one that follows and is sent a snapshot.
pub(super) fn courses() -> [Vec<u8>; 3] {
    const RARE: u8 = 15;
    let alone = [
        &[4, 1, RARE, 1][..],
        &[SETTLE],
        &[CLIENT, 0, 5, CLIENT, 4, 1, SETTLE].repeat(8),
        &[RARE, 0, SETTLE],
    ];
    let grant = |body| [0, 2, 0, body, 1];
    let elected = [
        &[0, 0, RARE, 1, SETTLE][..],
        // The answer to PreVote, in the own term; then to the vote.
        &grant(3),
        &[SETTLE],
        &grant(1),
        &[SETTLE, CLIENT, 0, 9, PASS, 10, SETTLE, CLIENT, 5, 4, SETTLE],
    ];
    let follows = [
        &[28, 0][..],
        &[0, 2, 4, 4, 3, 0, 0, 2, 3, 1, 1, 1, 1, 0].repeat(6),
        &[
            SETTLE, PASS, 20, SNAPSHOT, 0, 2, 0, 4, 40, 1, 0, SETTLE, WRITE, REPORT, OWN, WORK, READ,
        ],
    ];
    [alone.concat(), elected.concat(), follows.concat()]
}
