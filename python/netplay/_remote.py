"""Events that travel from one pygame queue to another: which types have a name, and which of them are let in.

Knows no sockets, and pygame only as far as the game has imported it.

A type's number means something in one program only, so its name travels, and the names of the fields do not:

| size | field |
|---|---|
| 1 | length of the name, 1 to 64 |
| … | name, UTF-8: "explosion", or "pygame.KEYDOWN" |
| 4 | CRC-32 of the fields, written "pos:Vector2,size:int" in the order of their names, little-endian |
| … | their values in the same order: a plain value, an array |

| the name is | the event is |
|---|---|
| of a type made here by `event_type()`, with the same fields | let in |
| of a standard event in the table `_STANDARD`, and `allow_events()` has named it | let in |
| any other | refused: counted, told once in the log, a strike against the peer |

The table holds what comes from hands: keys, mouse, joysticks, fingers. QUIT, windows, dropped files and the rest are
not in it, so nothing lets them in. Who collects more strikes than are forgiven is closed with "bad data".

The numbers of `event_type()` lie above those that `pygame.event.custom_type()` gives out, and are never given out
twice, so they stay what they are when the game calls `pygame.quit()` and `pygame.init()`.
"""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _codec, _core, _kinds
from ._errors import UnsupportedData
from ._events import NETWORK, NETWORK_EVENT, NETWORK_WAKE
from ._fields import Field, field_of
from ._strikes import Strikes, Unbearable

if TYPE_CHECKING:
    from ._core import Event, Peer

__all__ = ["Arrived", "Door", "EventType", "Outgoing", "event_type", "outgoing"]

_FIRST_NUMBER: Final = 65_002  # after NETWORK and NETWORK_WAKE
_LAST_NUMBER: Final = 65_533  # pygame's last is 65,534
_MAX_NAME_LEN: Final = 64
_MAX_FIELDS: Final = 32
_MAX_VALUES_LEN: Final = 65_536
_PREFIX: Final = "pygame."
_RESERVED: Final = frozenset({"type", "dict", "peer"})
_MAX_TOLD: Final = 16
"""About how many refused names the log tells, of all that a program meets."""

_log = logging.getLogger("netplay")


class EventType(NamedTuple):
    """A type of event that can travel."""

    name: str
    number: int
    fields: tuple[Field, ...]  # in the order of their names
    is_standard: bool = False

    @property
    def words(self) -> str:
        """The fields in one line, by which two sides see whether they mean the same."""
        return ",".join(f"{field.name}:{field.word}" for field in self.fields)

    @property
    def code(self) -> bytes:
        """The four bytes that stand for the fields on the way."""
        return zlib.crc32(self.words.encode()).to_bytes(4, "little")


class Outgoing(NamedTuple):
    """An event on its way out."""

    data: bytes


class Arrived(NamedTuple):
    """An event that came in, and nobody has looked at yet."""

    name: str
    code: bytes
    values: bytes


def _standard(number: int, **fields: str) -> tuple[int, dict[str, str]]:
    return number, fields


_KEY: Final = {"key": "int32", "mod": "int32", "unicode": "letter", "scancode": "int32"}
_JOY: Final = {"joy": "int32", "instance_id": "int32"}
_BUTTON: Final = {"pos": "two int32", "button": "int32", "touch": "bool"}
_FINGER: Final = {"touch_id": "int", "finger_id": "int", "x": "real", "y": "real", "dx": "real", "dy": "real"}

# The numbers are the same in pygame and pygame-ce, which a test looks after; so no pygame is needed to know them.
_STANDARD: Final = {
    name: EventType(
        _PREFIX + name, number, tuple(field_of(word, kind) for word, kind in sorted(fields.items())), is_standard=True
    )
    for name, (number, fields) in {
        "KEYDOWN": _standard(768, **_KEY),
        "KEYUP": _standard(769, **_KEY),
        "TEXTEDITING": _standard(770, text="words", start="int32", length="int32"),
        "TEXTINPUT": _standard(771, text="words"),
        "MOUSEMOTION": _standard(1024, pos="two int32", rel="two int32", buttons="three int32", touch="bool"),
        "MOUSEBUTTONDOWN": _standard(1025, **_BUTTON),
        "MOUSEBUTTONUP": _standard(1026, **_BUTTON),
        "MOUSEWHEEL": _standard(
            1027, flipped="bool", x="int32", y="int32", precise_x="real", precise_y="real", touch="bool"
        ),
        "JOYAXISMOTION": _standard(1536, **_JOY, axis="int32", value="real"),
        "JOYBALLMOTION": _standard(1537, **_JOY, ball="int32", rel="two int32"),
        "JOYHATMOTION": _standard(1538, **_JOY, hat="int32", value="two int32"),
        "JOYBUTTONDOWN": _standard(1539, **_JOY, button="int32"),
        "JOYBUTTONUP": _standard(1540, **_JOY, button="int32"),
        "CONTROLLERAXISMOTION": _standard(1616, instance_id="int32", axis="int32", value="int32"),
        "CONTROLLERBUTTONDOWN": _standard(1617, instance_id="int32", button="int32"),
        "CONTROLLERBUTTONUP": _standard(1618, instance_id="int32", button="int32"),
        "FINGERDOWN": _standard(1792, **_FINGER),
        "FINGERUP": _standard(1793, **_FINGER),
        "FINGERMOTION": _standard(1794, **_FINGER),
    }.items()
}

_by_name: dict[str, EventType] = {kind.name: kind for kind in _STANDARD.values()}
_by_number: dict[int, EventType] = {kind.number: kind for kind in _STANDARD.values()}
_told: set[str] = set()


def event_type(name: str, /, **fields: object) -> int:
    """Makes a type of pygame event that can travel: `post()` puts such events into the other players' pygame queues.

    Every player's program makes it with the same name and the same fields, in any order; what counts is the name, and
    the number may differ. An event of a type that a program did not make does not get in there.

    Args:
        name: What all players call it: 1 to 64 bytes of UTF-8, nothing that begins with "pygame.".
        fields: The attributes that such an event has, at most 32, each with its type: bool, int, float, str, bytes,
            list, tuple, dict, `object` for any plain value, `pygame.Vector2`, `Vector3`, `Rect`, `FRect` or `Color`.
            Where pygame is not imported, these last can be written as words, "Vector2", and arrive there as tuples.

    Returns:
        The number, for `pygame.event.Event(number, ...)` and `e.type == number`. It stays the same when pygame is quit
        and initialised again. The same name with the same fields gives the same number.

    Raises:
        ValueError: The name is too long, empty, not printable or pygame's own, or was given other fields before; a
            field has the name "type", "dict" or "peer"; or there are too many fields, or more than 532 types.
        TypeError: The name is no str, or a field's type is none of these.

    Example:
        >>> import netplay
        >>> SPLASH = netplay.event_type("docs-splash", where=tuple, size=int)
        >>> SPLASH == netplay.event_type("docs-splash", size=int, where=tuple)
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
    made = tuple(field_of(word, kind) for word, kind in sorted(fields.items()))
    known = _by_name.get(name)
    if known is not None:
        if known.fields != made:
            new = EventType(name, 0, made).words
            raise ValueError(f"event type {name!r} was made with the fields ({known.words}) before, not ({new})")
        return known.number
    number = _FIRST_NUMBER + len(_by_number) - len(_STANDARD)
    if number > _LAST_NUMBER:
        raise ValueError(f"more than {_LAST_NUMBER - _FIRST_NUMBER + 1} event types")
    _by_name[name] = _by_number[number] = EventType(name, number, made)
    return number


def outgoing(event: object, attributes: object) -> tuple[Outgoing, object]:
    """Makes of what `post()` was given the event on its way out, and returns from whom it came before, or None.

    Raises:
        UnsupportedData: Such an event does not travel, or not with these attributes.
    """
    number, values, origin = _read(event, attributes)
    kind = _by_number.get(number)
    if kind is None:
        raise UnsupportedData(_refusal(number))
    wire = []
    for field in kind.fields:
        if field.name in values:
            try:
                wire.append(field.to_wire(values[field.name]))
            except (TypeError, ValueError, OverflowError) as error:
                raise UnsupportedData(f"{kind.name}.{field.name} {error}") from None
        elif kind.is_standard:
            wire.append(field.default)
        else:
            raise UnsupportedData(f"this {kind.name} event has no {field.name}; its type has ({kind.words})")
    if not kind.is_standard:  # those of pygame have windows and times, which mean nothing elsewhere
        extra = set(values) - {field.name for field in kind.fields} - {"peer"}
        if extra:
            raise UnsupportedData(f"{kind.name}.{min(extra)} is no field of its type, which has ({kind.words})")
    encoded = _codec.encode(wire)
    if len(encoded) > _MAX_VALUES_LEN:
        raise UnsupportedData(f"this {kind.name} event has {len(encoded)} bytes, it may have {_MAX_VALUES_LEN}")
    name = kind.name.encode()
    return Outgoing(bytes([len(name)]) + name + kind.code + encoded), origin


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
        kind = _by_name.get(arrived.name)
        refusal = self._refusal_of(kind, arrived)
        if kind is None or refusal:
            self._refuse(event.peer, arrived.name, refusal)
            return None
        try:
            event.peer._measure(arrived.values)
            values = _codec.decode(arrived.values)
            if type(values) is not list or len(values) != len(kind.fields):
                raise ValueError(f"it must have {len(kind.fields)} fields")
            data = {field.name: field.from_wire(value) for field, value in zip(kind.fields, values, strict=True)}
        except (TypeError, ValueError, OverflowError) as error:
            raise Unbearable(f"sent a bad {arrived.name} event: {error}") from None
        return _core._remote_event(event, kind.number, kind.name, data)

    def _refusal_of(self, kind: EventType | None, arrived: Arrived) -> str:
        """Returns why an event does not get in, and what would let it in; "" if it does."""
        if kind is None:
            return "to know them, make their type with netplay.event_type()"
        if kind.is_standard and kind.name not in self._allowed:
            return f"to let them in, call netplay.allow_events({kind.name})"
        if kind.code != arrived.code:
            return f"their fields are others there than here, where they are ({kind.words})"
        return ""

    def _refuse(self, peer: Peer, name: str, why: str) -> None:
        self.refused += 1
        if name not in _told and len(_told) < _MAX_TOLD:
            _told.add(name)
            _log.warning("%s sends %r events, which are refused: %s", peer, name, why)
        self._strikes.add(peer, f"sent too many events that are refused, the last {name!r}")


def _standard_type(kind: int | str) -> EventType:
    found = _by_number.get(kind) if isinstance(kind, int) else _by_name.get(_PREFIX + kind.removeprefix(_PREFIX))
    if found is None or not found.is_standard:
        if found is not None:
            raise ValueError(f"{found.name!r} events are let in already, since event_type() made them")
        raise ValueError(f"event type {kind!r} is never let in; these can be: {', '.join(_STANDARD)}")
    return found


def _refusal(number: int) -> str:
    if number in (NETWORK, NETWORK_WAKE):
        return "network events do not travel; send e.data instead"
    return (
        f"event type {number} does not travel: neither made by netplay.event_type(), nor one of {', '.join(_STANDARD)}"
    )


def _pack(event: Outgoing) -> tuple[int, bytes]:
    return _kinds.REMOTE_EVENT, event.data


def _unpack(data: bytes, _peer: Peer) -> Arrived:
    """Takes a remote event apart without looking at its values: nobody knows yet whether it is let in."""
    name_end = 1 + (data[0] if data else 0)
    if not 1 < name_end <= 1 + _MAX_NAME_LEN or not name_end + 4 < len(data) <= name_end + 4 + _MAX_VALUES_LEN:
        raise ValueError(f"a remote event of {len(data)} bytes")
    name = data[1:name_end].decode()
    if not name.isprintable():
        raise ValueError("a remote event whose name cannot be printed")
    return Arrived(name, data[name_end : name_end + 4], data[name_end + 4 :])


_kinds.packers[Outgoing] = _pack
_kinds.unpackers[_kinds.REMOTE_EVENT] = _unpack
