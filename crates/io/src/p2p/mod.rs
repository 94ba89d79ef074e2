//! Peer to peer: `play+p2p://`. Datagrams go inside a QUIC connection that iroh leads through routers, directly where it can and
//! through a relay where it cannot.
//!
//! Nothing of ours waits for iroh: its tasks run on a thread of their own, fill bounded queues and rouse whoever drives; sending
//! hands a datagram to a queue of iroh's. So a [`Port`] is read and written like a port inside the process, and its connections,
//! the tunnels, come and go as streams do. Encryption, resuming and congestion control stay netplay's own above it.
//!
//! | module | noun |
//! |---|---|
//! | `terms` | whom to reach and by which relay, as values; needs no iroh |
//! | `port` | what a slot sees: arrivals, tunnels by number, sending |
//! | `node` | iroh's side: binding, dialling, accepting, and the task of each tunnel |
//! | `steady` | a congestion controller that leaves the work to ours |
//! | `relay` | a relay of one's own |
//! | `sight` | as whom relays see this machine, for the doctor |
//! | `gateway` | whether the router opens ports when it is asked, for the doctor |
//! | `absent` | the same port where the feature `p2p` is left out: it says so |

#![cfg_attr(
    not(feature = "p2p"),
    allow(dead_code, reason = "nothing here is reached without the feature")
)]

#[cfg(feature = "p2p")]
pub(crate) mod gateway;
#[cfg(feature = "p2p")]
mod node;
#[cfg(feature = "p2p")]
mod port;
#[cfg(not(feature = "p2p"))]
#[path = "absent.rs"]
mod port;
#[cfg(feature = "p2p")]
pub(crate) mod relay;
#[cfg(feature = "p2p")]
pub(crate) mod sight;
#[cfg(feature = "p2p")]
mod steady;
mod terms;

use bytes::Bytes;
use netplay_proto::{ConnectionId, Key};

pub(crate) use port::{Port, check_id, id_of};
pub(crate) use terms::{Contact, Relays, Terms};

/// Returns the id that a `play+p2p://` listener with this [`p2p_secret`](crate::ListenOptions) has in its URL. Empty where the
/// feature `p2p` is left out.
pub fn endpoint_id(secret: &Key) -> String {
    id_of(secret)
}

/// Something that a port has to tell.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A datagram came through a tunnel.
    Datagram {
        /// Which.
        number: u32,
        /// The datagram.
        bytes: Bytes,
    },
    /// A tunnel is open.
    Opened {
        /// Which.
        number: u32,
        /// Who asked for it; None if the remote side opened it.
        caller: Option<ConnectionId>,
    },
    /// A tunnel carries datagrams of this size at most from now on.
    Size {
        /// Which.
        number: u32,
        /// In bytes.
        size: usize,
    },
    /// A tunnel takes another way.
    Route {
        /// Which.
        number: u32,
        /// From machine to machine, and not through a relay.
        is_direct: bool,
    },
    /// A tunnel has ended.
    Closed {
        /// Which.
        number: u32,
    },
    /// A tunnel could not be opened.
    Failed {
        /// Who asked for it.
        caller: ConnectionId,
    },
}

/// Where a tunnel leads now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Who is at its end, as in a URL.
    pub(crate) remote_id: String,
    /// Whether directly or through a relay; None while that is not known.
    pub(crate) is_direct: Option<bool>,
    /// The address of the remote side, or of the relay.
    pub(crate) address: String,
}
