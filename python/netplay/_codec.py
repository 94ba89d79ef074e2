"""Plain values to bytes and back: MessagePack by ormsgpack. Knows no peers and no sockets, and never runs code.

A value arrives as what it was, or `encode` refuses it; so what MessagePack has no form for travels as extension types:

| extension | what | payload |
|---|---|---|
| 1 | tuple | its items, as a MessagePack array |
| 2 | int below -2**63 or above 2**64 - 1 | two's complement, little-endian, at most 1,024 bytes |
| 3, 4 | set, frozenset | its items, as a MessagePack array |
| 5 | datetime | microseconds since 1970 on its own clock (8 bytes); its offset from UTC in seconds (4), if it has one |
| 6 to 10 | Vector2, Vector3, Rect, FRect, Color | see `_pygame_values` |
| 11 | typed message | see `_messages` |
| 12 | rows of a typed message | not in plain values |
| 13 | dict with other keys than a map may have | keys and items by turns, as a MessagePack array |
| 14 | list of dicts with the same keys in the same order | a MessagePack array: an array of the keys, and the items |

A key of a MessagePack map is None, a bool, int, float, str or bytes.
Python's hash of these is random, or has few others with the same; that of a tuple can be chosen, and a dict of 100,000
tuples with one hash takes a minute to make. So tuples as keys come in an extension, where their hashes are looked at.

`encode` makes no tables; `_core` does, in what was encoded, when the value is sent.

`_core` measures every value before `decode` sees it, and after `encode` has made it: how deep, how many elements, one
value and nothing behind it.
So a small message cannot grow into gigabytes of empty lists, or into a recursion.
"""

from __future__ import annotations

import datetime
import functools
import json
import struct
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

import ormsgpack

from . import _core, _pygame_values
from ._errors import UnsupportedData

__all__ = ["decode", "decode_extension", "encode", "readers", "unsupported", "writers"]

EXT_TUPLE: Final = 1
EXT_INT: Final = 2
EXT_SET: Final = 3
EXT_FROZENSET: Final = 4
EXT_DATETIME: Final = 5
EXT_MESSAGE: Final = 11
EXT_ROWS: Final = 12
EXT_DICT: Final = 13
EXT_TABLE: Final = 14

_MAX_INT_BYTES: Final = 1024
_MAX_DEPTH: Final = 100
_MAX_SAME_HASH: Final = 32
"""How many keys of a dict, or items of a set, may have the same hash: finding one means comparing it with all."""

# Without these, ormsgpack quietly turns enums into ints, datetimes into strings and dataclasses into dicts.
_STRICT: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_ANY_KEY: Final = ormsgpack.OPT_NON_STR_KEYS
_PLAIN_TYPES: Final = frozenset({float, bool, bytes, type(None), bytearray, memoryview})
_PLAIN_KEYS: Final = frozenset({float, bool, bytes, type(None)})

_HINTS: Final = {
    "complex": "send (value.real, value.imag)",
    "defaultdict": "send dict(value)",
    "OrderedDict": "send dict(value)",
    "Counter": "send dict(value)",
    "deque": "send list(value)",
    "date": "send value.isoformat()",
    "timedelta": "send value.total_seconds()",
    "UUID": "send value.bytes",
    "ndarray": "send value.tolist() or value.tobytes()",
    "Surface": 'send pygame.image.tobytes(value, "RGBA") and value.size, or the name of its file',
    "Sound": "send value.get_raw(), or the name of its file",
    "Sprite": "send its number and its position",
}

writers: Final[dict[type, Callable[[Any], tuple[int, bytes]]]] = {}
"""Who makes (extension, payload) of the objects of exactly this class."""

readers: Final[dict[int, Callable[[bytes], Any]]] = {}
"""Who makes the object of the payload of this extension."""

_hook = threading.local()


def encode(value: object) -> bytes:
    """Makes the bytes of a plain value.

    Args:
        value: None, a bool, int, float, str, bytes, datetime, a Vector2, Vector3, Rect, FRect or Color of pygame, a
            typed message, or a list, tuple, dict, set or frozenset of them. `bytearray` and `memoryview` are taken for
            bytes.

    Returns:
        The MessagePack bytes.

    Raises:
        UnsupportedData: The value, or one inside it, has a type that would not arrive as what it is.

    Example:
        >>> decode(encode({"position": (3, 4), "hp": 2**70}))
        {'position': (3, 4), 'hp': 1180591620717411303424}
    """
    try:
        return ormsgpack.packb(value, _encode_other, _STRICT)
    except (TypeError, ValueError, RecursionError):
        # Something that cannot travel, or a dict whose keys are not all str. This walk raises for the first and
        # clears the way for the second: with the option for such keys, ormsgpack turns dates and enums into strings.
        try:
            has_odd_keys = _check(value, 0)
        except _Unsendable as unsendable:
            raise unsupported("data", unsendable.path, unsendable.words) from None
    try:
        if has_odd_keys:
            value = _without_odd_keys(value)
        return ormsgpack.packb(value, _encode_other_any_key, _STRICT | _ANY_KEY)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedData(f"cannot send this {type(value).__name__}: {str(error)[:200]}") from None


def decode(data: bytes) -> Any:
    """Makes the value of bytes made by `encode`. Called only with bytes that `_core` has measured.

    Args:
        data: The bytes of one value.

    Returns:
        The value.

    Raises:
        ValueError: The bytes are no such value.
        Exception: What a reader of an extension raised.

    Example:
        >>> decode(encode([1, 2, "x"]))
        [1, 2, 'x']
    """
    try:
        return ormsgpack.unpackb(data, ext_hook=_extension_hook, option=_ANY_KEY)
    except ValueError as error:
        # ormsgpack says no more than that its hook failed.
        cause = getattr(_hook, "error", None)
        if cause is None:
            raise
        _hook.error = None
        raise cause from error


def decode_extension(number: int, payload: bytes) -> Any:
    """Makes the object of an extension.

    Args:
        number: Which.
        payload: Its bytes, measured as part of what they were in.

    Returns:
        The object.

    Raises:
        ValueError: There is no such extension, or its payload is no such thing.
        Exception: What its reader raised.

    Example:
        >>> decode_extension(1, encode([1, 2]))
        (1, 2)
    """
    if number == EXT_TUPLE:
        return tuple(_items(payload))
    reader = readers.get(number)
    if reader is None:
        raise ValueError(f"unknown extension {number}")
    return reader(payload)


def unsupported(name: str, path: str, words: str) -> UnsupportedData:
    """Makes the error that says where inside something is what cannot be sent, and why not.

    Args:
        name: What it is inside of.
        path: From there to it.
        words: Why not.

    Returns:
        The error, not raised.

    Raises:
        Nothing.

    Example:
        >>> str(unsupported("data", "[3].image", "complex cannot be sent"))
        'data[3].image: complex cannot be sent'
    """
    error = UnsupportedData(f"{name}{path}: {words}")
    error._where = (path, words)
    return error


def _extension_hook(number: int, payload: bytes) -> Any:
    try:
        return decode_extension(number, payload)
    except BaseException as error:
        if getattr(_hook, "error", None) is None:
            _hook.error = error
        raise


def _items(payload: bytes) -> list[Any]:
    items = ormsgpack.unpackb(payload, ext_hook=_extension_hook, option=_ANY_KEY)
    if type(items) is not list:
        raise ValueError("the payload of an extension is not an array")
    return items


def _encode_other(value: object) -> ormsgpack.Ext:
    """Encodes what ormsgpack passes on."""
    if type(value) is tuple:
        return ormsgpack.Ext(EXT_TUPLE, ormsgpack.packb([*value], _encode_other, _STRICT))
    return _encode_extension(value)


def _encode_other_any_key(value: object) -> ormsgpack.Ext:
    """Does the same where dicts have keys other than str."""
    if type(value) is tuple:
        return ormsgpack.Ext(EXT_TUPLE, ormsgpack.packb([*value], _encode_other_any_key, _STRICT | _ANY_KEY))
    return _encode_extension(value)


def _encode_extension(value: object) -> ormsgpack.Ext:
    writer = _writer(type(value))
    if writer is None:
        raise TypeError  # the words are made by `_check`: ormsgpack does not pass these on
    return ormsgpack.Ext(*writer(value))


def _writer(kind: type) -> Callable[[Any], tuple[int, bytes]] | None:
    writer = writers.get(kind)
    if writer is None:
        numbers = _pygame_values.numbers_of(kind)
        if numbers is not None:
            return numbers.pack
    return writer


def _write_int(value: int) -> tuple[int, bytes]:
    size = (value.bit_length() + 8) // 8
    if size > _MAX_INT_BYTES:
        raise ValueError
    return EXT_INT, value.to_bytes(size, "little", signed=True)


def _read_int(payload: bytes) -> int:
    if not 0 < len(payload) <= _MAX_INT_BYTES:
        raise ValueError(f"int of {len(payload)} bytes, 1 to {_MAX_INT_BYTES} are allowed")
    return int.from_bytes(payload, "little", signed=True)


def _write_set(value: set[Any]) -> tuple[int, bytes]:
    return EXT_SET, ormsgpack.packb([*value], _encode_other, _STRICT)


def _write_frozenset(value: frozenset[Any]) -> tuple[int, bytes]:
    return EXT_FROZENSET, ormsgpack.packb([*value], _encode_other, _STRICT)


def _read_set(payload: bytes) -> set[Any]:
    return set(_with_few_of_one_hash(_items(payload)))


def _read_frozenset(payload: bytes) -> frozenset[Any]:
    return frozenset(_with_few_of_one_hash(_items(payload)))


def _read_dict(payload: bytes) -> dict[Any, Any]:
    items = _items(payload)
    if len(items) % 2:
        raise ValueError("a dict with a key and no item")
    return dict(zip(_with_few_of_one_hash(items[::2]), items[1::2], strict=True))


def _read_table(payload: bytes) -> list[dict[Any, Any]]:
    return _core._table(payload, _items)


def _with_few_of_one_hash(keys: list[Hashable]) -> list[Hashable]:
    if len(keys) > _MAX_SAME_HASH:
        _, count = Counter(map(hash, keys)).most_common(1)[0]
        if count > _MAX_SAME_HASH:
            raise ValueError(f"{count} keys with the same hash, {_MAX_SAME_HASH} are allowed")
    return keys


_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def _write_datetime(value: datetime.datetime) -> tuple[int, bytes]:
    clock = (value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    offset = value.utcoffset()
    if offset is None:
        return EXT_DATETIME, clock.to_bytes(8, "little", signed=True)
    seconds, rest = divmod(offset, datetime.timedelta(seconds=1))
    if rest:
        raise ValueError
    return EXT_DATETIME, clock.to_bytes(8, "little", signed=True) + seconds.to_bytes(4, "little", signed=True)


def _read_datetime(payload: bytes) -> datetime.datetime:
    if len(payload) not in (8, 12):
        raise ValueError(f"datetime of {len(payload)} bytes")
    clock = int.from_bytes(payload[:8], "little", signed=True)
    try:
        value = _EPOCH + clock * _MICROSECOND
        if len(payload) == 8:
            return value
        return value.replace(tzinfo=_timezone(int.from_bytes(payload[8:], "little", signed=True)))
    except OverflowError:
        raise ValueError("datetime out of range") from None


@functools.lru_cache
def _timezone(offset: int) -> datetime.timezone:
    return datetime.timezone(datetime.timedelta(seconds=offset)) if offset else datetime.timezone.utc


def _read_pygame(numbers: _pygame_values.Numbers) -> Callable[[bytes], Any]:
    def read(payload: bytes) -> Any:
        try:
            return numbers.make(payload)
        except struct.error:
            raise ValueError(f"{numbers.name} of {len(payload)} bytes") from None

    return read


writers.update(
    {int: _write_int, set: _write_set, frozenset: _write_frozenset, datetime.datetime: _write_datetime},
)
readers.update(
    {
        EXT_INT: _read_int,
        EXT_SET: _read_set,
        EXT_FROZENSET: _read_frozenset,
        EXT_DATETIME: _read_datetime,
        EXT_DICT: _read_dict,
        EXT_TABLE: _read_table,
    }
    | {number: _read_pygame(numbers) for number, numbers in _pygame_values.BY_EXTENSION.items()}
)


class _Unsendable(Exception):  # noqa: N818 (raised and caught in this file)
    """Something inside a value cannot travel; every level on the way up adds its step to the path."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        return "".join(reversed(self.steps))


def _check(value: object, depth: int) -> bool:
    """Raises _Unsendable for the first thing inside a value that cannot travel.

    Returns:
        True if there is a dict in it whose keys MessagePack has no form for.
    """
    kind = type(value)
    if depth > _MAX_DEPTH:
        raise _Unsendable(f"nested too deep, or holds itself; at most {_MAX_DEPTH} levels can be sent")
    has_odd_keys = False
    if kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            try:
                has_odd_keys |= _check_key(key, depth)
            except _Unsendable as unsendable:
                unsendable.words = "a key of a dict: " + unsendable.words
                unsendable.steps.clear()
                raise
            try:
                has_odd_keys |= _check(item, depth + 1)
            except _Unsendable as unsendable:
                unsendable.steps.append(f"[{_shortened(key)}]")
                raise
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):  # type: ignore[arg-type]
            try:
                has_odd_keys |= _check(item, depth + 1)
            except _Unsendable as unsendable:
                unsendable.steps.append(f"[{index}]")
                raise
    elif kind is set or kind is frozenset:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth + 1)
    elif kind is int:
        bits = value.bit_length()  # type: ignore[attr-defined]
        if bits >= _MAX_INT_BYTES * 8:
            raise _Unsendable(f"int has {bits} bits, at most {_MAX_INT_BYTES * 8 - 1} can be sent")
    elif kind is str:
        try:
            value.encode()  # type: ignore[attr-defined]
        except UnicodeEncodeError:
            raise _Unsendable("str holds half a surrogate pair, which is no text; send bytes") from None
    elif kind not in _PLAIN_TYPES:
        _check_other(value)
    return has_odd_keys


def _check_key(key: object, depth: int) -> bool:
    """Does the same for a key of a dict; True if MessagePack has no form for it as one."""
    kind = type(key)
    if kind in _PLAIN_KEYS:
        return False
    if kind is str:
        return _check(key, depth)
    if kind is int and -(2**63) <= key < 2**64:  # type: ignore[operator]
        return False
    _check(key, depth)
    return True


def _check_other(value: object) -> None:
    writer = _writer(type(value))
    if writer is None:
        raise _Unsendable(_refusal(value))
    try:
        writer(value)
    except UnsupportedData as error:
        path, words = error._where or ("", str(error))
        unsendable = _Unsendable(words)
        unsendable.steps.append(path)
        raise unsendable from None
    except ValueError:  # only a datetime
        raise _Unsendable("its offset from UTC is no whole number of seconds; send value.isoformat()") from None
    except (TypeError, RecursionError) as error:
        raise _Unsendable(str(error)[:200]) from None


def _without_odd_keys(value: Any) -> Any:
    """Returns a copy in which dicts with keys that MessagePack has no form for are extensions."""
    kind = type(value)
    if kind is list:
        return [_without_odd_keys(item) for item in value]
    if kind is tuple:
        return tuple([_without_odd_keys(item) for item in value])
    if kind is not dict:
        return value
    if not any(_check_key(key, 0) for key in value):
        return {key: _without_odd_keys(item) for key, item in value.items()}
    flat: list[Any] = []
    for key, item in value.items():
        flat += key, _without_odd_keys(item)
    return ormsgpack.Ext(EXT_DICT, ormsgpack.packb(flat, _encode_other_any_key, _STRICT | _ANY_KEY))


def _shortened(key: object) -> str:
    words = json.dumps(key, ensure_ascii=False) if type(key) is str else repr(key)
    return words if len(words) <= 40 else words[:39] + "…"


def _refusal(value: object) -> str:
    kind = type(value)
    hint = _HINTS.get(kind.__name__)
    if hint is None:
        if hasattr(kind, "__members__"):
            hint = "send its .value or .name"
        elif hasattr(kind, "_asdict"):
            hint = "send tuple(value) or value._asdict()"
        elif hasattr(kind, "__dataclass_fields__"):
            hint = "decorate the class with @netplay.message, or send dataclasses.asdict(value)"
        elif hasattr(kind, "__struct_fields__"):
            hint = "decorate the class with @netplay.message, or send msgspec.structs.asdict(value)"
        else:
            bases = (str, int, float, list, dict, tuple, set, frozenset, bytes)
            base = next((base for base in bases if issubclass(kind, base)), None)
            if base is not None:
                hint = f"send {base.__name__}(value)"
            else:
                hint = "send None, bool, int, float, str, bytes, or a list, tuple, set or dict of them"
    name = f"{kind.__module__}.{kind.__qualname__}".replace("builtins.", "", 1)
    return f"{name} cannot be sent as what it is; {hint}"
