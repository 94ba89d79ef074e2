"""Events that others post: they arrive as what they were, and nothing gets in that was not asked for."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netplay
from conftest import Pair, only, wait_for
from netplay import (
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    NETWORK_EVENT,
    Event,
    MessageTooLarge,
    Network,
    NotConnected,
    UnsupportedData,
    _codec,
    _kinds,
    _remote,
    _strikes,
)

Make = Callable[[], Network]

SPLASH = netplay.event_type("splash", where=tuple[float, float], size=int)
MIXED = netplay.event_type(
    "mixed", a=bool, b=float, c=str, d=bytes, e=list, f=tuple, g=dict, h=object, i=tuple[int, int], j=int | None
)
SIGNAL = netplay.event_type("signal")


class Raw(NamedTuple):
    """A message of any kind, as one who breaks the rules may send it."""

    kind: int
    data: bytes


@pytest.fixture(autouse=True)
def raw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_kinds.packers, Raw, lambda raw: (raw.kind, raw.data))


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the types that a test makes."""
    monkeypatch.setattr(_remote, "_by_name", dict(_remote._by_name))
    monkeypatch.setattr(_remote, "_by_number", dict(_remote._by_number))


def event_in(network: Network) -> Event:
    return only(wait_for(network, NETWORK_EVENT))


# Types.


def test_a_type_keeps_its_number_and_is_found_again_by_its_name() -> None:
    assert netplay.event_type("splash", size=int, where=tuple[float, float]) == SPLASH
    assert netplay.event_type("signal") == SIGNAL != SPLASH
    assert netplay.NETWORK_WAKE < SPLASH < 65_535


def test_a_type_cannot_be_made_again_with_other_fields() -> None:
    with pytest.raises(ValueError, match=r"made as splash\(size: int, where: .*\) before, not splash\(size: float\)"):
        netplay.event_type("splash", size=float)


@pytest.mark.parametrize("name", ["", "x" * 65, "ä" * 33, "two\nlines", "nul\0", "pygame.KEYDOWN", "pygame.", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"it must be 1 to 64 bytes, printable, and not begin with 'pygame\.'"):
        netplay.event_type(name)


def test_a_name_or_a_type_of_another_kind_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="the name of an event type is 7, it must be a str"):
        netplay.event_type(7)  # type: ignore[arg-type]
    for kind in (Pair, complex, 3, list[Pair]):
        with pytest.raises(TypeError, match=r"wrong.x: .* cannot be the type of a field"):
            netplay.event_type("wrong", x=kind)


@pytest.mark.parametrize("field", ["type", "dict", "peer"])
def test_fields_that_every_event_has_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="which every event has already"):
        netplay.event_type("wrong", **{field: int})


def test_the_number_of_fields_and_of_types_is_bounded(scratch: None) -> None:
    with pytest.raises(ValueError, match="33 fields, it may have 32"):
        netplay.event_type("wide", **{f"f{i}": int for i in range(33)})
    numbers = {netplay.event_type(f"many {i}") for i in range(_remote._LAST_NUMBER - max(_remote._by_number))}
    assert max(numbers) == _remote._LAST_NUMBER
    with pytest.raises(ValueError, match="more than 532 event types"):
        netplay.event_type("one too many")


# Through the network, without pygame's queue.


def test_a_posted_event_arrives_with_name_type_attributes_and_peer(pair: Pair) -> None:
    assert pair.client.post(SPLASH, {"where": (3, 4.5), "size": 2}, channel=5) == 1
    event = event_in(pair.server)
    assert (event.what, event.peer, event.channel) == (NETWORK_EVENT, pair.to_client, 5)
    assert (event.name, event.type, event.lossy) == ("splash", SPLASH, False)
    assert list(event.data["where"]) == [3.0, 4.5]
    assert event.data["size"] == 2
    assert "splash" in repr(event)
    assert set(event._attributes()) == {"what", "peer", "channel", "type", "name", "data", "lossy"}


def test_fields_of_every_type_arrive_as_what_they_were(pair: Pair) -> None:
    values = {
        "a": True,
        "b": 1.5,
        "c": "häßlich",
        "d": b"\x00",
        "e": [1, (2,)],
        "f": (1, [2]),
        "g": {1: "x"},
        "h": None,
        "i": (3, 4),
        "j": None,
    }
    pair.client.post(MIXED, values)
    data = event_in(pair.server).data
    assert data == values
    assert [type(value) for value in data.values()] == [type(value) for value in values.values()]


def test_an_int_is_welcome_as_a_float_and_an_event_may_have_no_fields(pair: Pair) -> None:
    pair.client.post(SPLASH, {"where": (1, 2), "size": 0})
    pair.client.post(SIGNAL)
    splash, signal = wait_for(pair.server, NETWORK_EVENT, 2)
    assert [type(x) for x in splash.data["where"]] == [float, float]
    assert signal.data == {}


def test_events_keep_their_order_among_the_messages_of_their_channel(pair: Pair) -> None:
    for number in range(50):
        pair.client.post(SPLASH, {"where": (0, 0), "size": number}, channel=1)
        pair.client.send(number, 1)
    events: list[Event] = []
    while len(events) < 100:
        events += pair.server.get(5)
    sizes = [event.data["size"] if event.what == NETWORK_EVENT else event.data for event in events]
    assert sizes == [number for number in range(50) for _ in range(2)]
    assert [event.what for event in events[:2]] == [NETWORK_EVENT, NETWORK_DATA_IN]


def test_a_server_passes_an_event_on_to_all_but_the_one_it_came_from(networks: Make) -> None:
    server, clients = networks(), [networks() for _ in range(3)]
    listener = server.listen("local://relay")
    for client in clients:
        client.connect(listener.url)
        wait_for(client, NETWORK_CONNECTED)
    wait_for(server, NETWORK_CONNECTED, 3)
    clients[0].post(SPLASH, {"where": (1, 2), "size": 3})
    event = event_in(server)
    assert server.post(event) == 2
    for client in clients[1:]:
        assert event_in(client).data["size"] == 3
    assert server.post(event, exclude=server.peers[1]) == 1
    assert server.post(event, exclude=[server.peers[1]]) == 1
    assert server.post(event, to=event.peer) == 1
    assert event_in(clients[0]).data["size"] == 3
    server.send("the end")
    only(wait_for(clients[0], NETWORK_DATA_IN))
    assert clients[0].get(0.02) == []


def test_an_event_is_passed_on_from_one_network_to_another(pair: Pair, networks: Make) -> None:
    other, guest = networks(), networks()
    other.listen("local://next-door")
    guest.connect("local://next-door")
    wait_for(other, NETWORK_CONNECTED)
    pair.client.post(SPLASH, {"where": (1, 2), "size": 3})
    assert other.post(event_in(pair.server)) == 1
    assert event_in(guest).data["size"] == 3


def test_an_event_may_be_lossy(pair: Pair) -> None:
    for _ in range(200):
        pair.client.post(SIGNAL, lossy=True, ordered=False)
        events = [event for event in pair.server.get(0.2) if event.what == NETWORK_EVENT]
        if events:
            break
    assert events[0].lossy is True


def test_posting_before_anybody_can_be_there_is_an_error_and_to_nobody_is_fine(networks: Make) -> None:
    network = networks()
    with pytest.raises(NotConnected):
        network.post(SIGNAL)
    network.listen("local://empty")
    assert network.post(SIGNAL) == 0


SIGNATURE = r"splash\(size: int, where: tuple\[float, float\]\)"
REFUSED: list[tuple[object, object, str]] = [
    (SPLASH, {"where": (1, 2)}, rf"this splash event has no size; its type is {SIGNATURE}"),
    (SPLASH, {"where": (1, 2), "size": "3"}, r"splash.size: expected int, got str"),
    (SPLASH, {"where": (1, 2), "size": True}, r"splash.size: expected int, got bool"),
    (SPLASH, {"where": (1, 2), "size": 2**70}, r"splash: an int has more than 64 bits"),
    (SPLASH, {"where": (1, 2, 3), "size": 3}, r"splash.where: expected array of length 2, got 3"),
    (SPLASH, {"where": 7, "size": 3}, r"splash.where: expected array, got int"),
    (SPLASH, {"where": ("1", 2), "size": 3}, r"splash.where\[0\]: expected float, got str"),
    (SPLASH, {"where": (1, 2), "size": 3, "color": "red"}, rf"splash.color is no field of its type, {SIGNATURE}"),
    (SPLASH, [("size", 3)], r"the attributes are a list, they must be a dict"),
    (SIGNAL + 400, None, r"event type \d+ does not travel: neither made by netplay.event_type\(\), nor one of KEYDOWN"),
    (256, None, r"event type 256 does not travel"),
    (netplay.NETWORK, {}, r"network events do not travel; send e.data instead"),
    (True, None, r"bool is no event"),
    ("explosion", None, r"str is no event; post\(pygame.event.Event\(...\)\), or post\(number, {...}\)"),
    (MIXED, dict.fromkeys("abcdefghij"), r"mixed.a: expected bool, got null"),
    (768, {"key": 2**40}, r"pygame.KEYDOWN.key: expected int <= 2147483647"),
]


@pytest.mark.parametrize(("event", "attributes", "words"), REFUSED, ids=[words[:40] for *_, words in REFUSED])
def test_what_cannot_be_posted_says_why(pair: Pair, event: object, attributes: object, words: str) -> None:
    with pytest.raises(UnsupportedData, match=words) as caught:
        pair.client.post(event, attributes)  # type: ignore[arg-type]
    assert isinstance(caught.value, TypeError)


def test_what_is_inside_a_field_is_looked_at_too(pair: Pair) -> None:
    values = {"a": True, "b": 0.0, "c": "", "d": b"", "e": [], "f": (), "g": {}, "h": 0, "i": (1, 2), "j": 3}
    with pytest.raises(UnsupportedData, match="cannot be sent"):
        pair.client.post(MIXED, {**values, "e": [object()]})
    with pytest.raises(MessageTooLarge):
        pair.client.post(MIXED, {**values, "c": "x" * 9_000_000, "d": b"x" * 9_000_000})


def test_other_events_of_get_do_not_travel(pair: Pair) -> None:
    pair.client.send("x")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    with pytest.raises(UnsupportedData, match=r"NETWORK_DATA_IN events do not travel; send e\.data instead"):
        pair.server.post(event)


# Who is let in.

KEY = {"key": 97, "mod": 0, "unicode": "a", "scancode": 4}


def test_standard_events_get_in_when_allowed_and_not_before_or_after(pair: Pair) -> None:
    pair.client.post(768, KEY)
    pair.client.send("first")
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "first"
    pair.server.allow_events(768, "KEYUP")
    pair.client.post(768, KEY)
    pair.client.post(769, KEY)
    down, up = wait_for(pair.server, NETWORK_EVENT, 2)
    assert (down.name, down.type, down.data) == ("pygame.KEYDOWN", 768, KEY)
    assert (up.name, up.type) == ("pygame.KEYUP", 769)
    pair.server.allow_events("pygame.KEYUP")
    pair.client.post(768, KEY)
    pair.client.post(769, KEY)
    assert event_in(pair.server).name == "pygame.KEYUP"
    pair.server.allow_events()
    pair.client.post(769, KEY)
    pair.client.send("last")
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "last"
    assert pair.server.get(0.02) == []
    assert pair.server.stats()["events_refused"] == 3


NEVER = [256, 257, 513, 4096, 32_768, 32_786, 32_787, 32_865, 32_866, 33_000, netplay.NETWORK, netplay.NETWORK_WAKE]


@pytest.mark.parametrize(
    "kind", [*NEVER, "QUIT", "WINDOWCLOSE", "DROPFILE", "USEREVENT", "APP_TERMINATING", "nonsense"]
)
def test_quit_window_drop_and_user_events_are_never_let_in(networks: Make, kind: int | str) -> None:
    with pytest.raises(ValueError, match=r"is never let in; these can be: KEYDOWN, KEYUP, TEXT"):
        networks().allow_events("KEYDOWN", kind)


def test_a_failed_allow_events_changes_nothing(pair: Pair) -> None:
    pair.server.allow_events("KEYUP")
    with pytest.raises(ValueError, match="never"):
        pair.server.allow_events("KEYDOWN", "QUIT")
    with pytest.raises(ValueError, match="'splash' events are let in already"):
        pair.server.allow_events(SPLASH)
    pair.client.post(768, KEY)
    pair.client.post(769, KEY)
    assert event_in(pair.server).name == "pygame.KEYUP"


def wire(name: bytes, values: object, head: bytes | None = None) -> Raw:
    """An event with values that need not be what its type says."""
    known = _remote._find(name.decode())
    if head is None:
        head = known.head if known is not None else bytes([len(name)]) + name + b"hash"
    return Raw(_kinds.REMOTE_EVENT, head + _codec.encode(values))


@pytest.mark.parametrize(
    "name", [b"pygame.QUIT", b"QUIT", b"pygame.USEREVENT", b"pygame.WINDOWCLOSE", b"256", b"65000"]
)
def test_a_peer_that_sends_what_is_never_let_in_is_not_heard(pair: Pair, name: bytes) -> None:
    pair.server.allow_events("KEYDOWN")
    pair.client.send(wire(name, []))
    pair.client.send("the end")
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "the end"
    assert pair.server.get(0.02) == []
    assert pair.server.stats()["events_refused"] == 1


def test_an_unknown_type_and_other_fields_are_told_once_to_both_sides(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "netplay"):
        for _ in range(3):
            pair.client.send(wire(b"never made here", []))
            pair.client.send(wire(b"splash", [1.0], b"\x06splashhash"))
            pair.client.post(768, KEY)
        pair.client.send("the end")
        wait_for(pair.server, NETWORK_DATA_IN)
        pair.server.send("heard")
        wait_for(pair.client, NETWORK_DATA_IN)
    why = {
        "never made here": "there is no netplay.event_type() of this name here",
        "splash": "its fields differ; here it is splash(size: int, where: tuple[float, float])",
        "pygame.KEYDOWN": "to let it in, call netplay.allow_events(pygame.KEYDOWN)",
    }
    told = [record.getMessage() for record in caplog.records]
    assert told[:3] == [f"Ada sends the message {name}, and it is dropped: {words}" for name, words in why.items()]
    assert set(told[3:]) <= {f"Server drops the message {name} from here: {words}" for name, words in why.items()}
    assert pair.server.stats()["events_refused"] == 9
    assert pair.to_client.state == "connected"


def test_names_made_up_by_a_peer_fill_neither_log_nor_memory(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    before = len(_remote._by_name)
    with caplog.at_level(logging.WARNING, "netplay"):
        for number in range(200):
            pair.client.send(wire(f"made up {number}".encode(), []))
        pair.client.send("the end")
        wait_for(pair.server, NETWORK_DATA_IN)
    assert len(caplog.records) == 16
    assert len(_remote._by_name) == before


def test_one_who_goes_on_sending_what_is_refused_is_closed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strikes, "_FORGIVEN_PER_SECOND", 0.0)
    for _ in range(_strikes._MAX_AT_ONCE):
        pair.client.post(768, KEY)
    pair.client.send("still here")
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "still here"
    for _ in range(50):
        pair.client.post(768, KEY)
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert (event.reason, event.detail) == (
        "bad data",
        "sent too many events that are refused, the last 'pygame.KEYDOWN'",
    )
    event = only(wait_for(pair.client, NETWORK_DISCONNECTED))
    assert event.reason == "bad data"
    assert "too many events that are refused" in event.detail
    assert pair.server.stats()["closed_for_bad_data"] == 1


SPLASH_HEAD = _remote._by_name["splash"].head
MALFORMED = {
    "empty": Raw(_kinds.REMOTE_EVENT, b""),
    "no name": Raw(_kinds.REMOTE_EVENT, b"\x00abcd\x90"),
    "a name without an end": Raw(_kinds.REMOTE_EVENT, b"\x20abcd"),
    "no hash": Raw(_kinds.REMOTE_EVENT, b"\x06splash123"),
    "no values": Raw(_kinds.REMOTE_EVENT, SPLASH_HEAD),
    "a long name": Raw(_kinds.REMOTE_EVENT, b"\x41" + b"x" * 65 + b"1234\x90"),
    "a name that is no text": Raw(_kinds.REMOTE_EVENT, b"\x02\xff\xfe1234\x90"),
    "a name with a line break": Raw(_kinds.REMOTE_EVENT, b"\x02a\n1234\x90"),
    "values that are no array": wire(b"splash", {"size": 3}),
    "a tuple for the values": wire(b"splash", (3, [1.0, 2.0])),
    "a value too few": wire(b"splash", [3]),
    "a value too many": wire(b"splash", [3, [1.0, 2.0], 4]),
    "a str for an int": wire(b"splash", ["3", [1.0, 2.0]]),
    "a bool for an int": wire(b"splash", [True, [1.0, 2.0]]),
    "a point of strings": wire(b"splash", [3, ["1", "2"]]),
    "a point of three": wire(b"splash", [3, [1.0, 2.0, 3.0]]),
    "a str of two for a point": wire(b"splash", [3, "xy"]),
    "a huge int for a float": wire(b"splash", [3, [10**400, 1]]),
    "a huge int": wire(b"splash", [2**100, [1.0, 2.0]]),
    "a bomb": Raw(_kinds.REMOTE_EVENT, SPLASH_HEAD + b"\xdd\xff\xff\xff\xff"),
    "a key of 40 bits": wire(b"pygame.KEYDOWN", [2**40, 0, 0, ""]),
    "a letter that is a book": wire(b"pygame.KEYDOWN", [97, 0, 0, "a" * 1000]),
    "text with a NUL": wire(b"pygame.TEXTINPUT", ["a\0b"]),
    "text with a line break at its end": wire(b"pygame.TEXTINPUT", ["a\n"]),
    "text without end": wire(b"pygame.TEXTINPUT", ["x" * 257]),
    "an axis that is no number": wire(b"pygame.JOYAXISMOTION", [0, 0, 0, float("nan")]),
    "an axis beyond all bounds": wire(b"pygame.JOYAXISMOTION", [0, 0, 0, float("inf")]),
    "a mouse of strings": wire(b"pygame.MOUSEMOTION", [[0, 0, 0], ["1", 2], [0, 0], False]),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_event_closes_its_sender_and_raises_nothing(pair: Pair, message: Raw) -> None:
    pair.server.allow_events(*_remote._STANDARD)
    pair.client.send(message)
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert event.reason == "bad data"
    assert pair.server.stats()["closed_for_bad_data"] == 1


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        _kinds.unpackers[_kinds.REMOTE_EVENT](data, None)  # type: ignore[arg-type]


# Without pygame.


def test_without_pygame_events_arrive_with_tuples_and_are_passed_on() -> None:
    code = """
import sys
sys.modules["pygame"] = None
import netplay
BOOM = netplay.event_type("boom", pos=tuple[float, float], area=tuple[int, int, int, int])
server, client = netplay.Network(), netplay.Network()
server.allow_events("KEYDOWN")
server.listen("local://x")
client.connect("local://x")
client.post(BOOM, {"pos": (1, 2), "area": (1, 2, 3, 4)})
client.post(768, {"key": 97})
events = []
while len(events) < 3:
    events += server.get(5)
print(events[1].name, events[1].data["pos"], events[1].data["area"])
print(events[2].name, events[2].data)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "boom (1.0, 2.0) (1, 2, 3, 4)",
        "pygame.KEYDOWN {'key': 97, 'mod': 0, 'scancode': 0, 'unicode': ''}",
    ]


def test_importing_the_events_imports_no_pygame() -> None:
    code = "import sys, netplay; netplay.event_type('x', pos=tuple[float, float]); assert 'pygame' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True, env={**os.environ})
