//! Python data to message and back: the kind says what the bytes mean.

use std::borrow::Cow;
use std::cell::Cell;

use netplay_io::{Delivery, Kind, Message, Payload};
use netplay_proto::value::{Bounds, fold, measure};
use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyInt, PyMemoryView, PyString};

use crate::errors::{Refused, UnsupportedData};
use crate::open::Codec;
use crate::peer::Peer;

/// Makes a message of what a game sends.
pub(crate) fn to_message(
    data: &Bound<'_, PyAny>,
    channel: Option<&Bound<'_, PyAny>>,
    is_lossy: bool,
    is_ordered: bool,
    codec: &Codec,
) -> PyResult<Message> {
    let channel = channel.map_or(Ok(0), to_channel)?;
    let (kind, data) = to_bytes(data, codec)?;
    Ok(Message {
        channel,
        delivery: Delivery { is_lossy, is_ordered },
        kind,
        data,
    })
}

/// Reads a channel number, or says what one is.
pub(crate) fn to_channel(channel: &Bound<'_, PyAny>) -> PyResult<u8> {
    if let Ok(number) = channel.extract::<u8>()
        && !channel.is_instance_of::<PyBool>()
    {
        return Ok(number);
    }
    if channel.is_instance_of::<PyInt>() && !channel.is_instance_of::<PyBool>() {
        return Err(PyValueError::new_err(format!(
            "channel is {channel}, it may be 0 to 255"
        )));
    }
    let name = channel.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "channel is a {name}, it must be an int from 0 to 255"
    )))
}

fn to_bytes(data: &Bound<'_, PyAny>, codec: &Codec) -> PyResult<(Kind, Payload)> {
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok((Kind::BYTES, Payload::copy_from_slice(bytes.as_bytes())));
    }
    if let Ok(text) = data.cast_exact::<PyString>() {
        let text = text
            .to_str()
            .map_err(|_| UnsupportedData::new_err("str holds half a surrogate pair, which is no text; send bytes"))?;
        return Ok((Kind::TEXT, Payload::copy_from_slice(text.as_bytes())));
    }
    if data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>() {
        // The stable interface of Python 3.10 has no buffers; bytes(data) copies them, at the C side's speed.
        let bytes = data.py().get_type::<PyBytes>().call1((data,))?;
        return Ok((
            Kind::BYTES,
            Payload::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()),
        ));
    }
    if let Some(packer) = codec.packers.bind(data.py()).get_item(data.get_type())? {
        let _within = Within::new(codec.limits.bounds());
        let (number, bytes): (u8, Bound<'_, PyBytes>) = packer.call1((data,))?.extract()?;
        let kind = Kind::from_number(number)
            .ok_or_else(|| PyValueError::new_err(format!("kind is {number}, it may be 0 to 15")))?;
        return Ok((kind, Payload::copy_from_slice(bytes.as_bytes())));
    }
    let encoded = codec.encode.bind(data.py()).call1((data,))?;
    let encoded = encoded.cast::<PyBytes>()?.as_bytes();
    match fold(encoded, &codec.limits.bounds()) {
        Ok(Cow::Borrowed(bytes)) => Ok((Kind::VALUE, Payload::copy_from_slice(bytes))),
        Ok(Cow::Owned(bytes)) => Ok((Kind::VALUE, Payload::from(bytes))),
        Err(problem) => Err(UnsupportedData::new_err(problem.to_string())),
    }
}

thread_local! {
    /// What a network allows that is packing just now, on this thread.
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
}

/// Returns what may be sent by the network that is packing just now: who packs a kind of messages knows no network.
pub(crate) fn bounds() -> Bounds {
    BOUNDS.get().unwrap_or_default()
}

/// While it lives, a network is packing.
struct Within {
    outer: Option<Bounds>,
}

impl Within {
    fn new(bounds: Bounds) -> Self {
        Self {
            outer: BOUNDS.replace(Some(bounds)),
        }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        BOUNDS.set(self.outer);
    }
}

/// Why data from the remote side could not be given to the game.
pub(crate) enum Unreadable {
    /// It is the remote side's fault; the text says what.
    Bad(String),
    /// It is nobody's: this side does not take messages of this type.
    Refused(PyErr),
    /// It is not: Ctrl-C, or the program is ending.
    Interrupted(PyErr),
}

/// Makes of a message's bytes what was sent.
pub(crate) fn to_object(
    py: Python<'_>,
    kind: Kind,
    data: &[u8],
    peer: &Py<Peer>,
    codec: &Codec,
) -> Result<Py<PyAny>, Unreadable> {
    match kind {
        Kind::BYTES => Ok(PyBytes::new(py, data).into_any().unbind()),
        Kind::TEXT => match std::str::from_utf8(data) {
            Ok(text) => Ok(PyString::new(py, text).into_any().unbind()),
            Err(_) => Err(Unreadable::Bad("sent text that is not UTF-8".to_owned())),
        },
        Kind::VALUE => {
            measure(data, &codec.limits.bounds())
                .map_err(|problem| Unreadable::Bad(format!("sent a bad value: {problem}")))?;
            let value = codec.decode.call1(py, (PyBytes::new(py, data),));
            value.map_err(|error| unreadable(py, error, "value"))
        }
        Kind::TYPED | Kind::REMOTE_EVENT | Kind::QUESTION | Kind::ANSWER | Kind::REFUSAL => {
            let object = codec.unpack.call1(py, (kind.number(), PyBytes::new(py, data), peer));
            object.map_err(|error| unreadable(py, error, "message"))
        }
        other => Err(Unreadable::Bad(format!("sent data of unknown kind {}", other.number()))),
    }
}

fn unreadable(py: Python<'_>, error: PyErr, what: &str) -> Unreadable {
    if error.is_instance_of::<Refused>(py) {
        Unreadable::Refused(error)
    } else if error.is_instance_of::<PyException>(py) {
        Unreadable::Bad(format!("sent a bad {what}: {}", error.value(py)))
    } else {
        Unreadable::Interrupted(error)
    }
}
