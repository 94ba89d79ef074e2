//! What has arrived, from the core's events to those that a game holds.
//!
//! What the remote side did wrong ends here: it closes that peer, and no exception comes of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netplay_io::{Event as IoEvent, Kind, ListenerId, Origin, PeerEvent, PeerId, Reason, RoomChange, RoomEvent};
use netplay_proto::text::printable;
use pyo3::prelude::*;

use crate::data::{Unreadable, to_object};
use crate::event::{Body, Event, Game, Room};
use crate::game::game_object;
use crate::open::Open;
use crate::peer::{Peer, State};

/// Where a network's events become Python objects.
pub(crate) struct Inbox {
    /// The number of the last peer; it outlives a `close`, so that no two peers of a network have the same.
    last_peer: AtomicU64,
    /// Channels whose messages a handler wants.
    watched: Mutex<[bool; 256]>,
    /// Events that had been converted when an interruption came.
    left_over: Mutex<Vec<Py<Event>>>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            last_peer: AtomicU64::new(0),
            watched: Mutex::new([false; 256]),
            left_over: Mutex::default(),
        }
    }
}

impl Inbox {
    /// Takes at most `limit` events, without waiting, and says whether all are messages of bytes, text or plain values that
    /// no handler wants. `looks` says whether to ask the operating system for more first; one who waits next need not.
    ///
    /// The interpreter lock is kept unless another thread is at work on the network: to give it away and get it back can
    /// cost a game 5 ms for every other busy Python thread, more than this ever takes.
    pub(crate) fn take(
        &self,
        py: Python<'_>,
        open: Option<&Arc<Open>>,
        limit: usize,
        looks: bool,
    ) -> PyResult<(Vec<Py<Event>>, bool)> {
        let left_over = std::mem::take(&mut *lock(&self.left_over));
        let Some(open) = open.filter(|_| left_over.is_empty()) else {
            let is_plain = left_over.is_empty();
            return Ok((left_over, is_plain));
        };
        let mut taken = Vec::with_capacity(open.io.events_waiting().min(limit));
        if looks {
            if open.io.try_take(limit, &mut taken).is_none() {
                py.detach(|| open.io.take(limit, &mut taken));
            }
        } else if open.io.events_waiting() > 0 && open.io.try_take_arrived(limit, &mut taken).is_none() {
            py.detach(|| open.io.take_arrived(limit, &mut taken));
        }
        let (mut events, is_plain) = self.convert(py, open, taken)?;
        // Asked without a lock: most games never look for others.
        if open.io.events_waiting() == 0 {
            return Ok((events, is_plain));
        }
        let before = events.len();
        self.take_sightings(py, open, &mut events)?;
        let is_plain = is_plain && before == events.len();
        Ok((events, is_plain))
    }

    /// Appends what has changed of the games on the local network.
    fn take_sightings(&self, py: Python<'_>, open: &Open, events: &mut Vec<Py<Event>>) -> PyResult<()> {
        let mut sightings = Vec::new();
        py.detach(|| open.io.take_sightings(&mut sightings));
        for sighting in sightings {
            let body = Body::Game(Game {
                game: game_object(py, &sighting.game)?,
                finder: sighting.finder.0,
                is_gone: sighting.is_gone,
            });
            events.push(Event::without_peer(py, body)?);
        }
        Ok(())
    }

    /// Says whether a handler wants the messages of a channel.
    pub(crate) fn watch(&self, channel: u8, is_watched: bool) {
        lock(&self.watched)[usize::from(channel)] = is_watched;
    }

    /// Forgets what was not handed out.
    pub(crate) fn clear(&self) {
        let left_over = std::mem::take(&mut *lock(&self.left_over));
        drop(left_over);
    }

    /// Makes the object that stands for a peer from now on.
    pub(crate) fn new_peer(
        &self,
        py: Python<'_>,
        open: &Arc<Open>,
        io_id: PeerId,
        listener: Option<ListenerId>,
        url: String,
    ) -> PyResult<Py<Peer>> {
        let id = self.last_peer.fetch_add(1, Relaxed) + 1;
        let peer = Peer::new(py, open, id, io_id, listener, url)?;
        open.add_peer(py, &peer);
        Ok(peer)
    }

    fn convert(&self, py: Python<'_>, open: &Arc<Open>, taken: Vec<PeerEvent>) -> PyResult<(Vec<Py<Event>>, bool)> {
        if taken.is_empty() {
            return Ok((Vec::new(), true));
        }
        let watched = *lock(&self.watched);
        let mut events = Vec::with_capacity(taken.len());
        let _pause = taken.iter().all(is_plain_data).then(CollectorPause::begin);
        let mut is_plain = true;
        let mut interruption = None;
        // Messages come in runs from one peer: the map is asked once for each.
        let mut last: Option<Py<Peer>> = None;
        for PeerEvent {
            peer: id,
            listener,
            event,
        } in taken
        {
            if let IoEvent::Room(of_room) = event {
                last = None;
                is_plain = false;
                events.extend(self.room_event(py, open, id, *of_room)?);
                continue;
            }
            let peer = match last
                .take_if(|peer| peer.get().io_id == id)
                .or_else(|| open.peer(py, id))
            {
                Some(peer) => peer,
                None => self.new_peer(py, open, id, listener, open.io.peer_url(id).unwrap_or_default())?,
            };
            if let Some((body, data)) = body_of(py, open, &peer, event, &mut interruption) {
                is_plain &= matches!(body, Body::DataIn { channel, kind, .. }
                    if kind.number() <= Kind::VALUE.number() && !watched[usize::from(channel)]);
                let of = peer.clone_ref(py);
                events.push(match data {
                    Some(data) => Event::with_data(py, of, body, data)?,
                    None => Event::new(py, of, body)?,
                });
            }
            last = Some(peer);
        }
        match interruption {
            None => Ok((events, is_plain)),
            Some(error) => {
                lock(&self.left_over).extend(events);
                Err(error)
            }
        }
    }
}

impl Inbox {
    /// Converts what happened in a room, and lets its peer know.
    fn room_event(
        &self,
        py: Python<'_>,
        open: &Arc<Open>,
        id: PeerId,
        RoomEvent { room, what }: RoomEvent,
    ) -> PyResult<Option<Py<Event>>> {
        let Some(object) = open.room(py, room) else {
            return Ok(None);
        };
        let peer = match &what {
            RoomChange::Joined { order, name, key, .. } => {
                let peer = self.new_peer(py, open, id, None, open.io.peer_url(id).unwrap_or_default())?;
                peer.get().set_connected(name, key, None);
                peer.get().set_order(*order);
                Some(peer)
            }
            RoomChange::Left { .. } => {
                let peer = open.peer(py, id);
                if let Some(peer) = &peer {
                    peer.get().mark_closed();
                }
                open.remove_peer(id);
                open.forget_unreadable(id);
                peer
            }
            RoomChange::Host { .. } => open.peer(py, id),
            RoomChange::Opened => None,
            RoomChange::Ended { .. } => {
                open.remove_room(room);
                None
            }
        };
        let room = Room {
            room: object,
            change: what,
        };
        Event::of_room(py, peer, room).map(Some)
    }
}

/// Returns true if no Python code runs when this is converted.
fn is_plain_data(event: &PeerEvent) -> bool {
    matches!(event.event, IoEvent::Message { kind, .. } if kind == Kind::BYTES || kind == Kind::TEXT)
}

/// While it lives, Python does not look for circles in what is being made: every 700 events it would, and thousands are
/// made in a row, none of which can be garbage yet.
///
/// No Python code may run meanwhile: it could want the collector otherwise.
struct CollectorPause {
    was_enabled: bool,
}

impl CollectorPause {
    fn begin() -> Self {
        // SAFETY: called with the interpreter attached, for whoever converts holds a `Python`; sets a flag.
        let was_enabled = unsafe { pyo3::ffi::PyGC_Disable() } == 1;
        Self { was_enabled }
    }
}

impl Drop for CollectorPause {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: as above; it does not outlive the conversion.
            unsafe { pyo3::ffi::PyGC_Enable() };
        }
    }
}

/// Converts one event, with its data if it has some, and lets its peer know; None if there is nothing in it for the game.
fn body_of(
    py: Python<'_>,
    open: &Open,
    peer: &Py<Peer>,
    event: IoEvent,
    interruption: &mut Option<PyErr>,
) -> Option<(Body, Option<Py<PyAny>>)> {
    let object = peer;
    let peer = object.get();
    let id = peer.io_id;
    match event {
        IoEvent::Message {
            channel,
            delivery,
            kind,
            sequence_id,
            data,
        } => {
            if open.is_unreadable(id) {
                return None;
            }
            let mut read = to_object(py, kind, &data, object, &open.codec);
            if let Err(Unreadable::Interrupted(error)) = read {
                // Ctrl-C came just here. It is raised when everything is converted, and this message must not be lost.
                interruption.get_or_insert(error);
                read = to_object(py, kind, &data, object, &open.codec);
            }
            match read {
                Ok(data) => {
                    let body = Body::DataIn {
                        channel,
                        kind,
                        sequence_id,
                        is_lossy: delivery.is_lossy,
                        reply: None,
                    };
                    Some((body, Some(data)))
                }
                Err(Unreadable::Refused(refusal)) => {
                    open.refused.fetch_add(1, Relaxed);
                    if let Err(error) = say_refused(py, object, &refusal) {
                        interruption.get_or_insert(error);
                    }
                    None
                }
                Err(Unreadable::Bad(detail)) => {
                    if peer.count_bad_message() > open.codec.limits.bad_messages() {
                        open.close_as_unreadable(py, id, &detail);
                    }
                    None
                }
                Err(Unreadable::Interrupted(error)) => {
                    interruption.get_or_insert(error);
                    None
                }
            }
        }
        IoEvent::Connected { remote, origin, .. } => {
            peer.set_connected(&remote.name, &remote.key, remote.seat);
            let reason = match origin {
                Origin::New => "",
                Origin::Resumed => "resumed",
                Origin::Restarted => Reason::Restarted.name(),
            };
            Some((Body::Connected { reason }, None))
        }
        IoEvent::Lost { reason, time_left } => {
            peer.set_state(State::Lost);
            let body = Body::Lost {
                reason: reason.name(),
                seconds_left: time_left.as_secs_f64(),
            };
            Some((body, None))
        }
        IoEvent::Resumed { after, is_restarted } => {
            peer.set_state(State::Connected);
            let body = Body::Resumed {
                seconds: after.as_secs_f64(),
                reason: if is_restarted { Reason::Restarted.name() } else { "" },
            };
            Some((body, None))
        }
        IoEvent::Route { is_direct } => {
            let route = if is_direct { "direct" } else { "relayed" };
            Some((Body::Route { route }, None))
        }
        // Those have an event of their own.
        IoEvent::Room(_) => None,
        IoEvent::Disconnected { reason, detail } => {
            peer.mark_closed();
            open.remove_peer(id);
            open.forget_unreadable(id);
            let body = Body::Disconnected {
                reason: reason.name(),
                detail: explained(reason, printable(&detail), peer.url()),
            };
            Some((body, None))
        }
    }
}

/// Lets Python say that a message was refused, once for each peer and type.
fn say_refused(py: Python<'_>, peer: &Py<Peer>, refusal: &PyErr) -> PyResult<()> {
    py.import("netplay._kinds")?
        .call_method1("say_refused", (peer, refusal.value(py)))
        .map(drop)
}

/// Adds to a reason's detail what the player can do about it, where netplay knows.
fn explained(reason: Reason, detail: String, url: &str) -> String {
    if reason != Reason::KeyChanged {
        return detail;
    }
    let advice = format!(
        "the server has another key than last time: it was set up anew, or somebody pretends to be it; \
         to trust the new key call netplay.forget({url:?})"
    );
    if detail.is_empty() {
        advice
    } else {
        format!("{detail}; {advice}")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
