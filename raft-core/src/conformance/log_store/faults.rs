//! A store whose disk fails at one call.

use std::sync::Arc;

use super::model::Model;
use super::random::{Generator, Operation};
use super::writes::*;
use crate::traits::LogStore;
use crate::types::GroupId;

/// One failure that a store shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which of the store's calls to its disk fails, counted from 1 from the moment it is open.
    pub call: u64,
    /// What of that call reaches the disk nevertheless.
    pub reaches_disk: Reach,
}

/// What a failed call to a disk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// About half of its bytes.
    Half,
    /// All of it: only the answer was lost (R60).
    All,
}

/// So many operations run into each fault.
const OPERATIONS: usize = 12;
/// No store needs more calls for them.
const CALLS_MAX: u64 = 1_000;

/// Checks what a store does when a call to its disk fails: at each call in turn, with each effect.
///
/// `open` opens the same, initially empty place each time; with a [`Fault`], the store has that failure. The suite
/// uses groups from 1,000 on, and ends when the operations need fewer calls than the fault waits for.
///
/// # Panics
/// Names the invariant that does not hold, and the fault.
pub async fn log_store_with_faults<Open>(open: Open)
where
    Open: AsyncFn(Option<Fault>) -> Arc<dyn LogStore>,
{
    for call in 1..=CALLS_MAX {
        let mut has_failed = false;
        for reaches_disk in [Reach::Nothing, Reach::Half, Reach::All] {
            has_failed |= one_fault(&open, Fault { call, reaches_disk }).await;
        }
        if !has_failed {
            assert!(
                call > 1,
                "no fault had any effect: the store does not have the failures it is told to have"
            );
            return;
        }
    }
    panic!("{OPERATIONS} operations took more than {CALLS_MAX} calls to the disk");
}

/// Runs into `fault`; whether it was reached.
async fn one_fault(open: &impl AsyncFn(Option<Fault>) -> Arc<dyn LogStore>, fault: Fault) -> bool {
    // No run meets the groups of another one, most of which are destroyed.
    let first = 1_000 + 100 * fault.call + 10 * fault.reaches_disk as u64;
    let groups = [first, first + 1, first + 2].map(GroupId);
    let reached = run_into(open, fault, &groups).await;
    let store = open(None).await;
    for group in groups.into_iter().chain([GroupId(first + 9)]) {
        store.destroy(group).await.expect("destroy a group");
    }
    reached
}

async fn run_into(
    open: &impl AsyncFn(Option<Fault>) -> Arc<dyn LogStore>,
    fault: Fault,
    groups: &[GroupId],
) -> bool {
    let mut model = Model::default();
    let mut generator = Generator::new(7, groups);
    let mut looked_at = groups.to_vec();
    let mut failed: Option<Operation> = None;
    let store = open(Some(fault)).await;
    for _ in 0..OPERATIONS {
        let operation = generator.next(&model);
        if let Operation::Gap(_) = operation {
            continue;
        }
        looked_at.extend(generator.groups());
        let result = operation.call(&*store).await;
        if failed.is_some() {
            assert!(
                result.is_err(),
                "{fault:?}: {operation:?} is accepted after a write failed (R60): what that left on disk is unknown"
            );
        } else if result.is_ok() {
            operation.apply(&mut model);
        } else {
            failed = Some(operation);
        }
    }
    drop(store);
    let store = open(None).await;
    let without = model.differs(&*store, &looked_at).await;
    let Some(failed) = failed else {
        assert_eq!(
            without, None,
            "{fault:?} was not reached, and what was acknowledged is not there"
        );
        return false;
    };
    let Some(without) = without else { return true };
    failed.apply(&mut model);
    let with = model.differs(&*store, &looked_at).await;
    assert_eq!(
        with, None,
        "{fault:?}: after reopening, {failed:?}, which failed, must be there wholly or not at all (R52), and everything \
         acknowledged before it. Without it: {without}. With it"
    );
    // It can be written to again.
    write(&*store, append(GroupId(groups[0].0 + 9), Vec::new())).await;
    true
}
