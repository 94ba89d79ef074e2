//! Keys: made from randomness, made from a password, written as text.

use std::io;

use netplay_proto::Key;

/// Returns a new secret key from the operating system's randomness.
pub fn generate_key() -> io::Result<Key> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

/// Returns the pre-shared key for a password.
///
/// Argon2id, so that guessing from a recorded handshake is slow. About 20 ms of work.
pub(crate) fn psk_from_password(password: &str) -> Key {
    use argon2::{Algorithm, Argon2, Params, Version};
    let mut key = [0; 32];
    // The salt is the same everywhere: the two sides have nothing else in common before the handshake. Both calls can
    // only fail on parameters out of range, and these are constants checked by a test.
    let params = Params::new(12 * 1024, 2, 1, Some(key.len())).expect("constant parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), b"netplay password v1", &mut key)
        .expect("constant parameters are in range");
    key
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes a key as 43 characters of base64url, as `#k=` in a URL takes it.
pub fn key_to_text(key: &Key) -> String {
    let mut text = String::with_capacity(43);
    for chunk in key.chunks(3) {
        let group = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// Reads a key from base64url (43 characters, one `=` may follow) or from hexadecimal (64 characters). None for anything else.
pub fn key_from_text(text: &str) -> Option<Key> {
    let mut key = [0; 32];
    if text.len() == 64 {
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |place: usize| char::from(pair[place]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        return Some(key);
    }
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return None;
    }
    let mut bits = 0u32;
    let mut count = 0;
    let mut filled = 0;
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == character)?;
        bits = (bits << 6 | value as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            key[filled] = (bits >> count) as u8;
            filled += 1;
        }
    }
    // 43 characters are 258 bits: the last two must be zero, or two texts would mean one key.
    (bits & 0b11 == 0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_as_text_reads_back_as_itself() {
        for seed in 0..=255u8 {
            let key: Key = std::array::from_fn(|index| seed.wrapping_mul(31).wrapping_add(index as u8 * 7));
            let text = key_to_text(&key);
            assert_eq!(text.len(), 43);
            assert_eq!(key_from_text(&text), Some(key));
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(key_from_text(&hex), Some(key));
        }
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        for text in [
            "",
            "k",
            &"A".repeat(42),
            &"A".repeat(44),
            &"g".repeat(64),
            &"B".repeat(43),
            &"é".repeat(32),
        ] {
            assert_eq!(key_from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_password_always_makes_the_same_key_and_another_password_another() {
        assert_eq!(psk_from_password("swordfish"), psk_from_password("swordfish"));
        assert_ne!(psk_from_password("swordfish"), psk_from_password("Swordfish"));
        assert_ne!(psk_from_password(""), [0; 32]);
    }

    #[test]
    fn two_generated_keys_differ() {
        assert_ne!(generate_key().unwrap(), generate_key().unwrap());
    }
}
