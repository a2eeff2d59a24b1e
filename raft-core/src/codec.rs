//! Values to bytes and back, field by field, for recordings.
//!
//! What takes part says so with [`recorded!`], which takes a value apart in full and puts it together in full: a new field or
//! variant does not compile before it stands in that line. Unlike `wire`, this is no format between versions: a recording is read
//! by the program that wrote it, or by none ([`record`](crate::record) says which).
//!
//! Decoding never panics, and allocates no more than a small multiple of the bytes it was given, but for the entries of a
//! log's tail, which are bounded by [`ENTRIES_MAX`], and for contents that were left out, which share their memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use thiserror::Error;

/// How many entries one value may hold that are told as so many alike.
pub(crate) const ENTRIES_MAX: usize = 1 << 24;

/// The largest content whose length alone may be recorded.
const CONTENT_BYTES_MAX: usize = 1 << 30;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// A tag or a number that does not occur.
    #[error("{what} cannot be {value}")]
    Value {
        /// What was decoded.
        what: &'static str,
        /// What stands there.
        value: u64,
    },
    /// More than any replica has.
    #[error("{what} would take too much memory")]
    TooLarge {
        /// What was decoded.
        what: &'static str,
    },
    /// Parts that do not fit together.
    #[error("{0} is not what it should be")]
    Invalid(&'static str),
}

/// How much of a value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of it.
    Whole,
    /// Of commands only how long they are: no decision of the protocol depends on more.
    Lengths,
    /// Of the entries in memory only how many there are, which is the last and how large they are together: enough to
    /// tell states apart that were reached by the same inputs.
    Summary,
}

/// Something that can be recorded.
pub(crate) trait Recorded: Sized {
    /// Appends it.
    fn put(&self, out: &mut Writer);
    /// Takes it off the front.
    fn take(from: &mut Reader) -> Result<Self, CodecError>;

    /// Appends a list of them.
    fn put_all(values: &[Self], out: &mut Writer) {
        values.len().put(out);
        values.iter().for_each(|value| value.put(out));
    }

    /// Takes a list of them off the front.
    fn take_all(from: &mut Reader) -> Result<Vec<Self>, CodecError> {
        // Nothing is allocated on the word of the count: each value takes its bytes first.
        (0..from.size()?).map(|_| Self::take(from)).collect()
    }
}

/// Where values are put.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) detail: Detail,
}

impl Writer {
    pub(crate) fn new(detail: Detail) -> Writer {
        Writer {
            bytes: Vec::new(),
            detail,
        }
    }

    /// Seven bits in each byte, the lowest first; the eighth says that more follow (LEB128).
    #[inline]
    pub(crate) fn number(&mut self, mut value: u64) {
        if value < 0x80 {
            self.bytes.push(value as u8);
            return;
        }
        // Eight bytes are put at once, and what is too much is taken back: that is one store, whatever the number.
        let mut word = 0;
        let mut bits = 0;
        while value >= 0x80 && bits < 56 {
            word |= (value & 0x7f | 0x80) << bits;
            value >>= 7;
            bits += 8;
        }
        let start = self.bytes.len();
        if value < 0x80 {
            self.bytes
                .extend_from_slice(&(word | value << bits).to_le_bytes());
            self.bytes.truncate(start + bits / 8 + 1);
            return;
        }
        self.bytes.extend_from_slice(&word.to_le_bytes());
        self.bytes.truncate(start + 7);
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// What clients wrote: its length, and whether its bytes follow.
    #[inline]
    pub(crate) fn content(&mut self, content: &[u8]) {
        let is_whole = self.detail == Detail::Whole;
        self.number((content.len() as u64) << 1 | u64::from(is_whole));
        if is_whole {
            self.bytes.extend_from_slice(content);
        }
    }
}

/// Where values are taken from.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    /// Stands for every content that was left out.
    zeros: Bytes,
    /// How many more entries may be told as so many alike.
    pub(crate) entries_left: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader {
            bytes,
            zeros: Bytes::new(),
            entries_left: ENTRIES_MAX,
        }
    }

    /// Everything was taken.
    pub(crate) fn finish(self) -> Result<(), CodecError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(CodecError::Trailing(left)),
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        self.bytes.try_get_u8().map_err(|_| CodecError::Truncated)
    }

    pub(crate) fn number(&mut self) -> Result<u64, CodecError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::TooLarge { what: "a number" })
    }

    pub(crate) fn size(&mut self) -> Result<usize, CodecError> {
        usize::try_from(self.number()?).map_err(|_| CodecError::TooLarge { what: "a size" })
    }

    pub(crate) fn slice(&mut self, length: usize) -> Result<Bytes, CodecError> {
        if length > self.bytes.len() {
            return Err(CodecError::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    /// What clients wrote; as many zeros if only its length was recorded.
    pub(crate) fn content(&mut self) -> Result<Bytes, CodecError> {
        let told = self.size()?;
        let length = told >> 1;
        if told & 1 == 1 {
            return self.slice(length);
        }
        if length > CONTENT_BYTES_MAX {
            return Err(CodecError::TooLarge { what: "a content" });
        }
        if self.zeros.len() < length {
            self.zeros = Bytes::from(vec![0; length.next_power_of_two()]);
        }
        Ok(self.zeros.slice(..length))
    }
}

/// All of `bytes` as one value.
pub(crate) fn decode<T: Recorded>(bytes: Bytes) -> Result<T, CodecError> {
    let mut reader = Reader::new(bytes);
    let value = T::take(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Lets a type be recorded: `recorded!(struct Type { every, field })`, `recorded!(enum Type { 0 => Variant { every, field } })`.
macro_rules! recorded {
    (number $($type:ident),* $(,)?) => {
        $(
            impl $crate::codec::Recorded for $type {
                #[inline]
                fn put(&self, out: &mut $crate::codec::Writer) {
                    out.number(self.0);
                }

                fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::CodecError> {
                    from.number().map($type)
                }
            }
        )*
    };
    (struct $type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Recorded for $type {
            fn put(&self, out: &mut $crate::codec::Writer) {
                let $type { $($field),* } = self;
                $($crate::codec::Recorded::put($field, out);)*
            }

            fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::CodecError> {
                Ok($type { $($field: $crate::codec::Recorded::take(from)?),* })
            }
        }
    };
    (enum $type:ident { $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })? $(($($item:ident),*))?),* $(,)? }) => {
        impl $crate::codec::Recorded for $type {
            fn put(&self, out: &mut $crate::codec::Writer) {
                match self {
                    $($type::$variant $({ $($field),* })? $(($($item),*))? => {
                        out.bytes.push($tag);
                        $($($crate::codec::Recorded::put($field, out);)*)?
                        $($($crate::codec::Recorded::put($item, out);)*)?
                    })*
                }
            }

            fn take(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::CodecError> {
                Ok(match from.byte()? {
                    $($tag => $type::$variant
                        $({ $($field: $crate::codec::Recorded::take(from)?),* })?
                        $(($({ let $item = $crate::codec::Recorded::take(from)?; $item }),*))?,)*
                    tag => {
                        let (what, value) = (stringify!($type), u64::from(tag));
                        return Err($crate::codec::CodecError::Value { what, value });
                    }
                })
            }
        }
    };
}

pub(crate) use recorded;

impl Recorded for u64 {
    #[inline]
    fn put(&self, out: &mut Writer) {
        out.number(*self);
    }

    fn take(from: &mut Reader) -> Result<u64, CodecError> {
        from.number()
    }
}

impl Recorded for u32 {
    fn put(&self, out: &mut Writer) {
        out.number(u64::from(*self));
    }

    fn take(from: &mut Reader) -> Result<u32, CodecError> {
        let value = from.number()?;
        let what = "a small number";
        u32::try_from(value).map_err(|_| CodecError::Value { what, value })
    }
}

impl Recorded for u8 {
    fn put(&self, out: &mut Writer) {
        out.bytes.push(*self);
    }

    fn take(from: &mut Reader) -> Result<u8, CodecError> {
        from.byte()
    }
}

impl Recorded for usize {
    fn put(&self, out: &mut Writer) {
        out.number(*self as u64);
    }

    fn take(from: &mut Reader) -> Result<usize, CodecError> {
        from.size()
    }
}

impl Recorded for bool {
    fn put(&self, out: &mut Writer) {
        out.bytes.push(u8::from(*self));
    }

    fn take(from: &mut Reader) -> Result<bool, CodecError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(CodecError::Value {
                what: "a flag",
                value: u64::from(tag),
            }),
        }
    }
}

impl Recorded for Duration {
    fn put(&self, out: &mut Writer) {
        out.number(self.as_secs());
        out.number(u64::from(self.subsec_nanos()));
    }

    fn take(from: &mut Reader) -> Result<Duration, CodecError> {
        let (seconds, value) = (from.number()?, from.number()?);
        match u32::try_from(value) {
            Ok(nanos) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
            _ => Err(CodecError::Value {
                what: "a part of a second",
                value,
            }),
        }
    }
}

impl Recorded for Bytes {
    #[inline]
    fn put(&self, out: &mut Writer) {
        out.content(self);
    }

    fn take(from: &mut Reader) -> Result<Bytes, CodecError> {
        from.content()
    }
}

impl Recorded for String {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        out.bytes.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Reader) -> Result<String, CodecError> {
        let length = from.size()?;
        let text = from.slice(length)?;
        String::from_utf8(text.into()).map_err(|_| CodecError::Invalid("a text"))
    }
}

impl<T: Recorded> Recorded for Option<T> {
    fn put(&self, out: &mut Writer) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Reader) -> Result<Option<T>, CodecError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Recorded> Recorded for Box<T> {
    fn put(&self, out: &mut Writer) {
        T::put(self, out);
    }

    fn take(from: &mut Reader) -> Result<Box<T>, CodecError> {
        T::take(from).map(Box::new)
    }
}

impl<T: Recorded> Recorded for Arc<T> {
    fn put(&self, out: &mut Writer) {
        T::put(self, out);
    }

    fn take(from: &mut Reader) -> Result<Arc<T>, CodecError> {
        T::take(from).map(Arc::new)
    }
}

impl<A: Recorded, B: Recorded> Recorded for (A, B) {
    fn put(&self, out: &mut Writer) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader) -> Result<(A, B), CodecError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Recorded> Recorded for Vec<T> {
    fn put(&self, out: &mut Writer) {
        T::put_all(self, out);
    }

    fn take(from: &mut Reader) -> Result<Vec<T>, CodecError> {
        T::take_all(from)
    }
}

impl<T: Recorded> Recorded for VecDeque<T> {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Reader) -> Result<VecDeque<T>, CodecError> {
        (0..from.size()?).map(|_| T::take(from)).collect()
    }
}

impl<K: Recorded + Ord, V: Recorded> Recorded for BTreeMap<K, V> {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(from: &mut Reader) -> Result<BTreeMap<K, V>, CodecError> {
        (0..from.size()?)
            .map(|_| Ok((K::take(from)?, V::take(from)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Recorded>(value: &T, detail: Detail) -> T {
        let mut out = Writer::new(detail);
        value.put(&mut out);
        decode(out.bytes.into()).unwrap()
    }

    #[test]
    fn numbers_of_every_size_come_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                assert_eq!(round_trip(&value, Detail::Whole), value);
            }
        }
        assert_eq!(round_trip(&Duration::MAX, Detail::Whole), Duration::MAX);
    }

    /// What clients wrote is left out if only its length matters.
    #[test]
    fn a_content_is_whole_or_as_long() {
        let content = Bytes::from_static(b"a secret");
        assert_eq!(round_trip(&content, Detail::Whole), content);
        assert_eq!(round_trip(&content, Detail::Lengths), Bytes::from(vec![0; 8]));
        let mut out = Writer::new(Detail::Lengths);
        content.put(&mut out);
        assert_eq!(out.bytes.len(), 1);
    }

    /// A count that lies takes no memory, and a length that lies is refused.
    #[test]
    fn nothing_is_allocated_on_the_word_of_a_number() {
        let mut out = Writer::new(Detail::Whole);
        (u64::MAX >> 1).put(&mut out);
        let bytes = Bytes::from(out.bytes);
        assert_eq!(decode::<Vec<u64>>(bytes.clone()), Err(CodecError::Truncated));
        assert_eq!(
            decode::<BTreeMap<u64, u64>>(bytes.clone()),
            Err(CodecError::Truncated)
        );
        assert_eq!(decode::<Bytes>(bytes), Err(CodecError::Truncated));
        let mut out = Writer::new(Detail::Whole);
        (u64::MAX - 1).put(&mut out);
        let lie = decode::<Bytes>(out.bytes.into());
        assert_eq!(lie, Err(CodecError::TooLarge { what: "a content" }));
    }
}
