//! The base of the Python class `Network`: sending, taking, and opening and closing what it holds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use netplay_io::{
    ConnectOptions, Event as IoEvent, Identity, Key, Limits, ListenOptions, PeerEvent, PeerId, Reason, Target,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::data::{Unreadable, to_channel, to_message, to_object};
use crate::errors::{self, NotConnected, from_io, from_send};
use crate::event::{Body, Event};
use crate::listener::Listener;
use crate::open::{Codec, Open};
use crate::peer::{Peer, State, hex, printable};

/// How long a wait goes on before it looks for Ctrl-C.
const SLICE: Duration = Duration::from_millis(100);

/// The longest time a wait may be asked for; longer ones are cut to it.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What `netplay.Network` is made on.
#[pyclass(frozen, subclass, weakref, module = "netplay._core")]
pub(crate) struct Network {
    codec: Arc<Codec>,
    /// None before the first `listen` or `connect`, and after `close`.
    open: RwLock<Option<Arc<Open>>>,
    /// A `listen` or `connect` has succeeded since.
    is_used: AtomicBool,
    /// The number of the last peer; it outlives a `close`, so that no two peers of a network have the same.
    last_peer: AtomicU64,
    /// Channels whose messages a handler wants.
    watched: Mutex<[bool; 256]>,
    /// Events that were taken and converted when an interruption came.
    left_over: Mutex<VecDeque<Py<Event>>>,
}

impl Network {
    fn current(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what is open, opening it if nothing is.
    fn opened(&self) -> Arc<Open> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(open.get_or_insert_with(|| Open::new(Arc::clone(&self.codec))))
    }

    fn new_peer(
        &self,
        py: Python<'_>,
        open: &Arc<Open>,
        io_id: PeerId,
        listener: Option<netplay_io::ListenerId>,
        url: String,
    ) -> PyResult<Py<Peer>> {
        let id = self.last_peer.fetch_add(1, Relaxed) + 1;
        let peer = Peer::new(py, open, id, io_id, listener, url)?;
        open.add_peer(py, &peer);
        Ok(peer)
    }

    /// Drives the network and takes at most `max` events, without waiting.
    ///
    /// The interpreter lock is kept unless another thread is at work on the network: to give it away and get it back can
    /// cost a game 5 ms for every other busy Python thread, more than this ever takes.
    fn take(py: Python<'_>, open: &Open, max: usize, out: &mut Vec<PeerEvent>) {
        if open.io.try_take(max, out).is_none() {
            py.detach(|| open.io.take(max, out));
        }
    }

    /// Converts what was taken, in order. What is the remote side's fault closes that peer and is left out.
    fn convert(&self, py: Python<'_>, open: &Arc<Open>, taken: Vec<PeerEvent>) -> PyResult<(Vec<Py<Event>>, bool)> {
        let watched = *lock(&self.watched);
        let mut events = Vec::with_capacity(taken.len());
        let mut is_plain = true;
        let mut last: Option<Py<Peer>> = None;
        let mut interruption = None;
        for PeerEvent {
            peer: id,
            listener,
            event,
        } in taken
        {
            let peer = match last.take_if(|peer| peer.get().io_id == id) {
                Some(peer) => peer,
                None => match open.peer(py, id) {
                    Some(peer) => peer,
                    None => {
                        let url = open.io.peer_url(id).unwrap_or_default();
                        self.new_peer(py, open, id, listener, url)?
                    }
                },
            };
            let body = match event {
                IoEvent::Message {
                    channel,
                    delivery,
                    kind,
                    sequence_id,
                    data,
                } => {
                    if open.is_unreadable(id) {
                        last = Some(peer);
                        continue;
                    }
                    is_plain &= !watched[usize::from(channel)];
                    match to_object(py, kind, &data, &open.codec) {
                        Ok(data) => Body::DataIn {
                            channel,
                            data,
                            sequence_id,
                            is_lossy: delivery.is_lossy,
                        },
                        Err(Unreadable::Bad(detail)) => {
                            open.close_as_unreadable(py, id, detail);
                            last = Some(peer);
                            continue;
                        }
                        Err(Unreadable::Interrupted(error)) => {
                            interruption = Some(error);
                            last = Some(peer);
                            continue;
                        }
                    }
                }
                IoEvent::Connected {
                    remote_name,
                    remote_key,
                    ..
                } => {
                    peer.get().set_connected(&remote_name, &remote_key);
                    Body::Connected
                }
                IoEvent::Lost { time_left } => {
                    peer.get().set_state(State::Lost);
                    Body::Lost {
                        seconds_left: time_left.as_secs_f64(),
                    }
                }
                IoEvent::Resumed { after } => {
                    peer.get().set_state(State::Connected);
                    Body::Resumed {
                        seconds: after.as_secs_f64(),
                    }
                }
                IoEvent::Disconnected { reason, detail } => {
                    peer.get().mark_closed();
                    open.remove_peer(id);
                    let (reason, detail) = match open.take_unreadable(id) {
                        Some(detail) => (Reason::BadData, detail),
                        None => (reason, explained(reason, printable(&detail), peer.get().url())),
                    };
                    Body::Disconnected {
                        reason: reason.name(),
                        detail,
                    }
                }
            };
            is_plain &= matches!(body, Body::DataIn { .. });
            events.push(Py::new(
                py,
                Event {
                    peer: peer.clone_ref(py),
                    body,
                },
            )?);
            last = Some(peer);
        }
        match interruption {
            None => Ok((events, is_plain)),
            Some(error) => {
                lock(&self.left_over).extend(events);
                Err(error)
            }
        }
    }

    /// Reads `to` or `exclude`: a peer, a URL, or several of them.
    fn read_peers(open: &Arc<Open>, who: &Bound<'_, PyAny>, word: &str) -> PyResult<Vec<Py<Peer>>> {
        let one = |who: &Bound<'_, PyAny>| -> PyResult<Option<Py<Peer>>> {
            if let Ok(peer) = who.cast_exact::<Peer>() {
                if !Arc::ptr_eq(&peer.get().open, open) && !peer.get().is_closed() {
                    let text = format!(
                        "{word} is {} of another Network; use the send() of that one",
                        peer.get().describe()
                    );
                    return Err(PyValueError::new_err(text));
                }
                return Ok(Some(peer.clone().unbind()));
            }
            if let Ok(url) = who.cast::<PyString>() {
                let url = url.to_str()?;
                let found = open.peers(who.py()).into_iter().find(|peer| peer.get().url() == url);
                return match found {
                    Some(peer) => Ok(Some(peer)),
                    None => Err(NotConnected::new_err(format!(
                        "no peer has the url {url:?}: call connect({url:?}) first"
                    ))),
                };
            }
            Ok(None)
        };
        if let Some(peer) = one(who)? {
            return Ok(vec![peer]);
        }
        let wrong = |item: &Bound<'_, PyAny>| -> PyErr {
            let name = item
                .get_type()
                .name()
                .map_or_else(|_| "thing".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "{word} is a {name}, it must be None, a Peer, a URL, or several of them"
            ))
        };
        let items = who.try_iter().map_err(|_| wrong(who))?;
        let mut peers = Vec::new();
        for item in items {
            let item = item?;
            peers.push(one(&item)?.ok_or_else(|| wrong(&item))?);
        }
        Ok(peers)
    }
}

#[pymethods]
impl Network {
    #[new]
    fn new(encode: Py<PyAny>, decode: Py<PyAny>) -> Self {
        Self {
            codec: Arc::new(Codec { encode, decode }),
            open: RwLock::new(None),
            is_used: AtomicBool::new(false),
            last_peer: AtomicU64::new(0),
            watched: Mutex::new([false; 256]),
            left_over: Mutex::default(),
        }
    }

    /// Sends a message, and never blocks.
    ///
    /// Args:
    ///     data: A str, bytes, or plain value: None, bool, int, float, list, tuple or dict, in any nesting.
    ///     channel: 0 to 255. Channels never wait for each other.
    ///     lossy: False: it arrives once, resent until it does. True: it may be lost, and is never late.
    ///     to: None for every peer, a Peer, the URL of one, or several of them.
    ///     ordered: True: reliable messages arrive in the order of sending, and a lossy one older than one already
    ///         delivered is dropped. False: whatever arrives, as it arrives.
    ///     exclude: A Peer, or several, to leave out.
    ///
    /// Returns:
    ///     To how many peers. To nobody is fine and gives 0. A reliable message to a peer that is still connecting waits
    ///     for it and counts; a lossy one does not.
    ///
    /// Raises:
    ///     NotConnected: There was no listen() or connect() yet, or close() was called.
    ///     PeerClosed: `to` is one peer, and it is gone.
    ///     MessageTooLarge: More than 16 MiB, or 64 KiB when lossy.
    ///     UnsupportedData: The data cannot travel as what it is.
    ///     ValueError: The channel is not 0 to 255, or a peer belongs to another Network.
    ///     TypeError: `to` or `exclude` is none of the above.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server:
    ///     ...     _ = server.listen("local://docs-send")
    ///     ...     server.send("nobody is here yet")
    ///     0
    #[pyo3(
        signature = (data, channel = None, lossy = false, *, to = None, ordered = true, exclude = None),
        text_signature = "($self, data, channel=0, lossy=False, *, to=None, ordered=True, exclude=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn send(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        channel: Option<&Bound<'_, PyAny>>,
        lossy: bool,
        to: Option<&Bound<'_, PyAny>>,
        ordered: bool,
        exclude: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let Some(open) = self.current().filter(|_| self.is_used.load(Relaxed)) else {
            return Err(NotConnected::new_err(
                "there is nobody to send to: call listen() or connect() first",
            ));
        };
        let message = to_message(data, channel, lossy, ordered, &open.codec)?;
        let excluded: Vec<PeerId> = match exclude {
            None => Vec::new(),
            Some(who) => Self::read_peers(&open, who, "exclude")?
                .iter()
                .map(|peer| peer.get().io_id)
                .collect(),
        };
        let result = match to {
            None => open.send(py, Target::All, &excluded, &message),
            Some(who) => {
                let peers = Self::read_peers(&open, who, "to")?;
                let is_one = who.cast_exact::<Peer>().is_ok() || who.cast::<PyString>().is_ok();
                if is_one && excluded.is_empty() {
                    return open.send_to_one(py, peers[0].get(), &message);
                }
                let ids: Vec<PeerId> = peers
                    .iter()
                    .filter(|peer| !peer.get().is_closed())
                    .map(|peer| peer.get().io_id)
                    .collect();
                open.send(py, Target::Many(&ids), &excluded, &message)
            }
        };
        result.map_err(|error| from_send(error, lossy))
    }

    /// Takes at most `limit` events, waiting up to `timeout` seconds for the first. Also says whether all of them are
    /// messages on channels that no handler watches.
    fn _take<'py>(&self, py: Python<'py>, limit: usize, timeout: f64) -> PyResult<(Bound<'py, PyList>, bool)> {
        let left_over: Vec<Py<Event>> = lock(&self.left_over).drain(..).collect();
        if !left_over.is_empty() {
            return Ok((PyList::new(py, left_over)?, false));
        }
        let until = deadline(timeout);
        loop {
            let open = self.current();
            let mut is_plain = true;
            let mut events = Vec::new();
            if let Some(open) = &open {
                let mut taken = Vec::new();
                Self::take(py, open, limit, &mut taken);
                if !taken.is_empty() {
                    (events, is_plain) = self.convert(py, open, taken)?;
                }
            }
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            if !events.is_empty() || left.is_zero() {
                return Ok((PyList::new(py, events)?, is_plain));
            }
            let slice = left.min(SLICE);
            py.detach(|| match &open {
                Some(open) if open.io.is_open() => drop(open.io.wait(slice)),
                // Nothing can arrive, but another thread may call listen() or connect() meanwhile.
                _ => std::thread::sleep(slice),
            });
            py.check_signals()?;
        }
    }

    /// Says whether a handler wants the messages of a channel.
    fn _watch(&self, channel: &Bound<'_, PyAny>, is_watched: bool) -> PyResult<u8> {
        let number = to_channel(channel)?;
        lock(&self.watched)[usize::from(number)] = is_watched;
        Ok(number)
    }

    /// Returns what waits for events that nobody takes; None while nothing is open. It does not keep the network alive.
    fn _watcher(&self) -> Option<Watcher> {
        self.current().map(|open| Watcher { open })
    }

    #[pyo3(signature = (url, *, name, version, password, max_peers, secret_key))]
    #[allow(clippy::too_many_arguments)]
    fn _listen(
        &self,
        py: Python<'_>,
        url: &str,
        name: String,
        version: String,
        password: Option<String>,
        max_peers: usize,
        secret_key: Key,
    ) -> PyResult<Py<Listener>> {
        let identity = Identity::from_secret(secret_key);
        let key = hex(&identity.public_key());
        let options = ListenOptions {
            name,
            version,
            password,
            max_peers,
            identity,
            limits: Limits::default(),
        };
        let open = self.opened();
        let info = py.detach(|| open.io.listen(url, options)).map_err(from_io)?;
        self.is_used.store(true, Relaxed);
        let listener = Listener::new(py, &open, info, key)?;
        open.add_listener(py, &listener);
        Ok(listener)
    }

    #[pyo3(signature = (url, *, name, version, password, timeout, pinned_key))]
    #[allow(clippy::too_many_arguments)]
    fn _connect(
        &self,
        py: Python<'_>,
        url: &str,
        name: String,
        version: String,
        password: Option<String>,
        timeout: f64,
        pinned_key: Option<Key>,
    ) -> PyResult<Py<Peer>> {
        let limits = Limits::default();
        let options = ConnectOptions {
            name,
            version,
            password,
            timeout: duration(timeout),
            pinned_key,
            limits,
        };
        let open = self.opened();
        let id = py.detach(|| open.io.connect(url, options)).map_err(from_io)?;
        self.is_used.store(true, Relaxed);
        self.new_peer(py, &open, id, None, url.to_owned())
    }

    /// The peers that have not ended, in the order they came; also those still being connected to.
    #[getter]
    fn peers(&self, py: Python<'_>) -> Vec<Py<Peer>> {
        self.current().map_or_else(Vec::new, |open| open.peers(py))
    }

    /// The listeners that are open, in the order they were opened.
    #[getter]
    fn listeners(&self, py: Python<'_>) -> Vec<Py<Listener>> {
        self.current().map_or_else(Vec::new, |open| open.listeners(py))
    }

    /// Returns what the core counts.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let open = self.current();
        let stats = PyDict::new(py);
        stats.set_item(
            "events_waiting",
            open.as_ref().map_or(0, |open| open.io.events_waiting()),
        )?;
        stats.set_item(
            "closed_for_bad_data",
            open.as_ref().map_or(0, |open| open.bad_data.load(Relaxed)),
        )?;
        Ok(stats)
    }

    /// Says goodbye to everybody, waits up to `linger` seconds until all know, and lets go of everything.
    fn _close(&self, py: Python<'_>, linger: f64) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        self.is_used.store(false, Relaxed);
        let left_over = std::mem::take(&mut *lock(&self.left_over));
        drop(left_over);
        if let Some(open) = open {
            open.forget_all();
            py.detach(|| open.io.close(duration(linger)));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Peers that the game still holds keep what they share alive, but not the thread and the sockets.
        if let Some(open) = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            open.forget_all();
            open.io.close(Duration::ZERO);
        }
    }
}

/// Waits for events that nobody takes. Ends when the network is closed or gone.
#[pyclass(frozen, module = "netplay._core", name = "_Watcher")]
pub(crate) struct Watcher {
    open: Arc<Open>,
}

#[pymethods]
impl Watcher {
    /// Waits until events have been waiting for this many seconds without being taken: True; False when closed.
    fn wait(&self, py: Python<'_>, seconds: f64) -> bool {
        py.detach(|| self.open.io.wait_stalled(duration(seconds)))
    }
}

/// Returns a new secret key from the operating system's randomness.
#[pyfunction]
pub(crate) fn _generate_key(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let key = netplay_io::generate_key().map_err(|error| errors::NetworkFailed::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &key))
}

/// Returns how many elements an encoded value has.
#[pyfunction]
pub(crate) fn _measure(data: &[u8]) -> PyResult<usize> {
    crate::measure::measure(data).map_err(|problem| PyValueError::new_err(problem.to_string()))
}

/// Adds to a reason's detail what the player can do about it, where netplay knows.
fn explained(reason: Reason, detail: String, url: &str) -> String {
    if reason != Reason::KeyChanged {
        return detail;
    }
    let advice = format!(
        "the server has another key than last time: it was set up anew, or somebody pretends to be it; \
         to trust the new key call netplay.forget({url:?})"
    );
    if detail.is_empty() {
        advice
    } else {
        format!("{detail}; {advice}")
    }
}

/// Converts seconds; what is negative or no number is zero.
fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).map_or(LONGEST_WAIT, |long| long.min(LONGEST_WAIT))
    } else {
        Duration::ZERO
    }
}

/// Returns when a wait ends; None if there is nothing to wait for.
fn deadline(timeout: f64) -> Option<Instant> {
    let timeout = duration(timeout);
    if timeout.is_zero() {
        None
    } else {
        Instant::now().checked_add(timeout)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
