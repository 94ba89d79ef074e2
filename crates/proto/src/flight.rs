//! The packets we sent that are not settled yet: acknowledged, lost, or still under way. RFC 9002 §6.
//!
//! Knows numbers, moments and what each packet carried by reference; it must not know what the references mean. Packets are never sent
//! again: what a lost one carried goes into a new one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::acks::{MAX_ACK_DELAY, MAX_LAZY_DELAY, Urgency};
use crate::loss::Lost;
use crate::rtt::RttEstimator;
use crate::time::Timestamp;
use crate::wire::Ack;

/// A packet is lost when one sent this many later has been acknowledged (RFC 9002 §6.1.1) …
const PACKET_THRESHOLD: u64 = 3;

/// … and on a path that loses packets and has not been seen to let them overtake each other, when the next one has.
const LOSSY_PACKET_THRESHOLD: u64 = 1;

/// Reordering that has been seen widens the wait by a quarter of a round trip a step (RFC 8985 §6.2), up to a half: a message
/// sent twice in vain costs less than one that comes late.
const MAX_REORDERING: u32 = 2;

/// After this many true losses without a late packet, the wait narrows by a step.
const LOSSES_PER_STEP: u64 = 16;

/// Probes of a silent path double their distance up to this, so that a path that comes back is found soon.
const MAX_PROBE_DELAY: Duration = Duration::from_secs(1);

/// What a packet carried, to be settled with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// A reliable message or a fragment of one.
    Unit(Unit),
    /// The newest credit.
    Credit,
    /// The goodbye.
    Close,
    /// An acknowledgement of everything up to this number.
    Ack(u64),
}

/// Names a reliable message, or one fragment of it, until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The lane's number.
    pub(crate) lane: u16,
    /// The fragment, or [`Unit::WHOLE`].
    pub(crate) index: u32,
    /// The sequence id in its lane.
    pub(crate) sequence_id: u64,
}

impl Unit {
    /// Stands for the message as a whole.
    pub(crate) const WHOLE: u32 = u32::MAX;
}

/// How much arrived how fast, measured over the last acknowledged packet's time under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes a second.
    pub(crate) rate: f64,
    /// Whether we had less to send than the path could take.
    pub(crate) is_app_limited: bool,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AckOutcome {
    /// Bytes of packets acknowledged for the first time.
    pub(crate) acked_bytes: usize,
    /// Packets acknowledged for the first time.
    pub(crate) acked_packets: u64,
    /// Packets among them that had been declared lost.
    pub(crate) late_packets: u64,
    /// The rate at which they arrived.
    pub(crate) rate: Option<RateSample>,
    /// The time the largest was under way, if it is newly acknowledged.
    pub(crate) rtt_sample: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketState {
    InFlight,
    /// Declared lost, but remembered until then: it may only be late.
    Lost {
        until: Timestamp,
    },
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct SentPacket {
    sent_at: Timestamp,
    size: u16,
    carried_len: u16,
    state: PacketState,
    is_urgent: bool,
    is_bulk: bool,
    is_app_limited: bool,
    /// Where its references begin, counted since the beginning.
    carried_from: u64,
    /// The state of the rate measurement when it was sent.
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
}

/// The packets under way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Packets `base..base + packets.len()`, settled ones included until all before them are settled.
    packets: VecDeque<SentPacket>,
    base: u64,
    carried: VecDeque<Carried>,
    carried_base: u64,
    bytes: usize,
    /// Those of packets without fragments of large messages.
    small_bytes: usize,
    count: usize,
    largest_acked: Option<u64>,
    /// Packets under way that are acknowledged soon, and when the last of them was sent.
    urgent_count: usize,
    last_urgent_at: Timestamp,
    last_sent_at: Timestamp,
    loss_time: Option<Timestamp>,
    probe_count: u32,
    /// No packet before this number is in flight.
    oldest: u64,
    /// How many steps the wait for late packets has been widened.
    reordering: u32,
    losses_in_step: u64,
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
}

impl Flight {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            packets: VecDeque::new(),
            base: 0,
            carried: VecDeque::new(),
            carried_base: 0,
            bytes: 0,
            small_bytes: 0,
            count: 0,
            largest_acked: None,
            urgent_count: 0,
            last_urgent_at: now,
            last_sent_at: now,
            loss_time: None,
            probe_count: 0,
            oldest: 0,
            reordering: 0,
            losses_in_step: 0,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
        }
    }

    /// Returns the bytes under way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns those in packets that carry no fragment of a large message.
    pub(crate) fn small_bytes(&self) -> usize {
        self.small_bytes
    }

    /// Returns how many packets are remembered.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Returns true if nothing that asks for an acknowledgement is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number the next packet will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// Returns how many numbers lie between the next packet and the last that is known to have arrived.
    pub(crate) fn unacked_span(&self) -> u64 {
        self.largest_acked
            .map_or(self.next_number() + 1, |largest| self.next_number() - largest)
    }

    /// Takes note of the packet just sent. One that carries no more than acknowledgements is not waited for.
    pub(crate) fn record(
        &mut self,
        now: Timestamp,
        size: usize,
        urgency: Urgency,
        is_app_limited: bool,
        carried: &[Carried],
    ) {
        if self.count == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        let is_bulk = carried
            .iter()
            .any(|carried| matches!(carried, Carried::Unit(unit) if unit.index != Unit::WHOLE));
        self.packets.push_back(SentPacket {
            sent_at: now,
            size: size as u16,
            carried_len: carried.len() as u16,
            state: if urgency == Urgency::None {
                PacketState::Settled
            } else {
                PacketState::InFlight
            },
            is_urgent: urgency == Urgency::Soon,
            is_bulk,
            is_app_limited,
            carried_from: self.carried_base + self.carried.len() as u64,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        });
        self.carried.extend(carried);
        if urgency != Urgency::None {
            self.bytes += size;
            self.small_bytes += if is_bulk { 0 } else { size };
            self.count += 1;
            self.last_sent_at = now;
            if urgency == Urgency::Soon {
                self.urgent_count += 1;
                self.last_urgent_at = now;
            }
        } else {
            self.forget_settled(now);
        }
    }

    /// Settles what an acknowledgement names, handing over what those packets carried. None if it names a packet that was
    /// never sent.
    pub(crate) fn handle_ack(
        &mut self,
        now: Timestamp,
        ack: &Ack<'_>,
        mut on_arrived: impl FnMut(Carried),
    ) -> Option<AckOutcome> {
        if ack.largest >= self.next_number() {
            return None;
        }
        let mut outcome = AckOutcome::default();
        let mut newest: Option<SentPacket> = None;
        for (low, high) in ack.ranges() {
            if high < self.base {
                break;
            }
            for number in (low.max(self.base)..=high).rev() {
                let packet = &mut self.packets[(number - self.base) as usize];
                let state = std::mem::replace(&mut packet.state, PacketState::Settled);
                let packet = *packet;
                match state {
                    PacketState::Settled => continue,
                    PacketState::Lost { .. } => outcome.late_packets += 1,
                    PacketState::InFlight => {
                        self.land(&packet);
                    }
                }
                self.delivered += u64::from(packet.size);
                outcome.acked_bytes += usize::from(packet.size);
                outcome.acked_packets += 1;
                // What was given up has been away for longer than the path takes.
                if number == ack.largest && state == PacketState::InFlight {
                    outcome.rtt_sample = Some(now - packet.sent_at);
                }
                if newest.is_none() {
                    newest = Some(packet);
                }
                for at in 0..u64::from(packet.carried_len) {
                    on_arrived(self.carried[(packet.carried_from + at - self.carried_base) as usize]);
                }
            }
        }
        if let Some(packet) = newest {
            self.probe_count = 0;
            self.largest_acked = self.largest_acked.max(Some(ack.largest));
            outcome.rate = self.sample_rate(now, &packet);
        }
        if outcome.late_packets > 0 {
            self.reordering = (self.reordering + 1).min(MAX_REORDERING);
            self.losses_in_step = 0;
        }
        self.forget_settled(now);
        Some(outcome)
    }

    /// Measures the delivery rate over the time this packet was under way (BBR, draft-cheng-iccrg-delivery-rate-estimation §3).
    fn sample_rate(&mut self, now: Timestamp, packet: &SentPacket) -> Option<RateSample> {
        self.delivered_at = now;
        self.first_sent_at = packet.sent_at;
        let sending = packet.sent_at - packet.first_sent_at;
        let arriving = now - packet.delivered_at;
        let time = sending.max(arriving).as_secs_f64();
        let bytes = self.delivered - packet.delivered;
        (time > 0.0).then(|| RateSample {
            rate: bytes as f64 / time,
            is_app_limited: packet.is_app_limited,
        })
    }

    /// Declares lost what later acknowledgements have overtaken, handing over what those packets carried.
    pub(crate) fn detect_lost(
        &mut self,
        now: Timestamp,
        rtt: &RttEstimator,
        is_path_lossy: bool,
        mut on_lost: impl FnMut(Carried),
    ) -> Lost {
        let mut lost = Lost::default();
        self.loss_time = None;
        let Some(largest_acked) = self.largest_acked else {
            return lost;
        };
        let delay = rtt.loss_delay(self.reordering);
        // Where packets overtake each other, their count says nothing: time alone decides.
        let threshold = if self.reordering > 0 {
            u64::MAX
        } else if is_path_lossy {
            LOSSY_PACKET_THRESHOLD
        } else {
            PACKET_THRESHOLD
        };
        for number in self.oldest.max(self.base)..self.next_number().min(largest_acked) {
            let packet = &mut self.packets[(number - self.base) as usize];
            if packet.state != PacketState::InFlight {
                continue;
            }
            if number.saturating_add(threshold) > largest_acked && packet.sent_at + delay > now {
                // Later packets were sent later still: the first that is left sets the time to look again.
                self.loss_time = Some(packet.sent_at + delay);
                break;
            }
            packet.state = PacketState::Lost { until: now + delay * 2 };
            let packet = *packet;
            self.land(&packet);
            lost.packets += 1;
            lost.following += u64::from(self.is_lost(number.wrapping_sub(1)));
            for at in 0..u64::from(packet.carried_len) {
                on_lost(self.carried[(packet.carried_from + at - self.carried_base) as usize]);
            }
        }
        self.losses_in_step += lost.packets;
        if self.losses_in_step >= LOSSES_PER_STEP {
            self.losses_in_step = 0;
            self.reordering = self.reordering.saturating_sub(1);
        }
        self.forget_settled(now);
        lost
    }

    /// Returns when to look for lost packets again, because of time alone.
    pub(crate) fn loss_time(&self) -> Option<Timestamp> {
        self.loss_time
    }

    /// Returns when to send a probe because no acknowledgement has come (RFC 9002 §6.2): the remote side may hold it back,
    /// and longer if nothing under way would be sent again.
    pub(crate) fn probe_time(&self, rtt: &RttEstimator) -> Option<Timestamp> {
        let (sent_at, ack_delay) = match (self.urgent_count, self.count) {
            (0, 0) => return None,
            (0, _) => (self.last_sent_at, MAX_LAZY_DELAY),
            _ => (self.last_urgent_at, MAX_ACK_DELAY),
        };
        let base = rtt.probe_delay() + ack_delay;
        let delay = (base * (1 << self.probe_count.min(10))).min(MAX_PROBE_DELAY.max(base));
        Some(sent_at + delay)
    }

    /// Returns since when nothing has been acknowledged of what is under way.
    pub(crate) fn waiting_since(&self) -> Option<Timestamp> {
        (self.count > 0).then_some(self.delivered_at)
    }

    /// Returns when the last packet that asks for an acknowledgement was sent, if probes have gone unanswered since.
    pub(crate) fn silent_since(&self) -> Option<Timestamp> {
        (self.probe_count > 0).then_some(self.last_sent_at)
    }

    /// Takes note that a probe is due and returns what the oldest packets under way carry, to be sent in it.
    pub(crate) fn handle_probe(&mut self) -> impl Iterator<Item = Carried> + '_ {
        self.probe_count += 1;
        let from = self.oldest.saturating_sub(self.base) as usize;
        let in_flight = |packet: &&SentPacket| packet.state == PacketState::InFlight;
        let oldest = self.packets.iter().skip(from).filter(in_flight).take(2);
        oldest.flat_map(|packet| {
            (0..u64::from(packet.carried_len))
                .map(|at| self.carried[(packet.carried_from + at - self.carried_base) as usize])
        })
    }

    /// Gives up the packets with lossy messages that should have been acknowledged by now, so that they do not stop newer ones.
    pub(crate) fn give_up_lazy(&mut self, now: Timestamp, rtt: &RttEstimator) -> Lost {
        let delay = rtt.probe_delay() + MAX_LAZY_DELAY;
        let mut lost = Lost::default();
        for number in self.oldest..self.next_number() {
            let packet = &mut self.packets[(number - self.base) as usize];
            if packet.sent_at + delay > now {
                break;
            }
            if packet.state == PacketState::InFlight && !packet.is_urgent {
                packet.state = PacketState::Lost { until: now + delay };
                let packet = *packet;
                self.land(&packet);
                lost.packets += 1;
                lost.following += u64::from(self.is_lost(number.wrapping_sub(1)));
            }
        }
        self.forget_settled(now);
        lost
    }

    /// Gives up everything under way, after a silence in which it must have been lost, handing over what it carried.
    pub(crate) fn give_up_all(&mut self, now: Timestamp, mut on_lost: impl FnMut(Carried)) {
        self.probe_count = 0;
        self.loss_time = None;
        for number in self.oldest.max(self.base)..self.next_number() {
            let packet = &mut self.packets[(number - self.base) as usize];
            if packet.state == PacketState::InFlight {
                packet.state = PacketState::Lost {
                    until: now + MAX_PROBE_DELAY,
                };
                let packet = *packet;
                self.land(&packet);
                for at in 0..u64::from(packet.carried_len) {
                    on_lost(self.carried[(packet.carried_from + at - self.carried_base) as usize]);
                }
            }
        }
        self.forget_settled(now);
    }

    fn is_lost(&self, number: u64) -> bool {
        let place = number
            .checked_sub(self.base)
            .and_then(|place| self.packets.get(place as usize));
        place.is_some_and(|packet| matches!(packet.state, PacketState::Lost { .. }))
    }

    /// Takes a packet that is settled off the numbers under way.
    fn land(&mut self, packet: &SentPacket) {
        self.bytes -= usize::from(packet.size);
        self.small_bytes -= usize::from(if packet.is_bulk { 0 } else { packet.size });
        self.count -= 1;
        self.urgent_count -= usize::from(packet.is_urgent);
    }

    fn forget_settled(&mut self, now: Timestamp) {
        self.oldest = self.oldest.max(self.base);
        while let Some(packet) = self.packets.get((self.oldest - self.base) as usize)
            && packet.state != PacketState::InFlight
        {
            self.oldest += 1;
        }
        while let Some(packet) = self.packets.front() {
            match packet.state {
                PacketState::InFlight => return,
                PacketState::Lost { until } if now < until => return,
                PacketState::Lost { .. } | PacketState::Settled => (),
            }
            self.carried.drain(..usize::from(packet.carried_len));
            self.carried_base += u64::from(packet.carried_len);
            self.packets.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Chunk, emit_ack};

    const MS: Duration = Duration::from_millis(1);

    fn flight_of(count: u64) -> Flight {
        let mut flight = Flight::new(Timestamp::ZERO);
        for number in 0..count {
            flight.record(
                Timestamp::from_millis(number),
                100,
                Urgency::Soon,
                false,
                &[Carried::Ack(number)],
            );
        }
        flight
    }

    fn acked(flight: &mut Flight, now: Timestamp, ranges: &[(u64, u64)]) -> Option<Vec<u64>> {
        let mut bytes = Vec::new();
        emit_ack(&mut bytes, Duration::ZERO, ranges.iter().copied());
        let Some(Ok(Chunk::Ack(ack))) = Chunk::parse_all(&bytes).next() else {
            panic!("an ack")
        };
        let mut arrived = Vec::new();
        flight.handle_ack(now, &ack, |carried| match carried {
            Carried::Ack(number) => arrived.push(number),
            other => panic!("{other:?}"),
        })?;
        arrived.sort_unstable();
        Some(arrived)
    }

    #[test]
    fn what_arrived_is_settled_once() {
        let mut flight = flight_of(10);
        assert_eq!(
            acked(&mut flight, Timestamp::from_millis(20), &[(5, 6), (0, 1)]),
            Some(vec![0, 1, 5, 6])
        );
        assert_eq!(
            acked(&mut flight, Timestamp::from_millis(21), &[(5, 6), (0, 2)]),
            Some(vec![2])
        );
        assert_eq!(flight.bytes(), 500);
        assert_eq!(
            acked(&mut flight, Timestamp::from_millis(22), &[(0, 9)]),
            Some(vec![3, 4, 7, 8, 9])
        );
        assert!(flight.is_empty() && flight.bytes() == 0 && flight.carried.is_empty() && flight.packets.is_empty());
    }

    #[test]
    fn an_ack_of_a_packet_never_sent_is_a_violation() {
        assert_eq!(acked(&mut flight_of(3), Timestamp::ZERO, &[(3, 3)]), None);
    }

    #[test]
    fn overtaken_packets_are_lost_by_count_and_then_by_time() {
        let mut flight = flight_of(5);
        let now = Timestamp::from_millis(30);
        let rtt = RttEstimator::new(Timestamp::ZERO, MS * 40);
        acked(&mut flight, now, &[(4, 4)]);
        let mut lost = Vec::new();
        let found = flight.detect_lost(now, &rtt, false, |carried| lost.push(carried));
        assert_eq!((found.packets, found.following), (2, 1));
        assert_eq!(lost, [Carried::Ack(0), Carried::Ack(1)]);
        assert_eq!(flight.loss_time(), Some(Timestamp::from_millis(2 + 45)));
        flight.detect_lost(Timestamp::from_millis(48), &rtt, false, |carried| lost.push(carried));
        assert_eq!(lost.len(), 4);
        assert!(flight.is_empty());
    }

    #[test]
    fn a_late_packet_counts_as_arrived_and_widens_the_wait() {
        let mut flight = flight_of(5);
        let now = Timestamp::from_millis(30);
        let rtt = RttEstimator::new(Timestamp::ZERO, MS * 40);
        acked(&mut flight, now, &[(4, 4)]);
        let mut lost = Vec::new();
        flight.detect_lost(now, &rtt, false, |carried| lost.push(carried));
        assert_eq!(lost.len(), 2);
        assert_eq!(acked(&mut flight, now, &[(4, 4), (0, 0)]), Some(vec![0]));
        flight.detect_lost(now, &rtt, false, |_| panic!("nothing is lost yet"));
        assert_eq!(flight.loss_time(), Some(Timestamp::from_millis(2 + 45 + 10)));
        flight.record(Timestamp::from_millis(100), 100, Urgency::None, false, &[]);
        assert_eq!(flight.base, 1, "the other lost one may still come");
        assert_eq!(flight.bytes(), 200);
    }

    #[test]
    fn probes_wait_for_the_path_and_then_longer() {
        let mut flight = flight_of(1);
        let rtt = RttEstimator::new(Timestamp::ZERO, MS * 100);
        assert_eq!(flight.probe_time(&rtt), Some(Timestamp::from_millis(310)));
        assert_eq!(flight.handle_probe().collect::<Vec<_>>(), [Carried::Ack(0)]);
        assert_eq!(flight.probe_time(&rtt), Some(Timestamp::from_millis(620)));
        let _ = flight.handle_probe().count();
        assert_eq!(flight.probe_time(&rtt), Some(Timestamp::from_millis(1000)));
    }

    #[test]
    fn the_rate_is_what_arrived_over_the_time_it_took() {
        let mut flight = flight_of(10);
        let mut bytes = Vec::new();
        emit_ack(&mut bytes, Duration::ZERO, [(0, 9)].into_iter());
        let Some(Ok(Chunk::Ack(ack))) = Chunk::parse_all(&bytes).next() else {
            panic!("an ack")
        };
        let outcome = flight
            .handle_ack(Timestamp::from_millis(100), &ack, |_| ())
            .expect("all were sent");
        let rate = outcome.rate.expect("time has passed").rate;
        assert!((rate - 1000.0 / 0.1).abs() < 1.0, "{rate}");
        assert_eq!(outcome.rtt_sample, Some(MS * 91));
    }
}
