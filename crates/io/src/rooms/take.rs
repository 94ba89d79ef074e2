//! What of a room goes to the game, and in which order: a member's messages come after it has joined and before it has left.
//!
//! A part of the [`Driver`].

use netplay_proto::room::{LinkId, News, PassedOn};
use netplay_proto::{Event, Kind, RoomChange, RoomEvent, Timestamp};

use super::{RoomId, Told};
use crate::driver::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::types::{PeerEvent, PeerId};

impl Driver {
    /// Appends events of rooms to `out` until it holds `end`.
    pub(crate) fn take_rooms(&mut self, now: Timestamp, end: usize, out: &mut Vec<PeerEvent>) {
        while out.len() < end
            && let Some((id, news)) = self.rooms.failed.pop_front()
        {
            let (peer, is_host) = (None, false);
            self.tell(id, Told { news, peer, is_host }, out);
        }
        if !self.rooms.has_rooms() && self.slots.values().all(|slot| slot.room.is_none()) {
            return;
        }
        for slot in self.slots.values_mut() {
            // What comes by the links of a room that is over is nobody's.
            let is_over = |(room, _): (RoomId, _)| !self.rooms.rooms.contains_key(&room);
            while slot.room.is_some_and(is_over) && slot.endpoint.poll_event().is_some() {}
        }
        let ids: Vec<RoomId> = self.rooms.rooms.keys().copied().collect();
        for id in ids {
            self.take_room(now, id, end, out);
        }
    }

    fn take_room(&mut self, now: Timestamp, id: RoomId, end: usize, out: &mut Vec<PeerEvent>) {
        loop {
            let front = self.rooms.rooms.get(&id).and_then(|state| state.news.front());
            let is_last = matches!(
                front,
                None | Some(Told {
                    news: News::Left { .. } | News::Ended { .. },
                    ..
                })
            );
            if is_last {
                self.take_room_messages(now, id, end, out);
            }
            if out.len() >= end {
                return;
            }
            let Some(state) = self.rooms.rooms.get_mut(&id) else {
                return;
            };
            let Some(told) = state.news.pop_front() else { return };
            self.tell(id, told, out);
        }
    }

    /// Takes messages of a room's slots.
    fn take_room_messages(&mut self, now: Timestamp, id: RoomId, end: usize, out: &mut Vec<PeerEvent>) {
        let slots: Vec<SlotId> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.room.is_some_and(|(room, _)| room == id))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            while out.len() < end {
                let taken = self.contained(slot, |slot| {
                    let (connection, event) = slot.endpoint.poll_event()?;
                    Some((slot.peers.get(&connection).copied(), event))
                });
                let Some(Some((peer, event))) = taken else { break };
                let Some((_, link)) = peer.and_then(|peer| self.rooms.links.get(&peer)).copied() else {
                    continue;
                };
                if let Some((peer, event)) = self.name_message(now, id, link, event) {
                    self.tell_joined(id, peer, out);
                    let listener = None;
                    out.push(PeerEvent { peer, listener, event });
                }
            }
        }
    }

    /// Says whose a message is, which came by a link; None if it is nobody's who may speak.
    fn name_message(&mut self, now: Timestamp, id: RoomId, link: LinkId, event: Event) -> Option<(PeerId, Event)> {
        let Event::Message {
            channel,
            delivery,
            kind,
            sequence_id,
            data,
        } = event
        else {
            return None;
        };
        let state = self.rooms.rooms.get_mut(&id)?;
        if kind != Kind::PASSED_ON {
            if !state.speakers.contains_key(&link) {
                state.machine.handle_message(now, link);
                self.work_room(now, id);
            }
            let peer = *self.rooms.rooms.get(&id)?.speakers.get(&link)?;
            let event = Event::Message {
                channel,
                delivery,
                kind,
                sequence_id,
                data,
            };
            return Some((peer, event));
        }
        let Ok(passed) = PassedOn::parse(&data) else {
            state.machine.handle_broken(now, link);
            self.work_room(now, id);
            return None;
        };
        let from = passed.order;
        if !(state.host_links.contains(&link) && state.members.contains_key(&from)) {
            let is_believed = state.machine.handle_passed_on(now, link, from);
            self.work_room(now, id);
            if !is_believed {
                return None;
            }
        }
        let peer = *self.rooms.rooms.get(&id)?.members.get(&from)?;
        let start = data.len() - passed.data.len();
        let event = Event::Message {
            channel,
            delivery,
            kind: passed.kind,
            sequence_id: passed.sequence_id,
            data: data.without_first(start),
        };
        Some((peer, event))
    }

    /// Tells the game that a peer has joined, if that is still to be told.
    fn tell_joined(&mut self, id: RoomId, peer: PeerId, out: &mut Vec<PeerEvent>) {
        if self.peers.contains_key(&peer) {
            return;
        }
        let Some(state) = self.rooms.rooms.get_mut(&id) else {
            return;
        };
        let is_it = |told: &Told| told.peer == Some(peer) && matches!(told.news, News::Joined { .. });
        if let Some(at) = state.news.iter().position(is_it)
            && let Some(told) = state.news.remove(at)
        {
            self.tell(id, told, out);
        }
    }

    fn tell(&mut self, id: RoomId, told: Told, out: &mut Vec<PeerEvent>) {
        let Told { news, peer, is_host } = told;
        let of_room = |what| Event::Room(Box::new(RoomEvent { room: id.0, what }));
        let event = match news {
            News::Opened => of_room(RoomChange::Opened),
            News::Joined {
                order,
                key,
                name,
                contact,
            } => {
                if let Some(peer) = peer {
                    let line = Line::Member(id, order);
                    let url = PeerUrl::Given(contact);
                    let slot = SlotId::default();
                    self.peers.insert(peer, Peer { slot, url, line });
                }
                of_room(RoomChange::Joined {
                    order,
                    name,
                    key,
                    is_host,
                })
            }
            News::Left {
                link, reason, detail, ..
            } => {
                if let Some(peer) = peer {
                    self.peers.remove(&peer);
                }
                if let Some(link) = link {
                    // If it still says its goodbye, what it says beside is nobody's.
                    self.forget_link(id, link);
                }
                of_room(RoomChange::Left { reason, detail })
            }
            News::Host { order } => {
                let is_host = order.is_none();
                of_room(RoomChange::Host { is_host })
            }
            News::Lost { reason, time_left, .. } => Event::Lost { reason, time_left },
            News::Resumed { after, .. } => Event::Resumed {
                after,
                is_restarted: false,
            },
            News::Ended { reason, detail } => {
                self.forget_room(id);
                of_room(RoomChange::Ended { reason, detail })
            }
        };
        let is_about_nobody = !matches!(event, Event::Room(_)) && peer.is_none();
        if !is_about_nobody {
            let (peer, listener) = (peer.unwrap_or_default(), None);
            out.push(PeerEvent { peer, listener, event });
        }
    }

    fn forget_room(&mut self, id: RoomId) {
        let Some(state) = self.rooms.rooms.remove(&id) else {
            return;
        };
        for peer in state.peers.values().chain(state.members.values()) {
            self.rooms.links.remove(peer);
            if let Some(Peer { slot, line, .. }) = self.peers.remove(peer)
                && let Line::Connection(connection) = line
                && let Some(slot) = self.slots.get_mut(&slot)
            {
                slot.peers.remove(&connection);
            }
        }
    }
}
