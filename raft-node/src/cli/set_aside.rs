//! A suspect whose state machine knows more than its log: that state is put out of the way, never deleted.
//!
//! A log that lost its end can end below what the state machine has applied, or show again what stood there before (R5). A
//! replica cannot go on from that: it would apply other entries on top. So the state begins anew, from the snapshot in force
//! if the log was purged, and the leader sends what is missing.

use raft_core::traits::{Recovered, SnapshotStore, StateMachine};
use raft_core::types::{EntryId, Index, Term, Trust};
use raft_kv::{KvOptions, KvStateMachine};

use super::node::NodeStartError;
use super::stores::Stores;
use crate::config::node_config::GROUP;
use crate::data_directory::directory::DataDirectory;

/// `stores`, with a new state machine if the replica is a suspect and what its state machine has is not of its log.
pub(super) async fn reconcile(data: &DataDirectory, stores: Stores) -> Result<Stores, NodeStartError> {
    let recovered = stores.log.load(GROUP).await.map_err(NodeStartError::ReadLog)?;
    let applied = stores.state_machine.last_applied();
    let is_suspect = recovered.lost || recovered.hard_state.trust == Trust::Suspect;
    if !is_suspect || is_of_the_log(&recovered, applied) {
        return Ok(stores);
    }
    if recovered.purged.index > Index::ZERO {
        let snapshot = stores.snapshots.open(GROUP, recovered.snapshot.last).await;
        drop(snapshot.map_err(|source| NodeStartError::NoWayBack {
            path: data.kv(),
            source,
        })?);
    }
    let Stores {
        log,
        snapshots,
        state_machine,
        store,
    } = stores;
    let closed = tokio::task::spawn_blocking(move || drop((state_machine, store)));
    closed.await?;
    let aside = data.set_kv_aside()?;
    tracing::warn!(
        "the state machine has applied {applied}, and the log, which lost entries, ends at index {}: the state was set aside \
         as {} and is made again; it can be deleted when this node has caught up",
        recovered.last_index,
        aside.display()
    );
    let path = data.kv();
    let opened = tokio::task::spawn_blocking(move || KvStateMachine::open(&path, KvOptions::default()));
    let (state_machine, store) = opened.await?.map_err(NodeStartError::StateMachine)?;
    Ok(Stores {
        log,
        snapshots,
        state_machine,
        store,
    })
}

/// Whether the log may contain `applied`: it does, or it was purged beyond.
fn is_of_the_log(recovered: &Recovered, applied: EntryId) -> bool {
    applied.index <= recovered.last_index
        && term_at(recovered, applied.index).is_none_or(|term| term == applied.term)
}

/// The term of the entry at `index`; none if it was purged.
fn term_at(recovered: &Recovered, index: Index) -> Option<Term> {
    if index == recovered.purged.index {
        return Some(recovered.purged.term);
    }
    let runs = &recovered.term_runs;
    let after = runs.partition_point(|(first, _)| *first <= index);
    after.checked_sub(1).map(|run| runs[run].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R5, R11: a state beyond the end of the log, or with another term than the log has there, is not of this log.
    #[test]
    fn a_state_that_the_log_cannot_have_led_to_is_noticed() {
        let recovered = Recovered {
            purged: EntryId::new(Term(1), Index(10)),
            term_runs: vec![(Index(11), Term(1)), (Index(15), Term(3))],
            last_index: Index(20),
            ..Recovered::default()
        };
        let is_of_the_log = |term, index| is_of_the_log(&recovered, EntryId::new(Term(term), Index(index)));
        for (term, index) in [(0, 0), (1, 9), (1, 10), (1, 14), (3, 15), (3, 20)] {
            assert!(is_of_the_log(term, index), "{index}@{term}");
        }
        for (term, index) in [(2, 10), (2, 14), (1, 15), (4, 20), (3, 21)] {
            assert!(!is_of_the_log(term, index), "{index}@{term}");
        }
    }
}
