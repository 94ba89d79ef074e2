//! How deep and how large a MessagePack value is, found by walking over its headers. Nothing is allocated or made.
//!
//! A decoder makes an object of 56 bytes from a byte that says "empty list", and recurses once for every byte that says
//! "a list of one". So before a value is decoded it is measured, and what exceeds the limits is the remote side's fault.
//! The same measure is taken before sending, so that what one side may send the other will take. It must not know what a value
//! means; that is Python's.
//!
//! Source: the MessagePack specification, "Formats".

use std::fmt;

/// How many levels a value may be nested.
pub const MAX_DEPTH: usize = 100;

/// How many elements a value may have: every number, text, list, key and so on counts one.
pub const MAX_ELEMENTS: usize = 1_000_000;

/// The extension that holds a tuple, as `_codec.py` writes it: its payload is a value of its own.
const EXT_TUPLE: u8 = 1;

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends too early, or has a byte that means nothing.
    Malformed,
    /// Something follows it.
    TrailingBytes,
    /// It has more than [`MAX_DEPTH`] levels.
    TooDeep,
    /// It has more than [`MAX_ELEMENTS`] elements.
    TooManyElements,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the value cannot be read"),
            Self::TrailingBytes => f.write_str("something follows the value"),
            Self::TooDeep => write!(f, "value is nested too deep, at most {MAX_DEPTH} levels can be sent"),
            Self::TooManyElements => write!(f, "value has more than {MAX_ELEMENTS} elements; send bytes"),
        }
    }
}

/// Measures one value that must fill `bytes` to the end; returns how many elements it has.
pub fn measure(bytes: &[u8]) -> Result<usize, Problem> {
    // How many elements are still to come on each level, and where its bytes must end if it is inside a tuple.
    let mut levels = [(0_u64, 0_usize); MAX_DEPTH];
    let mut depth = 0;
    let mut walk = Walk {
        bytes,
        at: 0,
        end: bytes.len(),
    };
    let mut elements = 0;
    levels[0] = (1, bytes.len());
    loop {
        if levels[depth].0 == 0 {
            // A tuple's payload must end with its value; a list ends anywhere inside what holds it.
            let inner_end = levels[depth].1;
            let has_own_end = depth == 0 || inner_end != levels[depth - 1].1;
            if has_own_end && walk.at != inner_end {
                return Err(Problem::TrailingBytes);
            }
            if depth == 0 {
                return Ok(elements);
            }
            depth -= 1;
            walk.end = levels[depth].1;
            continue;
        }
        levels[depth].0 -= 1;
        elements += 1;
        if elements > MAX_ELEMENTS {
            return Err(Problem::TooManyElements);
        }
        let (inner_count, inner_end) = match walk.header()? {
            Header::Plain => continue,
            Header::Holds(count) => (count, walk.end),
            Header::Tuple(end) => (1, end),
        };
        depth += 1;
        if depth == MAX_DEPTH {
            return Err(Problem::TooDeep);
        }
        levels[depth] = (inner_count, inner_end);
        walk.end = inner_end;
    }
}

enum Header {
    /// Has no elements; has been passed over.
    Plain,
    /// This many elements follow.
    Holds(u64),
    /// One value follows, and ends here.
    Tuple(usize),
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Walk<'_> {
    fn header(&mut self) -> Result<Header, Problem> {
        let first = self.number(1)? as u8;
        match first {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(Header::Plain),
            0x80..=0x8f => Ok(Header::Holds(2 * u64::from(first & 0x0f))),
            0x90..=0x9f => Ok(Header::Holds(u64::from(first & 0x0f))),
            0xa0..=0xbf => self.skip(u64::from(first & 0x1f)),
            0xc1 => Err(Problem::Malformed),
            // bin 8, 16, 32; str 8, 16, 32
            0xc4..=0xc6 => self.skip_sized(1 << (first - 0xc4)),
            0xd9..=0xdb => self.skip_sized(1 << (first - 0xd9)),
            // ext 8, 16, 32; fixext 1, 2, 4, 8, 16
            0xc7..=0xc9 => {
                let size = self.number(1 << (first - 0xc7))?;
                self.extension(size)
            }
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4)),
            // float 32, 64; uint 8, 16, 32, 64; int 8, 16, 32, 64
            0xca | 0xcb => self.skip(4 << (first - 0xca)),
            0xcc..=0xcf => self.skip(1 << (first - 0xcc)),
            0xd0..=0xd3 => self.skip(1 << (first - 0xd0)),
            // array 16, 32; map 16, 32
            0xdc | 0xdd => Ok(Header::Holds(self.number(2 << (first - 0xdc))?)),
            0xde | 0xdf => Ok(Header::Holds(2 * self.number(2 << (first - 0xde))?)),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Header, Problem> {
        let number = self.number(1)? as u8;
        let start = self.at;
        self.skip(size)?;
        if number != EXT_TUPLE {
            return Ok(Header::Plain);
        }
        let end = self.at;
        self.at = start;
        Ok(Header::Tuple(end))
    }

    /// Reads a big-endian number of this many bytes.
    fn number(&mut self, size: usize) -> Result<u64, Problem> {
        let start = self.at;
        self.skip(size as u64)?;
        Ok(self.bytes[start..self.at]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn skip_sized(&mut self, size_of_size: usize) -> Result<Header, Problem> {
        let size = self.number(size_of_size)?;
        self.skip(size)
    }

    fn skip(&mut self, size: u64) -> Result<Header, Problem> {
        if size > (self.end - self.at) as u64 {
            return Err(Problem::Malformed);
        }
        self.at += size as usize;
        Ok(Header::Plain)
    }
}
