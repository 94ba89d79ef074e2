//! Sockets, the I/O thread and name resolution around `netplay-proto`. It must not know Python.
//!
//! A map, from the outside in:
//!
//! | module | noun |
//! |---|---|
//! | [`network`] | the handle a game holds |
//! | [`types`], [`error`] | the values that go in and out of it |
//! | [`url`] | what a game writes to say whom it means |
//! | [`keys`] | keys, from randomness and from passwords, and as text |
//! | `shared` | what the game's threads and the I/O thread share; who drives, who wakes whom |
//! | `wait` | how a thread of the game waits for something to arrive |
//! | `leisure` | whether datagrams trickle or stream in, and how long to pause in a stream |
//! | `thread` | the I/O thread, which stands in while the game is busy |
//! | `driver`, `call`, `send` | all slots and peers, behind one lock; how calls begin, to whom messages go |
//! | `slot` | one protocol endpoint with its sockets |
//! | `socket`, `local` | UDP, and the network inside the process |
//! | `streams`, `dial`, `places` | all streams of a slot; how ways to a remote side are opened, and where it is |
//! | `stream`, `framing`, `web`, `tls` | one stream, and what is spoken on it |
//! | `p2p` | tunnels through routers, by iroh |
//! | `batch`, `trains` | datagrams on their way out together, and several in one call |
//! | [`lan`] | games on the local network: announcing them, finding them |
//! | `foreign` | peers that do not speak netplay: bare datagrams, bare streams, ENet |
//! | `fleeting` | peers that are closed when nothing passes |
//! | [`rooms`] | rooms of equals: their links, which the game does not see, and their members, which it does |
//! | `resolve`, `interfaces` | addresses of others, and our own |

mod batch;
mod call;
mod dial;
mod driver;
pub mod error;
mod fleeting;
mod foreign;
mod framing;
mod interfaces;
pub mod keys;
pub mod lan;
mod leisure;
mod local;
pub mod network;
mod p2p;
mod places;
#[cfg(unix)]
mod promptness;
mod resolve;
pub mod rooms;
mod send;
mod shared;
mod slot;
mod socket;
mod stream;
mod streams;
mod thread;
mod tls;
mod trains;
pub mod types;
pub mod url;
mod wait;
mod web;

pub use error::{Error, ListenError, ListenErrorKind, SendError, UrlError};
pub use interfaces::interface_addresses;
pub use keys::{generate_key, key_from_text, key_to_text};
pub use network::Network;
pub use p2p::endpoint_id;
#[cfg(feature = "p2p")]
pub use p2p::gateway::{Gateway, ask_gateway};
#[cfg(feature = "p2p")]
pub use p2p::relay::{Relay, RelayEvent, RelayOptions};
#[cfg(feature = "p2p")]
pub use p2p::sight::{Sight, sights};
pub use types::{
    ConnectOptions, ListenOptions, ListenerId, ListenerInfo, ListenerStats, PeerEvent, PeerId, PeerStats, SocketStats,
    Target,
};
pub use url::{DEFAULT_PORT, pin_fragment};

/// The words of the protocol that callers of this crate need.
pub use netplay_proto::{
    Ban, Block, Delivery, Event, Identity, IncomingRate, Key, Kind, Limits, Message, NoBan, Origin, Path, Payload,
    Reason, RoomChange, RoomEvent, Seat, Transport,
    config::{MAX_DETAIL_LEN, MAX_NAME_LEN},
    message::{MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE},
};
