//! Appends of 256-byte commands, durable when they return: one writer, one batch after the other.
#![allow(missing_docs)]

use std::time::Duration;

use benches::{compare, logs};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

const COMMAND_BYTES: usize = 256;
const BATCHES: [u64; 3] = [1, 16, 256];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads for the runtime")
}

fn bench_log(criterion: &mut Criterion) {
    let runtime = runtime();
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    let mut group = criterion.benchmark_group("log");
    for (name, mut store) in logs::stores() {
        for batch in BATCHES {
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                bencher.iter(|| runtime.block_on(store.append(&command, batch)));
            });
        }
    }
    group.finish();
}

fn ratios() {
    let runtime = runtime();
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    compare::print_head("durable entries", "ours on RocksDB", "raw RocksDB");
    for batch in BATCHES {
        let (mut ours, mut theirs) = (logs::rocksdb(), logs::RawRocks::new());
        let appends = 2_048 / batch.min(8);
        let comparison = compare::interleave(
            Duration::from_secs(4),
            &mut || {
                runtime.block_on(async {
                    for _ in 0..appends {
                        ours.append(&command, batch).await;
                    }
                });
                appends * batch
            },
            &mut || {
                (0..appends).for_each(|_| theirs.append(&command, batch));
                appends * batch
            },
        );
        compare::print_row(&format!("log_sync_b{batch}"), &comparison);
    }
}

criterion_group!(benches, bench_log);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        ratios();
    }
}
