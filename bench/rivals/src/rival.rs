//! What every rival must be able to do to take part: one side of a connection as a state machine in virtual time.
//!
//! It knows moments, channels and bytes; it must not know any of the protocols, nor what the scenarios send.

use std::net::SocketAddr;
use std::time::Duration;

use netplay_netsim::Node;

/// How a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Every message, in the order of sending within its channel.
    Reliable,
    /// May be lost; the nearest that the rival has to "the newest wins".
    Lossy,
}

/// Channels whose delivery is [`Delivery::Reliable`], all four used by the game.
pub(crate) const RELIABLE_CHANNELS: std::ops::Range<u8> = 0..4;

/// The channel whose delivery is [`Delivery::Lossy`].
pub(crate) const LOSSY_CHANNEL: u8 = 4;

/// A reliable channel of its own for the download.
pub(crate) const BULK_CHANNEL: u8 = 5;

/// How many channels there are.
pub(crate) const CHANNELS: u8 = 6;

/// What a side has to say when it is polled.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Datagrams to send, and where to.
    pub(crate) datagrams: Vec<(Node, Vec<u8>)>,
    /// Messages that arrived whole, in the order of arrival.
    pub(crate) messages: Vec<Vec<u8>>,
}

/// One side of a rival's connection. After any of its methods it is polled, and again at [`next_at`](Self::next_at).
pub(crate) trait Side {
    /// Queues a message.
    fn send(&mut self, now: Duration, channel: u8, delivery: Delivery, data: &[u8]);

    /// Takes in a datagram, as soon as it arrives.
    fn handle_datagram(&mut self, now: Duration, from: Node, bytes: &[u8]);

    /// Comes once a frame, after the frame's messages. Only what is made to be driven once a frame listens to it.
    fn handle_frame(&mut self, _now: Duration) {}

    /// Does what is due, and adds what comes of it.
    fn poll(&mut self, now: Duration, outcome: &mut Outcome);

    /// Returns when to poll again at the latest.
    fn next_at(&self) -> Option<Duration>;

    /// Returns true once messages can be sent.
    fn is_connected(&self) -> bool;
}

/// A way to make both sides of a connection.
pub(crate) struct Rival {
    /// What it is called in the tables.
    pub(crate) name: &'static str,
    /// Makes a server for this many players. Its node is [`SERVER`].
    pub(crate) server: fn(now: Duration, seed: u64, slots: usize) -> Box<dyn Side>,
    /// Makes a client at a node, which begins to connect to [`SERVER`] when it is polled.
    pub(crate) client: fn(now: Duration, seed: u64, node: Node) -> Box<dyn Side>,
}

/// Where the server is.
pub(crate) const SERVER: Node = 1;

/// Makes 32 bytes of a seed and the role it is for.
pub(crate) fn seed_bytes(seed: u64, role: u64) -> [u8; 32] {
    let mut random = netplay_netsim::Random::new(seed ^ role.rotate_left(32));
    std::array::from_fn(|_| random.next_u64() as u8)
}

/// Returns the address that stands for a node: its number in the lower bytes of 10.0.0.0/8.
pub(crate) fn address(node: Node) -> SocketAddr {
    let [.., a, b, c] = node.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 5000))
}

/// Returns the node that an address stands for.
pub(crate) fn node(address: SocketAddr) -> Node {
    match address {
        SocketAddr::V4(v4) => Node::from(v4.ip().to_bits() & 0x00ff_ffff),
        SocketAddr::V6(_) => 0,
    }
}
