//! What one follower is sent: entries, heartbeats, or a snapshot (paper §5.3, §7).
//!
//! A heartbeat asks about what the follower has acknowledged, so that it may overtake what is under way; whether that
//! arrived is asked behind it, in order (docs/decisions/0002, 0014).

use super::common::Common;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::input::{LogRead, LogReader};
use crate::log::TermAt;
use crate::message::{AppendEntries, Body};
use crate::progress::{ColdRead, Progress, ProgressState};
use crate::types::{EntryId, NodeId, Round};

/// Sends the next entries to a follower. Returns whether a message left; `must_send` sends one without entries if there
/// are none.
pub(super) fn send_append(
    common: &mut Common,
    to: NodeId,
    progress: &mut Progress,
    round: Round,
    must_send: bool,
) -> bool {
    let first = progress.next_index();
    let prev = match common.log.term(first.previous()) {
        TermAt::Known(term) => EntryId::new(term, first.previous()),
        TermAt::Compacted => {
            send_snapshot(common, to, progress);
            return false;
        }
        // A probe cannot ask beyond the end: next is at most last + 1.
        TermAt::Beyond => return false,
    };
    let last = common.log.last().index;
    let in_memory = common.log.in_memory(first);
    if matches!(progress.state(), ProgressState::Probe { .. }) && !in_memory {
        // Ask first; entries that are not at hand are read once it is known that they fit.
        send_entries(common, to, progress, prev, Vec::new(), round);
        return true;
    }
    if first > last {
        if must_send {
            announce_commit(common, to, progress, round);
        }
        return false;
    }
    if !in_memory {
        read_for_peer(common, to, progress);
        return false;
    }
    let entries = common.log.slice(first, last, common.config.append_bytes_max);
    send_entries(common, to, progress, prev, entries, round);
    true
}

pub(super) fn send_entries(
    common: &mut Common,
    to: NodeId,
    progress: &mut Progress,
    prev: EntryId,
    entries: Vec<Entry>,
    round: Round,
) {
    let last = prev.index + entries.len() as u64;
    progress.sent(last, entries.iter().map(Entry::payload_bytes).sum());
    let request = AppendEntries {
        prev,
        prev_acknowledged: false,
        entries,
        leader_commit: common.commit,
        round,
        sleep: false,
    };
    common.send_now(to, Body::AppendEntries(request));
}

/// Tells a follower that was sent everything of a new commit index. If it has acknowledged so much, the message overtakes
/// what is under way; else it can commit no more than what arrives before the message.
fn announce_commit(common: &mut Common, to: NodeId, progress: &Progress, round: Round) {
    if progress.match_index() >= common.commit {
        send_heartbeat(common, to, progress, round, false);
    } else {
        let about = progress.next_index().previous();
        if let TermAt::Known(term) = common.log.term(about) {
            send_empty(common, to, EntryId::new(term, about), false, round);
        }
    }
}

/// Contacts a follower: an AppendEntries without entries about the last entry that it acknowledged, and asks it to `sleep` or
/// not. Returns what that entry is; where every log begins if there is nothing to ask about.
pub(super) fn send_heartbeat(
    common: &mut Common,
    to: NodeId,
    progress: &Progress,
    round: Round,
    sleep: bool,
) -> EntryId {
    let matched = progress.match_index();
    let prev = match (progress.state(), common.log.term(matched)) {
        (ProgressState::Probe { .. } | ProgressState::Replicate, TermAt::Known(term)) => {
            EntryId::new(term, matched)
        }
        // Every log begins with the empty prefix: nothing is asked about the log.
        _ => EntryId::ZERO,
    };
    let request = AppendEntries {
        sleep,
        ..empty_append(common, prev, true, round)
    };
    common.send_now(to, Body::AppendEntries(request));
    prev
}

/// Asks about the entry right before `next_index`, behind everything that left before: whether it arrived. In Probe this is
/// the probe; in Replicate it counts as nothing sent.
pub(super) fn ask_in_order(common: &mut Common, to: NodeId, progress: &mut Progress, round: Round) {
    let about = progress.next_index().previous();
    match common.log.term(about) {
        TermAt::Known(term) => {
            progress.sent(about, 0);
            send_empty(common, to, EntryId::new(term, about), false, round);
        }
        // The entry to ask about is gone, so its term is not known: only a snapshot helps (R15).
        TermAt::Compacted | TermAt::Beyond => send_snapshot(common, to, progress),
    }
}

fn send_empty(common: &mut Common, to: NodeId, prev: EntryId, prev_acknowledged: bool, round: Round) {
    let request = empty_append(common, prev, prev_acknowledged, round);
    common.send_now(to, Body::AppendEntries(request));
}

fn empty_append(common: &Common, prev: EntryId, prev_acknowledged: bool, round: Round) -> AppendEntries {
    AppendEntries {
        prev,
        prev_acknowledged,
        entries: Vec::new(),
        leader_commit: common.commit,
        round,
        sleep: false,
    }
}

fn send_snapshot(common: &mut Common, to: NodeId, progress: &mut Progress) {
    let meta = common.log.snapshot().clone();
    // A snapshot whose record is not durable yet could be gone after a crash here; the next heartbeat tries again.
    if meta.last == EntryId::ZERO
        || common.log.snapshot_durable() != meta.last
        || common.snapshot_transfers_left == 0
        || common.now < progress.snapshot_retry_at
        || !common.membership().contains(to)
    {
        return;
    }
    // A follower that nobody hears is not worth a transfer with each heartbeat: its first answer brings it here again.
    if common.now.since(progress.last_contact) >= common.election_timeout {
        return;
    }
    common.snapshot_transfers_left -= 1;
    progress.become_snapshot(meta.last.index);
    common.effects.push(Effect::SendSnapshot {
        to,
        term: common.term,
        meta,
    });
}

/// Asks for what left memory and nothing newer: the store does not have yet what is still being written.
fn read_for_peer(common: &mut Common, to: NodeId, progress: &mut Progress) {
    if progress.cold_read == ColdRead::Idle {
        progress.cold_read = ColdRead::Outstanding;
        let bytes_max = common.config.append_bytes_max;
        let (first, last) = (progress.next_index(), common.log.last_cold());
        common.effects.push(Effect::ReadLog(LogRead {
            reader: LogReader::Peer(to),
            first,
            last,
            bytes_max,
        }));
    }
}
