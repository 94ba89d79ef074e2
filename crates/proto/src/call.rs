//! The client's side of the handshake: ask everywhere, prove the address, prove the keys.
//!
//! ```text
//!   Asking ──cookie──► Proving ──reply, key as expected──► Finishing ──first packet──► a Connection
//!     ▲                   │                                    │
//!     └── no answer ──────┴────────── no answer ───────────────┘     refused, key changed, or too long: Disconnected
//! ```
//!
//! Whatever is not answered is asked again; so a server that starts late or a lossy path only cost time.

use std::time::Duration;

use crate::address::Path;
use crate::config::{Connect, Identity, Key};
use crate::noise::Handshake;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::session::Session;
use crate::time::Timestamp;
use crate::wire::{COOKIE_LEN, Datagram, Introduction, PROTOCOL_VERSION};

/// The first wait for an answer; each further one doubles, up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// After this many unanswered tries with a cookie, the call begins anew on all paths.
const TRIES_PER_COOKIE: u32 = 8;

/// The round trip of a handshake is believed up to this: what took longer was lost and asked for again.
pub(crate) const MAX_FIRST_RTT: Duration = Duration::from_millis(300);

/// The round trip to begin with where the handshake could not measure it.
pub(crate) const FIRST_RTT_GUESS: Duration = Duration::from_millis(100);

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

/// A call under way.
pub(crate) struct Call {
    pub(crate) token: u64,
    /// What the game has sent meanwhile.
    pub(crate) outbox: Outbox,
    options: Connect,
    message_size: usize,
    local_id: u32,
    noise: Option<Handshake>,
    hello: [u8; 48],
    proof: Option<(Path, [u8; COOKIE_LEN])>,
    finish: Option<Vec<u8>>,
    tries: u32,
    sent_at: Timestamp,
    next_try: Timestamp,
    deadline: Timestamp,
    first_rtt: Duration,
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
        options: Connect,
        identity: &Identity,
        message_size: usize,
        local_id: u32,
        token: u64,
        seed: [u8; 32],
    ) -> Self {
        let (noise, hello) = begin(identity, &options, token, seed);
        Self {
            token,
            outbox: Outbox::new(crate::message::MAX_RELIABLE_SIZE),
            deadline: now + options.timeout,
            options,
            message_size,
            local_id,
            noise: Some(noise),
            hello,
            proof: None,
            finish: None,
            tries: 0,
            sent_at: now,
            next_try: now,
            first_rtt: FIRST_RTT_GUESS,
        }
    }

    /// Returns true if the server does not answer our last message: it has forgotten us.
    pub(crate) fn is_hung(&self) -> bool {
        self.finish.is_some() && self.tries >= TRIES_PER_COOKIE
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
        self.proof = None;
        self.finish = None;
        self.tries = 0;
        // Not before the other side can have taken note of our goodbye, in case that it has let us in.
        self.next_try = now + FIRST_RETRY;
    }

    /// Adds a path to ask on, at once.
    pub(crate) fn add_path(&mut self, now: Timestamp, path: Path) {
        if self.options.paths.len() < MAX_PATHS && !self.options.paths.contains(&path) {
            self.options.paths.push(path);
            if self.proof.is_none() {
                self.next_try = now;
                self.tries = 0;
            }
        }
    }

    /// Returns the path in use, or the best guess.
    pub(crate) fn path(&self) -> Option<Path> {
        self.proof
            .map(|(path, _)| path)
            .or_else(|| self.options.paths.first().copied())
    }

    /// Returns true if we have asked on this path: answers from elsewhere are not for us.
    pub(crate) fn has_asked(&self, path: Path) -> bool {
        self.options.paths.contains(&path)
    }

    /// Returns the measured round trip of the handshake, or a guess.
    pub(crate) fn first_rtt(&self) -> Duration {
        self.first_rtt
    }

    /// Returns why the call fails when its time is over, and where and how long we have asked, for a person to read.
    pub(crate) fn failure(&self) -> (Reason, String) {
        let seconds = self.options.timeout.as_secs_f64();
        let places: Vec<String> = self.options.paths.iter().map(|path| path.remote.to_string()).collect();
        if places.is_empty() {
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

    /// Returns when to call [`Self::poll_datagrams`] again, or to give up.
    pub(crate) fn next_time(&self) -> Timestamp {
        self.next_try.min(self.deadline)
    }

    /// Hands over the datagrams that are due.
    pub(crate) fn poll_datagrams(&mut self, now: Timestamp, mut send: impl FnMut(Path, Vec<u8>)) {
        if now < self.next_try {
            return;
        }
        if self.finish.is_none() && self.tries >= TRIES_PER_COOKIE {
            self.proof = None;
        }
        if let (Some(finish), Some((path, _))) = (&self.finish, self.proof) {
            send(path, finish.clone());
        } else {
            let cookie = self.proof.as_ref().map(|(_, cookie)| cookie);
            let hello = Datagram::Hello {
                token: self.token,
                noise: &self.hello,
                cookie,
            };
            let paths = match self.proof {
                Some((path, _)) => &[path][..],
                None => &self.options.paths[..],
            };
            for &path in paths {
                let mut bytes = Vec::new();
                hello.emit(&mut bytes);
                send(path, bytes);
            }
        }
        self.sent_at = now;
        self.next_try = now + (FIRST_RETRY * (1 << self.tries.min(4))).min(LAST_RETRY);
        self.tries += 1;
    }

    /// Takes in a cookie: the first path to answer is the one we use.
    pub(crate) fn handle_cookie(&mut self, now: Timestamp, path: Path, cookie: &[u8; COOKIE_LEN]) {
        let is_other_path = self.proof.is_some_and(|(chosen, _)| chosen != path);
        if self.finish.is_some() || is_other_path || !self.has_asked(path) {
            return;
        }
        // A cookie we sent and got a new one for has expired; the same one again is a duplicate.
        if self.proof.is_some_and(|(_, known)| known == *cookie) {
            return;
        }
        self.measure(now);
        // One who forges cookies must not make us ask without a pause.
        self.next_try = if self.proof.is_none() {
            now
        } else {
            self.next_try.min(self.sent_at + FIRST_RETRY).max(now)
        };
        self.proof = Some((path, *cookie));
        self.tries = 0;
    }

    /// Takes in the server's half of the handshake.
    pub(crate) fn handle_reply(&mut self, now: Timestamp, path: Path, reply: &[u8]) -> Answered {
        if self.proof.is_none_or(|(chosen, _)| chosen != path) {
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
        }
        .emit(&mut payload);
        let mut finish = Vec::new();
        Datagram::Finish {
            server_id: introduction.connection_id,
            noise: &noise.write(&payload),
        }
        .emit(&mut finish);
        self.finish = Some(finish);
        self.measure(now);
        self.tries = 0;
        self.next_try = now;
        Answered::Session {
            session: Box::new(noise.finish()),
            remote_key,
            introduction,
        }
    }

    /// Takes the time since the last try as a round trip, if only one try can have been answered.
    fn measure(&mut self, now: Timestamp) {
        if self.tries == 1 {
            self.first_rtt = (now - self.sent_at).min(MAX_FIRST_RTT);
        }
    }
}
