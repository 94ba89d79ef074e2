//! Something that happened, as a light object: the same attributes that an event in the pygame queue has.

use netplay_io::{Kind, RoomChange};
use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use self::memory::Fields;
use crate::peer::Peer;

mod memory;

/// Something that happened: `what` says what, and which other attributes there are.
///
/// | what | attributes |
/// |---|---|
/// | NETWORK_CONNECTED | peer, reason |
/// | NETWORK_DATA_IN | peer, channel, data, sequenceid, lossy, reply |
/// | NETWORK_LOST | peer, reason, seconds_left |
/// | NETWORK_RESUMED | peer, seconds |
/// | NETWORK_ROUTE | peer, route |
/// | NETWORK_DISCONNECTED | peer, reason, detail |
/// | NETWORK_EVENT | peer, channel, type, name, data, lossy |
/// | NETWORK_ANSWER | peer, channel, token, data, reason |
/// | NETWORK_FOUND | game |
/// | NETWORK_GONE | game |
/// | NETWORK_ROOM | room, code |
/// | NETWORK_JOINED | room, peer |
/// | NETWORK_LEFT | room, peer, reason, detail |
/// | NETWORK_HOST | room, peer, is_host |
///
/// `peer` is None where there is none. Asking for another attribute raises AttributeError.
#[pyclass(frozen, subclass, module = "netplay")]
pub(crate) struct Event;

pub(crate) enum Body {
    Connected {
        reason: &'static str,
    },
    DataIn {
        channel: u8,
        kind: Kind,
        sequence_id: u64,
        is_lossy: bool,
        /// What answers it, if it is a question.
        reply: Option<Py<PyAny>>,
    },
    Lost {
        reason: &'static str,
        seconds_left: f64,
    },
    Resumed {
        seconds: f64,
        reason: &'static str,
    },
    Disconnected {
        reason: &'static str,
        detail: String,
    },
    Remote(Box<Remote>),
    Answer(Box<Answer>),
    Route {
        route: &'static str,
    },
    Game(Game),
    Room(Box<Room>),
}

/// Something that happened in a room.
pub(crate) struct Room {
    /// A `netplay.Room`.
    pub(crate) room: Py<PyAny>,
    pub(crate) change: RoomChange,
}

/// A game on the local network, as one finder sees it.
pub(crate) struct Game {
    /// A `netplay.Game`.
    pub(crate) game: Py<PyAny>,
    pub(crate) finder: u64,
    pub(crate) is_gone: bool,
}

/// An event that a remote side posted, for a game that has no pygame queue. Boxed, as is the next, because it is rare and
/// larger than a message.
pub(crate) struct Remote {
    channel: u8,
    number: u16,
    name: String,
    is_lossy: bool,
}

/// What came of a question.
pub(crate) struct Answer {
    channel: u8,
    token: u32,
    reason: String,
}

impl Body {
    /// Ends it, and returns what it held of Python's: to be let go of without asking whether the interpreter still runs.
    fn into_inner(self) -> Option<Py<PyAny>> {
        match self {
            Self::DataIn { reply, .. } => reply,
            Self::Game(game) => Some(game.game),
            Self::Room(room) => Some(room.room),
            _ => None,
        }
    }

    /// Returns what it holds of Python's.
    const fn inner(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::DataIn { reply, .. } => reply.as_ref(),
            Self::Game(game) => Some(&game.game),
            Self::Room(room) => Some(&room.room),
            _ => None,
        }
    }

    /// The place in the list of `What`, and the name.
    const fn what(&self) -> (usize, &'static str) {
        match self {
            Self::Connected { .. } => (0, "NETWORK_CONNECTED"),
            Self::DataIn { .. } => (1, "NETWORK_DATA_IN"),
            Self::Lost { .. } => (2, "NETWORK_LOST"),
            Self::Resumed { .. } => (3, "NETWORK_RESUMED"),
            Self::Disconnected { .. } => (4, "NETWORK_DISCONNECTED"),
            Self::Remote(_) => (5, "NETWORK_EVENT"),
            Self::Answer(_) => (6, "NETWORK_ANSWER"),
            Self::Game(Game { is_gone: false, .. }) => (7, "NETWORK_FOUND"),
            Self::Game(_) => (8, "NETWORK_GONE"),
            Self::Room(room) => match room.change {
                RoomChange::Opened => (10, "NETWORK_ROOM"),
                RoomChange::Joined { .. } => (11, "NETWORK_JOINED"),
                RoomChange::Left { .. } | RoomChange::Ended { .. } => (12, "NETWORK_LEFT"),
                RoomChange::Host { .. } => (13, "NETWORK_HOST"),
            },
            Self::Route { .. } => (9, "NETWORK_ROUTE"),
        }
    }
}

impl Event {
    fn missing(event: &Bound<'_, Self>, name: &str) -> PyErr {
        PyAttributeError::new_err(format!("a {} event has no {name}", body(event).what().1))
    }

    pub(crate) fn new(py: Python<'_>, peer: Py<Peer>, body: Body) -> PyResult<Py<Self>> {
        memory::new(py, Self::what_object(py, &body)?, Some(peer), body, None)
    }

    pub(crate) fn with_data(py: Python<'_>, peer: Py<Peer>, body: Body, data: Py<PyAny>) -> PyResult<Py<Self>> {
        memory::new(py, Self::what_object(py, &body)?, Some(peer), body, Some(data))
    }

    /// Makes an event that is about no peer.
    pub(crate) fn without_peer(py: Python<'_>, body: Body) -> PyResult<Py<Self>> {
        memory::new(py, Self::what_object(py, &body)?, None, body, None)
    }

    /// Makes an event that may be about a peer.
    pub(crate) fn of_room(py: Python<'_>, peer: Option<Py<Peer>>, room: Room) -> PyResult<Py<Self>> {
        let body = Body::Room(Box::new(room));
        memory::new(py, Self::what_object(py, &body)?, peer, body, None)
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

    /// Returns what is called to answer a message; one that is no question has one, too, which does nothing.
    fn reply_object(py: Python<'_>, reply: Option<&Py<PyAny>>) -> PyResult<Py<PyAny>> {
        static NO_REPLY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        match reply {
            Some(reply) => Ok(reply.clone_ref(py)),
            None => NO_REPLY
                .import(py, "netplay._ask", "no_reply")
                .map(|none| none.clone().unbind()),
        }
    }
}

fn body<'a>(event: &'a Bound<'_, Event>) -> &'a Body {
    &Fields::of(event).body
}

fn peer(event: &Bound<'_, Event>) -> PyResult<Py<Peer>> {
    let peer = Fields::of(event).peer(event.py());
    peer.ok_or_else(|| Event::missing(event, "peer"))
}

// `what`, `peer` and, where there is some, `data` are fields, which the interpreter reads without calling these.
#[pymethods]
impl Event {
    /// What happened: one of the NETWORK constants.
    #[getter]
    fn what(slf: &Bound<'_, Self>) -> Py<PyAny> {
        Fields::of(slf).what().clone_ref(slf.py())
    }

    /// Whom it is about; None if it is about no peer.
    #[getter]
    fn peer(slf: &Bound<'_, Self>) -> Option<Py<Peer>> {
        Fields::of(slf).peer(slf.py())
    }

    /// The channel it was sent on, 0 to 255.
    #[getter]
    fn channel(slf: &Bound<'_, Self>) -> PyResult<u8> {
        match body(slf) {
            Body::DataIn { channel, .. } => Ok(*channel),
            Body::Remote(remote) => Ok(remote.channel),
            Body::Answer(answer) => Ok(answer.channel),
            _ => Err(Self::missing(slf, "channel")),
        }
    }

    /// What was sent; of a NETWORK_EVENT a dict of its attributes, of a NETWORK_ANSWER the answer, or None without one.
    #[getter]
    fn data(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Err(Self::missing(slf, "data"))
    }

    /// Counts up from 0 for each peer, channel and delivery.
    #[getter]
    fn sequenceid(slf: &Bound<'_, Self>) -> PyResult<u64> {
        match body(slf) {
            Body::DataIn { sequence_id, .. } => Ok(*sequence_id),
            _ => Err(Self::missing(slf, "sequenceid")),
        }
    }

    /// True if it was sent lossy.
    #[getter]
    fn lossy(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match body(slf) {
            Body::DataIn { is_lossy, .. } => Ok(*is_lossy),
            Body::Remote(remote) => Ok(remote.is_lossy),
            _ => Err(Self::missing(slf, "lossy")),
        }
    }

    /// Answers the peer that asked: `e.reply(data)`, now or later, once. True if the answer is on its way; False if there
    /// was one already, if the peer is gone, or if this message is no question.
    #[getter]
    fn reply(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        match body(slf) {
            Body::DataIn { reply, .. } => Self::reply_object(slf.py(), reply.as_ref()),
            _ => Err(Self::missing(slf, "reply")),
        }
    }

    /// How what is sent goes now: "direct", from machine to machine, or "relayed".
    #[getter]
    fn route<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a str> {
        match body(slf) {
            Body::Route { route } => Ok(route),
            _ => Err(Self::missing(slf, "route")),
        }
    }

    /// What `peer.ask()` gave for the question.
    #[getter]
    fn token(slf: &Bound<'_, Self>) -> PyResult<u32> {
        match body(slf) {
            Body::Answer(answer) => Ok(answer.token),
            _ => Err(Self::missing(slf, "token")),
        }
    }

    /// The number of the event's type here, as `event_type()` gave it or as pygame has it.
    #[getter]
    fn r#type(slf: &Bound<'_, Self>) -> PyResult<u16> {
        match body(slf) {
            Body::Remote(remote) => Ok(remote.number),
            _ => Err(Self::missing(slf, "type")),
        }
    }

    /// The name of the event's type, as it travelled: "explosion", or "pygame.KEYDOWN".
    #[getter]
    fn name<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a str> {
        match body(slf) {
            Body::Remote(remote) => Ok(&remote.name),
            _ => Err(Self::missing(slf, "name")),
        }
    }

    /// Why, in one of these words. Of a NETWORK_CONNECTED: "" for a new peer, "resumed" (the seat of an earlier run, see
    /// `connect(resume=)`), "restarted" (the server does not know us any more: everything begins anew). Of a NETWORK_LOST:
    /// "timeout", "link closed", "restarted". Of a NETWORK_RESUMED: "", or "restarted" (it is a new run of the other side's
    /// program, which has come back to its seat and knows nothing of what was). Of a NETWORK_DISCONNECTED:
    ///
    /// "closed" (by this side), "goodbye" (by the other side), "timeout" (nothing was heard any more), "no answer",
    /// "unknown host" (the name has no address), "full", "no such game" (on the local network), "wrong password", "wrong version" (of the game),
    /// "wrong protocol" (another version of netplay), "key changed" (not the server known from before, see
    /// `netplay.forget()`), "bad data" (the other side broke the rules), "too slow" (it did not take what was sent to it),
    /// "too fast" (it sent more than `listen(max_messages=, max_rate=)` allow), "too large" (a message waited that the other side
    /// does not accept), "banned", "internal" (a fault of netplay's own).
    ///
    /// Of a NETWORK_LEFT: "goodbye" (it left, or the host has closed it), "timeout", "closed" (by this side), and those above; and if
    /// the peer is None, why this player is in the room no longer: also "no room" (nobody has one open under this code: a wrong code,
    /// or all are gone), "full", "wrong password", "wrong version".
    ///
    /// Of a NETWORK_ANSWER: "" (it was answered), "timeout", "disconnected" (also: started anew), or "too many" (1,024 questions to this peer
    /// were open already, and this one was not asked).
    #[getter]
    fn reason<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a str> {
        match body(slf) {
            Body::Disconnected { reason, .. }
            | Body::Lost { reason, .. }
            | Body::Resumed { reason, .. }
            | Body::Connected { reason } => Ok(reason),
            Body::Answer(answer) => Ok(&answer.reason),
            Body::Room(room) => match &room.change {
                RoomChange::Left { reason, .. } | RoomChange::Ended { reason, .. } => Ok(reason.name()),
                _ => Err(Self::missing(slf, "reason")),
            },
            _ => Err(Self::missing(slf, "reason")),
        }
    }

    /// More, for a person to read; may be empty.
    #[getter]
    fn detail<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a str> {
        match body(slf) {
            Body::Disconnected { detail, .. } => Ok(detail),
            Body::Room(room) => match &room.change {
                RoomChange::Left { detail, .. } | RoomChange::Ended { detail, .. } => Ok(detail),
                _ => Err(Self::missing(slf, "detail")),
            },
            _ => Err(Self::missing(slf, "detail")),
        }
    }

    /// How long nothing had been heard, in seconds.
    #[getter]
    fn seconds(slf: &Bound<'_, Self>) -> PyResult<f64> {
        match body(slf) {
            Body::Resumed { seconds, .. } => Ok(*seconds),
            _ => Err(Self::missing(slf, "seconds")),
        }
    }

    /// How long netplay will go on trying, in seconds.
    #[getter]
    fn seconds_left(slf: &Bound<'_, Self>) -> PyResult<f64> {
        match body(slf) {
            Body::Lost { seconds_left, .. } => Ok(*seconds_left),
            _ => Err(Self::missing(slf, "seconds_left")),
        }
    }

    /// The game on the local network: a `netplay.Game`.
    #[getter]
    fn game(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        match body(slf) {
            Body::Game(game) => Ok(game.game.clone_ref(slf.py())),
            _ => Err(Self::missing(slf, "game")),
        }
    }

    /// The room that it is about: a `netplay.Room`.
    #[getter]
    fn room(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        match body(slf) {
            Body::Room(room) => Ok(room.room.clone_ref(slf.py())),
            _ => Err(Self::missing(slf, "room")),
        }
    }

    /// The room's code.
    #[getter]
    fn code<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        match body(slf) {
            Body::Room(room) if matches!(room.change, RoomChange::Opened) => room.room.bind(slf.py()).getattr("code"),
            _ => Err(Self::missing(slf, "code")),
        }
    }

    /// True if this player is the host from now on.
    #[getter]
    fn is_host(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match body(slf) {
            Body::Room(room) => match room.change {
                RoomChange::Host { is_host } => Ok(is_host),
                _ => Err(Self::missing(slf, "is_host")),
            },
            _ => Err(Self::missing(slf, "is_host")),
        }
    }

    /// True if the peer that has joined is the host.
    #[getter]
    fn _is_of_host(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match body(slf) {
            Body::Room(room) => match room.change {
                RoomChange::Joined { is_host, .. } => Ok(is_host),
                _ => Err(Self::missing(slf, "host")),
            },
            _ => Err(Self::missing(slf, "host")),
        }
    }

    /// The number of the finder that saw it.
    #[getter]
    fn _finder(slf: &Bound<'_, Self>) -> PyResult<u64> {
        match body(slf) {
            Body::Game(game) => Ok(game.finder),
            _ => Err(Self::missing(slf, "finder")),
        }
    }

    /// The kind of a message: 0 bytes, 1 text, 2 a plain value, and those of `_kinds.py`.
    #[getter]
    fn _kind(slf: &Bound<'_, Self>) -> PyResult<u8> {
        match body(slf) {
            Body::DataIn { kind, .. } => Ok(kind.number()),
            _ => Err(Self::missing(slf, "kind")),
        }
    }

    /// Returns the attributes as a new dict.
    fn _attributes<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let (py, fields) = (slf.py(), Fields::of(slf));
        let attributes = PyDict::new(py);
        attributes.set_item(intern!(py, "what"), fields.what())?;
        attributes.set_item(intern!(py, "peer"), fields.peer(py))?;
        if let Some(data) = fields.data() {
            attributes.set_item(intern!(py, "data"), data)?;
        }
        match &fields.body {
            Body::Connected { reason } => attributes.set_item(intern!(py, "reason"), reason)?,
            Body::DataIn {
                channel,
                sequence_id,
                is_lossy,
                reply,
                ..
            } => {
                attributes.set_item(intern!(py, "channel"), channel)?;
                attributes.set_item(intern!(py, "sequenceid"), sequence_id)?;
                attributes.set_item(intern!(py, "lossy"), is_lossy)?;
                attributes.set_item(intern!(py, "reply"), Self::reply_object(slf.py(), reply.as_ref())?)?;
            }
            Body::Lost { reason, seconds_left } => {
                attributes.set_item(intern!(py, "reason"), reason)?;
                attributes.set_item(intern!(py, "seconds_left"), seconds_left)?;
            }
            Body::Route { route } => attributes.set_item(intern!(py, "route"), route)?,
            Body::Resumed { seconds, reason } => {
                attributes.set_item(intern!(py, "seconds"), seconds)?;
                attributes.set_item(intern!(py, "reason"), reason)?;
            }
            Body::Disconnected { reason, detail } => {
                attributes.set_item(intern!(py, "reason"), reason)?;
                attributes.set_item(intern!(py, "detail"), detail)?;
            }
            Body::Remote(remote) => {
                attributes.set_item(intern!(py, "channel"), remote.channel)?;
                attributes.set_item(intern!(py, "type"), remote.number)?;
                attributes.set_item(intern!(py, "name"), &remote.name)?;
                attributes.set_item(intern!(py, "lossy"), remote.is_lossy)?;
            }
            Body::Answer(answer) => {
                attributes.set_item(intern!(py, "channel"), answer.channel)?;
                attributes.set_item(intern!(py, "token"), answer.token)?;
                attributes.set_item(intern!(py, "reason"), &answer.reason)?;
            }
            Body::Game(game) => attributes.set_item(intern!(py, "game"), &game.game)?,
            Body::Room(room) => {
                attributes.set_item(intern!(py, "room"), &room.room)?;
                match &room.change {
                    RoomChange::Opened => attributes.set_item(intern!(py, "code"), Self::code(slf)?)?,
                    RoomChange::Joined { .. } => {}
                    RoomChange::Left { reason, detail } | RoomChange::Ended { reason, detail } => {
                        attributes.set_item(intern!(py, "reason"), reason.name())?;
                        attributes.set_item(intern!(py, "detail"), detail)?;
                    }
                    RoomChange::Host { is_host } => attributes.set_item(intern!(py, "is_host"), is_host)?,
                }
            }
        }
        Ok(attributes)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (py, fields) = (slf.py(), Fields::of(slf));
        let data = || -> PyResult<String> {
            let data = fields.data().map(|data| data.bind(py).repr()).transpose()?;
            Ok(data.map_or_else(String::new, |data| shortened(&data.to_string_lossy())))
        };
        let peer = match fields.peer(py) {
            Some(peer) => format!(" {}", peer.bind(py).str()?.to_string_lossy()),
            None => String::new(),
        };
        let rest = match &fields.body {
            Body::Connected { reason: "" } => String::new(),
            Body::Connected { reason } => format!(": {reason}"),
            Body::DataIn {
                channel,
                sequence_id,
                is_lossy,
                ..
            } => {
                let lossy = if *is_lossy { " lossy" } else { "" };
                format!(" channel {channel} #{sequence_id}{lossy} {}", data()?)
            }
            Body::Lost { reason, seconds_left } => format!(": {reason}, {seconds_left:.1} s left"),
            Body::Route { route } => format!(": {route}"),
            Body::Resumed { seconds, reason: "" } => format!(" after {seconds:.1} s"),
            Body::Resumed { seconds, reason } => format!(" after {seconds:.1} s: {reason}"),
            Body::Disconnected { reason, detail } if detail.is_empty() => format!(": {reason}"),
            Body::Disconnected { reason, detail } => format!(": {reason}: {detail}"),
            Body::Remote(remote) => format!(" {} {}", remote.name, data()?),
            Body::Answer(answer) if answer.reason.is_empty() => format!(" to {}: {}", answer.token, data()?),
            Body::Answer(answer) => format!(" to {}: {}", answer.token, answer.reason),
            Body::Game(game) => format!(" {}", game.game.bind(py).str()?.to_string_lossy()),
            Body::Room(room) => {
                let code = room.room.bind(py).str()?.to_string_lossy().into_owned();
                match &room.change {
                    RoomChange::Opened | RoomChange::Joined { .. } => format!(" in {code}"),
                    RoomChange::Left { reason, .. } | RoomChange::Ended { reason, .. } => {
                        format!(" in {code}: {reason}")
                    }
                    RoomChange::Host { is_host: true } => format!(" in {code}: this player"),
                    RoomChange::Host { .. } => format!(" in {code}"),
                }
            }
        };
        Ok(format!("<Event {}{peer}{rest}>", fields.body.what().1))
    }
}

/// Makes of a message that turned out to be a question the event that the game gets: with the data alone, and a reply.
#[pyfunction]
pub(crate) fn _question_event(
    py: Python<'_>,
    event: &Bound<'_, Event>,
    kind: u8,
    data: Py<PyAny>,
    reply: Py<PyAny>,
) -> PyResult<Py<Event>> {
    let Body::DataIn {
        channel,
        sequence_id,
        is_lossy,
        ..
    } = *body(event)
    else {
        return Err(Event::missing(event, "data"));
    };
    let body = Body::DataIn {
        channel,
        kind: Kind::from_number(kind).unwrap_or(Kind::VALUE),
        sequence_id,
        is_lossy,
        reply: Some(reply),
    };
    Event::with_data(py, peer(event)?, body, data)
}

/// Makes of a message that turned out to be a remote event the event that the game gets.
#[pyfunction]
pub(crate) fn _remote_event(
    py: Python<'_>,
    event: &Bound<'_, Event>,
    number: u16,
    name: String,
    data: Py<PyDict>,
) -> PyResult<Py<Event>> {
    let Body::DataIn { channel, is_lossy, .. } = *body(event) else {
        return Err(Event::missing(event, "data"));
    };
    let body = Body::Remote(Box::new(Remote {
        channel,
        number,
        name,
        is_lossy,
    }));
    Event::with_data(py, peer(event)?, body, data.into_any())
}

/// Makes the event that tells what came of a question.
#[pyfunction]
pub(crate) fn _answer_event(
    py: Python<'_>,
    peer: Py<Peer>,
    channel: u8,
    token: u32,
    data: Py<PyAny>,
    reason: String,
) -> PyResult<Py<Event>> {
    let body = Body::Answer(Box::new(Answer { channel, token, reason }));
    Event::with_data(py, peer, body, data)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
