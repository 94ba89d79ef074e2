//! The I/O thread: keeps the network alive while the game is busy. It knows sockets and moments, not the protocol.
//!
//! ```text
//!            the game drove less than 2 ms ago
//!          ┌───────────────────────────────────┐
//!          ▼                                   │
//!     ┌──────────┐  2 ms without the game   ┌──┴───────┐
//!     │ stand by │ ───────────────────────► │ stand in │ ◄─┐
//!     └──────────┘                          └──┬───────┘   │ a datagram, the next deadline,
//!                                              │ drives    │ or woken by a send
//!                                              ▼           │
//!                                           ┌──────────┐   │
//!                                           │  watch   │ ──┘
//!                                           └──────────┘
//! ```
//!
//! While a thread of the game waits and watches the sockets itself, this one sleeps instead of standing in.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::runtime::{Builder, Handle};

use crate::driver::Driver;
use crate::foreign::Watch;
use crate::leisure::Leisure;
use crate::shared::Shared;
use crate::slot::{Look, Next};

/// How many datagrams of each slot are taken in before the game may have the lock.
const BUDGET: usize = 256;

/// How long to wait before reading while datagrams stream in and the game takes none: some of them are then worked on
/// together. The game sees nothing before it polls, and acknowledgements wait longer than this anyway.
const PAUSE: Duration = Duration::from_millis(4);

/// A datagram that comes this long after the others is read at once, so that the round trip is measured as it is.
const AT_LEISURE: Duration = Duration::from_millis(10);

/// How many such datagrams may come at once.
const MAX_LEISURE: Duration = Duration::from_millis(100);

/// How long to wait when the game is at work with the lock, and how often in a row.
const GAME_AT_WORK: Duration = Duration::from_micros(500);
const MAX_TRIES: u32 = 4;

/// How many names may be resolved at once.
const MAX_LOOKUPS: usize = 16;

/// How long to wait after a fault, so that one that comes again and again does not fill the processor and the log.
const AFTER_FAULT: Duration = Duration::from_millis(100);

/// Starts the thread; it ends when the network is closed. Returns where work that blocks can be given to.
pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MAX_LOOKUPS)
        .thread_name("netplay-lookup")
        .build()?;
    let handle = runtime.handle().clone();
    let _ = shared.runtime.set(handle.clone());
    std::thread::Builder::new()
        .name("netplay-io".to_owned())
        .spawn(move || {
            let _ = shared.thread.set(std::thread::current());
            shared.set_has_thread(true);
            // Faults of the protocol are contained where they happen. One elsewhere must not leave a network that nobody
            // keeps alive.
            while catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&shared)))).is_err() {
                log::error!("a fault inside netplay has interrupted the I/O thread; please report it");
                std::thread::sleep(AFTER_FAULT);
            }
            shared.set_has_thread(false);
            // A name that is still being resolved may take half a minute; nobody waits for it any more.
            runtime.shutdown_background();
        })?;
    Ok(handle)
}

async fn run(shared: &Shared) {
    let mut watched = Watched::default();
    let mut leisure = Leisure::new(AT_LEISURE, MAX_LEISURE);
    let mut patience = Patience::default();
    while !shared.is_closed() {
        if let Some(left) = shared.stand_by() {
            // Not tokio's sleep, which counts in whole milliseconds. Nothing else runs on this thread.
            std::thread::sleep(left);
            continue;
        }
        if shared.sleep_while_watched() {
            continue;
        }
        let next = {
            let Some(mut driver) = patience.lock(shared) else {
                std::thread::sleep(GAME_AT_WORK);
                continue;
            };
            shared.begin_stand_in();
            watched.clear_readiness();
            let next = driver.drive(shared.now(), Look::Everywhere { budget: BUDGET });
            shared.begin_lookups(&mut driver);
            shared.publish(&driver);
            if watched.version != driver.sockets_version() {
                // The old ones first: a socket is watched once.
                drop(std::mem::take(&mut watched));
                watched = Watched::new(&driver);
                shared.set_watched_version(watched.version);
            }
            next
        };
        if next.has_more {
            if shared.game_wants_lock() {
                std::thread::sleep(Duration::from_micros(50));
            }
            continue;
        }
        // While datagrams stream in, more will have come when the pause is over: nobody need be told of the first.
        if next.received > 0 && !shared.is_waited_for() && !shared.lookout.is_manned() && !leisure.spend() {
            let left = next
                .at
                .map(|at| shared.instant(at).saturating_duration_since(std::time::Instant::now()));
            std::thread::sleep(left.map_or(PAUSE, |left| left.min(PAUSE)));
            continue;
        }
        watch(shared, &watched, next, &mut leisure).await;
    }
}

/// Lets the game finish what it is at: sending to a thousand peers takes longer than standing by, and is no reason to stand in.
#[derive(Default)]
struct Patience {
    tries: u32,
}

impl Patience {
    /// Takes the lock if the game does not hold it. A game that holds it every time may be one that only sends, so in the end
    /// the lock is waited for.
    fn lock<'a>(&mut self, shared: &'a Shared) -> Option<MutexGuard<'a, Driver>> {
        let driver = shared.try_lock();
        if driver.is_none() && self.tries < MAX_TRIES {
            self.tries += 1;
            return None;
        }
        self.tries = 0;
        Some(driver.unwrap_or_else(|| shared.lock_for_thread()))
    }
}

/// Returns when there is something to do.
async fn watch(shared: &Shared, watched: &Watched, next: Next, leisure: &mut Leisure) {
    let deadline = next.at.map(|at| shared.instant(at));
    let until = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shared.wake.notified() => {}
        () = until => {}
        () = watched.readable() => {
            if !leisure.spend() && !shared.is_waited_for() && !shared.lookout.is_manned() {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// The sockets of the network, as the operating system is asked to watch them. Datagrams are read elsewhere.
#[derive(Default)]
struct Watched {
    version: u64,
    sockets: Vec<WatchedSocket>,
}

/// Asked about reading only: every datagram that another thread sends would wake us up otherwise.
#[cfg(unix)]
type WatchedSocket = tokio::io::unix::AsyncFd<Watch>;
#[cfg(not(unix))]
type WatchedSocket = tokio::net::UdpSocket;

impl Watched {
    fn new(driver: &Driver) -> Self {
        let mut watched = Self {
            version: driver.sockets_version(),
            ..Self::default()
        };
        for watch in driver.watches() {
            match watch_socket(watch) {
                Ok(socket) => watched.sockets.push(socket),
                // The game's own polling still reads it.
                Err(error) => log::warn!("a socket cannot be watched: {error}"),
            }
        }
        watched
    }

    /// Forgets what is ready. Whatever arrives later is told anew, so this must come before the sockets are emptied.
    fn clear_readiness(&self) {
        for socket in &self.sockets {
            #[cfg(unix)]
            let _ = socket.try_io(Interest::READABLE, |_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            #[cfg(not(unix))]
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Returns when one of them has something to read.
    async fn readable(&self) {
        std::future::poll_fn(|context| {
            #[cfg(unix)]
            let is_ready = self
                .sockets
                .iter()
                .any(|socket| socket.poll_read_ready(context).is_ready());
            #[cfg(not(unix))]
            let is_ready = self
                .sockets
                .iter()
                .any(|socket| socket.poll_recv_ready(context).is_ready());
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(unix)]
fn watch_socket(watch: Watch) -> io::Result<WatchedSocket> {
    // SAFETY: the descriptor belongs to what our share keeps open, which never has another.
    let registered = unsafe { WatchedSocket::register_with_interest(watch, Interest::READABLE) };
    Ok(registered?)
}

#[cfg(not(unix))]
fn watch_socket(watch: Watch) -> io::Result<WatchedSocket> {
    let Watch::Udp(socket) = watch;
    WatchedSocket::from_std(socket.try_clone()?)
}
