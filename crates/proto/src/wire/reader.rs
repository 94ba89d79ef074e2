//! Reads fields off the front of bytes that a stranger sent, and writes the one variable-length number we use.

use std::fmt;

use crate::text::cut;

/// Why bytes could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes end before the field does.
    Truncated,
    /// A field has a value that this version never writes.
    Invalid,
    /// The datagram speaks another protocol version, named here.
    Version(u8),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the bytes end early"),
            Self::Invalid => write!(f, "a field has an impossible value"),
            Self::Version(version) => write!(f, "protocol version {version} is not spoken here"),
        }
    }
}

impl std::error::Error for ParseError {}

/// A cursor over received bytes. Every read checks the length first.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ParseError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(ParseError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ParseError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ParseError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ParseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a varint: seven bits a byte, low bits first, the high bit set on all but the last byte (LEB128). Only the
    /// shortest form is accepted, so that every value has one encoding.
    pub(crate) fn varint(&mut self) -> Result<u64, ParseError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ParseError::Invalid);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(ParseError::Invalid)
                } else {
                    Ok(value)
                };
            }
        }
        Err(ParseError::Invalid)
    }

    /// Reads a varint that must fit the platform's sizes and a limit.
    pub(crate) fn size(&mut self, limit: usize) -> Result<usize, ParseError> {
        let value = usize::try_from(self.varint()?).map_err(|_| ParseError::Invalid)?;
        if value > limit {
            Err(ParseError::Invalid)
        } else {
            Ok(value)
        }
    }

    /// Reads a length byte and that much UTF-8.
    pub(crate) fn short_text(&mut self, limit: usize) -> Result<&'a str, ParseError> {
        let len = usize::from(self.u8()?);
        if len > limit {
            return Err(ParseError::Invalid);
        }
        std::str::from_utf8(self.take(len)?).map_err(|_| ParseError::Invalid)
    }
}

/// Writes a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns how many bytes a varint takes, 1–10.
pub(crate) const fn varint_len(value: u64) -> usize {
    if value == 0 {
        1
    } else {
        (64 - value.leading_zeros() as usize).div_ceil(7)
    }
}

/// Writes a length byte and the text, cut at the last character that fits the limit.
pub(crate) fn put_short_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    let text = cut(text, limit);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_encoding() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(ParseError::Invalid));
        assert_eq!(Reader::new(&[0xff; 10]).varint(), Err(ParseError::Invalid));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(ParseError::Truncated));
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) | 1] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value));
                assert_eq!(Reader::new(&bytes).varint(), Ok(value));
            }
        }
    }
}
