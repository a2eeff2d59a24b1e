//! Messages with one entry of 256 bytes or 64 KiB between two nodes in this process: round trips one at a time, and as many
//! as fit, one way.
#![allow(missing_docs)]

use benches::transports;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

/// Payload bytes, messages per call of `send`, messages under way at most.
const SHAPES: [(usize, u64, u64); 2] = [(256, 64, 8_192), (64 << 10, 4, 128)];

fn bench_transport(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads for the runtime");
    let pairs = runtime.block_on(transports::pairs());
    let mut group = criterion.benchmark_group("transport");
    for (name, pair) in &pairs {
        for (bytes, batch, window) in SHAPES {
            let payload = Bytes::from(vec![7; bytes]);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(format!("{name}/round_trip"), bytes), |bencher| {
                bencher.iter(|| runtime.block_on(pair.round_trip(&payload)));
            });
            let count = window * 2;
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new(format!("{name}/stream"), bytes), |bencher| {
                bencher.iter(|| runtime.block_on(pair.stream(&payload, count, batch, window)));
            });
        }
    }
    group.finish();
    for (_, pair) in pairs {
        runtime.block_on(pair.shutdown());
    }
}

criterion_group!(benches, bench_transport);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
