//! Calling somebody: what the URL and the options ask for, and what finds out where that is.
//!
//! A part of [`Network`]. It must not know how the call goes on.

use std::sync::Arc;
use std::time::Instant;

use netplay_proto::room::LinkId;
use netplay_proto::{Connect, Key};

use super::Network;
use super::asked::Asked;
use crate::call::Origin;
use crate::error::Error;
use crate::p2p::{Contact, Relays, Terms};
use crate::resolve::{Lookup, known_place};
use crate::rooms::RoomId;
use crate::types::{ConnectOptions, PeerId};
use crate::url::{Host, Place};
use crate::{foreign, lan, places};

impl Network {
    /// Starts to call a remote side and returns at once; the outcome is an event.
    pub fn connect(&self, url: &str, options: ConnectOptions) -> Result<PeerId, Error> {
        self.connect_for(url, options, None)
    }

    /// Calls for the game, or as a link of a room with the key that its members know.
    pub(crate) fn connect_for(
        &self,
        url: &str,
        options: ConnectOptions,
        room: Option<(RoomId, LinkId, Key)>,
    ) -> Result<PeerId, Error> {
        let asked = Asked::new(url, &options.name, &options.version, options.relay.as_deref())?;
        if matches!(asked.url.place, Place::Net { port: 0, .. }) {
            return Err(asked.refuse("port", "to connect, it must be a number from 1 to 65535"));
        }
        let contact = contact(&asked)?;
        let parsed = asked.url;
        let connect = Connect {
            name: options.name,
            version: options.version,
            psk: room.map_or([0; 32], |(_, _, psk)| psk),
            pinned_key: parsed.pinned_key.or(options.pinned_key),
            paths: Vec::new(),
            transports: parsed.scheme.transports(),
            seat: options.seat,
            timeout: options.timeout,
        };
        if parsed.scheme.is_foreign() {
            let others = [
                ("password", options.password.is_some()),
                ("resume", options.identity.is_some()),
            ];
            foreign::check(&parsed, &options.limits, &others)?;
        }
        let runtime = self.start_thread()?;
        let shared = &self.inner.shared;
        let known = known_place(&parsed.place);
        let name = match &parsed.place {
            Place::Net {
                host: Host::Name(name),
                port,
            } if known.is_none() => Some((name.clone(), *port)),
            _ => None,
        };
        let mut place = places::Place::new(parsed.place.host(), name.clone(), parsed.pinned_certificate);
        let p2p = contact.as_ref().map(Terms::calling);
        place.contact = contact;
        let mut driver = self.open_driver()?;
        let now = shared.now();
        let is_sought = matches!(parsed.place, Place::Lan { .. });
        let is_key_made = options.password.is_none() && !is_sought;
        let peer = if parsed.scheme.is_foreign() {
            foreign::call(&mut driver, now, url, &parsed, options.timeout, &options.limits)?
        } else {
            let origin = Origin {
                limits: options.limits,
                identity: options.identity,
                simulation: parsed.simulation,
                room: room.map(|(room, ..)| room),
                p2p,
            };
            let peer = driver.call(now, url.to_owned(), connect, place, origin, is_key_made)?;
            driver.open_p2p(peer, &shared.rouser())?;
            peer
        };
        if let Some((room, link, _)) = room {
            driver.room_dialed(now, room, link, peer);
        }
        if let Some(remote) = known {
            driver.found(now, peer, &remote, &shared.rouser());
        }
        shared.publish(&driver);
        drop(driver);
        if let Place::Lan { app, title } = parsed.place {
            let (key, password) = (parsed.pinned_key, options.password);
            let until = Instant::now().checked_add(options.timeout);
            let call = lan::Call {
                peer,
                app,
                title,
                key,
                password,
                until,
            };
            self.tell_scout(lan::Command::Call(Box::new(call)))?;
        } else if !is_key_made || name.is_some() {
            let lookup = Lookup {
                peer,
                password: options.password,
                name,
                is_again: false,
            };
            let weak = Arc::downgrade(shared);
            runtime.spawn_blocking(move || lookup.run(&weak));
        }
        shared.rouse();
        Ok(peer)
    }
}

/// Returns whom a `play+p2p://` URL reaches; None for another URL.
fn contact(asked: &Asked<'_>) -> Result<Option<Contact>, Error> {
    let Place::P2p { id, relays, addresses } = &asked.url.place else {
        return Ok(None);
    };
    let Some(id) = *id else {
        let problem = "to connect, it must be an endpoint id, as the listener's own URL shows it";
        return Err(asked.refuse("host", problem));
    };
    let relays = asked.relays(relays.as_ref(), addresses);
    if relays == Relays::None && addresses.is_empty() {
        return Err(asked.refuse("query option", "with relay=none, addr= must say where it is"));
    }
    Ok(Some(Contact {
        id,
        relays,
        addresses: addresses.clone(),
    }))
}
