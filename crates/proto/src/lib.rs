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
//! | [`time`], [`address`] | a moment in microseconds; where a datagram came from |

pub mod address;
pub mod config;
pub mod endpoint;
pub mod message;
pub mod reason;
pub mod time;

pub use address::{Address, Path};
pub use config::{Accept, Connect, EndpointConfig, Identity, Key, Limits};
pub use endpoint::{ConnectionId, ConnectionStats, Endpoint, EndpointStats, Output};
pub use message::{Delivery, Event, Kind, Message, SendError};
pub use reason::Reason;
pub use time::Timestamp;
