//! How many entries one sync carries when many groups append at the same time.

use std::time::Instant;

use benches::logs::Log;
use benches::logs::store::Store;
use benches::place::Place;
use futures_executor::block_on;
use futures_util::future::join_all;

use crate::Effort;

const GROUPS: u64 = 64;

/// In each round every group appends one entry, all from one thread, as a runtime does.
pub(crate) fn run(place: &Place, effort: Effort) {
    let dir = place.new_dir();
    let ours = Store::on_rocksdb(dir.path());
    let mut callers: Vec<_> = (1..=GROUPS).map(|group| ours.caller(group)).collect();
    let mut round = || {
        let writes = callers.iter_mut().map(|caller| {
            let batch = caller.batch(1);
            let caller = &*caller;
            async move { caller.write(batch).await }
        });
        block_on(join_all(writes));
    };
    // The first write of a group creates its watermark, too.
    round();
    let counted = ours.counted();
    let begin = Instant::now();
    (0..effort.batches).for_each(|_| round());
    let elapsed = begin.elapsed().as_secs_f64();
    let entries = effort.batches * GROUPS;
    println!(
        "\n{GROUPS} groups, one entry each at the same time, {} rounds",
        effort.batches
    );
    println!("{:<20} {:>12.0} entries/s", ours.name(), entries as f64 / elapsed);
    if let (Some(before), Some(after)) = (counted, ours.counted()) {
        let syncs = after.syncs - before.syncs;
        let (entries, syncs) = ((after.entries - before.entries) as f64, syncs as f64);
        println!("{:<20} {:>12.1} entries/sync", ours.name(), entries / syncs);
    }
}
