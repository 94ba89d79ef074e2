//! What a packet carries once it is decrypted: a row of chunks, each told by its first byte.
//!
//! | first byte | chunk | fields |
//! |---|---|---|
//! | `0x00` | padding | none |
//! | `0x01` | ping | none; asks to be acknowledged |
//! | `0x02` | ack | largest (varint), delay in units of 8 µs (varint), length of the first range less one (varint), count of further ranges (1), then per range: gap less one (varint), length less one (varint) |
//! | `0x03` | credit | total of costs that may be sent since the beginning (varint) |
//! | `0x04` | close | reason (1), length (1), text |
//! | `0x05` | path check | token (8); to a path that the receiver may have moved to |
//! | `0x06` | path answer | the token (8), back on the path it came by |
//! | `0x07` | parity | see [`Parity`] |
//! | `0x08` | resumed | milliseconds since the last of the connection was heard (varint); the client has its seat again |
//! | `0x80`–`0xff` | message | see [`MessageChunk`] |

use std::time::Duration;

use super::parity::Parity;
use super::reader::{ParseError, Reader, put_short_text, put_varint, varint_len};
use super::{FRAGMENT_SIZE, fragment_count, fragment_len};
use crate::config::MAX_DETAIL_LEN;
use crate::message::{Delivery, Kind, MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE};

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const CREDIT: u8 = 0x03;
const CLOSE: u8 = 0x04;
const PATH_CHECK: u8 = 0x05;
const PATH_ANSWER: u8 = 0x06;
const RESUMED: u8 = 0x08;
const MESSAGE: u8 = 0x80;
const LOSSY: u8 = 0x40;
const UNORDERED: u8 = 0x20;
const FRAGMENT: u8 = 0x10;
const KIND: u8 = 0x0f;

/// Sequence ids stay below this, so that sums with sizes cannot overflow.
const MAX_SEQUENCE: u64 = 1 << 62;

/// One unit in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Nothing.
    Padding,
    /// Asks to be acknowledged.
    Ping,
    /// Says which packets have arrived.
    Ack(Ack<'a>),
    /// Says how much may be sent in all.
    Credit(u64),
    /// Ends the connection.
    Close {
        /// The number of a [`Reason`](crate::Reason).
        reason: u8,
        /// More, for a person to read.
        detail: &'a str,
    },
    /// Asks whether the receiver can be reached on the path it has been sent on.
    PathCheck(u64),
    /// Says so, with the token of the check.
    PathAnswer(u64),
    /// Tells a client that it has its seat again, and how long it was away.
    Resumed(Duration),
    /// The sum of several messages, to make one that was lost.
    Parity(Parity<'a>),
    /// A message or a fragment of one.
    Message(MessageChunk<'a>),
}

/// A message, or a fragment of one.
///
/// | size | field |
/// |---|---|
/// | 1 | `0x80`, with `0x40` lossy, `0x20` unordered, `0x10` fragment, and the kind in the low four bits |
/// | 1 | channel |
/// | 1–9 | sequence id (varint) |
/// | whole: 1–2 | length (varint), at most [`FRAGMENT_SIZE`] |
/// | fragment: 2–4, 1–2 | length of the whole message (varint), index of the fragment (varint) |
/// | … | data; a fragment's length follows from the two numbers |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageChunk<'a> {
    /// The channel.
    pub channel: u8,
    /// How it is delivered.
    pub delivery: Delivery,
    /// What the bytes mean to the layer above.
    pub kind: Kind,
    /// Counts up per channel and delivery.
    pub sequence_id: u64,
    /// Whether `data` is the whole message.
    pub part: Part,
    /// The bytes.
    pub data: &'a [u8],
}

/// Which part of a message a chunk carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// One fragment.
    Fragment {
        /// The size of the whole message, in bytes: more than [`FRAGMENT_SIZE`], at most the limit of its delivery.
        size: usize,
        /// Which fragment, from 0.
        index: usize,
    },
}

/// Which packets have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The largest packet number that arrived.
    pub largest: u64,
    /// How long the acknowledgement of the largest was held back.
    pub delay: Duration,
    first_len: u64,
    count: u8,
    body: &'a [u8],
}

impl<'a> Ack<'a> {
    /// The most ranges in one acknowledgement.
    pub const MAX_RANGES: usize = 32;

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let largest = reader.varint()?;
        let delay = Duration::from_micros(reader.varint()?.min(u64::from(u32::MAX)) * 8);
        let first_len = reader.varint()?;
        let count = reader.u8()?;
        if usize::from(count) >= Self::MAX_RANGES {
            return Err(ParseError::Invalid);
        }
        // Walk the ranges once, so that `ranges` below cannot meet a surprise.
        let start = reader.rest();
        let mut low = largest.checked_sub(first_len).ok_or(ParseError::Invalid)?;
        for _ in 0..count {
            let gap = reader.varint()?;
            let len = reader.varint()?;
            low = low
                .checked_sub(gap)
                .and_then(|low| low.checked_sub(2))
                .and_then(|high| high.checked_sub(len))
                .ok_or(ParseError::Invalid)?;
        }
        let body = &start[..start.len() - reader.rest().len()];
        Ok(Self {
            largest,
            delay,
            first_len,
            count,
            body,
        })
    }

    /// Returns the ranges of packet numbers that arrived, both ends included, largest first.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let mut reader = Reader::new(self.body);
        let mut low = self.largest - self.first_len;
        let further = (0..self.count).map_while(move |_| {
            let high = low - reader.varint().ok()? - 2;
            low = high - reader.varint().ok()?;
            Some((low, high))
        });
        std::iter::once((self.largest - self.first_len, self.largest)).chain(further)
    }
}

/// Writes an acknowledgement of these ranges (both ends included, largest first, apart from each other), or nothing if
/// there are none. At most [`Ack::MAX_RANGES`] are written.
pub(crate) fn emit_ack(out: &mut Vec<u8>, delay: Duration, ranges: impl Iterator<Item = (u64, u64)>) {
    let mut ranges = ranges.take(Ack::MAX_RANGES);
    let Some((first_low, largest)) = ranges.next() else {
        return;
    };
    out.push(ACK);
    put_varint(out, largest);
    put_varint(out, u64::try_from(delay.as_micros() / 8).unwrap_or(u64::MAX));
    put_varint(out, largest - first_low);
    let count_at = out.len();
    out.push(0);
    let mut low = first_low;
    for (next_low, high) in ranges {
        put_varint(out, low - high - 2);
        put_varint(out, high - next_low);
        low = next_low;
        out[count_at] += 1;
    }
}

impl<'a> Chunk<'a> {
    /// Takes the first chunk off the reader.
    pub(crate) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        match reader.u8()? {
            PADDING => Ok(Self::Padding),
            PING => Ok(Self::Ping),
            ACK => Ok(Self::Ack(Ack::parse(reader)?)),
            CREDIT => Ok(Self::Credit(reader.varint()?)),
            PATH_CHECK => Ok(Self::PathCheck(reader.u64()?)),
            PATH_ANSWER => Ok(Self::PathAnswer(reader.u64()?)),
            CLOSE => Ok(Self::Close {
                reason: reader.u8()?,
                detail: reader.short_text(MAX_DETAIL_LEN)?,
            }),
            RESUMED => Ok(Self::Resumed(Duration::from_millis(
                reader.varint()?.min(u64::from(u32::MAX)),
            ))),
            Parity::FIRST_BYTE => Ok(Self::Parity(Parity::parse(reader)?)),
            first if first & MESSAGE != 0 => Ok(Self::Message(MessageChunk::parse(first, reader)?)),
            _ => Err(ParseError::Invalid),
        }
    }

    /// Takes all chunks of a packet apart, stopping at the first that cannot be read.
    pub fn parse_all(payload: &'a [u8]) -> impl Iterator<Item = Result<Self, ParseError>> {
        let mut reader = Reader::new(payload);
        let mut has_failed = false;
        std::iter::from_fn(move || {
            if reader.is_empty() || has_failed {
                return None;
            }
            let chunk = Self::parse(&mut reader);
            has_failed = chunk.is_err();
            Some(chunk)
        })
    }

    /// Writes the chunk.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Padding => out.push(PADDING),
            Self::Ping => out.push(PING),
            Self::Ack(ack) => emit_ack(out, ack.delay, ack.ranges()),
            Self::Credit(total) => {
                out.push(CREDIT);
                put_varint(out, *total);
            }
            Self::Close { reason, detail } => {
                out.push(CLOSE);
                out.push(*reason);
                put_short_text(out, detail, MAX_DETAIL_LEN);
            }
            Self::PathCheck(token) => {
                out.push(PATH_CHECK);
                out.extend_from_slice(&token.to_le_bytes());
            }
            Self::PathAnswer(token) => {
                out.push(PATH_ANSWER);
                out.extend_from_slice(&token.to_le_bytes());
            }
            Self::Resumed(away) => {
                out.push(RESUMED);
                put_varint(out, u64::try_from(away.as_millis()).unwrap_or(u64::MAX));
            }
            Self::Parity(parity) => parity.emit(out),
            Self::Message(message) => message.emit(out),
        }
    }
}

impl<'a> MessageChunk<'a> {
    /// The longest header of a message chunk, in bytes.
    pub const MAX_HEADER: usize = 1 + 1 + 9 + 4 + 3;

    /// A message of nothing, to fill places with.
    pub(crate) const EMPTY: Self = Self {
        channel: 0,
        delivery: Delivery::RELIABLE,
        kind: Kind::BYTES,
        sequence_id: 0,
        part: Part::Whole,
        data: &[],
    };

    fn parse(first: u8, reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let mut message = Self::parse_head(first, reader)?;
        let len = if first & FRAGMENT == 0 {
            reader.size(FRAGMENT_SIZE)?
        } else {
            let size = reader.size(if message.delivery.is_lossy {
                MAX_LOSSY_SIZE
            } else {
                MAX_RELIABLE_SIZE
            })?;
            let index = reader.size(MAX_RELIABLE_SIZE)?;
            if size <= FRAGMENT_SIZE || index >= fragment_count(size) {
                return Err(ParseError::Invalid);
            }
            message.part = Part::Fragment { size, index };
            fragment_len(size, index)
        };
        message.data = reader.take(len)?;
        Ok(message)
    }

    /// Reads what comes before the length: a message that is whole, and empty. An unknown first byte is an error.
    pub(super) fn parse_head(first: u8, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        if first & MESSAGE == 0 {
            return Err(ParseError::Invalid);
        }
        let message = Self {
            channel: reader.u8()?,
            delivery: Delivery {
                is_lossy: first & LOSSY != 0,
                is_ordered: first & UNORDERED == 0,
            },
            kind: Kind::from_number(first & KIND).ok_or(ParseError::Invalid)?,
            sequence_id: reader.varint()?,
            ..Self::EMPTY
        };
        if message.sequence_id >= MAX_SEQUENCE {
            return Err(ParseError::Invalid);
        }
        Ok(message)
    }

    /// Returns how many bytes it takes in a packet.
    pub(crate) fn wire_len(&self) -> usize {
        let part = match self.part {
            Part::Whole => varint_len(self.data.len() as u64),
            Part::Fragment { size, index } => varint_len(size as u64) + varint_len(index as u64),
        };
        2 + varint_len(self.sequence_id) + part + self.data.len()
    }

    pub(super) fn first_byte(&self) -> u8 {
        let mut first = MESSAGE | self.kind.number();
        if self.delivery.is_lossy {
            first |= LOSSY;
        }
        if !self.delivery.is_ordered {
            first |= UNORDERED;
        }
        if matches!(self.part, Part::Fragment { .. }) {
            first |= FRAGMENT;
        }
        first
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.first_byte());
        out.push(self.channel);
        put_varint(out, self.sequence_id);
        match self.part {
            Part::Whole => put_varint(out, self.data.len() as u64),
            Part::Fragment { size, index } => {
                put_varint(out, size as u64);
                put_varint(out, index as u64);
            }
        }
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_one(bytes: &[u8]) -> Result<Chunk<'_>, ParseError> {
        Chunk::parse_all(bytes).next().expect("there is a byte")
    }

    /// Channel, lossy, ordered, kind, sequence id, size and index of a fragment, length of the data.
    type Fields = (u8, bool, bool, u8, u64, Option<(usize, usize)>, usize);

    fn message_chunk() -> impl Strategy<Value = Fields> {
        let whole = (0..=FRAGMENT_SIZE).prop_map(|len| (None, len));
        let fragment = (FRAGMENT_SIZE + 1..=MAX_LOSSY_SIZE).prop_flat_map(|size| {
            (0..fragment_count(size)).prop_map(move |index| (Some((size, index)), fragment_len(size, index)))
        });
        let sequence = prop_oneof![0..300u64, 0..MAX_SEQUENCE];
        (
            any::<u8>(),
            any::<bool>(),
            any::<bool>(),
            0..16u8,
            sequence,
            prop_oneof![whole, fragment],
        )
            .prop_map(|(channel, lossy, ordered, kind, sequence, (part, len))| {
                (channel, lossy, ordered, kind, sequence, part, len)
            })
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_identity((channel, is_lossy, is_ordered, kind, sequence_id, part, len) in message_chunk()) {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let chunk = Chunk::Message(MessageChunk {
                channel,
                delivery: Delivery { is_lossy, is_ordered },
                kind: Kind::from_number(kind).expect("below 16"),
                sequence_id,
                part: part.map_or(Part::Whole, |(size, index)| Part::Fragment { size, index }),
                data: &data,
            });
            let mut bytes = Vec::new();
            chunk.emit(&mut bytes);
            prop_assert!(bytes.len() <= data.len() + MessageChunk::MAX_HEADER);
            prop_assert_eq!(parse_one(&bytes), Ok(chunk));
            for end in 0..bytes.len().min(40) {
                prop_assert!(end == 0 || parse_one(&bytes[..end]).is_err());
            }
        }

        #[test]
        fn acks_tell_the_ranges_they_were_made_from(steps in prop::collection::vec((0..300u64, 0..300u64), 1..40), delay in 0..1_000_000u64) {
            let mut ranges = Vec::new();
            let mut next = 0;
            for (gap, len) in steps {
                let low = next + gap;
                ranges.push((low, low + len));
                next = low + len + 2;
            }
            ranges.reverse();
            let mut bytes = Vec::new();
            emit_ack(&mut bytes, Duration::from_micros(delay), ranges.iter().copied());
            let Ok(Chunk::Ack(ack)) = parse_one(&bytes) else { panic!("an ack") };
            ranges.truncate(Ack::MAX_RANGES);
            prop_assert_eq!(ack.ranges().collect::<Vec<_>>(), ranges);
            prop_assert_eq!(ack.delay, Duration::from_micros(delay / 8 * 8));
            let mut again = Vec::new();
            Chunk::Ack(ack).emit(&mut again);
            prop_assert_eq!(bytes, again);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_reemit_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut again = Vec::new();
            let mut is_whole = true;
            for chunk in Chunk::parse_all(&bytes) {
                match chunk {
                    // The delay saturates, so an absurd one is the only value that is not written back as it was.
                    Ok(Chunk::Ack(ack)) if ack.delay >= Duration::from_secs(1) => is_whole = false,
                    Ok(chunk) => chunk.emit(&mut again),
                    Err(_) => is_whole = false,
                }
            }
            if is_whole {
                prop_assert_eq!(bytes, again);
            }
        }
    }

    #[test]
    fn control_chunks_survive_the_wire() {
        for chunk in [
            Chunk::Padding,
            Chunk::Ping,
            Chunk::Credit(u64::MAX),
            Chunk::PathCheck(1 << 60),
            Chunk::PathAnswer(u64::MAX),
            Chunk::Close {
                reason: 1,
                detail: "good night",
            },
        ] {
            let mut bytes = Vec::new();
            chunk.emit(&mut bytes);
            assert_eq!(parse_one(&bytes), Ok(chunk));
        }
    }

    #[test]
    fn a_fragment_beyond_its_message_is_refused() {
        for (size, index) in [(FRAGMENT_SIZE, 0), (FRAGMENT_SIZE + 1, 2), (MAX_RELIABLE_SIZE + 1, 0)] {
            let mut bytes = vec![MESSAGE | FRAGMENT, 0, 0];
            put_varint(&mut bytes, size as u64);
            put_varint(&mut bytes, index);
            bytes.resize(2000, 0);
            assert_eq!(parse_one(&bytes), Err(ParseError::Invalid));
        }
    }
}
