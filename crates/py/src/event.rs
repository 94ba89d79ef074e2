//! Something that happened, as a light object: the same attributes that an event in the pygame queue has.

use netplay_io::Kind;
use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::peer::Peer;

/// Something that happened: `what` says what, and which other attributes there are.
///
/// | what | attributes |
/// |---|---|
/// | NETWORK_CONNECTED | peer, reason |
/// | NETWORK_DATA_IN | peer, channel, data, sequenceid, lossy |
/// | NETWORK_LOST | peer, reason, seconds_left |
/// | NETWORK_RESUMED | peer, seconds |
/// | NETWORK_DISCONNECTED | peer, reason, detail |
///
/// Asking for another attribute raises AttributeError.
#[pyclass(frozen, weakref, module = "netplay")]
pub(crate) struct Event {
    /// What happened: one of the NETWORK constants.
    // Every event is asked for it. As a field it is read by the interpreter itself, without a call.
    #[pyo3(get)]
    what: Py<PyAny>,
    /// Whom it is about.
    #[pyo3(get)]
    peer: Py<Peer>,
    body: Body,
}

pub(crate) enum Body {
    Connected {
        reason: &'static str,
    },
    DataIn {
        channel: u8,
        kind: Kind,
        data: Py<PyAny>,
        sequence_id: u64,
        is_lossy: bool,
    },
    Lost {
        reason: &'static str,
        seconds_left: f64,
    },
    Resumed {
        seconds: f64,
    },
    Disconnected {
        reason: &'static str,
        detail: String,
    },
}

impl Body {
    /// The place in the list of `What`, and the name.
    const fn what(&self) -> (usize, &'static str) {
        match self {
            Self::Connected { .. } => (0, "NETWORK_CONNECTED"),
            Self::DataIn { .. } => (1, "NETWORK_DATA_IN"),
            Self::Lost { .. } => (2, "NETWORK_LOST"),
            Self::Resumed { .. } => (3, "NETWORK_RESUMED"),
            Self::Disconnected { .. } => (4, "NETWORK_DISCONNECTED"),
        }
    }
}

impl Event {
    fn missing(&self, name: &str) -> PyErr {
        PyAttributeError::new_err(format!("a {} event has no {name}", self.body.what().1))
    }

    pub(crate) fn new(py: Python<'_>, peer: Py<Peer>, body: Body) -> PyResult<Py<Self>> {
        let what = Self::what_object(py, &body)?;
        Py::new(py, Self { what, peer, body })
    }

    fn what_object(py: Python<'_>, body: &Body) -> PyResult<Py<PyAny>> {
        static WHAT: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
        let all = WHAT.get_or_try_init(py, || {
            let what = py.import("netplay._events")?.getattr("What")?;
            what.try_iter()?
                .map(|member| member.map(Bound::unbind))
                .collect::<PyResult<_>>()
        })?;
        Ok(all[body.what().0].clone_ref(py))
    }
}

#[pymethods]
impl Event {
    /// The channel it was sent on, 0 to 255.
    #[getter]
    fn channel(&self) -> PyResult<u8> {
        match &self.body {
            Body::DataIn { channel, .. } => Ok(*channel),
            _ => Err(self.missing("channel")),
        }
    }

    /// What was sent.
    #[getter]
    fn data(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.body {
            Body::DataIn { data, .. } => Ok(data.clone_ref(py)),
            _ => Err(self.missing("data")),
        }
    }

    /// Counts up from 0 for each peer, channel and delivery.
    #[getter]
    fn sequenceid(&self) -> PyResult<u64> {
        match &self.body {
            Body::DataIn { sequence_id, .. } => Ok(*sequence_id),
            _ => Err(self.missing("sequenceid")),
        }
    }

    /// True if it was sent lossy.
    #[getter]
    fn lossy(&self) -> PyResult<bool> {
        match &self.body {
            Body::DataIn { is_lossy, .. } => Ok(*is_lossy),
            _ => Err(self.missing("lossy")),
        }
    }

    /// Why, in one of these words. Of a NETWORK_CONNECTED: "" for a new peer, "resumed" (the seat of an earlier run, see
    /// `connect(resume=)`), "restarted" (the server does not know us any more: everything begins anew). Of a NETWORK_LOST:
    /// "timeout", "link closed", "restarted". Of a NETWORK_DISCONNECTED:
    ///
    /// "closed" (by this side), "goodbye" (by the other side), "timeout" (nothing was heard any more), "no answer",
    /// "unknown host" (the name has no address), "full", "wrong password", "wrong version" (of the game),
    /// "wrong protocol" (another version of netplay), "key changed" (not the server known from before, see
    /// `netplay.forget()`), "bad data" (the other side broke the rules), "too slow" (it did not take what was sent to it),
    /// "too fast" (it sent more than `listen(max_messages=, max_rate=)` allow), "too large" (a message waited that the other side
    /// does not accept), "banned", "internal" (a fault of netplay's own).
    #[getter]
    fn reason(&self) -> PyResult<&'static str> {
        match &self.body {
            Body::Disconnected { reason, .. } | Body::Lost { reason, .. } | Body::Connected { reason } => Ok(reason),
            _ => Err(self.missing("reason")),
        }
    }

    /// More, for a person to read; may be empty.
    #[getter]
    fn detail(&self) -> PyResult<&str> {
        match &self.body {
            Body::Disconnected { detail, .. } => Ok(detail),
            _ => Err(self.missing("detail")),
        }
    }

    /// How long nothing had been heard, in seconds.
    #[getter]
    fn seconds(&self) -> PyResult<f64> {
        match &self.body {
            Body::Resumed { seconds } => Ok(*seconds),
            _ => Err(self.missing("seconds")),
        }
    }

    /// How long netplay will go on trying, in seconds.
    #[getter]
    fn seconds_left(&self) -> PyResult<f64> {
        match &self.body {
            Body::Lost { seconds_left, .. } => Ok(*seconds_left),
            _ => Err(self.missing("seconds_left")),
        }
    }

    /// The kind of a message: 0 bytes, 1 text, 2 a plain value, and those of `_kinds.py`.
    #[getter]
    fn _kind(&self) -> PyResult<u8> {
        match &self.body {
            Body::DataIn { kind, .. } => Ok(kind.number()),
            _ => Err(self.missing("kind")),
        }
    }

    /// Returns the attributes as a new dict.
    fn _attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let attributes = PyDict::new(py);
        attributes.set_item(intern!(py, "what"), &self.what)?;
        attributes.set_item(intern!(py, "peer"), &self.peer)?;
        match &self.body {
            Body::Connected { reason } => attributes.set_item(intern!(py, "reason"), reason)?,
            Body::DataIn {
                channel,
                data,
                sequence_id,
                is_lossy,
                ..
            } => {
                attributes.set_item(intern!(py, "channel"), channel)?;
                attributes.set_item(intern!(py, "data"), data)?;
                attributes.set_item(intern!(py, "sequenceid"), sequence_id)?;
                attributes.set_item(intern!(py, "lossy"), is_lossy)?;
            }
            Body::Lost { reason, seconds_left } => {
                attributes.set_item(intern!(py, "reason"), reason)?;
                attributes.set_item(intern!(py, "seconds_left"), seconds_left)?;
            }
            Body::Resumed { seconds } => attributes.set_item(intern!(py, "seconds"), seconds)?,
            Body::Disconnected { reason, detail } => {
                attributes.set_item(intern!(py, "reason"), reason)?;
                attributes.set_item(intern!(py, "detail"), detail)?;
            }
        }
        Ok(attributes)
    }

    // A game may keep an event in `peer.data`. There is nothing to clear here: the dict clears itself.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Body::DataIn { data, .. } = &self.body {
            visit.call(data)?;
        }
        visit.call(&self.peer)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let peer = self.peer.bind(py).str()?.to_string_lossy().into_owned();
        let rest = match &self.body {
            Body::Connected { reason: "" } => String::new(),
            Body::Connected { reason } => format!(": {reason}"),
            Body::DataIn {
                channel,
                data,
                sequence_id,
                is_lossy,
                ..
            } => {
                let lossy = if *is_lossy { " lossy" } else { "" };
                format!(
                    " channel {channel} #{sequence_id}{lossy} {}",
                    shortened(&data.bind(py).repr()?.to_string_lossy())
                )
            }
            Body::Lost { reason, seconds_left } => format!(": {reason}, {seconds_left:.1} s left"),
            Body::Resumed { seconds } => format!(" after {seconds:.1} s"),
            Body::Disconnected { reason, detail } if detail.is_empty() => format!(": {reason}"),
            Body::Disconnected { reason, detail } => format!(": {reason}: {detail}"),
        };
        Ok(format!("<Event {} {peer}{rest}>", self.body.what().1))
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
