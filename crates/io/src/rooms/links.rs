//! The links of a room: begun, made, ended and forgotten, and the door by which others come.
//!
//! A part of the [`Driver`]. What a link is for, the machine of the room knows.

use netplay_proto::room::{LinkId, News};
use netplay_proto::{Reason, Timestamp};

use super::{Means, RoomId, Told};
use crate::driver::{Driver, Line, Peer, SlotId};
use crate::types::{ListenerId, PeerId};

impl Driver {
    pub(super) fn close_room_slots(&mut self, now: Timestamp, id: RoomId) {
        let slots: Vec<SlotId> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.room.is_some_and(|(room, _)| room == id))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            self.close_slot(now, slot);
        }
    }

    pub(super) fn close_link(&mut self, now: Timestamp, room: RoomId, link: LinkId, reason: Reason) {
        let Some(state) = self.rooms.rooms.get_mut(&room) else {
            return;
        };
        let Some(peer) = state.peers.get(&link).copied() else {
            state.cancelled.insert(link);
            return;
        };
        if reason == Reason::Goodbye {
            self.close_peer(now, peer, "");
        } else {
            self.abort_peer(now, peer, reason, "");
        }
    }

    /// Forgets a link that has ended, unless the game has not taken all that came by it.
    pub(super) fn forget_link(&mut self, room: RoomId, link: LinkId) {
        let Some(state) = self.rooms.rooms.get_mut(&room) else {
            return;
        };
        let is_ending = |told: &Told| matches!(told.news, News::Left { link: Some(other), .. } if other == link);
        if state.news.iter().any(is_ending) {
            return;
        }
        state.connected.remove(&link);
        state.speakers.remove(&link);
        state.host_links.remove(&link);
        let Some(peer) = state.peers.remove(&link) else { return };
        self.rooms.links.remove(&peer);
        if let Some(Peer { slot, line, .. }) = self.peers.remove(&peer)
            && let Line::Connection(connection) = line
            && let Some(slot) = self.slots.get_mut(&slot)
        {
            slot.peers.remove(&connection);
        }
    }

    /// Takes in that a call of a room's was begun, as this peer; closes it if nobody wants it any more.
    pub(crate) fn room_dialed(&mut self, now: Timestamp, room: RoomId, link: LinkId, peer: PeerId) {
        let state = self
            .rooms
            .rooms
            .get_mut(&room)
            .filter(|state| !state.machine.is_closed());
        let is_wanted = match state {
            Some(state) => {
                state.peers.insert(link, peer);
                self.rooms.links.insert(peer, (room, link));
                !state.cancelled.remove(&link)
            }
            None => false,
        };
        if !is_wanted {
            self.close_peer(now, peer, "");
        }
    }

    /// Returns with what a room's links are made.
    pub(crate) fn room_means(&self, room: RoomId) -> Option<Means> {
        Some(self.rooms.rooms.get(&room)?.means.clone())
    }

    /// Returns with what to open a door that is wanted, and whether the room has never been open.
    pub(super) fn wanted_door(&self, room: RoomId) -> Option<(Means, bool)> {
        let state = self.rooms.rooms.get(&room)?;
        let is_wanted = state.is_door_wanted && state.door.is_none();
        is_wanted.then(|| (state.means.clone(), !state.machine.is_open()))
    }

    pub(super) fn door_opened(&mut self, now: Timestamp, room: RoomId, door: ListenerId) {
        match self.rooms.rooms.get_mut(&room) {
            Some(state) if state.is_door_wanted && state.door.is_none() => {
                state.door = Some(door);
                state.machine.handle_door_open();
                self.work_room(now, room);
            }
            _ => {
                self.close_listener(now, door);
            }
        }
    }

    pub(super) fn door_failed(&mut self, now: Timestamp, room: RoomId, reason: Reason, detail: &str) {
        self.with_machine(room, |machine| machine.handle_door_failed(reason, detail));
        self.work_room(now, room);
    }

    /// Ends a link that no endpoint can speak for; false if the peer is none.
    pub(crate) fn fail_link(&mut self, peer: PeerId, reason: Reason, detail: &str) -> bool {
        let Some((room, link)) = self.rooms.links.get(&peer).copied() else {
            return false;
        };
        self.rooms.broken.push_back((room, link, reason, detail.to_owned()));
        true
    }

    /// Takes in that a call could not even begin.
    pub(super) fn room_not_dialed(&mut self, now: Timestamp, room: RoomId, link: LinkId, detail: &str) {
        self.with_machine(room, |machine| machine.handle_gone(now, link, Reason::NoAnswer, detail));
        self.work_room(now, room);
    }
}
