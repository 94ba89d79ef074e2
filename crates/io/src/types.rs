//! The values that go in and out of a [`Network`](crate::Network): ids, options, events, numbers. No behaviour.

use std::path::PathBuf;
use std::time::Duration;

use crate::lan::Advertise;
use netplay_proto::{ConnectionStats, EndpointStats, Event, Identity, Key, Limits, Seat, Transport};

/// Names a peer; unique within its network for the network's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// Names a listener; unique within its network for the network's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

/// The terms on which a listener accepts.
#[derive(Clone)]
pub struct ListenOptions {
    /// Our name, told to those who call; at most 64 bytes of UTF-8.
    pub name: String,
    /// The game's version; others are refused. At most 64 bytes of UTF-8.
    pub version: String,
    /// The password that callers need; None lets everyone in.
    pub password: Option<String>,
    /// How many may be connected at once.
    pub max_peers: usize,
    /// Our key pair, by which callers know us again.
    pub identity: Identity,
    /// By what callers may come, if the URL leaves that open; None for all there are.
    pub transports: Option<Vec<Transport>>,
    /// The certificate for `wss` and its key, two PEM files; None for one that is made from our key pair.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `play+p2p://` only: "none", or the URL of the relay to use. None for what the URL says, or else the public ones.
    pub relay: Option<String>,
    /// `play+p2p://` only: the secret that the id in the URL is made from, see [`endpoint_id`](crate::endpoint_id). None for a
    /// new one.
    pub p2p_secret: Option<Key>,
    /// How it is announced on the local network; None for not at all.
    pub advertise: Option<Advertise>,
    /// Bounds and times of every connection.
    pub limits: Limits,
}

/// The terms on which we call.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Our name, told to the one we call; at most 64 bytes of UTF-8.
    pub name: String,
    /// The game's version; at most 64 bytes of UTF-8.
    pub version: String,
    /// The listener's password; None when it has none.
    pub password: Option<String>,
    /// How long to go on asking before the connection fails.
    pub timeout: Duration,
    /// The only server key we accept; None accepts any. A `#k=` in the URL goes before it.
    pub pinned_key: Option<Key>,
    /// Our key pair, by which the other side knows us again; None for one that all calls of the network share.
    pub identity: Option<Identity>,
    /// The seat that we had there by the same key pair, to come back to it.
    pub seat: Option<Seat>,
    /// `play+p2p://` only: "none", or the URL of the relay to use. None for what the URL says, or else the public ones.
    pub relay: Option<String>,
    /// Bounds and times of the connection.
    pub limits: Limits,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            password: None,
            timeout: Duration::from_secs(10),
            pinned_key: None,
            identity: None,
            seat: None,
            relay: None,
            limits: Limits::default(),
        }
    }
}

/// An open listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its id.
    pub id: ListenerId,
    /// Its URL, with the real port.
    pub url: String,
    /// Full URLs to give to other players, the most useful first.
    pub addresses: Vec<String>,
    /// By what callers can come; empty inside the process.
    pub transports: Vec<Transport>,
    /// The SHA-256 of the certificate for `wss`, which `#cert=` in a caller's URL pins; None where `wss` is not served.
    pub certificate: Option<Key>,
    /// The title by which it is announced on the local network, if it is.
    pub title: Option<String>,
}

/// Something that happened to a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerEvent {
    /// The peer. An incoming one is first named by its [`Event::Connected`]; number 0 where the event is about none.
    pub peer: PeerId,
    /// The listener it came in by; None for a peer that we called.
    pub listener: Option<ListenerId>,
    /// What happened.
    pub event: Event,
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every peer the game knows of: incoming ones whose [`Event::Connected`] was taken, and those we called.
    All,
    /// This one.
    One(PeerId),
    /// These. Those that have ended are passed over.
    Many(&'a [PeerId]),
}

/// Numbers about one peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerStats {
    /// What the protocol counted.
    pub connection: ConnectionStats,
    /// What carries the datagrams now: "udp", "tcp", "ws", "wss", "p2p" or "local"; empty while the connection is still being made. Of a
    /// peer that does not speak netplay: "raw udp", "raw tcp" or "enet". Of a member of a room that the host passes messages on to:
    /// "host", and the other numbers are those of the way to the host.
    pub transport: &'static str,
    /// Where the remote side is now, such as "192.0.2.7:5000"; empty while the connection is still being made.
    pub address: String,
    /// Through a tunnel: "direct" if from machine to machine, "relayed" if a relay stands between. None elsewhere, and while that is
    /// not known.
    pub route: Option<&'static str>,
    /// Nobody on the way can read or change what is said.
    pub is_encrypted: bool,
}

/// Numbers about one listener, or about all that a network calls by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// What the protocol counted.
    pub endpoint: EndpointStats,
    /// Peers that are connected now and that the game knows of.
    pub peers: usize,
    /// What the sockets counted.
    pub sockets: SocketStats,
    /// Streams that are open now.
    pub streams: usize,
}

/// Numbers about sockets since they were opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams handed to the operating system.
    pub datagrams_sent: u64,
    /// Errors while receiving, such as a refusal reported by the remote machine. Harmless.
    pub receive_errors: u64,
    /// Datagrams that the operating system would not send. They count as lost.
    pub send_errors: u64,
    /// Datagrams for which a queue inside this process was full. They count as lost.
    pub local_dropped: u64,
    /// Datagrams of strangers for whom there was no place, by a listener that does not speak netplay.
    pub strangers_dropped: u64,
    /// Datagrams for which a stream had no room. They count as lost.
    pub stream_dropped: u64,
    /// Streams that came in.
    pub streams_accepted: u64,
    /// Streams closed because too many were in nobody's use.
    pub streams_refused: u64,
    /// Streams closed because nobody had used them for a while, or they had not said what they are.
    pub streams_idle: u64,
    /// Streams closed because something came that may not.
    pub stream_errors: u64,
    /// How often the operating system had no room for a stream that wanted in.
    pub accept_errors: u64,
}
