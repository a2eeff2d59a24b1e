//! A small JSON reader, enough for what `raft-node --json` prints. It reads; it never writes.

use crate::failure::{Failure, Outcome};

/// One value. Objects keep their order; numbers keep their text, so that no large index loses digits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one document; anything after it but white space is an error.
    pub(crate) fn parse(text: &str) -> Outcome<Json> {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            position: 0,
        };
        let value = reader.value(0)?;
        reader.space();
        if reader.position != reader.bytes.len() {
            return Err(reader.wrong("something after the end"));
        }
        Ok(value)
    }

    /// The member of an object.
    pub(crate) fn field(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            _ => &[],
        }
    }

    /// A whole number, also when it is written as a text (as etcd's gateway does) or with a fraction.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Json::Number(text) | Json::Text(text) => text
                .parse()
                .ok()
                .or_else(|| Some(text.parse::<f64>().ok()?.ceil() as u64)),
            _ => None,
        }
    }
}

/// Deeper nesting than this is an error, so that no input can exhaust the stack.
const DEPTH_MAX: usize = 64;

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> Failure {
        Failure::work(format!(
            "not the JSON that was expected: {what} at byte {}",
            self.position
        ))
    }

    fn space(&mut self) {
        while self.bytes.get(self.position).is_some_and(u8::is_ascii_whitespace) {
            self.position += 1;
        }
    }

    /// Takes the next byte after white space if it is `wanted`.
    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let there = self.bytes.get(self.position) == Some(&wanted);
        self.position += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Outcome<Json> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("nesting that is too deep"));
        }
        self.space();
        match self.bytes.get(self.position) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word(),
            None => Err(self.wrong("the end")),
        }
    }

    fn object(&mut self, depth: usize) -> Outcome<Json> {
        self.position += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("no colon"));
            }
            members.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Outcome<Json> {
        self.position += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::List(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn number(&mut self) -> Outcome<Json> {
        let start = self.position;
        while self
            .bytes
            .get(self.position)
            .is_some_and(|byte| b"+-.eE0123456789".contains(byte))
        {
            self.position += 1;
        }
        let text = String::from_utf8_lossy(&self.bytes[start..self.position]).into_owned();
        text.parse::<f64>()
            .map_err(|_| self.wrong("a number that is none"))?;
        Ok(Json::Number(text))
    }

    fn word(&mut self) -> Outcome<Json> {
        for (word, value) in [
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("null", Json::Null),
        ] {
            if self.bytes[self.position..].starts_with(word.as_bytes()) {
                self.position += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("an unknown word"))
    }

    fn string(&mut self) -> Outcome<String> {
        if self.bytes.get(self.position) != Some(&b'"') {
            return Err(self.wrong("no text"));
        }
        self.position += 1;
        let mut out = Vec::new();
        loop {
            let byte = *self
                .bytes
                .get(self.position)
                .ok_or_else(|| self.wrong("an open text"))?;
            self.position += 1;
            match byte {
                b'"' => return String::from_utf8(out).map_err(|_| self.wrong("bytes that are not UTF-8")),
                b'\\' => {
                    let character = self.escape()?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                other => out.push(other),
            }
        }
    }

    fn escape(&mut self) -> Outcome<char> {
        let byte = *self
            .bytes
            .get(self.position)
            .ok_or_else(|| self.wrong("an open text"))?;
        self.position += 1;
        Ok(match byte {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(byte),
            b'u' => {
                let digits = self.bytes.get(self.position..self.position + 4);
                let code = digits
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| self.wrong("a broken \\u"))?;
                self.position += 4;
                // Halves of a surrogate pair do not occur in what we read; they become the replacement sign.
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.wrong("an unknown escape")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read() {
        let json = Json::parse(
            r#" {"a": [1, -2.5e3, "x\n\"\u0041", true, null, {}], "big": 18446744073709551615, "s": "12", "f": 3.2} "#,
        )
        .unwrap();
        let list = json.field("a").unwrap().items();
        assert_eq!(list[0].whole(), Some(1));
        assert_eq!(list[2], Json::Text("x\n\"A".to_string()));
        assert_eq!(list[3], Json::Bool(true));
        assert_eq!(list[5], Json::Object(vec![]));
        assert_eq!(json.field("big").unwrap().whole(), Some(u64::MAX));
        assert_eq!(json.field("s").unwrap().whole(), Some(12));
        assert_eq!(
            json.field("f").unwrap().whole(),
            Some(4),
            "a gap is rounded up, never down"
        );
    }

    #[test]
    fn broken_documents_are_errors_not_panics() {
        for bad in [
            "",
            "{",
            "[1,",
            "{\"a\"}",
            "{\"a\":1,}",
            "tru",
            "\"x",
            "\"\\u12\"",
            "1 2",
            "-",
            "\"\\q\"",
            "{1:2}",
        ] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
