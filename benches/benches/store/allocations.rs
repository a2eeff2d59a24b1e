//! What an append allocates, from the call to its answer, on all threads of the process.
//!
//! Only Rust's allocator is counted, not that of RocksDB. The entries themselves are made before.

use benches::logs::store::Store;
use benches::place::Place;
use futures_executor::block_on;
use stats_alloc::Region;

use crate::{ALLOCATOR, Effort};

const BATCHES: [u64; 3] = [1, 16, 256];

pub(crate) fn run(place: &Place, effort: Effort) {
    println!("\nallocations of an append, its entries made before");
    println!(
        "{:<20} {:>12} {:>12} {:>14}",
        "batch", "per batch", "per entry", "bytes/batch"
    );
    for batch in BATCHES {
        let dir = place.new_dir();
        let ours = Store::on_rocksdb(dir.path());
        let mut caller = ours.caller(1);
        let batches: Vec<_> = (0..2 * effort.batches).map(|_| caller.batch(batch)).collect();
        let mut batches = batches.into_iter();
        let mut write = || {
            for batch in batches
                .by_ref()
                .take(usize::try_from(effort.batches).unwrap_or(1))
            {
                block_on(caller.write(batch));
            }
        };
        // Buffers grow to the size that they keep.
        write();
        let region = Region::new(ALLOCATOR);
        write();
        let change = region.change();
        let count = (change.allocations + change.reallocations) as f64 / effort.batches as f64;
        let bytes = change.bytes_allocated as f64 / effort.batches as f64;
        println!(
            "{batch:<20} {count:>12.2} {:>12.3} {bytes:>14.0}",
            count / batch as f64
        );
    }
}
