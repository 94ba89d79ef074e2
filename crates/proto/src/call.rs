//! The client's side of the handshake: ask everywhere, prove the address, prove the keys.
//!
//! ```text
//!   Asking ──cookie──► Proving ──reply, key as expected──► Finishing ──first packet──► a Connection
//!     ▲                   │                                    │
//!     └── no answer ──────┴────────── no answer ───────────────┘     refused, key changed, or too long: Disconnected
//! ```
//!
//! Whatever is not answered is asked again; so a server that starts late or a lossy path only cost time. A stream needs no cookie:
//! it has proven the address. Which ways are opened, and when, is in [`Dialer`].

use std::time::Duration;

use crate::address::{Address, Path, Transport};
use crate::config::{Connect, Identity, Key};
use crate::dialer::{Dialer, spread};
use crate::noise::Handshake;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::session::Session;
use crate::time::Timestamp;
use crate::wire::{COOKIE_LEN, Datagram, Introduction, PROTOCOL_VERSION, Seat, SeatClaim};

/// The first wait for an answer; each further one doubles, up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait of a call that goes on for the whole grace of a connection.
const LAST_PATIENT_RETRY: Duration = Duration::from_secs(4);

/// After this many unanswered tries with a cookie, the call begins anew on all paths.
const TRIES_PER_COOKIE: u32 = 8;

/// After this many unanswered tries, a stream is taken for one that is open in name only: it loses nothing by itself.
const TRIES_PER_STREAM: u32 = 4;

/// The round trip of a handshake is believed below this: what took longer may have been lost and asked for again.
pub(crate) const MAX_FIRST_RTT: Duration = Duration::from_millis(300);

/// The round trip to begin with where the handshake could not measure it (RFC 9002 §6.2.2).
pub(crate) const FIRST_RTT_GUESS: Duration = Duration::from_millis(333);

/// How many paths a call may try.
const MAX_PATHS: usize = 16;

/// What both sides mix into the handshake, so that none of it can be changed on the way.
pub(crate) fn prologue(token: u64) -> [u8; 13] {
    let mut prologue = [0; 13];
    prologue[..4].copy_from_slice(b"npla");
    prologue[4] = PROTOCOL_VERSION;
    prologue[5..13].copy_from_slice(&token.to_le_bytes());
    prologue
}

fn begin(identity: &Identity, options: &Connect, token: u64, seed: [u8; 32]) -> (Handshake, [u8; 48]) {
    let mut noise = Handshake::new(true, identity, &options.psk, &prologue(token), seed);
    let hello = noise
        .write(&[])
        .try_into()
        .expect("the pattern's first message has 48 bytes");
    (noise, hello)
}

/// Writes a Hello for this path. Through a tunnel it is as short as it is: nobody there can be made to answer somebody else, and
/// a tunnel may carry less than a Hello's usual size.
fn hello_for(path: Path, token: u64, noise: &[u8; 48], cookie: Option<&[u8; COOKIE_LEN]>, has_seat: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    Datagram::Hello {
        token,
        noise,
        cookie,
        has_seat,
    }
    .emit(&mut bytes);
    if matches!(path.remote, Address::Tunnel { .. }) {
        bytes.truncate(Datagram::hello_len(cookie.is_some()));
    }
    bytes
}

/// A call under way.
pub(crate) struct Call {
    pub(crate) token: u64,
    /// What the game has sent meanwhile.
    pub(crate) outbox: Outbox,
    options: Connect,
    claim: SeatClaim,
    /// What the server has offered in answer to this very handshake.
    offer: Option<Seat>,
    is_new: bool,
    message_size: usize,
    local_id: u32,
    noise: Option<Handshake>,
    hello: [u8; 48],
    ways: Vec<Way>,
    dialer: Dialer,
    /// The path that answered first, and its cookie if it had one.
    proof: Option<(Path, Option<[u8; COOKIE_LEN]>)>,
    finish: Option<Vec<u8>>,
    /// The path that answered first has ended after our last message.
    is_cut: bool,
    tries: u32,
    sent_at: Timestamp,
    next_try: Timestamp,
    last_retry: Duration,
    deadline: Timestamp,
    first_rtt: Duration,
}

/// A path to ask on.
struct Way {
    path: Path,
    tries: u32,
    asked_at: Timestamp,
}

/// What the server's answer led to.
pub(crate) enum Answered {
    /// It was not for us, or not authentic.
    Nothing,
    /// The server has another key than the one we expect.
    KeyChanged(Key),
    /// The keys are made.
    Session {
        session: Box<Session>,
        remote_key: Key,
        introduction: Introduction,
    },
}

impl Call {
    pub(crate) fn new(
        now: Timestamp,
        mut options: Connect,
        identity: &Identity,
        message_size: usize,
        local_id: u32,
        token: u64,
        seed: [u8; 32],
    ) -> Self {
        let (noise, hello) = begin(identity, &options, token, seed);
        let ways = std::mem::take(&mut options.paths);
        Self {
            token,
            outbox: Outbox::new(crate::message::MAX_RELIABLE_SIZE),
            deadline: now + options.timeout,
            claim: options.seat.map_or(SeatClaim::None, SeatClaim::Fresh),
            offer: None,
            is_new: options.seat.is_none(),
            dialer: Dialer::new(now, &options.transports, token),
            options,
            message_size,
            local_id,
            noise: Some(noise),
            hello,
            ways: ways.into_iter().map(Way::new).collect(),
            proof: None,
            finish: None,
            is_cut: false,
            tries: 0,
            sent_at: now,
            next_try: now,
            last_retry: LAST_RETRY,
            first_rtt: FIRST_RTT_GUESS,
        }
    }

    /// Makes it the call of a connection that has lost its way, and everything else not: it asks ever more rarely, since it may
    /// go on for hours.
    pub(crate) fn keep_seat(&mut self, claim: SeatClaim) {
        self.claim = claim;
        self.is_new = false;
        self.last_retry = LAST_PATIENT_RETRY;
    }

    /// Returns the seat it comes back to.
    pub(crate) fn claim(&self) -> SeatClaim {
        self.claim
    }

    /// Takes note of the seat that was offered: if we are let in and never hear of it, we come back to it.
    pub(crate) fn handle_offer(&mut self, offer: Option<Seat>) {
        if self.is_new {
            self.offer = self.offer.or(offer);
        }
    }

    /// Returns true unless it comes back to what was before it.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns true if it comes back to a seat.
    pub(crate) fn has_seat(&self) -> bool {
        self.claim != SeatClaim::None
    }

    /// Returns the terms of the call, to call again with.
    pub(crate) fn options(&self) -> Connect {
        Connect {
            paths: self.paths().collect(),
            ..self.options.clone()
        }
    }

    /// Returns true if the server does not answer our last message: it has forgotten us.
    pub(crate) fn is_hung(&self) -> bool {
        self.finish.is_some() && (self.is_cut || self.tries >= self.patience())
    }

    /// Begins the handshake anew, within the same time.
    pub(crate) fn begin_anew(
        &mut self,
        now: Timestamp,
        identity: &Identity,
        token: u64,
        seed: [u8; 32],
        outbox: Outbox,
    ) {
        let (noise, hello) = begin(identity, &self.options, token, seed);
        self.token = token;
        self.outbox = outbox;
        self.noise = Some(noise);
        self.hello = hello;
        if let Some((path, _)) = self.proof.take()
            && path.remote.is_opened()
        {
            self.ways.retain(|way| way.path != path);
            self.dialer.handle_closed(now);
        }
        self.finish = None;
        self.is_cut = false;
        self.tries = 0;
        self.next_try = now + FIRST_RETRY;
        if let Some(offer) = self.offer {
            // In case that it has let us in without our hearing of it.
            self.claim = SeatClaim::Offered(offer);
        }
    }

    /// Asks no more for a while: who answers is not the one we look for.
    pub(crate) fn wait_longer(&mut self, now: Timestamp) {
        self.next_try = now + LAST_RETRY * 4;
    }

    /// Adds a path to ask on, at once.
    pub(crate) fn add_path(&mut self, now: Timestamp, path: Path) {
        if self.ways.len() < MAX_PATHS && !self.paths().any(|known| known == path) {
            let was_nowhere = self.ways.is_empty();
            self.ways.push(Way::new(path));
            if was_nowhere && self.proof.is_none() {
                self.next_try = now;
                self.tries = 0;
            }
        }
    }

    /// Takes note that no way of this kind could be opened.
    pub(crate) fn handle_no_path(&mut self, now: Timestamp, transport: Transport) {
        self.dialer.handle_no_path(now, transport);
    }

    /// Takes note that a stream has ended.
    pub(crate) fn handle_path_closed(&mut self, now: Timestamp, path: Path) {
        let before = self.ways.len();
        self.ways.retain(|way| way.path != path);
        if self.ways.len() == before {
            return;
        }
        self.dialer.handle_closed(now);
        if self.proof.is_some_and(|(chosen, _)| chosen == path) {
            if self.finish.is_some() {
                self.is_cut = true;
            } else {
                self.proof = None;
            }
            self.next_try = now;
        }
    }

    /// Returns the next kind of way to open.
    pub(crate) fn poll_dial(&mut self, now: Timestamp) -> Option<Transport> {
        if self.proof.is_some() {
            return None;
        }
        self.dialer.poll(now)
    }

    /// Returns the path in use, or the best guess.
    pub(crate) fn path(&self) -> Option<Path> {
        self.proof.map(|(path, _)| path).or_else(|| self.paths().next())
    }

    /// Returns the paths it asks on; only the first to answer, once there is one.
    pub(crate) fn asked_paths(&self) -> impl Iterator<Item = Path> + '_ {
        let chosen = self.proof.map(|(path, _)| path);
        self.paths()
            .filter(move |path| chosen.is_none_or(|chosen| chosen == *path))
    }

    fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.ways.iter().map(|way| way.path)
    }

    /// Returns true if we have asked on this path: answers from elsewhere are not for us.
    pub(crate) fn has_asked(&self, path: Path) -> bool {
        self.paths().any(|known| known == path)
    }

    /// Returns the measured round trip of the handshake, or a guess.
    pub(crate) fn first_rtt(&self) -> Duration {
        self.first_rtt
    }

    /// Returns why the call fails when its time is over, and where and how long we have asked, for a person to read.
    pub(crate) fn failure(&self) -> (Reason, String) {
        let seconds = self.options.timeout.as_secs_f64();
        let mut places: Vec<String> = self.paths().map(|path| path.remote.to_string()).collect();
        places.dedup();
        // Through a tunnel there is no name that could be wrong: the id is whom, and nobody there has answered.
        let has_no_name = self.options.transports == [Transport::P2p];
        if places.is_empty() && (self.dialer.has_failed() || has_no_name) {
            (
                Reason::NoAnswer,
                format!("nobody could be reached in {seconds} seconds"),
            )
        } else if places.is_empty() {
            // Nobody was asked: whoever knows the addresses of names has not told one in time.
            (Reason::UnknownHost, format!("no address found in {seconds} seconds"))
        } else {
            let places = places.join(" and ");
            (Reason::NoAnswer, format!("asked {places} for {seconds} seconds"))
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.deadline
    }

    /// Returns when to call [`Self::poll_datagrams`] or [`Self::poll_dial`] again, or to give up.
    pub(crate) fn next_time(&self) -> Timestamp {
        let next = self.next_try.min(self.deadline);
        match self.dialer.next_time() {
            Some(dial) if self.proof.is_none() => next.min(dial),
            _ => next,
        }
    }

    /// Hands over the datagrams that are due.
    pub(crate) fn poll_datagrams(&mut self, now: Timestamp, mut send: impl FnMut(Path, Vec<u8>)) {
        let is_due = now >= self.next_try;
        if is_due {
            let is_silent = |way: &Way| way.path.remote.is_stream() && way.tries >= TRIES_PER_STREAM;
            self.ways.retain(|way| !is_silent(way));
            if self.finish.is_none() && self.tries >= TRIES_PER_COOKIE {
                self.proof = None;
            }
        }
        match (&self.finish, self.proof) {
            (Some(finish), Some((path, _))) if is_due => send(path, finish.clone()),
            (None, Some((path, cookie))) if is_due => send(path, self.hello(path, cookie.as_ref())),
            (_, None) => {
                let (token, hello, has_seat) = (self.token, &self.hello, self.has_seat());
                for way in self.ways.iter_mut().filter(|way| is_due || way.tries == 0) {
                    way.tries += 1;
                    way.asked_at = now;
                    send(way.path, hello_for(way.path, token, hello, None, has_seat));
                }
            }
            _ => (),
        }
        if is_due {
            let wait = FIRST_RETRY * (1 << self.tries.min(7));
            // Somebody is there who answers: no reason to be patient.
            let last_retry = if self.proof.is_some() {
                LAST_RETRY
            } else {
                self.last_retry
            };
            self.sent_at = now;
            let wait = wait.min(last_retry);
            self.next_try = now
                + if wait > LAST_RETRY {
                    spread(wait, self.token, self.tries)
                } else {
                    wait
                };
            self.tries += 1;
        }
    }

    /// Returns how many tries may go unanswered.
    fn patience(&self) -> u32 {
        let is_stream = self.proof.is_some_and(|(path, _)| path.remote.is_stream());
        if is_stream { TRIES_PER_STREAM } else { TRIES_PER_COOKIE }
    }

    fn hello(&self, path: Path, cookie: Option<&[u8; COOKIE_LEN]>) -> Vec<u8> {
        hello_for(path, self.token, &self.hello, cookie, self.has_seat())
    }

    /// Takes in a cookie: the first path to answer is the one we use.
    pub(crate) fn handle_cookie(&mut self, now: Timestamp, path: Path, cookie: &[u8; COOKIE_LEN]) {
        let is_other_path = self.proof.is_some_and(|(chosen, _)| chosen != path);
        if self.finish.is_some() || is_other_path || !self.has_asked(path) {
            return;
        }
        // A cookie we sent and got a new one for has expired; the same one again is a duplicate.
        if self.proof.is_some_and(|(_, known)| known == Some(*cookie)) {
            return;
        }
        // A second cookie says that the path is longer than our patience: from here on, what is answered may be any of our tries.
        let is_first = self.proof.is_none();
        if is_first {
            self.measure(now, path);
        }
        // One who forges cookies must not make us ask without a pause.
        self.next_try = if is_first {
            now
        } else {
            self.next_try.min(self.sent_at + FIRST_RETRY).max(now)
        };
        self.proof = Some((path, Some(*cookie)));
        self.tries = u32::from(!is_first);
    }

    /// Takes in the server's half of the handshake.
    pub(crate) fn handle_reply(&mut self, now: Timestamp, path: Path, reply: &[u8]) -> Answered {
        let is_from_there = match self.proof {
            Some((chosen, _)) => chosen == path,
            // A stream or a tunnel is answered at once.
            None => path.remote.is_opened() && self.has_asked(path),
        };
        if !is_from_there {
            return Answered::Nothing;
        }
        let Some(noise) = &mut self.noise else {
            return Answered::Nothing;
        };
        let Ok(payload) = noise.read(reply) else {
            return Answered::Nothing;
        };
        let Ok(introduction) = Introduction::parse(&payload) else {
            return Answered::Nothing;
        };
        let remote_key = noise.remote_key().expect("the second message carries the server's key");
        if self.options.pinned_key.is_some_and(|pinned| pinned != remote_key) {
            return Answered::KeyChanged(remote_key);
        }
        let Some(mut noise) = self.noise.take() else {
            return Answered::Nothing;
        };
        let mut payload = Vec::new();
        Introduction {
            connection_id: self.local_id,
            name: self.options.name.clone(),
            version: self.options.version.clone(),
            message_size: self.message_size as u64,
            seat: self.claim,
        }
        .emit(&mut payload);
        let mut finish = Vec::new();
        Datagram::Finish {
            server_id: introduction.connection_id,
            noise: &noise.write(&payload),
        }
        .emit(&mut finish);
        self.finish = Some(finish);
        self.measure(now, path);
        self.proof.get_or_insert((path, None));
        self.tries = 0;
        self.next_try = now;
        Answered::Session {
            session: Box::new(noise.finish()),
            remote_key,
            introduction,
        }
    }

    /// Takes the time since the last try as a round trip, if only one try can have been answered.
    fn measure(&mut self, now: Timestamp, path: Path) {
        let (tries, asked_at) = match self.proof {
            Some(_) => (self.tries, self.sent_at),
            None => self
                .ways
                .iter()
                .find(|way| way.path == path)
                .map_or((0, now), |way| (way.tries, way.asked_at)),
        };
        if tries == 1 {
            self.first_rtt = (now - asked_at).min(MAX_FIRST_RTT);
        }
    }
}

impl Way {
    fn new(path: Path) -> Self {
        Self {
            path,
            tries: 0,
            asked_at: Timestamp::ZERO,
        }
    }
}
