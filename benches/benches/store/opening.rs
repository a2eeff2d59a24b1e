//! How long it takes to open a long log; every entry is verified.

use std::path::Path;
use std::time::{Duration, Instant};

use benches::logs::BatchWriter;
use benches::logs::store::Store;
use benches::place::{Place, bytes_fetched, forget_cached};

use crate::Effort;

const BATCH: u64 = 200;
const OPENINGS: usize = 3;

/// Opens it with its files in the page cache, and without.
pub(crate) fn run(place: &Place, effort: Effort) {
    let dir = place.new_dir();
    {
        let ours = Store::on_rocksdb(dir.path());
        let mut caller = ours.caller(1);
        (0..effort.entries / BATCH).for_each(|_| caller.append(BATCH));
    }
    println!("\nopening a log of {} entries, all verified", effort.entries);
    print("in the page cache", dir.path(), effort, || {});
    print("not in the page cache", dir.path(), effort, || {
        forget_cached(dir.path()).expect("the files are there");
    });
}

fn print(name: &str, dir: &Path, effort: Effort, before: impl Fn()) {
    let mut openings: Vec<(Duration, Option<u64>)> = (0..OPENINGS)
        .map(|_| {
            before();
            let fetched = bytes_fetched();
            let begin = Instant::now();
            let ours = Store::on_rocksdb(dir);
            let elapsed = begin.elapsed();
            assert_eq!(ours.last_index(1), effort.entries, "nothing is lost");
            let fetched = fetched.and_then(|before| Some(bytes_fetched()? - before));
            (elapsed, fetched)
        })
        .collect();
    openings.sort_unstable();
    let (elapsed, fetched) = openings[OPENINGS / 2];
    let seconds = elapsed.as_secs_f64();
    let rate = effort.entries as f64 / seconds;
    let fetched = fetched.map_or_else(
        || "an unknown amount".to_owned(),
        |bytes| format!("{:.0} MB", bytes as f64 / 1e6),
    );
    println!("{name:<22} {seconds:>8.3} s {rate:>12.0} entries/s   ({fetched} fetched from the disk)");
}
