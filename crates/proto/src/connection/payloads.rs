//! Any payloads at any time from a remote side that has the keys: nobody panics, and whatever it says, the connection stays
//! within its bounds until it is gone.
//!
//! Payloads are chunks that a sane remote side could say, chunks with numbers from the edges, and bytes by chance; between them
//! the game talks and time passes.

use std::time::Duration;

use crate::payload::Payload;
use netplay_netsim::Random;

use super::{Connection, Opening};
use crate::address::{Address, Path};
use crate::config::Limits;
use crate::endpoint::ConnectionId;
use crate::inbox::Inbox;
use crate::message::{Delivery, Kind, MAX_RELIABLE_SIZE, Message};
use crate::outbox::Outbox;
use crate::session::Session;
use crate::time::Timestamp;
use crate::wire::{
    Chunk, FRAGMENT_SIZE, MAX_DATAGRAM, MIN_DATAGRAM, MessageChunk, Part, emit_ack, fragment_count, fragment_len,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn any_payloads_leave_a_connection_within_its_bounds() {
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let mut target = Target::new(&mut random);
        for _ in 0..100 {
            target.step(&mut random);
        }
        // However it went, nothing is left in the end.
        for _ in 0..60 {
            target.now += SECOND;
            target.settle();
        }
        assert!(target.connection.is_gone(), "seed {seed}");
    }
}

struct Target {
    now: Timestamp,
    connection: Connection,
    inbox: Inbox,
    /// Whether the remote side also says what no sane one could, and so soon ends it.
    is_mad: bool,
    /// The number of the next packet from the remote side.
    next_number: u64,
    sent: u64,
    /// The largest datagram that the path carries.
    size: usize,
}

impl Target {
    fn new(random: &mut Random) -> Self {
        let now = Timestamp::from_millis(1);
        let opening = Opening {
            now,
            id: ConnectionId(1),
            session: session(),
            remote_id: 7,
            path: path(1),
            is_client: random.chance(0.5),
            first_rtt: Duration::from_millis(random.below(100)),
            outbox: Outbox::new(MAX_RELIABLE_SIZE),
        };
        Self {
            now,
            connection: Connection::new(opening, &Limits::default()),
            inbox: Inbox::default(),
            is_mad: random.chance(0.5),
            next_number: 0,
            sent: 0,
            size: MIN_DATAGRAM + random.below((MAX_DATAGRAM - MIN_DATAGRAM + 1) as u64) as usize,
        }
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(9) {
            8 if random.chance(0.1) => {
                self.size = MIN_DATAGRAM + random.below((MAX_DATAGRAM - MIN_DATAGRAM + 1) as u64) as usize;
            }
            0 => self.now += Duration::from_micros(below_one_of(random, &[100, 50_000, 4_000_000])),
            1 => self.talk(random),
            2 if random.chance(0.02) => self.connection.close(self.now, "that was it", &mut self.inbox),
            2 => while self.take() {},
            _ => {
                let mut payload = Vec::new();
                for _ in 0..=random.below(4) {
                    self.put_chunk(random, &mut payload);
                }
                if self.is_mad {
                    payload.truncate(MAX_DATAGRAM);
                }
                // A gap now and then: other packets were lost, or come later and are the replay window's.
                self.next_number += if random.chance(0.1) { random.below(5000) } else { 0 };
                let from = path(if random.chance(0.1) { random.below(4) } else { 1 });
                let number = self.next_number;
                self.next_number += 1;
                if !self.connection.is_gone() {
                    self.connection.consider_path(self.now, from, number, random.next_u64());
                    self.connection
                        .handle_payload(self.now, from, number, &payload, &mut self.inbox);
                }
            }
        }
        self.settle();
    }

    fn talk(&mut self, random: &mut Random) {
        let size = below_one_of(random, &[1, 100, 3_000, 200_000]) as usize;
        let message = Message {
            channel: random.below(3) as u8,
            delivery: any_delivery(random),
            kind: Kind::BYTES,
            data: Payload::from(vec![0; size]),
        };
        let _ = self.connection.send(self.now, message, &mut self.inbox);
    }

    fn take(&mut self) -> bool {
        let Some((_, _, size)) = self.inbox.pop() else {
            return false;
        };
        if let Some(size) = size {
            self.connection.handle_taken(size);
        }
        true
    }

    /// Polls as an endpoint does, until there is nothing more to do now.
    fn settle(&mut self) {
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        let mut turns = 0;
        let is_due = |connection: &Connection, now| connection.deadline().is_some_and(|deadline| deadline <= now);
        while !self.connection.is_gone() && (turns == 0 || is_due(&self.connection, self.now)) {
            turns += 1;
            assert!(turns < 10, "it is due again and again");
            self.connection.handle_timeout(self.now, &mut self.inbox);
            let mut packets = 0;
            while self
                .connection
                .poll_packet(self.now, self.size, &mut payload, &mut out)
                .is_some()
            {
                packets += 1;
                self.sent += 1;
                assert!(out.len() <= self.size && packets < 20_000);
            }
        }
        assert!(self.inbox.len() < 40_000);
    }

    /// Adds a chunk: one that could be true, or one from the edge of what can be said.
    fn put_chunk(&self, random: &mut Random, out: &mut Vec<u8>) {
        match random.below(12) {
            0 => Chunk::Ping.emit(out),
            1 => Chunk::Credit(self.any_number(random, 2 << 20)).emit(out),
            2 => Chunk::PathCheck(random.next_u64()).emit(out),
            3 => Chunk::PathAnswer(random.next_u64()).emit(out),
            4 if random.chance(0.1) => {
                let (reason, detail) = (random.next_u64() as u8, "farewell");
                Chunk::Close { reason, detail }.emit(out);
            }
            5 if self.is_mad && random.chance(0.2) => {
                out.extend((0..random.below(40)).map(|_| random.next_u64() as u8))
            }
            6..=8 => self.put_ack(random, out),
            _ => self.put_message(random, out),
        }
    }

    /// Acknowledges some of what was sent, and now and then what was not.
    fn put_ack(&self, random: &mut Random, out: &mut Vec<u8>) {
        let mut top = if self.is_mad && random.chance(0.02) {
            self.any_number(random, self.sent)
        } else {
            self.sent.saturating_sub(1 + random.below(5))
        };
        let mut ranges = Vec::new();
        for _ in 0..=random.below(40) {
            let low = top.saturating_sub(random.below(4));
            ranges.push((low, top));
            let Some(next) = low.checked_sub(2 + random.below(6)) else {
                break;
            };
            top = next;
        }
        let delay = Duration::from_micros(self.any_number(random, 20_000) >> 8);
        emit_ack(out, delay, ranges.into_iter());
    }

    fn put_message(&self, random: &mut Random, out: &mut Vec<u8>) {
        let (channel, delivery) = (random.below(3) as u8, any_delivery(random));
        let sequence_id = self.any_number(random, 20);
        // A sane sender says the same again.
        let mut again = Random::new(u64::from(channel) << 8 | sequence_id);
        let chance = if self.is_mad { &mut *random } else { &mut again };
        let largest = if self.is_mad && !delivery.is_lossy {
            MAX_RELIABLE_SIZE
        } else {
            60_000
        };
        let size = below_one_of(chance, &[1, 50, 5_000, largest as u64]) as usize;
        let data = vec![0; FRAGMENT_SIZE];
        let (part, len) = if size <= FRAGMENT_SIZE {
            (Part::Whole, size)
        } else {
            let index = random.below(fragment_count(size) as u64) as usize;
            (Part::Fragment { size, index }, fragment_len(size, index))
        };
        let message = MessageChunk {
            channel,
            delivery,
            kind: Kind::BYTES,
            sequence_id,
            part,
            data: &data[..len],
        };
        Chunk::Message(message).emit(out);
    }

    /// Returns a number below a usual bound, or one from the edge of what a varint can say.
    fn any_number(&self, random: &mut Random, usual: u64) -> u64 {
        const LARGEST: u64 = (1 << 62) - 1;
        match random.below(20) {
            0 if self.is_mad => LARGEST - random.below(3),
            1 if self.is_mad => LARGEST >> random.below(62),
            _ => random.below(usual),
        }
    }
}

fn any_delivery(random: &mut Random) -> Delivery {
    Delivery {
        is_lossy: random.chance(0.5),
        is_ordered: random.chance(0.5),
    }
}

fn below_one_of(random: &mut Random, bounds: &[u64]) -> u64 {
    let bound = bounds[random.below(bounds.len() as u64) as usize];
    random.below(bound)
}

fn path(node: u64) -> Path {
    Path {
        socket: 0,
        remote: Address::Virtual(node),
    }
}

fn session() -> Session {
    Session::new(&[3; 32], &[4; 32])
}
