"""Typed messages arrive as what they are; two sides that differ are told so and lose nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import logging
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netplay as net
from conftest import Pair, only, wait_for, wait_until
from netplay import (
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    Network,
    UnsupportedData,
    _kinds,
    _messages,
)

try:
    import pygame
except ImportError:
    pygame = None  # type: ignore[assignment]


@net.message
@dataclasses.dataclass
class Move:
    x: float
    y: float = 0.0


@net.message
class Chat(msgspec.Struct):
    words: Annotated[str, net.Limit(max_length=10)]
    to: list[int] = []


class Team(enum.Enum):
    RED = "red"
    BLUE = "blue"


@net.message
@dataclasses.dataclass(frozen=True)
class Everything:
    none: None
    flag: bool
    number: Annotated[int, net.Limit(ge=-5, le=5)]
    text: str | None
    raw: bytes
    team: Team
    way: Literal["left", "right"]
    names: dict[str, list[int]]
    pair: tuple[int, str]
    many: tuple[float, ...]
    seen: set[int]
    fixed: frozenset[str]
    when: datetime.datetime
    anything: Any
    bare: dict  # type: ignore[type-arg]
    move: Move
    moves: list[Move]
    maybe: Move | None = None


@net.message
@dataclasses.dataclass
class Position:
    x: Annotated[float, net.Float(0, 800, step=0.1)]
    y: Annotated[float, net.Float(0, 800, step=0.1)]
    angle: Annotated[float, net.Angle()]


@net.message
@dataclasses.dataclass
class Watched:
    """Counts how often it is read."""

    number: int
    reads: ClassVar[int] = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "number":
            Watched.reads += 1
        return object.__getattribute__(self, name)


@net.message
@dataclasses.dataclass
class Player:
    name: str
    hp: Annotated[int, net.Int(0, 100)]
    keys: Annotated[frozenset[str], net.Flags("left", "right", "fire")]
    position: Position
    alive: bool = True


@net.message
@dataclasses.dataclass
class World:
    tick: int
    positions: list[Position]
    players: dict[str, Player]
    note: object = None


@net.message
@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


@net.message(packed=False)
@dataclasses.dataclass
class Exact:
    x: Annotated[float, net.Float(0, 800, step=0.1)]


@net.message
@dataclasses.dataclass
class Empty:
    pass


EVERYTHING = Everything(
    None,
    True,
    -5,
    None,
    b"\x00",
    Team.BLUE,
    "right",
    {"a": [1, 2]},
    (1, "x"),
    (1.5, math.inf),
    {1, 2},
    frozenset({"f"}),
    datetime.datetime(2026, 11, 25, tzinfo=datetime.timezone.utc),
    {"tuple": (1, {2: (3,)}), "move": [Move(1.0)], (1, 2): {3}},
    {1: 2},
    Move(1.0, 2.0),
    [Move(3.0), Move(4.0)],
)
PLAYER = Player("Ada", 77, frozenset({"left", "fire"}), Position(0.3, 799.9, 359.9), False)
MESSAGES: list[Any] = [
    Move(1.5, -2.5),
    Chat("hello", [1, 2]),
    Chat("hello"),
    EVERYTHING,
    dataclasses.replace(EVERYTHING, text="t", maybe=Move(5.0)),
    Position(0.0, 800.0, 0.0),
    PLAYER,
    World(3, [Position(1.0, 2.0, 3.0), Position(4.0, 5.0, 6.0)], {"Ada": PLAYER}, (PLAYER, [Move(1.0)])),
    World(0, [], {}),
    Tree(1, [Tree(2, []), Tree(3, [Tree(4, [])])]),
    Exact(0.123456789),
    Empty(),
]


@pytest.mark.parametrize("value", MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_arrives_as_what_it_was(udp_pair: Pair, value: Any) -> None:
    udp_pair.client.send(value, 3)
    udp_pair.to_client.send({"inside": [value, (value,)]})
    event = only(wait_for(udp_pair.server, NETWORK_DATA_IN))
    assert type(event.data) is type(value)
    assert (event.data, event.channel) == (value, 3)
    assert only(wait_for(udp_pair.client, NETWORK_DATA_IN)).data == {"inside": [value, (value,)]}


def test_what_goes_to_many_is_encoded_once(networks: Callable[[], Network]) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0")
    clients = [networks() for _ in range(3)]
    for client in clients:
        client.connect(listener.url)
    wait_for(server, NETWORK_CONNECTED, 3)
    message = Watched(7)
    before = Watched.reads
    assert listener.peers[0].send(message)
    of_one = Watched.reads - before
    assert of_one > 0
    assert server.send(message) == 3
    assert Watched.reads - before == 2 * of_one
    for client in clients:
        assert wait_for(client, NETWORK_DATA_IN)[0].data == message


def test_a_match_takes_it_apart_and_a_handler_is_found_by_type(udp_pair: Pair) -> None:
    seen: list[object] = []

    @udp_pair.server.on(Move)
    def moved(event: net.Event) -> None:
        seen.append((event.peer, event.channel, event.data))

    @udp_pair.server.on(2)
    def on_two(event: net.Event) -> None:
        match event.data:
            case Chat(words=words):
                seen.append(words)
            case other:
                seen.append(other)

    udp_pair.client.send(Move(1.0, 2.0), 1)
    udp_pair.client.send(Move(3.0, 4.0), 2)
    udp_pair.client.send(Chat("hello"), 2)
    udp_pair.client.send("plain", 2)
    udp_pair.client.send(Chat("to nobody"), 1)
    event = only(wait_for(udp_pair.server, NETWORK_DATA_IN))
    match event.data:
        case Chat(words, []):
            assert words == "to nobody"
        case _:
            pytest.fail(f"{event.data} is no Chat")
    wait_until(lambda: udp_pair.server.get() or len(seen) == 4)
    assert len(seen) == 4
    ada = udp_pair.to_client
    for what in ((ada, 1, Move(1.0, 2.0)), (ada, 2, Move(3.0, 4.0)), "hello", "plain"):
        assert what in seen


def test_a_class_that_is_no_message_has_no_handler(networks: Callable[[], Network]) -> None:
    with pytest.raises(TypeError, match=r"dict is no typed message; decorate it"):
        networks().on(dict)


def test_a_position_takes_five_bytes_and_a_list_of_them_little_more() -> None:
    def size(value: object) -> int:
        _, data = _kinds.packers[type(value)](value)
        return len(data) - len(type(value).__name__) - 1 - 4

    assert size(Position(0.0, 800.0, 359.9)) == 5
    assert size(Empty()) == 1
    positions = [Position(0.0, float(number), 0.0) for number in range(200)]
    assert size(World(0, positions, {}, None)) <= 1000 + 10


@settings(max_examples=300)
@given(st.floats(0, 800), st.floats(0, 800), st.floats(-1e6, 1e6))
def test_a_position_is_moved_by_half_a_step_and_stays_then(x: float, y: float, angle: float) -> None:
    def sent(position: Position) -> Position:
        _, data = _kinds.packers[Position](position)
        return _messages._unpack(data, None)  # type: ignore[arg-type,no-any-return]

    once = sent(Position(x, y, angle))
    assert abs(once.x - x) <= 0.0501
    assert abs(once.y - y) <= 0.0501
    turned = (once.angle - angle) % 360
    assert min(turned, 360 - turned) <= 0.0501
    assert sent(once) == once


WRONG: list[tuple[Any, str]] = [
    (Move("x"), r"Move.x: expected float, got str"),  # type: ignore[arg-type]
    (Move(True), r"Move.x: expected float, got bool"),
    (Chat("x" * 11), r"Chat.words: expected str of length <= 10"),
    (Chat("x", [1, "2"]), r"Chat.to\[1\]: expected int, got str"),  # type: ignore[list-item]
    (Chat("\ud800"), r"Chat: str holds half a surrogate pair"),
    (Chat("x", [2**70]), r"Chat: an int has more than 64 bits; annotate its field as object"),
    (dataclasses.replace(EVERYTHING, number=6), r"Everything.number: expected int <= 5"),
    (dataclasses.replace(EVERYTHING, way="up"), r"Everything.way: invalid enum value 'up'"),  # type: ignore[arg-type]
    (dataclasses.replace(EVERYTHING, anything=[1j]), r"Everything.anything\[0\]: complex cannot be sent"),
    (dataclasses.replace(EVERYTHING, bare=[]), r"Everything.bare: expected dict, got list"),  # type: ignore[arg-type]
    (dataclasses.replace(EVERYTHING, moves=[Move("x")]), r"Everything.moves\[0\].x: expected float, got str"),  # type: ignore[arg-type]
    (Position(800.1, 0.0, 0.0), r"Position.x is 800.1, it may be 0 to 800"),
    (Position(0.0, math.nan, 0.0), r"Position.y is nan, it may be 0 to 800"),
    (Position(0.0, "1", 0.0), r"Position.y is a str, it must be a float"),  # type: ignore[arg-type]
    (Position(0.0, 0.0, math.inf), r"Position.angle is inf"),
    (dataclasses.replace(PLAYER, hp=101), r"Player.hp is 101, it may be 0 to 100"),
    (dataclasses.replace(PLAYER, hp=1.0), r"Player.hp is a float, it must be an int"),  # type: ignore[arg-type]
    (dataclasses.replace(PLAYER, keys={"up"}), r"Player.keys holds 'up', its flags are left, right, fire"),  # type: ignore[arg-type]
    (dataclasses.replace(PLAYER, keys="left"), r"Player.keys is a str, it must be a set of flags"),  # type: ignore[arg-type]
    (dataclasses.replace(PLAYER, alive=1), r"Player.alive is a int, it must be a bool"),  # type: ignore[arg-type]
    (dataclasses.replace(PLAYER, position=Move(1.0)), r"Player.position: expected Position, got Move"),  # type: ignore[arg-type]
    (World(0, [Position(1.0, 2.0, 3.0), PLAYER], {}), r"World.positions: expected Position, got Player"),  # type: ignore[list-item]
    (World(0, (), {}), r"World.positions: expected list, got tuple"),  # type: ignore[arg-type]
    (Exact(801.0), r"Exact.x: expected float <= 800"),
]


@pytest.mark.parametrize(("value", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_its_annotations_do_not_allow_is_refused_where_it_is_sent(udp_pair: Pair, value: Any, words: str) -> None:
    with pytest.raises(UnsupportedData, match=words):
        udp_pair.client.send(value)
    with pytest.raises(UnsupportedData, match=r"^data\[\"in\"\]\[0\](\.|: )"):
        udp_pair.client.send({"in": [value]})


def test_a_message_of_more_than_the_other_side_takes_is_refused(udp_pair: Pair) -> None:
    for value in (Chat("x", [0] * 1_000_000), [Chat("x", [0] * 1_000_000)]):
        with pytest.raises(UnsupportedData, match=r"value has more than 1000000 elements"):
            udp_pair.client.send(value)


def test_a_message_that_holds_itself_is_refused(udp_pair: Pair) -> None:
    tree = Tree(1, [])
    tree.children.append(tree)
    with pytest.raises(UnsupportedData, match=r"nested too deep, or holds itself"):
        udp_pair.client.send(tree)


def test_a_subclass_that_is_no_message_itself_is_refused(udp_pair: Pair) -> None:
    class Jump(Move):
        pass

    with pytest.raises(UnsupportedData, match=r"Jump cannot be sent as what it is; decorate the class"):
        udp_pair.client.send(Jump(1.0))


def register(*fields: tuple[str, Any], name: str = "Thing") -> type:
    """Makes a message as one side may have it, and another side otherwise."""
    cls = dataclasses.make_dataclass("Thing", fields)
    cls.__module__ = __name__
    return net.message(name=name)(cls)


def forget(name: str) -> None:
    schema = _messages._by_name.pop(name, None)
    if schema is not None:
        _messages._by_head.pop(schema.head[1:])


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


@pytest.mark.parametrize("is_inside", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ([("x", int)], [("x", int), ("y", int)], "here it is Thing(x: int, y: int)"),
        ([("x", int)], [("x", float)], "here it is Thing(x: float)"),
        ([("x", int)], [("y", int)], "here it is Thing(y: int)"),
        ([("x", int), ("y", int)], [("y", int), ("x", int)], "here it is Thing(y: int, x: int)"),
        ([("x", net.Int(0, 7))], [("x", net.Int(0, 8))], "here it is Thing(x: int 0 to 8)"),
        ([("x", Annotated[int, net.Limit(le=1)])], [("x", int)], "here it is Thing(x: int)"),
        ([("x", int)], None, "there is no @netplay.message of this name here"),
    ],
)
def test_two_definitions_give_one_message_on_each_side_and_only_that_type_is_refused(
    udp_pair: Pair, caplog: pytest.LogCaptureFixture, theirs: Any, ours: Any, words: str, is_inside: bool
) -> None:
    if ours is not None:
        words = "its fields differ; " + words
    value = register(*theirs)(*range(len(theirs)))
    forget("Thing")
    if ours is not None:
        register(*ours)
    with caplog.at_level(logging.WARNING, "netplay"):
        for number in range(3):
            udp_pair.client.send({"inside": (value,)} if is_inside else value)
            udp_pair.client.send(Move(float(number)))
        got = wait_for(udp_pair.server, NETWORK_DATA_IN, 3)
        assert [event.data for event in got] == [Move(0.0), Move(1.0), Move(2.0)]
        assert udp_pair.server.stats()["messages_refused"] == 3
        wait_until(lambda: udp_pair.client.get() or said(caplog, "drops"))
    assert said(caplog, "sends the message") == [f"Ada sends the message Thing, and it is dropped: {words}"]
    assert said(caplog, "drops") == [f"Server drops the message Thing from here: {words}"]
    assert (udp_pair.to_client.state, udp_pair.client.get()) == ("connected", [])
    forget("Thing")


def test_a_message_that_is_not_known_inside_a_field_of_another_is_refused_with_it(udp_pair: Pair) -> None:
    value = World(1, [], {}, [register(("x", int))(1)])
    udp_pair.client.send(value)
    forget("Thing")
    udp_pair.client.send(Move(1.0))
    assert only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data == Move(1.0)
    assert udp_pair.server.stats()["messages_refused"] == 1


def test_one_who_makes_up_names_is_spoken_of_sixteen_times(udp_pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    cls = register(("x", int))
    packer = _kinds.packers[cls]
    for number in range(50):
        name = b"Th\x1b[1m%d" % number
        data = bytes([len(name)]) + name + b"hash"
        _kinds.packers[cls] = lambda thing: (_kinds.TYPED, thing.x)
        udp_pair.client.send(cls(data))
    _kinds.packers[cls] = packer
    udp_pair.client.send("end")
    with caplog.at_level(logging.WARNING, "netplay"):
        assert only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data == "end"
    lines = said(caplog, "sends the message")
    assert len(lines) == 16
    assert not any("\x1b" in line for line in lines)
    forget("Thing")


HEAD = _messages._by_name["Move"].head
POSITION = _messages._by_name["Position"].head
WORLD = _messages._by_name["World"].head
PLAYER_HEAD = _messages._by_name["Player"].head
BAD_MESSAGES = {
    "nothing": b"",
    "a name that is cut off": b"\x04Mov",
    "a name that is no text": b"\x01\xffhash",
    "no fields": HEAD,
    "too few fields": HEAD + b"\x91\x01",
    "too many fields": HEAD + b"\x93\x01\x02\x03",
    "a field of another type": HEAD + b"\x92\xa1x\x01",
    "more than one value": HEAD + b"\x92\x01\x02\x03",
    "too short a row": POSITION + b"\x00" * 4,
    "too long a row": POSITION + b"\x00" * 6,
    "a row of too large a number": POSITION + b"\xff\xff\x00\x00\x00",
    "a row with bits that mean nothing": POSITION + b"\x00\x00\x00\x00\xc0",
    "no rows where rows should be": WORLD + b"\x94\x00\x90\x80\xc0",
    "rows of half a row": WORLD + b"\x94\x00\xc7\x04\x0c\x00\x00\x00\x00\x80\xc0",
    "bytes where rows should be": WORLD + b"\x94\x00\xc4\x05\x00\x00\x00\x00\x00\x80\xc0",
    "a message that is another": WORLD + b"\x94\x00\xc7\x00\x0c\x81\xa1a\x92\xc4\x00\x90\xc0",
    "a bomb": WORLD + b"\x94\x00\xc7\x00\x0c\xdf\xff\xff\xff\xff",
    "a tuple as a key": WORLD + b"\x94\x00\xc7\x00\x0c\x80\x81\x91\x01\x01",
    "nested too deep": WORLD + b"\x94\x00\xc7\x00\x0c\x80" + b"\x91" * 101 + b"\xc0",
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_message_that_breaks_the_rules_closes_its_sender(udp_pair: Pair, name: str) -> None:
    cls = register(("x", int))
    _kinds.packers[cls] = lambda _: (_kinds.TYPED, BAD_MESSAGES[name])
    udp_pair.client.send(cls(1))
    event = only(wait_for(udp_pair.server, NETWORK_DISCONNECTED))
    assert event.reason == "bad data"
    assert event.detail.startswith("sent a bad message: ")
    forget("Thing")


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(_messages._by_name)), st.binary(max_size=100))
def test_any_bytes_are_a_message_or_refused_with_an_exception_of_three(name: str, data: bytes) -> None:
    class Measured:
        def _measure(self, data: bytes) -> int:
            return net._core._measure(data)

    try:
        value = _messages._unpack(_messages._by_name[name].head + data, Measured())  # type: ignore[arg-type]
    except (ValueError, TypeError, _kinds.Refused):
        return
    assert type(value) is _messages._by_name[name].cls


def test_a_name_is_taken_once_and_a_module_may_be_loaded_anew() -> None:
    register(("x", int))
    register(("x", int))
    cls = dataclasses.make_dataclass("Other", [("x", int)])
    with pytest.raises(ValueError, match=r"test_messages.Thing is already the message 'Thing'; give .*Other another"):
        net.message(name="Thing")(cls)
    with pytest.raises(ValueError, match=r"has 65 bytes, it may have 1 to 64"):
        net.message(name="x" * 65)(cls)
    forget("Thing")


class Plain:
    pass


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Plain, r"Bad.field: Plain cannot be the type of a field"),
        (Callable[[], int], r"Bad.field: .*cannot be the type of a field"),
        (list[Plain], r"Bad.field: Plain"),
        (Move | Chat, r"Bad: .*unions?"),
        (Position | Move, r"Bad.field: .* only one, or one and None"),
        (dict[tuple[int, int], int], r"Bad.field: .*annotate the field as dict"),
        (set[tuple[int, int]], r"Bad.field: .*annotate the field as set"),
    ],
)
def test_a_field_that_cannot_travel_is_refused_with_the_class(annotation: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        net.message(dataclasses.make_dataclass("Bad", [("field", annotation)]))


def test_only_a_dataclass_or_a_struct_is_a_message() -> None:
    with pytest.raises(TypeError, match=r"Plain is neither a dataclass nor a msgspec.Struct; write @dataclass below"):
        net.message(Plain)
    with pytest.raises(TypeError, match=r"Half.x has init=False"):
        net.message(dataclasses.make_dataclass("Half", [("x", int, dataclasses.field(init=False))]))


def test_a_range_that_is_none_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"is no range"):
        net.Float(1, 1, step=0.1)
    with pytest.raises(ValueError, match=r"is no range"):
        net.Int(1, 0)
    with pytest.raises(ValueError, match=r"is no range"):
        net.Angle(step=400)
    with pytest.raises(ValueError, match=r"is no range"):
        net.Flags()
    with pytest.raises(ValueError, match=r"named twice"):
        net.Flags("a", "a")


@pytest.mark.skipif(pygame is None, reason="needs pygame")
def test_fields_of_pygame_types_are_tuples_where_there_is_no_pygame(udp_pair: Pair) -> None:
    with_pygame = register(("at", pygame.Vector2), ("area", pygame.Rect | None), ("colors", list[pygame.Color]))
    value = with_pygame(pygame.Vector2(1, 2.5), pygame.Rect(1, 2, 3, 4), [pygame.Color("red")])
    udp_pair.client.send(value)
    got = only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data
    assert got == value
    assert [type(item) for item in (got.at, got.area, got.colors[0])] == [pygame.Vector2, pygame.Rect, pygame.Color]

    four = tuple[int, int, int, int]
    without = register(("at", tuple[float, float]), ("area", four | None), ("colors", list[four]))
    udp_pair.client.send(value)
    got = only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data
    assert got == without((1.0, 2.5), (1, 2, 3, 4), [(255, 0, 0, 255)])
    forget("Thing")
