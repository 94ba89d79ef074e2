//! An open listener as the game holds it.

use std::sync::{Arc, Mutex, PoisonError};

use netplay_io::{ListenerId, ListenerInfo, Transport};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::from_io;
use crate::open::Open;
use crate::peer::{Peer, hex};

/// An open door: peers can connect until it is closed.
#[pyclass(frozen, weakref, module = "netplay")]
pub(crate) struct Listener {
    pub(crate) open: Arc<Open>,
    pub(crate) id: ListenerId,
    url: String,
    addresses: Vec<String>,
    key: String,
    transports: Vec<&'static str>,
    certificate: Option<String>,
    /// The title by which it is announced on the local network, if it is.
    title: Mutex<Option<String>>,
}

impl Listener {
    pub(crate) fn new(py: Python<'_>, open: &Arc<Open>, info: ListenerInfo, key: String) -> PyResult<Py<Self>> {
        let ListenerInfo {
            id,
            url,
            addresses,
            transports,
            certificate,
            title,
        } = info;
        Py::new(
            py,
            Self {
                open: Arc::clone(open),
                id,
                url,
                addresses,
                key,
                transports: transports.iter().map(transport_name).collect(),
                certificate: certificate.as_ref().map(hex),
                title: Mutex::new(title),
            },
        )
    }
}

#[pymethods]
impl Listener {
    /// The URL it listens on, with the real port.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// Full URLs to give to other players, the most useful first.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Our public key as 64 hexadecimal digits; a player who connects to `url + "#k=" + key` is safe from impostors.
    #[getter]
    fn key(&self) -> &str {
        &self.key
    }

    /// By what players can come: of "udp", "tcp", "ws" and "wss", or "p2p" alone; empty for local://.
    #[getter]
    fn transports<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.transports)
    }

    /// The SHA-256 of the certificate for play+wss:// as 64 hexadecimal digits, which `#cert=` in a player's URL pins; None where
    /// that is not served.
    #[getter]
    fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// The title by which the game is announced on the local network; None if it is not. Set it to change it: 1 to 64 bytes of
    /// UTF-8, nothing invisible.
    #[getter]
    fn title(&self) -> Option<String> {
        self.title.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[setter]
    fn set_title(&self, title: String) -> PyResult<()> {
        let mut own = self.title.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            return Err(PyValueError::new_err(
                "this listener is not announced, so it has no title; call listen() with advertise=",
            ));
        }
        self.open.io.set_title(self.id, &title).map_err(from_io)?;
        *own = Some(title);
        Ok(())
    }

    /// The peers that came in by this listener and have not ended, in the order they came.
    #[getter]
    fn peers(&self, py: Python<'_>) -> Vec<Py<Peer>> {
        let mut peers = self.open.peers(py);
        peers.retain(|peer| peer.get().listener == Some(self.id));
        peers
    }

    /// Returns every number known about this listener; empty once it is closed.
    ///
    /// Returns:
    ///     A dict: "peers", "bad_datagrams", "cookies_sent", "refused", "handshakes_limited" (not answered because their address
    ///     asked too often), "handshakes_displaced" (given up unfinished for newer ones), "handshakes_dropped" (their datagrams,
    ///     not sent because too many waited), "banned" (refused or closed), "violations", "too_fast" (peers closed),
    ///     "datagrams_received", "datagrams_sent", "receive_errors", "send_errors", "streams" (of TCP, open now),
    ///     "streams_accepted", "streams_refused" (closed because too many said nothing), "streams_idle" (closed because nobody
    ///     used them for five seconds), "stream_errors" (closed because what came was no netplay), "stream_dropped" (datagrams
    ///     for which a stream had no room), "accept_errors" (the operating system had no room for one more), and
    ///     "strangers_dropped" (datagrams to a `udp://` listener that was full). Some are always 0 where what is spoken is not
    ///     netplay.
    ///
    /// Raises:
    ///     Nothing.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server:
    ///     ...     server.listen("local://docs-listener-stats").stats()["peers"]
    ///     0
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let Some(numbers) = py.detach(|| self.open.io.listener_stats(self.id)) else {
            return Ok(stats);
        };
        stats.set_item("peers", numbers.peers)?;
        stats.set_item("bad_datagrams", numbers.endpoint.bad_datagrams)?;
        stats.set_item("cookies_sent", numbers.endpoint.cookies_sent)?;
        stats.set_item("refused", numbers.endpoint.refused)?;
        stats.set_item("handshakes_limited", numbers.endpoint.handshakes_limited)?;
        stats.set_item("handshakes_displaced", numbers.endpoint.handshakes_displaced)?;
        stats.set_item("handshakes_dropped", numbers.endpoint.handshakes_dropped)?;
        stats.set_item("banned", numbers.endpoint.banned)?;
        stats.set_item("violations", numbers.endpoint.violations)?;
        stats.set_item("too_fast", numbers.endpoint.too_fast)?;
        stats.set_item("datagrams_received", numbers.sockets.datagrams_received)?;
        stats.set_item("datagrams_sent", numbers.sockets.datagrams_sent)?;
        stats.set_item("receive_errors", numbers.sockets.receive_errors)?;
        stats.set_item("send_errors", numbers.sockets.send_errors)?;
        stats.set_item("strangers_dropped", numbers.sockets.strangers_dropped)?;
        stats.set_item("streams", numbers.streams)?;
        stats.set_item("streams_accepted", numbers.sockets.streams_accepted)?;
        stats.set_item("streams_refused", numbers.sockets.streams_refused)?;
        stats.set_item("streams_idle", numbers.sockets.streams_idle)?;
        stats.set_item("stream_errors", numbers.sockets.stream_errors)?;
        stats.set_item("stream_dropped", numbers.sockets.stream_dropped)?;
        stats.set_item("accept_errors", numbers.sockets.accept_errors)?;
        Ok(stats)
    }

    /// Says goodbye to its peers and stops listening. Twice is fine.
    ///
    /// Raises:
    ///     Nothing.
    ///
    /// Example:
    ///     >>> import netplay
    ///     >>> with netplay.Network() as server:
    ///     ...     server.listen("local://docs-listener-close").close()
    ///     ...     server.listeners
    ///     []
    fn close(&self, py: Python<'_>) {
        for peer in self.peers(py) {
            peer.get().mark_closed();
        }
        py.detach(|| self.open.io.close_listener(self.id));
        self.open.remove_listener(self.id);
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }

    #[getter]
    fn _id(&self) -> u64 {
        self.id.0
    }

    fn __repr__(&self) -> String {
        if self.addresses.is_empty() {
            return format!("<Listener {}>", self.url);
        }
        format!("<Listener {}, give out {}>", self.url, self.addresses.join(" or "))
    }
}

/// Returns how a transport is called.
pub(crate) const fn transport_name(transport: &Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
        Transport::P2p => "p2p",
    }
}
