//! What the two ends say on the control socket of a connection.
//!
//! | record | tag (1 byte) | number (8) | text |
//! |---|---|---|---|
//! | Ping | 1 | any | |
//! | Pong | 2 | that of the Ping | |
//! | OpenSnapshot: dial a socket for a snapshot | 3 | under which the socket is expected | |
//! | Close | 4 | the code | the reason |
//!
//! The text is preceded by its length (1 byte). Integers are little-endian. Decoding never panics.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Ping(u64),
    Pong(u64),
    OpenSnapshot(u64),
    Close { code: u32, reason: String },
}

/// The size of a record without its text.
const HEADER_BYTES: usize = 10;

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (tag, number, text) = match self {
            Record::Ping(number) => (1, *number, ""),
            Record::Pong(number) => (2, *number, ""),
            Record::OpenSnapshot(number) => (3, *number, ""),
            Record::Close { code, reason } => (4, u64::from(*code), reason.as_str()),
        };
        let text = &text[..text.floor_char_boundary(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(HEADER_BYTES + text.len());
        bytes.push(tag);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// The next record. Not safe to cancel.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Record> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a malformed control record");
        let tag = from.read_u8().await?;
        let number = from.read_u64_le().await?;
        let mut text = vec![0; usize::from(from.read_u8().await?)];
        from.read_exact(&mut text).await?;
        match (tag, text.is_empty()) {
            (1, true) => Ok(Record::Ping(number)),
            (2, true) => Ok(Record::Pong(number)),
            (3, true) => Ok(Record::OpenSnapshot(number)),
            (4, _) => Ok(Record::Close {
                code: u32::try_from(number).map_err(|_| wrong())?,
                reason: String::from_utf8(text).map_err(|_| wrong())?,
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_are_read_back_and_long_reasons_cut() {
        let close = |reason: String| Record::Close { code: 7, reason };
        let records = [
            Record::Ping(u64::MAX),
            Record::Pong(1),
            Record::OpenSnapshot(2),
            close(String::new()),
            close("shutdown".to_owned()),
        ];
        let mut bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        bytes.extend(close("ä".repeat(200)).encode());
        let mut from = bytes.as_slice();
        for record in records {
            assert_eq!(Record::read(&mut from).await.unwrap(), record);
        }
        assert_eq!(Record::read(&mut from).await.unwrap(), close("ä".repeat(127)));
        assert!(from.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_record_is_an_error() {
        let ping_with_text = [&[1; HEADER_BYTES][..], b"x"].concat();
        let wide_code = [&[4][..], &[0xff; 8], &[0]].concat();
        let no_text = [&[4, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0xff]].concat();
        for bytes in [&[][..], &[1, 0], &[9; 11], &ping_with_text, &wide_code, &no_text] {
            Record::read(&mut &bytes[..]).await.unwrap_err();
        }
    }
}
