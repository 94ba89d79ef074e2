//! Whatever way a connection ends, nothing of it stays in an endpoint's tables.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{ConnectionId, Endpoint, Output};
use crate::address::{Address, Path, Transport};
use crate::config::{Accept, Connect, EndpointConfig, Identity, Limits};
use crate::door::HandshakeRate;
use crate::message::{Delivery, Event, Kind, Message};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::wire::Seat;

const STEP: Duration = Duration::from_millis(10);
const LAG: Duration = Duration::from_millis(20);
const LOST_AFTER: Duration = Duration::from_millis(900);
const GRACE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

struct World {
    now: Timestamp,
    random: ChaCha20Rng,
    client: Endpoint,
    server: Endpoint,
    wire: BTreeMap<(Timestamp, u64), (Side, Vec<u8>)>,
    order: u64,
    /// How many of a hundred datagrams are lost.
    loss: u32,
    call: ConnectionId,
    guest: Option<ConnectionId>,
    seat: Option<Seat>,
    /// The server's game takes nothing.
    is_asleep: bool,
}

fn endpoint(random: &mut ChaCha20Rng, secret: u8, is_server: bool) -> Endpoint {
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    let accept = is_server.then(|| Accept {
        max_peers: 1,
        ..Accept::default()
    });
    let config = EndpointConfig {
        identity: Identity::from_secret([secret; 32]),
        accept,
        limits: Limits {
            lost_after: LOST_AFTER,
            grace: GRACE,
            handshakes: HandshakeRate {
                burst: 1_000_000,
                interval: Duration::from_millis(1),
            },
            ..Limits::default()
        },
    };
    Endpoint::new(config, seed)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        Self {
            now: Timestamp::from_millis(1000),
            client: endpoint(&mut random, 1, false),
            server: endpoint(&mut random, 2, true),
            random,
            wire: BTreeMap::new(),
            order: 0,
            loss: 0,
            call: ConnectionId(u64::MAX),
            guest: None,
            seat: None,
            is_asleep: false,
        }
    }

    fn path(to: Side) -> Path {
        let remote = Address::Virtual(to as u64);
        Path { socket: 0, remote }
    }

    fn connect(&mut self, version: &str, seat: Option<Seat>) {
        self.call = self.client.connect(
            self.now,
            Connect {
                version: version.to_owned(),
                paths: vec![Self::path(Side::Server)],
                transports: vec![Transport::Udp, Transport::Tcp],
                timeout: Duration::from_secs(4),
                seat,
                ..Connect::default()
            },
        );
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            let later = self.wire.split_off(&(now, u64::MAX));
            for (_, (to, bytes)) in std::mem::replace(&mut self.wire, later) {
                let (endpoint, from) = match to {
                    Side::Client => (&mut self.client, Side::Server),
                    Side::Server => (&mut self.server, Side::Client),
                };
                endpoint.handle_datagram(now, Self::path(from), &bytes);
            }
            self.poll(Side::Client);
            self.poll(Side::Server);
        }
    }

    fn poll(&mut self, side: Side) {
        let (now, to) = (
            self.now,
            if side == Side::Client {
                Side::Server
            } else {
                Side::Client
            },
        );
        let endpoint = if side == Side::Client {
            &mut self.client
        } else {
            &mut self.server
        };
        let is_asleep = self.is_asleep && side == Side::Server;
        while !is_asleep && let Some((id, event)) = endpoint.poll_event() {
            if let Event::Connected { remote, .. } = event {
                if side == Side::Server {
                    self.guest = Some(id);
                } else {
                    self.seat = remote.seat;
                }
            }
        }
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 10_000, "something is due again and again at one moment");
            match endpoint.poll_output(now) {
                Output::Datagram { bytes, .. } => {
                    let bytes = bytes.to_vec();
                    if self.random.next_u32() % 100 >= self.loss {
                        self.order += 1;
                        self.wire.insert((now + LAG, self.order), (to, bytes));
                    }
                }
                Output::Dial { id, transport } => endpoint.handle_no_path(now, id, transport),
                Output::Timeout(_) => break,
            }
        }
    }

    fn talk(&mut self) {
        let message = Message {
            channel: 1,
            kind: Kind::BYTES,
            delivery: Delivery::RELIABLE,
            data: vec![7; 3000].into(),
        };
        let _ = self.client.send(self.now, self.call, &message);
        if let Some(guest) = self.guest {
            let _ = self.server.send(self.now, guest, &message);
        }
    }

    fn some_time(&mut self, most: Duration) -> Duration {
        most * (self.random.next_u32() % 1000) / 1000
    }

    /// Lives through one of the ways in which a connection comes and goes.
    fn live(&mut self) {
        let kind = self.random.next_u32() % 10;
        self.loss = if self.random.next_u32().is_multiple_of(3) {
            30
        } else {
            0
        };
        self.guest = None;
        self.connect(if kind == 0 { "another" } else { "" }, None);
        let time = self.some_time(Duration::from_secs(1));
        self.run(time);
        self.talk();
        let restarts = self.random.next_u32() % 4;
        if kind == 1 || restarts == 0 {
            self.server = endpoint(&mut self.random, 2, true);
            self.guest = None;
        } else if kind == 2 || restarts == 1 {
            self.client = endpoint(&mut self.random, 1, false);
            self.connect("", self.seat);
        }
        if kind > 3 {
            self.loss = 100;
            let time = self.some_time(LOST_AFTER + GRACE + Duration::from_secs(2));
            self.run(time);
            self.talk();
            self.loss = 30;
            let time = self.some_time(Duration::from_secs(1));
            self.run(time);
            self.loss = if self.random.next_u32().is_multiple_of(2) {
                100
            } else {
                0
            };
            let time = self.some_time(Duration::from_secs(2));
            self.run(time);
        }
        let (now, guest) = (self.now, self.guest.unwrap_or(ConnectionId(u64::MAX)));
        match self.random.next_u32() % 5 {
            0 => self.client.close(now, self.call, "bye"),
            1 => self.server.close(now, guest, "out"),
            2 => self.client.abort(now, self.call, Reason::BadData, "no"),
            3 => self.server.abort(now, guest, Reason::TooFast, "no"),
            _ => {
                self.client.close(now, self.call, "bye");
                self.server.close(now, guest, "out");
            }
        }
        let time = self.some_time(Duration::from_secs(1));
        self.run(time);
        self.client.close(self.now, self.call, "bye");
    }
}

fn assert_empty(endpoint: &mut Endpoint, whose: &str) {
    assert!(endpoint.is_idle(), "{whose}: a slot is taken");
    let tables = [
        endpoint.calls.len(),
        endpoint.answers.len(),
        endpoint.established.len(),
        endpoint.seats.len(),
        endpoint.ready.len(),
        endpoint.moved.len(),
        endpoint.tickets.len(),
        endpoint.recalls.len(),
        endpoint.dials.len(),
        endpoint.outgoing.len(),
        endpoint.inbox.len(),
    ];
    assert_eq!(tables, [0; 11], "{whose}");
    assert_eq!(endpoint.next_time(), None, "{whose}");
    assert!(endpoint.timers.is_empty(), "{whose}");
}

#[test]
fn nothing_of_hundreds_of_connections_stays_however_they_ended() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        for round in 0..60 {
            world.live();
            if round % 10 == 9 {
                world.loss = 0;
                world.run(Duration::from_secs(15));
                assert_empty(&mut world.client, &format!("client, seed {seed}, round {round}"));
                assert_empty(&mut world.server, &format!("server, seed {seed}, round {round}"));
            }
        }
    }
}

#[test]
fn one_who_forgets_again_and_again_fills_no_memory_of_a_game_that_takes_nothing() {
    let mut world = World::new(1);
    world.connect("", None);
    world.run(Duration::from_secs(1));
    world.guest = None;
    world.is_asleep = true;
    let mut most = 0;
    for _ in 0..10 {
        for _ in 0..400 {
            world.talk();
        }
        world.run(Duration::from_secs(2));
        most = world.server.events_waiting().max(most);
        world.client = endpoint(&mut world.random, 1, false);
        let seat = world.seat;
        world.connect("", seat);
        world.run(Duration::from_secs(1));
    }
    assert!(most * 3000 < 4 << 20, "{most} events wait");
    world.is_asleep = false;
    world.run(Duration::from_secs(20));
    world.connect("", None);
    world.run(Duration::from_secs(1));
    assert_eq!(world.client.established().count(), 1, "it may come again as new");
}
