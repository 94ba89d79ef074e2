"""The fields of a remote event: of which type each is, and how it travels. Knows no events and no network.

What pygame has classes for travels as numbers. The receiver makes of them what its own program declared: the class of
the pygame that the game has imported, or a tuple where there is none.

The fields of pygame's own events have narrower types, with words of their own: what no keyboard and no mouse can say
does not arrive, so that what a game does with such an event works with one from a stranger, too.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["Field", "field_of"]

_MAX_TEXT: Final = 32_768
_MAX_WORDS: Final = 256
_MAX_REAL: Final = 1e6


class Field(NamedTuple):
    """One field: its name, the word for its type, and the two ways through."""

    name: str
    word: str

    def to_wire(self, value: object) -> Any:
        """Makes a plain value of the field's value.

        Raises:
            TypeError, ValueError: It is not of the type; the words begin with a verb.
        """
        return _KINDS[self.word].to_wire(value)

    def from_wire(self, value: object) -> Any:
        """Makes the field's value of what arrived.

        Raises:
            TypeError, ValueError, OverflowError: It is not of the type.
        """
        try:
            return _KINDS[self.word].from_wire(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.name} {error}") from None

    @property
    def default(self) -> Any:
        """The plain value that stands for nothing."""
        return _KINDS[self.word].default


def field_of(name: str, kind: object) -> Field:
    """Makes a field of its name and a type, or the word for one.

    Raises:
        TypeError: No field can have this type.

    Example:
        >>> field_of("size", int)
        Field(name='size', word='int')
    """
    word = kind if isinstance(kind, str) else _word_of(kind)
    if word not in _KINDS:
        raise TypeError(f"the field {name!r} has the type {kind!r}; it may be one of {', '.join(_KINDS)}")
    return Field(name, word)


def _word_of(kind: object) -> str:
    if kind == tuple[int, int]:
        return str(kind)
    if kind is Any:
        return "object"
    if type(kind) is type and kind.__module__.partition(".")[0] in ("builtins", "pygame"):
        return kind.__name__
    return ""


class _Kind(NamedTuple):
    to_wire: Callable[[Any], Any]
    from_wire: Callable[[Any], Any]
    default: Any


def _exactly(kind: type, default: object) -> _Kind:
    def check(value: object) -> object:
        if type(value) is not kind:
            raise TypeError(f"is {_a(type(value).__name__)}, it must be {_a(kind.__name__)}")
        return value

    return _Kind(check, check, default)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _check_int(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"is {_a(type(value).__name__)}, it must be an int")
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"has {value.bit_length()} bits, it may have 64")
    return value


def _check_float(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"is {_a(type(value).__name__)}, it must be a float")
    return float(value)


def _check_text(kind: type[str] | type[bytes]) -> _Kind:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"is {_a(type(value).__name__)}, it must be {_a(kind.__name__)}")
        if len(value) > _MAX_TEXT:
            raise ValueError(f"has {len(value)} characters, it may have {_MAX_TEXT}")
        return value

    return _Kind(check, check, kind())


def _numbers(count: int, check: Callable[[object], Any], make: Callable[[list[Any]], Any], what: str) -> _Kind:
    """Several numbers that are one thing."""

    def to_wire(value: Any) -> list[Any]:
        try:
            numbers = [value[i] for i in range(count)] if len(value) == count else None
        except (TypeError, KeyError, IndexError):
            numbers = None
        if numbers is None:
            raise TypeError(f"is {_a(type(value).__name__)}, it must be {what}")
        return [check(number) for number in numbers]

    def from_wire(value: object) -> Any:
        if type(value) is not list:
            raise TypeError(f"is {_a(type(value).__name__)}, it must be {what}")
        return make(to_wire(value))

    return _Kind(to_wire, from_wire, [check(0)] * count)


def _pygame(name: str, count: int, check: Callable[[object], Any]) -> tuple[str, _Kind]:
    def make(numbers: list[Any]) -> Any:
        made = getattr(sys.modules.get("pygame"), name, None)
        return tuple(numbers) if made is None else made(*numbers)

    return name, _numbers(count, check, make, f"a {name}")


def _check_byte(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise ValueError("must have parts from 0 to 255")
    return value


def _check_int32(value: object) -> int:
    """What fits into pygame's own numbers: a key, a button, a coordinate of a Rect."""
    if not -(2**31) <= _check_int(value) < 2**31:
        raise ValueError(f"is {value}, it must fit into 32 bits")
    return value  # type: ignore[return-value]


def _check_real(value: object) -> float:
    """What an axis or a finger can say; not a number that makes int() raise."""
    number = _check_float(value)
    if not abs(number) <= _MAX_REAL:
        raise ValueError(f"is {number}, it must be finite, and not above {_MAX_REAL:.0f}")
    return number


def _check_words(value: object) -> str:
    """What somebody types; not a character that makes pygame's fonts raise."""
    if type(value) is not str:
        raise TypeError(f"is {_a(type(value).__name__)}, it must be a str")
    if len(value) > _MAX_WORDS:
        raise ValueError(f"has {len(value)} characters, it may have {_MAX_WORDS}")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ValueError("has a control character")
    return value


def _check_letter(value: object) -> str:
    """What one key writes, which may be a tab or an escape."""
    if type(value) is not str or len(value) > 8:
        raise ValueError("must be what one key writes")
    return value


def _same(value: Any) -> Any:
    return value


_KINDS: Final[dict[str, _Kind]] = {
    "bool": _exactly(bool, False),
    "int": _Kind(_check_int, _check_int, 0),
    "float": _Kind(_check_float, _check_float, 0.0),
    "str": _check_text(str),
    "bytes": _check_text(bytes),
    "list": _exactly(list, []),
    "tuple": _exactly(tuple, ()),
    "dict": _exactly(dict, {}),
    "object": _Kind(_same, _same, None),
    "tuple[int, int]": _numbers(2, _check_int, tuple, "two ints"),
    "int32": _Kind(_check_int32, _check_int32, 0),
    "two int32": _numbers(2, _check_int32, tuple, "two ints"),
    "three int32": _numbers(3, _check_int32, tuple, "three ints"),
    "real": _Kind(_check_real, _check_real, 0.0),
    "words": _Kind(_check_words, _check_words, ""),
    "letter": _Kind(_check_letter, _check_letter, ""),
    **dict(
        [
            _pygame("Vector2", 2, _check_float),
            _pygame("Vector3", 3, _check_float),
            _pygame("Rect", 4, _check_int32),
            _pygame("FRect", 4, _check_float),
            _pygame("Color", 4, _check_byte),
        ]
    ),
}
