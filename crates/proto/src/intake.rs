//! Reliable and lossy messages on their way in: put together from fragments, put in order, delivered once.
//!
//! Knows lanes, sequence ids and credit; it must not know packets, time or the game. What a remote side can make us hold is
//! bounded by the credit it was given, by two of the largest messages in fragments, and by [`LOSSY_PARTIAL`] for lossy ones. An
//! unfinished message costs what has arrived of it, and not what was said of its size: a fragment may be a single byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::payload::Payload;

use crate::credit::{BASE_CREDIT, message_cost, unit_cost};
use crate::lane::{LaneId, LaneMap};
use crate::message::{Delivery, Kind};
use crate::outbox::UNORDERED_SPAN;
use crate::recent::Recent;
use crate::wire::{FRAGMENT_SIZE, MessageChunk, Parity, Part};

/// Bytes of unfinished lossy messages, as they will be when they are whole; beyond that the oldest is given up.
const LOSSY_PARTIAL: usize = 512 << 10;

/// The remote side broke the rules in a way that no loss, duplication or reordering can explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) &'static str);

/// A message ready for the game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) lane: LaneId,
    pub(crate) kind: Kind,
    pub(crate) sequence_id: u64,
    pub(crate) data: Payload,
}

/// Everything on its way in.
#[derive(Debug)]
pub(crate) struct Intake {
    lanes: LaneMap<InLane>,
    message_size: usize,
    /// Unfinished reliable messages, in bytes and in cost.
    partial_bytes: usize,
    partial_cost: u64,
    lossy_partial_bytes: usize,
    lossy_partials: BTreeSet<(u64, LaneId, u64)>,
    lossy_partials_made: u64,
    /// Lossy messages given up unfinished.
    given_up: u64,
    recent: Recent,
    /// Costs since the beginning: granted to the remote side, received from it, taken by the game.
    granted: u64,
    received: u64,
    taken: u64,
    /// Costs of what the game could take, and of what an earlier life of the remote side left for it to take first.
    delivered: u64,
    debt: u64,
}

#[derive(Debug)]
struct InLane {
    order: Order,
    partials: BTreeMap<u64, Partial>,
}

/// What a lane remembers to deliver once and in order.
#[derive(Debug)]
enum Order {
    /// The next to deliver, and those that came too early.
    Reliable {
        next: u64,
        early: BTreeMap<u64, (Kind, Payload)>,
    },
    /// Which have been delivered.
    ReliableUnordered(Seen),
    /// Older than `next` is too late.
    Lossy { next: u64 },
    /// Nothing: packets count once, and so do the lossy messages in them.
    LossyUnordered,
}

/// A message of which some fragments have arrived.
#[derive(Debug)]
struct Partial {
    kind: Kind,
    size: usize,
    /// What has arrived without a gap, and the fragments behind the first gap.
    beginning: Vec<u8>,
    early: BTreeMap<usize, Box<[u8]>>,
    /// Lossy ones: when it was begun, in a count of such beginnings.
    made: u64,
}

impl Intake {
    /// Makes one that accepts reliable messages up to this size, in bytes.
    pub(crate) fn new(message_size: usize) -> Self {
        Self {
            lanes: LaneMap::default(),
            message_size,
            partial_bytes: 0,
            partial_cost: 0,
            lossy_partial_bytes: 0,
            lossy_partials: BTreeSet::new(),
            lossy_partials_made: 0,
            given_up: 0,
            recent: Recent::default(),
            granted: BASE_CREDIT,
            received: 0,
            taken: 0,
            delivered: 0,
            debt: 0,
        }
    }

    /// Begins where another one left off whose remote side knows nothing of it: what waits for the game gives no credit to this
    /// one when it is taken.
    pub(crate) fn owe(&mut self, old: &Self) {
        self.debt = old.waiting();
    }

    /// Returns the cost of what waits for the game.
    pub(crate) fn waiting(&self) -> u64 {
        (self.debt + self.delivered).saturating_sub(self.taken)
    }

    /// Takes in a message or fragment from a packet that counts for the first time; hands over what can be delivered. Returns
    /// true if it is a whole message, or the first that has come of one.
    pub(crate) fn handle(
        &mut self,
        chunk: &MessageChunk<'_>,
        mut deliver: impl FnMut(Delivered),
    ) -> Result<bool, Violation> {
        let mut is_first = chunk.part == Part::Whole;
        let id = LaneId::new(chunk.channel, chunk.delivery);
        let lane = self.lanes.entry(id, || InLane {
            order: Order::new(chunk.delivery),
            partials: BTreeMap::new(),
        });
        if !lane.order.is_new(chunk.sequence_id)? {
            return Ok(is_first);
        }
        let data = match chunk.part {
            Part::Whole => {
                if !chunk.delivery.is_lossy {
                    self.charge(unit_cost(chunk.data.len()))?;
                }
                let data = Payload::copy_from_slice(chunk.data);
                if !chunk.delivery.is_lossy {
                    self.recent.push(id, chunk.sequence_id, &data);
                }
                data
            }
            Part::Fragment { size, index } => match self.handle_fragment(id, chunk, size, index, &mut is_first)? {
                Some(data) => data,
                None => return Ok(is_first),
            },
        };
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(is_first);
        };
        lane.order
            .accept(chunk.sequence_id, chunk.kind, data, |sequence_id, kind, data| {
                if !chunk.delivery.is_lossy {
                    self.delivered += message_cost(data.len());
                }
                deliver(Delivered {
                    lane: id,
                    kind,
                    sequence_id,
                    data,
                });
            });
        if chunk.delivery == Delivery::LOSSY {
            self.give_up_older(id, chunk.sequence_id);
        }
        Ok(is_first)
    }

    /// Takes in the sum of several messages: if all but one have arrived, that one does now.
    pub(crate) fn handle_parity(
        &mut self,
        parity: &Parity<'_>,
        deliver: impl FnMut(Delivered),
    ) -> Result<(), Violation> {
        let mut buffer = [0; Parity::MAX_LEN];
        match self.recent.missing(parity, &mut buffer) {
            Some(chunk) => self.handle(&chunk, deliver).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Takes note that the game has taken a reliable message of this size.
    pub(crate) fn handle_taken(&mut self, size: usize) {
        let cost = message_cost(size);
        let paid = self.debt.min(cost);
        self.debt -= paid;
        self.taken += cost - paid;
    }

    /// Returns the credit to grant, if it is enough more than last time to be worth telling.
    pub(crate) fn new_credit(&mut self) -> Option<u64> {
        let target = self.taken + BASE_CREDIT + self.partial_cost;
        if target < self.granted + BASE_CREDIT / 4 {
            return None;
        }
        self.granted = target;
        Some(target)
    }

    /// Returns how many lossy messages were given up unfinished.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Returns the last credit granted.
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns true if [`Self::new_credit`] would grant more.
    pub(crate) fn has_new_credit(&self) -> bool {
        self.taken + BASE_CREDIT + self.partial_cost >= self.granted + BASE_CREDIT / 4
    }

    fn charge(&mut self, cost: u64) -> Result<(), Violation> {
        self.received += cost;
        if self.received > self.granted {
            Err(Violation("more sent than the credit allows"))
        } else {
            Ok(())
        }
    }

    /// Takes in one fragment and returns the message if it is complete now; says if it is the first of it.
    fn handle_fragment(
        &mut self,
        id: LaneId,
        chunk: &MessageChunk<'_>,
        size: usize,
        index: usize,
        is_begun: &mut bool,
    ) -> Result<Option<Payload>, Violation> {
        let is_lossy = chunk.delivery.is_lossy;
        if !is_lossy && size > self.message_size {
            return Err(Violation("a message larger than we accept"));
        }
        let Some(lane) = self.lanes.get_mut(id) else {
            return Ok(None);
        };
        let partial = lane.partials.entry(chunk.sequence_id).or_insert_with(|| {
            *is_begun = true;
            Partial::new(chunk.kind, size, self.lossy_partials_made)
        });
        if partial.size != size || partial.kind != chunk.kind {
            return Err(Violation("fragments of one message disagree"));
        }
        if !partial.insert(index, chunk.data) {
            return Ok(None);
        }
        let is_complete = partial.beginning.len() == size;
        let complete = if is_complete {
            lane.partials.remove(&chunk.sequence_id)
        } else {
            None
        };
        if is_lossy {
            if *is_begun {
                self.lossy_partials
                    .insert((self.lossy_partials_made, id, chunk.sequence_id));
                self.lossy_partials_made += 1;
                self.lossy_partial_bytes += size;
            }
            if let Some(partial) = &complete {
                self.lossy_partials.remove(&(partial.made, id, chunk.sequence_id));
                self.lossy_partial_bytes -= size;
            }
            self.bound_lossy_partials();
        } else {
            if *is_begun {
                self.partial_bytes += size;
                self.partial_cost += message_cost(size);
                if self.partial_bytes > 2 * self.message_size.max(size) {
                    return Err(Violation("too many unfinished messages"));
                }
            }
            if is_complete {
                self.partial_bytes -= size;
                self.partial_cost -= message_cost(size);
            }
            self.charge(unit_cost(chunk.data.len()))?;
        }
        Ok(complete.map(|partial| Payload::from(partial.beginning)))
    }

    fn bound_lossy_partials(&mut self) {
        while self.lossy_partial_bytes > LOSSY_PARTIAL
            && let Some((_, id, sequence_id)) = self.lossy_partials.pop_first()
        {
            self.give_up(id, sequence_id);
        }
    }

    /// Gives up the unfinished lossy messages that a newer one has made late.
    fn give_up_older(&mut self, id: LaneId, delivered: u64) {
        while let Some(lane) = self.lanes.get_mut(id)
            && let Some((&sequence_id, partial)) = lane.partials.first_key_value()
            && sequence_id < delivered
        {
            self.lossy_partials.remove(&(partial.made, id, sequence_id));
            self.give_up(id, sequence_id);
        }
    }

    fn give_up(&mut self, id: LaneId, sequence_id: u64) {
        if let Some(partial) = self
            .lanes
            .get_mut(id)
            .and_then(|lane| lane.partials.remove(&sequence_id))
        {
            self.lossy_partial_bytes -= partial.size;
            self.given_up += 1;
        }
    }
}

/// The sequence ids delivered on an unordered lane: all below `low`, and those whose bits are set, at most
/// [`UNORDERED_SPAN`] further, so that a lane costs 8 KiB at the most.
#[derive(Debug, Default)]
struct Seen {
    low: u64,
    /// The first word begins at the last multiple of 64 that is not above `low`.
    words: VecDeque<u64>,
}

impl Seen {
    fn contains(&self, sequence_id: u64) -> bool {
        sequence_id < self.low
            || self
                .words
                .get(self.word(sequence_id))
                .is_some_and(|word| word & bit(sequence_id) != 0)
    }

    /// Adds an id that is not below `low`.
    fn insert(&mut self, sequence_id: u64) {
        let word = self.word(sequence_id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit(sequence_id);
        while self.words.front().is_some_and(|word| word & bit(self.low) != 0) {
            self.low += 1;
            if self.low.is_multiple_of(64) {
                self.words.pop_front();
            }
        }
    }

    fn word(&self, sequence_id: u64) -> usize {
        (sequence_id / 64 - self.low / 64) as usize
    }
}

const fn bit(sequence_id: u64) -> u64 {
    1 << (sequence_id % 64)
}

impl Order {
    fn new(delivery: Delivery) -> Self {
        match (delivery.is_lossy, delivery.is_ordered) {
            (false, true) => Self::Reliable {
                next: 0,
                early: BTreeMap::new(),
            },
            (false, false) => Self::ReliableUnordered(Seen::default()),
            (true, true) => Self::Lossy { next: 0 },
            (true, false) => Self::LossyUnordered,
        }
    }

    /// Returns true if a message with this sequence id may still be delivered.
    fn is_new(&self, sequence_id: u64) -> Result<bool, Violation> {
        match self {
            Self::Reliable { next, early } => Ok(sequence_id >= *next && !early.contains_key(&sequence_id)),
            Self::ReliableUnordered(seen) => {
                if sequence_id >= seen.low + UNORDERED_SPAN {
                    return Err(Violation("a sequence id far ahead of the oldest missing one"));
                }
                Ok(!seen.contains(sequence_id))
            }
            Self::Lossy { next } => Ok(sequence_id >= *next),
            Self::LossyUnordered => Ok(true),
        }
    }

    /// Takes in a whole message and hands over all that can be delivered now.
    fn accept(&mut self, sequence_id: u64, kind: Kind, data: Payload, mut deliver: impl FnMut(u64, Kind, Payload)) {
        match self {
            Self::Reliable { next, early } => {
                if sequence_id > *next {
                    early.insert(sequence_id, (kind, data));
                    return;
                }
                deliver(sequence_id, kind, data);
                *next += 1;
                while let Some((kind, data)) = early.remove(next) {
                    deliver(*next, kind, data);
                    *next += 1;
                }
            }
            Self::ReliableUnordered(seen) => {
                seen.insert(sequence_id);
                deliver(sequence_id, kind, data);
            }
            Self::Lossy { next } => {
                *next = sequence_id + 1;
                deliver(sequence_id, kind, data);
            }
            Self::LossyUnordered => deliver(sequence_id, kind, data),
        }
    }
}

impl Partial {
    fn new(kind: Kind, size: usize, made: u64) -> Self {
        Self {
            kind,
            size,
            beginning: Vec::new(),
            early: BTreeMap::new(),
            made,
        }
    }

    /// Puts a fragment in its place; false if it was there already.
    fn insert(&mut self, index: usize, data: &[u8]) -> bool {
        // All fragments are of one size but the last, which is behind all others.
        let next = self.beginning.len().div_ceil(FRAGMENT_SIZE);
        if index != next {
            return index > next && self.early.insert(index, data.into()).is_none();
        }
        self.append(data);
        while let Some(early) = self.early.first_entry()
            && *early.key() * FRAGMENT_SIZE == self.beginning.len()
        {
            let data = early.remove();
            self.append(&data);
        }
        true
    }

    /// Adds what follows; room is made for a few fragments, then for twice as much each time, and never for more than the message.
    fn append(&mut self, data: &[u8]) {
        let len = self.beginning.len() + data.len();
        if self.beginning.capacity() < len {
            let room = (2 * self.beginning.capacity()).max(4 * FRAGMENT_SIZE).min(self.size);
            self.beginning.reserve_exact(room - self.beginning.len());
        }
        self.beginning.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{fragment_count, fragment_len};

    fn chunk(delivery: Delivery, sequence_id: u64, part: Part, data: &[u8]) -> MessageChunk<'_> {
        MessageChunk {
            channel: 1,
            delivery,
            kind: Kind::BYTES,
            sequence_id,
            part,
            data,
        }
    }

    fn feed(intake: &mut Intake, delivery: Delivery, sequence_ids: &[u64]) -> Vec<u64> {
        let mut out = Vec::new();
        for &sequence_id in sequence_ids {
            let chunk = chunk(delivery, sequence_id, Part::Whole, b"x");
            intake
                .handle(&chunk, |delivered| out.push(delivered.sequence_id))
                .unwrap();
        }
        out
    }

    #[test]
    fn the_four_deliveries_do_what_they_say() {
        let order = [1, 1, 0, 3, 0, 2, 5];
        let mut intake = Intake::new(1 << 20);
        assert_eq!(feed(&mut intake, Delivery::RELIABLE, &order), [0, 1, 2, 3]);
        assert_eq!(feed(&mut intake, Delivery::RELIABLE_UNORDERED, &order), [1, 0, 3, 2, 5]);
        assert_eq!(feed(&mut intake, Delivery::LOSSY, &order), [1, 3, 5]);
        assert_eq!(feed(&mut intake, Delivery::LOSSY_UNORDERED, &order), order);
    }

    #[test]
    fn what_was_seen_is_remembered_bit_by_bit() {
        let mut seen = Seen::default();
        let mut model = BTreeSet::new();
        for step in 0..5000_u64 {
            // Ids in a shuffled order that stays within a few hundred of the oldest missing one.
            let id = (step / 200) * 200 + (step * 77) % 200;
            assert_eq!(seen.contains(id), model.contains(&id));
            if !seen.contains(id) {
                seen.insert(id);
                model.insert(id);
            }
            assert!(seen.contains(id));
            assert_eq!(seen.low, (0..).find(|id| !model.contains(id)).unwrap());
            assert!(seen.words.len() <= 5);
        }
    }

    fn fragments(size: usize) -> impl Iterator<Item = (Part, Vec<u8>)> {
        (0..fragment_count(size)).map(move |index| {
            let start = index * FRAGMENT_SIZE;
            let data = (start..start + fragment_len(size, index))
                .map(|i| (i % 251) as u8)
                .collect();
            (Part::Fragment { size, index }, data)
        })
    }

    #[test]
    fn fragments_in_any_order_make_the_message() {
        for delivery in [
            Delivery::RELIABLE,
            Delivery::RELIABLE_UNORDERED,
            Delivery::LOSSY,
            Delivery::LOSSY_UNORDERED,
        ] {
            let mut intake = Intake::new(1 << 20);
            let mut parts: Vec<_> = fragments(20_000).collect();
            parts.reverse();
            parts.swap(3, 9);
            parts.insert(5, parts[2].clone());
            let mut out = Vec::new();
            for (part, data) in &parts {
                intake
                    .handle(&chunk(delivery, 0, *part, data), |delivered| out.push(delivered))
                    .unwrap();
            }
            assert_eq!(out.len(), 1);
            assert!(out[0].data.iter().enumerate().all(|(i, &byte)| byte == (i % 251) as u8));
            assert_eq!(
                (intake.partial_bytes, intake.partial_cost, intake.lossy_partial_bytes),
                (0, 0, 0)
            );
            assert!(intake.lossy_partials.is_empty());
        }
    }

    #[test]
    fn an_unfinished_message_costs_what_has_arrived_of_it() {
        for (delivery, size) in [
            (Delivery::LOSSY_UNORDERED, 59 * FRAGMENT_SIZE + 1),
            (Delivery::RELIABLE_UNORDERED, 900 * FRAGMENT_SIZE + 1),
        ] {
            // The last fragment of each has one byte.
            let mut intake = Intake::new(16 << 20);
            let index = fragment_count(size) - 1;
            for sequence_id in 0..30 {
                let chunk = chunk(delivery, sequence_id, Part::Fragment { size, index }, b"x");
                assert!(intake.handle(&chunk, |_| ()).unwrap(), "it counts as a message");
            }
            let partials = intake.lanes.iter().flat_map(|(_, lane)| lane.partials.values());
            let (beginnings, early) = partials.fold((0, 0), |(beginnings, early), partial| {
                let bytes: usize = partial.early.values().map(|data| data.len()).sum();
                (beginnings + partial.beginning.capacity(), early + bytes)
            });
            let kept = if delivery.is_lossy { LOSSY_PARTIAL / size } else { 30 };
            assert_eq!((beginnings, early), (0, kept));
            assert_eq!(intake.given_up(), 30 - kept as u64);
            // One that arrives from the beginning has room for twice what has come, and none too much in the end.
            let first = |index| chunk(delivery, 50, Part::Fragment { size, index }, &[7; FRAGMENT_SIZE]);
            let lane = LaneId::new(1, delivery);
            for index in 0..50 {
                assert_eq!(intake.handle(&first(index), |_| ()), Ok(index == 0));
                let room = intake.lanes.get(lane).unwrap().partials[&50].beginning.capacity();
                assert!(
                    room <= FRAGMENT_SIZE * (2 * index).max(4),
                    "{room} bytes for {index} fragments"
                );
            }
        }
    }

    #[test]
    fn a_stranger_cannot_make_us_hold_more_than_the_bounds() {
        // Reliable messages beyond the credit.
        let mut intake = Intake::new(1 << 20);
        let sent = (1..).position(|sequence_id| {
            intake
                .handle(&chunk(Delivery::RELIABLE, sequence_id, Part::Whole, &[0; 1000]), |_| ())
                .is_err()
        });
        assert!(sent.unwrap() as u64 * 1000 <= BASE_CREDIT);
        // First fragments of ever more large messages.
        let mut intake = Intake::new(1 << 20);
        let mut begun = 0;
        for sequence_id in 0.. {
            let part = Part::Fragment {
                size: 1 << 20,
                index: 0,
            };
            if intake
                .handle(
                    &chunk(Delivery::RELIABLE, sequence_id, part, &[0; FRAGMENT_SIZE]),
                    |_| (),
                )
                .is_err()
            {
                break;
            }
            begun += 1;
        }
        assert_eq!(begun, 2);
        // The same, lossy: the oldest are given up.
        let mut intake = Intake::new(1 << 20);
        for sequence_id in 0..1000 {
            let part = Part::Fragment { size: 60_000, index: 0 };
            intake
                .handle(&chunk(Delivery::LOSSY, sequence_id, part, &[0; FRAGMENT_SIZE]), |_| ())
                .unwrap();
        }
        assert!(intake.lossy_partial_bytes <= LOSSY_PARTIAL);
        assert_eq!(intake.given_up(), 1000 - intake.lossy_partials.len() as u64);
        // A sequence id far ahead on a lane that must remember gaps.
        let far = chunk(Delivery::RELIABLE_UNORDERED, UNORDERED_SPAN, Part::Whole, b"");
        assert!(intake.handle(&far, |_| ()).is_err());
    }

    #[test]
    fn credit_comes_back_when_the_game_takes_messages_and_for_large_ones() {
        let mut intake = Intake::new(16 << 20);
        assert_eq!(intake.new_credit(), None);
        let part = Part::Fragment {
            size: 10 << 20,
            index: 0,
        };
        intake
            .handle(&chunk(Delivery::RELIABLE, 0, part, &[0; FRAGMENT_SIZE]), |_| ())
            .unwrap();
        assert_eq!(intake.new_credit(), Some(BASE_CREDIT + message_cost(10 << 20)));
        let mut intake = Intake::new(16 << 20);
        for sequence_id in 0..500 {
            intake
                .handle(&chunk(Delivery::RELIABLE, sequence_id, Part::Whole, &[0; 1000]), |_| ())
                .unwrap();
        }
        assert_eq!(intake.new_credit(), None);
        for _ in 0..500 {
            intake.handle_taken(1000);
        }
        assert_eq!(intake.new_credit(), Some(BASE_CREDIT + 500 * message_cost(1000)));
    }
}
