"""Typed messages: classes whose objects are sent as they are and arrive as objects again. Knows no sockets.

On the wire go the name of the class, a hash of its fields, and their values:

| size | field |
|---|---|
| 1, ... | length and name, UTF-8 |
| 4 | hash: the first bytes of BLAKE2s of the signature, such as `Move(x: float, y: float)` |
| fixed | the row of the compact fields, if there are any; see `_compact` |
| ... | the other fields in order, as a MessagePack array, if there are any |

Inside a plain value, or another message, the same goes as a MessagePack array.

Both sides define the class. One who has it otherwise, or not at all, is told once and gets none of these messages; the
rest goes on. What has the right hash and is still no such object breaks the rules, and closes the peer.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
import sys
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import ormsgpack

from . import _codec, _core, _kinds, _schema
from ._codec import EXT_MESSAGE, EXT_ROWS
from ._compact import BOOL, range_of
from ._errors import UnsupportedData

if TYPE_CHECKING:
    from ._core import Peer

__all__ = ["is_message", "message"]

Class = TypeVar("Class", bound=type)

_MAX_NAME: Final = 64
_HASH_SIZE: Final = 4

_by_class: dict[type, Schema] = {}
_by_name: dict[str, Schema] = {}
_by_head: dict[bytes, Schema] = {}


@typing.overload
def message(cls: Class, /) -> Class: ...
@typing.overload
def message(*, name: str | None = None, packed: bool = True) -> Callable[[Class], Class]: ...
def message(cls: Class | None = None, /, *, name: str | None = None, packed: bool = True) -> Any:
    """Makes a dataclass or `msgspec.Struct` a typed message: `send` takes its objects, and they arrive as such.

    Both sides define the class, with the same fields in the same order. What arrives is checked against the
    annotations. What is sent is checked too, so that a wrong value raises in the game that made it.

    Args:
        cls: The class.
        name: What it is called on the wire, at most 64 bytes of UTF-8; the name of the class if None.
        packed: False sends fields such as `net.Float(0, 800, step=0.1)` at full precision, within their limits.

    Returns:
        The class itself.

    Raises:
        TypeError: It is neither a dataclass nor a Struct, or a field's type cannot travel.
        ValueError: The name is too long, or another class has it.

    Example:
        >>> import dataclasses, netplay
        >>> @netplay.message
        ... @dataclasses.dataclass
        ... class Greeting:
        ...     words: str
        >>> with netplay.Network() as server, netplay.Network() as client:
        ...     @server.on(Greeting)
        ...     def greeted(event):
        ...         print(event.peer, "says", event.data)
        ...     _ = server.listen("local://docs-message")
        ...     _ = client.connect("local://docs-message", name="Ada")
        ...     _ = client.send(Greeting("hello"))
        ...     for _ in range(2):
        ...         _ = server.get(timeout=5)
        Ada says Greeting(words='hello')
    """
    if cls is None:
        return functools.partial(_register, name=name, packed=packed, local_names=_local_names())
    return _register(cls, name=name, packed=packed, local_names=_local_names())


def is_message(cls: object) -> bool:
    """Says whether a class is a typed message.

    Raises:
        Nothing.

    Example:
        >>> is_message(int)
        False
    """
    return isinstance(cls, type) and cls in _by_class


def _local_names() -> dict[str, Any]:
    """Returns the names where the decorator stands, for annotations that are strings."""
    return sys._getframe(2).f_locals


def _register(cls: Any, *, name: str | None, packed: bool, local_names: dict[str, Any]) -> Any:
    if not (isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, msgspec.Struct))):
        words = getattr(cls, "__qualname__", repr(cls))
        raise TypeError(f"{words} is neither a dataclass nor a msgspec.Struct; write @dataclass below @netplay.message")
    name = cls.__name__ if name is None else name
    if not 1 <= len(name.encode()) <= _MAX_NAME:
        raise ValueError(f"message name {name!r} has {len(name.encode())} bytes, it may have 1 to {_MAX_NAME}")
    other = _by_name.get(name)
    # The same class again is a module that was loaded anew.
    if other is not None and _full_name(other.cls) != _full_name(cls):
        raise ValueError(
            f"{_full_name(other.cls)} is already the message {name!r}; give {_full_name(cls)} another name with "
            "@netplay.message(name=...)"
        )
    schema = Schema(cls, name, packed, local_names)
    if other is not None:
        _by_head.pop(other.head[1:], None)
    _by_class[cls] = _by_name[name] = _by_head[schema.head[1:]] = schema
    _kinds.packers[cls] = schema.pack
    _codec.writers[cls] = schema.write_extension
    return cls


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


class Schema:
    """How the objects of one class travel."""

    def __init__(self, cls: type, name: str, packed: bool, local_names: dict[str, Any]) -> None:
        """Reads the annotations of a class; TypeError if a field cannot travel."""
        self.cls = cls
        self.name = name
        annotations = _annotations(cls, local_names)
        fields = _fields(cls)
        ranges = {field: range_of(annotations[field]) if packed else None for field in fields}
        in_row = {field: found for field, found in ranges.items() if found is not None}
        if in_row:  # a bool is one bit beside others, but alone not worth a row
            of_bool = {field: BOOL for field in fields if annotations[field] is bool}
            in_row = {field: found for field in fields if (found := in_row.get(field) or of_bool.get(field))}
        shapes = {field: self._read(field, annotations[field]) for field in fields if field not in in_row}
        words = {field: shape.description for field, shape in shapes.items()}
        words |= {field: str(found) for field, found in in_row.items()}
        self.signature = f"{name}({', '.join(f'{field}: {words[field]}' for field in fields)})"

        title = name.encode()
        digest = hashlib.blake2s(self.signature.encode(), digest_size=_HASH_SIZE).digest()
        self.head = bytes([len(title)]) + title + digest
        self._title = ormsgpack.packb(name) + ormsgpack.packb(digest)
        self._rows = None
        if in_row:
            make = cls if list(in_row) == _positional(cls) else functools.partial(_by_keyword, cls, tuple(in_row))
            self._rows = _core._Rows(name, make, [(field, found.words) for field, found in in_row.items()])
        self._row_names = list(in_row)
        self._row_size = 0 if self._rows is None else self._rows.size
        self.is_row = bool(in_row) and not shapes
        self._is_pure = not in_row and all(shape.is_pure for shape in shapes.values())
        self._finishers = [
            (
                field,
                functools.partial(msgspec.convert, type=annotations[field], from_attributes=True)
                if shape.has_messages and shape.is_pure
                else None,
            )
            for field, shape in shapes.items()
        ]
        try:
            self.wire = msgspec.defstruct(
                f"{cls.__name__}",
                [(field, shape.wire) for field, shape in shapes.items()],
                array_like=True,
                forbid_unknown_fields=True,
            )
            self._decoder = msgspec.msgpack.Decoder(
                self.wire, dec_hook=_schema.from_wire, ext_hook=_read_inner_extension
            )
            if self._is_pure:
                msgspec.convert(None, cls | None, from_attributes=True)  # reads the annotations now
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: {error}") from None

    def _read(self, field: str, annotation: Any) -> _schema.Shape:
        try:
            if typing.get_origin(annotation) is list:
                rows = self._read_rows(typing.get_args(annotation)[0])
                if rows is not None:
                    return rows
            return _schema.read(annotation, self._read_message)
        except TypeError as error:
            raise TypeError(f"{self.name}.{field}: {error}") from None

    def _read_rows(self, item: Any) -> _schema.Shape | None:
        """Returns the shape of a list of objects that are rows; None if the items are none."""
        schema = _by_class.get(item) if isinstance(item, type) else None
        if schema is None or not schema.is_row or schema._rows is None:
            return None
        rows, cls, size = schema._rows, schema.cls, schema._row_size

        def outward(value: Any) -> msgspec.msgpack.Ext:
            if type(value) is not list:
                raise TypeError(f"Expected `list`, got `{type(value).__name__}`")
            for item in value:
                if type(item) is not cls:
                    raise TypeError(f"Expected `{cls.__name__}`, got `{type(item).__name__}`")
            return msgspec.msgpack.Ext(EXT_ROWS, rows.pack_all(value))

        def inward(value: Any) -> list[Any]:
            if type(value) is not _RowBytes:
                raise TypeError(f"Expected rows, got `{type(value).__name__}`")
            return rows.unpack_all(value) if size else []

        return _schema.Shape(
            f"list[{schema.name} {schema.head[-_HASH_SIZE:].hex()}]",
            _schema.custom("list", outward, inward),
            is_pure=False,
        )

    def _read_message(self, kind: type) -> _schema.Shape | None:
        """Returns the shape of a field whose type is a message; None if it is none."""
        if kind is self.cls:
            description, schema = f"{self.name} itself", self
        elif kind in _by_class:
            schema = _by_class[kind]
            description = f"{schema.name} {schema.head[-_HASH_SIZE:].hex()}"
            if schema._is_pure:
                return _schema.Shape(description, schema.wire, has_messages=True)
        else:
            return None
        return _schema.Shape(description, _schema.custom(kind.__name__, schema._outward, schema._inward), is_pure=False)

    def pack(self, value: Any) -> tuple[int, bytes]:
        """Makes (kind, bytes) of an object; UnsupportedData if it is not what its annotations say."""
        if self.is_row:
            return _kinds.TYPED, self.head + self._rows.pack(value)  # type: ignore[union-attr]
        rest = self._encode_rest(value)
        try:
            _core._measure(rest)
        except ValueError as error:
            raise UnsupportedData(f"{self.name}: {error}") from None
        if self._rows is None:
            return _kinds.TYPED, self.head + rest
        return _kinds.TYPED, self.head + self._rows.pack(value) + rest

    def unpack(self, data: bytes, peer: Peer) -> Any:
        """Makes the object of its bytes, the head cut off; ValueError or TypeError if they are none."""
        if self.is_row:
            return self._rows.unpack(data)  # type: ignore[union-attr]
        row, rest = data[: self._row_size], data[self._row_size :]
        peer._measure(rest)
        return self._make(row, rest)

    def write_extension(self, value: Any) -> tuple[int, bytes]:
        """Makes (extension, payload) of an object inside a plain value."""
        return EXT_MESSAGE, b"\x94" + self._title + ormsgpack.packb(self._pack_row(value)) + self._encode_rest(value)

    def read_extension(self, row: bytes, rest: bytes) -> Any:
        """Makes the object of its row and the rest."""
        return self._make(row, rest)

    def _pack_row(self, value: Any) -> bytes:
        return b"" if self._rows is None else self._rows.pack(value)

    def _encode_rest(self, value: Any) -> bytes:
        try:
            return _encode(msgspec.convert(value, self.wire, from_attributes=True, dec_hook=_schema.to_wire))
        except msgspec.ValidationError as error:
            path, words = _parts(str(error))
            if isinstance(error.__cause__, UnsupportedData) and error.__cause__._where is not None:
                inner_path, words = error.__cause__._where
                path += inner_path
            raise _codec.unsupported(self.name, path, words) from None
        except OverflowError:
            raise UnsupportedData(f"{self.name}: an int has more than 64 bits; annotate its field as object") from None
        except UnicodeEncodeError:
            raise UnsupportedData(
                f"{self.name}: str holds half a surrogate pair, which is no text; send bytes"
            ) from None
        except RecursionError:
            raise UnsupportedData(f"{self.name} is nested too deep, or holds itself") from None

    def _make(self, row: bytes, rest: bytes) -> Any:
        try:
            wire = self._decoder.decode(rest)
        except msgspec.DecodeError as error:
            raise ValueError(_refusal(self.name, str(error))) from None
        if self._is_pure:
            return msgspec.convert(wire, self.cls, from_attributes=True)
        if self._rows is None:
            values = {}
        elif self.is_row:
            return self._rows.unpack(row)
        else:
            values = dict(zip(self._row_names, self._rows.unpack_values(row), strict=True))
        for field, finish in self._finishers:
            value = getattr(wire, field)
            values[field] = value if finish is None else finish(value)
        return self.cls(**values)

    def _outward(self, value: Any) -> Any:
        """Makes what goes inside another message."""
        if type(value) is not self.cls:
            raise TypeError(f"Expected `{self.name}`, got `{type(value).__name__}`")
        return msgspec.Raw(b"\x92" + ormsgpack.packb(self._pack_row(value)) + self._encode_rest(value))

    def _inward(self, value: Any) -> Any:
        """Makes the object of what came inside another message."""
        if type(value) is not list or len(value) != 2 or type(value[0]) is not bytes:
            raise TypeError(f"Expected `{self.name}`, got `{type(value).__name__}`")
        row, rest = value
        if len(row) != self._row_size:
            raise ValueError(f"{self.name} has a row of {len(row)} bytes and not {self._row_size}")
        return self._make(row, _encode(rest))


class _RowBytes(bytes):
    """The payload of an extension of rows, to be told from bytes."""

    __slots__ = ()


_encoder: Final = msgspec.msgpack.Encoder()
_encode: Final = _encoder.encode


def _read_inner_extension(number: int, payload: Any) -> Any:
    if number == EXT_ROWS:
        return _RowBytes(payload)
    return _codec.decode_extension(number, bytes(payload))


def _annotations(cls: type, local_names: dict[str, Any]) -> dict[str, Any]:
    """Returns the annotations of a class with every name resolved, and leaves them so in the class, for msgspec."""
    try:
        annotations = typing.get_type_hints(cls, localns={**local_names, cls.__name__: cls}, include_extras=True)
    except NameError as error:
        raise TypeError(f"{cls.__qualname__}: {error} where its fields are annotated") from None
    cls.__annotations__ = annotations
    return annotations


def _fields(cls: type) -> list[str]:
    if issubclass(cls, msgspec.Struct):
        return list(cls.__struct_fields__)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    for field in fields:
        if not field.init:
            raise TypeError(f"{cls.__qualname__}.{field.name} has init=False, so no object can be made with it")
    return [field.name for field in fields]


def _positional(cls: type) -> list[str]:
    """Returns the names of what the class can be called with, in order."""
    parameters = inspect.signature(cls).parameters.values()
    return [item.name for item in parameters if item.kind is not inspect.Parameter.KEYWORD_ONLY]


def _by_keyword(cls: type, names: tuple[str, ...], *values: Any) -> Any:
    return cls(**dict(zip(names, values, strict=True)))


def _refusal(name: str, words: str) -> str:
    """Makes of msgspec's words ours: `Move.path[3]: expected int, got str`."""
    path, words = _parts(words)
    return f"{name}{path}: {words}"


def _parts(words: str) -> tuple[str, str]:
    """Makes of msgspec's words a path such as `.path[3]`, and what is wrong there."""
    found = re.fullmatch(r"(.*) - at `(?:key in )?\$(.*)`", words, re.DOTALL)
    what, path = (words, "") if found is None else found.groups()
    return path.replace("`", ""), f"{what[:1].lower()}{what[1:]}".replace("`", "")


def _unpack(data: bytes, peer: Peer) -> Any:
    end = 1 + data[0] + _HASH_SIZE if data else 0
    schema = _by_head.get(data[1:end])
    if schema is None:
        if not data or len(data) < end:
            raise ValueError("the name of a message is cut off")
        raise _unknown(data[1 : end - _HASH_SIZE].decode())
    return schema.unpack(data[end:], peer)


def _read_extension(payload: bytes) -> Any:
    name, digest, row, rest = _extension_decoder.decode(payload)
    schema = _by_head.get(name.encode() + digest)
    if schema is None:
        raise _unknown(name)
    return schema.read_extension(row, bytes(rest))


def _unknown(name: str) -> _kinds.Refused:
    schema = _by_name.get(name)
    if schema is None:
        return _kinds.Refused(name, "there is no @netplay.message of this name here")
    return _kinds.Refused(name, f"its fields differ; here it is {schema.signature}")


_extension_decoder: Final = msgspec.msgpack.Decoder(tuple[str, bytes, bytes, msgspec.Raw])
_kinds.unpackers[_kinds.TYPED] = _unpack
_codec.readers[EXT_MESSAGE] = _read_extension
