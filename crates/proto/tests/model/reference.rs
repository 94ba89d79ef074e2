//! The model: what a game may be told of each of its connections, from what all games have done.
//!
//! It knows calls, sends and ends, and the events that came of them; it must not know packets or the network. What became of
//! messages is the ledger's, in the stories' world.
//!
//! ```text
//!   Calling ──► Connected ◄──► Lost        a message only in Connected
//!      │            │           │
//!      └────────────┴───────────┴──► Ended, once, for a reason that somebody gave
//!
//! A caller whose server was started anew is Connected again after Lost, and begins anew too.
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use netplay_proto::{Event, Limits, Origin, Reason, SendError};

use crate::step::Mistake;
use crate::world::End;

/// What a reliable message costs beside its bytes while it waits.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;

/// A caller asks at least this long for an answer to its last message before it begins anew.
const PATIENCE: Duration = Duration::from_secs(3);

const MICROSECOND: Duration = Duration::from_micros(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Calling,
    Connected,
    Lost,
    Ended(Reason),
}

/// One connection as one game knows it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) place: u64,
    pub(crate) limits: Limits,
    pub(crate) phase: Phase,
    pub(crate) is_caller: bool,
    /// Whether the process has crashed.
    pub(crate) is_dead: bool,
    mistake: Mistake,
    /// What the game gave as reasons to end it; as long as it has not been told the end, it may give several.
    pub(crate) asked: Vec<Reason>,
    /// Reliable bytes accepted for sending, with what each message costs beside.
    pub(crate) sent: usize,
    /// When the game was last told something.
    told_at: Duration,
    made_at: Duration,
    /// A call whose last message nobody answered is begun anew, and what came of the first is closed.
    may_be_anew: bool,
}

impl Seat {
    pub(crate) fn is_connected(&self) -> bool {
        !self.is_dead && matches!(self.phase, Phase::Connected | Phase::Lost)
    }

    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }
}

/// Who tells, when, and how it was with them.
pub(crate) struct Moment<'a> {
    pub(crate) now: Duration,
    pub(crate) place: u64,
    pub(crate) limits: &'a Limits,
    /// For how long the process has run and its game has taken events. What it is told was news that long ago at the most.
    pub(crate) free_for: Duration,
    /// The other ends of the connection, as far as known.
    pub(crate) others: &'a [End],
}

/// Every connection, as its games know it.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) seats: BTreeMap<End, Seat>,
}

impl Reference {
    pub(crate) fn handle_call(&mut self, now: Duration, end: End, place: u64, limits: Limits, mistake: Mistake) {
        self.insert(now, end, place, limits, true, mistake);
    }

    /// Takes note that the process of a side is dead. What it has said before may still arrive.
    pub(crate) fn handle_crash(&mut self, side: usize) {
        let seats = self.seats.iter_mut().filter(|(end, _)| end.side == side);
        seats.for_each(|(_, seat)| seat.is_dead = true);
    }

    /// Checks an event against what may come next.
    pub(crate) fn handle_event(&mut self, moment: &Moment<'_>, end: End, event: &Event) {
        let Moment {
            now, limits, free_for, ..
        } = *moment;
        if let Event::Connected { is_incoming: true, .. } = event {
            self.insert(now, end, moment.place, limits.clone(), false, Mistake::None);
        }
        if let Event::Disconnected { reason, .. } = event {
            self.check_reason(moment, end, *reason);
        }
        let others = moment.others.iter().filter_map(|other| self.seats.get(other));
        let mistakes: Vec<_> = others.map(|seat| seat.mistake).collect();
        let seat = self.seats.get_mut(&end).unwrap();
        // Endpoints count in microseconds.
        let silence = now - seat.told_at + MICROSECOND;
        seat.phase = match (seat.phase, event) {
            (Phase::Calling, Event::Connected { .. }) => {
                assert_eq!(seat.mistake, Mistake::None, "{end:?} got in nevertheless");
                assert!(
                    mistakes
                        .iter()
                        .all(|&mistake| mistake == Mistake::None || seat.is_caller),
                    "{end:?} let in one with a wrong {mistakes:?}"
                );
                Phase::Connected
            }
            (Phase::Connected, Event::Message { .. }) => Phase::Connected,
            (Phase::Connected, Event::Lost { time_left, reason }) => {
                assert_eq!(*time_left, limits.grace);
                assert!(
                    free_for <= limits.lost_after || silence >= limits.lost_after || *reason == Reason::Restarted,
                    "{end:?} is lost {silence:?} after it was heard"
                );
                Phase::Lost
            }
            (
                Phase::Lost,
                Event::Connected {
                    origin: Origin::Restarted,
                    ..
                },
            ) if seat.is_caller => Phase::Connected,
            (Phase::Lost, Event::Resumed { after, .. }) => {
                assert!(*after >= limits.lost_after, "{end:?} is back after {after:?}");
                Phase::Connected
            }
            (Phase::Calling | Phase::Connected | Phase::Lost, Event::Disconnected { reason, .. }) => {
                Phase::Ended(*reason)
            }
            (phase, event) => panic!("{end:?} is {phase:?} and is told {event:?}"),
        };
        seat.told_at = now;
        if matches!(event, Event::Connected { is_incoming: false, .. }) {
            seat.may_be_anew = now - seat.made_at > PATIENCE;
        }
    }

    /// Checks what came of a send.
    pub(crate) fn handle_send(
        &mut self,
        end: End,
        is_lossy: bool,
        size: usize,
        limit: usize,
        is_free: bool,
        result: Result<u64, SendError>,
    ) {
        let seat = self.seats.get_mut(&end).unwrap();
        let is_expected = match (seat.phase, &result) {
            (Phase::Ended(_), result) => *result == Err(SendError::Closed),
            // It may know already what its game has not been told.
            (_, Err(SendError::Closed)) => !is_free,
            (Phase::Calling, Err(SendError::NotConnected)) => is_lossy,
            (Phase::Calling, Ok(_)) => !is_lossy || !is_free,
            // The answer has told how much the other side takes.
            (Phase::Calling, Err(SendError::TooLarge { .. })) => size > limit,
            (_, Ok(_)) => size <= limit,
            (_, Err(error)) => *error == SendError::TooLarge { size, limit } && size > limit,
        };
        assert!(
            is_expected,
            "{end:?}, {seat:?}: a send of {size} bytes, lossy {is_lossy}, gave {result:?}"
        );
        if result.is_ok() && !is_lossy {
            seat.sent += size + MESSAGE_OVERHEAD;
        }
    }

    /// Checks that somebody has given this reason.
    fn check_reason(&self, moment: &Moment<'_>, end: End, reason: Reason) {
        let seat = &self.seats[&end];
        let others = || moment.others.iter().filter_map(|other| self.seats.get(other));
        let silence = moment.now - seat.told_at + MICROSECOND;
        let Limits {
            grace,
            lost_after,
            send_queue,
            ..
        } = seat.limits;
        let is_given = match reason {
            Reason::Internal => false,
            Reason::Closed => seat.asked.contains(&reason),
            Reason::TimedOut => {
                seat.phase == Phase::Lost && (silence >= grace || moment.free_for <= grace + lost_after)
            }
            _ if !seat.is_connected() => true,
            // Its game has closed, or it has given up a call that we took for made.
            Reason::Goodbye => others().any(|other| {
                let is_over = !other.asked.is_empty() || other.has_ended();
                is_over || other.phase == Phase::Calling || other.may_be_anew
            }),
            Reason::TooSlow => {
                let is_slow = |seat: &Seat| seat.asked.contains(&reason) || seat.sent > seat.limits.send_queue;
                seat.sent > send_queue || is_slow(seat) || others().any(is_slow)
            }
            // It came back to a seat that was given up meanwhile, which the other game may not know, or to a server that was
            // started anew.
            Reason::Full => others().all(|other| {
                let is_given_up = moment.now - other.told_at >= other.limits.lost_after + other.limits.grace;
                other.has_ended() || other.is_dead || is_given_up
            }),
            // Or the other has believed somebody who refused its call in our name.
            _ => {
                let gave = |seat: &Seat| seat.asked.contains(&reason) || seat.phase == Phase::Ended(reason);
                gave(seat) || others().any(|other| gave(other) || other.phase == Phase::Calling)
            }
        };
        let others: Vec<_> = others().collect();
        assert!(
            is_given,
            "{end:?} ended for {reason:?}, which nobody gave:\n  {seat:?}\n  others {others:?}"
        );
    }

    fn insert(&mut self, now: Duration, end: End, place: u64, limits: Limits, is_caller: bool, mistake: Mistake) {
        let seat = Seat {
            place,
            limits,
            phase: Phase::Calling,
            is_caller,
            is_dead: false,
            mistake,
            asked: Vec::new(),
            sent: 0,
            told_at: now,
            made_at: now,
            may_be_anew: false,
        };
        let old = self.seats.insert(end, seat);
        assert!(old.is_none(), "{end:?} is there already");
    }
}
