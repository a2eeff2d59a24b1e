//! The framing of RocksDB's own log files (the MANIFEST, and its write-ahead logs, which stay empty), as far as one has to
//! look at it before RocksDB does.
//!
//! Such a file consists of blocks of 32 KiB, and a block of records with a header of 7 bytes: checksum (4), length (2), type
//! (1). Types 1 to 4 are the pieces of a record; 0 fills a block. Others are of features that this store does not
//! use, so they are damage. RocksDB's reader (11.8) does not get past some of them: it reads the same header again
//! for ever.

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const TYPE_AT: usize = 6;
const TYPE_MAX: u8 = 4;

/// Where the first record stands that RocksDB must not be shown, and its type.
pub(crate) fn foreign_record(file: &[u8]) -> Option<(usize, u8)> {
    file.chunks(BLOCK_BYTES).enumerate().find_map(|(number, block)| {
        let (at, kind) = foreign_record_in(block)?;
        Some((number * BLOCK_BYTES + at, kind))
    })
}

fn foreign_record_in(block: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        if header[TYPE_AT] > TYPE_MAX {
            return Some((at, header[TYPE_AT]));
        }
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        if header[TYPE_AT] == 0 && length == 0 {
            // The reader goes on with the next block.
            return None;
        }
        at += HEADER_BYTES + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: usize) -> Vec<u8> {
        let length = u16::try_from(bytes).unwrap().to_le_bytes();
        [&[0; 4][..], &length, &[kind], &vec![9; bytes]].concat()
    }

    #[test]
    fn what_rocksdb_writes_passes_and_other_records_do_not() {
        let sound = [record(1, 10), record(2, 0), record(4, 300)].concat();
        assert_eq!(foreign_record(&sound), None);
        assert_eq!(foreign_record(&sound[..sound.len() - 5]), None, "a torn end");
        for kind in [5, 8, 9, 11, 131, 255] {
            let damaged = [&sound[..], &record(kind, 10)].concat();
            assert_eq!(foreign_record(&damaged), Some((sound.len(), kind)));
        }
        let mut second_block = record(1, 100);
        second_block.resize(BLOCK_BYTES, 0);
        second_block.extend_from_slice(&record(6, 3));
        assert_eq!(foreign_record(&second_block), Some((BLOCK_BYTES, 6)));
    }

    #[test]
    fn no_bytes_panic() {
        for byte in 0..=255 {
            let _found = foreign_record(&[byte; 100]);
        }
    }
}
