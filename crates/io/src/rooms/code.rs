//! The code of a room: made, written, read, and the keys that come of it. It knows text and keys, nothing of rooms.
//!
//! Eight of 25 characters, each unlike every other: no letter that looks like a digit, and no vowel, so that no words come of
//! it. That is 37 bits; what an attacker can do with that is in `docs/security.md`.

use std::fmt;

use netplay_proto::{Identity, Key};

use crate::error::Error;
use crate::keys::psk_from_password;

/// The characters of a code.
const ALPHABET: &[u8; 25] = b"23456789CDFGHJKMNPQRTVWXY";

/// How many there are in a code.
const LEN: usize = 8;

/// The longest name of an app, in bytes of UTF-8.
pub const MAX_APP_LEN: usize = 64;

/// A code that can be one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code([u8; LEN]);

impl Code {
    /// Makes a code by chance.
    pub fn generate() -> Result<Self, Error> {
        let mut code = [0; LEN];
        let mut made = 0;
        while made < LEN {
            let mut chance = [0; 2 * LEN];
            getrandom::fill(&mut chance).map_err(std::io::Error::other)?;
            // 250 is ten times 25: what is above would make some characters likelier.
            for byte in chance.into_iter().filter(|byte| *byte < 250).take(LEN - made) {
                code[made] = ALPHABET[usize::from(byte) % ALPHABET.len()];
                made += 1;
            }
        }
        Ok(Self(code))
    }

    /// Reads a code as a person types it or a chat program hands it on: in any case, with dashes and white space anywhere, and
    /// with B, S and Z for the digits that they look like. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut code = Vec::with_capacity(LEN);
        for typed in text.chars().filter(|c| !c.is_whitespace() && !is_dash(*c)) {
            let character = match typed.to_ascii_uppercase() {
                'B' => '8',
                'S' => '5',
                'Z' => '2',
                other => other,
            };
            match u8::try_from(character) {
                Ok(byte) if ALPHABET.contains(&byte) => code.push(byte),
                _ => {
                    return Err(format!(
                        "{typed:?} is in no code; there are the letters C D F G H J K M N P Q R T V W X Y and the digits 2 to 9"
                    ));
                }
            }
        }
        let count = code.len();
        code.try_into()
            .map(Self)
            .map_err(|_| format!("it has {count} characters, a code has {LEN}, such as CDFG-2345"))
    }

    /// Returns the keys of the room that an app has under this code. Slow on purpose: about an eighth of a second and 64 MiB.
    pub(crate) fn keys(&self, app: &str, password: Option<&str>) -> RoomKeys {
        use argon2::{Algorithm, Argon2, Params, Version};
        let mut root = [0; 32];
        let salt = format!("netplay room v1 {app}");
        // Both calls can only fail on parameters out of range; these are constants, and the salt has 16 bytes at least.
        let params = Params::new(64 * 1024, 3, 1, Some(root.len())).expect("constant parameters are in range");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&self.0, salt.as_bytes(), &mut root)
            .expect("constant parameters are in range");
        let root = Identity::from_secret(root);
        let psk = match password {
            None => root.derive(b"netplay room psk"),
            Some(password) => {
                let both = [b"netplay room psk ".as_slice(), &psk_from_password(password)].concat();
                root.derive(&both)
            }
        };
        RoomKeys {
            door: Identity::from_secret(root.derive(b"netplay room door")),
            endpoint: root.derive(b"netplay room endpoint"),
            psk,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == LEN / 2 { "-" } else { "" }, char::from(*byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '_' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// What everybody who knows a code can compute.
#[derive(Clone)]
pub(crate) struct RoomKeys {
    /// The key pair of whoever has the door open.
    pub(crate) door: Identity,
    /// The secret of the endpoint at which the door is found through routers.
    pub(crate) endpoint: Key,
    /// What all members know, also made of the password.
    pub(crate) psk: Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_as_itself_however_it_is_typed() {
        for _ in 0..1000 {
            let code = Code::generate().unwrap();
            let text = code.to_string();
            assert_eq!(text.len(), 9);
            for typed in [
                text.clone(),
                text.to_lowercase(),
                text.replace('-', ""),
                text.replace('-', " "),
                text.replace('-', " – ") + "\r\n",
                text.replace('8', "b").replace('5', "S").replace('2', "z"),
            ] {
                assert_eq!(Code::parse(&typed), Ok(code), "{typed}");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_told_why() {
        assert!(Code::parse("CDFG-234").unwrap_err().contains("7 characters"));
        assert!(Code::parse("CDFG-23456").unwrap_err().contains("9 characters"));
        assert!(Code::parse("CDFG-234O").unwrap_err().contains("'O'"));
        assert!(Code::parse("").is_err());
        assert!(Code::parse("ÄDFG-2345").is_err());
    }

    #[test]
    fn another_code_app_or_password_is_another_key() {
        let (one, other) = (Code::parse("CDFG-2345").unwrap(), Code::parse("CDFG-2346").unwrap());
        let keys = one.keys("pong", None);
        assert_eq!(keys.psk, one.keys("pong", None).psk);
        assert_ne!(keys.psk, other.keys("pong", None).psk);
        assert_ne!(keys.psk, one.keys("chess", None).psk);
        let with_password = one.keys("pong", Some("swordfish"));
        assert_ne!(keys.psk, with_password.psk);
        // The password does not move the door: a wrong one is told so.
        assert_eq!(keys.door.public_key(), with_password.door.public_key());
        assert_ne!(keys.door.public_key(), other.keys("pong", None).door.public_key());
    }
}
