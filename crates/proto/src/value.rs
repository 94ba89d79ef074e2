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
//! A list of dicts with the same keys is made shorter before it is sent: see `fold`. It is measured as what it stands for.
//!
//! Source: the MessagePack specification, "Formats".

mod fold;
mod scalar;

use std::fmt;
use std::ops::Range;

pub use fold::fold;
pub use scalar::{Scalar, take_array};

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
    /// May have a list of dicts in it, but Python code of its own reads it.
    pub(super) const MESSAGE: u8 = 11;
    /// A list of dicts with the same keys: an array of an array of the keys, and then the values, dict by dict.
    pub(super) const TABLE: u8 = 14;

    /// Returns true if the payload is a value of its own: tuple, set, frozenset, typed message, dict.
    pub(super) const fn holds_value(number: u8) -> bool {
        matches!(number, TUPLE | 3 | 4 | MESSAGE | 13)
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
    let mut walk = Walk::new(bytes, bounds);
    walk.only_value(0)?;
    Ok(walk.elements)
}

/// A list of dicts with the same keys in the same order.
struct Table {
    /// Where its header is.
    start: usize,
    /// Where the keys of its first dict are.
    keys: Vec<Range<usize>>,
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
    /// One value follows, and ends here: this extension is made of it.
    Value(u8, usize),
    /// The keys and values of a table follow, and end here.
    Table(usize),
}

/// How many bytes a number, nil, bool or short text has, by its first byte; 0 for everything else.
const PLAIN_SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut first = 0;
    while first < 256 {
        sizes[first] = match first {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 1,
            0xa0..=0xbf => 1 + (first as u8 & 0x1f),
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            _ => 0,
        };
        first += 1;
    }
    sizes
};

struct Walk<'a> {
    bytes: &'a [u8],
    bounds: &'a Bounds,
    /// Up to this many bytes, nothing that is plain is above the bounds.
    longest_plain: usize,
    at: usize,
    /// Where what it is inside ends.
    end: usize,
    elements: usize,
    /// Lists of dicts are looked for.
    seeks_tables: bool,
    /// Those found, each when it ended.
    tables: Vec<Table>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], bounds: &'a Bounds) -> Self {
        Self {
            bytes,
            bounds,
            longest_plain: bounds.length.saturating_add(1),
            at: 0,
            end: bytes.len(),
            elements: 0,
            seeks_tables: false,
            tables: Vec::new(),
        }
    }

    /// Passes over a value inside so many others.
    #[inline]
    fn value(&mut self, depth: usize) -> Result<(), Problem> {
        if self.skip_plain() {
            return self.count(1);
        }
        self.any_value(depth)
    }

    /// Does so for every value. It calls itself for what is inside, at most [`MAX_DEPTH`] times.
    #[inline(never)]
    fn any_value(&mut self, depth: usize) -> Result<(), Problem> {
        let start = self.at;
        let header = self.header()?;
        self.count(1)?;
        match header {
            Header::Plain => Ok(()),
            Header::Extension => self.count(EXTENSION_WEIGHT - 1),
            Header::Rows(size) => self.count(size),
            Header::Array(count) => {
                let depth = self.deeper(depth)?;
                let is_of_maps = || matches!(self.bytes.get(self.at), Some(0x81..=0x8f | 0xde | 0xdf));
                if self.seeks_tables && count > 1 && is_of_maps() {
                    return self.list_of_dicts(start, count, depth);
                }
                self.values(count, depth)
            }
            Header::Map(count) => {
                let depth = self.deeper(depth)?;
                self.pairs(count, depth)
            }
            Header::Value(number, end) => {
                if number != extension::TUPLE {
                    self.count(EXTENSION_WEIGHT - 1)?;
                }
                let depth = self.deeper(depth)?;
                let outer_end = std::mem::replace(&mut self.end, end);
                let seeks_tables = self.seeks_tables;
                self.seeks_tables &= number != extension::MESSAGE;
                self.only_value(depth)?;
                self.seeks_tables = seeks_tables;
                self.end = outer_end;
                Ok(())
            }
            Header::Table(end) => {
                let depth = self.deeper(depth)?;
                let depth = self.deeper(depth)?;
                let outer_end = std::mem::replace(&mut self.end, end);
                self.table(depth)?;
                self.end = outer_end;
                Ok(())
            }
        }
    }

    /// Passes over a value that must end where what it is inside ends.
    fn only_value(&mut self, depth: usize) -> Result<(), Problem> {
        self.value(depth)?;
        if self.at != self.end {
            return Err(Problem::TrailingBytes);
        }
        Ok(())
    }

    fn values(&mut self, count: u64, depth: usize) -> Result<(), Problem> {
        for _ in 0..count {
            self.value(depth)?;
        }
        Ok(())
    }

    fn pairs(&mut self, count: u64, depth: usize) -> Result<(), Problem> {
        for _ in 0..count {
            self.key()?;
            self.count(1)?;
            self.value(depth)?;
        }
        Ok(())
    }

    #[inline]
    fn key(&mut self) -> Result<(), Problem> {
        if self.skip_plain() {
            return Ok(());
        }
        match self.header()? {
            Header::Plain => Ok(()),
            _ => Err(Problem::BadKey),
        }
    }

    /// Passes over the inside of a table. It counts as the list of dicts that is made of it: each has the keys again.
    fn table(&mut self, depth: usize) -> Result<(), Problem> {
        let (Header::Array(count), Header::Array(columns)) = (self.header()?, self.header()?) else {
            return Err(Problem::Malformed);
        };
        let values = count.saturating_sub(1);
        if columns == 0 || !values.is_multiple_of(columns) {
            return Err(Problem::Malformed);
        }
        let dicts = values / columns;
        self.count(usize::try_from(values.saturating_add(dicts)).unwrap_or(usize::MAX))?;
        for _ in 0..columns {
            self.key()?;
        }
        self.values(values, depth)?;
        if self.at != self.end {
            return Err(Problem::TrailingBytes);
        }
        Ok(())
    }

    /// Passes over a list whose first element is a dict, and keeps it if it is a table and shorter as one.
    fn list_of_dicts(&mut self, start: usize, count: u64, depth: usize) -> Result<(), Problem> {
        let first = self.at;
        let Header::Map(columns) = self.header()? else {
            return Err(Problem::Malformed);
        };
        self.count(1)?;
        let inner = self.deeper(depth)?;
        let bytes = self.bytes;
        let head = &bytes[first..self.at];
        let mut keys = Vec::new();
        let mut repeated = head.len();
        for _ in 0..columns {
            let key = self.at;
            self.key()?;
            keys.push(key..self.at);
            repeated += self.at - key;
            self.count(1)?;
            self.value(inner)?;
        }
        for dict in 1..count {
            if !self.skip_same(head) {
                return self.values(count - dict, depth);
            }
            self.count(1)?;
            for (column, key) in keys.iter().enumerate() {
                if !self.skip_same(&bytes[key.clone()]) {
                    self.pairs(columns - column as u64, inner)?;
                    return self.values(count - dict - 1, depth);
                }
                self.count(1)?;
                self.value(inner)?;
            }
        }
        if (count - 1).saturating_mul(repeated as u64) > fold::OVERHEAD {
            self.tables.push(Table { start, keys });
        }
        Ok(())
    }

    fn skip_same(&mut self, bytes: &[u8]) -> bool {
        let is_same = self.bytes[self.at..self.end].starts_with(bytes);
        if is_same {
            self.at += bytes.len();
        }
        is_same
    }

    fn deeper(&self, depth: usize) -> Result<usize, Problem> {
        let limit = self.bounds.depth.min(MAX_DEPTH);
        if depth + 1 >= limit {
            return Err(Problem::TooDeep(limit));
        }
        Ok(depth + 1)
    }

    fn count(&mut self, elements: usize) -> Result<(), Problem> {
        self.elements = self.elements.saturating_add(elements);
        if self.elements > self.bounds.elements {
            return Err(Problem::TooManyElements(self.bounds.elements));
        }
        Ok(())
    }

    /// Passes over what is most of a value, without a word on what it was; returns false, and stays, for the rest.
    #[inline]
    fn skip_plain(&mut self) -> bool {
        let Some(first) = self.bytes[..self.end].get(self.at) else {
            return false;
        };
        let size = usize::from(PLAIN_SIZES[usize::from(*first)]);
        let is_plain = size != 0 && size <= (self.end - self.at).min(self.longest_plain);
        if is_plain {
            self.at += size;
        }
        is_plain
    }

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
        let end = self.at;
        if extension::holds_value(number) {
            self.at = start;
            return Ok(Header::Value(number, end));
        }
        match number {
            extension::TABLE => {
                self.at = start;
                Ok(Header::Table(end))
            }
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
