//! Bytes that no store ever wrote.

use super::common::*;
use crate::disk::record;
use crate::disk::{Opened, Storage};
use crate::random::Random;

/// A store with a little of everything.
fn rich() -> Storage {
    let mut storage = storage();
    put(&mut storage, state(hard_state(1, 1, 0)));
    fill(&mut storage, 1, 4, 1);
    put(
        &mut storage,
        append([membership_entry(5, 1, &[1, 2, 3]), entry(6, 2)]),
    );
    take_snapshot(&mut storage, id(4, 1));
    storage.compact(id(3, 1));
    sound(storage.open());
    fill(&mut storage, 7, 9, 2);
    storage
}

/// Where the records of a segment begin and end.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut begin = 0;
    while let Some(view) = bytes.get(begin..).and_then(record::decode) {
        let end = begin + record::HEADER_BYTES + view.body.len();
        places.push((begin, end));
        begin = end;
    }
    places
}

/// Opening never panics, whatever the bytes are; and what it finds can be used.
fn survives(storage: &mut Storage) {
    storage.reassess();
    if let Opened::Sound(recovered) | Opened::Suspect(recovered, _) = storage.open() {
        let (first, last) = (recovered.purged.index.next(), recovered.last_index);
        if recovered.last_index.entries_since(recovered.purged.index) < 100 {
            let _ = storage.read(first, last, usize::MAX);
        }
        let next = entry(last.0 + 1, recovered.hard_state.term.0 + 100);
        put(storage, append([next]));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let mut storage = rich();
        for _ in 0..1 + random.below(6) {
            let segment = random.position(storage.sectors.segments.len());
            let bytes = &mut storage.sectors.segments[segment].bytes;
            let position = random.position(bytes.len().min(1500));
            bytes[position] = random.next_u64() as u8;
            let slot = random.position(2);
            if random.percent(30) {
                storage.mark.slots[slot][random.position(100)] ^= 1 << random.below(8);
            }
        }
        survives(&mut storage);
    }
}

/// The same with right checksums, so that what is in the records is believed.
#[test]
fn no_records_make_it_panic() {
    let mut believed = 0;
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let mut storage = rich();
        let segment = random.position(storage.sectors.segments.len());
        let bytes = &mut storage.sectors.segments[segment].bytes;
        let places = records(bytes);
        let (begin, end) = places[random.position(places.len())];
        let whole = record::decode(&bytes[begin..end]).expect("it was read before");
        let (mut link, previous) = (whole.link, whole.previous);
        link.number -= 1;
        link.chain = previous;
        for _ in 0..1 + random.below(3) {
            let position = begin + record::HEADER_BYTES + random.position(end - begin - record::HEADER_BYTES);
            bytes[position] = if random.percent(50) {
                random.next_u64() as u8
            } else {
                0xff
            };
        }
        record::seal(link, &mut bytes[begin..end]);
        believed += usize::from(record::decode(&bytes[begin..end]).is_some());
        survives(&mut storage);
    }
    assert_eq!(believed, 3000, "every record has a right checksum");
}
