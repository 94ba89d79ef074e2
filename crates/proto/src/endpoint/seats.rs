//! How a connection outlives its way: calls made for one that has lost it, and the seats that clients come back to.
//!
//! A client calls again by the whole handshake, so that who comes back proves its key, and the keys of packets are new. The new
//! connection takes the place of the old one under the same id: nobody above sees the change.
//!
//! ```text
//!   silence, or the stream ended ──► call_again ──► a second slot, in the stages of any call
//!   heard again by the old way   ──► end_search        │ the first packet says that the seat is ours
//!                                                      ▼
//!                       the old slot goes, and the new one gets its id, its messages and its seat
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_core::Rng;

use super::{ConnectionId, Endpoint, Slot, Stage};
use crate::address::Path;
use crate::call::Call;
use crate::config::{Connect, Key};
use crate::connection::{Connection, Recall};
use crate::message::Event;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::wire::{MAX_DATAGRAM, MIN_DATAGRAM, Seat, SeatClaim};

/// How long a call for something better than a stream may take.
const UPGRADE_TIME: Duration = Duration::from_secs(3);

/// How many closed seats are remembered, so that who was closed cannot come back to one; then the oldest is forgotten.
const MAX_CLOSED: usize = 4096;

/// The seats that this side has closed, with the words for those who come back.
#[derive(Debug, Default)]
pub(super) struct ClosedSeats {
    words: BTreeMap<Seat, (Reason, String)>,
    order: VecDeque<Seat>,
}

impl ClosedSeats {
    pub(super) fn push(&mut self, seat: Seat, reason: Reason, detail: &str) {
        if self.words.insert(seat, (reason, detail.to_owned())).is_none() {
            self.order.push_back(seat);
        }
        if self.order.len() > MAX_CLOSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.words.remove(&oldest);
        }
    }

    pub(super) fn get(&self, seat: &Seat) -> Option<&(Reason, String)> {
        self.words.get(seat)
    }
}

/// What a connection leaves to the one that goes on under its id.
pub(super) struct Predecessor {
    pub(super) connection: Connection,
    pub(super) terms: Option<Box<Connect>>,
    pub(super) seat: Option<Seat>,
}

impl Endpoint {
    /// Takes note that a stream or a tunnel has ended: nothing more comes from there, and nothing arrives.
    pub fn handle_path_closed(&mut self, now: Timestamp, path: Path) {
        self.path_sizes.remove(&path);
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            match &mut slot.stage {
                Stage::Calling(call) => call.handle_path_closed(now, path),
                Stage::Confirming(call, connection, _) => {
                    call.handle_path_closed(now, path);
                    connection.handle_path_closed(now, path);
                }
                Stage::Answering(answer) if answer.path == path => {
                    self.remove(index);
                    continue;
                }
                Stage::Answering(_) => continue,
                Stage::Open(connection) => {
                    if !connection.handle_path_closed(now, path) {
                        continue;
                    }
                    let id = slot.id;
                    // Something better was looked for; now anything will do.
                    self.drop_recall(id);
                }
            }
            self.touch(now, index);
        }
    }

    /// Takes note of whether a stream takes datagrams now. While it does not, its connection makes none: what waits in the
    /// connection may still be dropped for being late, or overtaken by what is more urgent; what waits in a stream may not.
    pub fn set_path_held(&mut self, path: Path, is_held: bool) {
        for index in 0..self.slots.len() {
            if let Some(Slot {
                stage: Stage::Open(connection) | Stage::Confirming(_, connection, _),
                ..
            }) = &mut self.slots[index]
                && connection.path() == path
            {
                connection.set_held(is_held);
                self.make_ready(index);
            }
        }
    }

    /// Takes note of the largest datagram that a path carries, if it is less than the usual 1200 bytes; it may change while the
    /// path is in use. Returns false if that is less than [`MIN_DATAGRAM`]: such a path is of no use.
    pub fn set_path_size(&mut self, path: Path, size: usize) -> bool {
        if size >= MAX_DATAGRAM {
            self.path_sizes.remove(&path);
        } else {
            self.path_sizes.insert(path, size.max(MIN_DATAGRAM));
        }
        size >= MIN_DATAGRAM
    }

    /// Takes note that what goes by this path takes another way below, and tells the game: directly, or through a relay.
    pub fn handle_route(&mut self, path: Path, is_direct: bool) {
        for slot in self.slots.iter().flatten() {
            if let Stage::Open(connection) = &slot.stage
                && connection.path() == path
                && connection.is_open()
            {
                self.inbox.push_event(slot.id, Event::Route { is_direct });
            }
        }
    }

    /// Returns the paths in use, by a connection or by one that is being made. A stream that is not among them for a while may be
    /// closed.
    pub fn used_paths(&self) -> BTreeSet<Path> {
        let mut paths = BTreeSet::new();
        for slot in self.slots.iter().flatten() {
            match &slot.stage {
                Stage::Calling(call) => paths.extend(call.asked_paths()),
                Stage::Confirming(_, connection, _) | Stage::Open(connection) => {
                    paths.insert(connection.path());
                }
                Stage::Answering(answer) => {
                    paths.insert(answer.path);
                }
            }
        }
        paths
    }

    /// Does something with a call, or with the call for a connection that has lost its way.
    pub(super) fn with_call(&mut self, now: Timestamp, id: ConnectionId, work: impl FnOnce(&mut Call)) {
        let Some(index) = self.recalls.get(&id).copied().or_else(|| self.index(id)) else {
            return;
        };
        if let Some(Slot {
            stage: Stage::Calling(call),
            ..
        }) = &mut self.slots[index]
        {
            work(call);
        }
        self.touch(now, index);
    }

    /// Calls again for a connection of ours.
    pub(super) fn call_again(&mut self, now: Timestamp, index: usize, recall: Recall) {
        let Some(Slot {
            id,
            terms: Some(terms),
            seat: Some(seat),
            remote_key,
            stage: Stage::Open(connection),
            ..
        }) = &mut self.slots[index]
        else {
            return;
        };
        let (id, mut options, claim) = (*id, (**terms).clone(), SeatClaim::Kept(*seat));
        options.pinned_key = *remote_key;
        match recall {
            Recall::Lost => {
                options.timeout = self.config.limits.lost_after + self.config.limits.grace;
                // The way we came may be open again; a stream or a tunnel is not.
                options.paths.retain(|path| !path.remote.is_opened());
                let path = connection.path();
                if !path.remote.is_opened() && !options.paths.contains(&path) {
                    options.paths.push(path);
                }
            }
            Recall::Upgrade => {
                options.timeout = UPGRADE_TIME;
                options.paths.clear();
                options.transports.truncate(1);
            }
        }
        let (token, seed) = (self.random.next_u64(), self.seed());
        let (identity, size) = (self.config.identity.clone(), self.config.limits.message_size);
        let (call_index, local_id) = self.allocate();
        let mut call = Call::new(now, options, &identity, size, local_id, token, seed);
        call.keep_seat(claim);
        self.insert(call_index, local_id, None, Stage::Calling(Box::new(call)));
        if let Some(slot) = &mut self.slots[call_index] {
            slot.recall = Some((id, recall));
        }
        self.recalls.insert(id, call_index);
        self.calls.insert(token, call_index);
        self.touch(now, call_index);
    }

    /// A connection that was looked for is heard by its old way. Once our last message is out, the server may have changed to the
    /// new one, and there is no way back.
    pub(super) fn end_search(&mut self, id: ConnectionId) {
        if let Some(&call_index) = self.recalls.get(&id)
            && let Some(Slot {
                stage: Stage::Calling(_),
                recall: Some((_, Recall::Lost)),
                ..
            }) = &self.slots[call_index]
        {
            self.remove(call_index);
        }
    }

    /// Ends the call for a connection that is over, or that needs another one.
    pub(super) fn drop_recall(&mut self, id: ConnectionId) {
        if let Some(&call_index) = self.recalls.get(&id) {
            self.remove(call_index);
        }
    }

    /// Lets a connection know that nobody calls for it any more.
    pub(super) fn forget_recall(&mut self, id: ConnectionId) {
        self.recalls.remove(&id);
        if let Some(index) = self.index(id)
            && let Some(Slot {
                stage: Stage::Open(connection),
                ..
            }) = &mut self.slots[index]
        {
            connection.set_recalling(false);
            self.arm(index);
        }
    }

    /// The call for a connection has failed: where the server has said no, the connection is over.
    pub(super) fn end_recall(
        &mut self,
        now: Timestamp,
        call_index: usize,
        id: ConnectionId,
        recall: Recall,
        reason: Reason,
        detail: &str,
    ) {
        self.remove(call_index);
        self.refuse_recall(now, id, recall, reason, detail);
    }

    /// The server has said no to one who came back, or there was no answer.
    pub(super) fn refuse_recall(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        recall: Recall,
        reason: Reason,
        detail: &str,
    ) {
        let Some(index) = self.index(id) else { return };
        let Some(Slot {
            stage: Stage::Open(connection),
            ..
        }) = &mut self.slots[index]
        else {
            return;
        };
        match (recall, reason) {
            (Recall::Upgrade, _) => connection.look_for_better(now),
            (Recall::Lost, Reason::NoAnswer | Reason::UnknownHost) => (),
            (Recall::Lost, _) => {
                connection.give_up(reason, detail.to_owned(), &mut self.inbox);
                self.forget_established(id);
            }
        }
        self.touch(now, index);
    }

    /// Returns the connection that a client comes back to, if it is the one who has the seat.
    pub(super) fn seat_owner(&self, claim: SeatClaim, remote_key: &Key) -> Option<ConnectionId> {
        let id = *self.tickets.get(&claim.seat()?)?;
        let slot = self.slots[self.index(id)?].as_ref()?;
        let is_theirs = slot.remote_key.as_ref() == Some(remote_key);
        let is_open = matches!(&slot.stage, Stage::Open(connection) if connection.is_open());
        (is_theirs && is_open).then_some(id)
    }

    /// Returns true if the game has not taken far too much of what this one has sent.
    pub(super) fn has_full_inbox(&self, id: ConnectionId) -> bool {
        let slot = self.index(id).and_then(|index| self.slots[index].as_ref());
        slot.is_some_and(|slot| matches!(&slot.stage, Stage::Open(connection) if connection.has_full_inbox()))
    }

    /// Takes note that a connection has ended by itself. Where it was this side that closed it, it cannot be come back to.
    pub(super) fn handle_ended(&mut self, index: usize) {
        let Some(Slot {
            id,
            seat,
            stage: Stage::Open(connection),
            ..
        }) = &self.slots[index]
        else {
            return;
        };
        let id = *id;
        if self.established.contains(&id)
            && let Some(seat) = seat.filter(|seat| self.tickets.contains_key(seat))
            && let Some((reason, detail)) = connection.goodbye()
        {
            self.closed_seats.push(seat, reason, detail);
        }
        self.forget_established(id);
    }

    /// Returns the words for one who comes back to a seat that this side has closed.
    pub(super) fn closing_words(&self, claim: SeatClaim) -> Option<(Reason, String)> {
        self.closed_seats.get(&claim.seat()?).cloned()
    }

    /// Takes an open connection from its place, for another one that goes on under its id at `index`.
    pub(super) fn take_place(&mut self, id: ConnectionId, index: usize) -> Option<Predecessor> {
        let old = self.vacate(self.index(id)?)?;
        let Stage::Open(connection) = old.stage else {
            return None;
        };
        self.recalls.remove(&id);
        self.moved.insert(id, index);
        Some(Predecessor {
            connection: *connection,
            terms: old.terms,
            seat: old.seat,
        })
    }
}
