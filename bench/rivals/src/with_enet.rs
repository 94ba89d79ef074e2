//! ENet, by `rusty_enet` (the C library translated to Rust): its socket is a pair of queues, its clock is ours.
//!
//! It is served as soon as a datagram arrives and every millisecond, which is the resolution of its clock. Nothing is
//! encrypted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use netplay_netsim::Node;
use rusty_enet::{Address, Event, Host, HostSettings, MTU_MAX, Packet, PacketReceived, PeerID, Socket};

use crate::rival::{CHANNELS, Delivery, Outcome, Rival, SERVER, Side};

/// ENet 1.3 with its defaults.
pub(crate) const ENET: Rival = Rival {
    name: "ENet (rusty_enet)",
    server: |now, seed, slots| Box::new(Enet::new(now, seed, slots)),
    client: |now, seed, node| {
        let mut side = Enet::new(now, seed ^ (node << 8), 1);
        if let Ok(peer) = side.host.connect(At(SERVER), usize::from(CHANNELS), 0) {
            side.peer = Some(peer.id());
        }
        Box::new(side)
    },
};

const RESOLUTION: Duration = Duration::from_millis(1);

struct Enet {
    host: Host<Queues>,
    clock: Rc<Cell<Duration>>,
    incoming: Queue,
    outgoing: Queue,
    peer: Option<PeerID>,
    is_connected: bool,
}

impl Enet {
    fn new(now: Duration, seed: u64, slots: usize) -> Self {
        let clock = Rc::new(Cell::new(now));
        let (incoming, outgoing) = (Rc::default(), Rc::default());
        let socket = Queues {
            incoming: Rc::clone(&incoming),
            outgoing: Rc::clone(&outgoing),
        };
        let settings = HostSettings {
            peer_limit: slots,
            channel_limit: usize::from(CHANNELS),
            time: Box::new({
                let clock = Rc::clone(&clock);
                move || clock.get()
            }),
            seed: Some(seed as u32),
            ..HostSettings::default()
        };
        Self {
            host: Host::new(socket, settings).expect("these settings are within ENet's bounds"),
            clock,
            incoming,
            outgoing,
            peer: None,
            is_connected: false,
        }
    }
}

impl Side for Enet {
    fn send(&mut self, now: Duration, channel: u8, delivery: Delivery, data: &[u8]) {
        self.clock.set(now);
        let packet = match delivery {
            Delivery::Reliable => Packet::reliable(data),
            Delivery::Lossy => Packet::unreliable(data),
        };
        if let Some(peer) = self.peer {
            // A connection that ENet gave up shows in the table: its messages never arrive.
            let _ = self.host.peer_mut(peer).send(channel, &packet);
        }
    }

    fn handle_datagram(&mut self, _now: Duration, from: Node, bytes: &[u8]) {
        self.incoming.borrow_mut().push_back((from, bytes.to_vec()));
    }

    fn poll(&mut self, now: Duration, outcome: &mut Outcome) {
        self.clock.set(now);
        loop {
            match self.host.service() {
                Ok(Some(Event::Connect { .. })) => self.is_connected = true,
                Ok(Some(Event::Receive { packet, .. })) => outcome.messages.push(packet.data().to_vec()),
                Ok(Some(Event::Disconnect { .. })) => {}
                Ok(None) => break,
                Err(never) => match never {},
            }
        }
        outcome.datagrams.extend(self.outgoing.borrow_mut().drain(..));
    }

    fn next_at(&self) -> Option<Duration> {
        let millis = self.clock.get().as_millis() as u64;
        Some(Duration::from_millis(millis) + RESOLUTION)
    }

    fn is_connected(&self) -> bool {
        self.is_connected
    }
}

/// Datagrams, each with the node it came from or goes to.
type Queue = Rc<RefCell<VecDeque<(Node, Vec<u8>)>>>;

/// ENet's socket: what came in waits for it, what it sends waits for us.
struct Queues {
    incoming: Queue,
    outgoing: Queue,
}

impl Socket for Queues {
    type Address = At;
    type Error = Infallible;

    fn send(&mut self, address: At, buffer: &[u8]) -> Result<usize, Infallible> {
        self.outgoing.borrow_mut().push_back((address.0, buffer.to_vec()));
        Ok(buffer.len())
    }

    fn receive(&mut self, buffer: &mut [u8; MTU_MAX]) -> Result<Option<(At, PacketReceived)>, Infallible> {
        Ok(self.incoming.borrow_mut().pop_front().map(|(from, bytes)| {
            buffer[..bytes.len()].copy_from_slice(&bytes);
            (At(from), PacketReceived::Complete(bytes.len()))
        }))
    }
}

/// A node as ENet's address.
#[derive(Clone, Debug)]
struct At(Node);

impl Address for At {
    fn same_host(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn is_broadcast(&self) -> bool {
        false
    }
}
