//! Reads Rust source just far enough to see its paths: comments, texts and test modules are blanked out, and
//! `use` groups are taken apart. Line numbers are kept.

/// The source with everything that is not production code replaced by blanks: comments, the content of texts and
/// character literals, and every item that only tests have.
pub(crate) fn production_code(text: &str) -> String {
    without_tests(&without_comments(text))
}

fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'r' if is_word_start(bytes, at) => raw_text_end(bytes, at).unwrap_or(at + 1),
            b'b' if is_word_start(bytes, at) && bytes.get(at + 1) == Some(&b'r') => {
                raw_text_end(bytes, at + 1).unwrap_or(at + 1)
            }
            b'"' => text_end(bytes, at, b'"'),
            b'\'' if is_character(bytes, at) => text_end(bytes, at, b'\''),
            _ => at + 1,
        };
        if end > at + 1 {
            blank(&mut out[at..end]);
        }
        at = end.max(at + 1);
    }
    // Only whole pieces were blanked, each from one ASCII mark to another.
    String::from_utf8(out).unwrap_or_default()
}

fn blank(piece: &mut [u8]) {
    for byte in piece {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The end of a text or character that begins at `start` and may hold escapes.
fn text_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"..."` or `r#"..."#`; none when it is a word that begins with r.
fn raw_text_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let rest = &bytes[open + 1..];
    let length = rest.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

fn is_word_start(bytes: &[u8], at: usize) -> bool {
    at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// True for `'x'` and `'\n'`, false for the lifetime `'x`.
fn is_character(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1) {
        Some(b'\\') => true,
        Some(first) => {
            let length = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            bytes.get(at + 1 + length) == Some(&b'\'')
        }
        None => false,
    }
}

/// Blanks every item that follows `#[cfg(test)]` or `#[cfg(all(test, ...))]`, up to its closing brace or semicolon.
fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(";
    let mut out = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = text[from..].find(MARK) {
        let start = from + found;
        let inside = start + MARK.len();
        let close = text[inside..]
            .find(']')
            .map_or(text.len(), |length| inside + length + 1);
        let mut words = text[inside..close].split(|c: char| !(c.is_alphanumeric() || c == '_'));
        // What is there under `any(test, ...)` or `not(test)` is also production code.
        let only_tests = matches!(
            (words.next(), words.next()),
            (Some("test"), _) | (Some("all"), Some("test"))
        );
        let end = if only_tests {
            item_end(text.as_bytes(), close)
        } else {
            close
        };
        if only_tests {
            blank(&mut out[start..end]);
        }
        from = end;
    }
    String::from_utf8(out).unwrap_or_default()
}

fn item_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// One path in the source, as its words, with the line it begins on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SourcePath {
    /// `crate`, `config`, `Config`
    pub(crate) words: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Every path of at least two words in blanked source; `a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(code: &str) -> Vec<SourcePath> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = is_word(&tokens[at].text) && (at == 0 || tokens[at - 1].text != "::");
        if begins {
            at = tree(&tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths.retain(|path| path.words.len() > 1);
    paths
}

/// Reads one path or `use` tree from `at`, with the words that stand before it; where the next token is.
fn tree(tokens: &[Token], start: usize, before: &[String], paths: &mut Vec<SourcePath>) -> usize {
    let mut words = before.to_vec();
    let mut at = start;
    let line = tokens[start].line;
    loop {
        words.push(tokens[at].text.clone());
        at += 1;
        if tokens.get(at).map(|token| token.text.as_str()) != Some("::") {
            break;
        }
        match tokens.get(at + 1) {
            Some(next) if is_word(&next.text) || next.text == "*" => at += 1,
            Some(next) if next.text == "{" => {
                at += 2;
                while at < tokens.len() && tokens[at].text != "}" {
                    at = match tokens[at].text.as_str() {
                        // The name after `as` is no part of a path.
                        "as" => at + 2,
                        text if is_word(text) || text == "*" => tree(tokens, at, &words, paths),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            _ => break,
        }
    }
    paths.push(SourcePath { words, line });
    at
}

struct Token {
    text: String,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push(Token {
                    text: rest[..length].to_string(),
                    line: number + 1,
                });
            }
            rest = &rest[length..];
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        paths(&production_code(text))
            .into_iter()
            .map(|path| path.words.join("::"))
            .collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        let text = "use crate::{a::B, c::{self, D as E}, f::*};\nfn x(y: &crate::g::H<i::J>) {}";
        let expected = [
            "crate::a::B",
            "crate::c::self",
            "crate::c::D",
            "crate::f::*",
            "crate::g::H",
            "i::J",
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn comments_texts_and_tests_are_not_code() {
        let text = r##"
            //! [`crate::a::B`]
            /* crate::a /* crate::b */ crate::c::d */
            const A: &str = "crate::a::b \" crate::c";
            const B: &str = r#"crate::a "quoted" ::b"#;
            fn quote<'a>(x: &'a str) -> char { '"' }
            fn kept() { crate::kept::it('\'', '{') }
            #[cfg(test)]
            mod tests { use crate::a::b; fn x() { { } } }
            #[cfg(test)]
            use crate::a::c;
            #[cfg(all(test, feature = "x"))]
            mod more { use crate::a::d; }
            #[cfg(not(test))]
            use crate::also::kept;
        "##;
        assert_eq!(found(text), ["crate::kept::it", "crate::also::kept"]);
    }

    #[test]
    fn lines_are_kept() {
        let text = "/* one\ntwo */\n\"a\nb\";\nuse crate::x::y;";
        assert_eq!(paths(&production_code(text))[0].line, 5);
    }
}
