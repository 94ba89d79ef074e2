//! The handshake's cryptography, all of it by the crate `snow`: the Noise pattern XX with a pre-shared key, from seeded chance.
//!
//! `Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s` (Noise protocol framework, revision 34, section 9). Both sides prove their static
//! key. The pre-shared key comes last, in the client's final message: one who calls a server learns nothing on which
//! to guess its password except by asking the server again. Without a password the key is all zeros.

use blake2::Blake2sMac;
use blake2::digest::Mac;
use blake2::digest::consts::U32;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use crate::config::{Identity, Key};
use crate::session::Session;
use crate::wire::MAX_DATAGRAM;

const PATTERN: &str = "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s";
const PSK_POSITION: u8 = 3;

/// The handshake or a packet failed to authenticate, or had an impossible length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

impl Identity {
    /// Makes an identity from its secret key: 32 bytes of the operating system's randomness, kept secret.
    pub fn from_secret(secret: Key) -> Self {
        Self { secret }
    }

    /// Returns a key for another purpose, from which this one cannot be found. `label` says which: another one, another key.
    pub fn derive(&self, label: &[u8]) -> Key {
        let mut mac = <Blake2sMac<U32> as Mac>::new_from_slice(&self.secret).expect("BLAKE2s takes keys of 32 bytes");
        mac.update(label);
        mac.finalize().into_bytes().into()
    }

    /// Returns the public key.
    pub fn public_key(&self) -> Key {
        let mut dh = DefaultResolver
            .resolve_dh(&DHChoice::Curve25519)
            .expect("snow is built with X25519");
        dh.set(&self.secret);
        dh.pubkey().try_into().expect("an X25519 key has 32 bytes")
    }
}

/// One side of a handshake. Messages must be exchanged in the order of the pattern. One that is no handshake message at all
/// changes nothing; one made with another password spoils the handshake, which is then no place to try the next.
pub(crate) struct Handshake {
    state: HandshakeState,
}

impl Handshake {
    /// Starts a handshake. `prologue` is what both sides must have seen alike; `seed` makes the ephemeral key.
    pub(crate) fn new(is_client: bool, identity: &Identity, psk: &Key, prologue: &[u8], seed: [u8; 32]) -> Self {
        let resolver: BoxedCryptoResolver = Box::new(SeededResolver { seed });
        let params = PATTERN.parse().expect("the pattern is spelt right");
        let build = || {
            let builder = Builder::with_resolver(params, resolver)
                .local_private_key(&identity.secret)?
                .psk(PSK_POSITION, psk)?
                .prologue(prologue)?;
            if is_client {
                builder.build_initiator()
            } else {
                builder.build_responder()
            }
        };
        Self {
            state: build().expect("the keys have the pattern's lengths and snow has its primitives"),
        }
    }

    /// Writes our next message with this payload.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; MAX_DATAGRAM];
        let len = self
            .state
            .write_message(payload, &mut out)
            .expect("it is our turn and the payload is short");
        out.truncate(len);
        out
    }

    /// Reads the remote side's next message and returns its payload.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let mut payload = vec![0; message.len()];
        let len = self
            .state
            .read_message(message, &mut payload)
            .map_err(|_| NotAuthentic)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// Returns the remote side's static public key once its message has been read.
    pub(crate) fn remote_key(&self) -> Option<Key> {
        self.state.get_remote_static()?.try_into().ok()
    }

    /// Ends the handshake, after the last message.
    pub(crate) fn finish(mut self) -> Session {
        assert!(
            self.state.is_handshake_finished(),
            "the last message has been exchanged"
        );
        // The name is snow's; the danger is to use a number twice with one of them, which the session sees to.
        let (of_client, of_server) = self.state.dangerously_get_raw_split();
        if self.state.is_initiator() {
            Session::new(&of_client, &of_server)
        } else {
            Session::new(&of_server, &of_client)
        }
    }
}

/// snow's primitives, the cipher by ring, with chance from a seed instead of the operating system.
struct SeededResolver {
    seed: [u8; 32],
}

impl CryptoResolver for SeededResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(ChaCha20Rng::from_seed(self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        // ring's cipher is measured at a fifth of the time for a small packet and a quarter for a full one.
        RingResolver.resolve_cipher(choice)
    }
}

struct SeededRandom(ChaCha20Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(client_psk: Key, server_psk: Key) -> (Handshake, Handshake) {
        let client = Handshake::new(true, &Identity::from_secret([1; 32]), &client_psk, b"same", [3; 32]);
        let server = Handshake::new(false, &Identity::from_secret([2; 32]), &server_psk, b"same", [4; 32]);
        (client, server)
    }

    #[test]
    fn both_sides_learn_the_other_key_and_share_a_session() {
        let (mut client, mut server) = pair([9; 32], [9; 32]);
        server.read(&client.write(b"")).expect("first");
        assert_eq!(client.read(&server.write(b"server")).expect("second"), b"server");
        assert_eq!(server.read(&client.write(b"client")).expect("third"), b"client");
        assert_eq!(client.remote_key(), Some(Identity::from_secret([2; 32]).public_key()));
        assert_eq!(server.remote_key(), Some(Identity::from_secret([1; 32]).public_key()));
        let (mut client, mut server) = (client.finish(), server.finish());
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        client.seal(7, b"hello", &mut sealed);
        assert_eq!(server.open(7, false, &sealed, &mut opened), Ok(()));
        assert_eq!(opened, b"hello");
        assert_eq!(server.open(8, false, &sealed, &mut opened), Err(NotAuthentic));
        assert_eq!(
            client.open(7, false, &sealed, &mut opened),
            Err(NotAuthentic),
            "a reflected packet"
        );
    }

    #[test]
    fn another_password_fails_at_the_last_message_and_can_be_tried_again() {
        let (mut client, mut server) = pair([8; 32], [9; 32]);
        server.read(&client.write(b"")).expect("first");
        client.read(&server.write(b"")).expect("second");
        let third = client.write(b"");
        assert_eq!(server.read(&third), Err(NotAuthentic));
        assert_eq!(server.read(&third), Err(NotAuthentic));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(pair([0; 32], [0; 32]).0.write(b""), pair([0; 32], [0; 32]).0.write(b""));
    }
}
