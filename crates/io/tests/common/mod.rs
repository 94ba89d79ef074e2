//! A side of a conversation, for tests: a network, and every event that it has taken.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use netplay_io::{
    ConnectOptions, Delivery, Event, Identity, Kind, Limits, ListenOptions, ListenerInfo, Message, Network, PeerEvent,
    PeerId, Reason, Target, generate_key,
};

/// Long enough for anything on one machine, even a busy one.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A network and every event that it has taken.
pub struct Side {
    pub network: Network,
    pub events: Vec<PeerEvent>,
}

impl Side {
    pub fn new() -> Self {
        Self {
            network: Network::new(),
            events: Vec::new(),
        }
    }

    pub fn listening(url: &str) -> (Self, ListenerInfo) {
        let side = Self::new();
        let info = side.network.listen(url, listen_options()).unwrap();
        (side, info)
    }

    pub fn calling(url: &str) -> (Self, PeerId) {
        let side = Self::new();
        let peer = side.network.connect(url, connect_options()).unwrap();
        (side, peer)
    }

    /// Takes what has arrived.
    pub fn poll(&mut self) {
        self.network.take(usize::MAX, &mut self.events);
    }

    pub fn send(&self, to: Target<'_>, text: &str) -> usize {
        self.network.send(to, &[], &text_message(text)).unwrap()
    }

    /// The texts received so far, in order.
    pub fn texts(&self) -> Vec<String> {
        let text = |event: &PeerEvent| match &event.event {
            Event::Message { data, .. } => Some(String::from_utf8(data.to_vec()).unwrap()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    /// The peers that connected so far, in order.
    pub fn connected(&self) -> Vec<PeerId> {
        let is_connected = |event: &&PeerEvent| matches!(event.event, Event::Connected { .. });
        self.events
            .iter()
            .filter(is_connected)
            .map(|event| event.peer)
            .collect()
    }

    /// How peers ended so far, in order.
    pub fn endings(&self) -> Vec<(Reason, String)> {
        let ending = |event: &PeerEvent| match &event.event {
            Event::Disconnected { reason, detail } => Some((*reason, detail.clone())),
            _ => None,
        };
        self.events.iter().filter_map(ending).collect()
    }

    /// Waits and takes until something is true of this side.
    pub fn until(&mut self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.poll();
            if is_true(self) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still not: {what}; events: {:?}", self.events);
            self.network.wait(left);
        }
    }
}

/// Lets two sides poll, as two games would, until something is true of them.
pub fn both_until(one: &mut Side, other: &mut Side, what: &str, is_true: impl Fn(&Side, &Side) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        one.poll();
        other.poll();
        if is_true(one, other) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "still not: {what}; {:?} and {:?}",
            one.events,
            other.events
        );
        one.network.wait(Duration::from_millis(5));
    }
}

pub fn listen_options() -> ListenOptions {
    ListenOptions {
        advertise: None,
        name: "listener".into(),
        version: "1".into(),
        password: None,
        max_peers: 64,
        identity: Identity::from_secret(generate_key().unwrap()),
        limits: Limits::default(),
        transports: None,
        certificate: None,
        relay: None,
        p2p_secret: None,
    }
}

pub fn connect_options() -> ConnectOptions {
    ConnectOptions {
        name: "caller".into(),
        version: "1".into(),
        ..ConnectOptions::default()
    }
}

pub fn text_message(text: &str) -> Message {
    Message {
        channel: 1,
        delivery: Delivery::RELIABLE,
        kind: Kind::TEXT,
        data: text.to_owned().into(),
    }
}

/// The URL of a listener on this port, at another host.
pub fn url_at(host: &str, info: &ListenerInfo) -> String {
    format!("play://{host}:{}", info.url.rsplit(':').next().unwrap())
}
