//! The extension module `netplay._core`: converts, calls, converts back. It must not decide what the protocol does, nor
//! know pygame.
//!
//! | module | noun |
//! |---|---|
//! | `network` | the `Network` that Python code subclasses |
//! | `open` | what a network, its peers and its listeners share while it is open |
//! | `peer`, `listener`, `event` | the objects a game holds |
//! | `game` | a game on the local network |
//! | `inbox` | what has arrived, made into events |
//! | `recipients` | to whom a message goes |
//! | `data` | Python data to message and back |
//! | `doctor` | what `python -m netplay doctor` asks |
//! | `relay` | a relay of one's own |
//! | `rows` | objects of one class to rows of bits and back |
//! | `table` | the payload of a table to the dicts that it stands for |
//! | `errors` | the exceptions, which are Python classes |

mod data;
mod doctor;
mod errors;
mod event;
mod game;
mod inbox;
mod listener;
mod network;
mod open;
mod peer;
mod recipients;
mod relay;
mod rows;
mod table;

#[pyo3::pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::doctor::{_ask_gateway, _echoes, _interfaces, _sights};
    #[pymodule_export]
    use crate::event::{_answer_event, _question_event, _remote_event, Event};
    #[pymodule_export]
    use crate::listener::Listener;
    #[pymodule_export]
    use crate::network::{_fold, _generate_key, _make_code, _measure, _read_code, Network, Watcher};
    #[pymodule_export]
    use crate::peer::Peer;
    #[pymodule_export]
    use crate::relay::Relay;
    #[pymodule_export]
    use crate::rows::Rows;
    #[pymodule_export]
    use crate::table::_table;
}
