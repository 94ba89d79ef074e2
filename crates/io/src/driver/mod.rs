//! Everything a network has, behind one lock: slots with their endpoints and sockets, and the ids of peers.
//!
//! Whoever holds the lock drives: the game's thread in `take`, the I/O thread while the game is busy. It knows ids, events
//! and moments; it must not know threads, nor how long anybody waits.

mod asked;
mod take;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use netplay_proto::{
    Accept, Ban, Bans, Connect, ConnectionId, EndpointConfig, Event, Identity, Key, Limits, Message, Path, Reason,
    Timestamp, TooManyBans,
};

use crate::error::Error;
use crate::fleeting::Fleeting;
use crate::foreign::courier::Courier;
use crate::foreign::{Foreign, GuestId, Watch};
use crate::keys::generate_key;
use crate::lan::Sightings;
use crate::places::Place;
use crate::rooms::{Role, RoomId, Rooms};
use crate::slot::{Look, Next, Slot};
use crate::socket::Socket;
use crate::streams::Streams;
use crate::types::{ListenerId, PeerEvent, PeerId};
use crate::url::Simulation;

/// How often the slots are driven in a row because one has sent to another inside this network.
const LOCAL_ROUNDS: usize = 4;

/// Everything a network has.
#[derive(Default)]
pub(crate) struct Driver {
    pub(crate) slots: BTreeMap<SlotId, Slot>,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    /// What speaks something else, numbered as the slots are.
    pub(crate) foreign: BTreeMap<SlotId, Foreign>,
    /// Sends single datagrams that need no peer.
    pub(crate) courier: Courier,
    /// Rooms of equals.
    pub(crate) rooms: Rooms,
    /// Peers to close when nothing has passed for a while.
    pub(crate) fleeting: Fleeting,
    /// How often the game has taken events.
    pub(crate) takes: u64,
    /// The last number given to a peer, a listener or a slot.
    pub(crate) last_number: u64,
    /// Events that no endpoint can tell: the peers of one that failed, and calls that never began.
    own_events: VecDeque<PeerEvent>,
    /// The slot after which the next `take` begins, so that a busy one does not starve the others.
    took_last: SlotId,
    /// Who may not come in, by any listener.
    bans: Bans,
    /// Our key when we call; made when first needed.
    pub(crate) caller_secret: Option<Key>,
    /// Counts up with every change of the sockets.
    pub(crate) sockets_version: u64,
    /// The list of slots that are driven, used again.
    ids: Vec<SlotId>,
    /// To whom the last broadcast went.
    pub(crate) recipients: Vec<(PeerId, Option<(SlotId, ConnectionId)>)>,
    /// The game has sent something since this was taken back.
    pub(crate) has_sent: bool,
    /// Games on the local network, as they are seen.
    pub(crate) sightings: Sightings,
    /// When the first reliable message after the last drive was sent. Somebody drives within milliseconds of it.
    pub(crate) sent_at: Option<Timestamp>,
}

/// Names a slot; never used again for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(pub(crate) u64);

/// One peer that the game knows.
pub(crate) struct Peer {
    pub(crate) slot: SlotId,
    pub(crate) url: PeerUrl,
    pub(crate) line: Line,
}

/// How a peer's messages go out.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is there while a name is looked up or a key is made"
)]
pub(crate) enum Line {
    /// The connection has begun.
    Connection(ConnectionId),
    /// It is a member of a room, whose messages go by a link of that.
    Member(RoomId, u32),
    /// It is a guest of an engine that speaks something else.
    Guest(GuestId),
    /// The call waits for its key to be made from the password, and the messages wait with it.
    Waiting {
        connect: Box<Connect>,
        place: Box<Place>,
        messages: Vec<Message>,
        bytes: usize,
    },
}

/// Where a peer is, in the game's words.
pub(crate) enum PeerUrl {
    /// As the game wrote it.
    Given(String),
    /// Where it called from.
    From(Path),
}

impl Driver {
    /// Receives for each slot, lets the protocol work, and sends what is to be sent.
    pub(crate) fn drive(&mut self, now: Timestamp, look: Look) -> Next {
        self.sent_at = None;
        let mut next = Next::default();
        let mut ids = std::mem::take(&mut self.ids);
        for round in 0..LOCAL_ROUNDS {
            // Only what arrived adds up over the rounds.
            (next.at, next.has_more) = (None, false);
            ids.clear();
            ids.extend(self.slots.keys());
            for &id in &ids {
                if let Some(slot_next) = self.contained(id, |slot| slot.drive(now, look)) {
                    next = next.and(slot_next);
                }
            }
            // What went from one slot to another of this network needs no other thread to arrive.
            let has_local = self.slots.values().flat_map(Slot::sockets).any(|socket| match socket {
                Socket::Local(port) => port.has_datagram(),
                Socket::Udp(_) | Socket::P2p(_) => false,
            });
            let has_local = self.drive_rooms(now) || has_local;
            if !has_local {
                break;
            }
            next.has_more |= round + 1 == LOCAL_ROUNDS;
        }
        ids.clear();
        ids.extend(self.foreign.keys());
        for &id in &ids {
            if let Some(foreign_next) = self.contained_foreign(id, |foreign| foreign.engine_mut().drive(now, look)) {
                next = next.and(foreign_next);
            }
        }
        self.ids = ids;
        next.at = Timestamp::first([next.at, self.close_idle(now), self.rooms.next_at()]);
        self.remove_closed_slots();
        self.remove_done_foreign();
        for slot in self.slots.values_mut() {
            self.sockets_version += u64::from(std::mem::take(&mut slot.has_new_sockets));
        }
        next
    }

    /// Opens a listener on these sockets, for a room or for the game.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is something else, and it is called in one place"
    )]
    pub(crate) fn listen(
        &mut self,
        room: Option<(RoomId, Role)>,
        accept: Accept,
        identity: Identity,
        limits: Limits,
        simulation: Option<Simulation>,
        sockets: Vec<Socket>,
        streams: Option<Streams>,
    ) -> Result<ListenerId, Error> {
        let seed = generate_key()?;
        self.last_number += 1;
        let listener = ListenerId(self.last_number);
        let config = EndpointConfig {
            identity,
            accept: Some(accept),
            limits,
        };
        let mut slot = Slot::new(config, seed, Some(listener), simulation);
        slot.endpoint.set_bans(self.bans.clone());
        if let Some((room, role)) = room {
            slot.set_room(room, role);
        }
        for socket in sockets {
            slot.add_socket(socket);
        }
        if let Some(streams) = streams {
            slot.set_streams(streams);
        }
        self.slots.insert(SlotId(self.last_number), slot);
        self.sockets_version += 1;
        Ok(listener)
    }

    /// Says goodbye to a peer; false if it has ended.
    pub(crate) fn close_peer(&mut self, now: Timestamp, id: PeerId, detail: &str) -> bool {
        match self.peers.get(&id) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => {
                let (slot, connection) = (*slot, *connection);
                self.contained(slot, |slot| slot.close_connection(now, connection, detail));
                true
            }
            Some(Peer {
                slot,
                line: Line::Guest(guest),
                ..
            }) => {
                let (slot, guest) = (*slot, *guest);
                self.end_foreign(now, slot, guest, (Reason::Closed, detail, true));
                true
            }
            Some(Peer {
                line: Line::Member(room, order),
                ..
            }) => {
                let (room, order) = (*room, *order);
                self.expel(now, room, order, Reason::Closed, detail)
            }
            Some(_) => {
                self.fail(id, Reason::Closed, detail);
                true
            }
            None => false,
        }
    }

    /// Ends a peer at once for this reason, and tells it; false if it has ended.
    pub(crate) fn abort_peer(&mut self, now: Timestamp, id: PeerId, reason: Reason, detail: &str) -> bool {
        match self.peers.get(&id) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => {
                let (slot, connection) = (*slot, *connection);
                self.contained(slot, |slot| slot.endpoint.abort(now, connection, reason, detail));
                true
            }
            Some(Peer {
                slot,
                line: Line::Guest(guest),
                ..
            }) => {
                let (slot, guest) = (*slot, *guest);
                self.end_foreign(now, slot, guest, (reason, detail, false));
                true
            }
            Some(Peer {
                line: Line::Member(room, order),
                ..
            }) => {
                let (room, order) = (*room, *order);
                self.expel(now, room, order, reason, detail)
            }
            Some(_) => {
                self.fail(id, reason, detail);
                true
            }
            None => false,
        }
    }

    /// Bans an address, a range or a key until a moment, None for good; closes the peers that are meant.
    pub(crate) fn ban(&mut self, now: Timestamp, ban: Ban, until: Option<Timestamp>) -> Result<(), TooManyBans> {
        self.bans.add(now, ban, until)?;
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.contained(id, |slot| slot.endpoint.ban(now, ban, until));
        }
        self.tell_bans(now);
        Ok(())
    }

    /// Lifts a ban; false if there is none.
    pub(crate) fn unban(&mut self, now: Timestamp, ban: Ban) -> bool {
        for slot in self.slots.values_mut() {
            slot.endpoint.unban(now, ban);
        }
        let is_lifted = self.bans.remove(now, ban);
        self.tell_bans(now);
        is_lifted
    }

    /// Returns the bans, and how long each will last; None for good.
    pub(crate) fn bans_left(&self, now: Timestamp) -> Vec<(Ban, Option<Duration>)> {
        let bans = self.bans.iter(now);
        bans.map(|(ban, until)| (ban, until.map(|until| until - now))).collect()
    }

    /// Returns the bans.
    pub(crate) fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Says goodbye to a listener's peers and takes no more; false if it is closed.
    pub(crate) fn close_listener(&mut self, now: Timestamp, listener: ListenerId) -> bool {
        let found = self
            .slots
            .iter()
            .find(|(_, slot)| slot.listener == Some(listener) && !slot.is_closing);
        let Some(id) = found.map(|(id, _)| *id) else {
            return self.close_foreign_listener(now, listener);
        };
        self.close_slot(now, id);
        true
    }

    /// Says goodbye to everyone.
    pub(crate) fn close_all(&mut self, now: Timestamp) {
        self.leave_rooms(now);
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.close_slot(now, id);
        }
        let ids: Vec<SlotId> = self.foreign.keys().copied().collect();
        for id in ids {
            self.close_foreign(now, id);
        }
    }

    pub(crate) fn close_slot(&mut self, now: Timestamp, id: SlotId) {
        self.contained(id, |slot| slot.close(now));
    }

    /// Says the goodbyes of what was closed without waiting for anything that was sent before.
    pub(crate) fn hurry(&mut self, now: Timestamp) {
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            self.contained(id, |slot| slot.hurry(now));
        }
        let ids: Vec<SlotId> = self.foreign.keys().copied().collect();
        for id in ids {
            self.contained_foreign(id, |foreign| foreign.engine_mut().hurry(now));
        }
    }

    /// Returns true when everything was closed and everybody has been said goodbye to.
    pub(crate) fn is_done(&mut self) -> bool {
        self.slots.values_mut().all(Slot::is_done) && self.foreign.values().all(|foreign| foreign.engine().is_done())
    }

    /// Returns true if something may be waiting to be sent.
    pub(crate) fn has_output(&self) -> bool {
        self.slots.values().any(|slot| slot.endpoint.has_output())
            || self.foreign.values().any(|foreign| foreign.engine().has_output())
    }

    /// Returns true while a closed listener still holds its sockets.
    pub(crate) fn is_letting_go(&self) -> bool {
        self.slots.values().any(|slot| slot.is_closing && slot.has_sockets())
            || self.foreign.values().any(Foreign::is_letting_go)
    }

    /// Forgets everything and closes every socket.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.foreign.clear();
        self.courier = Courier::default();
        self.fleeting.clear();
        self.sightings.clear();
        self.rooms.clear();
        self.peers.clear();
        self.own_events.clear();
        self.sockets_version += 1;
    }

    /// Counts up with every change of what [`watches`](Self::watches) returns.
    pub(crate) fn sockets_version(&self) -> u64 {
        self.sockets_version
    }

    /// Returns everything that can tell of something to read.
    pub(crate) fn watches(&self) -> Vec<Watch> {
        let sockets = self.slots.values().flat_map(Slot::sockets);
        let own = sockets.filter_map(|socket| match socket {
            Socket::Udp(udp) => Some(Watch::Udp(Arc::clone(udp))),
            Socket::Local(_) | Socket::P2p(_) => None,
        });
        let mut watches: Vec<Watch> = own.chain(self.foreign.values().flat_map(Foreign::watches)).collect();
        #[cfg(unix)]
        watches.extend(
            self.slots
                .values()
                .filter_map(Slot::streams)
                .map(|streams| Watch::Poll(Arc::clone(streams.watch()))),
        );
        watches
    }

    /// Takes one peer whose name is to be resolved again.
    pub(crate) fn poll_lookup(&mut self) -> Option<(PeerId, String, u16)> {
        self.slots.values_mut().find_map(|slot| {
            let (connection, name, port) = slot.places.poll_lookup()?;
            Some((*slot.peers.get(&connection)?, name, port))
        })
    }

    /// Adds an event that no endpoint tells.
    pub(crate) fn push_own_event(&mut self, event: PeerEvent) {
        self.own_events.push_back(event);
    }

    /// Ends a peer that no endpoint can speak for.
    pub(crate) fn fail(&mut self, id: PeerId, reason: Reason, detail: &str) {
        let listener = self.peer_listener(id);
        self.fail_of(id, listener, reason, detail);
    }

    /// Ends a peer of this listener that no endpoint can speak for.
    pub(crate) fn fail_of(&mut self, id: PeerId, listener: Option<ListenerId>, reason: Reason, detail: &str) {
        if self.fail_link(id, reason, detail) {
            return;
        }
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        let slot = self.slots.get_mut(&peer.slot);
        if let (Line::Connection(connection), Some(slot)) = (peer.line, slot) {
            slot.peers.remove(&connection);
        }
        let event = Event::Disconnected {
            reason,
            detail: detail.to_owned(),
        };
        self.own_events.push_back(PeerEvent {
            peer: id,
            listener,
            event,
        });
    }

    /// Forgets listeners that have said their goodbyes and whose events have been taken.
    fn remove_closed_slots(&mut self) {
        let version = &mut self.sockets_version;
        self.slots.retain(|_, slot| {
            if !slot.is_done() {
                return true;
            }
            if slot.has_sockets() {
                // The port is free again, even if the game takes its time to take the last events.
                slot.close_sockets();
                *version += 1;
            }
            slot.endpoint.events_waiting() > 0
        });
    }

    /// Does something with a slot; a panic in it ends the slot's connections with [`Reason::Internal`] and nothing else.
    /// None if there is no such slot, or it panicked.
    pub(crate) fn contained<R>(&mut self, id: SlotId, work: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let slot = self.slots.get_mut(&id)?;
        // The endpoint is not used again after a panic, so what it left half done is never seen.
        match catch_unwind(AssertUnwindSafe(|| work(slot))) {
            Ok(result) => Some(result),
            Err(_) => {
                self.start_over(id);
                None
            }
        }
    }

    fn start_over(&mut self, id: SlotId) {
        log::error!("a fault inside netplay has closed some connections; please report it");
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        // Without randomness there is no safe endpoint: the slot goes too.
        let lost = match generate_key() {
            Ok(seed) => {
                let lost = slot.start_over(seed);
                slot.endpoint.set_bans(self.bans.clone());
                lost
            }
            Err(_) => self.slots.remove(&id).map(|slot| slot.peers).unwrap_or_default(),
        };
        for peer in lost.into_values() {
            self.fail(peer, Reason::Internal, "a fault inside netplay, please report it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Origin, Remote};
    use crate::local::{self, LocalPort};

    fn listening(driver: &mut Driver, name: &str) -> ListenerId {
        let port = LocalPort::listen(name, Arc::new(|| {})).unwrap();
        let accept = Accept {
            max_peers: 8,
            ..Accept::default()
        };
        let identity = Identity::from_secret([7; 32]);
        driver
            .listen(
                None,
                accept,
                identity,
                Limits::default(),
                None,
                vec![Socket::Local(port)],
                None,
            )
            .unwrap()
    }

    fn calling(driver: &mut Driver, now: Timestamp, name: &str) -> PeerId {
        let connect = Connect {
            timeout: Duration::from_secs(5),
            ..Connect::default()
        };
        let peer = driver
            .call(
                now,
                format!("local://{name}"),
                connect,
                Place::default(),
                Origin::default(),
                true,
            )
            .unwrap();
        driver.found(
            now,
            peer,
            &Remote::Local(local::number_of(name)),
            &(Arc::new(|| {}) as _),
        );
        peer
    }

    /// Drives through a second of virtual time and returns what happened.
    fn second(driver: &mut Driver, now: &mut Timestamp) -> Vec<PeerEvent> {
        let mut events = Vec::new();
        for _ in 0..100 {
            *now += Duration::from_millis(10);
            driver.drive(*now, Look::Everywhere { budget: 100 });
            driver.take(*now, usize::MAX, &mut events);
        }
        events
    }

    #[test]
    fn a_fault_in_one_endpoint_ends_its_peers_and_nothing_else() {
        let mut driver = Driver::default();
        let mut now = Timestamp::ZERO;
        let faulty = listening(&mut driver, "driver/faulty");
        let sound = listening(&mut driver, "driver/sound");
        calling(&mut driver, now, "driver/faulty");
        calling(&mut driver, now, "driver/sound");
        let connected = second(&mut driver, &mut now);
        assert_eq!(connected.len(), 4, "{connected:?}");
        let at = |listener| {
            connected
                .iter()
                .find(|event| event.listener == Some(listener))
                .unwrap()
                .peer
        };
        let slot = driver.peers[&at(faulty)].slot;
        assert!(driver.contained(slot, |_| panic!("a fault, for the test")).is_none());
        let mut events = Vec::new();
        driver.take(now, usize::MAX, &mut events);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].peer, events[0].listener), (at(faulty), Some(faulty)));
        assert!(matches!(
            events[0].event,
            Event::Disconnected {
                reason: Reason::Internal,
                ..
            }
        ));
        // The sound one goes on, and the faulty one takes new peers.
        assert!(driver.peer_stats(at(sound)).is_some());
        calling(&mut driver, now, "driver/faulty");
        let again = second(&mut driver, &mut now);
        let is_in = |event: &PeerEvent| {
            event.listener == Some(faulty) && matches!(event.event, Event::Connected { is_incoming: true, .. })
        };
        assert!(again.iter().any(is_in), "{again:?}");
    }

    #[test]
    fn no_listener_starves_another() {
        let mut driver = Driver::default();
        let mut now = Timestamp::ZERO;
        let listeners = [
            listening(&mut driver, "driver/one"),
            listening(&mut driver, "driver/other"),
        ];
        for name in ["driver/one", "driver/other"] {
            for _ in 0..3 {
                calling(&mut driver, now, name);
            }
        }
        for _ in 0..100 {
            now += Duration::from_millis(10);
            driver.drive(now, Look::Everywhere { budget: 100 });
        }
        let mut events = Vec::new();
        for _ in 0..6 {
            driver.take(now, 2, &mut events);
        }
        assert_eq!(events.len(), 12, "{events:?}");
        // After two of one listener, the next two are another's, not the third and fourth of the same.
        let sources: Vec<_> = events.iter().map(|event| event.listener).collect();
        assert!(
            listeners.iter().all(|listener| sources[..6].contains(&Some(*listener))),
            "{sources:?}"
        );
    }
}
