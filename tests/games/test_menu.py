# ruff: noqa: D103 (the names of tests are their sentences)
"""The command line and the menu that the games share."""

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import time

import pygame
import pytest

import netplay as net
from netplay.examples import _game, comets, lines
from netplay.examples._comets_messages import VERSION
from netplay.examples._game import Menu, Row, Search

SIZE = (960, 540)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> pygame.Surface:
    """Returns a window that nobody sees."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.init()
    return pygame.display.set_mode(SIZE)


def parsed(*words: str) -> argparse.Namespace:
    return _game.parse(_game.command_line("A game."), list(words))


def press(menu: Menu, screen: pygame.Surface, *keys: int) -> Row | None:
    chosen = None
    for key in keys:
        chosen = menu.handle(pygame.event.Event(pygame.KEYDOWN, key=key), screen) or chosen
    return chosen


def write(menu: Menu, screen: pygame.Surface, text: str) -> None:
    for letter in text:
        menu.handle(pygame.event.Event(pygame.TEXTINPUT, text=letter), screen)


def test_the_command_line_says_what_to_do_or_leaves_it_to_the_menu() -> None:
    assert parsed().mode == ""
    assert (parsed("--serve").mode, parsed("--serve").url) == ("host", "play://*:5000")
    assert (parsed("play://ada.example").mode, parsed("--autoplay").mode) == ("join", "alone")
    alone = parsed("local://me?lag_ms=150")
    assert (alone.mode, alone.url) == ("alone", "local://me?lag_ms=150")
    assert (parsed("CDFG-2345").mode, parsed("CDFG-2345").url) == ("join", "room://CDFG-2345")
    assert not parsed("--serve").room
    assert parsed("--seed", "7").name == parsed("--seed", "7").name


def test_a_headless_game_opens_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("SDL_AUDIODRIVER", raising=False)
    assert parsed("--headless").mode == "alone"
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"


def test_arrows_and_enter_choose(screen: pygame.Surface) -> None:
    menu, args = Menu("A game", "fun", "keys"), parsed()
    row = press(menu, screen, pygame.K_RETURN)
    assert row
    assert row.mode == "alone"
    row = press(menu, screen, pygame.K_DOWN, pygame.K_RETURN)
    assert row
    assert (row.mode, menu.url_of(row, args)) == ("host", "play://*:5000")
    assert press(menu, screen, pygame.K_UP, pygame.K_UP, pygame.K_RETURN) is None, "from the name, Enter goes on"
    assert menu.focus == 1


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("", "play://localhost:5000"),
        ("192.168.1.20", "play://192.168.1.20:5000"),
        (" ada.example:6000 ", "play://ada.example:6000"),
        ("play+tcp://ada.example?lag_ms=80", "play+tcp://ada.example?lag_ms=80"),
    ],
)
def test_what_is_typed_becomes_a_url(screen: pygame.Surface, typed: str, url: str) -> None:
    menu = Menu("A game", "fun", "keys")
    press(menu, screen, pygame.K_DOWN, pygame.K_DOWN, pygame.K_DOWN)
    write(menu, screen, "x")
    press(menu, screen, pygame.K_BACKSPACE)
    write(menu, screen, typed)
    menu.draw(screen)
    row = press(menu, screen, pygame.K_RETURN)
    assert row
    assert (row.mode, menu.url_of(row, parsed())) == ("join", url)


def test_a_code_is_typed_or_pasted_and_no_code_is_no_choice(
    screen: pygame.Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    menu, args = Menu("A game", "fun", "keys"), parsed()
    menu.focus = 3
    assert press(menu, screen, pygame.K_RETURN) is None
    menu.focus = 3
    for typed, url in (("cdfg 2345", "room://cdfg 2345"), ("room://CDFG-2345?app=x", "room://CDFG-2345?app=x")):
        monkeypatch.setattr(_game, "copied", lambda typed=typed: typed)
        menu.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_v, mod=pygame.KMOD_LCTRL), screen)
        menu.draw(screen)
        row = press(menu, screen, pygame.K_RETURN)
        assert row
        assert (row.mode, menu.url_of(row, args)) == ("join", url)
        press(menu, screen, *[pygame.K_BACKSPACE] * 30)


@pytest.mark.usefixtures("screen")
def test_where_there_is_no_clipboard_nothing_happens() -> None:
    _game.copy("CDFG-2345")
    assert _game.copied() in ("CDFG-2345", "")


def test_the_mouse_chooses_and_found_games_have_their_place(screen: pygame.Surface) -> None:
    menu = Menu("A game", "fun", "keys")
    menu.show_found([(f"game {i}", f"play://192.168.1.{i}:5000") for i in range(9)])
    menu.draw(screen)
    assert len(menu.rows) == 10
    places = [menu.place(i, screen) for i in range(10)]
    assert all(screen.get_rect().inflate(0, -80).contains(place) for place in places)
    assert not any(a.colliderect(b) for a, b in itertools.combinations(places, 2))
    click = pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=menu.place(6, screen).center, button=1)
    row = menu.handle(click, screen)
    assert row
    assert menu.url_of(row, parsed()) == "play://192.168.1.1:5000"
    menu.show_found([])
    assert len(menu.rows) == 5


class Found:
    """A game as `find()` finds it."""

    url = "play://192.168.1.7:5000"

    def __str__(self) -> str:
        return "Ada's comets (2/16 on ada-laptop)"


class Finder:
    """What `find()` returns."""

    def __init__(self) -> None:
        self.games = [Found()]
        self.is_open = True

    def close(self) -> None:
        """Is closed."""
        self.is_open = False


def test_games_on_the_local_network_are_in_the_menu(screen: pygame.Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = Finder()
    monkeypatch.setattr(net, "find", {"comets": finder}.get)
    menu, args = Menu("Comets", "fun", "keys"), parsed("--name", "Ada")
    pygame.event.clear()
    for key in (pygame.K_UP, pygame.K_UP, pygame.K_RETURN):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
    menu.show_found([("Ada's comets", Found.url)])
    assert menu.run(screen, args)
    assert (args.mode, args.url) == ("join", Found.url)
    assert not finder.is_open


def test_running_it_puts_the_choice_into_the_arguments(screen: pygame.Surface) -> None:
    menu, args = Menu("Game", "fun", "keys"), parsed("--name", "Ada")
    pygame.event.clear()
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RETURN))
    assert menu.run(screen, args)
    assert (args.mode, args.url, args.name, menu.was_used) == ("alone", "local://game", "Ada", True)
    args.mode = ""
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not menu.run(screen, args)


def notice_after(args: argparse.Namespace) -> str:
    """Plays comets, and returns why it ended."""
    menu, args.graph = comets.make_menu(), False
    _game.run(args, menu, SIZE, comets.play)
    return menu.notice


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize(
    "url", ["nonsense", "gopher://ada", "play://ada:70000", "play://ada?lag_ms=much", "local://?%"]
)
def test_an_address_that_is_none_brings_back_to_the_menu_with_the_reason(url: str) -> None:
    args = parsed("play://localhost")
    args.url = url
    assert notice_after(args)


@pytest.mark.usefixtures("screen")
def test_a_port_that_is_taken_brings_back_to_the_menu_with_the_reason() -> None:
    with net.Network() as other:
        listener = other.listen("play://127.0.0.1:0")
        assert listener.url.rpartition(":")[2] in notice_after(parsed("--serve", listener.url))


@pytest.mark.usefixtures("screen")
def test_who_calls_the_server_of_another_game_is_told_so() -> None:
    with net.Network() as other:
        url = other.listen("play://127.0.0.1:0", version=lines.VERSION).url
        assert "wrong version" in notice_after(parsed(url))


@pytest.mark.parametrize("game", ["comets", "lines", "meadow"])
def test_a_server_without_a_window_says_in_a_line_that_its_port_is_taken(game: str) -> None:
    with net.Network() as other:
        url = other.listen("play://127.0.0.1:0").url
        command = [sys.executable, "-m", f"netplay.examples.{game}", "--serve", "--headless", url]
        result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=30, check=False)
    assert result.returncode == 1
    assert url.rpartition(":")[2] in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_a_game_that_is_hosted_on_this_machine_is_seen_and_joined(screen: pygame.Surface) -> None:
    args = parsed("--name", "Ada")
    args.mode, args.url = "host", "play://127.0.0.1:0"
    hosted = comets.Hosted(args)
    with Search("comets") as search, contextlib.closing(hosted.network):
        deadline = time.monotonic() + 5
        port = hosted.address.rpartition(":")[2]  # others on this machine may play, too
        found: list[tuple[str, str]] = []
        while not found and time.monotonic() < deadline:
            hosted.update(0.05)
            found = [game for game in search.games() if f":{port}#" in game[1]]
        [(label, url)] = found
        assert label.startswith("Ada (0/16 on ")
        with net.Network() as guest:
            peer = guest.connect(url, name="Bob", version=VERSION)
            while peer.state == "connecting" and time.monotonic() < deadline:
                hosted.update(0.05)
                guest.get()
            assert peer.state == "connected"
