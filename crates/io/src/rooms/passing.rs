//! Messages between members: by the link to the one they are for, by way of the host, or held while a new host is found.
//!
//! A part of the [`Driver`]. Bounds: [`PASS_ON_QUEUE`], [`HELD_BYTES`].

use netplay_proto::room::{LinkId, PassedOn, Route};
use netplay_proto::{Delivery, Kind, Message, Reason, Timestamp};

use super::RoomId;
use crate::driver::{Driver, Line, Peer};
use crate::error::SendError;
use crate::types::PeerId;

/// How many bytes may wait for a member that others have sent it by way of us.
const PASS_ON_QUEUE: usize = 16 * 1024 * 1024;

/// What a message that waits for the new host counts for beside its bytes, and how much may wait.
const MESSAGE_COST: usize = 64;
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// How much of it may be what others send each other: our own has room beside it.
const HELD_FOR_OTHERS: usize = HELD_BYTES / 2;

/// The room that passed-on messages need beside their data.
const PASSED_ON_OVERHEAD: usize = 20;

impl Driver {
    /// Passes a message on from one member to another, as the host.
    pub(super) fn pass_on(
        &mut self,
        now: Timestamp,
        room: RoomId,
        link: LinkId,
        channel: u8,
        delivery: Delivery,
        data: &[u8],
    ) {
        let Some(state) = self.rooms.rooms.get_mut(&room) else {
            return;
        };
        let Ok(passed) = PassedOn::parse(data) else {
            return state.machine.handle_broken(now, link);
        };
        // One that has just gone, or a host that has just been followed: the sender will hear of it.
        let to = passed.order;
        let Some((from, way)) = state.machine.may_pass_on(link, to) else {
            return;
        };
        let message = Message {
            channel,
            delivery,
            kind: Kind::PASSED_ON,
            data: PassedOn { order: from, ..passed }.emit().into(),
        };
        // What comes while others wait for the same way waits behind them.
        let is_behind = state.held.iter().any(|(order, _)| *order == to);
        let link = way.filter(|_| !is_behind);
        let peer = link.and_then(|link| state.peers.get(&link)).copied();
        let size = message.data.len() + MESSAGE_COST;
        let is_too_much = match peer {
            _ if delivery.is_lossy => false,
            Some(peer) => self
                .peer_stats(peer)
                .is_some_and(|stats| stats.connection.queued_bytes > PASS_ON_QUEUE),
            None => state.held_bytes + size > HELD_FOR_OTHERS,
        };
        if is_too_much {
            // Not the one who cannot take it all goes, but the one who sends so much.
            let detail = "it sent others more than they take";
            self.with_machine(room, |machine| machine.expel(now, from, Reason::TooFast, detail));
        } else if let Some(peer) = peer {
            let _ = self.send_by_link(now, peer, message);
        } else if !delivery.is_lossy
            && let Some(state) = self.rooms.rooms.get_mut(&room)
        {
            state.held_bytes += size;
            state.held.push((to, message));
        }
    }

    pub(super) fn send_by_link(&mut self, now: Timestamp, peer: PeerId, message: Message) -> Result<bool, SendError> {
        match self.peers.get(&peer) {
            Some(Peer {
                slot,
                line: Line::Connection(connection),
                ..
            }) => self.send_on(now, peer, *slot, *connection, message),
            _ => Err(SendError::Closed),
        }
    }

    /// Sends a message of the game to a member. Returns false if it is lossy and there is no way now.
    pub(crate) fn send_to_member(
        &mut self,
        now: Timestamp,
        (room, order): (RoomId, u32),
        message: &Message,
    ) -> Result<bool, SendError> {
        let state = self.rooms.rooms.get_mut(&room).ok_or(SendError::Closed)?;
        match state.machine.route(order) {
            Route::Direct(link) => {
                let peer = *state.peers.get(&link).ok_or(SendError::Closed)?;
                self.send_by_link(now, peer, message.clone())
            }
            // It waited while we were the host, and we are no longer.
            Route::PassedOn(_) if message.kind == Kind::PASSED_ON => Err(SendError::Closed),
            Route::PassedOn(link) => {
                let peer = *state.peers.get(&link).ok_or(SendError::Closed)?;
                let limit = if message.delivery.is_lossy {
                    netplay_proto::message::MAX_LOSSY_SIZE
                } else {
                    netplay_proto::message::MAX_RELIABLE_SIZE
                };
                let (size, limit) = (message.data.len(), limit - PASSED_ON_OVERHEAD);
                if size > limit {
                    return Err(SendError::TooLarge { size, limit });
                }
                let count = state
                    .sequences
                    .entry((order, message.channel, message.delivery))
                    .or_default();
                let sequence_id = *count;
                *count += 1;
                let passed = PassedOn {
                    order,
                    sequence_id,
                    kind: message.kind,
                    data: &message.data,
                };
                let message = Message {
                    data: passed.emit().into(),
                    kind: Kind::PASS_ON,
                    ..*message
                };
                self.send_by_link(now, peer, message)
            }
            Route::Wait if message.delivery.is_lossy => Ok(false),
            Route::Wait => {
                state.held_bytes += message.data.len() + MESSAGE_COST;
                if state.held_bytes > HELD_BYTES {
                    let detail = "too much was sent to it while the host was replaced";
                    state.machine.expel(now, order, Reason::TooSlow, detail);
                    self.work_room(now, room);
                    return Err(SendError::Closed);
                }
                state.held.push((order, message.clone()));
                Ok(true)
            }
            // Its end is on the way to the game.
            Route::None => Err(SendError::Closed),
        }
    }

    /// Returns the link by which messages to a member go, and whether it is the host's.
    pub(crate) fn member_link(&self, room: RoomId, order: u32) -> Option<(PeerId, bool)> {
        let state = self.rooms.rooms.get(&room)?;
        let (link, is_passed_on) = match state.machine.route(order) {
            Route::Direct(link) => (link, false),
            Route::PassedOn(link) => (link, true),
            Route::Wait | Route::None => return None,
        };
        Some((*state.peers.get(&link)?, is_passed_on))
    }
}
