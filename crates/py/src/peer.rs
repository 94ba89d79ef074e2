//! A peer as the game holds it: what was learnt from its events, and calls passed on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use netplay_io::{Key, ListenerId, PeerId, PeerStats, Seat};
use netplay_proto::text::{cut, printable};
use netplay_proto::value::measure;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use pyo3::{PyTraverseError, PyVisit};

use crate::data::{to_channel, to_message};
use crate::open::Open;

/// How far a peer's connection is, as the events that the game has taken tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Connecting,
    Connected,
    Lost,
    Closed,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::Closed => "closed",
        }
    }
}

/// Someone we talk to.
///
/// The same object stands for the same remote side from `connect()`, or its NETWORK_CONNECTED event, to the end.
/// Peers are equal only to themselves and can be keys of a dict. `str(peer)` is its name, or its URL if it gave none.
#[pyclass(frozen, weakref, module = "netplay")]
pub(crate) struct Peer {
    pub(crate) open: Arc<Open>,
    pub(crate) io_id: PeerId,
    pub(crate) listener: Option<ListenerId>,
    id: u64,
    url: String,
    state: AtomicU8,
    /// What the remote side is called, and its key if what it speaks has keys.
    remote: OnceLock<(String, Option<Key>)>,
    /// Where we may come back to, by the last handshake.
    seat: Mutex<Option<Seat>>,
    data: Py<PyDict>,
    last_stats: Mutex<PeerStats>,
    /// Its place in the join order of its room.
    order: OnceLock<u32>,
    bad_messages: AtomicU32,
}

impl Peer {
    pub(crate) fn new(
        py: Python<'_>,
        open: &Arc<Open>,
        id: u64,
        io_id: PeerId,
        listener: Option<ListenerId>,
        url: String,
    ) -> PyResult<Py<Self>> {
        let peer = Self {
            open: Arc::clone(open),
            io_id,
            listener,
            id,
            url,
            state: AtomicU8::new(State::Connecting as u8),
            remote: OnceLock::new(),
            seat: Mutex::default(),
            data: PyDict::new(py).unbind(),
            last_stats: Mutex::default(),
            order: OnceLock::new(),
            bad_messages: AtomicU32::new(0),
        };
        Py::new(py, peer)
    }

    /// Takes in what a finished handshake told.
    pub(crate) fn set_connected(&self, name: &str, key: &Key, seat: Option<Seat>) {
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = seat;
        // The first handshake stands; there is no second one for a peer.
        let key = (*key != [0; 32]).then_some(*key);
        let _ = self.remote.set((printable(name), key));
        self.set_state(State::Connected);
    }

    /// Says which place it has in the join order of its room.
    pub(crate) fn set_order(&self, order: u32) {
        let _ = self.order.set(order);
    }

    /// Changes the state, unless the peer is closed: that is final.
    pub(crate) fn set_state(&self, state: State) {
        let _ = self.state.fetch_update(Relaxed, Relaxed, |old| {
            (old != State::Closed as u8).then_some(state as u8)
        });
    }

    pub(crate) fn mark_closed(&self) {
        self.set_state(State::Closed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state() == State::Closed
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Counts a message that could not be read; returns how many there were.
    pub(crate) fn count_bad_message(&self) -> u32 {
        self.bad_messages.fetch_add(1, Relaxed) + 1
    }

    fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Connecting,
            1 => State::Connected,
            2 => State::Lost,
            _ => State::Closed,
        }
    }

    fn remote_name(&self) -> &str {
        self.remote.get().map_or("", |(name, _)| name)
    }

    /// Returns words for messages: who it is and where.
    pub(crate) fn describe(&self) -> String {
        match self.remote_name() {
            "" => format!("peer {} at {}", self.id, self.url),
            name => format!("peer {} {name:?} at {}", self.id, self.url),
        }
    }

    /// Asks for the numbers; of a peer that has ended, the last ones known.
    fn numbers(&self, py: Python<'_>) -> PeerStats {
        let fresh = py.detach(|| self.open.io.peer_stats(self.io_id));
        let mut last = self.last_stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = fresh {
            *last = fresh;
        }
        last.clone()
    }
}

#[pymethods]
impl Peer {
    /// The number of this peer, unique in its network, counting from 1.
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    /// The name the remote side gave itself; "" if none, or not connected yet. Neither unique nor verified, but free of
    /// control characters.
    #[getter]
    fn name(&self) -> &str {
        self.remote_name()
    }

    /// The URL it was called by, or where it called from.
    #[getter(url)]
    fn get_url(&self) -> &str {
        &self.url
    }

    /// "connecting", "connected", "lost" or "closed", as of the last poll() or get().
    #[getter(state)]
    fn get_state(&self) -> &'static str {
        self.state().name()
    }

    /// True if it called us.
    #[getter]
    fn is_incoming(&self) -> bool {
        self.listener.is_some()
    }

    /// The smoothed round trip in seconds; 0.0 before it is known.
    #[getter]
    fn rtt(&self, py: Python<'_>) -> f64 {
        self.numbers(py).connection.rtt.as_secs_f64()
    }

    /// The mean deviation of the round trip in seconds.
    #[getter]
    fn jitter(&self, py: Python<'_>) -> f64 {
        self.numbers(py).connection.jitter.as_secs_f64()
    }

    /// The share of our packets lost lately, 0.0 to 1.0.
    #[getter]
    fn loss(&self, py: Python<'_>) -> f64 {
        self.numbers(py).connection.loss
    }

    /// Reliable bytes sent and not acknowledged yet.
    #[getter]
    fn queued(&self, py: Python<'_>) -> usize {
        // One that has ended takes nothing any more: whoever waits for it to be sent has waited enough.
        if self.is_closed() {
            return 0;
        }
        self.numbers(py).connection.queued_bytes
    }

    /// The remote side's public key as 64 hexadecimal digits; None before it is connected, and of a peer that does not speak
    /// netplay (`tcp://`, `udp://`, `enet://`).
    #[getter]
    fn key(&self) -> Option<String> {
        self.remote.get().and_then(|(_, key)| key.as_ref().map(hex))
    }

    /// Where this side may come back to after a restart, with the key pair it called by; None for an incoming peer.
    #[getter]
    fn _seat<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let seat = *self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        seat.map(|seat| PyBytes::new(py, &seat))
    }

    /// The place in the join order of its room; None if it is in none.
    #[getter]
    fn _order(&self) -> Option<u32> {
        self.order.get().copied()
    }

    /// A dict of the game's own; netplay never looks into it.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyDict> {
        self.data.clone_ref(py)
    }

    /// Returns every number known about this peer.
    ///
    /// Returns:
    ///     A dict: "rtt", "jitter" (seconds), "loss" (0.0 to 1.0), "queued" (bytes), "packets_sent", "packets_received",
    ///     "packets_lost", "bytes_sent", "bytes_received", "resent", "copied" (small messages sent once more against loss),
    ///     "recovered" (messages that lost every copy, made from the sum of several), "messages_received", "lossy_dropped",
    ///     "lossy_unfinished" (lossy messages of which some fragments came, given up), "over_rate" (lossy messages dropped
    ///     because it sent more than it may), "bad_packets", "bad_messages" (could not be read), "keys_renewed", "transport"
    ///     ("udp", "tcp", "ws", "wss", "p2p" or "local"; "raw tcp", "raw udp" or "enet" of a peer that does not speak netplay;
    ///     "host" of a member of a room to which the host passes on what is sent, and then the other numbers are those of the
    ///     way to the host; "" before it is connected), "address", "route" ("direct" from machine to machine or "relayed", of a
    ///     `play+p2p://` peer; None of others and while that is not known), and "encrypted": False if anybody on the way can
    ///     read and change what is said. Of a peer that is gone, the last ones known.
    ///
    /// Raises:
    ///     Nothing.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as client:
    ///     ...     client.connect("local://docs-peer-stats").stats()["messages_received"]
    ///     0
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let PeerStats {
            connection,
            transport,
            address,
            route,
            is_encrypted,
        } = self.numbers(py);
        let stats = PyDict::new(py);
        stats.set_item("rtt", connection.rtt.as_secs_f64())?;
        stats.set_item("jitter", connection.jitter.as_secs_f64())?;
        stats.set_item("loss", connection.loss)?;
        stats.set_item("queued", connection.queued_bytes)?;
        stats.set_item("packets_sent", connection.packets_sent)?;
        stats.set_item("packets_received", connection.packets_received)?;
        stats.set_item("packets_lost", connection.packets_lost)?;
        stats.set_item("bytes_sent", connection.bytes_sent)?;
        stats.set_item("bytes_received", connection.bytes_received)?;
        stats.set_item("resent", connection.resent)?;
        stats.set_item("copied", connection.copied)?;
        stats.set_item("recovered", connection.recovered)?;
        stats.set_item("messages_received", connection.messages_received)?;
        stats.set_item("lossy_dropped", connection.lossy_dropped)?;
        stats.set_item("lossy_unfinished", connection.lossy_unfinished)?;
        stats.set_item("over_rate", connection.over_rate)?;
        stats.set_item("bad_packets", connection.bad_packets)?;
        stats.set_item("bad_messages", self.bad_messages.load(Relaxed))?;
        stats.set_item("keys_renewed", connection.keys_renewed)?;
        stats.set_item("transport", transport)?;
        stats.set_item("address", address)?;
        stats.set_item("route", route)?;
        stats.set_item("encrypted", is_encrypted)?;
        Ok(stats)
    }

    /// Sends to this peer alone.
    ///
    /// Args:
    ///     data: As for `netplay.send()`.
    ///     channel: 0 to 255.
    ///     lossy: May be lost, and is never sent again.
    ///     ordered: As for `netplay.send()`.
    ///
    /// Returns:
    ///     True if it is on its way. False if the peer has just gone (its event follows), or if the message is lossy and
    ///     the connection not made yet.
    ///
    /// Raises:
    ///     PeerClosed: The peer is gone, and the game knows.
    ///     MessageTooLarge: More than 16 MiB, or 64 KiB when lossy.
    ///     UnsupportedData: The data cannot travel as what it is.
    ///     ValueError: The channel is not 0 to 255.
    ///     TypeError: The channel is no int.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server, netplay.Network() as client:
    ///     ...     _ = server.listen("local://docs-peer-send")
    ///     ...     peer = client.connect("local://docs-peer-send")
    ///     ...     peer.send("waits for the connection", 1)
    ///     True
    #[pyo3(signature = (data, channel = None, lossy = false, *, ordered = true), text_signature = "($self, data, channel=0, lossy=False, *, ordered=True)")]
    fn send(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        channel: Option<&Bound<'_, PyAny>>,
        lossy: bool,
        ordered: bool,
    ) -> PyResult<bool> {
        let message = to_message(data, channel, lossy, ordered, &self.open.codec)?;
        Ok(self.open.send_to_one(py, self, message)? > 0)
    }

    /// Asks this peer something. The answer comes as a NETWORK_ANSWER event with the token.
    ///
    /// On the other side the question is a NETWORK_DATA_IN event like any other, and `e.reply(data)` answers it, or the
    /// handler of the channel does by what it returns. The event of the answer has `token`, `data` and `reason`: "" when
    /// there is an answer, otherwise "timeout", "disconnected", or "too many", and then `data` is None.
    ///
    /// Args:
    ///     data: As for `netplay.send()`. It is sent reliably and in order.
    ///     channel: 0 to 255.
    ///     timeout: How many seconds to wait for the answer, counted from now, also while the connection is still being
    ///         made or is lost; None for as long as the peer is there.
    ///
    /// Returns:
    ///     The token, an int: every question of a network has another.
    ///
    /// Raises:
    ///     PeerClosed: The peer is gone, and the game knows.
    ///     MessageTooLarge: More than 16 MiB.
    ///     UnsupportedData: The data cannot travel as what it is.
    ///     ValueError: The channel is not 0 to 255, or the timeout is not more than 0.
    ///     TypeError: The channel is no int, or the timeout no number.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server, netplay.Network() as client:
    ///     ...     @server.on(1)
    ///     ...     def price(event):
    ///     ...         return {"sword": 70, "bow": 55}.get(event.data, 0)
    ///     ...     _ = server.listen("local://docs-peer-ask")
    ///     ...     token = client.connect("local://docs-peer-ask").ask("bow", 1)
    ///     ...     answers = []
    ///     ...     while not answers:
    ///     ...         _ = server.get(timeout=0.05)
    ///     ...         answers = [e for e in client.get(timeout=0.05) if e.what == netplay.NETWORK_ANSWER]
    ///     ...     answers[0].token == token, answers[0].data
    ///     (True, 55)
    #[pyo3(signature = (data, channel = None, timeout = Some(3.0)), text_signature = "($self, data, channel=0, timeout=3.0)")]
    fn ask<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        channel: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let channel = channel.map_or(Ok(0), to_channel)?;
        let ask = slf.get().open.codec.ask.bind(slf.py());
        ask.call1((slf, data, channel, timeout))
    }

    /// Says goodbye: what was sent reliably goes first. The last event, NETWORK_DISCONNECTED, follows. Twice is fine.
    ///
    /// The host of a room puts a member out by it; NETWORK_LEFT follows. Another member only stops to hear it, and who does
    /// it to the host has left the room.
    ///
    /// Args:
    ///     reason: Words for the other side, at most 200 bytes; the rest is cut off. To an `enet://` peer only a number such as
    ///         "42" travels, as ENet's disconnect data; to `tcp://` and `udp://` nothing does, and in a room only the host's.
    ///
    /// Raises:
    ///     Nothing.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as client:
    ///     ...     peer = client.connect("local://docs-peer-close")
    ///     ...     peer.close("never mind")
    ///     ...     peer.state
    ///     'closed'
    #[pyo3(signature = (reason = ""))]
    fn close(&self, py: Python<'_>, reason: &str) {
        self.mark_closed();
        py.detach(|| {
            self.open
                .io
                .close_peer(self.io_id, cut(reason, netplay_io::MAX_DETAIL_LEN))
        });
    }

    /// Returns how many elements an encoded value of its has, or raises ValueError if that is no value within the limits.
    fn _measure(&self, data: &[u8]) -> PyResult<usize> {
        measure(data, &self.open.codec.limits.bounds()).map_err(|problem| PyValueError::new_err(problem.to_string()))
    }

    /// Its IP address, as far as is known; None inside this process.
    #[getter]
    fn _host(&self, py: Python<'_>) -> Option<String> {
        let address = self.numbers(py).address;
        let address = match address.as_str() {
            "" => self.url.split_once("://").filter(|_| self.listener.is_some())?.1,
            address => address,
        };
        let address: SocketAddr = address.parse().ok()?;
        Some(address.ip().to_canonical().to_string())
    }

    /// The number of the listener it came in by.
    #[getter]
    fn _listener(&self) -> Option<u64> {
        self.listener.map(|id| id.0)
    }

    fn __str__(&self) -> &str {
        match self.remote_name() {
            "" => &self.url,
            name => name,
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = match self.remote_name() {
            "" => String::new(),
            name => format!(" '{}'", name.escape_debug()),
        };
        let state = self.state();
        let rtt = match state {
            State::Connected | State::Lost => {
                format!(", {:.0} ms", self.numbers(py).connection.rtt.as_secs_f64() * 1000.0)
            }
            _ => String::new(),
        };
        format!("<Peer {}{name} {} {}{rtt}>", self.id, state.name(), self.url)
    }

    // `data` can hold the peer itself. There is nothing to clear here: the dict clears itself.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.data)
    }
}

/// Writes a key as hexadecimal digits.
pub(crate) fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
