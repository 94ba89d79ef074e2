//! The small reliable messages that arrived last, kept so that a sum of several can give the one that is missing.
//!
//! Knows lanes, sequence ids and sums; it must not know order or the game. Nothing is kept until the first sum comes, for only
//! then does the path lose anything. Bounds: [`KEPT`] messages of at most [`Parity::MAX_LEN`] bytes.

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
    kept: VecDeque<(LaneId, u64, Payload)>,
    is_used: bool,
    since_sum: u32,
}

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
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((lane, sequence_id, data.clone()));
    }

    /// Returns the one message in a sum that has not arrived, and writes its data into `buffer`; None if it is not one.
    pub(crate) fn missing<'b>(&mut self, parity: &Parity<'_>, buffer: &'b mut Vec<u8>) -> Option<MessageChunk<'b>> {
        self.is_used = true;
        self.since_sum = 0;
        buffer.clear();
        buffer.extend_from_slice(parity.sum);
        let mut missing = None;
        for (message, len) in parity.messages() {
            let id = LaneId::new(message.channel, message.delivery);
            let mut newest_first = self.kept.iter().rev();
            match newest_first.find(|(lane, sequence_id, _)| (*lane, *sequence_id) == (id, message.sequence_id)) {
                Some((_, _, data)) => add_to_sum(buffer, data),
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
