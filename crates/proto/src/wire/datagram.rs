//! The outermost layer: what a datagram is, told by its first byte.
//!
//! | first byte | datagram | sent by | protected |
//! |---|---|---|---|
//! | `0x01` | [`Hello`](Datagram::Hello) | client | first Noise message |
//! | `0x02` | [`Cookie`](Datagram::Cookie) | server | nothing to protect |
//! | `0x03` | [`Reply`](Datagram::Reply) | server | second Noise message |
//! | `0x04` | [`Finish`](Datagram::Finish) | client | third Noise message |
//! | `0x05` | [`Refuse`](Datagram::Refuse) | server | only by the client's token |
//! | `0x80`–`0x83` | [`Packet`](Datagram::Packet) | both | Noise transport |
//!
//! Numbers of fixed size are little-endian.

use super::reader::{ParseError, Reader, put_short_text};
use super::{MAX_DATAGRAM, PROTOCOL_VERSION, TAG_LEN};
use crate::config::MAX_DETAIL_LEN;

/// The length of a cookie, in bytes: 8 of time, 16 of authentication code.
pub const COOKIE_LEN: usize = 24;

const HELLO: u8 = 0x01;
const COOKIE: u8 = 0x02;
const REPLY: u8 = 0x03;
const FINISH: u8 = 0x04;
const REFUSE: u8 = 0x05;
const PACKET: u8 = 0x80;
const LONG_NUMBER: u8 = 0x01;
const ODD_PHASE: u8 = 0x02;

/// Tells our handshake from other programs' datagrams.
const MAGIC: [u8; 4] = *b"npla";

/// The first Noise message: an ephemeral key and the tag of an empty payload.
const FIRST_NOISE_LEN: usize = 48;

/// The shortest second and third Noise messages: keys and tags, empty payloads.
const SECOND_NOISE_MIN: usize = 96;
const THIRD_NOISE_MIN: usize = 64;

/// A datagram, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Asks to connect.
    ///
    /// | offset | size | field |
    /// |---|---|---|
    /// | 0 | 1 | `0x01` |
    /// | 1 | 4 | `npla` |
    /// | 5 | 1 | protocol version |
    /// | 6 | 8 | token |
    /// | 14 | 48 | first Noise message |
    /// | 62 | 1 | 1 if a cookie follows, plus 2 if the client comes back to a seat |
    /// | 63 | 24 | cookie |
    /// | … | to 1200 | zeros: the answer is never larger than the question |
    Hello {
        /// Chosen by the client at random; the server's answers carry it.
        token: u64,
        /// The first Noise message.
        noise: &'a [u8; FIRST_NOISE_LEN],
        /// The server's cookie, if it has sent one.
        cookie: Option<&'a [u8; COOKIE_LEN]>,
        /// The client says that it has a seat: it is let as far as its proof, even where all are taken.
        has_seat: bool,
    },
    /// Asks the client to prove its address: type, token (8), cookie (24).
    Cookie {
        /// The client's token.
        token: u64,
        /// To be sent back in the next [`Hello`](Self::Hello).
        cookie: &'a [u8; COOKIE_LEN],
    },
    /// Answers a proven Hello: type, token (8), second Noise message (the rest).
    Reply {
        /// The client's token.
        token: u64,
        /// The second Noise message, its payload an [`Introduction`](super::Introduction).
        noise: &'a [u8],
    },
    /// Ends the handshake: type, the server's connection id (4), third Noise message (the rest).
    Finish {
        /// The server's connection id.
        server_id: u32,
        /// The third Noise message, its payload an [`Introduction`](super::Introduction).
        noise: &'a [u8],
    },
    /// Says no: type, token (8), reason (1), length (1), text.
    Refuse {
        /// The client's token.
        token: u64,
        /// The number of a [`Reason`](crate::Reason).
        reason: u8,
        /// More, for a person to read.
        detail: &'a str,
    },
    /// Carries chunks: see [`PacketHeader`]. The rest is encrypted, with a tag of 16 bytes at its end.
    Packet {
        /// The header.
        header: PacketHeader,
        /// The encrypted chunks and the tag.
        sealed: &'a [u8],
    },
}

/// The clear part of a packet.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1 | `0x80`, plus `0x01` with a long number, `0x02` in an odd phase |
/// | 1 | 4 | the receiver's connection id |
/// | 5 | 2 or 4 | the low bits of the packet number |
///
/// The header needs no authentication of its own: a changed id or phase finds another key, a changed number another nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// The receiver's connection id.
    pub receiver_id: u32,
    /// The low bits of the packet number.
    pub number: u32,
    /// Whether `number` has 32 bits; 16 otherwise.
    pub is_long: bool,
    /// Whether the keys it is sealed with were renewed an odd number of times.
    pub is_odd_phase: bool,
}

impl PacketHeader {
    /// The longest header, in bytes.
    pub const MAX_LEN: usize = 9;

    /// Makes the header for a packet of an even phase, with as few bits of the number as the receiver needs: `unacked` is how many numbers
    /// lie between this one and the last that the receiver is known to have.
    pub fn new(receiver_id: u32, number: u64, unacked: u64) -> Self {
        let is_long = unacked >= 1 << 14;
        let mask = if is_long {
            u64::from(u32::MAX)
        } else {
            u64::from(u16::MAX)
        };
        Self {
            receiver_id,
            number: (number & mask) as u32,
            is_long,
            is_odd_phase: false,
        }
    }

    /// Returns the whole number: the one with these low bits that lies nearest to `expected` (RFC 9000, appendix A.3).
    pub fn whole_number(&self, expected: u64) -> u64 {
        let window = 1u64 << if self.is_long { 32 } else { 16 };
        let candidate = (expected & !(window - 1)) | u64::from(self.number);
        if candidate + window / 2 <= expected {
            candidate + window
        } else if candidate > expected + window / 2 && candidate >= window {
            candidate - window
        } else {
            candidate
        }
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.push(PACKET | if self.is_long { LONG_NUMBER } else { 0 } | if self.is_odd_phase { ODD_PHASE } else { 0 });
        out.extend_from_slice(&self.receiver_id.to_le_bytes());
        if self.is_long {
            out.extend_from_slice(&self.number.to_le_bytes());
        } else {
            out.extend_from_slice(&(self.number as u16).to_le_bytes());
        }
    }
}

impl<'a> Datagram<'a> {
    /// Takes a datagram apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, MAX_DATAGRAM)
    }

    /// Takes a datagram apart that came through a tunnel, where a Hello needs no zeros at its end: nobody there can be made to
    /// answer somebody else.
    pub fn parse_from_tunnel(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, 0)
    }

    fn parse_with(bytes: &'a [u8], least_hello: usize) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            first if first & !(LONG_NUMBER | ODD_PHASE) == PACKET => {
                let is_long = first & LONG_NUMBER != 0;
                let is_odd_phase = first & ODD_PHASE != 0;
                let receiver_id = reader.u32()?;
                let number = if is_long {
                    reader.u32()?
                } else {
                    u32::from(reader.u16()?)
                };
                if reader.rest().len() < TAG_LEN {
                    return Err(ParseError::Truncated);
                }
                Ok(Self::Packet {
                    header: PacketHeader {
                        receiver_id,
                        number,
                        is_long,
                        is_odd_phase,
                    },
                    sealed: reader.rest(),
                })
            }
            HELLO => Self::parse_hello(reader, bytes.len() >= least_hello),
            COOKIE => {
                let token = reader.u64()?;
                let cookie = reader.take(COOKIE_LEN)?.try_into().map_err(|_| ParseError::Truncated)?;
                if reader.is_empty() {
                    Ok(Self::Cookie { token, cookie })
                } else {
                    Err(ParseError::Invalid)
                }
            }
            REPLY => {
                let token = reader.u64()?;
                let noise = reader.rest();
                if noise.len() < SECOND_NOISE_MIN {
                    return Err(ParseError::Truncated);
                }
                Ok(Self::Reply { token, noise })
            }
            FINISH => {
                let server_id = reader.u32()?;
                let noise = reader.rest();
                if noise.len() < THIRD_NOISE_MIN {
                    return Err(ParseError::Truncated);
                }
                Ok(Self::Finish { server_id, noise })
            }
            REFUSE => {
                let token = reader.u64()?;
                let reason = reader.u8()?;
                let detail = reader.short_text(MAX_DETAIL_LEN)?;
                if reader.is_empty() {
                    Ok(Self::Refuse { token, reason, detail })
                } else {
                    Err(ParseError::Invalid)
                }
            }
            _ => Err(ParseError::Invalid),
        }
    }

    fn parse_hello(mut reader: Reader<'a>, is_long_enough: bool) -> Result<Self, ParseError> {
        if reader.array()? != MAGIC {
            return Err(ParseError::Invalid);
        }
        let version = reader.u8()?;
        if !is_long_enough {
            return Err(ParseError::Truncated);
        }
        if version != PROTOCOL_VERSION {
            return Err(ParseError::Version(version));
        }
        let token = reader.u64()?;
        let noise = reader
            .take(FIRST_NOISE_LEN)?
            .try_into()
            .map_err(|_| ParseError::Truncated)?;
        let form = reader.u8()?;
        if form > 3 {
            return Err(ParseError::Invalid);
        }
        let cookie = if form & 1 == 0 {
            None
        } else {
            Some(reader.take(COOKIE_LEN)?.try_into().map_err(|_| ParseError::Truncated)?)
        };
        if reader.rest().iter().any(|&byte| byte != 0) {
            return Err(ParseError::Invalid);
        }
        Ok(Self::Hello {
            token,
            noise,
            cookie,
            has_seat: form & 2 != 0,
        })
    }

    /// Returns the length of a Hello without the zeros at its end.
    pub const fn hello_len(has_cookie: bool) -> usize {
        1 + 4 + 1 + 8 + FIRST_NOISE_LEN + 1 + if has_cookie { COOKIE_LEN } else { 0 }
    }

    /// Reads the token of a Hello of any protocol version, to address the refusal.
    pub fn hello_token(bytes: &[u8]) -> Option<u64> {
        bytes.get(6..14)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Writes the datagram.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello {
                token,
                noise,
                cookie,
                has_seat,
            } => {
                out.push(HELLO);
                out.extend_from_slice(&MAGIC);
                out.push(PROTOCOL_VERSION);
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(noise);
                out.push(u8::from(cookie.is_some()) | u8::from(has_seat) << 1);
                out.extend_from_slice(cookie.map_or(&[], |cookie| cookie.as_slice()));
                out.resize(out.len().max(MAX_DATAGRAM), 0);
            }
            Self::Cookie { token, cookie } => {
                out.push(COOKIE);
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(cookie);
            }
            Self::Reply { token, noise } => {
                out.push(REPLY);
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(noise);
            }
            Self::Finish { server_id, noise } => {
                out.push(FINISH);
                out.extend_from_slice(&server_id.to_le_bytes());
                out.extend_from_slice(noise);
            }
            Self::Refuse { token, reason, detail } => {
                out.push(REFUSE);
                out.extend_from_slice(&token.to_le_bytes());
                out.push(reason);
                put_short_text(out, detail, MAX_DETAIL_LEN);
            }
            Self::Packet { header, sealed } => {
                header.emit(out);
                out.extend_from_slice(sealed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Vec<u8>> {
        let noise = [7; 130];
        [
            Datagram::Hello {
                token: 1,
                noise: &[3; 48],
                cookie: None,
                has_seat: false,
            },
            Datagram::Hello {
                token: 1,
                noise: &[3; 48],
                cookie: Some(&[4; COOKIE_LEN]),
                has_seat: true,
            },
            Datagram::Cookie {
                token: 5,
                cookie: &[6; COOKIE_LEN],
            },
            Datagram::Reply {
                token: 5,
                noise: &noise,
            },
            Datagram::Finish {
                server_id: 9,
                noise: &noise,
            },
            Datagram::Refuse {
                token: 5,
                reason: 3,
                detail: "the table is full",
            },
            Datagram::Packet {
                header: PacketHeader::new(9, 70_000, 3),
                sealed: &noise,
            },
            Datagram::Packet {
                header: PacketHeader::new(9, 70_000, 1 << 20),
                sealed: &noise,
            },
            Datagram::Packet {
                header: PacketHeader {
                    is_odd_phase: true,
                    ..PacketHeader::new(9, 70_000, 1 << 20)
                },
                sealed: &noise,
            },
        ]
        .iter()
        .map(|datagram| {
            let mut bytes = Vec::new();
            datagram.emit(&mut bytes);
            bytes
        })
        .collect()
    }

    #[test]
    fn emit_of_parse_is_identity() {
        for bytes in examples() {
            let mut again = Vec::new();
            Datagram::parse(&bytes).expect("an example parses").emit(&mut again);
            assert_eq!(bytes, again);
        }
    }

    #[test]
    fn a_truncated_handshake_is_refused_at_every_length() {
        for bytes in examples().into_iter().take(6) {
            let keeps_rest = matches!(bytes[0], REPLY | FINISH);
            for len in 0..bytes.len() {
                let parsed = Datagram::parse(&bytes[..len]);
                assert!(
                    parsed.is_err() || (keeps_rest && len > THIRD_NOISE_MIN),
                    "{len} of {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn a_cookie_is_smaller_than_any_hello() {
        assert!(examples()[2].len() * 30 < examples()[0].len());
    }

    #[test]
    fn packet_numbers_are_made_whole_near_the_expected_one() {
        for number in [0, 1, 40_000, 65_535, 65_536, 70_000, 1 << 32, (1 << 40) + 12_345] {
            for unacked in [0, 1, 16_383, 16_384, 1 << 30] {
                let header = PacketHeader::new(0, number, unacked);
                let reach = if header.is_long { 1 << 30 } else { 1 << 14 };
                for expected in [number.saturating_sub(reach), number, number + 1, number + reach] {
                    assert_eq!(header.whole_number(expected), number, "{number} {unacked} {expected}");
                }
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut hello = examples().remove(0);
        hello[5] = 9;
        assert_eq!(Datagram::parse(&hello), Err(ParseError::Version(9)));
        assert_eq!(Datagram::hello_token(&hello), Some(1));
    }
}
