"""What an object travels as: the kinds of messages, and who makes the bytes of which. Knows no sockets.

| kind | what | made by |
|---|---|---|
| 0, 1 | bytes, text | `_core`, which copies them |
| 2 | a plain value | `_codec` |
| 3 | a typed message | `_messages` |
| 4 | an event for the other side's pygame queue | |
| 5, 6 | a question, an answer | |
| 7 | a typed message is not taken | this module |

A module that makes a kind of its own registers who packs a class of objects, in `packers`, and who unpacks the kind, in
`unpackers`. `_core` looks into `packers` for what is neither str nor bytes, calls `_codec` for plain values, which it
measures, and `unpack` for the kinds from 3 on.

What an unpacker raises closes the peer with "bad data"; `Refused` drops the message and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import _codec, _core
from ._errors import PeerClosed, UnsupportedData

if TYPE_CHECKING:
    from ._core import Peer

__all__ = [
    "ANSWER",
    "BYTES",
    "QUESTION",
    "REFUSAL",
    "REMOTE_EVENT",
    "TEXT",
    "TYPED",
    "VALUE",
    "Refused",
    "pack_inner",
    "packers",
    "say_refused",
    "unpack",
    "unpack_inner",
    "unpackers",
]

BYTES: Final = 0
TEXT: Final = 1
VALUE: Final = 2
TYPED: Final = 3
REMOTE_EVENT: Final = 4
QUESTION: Final = 5
ANSWER: Final = 6
REFUSAL: Final = 7

packers: dict[type, Callable[[Any], tuple[int, bytes]]] = {}
"""Who makes (kind, bytes) of the objects of exactly this class."""

unpackers: dict[int, Callable[[bytes, Peer], Any]] = {}
"""Who makes the object of the bytes of this kind, which this peer sent."""


class Refused(Exception):  # noqa: N818 (not an error: it is nobody's fault)
    """This side does not take such a message: it is dropped, and the peer stays."""

    def __init__(self, name: str, words: str) -> None:
        """Names the type, and says why; with no words it is dropped in silence."""
        super().__init__(name, words)
        self.name = name
        self.words = words


def unpack(kind: int, data: bytes, peer: Peer) -> Any:
    """Makes the object of the bytes of a kind from 3 on.

    Raises:
        Refused: This side does not take it.
        ValueError: The bytes are none of this kind. So do other exceptions.

    Example:
        >>> unpack(15, b"", None)
        Traceback (most recent call last):
        ...
        ValueError: unknown kind 15
    """
    unpacker = unpackers.get(kind)
    if unpacker is None:
        raise ValueError(f"unknown kind {kind}")
    return unpacker(data, peer)


def pack_inner(data: object) -> tuple[int, bytes]:
    """Makes (kind, bytes) of anything that can be sent, to travel inside a message of another kind.

    Raises:
        UnsupportedData: The data would not arrive as what it is.

    Example:
        >>> pack_inner("why?")
        (1, b'why?')
    """
    if type(data) is str:
        try:
            return TEXT, data.encode()
        except UnicodeEncodeError:
            raise UnsupportedData("str holds half a surrogate pair, which is no text; send bytes") from None
    if type(data) is bytes:
        return BYTES, data
    if isinstance(data, (bytearray, memoryview)):
        return BYTES, bytes(data)
    packer = packers.get(type(data))
    if packer is not None:
        return packer(data)
    encoded = _codec.encode(data)
    try:
        return VALUE, _core._fold(encoded)
    except ValueError as error:
        raise UnsupportedData(str(error)) from None


def unpack_inner(kind: int, data: bytes, peer: Peer) -> Any:
    """Makes the object of what `pack_inner` made; measures a plain value first.

    Raises:
        Refused: This side does not take it.
        ValueError: The bytes are none of this kind. So do other exceptions.

    Example:
        >>> unpack_inner(1, b"why?", None)
        'why?'
    """
    if kind == BYTES:
        return data
    if kind == TEXT:
        return data.decode()
    if kind == VALUE:
        peer._measure(data)
        return _codec.decode(data)
    return unpack(kind, data, peer)


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """Tells the other side that its messages of a name are dropped here."""

    name: str
    words: str


_MAX_WORDS: Final = 400
_MAX_SAID: Final = 16
"""How many types are spoken of for each peer: it can make up names without end."""

_REFUSAL_CHANNEL: Final = 255
_said: weakref.WeakKeyDictionary[Peer, set[tuple[str, str]]] = weakref.WeakKeyDictionary()
_log = logging.getLogger("netplay")


def say_refused(peer: Peer, refusal: Refused) -> None:
    """Says once for each peer and type that a message was dropped, here and there. Called by `_core`.

    Raises:
        Nothing.

    Example:
        >>> say_refused(None, Refused("Move", ""))
    """
    if not refusal.words or not _is_first(peer, ("sent", refusal.name)):
        return
    name = _printable(refusal.name)
    _log.warning("%s sends the message %s, and it is dropped: %s", peer, name, refusal.words)
    with contextlib.suppress(PeerClosed):
        peer.send(_Refusal(refusal.name, refusal.words), _REFUSAL_CHANNEL, ordered=False)


def _unpack_refusal(data: bytes, peer: Peer) -> Any:
    name, words = (_printable(part) for part in data.decode().split("\0", 1))
    if _is_first(peer, ("refused", name)):
        _log.warning("%s drops the message %s from here: %s", peer, name, words[:_MAX_WORDS])
    raise Refused(name, "")


def _pack_refusal(refusal: _Refusal) -> tuple[int, bytes]:
    return REFUSAL, f"{refusal.name}\0{refusal.words[:_MAX_WORDS]}".encode()


def _is_first(peer: Peer, what: tuple[str, str]) -> bool:
    said = _said.setdefault(peer, set())
    if what in said or len(said) >= _MAX_SAID:
        return False
    said.add(what)
    return True


def _printable(words: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


packers[_Refusal] = _pack_refusal
unpackers[REFUSAL] = _unpack_refusal
