//! The files of a node's archive: segments of entries, their names, and the file of times.

use bytes::Bytes;
use raft_core::entry::Entry;
use raft_core::membership::Membership;
use raft_core::types::{EntryId, GroupId, Index, NodeId, Term};

#[allow(dead_code, unreachable_pub, reason = "the node uses the rest")]
#[path = "../../raft-node/src/archive/format.rs"]
mod format;
#[allow(dead_code, unreachable_pub, reason = "the node uses the rest")]
#[path = "../../raft-node/src/archive/moments.rs"]
mod moments;

use format::{CHECKSUM_BYTES, HEADER_BYTES, Header, Place};
use moments::{Moment, Moments, RECORD_BYTES};

const GROUP: GroupId = GroupId(3);
/// What precedes the payload of an entry, the length of that at its end.
const HEAD_BYTES: usize = 21;

/// The first byte says what the rest is: a segment as it stands on a disk, one whose checksums are to be made right, the name of one,
/// or a file of times, as it stands or with its checksums made right.
///
/// # Panics
/// If decoding panics, if what is written is not read, or if what decodes is written otherwise than it was read.
pub fn node_archive(data: &[u8]) {
    let Some((&form, bytes)) = data.split_first() else {
        return;
    };
    match form % 5 {
        0 => segment(bytes),
        1 => segment(&sealed_segment(bytes)),
        2 => name(bytes),
        3 => times(bytes),
        _ => times(&sealed_times(bytes)),
    }
}

fn segment(bytes: &[u8]) {
    let contents = Bytes::copy_from_slice(bytes);
    let header = Header::decode(bytes);
    let Ok((decoded, entries)) = format::decode(&contents) else {
        return;
    };
    assert_eq!(header, Ok(decoded), "the header is the same by itself");
    assert_eq!(decoded.file_bytes(), bytes.len() as u64);
    assert_eq!(entries.first().map(Entry::index), Some(decoded.first()));
    assert_eq!(entries.last().map(|entry| entry.id), Some(decoded.end.id));
    let ids = (decoded.first(), decoded.end.id);
    assert_eq!(format::parse_name(&decoded.name()), Some(ids), "it has a name");
    let (again, written) = format::encode(decoded.group, decoded.begin, &entries);
    let read = format::decode(&written.into());
    assert_eq!(read, Ok((again, entries)), "what is written is read");
}

fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some((first, last)) = format::parse_name(text) {
        assert!(Index::ZERO < first && first <= last.index);
        let begin = Place::beginning(EntryId::new(Term(0), first.previous()));
        let end = Place::beginning(last);
        let header = Header {
            group: GROUP,
            begin,
            end,
            entries_bytes: 0,
        };
        assert_eq!(header.name(), text, "a name has one form");
    }
}

fn times(bytes: &[u8]) {
    let moments = Moments::decode(bytes);
    for pair in moments.list.windows(2) {
        assert!(pair[0].unix_ms <= pair[1].unix_ms && pair[0].applied < pair[1].applied);
    }
    for damage in &moments.damages {
        assert!(damage.at < bytes.len() && damage.at.is_multiple_of(RECORD_BYTES));
    }
    for moment in &moments.list {
        if let Ok(found) = moments.find(moment.unix_ms) {
            assert!(found.is_some_and(|found| found.unix_ms == moment.unix_ms));
        }
        assert_eq!(moments.applied(moment.applied), Some(*moment));
    }
    // Thinning out loses records, and never what says that something is not known.
    let thinned = Moments::decode(&moments.thinned(bytes));
    assert!(thinned.list.iter().all(|moment| moments.list.contains(moment)));
    assert_eq!(thinned.damages.is_empty(), moments.damages.is_empty());
    assert_eq!(thinned.list.last(), moments.list.last(), "the last one stays");
}

/// The bytes with the header and the checksums that they should have. An entry is as long as it says, or reaches to the end.
fn sealed_segment(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() < HEADER_BYTES {
        return out;
    }
    out[..8].copy_from_slice(b"raftseg\x02");
    let number =
        |out: &[u8], at: usize| u64::from_le_bytes(out[at..at + 8].try_into().expect("it is 8 long"));
    let mut checksum = u32::from_le_bytes(out[32..36].try_into().expect("it is 4 long"));
    let mut index = number(&out, 24);
    let mut term = number(&out, 16);
    let mut at = HEADER_BYTES;
    while out.len() >= at + HEAD_BYTES + CHECKSUM_BYTES {
        let room = out.len() - at - HEAD_BYTES - CHECKSUM_BYTES;
        let said = u32::from_le_bytes(out[at + 17..at + HEAD_BYTES].try_into().expect("it is 4 long"));
        let length = (said as usize).min(room);
        out[at + 17..at + HEAD_BYTES].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
        (term, index) = (number(&out, at), number(&out, at + 8));
        let end = at + HEAD_BYTES + length;
        checksum = crc32c::crc32c_append(checksum, &out[at..end]);
        out[end..end + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        at = end + CHECKSUM_BYTES;
    }
    out.truncate(at);
    out[36..44].copy_from_slice(&term.to_le_bytes());
    out[44..52].copy_from_slice(&index.to_le_bytes());
    out[52..56].copy_from_slice(&checksum.to_le_bytes());
    let entries_bytes = (at - HEADER_BYTES) as u64;
    out[56..64].copy_from_slice(&entries_bytes.to_le_bytes());
    let of_header = crc32c::crc32c(&out[..HEADER_BYTES - CHECKSUM_BYTES]);
    out[HEADER_BYTES - CHECKSUM_BYTES..HEADER_BYTES].copy_from_slice(&of_header.to_le_bytes());
    out
}

fn sealed_times(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for record in out.chunks_exact_mut(RECORD_BYTES) {
        let checksum = crc32c::crc32c(&record[..16]);
        record[16..].copy_from_slice(&checksum.to_le_bytes());
    }
    out
}

/// A segment, the one after it, one behind a gap, torn ones; a name; a file of times, torn and damaged.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let membership = Membership::of_voters([NodeId(1), NodeId(2)]).expect("it has voters");
    let entries = [
        Entry::noop(Term(1), Index(1)),
        Entry {
            id: EntryId::new(Term(1), Index(2)),
            payload: raft_core::entry::Payload::Membership(membership),
        },
        Entry::command(Term(2), Index(3), Bytes::from_static(b"set the table")),
    ];
    let (first, whole) = format::encode(GROUP, Place::default(), &entries);
    let next = [Entry::command(Term(2), Index(4), Bytes::new())];
    let (_, next) = format::encode(GROUP, first.end, &next);
    let gap = Place::beginning(EntryId::new(Term(0), Index(8)));
    let (_, behind) = format::encode(GROUP, gap, &[Entry::noop(Term(5), Index(9))]);
    let moments = [(1_000, 5), (2_000, 9), (2_000, 12), (60_000, 13)];
    let times: Vec<u8> = moments
        .iter()
        .flat_map(|(unix_ms, applied)| {
            let (unix_ms, applied) = (*unix_ms, Index(*applied));
            Moment { unix_ms, applied }.encode()
        })
        .collect();
    let mut damaged = times.clone();
    damaged[RECORD_BYTES + 2] ^= 4;
    let seed = |form: u8, bytes: &[u8]| [&[form], bytes].concat();
    vec![
        seed(0, &whole),
        seed(1, &whole),
        seed(0, &next),
        seed(1, &behind),
        seed(0, &whole[..whole.len() - 7]),
        seed(0, &whole[..HEADER_BYTES - 9]),
        seed(2, first.name().as_bytes()),
        seed(3, &times),
        seed(4, &times),
        seed(3, &times[..times.len() - 6]),
        seed(3, &damaged),
        seed(3, &[&times[..], &[0; RECORD_BYTES]].concat()),
    ]
}
