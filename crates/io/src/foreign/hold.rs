//! Which peer is which guest of which engine, and what the driver does with them.
//!
//! A part of the [`Driver`]. It must not know what any engine speaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use netplay_proto::{Event, Message, Reason, Timestamp};

use super::{Engine, GuestId, Watch};
use crate::driver::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::error::SendError;
use crate::types::{ListenerId, ListenerStats, PeerEvent, PeerId, PeerStats, Target};
use crate::url::{Scheme, Simulation};

/// An engine, as the driver holds it.
pub(crate) struct Foreign {
    engine: Box<dyn Engine>,
    scheme: Scheme,
    /// Which listener this is; None for one that calls.
    listener: Option<ListenerId>,
    /// For one that calls: the simulation that those who share it have asked for.
    simulation: Option<Simulation>,
    is_closing: bool,
    /// The ids that the game knows guests by.
    peers: BTreeMap<GuestId, PeerId>,
}

/// What a call needs beside its engine.
pub(crate) struct ForeignCall {
    pub(crate) url: String,
    pub(crate) scheme: Scheme,
    pub(crate) timeout: Duration,
    pub(crate) simulation: Option<Simulation>,
}

impl Driver {
    /// Adds the engine of a listener.
    pub(crate) fn listen_foreign(&mut self, now: Timestamp, scheme: Scheme, mut engine: Box<dyn Engine>) -> ListenerId {
        self.last_number += 1;
        let listener = ListenerId(self.last_number);
        engine.set_bans(now, self.bans());
        self.foreign.insert(
            SlotId(self.last_number),
            Foreign {
                engine,
                scheme,
                listener: Some(listener),
                simulation: None,
                is_closing: false,
                peers: BTreeMap::new(),
            },
        );
        self.sockets_version += 1;
        listener
    }

    /// Begins a call: by an engine of the same kind if its guests can share one, else by a new one.
    pub(crate) fn call_foreign<E>(
        &mut self,
        now: Timestamp,
        call: ForeignCall,
        make: impl FnOnce() -> Result<Box<dyn Engine>, E>,
    ) -> Result<PeerId, E> {
        let found = self.foreign.iter().find(|(_, foreign)| {
            call.scheme == Scheme::RawTcp
                && foreign.listener.is_none()
                && foreign.scheme == call.scheme
                && foreign.simulation == call.simulation
                && !foreign.is_closing
        });
        let id = match found {
            Some((id, _)) => *id,
            None => {
                let mut engine = make()?;
                engine.set_bans(now, self.bans());
                self.last_number += 1;
                let id = SlotId(self.last_number);
                self.foreign.insert(
                    id,
                    Foreign {
                        engine,
                        scheme: call.scheme,
                        listener: None,
                        simulation: call.simulation,
                        is_closing: false,
                        peers: BTreeMap::new(),
                    },
                );
                self.sockets_version += 1;
                id
            }
        };
        self.last_number += 1;
        let peer = PeerId(self.last_number);
        if let Some(foreign) = self.foreign.get_mut(&id) {
            let guest = foreign.engine.call(now, call.timeout);
            foreign.peers.insert(guest, peer);
            let url = PeerUrl::Given(call.url);
            let line = Line::Guest(guest);
            self.peers.insert(peer, Peer { slot: id, url, line });
        }
        Ok(peer)
    }

    /// Says where a call goes.
    pub(crate) fn found_foreign(&mut self, now: Timestamp, id: SlotId, guest: GuestId, addresses: &[SocketAddr]) {
        self.contained_foreign(id, |foreign| foreign.engine.found(now, guest, addresses));
        self.sockets_version += 1;
    }

    /// Says why a message cannot be sent to everybody meant, before it is sent to anybody.
    pub(crate) fn foreign_refusal(
        &self,
        to: Target<'_>,
        exclude: &[PeerId],
        message: &Message,
    ) -> Result<(), SendError> {
        if self.foreign.is_empty() {
            return Ok(());
        }
        let ask = |id: &PeerId| -> Result<(), SendError> {
            let Some(Peer {
                slot,
                line: Line::Guest(_),
                ..
            }) = self.peers.get(id)
            else {
                return Ok(());
            };
            let foreign = self.foreign.get(slot).filter(|_| !exclude.contains(id));
            let refusal = foreign.and_then(|foreign| foreign.engine.refusal(message));
            refusal.map_or(Ok(()), Err)
        };
        match to {
            Target::One(peer) => ask(&peer),
            Target::Many(peers) => peers.iter().try_for_each(ask),
            Target::All => self.peers.keys().try_for_each(ask),
        }
    }

    /// Sends to a guest.
    pub(crate) fn send_foreign(
        &mut self,
        now: Timestamp,
        id: SlotId,
        guest: GuestId,
        message: &Message,
    ) -> Result<bool, SendError> {
        self.contained_foreign(id, |foreign| foreign.engine.send(now, guest, message))
            .unwrap_or(Err(SendError::Closed))
    }

    /// Takes bytes of a stream: None if the peer is no stream, or has ended.
    pub(crate) fn receive(&mut self, now: Timestamp, peer: PeerId, max: usize) -> Option<Vec<u8>> {
        let Peer {
            slot,
            line: Line::Guest(guest),
            ..
        } = self.peers.get(&peer)?
        else {
            return None;
        };
        let (slot, guest) = (*slot, *guest);
        self.contained_foreign(slot, |foreign| foreign.engine.receive(now, guest, max))?
    }

    /// Ends a guest.
    pub(crate) fn end_foreign(
        &mut self,
        now: Timestamp,
        id: SlotId,
        guest: GuestId,
        (reason, detail, is_polite): (Reason, &str, bool),
    ) {
        self.contained_foreign(id, |foreign| {
            foreign.engine.end(now, guest, reason, detail, is_polite);
        });
    }

    /// Takes out an event of an engine under the name of its peer, which begins with its first event or call and ends with
    /// its last. None if there is none; an inner None if it is about nobody the game knows.
    pub(crate) fn take_foreign(&mut self, id: SlotId) -> Option<Option<PeerEvent>> {
        let take = self.takes;
        let (guest, event) = self.contained_foreign(id, |foreign| foreign.engine.poll_event(take))??;
        Some(self.name_foreign(id, guest, event))
    }

    fn name_foreign(&mut self, id: SlotId, guest: GuestId, event: Event) -> Option<PeerEvent> {
        let foreign = self.foreign.get_mut(&id)?;
        let listener = foreign.listener;
        let mut peer = foreign.peers.get(&guest).copied();
        if let Event::Connected { remote, .. } = &event
            && peer.is_none()
        {
            self.last_number += 1;
            let new = PeerId(self.last_number);
            foreign.peers.insert(guest, new);
            let url = PeerUrl::Given(format!("{}://{}", foreign.scheme.name(), remote.path.remote));
            let line = Line::Guest(guest);
            self.peers.insert(new, Peer { slot: id, url, line });
            peer = Some(new);
        }
        let peer = peer?;
        if matches!(event, Event::Disconnected { .. }) {
            foreign.peers.remove(&guest);
            self.peers.remove(&peer);
        }
        Some(PeerEvent { peer, listener, event })
    }

    /// Closes the engine of a listener; false if there is none.
    pub(crate) fn close_foreign_listener(&mut self, now: Timestamp, listener: ListenerId) -> bool {
        let found = self
            .foreign
            .iter()
            .find(|(_, foreign)| foreign.listener == Some(listener) && !foreign.is_closing);
        let Some(id) = found.map(|(id, _)| *id) else {
            return false;
        };
        self.close_foreign(now, id);
        true
    }

    /// Closes an engine.
    pub(crate) fn close_foreign(&mut self, now: Timestamp, id: SlotId) {
        self.contained_foreign(id, |foreign| {
            foreign.is_closing = true;
            foreign.engine.close(now);
        });
        self.sockets_version += 1;
    }

    /// Lets every engine know of the bans.
    pub(crate) fn tell_bans(&mut self, now: Timestamp) {
        let ids: Vec<SlotId> = self.foreign.keys().copied().collect();
        for id in ids {
            let bans = self.bans().clone();
            self.contained_foreign(id, |foreign| foreign.engine.set_bans(now, &bans));
        }
    }

    /// Returns the numbers of a guest.
    pub(crate) fn foreign_stats(&self, id: SlotId, guest: GuestId) -> Option<PeerStats> {
        self.foreign.get(&id)?.engine.stats(guest)
    }

    /// Returns the numbers of a listener that has an engine.
    pub(crate) fn foreign_listener_stats(&self, listener: ListenerId) -> Option<ListenerStats> {
        let foreign = self
            .foreign
            .values()
            .find(|foreign| foreign.listener == Some(listener) && !foreign.is_closing)?;
        Some(ListenerStats {
            peers: foreign.peers.len(),
            ..foreign.engine.listener_stats()
        })
    }

    /// Forgets engines that are done and whose events have been taken.
    pub(crate) fn remove_done_foreign(&mut self) {
        let version = &mut self.sockets_version;
        self.foreign.retain(|_, foreign| {
            let can_end = foreign.is_closing || foreign.listener.is_none();
            if !can_end || !foreign.engine.is_done() {
                return true;
            }
            if foreign.engine.holds_port() {
                // The port is free again, even if the game takes its time to take the last events.
                foreign.engine.let_go();
                *version += 1;
            }
            let is_left = foreign.engine.events_waiting() > 0;
            *version += u64::from(!is_left);
            is_left
        });
    }

    /// Does something with an engine; a panic in it ends its peers with [`Reason::Internal`], and the engine. None if there
    /// is no such engine, or it panicked.
    pub(crate) fn contained_foreign<R>(&mut self, id: SlotId, work: impl FnOnce(&mut Foreign) -> R) -> Option<R> {
        let foreign = self.foreign.get_mut(&id)?;
        // The engine is not used again after a panic.
        match catch_unwind(AssertUnwindSafe(|| work(foreign))) {
            Ok(result) => Some(result),
            Err(_) => {
                log::error!("a fault inside netplay has closed some connections; please report it");
                if let Some(foreign) = self.foreign.remove(&id) {
                    for peer in foreign.peers.into_values() {
                        self.fail_of(
                            peer,
                            foreign.listener,
                            Reason::Internal,
                            "a fault inside netplay, please report it",
                        );
                    }
                    foreign.engine.abandon();
                }
                self.sockets_version += 1;
                None
            }
        }
    }
}

impl Foreign {
    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn engine_mut(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }

    pub(crate) fn listener(&self) -> Option<ListenerId> {
        self.listener
    }

    /// Returns true if it was closed, and is not done.
    pub(crate) fn is_letting_go(&self) -> bool {
        self.is_closing && self.engine.holds_port()
    }

    pub(crate) fn watches(&self) -> Vec<Watch> {
        self.engine.watches()
    }
}
