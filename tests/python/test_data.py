"""What can be sent arrives as what it was; what cannot is refused at once; what is malformed closes its sender."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import math
import struct
import uuid
from collections.abc import Callable

import ormsgpack
import pytest
from conftest import Pair, only, send_lossy, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import netplay
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, Network, UnsupportedData, _core, _kinds
from netplay._codec import decode, encode


def exact(value: object) -> object:
    """Makes equal only what is equal in type as well, at every level."""
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(item) for item in value])
    if isinstance(value, dict):
        return (dict, [(exact(key), exact(item)) for key, item in value.items()])
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
]


@pytest.mark.parametrize(
    "value", [*VALUES, "", "häßlich 🐍", b"", b"\x00\xff" * 100], ids=lambda value: repr(value)[:40]
)
def test_data_arrives_as_what_it_was(udp_pair: Pair, value: object) -> None:
    udp_pair.client.send(value)
    assert exact(only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data) == exact(value)


@pytest.mark.parametrize("value", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]])
def test_buffers_arrive_as_bytes(udp_pair: Pair, value: object) -> None:
    udp_pair.client.send(value)
    data = only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data
    assert exact(data) == exact(bytes(value))  # type: ignore[call-overload]


keys = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.floats(allow_nan=False)
)
values = st.recursive(
    keys | st.floats() | st.integers(-(2**100), 2**100),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(keys | st.lists(keys, max_size=3).map(tuple), inner)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine it may be
@given(values)
def test_decode_of_encode_is_identity(value: object) -> None:
    encoded = encode(value)
    assert _core._measure(encoded) > 0
    assert exact(decode(encoded)) == exact(value)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        _core._measure(data)
        decode(data)
    except (ValueError, TypeError):
        pass


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

REFUSED: list[tuple[object, str]] = [
    ({1, 2}, r"set cannot be sent as what it is; send list\(value\)"),
    (frozenset(), r"frozenset .* send list\(value\)"),
    (1j, r"complex .* send \(value.real, value.imag\)"),
    (object(), r"object cannot be sent as what it is; send None, bool, int, float, str, bytes, or a list"),
    (Ship(), r"Ship .* send dataclasses.asdict\(value\)"),
    (Point(1, 2), r"Point .* send tuple\(value\)"),
    (Fruit.APPLE, r"Fruit .* send its .value or .name"),
    (Number.ONE, r"Number .* send its .value or .name"),
    (Text("x"), r"Text .* send str\(value\)"),
    (collections.defaultdict(int), r"defaultdict .* send dict\(value\)"),
    (collections.OrderedDict(), r"OrderedDict .* send dict\(value\)"),
    (datetime.datetime(2026, 1, 1), r"datetime .* send value.timestamp\(\)"),
    (uuid.UUID(int=1), r"UUID .* send value.bytes"),
    ("\ud800", r"half a surrogate pair"),
    (["\ud800"], r"half a surrogate pair"),
    ({"\ud800": 1}, r"half a surrogate pair"),
    (2**9000, r"int has 9001 bits, at most 8191 can be sent"),
    ({2**70: 1}, r"a key of a dict: int has 71 bits, at most 64"),
    ({Number.ONE: 1}, r"a key of a dict: .*Number"),
    ({datetime.date(2026, 1, 1): 1}, r"a key of a dict: datetime.date"),
    ({frozenset(): 1}, r"a key of a dict: frozenset"),
    ({1: {"deep": [({2: {3}},)]}}, r"set cannot be sent"),
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
    """A network that takes the bytes given to it for an encoded value."""

    def __new__(cls) -> Impostor:
        return super().__new__(
            cls,
            {},
            lambda value: value[0],  # type: ignore[index]
            lambda data: data,
            lambda *all: all,
            lambda *_: 0,
        )


BAD_VALUES = {
    "unknown extension": ormsgpack.packb(ormsgpack.Ext(9, b"x")),
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
    bad._connect(url, **terms, grace=30, pinned_key=None, secret_key=None, seat=None)  # type: ignore[arg-type]
    bad.send("a good one first")
    bad.send((BAD_VALUES[name],))
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
    "a byte that means nothing": b"\xc1",
    "a tuple that ends before its value": b"\xc7\x02\x01\x92\x01",
    "a tuple that ends after its value": b"\xc7\x02\x01\x01\x02",
    "a list that takes from outside its tuple": b"\x92\xd4\x01\x91\x01",
}
for _ in range(101):
    BOMBS["tuples in tuples"] = ormsgpack.packb(ormsgpack.Ext(1, b"\x91" + BOMBS["tuples in tuples"]))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_anything_is_made_of_it(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|follows the value|too deep|elements"):
        _core._measure(BOMBS[name])


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\xc0", 1),
        (b"\x90", 1),
        (b"\x92\x01\x81\xa1k\xca\x00\x00\x00\x00", 5),
        (b"\xc7\x03\x01\x92\x01\x02", 4),
        (b"\x92\xc7\x01\x01\x90\x05", 4),
        (b"\xc7\x01\x09\x92", 1),
        (b"\xdc\x00\x02\xd9\x01a\xc4\x01a", 3),
        (b"\xcf" + b"\x00" * 8, 1),
        (b"\xd3" + b"\x00" * 8, 1),
        (b"\xcb" + b"\x00" * 8, 1),
        (b"\xd8\x05" + b"\x00" * 16, 1),
    ],
)
def test_the_elements_of_a_value_are_counted(data: bytes, count: int) -> None:
    assert _core._measure(data) == count
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cannot be read"):
            _core._measure(data[:end])


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
            raise _kinds.Refused
        return (data, peer)

    monkeypatch.setitem(_kinds.packers, Ship, lambda ship: (_kinds.ANSWER, ship.x.to_bytes(1, "little")))
    monkeypatch.setitem(_kinds.packers, Fruit, lambda fruit: (_kinds.ANSWER, b"never"))
    monkeypatch.setitem(_kinds.unpackers, _kinds.ANSWER, unpacked)
    udp_pair.client.send(Fruit.APPLE)
    udp_pair.client.send(Ship(7), 3)
    event = only(wait_for(udp_pair.server, NETWORK_DATA_IN))
    assert (event.data, event.channel, event._kind) == ((b"\x07", udp_pair.to_client), 3, _kinds.ANSWER)
    assert udp_pair.server.stats()["messages_refused"] == 1


@pytest.mark.parametrize("value", [*VALUES, "text", b"bytes"], ids=lambda value: repr(value)[:40])
def test_what_travels_inside_another_kind_arrives_as_what_it_was(udp_pair: Pair, value: object) -> None:
    kind, data = _kinds.pack_inner(value)
    assert exact(_kinds.unpack_inner(kind, data, udp_pair.to_client)) == exact(value)
