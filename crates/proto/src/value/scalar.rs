//! Reads one value that holds no others. It must not know where the value stands, nor what it is for.
//!
//! A decoder makes the objects of a whole value; this is for the inside of a table, where most values are numbers and one who
//! reads them one by one saves the list of all.

/// A number, nil, a bool or a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// None.
    Nil,
    /// True or False.
    Bool(bool),
    /// A number below zero, or one that happens to be written as signed.
    Int(i64),
    /// A number from zero on.
    Uint(u64),
    /// A number with a fraction, of 32 or 64 bits.
    Float(f64),
    /// A text of at most 255 bytes.
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// Takes one from the front of `bytes`; None, and takes nothing, if there is something else.
    #[inline]
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (first, mut rest) = bytes.split_first()?;
        let scalar = match *first {
            0x00..=0x7f => Self::Uint(u64::from(*first)),
            0xe0..=0xff => Self::Int(i64::from(*first as i8)),
            0xc0 => Self::Nil,
            0xc2 => Self::Bool(false),
            0xc3 => Self::Bool(true),
            0xca => Self::Float(f64::from(f32::from_be_bytes(number(&mut rest)?))),
            0xcb => Self::Float(f64::from_be_bytes(number(&mut rest)?)),
            0xcc => Self::Uint(u64::from(u8::from_be_bytes(number(&mut rest)?))),
            0xcd => Self::Uint(u64::from(u16::from_be_bytes(number(&mut rest)?))),
            0xce => Self::Uint(u64::from(u32::from_be_bytes(number(&mut rest)?))),
            0xcf => Self::Uint(u64::from_be_bytes(number(&mut rest)?)),
            0xd0 => Self::Int(i64::from(i8::from_be_bytes(number(&mut rest)?))),
            0xd1 => Self::Int(i64::from(i16::from_be_bytes(number(&mut rest)?))),
            0xd2 => Self::Int(i64::from(i32::from_be_bytes(number(&mut rest)?))),
            0xd3 => Self::Int(i64::from_be_bytes(number(&mut rest)?)),
            0xa0..=0xbf => Self::Text(text(&mut rest, usize::from(*first & 0x1f))?),
            0xd9 => {
                let [size] = number(&mut rest)?;
                Self::Text(text(&mut rest, usize::from(size))?)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(scalar)
    }
}

/// Takes the header of an array from the front of `bytes`, and returns how many elements follow; None if there is none.
pub fn take_array(bytes: &mut &[u8]) -> Option<usize> {
    let (first, mut rest) = bytes.split_first()?;
    let count = match *first {
        0x90..=0x9f => u32::from(*first & 0x0f),
        0xdc => u32::from(u16::from_be_bytes(number(&mut rest)?)),
        0xdd => u32::from_be_bytes(number(&mut rest)?),
        _ => return None,
    };
    *bytes = rest;
    usize::try_from(count).ok()
}

#[inline]
fn number<const SIZE: usize>(bytes: &mut &[u8]) -> Option<[u8; SIZE]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}

fn text<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a str> {
    let (text, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_is_read_to_its_end_and_never_beyond() {
        let cases: [(&[u8], Scalar<'_>); 19] = [
            (b"\x7f", Scalar::Uint(127)),
            (b"\xe0", Scalar::Int(-32)),
            (b"\xff", Scalar::Int(-1)),
            (b"\xc0", Scalar::Nil),
            (b"\xc2", Scalar::Bool(false)),
            (b"\xc3", Scalar::Bool(true)),
            (b"\xca\x3f\x80\0\0", Scalar::Float(1.0)),
            (b"\xcb\x3f\xf8\0\0\0\0\0\0", Scalar::Float(1.5)),
            (b"\xcc\xff", Scalar::Uint(255)),
            (b"\xcd\xff\xff", Scalar::Uint(65_535)),
            (b"\xce\xff\xff\xff\xff", Scalar::Uint(0xffff_ffff)),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Scalar::Uint(u64::MAX)),
            (b"\xd0\x80", Scalar::Int(-128)),
            (b"\xd1\x80\0", Scalar::Int(-32_768)),
            (b"\xd2\x80\0\0\0", Scalar::Int(-0x8000_0000)),
            (b"\xd3\x80\0\0\0\0\0\0\0", Scalar::Int(i64::MIN)),
            (b"\xa0", Scalar::Text("")),
            (b"\xa2\xc3\xa4", Scalar::Text("\u{e4}")),
            (b"\xd9\x01x", Scalar::Text("x")),
        ];
        for (bytes, scalar) in cases {
            let longer = [bytes, b"rest"].concat();
            let mut rest = &longer[..];
            assert_eq!((Scalar::take(&mut rest), rest), (Some(scalar), &b"rest"[..]));
            for end in 0..bytes.len() {
                let mut cut = &bytes[..end];
                assert_eq!((Scalar::take(&mut cut), cut.len()), (None, end));
            }
        }
    }

    #[test]
    fn what_is_no_scalar_is_not_taken() {
        for first in [0x80, 0x90, 0xc1, 0xc4, 0xc7, 0xd4, 0xda, 0xdb, 0xdc, 0xde] {
            assert_eq!(
                Scalar::take(&mut &[first, 1, 1, 1, 1, 1, 1, 1, 1][..]),
                None,
                "{first:#x}"
            );
        }
        assert_eq!(Scalar::take(&mut &b"\xa1\xff"[..]), None);
    }
}
