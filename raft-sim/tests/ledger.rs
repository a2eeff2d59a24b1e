//! What once was found does not come back.

use std::path::Path;

use raft_sim::ledger;
use raft_sim::simulation::run_plan;
use raft_sim::workload::{KeyValue, KeyValueWorkload};

/// Every entry of the ledger, with the seed it was found with. A debug build is slow: `raft-sim ledger`, which every test run
/// builds optimised, goes through more seeds.
#[test]
fn nothing_comes_back() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("ledger");
    let entries = ledger::read_all(&directory).unwrap();
    assert!(!entries.is_empty(), "no entries in {}", directory.display());
    for (path, entry) in entries {
        if let Err(failure) = run_plan(&entry.plan, KeyValue::new, KeyValueWorkload::new) {
            panic!("{}: {}: {failure}", path.display(), entry.title);
        }
    }
}
