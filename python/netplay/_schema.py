"""What a class's annotations say about its bytes. Knows neither messages nor peers.

An annotation is read into a `Shape`: how it is described (both sides must say the same), and what msgspec shall take
for it. msgspec encodes, decodes and validates; where it has no word for a type there is a `Custom` with two functions.

| annotation | described as | travels as |
|---|---|---|
| None, bool, int, float, str, bytes | its name | MessagePack |
| list[T], set[T], frozenset[T], tuple[T, ...], dict[K, V] | with T | an array, a map |
| T or U, Literal, an Enum, datetime | by its members | as the one it is; an Enum by its value |
| Vector2, Vector3, Rect, FRect, Color | the tuple of its numbers | an array of numbers |
| a class that is a message itself | its name and hash | see `_messages` |
| Any, object, list, dict, tuple, set, frozenset | any, or its name | a plain value, as `_codec` makes it |

So a server without pygame writes `tuple[float, float]` where the players' games write `pygame.Vector2`.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import operator
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from . import _codec
from ._compact import range_of
from ._pygame_values import BY_NAME, numbers_of

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["Custom", "Shape", "custom", "from_wire", "is_custom", "read", "to_wire"]

_SIMPLE: Final = {
    None: "None",
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    datetime.datetime: "datetime",
}
_BARE: Final = (list, dict, tuple, set, frozenset)
_MAX_NESTING: Final = 32
_LIMITS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What an annotation says."""

    description: str
    wire: Any
    """The type for msgspec."""
    is_pure: bool = True
    """msgspec can make the annotated type of the wire type by itself: there is no `Custom` in it."""
    has_messages: bool = False
    """There are messages in it, for which msgspec has to make objects of the wire type's."""


class Custom(type):
    """The class of types that msgspec has no word for; it asks `to_wire` and `from_wire` about them."""

    outward: Callable[[Any], Any]
    inward: Callable[[Any], Any]

    def __instancecheck__(cls, _instance: object) -> bool:
        # msgspec asks whether what a hook returned is of the type that was asked for. It always is what is wanted.
        return True


def custom(name: str, outward: Callable[[Any], Any], inward: Callable[[Any], Any]) -> Custom:
    """Makes a type for msgspec of two functions, which raise TypeError or ValueError for what they do not take.

    Args:
        name: For messages.
        outward: Makes of a value what msgspec can encode.
        inward: Makes the value of what msgspec has decoded, which may be anything.

    Returns:
        The type.

    Raises:
        Nothing.

    Example:
        >>> is_custom(custom("Text", str, int))
        True
    """
    return Custom(name, (), {"outward": staticmethod(outward), "inward": staticmethod(inward)})


def is_custom(kind: object) -> TypeIs[Custom]:
    """Says whether a wire type is a custom one.

    Raises:
        Nothing.

    Example:
        >>> is_custom(int)
        False
    """
    return type(kind) is Custom


def to_wire(kind: type, value: Any) -> Any:
    """Makes of a value what msgspec can encode: a hook for `msgspec.convert`.

    Raises:
        Exception: What the type's function raises.

    Example:
        >>> to_wire(custom("Text", str, int), 7)
        '7'
    """
    return kind.outward(value)  # type: ignore[attr-defined]


def from_wire(kind: type, value: Any) -> Any:
    """Makes the value of what msgspec has decoded: a hook for its decoders.

    Raises:
        Exception: What the type's function raises.

    Example:
        >>> from_wire(custom("Text", str, int), "7")
        7
    """
    return kind.inward(value)  # type: ignore[attr-defined]


def read(annotation: Any, message: Callable[[type], Shape | None], depth: int = 0) -> Shape:
    """Reads an annotation.

    Args:
        annotation: With its names resolved, as `typing.get_type_hints` gives it.
        message: Returns the shape of a class that is a message; None if it is none.
        depth: How deep inside another one.

    Returns:
        Its shape.

    Raises:
        TypeError: It says nothing that can travel.

    Example:
        >>> read(dict[str, list[int]], lambda kind: None).description
        'dict[str, list[int]]'
    """
    if depth > _MAX_NESTING:
        raise TypeError(f"annotations are nested deeper than {_MAX_NESTING}")

    def inner(annotation: Any) -> Shape:
        return read(annotation, message, depth + 1)

    if annotation is Any:
        return _plain("any", object)
    if isinstance(annotation, (type, type(None))) and get_origin(annotation) is None:
        return _read_class(annotation, message)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = range_of(annotation)
        if found is not None:  # not the field of a class, but inside something: it is not packed
            shape = inner(found.unpacked)
            return dataclasses.replace(shape, description=f"{found}")
        shape = inner(arguments[0])
        limits = [extra for extra in arguments[1:] if isinstance(extra, msgspec.Meta)]
        if not limits or not shape.is_pure:
            return shape
        described = "".join(f" {_described(limit)}" for limit in limits)
        wire: Any = operator.getitem(Annotated, (shape.wire, *limits))
        return dataclasses.replace(shape, description=f"{shape.description}{described}", wire=wire)
    if origin in (Union, types.UnionType):
        return _read_union([inner(argument) for argument in arguments])
    if origin is Literal:
        return Shape(f"one of {arguments}", annotation)
    if origin in (dict, set, frozenset):
        _check_key(origin, arguments[0])
    if origin in (list, set, frozenset):
        item = inner(arguments[0])
        return _around(f"{origin.__name__}[{item.description}]", origin[item.wire], [item])
    if origin is dict:
        key, value = inner(arguments[0]), inner(arguments[1])
        return _around(f"dict[{key.description}, {value.description}]", dict[key.wire, value.wire], [key, value])  # type: ignore[name-defined]
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = inner(arguments[0])
            return _around(f"tuple[{item.description}, ...]", tuple[item.wire, ...], [item])  # type: ignore[name-defined]
        items = [inner(argument) for argument in arguments]
        described = ", ".join(item.description for item in items)
        return _around(f"tuple[{described}]", tuple[tuple(item.wire for item in items)], items)  # type: ignore[misc]
    raise TypeError(f"{annotation} cannot be the type of a field; netplay._schema lists what can")


def _described(limit: msgspec.Meta) -> str:
    """Returns what a limit says, in words that stay the same whatever msgspec shows of it."""
    set_ones = ((name, getattr(limit, name)) for name in _LIMITS)
    return " ".join(f"{name}={value}" for name, value in set_ones if value is not None)


def _check_key(origin: type, annotation: Any) -> None:
    """Raises TypeError if many objects of a type may have the same hash: `_codec` looks at them, msgspec does not."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    for member in members:
        is_simple = member in _SIMPLE and member is not datetime.datetime
        is_named = get_origin(member) is Literal or (isinstance(member, type) and issubclass(member, enum.Enum))
        if not is_simple and not is_named:
            name = origin.__name__
            raise TypeError(f"{name} of {member} cannot be the type of a field; annotate the field as {name}")


def _around(description: str, wire: Any, inside: list[Shape]) -> Shape:
    return Shape(
        description,
        wire,
        all(shape.is_pure for shape in inside),
        any(shape.has_messages for shape in inside),
    )


def _read_class(kind: Any, message: Callable[[type], Shape | None]) -> Shape:
    name = _SIMPLE.get(kind)
    if name is not None:
        return Shape(name, type(None) if kind is None else kind)
    if kind is object:
        return _plain("any", object)
    if kind in _BARE:
        return _plain(kind.__name__, kind)
    shape = message(kind)
    if shape is not None:
        return shape
    if issubclass(kind, enum.Enum):
        members = ", ".join(f"{member.name}={member.value!r}" for member in kind)
        return Shape(f"{kind.__name__}({members})", kind)
    if numbers_of(kind) is not None:
        return _read_pygame(kind)
    hint = ""
    if dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct):
        hint = "; decorate it with @netplay.message first"
    raise TypeError(f"{kind.__qualname__} cannot be the type of a field{hint}")


def _read_union(members: list[Shape]) -> Shape:
    description = " | ".join(member.description for member in members)
    if all(member.is_pure for member in members):
        return _around(description, functools.reduce(operator.or_, [member.wire for member in members]), members)
    # msgspec takes no union of a custom type and another, except that None is easily told from the rest.
    rest = [member for member in members if member.description != "None"]
    if len(rest) != 1 or len(members) != 2 or not is_custom(rest[0].wire):
        raise TypeError(f"{description} cannot be the type of a field: of such types only one, or one and None")
    kind = rest[0].wire
    optional = custom(
        kind.__name__,
        lambda value: None if value is None else kind.outward(value),
        lambda value: None if value is None else kind.inward(value),
    )
    return Shape(description, optional, is_pure=False)


def _plain(description: str, kind: type) -> Shape:
    """Returns the shape of anything that can be sent as a plain value."""

    def outward(value: Any) -> msgspec.Raw:
        return msgspec.Raw(_codec.encode(checked(value)))

    def checked(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
        return value

    return Shape(description, custom(kind.__name__, outward, checked), is_pure=False)


def _read_pygame(kind: type) -> Shape:
    numbers = BY_NAME[kind.__name__]
    description = f"tuple[{', '.join([numbers.kind.__name__] * numbers.count)}]"

    def outward(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
        items: Any = value
        return tuple([numbers.kind(number) for number in items])

    def inward(value: Any) -> Any:
        return kind(*numbers.checked(value))

    return Shape(description, custom(kind.__name__, outward, inward), is_pure=False)
