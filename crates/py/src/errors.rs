//! The exceptions of `netplay/_errors.py`, as the core raises them.

use netplay_io::{Error, SendError};
use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

pyo3::import_exception!(netplay._errors, BadURL);
pyo3::import_exception!(netplay._errors, ListenFailed);
pyo3::import_exception!(netplay._errors, MessageTooLarge);
pyo3::import_exception!(netplay._errors, NetworkFailed);
pyo3::import_exception!(netplay._errors, NotConnected);
pyo3::import_exception!(netplay._errors, PeerClosed);
pyo3::import_exception!(netplay._errors, UnsupportedData);
pyo3::import_exception!(netplay._kinds, Refused);

/// Converts why a `listen` or `connect` was refused.
pub(crate) fn from_io(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Url(_) => BadURL::new_err(text),
        Error::Listen(_) => ListenFailed::new_err(text),
        Error::Option(_) => PyValueError::new_err(text),
        Error::Send(error) => from_send(error, true),
        Error::Closed => NotConnected::new_err(text),
        _ => NetworkFailed::new_err(text),
    }
}

/// Converts why a message was not taken. `is_lossy` says which limit it met.
pub(crate) fn from_send(error: SendError, is_lossy: bool) -> PyErr {
    match error {
        SendError::TooLarge { size, limit } => {
            let (kind, advice) = if is_lossy {
                ("lossy", "send it with lossy=False")
            } else {
                ("reliable", "send it in parts")
            };
            MessageTooLarge::new_err(format!(
                "message is {size} bytes, a {kind} message may be {limit}; {advice}"
            ))
        }
        SendError::DatagramTooLarge { .. } => MessageTooLarge::new_err(error.to_string()),
        SendError::NotBytes { .. } => UnsupportedData::new_err(error.to_string()),
        SendError::NoChannel { .. } | SendError::NotLossy { .. } => PyValueError::new_err(error.to_string()),
        _ => PeerClosed::new_err(error.to_string()),
    }
}
