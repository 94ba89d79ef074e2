//! How regularly the remote side is heard, and when it is missed.
//!
//! Who only listens has nothing to say by which the remote side would learn that a router gives it another address now: it
//! hears nothing more, and so has nothing to acknowledge. What it can notice is that a stream of packets has ended in the middle.
//! Told when packets arrive; it must not know what is in them, nor what is done about a silence.
//!
//! A beat is one packet, or several of one tick. A stream that ends for good is missed once, one that stops and goes as often as
//! it has been steady between, and none more often than once in [`BETWEEN`].

use std::time::Duration;

use crate::time::Timestamp;

/// Packets that are less apart than this are one beat.
const ONE_BEAT: Duration = Duration::from_millis(5);

/// Beats that are further apart are no stream: four a second.
const SLOWEST: Duration = Duration::from_millis(250);

/// After this many beats a stream is steady.
const STEADY: u8 = 8;

/// The next beat is missed after this many usual intervals: two packets lost in a row are none …
const MISSED: u32 = 3;

/// … and this many times what intervals differ by …
const DEVIATIONS: u32 = 4;

/// … and this, for clocks and queues.
const SLACK: Duration = Duration::from_millis(10);

/// Nothing is missed again sooner than this.
const BETWEEN: Duration = Duration::from_secs(1);

/// The rhythm of what is heard.
#[derive(Debug)]
pub(crate) struct Rhythm {
    beat_at: Timestamp,
    /// Beats in a row, counted up to [`STEADY`].
    beats: u8,
    /// Smoothed, and its mean deviation.
    interval: Duration,
    deviation: Duration,
    missed_at: Option<Timestamp>,
    quiet_until: Timestamp,
}

impl Rhythm {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            beat_at: now,
            beats: 0,
            interval: Duration::ZERO,
            deviation: Duration::ZERO,
            missed_at: None,
            quiet_until: now,
        }
    }

    /// Takes note that a packet has arrived.
    #[inline]
    pub(crate) fn handle_heard(&mut self, now: Timestamp) {
        if now >= self.beat_at + ONE_BEAT {
            self.handle_beat(now);
        }
    }

    /// Returns when the next beat is missed; None while there is no rhythm.
    #[inline]
    pub(crate) fn missed_at(&self) -> Option<Timestamp> {
        self.missed_at
    }

    /// Takes note that something is done about a silence: what comes next is the answer to that and no beat.
    pub(crate) fn handle_missed(&mut self, now: Timestamp) {
        self.beats = 0;
        self.missed_at = None;
        self.quiet_until = now + BETWEEN;
    }

    fn handle_beat(&mut self, now: Timestamp) {
        let interval = now - self.beat_at;
        self.beat_at = now;
        if interval > SLOWEST {
            self.beats = 0;
        }
        match self.beats {
            0 => (),
            1 => (self.interval, self.deviation) = (interval, interval / 2),
            _ => {
                self.deviation = (self.deviation * 3 + self.interval.abs_diff(interval)) / 4;
                self.interval = (self.interval * 7 + interval) / 8;
            }
        }
        self.beats = (self.beats + 1).min(STEADY);
        self.missed_at = (self.beats == STEADY).then(|| {
            let patience = self.interval * MISSED + self.deviation * DEVIATIONS + SLACK;
            (now + patience).max(self.quiet_until)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Hears a packet after each of these intervals, as often as said.
    fn hear(rhythm: &mut Rhythm, now: &mut Timestamp, intervals: &[u32], times: usize) {
        for _ in 0..times {
            for &interval in intervals {
                *now += MS * interval;
                rhythm.handle_heard(*now);
            }
        }
    }

    #[test]
    fn a_steady_stream_is_missed_after_three_intervals_and_only_once() {
        let mut now = Timestamp::ZERO;
        let mut rhythm = Rhythm::new(now);
        hear(&mut rhythm, &mut now, &[50], 7);
        assert_eq!(rhythm.missed_at(), None);
        hear(&mut rhythm, &mut now, &[50], 60);
        assert_eq!(rhythm.missed_at(), Some(now + MS * 160));
        now += MS * 160;
        rhythm.handle_missed(now);
        hear(&mut rhythm, &mut now, &[60], 1);
        hear(&mut rhythm, &mut now, &[1000], 100);
        assert_eq!(rhythm.missed_at(), None, "an answer and a keep-alive are no stream");
    }

    #[test]
    fn the_packets_of_a_tick_are_one_beat() {
        let mut now = Timestamp::ZERO;
        let mut rhythm = Rhythm::new(now);
        hear(&mut rhythm, &mut now, &[48, 0, 0, 1, 1], 60);
        let missed = rhythm.missed_at().expect("it is steady") - now;
        assert!((MS * 155..MS * 160).contains(&missed), "{missed:?}");
        hear(&mut rhythm, &mut now, &[1], 1000);
        let missed = rhythm.missed_at().expect("it is steady") - now;
        assert!((MS * 20..MS * 30).contains(&missed), "{missed:?}");
    }

    #[test]
    fn jitter_and_lost_packets_are_waited_for() {
        let mut now = Timestamp::ZERO;
        let mut rhythm = Rhythm::new(now);
        hear(&mut rhythm, &mut now, &[40, 65, 35, 60, 100, 45, 55], 20);
        let missed = rhythm.missed_at().expect("it is steady") - now;
        assert!((MS * 200..MS * 320).contains(&missed), "{missed:?}");
        hear(&mut rhythm, &mut now, &[260], 20);
        assert_eq!(rhythm.missed_at(), None, "too slow to be one");
    }

    #[test]
    fn one_that_stops_and_goes_is_missed_once_a_second() {
        let mut now = Timestamp::ZERO;
        let mut rhythm = Rhythm::new(now);
        let mut missed = 0;
        while now < Timestamp::ZERO + MS * 60_000 {
            hear(&mut rhythm, &mut now, &[10], 10);
            let goes_on_at = now + MS * 150;
            if let Some(at) = rhythm.missed_at().filter(|&at| at < goes_on_at) {
                rhythm.handle_missed(at);
                missed += 1;
            }
            now = goes_on_at;
        }
        assert!((40..=60).contains(&missed), "{missed} times in a minute");
    }
}
