//! The end of a run: the network is made good, and what was promised must have been kept.

use netplay_netsim::{Conditions, Node};
use netplay_proto::Reason;

use super::Play;
use crate::reference::{Phase, Seat};
use crate::step::{Mistake, PLACES};
use crate::world::{End, path_to};
use crate::{MS, SECOND};

/// Nodes that steps may name.
const NODES: Node = 12;

impl Play {
    /// Makes the network good and everybody awake, and waits: what was promised must have been kept.
    pub(super) fn heal(&mut self) {
        for from in 0..NODES {
            for to in 0..NODES {
                self.world.network.restore_from(from, to);
            }
        }
        self.world.network.set_conditions(Conditions::lag(10 * MS));
        for place in 0..PLACES {
            self.set_driven(place, true, false);
            self.set_takes_events(place, true);
        }
        self.compare();
        let mut safe = self.world.ledger.living();
        let all = safe.clone();
        safe.retain(|&(caller, called)| {
            let is_fine = |end: End| {
                let seat = self.reference.seats.get(&end);
                seat.is_some_and(|seat| seat.is_connected() && seat.phase == Phase::Connected && seat.asked.is_empty())
            };
            // One whose answers were lost has begun anew, and what it began first dies.
            let is_one = all.iter().filter(|(other, _)| *other == caller).count() == 1;
            is_one
                && is_fine(caller)
                && is_fine(called)
                && !self.is_too_slow(caller, called)
                && !self.have_both_moved(caller, called)
        });
        for _ in 0..60 {
            self.world.run_for(SECOND);
            self.compare();
        }
        for (caller, called) in safe {
            for end in [caller, called] {
                let phase = self.reference.seats[&end].phase;
                let is_alive = self.reference.seats[&end].is_connected();
                // A queue that was full when the network was healed is no fault of the healed network's.
                let is_slow = phase == Phase::Ended(Reason::TooSlow);
                assert!(
                    is_alive || is_slow,
                    "{end:?} was well and ended for {phase:?}\n{}",
                    self.world.story()
                );
            }
        }
        self.check_the_living();
        self.check_silence();
        self.check_a_new_call();
    }

    /// Returns whether the path has been slower than what one of the two takes for lost. Who waits for an answer on
    /// it is silent for as long as it takes, which may be too long for the other.
    fn is_too_slow(&self, one: End, other: End) -> bool {
        let rtt = self.world.stats(one).rtt.max(self.world.stats(other).rtt);
        [one, other]
            .iter()
            .any(|end| rtt > self.reference.seats[end].limits.lost_after)
    }

    /// Returns whether each of two has an address that the other does not know: then nothing brings them together.
    fn have_both_moved(&mut self, one: End, other: End) -> bool {
        [(one, other), (other, one)].into_iter().all(|(from, to)| {
            let path = self.world.endpoint(from.side).connection_path(from.id);
            path != Some(path_to(self.world.node(to.side)))
        })
    }

    /// Nobody is lost on a good network, all that was sent has arrived, and nobody talks alone.
    fn check_the_living(&mut self) {
        let mut living = self.world.ledger.living();
        let is_alive = |end: &End| self.reference.seats.get(end).is_some_and(|seat| !seat.is_dead);
        living.retain(|(caller, called)| is_alive(caller) && is_alive(called));
        for &(caller, called) in &living {
            for end in [caller, called] {
                let Some(seat) = self.reference.seats.get(&end) else {
                    continue;
                };
                assert_eq!(
                    seat.phase,
                    Phase::Connected,
                    "{end:?} on a good network\n{}",
                    self.world.story()
                );
                let missing = self.world.ledger.undelivered_from(end);
                assert_eq!(
                    missing,
                    0,
                    "messages of {end:?} have not arrived\n{}",
                    self.world.story()
                );
                assert_eq!(self.world.stats(end).queued_bytes, 0, "{end:?}");
            }
        }
        for (end, seat) in &self.reference.seats {
            let partners = living
                .iter()
                .filter(|&&(caller, called)| caller == *end || called == *end)
                .count();
            assert_eq!(
                partners,
                usize::from(seat.is_connected()),
                "{end:?} is {:?} and talks with {partners}\n{}",
                seat.phase,
                self.world.story()
            );
        }
    }

    /// Who has nothing to say asks now and then whether the other is there; who is alone says nothing.
    fn check_silence(&mut self) {
        let (before, _) = self.world.traffic();
        self.world.run_for(20 * SECOND);
        self.compare();
        let said = self.world.traffic().0 - before;
        let asks = |seat: &Seat| 20_000 / (seat.limits.lost_after.as_millis() as u64 / 3) + 2;
        let seats = self.reference.seats.values().filter(|seat| seat.is_connected());
        let allowed: u64 = seats.map(|seat| 2 * asks(seat)).sum();
        assert!(said <= allowed, "{said} datagrams in 20 s, {allowed} are enough");
        for place in &self.places {
            let seats = self.reference.seats.iter();
            let has_any = seats
                .clone()
                .any(|(end, seat)| end.side == place.side && seat.is_connected());
            assert!(
                has_any || self.world.endpoint(place.side).is_idle(),
                "somebody is left\n{}",
                self.world.story()
            );
        }
    }

    /// Whatever has happened, a listener with a free place takes a new caller.
    fn check_a_new_call(&mut self) {
        for to in 0..2 {
            let Some(accept) = self.places[to as usize].accept.clone() else {
                continue;
            };
            let side = self.places[to as usize].side;
            let seats = self.reference.seats.iter();
            let guests = seats.filter(|(end, seat)| end.side == side && seat.is_connected() && !seat.is_caller);
            if guests.count() < accept.max_peers {
                self.call(3, to, 5 * SECOND, Mistake::None);
                self.world.run_for(2 * SECOND);
                self.compare();
                let phase = self.reference.seats[self.ends.iter().rev().find(|end| end.side != side).unwrap()].phase;
                assert_eq!(phase, Phase::Connected, "a new call\n{}", self.world.story());
            }
        }
    }
}
