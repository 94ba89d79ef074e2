//! A game on the local network, from the core's value to the Python class.

use netplay_io::lan::Game;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::listener::transport_name;
use crate::peer::hex;

/// Makes a `netplay.Game`.
pub(crate) fn game_object(py: Python<'_>, game: &Game) -> PyResult<Py<PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let transports = PyTuple::new(py, game.transports.iter().map(transport_name))?;
    let values = (
        game.title.as_str(),
        game.id.as_str(),
        game.app.as_str(),
        game.url(),
        game.host.as_str(),
        game.players,
        game.max_peers,
        game.needs_password,
        transports,
        game.key.as_ref().map(hex),
    );
    Ok(CLASS.import(py, "netplay._lan", "Game")?.call1(values)?.unbind())
}
