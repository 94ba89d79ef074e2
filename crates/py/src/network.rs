//! The base of the Python class `Network`: sending, taking, and opening and closing what it holds.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use netplay_io::lan::{Advertise, FinderId};
use netplay_io::rooms::{Code, RoomId, RoomOptions, Way};
use netplay_io::{
    Ban, ConnectOptions, Identity, IncomingRate, Key, Limits, ListenOptions, PeerId, Reason, Seat, SendError, Target,
    Transport,
};
use netplay_proto::value::{Bounds, MAX_DEPTH, fold, measure};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::data::{bounds, to_channel, to_message};
use crate::errors::{self, NotConnected, from_io, from_send};
use crate::inbox::Inbox;
use crate::listener::Listener;
use crate::open::{Codec, DataLimits, Open};
use crate::peer::{Peer, hex};
use crate::recipients::read_peers;

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
    inbox: Inbox,
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
}

#[pymethods]
impl Network {
    #[new]
    fn new(packers: Py<PyDict>, encode: Py<PyAny>, decode: Py<PyAny>, unpack: Py<PyAny>, ask: Py<PyAny>) -> Self {
        Self {
            codec: Arc::new(Codec {
                packers,
                encode,
                decode,
                unpack,
                ask,
                limits: DataLimits::default(),
            }),
            open: RwLock::new(None),
            is_used: AtomicBool::new(false),
            inbox: Inbox::default(),
        }
    }

    /// Sends a message, and never blocks.
    ///
    /// Args:
    ///     data: A str, bytes, or plain value: None, bool, int, float, list, tuple or dict, in any nesting.
    ///     channel: 0 to 255. Channels never wait for each other.
    ///     lossy: False: it arrives once, resent until it does. True: it may be lost, and is never late.
    ///     to: None for every peer, a Peer, a URL, or several of them. A URL to which there is no connection is connected to in
    ///         the background, with the defaults of `connect()`: what is sent waits in order, the connection is used again, and
    ///         closed when nothing has passed for 30 s; that it failed is a NETWORK_DISCONNECTED. To `udp://` one datagram
    ///         goes out, with no connection and no peer.
    ///     ordered: True: reliable messages arrive in the order of sending, and a lossy one older than one already
    ///         delivered is dropped. False: whatever arrives, as it arrives.
    ///     exclude: A Peer, or several, to leave out.
    ///
    /// Returns:
    ///     To how many peers. To nobody is fine and gives 0. A reliable message to a peer that is still connecting waits
    ///     for it and counts; a lossy one does not.
    ///
    /// Raises:
    ///     NotConnected: There was no listen() or connect() yet, or close() was called; unless `to` is a URL.
    ///     PeerClosed: `to` is one peer, and it is gone.
    ///     BadURL: `to` is a URL that cannot be read, or is not one to connect to.
    ///     MessageTooLarge: More than 16 MiB, 64 KiB when lossy, or 65,507 bytes to `udp://`.
    ///     UnsupportedData: The data cannot travel as what it is; to `tcp://`, `udp://` and `enet://` only bytes and str can, which
    ///         arrives as UTF-8.
    ///     ValueError: The channel is not 0 to 255, or is one that a peer does not have (`tcp://` and `udp://` have 0 alone,
    ///         `enet://` up to 254); it is lossy to `tcp://`; or a peer belongs to another Network.
    ///     TypeError: `to` or `exclude` is none of the above, or the channel is no int.
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
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        channel: Option<&Bound<'_, PyAny>>,
        lossy: bool,
        to: Option<&Bound<'_, PyAny>>,
        ordered: bool,
        exclude: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let this = slf.get();
        let open = this.current().filter(|_| this.is_used.load(Relaxed));
        let Some(open) = open.or_else(|| to.is_some_and(has_url).then(|| this.opened())) else {
            return Err(NotConnected::new_err(
                "there is nobody to send to: call listen() or connect() first",
            ));
        };
        let message = to_message(data, channel, lossy, ordered, &open.codec)?;
        let excluded: Vec<PeerId> = match exclude {
            None => Vec::new(),
            // Not the closed ones: they may be of an earlier connection, whose numbers are given out again.
            Some(who) => ids(&read_peers(&open, who, "exclude", &mut not_found)?),
        };
        let result = match to {
            None => open.send(py, Target::All, &excluded, &message),
            Some(who) => {
                let mut datagrams = 0;
                let mut call = |url: &str| -> PyResult<Option<Py<Peer>>> {
                    if url.starts_with("udp://") {
                        py.detach(|| open.io.send_datagram(url, &message)).map_err(from_io)?;
                        datagrams += 1;
                        return Ok(None);
                    }
                    let peer = slf.call_method1("_connect_for_now", (url,))?;
                    Ok(Some(peer.cast_into::<Peer>()?.unbind()))
                };
                let mut peers = read_peers(&open, who, "to", &mut call)?;
                let is_one = who.cast_exact::<Peer>().is_ok() || who.cast::<PyString>().is_ok();
                if is_one
                    && excluded.is_empty()
                    && let [peer] = &peers[..]
                {
                    let Ok(url) = who.cast::<PyString>() else {
                        return open.send_to_one(py, peer.get(), message);
                    };
                    match open.send(py, Target::One(peer.get().io_id), &[], &message) {
                        // It has ended, and the game is about to learn so: a URL means whoever is there.
                        Err(SendError::Closed) => peers = call(url.to_str()?)?.into_iter().collect(),
                        result => return result.map_err(|error| from_send(error, lossy)),
                    }
                }
                open.send(py, Target::Many(&ids(&peers)), &excluded, &message)
                    .map(|count| count + datagrams)
            }
        };
        result.map_err(|error| from_send(error, lossy))
    }

    /// Takes at most `num_bytes` bytes that have arrived from a `tcp://` peer, and never waits.
    ///
    /// The bytes of a stream come in order, each once: as NETWORK_DATA_IN events, until the first call of this for that peer;
    /// from then on only here, and what has not been handed out as an event yet is the first. So call it with 0 right after
    /// connect() or NETWORK_CONNECTED to get everything here. The peer's NETWORK_DISCONNECTED comes when all has been taken.
    ///
    /// Args:
    ///     peer: A peer of `tcp://`.
    ///     num_bytes: How many at most.
    ///
    /// Returns:
    ///     The bytes; b"" when none are waiting, or the peer is gone.
    ///
    /// Raises:
    ///     ValueError: The peer is none of `tcp://`, or belongs to another Network; or `num_bytes` is below 0.
    ///     TypeError: `peer` is no Peer.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server, netplay.Network() as client:
    ///     ...     listener = server.listen("tcp://127.0.0.1:0")
    ///     ...     peer = client.connect(listener.url)
    ///     ...     client.recv(peer, 1024)
    ///     b''
    fn recv<'py>(&self, py: Python<'py>, peer: &Peer, num_bytes: isize) -> PyResult<Bound<'py, PyBytes>> {
        let Ok(max) = usize::try_from(num_bytes) else {
            return Err(PyValueError::new_err(format!(
                "num_bytes is {num_bytes}, it must be 0 or more"
            )));
        };
        if !peer.url().starts_with("tcp://") {
            return Err(PyValueError::new_err(format!(
                "{} is no stream: recv() is for peers of tcp://, the messages of others are events",
                peer.describe()
            )));
        }
        let is_ours = self.current().is_some_and(|open| Arc::ptr_eq(&open, &peer.open));
        if !is_ours && !peer.is_closed() {
            return Err(PyValueError::new_err(format!(
                "{} belongs to another Network; use the recv() of that one",
                peer.describe()
            )));
        }
        let bytes = py.detach(|| peer.open.io.receive(peer.io_id, max)).unwrap_or_default();
        Ok(PyBytes::new(py, &bytes))
    }

    /// Closes a peer by itself when nothing has passed for some seconds.
    fn _close_when_idle(&self, py: Python<'_>, peer: &Peer, seconds: f64) {
        py.detach(|| peer.open.io.close_when_idle(peer.io_id, duration(seconds)));
    }

    /// Takes at most `limit` events, waiting up to `timeout` seconds for the first. Also says whether all of them are
    /// messages on channels that no handler watches.
    fn _take<'py>(&self, py: Python<'py>, limit: usize, timeout: f64) -> PyResult<(Bound<'py, PyList>, bool)> {
        let until = deadline(timeout);
        loop {
            let open = self.current();
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            let (events, is_plain) = self.inbox.take(py, open.as_ref(), limit, left.is_zero())?;
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
        self.inbox.watch(number, is_watched);
        Ok(number)
    }

    /// Returns what waits for events that nobody takes; None while nothing is open. It does not keep the network alive.
    fn _watcher(&self) -> Option<Watcher> {
        self.current().map(|open| Watcher { open })
    }

    #[pyo3(signature = (url, *, name, version, password, max_peers, max_messages, max_rate, send_rate, copies, grace, transports, certificate, relay, advertise, secret_key))]
    #[allow(clippy::too_many_arguments)]
    fn _listen(
        &self,
        py: Python<'_>,
        url: &str,
        name: String,
        version: String,
        password: Option<String>,
        max_peers: usize,
        max_messages: Option<u64>,
        max_rate: Option<u64>,
        send_rate: Option<u64>,
        copies: f64,
        grace: f64,
        transports: Option<Vec<String>>,
        certificate: Option<(PathBuf, PathBuf)>,
        relay: Option<String>,
        advertise: Option<(String, String)>,
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
            transports: transports.map(to_transports).transpose()?,
            certificate,
            relay,
            p2p_secret: None,
            advertise: advertise.map(|(app, title)| Advertise { app, title }),
            limits: Limits {
                incoming: IncomingRate {
                    messages: max_messages,
                    bytes: max_rate,
                },
                send_rate,
                copies,
                grace: duration(grace),
                ..Limits::default()
            },
        };
        let open = self.opened();
        let info = py.detach(|| open.io.listen(url, options)).map_err(from_io)?;
        self.is_used.store(true, Relaxed);
        let listener = Listener::new(py, &open, info, key)?;
        open.add_listener(py, &listener);
        Ok(listener)
    }

    #[pyo3(signature = (url, *, name, version, password, timeout, send_rate, copies, grace, relay, pinned_key, secret_key, seat))]
    #[allow(clippy::too_many_arguments)]
    fn _connect(
        &self,
        py: Python<'_>,
        url: &str,
        name: String,
        version: String,
        password: Option<String>,
        timeout: f64,
        send_rate: Option<u64>,
        copies: f64,
        grace: f64,
        relay: Option<String>,
        pinned_key: Option<Key>,
        secret_key: Option<Key>,
        seat: Option<Seat>,
    ) -> PyResult<Py<Peer>> {
        let limits = Limits {
            send_rate,
            copies,
            grace: duration(grace),
            ..Limits::default()
        };
        let options = ConnectOptions {
            name,
            version,
            password,
            timeout: duration(timeout),
            pinned_key,
            identity: secret_key.map(Identity::from_secret),
            seat,
            relay,
            limits,
        };
        let open = self.opened();
        let id = py.detach(|| open.io.connect(url, options)).map_err(from_io)?;
        self.is_used.store(true, Relaxed);
        self.inbox.new_peer(py, &open, id, None, url.to_owned())
    }

    /// Begins a room of our own, or joins one; `room` is what its events are given. Returns its number.
    #[pyo3(signature = (room, *, is_host, code, app, name, version, password, max_peers, is_star, timeout, door, relay))]
    #[allow(clippy::too_many_arguments)]
    fn _open_room(
        &self,
        room: Py<PyAny>,
        is_host: bool,
        code: &str,
        app: String,
        name: String,
        version: String,
        password: Option<String>,
        max_peers: usize,
        is_star: bool,
        timeout: f64,
        door: Option<String>,
        relay: Option<String>,
    ) -> PyResult<u64> {
        let options = RoomOptions {
            app,
            code: Code::parse(code).map_err(PyValueError::new_err)?,
            name,
            version,
            password,
            max_members: max_peers,
            is_star,
            timeout: duration(timeout),
            way: Way::new(door, relay).map_err(from_io)?,
        };
        let open = self.opened();
        let id = if is_host {
            open.io.host_room(options)
        } else {
            open.io.join_room(options)
        };
        let id = id.map_err(from_io)?.0;
        self.is_used.store(true, Relaxed);
        open.add_room(id, room);
        Ok(id)
    }

    /// Leaves a room.
    fn _leave_room(&self, py: Python<'_>, number: u64) {
        if let Some(open) = self.current() {
            py.detach(|| open.io.leave_room(RoomId(number)));
        }
    }

    /// Starts to look for games of an app on the local network, and returns the number of the finder.
    fn _find(&self, py: Python<'_>, app: &str) -> PyResult<u64> {
        let open = self.opened();
        py.detach(|| open.io.find(app)).map(|finder| finder.0).map_err(from_io)
    }

    /// Stops to look.
    fn _stop_finding(&self, py: Python<'_>, finder: u64) {
        if let Some(open) = self.current() {
            py.detach(|| open.io.stop_finding(FinderId(finder)));
        }
    }

    /// Sets what one value that is sent or arrives may be, and how much of a peer may be beyond it before it is closed.
    #[pyo3(signature = (*, depth, elements, length, int_length, bad_messages))]
    fn _limit(
        &self,
        depth: usize,
        elements: usize,
        length: usize,
        int_length: usize,
        bad_messages: u32,
    ) -> PyResult<()> {
        if !(1..=MAX_DEPTH).contains(&depth) {
            return Err(PyValueError::new_err(format!(
                "depth is {depth}, it may be 1 to {MAX_DEPTH}"
            )));
        }
        let bounds = Bounds {
            depth,
            elements,
            length,
            int_length,
        };
        self.codec.limits.set(bounds, bad_messages);
        Ok(())
    }

    /// Bans an address, a range or a key, for some seconds or until the network is closed.
    #[pyo3(signature = (who, seconds))]
    fn _ban(&self, py: Python<'_>, who: &str, seconds: Option<f64>) -> PyResult<()> {
        let ban = read_ban(who)?;
        // What is longer than any time there is, is for good.
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let open = self.opened();
        py.detach(|| open.io.ban(ban, time)).map_err(from_io)
    }

    /// Ends a peer of this network at once because it is banned.
    fn _end_banned(&self, py: Python<'_>, peer: &Peer) {
        if let Some(open) = self.current().filter(|open| Arc::ptr_eq(open, &peer.open)) {
            py.detach(|| open.io.abort_peer(peer.io_id, Reason::Banned, ""));
        }
    }

    /// Ends a peer of this network because what it sends is not to be borne; the detail says what.
    fn _end_unreadable(&self, py: Python<'_>, peer: &Peer, detail: &str) {
        if let Some(open) = self.current().filter(|open| Arc::ptr_eq(open, &peer.open)) {
            open.close_as_unreadable(py, peer.io_id, detail);
        }
    }

    /// Lifts a ban; False if there is none.
    fn _unban(&self, py: Python<'_>, who: &str) -> PyResult<bool> {
        let ban = read_ban(who)?;
        Ok(self.current().is_some_and(|open| py.detach(|| open.io.unban(ban))))
    }

    /// Returns who is banned, and for how many seconds more; None until the network is closed.
    fn _bans(&self, py: Python<'_>) -> Vec<(String, Option<f64>)> {
        let bans = self
            .current()
            .map_or_else(Vec::new, |open| py.detach(|| open.io.bans()));
        let words = |(ban, left): (Ban, Option<Duration>)| (ban.to_string(), left.map(|left| left.as_secs_f64()));
        bans.into_iter().map(words).collect()
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
            "bans",
            open.as_ref().map_or(0, |open| py.detach(|| open.io.bans().len())),
        )?;
        stats.set_item(
            "games_refused",
            open.as_ref()
                .map_or(0, |open| py.detach(|| open.io.sightings_refused())),
        )?;
        stats.set_item(
            "closed_for_bad_data",
            open.as_ref().map_or(0, |open| open.bad_data.load(Relaxed)),
        )?;
        stats.set_item(
            "messages_refused",
            open.as_ref().map_or(0, |open| open.refused.load(Relaxed)),
        )?;
        Ok(stats)
    }

    /// Says goodbye to everybody, waits up to `linger` seconds until all know, and lets go of everything.
    fn _close(&self, py: Python<'_>, linger: f64) {
        self.let_go(py, |open| open.io.close(duration(linger)));
    }

    /// Lets go of everything without a word to anybody, so that seats elsewhere are kept for the next process.
    fn _vanish(&self, py: Python<'_>) {
        self.let_go(py, |open| open.io.vanish());
    }
}

impl Network {
    fn let_go(&self, py: Python<'_>, close: impl FnOnce(&Open) + Send) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        self.is_used.store(false, Relaxed);
        self.inbox.clear();
        if let Some(open) = open {
            open.forget_all();
            py.detach(|| close(&open));
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

/// Makes a code for a room, by chance.
#[pyfunction]
pub(crate) fn _make_code() -> PyResult<String> {
    Code::generate().map(|code| code.to_string()).map_err(from_io)
}

/// Reads a room's code as a player types it, and writes it as it is shown.
#[pyfunction]
pub(crate) fn _read_code(text: &str) -> PyResult<String> {
    Code::parse(text)
        .map(|code| code.to_string())
        .map_err(|problem| PyValueError::new_err(format!("{text:?} is no code of a room: {problem}")))
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
    measure(data, &bounds()).map_err(|problem| PyValueError::new_err(problem.to_string()))
}

/// Returns an encoded value as it travels, measured: a list of dicts with the same keys has these once.
#[pyfunction]
pub(crate) fn _fold<'py>(data: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
    match fold(data.as_bytes(), &bounds()) {
        Ok(Cow::Borrowed(_)) => Ok(data.clone()),
        Ok(Cow::Owned(folded)) => Ok(PyBytes::new(data.py(), &folded)),
        Err(problem) => Err(PyValueError::new_err(problem.to_string())),
    }
}

/// Returns true if it is a URL, or a list or tuple with one.
fn has_url(who: &Bound<'_, PyAny>) -> bool {
    let is_url = |item: Bound<'_, PyAny>| item.is_instance_of::<PyString>();
    who.is_instance_of::<PyString>()
        || who.cast::<PyList>().is_ok_and(|items| items.iter().any(is_url))
        || who.cast::<PyTuple>().is_ok_and(|items| items.iter().any(is_url))
}

/// Refuses a URL that no peer has.
fn not_found(url: &str) -> PyResult<Option<Py<Peer>>> {
    Err(NotConnected::new_err(format!("no peer has the url {url:?}")))
}

fn to_transports(names: Vec<String>) -> PyResult<Vec<Transport>> {
    let to_transport = |name: String| match name.as_str() {
        "udp" => Ok(Transport::Udp),
        "tcp" => Ok(Transport::Tcp),
        "ws" => Ok(Transport::Ws),
        "wss" => Ok(Transport::Wss),
        _ => Err(PyValueError::new_err(format!(
            "{name:?} is no transport; there are \"udp\", \"tcp\", \"ws\" and \"wss\""
        ))),
    };
    names.into_iter().map(to_transport).collect()
}

fn read_ban(who: &str) -> PyResult<Ban> {
    who.parse().map_err(|_| {
        PyValueError::new_err(format!(
            "{who:?} is no IP address, no range such as \"10.0.0.0/8\", and no key of 64 hexadecimal digits"
        ))
    })
}

/// Returns the numbers of those that are not closed.
fn ids(peers: &[Py<Peer>]) -> Vec<PeerId> {
    let open = peers.iter().map(Py::get).filter(|peer| !peer.is_closed());
    open.map(|peer| peer.io_id).collect()
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
