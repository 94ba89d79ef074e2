//! Everything a network has, behind one lock: slots with their endpoints and sockets, and the ids of peers.
//!
//! Whoever holds the lock drives: the game's thread in `take`, the I/O thread while the game is busy. It knows ids, events
//! and moments; it must not know threads, nor how long anybody waits.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

use netplay_proto::{
    Accept, Address, Connect, ConnectionId, EndpointConfig, Event, Identity, Key, Limits, Message, Path, Reason,
    SendError, Timestamp,
};

use crate::error::Error;
use crate::keys::generate_key;
use crate::local::{LocalPort, Rouse};
use crate::slot::{Next, Slot};
use crate::socket::{Socket, bind_udp};
use crate::types::{ListenerId, ListenerStats, PeerEvent, PeerId, PeerStats, Target};
use crate::url::Simulation;

/// How often the slots are driven in a row because one has sent to another inside this network.
const LOCAL_ROUNDS: usize = 4;

/// Everything a network has.
#[derive(Default)]
pub(crate) struct Driver {
    slots: BTreeMap<SlotId, Slot>,
    peers: BTreeMap<PeerId, Peer>,
    /// The last number given to a peer, a listener or a slot.
    last_number: u64,
    /// Events that no endpoint can tell: the peers of one that failed, and calls that never began.
    own_events: VecDeque<PeerEvent>,
    /// The slot after which the next `take` begins, so that a busy one does not starve the others.
    took_last: SlotId,
    /// Our key when we call; made when first needed.
    caller_secret: Option<Key>,
    /// Counts up with every change of the sockets.
    sockets_version: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct SlotId(u64);

struct Peer {
    slot: SlotId,
    url: PeerUrl,
    line: Line,
}

/// How a peer's messages go out.
enum Line {
    /// The connection has begun.
    Connection(ConnectionId),
    /// The call waits for its key to be made from the password, and the messages wait with it.
    Waiting {
        connect: Box<Connect>,
        messages: Vec<Message>,
        bytes: usize,
    },
}

enum PeerUrl {
    Given(String),
    From(Address),
}

/// Where a call goes, found out before or after it has begun.
#[derive(Clone, Debug)]
pub(crate) enum Remote {
    /// These addresses.
    Ip(Vec<SocketAddr>),
    /// This port inside the process.
    Local(u64),
}

impl Driver {
    /// Receives at most `budget` datagrams for each slot, lets the protocol work, and sends what is to be sent.
    pub(crate) fn drive(&mut self, now: Timestamp, budget: usize) -> Next {
        let mut next = Next::default();
        for round in 0..LOCAL_ROUNDS {
            next = Next::default();
            let ids: Vec<SlotId> = self.slots.keys().copied().collect();
            for id in ids {
                if let Some(slot_next) = self.contained(id, |slot| slot.drive(now, budget)) {
                    next = next.and(slot_next);
                }
            }
            // What went from one slot to another of this network needs no other thread to arrive.
            let has_local = self.slots.values().flat_map(Slot::sockets).any(|socket| match socket {
                Socket::Local(port) => port.has_datagram(),
                Socket::Udp(_) => false,
            });
            if !has_local {
                break;
            }
            next.has_more |= round + 1 == LOCAL_ROUNDS;
        }
        self.remove_closed_slots();
        next
    }

    /// Returns how many events wait.
    pub(crate) fn events_waiting(&self) -> usize {
        self.own_events.len()
            + self
                .slots
                .values()
                .map(|slot| slot.endpoint.events_waiting())
                .sum::<usize>()
    }

    /// Appends at most `max` events to `out` and returns how many.
    pub(crate) fn take(&mut self, now: Timestamp, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let before = out.len();
        while out.len() - before < max
            && let Some(event) = self.own_events.pop_front()
        {
            out.push(event);
        }
        let after = self
            .slots
            .range((std::ops::Bound::Excluded(self.took_last), std::ops::Bound::Unbounded));
        let up_to = self.slots.range(..=self.took_last);
        let ids: Vec<SlotId> = after.chain(up_to).map(|(id, _)| *id).collect();
        for id in ids {
            while out.len() - before < max {
                let Some(Some((connection, event))) = self.contained(id, |slot| slot.endpoint.poll_event()) else {
                    break;
                };
                self.took_last = id;
                out.extend(self.name_event(now, id, connection, event));
            }
        }
        out.len() - before
    }

    /// Gives an event the name of its peer, which begins with its first event or call and ends with its last.
    fn name_event(&mut self, now: Timestamp, id: SlotId, connection: ConnectionId, event: Event) -> Option<PeerEvent> {
        let slot = self.slots.get_mut(&id)?;
        let listener = slot.listener;
        let mut peer = slot.peers.get(&connection).copied();
        if let Event::Connected {
            path,
            is_incoming: true,
            ..
        } = &event
            && peer.is_none()
        {
            self.last_number += 1;
            let new = PeerId(self.last_number);
            slot.peers.insert(connection, new);
            let line = Line::Connection(connection);
            self.peers.insert(
                new,
                Peer {
                    slot: id,
                    url: PeerUrl::From(path.remote),
                    line,
                },
            );
            peer = Some(new);
            if slot.is_closing {
                // It got in while the listener was saying its goodbyes.
                self.contained(id, |slot| {
                    slot.endpoint.close(now, connection, "the listener is closed")
                });
            }
        }
        // A connection that ended before it was made is none that the game knows.
        let peer = peer?;
        if matches!(event, Event::Disconnected { .. }) {
            self.peers.remove(&peer);
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.peers.remove(&connection);
            }
        }
        Some(PeerEvent { peer, listener, event })
    }

    /// Opens a listener on these sockets.
    pub(crate) fn listen(
        &mut self,
        accept: Accept,
        identity: Identity,
        limits: Limits,
        simulation: Option<Simulation>,
        sockets: Vec<Socket>,
    ) -> Result<ListenerId, Error> {
        let seed = generate_key()?;
        self.last_number += 1;
        let listener = ListenerId(self.last_number);
        let config = EndpointConfig {
            identity,
            accept: Some(accept),
            limits,
        };
        let mut slot = Slot::new(config, seed, Some(listener), simulation);
        for socket in sockets {
            slot.add_socket(socket);
        }
        self.slots.insert(SlotId(self.last_number), slot);
        self.sockets_version += 1;
        Ok(listener)
    }

    /// Begins a call. Without a password its key is complete and the connection begins now; otherwise
    /// [`key_made`](Self::key_made) must follow. Where to, [`found`](Self::found) says.
    pub(crate) fn call(
        &mut self,
        now: Timestamp,
        url: String,
        connect: Connect,
        limits: Limits,
        simulation: Option<Simulation>,
        is_key_made: bool,
    ) -> Result<PeerId, Error> {
        let id = self.caller_slot(limits, simulation)?;
        self.last_number += 1;
        let peer = PeerId(self.last_number);
        let line = Line::Waiting {
            connect: Box::new(connect),
            messages: Vec::new(),
            bytes: 0,
        };
        self.peers.insert(
            peer,
            Peer {
                slot: id,
                url: PeerUrl::Given(url),
                line,
            },
        );
        if is_key_made {
            self.key_made(now, peer, None);
        }
        Ok(peer)
    }

    /// Lets a call begin whose key had to be made from a password.
    pub(crate) fn key_made(&mut self, now: Timestamp, id: PeerId, psk: Option<Key>) {
        let Some(Peer { slot, line, .. }) = self.peers.get_mut(&id) else {
            return;
        };
        let slot = *slot;
        let Line::Waiting { connect, messages, .. } = line else {
            return;
        };
        let mut connect = std::mem::take(&mut **connect);
        let messages = std::mem::take(messages);
        connect.psk = psk.unwrap_or(connect.psk);
        let begun = self.contained(slot, |slot| {
            let connection = slot.endpoint.connect(now, connect);
            slot.peers.insert(connection, id);
            connection
        });
        let Some(connection) = begun else {
            return self.fail(id, Reason::Internal, "a fault while the call began");
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.line = Line::Connection(connection);
        }
        for message in messages {
            // What can be wrong with a message was said when it was accepted; a queue that is too full ends the connection.
            self.contained(slot, |slot| slot.endpoint.send(now, connection, &message).ok());
        }
    }

    /// Says where a call goes.
    pub(crate) fn found(&mut self, now: Timestamp, id: PeerId, remote: &Remote, rouse: &Rouse) {
        let Some(Peer { slot, .. }) = self.peers.get(&id) else {
            return;
        };
        let slot = *slot;
        let paths = self.paths_to(slot, remote, rouse);
        if paths.is_empty() {
            return self.fail(
                id,
                Reason::UnknownHost,
                "this machine has no network that leads to its addresses",
            );
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match &mut peer.line {
            Line::Waiting { connect, .. } => connect.paths.extend(paths),
            Line::Connection(connection) => {
                let connection = *connection;
                self.contained(slot, |slot| {
                    for path in paths {
                        slot.endpoint.add_path(now, connection, path);
                    }
                });
            }
        }
    }

    /// Ends a call for a failure found by this side.
    pub(crate) fn abort(&mut self, now: Timestamp, id: PeerId, reason: Reason, detail: &str) {
        match self.peers.get(&id) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => {
                let (slot, connection) = (*slot, *connection);
                self.contained(slot, |slot| slot.endpoint.abort(now, connection, reason, detail));
            }
            Some(_) => self.fail(id, reason, detail),
            None => {}
        }
    }

    /// Queues a message and returns to how many peers.
    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        to: Target<'_>,
        exclude: &[PeerId],
        message: &Message,
    ) -> Result<usize, SendError> {
        let limit = if message.delivery.is_lossy {
            netplay_proto::message::MAX_LOSSY_SIZE
        } else {
            netplay_proto::message::MAX_RELIABLE_SIZE
        };
        if message.data.len() > limit {
            // Also said when there is nobody to send to, so that a game finds it before its first player does.
            return Err(SendError::TooLarge {
                size: message.data.len(),
                limit,
            });
        }
        let mut count = 0;
        match to {
            Target::One(peer) => {
                if !exclude.contains(&peer) {
                    count += usize::from(self.send_one(now, peer, message)?);
                }
            }
            Target::Many(peers) => {
                for peer in peers {
                    if !exclude.contains(peer) {
                        count += self.send_if_open(now, *peer, message)?;
                    }
                }
            }
            Target::All => {
                let mut last = PeerId(0);
                while let Some((peer, _)) = self
                    .peers
                    .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                    .next()
                {
                    last = *peer;
                    if !exclude.contains(&last) {
                        count += self.send_if_open(now, last, message)?;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Sends to one of several: that it has just ended is not the caller's fault.
    fn send_if_open(&mut self, now: Timestamp, peer: PeerId, message: &Message) -> Result<usize, SendError> {
        match self.send_one(now, peer, message) {
            Ok(is_sent) => Ok(usize::from(is_sent)),
            Err(SendError::Closed) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Returns false if the message is lossy and the connection not made yet.
    fn send_one(&mut self, now: Timestamp, id: PeerId, message: &Message) -> Result<bool, SendError> {
        let peer = self.peers.get_mut(&id).ok_or(SendError::Closed)?;
        let slot = peer.slot;
        let result = match &mut peer.line {
            Line::Connection(connection) => {
                let connection = *connection;
                self.contained(slot, |slot| slot.endpoint.send(now, connection, message))
                    .unwrap_or(Err(SendError::Closed))
            }
            Line::Waiting { .. } if message.delivery.is_lossy => return Ok(false),
            Line::Waiting { messages, bytes, .. } => {
                let limits = self.slots.get(&slot).map(Slot::limits).ok_or(SendError::Closed)?;
                let (size, limit) = (message.data.len(), limits.message_size);
                if size > limit {
                    return Err(SendError::TooLarge { size, limit });
                }
                *bytes += size;
                messages.push(message.clone());
                if *bytes > limits.send_queue {
                    self.fail(id, Reason::TooSlow, "too much was sent before the connection was made");
                }
                return Ok(true);
            }
        };
        match result {
            Ok(_) => Ok(true),
            Err(SendError::NotConnected) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says goodbye to a peer; false if it has ended.
    pub(crate) fn close_peer(&mut self, now: Timestamp, id: PeerId, detail: &str) -> bool {
        match self.peers.get(&id) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => {
                let (slot, connection) = (*slot, *connection);
                self.contained(slot, |slot| slot.close_connection(now, connection, detail));
                true
            }
            Some(_) => {
                self.fail(id, Reason::Closed, detail);
                true
            }
            None => false,
        }
    }

    /// Says goodbye to a listener's peers and takes no more; false if it is closed.
    pub(crate) fn close_listener(&mut self, now: Timestamp, listener: ListenerId) -> bool {
        let found = self
            .slots
            .iter()
            .find(|(_, slot)| slot.listener == Some(listener) && !slot.is_closing);
        let Some(id) = found.map(|(id, _)| *id) else {
            return false;
        };
        self.close_slot(now, id);
        true
    }

    /// Says goodbye to everyone.
    pub(crate) fn close_all(&mut self, now: Timestamp) {
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.close_slot(now, id);
        }
    }

    fn close_slot(&mut self, now: Timestamp, id: SlotId) {
        self.contained(id, |slot| slot.close(now));
    }

    /// Says the goodbyes of what was closed without waiting for anything that was sent before.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.contained(id, |slot| slot.hurry(now));
        }
    }

    /// Returns true when everything was closed and everybody has been said goodbye to.
    pub(crate) fn is_done(&mut self) -> bool {
        self.slots.values_mut().all(Slot::is_done)
    }

    /// Returns true if something may be waiting to be sent.
    pub(crate) fn has_output(&self) -> bool {
        self.slots.values().any(|slot| slot.endpoint.has_output())
    }

    /// Returns true while a closed listener still holds its sockets.
    pub(crate) fn is_letting_go(&self) -> bool {
        self.slots
            .values()
            .any(|slot| slot.is_closing && !slot.sockets().is_empty())
    }

    /// Forgets everything and closes every socket.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.peers.clear();
        self.own_events.clear();
        self.sockets_version += 1;
    }

    /// Returns the numbers of a peer, None if it has ended.
    pub(crate) fn peer_stats(&self, id: PeerId) -> Option<PeerStats> {
        let peer = self.peers.get(&id)?;
        let Line::Connection(connection) = peer.line else {
            return Some(PeerStats::default());
        };
        let slot = self.slots.get(&peer.slot)?;
        let path = slot.endpoint.connection_path(connection);
        Some(PeerStats {
            connection: slot.endpoint.connection_stats(connection)?,
            transport: path.map_or("", |path| slot.transport(path)),
            address: path.map_or_else(String::new, |path| path.remote.to_string()),
        })
    }

    /// Returns the URL of a peer, None if it has ended.
    pub(crate) fn peer_url(&self, id: PeerId) -> Option<String> {
        Some(match &self.peers.get(&id)?.url {
            PeerUrl::Given(url) => url.clone(),
            PeerUrl::From(Address::Ip(address)) => format!("play://{address}"),
            PeerUrl::From(Address::Virtual(number)) => format!("local://{number}"),
        })
    }

    /// Returns which listener a peer came in by.
    pub(crate) fn peer_listener(&self, id: PeerId) -> Option<ListenerId> {
        self.slots.get(&self.peers.get(&id)?.slot)?.listener
    }

    /// Returns the numbers of a listener, None if it is closed.
    pub(crate) fn listener_stats(&self, listener: ListenerId) -> Option<ListenerStats> {
        let slot = self
            .slots
            .values()
            .find(|slot| slot.listener == Some(listener) && !slot.is_closing)?;
        Some(ListenerStats {
            endpoint: slot.endpoint.stats(),
            peers: slot.peers.len(),
            sockets: slot.stats(),
        })
    }

    /// Counts up with every change of what [`sockets`](Self::sockets) returns.
    pub(crate) fn sockets_version(&self) -> u64 {
        self.sockets_version
    }

    /// Returns every socket of every slot.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.slots.values().flat_map(Slot::sockets)
    }

    /// Finds or makes the slot that calls with these terms go out from.
    fn caller_slot(&mut self, limits: Limits, simulation: Option<Simulation>) -> Result<SlotId, Error> {
        if let Some((id, _)) = self
            .slots
            .iter()
            .find(|(_, slot)| slot.suits(simulation.as_ref(), &limits))
        {
            return Ok(*id);
        }
        let secret = match self.caller_secret {
            Some(secret) => secret,
            None => *self.caller_secret.insert(generate_key()?),
        };
        let config = EndpointConfig {
            identity: Identity::from_secret(secret),
            accept: None,
            limits,
        };
        let slot = Slot::new(config, generate_key()?, None, simulation);
        self.last_number += 1;
        let id = SlotId(self.last_number);
        self.slots.insert(id, slot);
        Ok(id)
    }

    /// Returns the paths that lead to a remote side, opening the sockets they need. None leads there if this machine has
    /// no such network.
    fn paths_to(&mut self, id: SlotId, remote: &Remote, rouse: &Rouse) -> Vec<Path> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        let version = &mut self.sockets_version;
        let mut socket_for = |is_it: &dyn Fn(&Socket) -> bool, open: &dyn Fn() -> Option<Socket>| {
            if let Some(number) = slot.sockets().iter().position(is_it) {
                return u16::try_from(number).ok();
            }
            *version += 1;
            open().map(|socket| slot.add_socket(socket))
        };
        match remote {
            Remote::Local(number) => {
                let is_local = |socket: &Socket| matches!(socket, Socket::Local(_));
                let open = || Some(Socket::Local(LocalPort::open(rouse.clone())));
                let socket = socket_for(&is_local, &open);
                socket
                    .map(|socket| Path {
                        socket,
                        remote: Address::Virtual(*number),
                    })
                    .into_iter()
                    .collect()
            }
            Remote::Ip(addresses) => addresses
                .iter()
                .filter_map(|address| {
                    let is_family = |socket: &Socket| match socket {
                        Socket::Udp(udp) => udp.local_addr().is_ok_and(|own| own.is_ipv4() == address.is_ipv4()),
                        Socket::Local(_) => false,
                    };
                    let own: SocketAddr = match address {
                        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                    };
                    let socket = socket_for(&is_family, &|| bind_udp(own).ok().map(Socket::udp))?;
                    Some(Path {
                        socket,
                        remote: Address::Ip(*address),
                    })
                })
                .collect(),
        }
    }

    /// Ends a peer that no endpoint can speak for.
    fn fail(&mut self, id: PeerId, reason: Reason, detail: &str) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        let slot = self.slots.get_mut(&peer.slot);
        let listener = slot.as_ref().and_then(|slot| slot.listener);
        if let (Line::Connection(connection), Some(slot)) = (peer.line, slot) {
            slot.peers.remove(&connection);
        }
        let event = Event::Disconnected {
            reason,
            detail: detail.to_owned(),
        };
        self.own_events.push_back(PeerEvent {
            peer: id,
            listener,
            event,
        });
    }

    /// Forgets listeners that have said their goodbyes and whose events have been taken.
    fn remove_closed_slots(&mut self) {
        let version = &mut self.sockets_version;
        self.slots.retain(|_, slot| {
            if !slot.is_done() {
                return true;
            }
            if !slot.sockets().is_empty() {
                // The port is free again, even if the game takes its time to take the last events.
                slot.close_sockets();
                *version += 1;
            }
            slot.endpoint.events_waiting() > 0
        });
    }

    /// Does something with a slot; a panic in it ends the slot's connections with [`Reason::Internal`] and nothing else.
    /// None if there is no such slot, or it panicked.
    fn contained<R>(&mut self, id: SlotId, work: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let slot = self.slots.get_mut(&id)?;
        // The endpoint is not used again after a panic, so what it left half done is never seen.
        match catch_unwind(AssertUnwindSafe(|| work(slot))) {
            Ok(result) => Some(result),
            Err(_) => {
                self.start_over(id);
                None
            }
        }
    }

    fn start_over(&mut self, id: SlotId) {
        log::error!("a fault inside netplay has closed some connections; please report it");
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        // Without randomness there is no safe endpoint: the slot goes too.
        let lost = match generate_key() {
            Ok(seed) => slot.start_over(seed),
            Err(_) => self.slots.remove(&id).map(|slot| slot.peers).unwrap_or_default(),
        };
        for peer in lost.into_values() {
            self.fail(peer, Reason::Internal, "a fault inside netplay, please report it");
        }
    }
}
