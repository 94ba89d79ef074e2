//! What has arrived and is still to be acknowledged, and when to do so. RFC 9000 §13.2.

use std::time::Duration;

use crate::ranges::Ranges;
use crate::time::Timestamp;
use crate::wire::emit_ack;

/// The longest an acknowledgement is held back for company. Below a frame of 60 Hz, so that a resend never waits for it.
pub(crate) const MAX_ACK_DELAY: Duration = Duration::from_millis(10);

/// This many packets are acknowledged at once.
const ACK_EVERY: u32 = 2;

/// With more ranges than this, and nothing of our own to send, we ask to have our acknowledgements acknowledged.
const MANY_RANGES: usize = 4;

/// The acknowledgements we owe.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    arrived: Ranges,
    largest: Option<u64>,
    largest_at: Timestamp,
    /// Packets that ask for an acknowledgement and have none yet.
    unacked: u32,
    due: Option<Timestamp>,
}

impl AckQueue {
    /// Takes note of a packet that arrived for the first time.
    pub(crate) fn handle_packet(&mut self, now: Timestamp, number: u64, is_eliciting: bool) {
        let is_next = self.largest.map_or(number == 0, |largest| number == largest + 1);
        if self.largest.is_none_or(|largest| number > largest) {
            self.largest = Some(number);
            self.largest_at = now;
        }
        self.arrived.insert(number);
        if !is_eliciting {
            return;
        }
        self.unacked += 1;
        // A gap or a late packet is news that speeds the sender's recovery.
        let is_urgent = !is_next || self.unacked >= ACK_EVERY;
        let due = if is_urgent { now } else { now + MAX_ACK_DELAY };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Returns when an acknowledgement must go at the latest.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Returns true if there is something new to acknowledge.
    pub(crate) fn has_news(&self) -> bool {
        self.unacked > 0
    }

    /// Returns true if the list of ranges has become long.
    pub(crate) fn has_many_ranges(&self) -> bool {
        self.arrived.iter().nth(MANY_RANGES).is_some()
    }

    /// Writes the acknowledgement and returns the largest number in it.
    pub(crate) fn emit(&self, now: Timestamp, out: &mut Vec<u8>) -> Option<u64> {
        emit_ack(out, now - self.largest_at, self.arrived.iter());
        self.arrived.largest()
    }

    /// Takes note that what [`Self::emit`] wrote has been sent.
    pub(crate) fn handle_sent(&mut self) {
        self.unacked = 0;
        self.due = None;
    }

    /// Takes note that an acknowledgement of everything up to this number has arrived.
    pub(crate) fn handle_acked(&mut self, number: u64) {
        self.arrived.remove_to(number);
        if self.arrived.largest().is_none() {
            self.handle_sent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_at_once_and_a_lone_packet_soon() {
        let mut acks = AckQueue::default();
        let now = Timestamp::from_millis(100);
        acks.handle_packet(now, 0, true);
        assert_eq!(acks.due(), Some(now + MAX_ACK_DELAY));
        acks.handle_packet(now, 1, true);
        assert_eq!(acks.due(), Some(now));
        acks.handle_sent();
        assert!(acks.due().is_none() && !acks.has_news());
        acks.handle_packet(now, 3, true);
        assert_eq!(acks.due(), Some(now));
        acks.handle_sent();
        acks.handle_packet(now, 4, false);
        assert_eq!(acks.due(), None);
    }
}
