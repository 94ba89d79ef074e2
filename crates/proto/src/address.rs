//! Where a datagram came from and where one goes: plain values, no sockets.

use std::fmt;
use std::net::SocketAddr;

/// The far end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A place that has no IP address, numbered by the caller: another network in this process, a node of a simulation.
    Virtual(u64),
}

impl Address {
    /// Writes the address as bytes that differ between any two addresses, for the cookie that proves a return path.
    pub(crate) fn to_cookie_bytes(self) -> [u8; 19] {
        let mut bytes = [0; 19];
        match self {
            Self::Ip(SocketAddr::V4(v4)) => {
                bytes[0] = 4;
                bytes[1..5].copy_from_slice(&v4.ip().octets());
                bytes[17..].copy_from_slice(&v4.port().to_be_bytes());
            }
            Self::Ip(SocketAddr::V6(v6)) => {
                bytes[0] = 6;
                bytes[1..17].copy_from_slice(&v6.ip().octets());
                bytes[17..].copy_from_slice(&v6.port().to_be_bytes());
            }
            Self::Virtual(number) => {
                bytes[1..9].copy_from_slice(&number.to_be_bytes());
            }
        }
        bytes
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Virtual(number) => write!(f, "local:{number}"),
        }
    }
}

/// One way to a remote address: through which of the caller's sockets, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The caller's number for the local socket.
    pub socket: u16,
    /// The far end.
    pub remote: Address,
}
