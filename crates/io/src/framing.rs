//! How datagrams lie in a TCP stream: what it is, once, and then each datagram behind its length. Bytes only.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 5 | [`MAGIC`]; once, from the side that called |
//! | then, again and again: 0 | 2 | length of the datagram, little-endian, 1–1200 |
//! | 2 | length | the datagram |

use netplay_proto::wire::MAX_DATAGRAM;

/// The first bytes of a stream of datagrams: a name and the version of this framing. No request of HTTP and no ClientHello of
/// TLS begins like this.
pub(crate) const MAGIC: [u8; 5] = *b"NPLY\x01";

/// The size of a length.
const LENGTH: usize = 2;

/// What came is no stream of datagrams: a length is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

/// Appends a datagram behind its length.
pub(crate) fn emit(datagram: &[u8], out: &mut Vec<u8>) {
    debug_assert!((1..=MAX_DATAGRAM).contains(&datagram.len()));
    out.extend_from_slice(&(datagram.len() as u16).to_le_bytes());
    out.extend_from_slice(datagram);
}

/// Takes a stream apart again, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a frame that is not complete; never more than one.
    rest: Vec<u8>,
}

impl Frames {
    /// Takes in the next bytes and hands out the datagrams that are complete with them.
    pub(crate) fn take(&mut self, mut bytes: &[u8], handle: &mut dyn FnMut(&[u8])) -> Result<(), BadLength> {
        while !self.rest.is_empty() && !bytes.is_empty() {
            let size = frame_size(&self.rest)?.unwrap_or(LENGTH);
            let more = bytes.len().min(size - self.rest.len());
            self.rest.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if frame_size(&self.rest)? == Some(self.rest.len()) {
                handle(&self.rest[LENGTH..]);
                self.rest.clear();
            }
        }
        while let Some(size) = frame_size(bytes)?
            && let Some((frame, after)) = bytes.split_at_checked(size)
        {
            handle(&frame[LENGTH..]);
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }
}

/// Returns the size of the frame that begins here, None if that cannot be told yet.
fn frame_size(bytes: &[u8]) -> Result<Option<usize>, BadLength> {
    let Some(length) = bytes.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    match usize::from(u16::from_le_bytes(*length)) {
        length @ 1..=MAX_DATAGRAM => Ok(Some(LENGTH + length)),
        _ => Err(BadLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for datagram in datagrams {
            emit(datagram, &mut out);
        }
        out
    }

    fn taken(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, BadLength> {
        let mut frames = Frames::default();
        let mut datagrams = Vec::new();
        for piece in pieces {
            frames.take(piece, &mut |datagram| datagrams.push(datagram.to_vec()))?;
        }
        Ok(datagrams)
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut() {
        let datagrams: Vec<Vec<u8>> = [1, 2, 255, 256, 1200, 1, 1199]
            .into_iter()
            .map(|size| vec![size as u8; size])
            .collect();
        let bytes = stream(&datagrams);
        for size in [1, 2, 3, 7, 100, 1201, 1202, 1203, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(taken(&pieces).as_ref(), Ok(&datagrams), "in pieces of {size}");
        }
        for at in 0..bytes.len() {
            let (one, other) = bytes.split_at(at);
            assert_eq!(taken(&[one, other]).as_ref(), Ok(&datagrams), "cut at {at}");
        }
    }

    #[test]
    fn a_length_out_of_range_is_refused_as_soon_as_it_is_known() {
        for length in [0u16, 1201, 0x4854, u16::MAX] {
            let bytes = length.to_le_bytes();
            assert_eq!(taken(&[&bytes]), Err(BadLength), "{length}");
            assert_eq!(taken(&[&bytes[..1], &bytes[1..]]), Err(BadLength), "{length} in two");
        }
    }

    #[test]
    fn half_a_length_is_waited_for_and_holds_next_to_nothing() {
        let mut frames = Frames::default();
        frames.take(&[7], &mut |_| panic!("nothing is complete")).unwrap();
        assert_eq!(frames.rest.len(), 1);
        let mut long = vec![0xb0, 0x04];
        long.resize(1201, 1);
        frames = Frames::default();
        frames.take(&long, &mut |_| panic!("nothing is complete")).unwrap();
        assert_eq!(frames.rest.len(), 1201);
    }
}
