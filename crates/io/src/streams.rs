//! All streams of a slot: accepted, opened, watched by one `mio::Poll`, read in turn, and closed when nobody uses them.
//!
//! It knows streams, paths and moments, and tells the endpoint what comes, opens and ends. It must not know names, nor who
//! drives. To the endpoint a stream is a path like any other, see [`path_of`].
//!
//! Whoever connects and leaves it at that costs a place among a few ([`MAX_UNUSED`]) for a few seconds ([`UNUSED_FOR`]). A
//! stream has a place of its own only once the endpoint says that a connection uses it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
#[cfg(unix)]
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use netplay_proto::{Address, Block, ConnectionId, Endpoint, Path, Timestamp, Transport};

use crate::dial::Dial;
use crate::stream::{End, Stream, Terms};
use crate::types::SocketStats;

/// How long a stream may be in nobody's use; also how long one may take to say what it is.
const UNUSED_FOR: Duration = Duration::from_secs(5);

/// How many may be in nobody's use at once, in all and from one host (not counted for this machine itself). The oldest makes
/// room.
const MAX_UNUSED: usize = 256;
const MAX_UNUSED_OF_HOST: usize = 32;

/// A stream with so many bytes waiting for the operating system takes no more, until there are less than so many: one flush of
/// datagrams may still come on top. What waits in the connection instead may be dropped or overtaken.
const HOLD_FROM: usize = 16 * 1024;
const RELEASE_BELOW: usize = 4 * 1024;

/// How often the endpoint is asked which streams it uses, and how often at most when there is no more room.
const SWEEP: Duration = Duration::from_secs(1);
const HASTY_SWEEP: Duration = Duration::from_millis(50);

/// How many are accepted in one go by each listener.
const MAX_ACCEPTED: usize = 64;

/// How long to accept none after the operating system had no more to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much is read from one stream before it is another's turn.
const BUFFER: usize = 16 * 1024;

/// How many streams are told of in one call of the operating system.
const EVENTS: usize = 256;

/// Where there is nothing to watch many streams by, we look this often.
#[cfg(not(unix))]
const LOOK: Duration = Duration::from_millis(1);

/// Tokens from here up are listeners.
const LISTENERS: usize = usize::MAX - 1024;

/// What a path through a stream has instead of the number of a socket: what the stream is. It outlives the stream.
const SOCKET_OF_TCP: u16 = u16::MAX;
const SOCKET_OF_WS: u16 = u16::MAX - 1;
const SOCKET_OF_WSS: u16 = u16::MAX - 2;

/// Returns the path through a stream.
pub(crate) fn path_of(transport: Transport, number: u32, remote: SocketAddr) -> Path {
    let socket = match transport {
        Transport::Ws => SOCKET_OF_WS,
        Transport::Wss => SOCKET_OF_WSS,
        Transport::Tcp | Transport::Udp | Transport::P2p => SOCKET_OF_TCP,
    };
    let remote = Address::Stream { number, remote };
    Path { socket, remote }
}

/// Returns how what carries the datagrams of a path is called; of a stream that may have ended.
pub(crate) fn name_of(path: Path) -> Option<&'static str> {
    path.remote.is_stream().then_some(match path.socket {
        SOCKET_OF_WS => "ws",
        SOCKET_OF_WSS => "wss",
        _ => "tcp",
    })
}

/// The streams of a slot.
pub(crate) struct Streams {
    poll: Poll,
    events: Events,
    /// By which another thread may watch them all.
    #[cfg(unix)]
    watch: Arc<std::os::fd::OwnedFd>,
    listeners: Vec<Listener>,
    terms: Terms,
    streams: BTreeMap<u32, Entry>,
    last_number: u32,
    /// Those that may have something to read, in turn.
    ready: VecDeque<u32>,
    /// Those to which something was sent since the last flush.
    unflushed: BTreeSet<u32>,
    /// Those that take nothing now, and what the endpoint has not been told of that.
    held: BTreeSet<u32>,
    holds: Vec<(Path, bool)>,
    /// Those in nobody's use; older ones have lower numbers.
    unused: BTreeSet<u32>,
    dials: Vec<Dial>,
    swept: Timestamp,
    accept_at: Option<Timestamp>,
    buffer: Vec<u8>,
}

struct Listener {
    socket: mio::net::TcpListener,
    /// Somebody may wait to be accepted.
    is_ready: bool,
}

struct Entry {
    stream: Stream,
    /// When somebody used it last.
    used: Timestamp,
    is_ready: bool,
    is_told: bool,
    /// The endpoint was asked since it came whether it is in use.
    is_asked: bool,
}

impl Streams {
    /// Makes what listens on these sockets, or with none of them only calls.
    pub(crate) fn new(sockets: Vec<TcpListener>, terms: Terms) -> io::Result<Self> {
        let poll = Poll::new()?;
        #[cfg(unix)]
        let watch = {
            use std::os::fd::AsFd;
            Arc::new(watch_of(&poll)?.as_fd().try_clone_to_owned()?)
        };
        let mut listeners = Vec::new();
        for (index, socket) in sockets.into_iter().enumerate() {
            let mut socket = mio::net::TcpListener::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(LISTENERS + index), Interest::READABLE)?;
            let is_ready = false;
            listeners.push(Listener { socket, is_ready });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            #[cfg(unix)]
            watch,
            listeners,
            terms,
            streams: BTreeMap::new(),
            last_number: 0,
            ready: VecDeque::new(),
            unflushed: BTreeSet::new(),
            held: BTreeSet::new(),
            holds: Vec::new(),
            unused: BTreeSet::new(),
            dials: Vec::new(),
            swept: Timestamp::ZERO,
            accept_at: None,
            buffer: vec![0; BUFFER],
        })
    }

    /// Returns what has something to read as soon as one of the streams has something to do.
    #[cfg(unix)]
    pub(crate) const fn watch(&self) -> &Arc<std::os::fd::OwnedFd> {
        &self.watch
    }

    /// Returns true if one of them has more to read than was read.
    pub(crate) fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns how many are open.
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Accepts, reads and opens, and tells the endpoint. `left` is how many datagrams may still be taken in. Returns true if there
    /// may be more already.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        endpoint: &mut Endpoint,
        stats: &mut SocketStats,
        left: &mut usize,
    ) -> bool {
        self.look();
        let is_accepting = self.accept(now, endpoint, stats);
        self.read(now, endpoint, stats, left);
        if !self.streams.is_empty() && now >= self.swept + SWEEP {
            self.sweep(now, endpoint, stats);
        }
        self.drive_dials(now, endpoint);
        is_accepting || self.has_more()
    }

    /// Asks the operating system which streams have something to do.
    fn look(&mut self) {
        loop {
            // Anything else than being interrupted would be a fault of ours.
            if self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_err() {
                return;
            }
            let mut count = 0;
            for event in &self.events {
                count += 1;
                let token = event.token().0;
                if let Some(listener) = token
                    .checked_sub(LISTENERS)
                    .and_then(|index| self.listeners.get_mut(index))
                {
                    listener.is_ready = true;
                    continue;
                }
                let number = token as u32;
                let Some(entry) = self.streams.get_mut(&number) else {
                    continue;
                };
                if event.is_writable() {
                    self.unflushed.insert(number);
                }
                // Also when only writable: one that is being connected shows so.
                if !std::mem::replace(&mut entry.is_ready, true) {
                    self.ready.push_back(number);
                }
            }
            if count < EVENTS {
                return;
            }
        }
    }

    /// Lets those in who wait, a bounded number. Returns true if more may wait.
    fn accept(&mut self, now: Timestamp, endpoint: &mut Endpoint, stats: &mut SocketStats) -> bool {
        if self.accept_at.is_some_and(|at| now < at) {
            return false;
        }
        self.accept_at = None;
        let mut has_more = false;
        for index in 0..self.listeners.len() {
            let mut left = MAX_ACCEPTED;
            while self.listeners[index].is_ready {
                if left == 0 {
                    has_more = true;
                    break;
                }
                left -= 1;
                match self.listeners[index].socket.accept() {
                    Ok((socket, remote)) => {
                        stats.streams_accepted += 1;
                        self.make_room(now, endpoint, stats, remote.ip());
                        let stream = Stream::incoming(socket, remote);
                        stream.tune();
                        if self.add(now, stream).is_none() {
                            stats.accept_errors += 1;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listeners[index].is_ready = false,
                    // Somebody who has left again already.
                    Err(error) if is_passing(&error) => {}
                    Err(_) => {
                        // No descriptors or no memory: whoever waits goes on waiting, and we do not spin.
                        stats.accept_errors += 1;
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        return false;
                    }
                }
            }
        }
        has_more
    }

    /// Closes the oldest of those that nobody uses, if there are too many.
    fn make_room(&mut self, now: Timestamp, endpoint: &mut Endpoint, stats: &mut SocketStats, host: IpAddr) {
        let Some(oldest) = self.one_too_many(host) else {
            return;
        };
        let is_asked = self.streams.get(&oldest).is_some_and(|entry| entry.is_asked);
        if !is_asked || now >= self.swept + HASTY_SWEEP {
            // It may be in use by now.
            self.sweep(now, endpoint, stats);
        }
        while let Some(oldest) = self.one_too_many(host) {
            stats.streams_refused += 1;
            self.end(now, endpoint, oldest);
        }
    }

    /// Returns the oldest of those that nobody uses, of this host or of all, if there is no room for one more.
    fn one_too_many(&self, host: IpAddr) -> Option<u32> {
        if self.unused.len() >= MAX_UNUSED {
            return self.unused.first().copied();
        }
        if host.is_loopback() {
            return None;
        }
        // An IPv6 network of a household is one host.
        let host = Block::host(host);
        let is_of_host = |number: &u32| {
            let entry = self.streams.get(number);
            entry.is_some_and(|entry| Block::host(entry.stream.remote().ip()) == host)
        };
        let mut same = self.unused.iter().copied().filter(is_of_host);
        let oldest = same.next()?;
        (same.count() + 1 >= MAX_UNUSED_OF_HOST).then_some(oldest)
    }

    /// Takes a stream in and returns its number.
    fn add(&mut self, now: Timestamp, mut stream: Stream) -> Option<u32> {
        // So many come in no program's life; the next would be one that has been.
        let number = self.last_number.checked_add(1)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(number as usize);
        self.poll.registry().register(stream.socket(), token, interest).ok()?;
        self.last_number = number;
        let entry = Entry {
            stream,
            used: now,
            is_ready: false,
            is_told: false,
            is_asked: false,
        };
        self.streams.insert(number, entry);
        self.unused.insert(number);
        Some(number)
    }

    /// Reads from each that has something, in turn.
    fn read(&mut self, now: Timestamp, endpoint: &mut Endpoint, stats: &mut SocketStats, left: &mut usize) {
        // What says nothing that counts must not keep us either.
        let mut tries = self.ready.len() + *left;
        while *left > 0 && tries > 0 {
            tries -= 1;
            let Some(number) = self.ready.pop_front() else {
                break;
            };
            let Some(entry) = self.streams.get_mut(&number) else {
                continue;
            };
            let remote = entry.stream.remote();
            let result = entry
                .stream
                .read(&mut self.buffer, &self.terms, &mut |transport, datagram| {
                    stats.datagrams_received += 1;
                    *left = left.saturating_sub(1);
                    endpoint.handle_datagram(now, path_of(transport, number, remote), datagram);
                });
            if let Some(transport) = entry.stream.transport()
                && !std::mem::replace(&mut entry.is_told, true)
            {
                self.tell_opened(now, endpoint, number, path_of(transport, number, remote));
            }
            match result {
                Ok(true) => {
                    self.ready.push_back(number);
                    self.unflushed.insert(number);
                }
                Ok(false) => {
                    // Whoever has just been connected has something to say.
                    self.unflushed.insert(number);
                    if let Some(entry) = self.streams.get_mut(&number) {
                        entry.is_ready = false;
                    }
                }
                Err(end) => {
                    stats.stream_errors += u64::from(end == End::Broken);
                    self.end(now, endpoint, number);
                }
            }
        }
        self.flush();
    }

    fn tell_opened(&mut self, now: Timestamp, endpoint: &mut Endpoint, number: u32, path: Path) {
        for dial in &mut self.dials {
            if dial.handle_opened(number, path) {
                endpoint.add_path(now, dial.id(), path);
            }
        }
    }

    /// Drops a stream, and tells the endpoint if it was a path.
    fn end(&mut self, now: Timestamp, endpoint: &mut Endpoint, number: u32) {
        let Some(mut entry) = self.streams.remove(&number) else {
            return;
        };
        self.unused.remove(&number);
        self.unflushed.remove(&number);
        self.held.remove(&number);
        let _ = self.poll.registry().deregister(entry.stream.socket());
        let transport = entry.stream.transport();
        entry.stream.finish(&mut self.buffer);
        if let Some(transport) = transport {
            endpoint.handle_path_closed(now, path_of(transport, number, entry.stream.remote()));
        }
        for dial in &mut self.dials {
            dial.handle_ended(now, number);
        }
    }

    /// Closes those that nobody has used for a while.
    fn sweep(&mut self, now: Timestamp, endpoint: &mut Endpoint, stats: &mut SocketStats) {
        self.swept = now;
        let used = endpoint.used_paths();
        let numbers: BTreeSet<u32> = used.iter().filter_map(|path| number_of(path.remote)).collect();
        self.unused.clear();
        let mut idle = Vec::new();
        for (number, entry) in &mut self.streams {
            entry.is_asked = true;
            if numbers.contains(number) {
                entry.used = now;
            } else {
                self.unused.insert(*number);
                if now >= entry.used + UNUSED_FOR {
                    idle.push(*number);
                }
            }
        }
        for number in idle {
            stats.streams_idle += 1;
            self.end(now, endpoint, number);
        }
    }

    /// Sends a datagram through a stream; false if it has ended or has no room.
    pub(crate) fn push(&mut self, number: u32, datagram: &[u8]) -> bool {
        let Some(entry) = self.streams.get_mut(&number) else {
            return false;
        };
        self.unflushed.insert(number);
        entry.stream.push(datagram)
    }

    /// Hands what was sent to the operating system, as far as it takes it.
    pub(crate) fn flush(&mut self) {
        while let Some(number) = self.unflushed.pop_first() {
            let Some(entry) = self.streams.get_mut(&number) else {
                continue;
            };
            entry.stream.write();
            let queued = entry.stream.queued();
            let is_changed = match self.held.contains(&number) {
                false => queued >= HOLD_FROM && self.held.insert(number),
                true => queued < RELEASE_BELOW && self.held.remove(&number),
            };
            if is_changed && let Some(transport) = entry.stream.transport() {
                let path = path_of(transport, number, entry.stream.remote());
                self.holds.push((path, self.held.contains(&number)));
            }
        }
    }

    /// Tells the endpoint which streams take nothing now, and which do again. Returns true if there was anything to tell.
    pub(crate) fn tell_holds(&mut self, endpoint: &mut Endpoint) -> bool {
        let is_news = !self.holds.is_empty();
        for (path, is_held) in self.holds.drain(..) {
            endpoint.set_path_held(path, is_held);
        }
        is_news
    }

    /// Says what is left to be said on each, before they are dropped.
    pub(crate) fn finish(&mut self) {
        for entry in self.streams.values_mut() {
            entry.stream.finish(&mut self.buffer);
        }
    }

    /// Returns when it must be asked again at the latest.
    pub(crate) fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let sweep = (!self.streams.is_empty()).then(|| self.swept + SWEEP);
        let dial = self.dials.iter().filter_map(Dial::next_at).min();
        #[cfg(unix)]
        let look = None;
        #[cfg(not(unix))]
        let look = Some(now + LOOK);
        // In the past there is nothing to be waited for.
        Timestamp::first([sweep, dial, look, self.accept_at]).map(|at| at.max(now))
    }

    /// Begins to open ways of one kind, unless that is being done already.
    pub(crate) fn dial(&mut self, now: Timestamp, endpoint: &mut Endpoint, dial: Dial) {
        let mut same = self.dials.iter_mut().filter(|other| other.is_like(&dial));
        match same.next() {
            Some(other) => other.add_addresses(dial.addresses()),
            None => self.dials.push(dial),
        }
        self.drive_dials(now, endpoint);
    }

    /// Opens no more ways: those who wanted them are gone.
    pub(crate) fn forget_dials(&mut self) {
        self.dials.clear();
    }

    /// Tries further addresses where ways are just being opened for this connection.
    pub(crate) fn add_addresses(&mut self, id: ConnectionId, addresses: &[SocketAddr]) {
        for dial in self.dials.iter_mut().filter(|dial| dial.id() == id) {
            dial.add_addresses(addresses.iter().copied());
        }
    }

    /// Starts what is due, and says what has come to nothing.
    fn drive_dials(&mut self, now: Timestamp, endpoint: &mut Endpoint) {
        let mut dials = std::mem::take(&mut self.dials);
        dials.retain_mut(|dial| {
            if endpoint.connection_stats(dial.id()).is_none() {
                return false;
            }
            while let Some(started) = dial.start(now, endpoint) {
                let number = started.ok().and_then(|stream| self.add(now, stream));
                dial.handle_started(now, number);
            }
            if !dial.is_over() {
                return true;
            }
            if !dial.has_opened() {
                endpoint.handle_no_path(now, dial.id(), dial.transport());
            }
            false
        });
        self.dials = dials;
    }
}

/// Returns the number of a stream's path.
pub(crate) fn number_of(address: Address) -> Option<u32> {
    match address {
        Address::Stream { number, .. } => Some(number),
        _ => None,
    }
}

/// Returns true if the error is about one who wanted in, not about us.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

#[cfg(unix)]
fn watch_of(poll: &Poll) -> io::Result<std::os::fd::BorrowedFd<'_>> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor belongs to `poll`, which the result borrows.
    Ok(unsafe { std::os::fd::BorrowedFd::borrow_raw(poll.as_raw_fd()) })
}
