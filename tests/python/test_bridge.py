"""Events in pygame's queue: in order, all of them, whatever the game does to the queue.

Run against pygame-ce and against pygame, whichever is installed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pygame")

import pygame

import netplay
from conftest import DEADLINE, Pair, wait_for, wait_until
from netplay import NETWORK, NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, NETWORK_WAKE, Network, _pygame

QUEUE_SIZE = 65_535


@pytest.fixture(autouse=True)
def game(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh pygame, and a bridge that has not warned of anything yet."""
    monkeypatch.setattr(_pygame, "_warned", set())
    monkeypatch.setattr(_pygame, "_outstanding", 0)
    pygame.display.init()
    yield
    pygame.quit()


def arrived(network: Network, count: int) -> None:
    wait_until(lambda: network.stats()["events_waiting"] >= count, f"the arrival of {count} events")


def ours(events: list[pygame.event.Event]) -> list[pygame.event.Event]:
    return [event for event in events if event.type == NETWORK]


def data_of(events: list[pygame.event.Event]) -> list[object]:
    return [event.data for event in ours(events)]


def test_events_are_posted_once_in_order_of_arrival_with_their_attributes(pair: Pair) -> None:
    for number in range(100):
        pair.client.send(number, number % 3)
    arrived(pair.server, 100)
    pygame.event.clear()
    assert pair.server.poll() == 100
    assert pair.server.poll() == 0
    events = ours(pygame.event.get())
    assert sorted(event.data for event in events) == list(range(100))
    for channel in range(3):
        assert [event.data for event in events if event.channel == channel] == list(range(channel, 100, 3))
    event = events[0]
    assert event.what is NETWORK_DATA_IN
    assert event.peer is pair.to_client
    assert event.lossy is False
    assert event.sequenceid == 0
    assert set(event.dict) == {"what", "peer", "channel", "data", "sequenceid", "lossy", "reply"}
    assert "NETWORK_DATA_IN" in repr(event)
    assert ours(pygame.event.get()) == []


def test_connections_are_events_too(networks: Callable[[], Network]) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0")
    met: list[str] = []
    peer = client.connect(listener.url, on_connect=lambda peer: met.append("connected"))
    wait_for(server, NETWORK_CONNECTED)
    assert client.poll(DEADLINE) == 1
    [event] = ours(pygame.event.get())
    assert (event.what, event.peer, set(event.dict)) == (NETWORK_CONNECTED, peer, {"what", "peer", "reason"})
    assert met == ["connected"]
    server.close()
    until = time.monotonic() + DEADLINE
    events: list[pygame.event.Event] = []
    while not events and time.monotonic() < until:
        client.poll(0.1)
        events = ours(pygame.event.get())
    assert (events[0].what, events[0].reason) == (NETWORK_DISCONNECTED, "goodbye")
    assert set(events[0].dict) == {"what", "peer", "reason", "detail"}


def test_handlers_run_inside_poll_and_nowhere_else(pair: Pair) -> None:
    heard: list[tuple[object, threading.Thread]] = []
    pair.server.on(5)(lambda event: heard.append((event.data, threading.current_thread())))
    pair.client.send("a", 5)
    pair.client.send("b", 6)
    arrived(pair.server, 2)
    assert heard == []
    assert pair.server.poll() == 1
    assert heard == [("a", threading.current_thread())]
    assert data_of(pygame.event.get()) == ["b"]


def test_the_queue_is_never_filled_by_us_and_nothing_is_lost(udp_pair: Pair) -> None:
    total = 40_000
    received: list[object] = []
    for number in range(total):
        udp_pair.client.send(number)
    udp_pair.client.send("the end", 1)
    pygame.event.clear()
    wait_until(lambda: udp_pair.server.poll() == 0 and _pygame._outstanding == 16_384, "a full queue")
    for _ in range(20):  # frames of a game that does not look at its events
        assert udp_pair.server.poll(0.01) == 0
    waiting = sum(1 for _ in ours_left())
    assert waiting == 16_384
    assert pygame.event.post(pygame.event.Event(pygame.QUIT))
    until = time.monotonic() + 3 * DEADLINE
    has_quit = False
    while len(received) <= total and time.monotonic() < until:
        for event in pygame.event.get():
            has_quit |= event.type == pygame.QUIT
            if event.type == NETWORK:
                received.append(event.data)
        udp_pair.server.poll(0.05)
    received.remove("the end")
    assert received == list(range(total))
    assert has_quit


def ours_left() -> list[pygame.event.Event]:
    """Takes our events out of the queue and puts them back in order."""
    events = pygame.event.get(NETWORK, pump=False)
    for event in events:
        pygame.event.post(event)
    return events


def test_a_queue_filled_by_the_game_itself_loses_nothing(pair: Pair) -> None:
    pygame.event.clear()
    while True:
        try:
            pygame.event.post(pygame.event.Event(pygame.USEREVENT))
        except pygame.error:
            break
    for number in range(10):
        pair.client.send(number)
    arrived(pair.server, 10)
    assert pair.server.poll() == 0
    pair.client.send(10)
    pygame.event.get(pygame.USEREVENT)
    received: list[object] = []
    until = time.monotonic() + DEADLINE
    while len(received) < 11 and time.monotonic() < until:
        pair.server.poll(0.05)
        received += data_of(pygame.event.get())
    assert received == list(range(11))


def test_a_game_that_takes_one_event_a_frame_gets_them_all(pair: Pair) -> None:
    for number in range(300):
        pair.client.send(number)
    pygame.event.clear()
    received: list[object] = []
    until = time.monotonic() + DEADLINE
    while len(received) < 300 and time.monotonic() < until:
        pair.server.poll()
        event = pygame.event.poll()
        if event.type == NETWORK:
            received.append(event.data)
    assert received == list(range(300))


def test_events_wait_until_video_is_initialised(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pygame.quit()
    pair.client.send("early")
    arrived(pair.server, 1)
    with caplog.at_level(logging.WARNING, "netplay"):
        assert [pair.server.poll() for _ in range(3)] == [0, 0, 0]
        assert pair.server.poll(0.05) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "network events wait until pygame's video system is initialised: call pygame.init()"
    ]
    pygame.display.init()
    assert pair.server.poll() == 1
    assert data_of(pygame.event.get()) == ["early"]


def test_blocked_events_are_counted_and_wait(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pygame.event.set_blocked(None)
    pair.client.send("patience")
    arrived(pair.server, 1)
    with caplog.at_level(logging.WARNING, "netplay"):
        assert [pair.server.poll() for _ in range(5)] == [0] * 5
    assert len(caplog.records) == 1
    assert "pygame.event.set_allowed(netplay.NETWORK)" in caplog.records[0].getMessage()
    assert pair.server.stats()["polls_blocked"] == 5
    pygame.event.set_allowed(NETWORK)
    assert pair.server.poll() == 1
    assert data_of(pygame.event.get()) == ["patience"]
    pygame.event.set_allowed(None)


def test_our_types_never_collide_with_custom_types_even_after_quit_and_init(pair: Pair) -> None:
    for _ in range(3):
        custom = {pygame.event.custom_type() for _ in range(50)}
        assert not custom & {NETWORK, NETWORK_WAKE}
        pair.client.send("still the same")
        arrived(pair.server, 1)
        assert pair.server.poll() == 1
        [event] = ours(pygame.event.get())
        assert event.type == netplay.NETWORK
        assert event.data == "still the same"
        pygame.quit()
        pygame.init()
    assert NETWORK_WAKE < pygame.NUMEVENTS


def test_what_was_in_the_queue_at_quit_is_not_counted_for_ever(pair: Pair) -> None:
    pair.client.send("lost with its queue")
    arrived(pair.server, 1)
    pair.server.poll()
    assert _pygame._outstanding == 1
    pygame.quit()
    pygame.display.init()
    pair.server.poll()
    assert _pygame._outstanding == 0


def test_a_poll_with_a_timeout_waits_for_the_first_event(pair: Pair) -> None:
    started = time.monotonic()
    assert pair.server.poll(0.15) == 0
    assert time.monotonic() - started > 0.14
    timer = threading.Timer(0.1, pair.client.send, ["now"])
    timer.start()
    assert pair.server.poll(DEADLINE) == 1
    timer.join()


def test_event_wait_as_main_loop_returns_when_something_has_arrived(pair: Pair) -> None:
    for round_number in range(2):
        pair.server.poll()
        pygame.event.clear()
        timer = threading.Timer(0.2, pair.client.send, [f"round {round_number}"])
        timer.start()
        watchdog = threading.Timer(DEADLINE, post_quit)
        watchdog.start()
        received: list[object] = []
        while not received:
            event = pygame.event.wait()
            assert event.type != pygame.QUIT, "nothing woke the loop"
            pair.server.poll()
            if event.type == NETWORK:
                received.append(event.data)
        watchdog.cancel()
        timer.join()
        assert received == [f"round {round_number}"]
        pygame.quit()
        pygame.display.init()


def test_event_wait_is_woken_where_the_game_has_blocked_everything_but_network(pair: Pair) -> None:
    pygame.event.set_blocked(None)
    pygame.event.set_allowed([NETWORK, pygame.QUIT])
    assert pair.server.poll() == 0
    pygame.event.clear()
    timer = threading.Timer(0.2, pair.client.send, ["wake up"])
    watchdog = threading.Timer(DEADLINE, post_quit)
    timer.start()
    watchdog.start()
    assert pygame.event.wait().type == NETWORK_WAKE
    watchdog.cancel()
    timer.join()
    assert pair.server.poll() == 1
    pygame.event.set_allowed(None)


def post_quit() -> None:
    pygame.event.post(pygame.event.Event(pygame.QUIT))


def test_a_game_that_polls_each_frame_sees_no_wake_events(pair: Pair) -> None:
    pygame.event.clear()
    began = polled = time.monotonic()
    slowest = 0.0
    wakes = 0
    while polled < began + 0.5:
        pair.client.send("x")
        before, polled = polled, time.monotonic()
        pair.server.poll()
        # From the beginning of one poll to the end of the next: no less than what lies between their two looks.
        slowest = max(slowest, time.monotonic() - before)
        wakes += sum(event.type == NETWORK_WAKE for event in pygame.event.get())
        time.sleep(0.005)
    # A machine so busy that a frame took longer has waked it rightly.
    assert wakes == 0 or slowest > 0.03


def test_the_wake_thread_ends_with_its_network(pair: Pair) -> None:
    def wakers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "netplay-wake"]

    before = len(wakers())
    pair.server.poll()
    pair.server.poll()
    assert len(wakers()) == before + 1
    pair.server.close()
    wait_until(lambda: len(wakers()) == before)
    pair.server.poll()
    assert len(wakers()) == before


def test_two_networks_share_the_room_in_the_queue(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pygame, "_MAX_OUTSTANDING", 10)
    pygame.event.clear()
    for number in range(8):
        pair.client.send(number)
        pair.server.send(number)
    arrived(pair.server, 8)
    arrived(pair.client, 8)
    assert pair.server.poll() == 8
    assert pair.client.poll() == 2
    assert pair.client.poll() == 0
    assert len(ours(pygame.event.get())) == 10
    assert pair.client.poll() == 6


def test_poll_without_pygame_says_what_to_do_and_get_needs_none() -> None:
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pygame":
            raise ImportError("no pygame here")
sys.meta_path.insert(0, Blocker())
import netplay
try:
    netplay.poll()
except netplay.PygameMissing as error:
    assert isinstance(error, ImportError)
    print(error)
server = netplay.Network()
netplay.connect(server.listen("play://127.0.0.1:0").url)
netplay.send("hello")
print([str(event.what) for event in server.get(5) + server.get(5)][:2])
assert "pygame" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == "poll() needs pygame, which cannot be imported: pip install pygame-ce, or call get() instead"
    assert second.startswith("['NETWORK_CONNECTED'")


def test_importing_netplay_imports_no_pygame_and_starts_no_thread() -> None:
    code = """
import sys, threading, netplay, os
assert "pygame" not in sys.modules
assert threading.active_count() == 1
if os.path.exists("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) == 1
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True, env={**os.environ})
