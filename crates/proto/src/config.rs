//! What a listener or a caller may set, with the defaults and the bounds.

use std::time::Duration;

use crate::address::{Path, Transport};
use crate::door::HandshakeRate;
use crate::rates::IncomingRate;
use crate::session::Renewal;
use crate::wire::Seat;

/// A 32-byte X25519 key, public or secret by context.
pub type Key = [u8; 32];

/// The static key pair of one side.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub(crate) secret: Key,
}

/// What an [`Endpoint`](crate::Endpoint) is made from.
#[derive(Clone)]
pub struct EndpointConfig {
    /// Our own static key.
    pub identity: Identity,
    /// Accept incoming connections, on these terms. None for a side that only calls.
    pub accept: Option<Accept>,
    /// Bounds and times.
    pub limits: Limits,
}

/// The terms on which a listener accepts.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// Our name, told to those who call. At most [`MAX_NAME_LEN`] bytes of UTF-8.
    pub name: String,
    /// The game's version; others are refused. At most [`MAX_NAME_LEN`] bytes of UTF-8.
    pub version: String,
    /// The pre-shared key made from the password; all zeros when there is none.
    pub psk: Key,
    /// How many may be connected at once.
    pub max_peers: usize,
}

/// The terms on which we call.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Our name, told to the one we call. At most [`MAX_NAME_LEN`] bytes of UTF-8.
    pub name: String,
    /// The game's version. At most [`MAX_NAME_LEN`] bytes of UTF-8.
    pub version: String,
    /// The pre-shared key made from the password; all zeros when there is none.
    pub psk: Key,
    /// The only server key we accept; None accepts any.
    pub pinned_key: Option<Key>,
    /// Where the remote side may be, best first. All are tried; the first to answer is used. More may follow by
    /// [`Endpoint::add_path`](crate::Endpoint::add_path).
    pub paths: Vec<Path>,
    /// What may carry datagrams there, best first; each is asked for by [`Output::Dial`](crate::Output). Empty: only `paths`.
    pub transports: Vec<Transport>,
    /// The seat that an earlier process had with the same [`Identity`], to come back to it.
    pub seat: Option<Seat>,
    /// How long to go on asking before the connection fails with [`Reason::NoAnswer`](crate::Reason), or, if no path has
    /// become known by then, with [`Reason::UnknownHost`](crate::Reason).
    pub timeout: Duration,
}

/// The longest name or version, in bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 64;

/// The longest text that travels with a goodbye, in bytes of UTF-8.
pub const MAX_DETAIL_LEN: usize = 200;

/// Bounds and times of every connection of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The largest reliable message, in bytes; from [`MIN_MESSAGE_SIZE`](crate::message::MIN_MESSAGE_SIZE) to
    /// [`MAX_RELIABLE_SIZE`](crate::message::MAX_RELIABLE_SIZE).
    pub message_size: usize,
    /// How long nothing is heard before [`Event::Lost`](crate::Event).
    pub lost_after: Duration,
    /// How long a lost connection is kept before it ends.
    pub grace: Duration,
    /// Reliable bytes that may wait for one remote side before it is disconnected as too slow. Its size bounds memory, not rate.
    pub send_queue: usize,
    /// How many bytes of copies against loss may be sent for each byte of small reliable messages, while a path loses
    /// packets; 0.0 sends none.
    pub copies: f64,
    /// How many bytes a second may be sent to one remote side at most, UDP payload; None: as many as its path carries.
    pub send_rate: Option<u64>,
    /// How fast one remote side may send to us.
    pub incoming: IncomingRate,
    /// How many handshakes one host may begin.
    pub handshakes: HandshakeRate,
    /// When keys are renewed.
    pub renewal: Renewal,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: crate::message::MAX_RELIABLE_SIZE,
            lost_after: Duration::from_secs(3),
            grace: Duration::from_secs(30),
            send_queue: 64 * 1024 * 1024,
            copies: 4.0,
            send_rate: None,
            incoming: IncomingRate::default(),
            handshakes: HandshakeRate::default(),
            renewal: Renewal::default(),
        }
    }
}
