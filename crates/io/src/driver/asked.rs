//! What a driver answers about peers and listeners.

use netplay_proto::Address;

use super::{Driver, Line, PeerUrl};
use crate::slot::Slot;
use crate::streams::{self, Streams};
use crate::types::{ListenerId, ListenerStats, PeerId, PeerStats};

impl Driver {
    /// Returns the numbers of a peer, None if it has ended.
    pub(crate) fn peer_stats(&self, id: PeerId) -> Option<PeerStats> {
        let peer = self.peers.get(&id)?;
        let connection = match peer.line {
            Line::Connection(connection) => connection,
            Line::Guest(guest) => return self.foreign_stats(peer.slot, guest),
            Line::Member(room, order) => {
                let (link, is_passed_on) = self.member_link(room, order)?;
                let stats = self.peer_stats(link)?;
                return Some(match is_passed_on {
                    false => stats,
                    true => PeerStats {
                        transport: "host",
                        ..stats
                    },
                });
            }
            Line::Waiting { .. } => return Some(PeerStats::default()),
        };
        let slot = self.slots.get(&peer.slot)?;
        let path = slot.endpoint.connection_path(connection);
        let way = path.and_then(|path| slot.way(path));
        let route = way.as_ref().and_then(|way| way.is_direct);
        Some(PeerStats {
            connection: slot.endpoint.connection_stats(connection)?,
            transport: path.map_or("", |path| slot.transport(path)),
            address: match way {
                Some(way) => way.address,
                None => path.map_or_else(String::new, |path| path.remote.to_string()),
            },
            route: route.map(|is_direct| if is_direct { "direct" } else { "relayed" }),
            is_encrypted: true,
        })
    }

    /// Returns the URL of a peer, None if it has ended.
    pub(crate) fn peer_url(&self, id: PeerId) -> Option<String> {
        Some(match &self.peers.get(&id)?.url {
            PeerUrl::Given(url) => url.clone(),
            PeerUrl::From(path) => match path.remote {
                Address::Ip(address) => format!("play://{address}"),
                Address::Stream { remote, .. } => {
                    format!("play+{}://{remote}", streams::name_of(*path).unwrap_or("tcp"))
                }
                Address::Tunnel { .. } => "play+p2p://".to_owned(),
                Address::Virtual(number) => format!("local://{number}"),
            },
        })
    }

    /// Returns which listener a peer came in by.
    pub(crate) fn peer_listener(&self, id: PeerId) -> Option<ListenerId> {
        let slot = self.peers.get(&id)?.slot;
        match self.slots.get(&slot) {
            Some(slot) => slot.listener,
            None => self.foreign.get(&slot)?.listener(),
        }
    }

    /// Returns the numbers of a listener, None if it is closed.
    pub(crate) fn listener_stats(&self, listener: ListenerId) -> Option<ListenerStats> {
        let slot = self
            .slots
            .values()
            .find(|slot| slot.listener == Some(listener) && !slot.is_closing);
        let Some(slot) = slot else {
            return self.foreign_listener_stats(listener);
        };
        Some(ListenerStats {
            endpoint: slot.endpoint.stats(),
            peers: slot.peers.len(),
            sockets: slot.stats(),
            streams: slot.streams().map_or(0, Streams::len),
        })
    }

    /// Returns how many have come in by a listener and are still connected, whether or not the game has looked; None if it is closed.
    pub(crate) fn players(&self, listener: ListenerId) -> Option<usize> {
        let is_it = |slot: &&Slot| slot.listener == Some(listener) && !slot.is_closing;
        Some(self.slots.values().find(is_it)?.endpoint.established().count())
    }
}
