//! What the game's threads and the I/O thread share: the driver behind its lock, and how each wakes the other.
//!
//! The game's thread drives when it polls. The I/O thread only stands in: for a short while after the game has driven it
//! stands by, so that a frame's sends leave together and two threads do not fight over the lock; while a thread of the game
//! watches the sockets itself, it sleeps. How the game waits is in [`wait`](crate::wait). It must not know the protocol.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use netplay_proto::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::driver::Driver;
use crate::local::Rouse;
use crate::resolve::Lookup;
use crate::slot::{Look, Next};
use crate::types::PeerEvent;
use crate::wait::{Bell, Lookout};

/// How long after the game's thread has driven the I/O thread stands by. What is sent in this time waits at most this long.
pub(crate) const STAND_BY: Duration = Duration::from_millis(2);

/// The same while the game is one that waits for the network: it comes back by itself as soon as something arrives, and
/// what it sends leaves when it waits again.
const STAND_BY_FOR_WAITING: Duration = Duration::from_millis(5);

/// How many datagrams of each slot the game's thread takes in at once.
pub(crate) const GAME_BUDGET: usize = 2048;

/// How long closing waits for the I/O thread to end. It takes a few milliseconds, unless the machine is very busy.
const LET_GO: Duration = Duration::from_millis(200);

/// The I/O thread drives, or watches the sockets.
const AWAKE: u8 = 0;
/// The I/O thread will look again within [`STAND_BY`] without being woken.
const STANDING_BY: u8 = 1;
/// The I/O thread sleeps until woken: a thread of the game watches the sockets.
const ASLEEP: u8 = 2;

/// What the threads of a network share.
pub(crate) struct Shared {
    own: Weak<Self>,
    /// Where work that blocks can be given to, once the I/O thread runs.
    pub(crate) runtime: OnceLock<Handle>,
    origin: Instant,
    driver: Mutex<Driver>,
    /// Wakes the I/O thread.
    pub(crate) wake: Notify,
    /// The I/O thread was woken and has not driven since.
    wake_pending: AtomicBool,
    /// What the I/O thread is doing: one of [`AWAKE`], [`STANDING_BY`], [`ASLEEP`].
    thread_state: AtomicU8,
    /// When a thread of the game drove last, in microseconds.
    game_drove: AtomicU64,
    /// How many threads of the game wait for the lock or are about to.
    game_wants: AtomicUsize,
    /// Where one thread of the game may watch the sockets itself.
    pub(crate) lookout: Lookout,
    /// How many threads of the game wait for the bell to ring for an event.
    pub(crate) waiting: AtomicUsize,
    /// How many wait for it to ring for a game that takes none.
    pub(crate) watching: AtomicUsize,
    pub(crate) bell: Bell,
    /// Events that wait, as counted after the last drive.
    events: AtomicUsize,
    /// Since when events wait without the game taking any, in microseconds plus one; 0 when none wait.
    pub(crate) stalled_since: AtomicU64,
    is_closed: AtomicBool,
    /// The I/O thread, once it has started.
    pub(crate) thread: OnceLock<Thread>,
    /// The I/O thread runs, and may hold sockets open.
    has_thread: AtomicBool,
    /// The version of the sockets that it holds.
    watched_version: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            runtime: OnceLock::new(),
            origin: Instant::now(),
            driver: Mutex::default(),
            wake: Notify::new(),
            wake_pending: AtomicBool::new(false),
            thread_state: AtomicU8::new(AWAKE),
            game_drove: AtomicU64::new(0),
            game_wants: AtomicUsize::new(0),
            lookout: Lookout::default(),
            waiting: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            bell: Bell::default(),
            events: AtomicUsize::new(0),
            stalled_since: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            thread: OnceLock::new(),
            has_thread: AtomicBool::new(false),
            watched_version: AtomicU64::new(0),
        })
    }

    /// Returns the moment it is.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Returns the instant of a moment, for those who sleep.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.origin + at.since(Timestamp::ZERO)
    }

    /// Takes the lock for a thread of the game. Moments must be read after this, so that they never go backwards.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Driver> {
        self.game_wants.fetch_add(1, SeqCst);
        let guard = self.lock_for_thread();
        self.game_wants.fetch_sub(1, SeqCst);
        guard
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Driver>> {
        match self.driver.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes the lock for the I/O thread.
    pub(crate) fn lock_for_thread(&self) -> MutexGuard<'_, Driver> {
        // Panics in the protocol are contained where they happen; one elsewhere leaves the driver usable.
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the game is waiting for the lock, so that the I/O thread should let it have it.
    pub(crate) fn game_wants_lock(&self) -> bool {
        self.game_wants.load(SeqCst) > 0
    }

    /// Drives as the game's thread does.
    pub(crate) fn drive(&self, driver: &mut Driver) -> Next {
        self.drive_looking(driver, Look::Everywhere { budget: GAME_BUDGET })
    }

    /// Drives after watching the sockets: where that took a while, one datagram has come, and asking for another is in vain.
    pub(crate) fn drive_watched(&self, driver: &mut Driver, has_slept: bool) -> Next {
        let budget = if has_slept { 1 } else { GAME_BUDGET };
        self.drive_looking(driver, Look::Everywhere { budget })
    }

    /// Drives without asking the operating system for datagrams: the caller does so next.
    pub(crate) fn drive_inside(&self, driver: &mut Driver) -> Next {
        self.drive_looking(driver, Look::Inside)
    }

    fn drive_looking(&self, driver: &mut Driver, look: Look) -> Next {
        let next = self.drive_at(self.now(), driver, look);
        self.publish(driver);
        next
    }

    fn drive_at(&self, now: Timestamp, driver: &mut Driver, look: Look) -> Next {
        let next = driver.drive(now, look);
        self.begin_lookups(driver);
        self.game_drove.store(now.as_micros(), SeqCst);
        next
    }

    /// Begins what takes time: to resolve again the names of those that are called again, and what rooms need.
    pub(crate) fn begin_lookups(&self, driver: &mut Driver) {
        while let Some(work) = driver.rooms.poll_work() {
            if let Some(runtime) = self.runtime.get() {
                let weak = self.own.clone();
                runtime.spawn_blocking(move || work.run(&weak));
            }
        }
        while let Some((peer, name, port)) = driver.poll_lookup() {
            if let Some(runtime) = self.runtime.get() {
                let lookup = Lookup {
                    peer,
                    password: None,
                    name: Some((name, port)),
                    is_again: true,
                };
                let weak = self.own.clone();
                runtime.spawn_blocking(move || lookup.run(&weak));
            }
        }
    }

    /// Drives and takes events. A game that polls without a pause spends its time here, mostly in vain, so the clock is read
    /// once, and what is left is made known once.
    pub(crate) fn take(&self, driver: &mut Driver, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let now = self.now();
        self.drive_at(now, driver, Look::Everywhere { budget: GAME_BUDGET });
        self.take_at(now, driver, max, out)
    }

    /// Takes events that have arrived, without looking for more.
    pub(crate) fn take_arrived(&self, driver: &mut Driver, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        self.take_at(self.now(), driver, max, out)
    }

    fn take_at(&self, now: Timestamp, driver: &mut Driver, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        let count = driver.take(now, max, out);
        // The game is alive: what is left has not been waiting.
        self.forget_stall();
        self.publish(driver);
        if count > 0 && driver.has_output() {
            // Taking messages lets the remote sides send more, and they must be told.
            self.rouse();
        }
        count
    }

    /// Lets those who hold no lock know how many events wait, and wakes those who wait for one.
    pub(crate) fn publish(&self, driver: &Driver) {
        let count = driver.events_waiting();
        self.events.store(count, SeqCst);
        if count == 0 {
            return self.forget_stall();
        }
        let is_first = self
            .stalled_since
            .compare_exchange(0, self.now().as_micros() + 1, SeqCst, SeqCst)
            .is_ok();
        if self.waiting.load(SeqCst) > 0 || is_first && self.watching.load(SeqCst) > 0 {
            self.bell.ring();
        }
    }

    fn forget_stall(&self) {
        if self.stalled_since.load(SeqCst) != 0 {
            self.stalled_since.store(0, SeqCst);
        }
    }

    /// Returns true if a thread of the game is blocked until the bell rings for an event.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Returns how many events waited after the last drive.
    pub(crate) fn events_waiting(&self) -> usize {
        self.events.load(SeqCst)
    }

    /// Sees to it that what has been put in is worked on soon. Cheap, and may be called by any thread with or without the
    /// lock.
    pub(crate) fn rouse(&self) {
        if self.lookout.is_manned() {
            self.lookout.call();
        } else if self.thread_state.load(SeqCst) != STANDING_BY && !self.wake_pending.swap(true, SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Returns [`rouse`](Self::rouse) for those who must not keep the network alive.
    pub(crate) fn rouser(self: &Arc<Self>) -> Rouse {
        let weak = Arc::downgrade(self);
        Arc::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.rouse();
            }
        })
    }

    /// Returns how long the I/O thread should go on standing by; None if it should do something now.
    pub(crate) fn stand_by(&self) -> Option<Duration> {
        let drove = Timestamp::from_micros(self.game_drove.load(SeqCst));
        let since = self.now().since(drove);
        let most = if self.lookout.is_used() {
            STAND_BY_FOR_WAITING
        } else {
            STAND_BY
        };
        let is_standing_by = drove != Timestamp::ZERO && since < most && !self.is_waited_for();
        self.thread_state
            .store(if is_standing_by { STANDING_BY } else { AWAKE }, SeqCst);
        is_standing_by.then(|| most - since)
    }

    /// Puts the I/O thread to sleep if a thread of the game watches the sockets; returns true once it is woken again.
    ///
    /// Not in the runtime, which would wake it up for every datagram that the other thread takes.
    pub(crate) fn sleep_while_watched(&self) -> bool {
        if !self.lookout.is_manned() || self.is_waited_for() {
            return false;
        }
        self.wake_pending.store(false, SeqCst);
        self.thread_state.store(ASLEEP, SeqCst);
        // Asked after that, because who leaves the lookout wakes only a thread seen asleep.
        while self.thread_state.load(SeqCst) == ASLEEP && self.lookout.is_manned() && !self.is_closed() {
            std::thread::park();
        }
        self.thread_state.store(AWAKE, SeqCst);
        true
    }

    /// Wakes the I/O thread if it sleeps.
    pub(crate) fn wake_if_asleep(&self) {
        if self
            .thread_state
            .compare_exchange(ASLEEP, AWAKE, SeqCst, SeqCst)
            .is_ok()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Says that the I/O thread is about to drive: from now on it must be woken again for what comes later.
    pub(crate) fn begin_stand_in(&self) {
        self.wake_pending.store(false, SeqCst);
    }

    /// Returns true once the network is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// Says goodbye to everybody, goes on until all know or `linger` is over, and lets go of everything.
    pub(crate) fn close(&self, linger: Duration) {
        let until = Instant::now() + linger;
        {
            let mut driver = self.lock();
            if self.is_closed() {
                return;
            }
            driver.close_all(self.now());
            self.drive(&mut driver);
        }
        loop {
            let mut driver = self.lock();
            self.drive(&mut driver);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || driver.is_done() || self.is_closed() {
                driver.hurry(self.now());
                self.drive(&mut driver);
                self.is_closed.store(true, SeqCst);
                driver.clear();
                self.publish(&driver);
                break;
            }
            drop(driver);
            std::thread::sleep(left.min(Duration::from_millis(1)));
        }
        self.let_go();
    }

    /// Wakes everybody who waits, and waits for the I/O thread to end.
    fn let_go(&self) {
        self.wake.notify_one();
        self.wake_if_asleep();
        self.lookout.call();
        self.bell.ring();
        // Until the thread has let go of them, the ports are not free for the next one to listen there.
        self.bell
            .wait(Instant::now().checked_add(LET_GO), || !self.has_thread.load(SeqCst));
    }

    /// Lets go of everything without a word to anybody, as a process that is killed does: who has a seat somewhere keeps it.
    pub(crate) fn vanish(&self) {
        let mut driver = self.lock();
        if !self.is_closed() {
            self.is_closed.store(true, SeqCst);
            driver.clear();
            self.publish(&driver);
            drop(driver);
            self.let_go();
        }
    }

    /// Returns true while a closed listener still holds its sockets.
    pub(crate) fn is_letting_go(&self) -> bool {
        let driver = self.lock();
        driver.is_letting_go() || self.watched_version.load(SeqCst) != driver.sockets_version()
    }

    /// Says which version of the sockets the I/O thread holds.
    pub(crate) fn set_watched_version(&self, version: u64) {
        self.watched_version.store(version, SeqCst);
    }

    /// Says that the I/O thread runs, or has ended and holds no socket open.
    pub(crate) fn set_has_thread(&self, has_thread: bool) {
        self.has_thread.store(has_thread, SeqCst);
        self.bell.ring();
    }
}
