# ruff: noqa: D103 (the names of tests are their sentences)
"""The games by the code of a room: with processes of their own, and through a relay on loopback."""

import argparse
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import pygame
import pytest
from test_examples import Running

import netplay as net
from netplay.examples import _friends, _game, comets, lines, meadow
from netplay.examples._comets_messages import VERSION

SIZE = (960, 540)
NOBODY = "http://127.0.0.1:9"  # a relay that is not there
EXAMPLE = [sys.executable, "-m"]


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    """Returns the URL of a relay of our own: no other is ever asked."""
    with Running([*EXAMPLE, "netplay", "relay", "--host", "127.0.0.1", "--port", "0"]) as program:
        yield program.wait_for("relay=").partition("relay=")[2]


@pytest.fixture
def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(_friends, "PATIENCE", 1.5)
    pygame.init()


def parsed(*words: str) -> argparse.Namespace:
    return _game.parse(_game.command_line("A game."), ["--headless", *words])


def notice_after(args: argparse.Namespace, game: ModuleType = comets) -> str:
    """Plays a game, and returns why it ended."""
    args.graph, args.size = False, 0
    menu = _game.Menu("A game", "fun", "keys")
    _game.run(args, menu, SIZE, game.play)
    return menu.notice


def code_of(host: Running) -> str:
    found = re.fullmatch(r"friends join by the code (\S+)", host.wait_for("code"))
    assert found, host.lines
    return found[1]


def test_comets_is_joined_by_a_code_and_ends_with_a_word_when_the_host_goes(relay: str) -> None:
    words = ["--headless", "--bots", "1", "--relay", relay]
    host = [*EXAMPLE, "netplay.examples.comets", "--serve", "play://127.0.0.1:0", "--room", *words]
    with Running([*host, "--seconds", "8"]) as server:
        guest = [*EXAMPLE, "netplay.examples.comets", code_of(server).lower(), "--name", "Bob", "--autoplay", *words]
        with Running(guest) as player:
            assert player.wait_for("host") == "The host has left."
            names = re.findall(r"^(Bob|bot \w+) +\d+ +\d+$", "\n".join(player.lines), re.M)
            assert len(names) == 2, player.lines
            assert player.process.wait(10) == 0


@pytest.mark.parametrize("name", ["lines", "meadow"])
def test_lines_and_meadow_are_joined_by_a_code(name: str, relay: str) -> None:
    command = [*EXAMPLE, f"netplay.examples.{name}", "--headless", "--relay", relay]
    with (
        Running([*command, "--serve", "play://127.0.0.1:0", "--room", "--seconds", "6"]) as server,
        Running([*command, code_of(server), "--name", "Bob", "--autoplay", "--bots", "0"]) as player,
    ):
        assert player.wait_for("host") == "The host has left."
        assert player.process.wait(10) == 0


@pytest.mark.usefixtures("_no_window")
@pytest.mark.parametrize("game", [comets, lines, meadow])
def test_a_code_that_is_none_is_said_at_once(game: ModuleType, relay: str) -> None:
    assert "7 characters" in notice_after(parsed("CDFG-234", "--relay", relay), game)
    assert "'O' is in no code" in notice_after(parsed("OOOO-2345", "--relay", relay), game)


@pytest.mark.usefixtures("_no_window")
def test_a_wrong_code_and_a_relay_that_is_not_there_are_said_in_time_by_a_window_that_lives(
    relay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[float] = []
    monkeypatch.setattr(pygame.display, "flip", lambda: frames.append(time.monotonic()))
    unreachable = f"no answer: the relay {NOBODY} cannot be reached"
    for url, words in ((relay, _friends.PLAIN["no room"]), (NOBODY, unreachable)):
        frames.clear()
        began = time.monotonic()
        assert notice_after(parsed("CDFG-2345", "--relay", url)) == words
        assert time.monotonic() - began < _friends.PATIENCE + 5
        assert len(frames) > 20
        assert max(b - a for a, b in itertools.pairwise(frames)) < 0.5


def until(is_true: Callable[[], object], *networks: net.Network) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        for network in networks:
            network.get(0.01)


@pytest.mark.usefixtures("_no_window")
def test_a_full_room_and_another_version_are_said(relay: str) -> None:
    with net.Network() as host, net.Network() as guest:
        room = host.host_room("comets", version=VERSION, max_peers=2, topology="star", relay=relay)
        until(lambda: room.state == "open", host)
        joined = guest.join_room(room.url, version=VERSION)
        until(lambda: joined.host, host, guest)
        assert notice_after(parsed(room.url)) == _friends.PLAIN["full"]
    with net.Network() as host:
        room = host.host_room("comets", version="an old one", topology="star", relay=relay)
        until(lambda: room.state == "open", host)
        assert "an old one" in notice_after(parsed(room.code, "--relay", relay))


@pytest.mark.usefixtures("_no_window")
def test_escape_while_the_room_is_looked_for_goes_back_without_a_word() -> None:
    args = parsed("CDFG-2345", "--relay", NOBODY)
    screen = _game.open_window(args, "comets", SIZE)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
    assert comets.play(screen, args) == ""
    assert not args.is_over


@pytest.mark.usefixtures("_no_window")
def test_the_code_is_large_until_somebody_has_come_and_c_copies_it(relay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    def copy(text: str) -> bool:
        copied.append(text)
        return True

    monkeypatch.setattr(_friends, "copy", copy)
    args = parsed("--serve", "--room", "--relay", relay)
    screen, invitation = _game.open_window(args, "comets", SIZE), _friends.Invitation()

    def large() -> int:
        screen.fill(_game.NIGHT)
        invitation.draw(screen, (480, 52))
        return pygame.mask.from_threshold(screen, pygame.Color(_game.GOOD), (6, 6, 6, 255)).count()

    invitation.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_c))
    assert (large(), copied) == (0, []), "there is no room"
    with net.Network() as host, net.Network() as guest:
        invitation.open(host, args, "comets", VERSION, 4)
        room = invitation.room
        assert room
        until(lambda: room.state == "open", host)
        assert large() > 800
        invitation.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_c))
        assert copied == [room.code]
        guest.join_room(room.url, version=VERSION)
        until(lambda: room.members, host, guest)
        assert large() == 0


@pytest.mark.usefixtures("_no_window")
def test_another_guest_of_the_room_is_not_believed(relay: str) -> None:
    with net.Network() as host, net.Network() as liar:
        room = host.host_room("lines", version=lines.VERSION, topology="star", relay=relay)
        until(lambda: room.state == "open", host)
        lying = liar.join_room(room.url, version=lines.VERSION)
        until(lambda: lying.host, host, liar)
        lies = threading.Event()

        def lie() -> None:
            while not lies.wait(0.02):
                host.get()
                for e in liar.get():
                    if e.what == net.NETWORK_JOINED and e.peer is not lying.host:
                        e.peer.send("You have lost.", lines.CHANNEL_NO)
                        e.peer.send({"table": {"nonsense": 1}}, lines.CHANNEL_TABLE)

        thread = threading.Thread(target=lie)
        thread.start()
        try:
            assert notice_after(parsed(room.url, "--seconds", "4"), lines) == ""
        finally:
            lies.set()
            thread.join()
