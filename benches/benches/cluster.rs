//! Three nodes in this process commit 256-byte commands of 1, 64 and 1,024 concurrent clients.
#![allow(missing_docs)]

use benches::clusters;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

const COMMAND_BYTES: usize = 256;
const CLIENTS: [u64; 3] = [1, 64, 1_024];

fn bench_cluster(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads for the runtime");
    let command = Bytes::from(vec![7; COMMAND_BYTES]);
    let clusters = runtime.block_on(clusters::clusters());
    let mut group = criterion.benchmark_group("cluster");
    group.sample_size(20);
    for (name, cluster) in &clusters {
        for clients in CLIENTS {
            let count = clients * 16;
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new(*name, clients), |bencher| {
                bencher.iter(|| runtime.block_on(cluster.commit(&command, count, clients)));
            });
        }
    }
    group.finish();
    for (_, cluster) in clusters {
        runtime.block_on(cluster.shutdown());
    }
}

criterion_group!(benches, bench_cluster);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
