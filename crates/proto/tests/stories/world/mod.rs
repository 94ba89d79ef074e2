//! Several endpoints on a bad network in virtual time, with the promises of the protocol checked at every event.
//!
//! A [`World`] knows the public face of `netplay_proto` and `netsim`; it must not know how either works inside. A *side* is one
//! endpoint at one node of the network, an [`End`] is one connection as one side sees it. Whatever a test is about, the world
//! checks what must always hold, see [`Ledger`](crate::world::ledger::Ledger), and that no endpoint sends a datagram of more
//! than 1200 bytes or asks to be woken at once again and again.
//!
//! When a test fails, the world prints its seed and the command that repeats it.

pub(crate) mod ledger;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netplay_netsim::{Conditions, Network, Node, Random};
use netplay_proto::Payload;
use netplay_proto::{
    Accept, Address, Connect, ConnectionId, Delivery, Endpoint, EndpointConfig, Event, Identity, Key, Kind, Limits,
    Message, Output, Path, SendError,
};

use ledger::Ledger;

/// Names a side of a world.
pub(crate) type Side = usize;

/// One connection as one side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) id: ConnectionId,
}

/// An event that a side took out, and when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happening {
    pub(crate) at: Duration,
    pub(crate) end: End,
    pub(crate) event: Event,
    /// How long the message was on the way, for those that are one.
    pub(crate) delay: Option<Duration>,
}

/// A datagram on its way, as a wiretap sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) at: Duration,
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) bytes: Payload,
}

/// What a tamperer does to a datagram before the network sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Double,
    /// It enters the network this much later.
    Delay(Duration),
}

/// A tamperer decides the fate of every datagram.
pub(crate) type Tamper = Box<dyn FnMut(&Datagram) -> Fate>;

struct Member {
    /// None once the process is gone.
    endpoint: Option<Endpoint>,
    node: Node,
    identity: Identity,
    takes_events: bool,
    /// Whether its process runs. Meanwhile datagrams wait in the buffer of its socket, and timers pass.
    is_driven: bool,
    buffer: Vec<(Node, Payload)>,
    timeout: Option<Duration>,
    /// How often in a row it wanted to be polled again at once.
    due_polls: u32,
}

/// Datagrams that wait in the buffer of a socket which nobody reads; what comes then is lost.
const SOCKET_BUFFER: usize = 256;

/// Several endpoints on a bad network in virtual time.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) seed: u64,
    /// Whether a failure is told by somebody else.
    pub(crate) is_quiet: bool,
    pub(crate) network: Network<Payload>,
    pub(crate) random: Random,
    /// Every event taken out so far, oldest first.
    pub(crate) log: Vec<Happening>,
    /// Every datagram sent so far, if a tap is in place.
    pub(crate) tap: Option<Vec<Datagram>>,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) ledger: Ledger,
    members: Vec<Member>,
    at_node: BTreeMap<Node, Side>,
    /// Sides with input not yet followed by `poll_output`.
    dirty: BTreeSet<Side>,
    wake_ups: BTreeSet<(Duration, Side)>,
    /// Datagrams that a tamperer holds back, by when they enter the network.
    delayed: BTreeMap<(Duration, u64), Datagram>,
    datagrams: u64,
    datagram_bytes: u64,
    /// How often sides were polled since time last moved, to find one that spins.
    polls_at_once: u32,
}

impl World {
    /// Makes a world from the seed in `NETPLAY_SEED`, or 1.
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self::with_seed(conditions, seed_from_environment().unwrap_or(1))
    }

    /// Makes a world from a seed.
    pub(crate) fn with_seed(conditions: Conditions, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            now: Duration::ZERO,
            seed,
            is_quiet: false,
            network: Network::new(conditions, random.next_u64()),
            random,
            log: Vec::new(),
            tap: None,
            tamper: None,
            ledger: Ledger::default(),
            members: Vec::new(),
            at_node: BTreeMap::new(),
            dirty: BTreeSet::new(),
            wake_ups: BTreeSet::new(),
            delayed: BTreeMap::new(),
            datagrams: 0,
            datagram_bytes: 0,
            polls_at_once: 0,
        }
    }

    // --- Who is there.

    /// Adds a side that accepts up to 100 peers, with default limits.
    pub(crate) fn listen(&mut self) -> Side {
        self.listen_with(terms(), Limits::default())
    }

    /// Adds a side that accepts on these terms.
    pub(crate) fn listen_with(&mut self, accept: Accept, limits: Limits) -> Side {
        let node = self.members.len() as Node;
        self.add_side(node, Some(accept), limits)
    }

    /// Adds a side that only calls.
    pub(crate) fn caller(&mut self) -> Side {
        self.caller_with(Limits::default())
    }

    /// Adds a side that only calls, with these limits.
    pub(crate) fn caller_with(&mut self, limits: Limits) -> Side {
        let node = self.members.len() as Node;
        self.add_side(node, None, limits)
    }

    /// Adds a side at a node, in the place of one that was there before. A node has its key for life.
    pub(crate) fn add_side(&mut self, node: Node, accept: Option<Accept>, limits: Limits) -> Side {
        let side = self.members.len();
        let identity = identity(node);
        let config = EndpointConfig {
            identity: identity.clone(),
            accept,
            limits,
        };
        let endpoint = Endpoint::new(config, self.random_seed());
        self.members.push(Member {
            endpoint: Some(endpoint),
            node,
            identity,
            takes_events: true,
            is_driven: true,
            buffer: Vec::new(),
            timeout: None,
            due_polls: 0,
        });
        self.at_node.insert(node, side);
        self.dirty.insert(side);
        side
    }

    /// Ends a side as a crash does: no goodbye, and nobody there afterwards.
    pub(crate) fn kill(&mut self, side: Side) {
        self.members[side].endpoint = None;
        self.at_node.remove(&self.members[side].node);
    }

    /// Moves a side to another node, as a phone that changes networks.
    pub(crate) fn move_to(&mut self, side: Side, node: Node) {
        let old = std::mem::replace(&mut self.members[side].node, node);
        self.at_node.remove(&old);
        self.at_node.insert(node, side);
    }

    /// Returns the node of a side.
    pub(crate) fn node(&self, side: Side) -> Node {
        self.members[side].node
    }

    /// Returns the public key of a side.
    pub(crate) fn public_key(&self, side: Side) -> Key {
        self.members[side].identity.public_key()
    }

    /// Returns the endpoint of a side that has not been killed.
    pub(crate) fn endpoint(&mut self, side: Side) -> &mut Endpoint {
        self.dirty.insert(side);
        self.members[side].endpoint.as_mut().expect("the side is alive")
    }

    /// Lets the game of a side take its events, or not: a loading screen. The endpoint itself goes on.
    pub(crate) fn set_takes_events(&mut self, side: Side, takes_events: bool) {
        self.members[side].takes_events = takes_events;
        self.dirty.insert(side);
    }

    /// Stops the whole process of a side, or lets it go on: a laptop that sleeps. What came meanwhile is read then, before the
    /// timers that passed are looked at or after.
    pub(crate) fn set_driven(&mut self, side: Side, is_driven: bool, are_timers_first: bool) {
        self.members[side].is_driven = is_driven;
        if !is_driven {
            return;
        }
        if are_timers_first {
            self.poll_side(side);
        }
        let now = self.timestamp();
        for (from, bytes) in std::mem::take(&mut self.members[side].buffer) {
            if let Some(endpoint) = &mut self.members[side].endpoint {
                endpoint.handle_datagram(now, path_to(from), &bytes);
            }
        }
        self.dirty.insert(side);
    }

    // --- What they do.

    /// Calls one side from another with default terms.
    pub(crate) fn call(&mut self, from: Side, to: Side) -> End {
        let options = Connect {
            name: format!("side {from}"),
            ..self.call_options(to)
        };
        self.call_with(from, options)
    }

    /// Returns the default terms for calling a side.
    pub(crate) fn call_options(&self, to: Side) -> Connect {
        Connect {
            name: "Ada".into(),
            version: "1".into(),
            paths: vec![path_to(self.members[to].node)],
            timeout: Duration::from_secs(20),
            ..Connect::default()
        }
    }

    /// Calls on these terms.
    pub(crate) fn call_with(&mut self, from: Side, options: Connect) -> End {
        let now = self.timestamp();
        let name = options.name.clone();
        let id = self.endpoint(from).connect(now, options);
        let end = End { side: from, id };
        self.ledger.handle_call(end, self.members[from].node, name);
        end
    }

    /// Calls one side from another and runs until both know it. Returns both ends, the caller's first.
    pub(crate) fn connect(&mut self, from: Side, to: Side) -> (End, End) {
        let end = self.call(from, to);
        self.run_until_connected(end);
        (end, self.other(end))
    }

    /// Runs until both sides know of a connection.
    pub(crate) fn run_until_connected(&mut self, end: End) {
        let limit = Duration::from_secs(25);
        self.run_until(limit, |world| {
            world.ledger.other(end).is_some() && world.is_connected(end)
        });
    }

    /// Sends a message that must be accepted, and returns its sequence id.
    pub(crate) fn send(&mut self, end: End, channel: u8, delivery: Delivery, data: impl Into<Payload>) -> u64 {
        self.try_send(end, channel, delivery, data)
            .unwrap_or_else(|error| panic!("{end:?} cannot send: {error}"))
    }

    /// Sends a message and returns its sequence id, or why it was not accepted.
    pub(crate) fn try_send(
        &mut self,
        end: End,
        channel: u8,
        delivery: Delivery,
        data: impl Into<Payload>,
    ) -> Result<u64, SendError> {
        let now = self.timestamp();
        let message = Message {
            channel,
            delivery,
            kind: Kind::BYTES,
            data: data.into(),
        };
        let sequence_id = self.endpoint(end.side).send(now, end.id, &message)?;
        if let Some(stats) = self.endpoint(end.side).connection_stats(end.id) {
            self.ledger.handle_restarts(end, stats.restarts);
        }
        self.ledger.handle_send(self.now, end, &message, sequence_id);
        Ok(sequence_id)
    }

    /// Closes a connection from one end.
    pub(crate) fn close(&mut self, end: End, detail: &str) {
        let now = self.timestamp();
        self.endpoint(end.side).close(now, end.id, detail);
    }

    /// Puts a datagram into a side's hands, as if it had come from this node.
    pub(crate) fn inject(&mut self, to: Side, from: Node, bytes: &[u8]) {
        let now = self.timestamp();
        self.endpoint(to).handle_datagram(now, path_to(from), bytes);
        self.settle();
    }

    // --- How time passes.

    /// Runs for some time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let deadline = self.now + time;
        while self.step(deadline) {}
        self.now = deadline;
        self.polls_at_once = 0;
    }

    /// Runs until something is true; it must become true within the limit.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, mut is_done: impl FnMut(&mut Self) -> bool) {
        let deadline = self.now + limit;
        self.settle();
        while !is_done(self) {
            assert!(
                self.step(deadline),
                "not within {limit:?}; what happened:\n{}",
                self.story()
            );
        }
    }

    /// Runs tick by tick for some time, doing something at the start of each.
    pub(crate) fn play(&mut self, time: Duration, tick: Duration, mut act: impl FnMut(&mut Self, u64)) {
        let ticks = time.as_nanos() / tick.as_nanos();
        for number in 0..ticks as u64 {
            act(self, number);
            self.run_for(tick);
        }
    }

    /// Runs until every reliable message sent so far has arrived.
    #[track_caller]
    pub(crate) fn run_until_delivered(&mut self, limit: Duration) {
        let deadline = self.now + limit;
        self.settle();
        while self.ledger.undelivered() > 0 {
            let undelivered = self.ledger.undelivered();
            assert!(
                self.step(deadline),
                "{undelivered} not delivered within {limit:?}:\n{}",
                self.story()
            );
        }
    }

    /// Lets the next thing happen, if it happens by the deadline.
    fn step(&mut self, deadline: Duration) -> bool {
        self.settle();
        let wake_up = self.wake_ups.first().map(|&(at, _)| at);
        let delayed = self.delayed.keys().next().map(|&(at, _)| at);
        let Some(at) = [self.network.next_at(), wake_up, delayed].into_iter().flatten().min() else {
            return false;
        };
        if at > deadline {
            return false;
        }
        if at > self.now {
            self.now = at;
            self.polls_at_once = 0;
        }
        let now = self.timestamp();
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let datagram = entry.remove();
            self.network.send(
                self.now,
                datagram.from,
                datagram.to,
                datagram.bytes.len(),
                datagram.bytes,
            );
        }
        while let Some((from, to, bytes)) = self.network.receive(self.now) {
            // To a node where nobody is, it goes unheard.
            if let Some(&side) = self.at_node.get(&to) {
                if self.members[side].is_driven {
                    self.endpoint(side).handle_datagram(now, path_to(from), &bytes);
                } else if self.members[side].buffer.len() < SOCKET_BUFFER {
                    self.members[side].buffer.push((from, bytes));
                }
            }
        }
        while let Some((_, side)) = self.wake_ups.first().copied().filter(|&(at, _)| at <= self.now) {
            self.wake_ups.pop_first();
            self.members[side].timeout = None;
            self.dirty.insert(side);
        }
        self.settle();
        true
    }

    /// Polls every side that had an input until it has nothing more to say.
    pub(crate) fn settle(&mut self) {
        while let Some(side) = self.dirty.pop_first() {
            self.polls_at_once += 1;
            assert!(
                self.polls_at_once < 100_000,
                "side {side} asks again and again to be polled at {:?}",
                self.now
            );
            self.poll_side(side);
        }
    }

    fn poll_side(&mut self, side: Side) {
        if !self.members[side].is_driven {
            return;
        }
        let now = self.timestamp();
        let from = self.members[side].node;
        if let Some(old) = self.members[side].timeout.take() {
            self.wake_ups.remove(&(old, side));
        }
        let Some(mut endpoint) = self.members[side].endpoint.take() else {
            return;
        };
        let timeout = loop {
            let timeout = loop {
                match endpoint.poll_output(now) {
                    Output::Datagram { path, bytes } => {
                        let Address::Virtual(to) = path.remote else {
                            panic!("no such path: {path:?}")
                        };
                        assert!(bytes.len() <= 1200, "a datagram of {} bytes", bytes.len());
                        let bytes = Payload::copy_from_slice(bytes);
                        self.transmit(Datagram {
                            at: self.now,
                            from,
                            to,
                            bytes,
                        });
                    }
                    Output::Dial { .. } => panic!("no call of this world asks for a way"),
                    Output::Timeout(when) => break when,
                }
            };
            if !self.members[side].takes_events || endpoint.events_waiting() == 0 {
                break timeout;
            }
            while let Some((id, event)) = endpoint.poll_event() {
                let end = End { side, id };
                let delay = self.ledger.handle_event(self.now, end, &event);
                self.log.push(Happening {
                    at: self.now,
                    end,
                    event,
                    delay,
                });
            }
            assert_eq!(endpoint.events_waiting(), 0);
        };
        self.members[side].endpoint = Some(endpoint);
        if let Some(when) = timeout {
            // News may make a timer due that was not: then the next poll must do something about it.
            let is_due = when <= now;
            let due_polls = &mut self.members[side].due_polls;
            *due_polls = if is_due { *due_polls + 1 } else { 0 };
            assert!(
                *due_polls < 4,
                "side {side} wants to be woken at {when:?}, now, and does nothing then"
            );
            let when = Duration::from_micros(when.as_micros()).max(self.now);
            self.members[side].timeout = Some(when);
            self.wake_ups.insert((when, side));
        }
    }

    fn transmit(&mut self, datagram: Datagram) {
        self.datagrams += 1;
        self.datagram_bytes += datagram.bytes.len() as u64;
        if let Some(tap) = &mut self.tap {
            tap.push(datagram.clone());
        }
        let fate = self.tamper.as_mut().map_or(Fate::Pass, |tamper| tamper(&datagram));
        let Datagram { from, to, bytes, .. } = datagram.clone();
        match fate {
            Fate::Drop => {}
            Fate::Delay(time) => {
                self.delayed.insert((self.now + time, self.datagrams), datagram);
            }
            Fate::Pass => {
                self.network.send(self.now, from, to, bytes.len(), bytes);
            }
            Fate::Double => {
                self.network.send(self.now, from, to, bytes.len(), bytes.clone());
                self.network.send(self.now, from, to, bytes.len(), bytes);
            }
        }
    }

    // --- Chance.

    /// Returns 32 random bytes.
    pub(crate) fn random_seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes
            .chunks_exact_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.random.next_u64().to_le_bytes()));
        bytes
    }

    /// Returns that many random bytes.
    pub(crate) fn random_bytes(&mut self, count: usize) -> Payload {
        let words = std::iter::repeat_with(|| self.random.next_u64().to_le_bytes());
        words.flatten().take(count).collect::<Vec<_>>().into()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_quiet {
            let thread = std::thread::current();
            let (seed, file, test) = (self.seed, env!("CARGO_CRATE_NAME"), thread.name().unwrap_or_default());
            eprintln!("failed at {:?} with seed {seed}; this repeats it:", self.now);
            eprintln!("  NETPLAY_SEED={seed} cargo test -p netplay-proto --test {file} -- --exact {test}");
        }
    }
}

/// Returns the seed in the environment variable `NETPLAY_SEED`, if there is one.
pub(crate) fn seed_from_environment() -> Option<u64> {
    let seed = std::env::var("NETPLAY_SEED").ok()?;
    Some(
        seed.parse()
            .unwrap_or_else(|_| panic!("NETPLAY_SEED must be a whole number, not {seed:?}")),
    )
}

/// Returns the seeds to try: the one in the environment, or this many.
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let (first, count) = seed_from_environment().map_or((1, count), |seed| (seed, 1));
    (0..count).map(move |number| first + number)
}

/// Returns terms that accept up to 100 peers of version "1" with no password.
pub(crate) fn terms() -> Accept {
    Accept {
        name: "the server".into(),
        version: "1".into(),
        max_peers: 100,
        ..Accept::default()
    }
}

/// Returns the key pair of a node.
pub(crate) fn identity(node: Node) -> Identity {
    let mut random = Random::new(node ^ 0x6b65_7973);
    Identity::from_secret(std::array::from_fn(|_| random.next_u64() as u8))
}

/// Returns the path to a node.
pub(crate) fn path_to(node: Node) -> Path {
    Path {
        socket: 0,
        remote: Address::Virtual(node),
    }
}
