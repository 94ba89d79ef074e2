//! Lossy messages on their way out. They go as soon as the path takes them, or never.
//!
//! Knows messages, fragments and how long is too late; it must not know packets or the path. Bounds: [`QUEUE`] bytes, beyond
//! which the oldest is dropped, and [`AGE`], after which a message would come late.

use std::collections::VecDeque;
use std::time::Duration;

use crate::payload::Payload;

use crate::lane::LaneId;
use crate::message::Kind;
use crate::time::Timestamp;
use crate::wire::{Chunk, FRAGMENT_SIZE, MessageChunk, Part, fragment_count, fragment_len};

/// Bytes that may wait for the path; beyond that the oldest message is dropped.
const QUEUE: usize = 256 << 10;

/// What a message costs beside its bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// How long a message may wait for the path: two ticks of a slow game.
const AGE: Duration = Duration::from_millis(100);

/// The same once some of its fragments have left.
const BEGUN_AGE: Duration = Duration::from_secs(1);

/// The lossy messages that wait for the path, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LossyQueue {
    messages: VecDeque<LossyMessage>,
    bytes: usize,
    /// Messages dropped because the queue was full, or because they would have come late.
    pub(crate) dropped: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct LossyMessage {
    pub(crate) lane: LaneId,
    pub(crate) sequence_id: u64,
    pub(crate) kind: Kind,
    pub(crate) data: Payload,
    pub(crate) queued_at: Timestamp,
    pub(crate) next_fragment: usize,
}

impl LossyQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message; the oldest make room for it.
    pub(crate) fn push(&mut self, message: LossyMessage) {
        self.bytes += message.data.len() + MESSAGE_OVERHEAD;
        self.messages.push_back(message);
        while self.bytes > QUEUE && self.messages.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Drops those that have waited so long that they would come late.
    pub(crate) fn drop_late(&mut self, now: Timestamp) {
        while let Some(oldest) = self.messages.front()
            && now - oldest.queued_at > if oldest.next_fragment == 0 { AGE } else { BEGUN_AGE }
        {
            self.drop_oldest();
        }
    }

    /// Packs the next message, or the next fragment of it. Returns false if there is none that fits.
    pub(crate) fn pack(&mut self, end: usize, out: &mut Vec<u8>) -> bool {
        let Some(message) = self.messages.front_mut() else {
            return false;
        };
        let size = message.data.len();
        let count = fragment_count(size);
        let part = if count == 1 {
            Part::Whole
        } else {
            Part::Fragment {
                size,
                index: message.next_fragment,
            }
        };
        let start = message.next_fragment * FRAGMENT_SIZE;
        let chunk = MessageChunk {
            channel: message.lane.channel(),
            delivery: message.lane.delivery(),
            kind: message.kind,
            sequence_id: message.sequence_id,
            part,
            data: &message.data[start..start + fragment_len(size, message.next_fragment)],
        };
        if out.len() + chunk.wire_len() > end {
            return false;
        }
        Chunk::Message(chunk).emit(out);
        message.next_fragment += 1;
        if message.next_fragment == count {
            self.bytes -= size + MESSAGE_OVERHEAD;
            self.messages.pop_front();
        }
        true
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.messages.pop_front() {
            self.bytes -= oldest.data.len() + MESSAGE_OVERHEAD;
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Delivery;

    fn message(sequence_id: u64, size: usize) -> LossyMessage {
        LossyMessage {
            lane: LaneId::new(1, Delivery::LOSSY),
            sequence_id,
            kind: Kind::BYTES,
            data: vec![7; size].into(),
            queued_at: Timestamp::ZERO,
            next_fragment: 0,
        }
    }

    fn next_id(queue: &mut LossyQueue) -> Option<u64> {
        let mut out = Vec::new();
        queue.pack(1200, &mut out).then(|| {
            let Some(Ok(Chunk::Message(chunk))) = Chunk::parse_all(&out).next() else {
                panic!("a message")
            };
            chunk.sequence_id
        })
    }

    #[test]
    fn a_full_queue_drops_the_oldest() {
        let mut queue = LossyQueue::default();
        for sequence_id in 0..1000 {
            queue.push(message(sequence_id, 1000));
        }
        assert!(queue.bytes <= QUEUE && queue.dropped > 0);
        assert_eq!(next_id(&mut queue), Some(queue.dropped));
    }

    #[test]
    fn what_would_come_late_is_dropped_unless_it_has_begun() {
        let mut queue = LossyQueue::default();
        queue.push(message(0, 3000));
        queue.push(message(1, 10));
        assert_eq!(next_id(&mut queue), Some(0), "its first fragment");
        queue.drop_late(Timestamp::ZERO + AGE * 2);
        assert_eq!(queue.dropped, 0, "the begun one is in front");
        queue.drop_late(Timestamp::ZERO + BEGUN_AGE * 2);
        assert!(queue.is_empty() && queue.dropped == 2 && queue.bytes == 0);
    }
}
