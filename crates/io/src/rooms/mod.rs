//! Rooms: joins the machine of [`netplay_proto::room`] with slots and peers. A part of the `Driver`.
//!
//! A *link* of a room is a peer that the game does not see, called or accepted by URL as any other; a *member* is a peer that
//! the game sees and that has no connection of its own: its messages go by a link, its own or the host's. It must not know what
//! is behind a URL, nor who is host when; that is the machine's.
//!
//! ```text
//! slot of a room ── aside: connected, gone, control ──► Room (the machine) ──► news ──┐ in order: a member's
//!       └────────── inbox: the game's messages ──────────────────────────────────────┴─► messages between its
//!                                                                                        coming and its going
//! ```
//!
//! Bounds: what waits for the game waits in the endpoints, by their credit. What the host passes on goes into the queue of the
//! one it is for; who sends more than `PASS_ON_QUEUE` ahead of that one is put out.

pub mod code;
mod links;
mod passing;
mod take;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use netplay_proto::room::{LinkId, News, Output, Room, Route, Topology};
use netplay_proto::{ConnectionId, Delivery, Event, Identity, Key, Kind, Message, Origin, Reason, Timestamp};

use crate::driver::{Driver, Line, Peer, PeerUrl, SlotId};
use crate::slot::Slot;
use crate::types::{ListenerId, PeerEvent, PeerId};
use crate::url::pin_fragment;

pub use code::{Code, MAX_APP_LEN};
pub(crate) use work::Work;
pub use work::{RoomOptions, Way};

/// How long after a member has left, what it said by way of the host may still come.
const GOING_TIME: Duration = Duration::from_millis(500);

/// The channel of control messages; their kind keeps them apart from the game's.
const CONTROL_CHANNEL: u8 = 255;

/// Names a room; unique within its network for the network's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

/// What a slot is to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Where newcomers knock.
    Door,
    /// Where members dial us, or where we dial from.
    Contact,
}

/// The rooms of a network.
#[derive(Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<RoomId, State>,
    /// The room and link that a hidden peer is.
    links: BTreeMap<PeerId, (RoomId, LinkId)>,
    work: VecDeque<Work>,
    /// Rooms that were asked for and have no machine yet. One that is closed meanwhile is not among them any more.
    pub(crate) begun: BTreeSet<RoomId>,
    /// Links that have ended without a word of their endpoint.
    broken: VecDeque<(RoomId, LinkId, Reason, String)>,
    /// Rooms that never began.
    failed: VecDeque<(RoomId, News)>,
}

/// One room, once its keys are made and its contact is open.
struct State {
    machine: Room,
    means: Means,
    door: Option<ListenerId>,
    /// The machine wants the door open.
    is_door_wanted: bool,
    peers: BTreeMap<LinkId, PeerId>,
    /// Links that are made.
    connected: BTreeSet<LinkId>,
    /// Links that the machine has closed before they were dialled.
    cancelled: BTreeSet<LinkId>,
    /// The peers that the game knows the members by, or is about to.
    members: BTreeMap<u32, PeerId>,
    /// Whose messages come by a link, also after its end until all are taken.
    speakers: BTreeMap<LinkId, PeerId>,
    /// Links by which a host has passed messages on.
    host_links: BTreeSet<LinkId>,
    news: VecDeque<Told>,
    /// Reliable messages that wait for the new host, or as the new host for those they are passed on to.
    held: Vec<(u32, Message)>,
    held_bytes: usize,
    /// How many messages went to a member by way of the host, by channel and delivery.
    sequences: BTreeMap<(u32, u8, Delivery), u64>,
    next_at: Option<Timestamp>,
    /// Something was put in whose consequences for routes were not looked at.
    is_stirred: bool,
    /// Those who have left and were heard by way of the host, until when what they said before may come.
    going: Vec<(Timestamp, Told)>,
}

/// With what a room's links are made.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) identity: Identity,
    pub(crate) door_identity: Identity,
    pub(crate) psk: Key,
    /// The URL that opens the door, and the one that finds it.
    pub(crate) door_to_open: String,
    pub(crate) door_to_dial: String,
    /// Through routers: the secret of the door's endpoint, and the relay.
    pub(crate) endpoint: Option<Key>,
    pub(crate) relay: Option<String>,
}

/// News for the game, with the peers that it knows.
#[derive(Debug)]
struct Told {
    news: News,
    /// Whom it is about.
    peer: Option<PeerId>,
    is_host: bool,
}

/// What is to be known of a room beside its news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomInfo {
    /// We are the host.
    pub is_host: bool,
    /// The host, if it is not us and the game knows it.
    pub host: Option<PeerId>,
    /// All goes through the host.
    pub is_star: bool,
    /// Our own place in the join order.
    pub order: u32,
}

impl Rooms {
    pub(crate) fn clear(&mut self) {
        self.rooms.clear();
        self.links.clear();
        self.work.clear();
        self.begun.clear();
        self.failed.clear();
        self.broken.clear();
    }

    /// Returns true if a peer is a link, which the game does not know of.
    pub(crate) fn is_link(&self, peer: PeerId) -> bool {
        self.links.contains_key(&peer)
    }

    pub(crate) fn has_rooms(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Takes one thing that needs a thread that may block.
    pub(crate) fn poll_work(&mut self) -> Option<Work> {
        self.work.pop_front()
    }

    /// Returns how much news waits.
    pub(crate) fn news_waiting(&self) -> usize {
        self.failed.len() + self.rooms.values().map(|state| state.news.len()).sum::<usize>()
    }

    /// Returns when a room wants to be asked again.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.rooms.values().filter_map(|state| state.next_at).min()
    }
}

impl Driver {
    /// Returns what is to be known of a room, None if it is none, or not begun.
    pub(crate) fn room_info(&self, id: RoomId) -> Option<RoomInfo> {
        let state = self.rooms.rooms.get(&id)?;
        let host = state.machine.remote_host();
        Some(RoomInfo {
            is_host: state.machine.is_host(),
            host: host.and_then(|order| state.members.get(&order).copied()),
            is_star: state.machine.topology() == Topology::Star,
            order: state.machine.order(),
        })
    }

    /// Begins a room whose machine is made.
    fn begin_room(&mut self, now: Timestamp, id: RoomId, machine: Room, means: Means) {
        let state = State {
            machine,
            means,
            door: None,
            is_door_wanted: false,
            peers: BTreeMap::new(),
            connected: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            members: BTreeMap::new(),
            speakers: BTreeMap::new(),
            host_links: BTreeSet::new(),
            news: VecDeque::new(),
            held: Vec::new(),
            held_bytes: 0,
            sequences: BTreeMap::new(),
            next_at: None,
            is_stirred: false,
            going: Vec::new(),
        };
        self.rooms.rooms.insert(id, state);
        self.work_room(now, id);
    }

    /// Leaves a room with a word to everybody.
    pub(crate) fn leave_room(&mut self, now: Timestamp, id: RoomId) {
        self.rooms.begun.remove(&id);
        if let Some(state) = self.rooms.rooms.get_mut(&id) {
            state.machine.leave();
            self.work_room(now, id);
        }
    }

    /// Leaves all rooms.
    pub(crate) fn leave_rooms(&mut self, now: Timestamp) {
        let ids: Vec<RoomId> = self.rooms.rooms.keys().copied().collect();
        for id in ids {
            self.leave_room(now, id);
        }
    }

    /// Lets the rooms work on what has come. Returns true if something is to be sent now.
    pub(crate) fn drive_rooms(&mut self, now: Timestamp) -> bool {
        if !self.rooms.has_rooms() {
            return false;
        }
        let slots: Vec<(SlotId, RoomId)> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| Some((*id, slot.room?.0)))
            .collect();
        let mut has_worked = false;
        for (slot, room) in slots {
            while let Some(Some((connection, event))) = self.contained(slot, |slot| slot.endpoint.poll_aside()) {
                self.handle_aside(now, slot, room, connection, event);
                has_worked = true;
            }
        }
        while let Some((room, link, reason, detail)) = self.rooms.broken.pop_front() {
            self.with_machine(room, |machine| machine.handle_gone(now, link, reason, &detail));
            self.work_room(now, room);
            self.forget_link(room, link);
        }
        let ids: Vec<RoomId> = self.rooms.rooms.keys().copied().collect();
        for id in ids {
            has_worked |= self.work_room(now, id);
        }
        has_worked
    }

    fn handle_aside(&mut self, now: Timestamp, slot_id: SlotId, room: RoomId, id: ConnectionId, event: Event) {
        let Some(slot) = self.slots.get_mut(&slot_id) else {
            return;
        };
        let is_door = matches!(slot.room, Some((_, Role::Door)));
        let known = slot.peers.get(&id).copied();
        let Some(state) = self.rooms.rooms.get_mut(&room) else {
            // It is over, and the slot only says its goodbyes.
            return;
        };
        state.is_stirred = true;
        let link = known
            .and_then(|peer| self.rooms.links.get(&peer))
            .map(|(_, link)| *link);
        match (event, link) {
            (
                Event::Connected {
                    is_incoming: true,
                    remote,
                    ..
                },
                None,
            ) => {
                self.last_number += 1;
                let peer = PeerId(self.last_number);
                slot.peers.insert(id, peer);
                let line = Line::Connection(id);
                let url = PeerUrl::From(remote.path);
                self.peers.insert(
                    peer,
                    Peer {
                        slot: slot_id,
                        url,
                        line,
                    },
                );
                let link = state.machine.handle_incoming(now, is_door, remote.key, &remote.name);
                state.peers.insert(link, peer);
                state.connected.insert(link);
                self.rooms.links.insert(peer, (room, link));
            }
            (Event::Connected { origin, .. }, Some(link)) => {
                if origin == Origin::New && state.connected.insert(link) {
                    state.machine.handle_connected(now, link);
                } else {
                    // Another process is there, or the one that was has forgotten us.
                    self.close_link(now, room, link, Reason::Goodbye);
                    self.with_machine(room, |machine| machine.handle_gone(now, link, Reason::Restarted, ""));
                }
            }
            (Event::Lost { reason, time_left }, Some(link)) => state.machine.handle_lost(link, reason, time_left),
            (Event::Route { is_direct }, Some(link)) => {
                if let Some(peer) = state.speakers.get(&link).filter(|peer| self.peers.contains_key(peer)) {
                    let (peer, listener, event) = (*peer, None, Event::Route { is_direct });
                    self.push_own_event(PeerEvent { peer, listener, event });
                }
            }
            (
                Event::Resumed {
                    after,
                    is_restarted: false,
                },
                Some(link),
            ) => state.machine.handle_resumed(link, after),
            // Another process is there, or the one that was has forgotten us.
            (Event::Resumed { is_restarted: true, .. }, Some(link)) => {
                self.close_link(now, room, link, Reason::Goodbye);
                self.with_machine(room, |machine| machine.handle_gone(now, link, Reason::Restarted, ""));
            }
            (Event::Disconnected { reason, detail }, Some(link)) => {
                state.machine.handle_gone(now, link, reason, &detail);
                self.work_room(now, room);
                self.forget_link(room, link);
            }
            (Event::Message { kind, data, .. }, Some(link)) if kind == Kind::ROOM => {
                state.machine.handle_control(now, link, &data);
            }
            (
                Event::Message {
                    kind,
                    data,
                    channel,
                    delivery,
                    ..
                },
                Some(link),
            ) if kind == Kind::PASS_ON => {
                self.pass_on(now, room, link, channel, delivery, &data);
            }
            _ => {}
        }
        self.work_room(now, room);
    }

    fn with_machine(&mut self, room: RoomId, work: impl FnOnce(&mut Room)) {
        if let Some(state) = self.rooms.rooms.get_mut(&room) {
            work(&mut state.machine);
        }
    }

    /// Puts a member out, as the host; anybody else stops to talk to it. False if it is none any more.
    pub(crate) fn expel(&mut self, now: Timestamp, room: RoomId, order: u32, reason: Reason, detail: &str) -> bool {
        self.with_machine(room, |machine| machine.expel(now, order, reason, detail));
        self.work_room(now, room)
    }

    /// Does what a room's machine wants. Returns true if it wanted something.
    fn work_room(&mut self, now: Timestamp, id: RoomId) -> bool {
        let mut has_worked = false;
        loop {
            let Some(state) = self.rooms.rooms.get_mut(&id) else {
                return has_worked;
            };
            let output = state.machine.poll_output(now);
            if let Output::Timeout(at) = output {
                state.next_at = at;
                break;
            }
            has_worked = true;
            match output {
                Output::Knock { link } => {
                    let url = state.means.door_to_dial.clone();
                    let key = state.means.door_identity.public_key();
                    self.rooms.work.push_back(Work::dial(id, link, url, key));
                }
                Output::Dial { link, contact, key } => {
                    // Whom and nothing else: neither a relay nor an address of somebody else's choice.
                    let url = contact.split('?').next().unwrap_or(&contact).to_owned();
                    self.rooms.work.push_back(Work::dial(id, link, url, key));
                }
                Output::Send { link, bytes } => {
                    if let Some(peer) = state.peers.get(&link).copied() {
                        let message = Message {
                            channel: CONTROL_CHANNEL,
                            delivery: Delivery::RELIABLE,
                            kind: Kind::ROOM,
                            data: bytes.into(),
                        };
                        let _ = self.send_by_link(now, peer, message);
                    }
                }
                Output::Close { link, reason } => self.close_link(now, id, link, reason),
                Output::OpenDoor => {
                    state.is_door_wanted = true;
                    self.rooms.work.push_back(Work::OpenDoor { room: id });
                }
                Output::CloseDoor => {
                    state.is_door_wanted = false;
                    if let Some(door) = state.door.take() {
                        self.close_listener(now, door);
                    }
                }
                Output::News(news) => self.handle_news(now, id, news),
                Output::Timeout(_) => {}
            }
        }
        let is_stirred = self
            .rooms
            .rooms
            .get_mut(&id)
            .is_some_and(|state| std::mem::take(&mut state.is_stirred));
        if has_worked || is_stirred {
            self.handle_routes(now, id);
        }
        self.handle_going(now, id);
        has_worked
    }

    /// Notes whose messages come by which link now, and sends what has waited for a way.
    fn handle_routes(&mut self, now: Timestamp, id: RoomId) {
        let Some(state) = self.rooms.rooms.get_mut(&id) else {
            return;
        };
        for (order, peer) in &state.members {
            if let Route::Direct(link) = state.machine.route(*order) {
                state.speakers.insert(link, *peer);
                if state.machine.remote_host() == Some(*order) {
                    state.host_links.insert(link);
                }
            }
        }
        if state.held.is_empty() {
            return;
        }
        state.held_bytes = 0;
        for (order, message) in std::mem::take(&mut state.held) {
            let _ = self.send_to_member(now, (id, order), &message);
        }
    }

    /// Lets those who were heard by way of the host leave, once what they said before has had its time to come.
    fn handle_going(&mut self, now: Timestamp, id: RoomId) {
        let Some(state) = self.rooms.rooms.get_mut(&id) else {
            return;
        };
        let is_over = state.machine.is_closed();
        while let Some((at, _)) = state.going.first()
            && (*at <= now || is_over)
        {
            let (_, told) = state.going.remove(0);
            if let News::Left { order, .. } = told.news
                && state.members.get(&order).copied() == told.peer
            {
                state.members.remove(&order);
            }
            // The last news stays the last.
            let at = state
                .news
                .iter()
                .position(|told| matches!(told.news, News::Ended { .. }));
            state.news.insert(at.unwrap_or(state.news.len()), told);
        }
        let going = state.going.first().map(|(at, _)| *at);
        state.next_at = Timestamp::first([state.next_at, going]);
    }

    /// Returns what is wrong if a room leads through routers and no relay has ever let us in.
    fn relay_trouble(&self, id: RoomId) -> Option<String> {
        let means = &self.rooms.rooms.get(&id)?.means;
        let mut slots = self
            .slots
            .values()
            .filter(|slot| slot.room.is_some_and(|(room, _)| room == id));
        let is_reached = |slot: &Slot| slot.p2p_port().is_some_and(|(_, port)| port.has_reached_relay());
        if means.endpoint.is_none() || slots.any(is_reached) {
            return None;
        }
        Some(match &means.relay {
            Some(url) => format!("the relay {url} cannot be reached"),
            None => "none of the public relays can be reached".to_owned(),
        })
    }

    fn handle_news(&mut self, now: Timestamp, id: RoomId, mut news: News) {
        if let News::Ended { reason, detail } = &mut news
            && *reason == Reason::NoRoom
            && let Some(trouble) = self.relay_trouble(id)
        {
            // Whoever has reached nobody cannot say that nobody is there.
            (*reason, *detail) = (Reason::NoAnswer, trouble);
        }
        let Some(state) = self.rooms.rooms.get_mut(&id) else {
            return;
        };
        let peer = match &news {
            News::Joined { order, .. } => {
                self.last_number += 1;
                let peer = PeerId(self.last_number);
                state.members.insert(*order, peer);
                Some(peer)
            }
            News::Left { order, link, .. } => {
                state.sequences.retain(|(other, ..), _| other != order);
                state.held.retain(|(other, _)| other != order);
                let peer = state.members.get(order).copied();
                let is_host = state.machine.is_host();
                if link.is_none() && !is_host {
                    // The host's word that it has left is on another channel than what it said.
                    state.going.push((now + GOING_TIME, Told { news, peer, is_host }));
                    return;
                }
                state.members.remove(order);
                peer
            }
            News::Lost { order, .. } | News::Resumed { order, .. } => state.members.get(order).copied(),
            News::Host { order: Some(order) } => state.members.get(order).copied(),
            News::Opened | News::Host { order: None } | News::Ended { .. } => None,
        };
        let is_host = match &news {
            News::Joined { order, .. } => state.machine.remote_host() == Some(*order),
            _ => state.machine.is_host(),
        };
        let is_end = matches!(news, News::Ended { .. });
        state.news.push_back(Told { news, peer, is_host });
        if is_end {
            self.close_room_slots(now, id);
        }
    }

    /// Ends a room that never began.
    fn fail_room(&mut self, id: RoomId, reason: Reason, detail: &str) {
        let news = News::Ended {
            reason,
            detail: detail.to_owned(),
        };
        self.rooms.failed.push_back((id, news));
    }
}

/// Writes the URL of a listener with its key pinned.
pub(crate) fn pinned(url: &str, key: &Key) -> String {
    let url = url.split('#').next().unwrap_or(url);
    format!("{url}{}", pin_fragment(key))
}
