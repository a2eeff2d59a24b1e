//! The consensus core alone: three replicas in one thread, 128-byte commands, no disk, no network.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use benches::compare;
use benches::cores::{CoreCluster, RaftCore, RaftRs};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

const COMMAND_BYTES: usize = 128;
const BATCHES: [usize; 3] = [1, 64, 1024];

fn bench_core(criterion: &mut Criterion) {
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    let mut group = criterion.benchmark_group("core");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        let mut ours = RaftCore::new();
        group.bench_function(BenchmarkId::new("raft-core", batch), |bencher| {
            bencher.iter(|| black_box(ours.commit(&command, batch)));
        });
        let mut theirs = RaftRs::new();
        group.bench_function(BenchmarkId::new("raft-rs", batch), |bencher| {
            bencher.iter(|| black_box(theirs.commit(&command, batch)));
        });
    }
    group.finish();
}

fn ratios() {
    const ENTRIES_PER_TURN: usize = 64 * 1024;
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    compare::print_head("committed entries", "raft-core", "raft-rs 0.7");
    for batch in BATCHES {
        let (mut ours, mut theirs) = (RaftCore::new(), RaftRs::new());
        let comparison = compare::interleave(
            Duration::from_secs(3),
            &mut || {
                (0..ENTRIES_PER_TURN / batch)
                    .map(|_| ours.commit(&command, batch))
                    .sum()
            },
            &mut || {
                (0..ENTRIES_PER_TURN / batch)
                    .map(|_| theirs.commit(&command, batch))
                    .sum()
            },
        );
        compare::print_row(&format!("core_b{batch}"), &comparison);
    }
}

criterion_group!(benches, bench_core);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // `cargo test` runs benches once to see that they work; a ratio of one turn would say nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        ratios();
    }
}
