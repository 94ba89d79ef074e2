//! The bytes of a message: short ones in place, long ones shared.
//!
//! Most of what a game sends is short, and there is much of it. Allocating and freeing each one, twice on its way, was a tenth of
//! what a small message cost. Long ones are shared: what goes to a thousand peers is in memory once.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The most bytes that are kept in place: with their number, ten words.
const SHORT: usize = 78;

/// The bytes of a message. Cloning it copies at most 78 bytes, and allocates nothing.
#[derive(Clone)]
pub struct Payload(Form);

#[derive(Clone)]
enum Form {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Bytes),
}

impl Payload {
    /// Returns no bytes at all.
    #[must_use]
    pub const fn new() -> Self {
        let bytes = [0; SHORT];
        Self(Form::Short { len: 0, bytes })
    }

    /// Copies the bytes.
    #[must_use]
    pub fn copy_from_slice(data: &[u8]) -> Self {
        Self::short(data).unwrap_or_else(|| Self(Form::Long(Bytes::copy_from_slice(data))))
    }

    /// Keeps the bytes as they are.
    #[must_use]
    pub const fn from_static(data: &'static [u8]) -> Self {
        Self(Form::Long(Bytes::from_static(data)))
    }

    /// Returns what follows the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn without_first(&self, count: usize) -> Self {
        match &self.0 {
            Form::Short { .. } => Self::copy_from_slice(&self[count..]),
            Form::Long(bytes) => bytes.slice(count..).into(),
        }
    }

    fn short(data: &[u8]) -> Option<Self> {
        let len = u8::try_from(data.len()).ok().filter(|&len| usize::from(len) <= SHORT)?;
        let mut bytes = [0; SHORT];
        bytes[..data.len()].copy_from_slice(data);
        Some(Self(Form::Short { len, bytes }))
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short { len, bytes } => &bytes[..usize::from(*len)],
            Form::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Payload {}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<&T> for Payload {
    fn eq(&self, other: &&T) -> bool {
        self[..] == *other.as_ref()
    }
}

impl From<Bytes> for Payload {
    fn from(data: Bytes) -> Self {
        Self::short(&data).unwrap_or(Self(Form::Long(data)))
    }
}

impl From<Vec<u8>> for Payload {
    fn from(data: Vec<u8>) -> Self {
        Self::short(&data).unwrap_or_else(|| Self(Form::Long(Bytes::from(data))))
    }
}

impl From<String> for Payload {
    fn from(data: String) -> Self {
        data.into_bytes().into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(data: &'static [u8]) -> Self {
        Self::from_static(data)
    }
}

impl From<&'static str> for Payload {
    fn from(data: &'static str) -> Self {
        Self::from_static(data.as_bytes())
    }
}

impl From<Payload> for Bytes {
    fn from(data: Payload) -> Self {
        match data.0 {
            Form::Short { .. } => Self::copy_from_slice(&data),
            Form::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_or_long_it_is_what_was_put_in() {
        for size in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 257, 300, 1200] {
            let data: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let payload = Payload::copy_from_slice(&data);
            assert_eq!(payload, &data);
            assert_eq!(payload, Payload::from(data.clone()));
            assert_eq!(payload, Payload::from(Bytes::from(data.clone())));
            assert_eq!(payload.clone().as_ref(), data);
            assert_eq!(payload.without_first(size / 2), &data[size / 2..]);
            assert_eq!(Bytes::from(payload), data);
        }
    }

    #[test]
    fn it_is_ten_words_long() {
        assert_eq!(size_of::<Payload>(), 80);
        assert_eq!(size_of::<crate::Event>(), 96);
    }

    #[test]
    fn a_person_can_read_it() {
        assert_eq!(format!("{:?}", Payload::from("it\n\0")), r#"b"it\n\x00""#);
    }
}
