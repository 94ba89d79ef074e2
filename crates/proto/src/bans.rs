//! Who may not come in: blocks of addresses and public keys, each for a time or for good. Kept in memory only.
//!
//! It must not know connections. An address is looked up before anything is computed for it, a key once it is proven.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::address::Address;
use crate::block::Block;
use crate::config::Key;
use crate::time::Timestamp;

/// Bans at one time. Beyond it the game is told; those that are over make room.
pub const MAX_BANS: usize = 65_536;

/// Whom a ban is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ban {
    /// Everybody who comes from one of these addresses.
    Block(Block),
    /// Whoever proves to have this public key.
    Key(Key),
}

/// The text is neither an address, a range, nor a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBan;

impl FromStr for Ban {
    type Err = NoBan;

    /// Reads an address, a range such as `10.0.0.0/8`, or a public key as 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, NoBan> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut key = [0; 32];
            for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digits = std::str::from_utf8(digits).map_err(|_| NoBan)?;
                *byte = u8::from_str_radix(digits, 16).map_err(|_| NoBan)?;
            }
            return Ok(Self::Key(key));
        }
        text.parse().map(Self::Block).map_err(|_| NoBan)
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => block.fmt(f),
            Self::Key(key) => key.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// There are [`MAX_BANS`] bans already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBans;

/// The bans of one network.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    /// Until when; None for good.
    until: BTreeMap<Ban, Option<Timestamp>>,
    /// How many blocks there are of each length: an address is looked up once for each length in use.
    lengths: BTreeMap<u8, usize>,
}

impl Bans {
    /// Adds a ban, or changes until when one is. `until` None is for good.
    pub fn add(&mut self, now: Timestamp, ban: Ban, until: Option<Timestamp>) -> Result<(), TooManyBans> {
        if self.until.len() >= MAX_BANS && !self.until.contains_key(&ban) {
            self.forget_over(now);
            if self.until.len() >= MAX_BANS {
                return Err(TooManyBans);
            }
        }
        if self.until.insert(ban, until).is_none()
            && let Ban::Block(block) = ban
        {
            *self.lengths.entry(block.len()).or_default() += 1;
        }
        Ok(())
    }

    /// Lifts a ban; false if there is none.
    pub fn remove(&mut self, now: Timestamp, ban: Ban) -> bool {
        let Some(until) = self.until.remove(&ban) else {
            return false;
        };
        if let Ban::Block(block) = ban
            && let Some(count) = self.lengths.get_mut(&block.len())
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&block.len());
            }
        }
        is_on(now, until)
    }

    /// Returns the bans that are not over, and until when they are.
    pub fn iter(&self, now: Timestamp) -> impl Iterator<Item = (Ban, Option<Timestamp>)> + '_ {
        let all = self.until.iter().map(|(ban, until)| (*ban, *until));
        all.filter(move |(_, until)| is_on(now, *until))
    }

    /// Returns true if nobody may come from this address.
    pub fn has_address(&self, now: Timestamp, address: Address) -> bool {
        let Some(bits) = Block::bits_of(address) else {
            return false;
        };
        self.lengths
            .keys()
            .any(|&len| self.has(now, Ban::Block(Block::cut(bits, len))))
    }

    /// Returns true if one who has this key may not come.
    pub fn has_key(&self, now: Timestamp, key: &Key) -> bool {
        self.has(now, Ban::Key(*key))
    }

    fn has(&self, now: Timestamp, ban: Ban) -> bool {
        self.until.get(&ban).is_some_and(|until| is_on(now, *until))
    }

    fn forget_over(&mut self, now: Timestamp) {
        let over: Vec<Ban> = self
            .until
            .iter()
            .filter(|(_, until)| !is_on(now, **until))
            .map(|(ban, _)| *ban)
            .collect();
        for ban in over {
            self.remove(now, ban);
        }
    }
}

fn is_on(now: Timestamp, until: Option<Timestamp>) -> bool {
    until.is_none_or(|until| now < until)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn at(text: &str) -> Address {
        Address::Ip(SocketAddr::new(text.parse().unwrap(), 4000))
    }

    #[test]
    fn a_ban_holds_for_its_addresses_and_its_time() {
        let mut bans = Bans::default();
        let now = Timestamp::from_millis(1000);
        let later = Timestamp::from_millis(2000);
        bans.add(now, "10.0.0.0/8".parse().unwrap(), Some(later)).unwrap();
        bans.add(now, "2001:db8::1".parse().unwrap(), None).unwrap();
        assert!(bans.has_address(now, at("10.200.1.1")) && !bans.has_address(now, at("11.0.0.1")));
        assert!(bans.has_address(now, at("::ffff:10.200.1.1")));
        assert!(bans.has_address(now, at("2001:db8::ffff")) && !bans.has_address(now, at("2001:db8:0:1::")));
        assert!(!bans.has_address(now, Address::Virtual(10)));
        assert_eq!(bans.iter(now).count(), 2);
        assert!(!bans.has_address(later, at("10.200.1.1")));
        assert_eq!(bans.iter(later).count(), 1);
        assert!(!bans.remove(later, "10.0.0.0/8".parse().unwrap()), "it was over");
        assert!(bans.remove(later, "2001:db8::/64".parse().unwrap()));
        assert!(bans.lengths.is_empty() && bans.until.is_empty());
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let ban = Ban::Key(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(ban.to_string().parse(), Ok(ban));
        assert_eq!("ab".repeat(31).parse::<Ban>(), Err(NoBan));
        assert_eq!("gg".repeat(32).parse::<Ban>(), Err(NoBan));
    }

    #[test]
    fn when_there_are_too_many_those_that_are_over_make_room() {
        let mut bans = Bans::default();
        let (now, later) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
        let ban = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            Ban::Key(key)
        };
        for number in 0..MAX_BANS as u32 {
            let until = (number % 2 == 0).then_some(later);
            bans.add(now, ban(number), until).unwrap();
        }
        assert_eq!(bans.add(now, ban(u32::MAX), None), Err(TooManyBans));
        assert_eq!(bans.add(now, ban(7), None), Ok(()), "one that is there already");
        assert_eq!(bans.add(later, ban(u32::MAX), None), Ok(()));
        assert_eq!(bans.iter(later).count(), MAX_BANS / 2 + 1);
    }
}
