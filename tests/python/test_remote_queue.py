"""Events that others post, in pygame's own queue: real ones, of the game's own types, with `peer`.

Run against pygame-ce and against pygame, whichever is installed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pygame")

import pygame

import netplay
from conftest import DEADLINE, Pair, wait_for, wait_until
from netplay import NETWORK, NETWORK_ANSWER, NETWORK_WAKE, Network, UnsupportedData, _pygame, _remote

EXPLOSION = netplay.event_type("explosion", pos=pygame.Vector2, size=int)
SHAPES = netplay.event_type("shapes", v=pygame.Vector3, r=pygame.Rect, c=pygame.Color)
SHOT = netplay.event_type("shot", x=netplay.Float(0, 800, step=0.1), angle=netplay.Angle(), is_big=bool)
ARROWS = [pygame.K_LEFT, pygame.K_RIGHT]


@pytest.fixture(autouse=True)
def game(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh pygame, and a bridge that has not warned of anything yet."""
    monkeypatch.setattr(_pygame, "_warned", set())
    monkeypatch.setattr(_pygame, "_outstanding", 0)
    monkeypatch.setattr(_pygame, "_remote_outstanding", {})
    pygame.display.init()
    pygame.event.clear()
    yield
    pygame.quit()


def polled(network: Network, count: int) -> list[pygame.event.Event]:
    """Returns what poll() puts into the queue, as soon as there is so much."""
    events: list[pygame.event.Event] = []

    def look() -> bool:
        network.poll(0.01)
        events.extend(event for event in pygame.event.get() if event.type != NETWORK_WAKE)
        return len(events) >= count

    wait_until(look, f"the arrival of {count} events")
    return events


def test_a_posted_event_arrives_as_the_same_event_with_the_peer(pair: Pair) -> None:
    event = pygame.event.Event(EXPLOSION, pos=pygame.Vector2(3, 4.5), size=3)
    assert pair.client.post(event) == 1
    [arrived] = polled(pair.server, 1)
    assert arrived.type == EXPLOSION
    assert arrived.peer is pair.to_client
    assert arrived.dict == {"pos": pygame.Vector2(3, 4.5), "size": 3, "peer": pair.to_client}
    assert type(arrived.pos) is pygame.Vector2


def test_the_classes_of_pygame_arrive_as_such(pair: Pair) -> None:
    made = {"v": pygame.Vector3(1, 2, 3), "r": pygame.Rect(1, -2, 3, 4), "c": pygame.Color(1, 2, 3, 4)}
    pair.client.post(pygame.event.Event(SHAPES, made))
    [arrived] = polled(pair.server, 1)
    for name, value in made.items():
        assert getattr(arrived, name) == value
        assert type(getattr(arrived, name)) is type(value)
    with pytest.raises(UnsupportedData, match=r"shapes.r: expected Rect, got Vector2"):
        pair.client.post(pygame.event.Event(SHAPES, {**made, "r": pygame.Vector2()}))
    with pytest.raises(UnsupportedData, match=r"shapes.c: expected Color, got str"):
        pair.client.post(pygame.event.Event(SHAPES, {**made, "c": "red"}))


def test_a_tuple_is_welcome_where_a_class_of_pygame_is_wanted(pair: Pair) -> None:
    pair.client.post(pygame.event.Event(EXPLOSION, pos=(3, 4), size=3))
    [arrived] = polled(pair.server, 1)
    assert type(arrived.pos) is pygame.Vector2
    assert list(arrived.pos) == [3, 4]
    with pytest.raises(UnsupportedData, match=r"explosion.pos: "):
        pair.client.post(pygame.event.Event(EXPLOSION, pos=("x", None, 4), size=3))


def test_fields_of_a_known_range_are_packed_into_bits(pair: Pair) -> None:
    pair.client.post(pygame.event.Event(SHOT, x=123.4, angle=90.0, is_big=True))
    [arrived] = polled(pair.server, 1)
    assert (arrived.x, arrived.angle, arrived.is_big) == (pytest.approx(123.4), pytest.approx(90, abs=0.1), True)
    _, data = netplay._kinds.packers[_remote.Outgoing](
        _remote.outgoing(SHOT, {"x": 1.0, "angle": 2.0, "is_big": False})[0]
    )
    assert len(data) == len("shot") + 1 + 4 + 4


def test_a_key_pressed_elsewhere_is_a_key_event_here(pair: Pair) -> None:
    pair.server.allow_events(pygame.KEYDOWN, pygame.KEYUP)
    event = pygame.event.Event(
        pygame.KEYDOWN, key=pygame.K_a, mod=pygame.KMOD_SHIFT, unicode="A", scancode=4, window=None
    )
    pair.client.post(event)
    pair.client.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_a))
    down, up = polled(pair.server, 2)
    assert (down.type, down.key, down.mod, down.unicode, down.scancode) == (
        pygame.KEYDOWN,
        pygame.K_a,
        pygame.KMOD_SHIFT,
        "A",
        4,
    )
    assert down.peer is up.peer is pair.to_client
    assert not hasattr(down, "window")
    assert (up.type, up.key, up.unicode) == (pygame.KEYUP, pygame.K_a, "")


REAL: dict[str, dict[str, object]] = {
    "MOUSEMOTION": {"pos": (10, 20), "rel": (1, -2), "buttons": (1, 0, 0), "touch": False},
    "MOUSEBUTTONDOWN": {"pos": (10, 20), "button": 1, "touch": False},
    "MOUSEWHEEL": {"flipped": False, "x": 0, "y": 1, "precise_x": 0.0, "precise_y": 1.0, "touch": False},
    "TEXTINPUT": {"text": "ä"},
    "JOYAXISMOTION": {"joy": 0, "instance_id": 0, "axis": 1, "value": -0.5},
    "JOYHATMOTION": {"joy": 0, "instance_id": 0, "hat": 0, "value": (0, 1)},
    "JOYBUTTONUP": {"joy": 0, "instance_id": 0, "button": 3},
    "FINGERDOWN": {"touch_id": 2**40, "finger_id": 1, "x": 0.5, "y": 0.5, "dx": 0.0, "dy": 0.0},
}


@pytest.mark.parametrize("name", REAL)
def test_standard_events_keep_their_attributes(pair: Pair, name: str) -> None:
    number = getattr(pygame, name)
    pair.server.allow_events(number)
    pair.client.post(pygame.event.Event(number, {**REAL[name], "window": None}))
    [arrived] = polled(pair.server, 1)
    assert arrived.type == number
    assert arrived.dict == {**REAL[name], "peer": pair.to_client}


def test_the_table_of_standard_events_has_the_numbers_of_this_pygame() -> None:
    kinds = {name: _remote._standard(name) for name in _remote._STANDARD}
    for name, kind in kinds.items():
        assert kind.number == getattr(pygame, name)
    never = {pygame.QUIT, pygame.SYSWMEVENT, pygame.DROPFILE, pygame.DROPTEXT, pygame.USEREVENT, pygame.ACTIVEEVENT}
    never |= {getattr(pygame, name) for name in dir(pygame) if name.startswith(("WINDOW", "APP_", "DROP", "VIDEO"))}
    assert len(never) > 20
    assert never.isdisjoint(kind.number for kind in kinds.values())


@pytest.mark.parametrize("name", ["QUIT", "WINDOWCLOSE", "DROPFILE", "USEREVENT", "APP_TERMINATING", "ACTIVEEVENT"])
def test_quit_window_drop_and_user_events_neither_leave_nor_get_in(pair: Pair, name: str) -> None:
    number = getattr(pygame, name)
    with pytest.raises(UnsupportedData, match="does not travel"):
        pair.client.post(pygame.event.Event(number))
    with pytest.raises(ValueError, match="is never let in"):
        pair.server.allow_events(number)


def test_custom_types_of_pygame_have_no_name_and_do_not_travel(pair: Pair) -> None:
    with pytest.raises(UnsupportedData, match=r"neither made by netplay.event_type\(\)"):
        pair.client.post(pygame.event.Event(pygame.event.custom_type(), pos=(1, 2)))


def test_types_stay_what_they_are_when_pygame_is_quit_and_initialised_again(pair: Pair) -> None:
    for size in range(3):
        custom = {pygame.event.custom_type() for _ in range(50)}
        assert not custom & set(_remote._by_number)
        pair.client.post(pygame.event.Event(EXPLOSION, pos=(0, 0), size=size))
        [arrived] = polled(pair.server, 1)
        assert (arrived.type, arrived.size) == (EXPLOSION, size)
        assert netplay.event_type("explosion", pos=pygame.Vector2, size=int) == EXPLOSION
        pygame.quit()
        pygame.init()
        pygame.event.clear()
    assert max(_remote._by_number) < pygame.NUMEVENTS


def test_what_came_from_a_peer_is_passed_on_to_the_others_and_does_not_echo(
    networks: Callable[[], Network],
) -> None:
    server, ada, bob = networks(), networks(), networks()
    server.listen("local://queue-relay")
    for network, name in ((ada, "Ada"), (bob, "Bob")):
        network.connect("local://queue-relay", name=name)
        wait_for(network, netplay.NETWORK_CONNECTED)
    wait_for(server, netplay.NETWORK_CONNECTED, 2)
    for network in (server, ada, bob):
        network.allow_events(pygame.KEYDOWN)
    ada.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_LEFT))
    [event] = polled(server, 1)
    assert server.post(event) == 1
    [event] = polled(bob, 1)
    assert event.key == pygame.K_LEFT
    assert bob.post(event) == 0
    assert ada.poll(0.05) == 0


def test_a_type_that_the_game_blocks_is_left_out_and_holds_up_nothing(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pygame.event.set_blocked(EXPLOSION)
    with caplog.at_level(logging.WARNING, "netplay"):
        for size in range(3):
            pair.client.post(pygame.event.Event(EXPLOSION, pos=(0, 0), size=size))
        pair.client.send("after it")
        [event] = polled(pair.server, 1)
    assert event.data == "after it"
    assert pair.server.stats()["events_blocked"] == 3
    assert [record.getMessage() for record in caplog.records] == [
        "'explosion' events from other players are left out, because pygame.event blocks their type: "
        "call pygame.event.set_allowed() with it to have them"
    ]
    pygame.event.set_allowed(EXPLOSION)
    pair.client.post(pygame.event.Event(EXPLOSION, pos=(0, 0), size=9))
    assert polled(pair.server, 1)[0].size == 9


def test_a_flood_of_events_never_fills_the_queue_and_loses_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pygame, "_MAX_OUTSTANDING", 100)
    pair.server.allow_events(pygame.KEYDOWN)
    for number in range(250):
        pair.client.post(pygame.event.Event(pygame.KEYDOWN, key=number))
        pair.client.send(number)
    wait_until(lambda: pair.server.stats()["events_waiting"] >= 400)
    assert pair.server.poll() == 100
    assert pair.server.poll() == 0
    assert sum(_pygame._remote_outstanding.values()) + _pygame._outstanding == 100
    events = polled(pair.server, 500)
    assert [event.key for event in events if event.type == pygame.KEYDOWN] == list(range(250))
    assert [event.data for event in events if event.type == NETWORK] == list(range(250))


def test_an_answer_is_an_event_in_the_queue(pair: Pair) -> None:
    token = pair.to_server.ask("why?", 3, timeout=DEADLINE)
    [question] = polled(pair.server, 1)
    assert (question.what, question.data) == (netplay.NETWORK_DATA_IN, "why?")
    assert question.reply("because") is True
    [answer] = polled(pair.client, 1)
    assert set(answer.dict) == {"what", "peer", "channel", "token", "data", "reason"}
    assert (answer.type, answer.what, answer.token, answer.data) == (NETWORK, NETWORK_ANSWER, token, "because")
    pair.client.send("no question")
    [event] = polled(pair.server, 1)
    assert event.reply("nothing") is False


def test_a_timeout_wakes_a_game_that_sleeps_in_event_wait(pair: Pair) -> None:
    watchdog = threading.Timer(DEADLINE, pygame.event.post, [pygame.event.Event(pygame.QUIT)])
    watchdog.start()
    pair.client.poll()
    pygame.event.clear()
    token = pair.to_server.ask("is anybody there?", timeout=0.2)
    answers: list[pygame.event.Event] = []
    while not answers:
        event = pygame.event.wait()
        assert event.type != pygame.QUIT, "nothing woke the loop"
        pair.client.poll()
        if event.type == NETWORK:
            answers.append(event)
    watchdog.cancel()
    assert [(event.what, event.token, event.reason) for event in answers] == [(NETWORK_ANSWER, token, "timeout")]


def test_a_game_that_polls_each_frame_is_not_woken_by_its_questions(pair: Pair) -> None:
    pair.client.poll()
    pygame.event.clear()
    seen: list[int] = []
    while len(seen) < 3:
        pair.to_server.ask("no hurry", timeout=0.05)
        wait_until(lambda: (pair.client.poll(), pygame.event.peek())[1])
        seen += [event.type for event in pygame.event.get()]
    assert seen == [NETWORK] * 3
    bridge = pair.client._bridge
    assert bridge is not None
    pair.client.poll()
    assert bridge._timer._thread is None
