//! The handle a game holds: everything it can ask of its network. It must not know Python.

use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netplay_proto::room::LinkId;
use netplay_proto::{Accept, Ban, Connect, Key, Message, Reason, Transport};
use tokio::runtime::Handle;

use crate::call::{Origin, Remote};
use crate::driver::Driver;
use crate::error::{Error, ListenError, ListenErrorKind, SendError, UrlError};
use crate::foreign::courier::Courier;
use crate::interfaces::reachable_addresses;
use crate::keys::{generate_key, psk_from_password};
use crate::lan::{self, Advert, Advertise, FinderId, Scope, Scout, Sighting};
use crate::local::LocalPort;
use crate::p2p::{self, Contact, Port, Relays, Terms};
use crate::places;
use crate::resolve::{self, Lookup, known_place};
use crate::rooms::{MAX_APP_LEN, Role, RoomId, RoomInfo, RoomOptions, Work};
use crate::shared::Shared;
use crate::socket::{Kinds, Socket, Tcp, bind_listener};
use crate::stream::Terms as StreamTerms;
use crate::streams::Streams;
use crate::tls::ServerTls;
use crate::types::{
    ConnectOptions, ListenOptions, ListenerId, ListenerInfo, ListenerStats, PeerEvent, PeerId, PeerStats, Target,
};
use crate::url::{Host, Place, Scheme, Url};
use crate::{foreign, thread};

/// How long `listen` waits for a port that a listener of the same network is just letting go of.
const PORT_PATIENCE: Duration = Duration::from_millis(500);

/// All of one game's connections and listeners, and the thread that keeps them alive while the game is busy.
///
/// A cheap handle: clones mean the same network. Every method may be called from any thread. None blocks, except those
/// that say so. The network closes without lingering when the last handle is dropped.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

/// Closes the network when the last handle is dropped; the I/O thread holds only what is inside.
struct Inner {
    shared: Arc<Shared>,
    /// Where work that blocks can be given to, once the I/O thread runs.
    runtime: Mutex<Option<Handle>>,
    /// Where games are looked for and announced, and by whom once somebody does.
    scope: Scope,
    scout: Mutex<Option<Scout>>,
    /// One of those that the game holds.
    is_owner: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_owner {
            self.stop_scout();
            self.shared.close(Duration::ZERO);
        }
    }
}

impl Inner {
    /// Says goodbye on the local network.
    fn stop_scout(&self) {
        let scout = self.scout.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(scout);
    }
}

impl Network {
    /// Makes a network with nothing in it. Starts no thread and opens no socket yet.
    pub fn new() -> Self {
        Self::within(Scope::Network)
    }

    /// Makes one that looks for games, and announces them, no farther than this.
    pub fn within(scope: Scope) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared: Shared::new(),
                runtime: Mutex::default(),
                scope,
                scout: Mutex::default(),
                is_owner: true,
            }),
        }
    }

    /// Opens a listener. When this returns, peers can connect.
    ///
    /// Blocks for what the operating system needs to open sockets, about 20 ms for a password, and longer only if the
    /// host is a name that has to be resolved.
    pub fn listen(&self, url: &str, options: ListenOptions) -> Result<ListenerInfo, Error> {
        self.listen_for(url, options, None)
    }

    /// Opens a listener for the game, or for a room with the key that its members know.
    pub(crate) fn listen_for(
        &self,
        url: &str,
        options: ListenOptions,
        room: Option<(RoomId, Role, Key)>,
    ) -> Result<ListenerInfo, Error> {
        let parsed = Url::parse(url)?;
        check_names(&options.name, &options.version)?;
        if parsed.pinned_key.is_some() || parsed.pinned_certificate.is_some() {
            let problem = "#k= and #cert= are for those who connect; a listener's key is its identity".to_owned();
            return Err(UrlError {
                url: url.to_owned(),
                part: "fragment",
                problem,
            }
            .into());
        }
        if options.max_peers == 0 {
            return Err(Error::Option("max_peers is 0, it must be at least 1".to_owned()));
        }
        if let Some(advertise) = &options.advertise {
            check_advertise(url, &parsed, advertise)?;
        }
        if parsed.scheme.is_foreign() {
            return self.listen_foreign(url, &parsed, &options);
        }
        let transports = listen_transports(url, &parsed, options.transports.as_deref())?;
        let tls = match &options.certificate {
            _ if !transports.contains(&Transport::Wss) => None,
            Some((certificate, key)) => Some(ServerTls::from_files(certificate, key)),
            None => Some(ServerTls::self_signed(&options.identity)),
        };
        let tls = tls.transpose().map_err(Error::Option)?;
        let psk = match room {
            Some((_, _, psk)) => psk,
            None => options.password.as_deref().map(psk_from_password).unwrap_or_default(),
        };
        check_relay(&parsed, options.relay.as_deref())?;
        let own_id = options.p2p_secret;
        let own_id = own_id.map_or_else(generate_key, Ok)?;
        let notice = options.advertise.as_ref().map(|advertise| {
            let titles = [&advertise.title, &options.name];
            let title = titles.into_iter().find(|title| lan::check_title(title).is_ok());
            lan::Notice {
                id: String::new(),
                app: advertise.app.clone(),
                title: title.cloned().unwrap_or_else(lan::host_name),
                players: 0,
                max_peers: u32::try_from(options.max_peers)
                    .unwrap_or(u32::MAX)
                    .min(lan::MAX_PLAYERS),
                needs_password: options.password.is_some(),
                transports: Vec::new(),
                key: Some(options.identity.public_key()),
            }
        });
        let accept = Accept {
            name: options.name,
            version: options.version,
            psk,
            max_peers: options.max_peers,
        };
        self.start_thread()?;
        let doors = match &parsed.place {
            Place::P2p { .. } => self.open_p2p_door(url, &parsed, own_id, options.relay.as_deref())?,
            _ => self.open_doors(url, &parsed, &transports, options.transports.is_some())?,
        };
        let terms = StreamTerms {
            has_tcp: doors.transports.contains(&Transport::Tcp),
            has_ws: doors.transports.contains(&Transport::Ws),
            tls: tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        };
        let streams = match doors.listeners {
            listeners if listeners.is_empty() => None,
            listeners => Some(Streams::new(listeners, terms)?),
        };
        let mut driver = self.open_driver()?;
        let id = driver.listen(
            room.map(|(room, role, _)| (room, role)),
            accept,
            options.identity,
            options.limits,
            parsed.simulation.clone(),
            doors.sockets,
            streams,
        )?;
        drop(driver);
        self.inner.shared.rouse();
        let title = notice.as_ref().map(|notice| notice.title.clone());
        if let Some(mut notice) = notice {
            notice.id = lan::new_id()?;
            notice.transports.clone_from(&doors.transports);
            let bound = doors.bound;
            self.tell_scout(lan::Command::Advertise(id, Box::new(Advert { notice, bound })))?;
        }
        Ok(ListenerInfo {
            id,
            title,
            url: match &parsed.place {
                Place::P2p { .. } => doors.addresses.concat(),
                _ => parsed.with_port(doors.port),
            },
            addresses: doors.addresses,
            certificate: tls
                .filter(|_| doors.transports.contains(&Transport::Wss))
                .map(|tls| tls.fingerprint),
            transports: doors.transports,
        })
    }

    /// Starts to call a remote side and returns at once; the outcome is an event.
    pub fn connect(&self, url: &str, options: ConnectOptions) -> Result<PeerId, Error> {
        self.connect_for(url, options, None)
    }

    /// Calls for the game, or as a link of a room with the key that its members know.
    pub(crate) fn connect_for(
        &self,
        url: &str,
        options: ConnectOptions,
        room: Option<(RoomId, LinkId, Key)>,
    ) -> Result<PeerId, Error> {
        let parsed = Url::parse(url)?;
        check_names(&options.name, &options.version)?;
        if matches!(parsed.place, Place::Net { port: 0, .. }) {
            let problem = "to connect, it must be a number from 1 to 65535".to_owned();
            return Err(UrlError {
                url: url.to_owned(),
                part: "port",
                problem,
            }
            .into());
        }
        check_relay(&parsed, options.relay.as_deref())?;
        let contact = contact(url, &parsed, options.relay.as_deref())?;
        let connect = Connect {
            name: options.name,
            version: options.version,
            psk: room.map_or([0; 32], |(_, _, psk)| psk),
            pinned_key: parsed.pinned_key.or(options.pinned_key),
            paths: Vec::new(),
            transports: parsed.scheme.transports(),
            seat: options.seat,
            timeout: options.timeout,
        };
        if parsed.scheme.is_foreign() {
            let others = [
                ("password", options.password.is_some()),
                ("resume", options.identity.is_some()),
            ];
            foreign::check(&parsed, &options.limits, &others)?;
        }
        let runtime = self.start_thread()?;
        let shared = &self.inner.shared;
        let known = known_place(&parsed.place);
        let name = match &parsed.place {
            Place::Net {
                host: Host::Name(name),
                port,
            } if known.is_none() => Some((name.clone(), *port)),
            _ => None,
        };
        let mut place = places::Place::new(parsed.place.host(), name.clone(), parsed.pinned_certificate);
        let p2p = contact.as_ref().map(Terms::calling);
        place.contact = contact;
        let mut driver = self.open_driver()?;
        let now = shared.now();
        let is_sought = matches!(parsed.place, Place::Lan { .. });
        let is_key_made = options.password.is_none() && !is_sought;
        let peer = if parsed.scheme.is_foreign() {
            foreign::call(&mut driver, now, url, &parsed, options.timeout, &options.limits)?
        } else {
            let origin = Origin {
                limits: options.limits,
                identity: options.identity,
                simulation: parsed.simulation,
                room: room.map(|(room, ..)| room),
                p2p,
            };
            let peer = driver.call(now, url.to_owned(), connect, place, origin, is_key_made)?;
            driver.open_p2p(peer, &shared.rouser())?;
            peer
        };
        if let Some((room, link, _)) = room {
            driver.room_dialed(now, room, link, peer);
        }
        if let Some(remote) = known {
            driver.found(now, peer, &remote, &shared.rouser());
        }
        shared.publish(&driver);
        drop(driver);
        if let Place::Lan { app, title } = parsed.place {
            let (key, password) = (parsed.pinned_key, options.password);
            let until = Instant::now().checked_add(options.timeout);
            let call = lan::Call {
                peer,
                app,
                title,
                key,
                password,
                until,
            };
            self.tell_scout(lan::Command::Call(Box::new(call)))?;
        } else if !is_key_made || name.is_some() {
            let lookup = Lookup {
                peer,
                password: options.password,
                name,
                is_again: false,
            };
            let weak = Arc::downgrade(shared);
            runtime.spawn_blocking(move || lookup.run(&weak));
        }
        shared.rouse();
        Ok(peer)
    }

    /// Opens a room of our own under a code, and returns at once; events tell what becomes of it.
    pub fn host_room(&self, options: RoomOptions) -> Result<RoomId, Error> {
        self.begin_room(options, true)
    }

    /// Joins a room and returns at once; events tell what becomes of it.
    pub fn join_room(&self, options: RoomOptions) -> Result<RoomId, Error> {
        self.begin_room(options, false)
    }

    /// Leaves a room with a word to everybody. The last event follows.
    pub fn leave_room(&self, room: RoomId) {
        self.change(|driver, now| driver.leave_room(now, room));
    }

    /// Returns what is to be known of a room beside its events; None before it has begun, and after its last event.
    pub fn room_info(&self, room: RoomId) -> Option<RoomInfo> {
        self.inner.shared.lock().room_info(room)
    }

    fn begin_room(&self, options: RoomOptions, is_host: bool) -> Result<RoomId, Error> {
        check_names(&options.name, &options.version)?;
        let (len, most) = (options.app.len(), MAX_APP_LEN);
        if !(1..=most).contains(&len) {
            return Err(Error::Option(format!(
                "app is {len} bytes of UTF-8, it may be 1 to {most}"
            )));
        }
        let (count, most) = (options.max_members, netplay_proto::room::MAX_MEMBERS);
        if !(2..=most).contains(&count) {
            return Err(Error::Option(format!(
                "max_peers is {count}, a room may have 2 to {most}"
            )));
        }
        let runtime = self.start_thread()?;
        let mut driver = self.open_driver()?;
        driver.last_number += 1;
        let room = RoomId(driver.last_number);
        driver.rooms.begun.insert(room);
        drop(driver);
        let options = Box::new(options);
        let work = Work::Begin { room, options, is_host };
        let weak = Arc::downgrade(&self.inner.shared);
        runtime.spawn_blocking(move || work.run(&weak));
        Ok(room)
    }

    /// Returns a handle for work that goes on beside the game; it does not keep the network open.
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared: Arc::clone(shared),
                runtime: Mutex::new(shared.runtime.get().cloned()),
                scope: Scope::Machine,
                scout: Mutex::default(),
                is_owner: false,
            }),
        }
    }

    /// Queues a message and returns to how many peers. The peers in `exclude` are left out.
    ///
    /// To nobody is fine and gives 0. A lossy message to a peer that is still connecting goes to nobody. A peer whose
    /// queue is full is disconnected as too slow, by an event. The only errors are a message that is too large, and
    /// [`Target::One`] of a peer that has ended.
    pub fn send(&self, to: Target<'_>, exclude: &[PeerId], message: &Message) -> Result<usize, SendError> {
        self.send_locked(&mut self.inner.shared.lock(), to, exclude, message)
    }

    /// Does what [`send`](Self::send) does if that needs no waiting for another thread, otherwise nothing: None.
    pub fn try_send(&self, to: Target<'_>, exclude: &[PeerId], message: &Message) -> Option<Result<usize, SendError>> {
        let mut driver = self.inner.shared.try_lock()?;
        Some(self.send_locked(&mut driver, to, exclude, message))
    }

    /// Sends one bare datagram to a `udp://` URL, with no peer. What cannot go is lost.
    pub fn send_datagram(&self, url: &str, message: &Message) -> Result<(), Error> {
        let parsed = Url::parse(url)?;
        let refuse = |part, problem: &str| UrlError {
            url: url.to_owned(),
            part,
            problem: problem.to_owned(),
        };
        let Place::Net { host, port } = &parsed.place else {
            return Err(refuse("scheme", "only udp:// takes a datagram without a connection").into());
        };
        if parsed.scheme != Scheme::RawUdp {
            return Err(refuse("scheme", "only udp:// takes a datagram without a connection").into());
        }
        if parsed.simulation.is_some() {
            let problem = "they simulate a bad network between two peers; a single datagram has none, connect() first";
            return Err(refuse("query option", problem).into());
        }
        if *port == 0 {
            return Err(refuse("port", "to send, it must be a number from 1 to 65535").into());
        }
        Courier::check(message).map_err(Error::Send)?;
        let shared = &self.inner.shared;
        if let Some(Remote::Ip(addresses)) = known_place(&parsed.place) {
            let mut driver = self.open_driver()?;
            if let Some(address) = addresses.first() {
                driver.courier.send(*address, &message.data);
            }
            return Ok(());
        }
        let Host::Name(name) = host else {
            return Ok(());
        };
        let runtime = self.start_thread()?;
        let mut driver = self.open_driver()?;
        let now = shared.now();
        if driver.courier.send_to_name(now, name, *port, message.data.clone()) {
            let (weak, name, port) = (Arc::downgrade(shared), name.clone(), *port);
            runtime.spawn_blocking(move || resolve::tell_courier(&weak, &name, port));
        }
        Ok(())
    }

    /// Takes at most `max` bytes of a `tcp://` peer, none if none wait. From the first call on, the bytes of this peer come only
    /// so, and no longer as events. None if the peer is no such stream, or has ended.
    pub fn receive(&self, peer: PeerId, max: usize) -> Option<Vec<u8>> {
        self.change(|driver, now| driver.receive(now, peer, max))
    }

    /// Closes a peer by itself when nothing has been sent or received for this long.
    pub fn close_when_idle(&self, peer: PeerId, idle: Duration) {
        self.change(|driver, now| driver.close_when_idle(now, peer, idle));
    }

    /// Queues a message for one peer, and returns false if it is lossy and the connection not made yet. What
    /// [`send`](Self::send) says of a full queue and of errors holds here too.
    pub fn give(&self, to: PeerId, message: Message) -> Result<bool, SendError> {
        self.give_locked(&mut self.inner.shared.lock(), to, message)
    }

    /// Does what [`give`](Self::give) does if that needs no waiting for another thread, otherwise gives the message back.
    pub fn try_give(&self, to: PeerId, message: Message) -> Result<Result<bool, SendError>, Message> {
        match self.inner.shared.try_lock() {
            Some(mut driver) => Ok(self.give_locked(&mut driver, to, message)),
            None => Err(message),
        }
    }

    /// Sends what waits to be sent, receives what has arrived, and appends at most `max` events to `out`.
    /// Returns how many.
    pub fn take(&self, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let shared = &self.inner.shared;
        shared.take(&mut shared.lock(), max, out)
    }

    /// Does what [`take`](Self::take) does if that needs no waiting for another thread, otherwise nothing: None.
    pub fn try_take(&self, max: usize, out: &mut Vec<PeerEvent>) -> Option<usize> {
        let shared = &self.inner.shared;
        Some(shared.take(&mut *shared.try_lock()?, max, out))
    }

    /// Appends at most `max` events that have arrived already to `out`, without looking for more. Returns how many. For those
    /// who [`wait`](Self::wait), before and after.
    pub fn take_arrived(&self, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let shared = &self.inner.shared;
        shared.take_arrived(&mut shared.lock(), max, out)
    }

    /// Does what [`take_arrived`](Self::take_arrived) does if that needs no waiting for another thread, otherwise nothing: None.
    pub fn try_take_arrived(&self, max: usize, out: &mut Vec<PeerEvent>) -> Option<usize> {
        let shared = &self.inner.shared;
        Some(shared.take_arrived(&mut *shared.try_lock()?, max, out))
    }

    /// Blocks until an event waits, the timeout is over, or the network is closed. Returns true if an event waits.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.inner.shared.wait(timeout)
    }

    /// Returns how many events waited when somebody last looked at the sockets. Takes no lock.
    pub fn events_waiting(&self) -> usize {
        self.inner.shared.events_waiting()
    }

    /// Blocks until events have been waiting for `threshold` without the game taking any; true. False when the network
    /// is closed. While the game goes on taking none, it returns true again every `threshold`.
    pub fn wait_stalled(&self, threshold: Duration) -> bool {
        self.inner.shared.wait_stalled(threshold)
    }

    /// Returns the numbers of a peer, None if it has ended.
    pub fn peer_stats(&self, peer: PeerId) -> Option<PeerStats> {
        self.inner.shared.lock().peer_stats(peer)
    }

    /// Returns true if a peer has not ended, or its end has not been taken.
    pub fn has_peer(&self, peer: PeerId) -> bool {
        self.inner.shared.lock().peers.contains_key(&peer)
    }

    /// Returns the URL of a peer: as it was given to [`connect`](Self::connect), or made from where it called from.
    /// None if its end has been taken as an event.
    pub fn peer_url(&self, peer: PeerId) -> Option<String> {
        self.inner.shared.lock().peer_url(peer)
    }

    /// Returns which listener a peer came in by; None for one we called, or one that has ended.
    pub fn peer_listener(&self, peer: PeerId) -> Option<ListenerId> {
        self.inner.shared.lock().peer_listener(peer)
    }

    /// Says goodbye to a peer with these words; reliable messages already sent go first. Returns false if it has ended.
    pub fn close_peer(&self, peer: PeerId, detail: &str) -> bool {
        self.change(|driver, now| driver.close_peer(now, peer, detail))
    }

    /// Ends a peer at once for this reason, and tells it. Returns false if it has ended.
    pub fn abort_peer(&self, peer: PeerId, reason: Reason, detail: &str) -> bool {
        self.change(|driver, now| driver.abort_peer(now, peer, reason, detail))
    }

    /// Bans an address, a range or a key, for some time or, with None, as long as the network lives. Peers that are meant are
    /// closed at once with [`Reason::Banned`]; those who come by any listener are refused with it.
    pub fn ban(&self, ban: Ban, time: Option<Duration>) -> Result<(), Error> {
        let limit = netplay_proto::bans::MAX_BANS;
        self.change(|driver, now| driver.ban(now, ban, time.map(|time| now + time)))
            .map_err(|_| Error::Option(format!("there are {limit} bans already; lift some by unban()")))
    }

    /// Lifts a ban. Returns false if there is none.
    pub fn unban(&self, ban: Ban) -> bool {
        self.change(|driver, now| driver.unban(now, ban))
    }

    /// Returns the bans, and how long each will last; None as long as the network lives.
    pub fn bans(&self) -> Vec<(Ban, Option<Duration>)> {
        let shared = &self.inner.shared;
        shared.lock().bans_left(shared.now())
    }

    /// Says goodbye to a listener's peers and closes it. Returns false if it is closed already.
    pub fn close_listener(&self, listener: ListenerId) -> bool {
        self.tell_running_scout(lan::Command::Withdraw(listener));
        self.change(|driver, now| driver.close_listener(now, listener))
    }

    /// Returns the numbers of a listener, None if it is closed.
    pub fn listener_stats(&self, listener: ListenerId) -> Option<ListenerStats> {
        self.inner.shared.lock().listener_stats(listener)
    }

    /// Starts to look for games of an app on the local network; what is seen is told by [`take_sightings`](Self::take_sightings).
    pub fn find(&self, app: &str) -> Result<FinderId, Error> {
        lan::check_app(app).map_err(Error::Option)?;
        let finder = {
            let mut driver = self.open_driver()?;
            driver.last_number += 1;
            let finder = FinderId(driver.last_number);
            driver.sightings.add(finder);
            finder
        };
        self.tell_scout(lan::Command::Find(finder, app.to_owned()))?;
        Ok(finder)
    }

    /// Stops to look. Returns false if it was stopped before.
    pub fn stop_finding(&self, finder: FinderId) -> bool {
        self.tell_running_scout(lan::Command::Stop(finder));
        self.change(|driver, _| driver.sightings.remove(finder))
    }

    /// Appends what has changed of the games that are looked for to `out`.
    pub fn take_sightings(&self, out: &mut Vec<Sighting>) {
        let shared = &self.inner.shared;
        let mut driver = shared.lock();
        if driver.sightings.waiting() > 0 {
            driver.sightings.take(out);
            shared.publish(&driver);
        }
    }

    /// Returns how many answers of the local network were not believed, or too many.
    pub fn sightings_refused(&self) -> u64 {
        self.inner.shared.lock().sightings.refused
    }

    /// Changes the title by which a listener is announced.
    pub fn set_title(&self, listener: ListenerId, title: &str) -> Result<(), Error> {
        lan::check_title(title).map_err(Error::Option)?;
        self.tell_running_scout(lan::Command::Retitle(listener, title.to_owned()));
        Ok(())
    }

    /// Returns false once the network has been closed.
    pub fn is_open(&self) -> bool {
        !self.inner.shared.is_closed()
    }

    /// Says goodbye to every peer, blocks until all know or `linger` is over, and stops the thread.
    /// Events that were not taken are gone. A second call does nothing.
    pub fn close(&self, linger: Duration) {
        self.inner.stop_scout();
        self.inner.shared.close(linger);
    }

    fn tell_scout(&self, command: lan::Command) -> Result<(), Error> {
        let mut scout = self.scout();
        if !self.is_open() {
            return Err(Error::Closed);
        }
        let scout = match &mut *scout {
            Some(scout) => scout,
            none => none.insert(Scout::start(&self.inner.shared, self.inner.scope)?),
        };
        scout.tell(command);
        Ok(())
    }

    fn tell_running_scout(&self, command: lan::Command) {
        if let Some(scout) = &*self.scout() {
            scout.tell(command);
        }
    }

    fn scout(&self) -> MutexGuard<'_, Option<Scout>> {
        self.inner.scout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a listener for those who do not speak netplay.
    fn listen_foreign(&self, url: &str, parsed: &Url, options: &ListenOptions) -> Result<ListenerInfo, Error> {
        let others = [
            ("password", options.password.is_some()),
            ("transports", options.transports.is_some()),
            ("certificate", options.certificate.is_some()),
        ];
        foreign::check(parsed, &options.limits, &others)?;
        let Place::Net { host, port } = &parsed.place else {
            return Err(Error::Closed);
        };
        self.start_thread()?;
        let opened = self.patiently(|| foreign::open(host, *port, parsed, options));
        let (engine, bound) = opened.map_err(|error| listen_error(url, host, &error))?;
        let mut driver = self.open_driver()?;
        let id = driver.listen_foreign(self.inner.shared.now(), parsed.scheme, engine);
        drop(driver);
        self.inner.shared.rouse();
        let port = bound.first().map_or(*port, |address| address.port());
        let scheme = parsed.scheme.name();
        let addresses = reachable_addresses(&bound);
        Ok(ListenerInfo {
            id,
            url: parsed.with_port(port),
            addresses: addresses
                .iter()
                .map(|address| format!("{scheme}://{address}"))
                .collect(),
            transports: Vec::new(),
            certificate: None,
            title: None,
        })
    }

    /// Ends every tunnel at once, as a router that is switched off does: for tests of what comes back.
    #[doc(hidden)]
    pub fn cut_tunnels(&self) {
        self.change(|driver, _| {
            for slot in driver.slots.values() {
                if let Some((_, port)) = slot.p2p_port() {
                    port.cut();
                }
            }
        });
    }

    /// Stops the thread and closes every socket without saying goodbye, so that seats which this side has elsewhere are kept
    /// for its next process. Events that were not taken are gone.
    pub fn vanish(&self) {
        self.inner.stop_scout();
        self.inner.shared.vanish();
    }

    fn send_locked(
        &self,
        driver: &mut Driver,
        to: Target<'_>,
        exclude: &[PeerId],
        message: &Message,
    ) -> Result<usize, SendError> {
        let now = driver.moment_of_sending(message.delivery.is_lossy, || self.inner.shared.now());
        let result = driver.send(now, to, exclude, message);
        if result.as_ref().is_ok_and(|count| *count > 0) {
            self.inner.shared.rouse();
        } else {
            // Nobody will drive for it.
            driver.sent_at = None;
        }
        result
    }

    fn give_locked(&self, driver: &mut Driver, to: PeerId, message: Message) -> Result<bool, SendError> {
        let now = driver.moment_of_sending(message.delivery.is_lossy, || self.inner.shared.now());
        let result = driver.give(now, to, message);
        if result == Ok(true) {
            self.inner.shared.rouse();
        } else {
            driver.sent_at = None;
        }
        result
    }

    /// Changes something and sees to it that others learn of it.
    fn change<R>(&self, work: impl FnOnce(&mut Driver, netplay_proto::Timestamp) -> R) -> R {
        let shared = &self.inner.shared;
        let mut driver = shared.lock();
        let result = work(&mut driver, shared.now());
        shared.publish(&driver);
        drop(driver);
        shared.rouse();
        result
    }

    /// Takes the lock if the network is open.
    fn open_driver(&self) -> Result<std::sync::MutexGuard<'_, Driver>, Error> {
        let driver = self.inner.shared.lock();
        if self.is_open() { Ok(driver) } else { Err(Error::Closed) }
    }

    /// Starts the I/O thread unless it runs.
    fn start_thread(&self) -> Result<Handle, Error> {
        let mut runtime = self.inner.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_open() {
            return Err(Error::Closed);
        }
        match &*runtime {
            Some(handle) => Ok(handle.clone()),
            None => Ok(runtime.insert(thread::start(Arc::clone(&self.inner.shared))?).clone()),
        }
    }

    /// Opens a listener's sockets.
    fn open_doors(
        &self,
        url: &str,
        parsed: &Url,
        transports: &[Transport],
        is_asked_for: bool,
    ) -> Result<Doors, ListenError> {
        match &parsed.place {
            Place::Local(name) => {
                let open = || LocalPort::listen(name, self.inner.shared.rouser());
                let port = self
                    .patiently(open)
                    .map_err(|error| ListenError::from_io(url, &error))?;
                Ok(Doors {
                    sockets: vec![Socket::Local(port)],
                    listeners: Vec::new(),
                    bound: Vec::new(),
                    port: 0,
                    addresses: vec![parsed.with_port(0)],
                    transports: Vec::new(),
                })
            }
            // `open_p2p_door` opens those.
            Place::P2p { .. } => Err(ListenError::from_io(url, &std::io::ErrorKind::Unsupported.into())),
            Place::Lan { .. } => Err(ListenError {
                url: url.to_owned(),
                kind: ListenErrorKind::Other,
                detail: "lan:// is for connect()".to_owned(),
            }),
            Place::Net { host, port } => {
                let has_udp = transports.contains(&Transport::Udp);
                let tcp = match transports {
                    [Transport::Udp] => Tcp::No,
                    _ if has_udp && !is_asked_for => Tcp::IfFree,
                    _ => Tcp::Yes,
                };
                let kinds = Kinds { has_udp, tcp };
                let bound = self
                    .patiently(|| bind_listener(host, *port, kinds))
                    .map_err(|error| listen_error(url, host, &error))?;
                let own = bound.addresses();
                let port = own.first().map_or(*port, |address| address.port());
                let scheme = parsed.scheme.name();
                let addresses = reachable_addresses(&own)
                    .iter()
                    .map(|address| format!("{scheme}://{address}"))
                    .collect();
                let is_open = |transport: &&Transport| match transport {
                    Transport::Udp => !bound.udp.is_empty(),
                    _ => !bound.tcp.is_empty(),
                };
                Ok(Doors {
                    port,
                    bound: own,
                    addresses,
                    transports: transports.iter().filter(is_open).copied().collect(),
                    sockets: bound.udp.into_iter().map(Socket::udp).collect(),
                    listeners: bound.tcp,
                })
            }
        }
    }

    /// Opens the end of the tunnels that lead to a listener.
    fn open_p2p_door(&self, url: &str, parsed: &Url, secret: Key, relay: Option<&str>) -> Result<Doors, Error> {
        let Place::P2p { id, relays, addresses } = &parsed.place else {
            return Err(Error::Closed);
        };
        if id.is_some() {
            let problem = "to listen, leave it out: the id is this side's own".to_owned();
            return Err(UrlError {
                url: url.to_owned(),
                part: "host",
                problem,
            }
            .into());
        }
        let relays = chosen_relays(relays.as_ref(), relay, addresses)?;
        let terms = Terms::listening(relays, secret, addresses.clone());
        let open = || Port::listen(&terms, self.inner.shared.rouser());
        let port = self
            .patiently(open)
            .map_err(|error| ListenError::from_io(url, &error))?;
        let mut query: Vec<String> = terms.relays.to_option().into_iter().collect();
        if terms.relays == Relays::None {
            let own = reachable_addresses(&port.addresses());
            query.extend(own.iter().map(|address| format!("addr={address}")));
        }
        let mut contact = format!("{}://{}", parsed.scheme.name(), p2p::id_of(&secret));
        if !query.is_empty() {
            contact = format!("{contact}?{}", query.join("&"));
        }
        Ok(Doors {
            sockets: vec![Socket::P2p(port)],
            listeners: Vec::new(),
            bound: Vec::new(),
            port: 0,
            addresses: vec![contact],
            transports: vec![Transport::P2p],
        })
    }

    /// Opens something; if it is taken while a listener of this network is still saying its goodbyes, tries again until
    /// those are said.
    fn patiently<T>(&self, open: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
        let until = Instant::now() + PORT_PATIENCE;
        loop {
            // Asked first: what is let go of after a failed try is worth another.
            let is_letting_go = self.inner.shared.is_letting_go();
            let result = open();
            let is_taken = matches!(&result, Err(error) if error.kind() == std::io::ErrorKind::AddrInUse);
            if !is_taken || !is_letting_go || Instant::now() >= until {
                return result;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the error of a listener that could not be opened.
fn listen_error(url: &str, host: &Host, error: &std::io::Error) -> ListenError {
    match host {
        // Names fail in the resolver, with whatever words it has.
        Host::Name(_) if error.raw_os_error().is_none() => ListenError {
            url: url.to_owned(),
            kind: ListenErrorKind::UnknownHost,
            detail: error.to_string(),
        },
        _ => ListenError::from_io(url, error),
    }
}

/// What a listener has opened.
struct Doors {
    sockets: Vec<Socket>,
    listeners: Vec<TcpListener>,
    bound: Vec<SocketAddr>,
    port: u16,
    addresses: Vec<String>,
    transports: Vec<Transport>,
}

/// Returns by what a listener lets come: what the URL says, or else what was asked for, or else everything.
fn listen_transports(url: &str, parsed: &Url, asked: Option<&[Transport]>) -> Result<Vec<Transport>, Error> {
    let all = [Transport::Udp, Transport::Tcp, Transport::Ws, Transport::Wss];
    match (parsed.scheme, asked) {
        (Scheme::Play, Some([])) => Err(Error::Option(
            "transports is empty, there must be at least one of udp, tcp, ws and wss".to_owned(),
        )),
        (Scheme::Play, None) => Ok(all.to_vec()),
        (Scheme::Play, Some(asked)) => Ok(all.into_iter().filter(|one| asked.contains(one)).collect()),
        (_, Some(_)) => Err(Error::Option(format!(
            "transports is for play:// URLs; {url:?} says already by what peers come"
        ))),
        (scheme, None) => Ok(scheme.transports()),
    }
}

/// Returns the relays that an option or the URL asks for, the option first. Who names addresses needs no relay.
fn chosen_relays(
    of_url: Option<&Relays>,
    option: Option<&str>,
    addresses: &[std::net::SocketAddr],
) -> Result<Relays, Error> {
    let of_option = option.map(Relays::parse).transpose().map_err(Error::Option)?;
    Ok(match of_option.or_else(|| of_url.cloned()) {
        Some(relays) => relays,
        None if addresses.is_empty() => Relays::Public,
        None => Relays::None,
    })
}

/// Says so if a relay is given for what has none.
fn check_relay(parsed: &Url, option: Option<&str>) -> Result<(), Error> {
    match option {
        Some(_) if parsed.scheme != Scheme::PlayP2p => Err(Error::Option(format!(
            "relay is for play+p2p:// URLs; {}:// has none",
            parsed.scheme.name()
        ))),
        _ => Ok(()),
    }
}

/// Returns whom a `play+p2p://` URL reaches; None for another URL.
fn contact(url: &str, parsed: &Url, relay: Option<&str>) -> Result<Option<Contact>, Error> {
    let Place::P2p { id, relays, addresses } = &parsed.place else {
        return Ok(None);
    };
    let Some(id) = *id else {
        let problem = "to connect, it must be an endpoint id, as the listener's own URL shows it".to_owned();
        return Err(UrlError {
            url: url.to_owned(),
            part: "host",
            problem,
        }
        .into());
    };
    let relays = chosen_relays(relays.as_ref(), relay, addresses)?;
    if relays == Relays::None && addresses.is_empty() {
        let problem = "with relay=none, addr= must say where it is".to_owned();
        return Err(UrlError {
            url: url.to_owned(),
            part: "query option",
            problem,
        }
        .into());
    }
    Ok(Some(Contact {
        id,
        relays,
        addresses: addresses.clone(),
    }))
}

/// Says why a listener cannot be announced so.
fn check_advertise(url: &str, parsed: &Url, advertise: &Advertise) -> Result<(), Error> {
    if !matches!(
        parsed.scheme,
        Scheme::Play | Scheme::PlayUdp | Scheme::PlayTcp | Scheme::PlayWs
    ) {
        return Err(Error::Option(format!(
            "advertise is for play://, play+udp://, play+tcp:// and play+ws://; nobody on the network could come to {url:?}"
        )));
    }
    lan::check_app(&advertise.app).map_err(Error::Option)?;
    if advertise.title.is_empty() {
        return Ok(());
    }
    lan::check_title(&advertise.title).map_err(Error::Option)
}

fn check_names(name: &str, version: &str) -> Result<(), Error> {
    let limit = netplay_proto::config::MAX_NAME_LEN;
    for (what, text) in [("name", name), ("version", version)] {
        if text.len() > limit {
            return Err(Error::Option(format!(
                "{what} is {} bytes of UTF-8, it may be {limit}",
                text.len()
            )));
        }
    }
    Ok(())
}
