//! Taking events: who is next, and which peer an event is of.
//!
//! A peer gets its id with its first event and loses it with its last.

use std::ops::Bound;

use netplay_proto::{ConnectionId, Event, Timestamp};

use super::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::slot::Slot;
use crate::types::{PeerEvent, PeerId};

impl Driver {
    /// Returns how many events wait.
    pub(crate) fn events_waiting(&self) -> usize {
        self.own_events.len()
            + self.sightings.waiting()
            + self.rooms.news_waiting()
            + self
                .slots
                .values()
                .map(|slot| slot.endpoint.events_waiting())
                .sum::<usize>()
            + self
                .foreign
                .values()
                .map(|foreign| foreign.engine().events_waiting())
                .sum::<usize>()
    }

    /// Appends at most `max` events to `out` and returns how many.
    pub(crate) fn take(&mut self, now: Timestamp, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let before = out.len();
        self.takes += 1;
        while out.len() - before < max
            && let Some(event) = self.own_events.pop_front()
        {
            out.push(event);
        }
        self.take_rooms(now, before.saturating_add(max), out);
        let after = self.slots.range((Bound::Excluded(self.took_last), Bound::Unbounded));
        let up_to = self.slots.range(..=self.took_last);
        let mut ids: Vec<SlotId> = after
            .chain(up_to)
            .filter(|(_, slot)| slot.room.is_none())
            .map(|(id, _)| *id)
            .collect();
        if !self.foreign.is_empty() {
            ids.extend(self.foreign.keys());
            ids.sort();
            let first = ids.partition_point(|id| *id <= self.took_last);
            ids.rotate_left(first);
        }
        for id in ids {
            while self.foreign.contains_key(&id) && out.len() - before < max {
                let Some(event) = self.take_foreign(id) else {
                    break;
                };
                self.took_last = id;
                out.extend(event);
            }
            while out.len() - before < max {
                let left = max - (out.len() - before);
                let Some(rest) = self.contained(id, |slot| take_messages(slot, left, out)) else {
                    break;
                };
                if rest.has_taken {
                    self.took_last = id;
                }
                let Some((connection, event)) = rest.event else {
                    break;
                };
                out.extend(self.name_event(now, id, connection, event));
            }
        }
        out.len() - before
    }

    /// Gives an event the name of its peer, which begins with its first event or call and ends with its last.
    fn name_event(&mut self, now: Timestamp, id: SlotId, connection: ConnectionId, event: Event) -> Option<PeerEvent> {
        let slot = self.slots.get_mut(&id)?;
        let listener = slot.listener;
        let mut peer = slot.peers.get(&connection).copied();
        if let Event::Connected {
            remote,
            is_incoming: true,
            ..
        } = &event
            && peer.is_none()
        {
            self.last_number += 1;
            let new = PeerId(self.last_number);
            slot.peers.insert(connection, new);
            let line = Line::Connection(connection);
            let url = match slot.way(remote.path) {
                Some(way) => PeerUrl::Given(format!("play+p2p://{}", way.remote_id)),
                None => PeerUrl::From(remote.path),
            };
            self.peers.insert(new, Peer { slot: id, url, line });
            peer = Some(new);
            if slot.is_closing {
                // It got in while the listener was saying its goodbyes.
                self.contained(id, |slot| {
                    slot.endpoint.close(now, connection, "the listener is closed")
                });
            }
        }
        // A connection that ended before it was made is none that the game knows.
        let peer = peer?;
        if matches!(event, Event::Disconnected { .. }) {
            self.peers.remove(&peer);
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.peers.remove(&connection);
            }
        }
        Some(PeerEvent { peer, listener, event })
    }
}

/// What stopped a run of messages.
struct Rest {
    /// Something was taken, be it only what no peer is known for.
    has_taken: bool,
    /// An event that is no message; None: there are no more events, or as many as were wanted.
    event: Option<(ConnectionId, Event)>,
}

/// Takes messages of one slot, at most this many, up to an event that is none. Together, because they come by the thousand:
/// the slot is looked up and guarded once for all of them, and a peer once for a run of its own.
fn take_messages(slot: &mut Slot, max: usize, out: &mut Vec<PeerEvent>) -> Rest {
    let end = out.len().saturating_add(max);
    let mut has_taken = false;
    let mut last = None;
    while out.len() < end
        && let Some((connection, event)) = slot.endpoint.poll_event()
    {
        has_taken = true;
        if !matches!(event, Event::Message { .. }) {
            let event = Some((connection, event));
            return Rest { has_taken, event };
        }
        let peer = match last {
            Some((of, peer)) if of == connection => peer,
            // A connection that ended before it was made is none that the game knows.
            _ => match slot.peers.get(&connection) {
                Some(peer) => *peer,
                None => continue,
            },
        };
        last = Some((connection, peer));
        let listener = slot.listener;
        out.push(PeerEvent { peer, listener, event });
    }
    Rest { has_taken, event: None }
}
