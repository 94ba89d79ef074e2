//! `udp://`: bare datagrams, one message each, with nothing added. Whoever sends one is a guest.
//!
//! There is no handshake, so a sender may be forged, and a guest is only an address that something came from. What strangers
//! can cost is bounded: so many guests, so many datagrams waiting for each; those beyond are dropped and counted. A guest of
//! a listener that is silent for [`IDLE`] is forgotten, which makes room.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netplay_netsim::Pipe;
use netplay_proto::{Address, Bans, ConnectionStats, Delivery, Event, Kind, Message, Path, Payload, Reason, Timestamp};

use super::{Engine, GuestId, Watch, connected, disconnected, earlier, not_bytes};
use crate::batch::SendBatch;
use crate::error::SendError;
use crate::slot::{Look, Next};
use crate::socket::{Socket, bind_udp};
use crate::trains;
use crate::types::{ListenerStats, PeerStats};
use crate::url::Simulation;

/// The largest datagram: what IPv4 leaves of 64 KiB.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// How long a guest of a listener may be silent.
const IDLE: Duration = Duration::from_secs(30);

/// How many datagrams of one guest wait for the game, and how many bytes; those beyond are dropped.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// How many datagrams wait for the address of a name; those beyond are lost.
const MAX_EARLY: usize = 64;

/// How long a datagram that the operating system has no room for waits.
const RETRY_SEND: Duration = Duration::from_millis(1);

/// After how many errors in a row a socket is left alone until the next time.
const MAX_ERRORS_IN_A_ROW: usize = 64;

/// Speaks bare datagrams: to many, or to the one it calls.
pub(crate) struct Udp {
    sockets: Vec<Socket>,
    /// How many guests there may be; None for one that calls.
    max_guests: Option<usize>,
    guests: BTreeMap<GuestId, Guest>,
    by_address: BTreeMap<SocketAddr, GuestId>,
    last_guest: u64,
    /// What waits for the game, in order.
    events: VecDeque<(GuestId, Event)>,
    bans: Bans,
    pipe: Option<Pipe<(Path, Payload)>>,
    batch: SendBatch,
    buffer: Vec<u8>,
    stats: ListenerStats,
    look_for_idle_at: Timestamp,
}

struct Guest {
    /// None while its name is being resolved.
    path: Option<Path>,
    /// When the call fails that has no address by then.
    deadline: Timestamp,
    early: Vec<Payload>,
    heard: Timestamp,
    waiting: usize,
    waiting_bytes: usize,
    sequence_id: u64,
    stats: ConnectionStats,
}

impl Udp {
    /// Makes one that listens on these sockets.
    pub(crate) fn listening(sockets: Vec<Socket>, max_guests: usize, simulation: Option<&Simulation>) -> Self {
        Self::new(sockets, Some(max_guests), simulation)
    }

    /// Makes one that calls.
    pub(crate) fn calling(simulation: Option<&Simulation>) -> Self {
        Self::new(Vec::new(), None, simulation)
    }

    fn new(sockets: Vec<Socket>, max_guests: Option<usize>, simulation: Option<&Simulation>) -> Self {
        Self {
            sockets,
            max_guests,
            guests: BTreeMap::new(),
            by_address: BTreeMap::new(),
            last_guest: 0,
            events: VecDeque::new(),
            bans: Bans::default(),
            pipe: simulation.map(Simulation::pipe),
            batch: SendBatch::default(),
            buffer: vec![0; 65_536],
            stats: ListenerStats::default(),
            look_for_idle_at: Timestamp::ZERO,
        }
    }

    fn add_guest(&mut self, now: Timestamp, path: Option<Path>, timeout: Duration) -> GuestId {
        self.last_guest += 1;
        let id = GuestId(self.last_guest);
        let guest = Guest {
            path,
            deadline: now + timeout,
            early: Vec::new(),
            heard: now,
            waiting: 0,
            waiting_bytes: 0,
            sequence_id: 0,
            stats: ConnectionStats::default(),
        };
        self.guests.insert(id, guest);
        id
    }

    fn receive(&mut self, now: Timestamp, budget: usize) -> bool {
        let mut left = budget;
        let mut buffer = std::mem::take(&mut self.buffer);
        for number in 0..self.sockets.len() {
            let mut errors_left = MAX_ERRORS_IN_A_ROW;
            while left > 0 && errors_left > 0 {
                let Some(Socket::Udp(socket)) = self.sockets.get(number) else {
                    break;
                };
                match trains::receive(socket, &mut buffer) {
                    Ok(train) => {
                        errors_left = MAX_ERRORS_IN_A_ROW;
                        let path = Path {
                            socket: number as u16,
                            remote: Address::Ip(train.remote),
                        };
                        for datagram in train.datagrams(&buffer) {
                            self.stats.sockets.datagrams_received += 1;
                            left = left.saturating_sub(1);
                            self.handle_datagram(now, path, train.remote, datagram);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refusal from some remote machine, reported here.
                    Err(_) => {
                        errors_left -= 1;
                        left -= 1;
                        self.stats.sockets.receive_errors += 1;
                    }
                }
            }
        }
        self.buffer = buffer;
        left == 0
    }

    fn handle_datagram(&mut self, now: Timestamp, path: Path, remote: SocketAddr, datagram: &[u8]) {
        let id = match self.by_address.get(&remote) {
            Some(id) => *id,
            None => {
                let Some(max_guests) = self.max_guests else {
                    // Not from the one that was called.
                    self.stats.sockets.strangers_dropped += 1;
                    return;
                };
                if self.bans.has_address(now, path.remote) {
                    self.stats.endpoint.banned += 1;
                    return;
                }
                if self.guests.len() >= max_guests {
                    self.stats.sockets.strangers_dropped += 1;
                    return;
                }
                let id = self.add_guest(now, Some(path), Duration::ZERO);
                self.by_address.insert(remote, id);
                self.events.push_back((id, connected(path.socket, remote, true)));
                id
            }
        };
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        guest.heard = now;
        guest.stats.packets_received += 1;
        guest.stats.bytes_received += datagram.len() as u64;
        if guest.waiting >= MAX_WAITING || guest.waiting_bytes + datagram.len() > MAX_WAITING_BYTES {
            guest.stats.lossy_dropped += 1;
            return;
        }
        guest.waiting += 1;
        guest.waiting_bytes += datagram.len();
        let event = Event::Message {
            channel: 0,
            delivery: Delivery::LOSSY_UNORDERED,
            kind: Kind::BYTES,
            sequence_id: guest.sequence_id,
            data: Payload::copy_from_slice(datagram),
        };
        guest.sequence_id += 1;
        self.events.push_back((id, event));
    }

    fn send_datagram(&mut self, now: Timestamp, path: Path, bytes: &Payload) {
        match &mut self.pipe {
            Some(pipe) => drop(pipe.send(now.since(Timestamp::ZERO), bytes.len(), (path, bytes.clone()))),
            None => {
                if !self.batch.is_full() || self.batch.flush(&self.sockets, None, &mut self.stats.sockets) {
                    self.batch.push(path, bytes);
                } else {
                    self.stats.sockets.send_errors += 1;
                }
            }
        }
    }

    /// Sends what is due; returns when more will be.
    fn flush(&mut self, now: Timestamp) -> Option<Timestamp> {
        let mut at = None;
        if let Some(pipe) = &mut self.pipe {
            while let Some((path, bytes)) = pipe.receive(now.since(Timestamp::ZERO)) {
                if self.batch.is_full() && !self.batch.flush(&self.sockets, None, &mut self.stats.sockets) {
                    self.stats.sockets.send_errors += 1;
                    continue;
                }
                self.batch.push(path, &bytes);
            }
            at = pipe.next_at().map(|at| Timestamp::ZERO + at);
        }
        if !self.batch.is_empty() && !self.batch.flush(&self.sockets, None, &mut self.stats.sockets) {
            return Some(now + RETRY_SEND);
        }
        at
    }

    /// Forgets guests that are silent and calls that led nowhere; returns when to look again.
    fn forget_silent(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.guests.is_empty() {
            return None;
        }
        if self.max_guests.is_none() {
            let late: Vec<GuestId> = self
                .guests
                .iter()
                .filter(|(_, guest)| guest.path.is_none() && guest.deadline <= now)
                .map(|(id, _)| *id)
                .collect();
            for id in late {
                self.remove(id, Reason::UnknownHost, "its name could not be resolved in time");
            }
            let waiting = self.guests.values().filter(|guest| guest.path.is_none());
            return waiting.map(|guest| guest.deadline).min();
        }
        if now >= self.look_for_idle_at {
            let silent: Vec<GuestId> = self
                .guests
                .iter()
                .filter(|(_, guest)| now.since(guest.heard) >= IDLE)
                .map(|(id, _)| *id)
                .collect();
            for id in silent {
                self.remove(id, Reason::TimedOut, "");
            }
            self.look_for_idle_at = now + Duration::from_secs(1);
        }
        Some(self.look_for_idle_at)
    }

    fn remove(&mut self, id: GuestId, reason: Reason, detail: &str) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        if let Some(Path {
            remote: Address::Ip(address),
            ..
        }) = guest.path
        {
            self.by_address.remove(&address);
        }
        self.events.push_back((id, disconnected(reason, detail)));
    }
}

/// Returns why a message cannot be a bare datagram.
pub(super) fn refusal(message: &Message) -> Option<SendError> {
    if message.channel != 0 {
        return Some(SendError::NoChannel {
            scheme: "udp",
            channel: message.channel,
            last: 0,
        });
    }
    if message.data.len() > MAX_DATAGRAM {
        return Some(SendError::DatagramTooLarge {
            size: message.data.len(),
            limit: MAX_DATAGRAM,
        });
    }
    not_bytes("udp", message)
}

impl Engine for Udp {
    fn transport(&self) -> &'static str {
        "raw udp"
    }

    fn drive(&mut self, now: Timestamp, look: Look) -> Next {
        let before = self.stats.sockets.datagrams_received;
        let has_more = match look {
            Look::Everywhere { budget } => self.receive(now, budget),
            Look::Inside => false,
        };
        let at = self.flush(now);
        Next {
            at: earlier(at, self.forget_silent(now)),
            has_more,
            received: (self.stats.sockets.datagrams_received - before) as usize,
            is_urgent: false,
        }
    }

    fn events_waiting(&self) -> usize {
        self.events.len()
    }

    fn poll_event(&mut self, _take: u64) -> Option<(GuestId, Event)> {
        let (id, event) = self.events.pop_front()?;
        if let (Event::Message { data, .. }, Some(guest)) = (&event, self.guests.get_mut(&id)) {
            guest.waiting -= 1;
            guest.waiting_bytes -= data.len();
            guest.stats.messages_received += 1;
        }
        Some((id, event))
    }

    fn call(&mut self, now: Timestamp, timeout: Duration) -> GuestId {
        self.add_guest(now, None, timeout)
    }

    fn found(&mut self, now: Timestamp, id: GuestId, addresses: &[SocketAddr]) {
        for address in addresses {
            let own: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let Ok(socket) = bind_udp(own) else {
                continue;
            };
            let Some(guest) = self.guests.get_mut(&id) else {
                return;
            };
            self.sockets.push(Socket::udp(socket));
            let path = Path {
                socket: (self.sockets.len() - 1) as u16,
                remote: Address::Ip(*address),
            };
            guest.path = Some(path);
            let early = std::mem::take(&mut guest.early);
            self.by_address.insert(*address, id);
            self.events.push_back((id, connected(path.socket, *address, false)));
            for bytes in early {
                self.send_datagram(now, path, &bytes);
            }
            return;
        }
        let detail = "this machine has no network that leads to its addresses";
        self.remove(id, Reason::UnknownHost, detail);
    }

    fn refusal(&self, message: &Message) -> Option<SendError> {
        refusal(message)
    }

    fn send(&mut self, now: Timestamp, id: GuestId, message: &Message) -> Result<bool, SendError> {
        let guest = self.guests.get_mut(&id).ok_or(SendError::Closed)?;
        guest.stats.packets_sent += 1;
        guest.stats.bytes_sent += message.data.len() as u64;
        match guest.path {
            Some(path) => self.send_datagram(now, path, &message.data),
            None if message.delivery.is_lossy || guest.early.len() >= MAX_EARLY => return Ok(false),
            None => guest.early.push(message.data.clone()),
        }
        Ok(true)
    }

    fn end(&mut self, _now: Timestamp, id: GuestId, reason: Reason, detail: &str, _is_polite: bool) {
        self.remove(id, reason, detail);
    }

    fn stats(&self, id: GuestId) -> Option<PeerStats> {
        let guest = self.guests.get(&id)?;
        Some(PeerStats {
            connection: guest.stats.clone(),
            transport: self.transport(),
            address: guest.path.map_or_else(String::new, |path| path.remote.to_string()),
            route: None,
            is_encrypted: false,
        })
    }

    fn listener_stats(&self) -> ListenerStats {
        self.stats.clone()
    }

    fn close(&mut self, now: Timestamp) {
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in ids {
            self.remove(id, Reason::Closed, "");
        }
        self.flush(now);
        if self.pipe.as_ref().is_none_or(|pipe| pipe.in_flight() == 0) {
            self.sockets.clear();
        }
        // One that calls has nobody else to come, one that listened takes nobody more.
        self.max_guests = None;
    }

    fn hurry(&mut self, _now: Timestamp) {}

    fn is_done(&self) -> bool {
        self.max_guests.is_none()
            && self.guests.is_empty()
            && self.batch.is_empty()
            && self.pipe.as_ref().is_none_or(|pipe| pipe.in_flight() == 0)
    }

    fn holds_port(&self) -> bool {
        !self.sockets.is_empty()
    }

    fn let_go(&mut self) {
        self.sockets.clear();
    }

    fn has_output(&self) -> bool {
        !self.batch.is_empty()
    }

    fn set_bans(&mut self, now: Timestamp, bans: &Bans) {
        self.bans = bans.clone();
        let is_banned = |guest: &Guest| guest.path.is_some_and(|path| bans.has_address(now, path.remote));
        let banned: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, guest)| is_banned(guest))
            .map(|(id, _)| *id)
            .collect();
        for id in banned {
            self.stats.endpoint.banned += 1;
            self.remove(id, Reason::Banned, "");
        }
    }

    fn watches(&self) -> Vec<Watch> {
        let udp = self.sockets.iter().filter_map(|socket| match socket {
            Socket::Udp(udp) => Some(Watch::Udp(Arc::clone(udp))),
            Socket::Local(_) | Socket::P2p(_) => None,
        });
        udp.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Kinds, Tcp, bind_listener};
    use crate::url::Host;

    fn bytes(data: &'static [u8]) -> Message {
        Message {
            channel: 0,
            delivery: Delivery::RELIABLE,
            kind: Kind::BYTES,
            data: Bytes::from_static(data),
        }
    }

    fn listening(max_guests: usize) -> (Udp, SocketAddr) {
        let kinds = Kinds {
            has_udp: true,
            tcp: Tcp::No,
        };
        let sockets = bind_listener(&Host::Ip(Ipv4Addr::LOCALHOST.into()), 0, kinds)
            .unwrap()
            .udp;
        let address = sockets[0].local_addr().unwrap();
        let udp = Udp::listening(sockets.into_iter().map(Socket::udp).collect(), max_guests, None);
        (udp, address)
    }

    fn sender() -> std::net::UdpSocket {
        std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    const EVERYWHERE: Look = Look::Everywhere { budget: 100_000 };

    #[test]
    fn a_silent_guest_is_forgotten_and_makes_room() {
        let (mut udp, address) = listening(1);
        let (first, second) = (sender(), sender());
        let mut now = Timestamp::ZERO;
        first.send_to(b"one", address).unwrap();
        second.send_to(b"no room", address).unwrap();
        udp.drive(now, EVERYWHERE);
        assert_eq!(udp.guests.len(), 1);
        assert_eq!(udp.stats.sockets.strangers_dropped, 1);
        now += IDLE;
        udp.drive(now, EVERYWHERE);
        assert!(udp.guests.is_empty() && udp.by_address.is_empty());
        assert!(matches!(
            udp.events.back(),
            Some((
                _,
                Event::Disconnected {
                    reason: Reason::TimedOut,
                    ..
                }
            ))
        ));
        second.send_to(b"now", address).unwrap();
        udp.drive(now, EVERYWHERE);
        assert_eq!(udp.guests.len(), 1);
    }

    #[test]
    fn what_waits_for_a_game_that_takes_nothing_is_bounded_for_each_guest() {
        let (mut udp, address) = listening(4);
        let loud = sender();
        for _ in 0..MAX_WAITING / 64 + 8 {
            for _ in 0..64 {
                loud.send_to(&[0; 16], address).unwrap();
            }
            udp.drive(Timestamp::ZERO, EVERYWHERE);
        }
        sender().send_to(b"a quiet one is heard", address).unwrap();
        udp.drive(Timestamp::ZERO, EVERYWHERE);
        // Each of the two has its Connected event.
        assert_eq!(udp.events.len(), MAX_WAITING + 1 + 2);
        let (_, first) = udp.guests.iter().next().unwrap();
        assert_eq!((first.waiting, first.stats.lossy_dropped), (MAX_WAITING, 8 * 64));
        while udp.poll_event(1).is_some() {}
        assert!(udp.guests.values().all(|guest| guest.waiting_bytes == 0));
    }

    #[test]
    fn a_message_that_no_datagram_holds_is_refused_by_name() {
        let (udp, _) = listening(1);
        let large = Message {
            data: vec![0; MAX_DATAGRAM + 1].into(),
            ..bytes(b"")
        };
        assert_eq!(
            udp.refusal(&large),
            Some(SendError::DatagramTooLarge {
                size: 65_508,
                limit: 65_507
            })
        );
        let value = Message {
            kind: Kind::VALUE,
            ..bytes(b"")
        };
        assert_eq!(udp.refusal(&value), Some(SendError::NotBytes { scheme: "udp" }));
        assert_eq!(udp.refusal(&bytes(b"fine")), None);
    }
}
