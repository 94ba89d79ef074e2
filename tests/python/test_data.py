"""What can be sent arrives as what it was; what cannot is refused at once; what is malformed closes its sender."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import enum
import math
import struct
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import ormsgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Pair, only, send_lossy, wait_for

try:
    import pygame
except ImportError:  # the values that need it are not made
    pygame = None  # type: ignore[assignment]

import netplay
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, Network, UnsupportedData, _core, _kinds
from netplay._codec import decode, encode


def exact(value: object) -> object:
    """Makes equal only what is equal in type as well, at every level."""
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(item) for item in value])
    if isinstance(value, dict):
        return (dict, [(exact(key), exact(item)) for key, item in value.items()])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(exact(item)) for item in value))
    if type(value).__module__.startswith("pygame"):
        return (type(value), [exact(number) for number in value])  # type: ignore[attr-defined]
    if isinstance(value, datetime.datetime):
        return (value.replace(tzinfo=None, fold=0), value.utcoffset())  # equal datetimes may differ in their fold
    if isinstance(value, float):
        return (float, struct.pack("<d", value))
    return (type(value), value)


VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    10**300,
    1.5,
    -0.0,
    math.inf,
    math.nan,
    [],
    (),
    {},
    [1, (2, [3, (4,)])],
    {"name": "Ada", "position": (3, 4), "tags": ["a", b"b"]},
    {1: "one", (2, 3): "pair", None: 0, False: 1, 2.5: 2, b"k": 3, (1, ("a",)): 4},
    ({1: 2},),
    "text as a value" * 3,
    set(),
    {1, "a", (2, 3), frozenset({4}), None, 2**70},
    frozenset({b"k", 2.5}),
    {frozenset({1}): "set", 2**70: "large", (1, frozenset({(2,)})): {2**90: [{datetime.datetime(2026, 1, 1): 1}]}},
    datetime.datetime(2026, 11, 25, 21, 30, 1, 234567),
    datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))),
    [{"when": datetime.datetime(1900, 2, 28)}],
]


def shown(value: object) -> str:
    """Returns the name of a test with a value: the same in every process, which the order in a set is not."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (set, frozenset)) else repr(value)[:40]


@pytest.mark.parametrize("value", [*VALUES, "", "häßlich 🐍", b"", b"\x00\xff" * 100], ids=shown)
def test_data_arrives_as_what_it_was(udp_pair: Pair, value: object) -> None:
    udp_pair.client.send(value)
    assert exact(only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data) == exact(value)


@pytest.mark.parametrize("value", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]])
def test_buffers_arrive_as_bytes(udp_pair: Pair, value: object) -> None:
    udp_pair.client.send(value)
    data = only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data
    assert exact(data) == exact(bytes(value))  # type: ignore[call-overload]


offsets = st.integers(-86_399, 86_399).map(lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds)))
datetimes = st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc) | offsets)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False)
    | st.integers(-(2**100), 2**100)
    | datetimes
)
keys = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
floats = st.floats(width=32)
ints = st.integers(-(2**31), 2**31 - 1)


def of_pygame(name: str, numbers: st.SearchStrategy[Any], count: int) -> list[st.SearchStrategy[object]]:
    """Makes values of a type of pygame's, if this one has it."""
    kind = getattr(sys.modules.get("pygame"), name, None)
    return [] if kind is None else [st.lists(numbers, min_size=count, max_size=count).map(lambda items: kind(*items))]


pygame_values: list[st.SearchStrategy[object]] = [
    *of_pygame("Vector2", st.floats(), 2),
    *of_pygame("Vector3", st.floats(), 3),
    *of_pygame("Rect", ints, 4),
    *of_pygame("FRect", floats, 4),
    *of_pygame("Color", st.integers(0, 255), 4),
]


def lists_of_like_dicts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Makes lists and tuples of dicts with the same keys in the same order; mostly long enough to be worth a table."""
    names = st.lists(st.text(min_size=1, max_size=12) | st.integers(0, 2**40) | st.none(), unique=True, min_size=1)
    lists = names.flatmap(
        lambda keys: st.lists(st.tuples(*[inner] * len(keys)).map(lambda row: dict(zip(keys, row, strict=True))))
    )
    return lists | lists.map(tuple)


values = st.recursive(
    st.one_of(scalars, st.floats(), *pygame_values),
    lambda inner: (
        st.lists(inner)
        | lists_of_like_dicts(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.frozensets(keys)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine it may be
@given(values)
def test_decode_of_encode_is_identity(value: object) -> None:
    encoded = encode(value)
    assert exact(decode(encoded)) == exact(value)
    folded = _core._fold(encoded)
    assert exact(decode(folded)) == exact(value)
    assert len(folded) <= len(encoded)
    assert _core._measure(folded) == _core._measure(encoded) > 0


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        _core._measure(data)
        decode(data)
    except (ValueError, TypeError):
        pass


PLAYER = {"name": "Ada", "position": (3, 4.5), "inventory": {"sword": 1}, "friends": []}
TABLES: list[object] = [
    [PLAYER] * 2,
    (PLAYER, PLAYER),
    {"players": [{**PLAYER, "name": str(i)} for i in range(300)], "tick": 7},
    [{"inside": [{"first name": i, "last name": j} for i in range(4)]} for j in range(70)],
    [([{"a long key": 1.5}] * 20,), {(1, 2): ([{"a long key": None}] * 20,)}],
    [{"key": i, "another key": bool(i % 2), "third": -i, "text": "x" * i} for i in range(300)],
    [{1: "one", None: i, 2.5: b"", b"k": i} for i in (0, 1, 127, 128, 255, 256, 65535, 65536, 2**32, 2**64 - 1)],
    [{"number": i} for i in (-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63), 2**64, 0.1)],
    [{f"column {i}": i for i in range(70)}] * 3,
]


@pytest.mark.parametrize("value", TABLES, ids=lambda value: repr(value)[:40])
def test_dicts_with_the_same_keys_travel_with_these_once_and_arrive_as_they_were(udp_pair: Pair, value: object) -> None:
    encoded = encode(value)
    assert len(_core._fold(encoded)) < len(encoded)
    udp_pair.client.send(value)
    token = udp_pair.to_server.ask(value, timeout=None)
    plain, asked = wait_for(udp_pair.server, NETWORK_DATA_IN, 2)
    assert exact(plain.data) == exact(asked.data) == exact(value)
    asked.reply(plain.data)
    answer = only(wait_for(udp_pair.client, netplay.NETWORK_ANSWER))
    assert (answer.token, exact(answer.data)) == (token, exact(value))


@pytest.mark.parametrize(
    "value",
    [
        [{"a long key of one": 1}],
        [{"a": 1}, {"a": 2}],
        [{}] * 100,
        [{"first": 1, "second": 2}, {"second": 2, "first": 1}] * 20,
        [{"first": 1, "second": 2}] * 20 + [{"first": 1, "second": 2, "third": 3}],
        [{"first": 1, "second": 2}] * 20 + [{"first": 1}],
        [{"first": 1, "second": 2}] * 20 + [{"first": 1, "other": 2}],
        [{"first": 1, "second": 2}] * 20 + [None],
        [None] + [{"first": 1, "second": 2}] * 20,
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_a_list_that_is_no_table_or_no_shorter_as_one_stays_as_it_is(value: object) -> None:
    encoded = encode(value)
    assert _core._fold(encoded) is encoded
    assert exact(decode(encoded)) == exact(value)


def test_a_table_inside_a_list_that_is_none_is_one_nevertheless() -> None:
    units = [{"name": "x", "health": i, "shield": i} for i in range(30)]
    value = [{"team": i, "units": units} for i in range(4)] + [{"team": 4}]
    folded = _core._fold(encode(value))
    assert folded.count(b"health") == 4
    assert exact(decode(folded)) == exact(value)


def test_a_table_may_be_as_long_as_a_value() -> None:
    value = [{"the same": number} for number in range(333_333)]
    folded = _core._fold(encode(value))
    assert _core._measure(folded) == 1_000_000
    assert decode(folded) == value
    with pytest.raises(ValueError, match="more than 1000000 elements"):
        _core._fold(encode([*value, {}]))


def test_the_table_in_the_protocol_is_read() -> None:
    assert decode(bytes.fromhex("c7 06 0e 93 91 a1 78 01 02")) == [{"x": 1}, {"x": 2}]


def test_dicts_that_came_in_a_table_are_dicts_of_their_own() -> None:
    first, second = decode(_core._fold(encode([{"name": "Ada", "friends": [1, 2, 3]}] * 2)))
    first["name"] = "Bob"
    first["friends"].append(4)
    first["new"] = 1
    assert second == {"name": "Ada", "friends": [1, 2, 3]}


class Fruit(enum.Enum):
    APPLE = (1, 2)


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Ship:
    x: int = 1


Point = collections.namedtuple("Point", "x y")
itself: list[object] = []
itself.append(itself)
itself_in_a_tuple: list[object] = []
itself_in_a_tuple.append((itself_in_a_tuple,))
deep: tuple[object, ...] = ()
for _ in range(150):
    deep = (deep,)

odd_zone = datetime.timezone(datetime.timedelta(microseconds=1))

REFUSED: list[tuple[object, str]] = [
    (1j, r"complex .* send \(value.real, value.imag\)"),
    (object(), r"object cannot be sent as what it is; send None, bool, int, float, str, bytes, or a list"),
    (Ship(), r"Ship .* send dataclasses.asdict\(value\)"),
    (Point(1, 2), r"Point .* send tuple\(value\)"),
    (Fruit.APPLE, r"Fruit .* send its .value or .name"),
    (Number.ONE, r"Number .* send its .value or .name"),
    (Text("x"), r"Text .* send str\(value\)"),
    (collections.defaultdict(int), r"defaultdict .* send dict\(value\)"),
    (collections.OrderedDict(), r"OrderedDict .* send dict\(value\)"),
    (datetime.date(2026, 1, 1), r"date .* send value.isoformat\(\)"),
    (
        datetime.datetime(2026, 1, 1, tzinfo=odd_zone),
        r"no whole number of seconds",
    ),
    (uuid.UUID(int=1), r"UUID .* send value.bytes"),
    ("\ud800", r"half a surrogate pair"),
    (["\ud800"], r"half a surrogate pair"),
    ({"\ud800": 1}, r"half a surrogate pair"),
    (2**9000, r"int has 9001 bits, at most 8191 can be sent"),
    ({2**9000: 1}, r"a key of a dict: int has 9001 bits, at most 8191"),
    ({Number.ONE: 1}, r"a key of a dict: .*Number"),
    ({datetime.date(2026, 1, 1): 1}, r"a key of a dict: datetime.date"),
    ({(1, Number.ONE): 1}, r"a key of a dict: .*Number"),
    ({1: {"deep": [({2: {1j}},)]}}, r'data\[1\]\["deep"\]\[0\]\[0\]\[2\]: complex cannot be sent'),
    (
        {"units": [0, 1, 2, {"image": Ship()}]},
        r'data\["units"\]\[3\]\["image"\]: test_data.Ship cannot .*; decorate',
    ),
    ({Text("x")}, r"Text .* send str\(value\)"),
    (itself, r"nested too deep, or holds itself"),
    (itself_in_a_tuple, r"nested too deep, or holds itself"),
    (deep, r"nested too deep"),
    ([0] * 1_000_001, r"more than 1000000 elements; send bytes"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_would_not_arrive_as_what_it_is_is_refused(udp_pair: Pair, value: object, words: str) -> None:
    with pytest.raises(UnsupportedData, match=words) as caught:
        udp_pair.client.send(value)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(UnsupportedData):
        udp_pair.to_server.send(value)
    assert udp_pair.client.send("others still go") == 1


def test_a_million_elements_and_a_hundred_levels_may_be_sent(udp_pair: Pair) -> None:
    value: list[object] = [0] * 999_999
    udp_pair.client.send(value)
    nested: list[object] = []
    for _ in range(98):
        nested = [nested]
    udp_pair.client.send(nested)
    got = wait_for(udp_pair.server, NETWORK_DATA_IN, 2)
    assert [event.data for event in got] == [value, nested]
    with pytest.raises(UnsupportedData, match="at most 100 levels"):
        udp_pair.client.send([[nested]])


@pytest.mark.parametrize("size", [64 * 1024, 16 * 1024 * 1024])
def test_the_largest_message_arrives_and_a_larger_one_is_refused(udp_pair: Pair, size: int) -> None:
    is_lossy = size == 64 * 1024
    data = bytes(range(256)) * (size // 256)
    words = f"message is {size + 1} bytes, a {'lossy' if is_lossy else 'reliable'} message may be {size}"
    with pytest.raises(netplay.MessageTooLarge, match=words) as caught:
        udp_pair.client.send(data + b"x", lossy=is_lossy)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(netplay.MessageTooLarge):
        udp_pair.to_server.send(data + b"x", lossy=is_lossy)
    if is_lossy:
        assert send_lossy(udp_pair.client, data, udp_pair.server).data == data
        return
    assert udp_pair.client.send(data) == 1
    assert only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data == data


class Impostor(_core.Network):
    """A network that takes the kind and the bytes given to it for what has been packed."""

    def __new__(cls) -> Impostor:
        return super().__new__(cls, {tuple: lambda packed: packed}, encode, decode, lambda *all: all, lambda *_: 0)


def colliding_tuples(count: int) -> list[tuple[int, int]]:
    """Makes tuples that have one hash, by the way CPython hashes them (xxHash, three primes of 64 bits)."""
    first, second, start, mask = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64 - 1
    inverse = pow(second, -1, 2**64)
    found: list[tuple[int, int]] = []
    number = 0
    while len(found) < count:
        number += 1
        lane = (start + number * second) & mask
        lane = ((lane << 31 | lane >> 33) * first) & mask
        other = (12345678901234567 - lane) * inverse & mask
        other -= (other >= 2**63) * 2**64
        if abs(other) < 2**61 - 1 and other != -1:
            found.append((number, other))
    return found


COLLIDING = colliding_tuples(33)


def ext(number: int, items: object) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(number, encode(items)))


BAD_VALUES = {
    "unknown extension": ormsgpack.packb(ormsgpack.Ext(99, b"x")),
    "a set that is none": ormsgpack.packb(ormsgpack.Ext(3, b"\x05")),
    "a set of lists": ext(3, [[]]),
    "a set of items with one hash": ext(3, COLLIDING),
    "a dict of keys with one hash": ext(13, [thing for key in COLLIDING for thing in (key, 1)]),
    "a dict with a key and no item": ext(13, [(1, 2)]),
    "a tuple as a key of a map": b"\x81\x91\x01\x01",
    "a datetime of one byte": ormsgpack.packb(ormsgpack.Ext(5, b"x")),
    "a datetime after the last": ormsgpack.packb(ormsgpack.Ext(5, b"\xff" * 7 + b"\x7f")),
    "a datetime far from UTC": ormsgpack.packb(ormsgpack.Ext(5, b"\x00" * 8 + b"\xff\xff\xff\x7f")),
    "a Rect of text": ormsgpack.packb(ormsgpack.Ext(8, b"large")),
    "a Vector2 of nothing": ormsgpack.packb(ormsgpack.Ext(6, b"")),
    "a Color of five": ormsgpack.packb(ormsgpack.Ext(10, b"12345")),
    "rows outside a message": ormsgpack.packb(ormsgpack.Ext(12, b"12345")),
    "a message that is none": ext(11, ["Move", 5]),
    "a table of a number": ormsgpack.packb(ormsgpack.Ext(14, b"\x05")),
    "a table without keys": ext(14, [[]]),
    "a table without an array of keys": ext(14, [1, 2]),
    "a table with a value too many": ext(14, [["a", "b"], 1, 2, 3]),
    "a table with a tuple as a key": ext(14, [[(1, 2)], 3]),
    "a table with the same key twice": ext(14, [["a", "a"], 1, 2]),
    "a table with the same key twice, and more than scalars": ext(14, [["a", "a"], [], 2]),
    "a table with a key that is no text": ormsgpack.packb(ormsgpack.Ext(14, b"\x92\x91\xa1\xff\x01")),
    "a table of a set that is none": ormsgpack.packb(ormsgpack.Ext(14, b"\x92\x91\xa1a" + ext(3, [[]]))),
    "a tuple that is none": ormsgpack.packb(ormsgpack.Ext(1, b"\x05")),
    "an int of no bytes": b"\xc7\x00\x02",
    "an int of 2000 bytes": ormsgpack.packb(ormsgpack.Ext(2, b"\x01" * 2000)),
    "a dict as a key": b"\x81\x80\x01",
    "text that is no text": b"\xa2\xff\xff",
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_value_that_cannot_be_read_closes_its_sender_and_never_raises(
    networks: Callable[[], Network], name: str
) -> None:
    server, honest, bad = networks(), networks(), Impostor()
    url = server.listen("play://127.0.0.1:0").url
    honest.connect(url)
    terms = {"name": "Mallory", "version": "", "password": None, "timeout": 5, "send_rate": None, "copies": 0.0}
    bad._connect(url, **terms, grace=30, relay=None, pinned_key=None, secret_key=None, seat=None)  # type: ignore[arg-type]
    bad.send("a good one first")
    bad.send((_kinds.VALUE, BAD_VALUES[name]))
    bad.send("never seen")
    wait_for(honest, NETWORK_CONNECTED)
    event = only(wait_for(server, NETWORK_DISCONNECTED))
    assert (event.peer.name, event.reason) == ("Mallory", "bad data")
    assert event.detail.startswith("sent a bad value")
    assert event.peer.state == "closed"
    assert server.stats()["closed_for_bad_data"] == 1
    honest.send("undisturbed")
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN, 2)] == ["a good one first", "undisturbed"]
    bad._close(0.0)


BOMBS = {
    "a list of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a dict of 4 billion": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 billion": b"\xc6\xff\xff\xff\xff",
    "lists in lists": b"\x91" * 101 + b"\xc0",
    "tuples in tuples": b"\x90",
    "two million empty lists": b"\xdd" + (2_000_000).to_bytes(4, "big") + b"\x90" * 2_000_000,
    "a value and more": b"\x01\x02",
    "nothing": b"",
    "a tuple as a key": b"\x81\x91\x01\x01",
    "a map as a key": b"\x81\x80\x01",
    "an int of a megabyte": b"\xc9\x00\x10\x00\x00\x02" + b"x" * 0x100000,
    "two million bytes of rows": b"\xc9\x00\x1e\x84\x80\x0c" + b"x" * 2_000_000,
    "a set of what is none": b"\xd4\x03\x91",
    "a table of a million dicts": b"\xc9\x00\x07\xa1\x28\x0e\xdd"
    + (500_001).to_bytes(4, "big")
    + b"\x91\xa0"
    + b"\xc0" * 500_000,
    "a table of four billion": b"\xc7\x07\x0e\xdd\xff\xff\xff\xff\x91\xc0",
    "tables in tables": b"\xc0",
    "two hundred thousand datetimes": b"\xdd" + (200_000).to_bytes(4, "big") + (b"\xc7\x08\x05" + bytes(8)) * 200_000,
    "a byte that means nothing": b"\xc1",
    "a tuple that ends before its value": b"\xc7\x02\x01\x92\x01",
    "a tuple that ends after its value": b"\xc7\x02\x01\x01\x02",
    "a list that takes from outside its tuple": b"\x92\xd4\x01\x91\x01",
}
for _ in range(50):
    BOMBS["tables in tables"] = ormsgpack.packb(ormsgpack.Ext(14, b"\x92\x91\xa1k" + BOMBS["tables in tables"]))
for _ in range(101):
    BOMBS["tuples in tuples"] = ormsgpack.packb(ormsgpack.Ext(1, b"\x91" + BOMBS["tuples in tuples"]))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_anything_is_made_of_it(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|follows the value|too deep|elements|a key of a map|at most"):
        _core._measure(BOMBS[name])


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\xc0", 1),
        (b"\x90", 1),
        (b"\x92\x01\x81\xa1k\xca\x00\x00\x00\x00", 5),
        (b"\xc7\x03\x01\x92\x01\x02", 4),
        (b"\x92\xc7\x01\x01\x90\x05", 4),
        (b"\xc7\x01\x63\x92", 10),
        (b"\xc7\x03\x03\x92\x01\x02", 13),
        (b"\xc7\x03\x0c\x92\x01\x02", 4),
        (b"\xdc\x00\x02\xd9\x01a\xc4\x01a", 3),
        (b"\xcf" + b"\x00" * 8, 1),
        (b"\xd3" + b"\x00" * 8, 1),
        (b"\xcb" + b"\x00" * 8, 1),
        (b"\xd8\x05" + b"\x00" * 16, 10),
        (b"\xd6\x0e\x92\x91\xa0\x07", 4),
        (b"\xc7\x09\x0e\x95\x92\xa1a\x01\x07\x90\x07\x07", 11),
    ],
)
def test_the_elements_of_a_value_are_counted(data: bytes, count: int) -> None:
    assert _core._measure(data) == count
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cannot be read"):
            _core._measure(data[:end])


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_the_time_to_look_at_it_once(name: str) -> None:
    bomb = BOMBS[name]

    def seconds() -> float:
        start = time.perf_counter()
        with contextlib.suppress(ValueError):
            _core._measure(bomb)
        return time.perf_counter() - start

    # Microseconds, or a few milliseconds for those of megabytes; ten times that on a busy machine.
    assert min(seconds() for _ in range(20)) < (0.05 if len(bomb) > 100_000 else 0.0005)


@pytest.mark.skipif(pygame is None, reason="needs pygame")
def test_values_of_pygame_arrive_as_what_they_were_and_as_tuples_without_it(
    udp_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {
        "position": pygame.Vector2(1.5, -0.1),
        "3d": [pygame.Vector3(1, 2, 3)],
        "area": (pygame.Rect(-1, 2, 3, 2**31 - 1),),
        "color": pygame.Color(255, 0, 7, 128),
    }
    if hasattr(pygame, "FRect"):
        sent["part"] = pygame.FRect(0.5, 1, 2, 3.25)
    udp_pair.client.send(sent)
    got = only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data
    assert got == sent
    assert [type(value) for value in got.values()] == [type(value) for value in sent.values()]

    data = encode(sent)
    monkeypatch.delitem(sys.modules, "pygame")
    plain = decode(data)
    assert plain["position"] == (1.5, -0.1)
    assert plain["3d"] == [(1.0, 2.0, 3.0)]
    assert plain["area"] == ((-1, 2, 3, 2**31 - 1),)
    assert plain["color"] == (255, 0, 7, 128)


@pytest.mark.skipif(pygame is None, reason="needs pygame")
def test_a_surface_is_refused_with_where_it_is_and_what_to_send(udp_pair: Pair) -> None:
    class Wall(pygame.Rect):
        pass

    words = r'data\["units"\]\[1\]\["image"\]: pygame.surface.Surface cannot .*; send pygame.image.tobytes'
    with pytest.raises(UnsupportedData, match=words):
        udp_pair.client.send({"units": [{}, {"image": pygame.Surface((1, 1))}]})
    with pytest.raises(UnsupportedData, match=r"data\[0\]: .*Wall cannot be sent"):
        udp_pair.client.send([Wall(0, 0, 1, 1)])

    @netplay.message
    @dataclasses.dataclass
    class Unit:
        """With a field of any kind."""

        image: object = None

    units = [0, 1, 2, Unit(pygame.Surface((1, 1)))]
    words = r'^data\["units"\]\[3\].image: pygame.surface.Surface cannot .*; send pygame.image.tobytes'
    with pytest.raises(UnsupportedData, match=words):
        udp_pair.client.send({"units": units})
    with pytest.raises(UnsupportedData, match=r"^Unit.image\[3\].image: pygame.surface.Surface cannot be sent"):
        udp_pair.client.send(Unit(units))


others = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), inner),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(others)
def test_what_another_library_writes_is_read_and_the_other_way_round(value: object) -> None:
    assert exact(decode(msgpack.packb(value))) == exact(value)
    assert exact(msgpack.unpackb(encode(value), strict_map_key=False)) == exact(value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_another_library_reads_every_value_with_the_extensions_of_the_protocol(value: object) -> None:
    """What docs/protocol.md says is enough to read what we send."""

    def items(payload: bytes) -> list[Any]:
        return list(msgpack.unpackb(payload, ext_hook=read, strict_map_key=False))

    def read(number: int, payload: bytes) -> object:
        if number == 1:
            return tuple(items(payload))
        if number == 2:
            return int.from_bytes(payload, "little", signed=True)
        if number == 3:
            return set(items(payload))
        if number == 4:
            return frozenset(items(payload))
        if number == 5:
            clock = datetime.timedelta(microseconds=int.from_bytes(payload[:8], "little", signed=True))
            when = datetime.datetime(1970, 1, 1) + clock
            if len(payload) == 8:
                return when
            offset = datetime.timedelta(seconds=int.from_bytes(payload[8:], "little", signed=True))
            return when.replace(tzinfo=datetime.timezone(offset))
        if number == 13:
            flat = items(payload)
            return dict(zip(flat[::2], flat[1::2], strict=True))
        if number == 14:
            keys, *flat = items(payload)
            rows = range(0, len(flat), len(keys))
            return [dict(zip(keys, flat[row : row + len(keys)], strict=True)) for row in rows]
        name, layout = {
            6: ("Vector2", "<dd"),
            7: ("Vector3", "<ddd"),
            8: ("Rect", "<iiii"),
            9: ("FRect", "<ffff"),
            10: ("Color", "BBBB"),
        }[number]
        return getattr(pygame, name)(*struct.unpack(layout, payload))

    read_back = msgpack.unpackb(_core._fold(encode(value)), ext_hook=read, strict_map_key=False)
    assert exact(read_back) == exact(value)


def test_the_limits_hold_for_what_is_sent_and_for_what_arrives(networks: Callable[[], Network]) -> None:
    pair = Pair(networks(), networks(), "play://127.0.0.1:0")
    pair.server.limit(depth=3, elements=10, length=5, int_bytes=9, bad_messages=4)
    for value, words in (
        ([[[]]], "at most 3 levels"),
        ([0] * 10, "more than 10 elements"),
        (["123456"], "text or bytes of 6 in a value, at most 5"),
        (2**80, "int of 11 bytes, at most 9"),
    ):
        with pytest.raises(UnsupportedData, match=words):
            pair.server.send(value)
        pair.client.send(value)
    pair.client.send([[7, "12345"]])
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == [[7, "12345"]]
    assert pair.to_client.stats()["bad_messages"] == 4
    pair.client.send([[[]]])
    assert only(wait_for(pair.server, NETWORK_DISCONNECTED)).reason == "bad data"

    for name, wrong in (
        ("depth", 0),
        ("depth", 101),
        ("elements", 0),
        ("length", 0),
        ("int_bytes", 1025),
        ("bad_messages", -1),
    ):
        with pytest.raises(ValueError, match=f"{name} is {wrong}"):
            pair.server.limit(**{name: wrong})


def test_the_limits_hold_for_typed_messages_questions_and_events_that_are_sent(pair: Pair) -> None:
    @netplay.message
    @dataclasses.dataclass
    class Path:
        """With fields that are not compact, which are held against the limits too."""

        points: list[int]
        more: object = None

    pair.server.limit(elements=10, length=5)
    refused: list[tuple[object, str]] = [
        (Path([0] * 10), "Path: value has more than 10 elements"),
        (Path([], {"more": [0] * 10}), "Path: value has more than 10 elements"),
        (Path([], "123456"), "Path: text or bytes of 6 in a value, at most 5"),
        ([Path([0] * 10)], "more than 10 elements"),
    ]
    for value, words in refused:
        with pytest.raises(UnsupportedData, match=words):
            pair.server.send(value)
        with pytest.raises(UnsupportedData, match=words):
            pair.to_client.ask(value)
    with pytest.raises(UnsupportedData, match="more than 10 elements"):
        pair.to_client.ask([0] * 10)
    things = netplay.event_type("things that are held against the limits", things=list)
    with pytest.raises(UnsupportedData, match="more than 10 elements"):
        pair.server.post(things, {"things": [0] * 10})
    pair.server.limit()
    assert pair.server.post(things, {"things": [0] * 10}) == 1
    assert pair.server.send(Path([0] * 10)) == 1


def test_the_wrong_channel_is_named_with_its_limit(udp_pair: Pair) -> None:
    for channel in (-1, 256, 10**30):
        with pytest.raises(ValueError, match=rf"channel is {channel}, it may be 0 to 255"):
            udp_pair.client.send("x", channel)
        with pytest.raises(ValueError, match="0 to 255"):
            udp_pair.to_server.send("x", channel)
        with pytest.raises(ValueError, match="0 to 255"):
            udp_pair.client.on(channel)
    for wrong in ("1", None, 1.0, True, [1]):
        if wrong is None:
            continue
        with pytest.raises(TypeError, match="it must be an int from 0 to 255"):
            udp_pair.client.send("x", wrong)  # type: ignore[arg-type]


def test_every_channel_works(udp_pair: Pair) -> None:
    for channel in range(256):
        udp_pair.client.send(channel, channel)
    got = wait_for(udp_pair.server, NETWORK_DATA_IN, 256)
    assert sorted((event.channel, event.data) for event in got) == [(channel, channel) for channel in range(256)]


def test_a_kind_of_its_own_is_packed_by_class_and_unpacked_by_number(
    udp_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacked(data: bytes, peer: netplay.Peer) -> object:
        if data == b"never":
            raise _kinds.Refused("Fruit", "never")
        return (data, peer)

    monkeypatch.setitem(_kinds.packers, Ship, lambda ship: (_kinds.ANSWER, ship.x.to_bytes(1, "little")))
    monkeypatch.setitem(_kinds.packers, Fruit, lambda fruit: (_kinds.ANSWER, b"never"))
    monkeypatch.setitem(_kinds.unpackers, _kinds.ANSWER, unpacked)
    udp_pair.client.send(Fruit.APPLE)
    udp_pair.client.send(Ship(7), 3)
    event = only(wait_for(udp_pair.server, NETWORK_DATA_IN))
    assert (event.data, event.channel, event._kind) == ((b"\x07", udp_pair.to_client), 3, _kinds.ANSWER)
    assert udp_pair.server.stats()["messages_refused"] == 1


@pytest.mark.parametrize("value", [*VALUES, "text", b"bytes"], ids=shown)
def test_what_travels_inside_another_kind_arrives_as_what_it_was(udp_pair: Pair, value: object) -> None:
    kind, data = _kinds.pack_inner(value)
    assert exact(_kinds.unpack_inner(kind, data, udp_pair.to_client)) == exact(value)
