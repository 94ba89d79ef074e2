//! Copies against loss: which small messages go into a packet once more before anybody knows whether they arrived.
//!
//! A lost packet costs a round trip and more if one waits for the news; a copy in the next tick's packet costs a tick. So while a
//! path shows loss, small reliable messages that are not acknowledged are sent again on a schedule, which depends on how much the
//! path loses and whether in bursts. At the end of it they go once more in a sum of several, from which the receiver makes any one
//! that is missing: a third of the bytes, for the few that lost every copy. On a clean path there is none of this. It must not
//! know what a unit holds.
//!
//! Bounds: [`MAX_WAITING`] units; copied bytes by [`Limits::copies`](crate::Limits) times the fresh ones.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flight::Unit;
use crate::loss::PathLoss;
use crate::time::Timestamp;
use crate::wire::Parity;

/// Only messages up to this size are copied, in bytes: what a game says in a tick, not what it loads.
pub(crate) const MAX_COPIED: usize = Parity::MAX_LEN;

/// Units waiting for a copy. A game that sends more than this in a tick gets none for the oldest: its next packets are soon.
const MAX_WAITING: usize = 256;

/// Copied bytes that may be saved up for later.
const MAX_SAVED: f64 = 8192.0;

/// How many copies there may be of one unit.
const MAX_STAGES: usize = 4;

/// How many units go into a sum.
const SUM_OF: usize = 3;

/// What is sent again, and when.
#[derive(Debug)]
struct Schedule {
    stages: [Stage; MAX_STAGES],
    sum: Stage,
    /// How far the units of a sum are apart: what is lost together is of no use together.
    apart: Duration,
}

/// One copy of a unit: it goes with any packet that leaves between the two times after the unit was first sent, and in a
/// packet of its own at the second. Sent only while the path loses at least this share.
#[derive(Debug)]
struct Stage {
    from: Duration,
    by: Duration,
    min_loss: f64,
}

/// Against losses that have nothing to do with each other. The times are made for games of 60 ticks a second (16.7 ms): the copies
/// go with the packets of the next ticks, without a gap, for a message that is missing holds up all that follow on its
/// channel. Slower games pay a packet for the first.
static SINGLE: Schedule = Schedule {
    stages: [
        Stage::new(8, 20, 0.0),
        Stage::new(25, 40, 0.012),
        Stage::new(42, 60, 0.07),
        Stage::new(75, 95, 0.2),
    ],
    sum: Stage::new(78, 99, 0.025),
    apart: Duration::from_millis(14),
};

/// Against bursts. Both copies go between two ticks, in packets of their own: a burst ends with the first packet that arrives, and
/// most bursts are counted in packets. The second goes as late as it can and still be there within five ticks; what that comes to is
/// in `tests/tables/golden.md`.
static BURSTS: Schedule = Schedule {
    stages: [
        Stage::new(22, 25, 0.0),
        Stage::new(79, 81, 0.012),
        Stage::new(95, 120, 0.1),
        Stage::new(130, 160, 0.3),
    ],
    sum: Stage::new(95, 120, 0.06),
    apart: Duration::from_millis(30),
};

impl Stage {
    const fn new(from_ms: u64, by_ms: u64, min_loss: f64) -> Self {
        Self {
            from: Duration::from_millis(from_ms),
            by: Duration::from_millis(by_ms),
            min_loss,
        }
    }

    fn is_wanted(&self, now: Timestamp, loss: &PathLoss) -> bool {
        loss.is_lossy(now) && loss.expected() >= self.min_loss
    }
}

/// The units that may be sent once more.
#[derive(Debug)]
pub(crate) struct Copies {
    schedule: &'static Schedule,
    /// Per stage, those that wait for it, in the order of first sending.
    waiting: [Queue; MAX_STAGES],
    count: usize,
    /// Those that are to go into a sum, in the order of first sending.
    sums: Queue,
    /// Copied bytes allowed for each fresh one, and what is left of them.
    ratio: f64,
    allowance: f64,
}

/// Units, and when each was first sent.
type Queue = VecDeque<(Unit, Timestamp)>;

impl Copies {
    pub(crate) fn new(ratio: f64) -> Self {
        Self {
            schedule: &SINGLE,
            waiting: Default::default(),
            count: 0,
            sums: VecDeque::new(),
            ratio,
            allowance: 0.0,
        }
    }

    /// Takes note of what the path loses now.
    pub(crate) fn handle_loss(&mut self, loss: &PathLoss) {
        self.schedule = if loss.is_bursty() { &BURSTS } else { &SINGLE };
    }

    /// Takes note of a unit of this size that has just been sent.
    pub(crate) fn push(&mut self, now: Timestamp, unit: Unit, size: usize, loss: &PathLoss) {
        if self.ratio <= 0.0 || !loss.is_lossy(now) {
            return;
        }
        self.allowance = (self.allowance + size as f64 * self.ratio).min(MAX_SAVED);
        if self.count == MAX_WAITING
            && let Some(stage) = self.waiting.iter_mut().find(|stage| !stage.is_empty())
        {
            stage.pop_front();
            self.count -= 1;
        }
        self.count += 1;
        self.waiting[0].push_back((unit, now));
        if self.schedule.sum.is_wanted(now, loss) {
            if self.sums.len() == MAX_WAITING {
                self.sums.pop_front();
            }
            self.sums.push_back((unit, now));
        }
    }

    /// Returns when a packet must be sent for copies alone.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let stages = self.waiting.iter().zip(&self.schedule.stages);
        let sums = std::iter::once((&self.sums, &self.schedule.sum));
        stages
            .chain(sums)
            .filter_map(|(waiting, stage)| waiting.front().map(|(_, sent_at)| *sent_at + stage.by))
            .min()
    }

    /// Returns true if copies are due that have found no other packet to go with.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Hands over the units whose copies may go with a packet that leaves now, one by one or several for a sum, until `copy` says
    /// that the packet is full. `copy` returns the bytes it has written: none if none of them needs a copy any more.
    pub(crate) fn pack(&mut self, now: Timestamp, loss: &PathLoss, mut copy: impl FnMut(&[Unit]) -> Option<usize>) {
        let stages = &self.schedule.stages;
        for (index, stage) in stages.iter().enumerate() {
            while let Some(&(unit, sent_at)) = self.waiting[index].front()
                && sent_at + stage.from <= now
            {
                let mut is_needed = true;
                if stage.is_wanted(now, loss) && self.allowance > 0.0 {
                    let Some(bytes) = copy(&[unit]) else { return };
                    self.allowance -= bytes as f64;
                    is_needed = bytes > 0;
                }
                self.waiting[index].pop_front();
                let next = (index + 1..MAX_STAGES).find(|&next| stages[next].is_wanted(now, loss));
                match next.filter(|_| is_needed) {
                    Some(next) => self.waiting[next].push_back((unit, sent_at)),
                    None => self.count -= 1,
                }
            }
        }
        self.pack_sums(now, loss, copy);
    }

    fn pack_sums(&mut self, now: Timestamp, loss: &PathLoss, mut copy: impl FnMut(&[Unit]) -> Option<usize>) {
        let stage = &self.schedule.sum;
        while let Some(&(unit, sent_at)) = self.sums.front()
            && sent_at + stage.from <= now
        {
            let mut units = [unit; SUM_OF];
            let mut places = [0; SUM_OF];
            let (mut count, mut last) = (1, sent_at);
            for (place, &(unit, sent_at)) in self.sums.iter().enumerate() {
                if count < SUM_OF && sent_at >= last + self.schedule.apart {
                    (units[count], places[count], last) = (unit, place, sent_at);
                    count += 1;
                }
            }
            if stage.is_wanted(now, loss) && self.allowance > 0.0 {
                let Some(bytes) = copy(&units[..count]) else { return };
                self.allowance -= bytes as f64;
            }
            for &place in places[..count].iter().rev() {
                self.sums.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Lost;

    fn unit(sequence_id: u64) -> Unit {
        Unit {
            lane: 0,
            index: Unit::WHOLE,
            sequence_id,
        }
    }

    /// A path that has lost every so many packets for long, this many in a row.
    fn path(every: u64, in_a_row: u64) -> PathLoss {
        let mut loss = PathLoss::new(Timestamp::ZERO);
        for _ in 0..1000 {
            loss.handle_arrived((every - 1) * in_a_row, 0);
            let lost = Lost {
                packets: in_a_row,
                following: in_a_row - 1,
            };
            loss.handle_lost(Timestamp::ZERO, lost);
        }
        loss
    }

    /// Sends a unit every 1/60 s for a second, and a packet when copies are due; returns what was copied of the tenth: after how
    /// many milliseconds, and of how many units the sum.
    fn copies_of_one(copies: &mut Copies, loss: &PathLoss) -> Vec<(u64, usize)> {
        copies.handle_loss(loss);
        let mut times = Vec::new();
        let mut pack = |copies: &mut Copies, now| {
            copies.pack(now, loss, |units| {
                if units.contains(&unit(10)) {
                    times.push(((now - Timestamp::from_micros(166_670)).as_millis() as u64, units.len()));
                }
                Some(64)
            });
        };
        for tick in 0..60 {
            let tick_at = Timestamp::from_micros(tick * 16_667);
            while let Some(due) = copies.deadline().filter(|&due| due < tick_at) {
                pack(copies, due);
            }
            pack(copies, tick_at);
            copies.push(tick_at, unit(tick), 64, loss);
        }
        times
    }

    #[test]
    fn the_more_a_path_loses_the_more_copies_there_are() {
        for (every, expected) in [
            (150, &[(16, 1)][..]),
            (20, &[(16, 1), (33, 1), (66, 3)]),
            (10, &[(16, 1), (33, 1), (50, 1), (66, 3)]),
            (3, &[(16, 1), (33, 1), (50, 1), (66, 3), (83, 1)]),
        ] {
            let mut copies = Copies::new(10.0);
            assert_eq!(copies_of_one(&mut copies, &path(every, 1)), expected, "one in {every}");
        }
    }

    #[test]
    fn against_bursts_copies_go_between_two_ticks_when_it_may_be_over() {
        let copied = copies_of_one(&mut Copies::new(10.0), &path(40, 3));
        assert_eq!(copied, [(25, 1), (81, 1)]);
    }

    #[test]
    fn a_clean_path_gets_none() {
        let mut loss = path(20, 1);
        loss.handle_arrived(500, 0);
        assert_eq!(copies_of_one(&mut Copies::new(2.0), &loss), []);
    }

    #[test]
    fn no_more_is_copied_than_allowed() {
        let copied = |ratio| {
            let (mut copies, loss) = (Copies::new(ratio), path(3, 1));
            let mut bytes = 0;
            for tick in 0..600 {
                let now = Timestamp::from_micros(tick * 16_667);
                copies.pack(now, &loss, |units| {
                    bytes += 69 * units.len();
                    Some(69 * units.len())
                });
                copies.push(now, unit(tick), 64, &loss);
            }
            bytes
        };
        assert_eq!(copied(0.0), 0);
        assert!((500 * 64..600 * 64 + 4 * 69).contains(&copied(1.0)), "{}", copied(1.0));
        assert!(copied(10.0) > 3 * copied(1.0));
    }

    #[test]
    fn no_more_wait_than_the_bound() {
        let (mut copies, loss) = (Copies::new(1.0), path(3, 1));
        for sequence_id in 0..10_000 {
            copies.push(Timestamp::ZERO, unit(sequence_id), 64, &loss);
        }
        assert_eq!((copies.count, copies.sums.len()), (MAX_WAITING, MAX_WAITING));
        assert_eq!(copies.deadline(), Some(Timestamp::from_millis(20)));
    }

    #[test]
    fn a_unit_that_arrived_is_forgotten_and_a_full_packet_waits() {
        let (mut copies, loss) = (Copies::new(2.0), path(150, 1));
        copies.push(Timestamp::ZERO, unit(0), 64, &loss);
        copies.pack(Timestamp::from_millis(10), &loss, |_| None);
        assert_eq!(copies.count, 1);
        copies.pack(Timestamp::from_millis(10), &loss, |_| Some(0));
        assert_eq!((copies.count, copies.deadline()), (0, None));
    }
}
