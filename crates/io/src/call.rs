//! How a call begins: from which slot, by which paths, and what waits until its key is made.
//!
//! A part of the [`Driver`]. It must not know how names are resolved or keys made; it is told.

use std::net::SocketAddr;
use std::time::Duration;

use netplay_proto::{Address, Connect, EndpointConfig, Identity, Key, Limits, Path, Reason, Timestamp};

use crate::driver::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::error::Error;
use crate::keys::generate_key;
use crate::lan::Game;
use crate::local::{LocalPort, Rouse};
use crate::p2p::{Port, Terms};
use crate::places::Place;
use crate::rooms::{Role, RoomId};
use crate::slot::Slot;
use crate::socket::Socket;
use crate::types::PeerId;
use crate::url::Simulation;

/// Where a call goes, found out before or after it has begun.
#[derive(Clone, Debug)]
pub(crate) enum Remote {
    /// These addresses.
    Ip(Vec<SocketAddr>),
    /// This port inside the process.
    Local(u64),
}

/// What calls must have in common to go out from one slot.
#[derive(Default)]
pub(crate) struct Origin {
    pub(crate) limits: Limits,
    /// Who calls; None for the key that all of this network's calls share.
    pub(crate) identity: Option<Identity>,
    pub(crate) simulation: Option<Simulation>,
    /// The room that it is a link of.
    pub(crate) room: Option<RoomId>,
    /// How tunnels are opened; None for a call that uses none.
    pub(crate) p2p: Option<Terms>,
}

impl Driver {
    /// Begins a call. Without a password its key is complete and the connection begins now; otherwise
    /// [`key_made`](Self::key_made) must follow. Where to, [`found`](Self::found) says.
    pub(crate) fn call(
        &mut self,
        now: Timestamp,
        url: String,
        connect: Connect,
        place: Place,
        origin: Origin,
        is_key_made: bool,
    ) -> Result<PeerId, Error> {
        let id = self.caller_slot(origin)?;
        self.last_number += 1;
        let peer = PeerId(self.last_number);
        let line = Line::Waiting {
            connect: Box::new(connect),
            place: Box::new(place),
            messages: Vec::new(),
            bytes: 0,
        };
        self.peers.insert(
            peer,
            Peer {
                slot: id,
                url: PeerUrl::Given(url),
                line,
            },
        );
        if is_key_made {
            self.key_made(now, peer, None);
        }
        Ok(peer)
    }

    /// Lets a call begin whose key had to be made from a password.
    pub(crate) fn key_made(&mut self, now: Timestamp, id: PeerId, psk: Option<Key>) {
        let Some(Peer { slot, line, .. }) = self.peers.get_mut(&id) else {
            return;
        };
        let slot = *slot;
        let Line::Waiting {
            connect,
            place,
            messages,
            ..
        } = line
        else {
            return;
        };
        let place = std::mem::take(&mut **place);
        let mut connect = std::mem::take(&mut **connect);
        let messages = std::mem::take(messages);
        connect.psk = psk.unwrap_or(connect.psk);
        let begun = self.contained(slot, |slot| {
            let connection = slot.endpoint.connect(now, connect);
            slot.peers.insert(connection, id);
            slot.add_place(connection, place);
            connection
        });
        let Some(connection) = begun else {
            return self.fail(id, Reason::Internal, "a fault while the call began");
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.line = Line::Connection(connection);
        }
        for message in messages {
            // What can be wrong with a message was said when it was accepted; a queue that is too full ends the connection.
            self.contained(slot, |slot| slot.endpoint.send(now, connection, &message).ok());
        }
    }

    /// Lets a call begin of a game that was looked for: where it is, who it must be, and how long to try.
    pub(crate) fn game_found(&mut self, now: Timestamp, id: PeerId, game: &Game, left: Duration, psk: Option<Key>) {
        if let Some(Peer {
            line: Line::Waiting { connect, place, .. },
            ..
        }) = self.peers.get_mut(&id)
        {
            connect.pinned_key = connect.pinned_key.or(game.key);
            connect.transports = game.callable();
            connect.timeout = left;
            place.addresses.clone_from(&game.addresses);
            place.host = game.addresses[0].ip().to_string();
            self.key_made(now, id, psk);
        }
    }

    /// Says where a call goes. May be said again when a name leads elsewhere by now.
    pub(crate) fn found(&mut self, now: Timestamp, id: PeerId, remote: &Remote, rouse: &Rouse) {
        let Some(Peer { slot, line, .. }) = self.peers.get(&id) else {
            return;
        };
        let slot = *slot;
        if let (Line::Guest(guest), Remote::Ip(addresses)) = (line, remote) {
            let guest = *guest;
            return self.found_foreign(now, slot, guest, addresses);
        }
        let path = match remote {
            Remote::Local(number) => self.local_path(slot, *number, rouse),
            Remote::Ip(_) => None,
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match (&mut peer.line, remote) {
            (Line::Waiting { connect, .. }, Remote::Local(_)) => connect.paths.extend(path),
            (Line::Waiting { place, .. }, Remote::Ip(addresses)) => place.addresses.clone_from(addresses),
            (Line::Connection(connection), _) => {
                let connection = *connection;
                self.contained(slot, |slot| match remote {
                    Remote::Local(_) => {
                        if let Some(path) = path {
                            slot.endpoint.add_path(now, connection, path);
                        }
                    }
                    Remote::Ip(addresses) => slot.found(now, connection, addresses),
                });
            }
            (Line::Guest(_) | Line::Member(..), _) => {}
        }
    }

    /// Opens this side's end of the tunnels that a call goes through, unless it is open.
    pub(crate) fn open_p2p(&mut self, id: PeerId, rouse: &Rouse) -> Result<(), Error> {
        let slot = self.peers.get(&id).and_then(|peer| self.slots.get_mut(&peer.slot));
        if let Some(slot) = slot
            && slot.p2p_port().is_none()
            && let Some(terms) = &slot.p2p
        {
            let port = Port::open(terms, rouse.clone())?;
            slot.add_socket(Socket::P2p(port));
        }
        Ok(())
    }

    /// Finds or makes the slot that calls with these terms go out from.
    fn caller_slot(&mut self, origin: Origin) -> Result<SlotId, Error> {
        let Origin {
            limits,
            identity,
            simulation,
            room,
            p2p,
        } = origin;
        let secret = match self.caller_secret {
            Some(secret) => secret,
            None => *self.caller_secret.insert(generate_key()?),
        };
        let identity = identity.unwrap_or_else(|| Identity::from_secret(secret));
        let mut slots = self.slots.iter();
        let is_of_room = |slot: &Slot| slot.room.map(|(room, _)| room) == room && !slot.is_closing;
        if let Some((id, _)) = slots
            .find(|(_, slot)| is_of_room(slot) && slot.suits(simulation.as_ref(), p2p.as_ref(), &limits, &identity))
        {
            return Ok(*id);
        }
        let config = EndpointConfig {
            identity,
            accept: None,
            limits,
        };
        let mut slot = Slot::new(config, generate_key()?, None, simulation);
        if let Some(room) = room {
            slot.set_room(room, Role::Contact);
        }
        slot.p2p = p2p;
        self.last_number += 1;
        let id = SlotId(self.last_number);
        self.slots.insert(id, slot);
        Ok(id)
    }

    /// Returns the path to a port inside the process, opening our own if need be.
    fn local_path(&mut self, id: SlotId, number: u64, rouse: &Rouse) -> Option<Path> {
        let slot = self.slots.get_mut(&id)?;
        let is_local = |socket: &Socket| matches!(socket, Socket::Local(_));
        let socket = match slot.sockets().iter().position(is_local) {
            Some(number) => u16::try_from(number).ok()?,
            None => slot.add_socket(Socket::Local(LocalPort::open(rouse.clone()))),
        };
        let remote = Address::Virtual(number);
        Some(Path { socket, remote })
    }
}
