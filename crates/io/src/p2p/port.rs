//! What a slot sees of iroh: a queue of arrivals, tunnels by number, and sending that never waits.
//!
//! As with UDP, what does not fit is lost. It must not know the protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{Connection, SendDatagramError, VarInt};
use iroh::{EndpointId, SecretKey};
use netplay_proto::{ConnectionId, Key, Timestamp};

use super::node::Node;
use super::{Arrival, Contact, Terms, Way};
use crate::local::Rouse;

/// How many datagrams wait for one port; those beyond are lost, as in a socket's buffer.
const QUEUE_LEN: usize = 4096;

/// How many tunnels a port has at most; who comes then is not let in.
const MAX_TUNNELS: usize = 1024;

/// How often the endpoint is asked which tunnels it uses, and how long one that it does not use is kept.
const SWEEP: Duration = Duration::from_secs(1);
const UNUSED_FOR: Duration = Duration::from_secs(10);

/// How long opening a listener may take; it is a matter of milliseconds.
const BIND_TIME: Duration = Duration::from_secs(5);

/// No number is used again in this process.
static LAST_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Reads the id of a port, as it is in a URL.
pub(crate) fn check_id(text: &str) -> Result<Key, String> {
    let id = EndpointId::from_z32(text).map_err(|_| {
        format!("{text:?} is no endpoint id; it has 52 letters and digits, as a listener's own URL shows it")
    })?;
    Ok(*id.as_bytes())
}

/// Returns the id of the port that is opened with this secret, as it is in a URL.
pub(crate) fn id_of(secret: &Key) -> String {
    SecretKey::from_bytes(secret).public().to_z32()
}

/// An iroh endpoint, and what it has to tell. Closes when dropped.
pub(crate) struct Port {
    node: Arc<Node>,
    inbox: Arc<Inbox>,
}

/// What the tasks of iroh fill and whoever drives empties.
pub(super) struct Inbox {
    state: Mutex<State>,
    rouse: Rouse,
}

#[derive(Default)]
struct State {
    arrivals: VecDeque<Arrival>,
    /// How many of them are datagrams.
    datagrams: usize,
    tunnels: BTreeMap<u32, Tunnel>,
    /// Calls that are being made.
    dials: BTreeSet<ConnectionId>,
    swept: Timestamp,
    is_closed: bool,
}

struct Tunnel {
    connection: Connection,
    way: Way,
    size: usize,
    /// When somebody used it last; None until the first sweep.
    used: Option<Timestamp>,
}

impl Port {
    /// Opens a port that takes calls. Blocks until it is open.
    pub(crate) fn listen(terms: &Terms, rouse: Rouse) -> io::Result<Self> {
        let port = Self::new(terms, true, rouse)?;
        let (tell, told) = mpsc::sync_channel(1);
        port.node.start(&port.inbox, move |result| _ = tell.send(result));
        told.recv_timeout(BIND_TIME)
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(port)
    }

    /// Makes a port to call from. It opens with the first call.
    pub(crate) fn open(terms: &Terms, rouse: Rouse) -> io::Result<Self> {
        Self::new(terms, false, rouse)
    }

    fn new(terms: &Terms, is_listening: bool, rouse: Rouse) -> io::Result<Self> {
        Ok(Self {
            node: Node::new(terms.clone(), is_listening)?,
            inbox: Arc::new(Inbox {
                state: Mutex::default(),
                rouse,
            }),
        })
    }

    /// Returns where it is bound.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.node.addresses()
    }

    /// Returns true once a relay has let it in.
    pub(crate) fn has_reached_relay(&self) -> bool {
        self.node.has_reached_relay()
    }

    /// Begins to open a tunnel, unless that is being done for this caller already.
    pub(crate) fn dial(&self, caller: ConnectionId, contact: &Contact) {
        if self.inbox.lock().dials.insert(caller) {
            self.node.dial(&self.inbox, caller, contact);
        }
    }

    /// Takes out the oldest arrival.
    pub(crate) fn receive(&self) -> Option<Arrival> {
        let mut state = self.inbox.lock();
        let arrival = state.arrivals.pop_front()?;
        state.datagrams -= usize::from(matches!(arrival, Arrival::Datagram { .. }));
        Some(arrival)
    }

    /// Sends datagrams of this size, the last may be shorter, and returns how many iroh has taken.
    pub(crate) fn send(&self, number: u32, bytes: &[u8], size: usize) -> usize {
        let connection = match self.inbox.lock().tunnels.get(&number) {
            Some(tunnel) => tunnel.connection.clone(),
            None => return 0,
        };
        let mut sent = 0;
        for datagram in bytes.chunks(size.max(1)) {
            match connection.send_datagram(Bytes::copy_from_slice(datagram)) {
                Ok(()) => sent += 1,
                // The way has become narrower: what is made from now on fits.
                Err(SendDatagramError::TooLarge) => self.inbox.handle_size(number, &connection),
                Err(_) => break,
            }
        }
        sent
    }

    /// Returns true if it is time to [`sweep`](Self::sweep).
    pub(crate) fn is_sweep_due(&self, now: Timestamp) -> bool {
        let state = self.inbox.lock();
        !state.tunnels.is_empty() && now >= state.swept + SWEEP
    }

    /// Closes the tunnels that nobody has used for a while.
    pub(crate) fn sweep(&self, now: Timestamp, used: &BTreeSet<u32>) {
        let mut state = self.inbox.lock();
        state.swept = now;
        for (number, tunnel) in &mut state.tunnels {
            if used.contains(number) || tunnel.used.is_none() {
                tunnel.used = Some(now);
            } else if tunnel.used.is_some_and(|used| now >= used + UNUSED_FOR) {
                // Its task takes note of the end.
                tunnel.connection.close(VarInt::from_u32(0), b"unused");
            }
        }
    }

    /// Ends every tunnel.
    pub(crate) fn cut(&self) {
        for tunnel in self.inbox.lock().tunnels.values() {
            tunnel.connection.close(VarInt::from_u32(1), b"cut");
        }
    }

    /// Returns when it must be swept next.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let state = self.inbox.lock();
        (!state.tunnels.is_empty()).then(|| state.swept + SWEEP)
    }

    /// Returns where a tunnel leads now; None if it has ended.
    pub(crate) fn way(&self, number: u32) -> Option<Way> {
        self.inbox.lock().tunnels.get(&number).map(|tunnel| tunnel.way.clone())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        state.is_closed = true;
        state.arrivals.clear();
        drop(state);
        self.node.close();
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and every step leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if nobody reads it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Returns true if there is room for one more tunnel.
    pub(super) fn has_room(&self) -> bool {
        self.lock().tunnels.len() < MAX_TUNNELS
    }

    /// Takes in a tunnel, and returns its number.
    pub(super) fn open(&self, connection: &Connection, caller: Option<ConnectionId>, way: Way) -> u32 {
        let number = LAST_NUMBER.fetch_add(1, Relaxed).wrapping_add(1);
        let size = connection.max_datagram_size().unwrap_or(0);
        let mut state = self.lock();
        if let Some(caller) = &caller {
            state.dials.remove(caller);
        }
        let tunnel = Tunnel {
            connection: connection.clone(),
            way,
            size,
            used: None,
        };
        state.tunnels.insert(number, tunnel);
        state.arrivals.push_back(Arrival::Opened { number, caller });
        state.arrivals.push_back(Arrival::Size { number, size });
        drop(state);
        (self.rouse)();
        number
    }

    /// Takes note that a tunnel could not be opened.
    pub(super) fn fail(&self, caller: ConnectionId) {
        let mut state = self.lock();
        state.dials.remove(&caller);
        state.arrivals.push_back(Arrival::Failed { caller });
        drop(state);
        (self.rouse)();
    }

    /// Takes in datagrams; those for which there is no room are lost.
    pub(super) fn push(&self, number: u32, datagrams: &mut [Bytes]) {
        let mut state = self.lock();
        for bytes in datagrams {
            if state.datagrams < QUEUE_LEN {
                state.datagrams += 1;
                let bytes = std::mem::take(bytes);
                state.arrivals.push_back(Arrival::Datagram { number, bytes });
            }
        }
        drop(state);
        (self.rouse)();
    }

    /// Takes note of where a tunnel leads.
    pub(super) fn handle_way(&self, number: u32, way: Way) {
        let mut state = self.lock();
        let Some(tunnel) = state.tunnels.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(&mut tunnel.way, way).is_direct;
        // What is first known of a tunnel is no change.
        if let (Some(before), Some(is_direct)) = (before, tunnel.way.is_direct)
            && before != is_direct
        {
            state.arrivals.push_back(Arrival::Route { number, is_direct });
            drop(state);
            (self.rouse)();
        }
    }

    /// Takes note of how large datagrams may be now.
    pub(super) fn handle_size(&self, number: u32, connection: &Connection) {
        let size = connection.max_datagram_size().unwrap_or(0);
        let mut state = self.lock();
        if let Some(tunnel) = state.tunnels.get_mut(&number)
            && std::mem::replace(&mut tunnel.size, size) != size
        {
            state.arrivals.push_back(Arrival::Size { number, size });
            drop(state);
            (self.rouse)();
        }
    }

    /// Takes note that a tunnel has ended.
    pub(super) fn close(&self, number: u32) {
        let mut state = self.lock();
        state.tunnels.remove(&number);
        state.arrivals.push_back(Arrival::Closed { number });
        drop(state);
        (self.rouse)();
    }
}
