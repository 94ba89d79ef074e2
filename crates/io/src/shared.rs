//! What the game's threads and the I/O thread share: the driver behind its lock, and how each wakes the other.
//!
//! The game's thread drives when it polls. The I/O thread only stands in: for a short while after the game has driven it
//! stands by, so that a frame's sends leave together and two threads do not fight over the lock. It must not know the
//! protocol.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use netplay_proto::Timestamp;
use tokio::sync::Notify;

use crate::driver::Driver;
use crate::local::Rouse;
use crate::slot::Next;
use crate::types::PeerEvent;

/// How long after the game's thread has driven the I/O thread stands by. What is sent in this time waits at most this long.
pub(crate) const STAND_BY: Duration = Duration::from_millis(2);

/// How many datagrams of each slot the game's thread takes in at once.
pub(crate) const GAME_BUDGET: usize = 2048;

/// How long closing waits for the I/O thread to end. It takes a few milliseconds, unless the machine is very busy.
const LET_GO: Duration = Duration::from_millis(200);

/// What the threads of a network share.
pub(crate) struct Shared {
    origin: Instant,
    driver: Mutex<Driver>,
    /// Wakes the I/O thread.
    pub(crate) wake: Notify,
    /// The I/O thread was woken and has not driven since.
    wake_pending: AtomicBool,
    /// The I/O thread stands by: it will drive within [`STAND_BY`] without being woken.
    is_standing_by: AtomicBool,
    /// When a thread of the game drove last, in microseconds.
    game_drove: AtomicU64,
    /// How many threads of the game wait for the lock or are about to.
    game_wants: AtomicUsize,
    /// How many threads of the game are in [`wait`](Self::wait).
    waiting: AtomicUsize,
    /// Threads in [`wait_stalled`](Self::wait_stalled).
    watching: AtomicUsize,
    /// Events that wait, as counted after the last drive.
    events: AtomicUsize,
    /// Since when events wait without the game taking any, in microseconds plus one; 0 when none wait.
    stalled_since: AtomicU64,
    bell: Bell,
    is_closed: AtomicBool,
    /// The I/O thread runs, and may hold sockets open.
    has_thread: AtomicBool,
    /// The version of the sockets that it holds.
    watched_version: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            driver: Mutex::default(),
            wake: Notify::new(),
            wake_pending: AtomicBool::new(false),
            is_standing_by: AtomicBool::new(false),
            game_drove: AtomicU64::new(0),
            game_wants: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            stalled_since: AtomicU64::new(0),
            bell: Bell::default(),
            is_closed: AtomicBool::new(false),
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
        let now = self.now();
        let next = driver.drive(now, GAME_BUDGET);
        self.game_drove.store(now.as_micros(), SeqCst);
        self.publish(driver);
        next
    }

    /// Drives and takes events.
    pub(crate) fn take(&self, driver: &mut Driver, max: usize, out: &mut Vec<PeerEvent>) -> usize {
        self.drive(driver);
        let now = self.now();
        let count = driver.take(now, max, out);
        // The game is alive: what is left has not been waiting.
        self.stalled_since.store(0, SeqCst);
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
            self.stalled_since.store(0, SeqCst);
            return;
        }
        let is_first = self
            .stalled_since
            .compare_exchange(0, self.now().as_micros() + 1, SeqCst, SeqCst)
            .is_ok();
        if self.waiting.load(SeqCst) > 0 || is_first && self.watching.load(SeqCst) > 0 {
            self.bell.ring();
        }
    }

    /// Returns true if a thread of the game is blocked until something arrives.
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
        if !self.is_standing_by.load(SeqCst) && !self.wake_pending.swap(true, SeqCst) {
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

    /// Returns how long the I/O thread should go on standing by; None if it should stand in now.
    pub(crate) fn stand_by(&self) -> Option<Duration> {
        let drove = Timestamp::from_micros(self.game_drove.load(SeqCst));
        let since = self.now().since(drove);
        let is_standing_by = drove != Timestamp::ZERO && since < STAND_BY && self.waiting.load(SeqCst) == 0;
        self.is_standing_by.store(is_standing_by, SeqCst);
        is_standing_by.then(|| STAND_BY - since)
    }

    /// Says that the I/O thread is about to drive: from now on it must be woken again for what comes later.
    pub(crate) fn begin_stand_in(&self) {
        self.is_standing_by.store(false, SeqCst);
        self.wake_pending.store(false, SeqCst);
    }

    /// Blocks until an event waits, the timeout is over, or the network is closed. Returns true if an event waits.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        // Counted before the drive: an event that comes after it rings the bell.
        self.waiting.fetch_add(1, SeqCst);
        self.drive(&mut self.lock());
        if self.events_waiting() == 0 {
            // The I/O thread may be standing by, and must now watch the sockets.
            self.is_standing_by.store(false, SeqCst);
            self.rouse();
            self.bell.wait(until, || self.events_waiting() > 0 || self.is_closed());
        }
        self.waiting.fetch_sub(1, SeqCst);
        self.events_waiting() > 0
    }

    /// Blocks until events have been waiting for `threshold` without the game taking any; false if the network is closed.
    pub(crate) fn wait_stalled(&self, threshold: Duration) -> bool {
        self.watching.fetch_add(1, SeqCst);
        let is_stalled = loop {
            if self.is_closed() {
                break false;
            }
            let until = match self.stalled_since.load(SeqCst) {
                0 => None,
                since => Some(self.instant(Timestamp::from_micros(since - 1) + threshold)),
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                // Counted anew, so that a second call waits its time again.
                self.stalled_since.store(self.now().as_micros() + 1, SeqCst);
                break true;
            }
            let seen = self.stalled_since.load(SeqCst);
            self.bell
                .wait(until, || self.stalled_since.load(SeqCst) != seen || self.is_closed());
        };
        self.watching.fetch_sub(1, SeqCst);
        is_stalled
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
        self.wake.notify_one();
        self.bell.ring();
        // Until the thread has let go of them, the ports are not free for the next one to listen there.
        self.bell
            .wait(Instant::now().checked_add(LET_GO), || !self.has_thread.load(SeqCst));
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

/// Something several threads may wait for, about which they ask again when it rings.
#[derive(Default)]
struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        // Taken so that nobody is between asking and falling asleep.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }

    /// Blocks until `is_done` says so after a ring, or this moment; None for no limit.
    fn wait(&self, until: Option<Instant>, is_done: impl Fn() -> bool) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_done() {
            guard = match until {
                None => self.rung.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    self.rung
                        .wait_timeout(guard, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}
