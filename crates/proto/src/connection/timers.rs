//! What a connection does of its own accord, and when.

use super::{Connection, PATIENCE, Recall, SEARCH_TIME, State};
use crate::flight::Carried;
use crate::inbox::Inbox;
use crate::message::Event;
use crate::outbox::Allowed;
use crate::reason::Reason;
use crate::rhythm::Rhythm;
use crate::time::Timestamp;

/// When to do something of one's own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// When to acknowledge at the latest.
    Ack,
    /// When to look for lost packets again.
    Loss,
    /// When to probe because no acknowledgement has come.
    Probe,
    /// When to send copies alone, because no other packet has gone.
    Copies,
    /// When to send what had to wait for the rate that the game allows.
    Pace,
    /// When to ask whether the remote side is there, and let it know where we are.
    KeepAlive,
    /// When to tell the game that nothing is heard, and later to give up.
    Silence,
    /// When to call again.
    Recall,
    /// When to end a flush, a goodbye or its echo.
    Close,
}

impl Timer {
    const ALL: [Self; 9] = [
        Self::Ack,
        Self::Loss,
        Self::Probe,
        Self::Copies,
        Self::Pace,
        Self::KeepAlive,
        Self::Silence,
        Self::Recall,
        Self::Close,
    ];
}

impl Connection {
    /// Handles the timers that are due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, inbox: &mut Inbox) {
        for timer in Timer::ALL {
            if self.timer(timer).is_some_and(|due| due <= now) {
                self.handle_timer(now, timer, inbox);
            }
        }
    }

    /// Returns when to call [`Self::handle_timeout`] or [`Self::poll_packet`] again.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        // Written out, so that the compiler knows each: this is asked several times a packet.
        Timestamp::first([
            self.timer(Timer::Ack),
            self.timer(Timer::Loss),
            self.timer(Timer::Probe),
            self.timer(Timer::Copies),
            self.timer(Timer::Pace),
            self.timer(Timer::KeepAlive),
            self.timer(Timer::Silence),
            self.timer(Timer::Recall),
            self.timer(Timer::Close),
        ])
    }

    #[inline(always)]
    fn timer(&self, timer: Timer) -> Option<Timestamp> {
        let is_talking = !matches!(self.state, State::Drained { .. } | State::Gone);
        if self.cut_since.is_some() && !matches!(timer, Timer::Silence | Timer::Recall | Timer::Close) {
            return None;
        }
        if self.is_held && matches!(timer, Timer::Ack | Timer::Copies | Timer::Pace | Timer::KeepAlive) {
            return None;
        }
        match timer {
            // An acknowledgement that is due now goes with the next packet; its time is no reason to wake up again.
            Timer::Ack => self.acks.due(),
            Timer::Loss => self.flight.loss_time().filter(|_| is_talking),
            Timer::Probe if is_talking && self.flight.loss_time().is_none() => {
                self.flight.probe_time(&self.rtt).filter(|&due| self.is_searching(due))
            }
            Timer::Copies if self.is_sending() => self.copies.deadline().map(|due| due.max(self.pacer.free_at())),
            Timer::Pace if self.is_sending() && self.is_paced && self.outbox.has_work(Allowed::ALL) => {
                Some(self.pacer.free_at())
            }
            Timer::KeepAlive if self.state == State::Open && self.flight.is_empty() => {
                let missed_at = self.rhythm.as_ref().and_then(Rhythm::missed_at);
                let due = Timestamp::first([Some(self.last_heard.max(self.last_ping) + self.keep_alive), missed_at]);
                due.filter(|&due| self.is_searching(due))
            }
            Timer::Silence if self.state == State::Open => Some(match self.lost_since {
                None => {
                    let lost_at = self.last_heard + self.limits.lost_after;
                    self.cut_since.map_or(lost_at, |since| lost_at.min(since + PATIENCE))
                }
                Some(since) => since + self.limits.lost_after + self.limits.grace,
            }),
            Timer::Recall if self.state == State::Open && self.is_client && !self.is_recalling => {
                let first = Timestamp::first([self.cut_since, Some(self.search_at()), self.upgrade_at]);
                first.map(|due| due.max(self.recall_from))
            }
            Timer::Close => match &self.state {
                State::Flushing { until, .. } | State::Closing { until, .. } | State::Drained { until } => Some(*until),
                State::Open | State::Gone => None,
            },
            Timer::Probe | Timer::Copies | Timer::Pace | Timer::KeepAlive | Timer::Silence | Timer::Recall => None,
        }
    }

    /// Returns when a client looks for another way: when it has heard nothing for a while, or no answer to what it sends. A game
    /// that goes on sending puts off the probes, so what is under way counts too, and has a round trip more.
    pub(super) fn search_at(&self) -> Timestamp {
        let silent_since = self
            .unanswered_since
            .map_or(self.last_heard, |since| since.min(self.last_heard));
        let waiting_since = self.flight.waiting_since().map(|since| since + self.rtt.probe_delay());
        waiting_since.map_or(silent_since, |since| since.min(silent_since)) + self.search_after
    }

    /// Returns false for a server once it has looked for a lost client long enough by then.
    fn is_searching(&self, due: Timestamp) -> bool {
        self.is_client || self.lost_since.is_none_or(|since| due < since + SEARCH_TIME)
    }

    /// Tells the game that nothing is heard.
    pub(crate) fn lose(&mut self, reason: Reason, inbox: &mut Inbox) {
        if self.lost_since.is_none() {
            self.lost_since = Some(self.last_heard);
            let time_left = self.limits.grace;
            inbox.push_event(self.id, Event::Lost { reason, time_left });
        }
    }

    fn handle_timer(&mut self, now: Timestamp, timer: Timer, inbox: &mut Inbox) {
        match timer {
            // The packet that is due takes them along.
            Timer::Ack | Timer::Copies | Timer::Pace => (),
            Timer::Loss => self.detect_lost(now),
            Timer::Probe => {
                self.probes_due = 2;
                self.unanswered_since.get_or_insert(now);
                let mut has_something = false;
                for carried in self.flight.handle_probe() {
                    if let Carried::Unit(unit) = carried {
                        has_something |= self.outbox.handle_lost(unit);
                    }
                }
                // Whatever else was under way is asked for by its own means.
                self.is_ping_due |= !has_something;
                let lost = self.flight.give_up_lazy(now, &self.rtt);
                self.handle_loss(now, lost);
            }
            Timer::KeepAlive => {
                self.last_ping = now;
                self.is_ping_due = true;
                if let Some(rhythm) = &mut self.rhythm {
                    rhythm.handle_missed(now);
                }
            }
            Timer::Silence if self.lost_since.is_none() => {
                let reason = if self.cut_since.is_some() {
                    Reason::LinkClosed
                } else {
                    Reason::TimedOut
                };
                self.lose(reason, inbox);
            }
            Timer::Recall => {
                let is_upgrade = self.cut_since.is_none() && now < self.search_at();
                self.is_recalling = true;
                self.upgrade_at = None;
                self.recall_due = Some(if is_upgrade { Recall::Upgrade } else { Recall::Lost });
            }
            Timer::Silence => {
                let silence = now - self.last_heard;
                let detail = format!("nothing heard for {:.0} seconds", silence.as_secs_f64());
                inbox.push_event(
                    self.id,
                    Event::Disconnected {
                        reason: Reason::TimedOut,
                        detail,
                    },
                );
                self.state = State::Gone;
            }
            Timer::Close => match std::mem::replace(&mut self.state, State::Gone) {
                State::Flushing { detail, .. } => self.start_closing(now, Reason::Closed, detail),
                _ => self.state = State::Gone,
            },
        }
    }
}
