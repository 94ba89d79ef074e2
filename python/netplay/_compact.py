"""Annotations for fields that travel as a few bits: numbers of a known range. Knows no messages.

A class whose fields are `Float`, `Angle`, `Int`, `Flags` and `bool` is sent as one row of bits and nothing else.
How many bits a field takes is decided by its range alone, so both sides know, and nothing tells where it ends; see
docs/protocol.md.

Each function here returns an annotation, `typing.Annotated[float, ...]`, that can stand alone or inside another
`Annotated`. The second form is for those who check types: a checker wants no calls where a type should be.

    x: net.Float(0, 800, step=0.1)
    x: Annotated[float, net.Float(0, 800, step=0.1)]
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec

from . import _core

__all__ = ["BOOL", "Angle", "Flags", "Float", "Int", "Limit", "Range", "range_of"]

Limit: Final = msgspec.Meta
"""What a field may hold: `Annotated[int, Limit(ge=0, le=100)]`, `Annotated[str, Limit(max_length=40)]`."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a compact field may hold: the words `_core._Rows` understands, and the type without them."""

    words: tuple[Any, ...]
    unpacked: Any

    def __str__(self) -> str:
        # Part of the hash of a message.
        kind, *rest = self.words
        if kind == "flags":
            return f"flags {' '.join(rest)}"
        if kind == "bool":
            return "bit"
        if kind == "angle":
            return f"angle {rest[0]} by {rest[1]}"
        return f"{kind} {rest[0]} to {rest[1]}" + (f" by {rest[2]}" if kind == "float" else "")

    def __post_init__(self) -> None:
        # Asks the core whether there is such a range, so that it is said where the game wrote it.
        _core._Rows("", tuple, [("", self.words)])


BOOL: Final = Range(("bool",), bool)
"""A bool beside other compact fields."""


def Float(low: float, high: float, *, step: float) -> Any:  # noqa: N802 (an annotation, named like a type)
    """Annotates a field that holds a float from `low` to `high`, rounded to the nearest `step`.

    Args:
        low: The least value.
        high: The greatest. What is less than half a step beyond is rounded to it; more is refused by `send`.
        step: How fine. `Float(0, 800, step=0.1)` takes 13 bits.

    Returns:
        An annotation.

    Raises:
        ValueError: `low` is not below `high`, `step` is not above 0, or the steps are too fine for a float.
        TypeError: Something is no number.

    Example:
        >>> import dataclasses, netplay as net
        >>> @net.message
        ... @dataclasses.dataclass
        ... class Position:
        ...     x: net.Float(0, 800, step=0.1)
        ...     y: net.Float(0, 600, step=0.1)
        >>> net.Float(1, 0, step=0.1)
        Traceback (most recent call last):
        ...
        ValueError: ('float', 1.0, 0.0, 0.1) is no range, or has too many steps
    """
    bounds = msgspec.Meta(ge=low, le=high)
    return Annotated[float, Range(("float", float(low), float(high), float(step)), Annotated[float, bounds])]


def Angle(*, step: float = 0.1, turn: float = 360.0) -> Any:  # noqa: N802
    """Annotates a field that holds a direction: any float, brought into a turn and rounded to the nearest `step`.

    Args:
        step: How fine. `Angle()` takes 12 bits.
        turn: How much is a whole turn: 360.0 for degrees, `math.tau` for radians.

    Returns:
        An annotation.

    Raises:
        ValueError: `step` is not above 0 and below `turn`.
        TypeError: Something is no number.

    Example:
        >>> import netplay as net
        >>> net.Angle(step=1).__origin__
        <class 'float'>
    """
    return Annotated[float, Range(("angle", float(turn), float(step)), float)]


def Int(low: int, high: int) -> Any:  # noqa: N802
    """Annotates a field that holds an int from `low` to `high`.

    Args:
        low: The least value, at least -2**63.
        high: The greatest, at most 2**63 - 1. `Int(0, 100)` takes 7 bits.

    Returns:
        An annotation.

    Raises:
        ValueError: `low` is above `high`.
        OverflowError: One has more than 64 bits.
        TypeError: One is no int.

    Example:
        >>> import netplay as net
        >>> net.Int(0, 100).__origin__
        <class 'int'>
    """
    return Annotated[int, Range(("int", low, high), Annotated[int, msgspec.Meta(ge=low, le=high)])]


def Flags(*names: str) -> Any:  # noqa: N802
    """Annotates a field that holds a set of these words; each takes one bit. It arrives as a frozenset.

    Args:
        names: The words, 1 to 64.

    Returns:
        An annotation.

    Raises:
        ValueError: There are no names, more than 64, or one twice.
        TypeError: One is no str.

    Example:
        >>> import netplay as net
        >>> net.Flags("left", "right", "fire").__origin__
        frozenset[str]
    """
    if len(set(names)) != len(names):
        raise ValueError(f"a flag is named twice in {names}")
    return Annotated[frozenset[str], Range(("flags", *names), frozenset[str])]


def range_of(annotation: Any) -> Range | None:
    """Returns the range in an annotation, also one level deeper; None if there is none.

    Raises:
        Nothing.

    Example:
        >>> range_of(Int(0, 7)).words, range_of(Annotated[int, Int(0, 7)]).words, range_of(int)
        (('int', 0, 7), ('int', 0, 7), None)
    """
    if get_origin(annotation) is not Annotated:
        return None
    for extra in get_args(annotation)[1:]:
        if isinstance(extra, Range):
            return extra
        found = range_of(extra)
        if found is not None:
            return found
    return None
