//! What is fuzzed: one plain function per target, which panics if a promise is broken.
//!
//! They know the public face of `netplay-proto` and nothing of a fuzzer: libFuzzer calls them with what it finds, and
//! `crates/proto/tests/corpus.rs` with what is kept in `corpus/`. The same bytes always do the same.

#![allow(dead_code, reason = "each fuzz target uses one of the bodies")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use netplay_proto::Payload;
use netplay_proto::compact::{RowReader, RowWriter, Steps, Width};
use netplay_proto::room::{Control, Entry, LinkId, Output as RoomOutput, Room, RoomConfig, Roster, Topology};
use netplay_proto::value::{Bounds, EXTENSION_WEIGHT, fold, measure};
use netplay_proto::wire::{Ack, Chunk, Datagram, Introduction};
use netplay_proto::{
    Accept, Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Kind, Limits, Message,
    Output, Path, Reason, Renewal, Timestamp,
};

pub(crate) const SERVER: Path = Path {
    socket: 0,
    remote: Address::Virtual(1),
};
pub(crate) const CLIENT: Path = Path {
    socket: 0,
    remote: Address::Virtual(2),
};
const DELIVERIES: [Delivery; 4] = [
    Delivery::RELIABLE,
    Delivery::RELIABLE_UNORDERED,
    Delivery::LOSSY,
    Delivery::LOSSY_UNORDERED,
];

/// Any bytes as a plain value.
///
/// Nobody panics; a value has no more elements than bytes (by their weight) and than the bound; what is one ends nowhere sooner or later; and
/// what is within tight bounds is within wide ones, with as many elements. With its lists of dicts folded it is no longer, and
/// within the same bounds.
pub(crate) fn value(data: &[u8]) {
    let wide = Bounds::default();
    let tight = Bounds {
        depth: 4,
        elements: 16,
        length: 8,
        int_length: 9,
    };
    if let Ok(elements) = measure(data, &wide) {
        assert!((1..=wide.elements.min(data.len() * EXTENSION_WEIGHT)).contains(&elements));
        let longer = [data, &[0xc0]].concat();
        assert!(measure(&longer, &wide).is_err() && measure(&data[..data.len() - 1], &wide).is_err());
    }
    if let Ok(elements) = measure(data, &tight) {
        assert!(elements <= tight.elements && measure(data, &wide) == Ok(elements));
    }
    for bounds in [wide, tight] {
        let folded = fold(data, &bounds);
        assert_eq!(folded.as_ref().err(), measure(data, &bounds).as_ref().err());
        if let Ok(folded) = folded {
            assert!(folded.len() <= data.len());
            assert_eq!(measure(&folded, &bounds), measure(data, &bounds));
        }
    }
}

/// Any bytes as what others say to a member of a room, or to its host.
///
/// A byte says which: even for a member. The rest is records: by whose link (1: the host, or the first member; another member; a
/// stranger; a newcomer at the door), how many tenths of a second later (1), length (2), control message. The upper two bits of the
/// link make of it a message of the game, one that is passed on (about whom: the first byte), or the end of the link. Nobody
/// panics, and each record wants a bounded number of things done; what others say does not cost a member its host, nor the host
/// its other member; and nobody but the host passes on.
pub(crate) fn room(data: &[u8]) {
    let Some((role, mut rest)) = data.split_first() else {
        return;
    };
    let mut now = Timestamp::from_millis(1);
    let is_host = role % 2 == 1;
    let config = RoomConfig {
        key: [9; 32],
        name: "fuzzed".to_owned(),
        contact: "sim://9".to_owned(),
        topology: Topology::Mesh,
        max_members: 8,
        timeout: Duration::from_secs(20),
        silence: Duration::from_secs(8),
    };
    let mut room = if is_host {
        Room::host(config)
    } else {
        Room::join(now, config)
    };
    let wants = |room: &mut Room, now: Timestamp| -> Vec<RoomOutput> {
        let wants: Vec<RoomOutput> = std::iter::from_fn(|| match room.poll_output(now) {
            RoomOutput::Timeout(_) => None,
            other => Some(other),
        })
        .take(2000)
        .collect();
        assert!(wants.len() < 2000, "a record wants no end of things");
        wants
    };
    wants(&mut room, now);
    let mut links = Vec::new();
    if is_host {
        room.handle_door_open();
        for number in [1u8, 2] {
            let door = room.handle_incoming(now, true, [number; 32], "guest");
            let contact = format!("sim://{number}");
            room.handle_control(now, door, &Control::Knock { contact }.emit());
            room.handle_gone(now, door, Reason::Goodbye, "");
            links.push(room.handle_incoming(now, false, [number; 32], "guest"));
        }
    } else {
        let knock = LinkId(1);
        room.handle_connected(now, knock);
        let roster = room_roster(&[(0, [1; 32]), (1, [2; 32])]);
        room.handle_control(now, knock, &Control::Welcome { order: 2, roster }.emit());
        for output in wants(&mut room, now) {
            if let RoomOutput::Dial { link, .. } = output {
                room.handle_control(now, link, &Control::Admit.emit());
                links.push(link);
            }
        }
        let roster = room_roster(&[(0, [1; 32]), (1, [2; 32]), (2, [9; 32])]);
        room.handle_control(now, links[0], &Control::Roster(roster).emit());
    }
    wants(&mut room, now);
    assert!(room.is_open() && room.joined().count() == 2, "it has begun");
    links.push(room.handle_incoming(now, false, [3; 32], "stranger"));
    links.push(room.handle_incoming(now, true, [4; 32], "newcomer"));
    let mut is_heard = [false; 4];
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        let [link, later, low, high] = *header;
        let (bytes, after) = after.split_at(after.len().min(usize::from(u16::from_le_bytes([low, high]))));
        rest = after;
        now += Duration::from_millis(100) * u32::from(later);
        let (what, link) = (link >> 6, usize::from(link) % 4);
        is_heard[link] = true;
        let about = bytes.first().map_or(0, |byte| u32::from(*byte) % 4);
        match what {
            0 => room.handle_control(now, links[link], bytes),
            1 => {
                let from = room.handle_message(now, links[link]);
                assert!(from.is_none_or(|order| room.joined().any(|other| other == order)));
            }
            2 => {
                let is_believed = room.handle_passed_on(now, links[link], about);
                assert!(
                    !is_believed || (link == 0 && !room.is_host()),
                    "it is not the host that passed it on"
                );
                let passed = room.may_pass_on(links[link], about);
                assert!(passed.is_none_or(|(from, _)| from != about && room.is_host()));
            }
            _ => room.handle_gone(now, links[link], Reason::TimedOut, ""),
        }
        wants(&mut room, now);
    }
    if !is_heard[0] {
        let (first, host) = if is_host { (1, None) } else { (0, Some(0)) };
        assert_eq!(room.remote_host(), host, "the host was put out by another");
        assert!(
            room.joined().any(|order| order == first),
            "a member was put out by another"
        );
    }
}

/// Makes a roster of members with these orders and keys, the first of whom is the host.
pub(crate) fn room_roster(members: &[(u32, [u8; 32])]) -> Roster {
    let entry = |(order, key): &(u32, [u8; 32])| Entry {
        order: *order,
        key: *key,
        name: format!("m{order}"),
        contact: format!("sim://{}", key[0]),
    };
    Roster {
        host: members[0].0,
        version: members.len() as u64,
        topology: Topology::Mesh,
        max_members: 8,
        members: members.iter().map(entry).collect(),
        gone: Vec::new(),
    }
}

/// Any bytes as a row of bits, of any fields.
///
/// A byte says how many fields there are. Each is a byte: `0` and the greatest number (8), or else steps from one `f64` to
/// another by a third. The rest is the row. Nobody panics; what is read and ends with the row is written as the same bytes; and
/// a value has the number it was read from, or its neighbour's where two are the same.
pub(crate) fn rows(data: &[u8]) {
    let mut rest = data;
    let mut take = |size: usize| -> Option<u64> {
        let (first, behind) = rest.split_at_checked(size)?;
        rest = behind;
        Some(first.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let mut fields = Vec::new();
    for _ in 0..take(1).unwrap_or(0) {
        let field = match take(1) {
            None => return,
            Some(0) => take(8).map(|max| (Width::up_to(max), None)),
            Some(_) => {
                let mut float = || take(8).map(f64::from_bits);
                let (Some(min), Some(max), Some(step)) = (float(), float(), float()) else {
                    return;
                };
                Steps::new(min, max, step).map(|steps| (steps.width(), Some(steps)))
            }
        };
        let Some(field) = field else {
            return;
        };
        fields.push(field);
    }
    let row = rest;
    let mut reader = RowReader::new(row);
    let mut writer = RowWriter::default();
    for (width, steps) in fields {
        let Some(number) = reader.read(width) else {
            return;
        };
        writer.write(number, width);
        if let Some(steps) = steps {
            let value = steps.value(number);
            let again = steps.number(value).map(|number| steps.value(number));
            assert_eq!(again, Some(value), "{steps:?} at {number}");
        }
    }
    if reader.is_at_end() {
        writer.end_row();
        assert_eq!(writer.into_bytes(), row);
    }
}

/// Any datagrams at any moments, to a listener and to a caller that waits for an answer.
///
/// Each is a record: 1 byte (`0x01` to the caller instead of the listener, the rest ms that pass), 2 bytes of length, the
/// datagram. Nobody panics, no message comes out of it, and until somebody is connected the listener has never answered with
/// more bytes than it was asked with. (Both have fixed seeds, so the right bytes do connect them; the seeds contain these.)
pub(crate) fn datagram(mut data: &[u8]) {
    let mut now = Timestamp::from_millis(1);
    let mut server = endpoint(1, true);
    let mut client = endpoint(2, false);
    client.connect(now, connect());
    let (mut asked, mut answered) = (0, 0);

    while let [head, low, high, rest @ ..] = data {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (datagram, rest) = rest.split_at(len);
        data = rest;
        now += Duration::from_millis(u64::from(head >> 1));
        answered += outputs(&mut server, now).iter().map(Vec::len).sum::<usize>();
        let _ = outputs(&mut client, now);
        if head & 1 == 0 {
            asked = datagram.len().saturating_add(asked);
            server.handle_datagram(now, CLIENT, datagram);
            answered += outputs(&mut server, now).iter().map(Vec::len).sum::<usize>();
        } else {
            client.handle_datagram(now, SERVER, datagram);
            let _ = outputs(&mut client, now);
        }
        let guests = server.established().count();
        assert!(guests > 0 || answered <= asked, "{answered} bytes answer {asked}");
        assert!(guests <= 4, "{guests} guests have four seats");
        for endpoint in [&mut server, &mut client] {
            while let Some((_, event)) = endpoint.poll_event() {
                assert!(
                    !matches!(event, Event::Message { .. }),
                    "garbage said something: {event:?}"
                );
                if matches!(event, Event::Disconnected { .. }) {
                    (asked, answered) = (usize::MAX, 0); // the goodbye of one who had a seat is no answer to a stranger
                }
            }
        }
    }
}

/// Any bytes for every parser: as a datagram, as the chunks in a packet, and as an introduction in the handshake.
///
/// What can be read is written back as the same bytes, except where the format allows a reader to be lenient.
pub(crate) fn packet(data: &[u8]) {
    let mut again = Vec::new();
    match Datagram::parse(data) {
        Ok(Datagram::Packet { header, sealed }) => {
            header.emit(&mut again);
            assert_eq!(again.len() + sealed.len(), data.len());
            assert!(data.starts_with(&again));
        }
        Ok(datagram) => {
            datagram.emit(&mut again);
            // A question may be longer than it must be, with zeros.
            assert!(
                data.starts_with(&again) && data[again.len()..].iter().all(|&byte| byte == 0),
                "{datagram:?}"
            );
        }
        Err(_) => {}
    }

    again.clear();
    let chunks: Result<Vec<_>, _> = Chunk::parse_all(data).collect();
    for chunk in chunks.iter().flatten() {
        if let Chunk::Ack(ack) = chunk {
            let ranges: Vec<_> = ack.ranges().collect();
            assert!(ranges.len() <= Ack::MAX_RANGES && ranges[0].1 == ack.largest);
            assert!(ranges.iter().all(|(low, high)| low <= high), "{ranges:?}");
            assert!(ranges.windows(2).all(|pair| pair[1].1 + 1 < pair[0].0), "{ranges:?}");
        }
        chunk.emit(&mut again);
    }
    // A delay is capped when it is read, so only what is written back can be expected to stay as it is.
    if let Ok(chunks) = &chunks {
        let reread: Result<Vec<_>, _> = Chunk::parse_all(&again).collect();
        assert_eq!(reread.as_ref(), Ok(chunks));
    }

    if let Ok(introduction) = Introduction::parse(data) {
        again.clear();
        introduction.emit(&mut again);
        assert!(Introduction::parse(&again).is_ok_and(|reread| reread.message_size == introduction.message_size));
    }
}

/// Two endpoints that talk, over a network that the bytes are the fate of: each is one step, see [`Conversation::step`].
///
/// Afterwards the network is good for a while. Then all that was reliable has arrived, once, and in order where order was
/// asked for; and of what was lossy nothing twice, and nothing late where the newest wins.
pub(crate) fn conversation(data: &[u8]) {
    let mut conversation = Conversation::new();
    for &byte in data.iter().take(4096) {
        conversation.step(byte);
    }
    conversation.settle();
}

/// One side of a conversation, and what it must still hear.
struct Side {
    endpoint: Endpoint,
    /// The connection it speaks on: the newest, because a caller whom no answer reaches begins anew.
    id: Option<ConnectionId>,
    /// On the way to this side, oldest first.
    incoming: VecDeque<Vec<u8>>,
    /// Told to this side and not heard yet, by channel and delivery.
    expected: BTreeMap<(u8, Delivery), VecDeque<Payload>>,
    has_ended: bool,
}

impl Side {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            id: None,
            incoming: VecDeque::new(),
            expected: BTreeMap::new(),
            has_ended: false,
        }
    }

    /// Takes in what there is to hear. Returns true if a caller has begun anew, who will not hear what was said before.
    fn hear(&mut self) -> bool {
        let mut is_anew = false;
        while let Some((id, event)) = self.endpoint.poll_event() {
            match event {
                Event::Connected { is_incoming, .. } => {
                    let is_other = self.id.is_some_and(|known| known != id);
                    assert!(is_incoming || !is_other, "one call made two connections");
                    is_anew |= is_other;
                    self.id = Some(id);
                }
                Event::Message {
                    channel,
                    delivery,
                    data,
                    ..
                } => self.hear_message(channel, delivery, &data),
                Event::Disconnected { .. } => self.has_ended |= self.id == Some(id),
                Event::Route { .. } | Event::Room(_) | Event::Lost { .. } | Event::Resumed { .. } => {}
            }
        }
        is_anew
    }

    fn hear_message(&mut self, channel: u8, delivery: Delivery, data: &Payload) {
        let expected = self.expected.entry((channel, delivery)).or_default();
        let at = expected.iter().position(|message| message == data);
        let at = at.unwrap_or_else(|| panic!("twice, late or never said: {delivery:?} on {channel}"));
        if delivery == Delivery::RELIABLE {
            assert_eq!(at, 0, "out of order on {channel}");
        }
        if delivery == Delivery::LOSSY {
            expected.drain(..=at); // what is older must not come any more
        } else {
            expected.remove(at);
        }
    }
}

struct Conversation {
    now: Timestamp,
    /// The listener, then the caller.
    sides: [Side; 2],
    said: u32,
}

impl Conversation {
    fn new() -> Self {
        let now = Timestamp::from_millis(1);
        let mut sides = [Side::new(endpoint(1, true)), Side::new(endpoint(2, false))];
        sides[1].id = Some(sides[1].endpoint.connect(now, connect()));
        let mut conversation = Self { now, sides, said: 0 };
        conversation.carry();
        conversation
    }

    /// Does what one byte says: the low bit is the side it happens to, the next three what happens, the high four how much.
    fn step(&mut self, byte: u8) {
        let side = usize::from(byte & 1);
        let amount = usize::from(byte >> 4);
        let incoming = &mut self.sides[side].incoming;
        match byte >> 1 & 7 {
            0 => self.say(side, amount, 20),
            1 => self.say(side, amount, 3000),
            2 => (0..=amount).for_each(|_| self.deliver(side)),
            3 => drop(incoming.drain(..incoming.len().min(amount + 1))),
            4 => {
                let again: Vec<_> = incoming.iter().take(amount + 1).cloned().collect();
                incoming.extend(again);
            }
            5 => {
                let len = incoming.len().max(1);
                incoming.rotate_left(amount % len);
            }
            6 => {
                if let Some(datagram) = incoming.front_mut() {
                    let len = datagram.len();
                    datagram[amount * 7 % len] ^= 1 << (amount % 8);
                }
            }
            _ => self.now += Duration::from_millis((amount * amount) as u64),
        }
        self.carry();
    }

    /// Says one message; the delivery and the channel follow from the amount. No two messages are the same.
    fn say(&mut self, side: usize, amount: usize, len: usize) {
        let (channel, delivery) = ((amount >> 2) as u8, DELIVERIES[amount & 3]);
        let Some(id) = self.sides[side].id else { return };
        self.said += 1;
        let mut data = vec![self.said as u8; len];
        data[..4].copy_from_slice(&self.said.to_le_bytes());
        let message = Message {
            channel,
            delivery,
            kind: Kind::BYTES,
            data: data.into(),
        };
        if self.sides[side].endpoint.send(self.now, id, &message).is_ok() {
            self.sides[1 - side]
                .expected
                .entry((channel, delivery))
                .or_default()
                .push_back(message.data);
        }
    }

    fn deliver(&mut self, side: usize) {
        if let Some(datagram) = self.sides[side].incoming.pop_front() {
            self.sides[side]
                .endpoint
                .handle_datagram(self.now, [CLIENT, SERVER][side], &datagram);
            self.carry();
        }
    }

    /// Lets both sides do what is due, and puts what they send on its way. The way has a bound, as any network has.
    fn carry(&mut self) {
        for side in 0..2 {
            let sent = outputs(&mut self.sides[side].endpoint, self.now);
            let incoming = &mut self.sides[1 - side].incoming;
            incoming.extend(sent);
            incoming.truncate(1000);
            if self.sides[side].hear() {
                self.sides[1 - side].expected.clear();
            }
        }
    }

    /// Makes the network good, 5 ms each way, and checks that what was promised is kept, within 20 seconds. When all is
    /// there it goes on for two seconds, in which nothing may come twice.
    ///
    /// 20 seconds, because where all there was came late, the least round trip that is known is long too.
    fn settle(&mut self) {
        let mut end = self.now + Duration::from_secs(20);
        let is_missing = |side: &Side| {
            side.expected
                .iter()
                .any(|(key, missing)| !key.1.is_lossy && !missing.is_empty())
        };
        while self.now < end && !self.sides.iter().any(|side| side.has_ended) {
            let next = self
                .sides
                .iter_mut()
                .filter_map(|side| match side.endpoint.poll_output(self.now) {
                    Output::Timeout(when) => when,
                    other => unreachable!("all was carried, but {other:?}"),
                });
            let next = next.min().unwrap_or(end);
            let is_quiet = self.sides.iter().all(|side| side.incoming.is_empty());
            self.now = if is_quiet {
                next.max(self.now + Duration::from_millis(1))
            } else {
                self.now + Duration::from_millis(5)
            };
            for side in 0..2 {
                for _ in 0..self.sides[side].incoming.len() {
                    self.deliver(side);
                }
            }
            self.carry();
            if !self.sides.iter().any(is_missing) {
                end = end.min(self.now + Duration::from_secs(2));
            }
        }
        if self.sides.iter().any(|side| side.has_ended) {
            return; // it was lost for too long on the way, and has said so
        }
        for side in &self.sides {
            for ((channel, delivery), missing) in &side.expected {
                assert!(
                    delivery.is_lossy || missing.is_empty(),
                    "{} never came on {channel}",
                    missing.len()
                );
            }
        }
    }
}

pub(crate) fn endpoint(number: u8, is_listening: bool) -> Endpoint {
    let accept = Accept {
        name: "server".into(),
        max_peers: 4,
        ..Accept::default()
    };
    let config = EndpointConfig {
        identity: Identity::from_secret([number; 32]),
        accept: is_listening.then_some(accept),
        // Keys are renewed as often as can be, so that a conversation has many of them.
        limits: Limits {
            renewal: Renewal {
                packets: 4,
                ..Renewal::default()
            },
            ..Limits::default()
        },
    };
    Endpoint::new(config, [number; 32])
}

pub(crate) fn connect() -> Connect {
    Connect {
        name: "client".into(),
        paths: vec![SERVER],
        timeout: Duration::from_secs(10),
        ..Connect::default()
    }
}

/// Returns what an endpoint wants to send now.
pub(crate) fn outputs(endpoint: &mut Endpoint, now: Timestamp) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while let Output::Datagram { bytes, .. } = endpoint.poll_output(now) {
        assert!(bytes.len() <= 1200, "a datagram of {} bytes", bytes.len());
        sent.push(bytes.to_vec());
        assert!(sent.len() < 100_000, "it never stops sending");
    }
    sent
}
