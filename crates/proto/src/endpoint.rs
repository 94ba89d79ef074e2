//! Many connections behind one set of sockets.

use std::time::Duration;

use crate::address::Path;
use crate::config::{Connect, EndpointConfig};
use crate::message::{Event, Message, SendError};
use crate::reason::Reason;
use crate::time::Timestamp;

/// Names a connection of one endpoint; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send these bytes along this path; then ask again.
    Datagram {
        /// Where to.
        path: Path,
        /// The datagram, at most 1200 bytes.
        bytes: &'a [u8],
    },
    /// Nothing to send. Ask again at this moment or after the next input; None: only after the next input.
    Timeout(Option<Timestamp>),
}

/// Numbers about one connection since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionStats {
    /// Smoothed round trip; zero before the first measurement.
    pub rtt: Duration,
    /// Mean deviation of the round trip.
    pub jitter: Duration,
    /// Share of our packets lost lately, 0.0–1.0.
    pub loss: f64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received that authenticated.
    pub packets_received: u64,
    /// Packets we sent that were declared lost.
    pub packets_lost: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received in packets that authenticated.
    pub bytes_received: u64,
    /// Reliable messages or fragments sent again.
    pub resent: u64,
    /// Reliable bytes accepted by `send` and not acknowledged yet.
    pub queued_bytes: usize,
    /// Messages delivered to the game.
    pub messages_received: u64,
    /// Lossy messages dropped by us because a queue was full, sending or receiving.
    pub lossy_dropped: u64,
    /// Datagrams with our connection id that did not authenticate or were replayed.
    pub bad_packets: u64,
}

/// Numbers about an endpoint since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams that could not be read or belonged to no connection.
    pub bad_datagrams: u64,
    /// First packets answered with a cookie.
    pub cookies_sent: u64,
    /// Handshakes refused, for any reason.
    pub refused: u64,
    /// Connections closed because the remote side broke the rules.
    pub violations: u64,
}

/// Many connections behind one set of sockets, as a pure state machine.
///
/// The contract: push in with [`handle_datagram`](Self::handle_datagram), [`connect`](Self::connect), [`send`](Self::send),
/// [`close`](Self::close); after any of these, or when the last timeout has come, call [`poll_output`](Self::poll_output)
/// until it answers [`Output::Timeout`]. Take events out with [`poll_event`](Self::poll_event) whenever the game wants them:
/// messages wait here, bounded by the credit that each remote side has, and taking them out gives the credit back.
/// `now` never goes backwards from one call to the next.
pub struct Endpoint {
    _config: EndpointConfig,
}

impl Endpoint {
    /// Makes an endpoint. The seed must come from the operating system's randomness, except in a simulation.
    pub fn new(config: EndpointConfig, _seed: [u8; 32]) -> Self {
        Self { _config: config }
    }

    /// Starts to call a remote side; the outcome is [`Event::Connected`] or [`Event::Disconnected`].
    pub fn connect(&mut self, _now: Timestamp, _options: Connect) -> ConnectionId {
        todo!()
    }

    /// Adds a path on which the remote side may be found (a late answer of name resolution). Ignored once connected.
    pub fn add_path(&mut self, _now: Timestamp, _id: ConnectionId, _path: Path) {
        todo!()
    }

    /// Takes in one datagram. Never fails: nonsense is counted.
    pub fn handle_datagram(&mut self, _now: Timestamp, _path: Path, _datagram: &[u8]) {
        todo!()
    }

    /// Returns what to do next, handling the timers that are due first.
    pub fn poll_output(&mut self, _now: Timestamp) -> Output<'_> {
        todo!()
    }

    /// Takes the oldest event out, in the order of arrival over all connections.
    pub fn poll_event(&mut self) -> Option<(ConnectionId, Event)> {
        todo!()
    }

    /// Returns how many events wait.
    pub fn events_waiting(&self) -> usize {
        todo!()
    }

    /// Queues a message on one connection and returns its sequence id. A reliable message on a connection that is still
    /// being made waits for it.
    pub fn send(&mut self, _now: Timestamp, _id: ConnectionId, _message: &Message) -> Result<u64, SendError> {
        todo!()
    }

    /// Closes a connection: reliable messages already sent go first (for at most a second or two), then the goodbye with these
    /// words. [`Event::Disconnected`] with [`Reason::Closed`] follows at once; events still waiting from it stay.
    pub fn close(&mut self, _now: Timestamp, _id: ConnectionId, _detail: &str) {
        todo!()
    }

    /// Ends a connection at once for the remote side's fault, or for a failure found by the caller, with this reason.
    pub fn abort(&mut self, _now: Timestamp, _id: ConnectionId, _reason: Reason, _detail: &str) {
        todo!()
    }

    /// Returns the numbers of a connection, None if it has ended.
    pub fn connection_stats(&self, _id: ConnectionId) -> Option<ConnectionStats> {
        todo!()
    }

    /// Returns the path a connection uses now, None if it has ended or has none yet.
    pub fn connection_path(&self, _id: ConnectionId) -> Option<Path> {
        todo!()
    }

    /// Returns the connections that are made, in the order they were made.
    pub fn established(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        std::iter::empty()
    }

    /// Returns true when no connection is open or still saying goodbye.
    pub fn is_idle(&self) -> bool {
        todo!()
    }

    /// Returns the numbers of the endpoint.
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }
}
