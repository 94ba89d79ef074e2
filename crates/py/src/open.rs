//! What a network, its peers and its listeners share from the first `listen` or `connect` until `close`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netplay_io::lan::Scope;
use netplay_io::{ListenerId, MAX_DETAIL_LEN, Message, PeerId, Reason, SendError, Target};
use netplay_proto::text::cut;
use netplay_proto::value::Bounds;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::listener::Listener;
use crate::peer::Peer;

/// What is done in Python: how objects become bytes and bytes objects, where it is more than copying, and asking.
pub(crate) struct Codec {
    /// By class, who makes the kind and the bytes of its objects.
    pub(crate) packers: Py<PyDict>,
    /// Makes the bytes of a plain value.
    pub(crate) encode: Py<PyAny>,
    /// Takes the measured bytes of a plain value.
    pub(crate) decode: Py<PyAny>,
    /// Takes a kind from 3 on, its bytes and the peer that sent them.
    pub(crate) unpack: Py<PyAny>,
    /// Takes a peer, data, a channel and a time in seconds or None: asks, and returns the token.
    pub(crate) ask: Py<PyAny>,
    pub(crate) limits: DataLimits,
}

/// What may be sent and may arrive. Looked at for every message and hardly ever set, so it is no lock: one who looks while it
/// is set, on another thread, may find some of the old and some of the new.
pub(crate) struct DataLimits {
    depth: AtomicUsize,
    elements: AtomicUsize,
    length: AtomicUsize,
    int_length: AtomicUsize,
    bad_messages: AtomicU32,
}

impl DataLimits {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            depth: self.depth.load(Relaxed),
            elements: self.elements.load(Relaxed),
            length: self.length.load(Relaxed),
            int_length: self.int_length.load(Relaxed),
        }
    }

    /// How many messages that cannot be read a peer may send and stay.
    pub(crate) fn bad_messages(&self) -> u32 {
        self.bad_messages.load(Relaxed)
    }

    pub(crate) fn set(&self, bounds: Bounds, bad_messages: u32) {
        self.depth.store(bounds.depth, Relaxed);
        self.elements.store(bounds.elements, Relaxed);
        self.length.store(bounds.length, Relaxed);
        self.int_length.store(bounds.int_length, Relaxed);
        self.bad_messages.store(bad_messages, Relaxed);
    }
}

impl Default for DataLimits {
    fn default() -> Self {
        let Bounds {
            depth,
            elements,
            length,
            int_length,
        } = Bounds::default();
        Self {
            depth: depth.into(),
            elements: elements.into(),
            length: length.into(),
            int_length: int_length.into(),
            bad_messages: 0.into(),
        }
    }
}

/// What is shared while a network is open.
///
/// Its locks are held for a moment and never while Python code can run, which includes dropping an object.
pub(crate) struct Open {
    pub(crate) io: netplay_io::Network,
    pub(crate) codec: Arc<Codec>,
    peers: Mutex<BTreeMap<PeerId, Py<Peer>>>,
    listeners: Mutex<BTreeMap<ListenerId, Py<Listener>>>,
    /// The `netplay.Room` of each room, until its last event.
    rooms: Mutex<BTreeMap<u64, Py<PyAny>>>,
    /// Peers being closed because what they sent could not be read, until their last event.
    unreadable: Mutex<BTreeSet<PeerId>>,
    /// How many there were.
    pub(crate) bad_data: AtomicU64,
    /// How many messages were dropped because this side does not take their type.
    pub(crate) refused: AtomicU64,
}

impl Open {
    pub(crate) fn new(codec: Arc<Codec>) -> Arc<Self> {
        Arc::new(Self {
            io: netplay_io::Network::within(lan_scope()),
            codec,
            peers: Mutex::default(),
            listeners: Mutex::default(),
            rooms: Mutex::default(),
            unreadable: Mutex::default(),
            bad_data: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Queues a message; lets go of the interpreter lock only if another thread is at work on the network.
    pub(crate) fn send(
        &self,
        py: Python<'_>,
        to: Target<'_>,
        exclude: &[PeerId],
        message: &Message,
    ) -> Result<usize, SendError> {
        match self.io.try_send(to, exclude, message) {
            Some(result) => result,
            None => py.detach(|| self.io.send(to, exclude, message)),
        }
    }

    /// Queues a message for one peer. A peer that ended since the game last looked takes nothing: its event follows.
    pub(crate) fn send_to_one(&self, py: Python<'_>, peer: &Peer, message: Message) -> PyResult<usize> {
        if peer.is_closed() {
            return Err(errors::PeerClosed::new_err(format!(
                "{} is gone; connect() again, or leave it out",
                peer.describe()
            )));
        }
        let (id, is_lossy) = (peer.io_id, message.delivery.is_lossy);
        let result = match self.io.try_give(id, message) {
            Ok(result) => result,
            Err(message) => py.detach(|| self.io.give(id, message)),
        };
        match result {
            Ok(is_taken) => Ok(usize::from(is_taken)),
            Err(SendError::Closed | SendError::NotConnected) => Ok(0),
            Err(error) => Err(errors::from_send(error, is_lossy)),
        }
    }

    /// Closes a peer for sending what cannot be read.
    pub(crate) fn close_as_unreadable(&self, py: Python<'_>, peer: PeerId, detail: &str) {
        if !lock(&self.unreadable).insert(peer) {
            return; // of what it had sent before, more is being read
        }
        self.bad_data.fetch_add(1, Relaxed);
        let detail = cut(detail, MAX_DETAIL_LEN);
        py.detach(|| self.io.abort_peer(peer, Reason::BadData, detail));
    }

    /// Returns true if a peer is being closed for sending what cannot be read: nothing more of it is wanted.
    pub(crate) fn is_unreadable(&self, peer: PeerId) -> bool {
        self.bad_data.load(Relaxed) > 0 && lock(&self.unreadable).contains(&peer)
    }

    /// Forgets that a peer sent what cannot be read, when its last event has come.
    pub(crate) fn forget_unreadable(&self, peer: PeerId) {
        lock(&self.unreadable).remove(&peer);
    }

    pub(crate) fn add_peer(&self, py: Python<'_>, peer: &Py<Peer>) {
        let old = lock(&self.peers).insert(peer.get().io_id, peer.clone_ref(py));
        drop(old);
    }

    pub(crate) fn peer(&self, py: Python<'_>, id: PeerId) -> Option<Py<Peer>> {
        lock(&self.peers).get(&id).map(|peer| peer.clone_ref(py))
    }

    pub(crate) fn remove_peer(&self, id: PeerId) {
        let old = lock(&self.peers).remove(&id);
        drop(old);
    }

    /// Returns the peers the game knows and that have not ended, in the order they came.
    pub(crate) fn peers(&self, py: Python<'_>) -> Vec<Py<Peer>> {
        let mut peers: Vec<_> = lock(&self.peers).values().map(|peer| peer.clone_ref(py)).collect();
        peers.retain(|peer| !peer.get().is_closed());
        peers
    }

    pub(crate) fn add_room(&self, number: u64, room: Py<PyAny>) {
        let old = lock(&self.rooms).insert(number, room);
        drop(old);
    }

    pub(crate) fn room(&self, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        lock(&self.rooms).get(&number).map(|room| room.clone_ref(py))
    }

    pub(crate) fn remove_room(&self, number: u64) {
        let old = lock(&self.rooms).remove(&number);
        drop(old);
    }

    pub(crate) fn add_listener(&self, py: Python<'_>, listener: &Py<Listener>) {
        let old = lock(&self.listeners).insert(listener.get().id, listener.clone_ref(py));
        drop(old);
    }

    pub(crate) fn remove_listener(&self, id: ListenerId) {
        let old = lock(&self.listeners).remove(&id);
        drop(old);
    }

    pub(crate) fn listeners(&self, py: Python<'_>) -> Vec<Py<Listener>> {
        lock(&self.listeners)
            .values()
            .map(|listener| listener.clone_ref(py))
            .collect()
    }

    /// Marks every peer closed and forgets peers and listeners, which breaks the circle from a peer to here and back.
    pub(crate) fn forget_all(&self) {
        let peers = std::mem::take(&mut *lock(&self.peers));
        let listeners = std::mem::take(&mut *lock(&self.listeners));
        let rooms = std::mem::take(&mut *lock(&self.rooms));
        for peer in peers.values() {
            peer.get().mark_closed();
        }
        drop((peers, listeners, rooms));
    }
}

/// Returns how far games are announced and looked for: with NETPLAY_LAN=machine no other interface than loopback is touched.
fn lan_scope() -> Scope {
    match std::env::var("NETPLAY_LAN").as_deref() {
        Ok("machine") => Scope::Machine,
        _ => Scope::Network,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
