//! Links that end under a running conversation: streams cut at every datagram and at random, stalled, half noticed; ways that
//! open and close, and connections that move between them in the middle of a large message.
//!
//! A world of its own, smaller than the other: one server, one client, streams that are queues, and single datagrams that are
//! let through or not. What must hold is always the same: every reliable message once, in order, no end, bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use netplay_netsim::Random;
use netplay_proto::Payload;
use netplay_proto::{
    Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message, Output,
    Path, Reason, Timestamp, Transport,
};

use crate::world::terms;
use crate::{MS, SECOND};

/// How long a datagram is on its way, and how long a stream takes to open.
const DELAY: Duration = Duration::from_millis(20);

/// The bytes of the large message: in many fragments.
const LARGE: usize = 20_000;

/// How many small messages each side sends, one every 20 ms, and on how many channels.
const COUNT: u64 = 30;
const CHANNELS: u64 = 3;

/// Who learns that a stream was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Both,
    Client,
    Server,
    Nobody,
}

const NOTICES: [Notice; 4] = [Notice::Both, Notice::Client, Notice::Server, Notice::Nobody];

/// A stream that is cut when it has carried so many datagrams, both ways together.
#[derive(Clone, Copy, Debug)]
struct Cut {
    after: u32,
    notice: Notice,
    /// What was under way arrives nevertheless.
    is_clean: bool,
}

/// What the links do.
#[derive(Clone, Debug, Default)]
struct Plan {
    transports: Vec<Transport>,
    /// The fate of the streams, in the order in which they are opened; those after it live for ever.
    cuts: Vec<Cut>,
    /// When single datagrams begin to pass, or stop; they do not at first.
    udp_flips: Vec<Duration>,
    /// From when on no datagrams of the client's arrive, though the server's do.
    deaf_from: Option<Duration>,
    /// When streams can be opened again, after a while in which they cannot.
    closed_until: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Server,
}

/// What arrives somewhere, and when.
enum Arrival {
    Datagram(Path, Payload),
    Opened(ConnectionId, Path),
    NotOpened(ConnectionId, Transport),
    Closed(Path),
}

#[derive(Default)]
struct Stream {
    carried: u32,
    is_cut: bool,
    fate: Option<Cut>,
}

struct Cable {
    now: Duration,
    endpoints: BTreeMap<Side, Endpoint>,
    arrivals: BTreeMap<(Duration, u64), (Side, Arrival)>,
    order: u64,
    streams: Vec<Stream>,
    plan: Plan,
    call: ConnectionId,
    guest: Option<ConnectionId>,
    received: BTreeMap<(Side, u8), VecDeque<Payload>>,
    sent: BTreeMap<(Side, u8), VecDeque<Payload>>,
    events: Vec<(Duration, Side, String)>,
    is_lost: BTreeMap<Side, bool>,
}

fn datagram_path(side: Side) -> Path {
    let ip = if side == Side::Client {
        [192, 0, 2, 1]
    } else {
        [192, 0, 2, 2]
    };
    Path {
        socket: 0,
        remote: Address::Ip((ip, 5000).into()),
    }
}

/// The path by which a side sees a stream.
fn stream_path(number: usize, side: Side) -> Path {
    let Address::Ip(remote) = datagram_path(side).remote else {
        unreachable!("it is one")
    };
    Path {
        socket: 1,
        remote: Address::Stream {
            number: number as u32,
            remote,
        },
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Cable {
    fn new(plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut bytes = || {
            let mut bytes = [0; 32];
            bytes
                .chunks_mut(8)
                .for_each(|chunk| chunk.copy_from_slice(&random.next_u64().to_le_bytes()));
            bytes
        };
        let limits = Limits {
            send_queue: 1 << 20,
            ..Limits::default()
        };
        let mut endpoint = |accept| {
            let config = EndpointConfig {
                identity: Identity::from_secret(bytes()),
                accept,
                limits: limits.clone(),
            };
            Endpoint::new(config, bytes())
        };
        let server = endpoint(Some(terms()));
        let mut client = endpoint(None);
        let options = Connect {
            name: "Ada".into(),
            version: "1".into(),
            transports: plan.transports.clone(),
            timeout: 20 * SECOND,
            ..Connect::default()
        };
        let call = client.connect(Timestamp::ZERO, options);
        Self {
            now: Duration::ZERO,
            endpoints: [(Side::Client, client), (Side::Server, server)].into(),
            arrivals: BTreeMap::new(),
            order: 0,
            streams: Vec::new(),
            plan,
            call,
            guest: None,
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            events: Vec::new(),
            is_lost: BTreeMap::new(),
        }
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::ZERO + self.now
    }

    fn id(&self, side: Side) -> Option<ConnectionId> {
        match side {
            Side::Client => Some(self.call),
            Side::Server => self.guest,
        }
    }

    fn push(&mut self, at: Duration, side: Side, arrival: Arrival) {
        self.order += 1;
        self.arrivals.insert((at, self.order), (side, arrival));
    }

    fn passes_datagrams(&self) -> bool {
        self.plan.udp_flips.iter().filter(|&&flip| flip <= self.now).count() % 2 == 1
    }

    fn dial(&mut self, id: ConnectionId, transport: Transport) {
        if transport == Transport::Udp {
            // Datagrams may be sent at any time; whether they pass is another question.
            self.push(self.now, Side::Client, Arrival::Opened(id, datagram_path(Side::Server)));
        } else if self.now < self.plan.closed_until {
            self.push(self.now + DELAY, Side::Client, Arrival::NotOpened(id, transport));
        } else {
            let number = self.streams.len();
            self.streams.push(Stream {
                fate: self.plan.cuts.get(number).copied(),
                ..Stream::default()
            });
            let opened = Arrival::Opened(id, stream_path(number, Side::Server));
            self.push(self.now + DELAY, Side::Client, opened);
        }
    }

    fn transmit(&mut self, from: Side, path: Path, bytes: Payload) {
        let to = from.other();
        match path.remote {
            Address::Stream { number, .. } => {
                let number = number as usize;
                let stream = &mut self.streams[number];
                if stream.is_cut {
                    return;
                }
                stream.carried += 1;
                let arrival = Arrival::Datagram(stream_path(number, from), bytes);
                match stream.fate {
                    Some(cut) if stream.carried > cut.after => self.cut(number, cut),
                    _ => self.push(self.now + DELAY, to, arrival),
                }
            }
            Address::Ip(_) if from == Side::Client && self.plan.deaf_from.is_some_and(|deaf| deaf <= self.now) => (),
            Address::Ip(_) if self.passes_datagrams() => {
                self.push(self.now + DELAY, to, Arrival::Datagram(datagram_path(from), bytes));
            }
            _ => (),
        }
    }

    fn cut(&mut self, number: usize, cut: Cut) {
        self.streams[number].is_cut = true;
        if !cut.is_clean {
            let is_on_it =
                |path: &Path| matches!(path.remote, Address::Stream { number: other, .. } if other as usize == number);
            self.arrivals
                .retain(|_, (_, arrival)| !matches!(arrival, Arrival::Datagram(path, _) if is_on_it(path)));
        }
        let knows = |side| {
            matches!(
                (cut.notice, side),
                (Notice::Both, _) | (Notice::Client, Side::Client) | (Notice::Server, Side::Server)
            )
        };
        for side in [Side::Client, Side::Server] {
            if knows(side) {
                let closed = Arrival::Closed(stream_path(number, side.other()));
                self.push(self.now + DELAY, side, closed);
            }
        }
    }

    fn send(&mut self, side: Side, channel: u8, data: Payload) {
        if self.id(side).is_some() {
            self.say(side, channel, Delivery::RELIABLE, data.clone());
            self.sent.entry((side, channel)).or_default().push_back(data);
        }
    }

    fn say(&mut self, side: Side, channel: u8, delivery: Delivery, data: Payload) {
        let message = Message {
            channel,
            delivery,
            kind: Kind::BYTES,
            data,
        };
        let (now, id) = (self.timestamp(), self.id(side).expect("it has a peer"));
        let endpoint = self.endpoints.get_mut(&side).unwrap();
        endpoint
            .send(now, id, &message)
            .unwrap_or_else(|error| panic!("{side:?} cannot send: {error}"));
    }

    /// Lets both sides do what is due, and returns when one of them wants to be asked again.
    fn settle(&mut self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for side in [Side::Client, Side::Server] {
            loop {
                let now = self.timestamp();
                let endpoint = self.endpoints.get_mut(&side).unwrap();
                match endpoint.poll_output(now) {
                    Output::Datagram { path, bytes } => {
                        let bytes = Payload::copy_from_slice(bytes);
                        self.transmit(side, path, bytes);
                    }
                    Output::Dial { id, transport } => self.dial(id, transport),
                    Output::Timeout(at) => {
                        let at = at.map(|at| Duration::from_micros(at.as_micros()).max(self.now));
                        next = [next, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
            self.take_events(side);
        }
        next
    }

    fn take_events(&mut self, side: Side) {
        while let Some((id, event)) = self.endpoints.get_mut(&side).unwrap().poll_event() {
            match event {
                Event::Message { delivery, .. } if delivery.is_lossy => continue,
                Event::Message { channel, data, .. } => {
                    let expected = self
                        .sent
                        .get_mut(&(side.other(), channel))
                        .and_then(VecDeque::pop_front);
                    assert!(
                        expected.as_ref() == Some(&data),
                        "{side:?} hears what is not next\n{}",
                        self.story()
                    );
                    self.received.entry((side, channel)).or_default().push_back(data);
                    continue;
                }
                Event::Connected { is_incoming: true, .. } => {
                    assert!(self.guest.is_none(), "a second guest\n{}", self.story());
                    self.guest = Some(id);
                }
                Event::Lost { .. } => {
                    assert!(
                        !self.is_lost.insert(side, true).unwrap_or(false),
                        "lost twice\n{}",
                        self.story()
                    );
                }
                Event::Resumed { .. } => {
                    assert!(
                        self.is_lost.insert(side, false).unwrap_or(false),
                        "resumed twice\n{}",
                        self.story()
                    );
                }
                Event::Disconnected { .. } => panic!("{side:?}: {event:?}\n{}", self.story()),
                Event::Connected { .. } | Event::Route { .. } | Event::Room(_) => (),
            }
            assert_eq!(Some(id), self.id(side), "{side:?} is told {event:?}");
            self.events.push((self.now, side, format!("{event:?}")));
        }
    }

    fn run_until(&mut self, end: Duration, mut is_done: impl FnMut(&Self) -> bool) {
        loop {
            let wanted = self.settle();
            if is_done(self) {
                return;
            }
            let arrives = self.arrivals.keys().next().map(|(at, _)| *at);
            let Some(next) = [wanted, arrives]
                .into_iter()
                .flatten()
                .min()
                .filter(|&next| next <= end)
            else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now);
            while let Some(entry) = self.arrivals.first_entry()
                && entry.key().0 <= self.now
            {
                let (side, arrival) = entry.remove();
                let now = self.timestamp();
                let endpoint = self.endpoints.get_mut(&side).unwrap();
                match arrival {
                    Arrival::Datagram(path, bytes) => endpoint.handle_datagram(now, path, &bytes),
                    Arrival::Opened(id, path) => endpoint.add_path(now, id, path),
                    Arrival::NotOpened(id, transport) => endpoint.handle_no_path(now, id, transport),
                    Arrival::Closed(path) => endpoint.handle_path_closed(now, path),
                }
            }
        }
    }

    /// Plays a conversation while the links do what is planned, and returns when everything has arrived.
    fn converse(&mut self) {
        self.run_until(15 * SECOND, |cable| cable.guest.is_some());
        assert!(self.guest.is_some(), "nobody got in\n{}", self.story());
        for number in 0..COUNT {
            for side in [Side::Client, Side::Server] {
                self.send(
                    side,
                    (number % CHANNELS) as u8,
                    Payload::from(format!("{side:?} {number}")),
                );
                if number == 5 {
                    let pattern = (0..LARGE).map(|at| (at % 251) as u8).collect::<Vec<_>>();
                    self.send(side, 9, pattern.into());
                }
            }
            self.run_until(self.now + 20 * MS, |_| false);
        }
        self.run_until(self.now + 60 * SECOND, |cable| {
            cable.sent.values().all(VecDeque::is_empty)
        });
        let missing: usize = self.sent.values().map(VecDeque::len).sum();
        assert_eq!(missing, 0, "not everything arrived\n{}", self.story());
        // Some time later each knows that the other has everything, and what it had kept is gone.
        self.run_until(self.now + 60 * SECOND, |cable| cable.queued_bytes() == 0);
        assert_eq!(self.queued_bytes(), 0, "\n{}", self.story());
    }

    fn queued_bytes(&self) -> usize {
        let stats = |side| self.endpoints[&side].connection_stats(self.id(side)?);
        let both = [Side::Client, Side::Server].into_iter().filter_map(stats);
        both.map(|stats| stats.queued_bytes).sum()
    }

    fn story(&self) -> String {
        let events: Vec<_> = self.events.iter().map(|event| format!("  {event:?}\n")).collect();
        format!("{:?}\nat {:?}:\n{}", self.plan, self.now, events.concat())
    }
}

fn tcp(cuts: Vec<Cut>) -> Plan {
    Plan {
        transports: vec![Transport::Tcp],
        cuts,
        ..Plan::default()
    }
}

#[test]
fn a_stream_carries_a_conversation_without_loss() {
    let mut cable = Cable::new(tcp(vec![]), 1);
    cable.converse();
    assert_eq!(cable.streams.len(), 1);
    let stats = cable.endpoints[&Side::Client].connection_stats(cable.call).unwrap();
    assert_eq!((stats.packets_lost, stats.resent), (0, 0), "{stats:?}");
}

#[test]
fn a_stream_may_be_cut_after_any_datagram() {
    let length = {
        let mut cable = Cable::new(tcp(vec![]), 1);
        cable.converse();
        cable.streams[0].carried
    };
    assert!(length > 100, "{length}");
    for after in 0..length {
        // The handshake may not be finished yet by then, and nobody needs to notice that.
        for notice in NOTICES {
            let is_clean = after % 2 == 0;
            Cable::new(
                tcp(vec![Cut {
                    after,
                    notice,
                    is_clean,
                }]),
                u64::from(after),
            )
            .converse();
        }
    }
}

#[test]
fn nothing_is_noticed_of_a_stream_that_is_replaced_at_once() {
    let cut = Cut {
        after: 60,
        notice: Notice::Both,
        is_clean: false,
    };
    let mut cable = Cable::new(tcp(vec![cut]), 3);
    cable.converse();
    assert_eq!(cable.streams.len(), 2);
    assert_eq!(cable.events.len(), 2, "{}", cable.story());
}

#[test]
fn a_game_is_told_once_of_a_stream_that_cannot_be_replaced_for_a_while() {
    let cut = Cut {
        after: 60,
        notice: Notice::Both,
        is_clean: false,
    };
    let mut cable = Cable::new(tcp(vec![cut]), 3);
    cable.run_until(SECOND, |cable| cable.guest.is_some());
    cable.plan.closed_until = 8 * SECOND;
    cable.converse();
    for side in [Side::Client, Side::Server] {
        let events = cable.events.iter().filter(|(_, other, _)| *other == side);
        let names: Vec<_> = events
            .map(|(at, _, event)| (*at, event.split(' ').next().unwrap()))
            .collect();
        let [(_, "Connected"), (lost_at, "Lost"), (back_at, "Resumed")] = names[..] else {
            panic!("{side:?}: {}", cable.story())
        };
        assert!(lost_at < 3 * SECOND, "lost at {lost_at:?}");
        assert!(back_at < 15 * SECOND, "back at {back_at:?}");
    }
    let (_, _, lost) = &cable
        .events
        .iter()
        .find(|(.., event)| event.starts_with("Lost"))
        .unwrap();
    assert!(lost.contains(&format!("{:?}", Reason::LinkClosed)), "{lost}");
}

#[test]
fn where_single_datagrams_are_blocked_a_call_gets_in_within_a_second() {
    let plan = Plan {
        transports: vec![Transport::Udp, Transport::Tcp, Transport::Ws],
        ..Plan::default()
    };
    let mut cable = Cable::new(plan, 4);
    cable.run_until(SECOND, |cable| cable.guest.is_some());
    assert!(cable.now < SECOND / 2, "{:?}", cable.now);
    cable.converse();
    assert_eq!(cable.streams.len(), 1, "{}", cable.story());
}

#[test]
fn a_connection_moves_up_to_single_datagrams_when_they_pass_and_down_again_unnoticed() {
    let plan = Plan {
        transports: vec![Transport::Udp, Transport::Tcp],
        udp_flips: vec![5 * SECOND, 40 * SECOND],
        ..Plan::default()
    };
    let mut cable = Cable::new(plan, 5);
    cable.run_until(SECOND, |cable| cable.guest.is_some());
    let path = |cable: &Cable| cable.endpoints[&Side::Client].connection_path(cable.call).unwrap();
    assert!(path(&cable).remote.is_stream());
    cable.run_until(39 * SECOND, |_| false);
    assert!(!path(&cable).remote.is_stream(), "{}", cable.story());
    cable.run_until(45 * SECOND, |_| false);
    assert!(path(&cable).remote.is_stream(), "{}", cable.story());
    assert_eq!(cable.events.len(), 2, "{}", cable.story());
    cable.converse();
}

#[test]
fn a_way_that_carries_one_direction_only_is_left_before_the_game_hears_of_it() {
    let plan = Plan {
        transports: vec![Transport::Udp, Transport::Tcp],
        udp_flips: vec![Duration::ZERO],
        deaf_from: Some(SECOND / 2),
        ..Plan::default()
    };
    let mut cable = Cable::new(plan, 6);
    cable.run_until(SECOND / 4, |_| false);
    let path = |cable: &Cable| cable.endpoints[&Side::Client].connection_path(cable.call).unwrap();
    assert!(!path(&cable).remote.is_stream());
    cable.converse();
    assert!(path(&cable).remote.is_stream(), "{}", cable.story());
    assert_eq!(cable.events.len(), 2, "{}", cable.story());
}

#[test]
fn a_way_of_one_direction_is_left_as_soon_when_the_game_never_stops_sending() {
    for is_lossy in [false, true] {
        let plan = Plan {
            transports: vec![Transport::Udp, Transport::Tcp],
            udp_flips: vec![Duration::ZERO],
            deaf_from: Some(SECOND),
            ..Plan::default()
        };
        let mut cable = Cable::new(plan, 7);
        let is_stream = |cable: &Cable| {
            let path = cable.endpoints[&Side::Client].connection_path(cable.call);
            path.is_some_and(|path| path.remote.is_stream())
        };
        cable.run_until(SECOND / 2, |_| false);
        while cable.now < SECOND || !is_stream(&cable) {
            assert!(cable.now < 5 * SECOND, "it is used still\n{}", cable.story());
            if is_lossy {
                cable.say(Side::Client, 0, Delivery::LOSSY, Payload::from_static(b"here"));
            } else {
                cable.send(Side::Client, 0, Payload::from_static(b"here"));
            }
            cable.run_until(cable.now + 10 * MS, |_| false);
        }
        let lost = cable.events.iter().find(|(.., event)| event.starts_with("Lost"));
        assert!(
            lost.is_none_or(|(_, side, _)| *side == Side::Server),
            "{}",
            cable.story()
        );
    }
}

#[test]
fn ten_thousand_patterns_of_cuts_lose_nothing() {
    let seed = crate::world::seed_from_environment();
    let seeds = seed.map_or(0..10_000, |seed| seed..seed + 1);
    for seed in seeds {
        let mut random = Random::new(seed ^ 0x6375_7473);
        let transports = match random.below(3) {
            0 => vec![Transport::Tcp],
            1 => vec![Transport::Tcp, Transport::Ws],
            _ => vec![Transport::Udp, Transport::Tcp],
        };
        let cuts = (0..random.below(6)).map(|_| Cut {
            after: random.below(120) as u32,
            notice: NOTICES[random.below(4) as usize],
            is_clean: random.below(2) == 0,
        });
        let cuts = cuts.collect();
        let mut at = Duration::ZERO;
        let udp_flips = (0..random.below(5)).map(|_| {
            at += MS * random.below(4000) as u32;
            at
        });
        let plan = Plan {
            transports,
            cuts,
            udp_flips: udp_flips.collect(),
            deaf_from: (random.below(8) == 0).then(|| MS * random.below(3000) as u32),
            closed_until: MS * random.below(3000) as u32 * random.below(2) as u32,
        };
        let plan_text = format!("seed {seed}: {plan:?}");
        let outcome = std::panic::catch_unwind(|| Cable::new(plan, seed).converse());
        assert!(
            outcome.is_ok(),
            "{plan_text}\nthis repeats it:\n  NETPLAY_SEED={seed} cargo test -p netplay-proto --test stories ten_thousand"
        );
    }
}
