//! The bytes on the wire: parse beside emit, field tables beside both. Knows formats, not states.
//!
//! Everything parsed here is a value that cannot be wrong in itself; whether it fits the moment is the caller's question.
//! `docs/protocol.md` holds the same tables in prose.

mod chunk;
mod datagram;
mod introduction;
mod parity;
pub(crate) mod reader;

pub use chunk::{Ack, Chunk, MessageChunk, Part};
pub use datagram::{COOKIE_LEN, Datagram, PacketHeader};
pub use introduction::{Introduction, Seat, SeatClaim};
pub use parity::Parity;
pub use reader::ParseError;

pub(crate) use chunk::emit_ack;
pub(crate) use parity::{add as add_to_sum, emit_parity, parity_len};

/// The largest datagram we send, in bytes of UDP payload. Every path on the internet is expected to carry it.
pub const MAX_DATAGRAM: usize = 1200;

/// The version of this format. Another one is answered with a refusal.
pub const PROTOCOL_VERSION: u8 = 1;

/// The authentication tag at the end of a packet, in bytes.
pub const TAG_LEN: usize = 16;

/// A message longer than this travels in fragments of exactly this size, the last one excepted. It leaves room for the
/// headers, an acknowledgement and links whose packets are a little smaller than [`MAX_DATAGRAM`].
pub const FRAGMENT_SIZE: usize = 1100;

/// The least that a path must carry in one datagram: a whole fragment with its headers, and an acknowledgement beside it that is
/// not longer than usual.
pub const MIN_DATAGRAM: usize = FRAGMENT_SIZE + MessageChunk::MAX_HEADER + PacketHeader::MAX_LEN + TAG_LEN + 6;

/// Returns how many fragments a message of this size travels in; 1 if it travels whole.
pub const fn fragment_count(size: usize) -> usize {
    if size <= FRAGMENT_SIZE {
        1
    } else {
        size.div_ceil(FRAGMENT_SIZE)
    }
}

/// Returns the length of one fragment of a message.
pub const fn fragment_len(size: usize, index: usize) -> usize {
    let start = index * FRAGMENT_SIZE;
    if size - start < FRAGMENT_SIZE {
        size - start
    } else {
        FRAGMENT_SIZE
    }
}
