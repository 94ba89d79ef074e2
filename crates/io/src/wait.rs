//! How a thread of the game waits for something to arrive.
//!
//! Where the operating system allows it, the waiting thread watches the sockets itself and drives, so that a message needs
//! no hop from the I/O thread. That is the lookout, and there is place for one. Any other waits for a bell, rung by whoever
//! drives. It must not know the protocol.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netplay_proto::Timestamp;

#[cfg(unix)]
use crate::leisure::{Leisure, Pause};
#[cfg(unix)]
use crate::promptness::Promptness;
use crate::shared::Shared;
#[cfg(unix)]
use crate::slot::Next;

/// Watching that took longer than this has slept: nothing was there when it began.
#[cfg(unix)]
const A_MOMENT: Duration = Duration::from_micros(20);

/// The longest pause in a stream of lossy messages, and so the most that one of them may come later for it. A thousandth of a
/// second is a sixteenth of a frame.
#[cfg(unix)]
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// How much time is saved for reading at once when a stream begins.
#[cfg(unix)]
const MAX_LEISURE: Duration = Duration::from_millis(16);

impl Shared {
    /// Blocks until an event waits, the timeout is over, the network is closed, or a signal has arrived for this thread.
    /// Returns true if an event waits.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        if self.lookout.enter() {
            self.keep_watch(until);
            self.lookout.leave();
            // From here on somebody else must see to the sockets, if the game does not come back at once.
            self.wake_if_asleep();
            if self.is_waited_for() {
                self.rouse();
            }
        } else {
            self.wait_for_bell(until);
        }
        self.events_waiting() > 0
    }

    #[cfg(unix)]
    fn keep_watch(&self, until: Option<Instant>) {
        let mut watched = Vec::new();
        let mut version = None;
        // The first look is for what is to be sent: whether something has arrived, watching tells with the same system call.
        let mut is_first = true;
        let mut has_slept = false;
        let mut is_answering = false;
        let entered = Instant::now();
        let mut awake_until = None;
        loop {
            let next = {
                let mut driver = self.lock();
                let next = if is_first {
                    // Whoever sends an answer to what has arrived is told of the next at once.
                    is_answering = std::mem::take(&mut driver.has_sent);
                    if is_answering && self.lookout.is_answer_expected() {
                        awake_until = Some(entered + Promptness::SOON);
                    }
                    self.drive_inside(&mut driver)
                } else {
                    self.drive_watched(&mut driver, std::mem::take(&mut has_slept))
                };
                if version != Some(driver.sockets_version()) {
                    version = Some(driver.sockets_version());
                    watched = driver.watches();
                }
                next
            };
            if !is_first {
                self.lookout.handle_look(&next);
            }
            let is_over = !is_first && until.is_some_and(|until| until <= Instant::now());
            is_first = false;
            let has_event = self.events_waiting() > 0;
            if has_event || self.is_closed() || is_over {
                let took = entered.elapsed();
                // A short wait that is over without an answer tells nothing of how long one takes.
                if is_answering && (has_event || took > Promptness::SOON) {
                    self.lookout.handle_answer(took);
                }
                return;
            }
            if next.has_more {
                continue;
            }
            if let Some(end) = awake_until {
                if Instant::now() < end {
                    // Asks for one datagram, as after sleeping.
                    has_slept = true;
                    continue;
                }
                awake_until = None;
            }
            let deadline = next.at.map(|at| self.instant(at));
            let first = match (until, deadline) {
                (Some(until), Some(deadline)) => Some(until.min(deadline)),
                (one, other) => one.or(other),
            };
            let began = Instant::now();
            if !is_answering && let Some(pause) = self.lookout.pause() {
                // Not the sockets: whatever comes in the pause is read after it.
                let end = began + pause;
                if !self.lookout.watch(&[], Some(first.map_or(end, |first| first.min(end)))) {
                    return;
                }
                continue;
            }
            if !self.lookout.watch(&watched, first) {
                return;
            }
            has_slept = began.elapsed() > A_MOMENT;
        }
    }

    #[cfg(not(unix))]
    fn keep_watch(&self, _until: Option<Instant>) {}

    fn wait_for_bell(&self, until: Option<Instant>) {
        // Counted before the drive: an event that comes after it rings the bell.
        self.waiting.fetch_add(1, SeqCst);
        self.drive(&mut self.lock());
        if self.events_waiting() == 0 {
            // The I/O thread may be standing by, and must now watch the sockets.
            self.wake.notify_one();
            self.wake_if_asleep();
            self.bell.wait(until, || self.events_waiting() > 0 || self.is_closed());
        }
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Blocks until events have been waiting for `threshold` without the game taking any; false if the network is closed.
    pub(crate) fn wait_stalled(&self, threshold: Duration) -> bool {
        self.watching.fetch_add(1, SeqCst);
        let is_stalled = loop {
            if self.is_closed() {
                break false;
            }
            let seen = self.stalled_since.load(SeqCst);
            let until = match seen {
                0 => None,
                since => Some(self.instant(Timestamp::from_micros(since - 1) + threshold)),
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                // Counted anew, so that a second call waits its time again. If the game has just taken some, it is not
                // stalled after all.
                let again = self.now().as_micros() + 1;
                if self.stalled_since.compare_exchange(seen, again, SeqCst, SeqCst).is_ok() {
                    break true;
                }
                continue;
            }
            self.bell
                .wait(until, || self.stalled_since.load(SeqCst) != seen || self.is_closed());
        };
        self.watching.fetch_sub(1, SeqCst);
        is_stalled
    }
}

/// Something several threads may wait for, about which they ask again when it rings.
#[derive(Default)]
pub(crate) struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        // Taken so that nobody is between asking and falling asleep.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }

    /// Blocks until `is_done` says so after a ring, or this moment; None for no limit.
    pub(crate) fn wait(&self, until: Option<Instant>, is_done: impl Fn() -> bool) {
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

/// The place from which one thread of the game watches the sockets itself.
#[derive(Default)]
pub(crate) struct Lookout {
    is_manned: AtomicBool,
    /// A thread has been there since the I/O thread asked last.
    is_used: AtomicBool,
    /// The thread there was called and has not looked since.
    #[cfg(unix)]
    is_called: AtomicBool,
    #[cfg(unix)]
    line: std::sync::OnceLock<Option<Line>>,
    #[cfg(unix)]
    stream: Mutex<Stream>,
}

/// What the thread in the lookout knows of the datagrams that come.
#[cfg(unix)]
struct Stream {
    leisure: Leisure,
    pause: Pause,
    promptness: Promptness,
    /// The last look found lossy messages and nothing else.
    is_lossy: bool,
}

#[cfg(unix)]
impl Default for Stream {
    fn default() -> Self {
        Self {
            leisure: Leisure::new(LONGEST_PAUSE, MAX_LEISURE),
            pause: Pause::new(LONGEST_PAUSE),
            promptness: Promptness::default(),
            is_lossy: false,
        }
    }
}

impl Lookout {
    /// Returns true if a thread has been there since this was asked last.
    pub(crate) fn is_used(&self) -> bool {
        self.is_manned() || self.is_used.swap(false, SeqCst)
    }

    /// Returns true if a thread is there.
    pub(crate) fn is_manned(&self) -> bool {
        self.is_manned.load(SeqCst)
    }
}

#[cfg(not(unix))]
impl Lookout {
    fn enter(&self) -> bool {
        false
    }

    fn leave(&self) {}

    pub(crate) fn call(&self) {}
}

/// By which the thread in the lookout is called: what is written at one end can be read at the other.
#[cfg(unix)]
struct Line {
    near: std::os::unix::net::UnixStream,
    far: std::os::unix::net::UnixStream,
}

#[cfg(unix)]
impl Line {
    /// Returns None if the operating system has no more to give.
    fn new() -> Option<Self> {
        let (near, far) = std::os::unix::net::UnixStream::pair().ok()?;
        near.set_nonblocking(true).ok()?;
        far.set_nonblocking(true).ok()?;
        Some(Self { near, far })
    }
}

#[cfg(unix)]
impl Lookout {
    /// Takes the place; false if it is taken, or there is none on this machine.
    fn enter(&self) -> bool {
        self.line.get_or_init(Line::new).is_some() && !self.is_manned.swap(true, SeqCst)
    }

    /// Takes note of what a look has found.
    fn handle_look(&self, next: &Next) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.is_lossy = next.received > 0 && !next.is_urgent;
        stream.pause.handle_received(next.received);
        if next.received > 1 {
            stream.leisure.skip();
        }
    }

    /// Returns how long to leave the sockets alone; None if what comes next is worth waking up for.
    fn pause(&self) -> Option<Duration> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if !stream.is_lossy || stream.leisure.spend() {
            return None;
        }
        stream.pause.length()
    }

    /// Returns true if the answer to what was sent is worth staying awake for.
    fn is_answer_expected(&self) -> bool {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.promptness.is_expected()
    }

    /// Takes note of how long an answer was waited for.
    fn handle_answer(&self, took: Duration) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.promptness.handle_wait(took);
    }

    fn leave(&self) {
        self.is_used.store(true, SeqCst);
        self.is_manned.store(false, SeqCst);
    }

    /// Makes the thread in the lookout drive once, now or when it comes next.
    pub(crate) fn call(&self) {
        if let Some(Some(line)) = self.line.get()
            && !self.is_called.swap(true, SeqCst)
        {
            // It cannot be full: one byte is written for each time it was emptied.
            let _ = std::io::Write::write(&mut &line.far, &[1]);
        }
    }

    /// Blocks until one of these sockets has something to read, this moment has come, or the thread is called. Returns
    /// false if a signal arrived, which its receiver may want to act on.
    fn watch(&self, sockets: &[crate::foreign::Watch], until: Option<Instant>) -> bool {
        use std::os::fd::AsFd;

        use nix::poll::{PollFd, PollFlags};
        let Some(Some(line)) = self.line.get() else {
            return false;
        };
        let mut watched = Vec::with_capacity(sockets.len() + 1);
        watched.push(PollFd::new(line.near.as_fd(), PollFlags::POLLIN));
        watched.extend(
            sockets
                .iter()
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
        );
        let result = poll_until(&mut watched, until);
        if watched[0].any().unwrap_or(true) {
            let _ = std::io::Read::read(&mut &line.near, &mut [0; 8]);
            // After reading: a call from now on writes again, and one before is answered by the drive that follows.
            self.is_called.store(false, SeqCst);
        }
        result.is_ok()
    }
}

#[cfg(target_os = "linux")]
fn poll_until(watched: &mut [nix::poll::PollFd<'_>], until: Option<Instant>) -> nix::Result<nix::libc::c_int> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()).into());
    nix::poll::ppoll(watched, left, None)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn poll_until(watched: &mut [nix::poll::PollFd<'_>], until: Option<Instant>) -> nix::Result<nix::libc::c_int> {
    use nix::poll::PollTimeout;
    // Whole milliseconds, and never early: that would be a busy wait for the rest.
    let left = until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_micros(999));
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    nix::poll::poll(watched, timeout)
}
