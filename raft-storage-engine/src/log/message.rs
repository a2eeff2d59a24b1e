//! An entry as raft-engine wants it: a protobuf message that is none.
//!
//! raft-engine writes entries through `write_to_vec` and reads them through `parse_from_bytes`, and asks for the index. Both
//! are overridden here with the plain bytes of our own format: on the way to the disk a payload is copied once, into
//! raft-engine's batch, and on the way back once, out of the block that raft-engine read. The rest of the trait is
//! there because it must be, and does the same through protobuf's streams.

use std::any::Any;
use std::sync::OnceLock;

use bytes::Bytes;
use protobuf::reflect::MessageDescriptor;
use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufError, ProtobufResult, UnknownFields,
};
use raft_engine::MessageExt;

use crate::format::record::{HEADER_BYTES, Header, index_of};

/// One stored entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
    unknown: UnknownFields,
}

/// Tells raft-engine what an entry is.
pub(crate) struct Records;

impl MessageExt for Records {
    type Entry = Record;

    fn index(record: &Record) -> u64 {
        index_of(&record.header).0
    }
}

impl Default for Record {
    fn default() -> Record {
        Record::new([0; HEADER_BYTES], Bytes::new())
    }
}

impl Record {
    pub(crate) fn new(header: Header, payload: Bytes) -> Record {
        Record {
            header,
            payload,
            unknown: UnknownFields::default(),
        }
    }

    fn parse(bytes: &[u8]) -> ProtobufResult<Record> {
        let Some((header, payload)) = bytes.split_first_chunk() else {
            let reason = std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "an entry is shorter than its header",
            );
            return Err(ProtobufError::IoError(reason));
        };
        Ok(Record::new(*header, Bytes::copy_from_slice(payload)))
    }
}

impl Clear for Record {
    fn clear(&mut self) {
        *self = Record::default();
    }
}

impl Message for Record {
    fn descriptor(&self) -> &'static MessageDescriptor {
        Record::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, input: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let mut bytes = Vec::new();
        while !input.eof()? {
            bytes.push(input.read_raw_byte()?);
        }
        *self = Record::parse(&bytes)?;
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, output: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        output.write_raw_bytes(&self.header)?;
        output.write_raw_bytes(&self.payload)
    }

    fn compute_size(&self) -> u32 {
        u32::try_from(HEADER_BYTES + self.payload.len()).unwrap_or(u32::MAX)
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn write_to_vec(&self, out: &mut Vec<u8>) -> ProtobufResult<()> {
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&self.payload);
        Ok(())
    }

    fn parse_from_bytes(bytes: &[u8]) -> ProtobufResult<Record> {
        Record::parse(bytes)
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> Record {
        Record::default()
    }

    fn default_instance() -> &'static Record {
        static INSTANCE: OnceLock<Record> = OnceLock::new();
        INSTANCE.get_or_init(Record::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_the_trait_give_the_same_bytes() {
        let mut header = [7; HEADER_BYTES];
        header[3] = 200;
        for payload in [Bytes::new(), Bytes::from(vec![9; 3000])] {
            let record = Record::new(header, payload);
            let mut fast = Vec::new();
            record.write_to_vec(&mut fast).unwrap();
            assert_eq!(fast, record.write_to_bytes().unwrap());
            assert_eq!(Record::parse_from_bytes(&fast).unwrap(), record);
            let mut slow = Record::default();
            slow.merge_from_bytes(&fast).unwrap();
            assert_eq!(slow, record);
        }
        assert!(Record::parse_from_bytes(&[0; HEADER_BYTES - 1]).is_err());
    }
}
