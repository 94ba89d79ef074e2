//! How deep and how large a MessagePack value is, found by walking over its headers. Nothing is allocated or made.
//!
//! A decoder makes an object of 56 bytes from a byte that says "empty list", and recurses once for every byte that says
//! "a list of one". So before a value is decoded it is measured, and what exceeds the limits is the remote side's fault.
//! The same measure is taken before sending, so that what one side may send the other will take. It must not know what a value
//! means; that is Python's.
//!
//! The key of a map is no array, map or extension. Python's hash of a tuple of numbers can be chosen, and a dict of many with
//! the same takes time with the square of their number; what can be such a key comes in an extension that Python looks into.
//!
//! Source: the MessagePack specification, "Formats".

use std::fmt;

/// How many levels a value may be nested at most, whatever the limits say: a decoder recurses.
pub const MAX_DEPTH: usize = 100;

/// How many elements an extension counts as, but for tuples and rows: Python code makes of it what it is, in some
/// microseconds.
pub const EXTENSION_WEIGHT: usize = 10;

/// What one value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many levels it may be nested, 1 to [`MAX_DEPTH`].
    pub depth: usize,
    /// How many elements it may have: every number, text, list, tuple, key and so on counts one, every other extension
    /// [`EXTENSION_WEIGHT`].
    pub elements: usize,
    /// How many bytes a text or bytes may have.
    pub length: usize,
    /// How many bytes an int of more than 64 bits may have.
    pub int_length: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            depth: MAX_DEPTH,
            elements: 1_000_000,
            length: crate::message::MAX_RELIABLE_SIZE,
            int_length: 1024,
        }
    }
}

/// The extensions as `_codec.py` writes them that are more than bytes.
mod extension {
    pub(super) const TUPLE: u8 = 1;
    pub(super) const INT: u8 = 2;
    /// Each byte counts as an element.
    pub(super) const ROWS: u8 = 12;

    /// Returns true if the payload is a value of its own: tuple, set, frozenset, typed message, dict.
    pub(super) const fn holds_value(number: u8) -> bool {
        matches!(number, TUPLE | 3 | 4 | 11 | 13)
    }
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends too early, or has a byte that means nothing.
    Malformed,
    /// Something follows it.
    TrailingBytes,
    /// A key of a map is none that a map may have.
    BadKey,
    /// It has more levels than this.
    TooDeep(usize),
    /// It has more elements than this.
    TooManyElements(usize),
    /// A text or bytes in it is this long, and may be that long.
    TooLong(u64, usize),
    /// An int in it has this many bytes, and may have that many.
    IntTooLong(u64, usize),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the value cannot be read"),
            Self::TrailingBytes => f.write_str("something follows the value"),
            Self::BadKey => f.write_str("a key of a map is a list, a map or an extension"),
            Self::TooDeep(limit) => write!(f, "value is nested too deep, at most {limit} levels can be sent"),
            Self::TooManyElements(limit) => write!(f, "value has more than {limit} elements; send bytes"),
            Self::TooLong(length, limit) => {
                write!(f, "text or bytes of {length} in a value, at most {limit} can be sent")
            }
            Self::IntTooLong(length, limit) => write!(f, "int of {length} bytes, at most {limit} can be sent"),
        }
    }
}

/// Measures one value that must fill `bytes` to the end; returns how many elements it has.
pub fn measure(bytes: &[u8], bounds: &Bounds) -> Result<usize, Problem> {
    let mut levels = [Level::default(); MAX_DEPTH];
    let mut depth = 0;
    let mut walk = Walk {
        bytes,
        bounds,
        at: 0,
        end: bytes.len(),
    };
    let mut elements: usize = 0;
    levels[0] = Level {
        left: 1,
        end: bytes.len(),
        is_map: false,
    };
    loop {
        let level = &mut levels[depth];
        if level.left == 0 {
            // An extension's payload must end with its value; a list ends anywhere inside what holds it.
            let inner_end = level.end;
            let has_own_end = depth == 0 || inner_end != levels[depth - 1].end;
            if has_own_end && walk.at != inner_end {
                return Err(Problem::TrailingBytes);
            }
            if depth == 0 {
                return Ok(elements);
            }
            depth -= 1;
            walk.end = levels[depth].end;
            continue;
        }
        let is_key = level.is_map && level.left.is_multiple_of(2);
        level.left -= 1;
        elements += 1;
        let header = walk.header()?;
        if is_key && !matches!(header, Header::Plain) {
            return Err(Problem::BadKey);
        }
        let inner = match header {
            Header::Plain => None,
            Header::Extension => {
                elements += EXTENSION_WEIGHT - 1;
                None
            }
            Header::Rows(size) => {
                elements = elements.saturating_add(size);
                None
            }
            Header::Array(count) => Some((count, walk.end, false)),
            Header::Map(count) => Some((2 * count, walk.end, true)),
            Header::Tuple(end) => Some((1, end, false)),
            Header::Value(end) => {
                elements += EXTENSION_WEIGHT - 1;
                Some((1, end, false))
            }
        };
        if elements > bounds.elements {
            return Err(Problem::TooManyElements(bounds.elements));
        }
        if let Some((left, end, is_map)) = inner {
            depth += 1;
            let limit = bounds.depth.min(MAX_DEPTH);
            if depth >= limit {
                return Err(Problem::TooDeep(limit));
            }
            levels[depth] = Level { left, end, is_map };
            walk.end = end;
        }
    }
}

/// A list, map or extension that the walk is inside.
#[derive(Clone, Copy, Default)]
struct Level {
    /// How many elements are still to come; of a map, a key is next when the number is even.
    left: u64,
    /// Where its bytes must end if it is inside an extension.
    end: usize,
    is_map: bool,
}

enum Header {
    /// Has no elements; has been passed over.
    Plain,
    /// An extension that is bytes; has been passed over.
    Extension,
    /// So many bytes of rows; have been passed over.
    Rows(usize),
    /// This many elements follow.
    Array(u64),
    /// This many keys follow, each with an element.
    Map(u64),
    /// One array follows, and ends here: it is a tuple.
    Tuple(usize),
    /// One value follows, and ends here.
    Value(usize),
}

struct Walk<'a> {
    bytes: &'a [u8],
    bounds: &'a Bounds,
    at: usize,
    end: usize,
}

impl Walk<'_> {
    fn header(&mut self) -> Result<Header, Problem> {
        let first = self.number(1)? as u8;
        match first {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(Header::Plain),
            0x80..=0x8f => Ok(Header::Map(u64::from(first & 0x0f))),
            0x90..=0x9f => Ok(Header::Array(u64::from(first & 0x0f))),
            0xa0..=0xbf => self.skip_bounded(u64::from(first & 0x1f)),
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
            0xdc | 0xdd => Ok(Header::Array(self.number(2 << (first - 0xdc))?)),
            0xde | 0xdf => Ok(Header::Map(self.number(2 << (first - 0xde))?)),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Header, Problem> {
        let number = self.number(1)? as u8;
        let start = self.at;
        self.skip(size)?;
        if extension::holds_value(number) {
            let end = self.at;
            self.at = start;
            return Ok(if number == extension::TUPLE {
                Header::Tuple(end)
            } else {
                Header::Value(end)
            });
        }
        match number {
            extension::ROWS => Ok(Header::Rows(size as usize)),
            extension::INT if size > self.bounds.int_length as u64 => {
                Err(Problem::IntTooLong(size, self.bounds.int_length))
            }
            _ => Ok(Header::Extension),
        }
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
        self.skip_bounded(size)
    }

    fn skip_bounded(&mut self, size: u64) -> Result<Header, Problem> {
        if size > self.bounds.length as u64 {
            return Err(Problem::TooLong(size, self.bounds.length));
        }
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
