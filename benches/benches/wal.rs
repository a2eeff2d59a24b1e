//! What each setting of RocksDB's write-ahead log costs or saves, beside a journal of one's own in front of it.
//!
//! `docs/decisions` says what each setting means for safety. The variable `BENCH_DIR` names the directory to measure in.
#![allow(clippy::print_stdout, reason = "printing tables is what this program is for")]

use std::path::Path;

use benches::logs::floor::Floor;
use benches::logs::rocks::{RawRocks, Settings, Sync};
use benches::logs::store::Store;
use benches::logs::{Log, PAYLOAD_BYTES};
use benches::place::Place;
use benches::turns::{Plan, interleave};
use rocksdb::DBRecoveryMode;
use tempfile::TempDir;

const BATCHES: [u64; 3] = [1, 16, 256];

/// The settings; the first are what the others are compared with.
fn settings() -> [Settings; 7] {
    let safe = Settings {
        name: "growing files",
        ..Settings::safe()
    };
    [
        safe,
        Settings {
            name: "256 MiB laid out ahead",
            memtable_bytes: 256 << 20,
            wal_bytes_max: 1 << 30,
            ..safe
        },
        Settings {
            name: "4 MiB laid out ahead",
            memtable_bytes: 4 << 20,
            wal_bytes_max: 16 << 20,
            ..safe
        },
        Settings {
            name: "wal_bytes_per_sync",
            wal_bytes_per_sync: 512 << 10,
            ..safe
        },
        Settings {
            name: "manual_wal_flush",
            sync: Sync::Manual,
            ..safe
        },
        Settings {
            name: "point in time",
            recovery: DBRecoveryMode::PointInTime,
            ..safe
        },
        Settings {
            name: "recycled files",
            recovery: DBRecoveryMode::PointInTime,
            recycled: 4,
            ..safe
        },
    ]
}

fn main() {
    let measured = std::env::args().any(|word| word == "--bench");
    let place = Place::find(Path::new(env!("CARGO_TARGET_TMPDIR")));
    println!("payload {PAYLOAD_BYTES} B, not compressible; every batch synced before its caller goes on");
    println!("1 caller, no network; directory {place}");
    for batch in BATCHES {
        let plan = Plan {
            callers: 1,
            batch,
            batches: if measured { 512 } else { 2 },
            turns: if measured { 12 } else { 1 },
        };
        compare(&place, plan);
    }
}

fn compare(place: &Place, plan: Plan) {
    let dirs: [TempDir; 10] = std::array::from_fn(|_| place.new_dir());
    let settings = settings();
    let mut logs: Vec<Box<dyn Log>> = Vec::new();
    for (dir, settings) in dirs.iter().zip(settings) {
        logs.push(Box::new(RawRocks::open(dir.path(), settings)));
    }
    logs.push(Box::new(Floor::before_rocksdb(dirs[7].path())));
    logs.push(Box::new(Store::on_rocksdb(dirs[8].path())));
    logs.push(Box::new(Floor::open(dirs[9].path())));
    let measured = interleave(&logs, plan);
    println!(
        "\nbatches of {}, {} turns of {} batches\n{:<24} {:>12} {:>10} {:>10} {:>10}",
        plan.batch, plan.turns, plan.batches, "", "entries/s", "p50 µs", "p99 µs", "ratio"
    );
    for (log, side) in logs.iter().zip(&measured) {
        println!(
            "{:<24} {:>12.0} {:>10.0} {:>10.0} {:>10.2}",
            log.name(),
            side.rate(),
            side.quantile(0.5).as_secs_f64() * 1e6,
            side.quantile(0.99).as_secs_f64() * 1e6,
            side.ratio_to(&measured[0]),
        );
    }
}
