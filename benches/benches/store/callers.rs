//! Batches of one caller, and single entries of many callers.

use benches::logs::Log;
use benches::logs::engine::RaftEngine;
use benches::logs::floor::Floor;
use benches::logs::rocks::{RawRocks, Settings};
use benches::logs::store::Store;
use benches::place::Place;
use benches::turns::{Plan, interleave};
use tempfile::TempDir;

use crate::Effort;
use crate::tables::{print, print_ratio};

const BATCHES: [u64; 3] = [1, 16, 256];
const CALLERS: [u64; 2] = [8, 64];

/// Batches of three sizes; each log has one caller, which waits for its sync.
pub(crate) fn one(place: &Place, effort: Effort) {
    for batch in BATCHES {
        let dirs: [TempDir; 5] = std::array::from_fn(|_| place.new_dir());
        let mut logs = logs(&dirs);
        logs.push(Box::new(Floor::open(dirs[4].path())));
        let plan = Plan {
            callers: 1,
            batch,
            batches: effort.batches,
            turns: effort.turns,
        };
        let measured = interleave(&logs, plan);
        let title = format!(
            "batches of {batch}, 1 caller, 1 group, {} turns of {} batches",
            plan.turns, plan.batches
        );
        print(&title, &logs, &measured);
        let [ours, on_engine, rocks, engine, floor] = &measured[..] else {
            unreachable!("one measurement for each log")
        };
        print_ratio(&format!("log_sync_b{batch}"), ours, rocks);
        print_ratio(&format!("log_engine_b{batch}"), ours, engine);
        print_ratio(&format!("log_floor_b{batch}"), ours, floor);
        print_ratio(&format!("log_on_engine_b{batch}"), on_engine, engine);
    }
}

/// Single entries; each caller is a thread with a group of its own, which waits for its sync.
pub(crate) fn many(place: &Place, effort: Effort) {
    for callers in CALLERS {
        let dirs: [TempDir; 4] = std::array::from_fn(|_| place.new_dir());
        let logs = logs(&dirs);
        let plan = Plan {
            callers,
            batch: 1,
            batches: (effort.batches / 4).max(1),
            turns: effort.turns,
        };
        let measured = interleave(&logs, plan);
        let title = format!(
            "batches of 1, {callers} callers on threads, a group each, {} turns of {} batches a caller",
            plan.turns, plan.batches
        );
        print(&title, &logs, &measured);
        let [ours, on_engine, rocks, engine] = &measured[..] else {
            unreachable!("one measurement for each log")
        };
        print_ratio(&format!("log_sync_c{callers}"), ours, rocks);
        print_ratio(&format!("log_engine_c{callers}"), ours, engine);
        print_ratio(&format!("log_on_engine_c{callers}"), on_engine, engine);
    }
}

/// Ours first, then those that it is compared with.
fn logs(dirs: &[TempDir]) -> Vec<Box<dyn Log>> {
    vec![
        Box::new(Store::on_rocksdb(dirs[0].path())),
        Box::new(Store::on_raft_engine(dirs[1].path())),
        Box::new(RawRocks::open(dirs[2].path(), Settings::safe())),
        Box::new(RaftEngine::open(dirs[3].path())),
    ]
}
