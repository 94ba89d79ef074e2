//! The handle a game holds: everything it can ask of its network. It must not know Python.
//!
//! What takes more than asking others has files of its own: `listening` and `calling`, and what both are asked for, `asked`.

mod asked;
mod calling;
mod listening;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netplay_proto::{Ban, Message, Reason};
use tokio::runtime::Handle;

use self::asked::check_names;
use crate::call::Remote;
use crate::driver::Driver;
use crate::error::{Error, SendError, UrlError};
use crate::foreign::courier::Courier;
use crate::lan::{self, FinderId, Scope, Scout, Sighting};
use crate::resolve::{self, known_place};
use crate::rooms::{MAX_APP_LEN, RoomId, RoomInfo, RoomOptions, Work};
use crate::shared::Shared;
use crate::thread;
use crate::types::{ListenerId, ListenerStats, PeerEvent, PeerId, PeerStats, Target};
use crate::url::{Host, Place, Scheme, Url};

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
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
