//! To whom a message goes: `to` and `exclude` as a game writes them, read into peers.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::open::Open;
use crate::peer::Peer;

/// Reads `to` or `exclude`: a peer, a URL, or several of them. Of a URL that no peer has, `call` makes one, or says that none
/// is needed.
pub(crate) fn read_peers(
    open: &Arc<Open>,
    who: &Bound<'_, PyAny>,
    word: &str,
    call: &mut dyn FnMut(&str) -> PyResult<Option<Py<Peer>>>,
) -> PyResult<Vec<Py<Peer>>> {
    // The outer None: neither a peer nor a URL.
    let mut one = |who: &Bound<'_, PyAny>| -> PyResult<Option<Option<Py<Peer>>>> {
        if let Ok(peer) = who.cast_exact::<Peer>() {
            if !Arc::ptr_eq(&peer.get().open, open) && !peer.get().is_closed() {
                let text = format!(
                    "{word} is {} of another Network; use the send() of that one",
                    peer.get().describe()
                );
                return Err(PyValueError::new_err(text));
            }
            return Ok(Some(Some(peer.clone().unbind())));
        }
        if let Ok(url) = who.cast::<PyString>() {
            let url = url.to_str()?;
            let found = open.peers(who.py()).into_iter().find(|peer| peer.get().url() == url);
            return Ok(Some(match found {
                Some(peer) => Some(peer),
                None => call(url)?,
            }));
        }
        Ok(None)
    };
    if let Some(peer) = one(who)? {
        return Ok(peer.into_iter().collect());
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
        peers.extend(one(&item)?.ok_or_else(|| wrong(&item))?);
    }
    Ok(peers)
}
