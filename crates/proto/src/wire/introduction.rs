//! What each side says of itself inside the encrypted part of the handshake.

use super::reader::{ParseError, Reader, put_short_text, put_varint};
use crate::config::MAX_NAME_LEN;
use crate::text::printable;

/// Names a connection to those who come back to it. Not a secret: who comes back proves its key.
pub type Seat = [u8; 16];

/// Which seat a side speaks of, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatClaim {
    /// The client has none yet.
    None,
    /// The server's: this is the seat of a client that is new. The client's: it had this one and has lost all else.
    Fresh(Seat),
    /// The client's: it has this one, and everything that belongs to it.
    Kept(Seat),
    /// The client's: it was offered this one, and has not heard whether it got it.
    Offered(Seat),
}

impl SeatClaim {
    /// Returns the seat, if one is named.
    pub const fn seat(&self) -> Option<Seat> {
        match self {
            Self::None => None,
            Self::Fresh(seat) | Self::Kept(seat) | Self::Offered(seat) => Some(*seat),
        }
    }
}

/// The payload of the second and third Noise messages: connection id (4), name length (1), name, version length (1),
/// version, the largest message this side accepts (varint), 0, or 1 to 3 and a seat (1 or 17). Bytes after that belong to later
/// versions and are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The id that packets to this side must carry.
    pub connection_id: u32,
    /// The name this side gives itself, at most 64 bytes.
    pub name: String,
    /// The game's version, at most 64 bytes.
    pub version: String,
    /// The largest reliable message this side accepts, in bytes.
    pub message_size: u64,
    /// The seat the server offers, or the one that the client comes back to.
    pub seat: SeatClaim,
}

impl Introduction {
    /// Takes an introduction apart. Control characters in the name become U+FFFD: a name is for one line of text.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let connection_id = reader.u32()?;
        let name = reader.short_text(MAX_NAME_LEN)?;
        let version = reader.short_text(MAX_NAME_LEN)?;
        let message_size = reader.varint()?;
        let form = reader.u8()?;
        let mut seat = || -> Result<Seat, ParseError> {
            let bytes = reader.take(size_of::<Seat>())?;
            bytes.try_into().map_err(|_| ParseError::Truncated)
        };
        let seat = match form {
            0 => SeatClaim::None,
            1 => SeatClaim::Fresh(seat()?),
            2 => SeatClaim::Kept(seat()?),
            3 => SeatClaim::Offered(seat()?),
            _ => return Err(ParseError::Invalid),
        };
        Ok(Self {
            connection_id,
            name: printable(name),
            version: version.to_owned(),
            message_size,
            seat,
        })
    }

    /// Writes the introduction.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        put_short_text(out, &self.name, MAX_NAME_LEN);
        put_short_text(out, &self.version, MAX_NAME_LEN);
        put_varint(out, self.message_size);
        out.push(match self.seat {
            SeatClaim::None => 0,
            SeatClaim::Fresh(_) => 1,
            SeatClaim::Kept(_) => 2,
            SeatClaim::Offered(_) => 3,
        });
        if let Some(seat) = self.seat.seat() {
            out.extend_from_slice(&seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_survives_the_wire_and_truncation() {
        for seat in [
            SeatClaim::None,
            SeatClaim::Fresh([3; 16]),
            SeatClaim::Kept([4; 16]),
            SeatClaim::Offered([5; 16]),
        ] {
            let introduction = Introduction {
                connection_id: 7,
                name: "Ada".into(),
                version: "pong 2".into(),
                message_size: 1 << 24,
                seat,
            };
            let mut bytes = Vec::new();
            introduction.emit(&mut bytes);
            assert_eq!(Introduction::parse(&bytes), Ok(introduction));
            for len in 0..bytes.len() {
                assert!(Introduction::parse(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn a_name_has_no_control_characters() {
        let mut bytes = Vec::new();
        Introduction {
            connection_id: 7,
            name: "A\nB\u{1b}[2J".into(),
            version: String::new(),
            message_size: 1,
            seat: SeatClaim::None,
        }
        .emit(&mut bytes);
        assert_eq!(
            Introduction::parse(&bytes).expect("parses").name,
            "A\u{fffd}B\u{fffd}[2J"
        );
    }
}
