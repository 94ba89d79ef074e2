//! Trains of datagrams: several of one size, between the same two sockets, in one call of the operating system.
//!
//! Linux calls it generic segmentation offload and generic receive offload: the way through its layers is the dear part of
//! a datagram, and a train pays it once. Elsewhere every train has one datagram. It knows sockets and bytes only.

use std::net::SocketAddr;

pub(crate) use system::{MAX_BYTES, MAX_LEN, accept, is_refusal, new_buffer, receive, send};

/// What one call has received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train {
    /// From whom.
    pub(crate) remote: SocketAddr,
    /// How many bytes of the buffer are filled.
    len: usize,
    /// The size of every datagram but the last, which may be shorter.
    size: usize,
}

impl Train {
    /// Returns the datagrams in it. There is at least one.
    pub(crate) fn datagrams(self, buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
        let bytes = &buffer[..self.len];
        // An empty datagram is one too.
        let empty = self.len == 0;
        bytes.chunks(self.size.max(1)).chain(empty.then_some(bytes))
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    };

    use super::Train;

    /// The most datagrams in a train. Newer kernels take more.
    pub(crate) const MAX_LEN: usize = 64;

    /// The most bytes in a train; an IP packet holds a little more.
    pub(crate) const MAX_BYTES: usize = 60_000;

    /// Lets the operating system hand over trains. Older ones cannot, and hand over single datagrams.
    pub(crate) fn accept(socket: &UdpSocket) {
        let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
    }

    /// Sends a train of datagrams of this size; the last may be shorter.
    pub(crate) fn send(socket: &UdpSocket, remote: SocketAddr, bytes: &[u8], size: usize) -> io::Result<()> {
        let size = u16::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let remote = SockaddrStorage::from(remote);
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            &control,
            MsgFlags::empty(),
            Some(&remote),
        )?;
        Ok(())
    }

    /// Returns true if the error may be due to the train rather than the datagrams: they are worth a try one by one.
    pub(crate) fn is_refusal(error: &io::Error) -> bool {
        // A network card without checksums of its own answers EIO.
        let refusals = [
            Errno::EIO,
            Errno::EINVAL,
            Errno::EMSGSIZE,
            Errno::ENOPROTOOPT,
            Errno::EOPNOTSUPP,
        ];
        error
            .raw_os_error()
            .is_some_and(|code| refusals.contains(&Errno::from_raw(code)))
    }

    /// Makes room for any train.
    pub(crate) fn new_buffer() -> Vec<u8> {
        vec![0; 65_536]
    }

    /// Receives a train, or a single datagram.
    pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Train> {
        // Room for one number in a control message, and to spare.
        let mut control = [0; 64];
        let mut slices = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
        let len = message.bytes;
        let size = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
            _ => None,
        });
        let address = message
            .address
            .as_ref()
            .and_then(to_std)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Train {
            remote: address,
            len,
            size: size.unwrap_or(len),
        })
    }

    fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(SocketAddr::V4((*v4).into()));
        }
        address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::net::{SocketAddr, UdpSocket};

    use super::Train;

    pub(crate) const MAX_LEN: usize = 1;

    pub(crate) const MAX_BYTES: usize = 2048;

    pub(crate) fn accept(_socket: &UdpSocket) {}

    pub(crate) fn send(socket: &UdpSocket, remote: SocketAddr, bytes: &[u8], _size: usize) -> io::Result<()> {
        socket.send_to(bytes, remote).map(drop)
    }

    pub(crate) fn is_refusal(_error: &io::Error) -> bool {
        false
    }

    /// Makes room for the largest datagram of the protocol, and more to see that one was larger.
    pub(crate) fn new_buffer() -> Vec<u8> {
        vec![0; 2048]
    }

    pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Train> {
        let (len, remote) = socket.recv_from(buffer)?;
        Ok(Train { remote, len, size: len })
    }
}
