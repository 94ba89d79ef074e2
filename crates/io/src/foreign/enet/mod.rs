//! `enet://`: the protocol of ENet 1.3, by the crate `rusty_enet`, to talk to what speaks it: Godot, LÖVE, pyenet, C.
//!
//! | netplay | ENet |
//! |---|---|
//! | channel 0–254 | channel; both sides have the fewer that one of them asked for |
//! | reliable, ordered or not | reliable, in order |
//! | lossy | unreliable, sequenced; large ones in unreliable fragments |
//! | lossy and unordered | unsequenced |
//! | a number as the words of a close | disconnect data |
//!
//! Nothing is encrypted. ENet drops unreliable packets when the round trip grows, on a path that loses nothing too: this
//! throttle is off here unless the URL asks for it. ENet acknowledges what the game has not taken, so when [`MAX_WAITING`]
//! bytes of a guest wait, its datagrams are not read any more: to ENet a path that is down, which it bears for a while.
//!
//! ENet cannot say when it wants to be asked again, so it is asked often while something is under way.

mod line;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use netplay_proto::{Address, Bans, ConnectionStats, Delivery, Event, Kind, Message, Payload, Reason, Timestamp};
use rusty_enet::consts::{PEER_PACKET_LOSS_SCALE, PEER_PACKET_THROTTLE_SCALE};
use rusty_enet::error::PeerSendError;
use rusty_enet::{EventNoRef, Host, HostSettings, Packet, PacketKind, PeerID};

use self::line::{Line, Traffic};
use super::{Engine, GuestId, Watch, connected, disconnected, earlier, not_bytes};
use crate::error::SendError;
use crate::slot::{Look, Next};
use crate::socket::bind_udp;
use crate::types::{ListenerStats, PeerStats};
use crate::url::Simulation;

/// The most guests of one host: ENet numbers them by twelve bits.
pub(crate) const MAX_GUESTS: usize = 4095;

/// The last channel: ENet has at most 255.
const LAST_CHANNEL: u8 = 254;

/// How many bytes of one guest wait for the game before its datagrams are not read any more. What waits beyond in ENet
/// itself, for fragments that are missing, is as much again.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// What a message counts for beside its bytes while it waits.
const MESSAGE_COST: usize = 64;

/// How often ENet is asked while something is under way, and otherwise.
const BUSY: Duration = Duration::from_millis(5);
const QUIET: Duration = Duration::from_millis(50);

/// How long after the last datagram a host without guests is asked: a stranger may be half way in.
const HALF_WAY: Duration = Duration::from_secs(30);

/// How long one address is tried before the next, where there are several.
const ADDRESS_TURN: Duration = Duration::from_secs(1);

/// How long a polite end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// ENet ends a guest after at least five seconds of silence, and after a goodbye at once.
const SILENCE: Duration = Duration::from_secs(4);

/// How often ENet measures for its throttle, in milliseconds, which is its own default.
const THROTTLE_INTERVAL: u32 = 5000;

/// ENet reads a time of zero as none; ours begin there.
const EPOCH: Duration = Duration::from_secs(10);

/// Speaks ENet: to many, or to the one it calls.
pub(crate) struct Enet {
    host: Host<Line>,
    clock: Arc<AtomicU64>,
    is_listening: bool,
    /// ENet's packet throttle stays as it is.
    has_throttle: bool,
    message_size: usize,
    send_queue: usize,
    guests: BTreeMap<GuestId, Guest>,
    by_peer: BTreeMap<usize, GuestId>,
    last_guest: u64,
    events: VecDeque<(GuestId, Event)>,
    stats: ListenerStats,
}

struct Guest {
    peer: Option<PeerID>,
    address: Option<SocketAddr>,
    call: Option<Call>,
    is_connected: bool,
    /// Its end has been told; until when ENet may take to say goodbye.
    farewell: Option<Timestamp>,
    waiting: usize,
    /// Bytes handed to ENet that it has not let go of: not sent yet, or not acknowledged.
    queued: Arc<AtomicUsize>,
    sequence_ids: BTreeMap<(u8, bool), u64>,
    lossy_dropped: u64,
    messages_received: u64,
}

/// A call on its way.
struct Call {
    addresses: Vec<SocketAddr>,
    next: usize,
    next_at: Timestamp,
    deadline: Timestamp,
    early: Vec<Message>,
    early_bytes: usize,
}

impl Enet {
    /// Makes one that listens on these sockets.
    pub(crate) fn listening(
        sockets: Vec<UdpSocket>,
        max_guests: usize,
        settings: &Settings,
    ) -> Result<Self, io::Error> {
        let mut line = Line::new(settings.simulation.as_ref());
        line.sockets = sockets.into_iter().map(Arc::new).collect();
        line.is_open = true;
        let mut enet = Self::new(line, max_guests, settings)?;
        enet.is_listening = true;
        Ok(enet)
    }

    /// Makes one that calls.
    pub(crate) fn calling(settings: &Settings) -> Result<Self, io::Error> {
        Self::new(Line::new(settings.simulation.as_ref()), 1, settings)
    }

    fn new(line: Line, max_guests: usize, settings: &Settings) -> Result<Self, io::Error> {
        let clock = Arc::new(AtomicU64::new(0));
        let time = Arc::clone(&clock);
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let host_settings = HostSettings {
            peer_limit: max_guests,
            time: Box::new(move || EPOCH + Duration::from_micros(time.load(Relaxed))),
            seed: Some(u32::from_le_bytes(seed)),
            ..HostSettings::default()
        };
        let mut host = Host::new(line, host_settings).map_err(|error| io::Error::other(error.to_string()))?;
        for set in [Host::set_maximum_packet_size, Host::set_maximum_waiting_data] {
            set(&mut host, settings.message_size).map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(Self {
            host,
            clock,
            is_listening: false,
            has_throttle: settings.has_throttle,
            message_size: settings.message_size,
            send_queue: settings.send_queue,
            guests: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            last_guest: 0,
            events: VecDeque::new(),
            stats: ListenerStats::default(),
        })
    }

    fn set_time(&self, now: Timestamp) {
        self.clock.store(now.as_micros(), Relaxed);
    }

    fn add_guest(&mut self, call: Option<Call>) -> GuestId {
        self.last_guest += 1;
        let id = GuestId(self.last_guest);
        self.guests.insert(
            id,
            Guest {
                peer: None,
                address: None,
                call,
                is_connected: false,
                farewell: None,
                waiting: 0,
                queued: Arc::default(),
                sequence_ids: BTreeMap::new(),
                lossy_dropped: 0,
                messages_received: 0,
            },
        );
        id
    }

    fn handle(&mut self, now: Timestamp, event: EventNoRef) {
        match event {
            EventNoRef::Connect { peer, .. } => self.handle_connect(now, peer),
            EventNoRef::Disconnect { peer, data } => self.handle_disconnect(now, peer, data),
            EventNoRef::Receive {
                peer,
                channel_id,
                packet,
            } => self.handle_packet(peer, channel_id, &packet),
        }
    }

    fn handle_connect(&mut self, now: Timestamp, peer: PeerID) {
        let Some(address) = self.host.peer(peer).address() else {
            return;
        };
        if !self.has_throttle {
            // The other side is told, and does the same.
            self.host
                .peer_mut(peer)
                .set_throttle(THROTTLE_INTERVAL, PEER_PACKET_THROTTLE_SCALE, 0);
        }
        let is_incoming = !self.by_peer.contains_key(&peer.0);
        let id = match self.by_peer.get(&peer.0) {
            Some(id) => *id,
            None if !self.is_listening => return self.host.peer_mut(peer).disconnect_now(0),
            None => {
                let id = self.add_guest(None);
                self.by_peer.insert(peer.0, id);
                id
            }
        };
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        guest.peer = Some(peer);
        guest.address = Some(address);
        guest.is_connected = true;
        let early = guest.call.take().map(|call| call.early).unwrap_or_default();
        self.host.socket_mut().traffic.insert(address, Traffic::new(now));
        self.events.push_back((id, connected(0, address, is_incoming)));
        for message in early {
            // What can be wrong with it ends the guest by an event.
            let _ = self.send(now, id, &message);
        }
    }

    fn handle_disconnect(&mut self, now: Timestamp, peer: PeerID, data: u32) {
        let Some(id) = self.by_peer.remove(&peer.0) else {
            return;
        };
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        guest.peer = None;
        if let Some(call) = &mut guest.call {
            // ENet has given up; a server that is started meanwhile is to be found.
            call.next_at = now;
            return;
        }
        let heard = guest.address.and_then(|address| {
            self.host
                .socket_mut()
                .traffic
                .get(&address)
                .map(|traffic| traffic.heard)
        });
        let is_silent = heard.is_none_or(|heard| now.since(heard) >= SILENCE);
        let reason = if is_silent { Reason::TimedOut } else { Reason::Goodbye };
        let detail = if data == 0 { String::new() } else { data.to_string() };
        self.remove(id, reason, &detail);
    }

    fn handle_packet(&mut self, peer: PeerID, channel: u8, packet: &Packet) {
        let Some(id) = self.by_peer.get(&peer.0).copied() else {
            return;
        };
        let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.farewell.is_none()) else {
            return;
        };
        let delivery = delivery_of(packet);
        let data = packet.data();
        if delivery.is_lossy && guest.waiting + data.len() > MAX_WAITING {
            guest.lossy_dropped += 1;
            return;
        }
        guest.waiting += data.len() + MESSAGE_COST;
        if guest.waiting > MAX_WAITING
            && let Some(address) = guest.address
        {
            self.host.socket_mut().set_held_up(address, true);
        }
        let sequence = guest.sequence_ids.entry((channel, delivery.is_lossy)).or_default();
        let event = Event::Message {
            channel,
            delivery,
            kind: Kind::BYTES,
            sequence_id: *sequence,
            data: Payload::copy_from_slice(data),
        };
        *sequence += 1;
        self.events.push_back((id, event));
    }

    /// Goes on with calls and goodbyes; returns when to look again.
    fn work(&mut self, now: Timestamp) -> Option<Timestamp> {
        let ids: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.call.is_some() || guest.farewell.is_some())
            .map(|(id, _)| *id)
            .collect();
        let mut at = None;
        for id in ids {
            let Some(guest) = self.guests.get_mut(&id) else {
                continue;
            };
            if let Some(until) = guest.farewell {
                if until <= now {
                    self.leave(id);
                    self.guests.remove(&id);
                } else {
                    at = earlier(at, Some(until));
                }
                continue;
            }
            let Some(call) = &mut guest.call else {
                continue;
            };
            if call.deadline <= now {
                let (reason, detail) = match call.addresses.is_empty() {
                    true => (Reason::UnknownHost, "its name could not be resolved in time"),
                    false => (Reason::NoAnswer, ""),
                };
                self.leave(id);
                self.remove(id, reason, detail);
                continue;
            }
            if call.next_at <= now && !call.addresses.is_empty() {
                let address = call.addresses[call.next % call.addresses.len()];
                call.next += 1;
                call.next_at = match call.addresses.len() {
                    1 => call.deadline,
                    _ => now + ADDRESS_TURN,
                };
                self.leave(id);
                self.dial(now, id, address);
            }
            let call = self.guests.get(&id).and_then(|guest| guest.call.as_ref());
            at = call.map_or(at, |call| earlier(at, Some(call.deadline.min(call.next_at.max(now)))));
        }
        at
    }

    fn dial(&mut self, now: Timestamp, id: GuestId, address: SocketAddr) {
        let line = self.host.socket_mut();
        line.traffic.clear();
        line.traffic.insert(address, Traffic::new(now));
        if let Ok(peer) = self.host.connect(address, usize::from(LAST_CHANNEL) + 1, 0) {
            let peer = peer.id();
            self.by_peer.insert(peer.0, id);
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.peer = Some(peer);
            }
        }
    }

    /// Makes ENet forget a guest, telling it once.
    fn leave(&mut self, id: GuestId) {
        if let Some(guest) = self.guests.get_mut(&id)
            && let Some(peer) = guest.peer.take()
        {
            self.by_peer.remove(&peer.0);
            self.host.peer_mut(peer).disconnect_now(0);
            self.host.peer_mut(peer).reset();
        }
    }

    fn remove(&mut self, id: GuestId, reason: Reason, detail: &str) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        if let Some(address) = guest.address {
            let line = self.host.socket_mut();
            line.traffic.remove(&address);
            line.set_held_up(address, false);
        }
        if guest.farewell.is_none() {
            self.events.push_back((id, disconnected(reason, detail)));
        }
    }

    fn is_busy(&self) -> bool {
        self.guests
            .values()
            .any(|guest| !guest.is_connected || guest.farewell.is_some() || guest.queued.load(Relaxed) > 0)
    }
}

/// What a host is made with.
pub(crate) struct Settings {
    pub(crate) message_size: usize,
    pub(crate) send_queue: usize,
    pub(crate) has_throttle: bool,
    pub(crate) simulation: Option<Simulation>,
}

impl Engine for Enet {
    fn transport(&self) -> &'static str {
        "enet"
    }

    fn drive(&mut self, now: Timestamp, look: Look) -> Next {
        self.set_time(now);
        let call_at = self.work(now);
        let line = self.host.socket_mut();
        line.now = now;
        line.budget = match look {
            Look::Everywhere { budget } => budget,
            Look::Inside => 0,
        };
        let has_budget = line.budget > 0;
        let before = line.stats.datagrams_received;
        // A line reports no errors.
        while let Ok(Some(event)) = self.host.service() {
            let event = event.no_ref();
            self.handle(now, event);
        }
        let line = self.host.socket_mut();
        let pipe_at = line.send_due();
        let has_more = has_budget && line.budget == 0;
        let received = (line.stats.datagrams_received - before) as usize;
        let is_half_way = line.heard.is_some_and(|heard| now.since(heard) < HALF_WAY);
        let tick = if self.is_busy() {
            Some(now + BUSY)
        } else {
            (is_half_way || !self.guests.is_empty()).then_some(now + QUIET)
        };
        Next {
            at: earlier(earlier(pipe_at, tick), call_at),
            has_more,
            received,
            is_urgent: received > 0,
        }
    }

    fn events_waiting(&self) -> usize {
        self.events.len()
    }

    fn poll_event(&mut self, _take: u64) -> Option<(GuestId, Event)> {
        let (id, event) = self.events.pop_front()?;
        if let (Event::Message { data, .. }, Some(guest)) = (&event, self.guests.get_mut(&id)) {
            guest.waiting -= data.len() + MESSAGE_COST;
            guest.messages_received += 1;
            if guest.waiting < MAX_WAITING / 2
                && let Some(address) = guest.address
            {
                self.host.socket_mut().set_held_up(address, false);
            }
        }
        Some((id, event))
    }

    fn call(&mut self, now: Timestamp, timeout: Duration) -> GuestId {
        self.add_guest(Some(Call {
            addresses: Vec::new(),
            next: 0,
            next_at: now,
            deadline: now + timeout,
            early: Vec::new(),
            early_bytes: 0,
        }))
    }

    fn found(&mut self, now: Timestamp, id: GuestId, addresses: &[SocketAddr]) {
        self.set_time(now);
        let line = self.host.socket_mut();
        let mut usable = Vec::new();
        for address in addresses {
            let own: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            if line.socket_for(address).is_none()
                && let Ok(socket) = bind_udp(own)
            {
                line.sockets.push(Arc::new(socket));
            }
            if line.socket_for(address).is_some() {
                usable.push(*address);
            }
        }
        if usable.is_empty() {
            let detail = "this machine has no network that leads to its addresses";
            return self.remove(id, Reason::UnknownHost, detail);
        }
        if let Some(call) = self.guests.get_mut(&id).and_then(|guest| guest.call.as_mut()) {
            call.addresses = usable;
        }
    }

    fn refusal(&self, message: &Message) -> Option<SendError> {
        if message.channel > LAST_CHANNEL {
            return Some(SendError::NoChannel {
                scheme: "enet",
                channel: message.channel,
                last: LAST_CHANNEL,
            });
        }
        not_bytes("enet", message)
    }

    fn send(&mut self, now: Timestamp, id: GuestId, message: &Message) -> Result<bool, SendError> {
        let (limit, send_queue) = (self.message_size, self.send_queue);
        let guest = self.guests.get_mut(&id).ok_or(SendError::Closed)?;
        let size = message.data.len();
        if guest.farewell.is_some() {
            return Err(SendError::Closed);
        }
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        if let Some(call) = &mut guest.call {
            if message.delivery.is_lossy {
                return Ok(false);
            }
            call.early.push(message.clone());
            call.early_bytes += size + MESSAGE_COST;
            if call.early_bytes > send_queue {
                let detail = "too much was sent before the connection was made";
                self.end(now, id, Reason::TooSlow, detail, false);
            }
            return Ok(true);
        }
        let Some(peer) = guest.peer else {
            return Err(SendError::Closed);
        };
        let queued = guest.queued.fetch_add(size + MESSAGE_COST, Relaxed) + size + MESSAGE_COST;
        let load = Box::new(Load {
            bytes: message.data.clone(),
            queued: Arc::clone(&guest.queued),
        });
        let kind = match message.delivery {
            Delivery { is_lossy: false, .. } => PacketKind::Reliable,
            Delivery { is_ordered, .. } => PacketKind::AlwaysUnreliable { sequenced: is_ordered },
        };
        self.set_time(now);
        let peer = self.host.peer_mut(peer);
        match peer.send(message.channel, &Packet::new(load, kind)) {
            Ok(()) => {}
            Err(PeerSendError::InvalidChannel) => {
                let last = peer.channel_count().saturating_sub(1);
                let detail = format!("a message was sent on channel {}, it has 0 to {last}", message.channel);
                self.end(now, id, Reason::WrongProtocol, &detail, false);
                return Ok(false);
            }
            Err(_) => return Err(SendError::Closed),
        }
        if queued > send_queue {
            let detail = format!("it did not take {queued} bytes");
            self.end(now, id, Reason::TooSlow, &detail, false);
        }
        Ok(true)
    }

    fn end(&mut self, now: Timestamp, id: GuestId, reason: Reason, detail: &str, is_polite: bool) {
        self.set_time(now);
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        match guest.peer {
            Some(peer) if is_polite && guest.is_connected && guest.farewell.is_none() => {
                // Only a number travels.
                self.host.peer_mut(peer).disconnect_later(detail.parse().unwrap_or(0));
                self.events.push_back((id, disconnected(reason, detail)));
                guest.farewell = Some(now + FAREWELL);
            }
            Some(_) if is_polite && guest.farewell.is_some() => {}
            _ => {
                self.leave(id);
                self.remove(id, reason, detail);
            }
        }
    }

    fn stats(&self, id: GuestId) -> Option<PeerStats> {
        let guest = self.guests.get(&id)?;
        let mut connection = ConnectionStats {
            queued_bytes: guest.queued.load(Relaxed),
            messages_received: guest.messages_received,
            lossy_dropped: guest.lossy_dropped,
            ..ConnectionStats::default()
        };
        if let Some(peer) = guest.peer.filter(|_| guest.is_connected) {
            let peer = self.host.peer(peer);
            connection.rtt = peer.round_trip_time();
            connection.jitter = peer.round_trip_time_variance();
            connection.loss = f64::from(peer.packet_loss()) / f64::from(PEER_PACKET_LOSS_SCALE);
            connection.packets_lost = u64::from(peer.packets_lost());
        }
        if let Some(traffic) = guest
            .address
            .and_then(|address| self.host.socket().traffic.get(&address))
        {
            connection.packets_sent = traffic.sent;
            connection.packets_received = traffic.received;
            connection.bytes_sent = traffic.sent_bytes;
            connection.bytes_received = traffic.received_bytes;
        }
        Some(PeerStats {
            connection,
            transport: self.transport(),
            address: guest.address.map_or_else(String::new, |address| address.to_string()),
            route: None,
            is_encrypted: false,
        })
    }

    fn listener_stats(&self) -> ListenerStats {
        let line = self.host.socket();
        let mut stats = self.stats.clone();
        stats.sockets = line.stats;
        stats.endpoint.banned += line.banned;
        stats
    }

    fn close(&mut self, now: Timestamp) {
        self.is_listening = false;
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in ids {
            self.end(now, id, Reason::Closed, "", true);
        }
    }

    fn hurry(&mut self, now: Timestamp) {
        self.set_time(now);
        let leaving: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.farewell.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            self.leave(id);
            self.guests.remove(&id);
        }
    }

    fn is_done(&self) -> bool {
        !self.is_listening
            && self.guests.is_empty()
            && self
                .host
                .socket()
                .pipe
                .as_ref()
                .is_none_or(|pipe| pipe.in_flight() == 0)
    }

    fn holds_port(&self) -> bool {
        !self.host.socket().sockets.is_empty()
    }

    fn let_go(&mut self) {
        self.host.socket_mut().sockets.clear();
    }

    fn has_output(&self) -> bool {
        false
    }

    fn set_bans(&mut self, now: Timestamp, bans: &Bans) {
        self.host.socket_mut().bans = bans.clone();
        let is_banned = |guest: &Guest| {
            guest
                .address
                .is_some_and(|address| bans.has_address(now, Address::Ip(address)))
        };
        let banned: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, guest)| is_banned(guest) && guest.farewell.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in banned {
            self.stats.endpoint.banned += 1;
            self.end(now, id, Reason::Banned, "", false);
        }
    }

    fn watches(&self) -> Vec<Watch> {
        let sockets = &self.host.socket().sockets;
        sockets.iter().map(|socket| Watch::Udp(Arc::clone(socket))).collect()
    }

    fn abandon(mut self: Box<Self>) {
        // Its lists may be half linked: what they hold is never looked at again, but the port is free.
        self.host.socket_mut().sockets.clear();
        std::mem::forget(self);
    }
}

/// The bytes of a message, counted as long as ENet holds them.
struct Load {
    bytes: Payload,
    queued: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Load {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes.len() + MESSAGE_COST, Relaxed);
    }
}

/// Returns how a packet was sent.
///
/// `Packet::kind` of `rusty_enet` 0.4.1 says reliable of every packet: it adds every flag but one. The flags themselves are
/// told only in words.
fn delivery_of(packet: &Packet) -> Delivery {
    let mut words = String::with_capacity(128);
    // Writing to a String cannot fail.
    let _ = write!(words, "{packet:?}");
    let flags = words.split_once("flags: ").map(|(_, rest)| rest);
    let digits = flags.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
    let flags: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap_or(RELIABLE);
    match flags {
        flags if flags & RELIABLE != 0 => Delivery::RELIABLE,
        flags if flags & UNSEQUENCED != 0 => Delivery::LOSSY_UNORDERED,
        _ => Delivery::LOSSY,
    }
}

/// Two of ENet's flags of a packet.
const RELIABLE: u32 = 1;
const UNSEQUENCED: u32 = 2;
