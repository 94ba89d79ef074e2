//! Where our calls go: addresses, as far as they are known, and what was asked for before they were.
//!
//! It knows what was found out and what is still to be. It must not know sockets, nor how names are resolved.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use netplay_proto::{ConnectionId, Key, Transport};

use crate::p2p::Contact;

/// Where one call goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The host as in the URL.
    pub(crate) host: String,
    /// Its name and port, if it is to be asked for again when the addresses may have changed.
    pub(crate) name: Option<(String, u16)>,
    /// The only certificate that the host may have, by its SHA-256.
    pub(crate) certificate: Option<Key>,
    /// Where it is, best first; empty until that is known.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whom to reach through a tunnel.
    pub(crate) contact: Option<Contact>,
    /// Ways that are to be opened as soon as it is known.
    wanted: Vec<Transport>,
    /// Ways that were opened before.
    opened: Vec<Transport>,
}

impl Place {
    /// Makes one whose addresses are not known yet.
    pub(crate) fn new(host: String, name: Option<(String, u16)>, certificate: Option<Key>) -> Self {
        Self {
            host,
            name,
            certificate,
            ..Self::default()
        }
    }
}

/// Where all calls of a slot go.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: BTreeMap<ConnectionId, Place>,
    /// Names that are to be asked for again.
    lookups: Vec<ConnectionId>,
}

impl Places {
    /// Adds a call.
    pub(crate) fn add(&mut self, id: ConnectionId, place: Place) {
        self.places.insert(id, place);
    }

    /// Forgets the calls for which this is false.
    pub(crate) fn retain(&mut self, is_there: impl Fn(ConnectionId) -> bool) {
        self.places.retain(|id, _| is_there(*id));
        self.lookups.retain(|id| is_there(*id));
    }

    /// Takes note of where a call goes, and returns the ways that were asked for before that was known.
    pub(crate) fn found(&mut self, id: ConnectionId, addresses: &[SocketAddr]) -> Vec<Transport> {
        let Some(place) = self.places.get_mut(&id) else {
            return Vec::new();
        };
        place.addresses = addresses.to_vec();
        std::mem::take(&mut place.wanted)
    }

    /// Returns where to open ways; None if it is not known yet, and then [`found`](Self::found) says so later. A name that was
    /// asked for before is asked for again.
    pub(crate) fn ask(&mut self, id: ConnectionId, transport: Transport) -> Option<Place> {
        let place = self.places.get_mut(&id)?;
        if place.addresses.is_empty() {
            if !place.wanted.contains(&transport) {
                place.wanted.push(transport);
            }
            return None;
        }
        if !place.opened.contains(&transport) {
            place.opened.push(transport);
        } else if place.name.is_some() && !self.lookups.contains(&id) {
            self.lookups.push(id);
        }
        Some(place.clone())
    }

    /// Returns whom a call reaches through a tunnel.
    pub(crate) fn contact(&self, id: ConnectionId) -> Option<&Contact> {
        self.places.get(&id)?.contact.as_ref()
    }

    /// Takes one name that is to be asked for again.
    pub(crate) fn poll_lookup(&mut self) -> Option<(ConnectionId, String, u16)> {
        let id = self.lookups.pop()?;
        let (name, port) = self.places.get(&id)?.name.clone()?;
        Some((id, name, port))
    }
}
