//! The thread that announces games and looks for them. It knows when to do what; how is in `multicast` and `neighbours`.
//!
//! It runs from the first `advertise` or `find` until the network is closed, and holds the network's lock for moments only.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use netplay_proto::{Key, Reason};

use super::Scope;
use super::game::{Game, Notice};
use super::multicast::Multicast;
use super::neighbours::Neighbours;
use super::sightings::FinderId;
use crate::keys::psk_from_password;
use crate::shared::Shared;
use crate::types::{ListenerId, PeerId};

/// How often to look while somebody looks for games.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often to look whether players have come or gone.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// How long closing waits for the goodbyes.
const GOODBYE: Duration = Duration::from_millis(400);

/// How long a call may take at least, once its game is found.
const LEAST_CALL: Duration = Duration::from_secs(2);

/// How long one without an end may.
const LONGEST_CALL: Duration = Duration::from_secs(365 * 24 * 3600);

/// A game of this network.
pub(crate) struct Advert {
    pub(crate) notice: Notice,
    /// What its sockets are bound to.
    pub(crate) bound: Vec<SocketAddr>,
}

/// A call of a game that is still to be found.
pub(crate) struct Call {
    pub(crate) peer: PeerId,
    pub(crate) app: String,
    /// Its title; None for any.
    pub(crate) title: Option<String>,
    /// The key that it must have; None for any.
    pub(crate) key: Option<Key>,
    pub(crate) password: Option<String>,
    /// When to give up; None for never.
    pub(crate) until: Option<Instant>,
}

/// What the thread is told.
pub(crate) enum Command {
    Advertise(ListenerId, Box<Advert>),
    Retitle(ListenerId, String),
    Withdraw(ListenerId),
    Find(FinderId, String),
    Stop(FinderId),
    Call(Box<Call>),
}

/// The handle of the thread, which ends when this is dropped.
pub(crate) struct Scout {
    commands: Option<Sender<Command>>,
    waker: Waker,
    done: Receiver<()>,
}

impl Scout {
    pub(crate) fn start(shared: &Arc<Shared>, scope: Scope) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (commands, received) = mpsc::channel();
        let (done_sender, done) = mpsc::channel();
        let mut work = Work {
            shared: Arc::downgrade(shared),
            poll,
            commands: received,
            adverts: BTreeMap::new(),
            finders: BTreeMap::new(),
            calls: Vec::new(),
            neighbours: Neighbours::new(),
            multicast: (scope == Scope::Network).then(Multicast::default),
        };
        std::thread::Builder::new()
            .name("netplay-lan".to_owned())
            .spawn(move || {
                let _done = done_sender; // dropped at the end, however it comes
                work.run();
            })?;
        Ok(Self {
            commands: Some(commands),
            waker,
            done,
        })
    }

    pub(crate) fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.waker.wake();
        let _ = self.done.recv_timeout(GOODBYE);
    }
}

const WAKE: Token = Token(0);
const ASKING: Token = Token(1);
const ANSWERING: Token = Token(2);

/// What the thread has.
struct Work {
    shared: Weak<Shared>,
    poll: Poll,
    commands: Receiver<Command>,
    adverts: BTreeMap<ListenerId, Advert>,
    finders: BTreeMap<FinderId, String>,
    calls: Vec<Call>,
    neighbours: Neighbours,
    multicast: Option<Multicast>,
}

impl Work {
    fn run(&mut self) {
        let mut events = Events::with_capacity(8);
        while self.take_commands() {
            self.count_players();
            let refused = self.look();
            self.announce();
            self.tell(refused);
            let wait = match (self.is_looking(), self.adverts.is_empty()) {
                (true, _) => Some(LOOK_EVERY),
                (false, false) => Some(COUNT_EVERY),
                (false, true) => None,
            };
            if self.poll.poll(&mut events, wait).is_err() {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        if let Some(multicast) = &mut self.multicast {
            multicast.close();
        }
    }

    /// Returns false when the handle is gone.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Advertise(id, advert) => _ = self.adverts.insert(id, *advert),
            Command::Retitle(id, title) => {
                if let Some(advert) = self.adverts.get_mut(&id) {
                    advert.notice.title = title;
                }
            }
            Command::Withdraw(id) => self.withdraw(id),
            Command::Find(id, app) => _ = self.finders.insert(id, app),
            Command::Stop(id) => _ = self.finders.remove(&id),
            Command::Call(call) => self.calls.push(*call),
        }
    }

    fn withdraw(&mut self, id: ListenerId) {
        self.adverts.remove(&id);
        if let Some(multicast) = &mut self.multicast {
            multicast.withdraw(id);
        }
    }

    fn is_looking(&self) -> bool {
        !self.finders.is_empty() || !self.calls.is_empty()
    }

    fn count_players(&mut self) {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.adverts.is_empty()) else {
            return;
        };
        let driver = shared.lock_for_thread();
        for (id, advert) in &mut self.adverts {
            if let Some(players) = driver.players(*id) {
                advert.notice.players = u32::try_from(players).unwrap_or(u32::MAX);
            }
        }
    }

    fn announce(&mut self) {
        self.neighbours
            .answer(!self.adverts.is_empty(), self.poll.registry(), ANSWERING);
        let notices: Vec<(Notice, Vec<SocketAddr>)> = self
            .adverts
            .values()
            .map(|advert| {
                (
                    advert.notice.clone(),
                    advert.bound.iter().map(|address| within(*address)).collect(),
                )
            })
            .collect();
        self.neighbours.tell(&notices);
        if let Some(multicast) = &mut self.multicast {
            let now = Instant::now();
            for (id, advert) in &self.adverts {
                multicast.announce(now, *id, advert);
            }
        }
    }

    /// Returns how many answers could not be used.
    fn look(&mut self) -> u64 {
        let (is_looking, now) = (self.is_looking(), Instant::now());
        let is_wanted = |app: &str| {
            self.finders.values().any(|wanted| wanted == app) || self.calls.iter().any(|call| call.app == app)
        };
        if let Err(error) = self.neighbours.ask(is_looking, self.poll.registry(), ASKING) {
            log::warn!("games on this machine cannot be looked for: {error}");
        }
        let mut refused = self.neighbours.look(now, is_wanted);
        if let Some(multicast) = &mut self.multicast {
            multicast.look(is_looking);
            refused += multicast.work(now, is_wanted);
        }
        refused
    }

    /// Tells the finders what they see, and lets the calls begin whose game is found.
    fn tell(&mut self, mut refused: u64) {
        let Some(shared) = self.shared.upgrade().filter(|_| self.is_looking() || refused > 0) else {
            return;
        };
        let far = self.multicast.iter().flat_map(Multicast::games);
        let games = merged(self.neighbours.games(), far, &mut refused);
        {
            let mut driver = shared.lock_for_thread();
            driver.sightings.refused += refused;
            let before = driver.sightings.waiting();
            for (finder, app) in &self.finders {
                let seen = games.values().filter(|game| game.app == *app);
                driver.sightings.see(*finder, seen.cloned());
            }
            shared.publish(&driver);
            let is_news = driver.sightings.waiting() > before;
            drop(driver);
            if is_news {
                shared.rouse();
            }
        }
        let now = Instant::now();
        self.calls.retain(|call| {
            let Some(game) = call.choose(games.values()) else {
                return call.until.is_none_or(|until| until > now) || give_up(&shared, call);
            };
            begin(&shared, call, game, now);
            false
        });
    }
}

impl Call {
    /// Returns the game that is meant, one with a free place rather than one without.
    fn choose<'a>(&self, games: impl Iterator<Item = &'a Game>) -> Option<&'a Game> {
        let is_meant = |game: &&Game| {
            game.app == self.app
                && self.title.as_ref().is_none_or(|title| *title == game.title)
                && self.key.is_none_or(|key| game.key == Some(key))
                && !game.callable().is_empty()
        };
        games
            .filter(is_meant)
            .min_by_key(|game| game.max_peers > 0 && game.players >= game.max_peers)
    }
}

fn begin(shared: &Arc<Shared>, call: &Call, game: &Game, now: Instant) {
    let psk = call.password.as_deref().map(psk_from_password);
    let left = call.until.map_or(LONGEST_CALL, |until| {
        until.saturating_duration_since(now).max(LEAST_CALL)
    });
    let mut driver = shared.lock_for_thread();
    driver.game_found(shared.now(), call.peer, game, left, psk);
    shared.publish(&driver);
    drop(driver);
    shared.rouse();
}

fn give_up(shared: &Arc<Shared>, call: &Call) -> bool {
    let title = call
        .title
        .as_ref()
        .map_or_else(String::new, |title| format!(" with the title {title:?}"));
    let detail = format!("no game of {:?}{title} was seen on the local network", call.app);
    let mut driver = shared.lock_for_thread();
    driver.abort_peer(shared.now(), call.peer, Reason::NoGame, &detail);
    shared.publish(&driver);
    drop(driver);
    shared.rouse();
    false
}

/// Returns every game once, with all its addresses. Of two that claim one id, the nearer is believed.
fn merged<'a>(
    near: impl Iterator<Item = &'a Game>,
    far: impl Iterator<Item = &'a Game>,
    refused: &mut u64,
) -> BTreeMap<String, Game> {
    let mut games: BTreeMap<String, Game> = BTreeMap::new();
    for game in near.chain(far) {
        match games.get_mut(&game.id) {
            None => _ = games.insert(game.id.clone(), game.clone()),
            Some(known) if known.key == game.key => {
                for address in &game.addresses {
                    if !known.addresses.contains(address) && known.addresses.len() < super::game::MAX_ADDRESSES {
                        known.addresses.push(*address);
                    }
                }
            }
            Some(_) => *refused += 1,
        }
    }
    games
}

/// Returns where a socket is reached from inside the machine.
fn within(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn game(id: &str, key: Option<Key>, address: &str) -> Game {
        Game {
            id: id.to_owned(),
            app: "pong".to_owned(),
            title: "Ada's table".to_owned(),
            players: 0,
            max_peers: 2,
            needs_password: false,
            transports: Vec::new(),
            key,
            host: "ada".to_owned(),
            addresses: vec![address.parse().unwrap()],
        }
    }

    #[test]
    fn a_game_seen_in_two_ways_is_one_and_an_impostor_none() {
        let near = game("a", Some([1; 32]), "127.0.0.1:5");
        let far = [
            game("a", Some([1; 32]), "192.0.2.1:5"),
            game("a", Some([2; 32]), "192.0.2.66:5"),
            game("b", None, "192.0.2.2:5"),
        ];
        let mut refused = 0;
        let games = merged([&near].into_iter(), far.iter(), &mut refused);
        assert_eq!((games.len(), refused), (2, 1));
        let addresses: Vec<String> = games["a"].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:5", "192.0.2.1:5"]);
    }

    #[test]
    fn a_call_takes_the_game_that_is_meant_and_has_room() {
        let mut games = [
            game("a", Some([1; 32]), "192.0.2.1:5"),
            game("b", Some([2; 32]), "192.0.2.2:5"),
        ];
        games[0].players = 2;
        games[1].title = "Bob's table".to_owned();
        let call = |title: Option<&str>, key| Call {
            peer: PeerId(1),
            app: "pong".to_owned(),
            title: title.map(str::to_owned),
            key,
            password: None,
            until: None,
        };
        let chosen = |call: &Call| call.choose(games.iter()).map(|game| game.id.clone());
        assert_eq!(chosen(&call(None, None)).as_deref(), Some("b"));
        assert_eq!(chosen(&call(Some("Ada's table"), None)).as_deref(), Some("a"));
        assert_eq!(chosen(&call(None, Some([1; 32]))).as_deref(), Some("a"));
        assert_eq!(chosen(&call(Some("Eve's table"), None)), None);
    }
}
