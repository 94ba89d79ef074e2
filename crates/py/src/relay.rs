//! A relay of one's own, for `python -m netplay relay`.

#[cfg(feature = "p2p")]
use std::num::NonZeroU32;
use std::path::PathBuf;
#[cfg(feature = "p2p")]
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "p2p")]
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// A relay that runs until `close()`.
#[pyclass(frozen, module = "netplay._core")]
pub(crate) struct Relay {
    #[cfg(feature = "p2p")]
    relay: Mutex<netplay_io::Relay>,
}

#[cfg(feature = "p2p")]
#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (host, port, *, metrics_port, max_clients, client_rate, certificate))]
    fn new(
        py: Python<'_>,
        host: &str,
        port: u16,
        metrics_port: Option<u16>,
        max_clients: usize,
        client_rate: Option<u32>,
        certificate: Option<(PathBuf, PathBuf)>,
    ) -> PyResult<Self> {
        let host = host
            .parse()
            .map_err(|_| PyValueError::new_err(format!("host is {host:?}; it must be an IP address")))?;
        let options = netplay_io::RelayOptions {
            host,
            port,
            metrics: metrics_port.map(|port| (host, port).into()),
            max_clients,
            client_rate: client_rate.and_then(NonZeroU32::new),
            certificate,
        };
        let relay = py.detach(|| netplay_io::Relay::start(&options));
        let relay = relay.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
            _ => PyOSError::new_err(error.to_string()),
        })?;
        Ok(Self {
            relay: Mutex::new(relay),
        })
    }

    /// Its URLs, with the real port, the most useful first.
    #[getter]
    fn urls(&self) -> Vec<String> {
        self.lock().urls().to_vec()
    }

    /// The SHA-256 of its certificate, which `#cert=` behind a URL pins; None by HTTP.
    #[getter]
    fn certificate(&self) -> Option<String> {
        self.lock().certificate().map(netplay_io::key_to_text)
    }

    /// Where its numbers can be read; None if nowhere.
    #[getter]
    fn metrics_url(&self) -> Option<String> {
        self.lock().metrics_url().map(str::to_owned)
    }

    /// Returns what happened next as a line of a log; None if nothing has happened after so many seconds.
    fn next_event(&self, py: Python<'_>, timeout: f64) -> Option<String> {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        let event = py.detach(|| self.lock().next_event(timeout));
        event.map(|event| event.to_string())
    }

    /// Ends it. A second call does nothing.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.lock().close());
    }
}

#[cfg(feature = "p2p")]
impl Relay {
    fn lock(&self) -> std::sync::MutexGuard<'_, netplay_io::Relay> {
        // Nothing panics while it is held.
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(feature = "p2p"))]
#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (host, port, *, metrics_port, max_clients, client_rate, certificate))]
    #[allow(unused_variables)]
    fn new(
        host: &str,
        port: u16,
        metrics_port: Option<u16>,
        max_clients: usize,
        client_rate: Option<u32>,
        certificate: Option<(PathBuf, PathBuf)>,
    ) -> PyResult<Self> {
        let _ = PyValueError::new_err::<&str>;
        Err(PyOSError::new_err(
            "this netplay was built without p2p, so it has no relay",
        ))
    }
}
