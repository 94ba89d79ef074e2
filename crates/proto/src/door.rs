//! Who may begin a handshake now: how many from one host in a time, how many at one time.
//!
//! A handshake costs the server an X25519 exchange and, for some seconds, memory; one who has proven its address could ask for
//! them without end. It must not know what a handshake is. It counts for each host (see [`Block::host`]) what it has begun
//! lately, as the time when all of that will be forgiven (the generic cell rate algorithm). When its table is full, the host
//! that is forgiven first makes room: to have its own account forgotten, an attacker must come from thousands of other hosts
//! that have each asked for more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::Address;
use crate::block::Block;
use crate::endpoint::ConnectionId;
use crate::time::Timestamp;

/// Handshakes begun and not finished at one time, in all; the oldest makes room.
const MAX_UNFINISHED: usize = 1024;

/// Those of one host. A classroom behind one router finishes within a round trip each.
const MAX_UNFINISHED_OF_HOST: usize = 32;

/// Hosts remembered.
const MAX_HOSTS: usize = 4096;

/// What a host may begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandshakeRate {
    /// Handshakes that may be begun at once.
    pub burst: u32,
    /// How long it takes until one more may be begun.
    pub interval: Duration,
}

impl Default for HandshakeRate {
    /// 64 at once, then 8 a second: a school behind one router gets in at once when a server starts, and the eight exchanges a
    /// second that one host can ask for are nothing to a server.
    fn default() -> Self {
        Self {
            burst: 64,
            interval: Duration::from_millis(125),
        }
    }
}

/// Counts handshakes by hosts.
#[derive(Debug)]
pub(crate) struct Door {
    rate: HandshakeRate,
    /// When all that a host has begun is forgiven; those that are forgiven are not kept.
    forgiven: BTreeMap<Block, Timestamp>,
    by_time: BTreeSet<(Timestamp, Block)>,
    unfinished: BTreeMap<ConnectionId, Option<Block>>,
    unfinished_of: BTreeMap<Block, usize>,
}

impl Door {
    pub(crate) fn new(rate: HandshakeRate) -> Self {
        Self {
            rate,
            forgiven: BTreeMap::new(),
            by_time: BTreeSet::new(),
            unfinished: BTreeMap::new(),
            unfinished_of: BTreeMap::new(),
        }
    }

    /// Returns true if this address may begin a handshake now, and counts it.
    pub(crate) fn admit(&mut self, now: Timestamp, address: Address) -> bool {
        let Some(host) = host(address) else { return true };
        if self
            .unfinished_of
            .get(&host)
            .is_some_and(|&count| count >= MAX_UNFINISHED_OF_HOST)
        {
            return false;
        }
        let forgiven = self.forgiven(now, host);
        if forgiven + self.rate.interval > now + self.rate.interval * self.rate.burst {
            return false;
        }
        self.charge(now, address, 1);
        true
    }

    /// Counts this many handshakes of an address.
    pub(crate) fn charge(&mut self, now: Timestamp, address: Address, count: u32) {
        let Some(host) = host(address) else { return };
        let forgiven = self.forgiven(now, host);
        self.forget(host);
        while let Some(&(time, other)) = self.by_time.first()
            && (time <= now || self.by_time.len() >= MAX_HOSTS)
        {
            self.forget(other);
        }
        // No more than the burst is owed, so that a mistake does not last.
        let longest = self.rate.interval * self.rate.burst;
        let forgiven = (forgiven + self.rate.interval * count).min(now + longest);
        self.forgiven.insert(host, forgiven);
        self.by_time.insert((forgiven, host));
    }

    /// Takes note of a handshake that has begun. Returns the one that must be given up for it, if any: the oldest has had its
    /// time, and one who keeps the table full must not keep others out.
    pub(crate) fn begin(&mut self, id: ConnectionId, address: Address) -> Option<ConnectionId> {
        let oldest = if self.unfinished.len() >= MAX_UNFINISHED {
            self.unfinished.keys().next().copied()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.end(oldest);
        }
        let host = host(address);
        if self.unfinished.insert(id, host).is_none()
            && let Some(host) = host
        {
            *self.unfinished_of.entry(host).or_default() += 1;
        }
        oldest
    }

    /// Takes note that a handshake is finished or given up.
    pub(crate) fn end(&mut self, id: ConnectionId) {
        if let Some(Some(host)) = self.unfinished.remove(&id)
            && let Some(count) = self.unfinished_of.get_mut(&host)
        {
            *count -= 1;
            if *count == 0 {
                self.unfinished_of.remove(&host);
            }
        }
    }

    fn forgiven(&self, now: Timestamp, host: Block) -> Timestamp {
        self.forgiven.get(&host).map_or(now, |&forgiven| forgiven.max(now))
    }

    fn forget(&mut self, host: Block) {
        if let Some(time) = self.forgiven.remove(&host) {
            self.by_time.remove(&(time, host));
        }
    }
}

/// Returns whom to count for an address; None for this machine itself, where everybody who comes through a tunnel comes from
/// and nobody from outside can pretend to be.
fn host(address: Address) -> Option<Block> {
    Block::of(address).filter(|host| !host.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn at(number: u32) -> Address {
        let ip = Ipv4Addr::from_bits(0x0b00_0000 + number);
        Address::Ip(SocketAddr::new(ip.into(), 4000))
    }

    fn admitted(door: &mut Door, now: Timestamp, address: Address, asked: usize) -> usize {
        (0..asked).filter(|_| door.admit(now, address)).count()
    }

    #[test]
    fn a_host_may_begin_its_burst_and_then_its_rate() {
        let mut door = Door::new(HandshakeRate::default());
        let mut now = Timestamp::from_millis(5000);
        assert_eq!(admitted(&mut door, now, at(1), 1000), 64);
        assert_eq!(admitted(&mut door, now, at(2), 10), 10, "another host");
        now += Duration::from_secs(1);
        assert_eq!(admitted(&mut door, now, at(1), 1000), 8);
        now += Duration::from_secs(100);
        assert_eq!(admitted(&mut door, now, at(1), 1000), 64);
        let here = Address::Ip(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1));
        assert_eq!(admitted(&mut door, now, here, 1000), 1000, "this machine itself");
        assert_eq!(admitted(&mut door, now, Address::Virtual(1), 1000), 1000);
    }

    #[test]
    fn a_flood_of_other_hosts_does_not_make_an_attackers_account_forgotten() {
        let mut door = Door::new(HandshakeRate::default());
        let now = Timestamp::from_millis(5000);
        admitted(&mut door, now, at(0), 64);
        for number in 1..100_000 {
            assert!(door.admit(now, at(number)), "newcomers get in");
        }
        assert_eq!(admitted(&mut door, now, at(0), 64), 0);
        assert!(door.forgiven.len() <= MAX_HOSTS && door.by_time.len() == door.forgiven.len());
        let later = now + Duration::from_secs(60);
        door.charge(later, at(5), 1);
        assert_eq!(door.forgiven.len(), 1, "those that are forgiven are not kept");
    }

    #[test]
    fn a_host_that_never_finishes_has_a_bound_of_its_own() {
        let mut door = Door::new(HandshakeRate::default());
        let mut now = Timestamp::from_millis(5000);
        let mut begun = 0;
        for number in 0..1000 {
            now += Duration::from_millis(125);
            if door.admit(now, at(1)) {
                assert_eq!(door.begin(ConnectionId(number), at(1)), None);
                begun += 1;
            }
        }
        assert_eq!(begun, MAX_UNFINISHED_OF_HOST);
        assert!(door.admit(now, at(2)));
        door.end(ConnectionId(3));
        assert!(door.admit(now, at(1)));
        door.end(ConnectionId(3));
        for number in 0..MAX_UNFINISHED_OF_HOST as u64 {
            door.end(ConnectionId(number));
        }
        assert!(door.unfinished.is_empty() && door.unfinished_of.is_empty());
    }

    #[test]
    fn the_oldest_makes_room_when_all_places_are_taken() {
        let mut door = Door::new(HandshakeRate::default());
        for number in 0..MAX_UNFINISHED as u64 {
            assert_eq!(door.begin(ConnectionId(number), at(number as u32)), None);
        }
        assert_eq!(door.begin(ConnectionId(5000), at(5000)), Some(ConnectionId(0)));
        assert_eq!(door.unfinished.len(), MAX_UNFINISHED);
    }
}
