//! The real thing beside the model: does what steps say, and compares the two after each.

mod healing;

use std::time::Duration;

use netplay_netsim::{Conditions, Node, Random};
use netplay_proto::message::{MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE};
use netplay_proto::{Accept, Connect, Delivery, Event, Limits, Reason, Renewal};

use crate::reference::{Moment, Phase, Reference};
use crate::step::{Mistake, PLACES, Step};
use crate::third_party::ThirdParty;
use crate::world::{End, Side, World, terms};
use crate::{MS, SECOND};

/// More events than one connection can make wait: what its credit allows of the smallest, and the lossy ones.
const MOST_WAITING: usize = 40_000;

/// A process: which side of the world it is now, and how it fares.
struct Place {
    side: Side,
    accept: Option<Accept>,
    limits: Limits,
    takes_events: bool,
    is_driven: bool,
    /// When it was last not both.
    hindered_at: Duration,
}

/// A world, the model of it, and the steps taken so far.
pub(crate) struct Play {
    pub(crate) world: World,
    reference: Reference,
    third_party: ThirdParty,
    places: Vec<Place>,
    /// Every end, oldest first.
    ends: Vec<End>,
    calls: u64,
    /// How much of the world's log has been looked at.
    seen: usize,
}

impl Play {
    /// Makes the world of a seed: four processes, two of which listen, with limits that differ from run to run.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x706c_6163);
        let mut one_of = |choices: &[u64]| choices[random.below(choices.len() as u64) as usize];
        let mut world = World::with_seed(Conditions::lag(MS * one_of(&[0, 1, 20, 80]) as u32), seed);
        world.is_quiet = true;
        world.tap = Some(Vec::new());
        world.ledger.allow_late_calls();
        let max_peers = one_of(&[1, 2, 100]) as usize;
        let accept = Accept { max_peers, ..terms() };
        let places = (0..PLACES).map(|place| {
            let limits = Limits {
                message_size: one_of(&[64 << 10, 1 << 20, 16 << 20]) as usize,
                lost_after: SECOND * one_of(&[1, 3, 3, 6]) as u32,
                grace: SECOND * one_of(&[5, 30, 30]) as u32,
                send_queue: one_of(&[300 << 10, 64 << 20, 64 << 20]) as usize,
                copies: one_of(&[0, 1, 4, 4]) as f64,
                renewal: Renewal {
                    packets: one_of(&[4, 64, 1 << 22]),
                    ..Renewal::default()
                },
                ..Limits::default()
            };
            let accept = (place < 2).then(|| accept.clone());
            let side = world.add_side(place, accept.clone(), limits.clone());
            Place {
                side,
                accept,
                limits,
                takes_events: true,
                is_driven: true,
                hindered_at: Duration::ZERO,
            }
        });
        let places = places.collect();
        Self {
            world,
            reference: Reference::default(),
            third_party: ThirdParty::default(),
            places,
            ends: Vec::new(),
            calls: 0,
            seen: 0,
        }
    }

    /// Takes every step, then heals the network and checks that all promises were kept.
    pub(crate) fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.take(step);
            self.compare();
        }
        self.heal();
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Call {
                from,
                to,
                timeout,
                mistake,
            } => self.call(from, to, timeout, mistake),
            Step::Send {
                end,
                channel,
                delivery,
                size,
                count,
            } => {
                for number in 0..count {
                    if let Some(end) = self.pick(end) {
                        self.send(end, channel, delivery, size.saturating_sub(number as usize));
                    }
                }
            }
            Step::Close { end } => self.end(end, Reason::Closed),
            Step::Abort { end, reason } => self.end(end, reason),
            Step::ChangeAll { ref conditions } => self.world.network.set_conditions(conditions.clone()),
            Step::Change {
                from,
                to,
                ref conditions,
            } => {
                let (from, to) = (self.node(from), self.node(to));
                self.world.network.set_conditions_from(from, to, conditions.clone());
            }
            Step::Cut { from, to } => self.world.network.cut_from(self.node(from), self.node(to)),
            Step::Restore { from, to } => self.world.network.restore_from(self.node(from), self.node(to)),
            Step::Roam { place, node } => {
                if (0..PLACES).all(|other| self.node(other) != node) {
                    self.world.move_to(self.places[place as usize].side, node);
                }
            }
            Step::Stall { place } => self.set_takes_events(place, false),
            Step::Wake { place } => self.set_takes_events(place, true),
            Step::Freeze { place } => self.set_driven(place, false, false),
            Step::Thaw {
                place,
                are_timers_first,
            } => self.set_driven(place, true, are_timers_first),
            Step::Crash { place } => self.crash(place),
            Step::Copy {
                which,
                is_from_elsewhere,
                garbled_bit,
                length,
                count,
            } => self
                .third_party
                .copy(&mut self.world, which, is_from_elsewhere, garbled_bit, length, count),
            Step::Wait { time } => self.world.run_for(time),
        }
    }

    fn call(&mut self, from: u64, to: u64, timeout: Duration, mistake: Mistake) {
        let (caller, called) = (&self.places[from as usize], &self.places[to as usize]);
        if from == to || !caller.is_driven {
            return;
        }
        let (side, limits) = (caller.side, caller.limits.clone());
        self.calls += 1;
        let mut options = Connect {
            name: format!("call {}", self.calls),
            timeout,
            ..self.world.call_options(called.side)
        };
        match mistake {
            Mistake::None => (),
            Mistake::Password => options.psk = [1; 32],
            Mistake::Version => options.version = "2".into(),
            Mistake::Key => options.pinned_key = Some([1; 32]),
        }
        let end = self.world.call_with(side, options);
        self.ends.push(end);
        self.reference.handle_call(self.world.now, end, from, limits, mistake);
    }

    fn send(&mut self, end: End, channel: u8, delivery: Delivery, size: usize) {
        let others = self.world.ledger.others(end);
        let other = others.iter().find_map(|other| self.reference.seats.get(other));
        let limit = match other {
            _ if delivery.is_lossy => MAX_LOSSY_SIZE,
            Some(other) => other.limits.message_size,
            // Dead, or not known yet; and then its limit is not either.
            None if size > 64 << 10 => return,
            None => MAX_RELIABLE_SIZE,
        };
        let is_free = self.is_free(self.reference.seats[&end].place);
        let mut random = Random::new(size as u64 + self.world.ledger.undelivered() as u64);
        let words = std::iter::repeat_with(|| random.next_u64().to_le_bytes());
        let data: Vec<u8> = words.flatten().take(size).collect();
        let result = self.world.try_send(end, channel, delivery, data);
        self.reference
            .handle_send(end, delivery.is_lossy, size, limit, is_free, result);
        self.absorb();
    }

    fn end(&mut self, end: u64, reason: Reason) {
        let Some(end) = self.pick(end) else { return };
        let now = self.world.timestamp();
        let seat = self.reference.seats.get_mut(&end).unwrap();
        let (place, was_over) = (seat.place, matches!(seat.phase, Phase::Ended(_)));
        seat.asked.push(reason);
        if reason == Reason::Closed {
            self.world.close(end, "that was it");
        } else {
            self.world
                .endpoint(end.side)
                .abort(now, end.id, reason, "no more of this");
        }
        self.absorb();
        if !was_over && self.is_free(place) {
            let phase = self.reference.seats[&end].phase;
            assert_eq!(phase, Phase::Ended(reason), "{end:?} was ended by its game");
        }
    }

    fn set_takes_events(&mut self, place: u64, takes_events: bool) {
        let place = &mut self.places[place as usize];
        place.takes_events = takes_events;
        self.world.set_takes_events(place.side, takes_events);
    }

    fn set_driven(&mut self, place: u64, is_driven: bool, are_timers_first: bool) {
        let place = &mut self.places[place as usize];
        place.is_driven = is_driven;
        self.world.set_driven(place.side, is_driven, are_timers_first);
    }

    fn crash(&mut self, place: u64) {
        let node = self.node(place);
        let place = &mut self.places[place as usize];
        self.world.kill(place.side);
        self.reference.handle_crash(place.side);
        place.side = self.world.add_side(node, place.accept.clone(), place.limits.clone());
        place.takes_events = true;
        place.is_driven = true;
    }

    fn node(&self, place: u64) -> Node {
        self.world.node(self.places[place as usize].side)
    }

    /// Returns whether the game of a place has been told all there is.
    fn is_free(&self, place: u64) -> bool {
        let place = &self.places[place as usize];
        place.takes_events && place.is_driven
    }

    /// Picks a connection of a process that runs, and now and then one that is over.
    fn pick(&self, number: u64) -> Option<End> {
        let is_any = number.is_multiple_of(32);
        let ends = self.ends.iter().filter(|end| {
            let Some(seat) = self.reference.seats.get(end) else {
                return false;
            };
            let has_ended = matches!(seat.phase, Phase::Ended(_));
            !seat.is_dead && self.places[seat.place as usize].is_driven && (is_any || !has_ended)
        });
        let ends: Vec<_> = ends.collect();
        (!ends.is_empty()).then(|| *ends[number as usize / 32 % ends.len()])
    }

    /// Lets the sides do what is due, and tells the model what the games were told.
    fn absorb(&mut self) {
        self.world.settle();
        self.third_party.listen(&mut self.world);
        for happening in &self.world.log[self.seen..] {
            let place = self.places.iter().position(|place| place.side == happening.end.side);
            let Some(place) = place else { continue }; // it has crashed since
            let moment = Moment {
                now: happening.at,
                place: place as u64,
                limits: &self.places[place].limits,
                free_for: happening.at - self.places[place].hindered_at,
                others: &self.world.ledger.others(happening.end),
            };
            self.reference.handle_event(&moment, happening.end, &happening.event);
            if let Event::Connected { is_incoming: true, .. } = happening.event {
                self.ends.push(happening.end);
            }
        }
        self.seen = self.world.log.len();
        for number in 0..PLACES {
            if !self.is_free(number) {
                self.places[number as usize].hindered_at = self.world.now;
            }
        }
    }

    /// Compares what the endpoints say of themselves with the model.
    fn compare(&mut self) {
        self.absorb();
        let mut guests = [0; PLACES as usize];
        for (&end, seat) in &self.reference.seats {
            guests[seat.place as usize] += usize::from(seat.is_connected() && !seat.is_caller);
            if seat.is_connected() && self.is_free(seat.place) {
                let stats = self.world.stats(end);
                let queued = stats.queued_bytes;
                assert!(
                    queued <= seat.sent,
                    "{end:?}: {queued} bytes wait, {} were sent",
                    seat.sent
                );
                assert!(queued <= seat.limits.send_queue, "{end:?}: {queued} bytes wait");
            }
        }
        // A game that sleeps does not know yet who has called.
        let most = (self.ends.len() + self.calls as usize) * MOST_WAITING;
        for (number, place) in self.places.iter().enumerate() {
            let is_free = place.takes_events && place.is_driven;
            let endpoint = self.world.endpoint(place.side);
            let events = endpoint.events_waiting();
            assert!(events <= most, "{events} events wait at place {number}");
            if is_free {
                let established: Vec<_> = endpoint.established().collect();
                let seats = self.reference.seats.iter();
                let seats = seats.filter(|(end, seat)| end.side == place.side && seat.is_connected());
                let expected: Vec<_> = seats.map(|(end, _)| end.id).collect();
                assert_eq!(established, expected, "connections of place {number}");
            }
            if let Some(accept) = &place.accept {
                assert!(
                    guests[number] <= accept.max_peers,
                    "{} guests at place {number}",
                    guests[number]
                );
            }
        }
    }
}
