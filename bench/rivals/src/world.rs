//! One rival's client and server on a bad network in virtual time, and what became of every message.
//!
//! It drives the two sides and keeps the ledger; it must not know which protocol they speak, nor why messages are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use netplay_netsim::{Conditions, Network, Node};

use crate::rival::{Delivery, Outcome, Rival, SERVER, Side};

/// Where the honest client is.
pub(crate) const CLIENT: Node = 2;

/// A frame of a game at 60 Hz.
pub(crate) const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// When a world begins: not at zero, which some protocols take for "never".
const BEGINNING: Duration = Duration::from_secs(10);

/// The soonest that a side is polled again of its own accord.
const RESOLUTION: Duration = Duration::from_micros(1);

/// A message, by its number in the ledger.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) channel: u8,
    pub(crate) sent_at: Duration,
    pub(crate) arrived_at: Option<Duration>,
}

/// A client and a server of one rival.
pub(crate) struct World<'a> {
    pub(crate) now: Duration,
    pub(crate) network: Network<Vec<u8>>,
    pub(crate) ledger: Vec<Entry>,
    rival: &'a Rival,
    seed: u64,
    server: Box<dyn Side>,
    /// The server's frames do not fall together with the client's.
    server_frame_at: Duration,
    client: Option<Box<dyn Side>>,
    /// The message delivered last, by channel.
    newest: BTreeMap<u8, usize>,
}

impl<'a> World<'a> {
    /// Makes a world with a server in it.
    pub(crate) fn new(rival: &'a Rival, conditions: Conditions, seed: u64, slots: usize) -> Self {
        let phase = netplay_netsim::Random::new(seed).fraction();
        Self {
            now: BEGINNING,
            network: Network::new(conditions, seed),
            ledger: Vec::new(),
            rival,
            seed,
            server: (rival.server)(BEGINNING, seed, slots),
            server_frame_at: BEGINNING + FRAME.mul_f64(phase),
            client: None,
            newest: BTreeMap::new(),
        }
    }

    /// Lets the client come, and returns how long it takes to connect; None if it has not within this time.
    pub(crate) fn connect(&mut self, limit: Duration) -> Option<Duration> {
        self.client = Some((self.rival.client)(self.now, self.seed, CLIENT));
        let began = self.now;
        while !self.client.as_ref().is_some_and(|client| client.is_connected()) {
            if self.now - began > limit {
                return None;
            }
            self.play_frame();
        }
        Some(self.now - began)
    }

    /// Sends the first datagrams of a client at this node, which is then gone.
    pub(crate) fn forge(&mut self, node: Node) {
        let mut client = (self.rival.client)(self.now, self.seed, node);
        let mut outcome = Outcome::default();
        client.handle_frame(self.now);
        client.poll(self.now, &mut outcome);
        for (to, bytes) in outcome.datagrams {
            self.network.send(self.now, node, to, bytes.len(), bytes);
        }
    }

    /// Queues a message of this many bytes at the client. It carries its number in the ledger.
    pub(crate) fn send(&mut self, channel: u8, delivery: Delivery, size: usize) {
        let mut data = (self.ledger.len() as u64).to_be_bytes().to_vec();
        data.resize(size, channel);
        self.ledger.push(Entry {
            channel,
            sent_at: self.now,
            arrived_at: None,
        });
        if let Some(client) = &mut self.client {
            client.send(self.now, channel, delivery, &data);
        }
    }

    /// Ends the client's frame, and runs until its next one.
    pub(crate) fn play_frame(&mut self) {
        if let Some(client) = &mut self.client {
            client.handle_frame(self.now);
        }
        self.run_for(FRAME);
    }

    /// Runs for some time, without frames of the client.
    fn run_for(&mut self, time: Duration) {
        let deadline = self.now + time;
        loop {
            self.settle();
            let client_at = self.client.as_ref().and_then(|client| client.next_at());
            let side_at = [client_at, self.server.next_at()].into_iter().flatten().min();
            let side_at = side_at.map(|at| at.max(self.now + RESOLUTION));
            let next = [self.network.next_at(), side_at, Some(self.server_frame_at)];
            let next = next.into_iter().flatten().min().unwrap_or(deadline);
            if next >= deadline {
                self.now = deadline;
                return;
            }
            self.now = self.now.max(next);
            if self.server_frame_at <= self.now {
                self.server.handle_frame(self.now);
                self.server_frame_at += FRAME;
            }
            while let Some((from, to, bytes)) = self.network.receive(self.now) {
                match (to, &mut self.client) {
                    (SERVER, _) => self.server.handle_datagram(self.now, from, &bytes),
                    (CLIENT, Some(client)) => client.handle_datagram(self.now, from, &bytes),
                    // Whoever's address was forged.
                    _ => {}
                }
            }
        }
    }

    /// Polls both sides: what they send goes to the network, what arrived into the ledger.
    fn settle(&mut self) {
        let mut outcome = Outcome::default();
        self.server.poll(self.now, &mut outcome);
        for (to, bytes) in outcome.datagrams.drain(..) {
            self.network.send(self.now, SERVER, to, bytes.len(), bytes);
        }
        let arrived = std::mem::take(&mut outcome.messages);
        if let Some(client) = &mut self.client {
            client.poll(self.now, &mut outcome);
            for (to, bytes) in outcome.datagrams.drain(..) {
                self.network.send(self.now, CLIENT, to, bytes.len(), bytes);
            }
        }
        for message in arrived {
            let number = u64::from_be_bytes(*message.first_chunk().expect("each message has its number")) as usize;
            let entry = self.ledger.get_mut(number).expect("what arrives was sent");
            assert_eq!(entry.arrived_at, None, "{} delivered a message twice", self.rival.name);
            entry.arrived_at = Some(self.now);
            let channel = entry.channel;
            let newest = self.newest.insert(channel, number);
            assert!(
                newest < Some(number),
                "{} delivered out of order on channel {channel}",
                self.rival.name
            );
        }
    }
}
