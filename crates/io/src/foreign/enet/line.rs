//! The sockets below ENet: what it hands out goes this way, and what it asks for comes from here.
//!
//! It knows addresses, bans and who must wait; it must not know guests, nor what the bytes say.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use netplay_netsim::Pipe;
use netplay_proto::{Address, Bans, Timestamp};
use rusty_enet::consts::PROTOCOL_MAXIMUM_MTU;
use rusty_enet::{PacketReceived, Socket};

use crate::trains;
use crate::types::SocketStats;
use crate::url::Simulation;

/// Where ENet's datagrams go out and come in.
pub(super) struct Line {
    pub(super) sockets: Vec<Arc<UdpSocket>>,
    /// Strangers may come in.
    pub(super) is_open: bool,
    pub(super) now: Timestamp,
    /// How many datagrams may be read now.
    pub(super) budget: usize,
    buffer: Vec<u8>,
    /// Where in the buffer datagrams of a train are that have not been handed on.
    train: VecDeque<std::ops::Range<usize>>,
    train_remote: Option<SocketAddr>,
    /// The socket that is read next.
    turn: usize,
    pub(super) traffic: BTreeMap<SocketAddr, Traffic>,
    /// When anything was heard last.
    pub(super) heard: Option<Timestamp>,
    pub(super) bans: Bans,
    pub(super) banned: u64,
    pub(super) pipe: Option<Pipe<(SocketAddr, Bytes)>>,
    pub(super) stats: SocketStats,
}

/// What passes between us and one address.
pub(super) struct Traffic {
    pub(super) heard: Timestamp,
    /// The game takes nothing: it must wait.
    pub(super) is_held_up: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

impl Traffic {
    /// Makes that of an address which is heard of now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            heard: now,
            is_held_up: false,
            sent: 0,
            received: 0,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }
}

impl Line {
    /// Makes one without sockets.
    pub(super) fn new(simulation: Option<&Simulation>) -> Self {
        Self {
            sockets: Vec::new(),
            is_open: false,
            now: Timestamp::ZERO,
            budget: 0,
            buffer: vec![0; 65_536],
            train: VecDeque::new(),
            train_remote: None,
            turn: 0,
            traffic: BTreeMap::new(),
            heard: None,
            bans: Bans::default(),
            banned: 0,
            pipe: simulation.map(Simulation::pipe),
            stats: SocketStats::default(),
        }
    }

    /// Returns the socket for the kind of an address.
    pub(super) fn socket_for(&self, address: &SocketAddr) -> Option<&Arc<UdpSocket>> {
        let is_family = |own: SocketAddr| own.is_ipv4() == address.is_ipv4();
        self.sockets
            .iter()
            .find(|socket| socket.local_addr().is_ok_and(is_family))
    }

    /// Makes an address wait, or lets it go on.
    pub(super) fn set_held_up(&mut self, address: SocketAddr, is_held_up: bool) {
        if let Some(traffic) = self.traffic.get_mut(&address) {
            traffic.is_held_up = is_held_up;
        }
    }

    /// Reads the next train; false if there is none, or no budget.
    fn read(&mut self) -> bool {
        let mut tried = 0;
        while tried < self.sockets.len() && self.budget > 0 {
            let socket = &self.sockets[self.turn % self.sockets.len()];
            match trains::receive(socket, &mut self.buffer) {
                Ok(train) => {
                    let start = self.buffer.as_ptr() as usize;
                    let ranges = train.datagrams(&self.buffer).map(|datagram| {
                        let from = datagram.as_ptr() as usize - start;
                        from..from + datagram.len()
                    });
                    self.train.extend(ranges);
                    self.train_remote = Some(train.remote);
                    self.budget = self.budget.saturating_sub(self.train.len());
                    self.stats.datagrams_received += self.train.len() as u64;
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.turn = self.turn.wrapping_add(1);
                    tried += 1;
                }
                Err(_) => {
                    self.stats.receive_errors += 1;
                    self.budget -= 1;
                }
            }
        }
        false
    }

    /// Returns true if a datagram may be looked at, and counts it.
    fn admit(&mut self, remote: SocketAddr, len: usize) -> bool {
        if self.bans.has_address(self.now, Address::Ip(remote)) {
            self.banned += 1;
            return false;
        }
        match self.traffic.get_mut(&remote) {
            Some(traffic) if traffic.is_held_up => return false,
            Some(traffic) => {
                traffic.heard = self.now;
                traffic.received += 1;
                traffic.received_bytes += len as u64;
            }
            None if self.is_open => {}
            None => {
                self.stats.strangers_dropped += 1;
                return false;
            }
        }
        self.heard = Some(self.now);
        true
    }

    fn send_now(&mut self, address: SocketAddr, bytes: &[u8]) {
        let sent = match self.socket_for(&address) {
            Some(socket) => socket.send_to(bytes, address).map(drop),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match sent {
            Ok(()) => self.stats.datagrams_sent += 1,
            // It counts as lost: ENet sends again what matters.
            Err(_) => self.stats.send_errors += 1,
        }
    }

    /// Sends what has been in the simulated network for long enough; returns when there will be more.
    pub(super) fn send_due(&mut self) -> Option<Timestamp> {
        while let Some((address, bytes)) = self
            .pipe
            .as_mut()
            .and_then(|pipe| pipe.receive(self.now.since(Timestamp::ZERO)))
        {
            self.send_now(address, &bytes);
        }
        let next = self.pipe.as_ref().and_then(Pipe::next_at);
        next.map(|at| Timestamp::ZERO + at)
    }
}

impl Socket for Line {
    type Address = SocketAddr;
    type Error = Infallible;

    fn send(&mut self, address: SocketAddr, buffer: &[u8]) -> Result<usize, Infallible> {
        if let Some(traffic) = self.traffic.get_mut(&address) {
            traffic.sent += 1;
            traffic.sent_bytes += buffer.len() as u64;
        }
        match &mut self.pipe {
            Some(pipe) => {
                let item = (address, Bytes::copy_from_slice(buffer));
                pipe.send(self.now.since(Timestamp::ZERO), buffer.len(), item);
            }
            None => self.send_now(address, buffer),
        }
        Ok(buffer.len())
    }

    fn receive(
        &mut self,
        buffer: &mut [u8; PROTOCOL_MAXIMUM_MTU],
    ) -> Result<Option<(SocketAddr, PacketReceived)>, Infallible> {
        loop {
            let (Some(range), Some(remote)) = (self.train.pop_front(), self.train_remote) else {
                if self.read() {
                    continue;
                }
                return Ok(None);
            };
            let len = range.len();
            // ENet sends none that is larger.
            if len > buffer.len() || !self.admit(remote, len) {
                continue;
            }
            buffer[..len].copy_from_slice(&self.buffer[range]);
            return Ok(Some((remote, PacketReceived::Complete(len))));
        }
    }
}
