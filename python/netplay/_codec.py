"""Plain values to bytes and back: MessagePack by ormsgpack. Knows no peers and no sockets, and never runs code.

A value arrives as what it was, or `encode` refuses it; so tuples and large ints, which MessagePack has no form for,
travel as extension types:

| extension | what | payload |
|---|---|---|
| 1 | tuple | its items, as a MessagePack array |
| 2 | int below -2**63 or above 2**64 - 1 | two's complement, little-endian, at most 1,024 bytes |

A tuple as the key of a dict is a plain MessagePack array: a list cannot be a key, so there is nothing to confuse.

`_core` measures every value before `decode` sees it, and after `encode` has made it: at most 100 levels deep and
1,000,000 elements, one value and nothing behind it.
So a small message cannot grow into gigabytes of empty lists, or into a recursion.
"""

from __future__ import annotations

from typing import Any, Final

import ormsgpack

from ._errors import UnsupportedData

__all__ = ["decode", "encode"]

_EXT_TUPLE: Final = 1
_EXT_INT: Final = 2
_MAX_INT_BYTES: Final = 1024
_MAX_DEPTH: Final = 100

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
_KEY_TYPES: Final = frozenset({float, bool, bytes, type(None)})

_HINTS: Final = {
    "set": "send list(value)",
    "frozenset": "send list(value)",
    "complex": "send (value.real, value.imag)",
    "defaultdict": "send dict(value)",
    "OrderedDict": "send dict(value)",
    "Counter": "send dict(value)",
    "deque": "send list(value)",
    "datetime": "send value.timestamp()",
    "UUID": "send value.bytes",
    "ndarray": "send value.tolist() or value.tobytes()",
}


def encode(value: object) -> bytes:
    """Makes the bytes of a plain value.

    Args:
        value: None, a bool, int, float, str, bytes, or a list, tuple or dict of them. `bytearray` and `memoryview` are
            taken for bytes. Keys of a dict may be anything in this list that can be a key, except ints of more than
            64 bits.

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
        _check(value, 0)
    try:
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
        TypeError: The bytes hold a dict with a key that cannot be one.

    Example:
        >>> decode(encode([1, 2, "x"]))
        [1, 2, 'x']
    """
    return ormsgpack.unpackb(data, ext_hook=_decode_extension, option=_ANY_KEY)


def _encode_other(value: object) -> ormsgpack.Ext:
    """Encodes what ormsgpack passes on: tuples and large ints."""
    if type(value) is tuple:
        return ormsgpack.Ext(_EXT_TUPLE, ormsgpack.packb([*value], _encode_other, _STRICT))
    return _encode_int(value)


def _encode_other_any_key(value: object) -> ormsgpack.Ext:
    """Does the same where dicts have keys other than str."""
    if type(value) is tuple:
        return ormsgpack.Ext(_EXT_TUPLE, ormsgpack.packb([*value], _encode_other_any_key, _STRICT | _ANY_KEY))
    return _encode_int(value)


def _encode_int(value: object) -> ormsgpack.Ext:
    if type(value) is not int:
        raise TypeError  # the words are made by `_check`: ormsgpack does not pass these on
    size = (value.bit_length() + 8) // 8
    if size > _MAX_INT_BYTES:
        raise ValueError
    return ormsgpack.Ext(_EXT_INT, value.to_bytes(size, "little", signed=True))


def _decode_extension(number: int, payload: bytes) -> object:
    if number == _EXT_TUPLE:
        items = ormsgpack.unpackb(payload, ext_hook=_decode_extension, option=_ANY_KEY)
        if type(items) is not list:
            raise ValueError("the payload of a tuple is not an array")
        return tuple(items)
    if number == _EXT_INT:
        if not 0 < len(payload) <= _MAX_INT_BYTES:
            raise ValueError(f"int of {len(payload)} bytes, 1 to {_MAX_INT_BYTES} are allowed")
        return int.from_bytes(payload, "little", signed=True)
    raise ValueError(f"unknown extension {number}")


def _check(value: object, depth: int) -> None:
    """Raises UnsupportedData for the first thing inside a value that cannot travel."""
    kind = type(value)
    if depth > _MAX_DEPTH:
        raise UnsupportedData(f"value is nested too deep, or holds itself; at most {_MAX_DEPTH} levels can be sent")
    if kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            _check_key(key)
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth + 1)
    elif kind is int:
        bits = value.bit_length()  # type: ignore[attr-defined]
        if bits >= _MAX_INT_BYTES * 8:
            raise UnsupportedData(f"int has {bits} bits, at most {_MAX_INT_BYTES * 8 - 1} can be sent")
    elif kind is str:
        _check_str(value)
    elif kind not in _PLAIN_TYPES:
        raise UnsupportedData(_refusal(value))


def _check_key(key: object) -> None:
    kind = type(key)
    if kind is tuple:
        for item in key:  # type: ignore[attr-defined]
            _check_key(item)
    elif kind is int:
        if not -(2**63) <= key < 2**64:  # type: ignore[operator]
            raise UnsupportedData(f"a key of a dict: int has {key.bit_length()} bits, at most 64 can be sent")  # type: ignore[attr-defined]
    elif kind is str:
        _check_str(key)
    elif kind not in _KEY_TYPES:
        raise UnsupportedData("a key of a dict: " + _refusal(key))


def _check_str(value: object) -> None:
    try:
        value.encode()  # type: ignore[attr-defined]
    except UnicodeEncodeError:
        raise UnsupportedData("str holds half a surrogate pair, which is no text; send bytes") from None


def _refusal(value: object) -> str:
    kind = type(value)
    hint = _HINTS.get(kind.__name__)
    if hint is None:
        if hasattr(kind, "__members__"):
            hint = "send its .value or .name"
        elif hasattr(kind, "_asdict"):
            hint = "send tuple(value) or value._asdict()"
        elif hasattr(kind, "__dataclass_fields__"):
            hint = "send dataclasses.asdict(value)"
        elif issubclass(kind, (str, int, float, list, dict, tuple)):
            base = next(base for base in (str, int, float, list, dict, tuple) if issubclass(kind, base)).__name__
            hint = f"send {base}(value)"
        else:
            hint = "send None, bool, int, float, str, bytes, or a list, tuple or dict of them"
    return f"{kind.__module__}.{kind.__qualname__} cannot be sent as what it is; {hint}".replace("builtins.", "", 1)
