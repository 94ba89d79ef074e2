//! The small reliable messages that arrived last, kept so that a sum of several can give the one that is missing.
//!
//! Knows lanes, sequence ids and sums; it must not know order or the game. Nothing is kept until the first sum comes, for only
//! then does the path lose anything. Bounds: [`KEPT`] messages of at most [`Parity::MAX_LEN`] bytes. Looking one up takes a few
//! steps, so that a packet full of sums costs no more than one full of messages.

use std::collections::VecDeque;

use crate::payload::Payload;

use crate::lane::LaneId;
use crate::wire::{MessageChunk, Parity, Part, add_to_sum};

/// How many messages are kept: what a busy game says in the time that a sum looks back, a tenth of a second.
const KEPT: usize = 256;

/// After this many messages without a sum the path is clean, and they are let go.
const QUIET: u32 = 1024;

/// The small reliable messages that arrived last.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// In the order of arrival, each with its name.
    kept: VecDeque<(Name, Payload)>,
    /// How many were let go: the number of the oldest that is kept.
    let_go: u64,
    /// Their names, in order, each with its number in the order of arrival.
    numbers: Vec<(Name, u64)>,
    is_used: bool,
    since_sum: u32,
}

/// A lane and the sequence id of a message there.
type Name = (LaneId, u64);

impl Recent {
    /// Takes note of a whole reliable message that has arrived.
    pub(crate) fn push(&mut self, lane: LaneId, sequence_id: u64, data: &Payload) {
        if !self.is_used || data.len() > Parity::MAX_LEN {
            return;
        }
        self.since_sum += 1;
        if self.since_sum > QUIET {
            *self = Self::default();
            return;
        }
        if self.kept.len() == KEPT
            && let Some((name, _)) = self.kept.pop_front()
        {
            if let Ok(place) = self.place(name) {
                self.numbers.remove(place);
            }
            self.let_go += 1;
        }
        let name = (lane, sequence_id);
        // What was delivered is not delivered again, so nothing is there twice.
        if let Err(place) = self.place(name) {
            self.numbers.insert(place, (name, self.let_go + self.kept.len() as u64));
            self.kept.push_back((name, data.clone()));
        }
    }

    fn place(&self, name: Name) -> Result<usize, usize> {
        self.numbers.binary_search_by_key(&name, |&(name, _)| name)
    }

    fn get(&self, name: Name) -> Option<&Payload> {
        let (_, number) = self.numbers[self.place(name).ok()?];
        self.kept.get((number - self.let_go) as usize).map(|(_, data)| data)
    }

    /// Returns the one message in a sum that has not arrived, and writes its data into `buffer`; None if it is not one.
    pub(crate) fn missing<'b>(
        &mut self,
        parity: &Parity<'_>,
        buffer: &'b mut [u8; Parity::MAX_LEN],
    ) -> Option<MessageChunk<'b>> {
        self.is_used = true;
        self.since_sum = 0;
        let buffer = &mut buffer[..parity.sum.len()];
        buffer.copy_from_slice(parity.sum);
        let mut missing = None;
        for (message, len) in parity.messages() {
            match self.get((LaneId::new(message.channel, message.delivery), message.sequence_id)) {
                Some(data) => add_to_sum(buffer, data),
                None if missing.is_some() => return None,
                None => missing = Some((message, len)),
            }
        }
        let (message, len) = missing?;
        Some(MessageChunk {
            part: Part::Whole,
            data: buffer.get(..len)?,
            ..message
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Delivery, Kind};
    use crate::wire::{Chunk, emit_parity};

    #[test]
    fn what_is_kept_is_found_wherever_it_lies_and_what_was_let_go_is_not() {
        let mut recent = Recent {
            is_used: true,
            ..Recent::default()
        };
        let lane = |number: u64| LaneId::new((number % 5) as u8, Delivery::RELIABLE);
        // Several lanes, the ids of each out of order.
        let id = |number: u64| number ^ 3;
        for number in 0..1000 {
            recent.push(
                lane(number),
                id(number),
                &Payload::copy_from_slice(&number.to_le_bytes()),
            );
        }
        for number in 0..1000 {
            let found = recent.get((lane(number), id(number))).map(|data| data[..].to_vec());
            let is_kept = number >= 1000 - KEPT as u64;
            assert_eq!(found, is_kept.then(|| number.to_le_bytes().to_vec()), "{number}");
        }
        assert_eq!((recent.kept.len(), recent.numbers.len()), (KEPT, KEPT));
        // A sum of the oldest that is kept, the newest, and one that has not come.
        let data = [744_u64, 999, 1000].map(|number| (number, number.to_le_bytes()));
        let messages = data.each_ref().map(|(number, data)| MessageChunk {
            channel: lane(*number).channel(),
            delivery: Delivery::RELIABLE,
            kind: Kind::BYTES,
            sequence_id: id(*number),
            part: Part::Whole,
            data,
        });
        let mut bytes = Vec::new();
        emit_parity(&mut bytes, &messages);
        let Some(Ok(Chunk::Parity(parity))) = Chunk::parse_all(&bytes).next() else {
            panic!("a sum")
        };
        let mut buffer = [0; Parity::MAX_LEN];
        assert_eq!(recent.missing(&parity, &mut buffer), Some(messages[2]));
        for _ in 0..=QUIET {
            recent.push(lane(0), 5000, &Payload::new());
        }
        assert!(recent.kept.is_empty() && recent.numbers.is_empty(), "the path is clean");
    }
}
