//! Opening ways of one kind to one remote side: all its addresses, one a quarter of a second after the other (RFC 8305 §5).
//!
//! It decides when to try which address, and knows what came of it. It must not know what a stream says.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use netplay_proto::{ConnectionId, Endpoint, Key, Path, Timestamp, Transport};
use rustls::pki_types::ServerName;

use crate::stream::{Stream, Wish};
use crate::tls;

/// How long after one address the next is tried, unless that one has failed by then.
const STAGGER: Duration = Duration::from_millis(250);

/// Ways that are being opened.
pub(crate) struct Dial {
    id: ConnectionId,
    transport: Transport,
    /// The host as in the URL, without and with the port.
    host: String,
    authority: String,
    pinned: Option<Key>,
    /// Not tried yet.
    addresses: VecDeque<SocketAddr>,
    /// When the next of them is tried.
    at: Timestamp,
    /// Being opened.
    pending: BTreeSet<u32>,
    opened: Vec<Path>,
    /// A way that was opened here is in use: no more are needed.
    is_enough: bool,
}

impl Dial {
    /// Begins now.
    pub(crate) fn new(
        now: Timestamp,
        id: ConnectionId,
        transport: Transport,
        host: &str,
        pinned: Option<Key>,
        addresses: &[SocketAddr],
    ) -> Self {
        let port = addresses.first().map_or(0, SocketAddr::port);
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            id,
            transport,
            host: host.to_owned(),
            authority,
            pinned,
            addresses: addresses.iter().copied().collect(),
            at: now,
            pending: BTreeSet::new(),
            opened: Vec::new(),
            is_enough: false,
        }
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.id == other.id && self.transport == other.transport
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().copied()
    }

    /// Adds those that are not going to be tried anyway.
    pub(crate) fn add_addresses(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        for address in addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push_back(address);
            }
        }
    }

    /// Returns the next stream that is due; None while none is. [`handle_started`](Self::handle_started) must follow.
    pub(crate) fn start(&mut self, now: Timestamp, endpoint: &Endpoint) -> Option<io::Result<Stream>> {
        if now < self.at || self.is_enough {
            return None;
        }
        let used = endpoint.connection_path(self.id);
        if endpoint.established().any(|id| id == self.id) && used.is_some_and(|path| self.opened.contains(&path)) {
            self.is_enough = true;
            return None;
        }
        let address = self.addresses.pop_front()?;
        Some(self.wish().and_then(|wish| Stream::connect(address, wish)))
    }

    fn wish(&self) -> io::Result<Wish> {
        let tls = if self.transport == Transport::Wss {
            let config = tls::client_config(self.pinned).map_err(io::Error::other)?;
            let name = ServerName::try_from(self.host.clone()).or_else(|_| ServerName::try_from("netplay.invalid"));
            Some((config, name.map_err(io::Error::other)?))
        } else {
            None
        };
        Ok(Wish {
            transport: self.transport,
            host: self.authority.clone(),
            tls,
        })
    }

    /// Takes note of the number of what was started; None if that has failed already.
    pub(crate) fn handle_started(&mut self, now: Timestamp, number: Option<u32>) {
        if let Some(number) = number {
            self.pending.insert(number);
            self.at = now + STAGGER;
        }
    }

    /// Takes note that a stream is open; true if it is one of these.
    pub(crate) fn handle_opened(&mut self, number: u32, path: Path) -> bool {
        let is_ours = self.pending.remove(&number);
        if is_ours {
            self.opened.push(path);
        }
        is_ours
    }

    /// Takes note that a stream has ended. If it was never open, the next address need not wait.
    pub(crate) fn handle_ended(&mut self, now: Timestamp, number: u32) {
        if self.pending.remove(&number) {
            self.at = now;
        }
    }

    /// Returns when the next address is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        (!self.addresses.is_empty()).then_some(self.at)
    }

    /// Returns true when there is nothing more to try or to wait for.
    pub(crate) fn is_over(&self) -> bool {
        self.is_enough || self.addresses.is_empty() && self.pending.is_empty()
    }

    /// Returns true if a way was opened.
    pub(crate) fn has_opened(&self) -> bool {
        !self.opened.is_empty()
    }
}
