//! The Huffman code of header fields (RFC 7541, appendix B), as far as the characters of an authority have to be told
//! from others.
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before plus one. So the number of
//! codes of each length is enough to find where a code ends, and the symbols of the short codes are enough to know
//! every letter and digit.

/// A length in bits, and how many codes have it. The only code that is left out, of 30 bits, is the end of a string and
/// must not stand in one.
const CODES: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 3),
];

/// The symbols of the codes of five to eight bits, in the order of their codes.
const SHORT: &[u8] = b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ";

/// Decodes `code`; symbols with long codes, which no plain authority has, are `None`. `None` if it is not a code.
pub(super) fn decode(code: &[u8]) -> Option<Vec<Option<u8>>> {
    let mut symbols = Vec::with_capacity(code.len() * 2);
    let mut bits = code
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1)));
    loop {
        let mut read = 0;
        let mut value = 0;
        // The first code of the next length, and how many codes are shorter.
        let (mut first, mut shorter) = (0, 0);
        let mut length = 0;
        'symbol: for (bits_of_code, count) in CODES {
            first <<= bits_of_code - length;
            length = bits_of_code;
            while read < length {
                let Some(bit) = bits.next() else {
                    return is_padding(value, read).then_some(symbols);
                };
                value = value << 1 | bit;
                read += 1;
            }
            if value - first < count {
                symbols.push(SHORT.get((shorter + value - first) as usize).copied());
                break 'symbol;
            }
            if length == 30 {
                return None;
            }
            first += count;
            shorter += count;
        }
    }
}

/// The rest of the last byte is filled with ones: the beginning of the code that ends a string.
fn is_padding(value: u32, bits: u32) -> bool {
    bits < 8 && value == (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: &[u8]) -> Option<String> {
        let symbols = decode(code)?;
        Some(
            symbols
                .iter()
                .map(|symbol| char::from(symbol.unwrap_or(b'?')))
                .collect(),
        )
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn the_examples_of_the_rfc_decode() {
        let examples: [(&[u8], &str); 5] = [
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                "https://www.example.com",
            ),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ];
        for (code, expected) in examples {
            assert_eq!(text(code).as_deref(), Some(expected));
        }
    }

    #[test]
    fn long_codes_count_as_one_symbol_each() {
        // `#` has the twelve bits ffa, `[` the thirteen bits 1ffb.
        assert_eq!(decode(b"\xff\xaf"), Some(vec![None]));
        assert_eq!(decode(b"\xff\xdf"), Some(vec![None]));
    }

    #[test]
    fn what_is_not_a_code_is_refused() {
        // The end of a string inside a string, and a padding that is too long.
        assert_eq!(decode(b"\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"\x07\xff"), None);
    }

    #[test]
    fn the_code_is_complete() {
        let used: u64 = CODES
            .iter()
            .map(|&(bits, count)| u64::from(count) << (30 - bits))
            .sum();
        assert_eq!(used + 1, 1 << 30);
        assert_eq!(CODES.iter().map(|(_, count)| count).sum::<u32>(), 256);
    }
}
