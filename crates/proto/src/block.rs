//! A block of IP addresses: one host, or all that share the first bits.
//!
//! An IPv6 host is its /64: that is what one household or server is given, and it can use any address of it (RFC 6177). An
//! IPv4 address written as an IPv6 one (`::ffff:192.0.2.1`) is the same host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::Address;

/// IPv4 addresses are kept as the IPv6 addresses that stand for them: `::ffff:0:0/96`.
const V4_BITS: u8 = 96;

/// A block of IP addresses: all whose first bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The address with all later bits cleared.
    bits: u128,
    /// How many bits count, 0–128.
    len: u8,
}

impl Block {
    /// Returns the block of the host that has this address: the address alone for IPv4, its /64 for IPv6.
    pub fn host(ip: IpAddr) -> Self {
        let len = if ip.to_canonical().is_ipv4() { 128 } else { 64 };
        Self::cut(to_bits(ip), len)
    }

    /// Returns the host of an address; None for one that is no IP address.
    pub fn of(address: Address) -> Option<Self> {
        match address {
            Address::Ip(address) | Address::Stream { remote: address, .. } => Some(Self::host(address.ip())),
            Address::Tunnel { .. } | Address::Virtual(_) => None,
        }
    }

    /// Returns true if this is this machine itself.
    pub fn is_loopback(self) -> bool {
        to_ip(self.bits).to_canonical().is_loopback() || self.bits == Ipv6Addr::LOCALHOST.to_bits() >> 64 << 64
    }

    /// Returns the part of an address that a block of this length has.
    pub(crate) fn cut(bits: u128, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        Self { bits: bits & mask, len }
    }

    /// Returns how many bits count.
    pub(crate) fn len(self) -> u8 {
        self.len
    }

    /// Returns the bits of an address, as blocks compare them; None for one that is no IP address.
    pub(crate) fn bits_of(address: Address) -> Option<u128> {
        match address {
            Address::Ip(address) | Address::Stream { remote: address, .. } => Some(to_bits(address.ip())),
            Address::Tunnel { .. } | Address::Virtual(_) => None,
        }
    }
}

/// The text is neither an IP address nor a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBlock;

impl FromStr for Block {
    type Err = NoBlock;

    /// Reads an address, which stands for its host, or a range such as `10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, NoBlock> {
        let Some((ip, len)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| NoBlock);
        };
        let ip: IpAddr = ip.parse().map_err(|_| NoBlock)?;
        // A sign or a leading zero would be another way to write the same.
        if len.is_empty() || !len.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoBlock);
        }
        let len: u8 = len.parse().map_err(|_| NoBlock)?;
        let len = if ip.is_ipv4() { len.saturating_add(V4_BITS) } else { len };
        if len > 128 {
            return Err(NoBlock);
        }
        Ok(Self::cut(to_bits(ip), len))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match to_ip(self.bits) {
            IpAddr::V4(ip) if self.len == 128 => ip.fmt(f),
            IpAddr::V4(ip) if self.len >= V4_BITS => write!(f, "{ip}/{}", self.len - V4_BITS),
            _ => write!(f, "{}/{}", Ipv6Addr::from_bits(self.bits), self.len),
        }
    }
}

fn to_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn to_ip(bits: u128) -> IpAddr {
    let ip = Ipv6Addr::from_bits(bits);
    ip.to_ipv4_mapped()
        .map_or(IpAddr::V6(ip), |ip: Ipv4Addr| IpAddr::V4(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Block {
        Block::host(text.parse().unwrap())
    }

    #[test]
    fn a_host_is_an_address_or_the_sixty_four_bits_of_its_network() {
        assert_eq!(host("192.0.2.7"), host("::ffff:192.0.2.7"));
        assert_ne!(host("192.0.2.7"), host("192.0.2.8"));
        assert_eq!(host("2001:db8:1:2::1"), host("2001:db8:1:2:ffff::9"));
        assert_ne!(host("2001:db8:1:2::1"), host("2001:db8:1:3::1"));
        assert!(host("127.0.0.1").is_loopback() && host("::1").is_loopback());
        assert!(host("::ffff:127.9.9.9").is_loopback());
        assert!(!host("192.0.2.7").is_loopback() && !host("2001:db8::1").is_loopback());
    }

    #[test]
    fn what_is_read_is_written_back_in_one_way() {
        for (text, written) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:db8::7/128", "2001:db8::7/128"),
            ("2001:db8:ffff::/33", "2001:db8:8000::/33"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            let block: Block = text.parse().unwrap();
            assert_eq!(block.to_string(), written);
            assert_eq!(written.parse(), Ok(block));
        }
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "::/256",
            "10.0.0",
            "host",
            "1.2.3.4:5",
        ] {
            assert_eq!(text.parse::<Block>(), Err(NoBlock), "{text}");
        }
    }
}
