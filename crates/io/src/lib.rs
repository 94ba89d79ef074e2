//! Sockets, the I/O thread and name resolution around `netplay-proto`. It must not know Python.
//!
//! A map, from the outside in:
//!
//! | module | noun |
//! |---|---|
//! | [`network`] | the handle a game holds |
//! | [`types`], [`error`] | the values that go in and out of it |
//! | [`keys`] | keys, from randomness and from passwords, and as text |

#![allow(clippy::todo)]

pub mod error;
pub mod keys;
pub mod network;
pub mod types;

pub use error::{Error, ListenError, ListenErrorKind, UrlError};
pub use keys::{generate_key, key_from_text, key_to_text};
pub use network::Network;
pub use types::{
    ConnectOptions, ListenOptions, ListenerId, ListenerInfo, ListenerStats, PeerEvent, PeerId, PeerStats, SocketStats,
    Target,
};

/// The words of the protocol that callers of this crate need.
pub use netplay_proto::{
    Delivery, Event, Identity, Key, Kind, Limits, Message, Path, Reason, SendError,
    config::{MAX_DETAIL_LEN, MAX_NAME_LEN},
    message::{MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE},
};
