//! What has arrived and is still to be acknowledged, and when to do so. RFC 9000 §13.2.

use std::time::Duration;

use crate::ranges::Ranges;
use crate::time::Timestamp;
use crate::wire::emit_ack;

/// The longest an acknowledgement is held back for company. Below a frame of 60 Hz, so that a resend never waits for it.
pub(crate) const MAX_ACK_DELAY: Duration = Duration::from_millis(10);

/// The same for packets with nothing but lossy messages, which nobody waits to send again: two ticks of a slow game, so that
/// the acknowledgement finds company.
pub(crate) const MAX_LAZY_DELAY: Duration = Duration::from_millis(100);

/// This many packets are acknowledged at once.
const ACK_EVERY: u32 = 2;

/// The same for packets with nothing but lossy messages: often enough to measure the path's rate.
const LAZY_EVERY: u32 = 8;

/// With more ranges than this, and nothing of our own to send, we ask to have our acknowledgements acknowledged.
const MANY_RANGES: usize = 4;

/// How soon the sender of a packet wants to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Never: it carried acknowledgements only.
    None,
    /// Some time: it carried lossy messages only.
    Lazy,
    /// Soon: it carried something that is sent again if it was lost.
    Soon,
}

/// The acknowledgements we owe.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    arrived: Ranges,
    largest: Option<u64>,
    largest_at: Timestamp,
    /// Packets that ask for an acknowledgement and have none yet.
    unacked: u32,
    /// Packets among them that want it soon.
    urgent: u32,
    due: Option<Timestamp>,
}

impl AckQueue {
    /// Takes note of a packet that arrived for the first time.
    pub(crate) fn handle_packet(&mut self, now: Timestamp, number: u64, urgency: Urgency) {
        let is_next = self.largest.map_or(number == 0, |largest| number == largest + 1);
        if self.largest.is_none_or(|largest| number > largest) {
            self.largest = Some(number);
            self.largest_at = now;
        }
        self.arrived.insert(number);
        if urgency == Urgency::None {
            return;
        }
        self.unacked += 1;
        self.urgent += u32::from(urgency == Urgency::Soon);
        // A gap or a late packet is news that speeds the sender's recovery.
        let due = if !is_next || self.urgent >= ACK_EVERY || self.unacked >= LAZY_EVERY {
            now
        } else if urgency == Urgency::Soon {
            now + MAX_ACK_DELAY
        } else {
            now + MAX_LAZY_DELAY
        };
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
        self.urgent = 0;
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
        acks.handle_packet(now, 0, Urgency::Soon);
        assert_eq!(acks.due(), Some(now + MAX_ACK_DELAY));
        acks.handle_packet(now, 1, Urgency::Soon);
        assert_eq!(acks.due(), Some(now));
        acks.handle_sent();
        assert!(acks.due().is_none() && !acks.has_news());
        acks.handle_packet(now, 3, Urgency::Soon);
        assert_eq!(acks.due(), Some(now));
        acks.handle_sent();
        acks.handle_packet(now, 4, Urgency::None);
        assert_eq!(acks.due(), None);
    }

    #[test]
    fn lossy_packets_wait_for_company_but_not_behind_a_gap() {
        let mut acks = AckQueue::default();
        let now = Timestamp::from_millis(100);
        acks.handle_packet(now, 0, Urgency::Lazy);
        assert_eq!(acks.due(), Some(now + MAX_LAZY_DELAY));
        acks.handle_packet(now, 1, Urgency::Soon);
        assert_eq!(acks.due(), Some(now + MAX_ACK_DELAY));
        acks.handle_sent();
        for number in 2..10 {
            assert_ne!(acks.due(), Some(now));
            acks.handle_packet(now, number, Urgency::Lazy);
        }
        assert_eq!(acks.due(), Some(now), "eight are enough");
        acks.handle_sent();
        acks.handle_packet(now, 11, Urgency::Lazy);
        assert_eq!(acks.due(), Some(now), "the missing one may have been urgent");
    }
}
