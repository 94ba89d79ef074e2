//! `tcp://`: bare streams of bytes, with nothing added: no framing, no lengths, no keys.
//!
//! ```text
//!            found            writable             the game, or an error
//!   Calling ───────► dialling ────────► open ──────────────────────────► told, and gone
//!                                        │  the remote side has sent everything
//!                                        ▼
//!                                   half closed ── all of it taken, all of ours sent ──► told, and gone
//! ```
//!
//! Which streams have something to do, one `mio::Poll` knows: a thousand idle ones cost nothing. Reading stops when the game
//! does not take what came, so that the kernel's window stops the sender; writing is bounded by a queue that ends the guest
//! when it is full. Nothing is lost: what a remote side sent before it closed is handed out first, and its end is told one
//! look of the game later, so that an answer to its last words still goes out.

mod dial;
mod guest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Token};
use netplay_proto::{Address, Bans, ConnectionStats, Delivery, Event, Kind, Message, Reason, Timestamp};
use socket2::{SockRef, TcpKeepalive};

use self::dial::Dial;
use self::guest::{Closing, FLUSH, Guest, MESSAGE_COST};
use super::{Engine, GuestId, Watch, connected, disconnected, earlier, not_bytes};
use crate::error::SendError;
use crate::slot::{Look, Next};
use crate::types::{ListenerStats, PeerStats};
use crate::url::Simulation;

/// How many bytes one event hands out at most.
const MAX_EVENT: usize = 64 * 1024;

/// How long to wait when the operating system has no more descriptors for those who call.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How many connections are accepted, and how many streams are told of, in one look.
const MAX_ACCEPTS: usize = 64;
const MAX_TOLD: usize = 1024;

/// After how long of silence the operating system asks whether the other side is there, and after how long without an answer
/// it gives up.
const KEEPALIVE: Duration = Duration::from_secs(15);
const GIVE_UP: Duration = Duration::from_secs(30);

/// How often streams are looked at where the operating system cannot be asked to watch them together.
#[cfg(not(unix))]
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Speaks bare streams: to those who call, or to those it calls.
pub(crate) struct Tcp {
    poll: mio::Poll,
    told: Events,
    #[cfg(unix)]
    watch: Watch,
    listeners: Vec<(Token, TcpListener)>,
    is_listening: bool,
    max_guests: usize,
    send_queue: usize,
    guests: BTreeMap<GuestId, Guest>,
    tokens: BTreeMap<Token, GuestId>,
    last_guest: u64,
    last_token: usize,
    /// Those with something to read or write that nobody will tell of again.
    ready: BTreeSet<GuestId>,
    /// Those with a moment to keep: they dial, are being closed, or are slowed down.
    timed: BTreeSet<GuestId>,
    /// Those with something to hand out, in order.
    turns: VecDeque<GuestId>,
    /// Those whose end may be told from the next look of the game on.
    later: Vec<GuestId>,
    take: u64,
    accept_at: Option<Timestamp>,
    simulation: Option<Simulation>,
    bans: Bans,
    buffer: Vec<u8>,
    stats: ListenerStats,
}

impl Tcp {
    /// Makes one that listens.
    pub(crate) fn listening(
        listeners: Vec<TcpListener>,
        max_guests: usize,
        send_queue: usize,
        simulation: Option<Simulation>,
    ) -> io::Result<Self> {
        let mut tcp = Self::new(max_guests, send_queue, simulation)?;
        tcp.is_listening = true;
        for mut listener in listeners {
            let token = tcp.new_token();
            tcp.poll.registry().register(&mut listener, token, Interest::READABLE)?;
            tcp.listeners.push((token, listener));
        }
        Ok(tcp)
    }

    /// Makes one that calls.
    pub(crate) fn calling(send_queue: usize, simulation: Option<Simulation>) -> io::Result<Self> {
        Self::new(0, send_queue, simulation)
    }

    fn new(max_guests: usize, send_queue: usize, simulation: Option<Simulation>) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        Ok(Self {
            #[cfg(unix)]
            watch: Watch::Poll(std::sync::Arc::new(
                std::os::fd::AsFd::as_fd(&Descriptor(&poll)).try_clone_to_owned()?,
            )),
            poll,
            told: Events::with_capacity(MAX_TOLD),
            listeners: Vec::new(),
            is_listening: false,
            max_guests,
            send_queue,
            guests: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_guest: 0,
            last_token: 0,
            ready: BTreeSet::new(),
            timed: BTreeSet::new(),
            turns: VecDeque::new(),
            later: Vec::new(),
            take: 0,
            accept_at: None,
            simulation,
            bans: Bans::default(),
            buffer: vec![0; MAX_EVENT],
            stats: ListenerStats::default(),
        })
    }

    fn new_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn add_guest(&mut self) -> GuestId {
        self.last_guest += 1;
        let id = GuestId(self.last_guest);
        self.guests.insert(id, Guest::new(self.simulation.as_ref()));
        id
    }

    /// Asks which streams have something to do. Returns true if there may be more.
    fn ask(&mut self, now: Timestamp) -> bool {
        let mut told = std::mem::replace(&mut self.told, Events::with_capacity(1));
        let result = self.poll.poll(&mut told, Some(Duration::ZERO));
        let mut count = 0;
        let mut has_callers = self.accept_at.is_some_and(|at| at <= now);
        if result.is_ok() {
            for event in &told {
                count += 1;
                let Some(id) = self.tokens.get(&event.token()) else {
                    has_callers |= self.listeners.iter().any(|(token, _)| *token == event.token());
                    continue;
                };
                if let Some(guest) = self.guests.get_mut(id) {
                    guest.can_read |= event.is_readable() || event.is_read_closed() || event.is_error();
                    guest.can_write |= event.is_writable() || event.is_write_closed() || event.is_error();
                    self.ready.insert(*id);
                }
            }
        }
        self.told = told;
        if has_callers {
            self.accept(now);
        }
        count >= MAX_TOLD
    }

    fn accept(&mut self, now: Timestamp) {
        self.accept_at = None;
        let listeners = std::mem::take(&mut self.listeners);
        for (_, listener) in &listeners {
            for turn in 0.. {
                if turn == MAX_ACCEPTS {
                    self.accept_at = Some(now);
                    break;
                }
                match listener.accept() {
                    Ok((stream, address)) => self.welcome(now, stream, address),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // One that has gone again before it was accepted.
                    Err(error) if is_about_the_caller(&error) => {}
                    Err(_) => {
                        self.stats.sockets.receive_errors += 1;
                        self.accept_at = Some(now + ACCEPT_AGAIN);
                        break;
                    }
                }
            }
        }
        self.listeners = listeners;
    }

    fn welcome(&mut self, now: Timestamp, mut stream: TcpStream, address: SocketAddr) {
        if self.bans.has_address(now, Address::Ip(address)) {
            self.stats.endpoint.banned += 1;
            return;
        }
        if self.guests.len() >= self.max_guests {
            self.stats.endpoint.refused += 1;
            return;
        }
        let token = self.new_token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, token, interest).is_err() {
            self.stats.sockets.receive_errors += 1;
            return;
        }
        let id = self.add_guest();
        self.open(id, token, stream, address, true);
    }

    /// Takes in a stream that is connected.
    fn open(&mut self, id: GuestId, token: Token, stream: TcpStream, address: SocketAddr, is_incoming: bool) {
        set_options(&stream);
        self.tokens.insert(token, id);
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.stream = Some(stream);
            guest.token = Some(token);
            guest.dial = None;
            guest.address = Some(address);
            guest.is_incoming = is_incoming;
            guest.is_new = true;
            (guest.can_read, guest.can_write) = (true, true);
        }
        if !is_incoming {
            self.timed.remove(&id);
        }
        self.ready.insert(id);
        self.give_turn(id);
    }

    fn give_turn(&mut self, id: GuestId) {
        if let Some(guest) = self.guests.get_mut(&id)
            && !guest.has_turn
        {
            guest.has_turn = true;
            self.turns.push_back(id);
        }
    }

    /// Lets one guest do what it can.
    fn work(&mut self, now: Timestamp, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        if guest.dial.is_some() {
            return self.work_on_dial(now, id);
        }
        guest.release(now);
        let (received, result) = guest.read(&mut self.buffer);
        self.stats.sockets.datagrams_received += u64::from(received > 0);
        let result = result.and_then(|()| guest.write());
        if let Err(error) = result {
            let (reason, detail) = words(&error);
            guest.drop_stream(&mut self.tokens);
            if guest.closing.is_none() {
                guest.end = Some((reason, detail));
            }
        }
        if guest.close_stream(now) {
            guest.drop_stream(&mut self.tokens);
        }
        if guest.stream.is_none() && guest.closing.as_ref().is_some_and(|closing| closing.is_told) {
            self.guests.remove(&id);
            self.timed.remove(&id);
            return;
        }
        if guest.slow.as_ref().is_some_and(|slow| !slow.under_way.is_empty()) || guest.closing.is_some() {
            self.timed.insert(id);
        } else {
            self.timed.remove(&id);
        }
        if guest.has_something_to_tell() {
            self.give_turn(id);
        }
    }

    /// Returns the first moment that one of the timed has to keep.
    fn next_at(&self) -> Option<Timestamp> {
        let moments = self.timed.iter().filter_map(|id| self.guests.get(id)?.next_at());
        earlier(moments.min(), self.accept_at)
    }
}

impl Engine for Tcp {
    fn transport(&self) -> &'static str {
        "raw tcp"
    }

    fn drive(&mut self, now: Timestamp, look: Look) -> Next {
        let before = self.stats.sockets.datagrams_received;
        let has_more = matches!(look, Look::Everywhere { .. }) && self.ask(now);
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(&self.timed);
        for id in ready {
            self.work(now, id);
        }
        let at = self.next_at();
        #[cfg(not(unix))]
        let at = earlier(at, (!self.is_done()).then_some(now + LOOK_AGAIN));
        Next {
            at,
            has_more,
            received: (self.stats.sockets.datagrams_received - before) as usize,
            is_urgent: self.stats.sockets.datagrams_received != before,
        }
    }

    fn events_waiting(&self) -> usize {
        self.turns.len() + self.later.len()
    }

    fn poll_event(&mut self, take: u64) -> Option<(GuestId, Event)> {
        if take != self.take {
            self.take = take;
            self.turns.extend(self.later.drain(..));
        }
        while let Some(id) = self.turns.pop_front() {
            let Some(guest) = self.guests.get_mut(&id) else {
                continue;
            };
            guest.has_turn = false;
            if std::mem::take(&mut guest.is_new)
                && let Some(address) = guest.address
            {
                let event = connected(0, address, guest.is_incoming);
                if guest.has_something_to_tell() {
                    self.give_turn(id);
                }
                return Some((id, event));
            }
            if !guest.is_taken && !guest.incoming.is_empty() && guest.closing.is_none() {
                let data = guest.incoming.split_to(guest.incoming.len().min(MAX_EVENT)).freeze();
                let event = Event::Message {
                    channel: 0,
                    delivery: Delivery::RELIABLE,
                    kind: Kind::BYTES,
                    sequence_id: guest.sequence_id,
                    data: data.into(),
                };
                guest.sequence_id += 1;
                guest.stats.messages_received += 1;
                guest.took = take;
                if guest.can_read {
                    self.ready.insert(id);
                }
                if guest.has_something_to_tell() {
                    self.give_turn(id);
                }
                return Some((id, event));
            }
            if let Some(closing) = &mut guest.closing {
                if closing.is_told {
                    continue;
                }
                closing.is_told = true;
                let (reason, detail) = guest.end.take().unwrap_or((Reason::Closed, String::new()));
                if guest.stream.is_none() {
                    self.guests.remove(&id);
                    self.timed.remove(&id);
                }
                return Some((id, disconnected(reason, &detail)));
            }
            if guest.is_over() {
                if guest.took == take && guest.end.is_none() {
                    // An answer to its last words may follow.
                    guest.has_turn = true;
                    self.later.push(id);
                    continue;
                }
                let (reason, detail) = guest.end.take().unwrap_or((Reason::Goodbye, String::new()));
                guest.drop_stream(&mut self.tokens);
                self.guests.remove(&id);
                self.timed.remove(&id);
                return Some((id, disconnected(reason, &detail)));
            }
        }
        None
    }

    fn call(&mut self, now: Timestamp, timeout: Duration) -> GuestId {
        let id = self.add_guest();
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.dial = Some(Dial {
                addresses: VecDeque::new(),
                attempts: Vec::new(),
                next_at: now,
                deadline: now + timeout,
                has_addresses: false,
                problem: String::new(),
            });
        }
        self.timed.insert(id);
        id
    }

    fn found(&mut self, now: Timestamp, id: GuestId, addresses: &[SocketAddr]) {
        if let Some(dial) = self.guests.get_mut(&id).and_then(|guest| guest.dial.as_mut()) {
            dial.addresses.extend(addresses);
            dial.has_addresses = true;
            self.work(now, id);
        }
    }

    fn refusal(&self, message: &Message) -> Option<SendError> {
        if message.delivery.is_lossy {
            return Some(SendError::NotLossy { scheme: "tcp" });
        }
        if message.channel != 0 {
            return Some(SendError::NoChannel {
                scheme: "tcp",
                channel: message.channel,
                last: 0,
            });
        }
        not_bytes("tcp", message)
    }

    fn send(&mut self, now: Timestamp, id: GuestId, message: &Message) -> Result<bool, SendError> {
        let guest = self.guests.get_mut(&id).ok_or(SendError::Closed)?;
        if guest.end.is_some() || guest.closing.is_some() {
            return Err(SendError::Closed);
        }
        if message.data.is_empty() {
            return Ok(true);
        }
        guest.outgoing_bytes += message.data.len() + MESSAGE_COST;
        if guest.outgoing_bytes > self.send_queue {
            let detail = format!("it did not take {} bytes", guest.outgoing_bytes);
            self.end(now, id, Reason::TooSlow, &detail, false);
            return Ok(true);
        }
        match &mut guest.slow {
            None => guest.outgoing.push_back(message.data.clone()),
            Some(slow) => {
                if let Some(rate) = slow.rate {
                    let micros = message.data.len() as u64 * 8_000_000 / rate.max(1);
                    slow.busy_until = slow.busy_until.max(now) + Duration::from_micros(micros);
                }
                let due = slow.busy_until.max(now) + slow.lag;
                slow.under_way.push_back((due, message.data.clone()));
                self.timed.insert(id);
            }
        }
        self.ready.insert(id);
        Ok(true)
    }

    fn receive(&mut self, now: Timestamp, id: GuestId, max: usize) -> Option<Vec<u8>> {
        if self.guests.get(&id)?.incoming.len() < max {
            self.ask(now);
            self.work(now, id);
        }
        let take = self.take;
        let guest = self.guests.get_mut(&id)?;
        guest.is_taken = true;
        let bytes = guest.incoming.split_to(guest.incoming.len().min(max)).to_vec();
        if !bytes.is_empty() {
            guest.took = take;
        }
        if guest.can_read {
            self.ready.insert(id);
        }
        if guest.has_something_to_tell() {
            self.give_turn(id);
        }
        Some(bytes)
    }

    fn end(&mut self, now: Timestamp, id: GuestId, reason: Reason, detail: &str, is_polite: bool) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        if let Some(closing) = &mut guest.closing {
            if !is_polite {
                closing.until = now;
            }
            return;
        }
        if let Some(dial) = guest.dial.take() {
            for (token, _) in &dial.attempts {
                self.tokens.remove(token);
            }
        }
        guest.end = Some((reason, detail.to_owned()));
        guest.incoming.clear();
        if !is_polite {
            guest.drop_stream(&mut self.tokens);
        }
        guest.closing = Some(Closing {
            until: now + FLUSH,
            is_shut: false,
            is_told: false,
        });
        self.ready.insert(id);
        self.timed.insert(id);
        self.give_turn(id);
    }

    fn stats(&self, id: GuestId) -> Option<PeerStats> {
        let guest = self.guests.get(&id)?;
        Some(PeerStats {
            connection: ConnectionStats {
                queued_bytes: guest.outgoing_bytes,
                ..guest.stats.clone()
            },
            transport: self.transport(),
            address: guest.address.map_or_else(String::new, |address| address.to_string()),
            route: None,
            is_encrypted: false,
        })
    }

    fn listener_stats(&self) -> ListenerStats {
        self.stats.clone()
    }

    fn close(&mut self, now: Timestamp) {
        self.listeners.clear();
        self.is_listening = false;
        self.accept_at = None;
        let ids: Vec<GuestId> = self.guests.keys().copied().collect();
        for id in ids {
            self.end(now, id, Reason::Closed, "", true);
            self.work(now, id);
        }
    }

    fn hurry(&mut self, _now: Timestamp) {
        for guest in self.guests.values_mut() {
            if guest.closing.is_some() {
                guest.drop_stream(&mut self.tokens);
            }
        }
    }

    fn is_done(&self) -> bool {
        !self.is_listening
            && self
                .guests
                .values()
                .all(|guest| guest.closing.is_some() && guest.stream.is_none())
    }

    fn holds_port(&self) -> bool {
        !self.listeners.is_empty()
    }

    fn let_go(&mut self) {
        self.listeners.clear();
    }

    fn has_output(&self) -> bool {
        !self.ready.is_empty()
    }

    fn set_bans(&mut self, now: Timestamp, bans: &Bans) {
        self.bans = bans.clone();
        let is_banned = |guest: &Guest| {
            guest
                .address
                .is_some_and(|address| bans.has_address(now, Address::Ip(address)))
        };
        let banned: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, guest)| is_banned(guest) && guest.closing.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in banned {
            self.stats.endpoint.banned += 1;
            self.end(now, id, Reason::Banned, "", false);
        }
    }

    fn watches(&self) -> Vec<Watch> {
        #[cfg(unix)]
        return vec![self.watch.clone()];
        #[cfg(not(unix))]
        Vec::new()
    }
}

/// The descriptor of a poll, borrowed.
#[cfg(unix)]
struct Descriptor<'a>(&'a mio::Poll);

#[cfg(unix)]
impl std::os::fd::AsFd for Descriptor<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: it is open as long as the poll is, which is borrowed.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(self.0)) }
    }
}

fn set_options(stream: &TcpStream) {
    // What cannot be set costs time or patience, and is no reason to fail.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    #[cfg(unix)]
    let keepalive = keepalive.with_interval(KEEPALIVE / 3).with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(GIVE_UP));
}

fn is_about_the_caller(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Returns why a stream ended that had been open.
fn words(error: &io::Error) -> (Reason, String) {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            (Reason::Goodbye, "the connection was reset".to_owned())
        }
        io::ErrorKind::TimedOut => (Reason::TimedOut, String::new()),
        _ => (Reason::TimedOut, error.to_string()),
    }
}
