//! Where a datagram came from and where one goes: plain values, no sockets.

use std::fmt;
use std::net::SocketAddr;

/// What carries datagrams to a remote side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Each by itself.
    Udp,
    /// One after the other through a TCP stream.
    Tcp,
    /// As messages of a WebSocket.
    Ws,
    /// As messages of a WebSocket under TLS.
    Wss,
    /// Each by itself, inside a connection of another protocol that finds its way through routers.
    P2p,
}

/// The far end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and port, to which datagrams go one by one.
    Ip(SocketAddr),
    /// A stream that is open to an IP address and port, numbered by the caller; no number is used again. Whoever has one has
    /// shown that it can receive there.
    Stream {
        /// Which.
        number: u32,
        /// The far end.
        remote: SocketAddr,
    },
    /// A connection of another protocol that is open, numbered by the caller; no number is used again. Whoever has one has shown
    /// that it can receive there. What goes through it may be lost, and the way below may change without our noticing.
    Tunnel {
        /// Which.
        number: u32,
    },
    /// A place that has no IP address, numbered by the caller: another network in this process, a node of a simulation.
    Virtual(u64),
}

impl Address {
    /// Writes the address as bytes that differ between any two addresses, for the cookie that proves a return path.
    pub(crate) fn to_cookie_bytes(self) -> [u8; 19] {
        let mut bytes = [0; 19];
        match self {
            Self::Stream { number, .. } => {
                bytes[0] = 1;
                bytes[1..5].copy_from_slice(&number.to_be_bytes());
            }
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
            Self::Tunnel { number } => {
                bytes[0] = 2;
                bytes[1..5].copy_from_slice(&number.to_be_bytes());
            }
            Self::Virtual(number) => {
                bytes[1..9].copy_from_slice(&number.to_be_bytes());
            }
        }
        bytes
    }
}

impl Address {
    /// Returns the IP address and port, None for a place that has none.
    pub const fn socket_addr(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) | Self::Stream { remote: address, .. } => Some(address),
            Self::Tunnel { .. } | Self::Virtual(_) => None,
        }
    }

    /// Returns true for what is opened and ends: a stream or a tunnel. Nobody can speak through it from a forged address, and
    /// once it has ended, nothing comes from there again.
    pub const fn is_opened(self) -> bool {
        matches!(self, Self::Stream { .. } | Self::Tunnel { .. })
    }

    /// Returns true for a stream, where nothing is lost and order is kept as long as it is open.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream { .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) | Self::Stream { remote: address, .. } => address.fmt(f),
            Self::Tunnel { number } => write!(f, "p2p:{number}"),
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
