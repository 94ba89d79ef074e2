//! Many members of rooms in virtual time: links that carry control messages in order, a door, crashes and cuts.
//!
//! It knows what a network does to links, and not what a room makes of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use netplay_netsim::Random;
use netplay_proto::room::{LinkId, News, Output, Room, RoomConfig, Topology};
use netplay_proto::{Key, Reason, Timestamp};

/// How long a link that nothing comes by is kept, as the connection under it does: between addresses, and through routers.
const GRACE: Duration = Duration::from_secs(8);
const LONG_GRACE: Duration = Duration::from_secs(15);

/// What happens at a moment.
#[derive(Debug)]
enum Thing {
    /// A dial comes through, or not: to the door, or to one with this key.
    Dialed {
        from: usize,
        link: LinkId,
        key: Option<Key>,
    },
    /// A control message arrives.
    Control { to: usize, link: LinkId, bytes: Vec<u8> },
    /// The end of a link is noticed.
    Gone { to: usize, link: LinkId, reason: Reason },
    /// The actor wants to be asked.
    Wake { to: usize },
    /// Two can reach each other again.
    Healed { pair: (usize, usize) },
}

/// One process with one room.
pub(crate) struct Actor {
    pub(crate) room: Room,
    pub(crate) is_alive: bool,
    pub(crate) key: Key,
    /// By the room's links, who is at the other end, and its name for the link.
    ends: BTreeMap<LinkId, (usize, LinkId)>,
    /// Until when what was sent by a link has arrived.
    arrived: BTreeMap<LinkId, Timestamp>,
    /// Links that were closed before they were made.
    given_up: BTreeSet<LinkId>,
    pub(crate) news: Vec<News>,
    /// Whom the game knows by them.
    known: BTreeSet<u32>,
}

/// All of them.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) random: Random,
    pub(crate) actors: Vec<Actor>,
    topology: Topology,
    grace: Duration,
    doors: Vec<usize>,
    cuts: BTreeSet<(usize, usize)>,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    things: BTreeMap<u64, Thing>,
    last: u64,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, topology: Topology) -> Self {
        Self {
            now: Timestamp::from_millis(1),
            random: Random::new(seed),
            actors: Vec::new(),
            topology,
            grace: GRACE,
            doors: Vec::new(),
            cuts: BTreeSet::new(),
            queue: BinaryHeap::new(),
            things: BTreeMap::new(),
            last: 0,
            steps: 0,
        }
    }

    /// The same, where a link that nothing comes by is kept longer.
    pub(crate) fn patient(seed: u64, topology: Topology) -> Self {
        Self {
            grace: LONG_GRACE,
            ..Self::new(seed, topology)
        }
    }

    pub(crate) fn add(&mut self, is_host: bool) -> usize {
        let number = self.actors.len();
        let key: Key = std::array::from_fn(|at| if at < 8 { number.to_le_bytes()[at] } else { 1 });
        let config = RoomConfig {
            key,
            name: format!("actor {number}"),
            contact: format!("sim://{number}"),
            topology: self.topology,
            max_members: 8,
            timeout: Duration::from_secs(30),
            silence: self.grace,
        };
        let room = if is_host {
            Room::host(config)
        } else {
            Room::join(self.now, config)
        };
        self.actors.push(Actor {
            room,
            is_alive: true,
            key,
            ends: BTreeMap::new(),
            arrived: BTreeMap::new(),
            given_up: BTreeSet::new(),
            news: Vec::new(),
            known: BTreeSet::new(),
        });
        self.work(number);
        number
    }

    /// Those who run and whose room is not over.
    pub(crate) fn active(&self) -> Vec<usize> {
        let is_active = |actor: &Actor| actor.is_alive && !actor.room.is_closed();
        (0..self.actors.len())
            .filter(|number| is_active(&self.actors[*number]))
            .collect()
    }

    /// Returns who is at the other end of a link, and its name for the link.
    pub(crate) fn end_of(&self, number: usize, link: LinkId) -> Option<(usize, LinkId)> {
        self.actors[number].ends.get(&link).copied()
    }

    pub(crate) fn leave(&mut self, number: usize) {
        self.actors[number].room.leave();
        self.work(number);
        assert!(self.actors[number].room.is_closed());
    }

    pub(crate) fn expel(&mut self, number: usize, order: u32, detail: &str) {
        let now = self.now;
        self.actors[number].room.expel(now, order, Reason::Closed, detail);
        self.work(number);
    }

    pub(crate) fn crash(&mut self, number: usize) {
        self.actors[number].is_alive = false;
        self.doors.retain(|other| *other != number);
        let ends: Vec<(usize, LinkId)> = std::mem::take(&mut self.actors[number].ends).into_values().collect();
        for (other, link) in ends {
            self.silence(other, link);
        }
    }

    /// Cuts two off from each other for some time.
    pub(crate) fn cut(&mut self, one: usize, other: usize, time: Duration) {
        let pair = (one.min(other), one.max(other));
        if one == other || !self.cuts.insert(pair) {
            return;
        }
        if time > self.grace {
            for (from, to) in [(one, other), (other, one)] {
                let links: Vec<LinkId> = self.actors[from]
                    .ends
                    .iter()
                    .filter(|(_, (end, _))| *end == to)
                    .map(|(link, _)| *link)
                    .collect();
                for link in links {
                    self.actors[from].ends.remove(&link);
                    self.silence(from, link);
                }
            }
        }
        self.at(self.now + time, Thing::Healed { pair });
    }

    fn silence(&mut self, to: usize, link: LinkId) {
        let at = self.now + self.grace + Duration::from_millis(self.random.below(1500));
        let reason = Reason::TimedOut;
        self.at(at, Thing::Gone { to, link, reason });
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    fn at(&mut self, at: Timestamp, thing: Thing) {
        self.last += 1;
        self.queue.push(Reverse((at, self.last)));
        self.things.insert(self.last, thing);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(5 + self.random.below(100))
    }

    /// Puts bytes straight in, as a member that writes what it likes does.
    pub(crate) fn forge(&mut self, from: usize, bytes: &[u8]) {
        let links: Vec<LinkId> = self.actors[from].ends.keys().copied().collect();
        for link in links {
            self.send(from, link, bytes.to_vec());
        }
    }

    fn send(&mut self, from: usize, link: LinkId, bytes: Vec<u8>) {
        let Some((to, link_there)) = self.actors[from].ends.get(&link).copied() else {
            return;
        };
        let at = self.arrival(from, link);
        let link = link_there;
        self.at(at, Thing::Control { to, link, bytes });
    }

    fn arrival(&mut self, from: usize, link: LinkId) -> Timestamp {
        let at = self.now + self.latency();
        let last = self.actors[from].arrived.entry(link).or_insert(at);
        *last = (*last + Duration::from_micros(1)).max(at);
        *last
    }

    /// Does what an actor's room wants.
    fn work(&mut self, number: usize) {
        loop {
            let now = self.now;
            if !self.actors[number].is_alive {
                return;
            }
            match self.actors[number].room.poll_output(now) {
                Output::Knock { link } => {
                    let at = now + self.latency();
                    let (from, key) = (number, None);
                    self.at(at, Thing::Dialed { from, link, key });
                }
                Output::Dial { link, key, .. } => {
                    let at = now + self.latency();
                    let (from, key) = (number, Some(key));
                    self.at(at, Thing::Dialed { from, link, key });
                }
                Output::Send { link, bytes } => self.send(number, link, bytes),
                Output::Close { link, reason } => {
                    if let Some((to, link_there)) = self.actors[number].ends.remove(&link) {
                        let at = self.arrival(number, link);
                        self.actors[to].ends.remove(&link_there);
                        let link = link_there;
                        self.at(at, Thing::Gone { to, link, reason });
                    } else {
                        self.actors[number].given_up.insert(link);
                    }
                }
                Output::OpenDoor => {
                    self.doors.retain(|other| *other != number);
                    self.doors.push(number);
                    self.actors[number].room.handle_door_open();
                }
                Output::CloseDoor => self.doors.retain(|other| *other != number),
                Output::News(news) => {
                    let actor = &mut self.actors[number];
                    match &news {
                        News::Joined { order, .. } => assert!(actor.known.insert(*order)),
                        News::Left { order, .. } => assert!(actor.known.remove(order)),
                        // The game cannot make anything of a host whom it does not know.
                        News::Host { order: Some(order) } => assert!(actor.known.contains(order), "{:?}", actor.news),
                        _ => {}
                    }
                    actor.news.push(news);
                }
                Output::Timeout(at) => {
                    if let Some(at) = at {
                        self.at(at.max(now + Duration::from_millis(1)), Thing::Wake { to: number });
                    }
                    return;
                }
            }
        }
    }

    /// Goes on for some time.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.steps += 1;
            self.now = at;
            if let Some(thing) = self.things.remove(&number) {
                self.happen(thing);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, thing: Thing) {
        let now = self.now;
        match thing {
            Thing::Wake { to } => self.work(to),
            Thing::Healed { pair } => {
                self.cuts.remove(&pair);
            }
            Thing::Control { to, link, bytes } => {
                if self.actors[to].is_alive {
                    self.actors[to].room.handle_control(now, link, &bytes);
                    self.work(to);
                }
            }
            Thing::Gone { to, link, reason } => {
                self.actors[to].ends.remove(&link);
                if self.actors[to].is_alive {
                    let reason = if reason == Reason::Closed {
                        Reason::Goodbye
                    } else {
                        reason
                    };
                    self.actors[to].room.handle_gone(now, link, reason, "");
                    self.work(to);
                }
            }
            Thing::Dialed { from, link, key } => self.dialed(from, link, key),
        }
    }

    fn dialed(&mut self, from: usize, link: LinkId, key: Option<Key>) {
        let now = self.now;
        if !self.actors[from].is_alive || self.actors[from].given_up.contains(&link) {
            return;
        }
        let is_there = |number: &usize| self.actors[*number].is_alive && !self.is_cut(from, *number) && *number != from;
        let to = match key {
            None => self.doors.iter().rev().copied().find(|number| is_there(number)),
            Some(key) => (0..self.actors.len()).find(|number| self.actors[*number].key == key && is_there(number)),
        };
        let Some(to) = to else {
            let reason = Reason::NoAnswer;
            self.at(now + Duration::from_secs(4), Thing::Gone { to: from, link, reason });
            return;
        };
        let (from_key, name) = (self.actors[from].key, format!("actor {from}"));
        let link_there = self.actors[to]
            .room
            .handle_incoming(now, key.is_none(), from_key, &name);
        self.actors[to].ends.insert(link_there, (from, link));
        self.actors[from].ends.insert(link, (to, link_there));
        self.work(to);
        if self.actors[from].is_alive && self.actors[from].ends.contains_key(&link) {
            self.actors[from].room.handle_connected(now, link);
            self.work(from);
        }
    }
}
