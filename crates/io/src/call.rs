//! How a call begins: from which slot, by which paths, and what waits until its key is made.
//!
//! A part of the [`Driver`]. It must not know how names are resolved or keys made; it is told.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use netplay_proto::{Address, Connect, EndpointConfig, Identity, Key, Limits, Path, Reason, Timestamp};

use crate::driver::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::error::Error;
use crate::keys::generate_key;
use crate::local::{LocalPort, Rouse};
use crate::slot::Slot;
use crate::socket::{Socket, bind_udp};
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

impl Driver {
    /// Begins a call. Without a password its key is complete and the connection begins now; otherwise
    /// [`key_made`](Self::key_made) must follow. Where to, [`found`](Self::found) says.
    pub(crate) fn call(
        &mut self,
        now: Timestamp,
        url: String,
        connect: Connect,
        limits: Limits,
        simulation: Option<Simulation>,
        is_key_made: bool,
    ) -> Result<PeerId, Error> {
        let id = self.caller_slot(limits, simulation)?;
        self.last_number += 1;
        let peer = PeerId(self.last_number);
        let line = Line::Waiting {
            connect: Box::new(connect),
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
        let Line::Waiting { connect, messages, .. } = line else {
            return;
        };
        let mut connect = std::mem::take(&mut **connect);
        let messages = std::mem::take(messages);
        connect.psk = psk.unwrap_or(connect.psk);
        let begun = self.contained(slot, |slot| {
            let connection = slot.endpoint.connect(now, connect);
            slot.peers.insert(connection, id);
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

    /// Says where a call goes.
    pub(crate) fn found(&mut self, now: Timestamp, id: PeerId, remote: &Remote, rouse: &Rouse) {
        let Some(Peer { slot, line, .. }) = self.peers.get(&id) else {
            return;
        };
        let slot = *slot;
        if let (Line::Guest(guest), Remote::Ip(addresses)) = (line, remote) {
            let guest = *guest;
            return self.found_foreign(now, slot, guest, addresses);
        }
        let paths = self.paths_to(slot, remote, rouse);
        if paths.is_empty() {
            return self.fail(
                id,
                Reason::UnknownHost,
                "this machine has no network that leads to its addresses",
            );
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match &mut peer.line {
            Line::Waiting { connect, .. } => connect.paths.extend(paths),
            Line::Connection(connection) => {
                let connection = *connection;
                self.contained(slot, |slot| {
                    for path in paths {
                        slot.endpoint.add_path(now, connection, path);
                    }
                });
            }
            Line::Guest(_) => {}
        }
    }

    /// Finds or makes the slot that calls with these terms go out from.
    fn caller_slot(&mut self, limits: Limits, simulation: Option<Simulation>) -> Result<SlotId, Error> {
        if let Some((id, _)) = self
            .slots
            .iter()
            .find(|(_, slot)| slot.suits(simulation.as_ref(), &limits))
        {
            return Ok(*id);
        }
        let secret = match self.caller_secret {
            Some(secret) => secret,
            None => *self.caller_secret.insert(generate_key()?),
        };
        let config = EndpointConfig {
            identity: Identity::from_secret(secret),
            accept: None,
            limits,
        };
        let slot = Slot::new(config, generate_key()?, None, simulation);
        self.last_number += 1;
        let id = SlotId(self.last_number);
        self.slots.insert(id, slot);
        Ok(id)
    }

    /// Returns the paths that lead to a remote side, opening the sockets they need. None leads there if this machine has
    /// no such network.
    fn paths_to(&mut self, id: SlotId, remote: &Remote, rouse: &Rouse) -> Vec<Path> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        let version = &mut self.sockets_version;
        let mut socket_for = |is_it: &dyn Fn(&Socket) -> bool, open: &dyn Fn() -> Option<Socket>| {
            if let Some(number) = slot.sockets().iter().position(is_it) {
                return u16::try_from(number).ok();
            }
            *version += 1;
            open().map(|socket| slot.add_socket(socket))
        };
        match remote {
            Remote::Local(number) => {
                let is_local = |socket: &Socket| matches!(socket, Socket::Local(_));
                let open = || Some(Socket::Local(LocalPort::open(rouse.clone())));
                let socket = socket_for(&is_local, &open);
                socket
                    .map(|socket| Path {
                        socket,
                        remote: Address::Virtual(*number),
                    })
                    .into_iter()
                    .collect()
            }
            Remote::Ip(addresses) => addresses
                .iter()
                .filter_map(|address| {
                    let is_family = |socket: &Socket| match socket {
                        Socket::Udp(udp) => udp.local_addr().is_ok_and(|own| own.is_ipv4() == address.is_ipv4()),
                        Socket::Local(_) => false,
                    };
                    let own: SocketAddr = match address {
                        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                    };
                    let socket = socket_for(&is_family, &|| bind_udp(own).ok().map(Socket::udp))?;
                    Some(Path {
                        socket,
                        remote: Address::Ip(*address),
                    })
                })
                .collect(),
        }
    }
}
