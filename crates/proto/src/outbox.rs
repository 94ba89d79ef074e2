//! What the game has sent and the remote side has not acknowledged yet, and the order in which it goes into packets.
//!
//! Resent units first, then small messages (reliable and lossy in turns, reliable lanes in turns), then bulk: fragments of large
//! reliable messages, lane by lane. Knows lanes, units and credit; it must not know packets or the network.
//!
//! Bounds: reliable bytes by the sender's own limit (the connection is closed as too slow), lossy bytes by dropping the
//! oldest and the late, what is under way by the remote side's credit.

use std::collections::VecDeque;

use crate::payload::Payload;

use crate::credit::{BASE_CREDIT, BULK_RESERVE, unit_cost};
use crate::flight::{Carried, Unit};
use crate::lane::{LaneId, LaneMap};
use crate::lossy::{LossyMessage, LossyQueue};
use crate::message::{Delivery, Kind, MAX_LOSSY_SIZE, Message, SendError};
use crate::time::Timestamp;
use crate::wire::{
    Chunk, FRAGMENT_SIZE, MessageChunk, Parity, Part, emit_parity, fragment_count, fragment_len, parity_len,
};

/// What a queued message costs beside its bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// How far the messages of a reliable unordered lane may be apart, oldest unacknowledged to newest sent. The receiver
/// remembers that many.
pub(crate) const UNORDERED_SPAN: u64 = 1 << 16;

/// Which classes of messages may go into a packet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Resent units and small reliable messages.
    pub(crate) has_small: bool,
    /// Lossy messages.
    pub(crate) has_lossy: bool,
    /// Fragments of large messages.
    pub(crate) has_bulk: bool,
}

impl Allowed {
    pub(crate) const ALL: Self = Self {
        has_small: true,
        has_lossy: true,
        has_bulk: true,
    };
}

/// Everything on its way out.
#[derive(Debug)]
pub(crate) struct Outbox {
    lanes: LaneMap<OutLane>,
    /// Reliable lanes whose next message is small, in turns.
    small: VecDeque<LaneId>,
    /// Reliable lanes whose next message is large, in turns.
    bulk: VecDeque<LaneId>,
    /// Large messages begun and not acknowledged yet, in bytes.
    bulk_begun: usize,
    lossy: LossyQueue,
    is_lossy_turn: bool,
    resend: VecDeque<Unit>,
    credit_limit: u64,
    credit_used: u64,
    queued_bytes: usize,
    remote_message_size: usize,
    /// Units sent again.
    pub(crate) resent: u64,
    /// Units sent once more before anything was known of them.
    pub(crate) copied: u64,
}

/// A lane's messages: acknowledged ones are taken off the front; those from `next_unsent` on have not been sent.
#[derive(Debug, Default)]
struct OutLane {
    base: u64,
    next_unsent: u64,
    next_fragment: u32,
    messages: VecDeque<OutMessage>,
    is_listed: bool,
    /// Lossy lanes only count.
    next_lossy: u64,
}

#[derive(Debug)]
struct OutMessage {
    data: Payload,
    kind: Kind,
    state: OutState,
}

#[derive(Debug)]
enum OutState {
    Unsent,
    UnderWay,
    /// Found lost and waiting to be sent again.
    Resending,
    Acked,
    Fragmented(Box<FragmentState>),
}

#[derive(Debug)]
struct FragmentState {
    acked: Vec<u64>,
    left: usize,
}

impl Outbox {
    /// Makes an empty one, for a remote side that accepts reliable messages up to this size.
    pub(crate) fn new(remote_message_size: usize) -> Self {
        Self {
            lanes: LaneMap::default(),
            small: VecDeque::new(),
            bulk: VecDeque::new(),
            bulk_begun: 0,
            lossy: LossyQueue::default(),
            is_lossy_turn: false,
            resend: VecDeque::new(),
            credit_limit: BASE_CREDIT,
            credit_used: 0,
            queued_bytes: 0,
            remote_message_size,
            resent: 0,
            copied: 0,
        }
    }

    /// Takes note of the largest reliable message that the remote side accepts. Returns the size of one that waits and is
    /// larger, if there is one.
    pub(crate) fn set_remote_message_size(&mut self, size: usize) -> Option<usize> {
        self.remote_message_size = size;
        let sizes = self
            .lanes
            .iter()
            .flat_map(|(_, lane)| lane.messages.iter().map(|message| message.data.len()));
        sizes.max().filter(|&largest| largest > size)
    }

    /// Queues a message and returns its sequence id.
    pub(crate) fn push(&mut self, now: Timestamp, message: impl Into<Message>) -> Result<u64, SendError> {
        let Message {
            channel,
            delivery,
            kind,
            data,
        } = message.into();
        let (id, size) = (LaneId::new(channel, delivery), data.len());
        let limit = if delivery.is_lossy {
            MAX_LOSSY_SIZE
        } else {
            self.remote_message_size
        };
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        let lane = self.lanes.entry(id, OutLane::default);
        if delivery.is_lossy {
            let sequence_id = lane.next_lossy;
            lane.next_lossy += 1;
            self.lossy.push(LossyMessage {
                lane: id,
                sequence_id,
                kind,
                data,
                queued_at: now,
                next_fragment: 0,
            });
            return Ok(sequence_id);
        }
        let sequence_id = lane.base + lane.messages.len() as u64;
        let count = fragment_count(size);
        let state = if count == 1 {
            OutState::Unsent
        } else {
            OutState::Fragmented(Box::new(FragmentState {
                acked: vec![0; count.div_ceil(64)],
                left: count,
            }))
        };
        lane.messages.push_back(OutMessage { data, kind, state });
        self.queued_bytes += size + MESSAGE_OVERHEAD;
        self.list(id);
        Ok(sequence_id)
    }

    /// Queues what another one had and the remote side has not acknowledged, as if it were sent now.
    pub(crate) fn take_unheard(&mut self, now: Timestamp, old: &Self) {
        for (id, lane) in old.lanes.iter() {
            for message in lane
                .messages
                .iter()
                .filter(|message| !matches!(message.state, OutState::Acked))
            {
                // It was accepted once; a remote side that accepts less than it did goes without.
                let _ = self.push(
                    now,
                    Message {
                        channel: id.channel(),
                        delivery: id.delivery(),
                        kind: message.kind,
                        data: message.data.clone(),
                    },
                );
            }
        }
    }

    /// Returns the reliable bytes not acknowledged yet, with what keeping them takes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Returns true if every reliable message has been acknowledged and no lossy one waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued_bytes == 0 && self.lossy.is_empty()
    }

    /// Returns true if something could go into a packet of the classes allowed, as far as credit reaches.
    pub(crate) fn has_work(&self, allowed: Allowed) -> bool {
        let credit = self.credit_limit - self.credit_used;
        (allowed.has_small && !self.resend.is_empty())
            || (allowed.has_lossy && !self.lossy.is_empty())
            || (allowed.has_small && !self.small.is_empty() && credit >= unit_cost(FRAGMENT_SIZE))
            || (allowed.has_bulk && !self.bulk.is_empty() && credit >= BULK_RESERVE + unit_cost(FRAGMENT_SIZE))
    }

    /// Returns true if nothing waits that a packet could ever take along.
    pub(crate) fn has_nothing(&self) -> bool {
        self.resend.is_empty() && self.lossy.is_empty() && self.small.is_empty() && self.bulk.is_empty()
    }

    /// Raises the total cost that may be sent.
    pub(crate) fn handle_credit(&mut self, total: u64) {
        self.credit_limit = self.credit_limit.max(total);
    }

    /// Drops the lossy messages that have waited so long that they would come late.
    pub(crate) fn drop_late(&mut self, now: Timestamp) {
        self.lossy.drop_late(now);
    }

    /// Returns how many lossy messages were dropped.
    pub(crate) fn lossy_dropped(&self) -> u64 {
        self.lossy.dropped
    }

    /// Fills up to `room` bytes of a packet's payload, noting what is to be settled with the packet.
    pub(crate) fn pack(&mut self, room: usize, allowed: Allowed, out: &mut Vec<u8>, carried: &mut Vec<Carried>) {
        let end = out.len() + room;
        if allowed.has_small && !self.pack_resent(end, out, carried) {
            return;
        }
        // A turn each, until neither has anything that fits.
        let (mut has_lossy, mut has_small) = (allowed.has_lossy, allowed.has_small);
        while has_lossy || has_small {
            self.is_lossy_turn = !self.is_lossy_turn;
            if self.is_lossy_turn {
                has_lossy = has_lossy && self.lossy.pack(end, out);
            } else {
                has_small = has_small && self.pack_small(end, out, carried);
            }
        }
        if allowed.has_bulk {
            while self.pack_bulk(end, out, carried) {}
        }
    }

    /// Settles a unit as acknowledged.
    pub(crate) fn handle_arrived(&mut self, unit: Unit) {
        let Some(lane) = self.lanes.get_mut(LaneId(unit.lane)) else {
            return;
        };
        let Some(message) = lane.message(unit.sequence_id) else {
            return;
        };
        let size = message.data.len();
        match &mut message.state {
            OutState::Acked => return,
            OutState::Fragmented(state) => {
                let (word, bit) = (unit.index as usize / 64, 1 << (unit.index % 64));
                if state.acked[word] & bit != 0 {
                    return;
                }
                state.acked[word] |= bit;
                state.left -= 1;
                if state.left > 0 {
                    return;
                }
                self.bulk_begun -= size;
            }
            OutState::Unsent | OutState::UnderWay | OutState::Resending => (),
        }
        message.state = OutState::Acked;
        message.data = Payload::new();
        self.queued_bytes -= size + MESSAGE_OVERHEAD;
        while lane
            .messages
            .front()
            .is_some_and(|message| matches!(message.state, OutState::Acked))
        {
            lane.messages.pop_front();
            lane.base += 1;
        }
        // An unordered lane may have waited for its oldest message.
        if !lane.is_listed && lane.next_unsent < lane.base + lane.messages.len() as u64 {
            self.list(LaneId(unit.lane));
        }
    }

    /// Queues a unit to be sent again; false if it has been acknowledged meanwhile or is queued already.
    pub(crate) fn handle_lost(&mut self, unit: Unit) -> bool {
        let Some(lane) = self.lanes.get_mut(LaneId(unit.lane)) else {
            return false;
        };
        let Some(message) = lane.message(unit.sequence_id) else {
            return false;
        };
        match &mut message.state {
            OutState::UnderWay => message.state = OutState::Resending,
            OutState::Fragmented(state) if !state.is_acked(unit.index) => (),
            _ => return false,
        }
        self.resend.push_back(unit);
        true
    }

    /// Returns the size of a whole message that has not been acknowledged, None for a fragment.
    pub(crate) fn unit_len(&mut self, unit: Unit) -> Option<usize> {
        let message = self.lanes.get_mut(LaneId(unit.lane))?.message(unit.sequence_id)?;
        (unit.index == Unit::WHOLE && !message.is_acked(unit.index)).then_some(message.data.len())
    }

    /// Packs units once more, several of them as their sum, and returns the bytes it took: 0 if none needs it any more, None if
    /// it does not fit.
    pub(crate) fn pack_copies(
        &mut self,
        units: &[Unit],
        end: usize,
        out: &mut Vec<u8>,
        carried: &mut Vec<Carried>,
    ) -> Option<usize> {
        let mut chunks = [MessageChunk::EMPTY; Parity::MAX_COUNT];
        let mut count = 0;
        let mut last = None;
        for unit in units.iter().take(Parity::MAX_COUNT) {
            let lane = LaneId(unit.lane);
            let message = self.lanes.get(lane).and_then(|out| out.message_at(unit.sequence_id));
            if let Some(message) = message.filter(|message| matches!(message.state, OutState::UnderWay)) {
                chunks[count] = message.chunk(lane, *unit);
                last = Some(*unit);
                count += 1;
            }
        }
        let Some(last) = last else { return Some(0) };
        let (room, before) = (end - out.len(), out.len());
        match &chunks[..count] {
            [chunk] => {
                if chunk.wire_len() > room {
                    return None;
                }
                Chunk::Message(*chunk).emit(out);
                carried.push(Carried::Unit(last));
            }
            // A sum is no unit: that its packet arrived says nothing of what is in it.
            chunks => {
                if parity_len(chunks) > room {
                    return None;
                }
                emit_parity(out, chunks);
            }
        }
        self.copied += count as u64;
        Some(out.len() - before)
    }

    /// Puts a lane into the queue its next message belongs to, unless it is in one or has nothing to send.
    fn list(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if lane.is_listed || (!id.delivery().is_ordered && lane.next_unsent >= lane.base + UNORDERED_SPAN) {
            return;
        }
        let next_unsent = lane.next_unsent;
        let Some(message) = lane.message(next_unsent) else {
            return;
        };
        let is_large = message.data.len() > FRAGMENT_SIZE;
        lane.is_listed = true;
        if is_large {
            self.bulk.push_back(id)
        } else {
            self.small.push_back(id)
        }
    }

    /// Returns false if the packet is full.
    fn pack_resent(&mut self, end: usize, out: &mut Vec<u8>, carried: &mut Vec<Carried>) -> bool {
        while let Some(&unit) = self.resend.front() {
            let Some(lane) = self.lanes.get_mut(LaneId(unit.lane)) else {
                return true;
            };
            if let Some(message) = lane.message(unit.sequence_id)
                && !message.is_acked(unit.index)
            {
                let chunk = message.chunk(LaneId(unit.lane), unit);
                if out.len() + chunk.wire_len() > end {
                    return false;
                }
                Chunk::Message(chunk).emit(out);
                carried.push(Carried::Unit(unit));
                if matches!(message.state, OutState::Resending) {
                    message.state = OutState::UnderWay;
                }
                self.resent += 1;
            }
            self.resend.pop_front();
        }
        true
    }

    /// Packs the next small reliable message. Returns false if there is none that fits the room and the credit.
    fn pack_small(&mut self, end: usize, out: &mut Vec<u8>, carried: &mut Vec<Carried>) -> bool {
        let Some(&id) = self.small.front() else { return false };
        let Some(lane) = self.lanes.get_mut(id) else {
            return false;
        };
        let sequence_id = lane.next_unsent;
        let Some(message) = lane.message(sequence_id) else {
            return false;
        };
        let unit = Unit {
            lane: id.0,
            sequence_id,
            index: Unit::WHOLE,
        };
        let chunk = message.chunk(id, unit);
        let cost = unit_cost(chunk.data.len());
        if out.len() + chunk.wire_len() > end || self.credit_used + cost > self.credit_limit {
            return false;
        }
        Chunk::Message(chunk).emit(out);
        carried.push(Carried::Unit(unit));
        message.state = OutState::UnderWay;
        self.credit_used += cost;
        lane.next_unsent += 1;
        lane.is_listed = false;
        self.small.pop_front();
        self.list(id);
        true
    }

    /// Packs the next fragment of a large message. Returns false if there is none that fits the room and the credit.
    fn pack_bulk(&mut self, end: usize, out: &mut Vec<u8>, carried: &mut Vec<Carried>) -> bool {
        let Some(place) = self.next_bulk() else { return false };
        let id = self.bulk[place];
        let Some(lane) = self.lanes.get_mut(id) else {
            return false;
        };
        let (sequence_id, index) = (lane.next_unsent, lane.next_fragment);
        let Some(message) = lane.message(sequence_id) else {
            return false;
        };
        let size = message.data.len();
        let unit = Unit {
            lane: id.0,
            sequence_id,
            index,
        };
        let chunk = message.chunk(id, unit);
        let cost = unit_cost(chunk.data.len());
        if out.len() + chunk.wire_len() > end || self.credit_used + cost + BULK_RESERVE > self.credit_limit {
            return false;
        }
        if index == 0 {
            self.bulk_begun += size;
        }
        Chunk::Message(chunk).emit(out);
        carried.push(Carried::Unit(unit));
        self.credit_used += cost;
        lane.next_fragment += 1;
        if lane.next_fragment as usize == fragment_count(size) {
            lane.next_fragment = 0;
            lane.next_unsent += 1;
        }
        lane.is_listed = false;
        self.bulk.remove(place);
        self.list(id);
        true
    }

    /// Returns the place of the lane whose turn it is: the first, unless the receiver has no room yet for another message. Then
    /// those that have begun go on, and none that has not overtakes the first.
    fn next_bulk(&mut self) -> Option<usize> {
        for (place, &id) in self.bulk.iter().enumerate() {
            let lane = self.lanes.get_mut(id)?;
            let has_begun = lane.next_fragment > 0;
            let size = lane.message(lane.next_unsent)?.data.len();
            // The receiver makes room for as much as two of the largest messages at once.
            let is_first =
                place == 0 && (self.bulk_begun == 0 || self.bulk_begun + size <= 2 * self.remote_message_size);
            if has_begun || is_first {
                return Some(place);
            }
        }
        None
    }
}

impl OutLane {
    fn message_at(&self, sequence_id: u64) -> Option<&OutMessage> {
        let place = usize::try_from(sequence_id.checked_sub(self.base)?).ok()?;
        self.messages.get(place)
    }

    fn message(&mut self, sequence_id: u64) -> Option<&mut OutMessage> {
        let place = usize::try_from(sequence_id.checked_sub(self.base)?).ok()?;
        self.messages.get_mut(place)
    }
}

impl OutMessage {
    fn is_acked(&self, index: u32) -> bool {
        match &self.state {
            OutState::Acked => true,
            OutState::Fragmented(state) => state.is_acked(index),
            _ => false,
        }
    }

    fn chunk(&self, lane: LaneId, unit: Unit) -> MessageChunk<'_> {
        let size = self.data.len();
        let (part, data) = if unit.index == Unit::WHOLE {
            (Part::Whole, &self.data[..])
        } else {
            let index = unit.index as usize;
            let start = index * FRAGMENT_SIZE;
            (
                Part::Fragment { size, index },
                &self.data[start..start + fragment_len(size, index)],
            )
        };
        MessageChunk {
            channel: lane.channel(),
            delivery: Delivery {
                is_lossy: false,
                ..lane.delivery()
            },
            kind: self.kind,
            sequence_id: unit.sequence_id,
            part,
            data,
        }
    }
}

impl FragmentState {
    fn is_acked(&self, index: u32) -> bool {
        self.acked[index as usize / 64] & 1 << (index % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: u8, delivery: Delivery, size: usize) -> Message {
        Message {
            channel,
            delivery,
            kind: Kind::BYTES,
            data: Payload::from(vec![channel; size]),
        }
    }

    fn pack(outbox: &mut Outbox) -> (Vec<(u8, u64, Part)>, Vec<Carried>) {
        let (mut out, mut carried) = (Vec::new(), Vec::new());
        outbox.pack(1175, Allowed::ALL, &mut out, &mut carried);
        assert!(out.len() <= 1175);
        let chunks = Chunk::parse_all(&out).map(|chunk| match chunk {
            Ok(Chunk::Message(message)) => (message.channel, message.sequence_id, message.part),
            other => panic!("{other:?}"),
        });
        (chunks.collect(), carried)
    }

    fn units(carried: &[Carried]) -> Vec<Unit> {
        carried
            .iter()
            .filter_map(|carried| {
                if let Carried::Unit(unit) = carried {
                    Some(*unit)
                } else {
                    None
                }
            })
            .collect()
    }

    #[test]
    fn small_messages_go_before_bulk_and_lanes_take_turns() {
        let mut outbox = Outbox::new(1 << 20);
        outbox
            .push(Timestamp::ZERO, message(1, Delivery::RELIABLE, 3000))
            .unwrap();
        outbox
            .push(Timestamp::ZERO, message(2, Delivery::RELIABLE, 10))
            .unwrap();
        outbox
            .push(Timestamp::ZERO, message(2, Delivery::RELIABLE, 10))
            .unwrap();
        outbox
            .push(Timestamp::ZERO, message(3, Delivery::RELIABLE, 10))
            .unwrap();
        outbox.push(Timestamp::ZERO, message(4, Delivery::LOSSY, 10)).unwrap();
        let (chunks, _) = pack(&mut outbox);
        let order: Vec<_> = chunks
            .iter()
            .map(|&(channel, sequence_id, _)| (channel, sequence_id))
            .collect();
        assert_eq!(
            order,
            [(4, 0), (2, 0), (3, 0), (2, 1), (1, 0)],
            "and what room is left goes to bulk"
        );
        for index in 1..3 {
            assert_eq!(pack(&mut outbox).0, [(1, 0, Part::Fragment { size: 3000, index })]);
        }
        assert_eq!(pack(&mut outbox).0, []);
    }

    #[test]
    fn lost_units_are_sent_again_until_acknowledged() {
        let mut outbox = Outbox::new(1 << 20);
        outbox
            .push(Timestamp::ZERO, message(1, Delivery::RELIABLE, 10))
            .unwrap();
        outbox
            .push(Timestamp::ZERO, message(1, Delivery::RELIABLE, 2000))
            .unwrap();
        let mut under_way = Vec::new();
        for _ in 0..3 {
            under_way.extend(units(&pack(&mut outbox).1));
        }
        assert_eq!(under_way.len(), 3);
        for unit in &under_way {
            outbox.handle_lost(*unit);
            outbox.handle_lost(*unit);
        }
        outbox.handle_arrived(under_way[1]);
        let again: Vec<_> = (0..4).flat_map(|_| units(&pack(&mut outbox).1)).collect();
        assert!(again.contains(&under_way[0]) && again.contains(&under_way[2]) && !again.contains(&under_way[1]));
        for unit in again {
            outbox.handle_arrived(unit);
        }
        assert!(outbox.is_empty());
        assert_eq!(outbox.bulk_begun, 0);
    }

    #[test]
    fn credit_stops_small_messages_and_bulk_stops_earlier() {
        let mut outbox = Outbox::new(16 << 20);
        outbox
            .push(Timestamp::ZERO, message(1, Delivery::RELIABLE, 3 << 20))
            .unwrap();
        while !pack(&mut outbox).0.is_empty() {}
        assert!(!outbox.has_work(Allowed::ALL));
        assert!(outbox.credit_limit - outbox.credit_used >= BULK_RESERVE);
        for _ in 0..2000 {
            outbox
                .push(Timestamp::ZERO, message(2, Delivery::RELIABLE, 100))
                .unwrap();
        }
        let mut sent = 0;
        while outbox.has_work(Allowed::ALL) {
            sent += pack(&mut outbox).0.len();
        }
        assert!(sent > 300, "{sent}");
        assert!(outbox.credit_used <= outbox.credit_limit);
        outbox.handle_credit(BASE_CREDIT * 4);
        assert!(outbox.has_work(Allowed::ALL));
    }

    #[test]
    fn an_unordered_lane_waits_for_its_oldest_message() {
        let mut outbox = Outbox::new(1 << 20);
        outbox.handle_credit(u64::MAX / 2);
        for _ in 0..UNORDERED_SPAN + 10 {
            outbox
                .push(Timestamp::ZERO, message(1, Delivery::RELIABLE_UNORDERED, 0))
                .unwrap();
        }
        let mut sent = Vec::new();
        while outbox.has_work(Allowed::ALL) {
            sent.extend(units(&pack(&mut outbox).1));
        }
        assert_eq!(sent.len() as u64, UNORDERED_SPAN);
        for &unit in &sent[1..] {
            outbox.handle_arrived(unit);
        }
        assert!(!outbox.has_work(Allowed::ALL));
        outbox.handle_arrived(sent[0]);
        assert!(outbox.has_work(Allowed::ALL));
    }
}
