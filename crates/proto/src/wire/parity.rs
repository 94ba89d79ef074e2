//! The sum of several small reliable messages: whoever has all of them but one can make the one that is missing.
//!
//! The sum is bit by bit without carry (XOR), each message filled up with zeros to the length of the longest.
//!
//! | size | field |
//! |---|---|
//! | 1 | `0x07` |
//! | 1 | how many messages, 2–8 |
//! | each: 1 | `0x80`, with `0x20` unordered, and the kind in the low four bits |
//! | each: 1 | channel |
//! | each: 1–9 | sequence id (varint) |
//! | each: 1–2 | length, at most [`Parity::MAX_LEN`] (varint) |
//! | the greatest length | the sum |

use super::chunk::MessageChunk;
use super::reader::{ParseError, Reader, put_varint, varint_len};

/// The sum of several messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity<'a> {
    count: u8,
    heads: &'a [u8],
    /// The sum, as long as the longest message.
    pub sum: &'a [u8],
}

impl<'a> Parity<'a> {
    /// The longest message that may be in a sum, in bytes.
    pub const MAX_LEN: usize = 256;

    /// The most messages in one sum.
    pub const MAX_COUNT: usize = 8;

    pub(crate) const FIRST_BYTE: u8 = 0x07;

    pub(crate) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let count = reader.u8()?;
        if !(2..=Self::MAX_COUNT).contains(&usize::from(count)) {
            return Err(ParseError::Invalid);
        }
        // Read once, so that `messages` below cannot meet a surprise.
        let start = reader.rest();
        let mut longest = 0;
        for _ in 0..count {
            longest = longest.max(parse_head(reader)?.1);
        }
        let heads = &start[..start.len() - reader.rest().len()];
        Ok(Self {
            count,
            heads,
            sum: reader.take(longest)?,
        })
    }

    /// Returns what is in the sum: each message without its data, and the length of its data.
    pub fn messages(&self) -> impl Iterator<Item = (MessageChunk<'static>, usize)> + use<'a> {
        let mut reader = Reader::new(self.heads);
        (0..self.count).map_while(move |_| parse_head(&mut reader).ok())
    }

    /// Writes it as it was read.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.push(Self::FIRST_BYTE);
        out.push(self.count);
        out.extend_from_slice(self.heads);
        out.extend_from_slice(self.sum);
    }
}

/// Writes the sum of these whole reliable messages: 2 to [`Parity::MAX_COUNT`] of at most [`Parity::MAX_LEN`] bytes.
pub(crate) fn emit_parity(out: &mut Vec<u8>, messages: &[MessageChunk<'_>]) {
    out.push(Parity::FIRST_BYTE);
    out.push(messages.len() as u8);
    for message in messages {
        out.push(message.first_byte());
        out.push(message.channel);
        put_varint(out, message.sequence_id);
        put_varint(out, message.data.len() as u64);
    }
    let start = out.len();
    out.resize(start + longest(messages), 0);
    for message in messages {
        add(&mut out[start..], message.data);
    }
}

/// Returns how many bytes [`emit_parity`] writes.
pub(crate) fn parity_len(messages: &[MessageChunk<'_>]) -> usize {
    let head = |message: &MessageChunk<'_>| 2 + varint_len(message.sequence_id) + varint_len(message.data.len() as u64);
    2 + messages.iter().map(head).sum::<usize>() + longest(messages)
}

/// Adds a message to a sum, or takes it out again.
pub(crate) fn add(sum: &mut [u8], data: &[u8]) {
    sum.iter_mut().zip(data).for_each(|(byte, other)| *byte ^= other);
}

fn longest(messages: &[MessageChunk<'_>]) -> usize {
    messages.iter().map(|message| message.data.len()).max().unwrap_or(0)
}

fn parse_head(reader: &mut Reader<'_>) -> Result<(MessageChunk<'static>, usize), ParseError> {
    let first = reader.u8()?;
    let message = MessageChunk::parse_head(first, reader)?;
    // Neither lossy ones nor fragments.
    if message.first_byte() != first || message.delivery.is_lossy {
        return Err(ParseError::Invalid);
    }
    Ok((message, reader.size(Parity::MAX_LEN)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Chunk, Part};
    use super::*;
    use crate::message::{Delivery, Kind};

    fn messages(data: &[Vec<u8>]) -> Vec<MessageChunk<'_>> {
        let chunks = data.iter().enumerate().map(|(number, data)| MessageChunk {
            channel: number as u8,
            delivery: Delivery::RELIABLE,
            kind: Kind::TEXT,
            sequence_id: number as u64 * 1000,
            part: Part::Whole,
            data,
        });
        chunks.collect()
    }

    proptest! {
        #[test]
        fn the_one_that_is_missing_is_the_sum_without_the_others(
            data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..=Parity::MAX_LEN), 2..=Parity::MAX_COUNT),
            missing in 0..Parity::MAX_COUNT,
        ) {
            let missing = missing % data.len();
            let mut bytes = Vec::new();
            emit_parity(&mut bytes, &messages(&data));
            prop_assert_eq!(bytes.len(), parity_len(&messages(&data)));
            let Some(Ok(Chunk::Parity(parity))) = Chunk::parse_all(&bytes).next() else {
                return Err(TestCaseError::fail("not read"));
            };
            let mut again = Vec::new();
            Chunk::Parity(parity.clone()).emit(&mut again);
            prop_assert_eq!(&again, &bytes);
            let mut sum = parity.sum.to_vec();
            for (number, (message, len)) in parity.messages().enumerate() {
                prop_assert_eq!((usize::from(message.channel), len), (number, data[number].len()));
                if number != missing {
                    add(&mut sum, &data[number]);
                }
            }
            prop_assert_eq!(&sum[..data[missing].len()], &data[missing][..]);
            prop_assert!(sum[data[missing].len()..].iter().all(|&byte| byte == 0));
            for len in 0..bytes.len() {
                prop_assert!(Chunk::parse_all(&bytes[..len]).all(|chunk| chunk.is_err()));
            }
        }
    }

    #[test]
    fn a_sum_of_one_or_of_nine_or_of_lossy_ones_is_none() {
        let whole = |count: u8| {
            [
                &[Parity::FIRST_BYTE, count][..],
                &[0x80, 1, 0, 0].repeat(usize::from(count)),
            ]
            .concat()
        };
        let first = |bytes: &[u8]| Chunk::parse_all(bytes).next().map(|chunk| chunk.is_ok());
        assert_eq!(first(&whole(2)), Some(true));
        for count in [0, 1, 9, 255] {
            assert_eq!(first(&whole(count)), Some(false), "{count}");
        }
        for flag in [0x40, 0x10, 0x80] {
            let mut bytes = whole(2);
            bytes[2] ^= flag;
            assert_eq!(first(&bytes), Some(false), "{flag:#x}");
        }
    }
}
