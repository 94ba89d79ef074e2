//! One direction of a link: packets go in, and come out later, twice or never.
//!
//! A packet meets, in this order:
//!
//! 1. the rate: it waits behind those before it, or is dropped when the queue is full ([`Verdict::Overflowed`]);
//! 2. the loss: it has used its time on the wire, and is gone ([`Verdict::Lost`]);
//! 3. the way: lag, jitter, and for some a hold-back; for some a copy with a jitter of its own.
//!
//! Packets that are due at the same moment come out in the order in which they went in.
//!
//! Every packet draws the same number of random numbers, whatever becomes of it. So a change of one condition leaves the others
//! alone: with duplication switched on, the same packets are lost as without.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use crate::conditions::Conditions;
use crate::random::Random;

/// How much longer a packet takes that is picked for reordering: one to four ticks of a game at 60 Hz, so that at least the
/// packet of the next tick overtakes it.
pub const HOLD_BACK: Range<Duration> = Duration::from_millis(17)..Duration::from_millis(67);

/// How many packets a pipe holds; those beyond are dropped as [`Verdict::Overflowed`]. It bounds the memory of a pipe with much
/// lag and no rate.
pub const MAX_IN_FLIGHT: usize = 65_536;

/// What became of a packet when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will come out once.
    Passed,
    /// It will come out twice.
    Duplicated,
    /// It is lost.
    Lost,
    /// It found the queue full.
    Overflowed,
}

/// What happened in a pipe so far, in packets. A packet and its copy are two that are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipeStats {
    /// Packets put in.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets lost on the way or sent while the pipe was cut.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets held back so that others overtake them.
    pub held_back: u64,
    /// Packets and copies taken out.
    pub delivered: u64,
}

/// One direction of a link. Moments passed in must never go backwards.
#[derive(Clone, Debug)]
pub struct Pipe<T> {
    conditions: Conditions,
    random: Random,
    is_cut: bool,
    /// Whether the last packet was lost: the state of a burst.
    was_lost: bool,
    /// When the last packet accepted so far will have left a link with a rate.
    busy_until: Duration,
    /// Numbers what is in flight, to keep the order of equals.
    next_number: u64,
    in_flight: BinaryHeap<InFlight<T>>,
    stats: PipeStats,
}

impl<T> Pipe<T> {
    /// Makes an empty pipe.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: Random::new(seed),
            is_cut: false,
            was_lost: false,
            busy_until: Duration::ZERO,
            next_number: 0,
            in_flight: BinaryHeap::new(),
            stats: PipeStats::default(),
        }
    }

    /// Returns the conditions in force.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Changes the conditions for packets sent from now on. Those on the way arrive when they would have arrived; after a lag
    /// that became shorter, newer packets may overtake them.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Cuts the pipe, or restores it. A cut pipe loses everything sent into it; what is on the way still arrives.
    pub fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    /// Returns when the next packet comes out, None if none is on the way.
    pub fn next_at(&self) -> Option<Duration> {
        self.in_flight.peek().map(|next| next.due)
    }

    /// Takes out the next packet that is due, None if none is.
    pub fn receive(&mut self, now: Duration) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.stats.delivered += 1;
        self.in_flight.pop().map(|next| next.item)
    }

    /// Returns how many packets are on the way, copies included.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns what happened so far.
    pub fn stats(&self) -> PipeStats {
        self.stats
    }

    /// Loses everything that is on the way.
    pub fn clear(&mut self) {
        self.stats.lost += self.in_flight.len() as u64;
        self.in_flight.clear();
    }

    /// Puts a packet of this many bytes on the wire and returns when it has left, None if the queue has no room.
    fn pass_rate(&mut self, now: Duration, size: usize) -> Option<Duration> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let Some(rate) = self.conditions.rate else {
            return Some(now);
        };
        let rate = u128::from(rate.max(1));
        let waiting = self.busy_until.saturating_sub(now);
        let waiting_bytes = waiting.as_nanos() * rate / 8 / 1_000_000_000;
        if !waiting.is_zero() && waiting_bytes + size as u128 > self.conditions.queue_bytes as u128 {
            return None;
        }
        let on_the_wire = (size as u128 * 8 * 1_000_000_000).div_ceil(rate);
        let on_the_wire = Duration::from_nanos(u64::try_from(on_the_wire).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now).saturating_add(on_the_wire);
        Some(self.busy_until)
    }

    fn push(&mut self, due: Duration, item: T) {
        self.in_flight.push(InFlight {
            due,
            number: self.next_number,
            item,
        });
        self.next_number += 1;
    }
}

impl<T: Clone> Pipe<T> {
    /// Puts in a packet of this many bytes and returns what becomes of it.
    pub fn send(&mut self, now: Duration, size_bytes: usize, item: T) -> Verdict {
        let draws = Draws::new(&mut self.random);
        self.stats.sent += 1;
        self.stats.sent_bytes += size_bytes as u64;
        if self.is_cut {
            self.stats.lost += 1;
            return Verdict::Lost;
        }
        let Some(left) = self.pass_rate(now, size_bytes) else {
            self.stats.overflowed += 1;
            return Verdict::Overflowed;
        };
        self.was_lost = draws.loss < self.conditions.loss.probability(self.was_lost);
        if self.was_lost {
            self.stats.lost += 1;
            return Verdict::Lost;
        }
        // Saturating: a lag of centuries is a way to say never, not a fault.
        let arrival = left.saturating_add(self.conditions.lag);
        let mut due = arrival.saturating_add(self.conditions.jitter.mul_f64(draws.jitter));
        if draws.reorder < self.conditions.reorder {
            self.stats.held_back += 1;
            due = due.saturating_add(HOLD_BACK.start + (HOLD_BACK.end - HOLD_BACK.start).mul_f64(draws.hold_back));
        }
        if draws.duplicate < self.conditions.duplicate {
            self.stats.duplicated += 1;
            self.push(due, item.clone());
            let copy_due = arrival.saturating_add(self.conditions.jitter.mul_f64(draws.copy_jitter));
            self.push(copy_due, item);
            return Verdict::Duplicated;
        }
        self.push(due, item);
        Verdict::Passed
    }
}

/// The random numbers of one packet, each 0.0 or more and less than 1.0.
struct Draws {
    loss: f64,
    jitter: f64,
    reorder: f64,
    hold_back: f64,
    duplicate: f64,
    copy_jitter: f64,
}

impl Draws {
    fn new(random: &mut Random) -> Self {
        Self {
            loss: random.fraction(),
            jitter: random.fraction(),
            reorder: random.fraction(),
            hold_back: random.fraction(),
            duplicate: random.fraction(),
            copy_jitter: random.fraction(),
        }
    }
}

/// A packet on the way. The greatest of a heap is the one that comes out next.
#[derive(Clone, Debug)]
struct InFlight<T> {
    due: Duration,
    number: u64,
    item: T,
}

impl<T> Ord for InFlight<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for InFlight<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for InFlight<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for InFlight<T> {}
