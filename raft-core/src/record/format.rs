//! Records, one after the other, each with its length and its checksum.

use std::fmt;
use std::io::Read;

use bytes::{Buf, Bytes};
use thiserror::Error;

use super::checkpoint::StateHash;
use crate::codec::{self, CodecError, Detail, Reader, Recorded, Writer, recorded};
use crate::config::Config;
use crate::input::Input;
use crate::raft::Raft;
use crate::traits::Recovered;
use crate::types::{EntryId, GroupId, NodeId, Time};

/// What every recording begins with.
pub const MAGIC: [u8; 8] = *b"RAFTREC\n";

/// The version of the format. A reader refuses any other.
pub const VERSION: u64 = 1;

/// Before each record stand its length, its checksum, and the checksum of these two: a damaged length is no torn end (R77).
const FRAME_BYTES: usize = 12;

/// The largest record: the state of a replica with its log's tail, and with payloads if they were asked for. Its settings bound it far
/// below.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// How much of a tail of zeros is looked at in one go.
const ZEROS_AT_ONCE: usize = 64 << 10;

/// The time of day, in nanoseconds since 1970 in UTC. It is only told: no decision depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub u64);

recorded!(number WallTime);

/// Who recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the format.
    pub version: u64,
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub node: NodeId,
    /// Which version of this crate wrote it.
    pub made_by: String,
}

recorded!(struct Header { version, group, node, made_by });

impl Header {
    /// The header that this crate writes.
    #[must_use]
    pub fn new(group: GroupId, node: NodeId) -> Header {
        Header {
            version: VERSION,
            group,
            node,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Whole segments, as they are given to a [`Tap`](super::Tap), as a recording: behind this header.
    #[must_use]
    pub fn before(&self, segments: &[u8]) -> Vec<u8> {
        let mut out = Writer::new(Detail::Lengths);
        out.bytes.extend_from_slice(&MAGIC);
        put_record(&mut out, &Record::Header(self.clone()));
        out.bytes.extend_from_slice(segments);
        out.bytes
    }
}

/// One record. Steps are numbered from 1 on since the replica was started; a state is known by how many steps led to it.
#[derive(Clone, Debug)]
pub enum Record {
    /// Who recorded. The first record, and only that.
    Header(Header),
    /// The replica was started with this.
    Start {
        /// Its settings.
        config: Box<Config>,
        /// What its store had.
        recovered: Box<Recovered>,
        /// What its state machine had applied.
        applied: EntryId,
        /// When.
        at: Time,
        /// The time of day.
        wall: WallTime,
    },
    /// The whole state; here a segment begins.
    Checkpoint {
        /// How many steps led to it.
        steps: u64,
        /// The time of the next step.
        at: Time,
        /// The time of day then.
        wall: WallTime,
        /// The state.
        raft: Box<Raft>,
    },
    /// One step, by what it was given.
    Step {
        /// When.
        at: Time,
        /// Everything that happened since the last one.
        inputs: Vec<Input>,
    },
    /// What the state is now.
    State {
        /// How many steps led to it.
        steps: u64,
        /// The time of the next step.
        at: Time,
        /// The time of day then.
        wall: WallTime,
        /// The state.
        hash: StateHash,
    },
    /// The replica stopped in an orderly way.
    End {
        /// After how many steps.
        steps: u64,
        /// The state then.
        hash: StateHash,
    },
}

recorded!(enum Record {
    0 => Header(header),
    1 => Start { config, recovered, applied, at, wall },
    2 => Checkpoint { steps, at, wall, raft },
    3 => Step { at, inputs },
    4 => State { steps, at, wall, hash },
    5 => End { steps, hash },
});

/// What of a record is written without making one of it first.
pub(super) enum Tag {
    Checkpoint = 2,
    Step = 3,
}

/// Appends one record, with what `body` writes, tag and all.
pub(super) fn put_frame(out: &mut Writer, body: impl FnOnce(&mut Writer)) {
    let start = out.bytes.len();
    out.bytes.extend_from_slice(&[0; FRAME_BYTES]);
    body(out);
    let body = &out.bytes[start + FRAME_BYTES..];
    let length = u32::try_from(body.len()).expect("limits keep a replica's state below 4 GiB");
    let checksum = crc32c::crc32c(body);
    out.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out.bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32c::crc32c(&out.bytes[start..start + 8]);
    out.bytes[start + 8..start + FRAME_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

pub(super) fn put_record(out: &mut Writer, record: &Record) {
    put_frame(out, |out| record.put(out));
}

/// Why a recording cannot be read, or not any further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Something else.
    #[error("this is no recording")]
    NotARecording,
    /// Another version.
    #[error(
        "this is a recording of format {found}, made by raft-core {made_by}; this program reads format {VERSION}"
    )]
    Version {
        /// Its format.
        found: u64,
        /// Who made it.
        made_by: String,
    },
    /// The checksum of a record does not match.
    #[error(
        "the record at byte {at} is damaged: its checksum is {found:#010x} and should be {expected:#010x}"
    )]
    Checksum {
        /// Where the record begins.
        at: usize,
        /// The checksum that was written.
        expected: u32,
        /// That of what is there.
        found: u32,
    },
    /// A record claims to be larger than any.
    #[error("the record at byte {at} claims {bytes} bytes, and none has more than {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Where the record begins.
        at: usize,
        /// Its size by its own word.
        bytes: usize,
    },
    /// The bytes cannot be read.
    #[error("the record at byte {at} cannot be read from where it is: {reason}")]
    Read {
        /// Where the record begins.
        at: usize,
        /// What the source said.
        reason: String,
    },
    /// A record holds what no replica has, though its checksum matches.
    #[error("the record at byte {at} is none of this version: {source}")]
    Record {
        /// Where the record begins.
        at: usize,
        /// What is wrong.
        source: CodecError,
    },
}

/// The records of one recording, in order. It holds one of them at a time.
///
/// After an error there are none any more. An end that is torn off is no error: [`torn_bytes`](Records::torn_bytes) tells.
pub struct Records {
    source: Box<dyn Read + Send>,
    at: usize,
    header: Option<Header>,
    torn_bytes: usize,
    has_ended: bool,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("at", &self.at)
            .field("header", &self.header)
            .field("torn_bytes", &self.torn_bytes)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// The records of the recording that is all of `bytes`.
    ///
    /// A writer that died at once may have left a recording without a whole header: that is a torn end, too, and no records.
    pub fn new(bytes: Bytes) -> Result<Records, RecordError> {
        Records::from_reader(bytes.reader())
    }

    /// The records of the recording that `source` gives, which is read record by record.
    pub fn from_reader(source: impl Read + Send + 'static) -> Result<Records, RecordError> {
        let mut records = Records {
            source: Box::new(source),
            at: 0,
            header: None,
            torn_bytes: 0,
            has_ended: false,
        };
        let magic = records.read(MAGIC.len())?;
        if !MAGIC.starts_with(&magic) {
            return Err(RecordError::NotARecording);
        }
        if magic.len() < MAGIC.len() {
            records.tear(magic.len());
            return Ok(records);
        }
        records.at = MAGIC.len();
        if let Some(body) = records.body()? {
            records.header = Some(header(body)?);
        }
        Ok(records)
    }

    /// Who recorded. None if the writer died before that was written.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// How many bytes at the end are no whole record: its writer died while it wrote. 0 before all records were read.
    #[must_use]
    pub fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    /// Where the next record begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes of the next record, checked; none at the end.
    fn body(&mut self) -> Result<Option<Bytes>, RecordError> {
        let frame = self.read(FRAME_BYTES)?;
        let Some((numbers, _)) = frame.split_first_chunk::<FRAME_BYTES>() else {
            return Ok(self.tear(frame.len()));
        };
        // A file that was longer than what reached the disk ends in zeros.
        if numbers == &[0; FRAME_BYTES]
            && let Some(zeros) = self.zeros()?
        {
            return Ok(self.tear(FRAME_BYTES + zeros));
        }
        let found = crc32c::crc32c(&numbers[..8]);
        let mut numbers = numbers.as_slice();
        let (length, of_body, of_both) = (numbers.get_u32_le(), numbers.get_u32_le(), numbers.get_u32_le());
        self.check(of_both, found)?;
        let length = length as usize;
        if length > RECORD_BYTES_MAX {
            self.has_ended = true;
            let at = self.at;
            return Err(RecordError::TooLarge { at, bytes: length });
        }
        let body = self.read(length)?;
        if body.len() < length {
            return Ok(self.tear(FRAME_BYTES + body.len()));
        }
        self.check(of_body, crc32c::crc32c(&body))?;
        self.at += FRAME_BYTES + length;
        Ok(Some(body.into()))
    }

    /// So many bytes, or what is left.
    fn read(&mut self, bytes: usize) -> Result<Vec<u8>, RecordError> {
        let mut read = Vec::new();
        let source = self.source.as_mut().take(bytes as u64);
        // Grows as bytes come, not on the word of a length.
        { source }.read_to_end(&mut read).map_err(|error| {
            self.has_ended = true;
            RecordError::Read {
                at: self.at,
                reason: error.to_string(),
            }
        })?;
        Ok(read)
    }

    /// How many zeros are left; none if there is something else among them.
    fn zeros(&mut self) -> Result<Option<usize>, RecordError> {
        let mut zeros = 0;
        loop {
            let piece = self.read(ZEROS_AT_ONCE)?;
            if piece.is_empty() {
                return Ok(Some(zeros));
            }
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(None);
            }
            zeros += piece.len();
        }
    }

    /// So many bytes at the end are no whole record.
    fn tear(&mut self, bytes: usize) -> Option<Bytes> {
        self.torn_bytes = bytes;
        self.has_ended = true;
        None
    }

    fn check(&mut self, expected: u32, found: u32) -> Result<(), RecordError> {
        if found == expected {
            return Ok(());
        }
        let at = self.at;
        self.has_ended = true;
        Err(RecordError::Checksum { at, expected, found })
    }
}

/// The header in the first record.
fn header(body: Bytes) -> Result<Header, RecordError> {
    let at = MAGIC.len();
    let unreadable = |source| RecordError::Record { at, source };
    let mut reader = Reader::new(body.clone());
    if reader.byte().map_err(unreadable)? != 0 {
        return Err(RecordError::NotARecording);
    }
    // The version comes first, so that it is told of a header that has changed since.
    let found = reader.number().map_err(unreadable)?;
    if found != VERSION {
        let header = Record::take(&mut Reader::new(body));
        let made_by = match header {
            Ok(Record::Header(header)) => header.made_by,
            _ => "of another version".to_owned(),
        };
        return Err(RecordError::Version { found, made_by });
    }
    match codec::decode(body).map_err(unreadable)? {
        Record::Header(header) => Ok(header),
        _ => Err(RecordError::NotARecording),
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Result<Record, RecordError>> {
        if self.has_ended {
            return None;
        }
        let at = self.at;
        let body = match self.body() {
            Ok(body) => body?,
            Err(error) => return Some(Err(error)),
        };
        let record = codec::decode(body).map_err(|source| RecordError::Record { at, source });
        self.has_ended = record.is_err();
        Some(record)
    }
}
