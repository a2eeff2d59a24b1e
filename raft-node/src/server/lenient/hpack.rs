//! Header blocks (RFC 7541 §5 and §6), as far as the authority has to be found in them.

use std::ops::Range;

use super::huffman;

/// The index of the name `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;

/// What a header block says about the authority.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// A host name or address, with a port or without.
    Proper,
    /// Something else.
    Improper {
        /// Where in the block its string literal stands, length prefix included.
        at: Range<usize>,
        /// How many characters it has, once decoded.
        characters: usize,
    },
}

/// Finds the authority if the block holds it as a literal. A block that refers to one that was sent before, or that
/// cannot be read, has none.
pub(super) fn find_authority(block: &[u8]) -> Option<Authority> {
    let mut reader = Reader { block, at: 0 };
    while let Some(&first) = block.get(reader.at) {
        let prefix_bits = match first {
            // An indexed field, or a new size of the table: nothing follows.
            0b1000_0000.. => {
                reader.integer(7)?;
                continue;
            }
            0b0010_0000..=0b0011_1111 => {
                reader.integer(5)?;
                continue;
            }
            // A literal, to be remembered or not.
            0b0100_0000..=0b0111_1111 => 6,
            ..=0b0001_1111 => 4,
        };
        let name = reader.integer(prefix_bits)?;
        if name == 0 {
            reader.string()?;
        }
        let start = reader.at;
        let value = reader.string()?;
        if name == AUTHORITY_INDEX {
            return judge(value, start..reader.at);
        }
    }
    None
}

fn judge(value: Literal<'_>, at: Range<usize>) -> Option<Authority> {
    let (characters, proper) = match value {
        Literal::Plain(text) => (text.len(), text.iter().all(|&byte| is_proper(byte))),
        Literal::Huffman(code) => {
            let decoded = huffman::decode(code)?;
            let proper = decoded.iter().all(|symbol| symbol.is_some_and(is_proper));
            (decoded.len(), proper)
        }
    };
    match proper {
        true => Some(Authority::Proper),
        false => Some(Authority::Improper { at, characters }),
    }
}

/// Whether `byte` needs no second look in an authority. Brackets of IPv6 addresses do: replacing them does no harm.
fn is_proper(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_')
}

/// Appends a string literal that is a proper authority of `characters` characters.
pub(super) fn write_placeholder(characters: usize, out: &mut Vec<u8>) {
    // An integer with a prefix of seven bits; the eighth says that the text is not Huffman-coded.
    const PREFIX_MAX: usize = 127;
    if characters < PREFIX_MAX {
        out.push(characters as u8);
    } else {
        out.push(PREFIX_MAX as u8);
        let mut rest = characters - PREFIX_MAX;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 0b1000_0000);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.resize(out.len() + characters, b'x');
}

enum Literal<'a> {
    Plain(&'a [u8]),
    Huffman(&'a [u8]),
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// An integer that begins in the last `prefix_bits` bits of the next byte (RFC 7541 §5.1).
    fn integer(&mut self, prefix_bits: u32) -> Option<usize> {
        let prefix_max = (1_usize << prefix_bits) - 1;
        let prefix = usize::from(self.byte()?) & prefix_max;
        if prefix < prefix_max {
            return Some(prefix);
        }
        let mut value = prefix;
        // Four more bytes hold every length and index that fits into a frame.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0b0111_1111) << shift;
            if byte & 0b1000_0000 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Literal<'a>> {
        let is_huffman = *self.block.get(self.at)? & 0b1000_0000 != 0;
        let length = self.integer(7)?;
        let text = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        match is_huffman {
            true => Some(Literal::Huffman(text)),
            false => Some(Literal::Plain(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A literal to be remembered, named by the index of `:authority`, not Huffman-coded.
    fn authority_literal(text: &str) -> Vec<u8> {
        let mut literal = vec![0b0100_0001, text.len() as u8];
        literal.extend_from_slice(text.as_bytes());
        literal
    }

    /// `:method POST`, `:scheme http`, and a path of ours.
    const BEFORE: &[u8] = b"\x83\x86\x44\x02/x";

    #[test]
    fn hosts_and_ports_are_proper() {
        for text in ["localhost", "127.0.0.1:2379", "n1.example.org", "_etcd-1.svc:443"] {
            let block = [BEFORE, &authority_literal(text)].concat();
            assert_eq!(find_authority(&block), Some(Authority::Proper), "{text}");
        }
    }

    #[test]
    fn the_name_in_the_examples_of_the_rfc_is_proper() {
        // RFC 7541 C.4.1: `www.example.com`, Huffman-coded.
        let block = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(find_authority(block), Some(Authority::Proper));
    }

    #[test]
    fn urls_and_lists_are_improper() {
        for text in ["http://127.0.0.1:2379", "#initially=[a;b]", "", "[::1]:2379"] {
            let block = [BEFORE, &authority_literal(text), b"\x82"].concat();
            let at = BEFORE.len() + 1..BEFORE.len() + 2 + text.len();
            let expected = match text {
                "" => Authority::Proper,
                _ => Authority::Improper {
                    at,
                    characters: text.len(),
                },
            };
            assert_eq!(find_authority(&block), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_fields_are_skipped_in_every_form() {
        let fields: [&[u8]; 5] = [
            // A new table size; never to be remembered; not remembered; a long index; a new name.
            b"\x3f\xe1\x1f",
            b"\x14\x01v",
            b"\x0f\x2b\x01v",
            b"\xff\x00",
            b"\x40\x01n\x01v",
        ];
        let block = [&fields.concat(), &authority_literal("a/b")[..]].concat();
        assert!(matches!(
            find_authority(&block),
            Some(Authority::Improper { characters: 3, .. })
        ));
    }

    #[test]
    fn damaged_blocks_have_no_authority() {
        let block = [BEFORE, &authority_literal("http://127.0.0.1:2379")].concat();
        for end in 0..block.len() {
            assert_eq!(find_authority(&block[..end]), None, "{end}");
        }
        assert_eq!(find_authority(b"\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn placeholders_of_every_length_are_proper() {
        for characters in [1, 126, 127, 128, 254, 255, 256, 20_000] {
            let mut block = vec![0b0100_0001];
            write_placeholder(characters, &mut block);
            assert_eq!(find_authority(&block), Some(Authority::Proper), "{characters}");
            let mut reader = Reader { block: &block, at: 1 };
            assert!(matches!(reader.string(), Some(Literal::Plain(text)) if text.len() == characters));
        }
    }
}
