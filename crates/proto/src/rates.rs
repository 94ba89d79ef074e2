//! How fast one remote side may send: messages and bytes a second, if the game has set bounds.
//!
//! Reliable messages are bounded by credit already, and none is ever dropped: they count, and that is all. Lossy ones beyond
//! the bound are dropped. One who goes on far beyond it, for longer than an outage can explain, is closed. Copies and what is
//! sent again do not count: they are netplay's doing and not the game's.

use std::time::Duration;

use crate::time::Timestamp;

/// So much time's worth may come at once before lossy messages are dropped: what a path held back for a moment comes at once.
const BURST: Duration = Duration::from_secs(2);

/// So many times the bound is far beyond it.
const FAR: f64 = 2.0;

/// How fast one remote side may send to us. None: as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IncomingRate {
    /// Messages a second.
    pub messages: Option<u64>,
    /// Bytes of messages a second.
    pub bytes: Option<u64>,
}

/// Measures what one remote side sends.
#[derive(Debug)]
pub(crate) struct Rates {
    messages: Option<Meter>,
    bytes: Option<Meter>,
}

impl Rates {
    /// Makes one for these bounds; None if there are none. `patience` is the longest outage that a connection survives: what
    /// was sent meanwhile may come at once.
    pub(crate) fn new(rate: IncomingRate, patience: Duration) -> Option<Self> {
        let meter = |per_second: Option<u64>| per_second.map(|per_second| Meter::new(per_second, patience + BURST));
        let (messages, bytes) = (meter(rate.messages), meter(rate.bytes));
        (messages.is_some() || bytes.is_some()).then_some(Self { messages, bytes })
    }

    /// Takes note of what has come.
    pub(crate) fn handle(&mut self, now: Timestamp, messages: u64, bytes: usize) {
        for (meter, count) in self.meters(messages, bytes) {
            meter.leak(now);
            meter.sent += count;
        }
    }

    /// Returns false if a message that has come is to be dropped, where it may be; counts it otherwise.
    pub(crate) fn admit(&mut self, now: Timestamp, bytes: usize, is_droppable: bool) -> bool {
        let mut is_admitted = true;
        for (meter, _) in self.meters(1, bytes) {
            meter.leak(now);
            is_admitted &= !is_droppable || meter.has_room();
        }
        if is_admitted {
            for (meter, count) in self.meters(1, bytes) {
                meter.admitted += count;
            }
        }
        is_admitted
    }

    fn meters(&mut self, messages: u64, bytes: usize) -> impl Iterator<Item = (&mut Meter, f64)> {
        let messages = self.messages.as_mut().map(|meter| (meter, messages as f64));
        let bytes = self.bytes.as_mut().map(|meter| (meter, bytes as f64));
        messages.into_iter().chain(bytes)
    }

    /// Returns what was sent far beyond its bound for too long, with the bound, for a person to read.
    pub(crate) fn excess(&self) -> Option<String> {
        let describe = |meter: &Meter, what: &str| {
            let (bound, limit) = (meter.per_second, meter.patience.as_secs());
            meter
                .is_overrun()
                .then(|| format!("far more than {bound:.0} {what} a second, for longer than {limit} seconds allow"))
        };
        let messages = self.messages.as_ref().and_then(|meter| describe(meter, "messages"));
        messages.or_else(|| self.bytes.as_ref().and_then(|meter| describe(meter, "bytes")))
    }
}

/// One bound, as two buckets that leak.
#[derive(Debug)]
struct Meter {
    per_second: f64,
    patience: Duration,
    /// What was admitted lately: leaks at the bound.
    admitted: f64,
    /// What was sent lately: leaks at [`FAR`] times the bound.
    sent: f64,
    leaked_at: Timestamp,
}

impl Meter {
    fn new(per_second: u64, patience: Duration) -> Self {
        Self {
            per_second: per_second as f64,
            patience,
            admitted: 0.0,
            sent: 0.0,
            leaked_at: Timestamp::ZERO,
        }
    }

    fn leak(&mut self, now: Timestamp) {
        let leaked = self.per_second * (now - self.leaked_at).as_secs_f64();
        self.admitted = (self.admitted - leaked).max(0.0);
        self.sent = (self.sent - FAR * leaked).max(0.0);
        self.leaked_at = now;
    }

    /// Returns true if one more may come; also one that is larger than the bound, when little came lately.
    fn has_room(&self) -> bool {
        self.admitted < self.per_second * BURST.as_secs_f64()
    }

    fn is_overrun(&self) -> bool {
        self.sent > self.per_second * self.patience.as_secs_f64()
    }
}
