//! Which ways to a remote side are opened, and when: the best first, the others after a short head start, and again after a wait
//! where that came to nothing. RFC 8305 in spirit. It knows kinds of ways and moments; it must not know addresses.

use std::time::Duration;

use crate::address::Transport;
use crate::time::Timestamp;

/// How long the better kinds of ways are tried before the next: longer than most round trips, and hardly noticed.
const HEAD_START: Duration = Duration::from_millis(300);

/// How long until a kind that was opened, and has not been answered, is asked for again: the address of a name may have changed.
const AGAIN: Duration = Duration::from_secs(5);

/// The waits after a failure double from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What is to be dialled next.
#[derive(Debug)]
pub(crate) struct Dialer {
    lines: Vec<Line>,
    chance: u64,
}

#[derive(Debug)]
struct Line {
    transport: Transport,
    next_at: Timestamp,
    dials: u32,
    failures: u32,
}

impl Dialer {
    /// Makes one for these kinds, the best first. `chance` must be random: thousands who were cut off together must not come
    /// back together.
    pub(crate) fn new(now: Timestamp, transports: &[Transport], chance: u64) -> Self {
        let mut next_at = now;
        let mut lines = Vec::with_capacity(transports.len());
        for &transport in transports {
            lines.push(Line {
                transport,
                next_at,
                dials: 0,
                failures: 0,
            });
            next_at += HEAD_START;
        }
        Self { lines, chance }
    }

    /// Returns a kind to open now.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Transport> {
        let line = self.lines.iter_mut().find(|line| line.next_at <= now)?;
        line.dials += 1;
        line.next_at = now + spread(AGAIN, self.chance, line.dials);
        Some(line.transport)
    }

    /// Returns when to poll again.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        self.lines.iter().map(|line| line.next_at).min()
    }

    /// Takes note that no way of this kind could be opened: whoever waits behind it need not wait any longer.
    pub(crate) fn handle_no_path(&mut self, now: Timestamp, transport: Transport) {
        let chance = self.chance;
        let Some(place) = self.lines.iter().position(|line| line.transport == transport) else {
            return;
        };
        self.lines[place].fail(now, chance);
        if let Some(next) = self.lines[place..].iter_mut().find(|line| line.dials == 0) {
            next.next_at = now;
        }
    }

    /// Returns true if a way was to be opened and could not, or has ended.
    pub(crate) fn has_failed(&self) -> bool {
        self.lines.iter().any(|line| line.failures > 0)
    }

    /// Takes note that a stream has ended before it was of use.
    pub(crate) fn handle_closed(&mut self, now: Timestamp) {
        let chance = self.chance;
        for line in &mut self.lines {
            if line.transport != Transport::Udp && line.dials > 0 {
                line.fail(now, chance);
            }
        }
    }
}

impl Line {
    fn fail(&mut self, now: Timestamp, chance: u64) {
        let wait = (FIRST_WAIT * (1 << self.failures.min(4))).min(LAST_WAIT);
        self.failures += 1;
        self.next_at = now + spread(wait, chance, self.failures);
    }
}

/// Returns a time within a fifth of this one, by chance.
pub(crate) fn spread(time: Duration, chance: u64, round: u32) -> Duration {
    let part = (chance.rotate_right(round.wrapping_mul(7)) & 0xff) as u32;
    time * 4 / 5 + time * 2 / 5 * part / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_head_start_and_is_asked_for_again_in_time() {
        let start = Timestamp::from_millis(1000);
        let mut dialer = Dialer::new(
            start,
            &[Transport::Udp, Transport::Tcp, Transport::Ws],
            0x1234_5678_9abc_def0,
        );
        assert_eq!(dialer.poll(start), Some(Transport::Udp));
        assert_eq!(dialer.poll(start), None);
        assert_eq!(dialer.next_time(), Some(start + HEAD_START));
        assert_eq!(dialer.poll(start + HEAD_START), Some(Transport::Tcp));
        assert_eq!(dialer.poll(start + HEAD_START * 2), Some(Transport::Ws));
        let again = dialer.next_time().expect("three are waiting");
        assert!(
            again >= start + AGAIN * 4 / 5 && again <= start + AGAIN * 6 / 5,
            "{again:?}"
        );
    }

    #[test]
    fn a_kind_that_fails_lets_the_next_go_and_waits_longer_each_time() {
        let mut now = Timestamp::from_millis(1000);
        let mut dialer = Dialer::new(now, &[Transport::Tcp, Transport::Ws], 99);
        assert_eq!(dialer.poll(now), Some(Transport::Tcp));
        dialer.handle_no_path(now, Transport::Tcp);
        assert_eq!(dialer.poll(now), Some(Transport::Ws));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = now;
            while dialer.poll(now) != Some(Transport::Tcp) {
                now = dialer.next_time().expect("both are waiting").max(now);
            }
            waits.push(now - before);
            dialer.handle_no_path(now, Transport::Tcp);
        }
        assert!(waits[0] <= FIRST_WAIT * 6 / 5, "{waits:?}");
        assert!(
            waits[7] >= LAST_WAIT * 4 / 5 && waits[7] <= LAST_WAIT * 6 / 5,
            "{waits:?}"
        );
    }

    #[test]
    fn chance_spreads_a_wait_by_a_fifth_at_most() {
        for chance in [0, 1, 77, u64::MAX, 0xdead_beef_0bad_cafe] {
            for round in 0..100 {
                let time = spread(Duration::from_secs(5), chance, round);
                assert!(
                    time >= Duration::from_secs(4) && time <= Duration::from_secs(6),
                    "{time:?}"
                );
            }
        }
    }
}
