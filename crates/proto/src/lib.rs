//! The netplay protocol as a pure state machine.
//!
//! This crate knows bytes, time passed in and a seed. It must not know sockets, clocks, threads or Python: the same inputs
//! always give the same outputs, so a lossy minute between two endpoints runs in milliseconds and can be repeated from its seed.
//!
//! A map, from the outside in:
//!
//! | module | noun |
//! |---|---|
//! | [`endpoint`] | many connections behind one set of sockets; where datagrams come in and go out |
//! | [`config`] | what a listener or a caller may set, with the defaults and bounds |
//! | [`message`] | what a game sends, and the event it becomes on the other side |
//! | [`reason`] | why a connection ended |
//! | [`stats`] | numbers to look at |
//! | [`text`] | words made fit to be shown, or to be sent |
//! | [`time`], [`address`] | a moment in microseconds; where a datagram came from |
//! | [`value`] | how deep and how large a plain value is, before anything is made of it |
//! | [`compact`] | numbers of a known range in as few bits as it needs |
//! | [`room`] | a room of equals: who is in it, who is its host, who dials whom |
//! | [`wire`] | the bytes: datagrams, chunks, introductions |
//! | `call`, `answer` | the two sides of a handshake |
//! | `dialer` | which ways to a remote side are opened, and when |
//! | [`block`], [`bans`], `door` | one host's addresses; who may not come in; who may begin a handshake now |
//! | `noise`, `cookie` | its cryptography, the proof of a return path |
//! | `session`, `replay` | the keys it ends with and their renewal, packets that count once |
//! | `connection` | one connection: packets in and out, timers, the goodbye |
//! | `outbox`, `lossy`, `intake`, `inbox` | messages on their way out, on their way in, and waiting for the game |
//! | `lane`, `credit`, `rates` | one channel and delivery; what a remote side may make us hold, and how fast it may send |
//! | `flight`, `acks`, `ranges`, `rtt` | packets under way, acknowledgements owed, the round trip |
//! | `congestion`, `pacer` | how much may be under way; how fast it may go at most |
//! | `loss`, `copies` | what the path loses, and what is sent once more because of it |
//! | `recent` | what arrived last, to make what did not from the sum of several |
//! | `roaming` | whether the remote side has moved to another path |
//! | `rhythm` | whether a stream of packets that was heard has stopped |

mod acks;
pub mod address;
mod answer;
pub mod bans;
pub mod block;
mod call;
pub mod compact;
pub mod config;
mod congestion;
mod connection;
mod cookie;
mod copies;
mod credit;
mod dialer;
mod door;
pub mod endpoint;
mod flight;
mod inbox;
mod intake;
mod lane;
mod loss;
mod lossy;
pub mod message;
mod noise;
mod outbox;
mod pacer;
mod payload;
mod ranges;
mod rates;
pub mod reason;
mod recent;
mod replay;
mod rhythm;
mod roaming;
pub mod room;
mod rtt;
mod session;
pub mod stats;
pub mod text;
pub mod time;
pub mod value;
pub mod wire;

pub use address::{Address, Path, Transport};
pub use bans::{Ban, Bans, NoBan, TooManyBans};
pub use block::{Block, NoBlock};
pub use config::{Accept, Connect, EndpointConfig, Identity, Key, Limits};
pub use door::HandshakeRate;
pub use endpoint::{ConnectionId, Endpoint, Output};
pub use message::{Delivery, Event, Kind, Message, Origin, RemoteSide, RoomChange, RoomEvent, SendError};
pub use payload::Payload;
pub use rates::IncomingRate;
pub use reason::Reason;
pub use session::Renewal;
pub use stats::{ConnectionStats, EndpointStats};
pub use time::Timestamp;
pub use wire::Seat;
