//! Many connections behind one set of sockets: which datagram belongs to whom, whose turn it is, whose timer is due.
//!
//! It must not know what a packet carries; that is the connection's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::address::Path;
use crate::answer::{Answer, Finished, ProvenHello};
use crate::call::{Answered, Call};
use crate::config::{Connect, EndpointConfig, Key};
use crate::connection::{Connection, Opening};
use crate::cookie::CookieJar;
use crate::inbox::Inbox;
use crate::message::{Event, Message, SendError};
use crate::noise::NotAuthentic;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::wire::{COOKIE_LEN, Chunk, Datagram, Introduction, PROTOCOL_VERSION, PacketHeader, ParseError};

/// The low bits of an id that say where its connection is kept; the rest tell it from earlier ones kept there.
const INDEX_BITS: u32 = 20;
const MAX_SLOTS: usize = 1 << INDEX_BITS;

/// Handshakes answered and not finished at one time. Clients beyond that are not answered and ask again.
const MAX_ANSWERS: usize = 1024;

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
    /// Nothing to send. Ask again at this moment or after the next input; None: only after the next input.
    Timeout(Option<Timestamp>),
}

/// Numbers about one connection since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionStats {
    /// Smoothed round trip; zero before the first measurement.
    pub rtt: Duration,
    /// Mean deviation of the round trip.
    pub jitter: Duration,
    /// Share of our packets lost lately, 0.0–1.0.
    pub loss: f64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received that authenticated.
    pub packets_received: u64,
    /// Packets we sent that were declared lost.
    pub packets_lost: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received in packets that authenticated.
    pub bytes_received: u64,
    /// Reliable messages or fragments sent again because they were lost.
    pub resent: u64,
    /// Copies of small reliable messages sent against loss.
    pub copied: u64,
    /// Reliable bytes accepted by `send` and not acknowledged yet, with 64 for each message.
    pub queued_bytes: usize,
    /// Messages delivered to the game.
    pub messages_received: u64,
    /// Lossy messages dropped by us because a queue was full, sending or receiving.
    pub lossy_dropped: u64,
    /// Packets with our connection id that did not authenticate or had arrived before.
    pub bad_packets: u64,
}

/// Numbers about an endpoint since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams that could not be read or belonged to no connection.
    pub bad_datagrams: u64,
    /// First packets answered with a cookie.
    pub cookies_sent: u64,
    /// Handshakes refused, for any reason.
    pub refused: u64,
    /// Connections closed because the remote side broke the rules.
    pub violations: u64,
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
    unfinished_answers: usize,
    established: BTreeSet<ConnectionId>,
    incoming: usize,
    ready: VecDeque<usize>,
    turn: u32,
    timers: BinaryHeap<Reverse<(Timestamp, usize, ConnectionId)>>,
    inbox: Inbox,
    outgoing: VecDeque<(Path, Vec<u8>)>,
    payload: Vec<u8>,
    out: Vec<u8>,
    stats: EndpointStats,
}

struct Slot {
    id: ConnectionId,
    local_id: u32,
    stage: Stage,
    answer_key: Option<(Path, u64)>,
    is_ready: bool,
    /// The earliest entry in the timers that is ours.
    armed: Option<Timestamp>,
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
            config,
            random,
            cookies: CookieJar::new(secret),
            slots: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            calls: BTreeMap::new(),
            answers: BTreeMap::new(),
            unfinished_answers: 0,
            established: BTreeSet::new(),
            incoming: 0,
            ready: VecDeque::new(),
            turn: 0,
            timers: BinaryHeap::new(),
            inbox: Inbox::default(),
            outgoing: VecDeque::new(),
            payload: Vec::new(),
            out: Vec::new(),
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
        if let Some(index) = self.index(id) {
            if let Some(Slot {
                stage: Stage::Calling(call),
                ..
            }) = &mut self.slots[index]
            {
                call.add_path(now, path);
            }
            self.touch(now, index);
        }
    }

    /// Takes in one datagram. Never fails: nonsense is counted.
    pub fn handle_datagram(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        let is_known = match Datagram::parse(datagram) {
            Ok(Datagram::Packet { header, sealed }) => self.handle_packet(now, path, header, sealed),
            Ok(Datagram::Hello { token, noise, cookie }) => {
                self.handle_hello(now, &ProvenHello { path, token, noise }, cookie)
            }
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
        match self.next_datagram(now) {
            Some(path) => Output::Datagram { path, bytes: &self.out },
            None => Output::Timeout(self.timers.peek().map(|Reverse((time, ..))| *time)),
        }
    }

    /// Takes the oldest event out, in the order of arrival over all connections.
    pub fn poll_event(&mut self) -> Option<(ConnectionId, Event)> {
        let (id, event, taken) = self.inbox.pop()?;
        if let Some(size) = taken
            && let Some(index) = self.index(id)
            && let Some(Slot {
                stage: Stage::Open(connection),
                ..
            }) = &mut self.slots[index]
            && connection.handle_taken(size)
        {
            self.make_ready(index);
        }
        Some((id, event))
    }

    /// Returns how many events wait.
    pub fn events_waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Returns true if a datagram may be waiting to be sent: [`poll_output`](Self::poll_output) should be called soon.
    pub fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.outgoing.is_empty()
    }

    /// Queues a message on one connection and returns its sequence id. A reliable message on a connection that is still
    /// being made waits for it. A remote side for which more than [`Limits::send_queue`](crate::Limits) piles up is disconnected
    /// with [`Reason::TooSlow`].
    pub fn send(&mut self, now: Timestamp, id: ConnectionId, message: &Message) -> Result<u64, SendError> {
        let index = self.index(id).ok_or(SendError::Closed)?;
        let Some(slot) = &mut self.slots[index] else {
            return Err(SendError::Closed);
        };
        match &mut slot.stage {
            Stage::Open(connection) => {
                let result = connection.send(now, message, &mut self.inbox);
                if !connection.is_open() {
                    self.forget_established(id);
                }
                self.make_ready(index);
                result
            }
            Stage::Answering(_) => Err(SendError::Closed),
            Stage::Calling(_) | Stage::Confirming(..) if message.delivery.is_lossy => Err(SendError::NotConnected),
            Stage::Calling(call) => call.outbox.push(now, message),
            Stage::Confirming(_, connection, _) => connection.send(now, message, &mut self.inbox),
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
            if path != connection.path() {
                connection.consider_path(now, path, number, self.random.next_u64());
            }
            connection.handle_payload(now, path, number, &payload, &mut self.inbox);
            self.stats.violations += u64::from(connection.take_violation());
            if !connection.is_open() {
                self.forget_established(id);
            }
        }
        self.payload = payload;
        self.touch(now, index);
        true
    }

    /// The server's first packet has come: it has let us in, or says why not.
    fn confirm(&mut self, now: Timestamp, index: usize, payload: &[u8]) {
        let Some(mut slot) = self.slots[index].take() else {
            return;
        };
        if let Stage::Confirming(call, mut connection, remote) = slot.stage {
            self.calls.remove(&call.token);
            let refusal = Chunk::parse_all(payload).find_map(|chunk| match chunk {
                Ok(Chunk::Close { reason, detail }) => Some((reason, detail.to_owned())),
                _ => None,
            });
            if let Some((reason, detail)) = refusal {
                let reason = Reason::from_number(reason).unwrap_or(Reason::Goodbye);
                self.inbox.push_event(slot.id, Event::Disconnected { reason, detail });
                // What follows is only the acknowledgement.
                connection.mute();
            } else {
                self.push_connected(slot.id, *remote, connection.path(), false);
                connection.handle_confirmed(now);
            }
            slot.stage = Stage::Open(connection);
        }
        self.slots[index] = Some(slot);
    }

    fn handle_hello(&mut self, now: Timestamp, hello: &ProvenHello<'_>, cookie: Option<&[u8; COOKIE_LEN]>) -> bool {
        let Some(accept) = &self.config.accept else {
            return false;
        };
        if let Some(&index) = self.answers.get(&(hello.path, hello.token)) {
            if let Some(Slot {
                stage: Stage::Answering(answer),
                ..
            }) = &mut self.slots[index]
            {
                let reply = answer.reply(now);
                self.push_outgoing(hello.path, reply);
            }
            return true;
        }
        if self.incoming >= accept.max_peers {
            let detail = format!("all {} places are taken", accept.max_peers);
            self.push_refusal(hello.path, hello.token, Reason::Full, &detail);
            return true;
        }
        if !cookie.is_some_and(|cookie| self.cookies.check(now, hello.path, hello.token, cookie)) {
            let cookie = self.cookies.make(now, hello.path, hello.token);
            let mut bytes = Vec::new();
            Datagram::Cookie {
                token: hello.token,
                cookie: &cookie,
            }
            .emit(&mut bytes);
            self.stats.cookies_sent += 1;
            self.push_outgoing(hello.path, bytes);
            return true;
        }
        self.answer(now, hello)
    }

    fn answer(&mut self, now: Timestamp, hello: &ProvenHello<'_>) -> bool {
        let Some(accept) = self.config.accept.clone() else {
            return false;
        };
        if self.unfinished_answers >= MAX_ANSWERS || self.slots.len() - self.free.len() >= MAX_SLOTS {
            return true;
        }
        let (identity, size) = (self.config.identity.clone(), self.config.limits.message_size);
        let seed = self.seed();
        let key = (hello.path, hello.token);
        let (index, local_id) = self.allocate();
        let Some(mut answer) = Answer::new(now, hello, &accept, &identity, size, local_id, seed) else {
            self.free.push(index);
            return false;
        };
        let reply = answer.reply(now);
        self.insert(index, local_id, Some(key), Stage::Answering(Box::new(answer)));
        self.push_outgoing(hello.path, reply);
        self.unfinished_answers += 1;
        self.answers.insert(key, index);
        self.touch(now, index);
        true
    }

    fn handle_cookie(&mut self, now: Timestamp, path: Path, token: u64, cookie: &[u8; COOKIE_LEN]) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        if let Some(Slot {
            stage: Stage::Calling(call),
            ..
        }) = &mut self.slots[index]
        {
            call.handle_cookie(now, path, cookie);
        }
        self.touch(now, index);
        true
    }

    fn handle_reply(&mut self, now: Timestamp, path: Path, token: u64, noise: &[u8]) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let Stage::Calling(call) = &mut slot.stage else {
            return true;
        };
        let id = slot.id;
        match call.handle_reply(now, path, noise) {
            Answered::Nothing => (),
            Answered::KeyChanged(key) => {
                let detail = format!("the server's key is now {}", hex(&key));
                self.end(now, id, Reason::KeyChanged, &detail, false);
            }
            Answered::Session {
                session,
                remote_key,
                introduction,
            } => {
                let mut outbox = std::mem::replace(&mut call.outbox, Outbox::new(0));
                let limit = usize::try_from(introduction.message_size).unwrap_or(usize::MAX);
                if let Some(size) = outbox.set_remote_message_size(limit) {
                    let detail = format!("a message of {size} bytes waited, the server accepts {limit}");
                    self.end(now, id, Reason::TooLarge, &detail, false);
                    return true;
                }
                let opening = Opening {
                    now,
                    id,
                    session,
                    remote_id: introduction.connection_id,
                    path,
                    is_client: true,
                    first_rtt: call.first_rtt(),
                    outbox,
                };
                let connection = Box::new(Connection::new(opening, &self.config.limits));
                let remote = Box::new(Remote {
                    key: remote_key,
                    introduction,
                });
                if let Some(slot) = self.slots[index].take()
                    && let Stage::Calling(call) = slot.stage
                {
                    let stage = Stage::Confirming(call, connection, remote);
                    self.slots[index] = Some(Slot { stage, ..slot });
                }
            }
        }
        self.touch(now, index);
        true
    }

    fn handle_finish(&mut self, now: Timestamp, path: Path, server_id: u32, noise: &[u8]) -> bool {
        let Some(index) = self.index_of_local_id(server_id) else {
            return false;
        };
        let Some(slot) = &mut self.slots[index] else {
            return false;
        };
        let answer = match &mut slot.stage {
            Stage::Answering(answer) if answer.path == path => answer,
            // The client asks again until it has our first packet: that one was lost, or is late.
            Stage::Open(connection) if connection.path() == path => {
                connection.handle_repeated_finish();
                self.make_ready(index);
                return true;
            }
            _ => return false,
        };
        let (id, token) = (slot.id, answer.token);
        match answer.finish(now, noise) {
            Err(NotAuthentic) => self.push_refusal(path, token, Reason::WrongPassword, ""),
            Ok(Finished {
                session,
                remote_key,
                introduction,
                first_rtt,
            }) => {
                self.unfinished_answers -= 1;
                let size = usize::try_from(introduction.message_size).unwrap_or(usize::MAX);
                let opening = Opening {
                    now,
                    id,
                    session,
                    remote_id: introduction.connection_id,
                    path,
                    is_client: false,
                    first_rtt,
                    outbox: Outbox::new(size.min(crate::message::MAX_RELIABLE_SIZE)),
                };
                let mut connection = Box::new(Connection::new(opening, &self.config.limits));
                match self.objection(&introduction) {
                    Some((reason, detail)) => {
                        self.stats.refused += 1;
                        connection.refuse(now, reason, &detail);
                    }
                    None => {
                        self.incoming += 1;
                        self.push_connected(
                            id,
                            Remote {
                                key: remote_key,
                                introduction,
                            },
                            path,
                            true,
                        );
                    }
                }
                if let Some(slot) = &mut self.slots[index] {
                    slot.stage = Stage::Open(connection);
                }
                self.touch(now, index);
            }
        }
        true
    }

    /// Returns why a client that has proven itself may not come in.
    fn objection(&self, introduction: &Introduction) -> Option<(Reason, String)> {
        let accept = self.config.accept.as_ref()?;
        if introduction.version != accept.version {
            let (theirs, ours) = (&introduction.version, &accept.version);
            return Some((
                Reason::WrongVersion,
                format!("the game has version {theirs:?}, the server {ours:?}"),
            ));
        }
        if self.incoming >= accept.max_peers {
            return Some((Reason::Full, format!("all {} places are taken", accept.max_peers)));
        }
        None
    }

    fn handle_refuse(&mut self, now: Timestamp, path: Path, token: u64, reason: u8, detail: &str) -> bool {
        let Some(&index) = self.calls.get(&token) else {
            return false;
        };
        let Some(slot) = &self.slots[index] else { return false };
        let (Stage::Calling(call) | Stage::Confirming(call, ..)) = &slot.stage else {
            return false;
        };
        if !call.has_asked(path) {
            return false;
        }
        let reason = Reason::from_number(reason).unwrap_or(Reason::Goodbye);
        let (id, detail) = (slot.id, detail.to_owned());
        self.end(now, id, reason, &detail, false);
        true
    }

    fn refuse_version(&mut self, path: Path, version: u8, datagram: &[u8]) -> bool {
        let Some(token) = Datagram::hello_token(datagram).filter(|_| self.config.accept.is_some()) else {
            return false;
        };
        let detail = format!("the server speaks netplay protocol {PROTOCOL_VERSION}, the game {version}");
        self.push_refusal(path, token, Reason::WrongProtocol, &detail);
        true
    }

    // ---- Datagrams out ----

    fn push_outgoing(&mut self, path: Path, bytes: Vec<u8>) {
        if self.outgoing.len() < MAX_OUTGOING {
            self.outgoing.push_back((path, bytes));
        }
    }

    fn push_refusal(&mut self, path: Path, token: u64, reason: Reason, detail: &str) {
        let mut bytes = Vec::new();
        Datagram::Refuse {
            token,
            reason: reason.number(),
            detail,
        }
        .emit(&mut bytes);
        self.stats.refused += 1;
        self.push_outgoing(path, bytes);
    }

    fn next_datagram(&mut self, now: Timestamp) -> Option<Path> {
        if let Some((path, bytes)) = self.outgoing.pop_front() {
            self.out = bytes;
            return Some(path);
        }
        while let Some(&index) = self.ready.front() {
            if let Some(slot) = &mut self.slots[index] {
                if let Stage::Open(connection) = &mut slot.stage
                    && let Some(path) = connection.poll_packet(now, &mut self.payload, &mut self.out)
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
                    let detail = call.describe();
                    self.end(now, id, Reason::NoAnswer, &detail, false);
                    return;
                }
                if call.is_hung() {
                    self.call_anew(now, index);
                }
            }
            Stage::Answering(answer) => {
                if now >= answer.expires() {
                    self.unfinished_answers -= 1;
                    self.remove(index);
                    return;
                }
            }
            Stage::Open(connection) => {
                connection.handle_timeout(now, &mut self.inbox);
                if !connection.is_open() {
                    self.forget_established(id);
                }
            }
        }
        self.touch(now, index);
    }

    /// The server has forgotten our handshake: begins another one, with what the game has sent meanwhile.
    fn call_anew(&mut self, now: Timestamp, index: usize) {
        let (token, seed) = (self.random.next_u64(), self.seed());
        if let Some(slot) = self.slots[index].take()
            && let Stage::Confirming(mut call, mut connection, _) = slot.stage
        {
            self.calls.remove(&call.token);
            self.calls.insert(token, index);
            call.begin_anew(now, &self.config.identity, token, seed, connection.take_outbox());
            let stage = Stage::Calling(call);
            self.slots[index] = Some(Slot { stage, ..slot });
        }
    }

    /// Looks after a connection to which something has happened: datagrams of its handshake, its turn, its timer, its end.
    fn touch(&mut self, now: Timestamp, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        match &mut slot.stage {
            Stage::Calling(call) | Stage::Confirming(call, ..) => {
                let outgoing = &mut self.outgoing;
                call.poll_datagrams(now, |path, bytes| {
                    if outgoing.len() < MAX_OUTGOING {
                        outgoing.push_back((path, bytes));
                    }
                });
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

    fn arm(&mut self, index: usize) {
        let Some(slot) = &mut self.slots[index] else { return };
        let deadline = match &slot.stage {
            Stage::Calling(call) | Stage::Confirming(call, ..) => Some(call.next_time()),
            Stage::Answering(answer) => Some(answer.expires()),
            Stage::Open(connection) => connection.deadline(),
        };
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

    /// The server may have let us in already, without our knowing: it must not keep the seat for one who is gone.
    fn say_goodbye_unconfirmed(&mut self, now: Timestamp, index: usize, reason: Reason, detail: &str) {
        if let Some(slot) = self.slots[index].take()
            && let Stage::Confirming(call, mut connection, _) = slot.stage
        {
            self.calls.remove(&call.token);
            connection.refuse(now, reason, detail);
            let stage = Stage::Open(connection);
            self.slots[index] = Some(Slot { stage, ..slot });
            self.touch(now, index);
        }
    }

    fn push_disconnected(&mut self, id: ConnectionId, reason: Reason, detail: &str) {
        let detail = detail.to_owned();
        self.inbox.push_event(id, Event::Disconnected { reason, detail });
    }

    fn push_connected(&mut self, id: ConnectionId, remote: Remote, path: Path, is_incoming: bool) {
        self.established.insert(id);
        let event = Event::Connected {
            remote_name: remote.introduction.name,
            remote_key: remote.key,
            path,
            is_incoming,
        };
        self.inbox.push_event(id, event);
    }

    /// The game knows, or will learn from its inbox, that this connection is over.
    fn forget_established(&mut self, id: ConnectionId) {
        if self.established.remove(&id)
            && let Some(index) = self.index(id)
            && let Some(Slot {
                answer_key: Some(_), ..
            }) = &self.slots[index]
        {
            self.incoming -= 1;
        }
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
            is_ready: false,
            armed: None,
        });
        id
    }

    fn remove(&mut self, index: usize) {
        let Some(slot) = &self.slots[index] else { return };
        self.forget_established(slot.id);
        let Some(slot) = self.slots[index].take() else { return };
        if let Some(key) = slot.answer_key {
            self.answers.remove(&key);
        }
        if let Stage::Calling(call) | Stage::Confirming(call, ..) = &slot.stage {
            self.calls.remove(&call.token);
        }
        if slot.is_ready {
            self.ready.retain(|&other| other != index);
        }
        self.free.push(index);
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        let index = (id.0 & (MAX_SLOTS as u64 - 1)) as usize;
        self.slots
            .get(index)?
            .as_ref()
            .filter(|slot| slot.id == id)
            .map(|_| index)
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

fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
