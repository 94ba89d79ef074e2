//! Single datagrams to somewhere, with no peer: what `send(…, to="udp://host:port")` needs.
//!
//! It knows addresses and names that somebody else resolves. What cannot go is lost, as datagrams are.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netplay_proto::{Message, Payload, Timestamp};

use super::udp::refusal;
use crate::error::SendError;
use crate::socket::bind_udp;

/// How long the address of a name is kept.
const KEEP: Duration = Duration::from_secs(60);

/// How many names are known at once; the one that was asked for first makes room.
const MAX_NAMES: usize = 64;

/// How many datagrams wait for one name; those beyond are lost.
const MAX_WAITING: usize = 64;

/// Sends single datagrams.
#[derive(Default)]
pub(crate) struct Courier {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    names: BTreeMap<(String, u16), Name>,
}

enum Name {
    Asked {
        since: Timestamp,
        waiting: Vec<Payload>,
    },
    Known {
        since: Timestamp,
        address: Option<SocketAddr>,
    },
}

impl Name {
    fn since(&self) -> Timestamp {
        match self {
            Self::Asked { since, .. } | Self::Known { since, .. } => *since,
        }
    }
}

impl Courier {
    /// Returns why a datagram cannot be sent.
    pub(crate) fn check(message: &Message) -> Result<(), SendError> {
        refusal(message).map_or(Ok(()), Err)
    }

    /// Sends to an address.
    pub(crate) fn send(&mut self, remote: SocketAddr, data: &[u8]) {
        let (socket, own): (_, SocketAddr) = match remote {
            SocketAddr::V4(_) => (&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if socket.is_none() {
            *socket = bind_udp(own).ok();
        }
        if let Some(Err(error)) = socket.as_ref().map(|socket| socket.send_to(data, remote)) {
            log::debug!("a datagram to {remote} was not sent: {error}");
        }
    }

    /// Sends to a name. Returns true if it must be resolved first, and told by [`found`](Self::found).
    pub(crate) fn send_to_name(&mut self, now: Timestamp, name: &str, port: u16, data: Payload) -> bool {
        let key = (name.to_owned(), port);
        match self.names.get_mut(&key) {
            Some(Name::Asked { waiting, .. }) => {
                if waiting.len() < MAX_WAITING {
                    waiting.push(data);
                }
                return false;
            }
            Some(Name::Known { since, address }) if now.since(*since) < KEEP => {
                if let Some(address) = *address {
                    self.send(address, &data);
                }
                return false;
            }
            _ => {}
        }
        if self.names.len() >= MAX_NAMES
            && let Some(oldest) = self.names.iter().min_by_key(|(_, name)| name.since())
        {
            let oldest = oldest.0.clone();
            self.names.remove(&oldest);
        }
        let waiting = vec![data];
        self.names.insert(key, Name::Asked { since: now, waiting });
        true
    }

    /// Says where a name is; None if nobody knows.
    pub(crate) fn found(&mut self, now: Timestamp, name: &str, port: u16, address: Option<SocketAddr>) {
        let known = Name::Known { since: now, address };
        let Some(Name::Asked { waiting, .. }) = self.names.insert((name.to_owned(), port), known) else {
            return;
        };
        for data in waiting {
            if let Some(address) = address {
                self.send(address, &data);
            }
        }
    }
}
