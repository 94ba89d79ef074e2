//! netplay, by `netplay-proto`, as it comes; and once more without its copies against loss, to show what they cost.

use std::time::Duration;

use netplay_netsim::Node;
use netplay_proto::Payload;
use netplay_proto::{
    Accept, Address, Connect, ConnectionId, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message, Output,
    Path, Timestamp,
};

use crate::rival::{Delivery, Outcome, Rival, SERVER, Side, seed_bytes};

/// netplay with default limits.
pub(crate) const NETPLAY: Rival = Rival {
    name: "netplay",
    server: |_, seed, slots| server(seed, slots, Limits::default()),
    client: |now, seed, node| client(now, seed, node, Limits::default()),
};

/// netplay with the one knob for copies turned to nothing.
pub(crate) const NETPLAY_WITHOUT_COPIES: Rival = Rival {
    name: "netplay, copies off",
    server: |_, seed, slots| server(seed, slots, without_copies()),
    client: |now, seed, node| client(now, seed, node, without_copies()),
};

struct Netplay {
    endpoint: Endpoint,
    connection: Option<ConnectionId>,
    is_connected: bool,
    next_at: Option<Duration>,
}

fn without_copies() -> Limits {
    Limits {
        copies: 0.0,
        ..Limits::default()
    }
}

fn server(seed: u64, slots: usize, limits: Limits) -> Box<dyn Side> {
    let accept = Accept {
        max_peers: slots,
        ..Accept::default()
    };
    Box::new(Netplay::new(seed, SERVER, Some(accept), limits))
}

fn client(now: Duration, seed: u64, node: Node, limits: Limits) -> Box<dyn Side> {
    let mut side = Netplay::new(seed, node, None, limits);
    let options = Connect {
        paths: vec![path(SERVER)],
        timeout: Duration::from_secs(20),
        ..Connect::default()
    };
    side.connection = Some(side.endpoint.connect(timestamp(now), options));
    Box::new(side)
}

impl Netplay {
    fn new(seed: u64, node: Node, accept: Option<Accept>, limits: Limits) -> Self {
        let config = EndpointConfig {
            identity: Identity::from_secret(seed_bytes(seed, node)),
            accept,
            limits,
        };
        Self {
            endpoint: Endpoint::new(config, seed_bytes(seed, !node)),
            connection: None,
            is_connected: false,
            next_at: None,
        }
    }
}

impl Side for Netplay {
    fn send(&mut self, now: Duration, channel: u8, delivery: Delivery, data: &[u8]) {
        let message = Message {
            channel,
            delivery: match delivery {
                Delivery::Reliable => netplay_proto::Delivery::RELIABLE,
                Delivery::Lossy => netplay_proto::Delivery::LOSSY,
            },
            kind: Kind::BYTES,
            data: Payload::copy_from_slice(data),
        };
        if let Some(connection) = self.connection {
            // A connection that is lost shows in the table: its messages never arrive.
            let _ = self.endpoint.send(timestamp(now), connection, &message);
        }
    }

    fn handle_datagram(&mut self, now: Duration, from: Node, bytes: &[u8]) {
        self.endpoint.handle_datagram(timestamp(now), path(from), bytes);
    }

    fn poll(&mut self, now: Duration, outcome: &mut Outcome) {
        loop {
            let timeout = loop {
                match self.endpoint.poll_output(timestamp(now)) {
                    Output::Datagram { path, bytes } => {
                        if let Address::Virtual(to) = path.remote {
                            outcome.datagrams.push((to, bytes.to_vec()));
                        }
                    }
                    Output::Dial { .. } => {}
                    Output::Timeout(timeout) => break timeout,
                }
            };
            self.next_at = timeout.map(|when| Duration::from_micros(when.as_micros()));
            if self.endpoint.events_waiting() == 0 {
                return;
            }
            while let Some((_, event)) = self.endpoint.poll_event() {
                match event {
                    Event::Connected { .. } => self.is_connected = true,
                    Event::Message { data, .. } => outcome.messages.push(data.to_vec()),
                    _ => {}
                }
            }
        }
    }

    fn next_at(&self) -> Option<Duration> {
        self.next_at
    }

    fn is_connected(&self) -> bool {
        self.is_connected
    }
}

fn timestamp(now: Duration) -> Timestamp {
    Timestamp::ZERO + now
}

fn path(node: Node) -> Path {
    Path {
        socket: 0,
        remote: Address::Virtual(node),
    }
}
