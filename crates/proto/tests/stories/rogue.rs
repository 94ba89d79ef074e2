//! One who speaks the protocol by hand: a [`Victim`] is one endpoint with nobody honest around it; a [`Rogue`] makes datagrams
//! out of `netplay_proto::wire` and the crate `snow`, with the keys of its own handshake, and writes into them what it likes.

use std::time::Duration;

use netplay_proto::wire::{Chunk, Datagram, Introduction, MessageChunk, PacketHeader, Part, Seat, SeatClaim};
use netplay_proto::{
    Accept, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Key, Kind, Limits, Message, Output,
    Path, Reason, SendError, Timestamp,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};

use crate::world::{path_to, terms};

pub(crate) const NO_PASSWORD: Key = [0; 32];

/// One endpoint, alone with whoever attacks it.
pub(crate) struct Victim {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Timestamp,
    pub(crate) events: Vec<(ConnectionId, Event)>,
    pub(crate) takes_events: bool,
    /// Where it has sent its datagrams, in order.
    pub(crate) to: Vec<Path>,
}

impl Victim {
    pub(crate) fn server(accept: Accept) -> Self {
        Self::new(Some(accept))
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::new_with(Some(terms()), limits)
    }

    pub(crate) fn new(accept: Option<Accept>) -> Self {
        Self::new_with(accept, Limits::default())
    }

    fn new_with(accept: Option<Accept>, limits: Limits) -> Self {
        let config = EndpointConfig {
            identity: Identity::from_secret([1; 32]),
            accept,
            limits,
        };
        Self {
            endpoint: Endpoint::new(config, [1; 32]),
            now: Timestamp::from_millis(1000),
            events: Vec::new(),
            takes_events: true,
            to: Vec::new(),
        }
    }

    /// Returns what the endpoint says to these datagrams from one path.
    pub(crate) fn hear<'a>(&mut self, from: Path, datagrams: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        for datagram in datagrams {
            self.endpoint.handle_datagram(self.now, from, datagram);
        }
        let mut said = Vec::new();
        while let Output::Datagram { path, bytes } = self.endpoint.poll_output(self.now) {
            said.push(bytes.to_vec());
            self.to.push(path);
        }
        while self.takes_events
            && let Some(event) = self.endpoint.poll_event()
        {
            self.events.push(event);
        }
        said
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Vec<u8>> {
        self.now += time;
        self.hear(path_to(0), [])
    }

    pub(crate) fn send(&mut self, id: ConnectionId, channel: u8, size: usize) -> Result<u64, SendError> {
        let message = Message {
            channel,
            delivery: Delivery::RELIABLE,
            kind: Kind::BYTES,
            data: vec![0; size].into(),
        };
        self.endpoint.send(self.now, id, &message)
    }

    pub(crate) fn disconnected(&self) -> Option<(Reason, &str)> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Disconnected { reason, detail } => Some((*reason, detail.as_str())),
            _ => None,
        })
    }
}

/// The attacker's side of one connection.
pub(crate) struct Rogue {
    pub(crate) path: Path,
    pub(crate) receiver_id: u32,
    pub(crate) session: StatelessTransportState,
    pub(crate) next_number: u64,
    pub(crate) is_odd_phase: bool,
}

impl Rogue {
    /// Knocks at a server, with this introduction.
    pub(crate) fn enter(victim: &mut Victim, node: u64, message_size: u64) -> Self {
        Self::enter_by(victim, path_to(node), node, message_size)
    }

    /// Knocks at a server by a path, with this token.
    pub(crate) fn enter_by(victim: &mut Victim, path: Path, token: u64, message_size: u64) -> Self {
        let (token, reply) = ask(victim, path, token);
        Self::finish(victim, path, token, &reply, &introduction(message_size)).0
    }

    /// Knocks at a server, saying that it has this seat, with a token that was not used before. Returns the server's answer and
    /// the seat that it offered, too; None if it does not answer now.
    pub(crate) fn come_back(
        victim: &mut Victim,
        path: Path,
        token: u64,
        claim: SeatClaim,
    ) -> Option<(Self, Vec<Vec<u8>>, Seat)> {
        let (token, reply) = ask(victim, path, token);
        if reply.is_empty() {
            return None;
        }
        let offered = read_reply(token, token, &reply, &NO_PASSWORD).1.seat.seat()?;
        let (rogue, said) = Self::finish(victim, path, token, &reply, &introduction_claiming(1 << 20, claim));
        Some((rogue, said, offered))
    }

    fn finish(victim: &mut Victim, path: Path, token: u64, reply: &[u8], introduction: &[u8]) -> (Self, Vec<Vec<u8>>) {
        let (finish, session, receiver_id) = finish(&token, token, reply, &NO_PASSWORD, introduction);
        let said = victim.hear(path, [&finish[..]]);
        let rogue = Self {
            path,
            receiver_id,
            session,
            next_number: 0,
            is_odd_phase: false,
        };
        (rogue, said)
    }

    pub(crate) fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketHeader {
            is_odd_phase: self.is_odd_phase,
            ..PacketHeader::new(self.receiver_id, self.next_number, 1 << 20)
        }
        .emit(&mut bytes);
        let start = bytes.len();
        bytes.resize(start + payload.len() + 16, 0);
        self.session
            .write_message(self.next_number, payload, &mut bytes[start..])
            .unwrap();
        self.next_number += 1;
        bytes
    }

    /// Opens the packets among these datagrams that are for this connection, and returns the reasons of the goodbyes in them.
    pub(crate) fn reasons(&self, datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut reasons = Vec::new();
        for datagram in datagrams {
            let Ok(Datagram::Packet { header, sealed }) = Datagram::parse(datagram) else {
                continue;
            };
            let mut payload = vec![0; sealed.len()];
            let number = u64::from(header.number);
            if let Ok(len) = self.session.read_message(number, sealed, &mut payload) {
                reasons.extend(Chunk::parse_all(&payload[..len]).filter_map(|chunk| match chunk {
                    Ok(Chunk::Close { reason, .. }) => Some(reason),
                    _ => None,
                }));
            }
        }
        reasons
    }

    pub(crate) fn say(&mut self, victim: &mut Victim, chunks: &[Chunk<'_>]) -> Vec<Vec<u8>> {
        let mut payload = Vec::new();
        chunks.iter().for_each(|chunk| chunk.emit(&mut payload));
        let packet = self.packet(&payload);
        victim.hear(self.path, [&packet[..]])
    }
}

pub(crate) fn introduction(message_size: u64) -> Vec<u8> {
    introduction_claiming(message_size, SeatClaim::None)
}

fn introduction_claiming(message_size: u64, seat: SeatClaim) -> Vec<u8> {
    let mut bytes = Vec::new();
    Introduction {
        connection_id: 77,
        name: "Mallory".into(),
        version: "1".into(),
        message_size,
        seat,
    }
    .emit(&mut bytes);
    bytes
}

/// Asks a server by a path with a token of its own, proves the address, and returns the token and the server's Reply.
pub(crate) fn ask(victim: &mut Victim, path: Path, token: u64) -> (u64, Vec<u8>) {
    let mut noise = handshake(true, token, &NO_PASSWORD, token);
    let mut first = [0; 1200];
    let len = noise.write_message(&[], &mut first).unwrap();
    let noise: &[u8; 48] = first[..len].try_into().unwrap();
    let hello = |cookie: Option<&[u8; 24]>| {
        let mut bytes = Vec::new();
        Datagram::Hello {
            token,
            noise,
            cookie,
            has_seat: false,
        }
        .emit(&mut bytes);
        bytes
    };
    let said = victim.hear(path, [&hello(None)[..]]);
    let cookie = said.iter().find_map(|bytes| match Datagram::parse(bytes) {
        Ok(Datagram::Cookie { cookie, .. }) => Some(*cookie),
        _ => None,
    });
    let Some(cookie) = cookie else {
        return (token, Vec::new());
    };
    let mut said = victim.hear(path, [&hello(Some(&cookie))[..]]);
    said.retain(|bytes| matches!(Datagram::parse(bytes), Ok(Datagram::Reply { .. })));
    (token, said.pop().unwrap_or_default())
}

/// Makes the last message of the handshake for this password.
pub(crate) fn finish(
    token: &u64,
    seed: u64,
    reply: &[u8],
    psk: &Key,
    introduction: &[u8],
) -> (Vec<u8>, StatelessTransportState, u32) {
    let (mut noise, theirs) = read_reply(*token, seed, reply, psk);
    let server_id = theirs.connection_id;
    let mut buffer = [0; 1200];
    let len = noise.write_message(introduction, &mut buffer).unwrap();
    let mut bytes = Vec::new();
    Datagram::Finish {
        server_id,
        noise: &buffer[..len],
    }
    .emit(&mut bytes);
    (bytes, noise.into_stateless_transport_mode().unwrap(), server_id)
}

/// Reads the server's half of the handshake.
fn read_reply(token: u64, seed: u64, reply: &[u8], psk: &Key) -> (HandshakeState, Introduction) {
    let mut noise = handshake(true, token, psk, seed);
    let mut buffer = [0; 1200];
    noise.write_message(&[], &mut buffer).unwrap();
    let Ok(Datagram::Reply { noise: second, .. }) = Datagram::parse(reply) else {
        panic!("no reply")
    };
    let len = noise.read_message(second, &mut buffer).unwrap();
    (noise, Introduction::parse(&buffer[..len]).unwrap())
}

pub(crate) fn handshake(is_client: bool, token: u64, psk: &Key, seed: u64) -> HandshakeState {
    let mut prologue = b"npla\x01".to_vec();
    prologue.extend_from_slice(&token.to_le_bytes());
    let params = "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let builder = Builder::with_resolver(params, Box::new(Seeded(seed)))
        .local_private_key(&[9; 32])
        .and_then(|builder| builder.psk(3, psk))
        .and_then(|builder| builder.prologue(&prologue))
        .unwrap();
    if is_client {
        builder.build_initiator().unwrap()
    } else {
        builder.build_responder().unwrap()
    }
}

/// snow's primitives with chance from a seed.
struct Seeded(u64);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Chance(ChaCha20Rng::seed_from_u64(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

struct Chance(ChaCha20Rng);

impl Random for Chance {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

pub(crate) fn whole(delivery: Delivery, sequence_id: u64, data: &[u8]) -> Chunk<'_> {
    Chunk::Message(MessageChunk {
        channel: 1,
        delivery,
        kind: Kind::BYTES,
        sequence_id,
        part: Part::Whole,
        data,
    })
}
