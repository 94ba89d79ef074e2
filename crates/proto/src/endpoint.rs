//! Many connections behind one set of sockets: which datagram belongs to whom, whose turn it is, whose timer is due.
//!
//! It must not know what a packet carries; that is the connection's.

mod handshakes;
#[cfg(test)]
mod leaks;
mod seats;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::acks::Urgency;
use crate::address::{Address, Path, Transport};
use crate::answer::{Answer, ProvenHello};
use crate::bans::{Ban, Bans, TooManyBans};
use crate::call::Call;
use crate::config::{Connect, EndpointConfig, Key};
use crate::connection::{Connection, Recall};
use crate::cookie::CookieJar;
use crate::door::Door;
use crate::inbox::Inbox;
use crate::message::{Event, Message, SendError};
use crate::reason::Reason;
use crate::stats::{ConnectionStats, EndpointStats};
use crate::time::Timestamp;
use crate::wire::{Datagram, Introduction, MAX_DATAGRAM, PacketHeader, ParseError, Seat};

use seats::ClosedSeats;

/// The low bits of an id that say where its connection is kept; the rest tell it from earlier ones kept there.
const INDEX_BITS: u32 = 20;
const MAX_SLOTS: usize = 1 << INDEX_BITS;

/// Handshake datagrams waiting to be sent. Those beyond it are dropped; clients ask again.
const MAX_OUTGOING: usize = 4096;

/// Packets one connection may send before the next has its turn.
const TURN: u32 = 16;

/// Names a connection of one endpoint; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send these bytes along this path; then ask again.
    Datagram {
        /// Where to.
        path: Path,
        /// The datagram, at most 1200 bytes.
        bytes: &'a [u8],
    },
    /// Open new ways of this kind to where this connection called: for each, say so by
    /// [`add_path`](Endpoint::add_path), or else [`handle_no_path`](Endpoint::handle_no_path); then ask again. It may be asked
    /// for again later: streams that were opened before have been of no use.
    Dial {
        /// Whose.
        id: ConnectionId,
        /// Of which kind.
        transport: Transport,
    },
    /// Nothing to send. Ask again at this moment or after the next input; None: only after the next input.
    Timeout(Option<Timestamp>),
}

/// Many connections behind one set of sockets, as a pure state machine.
///
/// The contract: push in with [`handle_datagram`](Self::handle_datagram), [`connect`](Self::connect), [`send`](Self::send),
/// [`close`](Self::close); after any of these, after taking events, or when the last timeout has come, call
/// [`poll_output`](Self::poll_output) until it answers [`Output::Timeout`]. Take events out with
/// [`poll_event`](Self::poll_event) whenever the game wants them: messages wait here, bounded by the credit that each remote
/// side has, and taking them out gives the credit back. `now` never goes backwards from one call to the next.
pub struct Endpoint {
    config: EndpointConfig,
    random: ChaCha20Rng,
    cookies: CookieJar,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    next_serial: u64,
    /// Our calls by their tokens; handshakes we answered by their path and token, until their connection is gone.
    calls: BTreeMap<u64, usize>,
    answers: BTreeMap<(Path, u64), usize>,
    door: Door,
    bans: Bans,
    established: BTreeSet<ConnectionId>,
    /// Those who came in, until the game has taken their end: what they left in the inbox is theirs.
    seats: BTreeSet<ConnectionId>,
    ready: VecDeque<usize>,
    turn: u32,
    timers: BinaryHeap<Reverse<(Timestamp, usize, ConnectionId)>>,
    /// Connections that are kept elsewhere than their id says, because they came back by another handshake.
    moved: BTreeMap<ConnectionId, usize>,
    /// The seats of those who came in, as long as they can come back; and of those who may not, since this side closed them.
    tickets: BTreeMap<Seat, ConnectionId>,
    closed_seats: ClosedSeats,
    /// Our connections that have lost their way, and the call of each.
    recalls: BTreeMap<ConnectionId, usize>,
    dials: VecDeque<(ConnectionId, Transport)>,
    inbox: Inbox,
    outgoing: VecDeque<(Path, Vec<u8>)>,
    /// The largest datagrams of paths that carry less than the usual.
    path_sizes: BTreeMap<Path, usize>,
    payload: Vec<u8>,
    out: Vec<u8>,
    urgent_datagrams: u64,
    stats: EndpointStats,
}

struct Slot {
    id: ConnectionId,
    local_id: u32,
    stage: Stage,
    answer_key: Option<(Path, u64)>,
    /// The key that the remote side has proven to have, once it is connected.
    remote_key: Option<Key>,
    /// The seat that the client has, once it is connected.
    seat: Option<Seat>,
    /// How we called, to call again.
    terms: Option<Box<Connect>>,
    /// Ours is a call for another connection, which has lost its way or looks for a better one.
    recall: Option<(ConnectionId, Recall)>,
    is_ready: bool,
    /// The earliest entry in the timers that is ours.
    armed: Option<Timestamp>,
}

impl Slot {
    /// Returns when the connection wants to be looked after again.
    fn deadline(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::Calling(call) | Stage::Confirming(call, ..) => Some(call.next_time()),
            Stage::Answering(answer) => Some(answer.expires()),
            Stage::Open(connection) => connection.deadline(),
        }
    }
}

enum Stage {
    Calling(Box<Call>),
    /// We have sent our last handshake message; the first packet tells that it arrived.
    Confirming(Box<Call>, Box<Connection>, Box<Remote>),
    Answering(Box<Answer>),
    Open(Box<Connection>),
}

/// Who the remote side says and has proven to be.
struct Remote {
    key: Key,
    introduction: Introduction,
}

impl Endpoint {
    /// Makes an endpoint. The seed must come from the operating system's randomness, except in a simulation.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut secret = [0; 32];
        random.fill_bytes(&mut secret);
        Self {
            door: Door::new(config.limits.handshakes),
            bans: Bans::default(),
            config,
            random,
            cookies: CookieJar::new(secret),
            slots: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            calls: BTreeMap::new(),
            answers: BTreeMap::new(),
            established: BTreeSet::new(),
            seats: BTreeSet::new(),
            ready: VecDeque::new(),
            turn: 0,
            timers: BinaryHeap::new(),
            moved: BTreeMap::new(),
            tickets: BTreeMap::new(),
            closed_seats: ClosedSeats::default(),
            recalls: BTreeMap::new(),
            dials: VecDeque::new(),
            inbox: Inbox::default(),
            outgoing: VecDeque::new(),
            path_sizes: BTreeMap::new(),
            payload: Vec::new(),
            out: Vec::new(),
            urgent_datagrams: 0,
            stats: EndpointStats::default(),
        }
    }

    /// Starts to call a remote side; the outcome is [`Event::Connected`] or [`Event::Disconnected`].
    pub fn connect(&mut self, now: Timestamp, options: Connect) -> ConnectionId {
        let (token, seed) = (self.random.next_u64(), self.seed());
        let (identity, size) = (self.config.identity.clone(), self.config.limits.message_size);
        let (index, local_id) = self.allocate();
        let call = Call::new(now, options, &identity, size, local_id, token, seed);
        let id = self.insert(index, local_id, None, Stage::Calling(Box::new(call)));
        self.calls.insert(token, index);
        self.touch(now, index);
        id
    }

    /// Adds a path on which the remote side may be found (a late answer of name resolution). Ignored once connected.
    pub fn add_path(&mut self, now: Timestamp, id: ConnectionId, path: Path) {
        self.with_call(now, id, |call| call.add_path(now, path));
    }

    /// Takes note that no way of this kind could be opened to where this connection called.
    pub fn handle_no_path(&mut self, now: Timestamp, id: ConnectionId, transport: Transport) {
        self.with_call(now, id, |call| call.handle_no_path(now, transport));
    }

    /// Takes in one datagram. Never fails: nonsense is counted.
    pub fn handle_datagram(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        let datagram_kind = if matches!(path.remote, Address::Tunnel { .. }) {
            Datagram::parse_from_tunnel(datagram)
        } else {
            Datagram::parse(datagram)
        };
        self.urgent_datagrams += u64::from(!matches!(datagram_kind, Ok(Datagram::Packet { .. })));
        let is_known = match datagram_kind {
            Ok(Datagram::Packet { header, sealed }) => self.handle_packet(now, path, header, sealed),
            Ok(Datagram::Hello {
                token,
                noise,
                cookie,
                has_seat,
            }) => self.handle_hello(now, &ProvenHello { path, token, noise }, cookie, has_seat),
            Ok(Datagram::Cookie { token, cookie }) => self.handle_cookie(now, path, token, cookie),
            Ok(Datagram::Reply { token, noise }) => self.handle_reply(now, path, token, noise),
            Ok(Datagram::Finish { server_id, noise }) => self.handle_finish(now, path, server_id, noise),
            Ok(Datagram::Refuse { token, reason, detail }) => self.handle_refuse(now, path, token, reason, detail),
            Err(ParseError::Version(version)) => self.refuse_version(path, version, datagram),
            Err(_) => false,
        };
        if !is_known {
            self.stats.bad_datagrams += 1;
        }
    }

    /// Returns what to do next, handling the timers that are due first.
    pub fn poll_output(&mut self, now: Timestamp) -> Output<'_> {
        self.handle_timers(now);
        if let Some((id, transport)) = self.dials.pop_front() {
            return Output::Dial { id, transport };
        }
        match self.next_datagram(now) {
            Some(path) => Output::Datagram { path, bytes: &self.out },
            None => Output::Timeout(self.next_time()),
        }
    }

    /// Takes the oldest event out, in the order of arrival over all connections.
    pub fn poll_event(&mut self) -> Option<(ConnectionId, Event)> {
        let taken = self.inbox.pop()?;
        Some(self.taken(taken))
    }

    /// From now on [`poll_event`](Self::poll_event) gives the game's messages alone; whatever else happens, and what members
    /// of a room say to each other ([`Kind::ROOM`](crate::Kind), [`Kind::PASS_ON`](crate::Kind)), comes by
    /// [`poll_aside`](Self::poll_aside).
    pub fn set_aside(&mut self) {
        self.inbox.set_aside();
    }

    /// Takes the oldest event out that is not for the game. To be asked until None after every
    /// [`handle_datagram`](Self::handle_datagram) or two.
    pub fn poll_aside(&mut self) -> Option<(ConnectionId, Event)> {
        let taken = self.inbox.pop_aside()?;
        Some(self.taken(taken))
    }

    fn taken(&mut self, (id, event, taken): (ConnectionId, Event, Option<usize>)) -> (ConnectionId, Event) {
        if matches!(event, Event::Disconnected { .. }) {
            self.seats.remove(&id);
        }
        let is_life = matches!(event, Event::Resumed { is_restarted: true, .. });
        if (taken.is_some() || is_life)
            && let Some(index) = self.index(id)
            && let Some(Slot {
                stage: Stage::Open(connection),
                ..
            }) = &mut self.slots[index]
        {
            if is_life {
                connection.handle_life_taken();
            }
            if taken.is_some_and(|size| connection.handle_taken(size)) {
                self.make_ready(index);
            }
        }
        (id, event)
    }

    /// Returns how many events wait.
    pub fn events_waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Returns how many datagrams have come that are not to be kept waiting: all but packets of nothing but lossy messages.
    pub fn urgent_datagrams(&self) -> u64 {
        self.urgent_datagrams
    }

    /// Returns true if a datagram may be waiting to be sent: [`poll_output`](Self::poll_output) should be called soon.
    pub fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.outgoing.is_empty() || !self.dials.is_empty()
    }

    /// Queues a message on one connection and returns its sequence id. A reliable message on a connection that is still
    /// being made waits for it. A remote side for which more than [`Limits::send_queue`](crate::Limits) piles up is disconnected
    /// with [`Reason::TooSlow`].
    pub fn send(&mut self, now: Timestamp, id: ConnectionId, message: impl Into<Message>) -> Result<u64, SendError> {
        let message = message.into();
        let index = self.index(id).ok_or(SendError::Closed)?;
        let Some(slot) = &mut self.slots[index] else {
            return Err(SendError::Closed);
        };
        match &mut slot.stage {
            Stage::Open(connection) => {
                let result = connection.send(now, message, &mut self.inbox);
                if !connection.is_open() {
                    self.handle_ended(index);
                }
                self.make_ready(index);
                result
            }
            Stage::Answering(_) => Err(SendError::Closed),
            Stage::Calling(_) | Stage::Confirming(..) if message.delivery.is_lossy => Err(SendError::NotConnected),
            Stage::Calling(_) | Stage::Confirming(..) => {
                let outbox = match &mut slot.stage {
                    Stage::Calling(call) => &mut call.outbox,
                    Stage::Confirming(_, connection, _) => connection.outbox_mut(),
                    _ => return Err(SendError::Closed),
                };
                let sequence_id = outbox.push(now, message)?;
                if outbox.queued_bytes() > self.config.limits.send_queue {
                    let detail = format!("more than {} bytes waited for it", self.config.limits.send_queue);
                    self.end(now, id, Reason::TooSlow, &detail, false);
                }
                Ok(sequence_id)
            }
        }
    }

    /// Closes a connection: reliable messages already sent go first (for at most a second or two), then the goodbye with these
    /// words. [`Event::Disconnected`] with [`Reason::Closed`] follows at once; events still waiting from it stay.
    pub fn close(&mut self, now: Timestamp, id: ConnectionId, detail: &str) {
        self.end(now, id, Reason::Closed, detail, true);
    }

    /// Ends a connection at once for the remote side's fault, or for a failure found by the caller, with this reason.
    pub fn abort(&mut self, now: Timestamp, id: ConnectionId, reason: Reason, detail: &str) {
        self.end(now, id, reason, detail, false);
    }

    /// Bans an address, a range or a key until a moment, None for good: whoever is connected and meant is closed at once with
    /// [`Reason::Banned`], and whoever comes is refused with it. Those whom we call are not affected later.
    pub fn ban(&mut self, now: Timestamp, ban: Ban, until: Option<Timestamp>) -> Result<(), TooManyBans> {
        self.bans.add(now, ban, until)?;
        let is_meant = |id: &ConnectionId| match self.index(*id).and_then(|index| self.slots[index].as_ref()) {
            Some(Slot {
                stage: Stage::Open(connection),
                remote_key,
                ..
            }) => {
                self.bans.has_address(now, connection.path().remote)
                    || remote_key.is_some_and(|key| self.bans.has_key(now, &key))
            }
            _ => false,
        };
        let meant: Vec<ConnectionId> = self.established.iter().copied().filter(is_meant).collect();
        for id in meant {
            self.stats.banned += 1;
            self.end(now, id, Reason::Banned, "", false);
        }
        Ok(())
    }

    /// Lifts a ban; false if there is none.
    pub fn unban(&mut self, now: Timestamp, ban: Ban) -> bool {
        self.bans.remove(now, ban)
    }

    /// Puts these bans in the place of those there are. Closes nobody.
    pub fn set_bans(&mut self, bans: Bans) {
        self.bans = bans;
    }

    /// Returns the numbers of a connection, None if it has ended.
    pub fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        match &self.slots[self.index(id)?].as_ref()?.stage {
            Stage::Open(connection) | Stage::Confirming(_, connection, _) => Some(connection.stats()),
            Stage::Calling(call) => Some(ConnectionStats {
                queued_bytes: call.outbox.queued_bytes(),
                ..ConnectionStats::default()
            }),
            Stage::Answering(_) => None,
        }
    }

    /// Returns the path a connection uses now, None if it has ended or has none yet.
    pub fn connection_path(&self, id: ConnectionId) -> Option<Path> {
        match &self.slots[self.index(id)?].as_ref()?.stage {
            Stage::Open(connection) | Stage::Confirming(_, connection, _) => Some(connection.path()),
            Stage::Calling(call) => call.path(),
            Stage::Answering(_) => None,
        }
    }

    /// Returns the connections that are made, in the order they were made.
    pub fn established(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.established.iter().copied()
    }

    /// Returns true when no connection is open or still saying goodbye.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Returns the numbers of the endpoint.
    pub fn stats(&self) -> EndpointStats {
        self.stats.clone()
    }

    // ---- Datagrams in ----

    fn handle_packet(&mut self, now: Timestamp, path: Path, header: PacketHeader, sealed: &[u8]) -> bool {
        let Some(index) = self.index_of_local_id(header.receiver_id) else {
            return false;
        };
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let (Stage::Open(connection) | Stage::Confirming(_, connection, _)) = &mut slot.stage else {
            return false;
        };
        let Some(number) = connection.open_packet(header, sealed, &mut self.payload) else {
            if connection.is_worn_out() {
                let id = slot.id;
                self.end(now, id, Reason::BadData, "too many packets were forged", false);
            }
            return false;
        };
        let payload = std::mem::take(&mut self.payload);
        if matches!(slot.stage, Stage::Confirming(..)) {
            self.confirm(now, index, &payload);
        }
        if let Some(Slot {
            id,
            stage: Stage::Open(connection),
            ..
        }) = &mut self.slots[index]
        {
            let id = *id;
            if path != connection.path() && !self.bans.has_address(now, path.remote) {
                connection.consider_path(now, path, number, self.random.next_u64());
            }
            let urgency = connection.handle_payload(now, path, number, &payload, &mut self.inbox);
            self.urgent_datagrams += u64::from(urgency != Urgency::Lazy);
            self.stats.violations += u64::from(connection.take_violation());
            self.stats.too_fast += u64::from(connection.take_excess());
            let (is_open, is_answered) = (connection.is_open(), connection.is_answered(now));
            if !is_open {
                self.handle_ended(index);
            } else if is_answered && !self.recalls.is_empty() {
                self.end_search(id);
            }
        }
        self.payload = payload;
        self.touch(now, index);
        true
    }

    // ---- Datagrams out ----

    fn push_outgoing(&mut self, path: Path, bytes: Vec<u8>) {
        push_bounded(&mut self.outgoing, &mut self.stats, path, bytes);
    }

    fn next_datagram(&mut self, now: Timestamp) -> Option<Path> {
        if let Some((path, bytes)) = self.outgoing.pop_front() {
            self.out = bytes;
            return Some(path);
        }
        while let Some(&index) = self.ready.front() {
            if let Some(slot) = &mut self.slots[index] {
                if let Stage::Open(connection) = &mut slot.stage
                    && let size = path_size(&self.path_sizes, connection.path())
                    && let Some(path) = connection.poll_packet(now, size, &mut self.payload, &mut self.out)
                {
                    self.turn += 1;
                    if self.turn >= TURN {
                        self.turn = 0;
                        self.ready.rotate_left(1);
                    }
                    return Some(path);
                }
                slot.is_ready = false;
            }
            self.turn = 0;
            self.ready.pop_front();
            self.arm(index);
        }
        None
    }

    // ---- Timers ----

    fn handle_timers(&mut self, now: Timestamp) {
        while let Some(&Reverse((time, index, id))) = self.timers.peek()
            && time <= now
        {
            self.timers.pop();
            let Some(slot) = self.slots[index].as_mut().filter(|slot| slot.id == id) else {
                continue;
            };
            // Entries that an earlier one has replaced are skipped.
            if slot.armed == Some(time) {
                slot.armed = None;
                self.handle_timeout(now, index);
            }
        }
    }

    fn handle_timeout(&mut self, now: Timestamp, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        let id = slot.id;
        match &mut slot.stage {
            Stage::Calling(call) | Stage::Confirming(call, ..) => {
                if call.is_expired(now) {
                    let (reason, detail) = call.failure();
                    self.end(now, id, reason, &detail, false);
                    return;
                }
                if call.is_hung() {
                    self.call_anew(now, index);
                }
            }
            Stage::Answering(answer) => {
                if now >= answer.expires() {
                    self.remove(index);
                    return;
                }
            }
            Stage::Open(connection) => {
                connection.handle_timeout(now, &mut self.inbox);
                let (is_open, recall) = (connection.is_open(), connection.take_recall());
                if !is_open {
                    self.handle_ended(index);
                } else if let Some(recall) = recall {
                    self.call_again(now, index, recall);
                }
            }
        }
        self.touch(now, index);
    }

    /// Looks after a connection to which something has happened: datagrams of its handshake, its turn, its timer, its end.
    fn touch(&mut self, now: Timestamp, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        match &mut slot.stage {
            Stage::Calling(call) | Stage::Confirming(call, ..) => {
                let (outgoing, stats) = (&mut self.outgoing, &mut self.stats);
                call.poll_datagrams(now, |path, bytes| push_bounded(outgoing, stats, path, bytes));
                let public_id = slot.recall.map_or(slot.id, |(id, _)| id);
                while let Some(transport) = call.poll_dial(now) {
                    self.dials.push_back((public_id, transport));
                }
                self.arm(index);
            }
            Stage::Answering(_) => self.arm(index),
            Stage::Open(connection) if connection.is_gone() => self.remove(index),
            Stage::Open(_) => self.make_ready(index),
        }
    }

    fn make_ready(&mut self, index: usize) {
        if let Some(slot) = &mut self.slots[index]
            && !slot.is_ready
        {
            slot.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// Returns when the first timer is due. Entries whose deadline has moved meanwhile move too, so that nobody wakes up for them.
    fn next_time(&mut self) -> Option<Timestamp> {
        while let Some(&Reverse((time, index, id))) = self.timers.peek() {
            let slot = self.slots[index].as_mut();
            if let Some(slot) = slot.filter(|slot| slot.id == id && slot.armed == Some(time)) {
                let deadline = slot.deadline();
                if deadline.is_some_and(|deadline| deadline <= time) {
                    return Some(time);
                }
                slot.armed = deadline;
                self.timers.pop();
                if let Some(deadline) = deadline {
                    self.timers.push(Reverse((deadline, index, id)));
                }
            } else {
                self.timers.pop();
            }
        }
        None
    }

    fn arm(&mut self, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        let deadline = slot.deadline();
        if let Some(deadline) = deadline
            && slot.armed.is_none_or(|armed| deadline < armed)
        {
            slot.armed = Some(deadline);
            self.timers.push(Reverse((deadline, index, slot.id)));
        }
    }

    // ---- Connections come and go ----

    fn end(&mut self, now: Timestamp, id: ConnectionId, reason: Reason, detail: &str, is_graceful: bool) {
        let Some(index) = self.index(id) else { return };
        let Some(slot) = &mut self.slots[index] else { return };
        if let Some((public_id, recall)) = slot.recall {
            return self.end_recall(now, index, public_id, recall, reason, detail);
        }
        if let Some(seat) = slot.seat.filter(|seat| self.tickets.contains_key(seat)) {
            self.closed_seats.push(seat, reason, detail);
        }
        if let Some(call_index) = self.recalls.get(&id).copied() {
            // The server may have gone over to the new way already.
            self.say_goodbye_unconfirmed(now, call_index, reason, detail);
        }
        let Some(slot) = &mut self.slots[index] else { return };
        match &mut slot.stage {
            Stage::Open(connection) => {
                if is_graceful {
                    connection.close(now, detail, &mut self.inbox);
                } else {
                    connection.abort(now, reason, detail, &mut self.inbox);
                }
                self.forget_established(id);
                self.touch(now, index);
            }
            Stage::Calling(_) => {
                self.push_disconnected(id, reason, detail);
                self.remove(index);
            }
            Stage::Confirming(..) => {
                self.push_disconnected(id, reason, detail);
                self.say_goodbye_unconfirmed(now, index, reason, detail);
            }
            Stage::Answering(_) => (),
        }
    }

    fn push_disconnected(&mut self, id: ConnectionId, reason: Reason, detail: &str) {
        let detail = detail.to_owned();
        self.inbox.push_event(id, Event::Disconnected { reason, detail });
    }

    /// The game knows, or will learn from its inbox, that this connection is over.
    fn forget_established(&mut self, id: ConnectionId) {
        self.established.remove(&id);
        self.drop_recall(id);
    }

    /// Finds a place for a connection and the id that packets to it will carry.
    fn allocate(&mut self) -> (usize, u32) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        // The upper bits are random, so that a packet for a connection that has ended here finds no new one.
        (index, self.random.next_u32() << INDEX_BITS | index as u32)
    }

    fn insert(&mut self, index: usize, local_id: u32, answer_key: Option<(Path, u64)>, stage: Stage) -> ConnectionId {
        let id = ConnectionId(self.next_serial << INDEX_BITS | index as u64);
        self.next_serial += 1;
        self.slots[index] = Some(Slot {
            id,
            local_id,
            stage,
            answer_key,
            remote_key: None,
            seat: None,
            terms: None,
            recall: None,
            is_ready: false,
            armed: None,
        });
        id
    }

    fn remove(&mut self, index: usize) {
        let Some(slot) = self.vacate(index) else { return };
        self.forget_established(slot.id);
        self.moved.remove(&slot.id);
        if let Some(seat) = slot.seat
            && self.tickets.get(&seat) == Some(&slot.id)
        {
            self.tickets.remove(&seat);
        }
        if let Some((public_id, _)) = slot.recall {
            self.forget_recall(public_id);
        }
    }

    /// Takes a connection from its place, where nothing of it remains.
    fn vacate(&mut self, index: usize) -> Option<Slot> {
        let slot = self.slots[index].take()?;
        if let Some(key) = slot.answer_key {
            self.answers.remove(&key);
            self.door.end(slot.id);
        }
        if let Stage::Calling(call) | Stage::Confirming(call, ..) = &slot.stage {
            self.calls.remove(&call.token);
        }
        if slot.is_ready {
            self.ready.retain(|&other| other != index);
        }
        self.free.push(index);
        Some(slot)
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        let index = (id.0 & (MAX_SLOTS as u64 - 1)) as usize;
        match self.slots.get(index)? {
            Some(slot) if slot.id == id => Some(index),
            _ if self.moved.is_empty() => None,
            _ => self.moved.get(&id).copied(),
        }
    }

    fn index_of_local_id(&self, local_id: u32) -> Option<usize> {
        let index = local_id as usize & (MAX_SLOTS - 1);
        self.slots
            .get(index)?
            .as_ref()
            .filter(|slot| slot.local_id == local_id)
            .map(|_| index)
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        seed
    }
}

fn push_bounded(outgoing: &mut VecDeque<(Path, Vec<u8>)>, stats: &mut EndpointStats, path: Path, bytes: Vec<u8>) {
    if outgoing.len() < MAX_OUTGOING {
        outgoing.push_back((path, bytes));
    } else {
        stats.handshakes_dropped += 1;
    }
}

/// Returns the largest datagram that a path carries.
fn path_size(sizes: &BTreeMap<Path, usize>, path: Path) -> usize {
    // Nearly always there are none.
    sizes.get(&path).copied().unwrap_or(MAX_DATAGRAM)
}
