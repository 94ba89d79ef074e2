"""Events that travel from one pygame queue to another: which types have a name, and which of them are let in.

Knows no sockets, and pygame not at all: what an event of pygame's is, it sees by `type` and `dict`.

A type's number means something in one program only, so its name travels. Its fields are those of a typed message, and
travel as one: name, hash of the fields, values (see `_messages`).

| the name is | the event is |
|---|---|
| of a type made here by `event_type()`, with the same fields | let in |
| of a standard event in the table `_STANDARD`, and `allow_events()` has named it | let in |
| any other | refused: counted, told once to both sides, a strike against the peer |

The table holds what comes from hands: keys, mouse, joysticks, fingers. QUIT, windows, dropped files and the rest are
not in it, so nothing lets them in. Its fields are bounded to what a hand can do, so that what a game does with such an
event works with one from a stranger, too: a key of 40 bits makes `pygame.key.name()` raise, and a NUL pygame's fonts.
Who collects more strikes than are forgiven is closed with "bad data".

The numbers of `event_type()` lie above those that `pygame.event.custom_type()` gives out, and are never given out
twice, so they stay what they are when the game calls `pygame.quit()` and `pygame.init()`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from . import _core, _kinds
from ._errors import UnsupportedData
from ._events import NETWORK, NETWORK_EVENT, NETWORK_WAKE
from ._messages import Schema
from ._pygame_values import numbers_of
from ._strikes import Strikes

if TYPE_CHECKING:
    from ._core import Event, Peer

__all__ = ["Arrived", "Door", "EventType", "Outgoing", "event_type", "outgoing"]

_FIRST_NUMBER: Final = 65_002  # after NETWORK and NETWORK_WAKE
_LAST_NUMBER: Final = 65_533  # pygame's last is 65,534
_MAX_NAME_LEN: Final = 64
_MAX_FIELDS: Final = 32
_HASH_LEN: Final = 4
_PREFIX: Final = "pygame."
_RESERVED: Final = frozenset({"type", "dict", "peer"})


@dataclasses.dataclass(frozen=True)
class EventType:
    """A type of event that can travel."""

    name: str
    number: int
    types: dict[str, Any]
    """The fields, in the order of their names, and their types."""
    schema: Schema
    head: bytes
    """Name and hash, as they travel."""
    signature: str
    """The fields in words, by which two sides see whether they mean the same."""
    defaults: dict[str, Any] | None = None
    """Of a standard event: what a field is that an event made by hand does not have."""


class Outgoing(NamedTuple):
    """An event on its way out; it is packed when it is sent, as the limits are those of the network that sends it."""

    kind: EventType
    values: object


class Arrived(NamedTuple):
    """An event that came in."""

    name: str
    kind: EventType | None
    data: dict[str, Any]
    refusal: str
    """Why it does not get in, and what would let it in; "" if nothing is known against it."""


def _schema(name: str, types: dict[str, Any]) -> Schema:
    return Schema(dataclasses.make_dataclass("Fields", types.items()), name, packed=True, local_names={})


_Int32: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Real: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Letter: TypeAlias = Annotated[str, msgspec.Meta(max_length=8)]
_Words: TypeAlias = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]

# What the fields of standard events are, what they may be, and what they are if nobody says so.
_HANDS: Final[dict[str, tuple[Any, Any, Any]]] = {
    "bool": (bool, bool, False),
    "id": (int, int, 0),
    "int32": (int, _Int32, 0),
    "two int32": (tuple[int, int], tuple[_Int32, _Int32], (0, 0)),
    "three int32": (tuple[int, int, int], tuple[_Int32, _Int32, _Int32], (0, 0, 0)),
    "real": (float, _Real, 0.0),
    "letter": (str, _Letter, ""),
    "words": (str, _Words, ""),
}


_KEY: Final = {"key": "int32", "mod": "int32", "unicode": "letter", "scancode": "int32"}
_JOY: Final = {"joy": "int32", "instance_id": "int32"}
_PAD: Final = {"instance_id": "int32"}
_BUTTON: Final = {"pos": "two int32", "button": "int32", "touch": "bool"}
_MOTION: Final = {"pos": "two int32", "rel": "two int32", "buttons": "three int32", "touch": "bool"}
_WHEEL: Final = {
    "x": "int32",
    "y": "int32",
    "precise_x": "real",
    "precise_y": "real",
    "flipped": "bool",
    "touch": "bool",
}
_FINGER: Final = {"touch_id": "id", "finger_id": "id", "x": "real", "y": "real", "dx": "real", "dy": "real"}

# The numbers are the same in pygame and pygame-ce, which a test looks after; so no pygame is needed to know them.
_STANDARD: Final[dict[str, tuple[int, dict[str, str]]]] = {
    "KEYDOWN": (768, _KEY),
    "KEYUP": (769, _KEY),
    "TEXTEDITING": (770, {"text": "words", "start": "int32", "length": "int32"}),
    "TEXTINPUT": (771, {"text": "words"}),
    "MOUSEMOTION": (1024, _MOTION),
    "MOUSEBUTTONDOWN": (1025, _BUTTON),
    "MOUSEBUTTONUP": (1026, _BUTTON),
    "MOUSEWHEEL": (1027, _WHEEL),
    "JOYAXISMOTION": (1536, {**_JOY, "axis": "int32", "value": "real"}),
    "JOYBALLMOTION": (1537, {**_JOY, "ball": "int32", "rel": "two int32"}),
    "JOYHATMOTION": (1538, {**_JOY, "hat": "int32", "value": "two int32"}),
    "JOYBUTTONDOWN": (1539, {**_JOY, "button": "int32"}),
    "JOYBUTTONUP": (1540, {**_JOY, "button": "int32"}),
    "CONTROLLERAXISMOTION": (1616, {**_PAD, "axis": "int32", "value": "int32"}),
    "CONTROLLERBUTTONDOWN": (1617, {**_PAD, "button": "int32"}),
    "CONTROLLERBUTTONUP": (1618, {**_PAD, "button": "int32"}),
    "FINGERDOWN": (1792, _FINGER),
    "FINGERUP": (1793, _FINGER),
    "FINGERMOTION": (1794, _FINGER),
}
_STANDARD_BY_NUMBER: Final = {number: name for name, (number, _) in _STANDARD.items()}

_by_name: dict[str, EventType] = {}
_by_number: dict[int, EventType] = {}


def _find(name: str) -> EventType | None:
    """Returns the type of a name as it travels."""
    short_name = name.removeprefix(_PREFIX)
    return _standard(short_name) if name != short_name and short_name in _STANDARD else _by_name.get(name)


def _find_number(number: int) -> EventType | None:
    """Returns the type of a number as it is here."""
    short_name = _STANDARD_BY_NUMBER.get(number)
    return _by_number.get(number) if short_name is None else _standard(short_name)


@functools.cache
def _standard(short_name: str) -> EventType:
    """Returns a type of pygame's own; made when it is first spoken of."""
    number, fields = _STANDARD[short_name]
    name = _PREFIX + short_name
    words = dict(sorted(fields.items()))
    plain = _schema(name, {field: _HANDS[word][0] for field, word in words.items()})
    types = {field: _HANDS[word][1] for field, word in words.items()}
    defaults = {field: _HANDS[word][2] for field, word in words.items()}
    # The bounds are the receiver's own business: they are no part of what both sides must say alike.
    return EventType(name, number, types, _schema(name, types), plain.head, plain.signature, defaults)


def event_type(name: str, /, **fields: Any) -> int:
    """Makes a type of pygame event that can travel: `post()` puts such events into the other players' pygame queues.

    Every player's program makes it with the same name and the same fields, in any order; what counts is the name, and
    the number may differ. An event of a type that a program did not make does not get in there, and both sides are
    told so once, in the log.

    Args:
        name: What all players call it: 1 to 64 bytes of UTF-8, nothing that begins with "pygame.".
        fields: The attributes that such an event has, at most 32, each with its type: whatever a field of a
            `netplay.message` may be, `pygame.Vector2` and `net.Float(0, 800, step=0.1)` as well. A server without
            pygame writes `tuple[float, float]` for a Vector2.

    Returns:
        The number, for `pygame.event.Event(number, ...)` and `e.type == number`. It stays the same when pygame is quit
        and initialised again. The same name with the same fields gives the same number.

    Raises:
        ValueError: The name is too long, empty, not printable or pygame's own, or was given other fields before; a
            field has the name "type", "dict" or "peer"; or there are too many fields, or more than 532 types.
        TypeError: The name is no str, or a field's type cannot travel.

    Example:
        >>> import netplay
        >>> SPLASH = netplay.event_type("docs-splash", where=tuple[int, int], size=int)
        >>> SPLASH == netplay.event_type("docs-splash", size=int, where=tuple[int, int])
        True
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an event type is {name!r}, it must be a str")
    size = len(name.encode(errors="replace"))
    if not 0 < size <= _MAX_NAME_LEN or not name.isprintable() or name.startswith(_PREFIX):
        raise ValueError(
            f"the name of an event type is {name[:80]!r}, it must be 1 to {_MAX_NAME_LEN} bytes, printable, "
            f"and not begin with {_PREFIX!r}"
        )
    if len(fields) > _MAX_FIELDS:
        raise ValueError(f"event type {name!r} has {len(fields)} fields, it may have {_MAX_FIELDS}")
    reserved = _RESERVED.intersection(fields)
    if reserved:
        raise ValueError(f"event type {name!r} has a field {min(reserved)!r}, which every event has already")
    types = dict(sorted(fields.items()))
    schema = _schema(name, types)
    known = _by_name.get(name)
    if known is not None:
        if known.signature != schema.signature:
            raise ValueError(f"event type {name!r} was made as {known.signature} before, not {schema.signature}")
        return known.number
    number = _FIRST_NUMBER + len(_by_number)
    if number > _LAST_NUMBER:
        raise ValueError(f"more than {_LAST_NUMBER - _FIRST_NUMBER + 1} event types")
    _by_name[name] = _by_number[number] = EventType(name, number, types, schema, schema.head, schema.signature)
    return number


def outgoing(event: object, attributes: object) -> tuple[Outgoing, object]:
    """Makes of what `post()` was given the event on its way out, and returns from whom it came before, or None.

    Raises:
        UnsupportedData: Such an event does not travel, or not with these attributes.
    """
    number, values, origin = _read(event, attributes)
    kind = _find_number(number)
    if kind is None:
        raise UnsupportedData(_refusal(number))
    if kind.defaults is not None:  # what else pygame's own have, windows and times, means nothing elsewhere
        values = {field: values.get(field, default) for field, default in kind.defaults.items()}
    else:
        values = {field: value for field, value in values.items() if field != "peer"}
        missing, extra = kind.types.keys() - values, values.keys() - kind.types
        if missing:
            raise UnsupportedData(f"this {kind.name} event has no {min(missing)}; its type is {kind.signature}")
        if extra:
            raise UnsupportedData(f"{kind.name}.{min(extra)} is no field of its type, {kind.signature}")
    for field, annotation in kind.types.items():
        if isinstance(values[field], (tuple, list)) and isinstance(annotation, type) and numbers_of(annotation):
            try:
                values[field] = annotation(*values[field])
            except (TypeError, ValueError) as error:
                raise UnsupportedData(f"{kind.name}.{field}: {error}") from None
    return Outgoing(kind, kind.schema.cls(**values)), origin


def _read(event: object, attributes: object) -> tuple[int, dict[str, Any], object]:
    """Returns type, attributes and origin of a pygame event, of a netplay event, or of a number with attributes."""
    if isinstance(event, _core.Event):
        if event.what is not NETWORK_EVENT:
            raise UnsupportedData(f"{event.what} events do not travel; send e.data instead")
        return event.type, event.data, event.peer
    if isinstance(event, int) and not isinstance(event, bool):
        if attributes is None:
            attributes = {}
        if not isinstance(attributes, dict):
            raise UnsupportedData(f"the attributes are a {type(attributes).__name__}, they must be a dict")
        return event, attributes, None
    number, values = getattr(event, "type", None), getattr(event, "dict", None)
    if attributes is not None or not isinstance(number, int) or not isinstance(values, dict):
        raise UnsupportedData(
            f"{type(event).__name__} is no event; post(pygame.event.Event(...)), or post(number, {{...}})"
        )
    return number, values, values.get("peer")


class Door:
    """Who lets remote events in, for one network."""

    def __init__(self, strikes: Strikes) -> None:
        self.refused = 0
        self._allowed: frozenset[str] = frozenset()
        self._strikes = strikes

    def allow(self, types: tuple[int | str, ...]) -> None:
        """Takes standard events of these types from now on, and of no others; raises what `allow_events` says."""
        self._allowed = frozenset(_standard_type(kind).name for kind in types)

    def admit(self, event: Event, arrived: Arrived) -> Event | None:
        """Looks at a message that turned out to be a remote event.

        Returns:
            The event for the game; None if it is refused.

        Raises:
            Unbearable: Its sender is to be closed.
        """
        name, kind, data, refusal = arrived
        if kind is not None and kind.defaults is not None and name not in self._allowed:
            refusal = f"to let it in, call netplay.allow_events({name})"
        if kind is not None and not refusal:
            return _core._remote_event(event, kind.number, name, data)
        self.refused += 1
        _kinds.say_refused(event.peer, _kinds.Refused(name, refusal))
        self._strikes.add(event.peer, f"sent too many events that are refused, the last {name!r}")
        return None


def _standard_type(kind: int | str) -> EventType:
    found = _find_number(kind) if isinstance(kind, int) else _find(_PREFIX + kind.removeprefix(_PREFIX))
    if found is None:
        raise ValueError(f"event type {kind!r} is never let in; these can be: {', '.join(_STANDARD)}")
    if found.defaults is None:
        raise ValueError(f"{found.name!r} events are let in already, since event_type() made them")
    return found


def _refusal(number: int) -> str:
    if number in (NETWORK, NETWORK_WAKE):
        return "network events do not travel; send e.data instead"
    return (
        f"event type {number} does not travel: neither made by netplay.event_type(), nor one of {', '.join(_STANDARD)}"
    )


def _pack(event: Outgoing) -> tuple[int, bytes]:
    kind = event.kind
    _, packed = kind.schema.pack(event.values)
    return _kinds.REMOTE_EVENT, kind.head + packed[len(kind.head) :]


def _unpack(data: bytes, peer: Peer) -> Arrived:
    end = 1 + data[0] + _HASH_LEN if data else 0
    if not 1 + _HASH_LEN < end <= min(len(data), 1 + _MAX_NAME_LEN + _HASH_LEN):
        raise ValueError(f"an event of {len(data)} bytes has no whole name")
    name = data[1 : end - _HASH_LEN].decode()
    if not name.isprintable():
        raise ValueError("an event has a name that cannot be printed")
    kind = _find(name)
    if kind is None:
        return Arrived(name, None, {}, "there is no netplay.event_type() of this name here")
    if kind.head != data[:end]:
        return Arrived(name, kind, {}, f"its fields differ; here it is {kind.signature}")
    fields = kind.schema.unpack(data[end:], peer)
    return Arrived(name, kind, {field: getattr(fields, field) for field in kind.types}, "")


_kinds.packers[Outgoing] = _pack
_kinds.unpackers[_kinds.REMOTE_EVENT] = _unpack
