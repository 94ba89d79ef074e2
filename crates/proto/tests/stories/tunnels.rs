//! Tunnels: paths that carry less than the usual datagram, and of which the size changes while messages are under way. What is
//! larger than the tunnel is lost, as it would be.

use std::collections::VecDeque;
use std::time::Duration;

use netplay_proto::wire::{MAX_DATAGRAM, MIN_DATAGRAM};
use netplay_proto::{
    Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message, Output,
    Path, Timestamp, Transport,
};

use crate::world::terms;
use crate::{MS, SECOND};

/// How long a datagram is on its way.
const DELAY: Duration = Duration::from_millis(20);

/// Two endpoints and the tunnel between them.
struct Tunnel {
    now: Timestamp,
    ends: [Endpoint; 2],
    /// What is under way to each end.
    queues: [VecDeque<(Timestamp, Vec<u8>)>; 2],
    client: ConnectionId,
    /// The number of the tunnel that is open, and what it carries.
    number: u32,
    size: usize,
    /// The largest datagram so far since the size changed, and how many did not fit.
    largest: usize,
    misfits: usize,
    texts: [Vec<Vec<u8>>; 2],
    others: Vec<String>,
    server: Option<ConnectionId>,
}

fn path(number: u32) -> Path {
    Path {
        socket: 0,
        remote: Address::Tunnel { number },
    }
}

impl Tunnel {
    fn new(size: usize) -> Self {
        let end = |secret, accept| {
            let config = EndpointConfig {
                identity: Identity::from_secret([secret; 32]),
                accept,
                limits: Limits::default(),
            };
            Endpoint::new(config, [secret + 10; 32])
        };
        let now = Timestamp::from_millis(1);
        let mut ends = [end(1, Some(terms())), end(2, None)];
        let connect = Connect {
            version: terms().version,
            transports: vec![Transport::P2p],
            timeout: SECOND * 10,
            ..Connect::default()
        };
        let client = ends[1].connect(now, connect);
        Self {
            now,
            ends,
            queues: Default::default(),
            client,
            number: 0,
            size,
            largest: 0,
            misfits: 0,
            texts: Default::default(),
            others: Vec::new(),
            server: None,
        }
    }

    fn set_size(&mut self, size: usize) {
        self.size = size;
        self.largest = 0;
        for end in &mut self.ends {
            assert!(end.set_path_size(path(self.number), size));
        }
    }

    /// Ends the tunnel; the client opens another.
    fn cut(&mut self) {
        self.queues = Default::default();
        for end in &mut self.ends {
            end.handle_path_closed(self.now, path(self.number));
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += MS;
            for place in 0..2 {
                while self.queues[place].front().is_some_and(|(at, _)| *at <= self.now) {
                    let (_, bytes) = self.queues[place].pop_front().unwrap();
                    self.ends[place].handle_datagram(self.now, path(self.number), &bytes);
                }
                self.drain(place);
                self.take(place);
            }
        }
    }

    fn drain(&mut self, place: usize) {
        loop {
            match self.ends[place].poll_output(self.now) {
                Output::Datagram { path: to, bytes } => {
                    self.largest = self.largest.max(bytes.len());
                    if to != path(self.number) || bytes.len() > self.size {
                        self.misfits += 1;
                    } else {
                        self.queues[1 - place].push_back((self.now + DELAY, bytes.to_vec()));
                    }
                }
                Output::Dial { id, transport } => {
                    assert_eq!((place, transport), (1, Transport::P2p));
                    self.number += 1;
                    self.set_size(self.size);
                    self.ends[1].add_path(self.now, id, path(self.number));
                }
                Output::Timeout(_) => return,
            }
        }
    }

    fn take(&mut self, place: usize) {
        while let Some((id, event)) = self.ends[place].poll_event() {
            match event {
                Event::Message { data, .. } => self.texts[place].push(data.to_vec()),
                Event::Connected { .. } if place == 0 => self.server = Some(id),
                Event::Connected { .. } => {}
                other => self.others.push(format!("{other:?}")),
            }
        }
    }

    /// Both sides say something of this size.
    fn talk(&mut self, size: usize, delivery: Delivery) {
        for (place, id) in [(0, self.server.expect("it is connected")), (1, self.client)] {
            let message = Message {
                channel: 1,
                delivery,
                kind: Kind::BYTES,
                data: vec![place as u8; size].into(),
            };
            self.ends[place].send(self.now, id, message).unwrap();
        }
    }
}

#[test]
fn messages_of_every_size_fit_through_the_narrowest_tunnel() {
    let mut tunnel = Tunnel::new(MIN_DATAGRAM);
    tunnel.run(SECOND);
    let sizes: Vec<usize> = (1..40).map(|step| step * 57).chain([100_000, 1_000_000]).collect();
    for size in &sizes {
        tunnel.talk(*size, Delivery::RELIABLE);
        tunnel.run(MS * 5);
    }
    tunnel.talk(5_000, Delivery::LOSSY);
    tunnel.run(SECOND * 30);
    for texts in &tunnel.texts {
        let lens: Vec<usize> = texts.iter().map(Vec::len).collect();
        assert_eq!(lens.iter().filter(|len| **len == 5_000).count(), 1, "{lens:?}");
        assert_eq!(
            lens.iter().copied().filter(|len| *len != 5_000).collect::<Vec<_>>(),
            sizes
        );
    }
    assert_eq!(tunnel.misfits, 0);
    assert_eq!(tunnel.others, Vec::<String>::new());
}

#[test]
fn a_tunnel_that_becomes_narrower_loses_nothing_and_is_filled_again_when_it_widens() {
    let mut tunnel = Tunnel::new(MAX_DATAGRAM);
    tunnel.run(SECOND);
    for round in 0..6 {
        let size = if round % 2 == 0 { 1_162 } else { MAX_DATAGRAM + 200 };
        // A large message, and much of it is under way when the size changes.
        tunnel.talk(1_500_000, Delivery::RELIABLE);
        tunnel.run(MS * 15);
        // Two datagrams or so are made before anybody knows: the size is told to the ends a moment later.
        tunnel.size = size;
        tunnel.run(MS * 10);
        tunnel.set_size(size);
        for _ in 0..300 {
            tunnel.talk(20, Delivery::RELIABLE);
            tunnel.run(MS * 10);
        }
        assert!(tunnel.largest <= size.min(MAX_DATAGRAM), "{} of {size}", tunnel.largest);
        assert!(tunnel.largest > 1_100, "{}", tunnel.largest);
    }
    tunnel.run(SECOND * 10);
    for texts in &tunnel.texts {
        assert_eq!(texts.len(), 6 * 301);
    }
    assert_eq!(tunnel.others, Vec::<String>::new());
}

#[test]
fn a_client_whose_tunnel_has_ended_opens_another_and_keeps_its_seat() {
    let mut tunnel = Tunnel::new(1_162);
    tunnel.run(SECOND);
    for round in 0..5 {
        for _ in 0..100 {
            tunnel.talk(900, Delivery::RELIABLE);
            tunnel.run(MS * 10);
        }
        tunnel.cut();
        assert_eq!(tunnel.number, round + 1);
        tunnel.run(MS * 300);
    }
    tunnel.run(SECOND * 5);
    assert_eq!(tunnel.number, 6);
    for texts in &tunnel.texts {
        assert_eq!(texts.len(), 500);
    }
    assert!(
        !tunnel.others.iter().any(|event| event.contains("Disconnected")),
        "{:?}",
        tunnel.others
    );
}

#[test]
fn a_way_that_changes_below_is_told_once_to_those_who_use_it() {
    let mut tunnel = Tunnel::new(1_162);
    tunnel.run(SECOND);
    tunnel.ends[1].handle_route(path(1), true);
    tunnel.ends[1].handle_route(path(7), false);
    tunnel.run(MS);
    assert_eq!(tunnel.others, ["Route { is_direct: true }"]);
}

#[test]
fn a_tunnel_that_is_too_narrow_is_said_to_be() {
    let mut tunnel = Tunnel::new(MIN_DATAGRAM);
    assert!(!tunnel.ends[0].set_path_size(path(1), MIN_DATAGRAM - 1));
    assert!(tunnel.ends[0].set_path_size(path(1), MIN_DATAGRAM));
}
