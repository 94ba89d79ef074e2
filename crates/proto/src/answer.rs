//! The server's side of a handshake, from the proven Hello to the client's last message.
//!
//! One is kept per proven client until it finishes or [`ANSWER_TIME`] is over; the client does all the asking again.

use std::time::Duration;

use crate::address::Path;
use crate::call::{FIRST_RTT_GUESS, MAX_FIRST_RTT, prologue};
use crate::config::{Accept, Identity, Key};
use crate::noise::{Handshake, NotAuthentic};
use crate::session::Session;
use crate::time::Timestamp;
use crate::wire::{Datagram, Introduction, Seat, SeatClaim};

/// How long a client may take to finish.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A handshake we have answered.
pub(crate) struct Answer {
    pub(crate) token: u64,
    pub(crate) path: Path,
    /// The seat we offer.
    pub(crate) seat: Seat,
    noise: Option<Handshake>,
    reply: Vec<u8>,
    replies: u32,
    replied_at: Timestamp,
    expires: Timestamp,
    /// The client's last message has come and was not authentic.
    pub(crate) has_failed: bool,
}

/// What a handshake ends with.
pub(crate) struct Finished {
    pub(crate) session: Session,
    pub(crate) remote_key: Key,
    pub(crate) introduction: Introduction,
    pub(crate) first_rtt: Duration,
}

/// What we say of the connection that may come of it.
pub(crate) struct Offer {
    /// The id that packets to us must carry.
    pub(crate) connection_id: u32,
    pub(crate) seat: Seat,
    /// The largest reliable message that we accept, in bytes.
    pub(crate) message_size: usize,
}

/// What a client's Hello says, its cookie checked.
pub(crate) struct ProvenHello<'a> {
    pub(crate) path: Path,
    pub(crate) token: u64,
    pub(crate) noise: &'a [u8],
}

impl Answer {
    /// Answers a proven Hello; None if its first Noise message is no good.
    pub(crate) fn new(
        now: Timestamp,
        hello: &ProvenHello<'_>,
        accept: &Accept,
        identity: &Identity,
        offer: &Offer,
        seed: [u8; 32],
    ) -> Option<Self> {
        let prologue = prologue(hello.token);
        let mut noise = Handshake::new(false, identity, &accept.psk, &prologue, seed);
        noise.read(hello.noise).ok()?;
        let mut payload = Vec::new();
        Introduction {
            connection_id: offer.connection_id,
            name: accept.name.clone(),
            version: accept.version.clone(),
            message_size: offer.message_size as u64,
            seat: SeatClaim::Fresh(offer.seat),
        }
        .emit(&mut payload);
        let mut reply = Vec::new();
        Datagram::Reply {
            token: hello.token,
            noise: &noise.write(&payload),
        }
        .emit(&mut reply);
        Some(Self {
            token: hello.token,
            path: hello.path,
            seat: offer.seat,
            noise: Some(noise),
            reply,
            replies: 0,
            replied_at: now,
            expires: now + ANSWER_TIME,
            has_failed: false,
        })
    }

    /// Returns the reply, to be sent now.
    pub(crate) fn reply(&mut self, now: Timestamp) -> Vec<u8> {
        self.replies += 1;
        self.replied_at = now;
        self.reply.clone()
    }

    /// Returns when this handshake is given up.
    pub(crate) fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Takes in the client's last message. One that is not authentic was made with another password, or by somebody else.
    pub(crate) fn finish(&mut self, now: Timestamp, finish: &[u8]) -> Result<Finished, NotAuthentic> {
        let noise = self.noise.as_mut().ok_or(NotAuthentic)?;
        let payload = noise.read(finish)?;
        let introduction = Introduction::parse(&payload).map_err(|_| NotAuthentic)?;
        let noise = self.noise.take().ok_or(NotAuthentic)?;
        let remote_key = noise.remote_key().expect("the third message carries the client's key");
        let first_rtt = if self.replies == 1 {
            (now - self.replied_at).min(MAX_FIRST_RTT)
        } else {
            FIRST_RTT_GUESS
        };
        Ok(Finished {
            session: noise.finish(),
            remote_key,
            introduction,
            first_rtt,
        })
    }
}
