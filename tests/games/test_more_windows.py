# ruff: noqa: D103, F811 (the names of tests are their sentences; fixtures are imported, and then arguments)
"""Lines, meadow and rooms in real windows on a virtual screen, from the menu into the game and back.

Somebody at the keyboard is a thread in the game's own process, which puts keys and clicks into pygame's queue. The
pictures stay in out/, for a person to look at.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pygame
import pytest
from screens import Screen, screen  # noqa: F401
from test_friends import relay  # noqa: F401

from netplay.examples import _game, _lines_window, _meadow_window, chats
from netplay.examples._lines_rules import HALF

ROOT = Path(__file__).parents[2]
WINDOW = pygame.Rect(0, 0, _lines_window.WIDTH, _lines_window.HEIGHT)
ALONE, HOST, CODE, JOIN = "click 300 256", "click 300 318", "click 300 380", "click 300 442"  # in the menu

# Does what it is told by the lines that come in: "key" and a name, "paste", "click" and a place. Hosts on a free port.
PLAYER = """
import importlib, sys, threading, pygame
import netplay.examples._game as shared
def parse(*words):
    args = known(*words)
    args.port = 0 if args.relay else args.port
    return args
known, shared.parse = shared.parse, parse
def play():
    for line in sys.stdin:
        what, *words = line.split()
        if what == "key":
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=getattr(pygame, words[0]), unicode="", mod=0))
        elif what == "paste":
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_v, unicode="", mod=pygame.KMOD_CTRL))
        else:
            pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=tuple(map(int, words))))
threading.Thread(target=play, daemon=True).start()
importlib.import_module("netplay.examples." + sys.argv[1]).main(sys.argv[2:])
"""


class Game:
    """A game in a real window, and somebody at its keyboard."""

    def __init__(self, screen: Screen, *words: str, position: str = "0,0") -> None:
        env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
        env["SDL_VIDEO_WINDOW_POS"] = position
        self.screen, self.window = screen, WINDOW.move(*map(int, position.split(",")))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PLAYER, *words],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

        self.reader = chats.Reader(self.process)

    def does(self, *lines: str) -> None:
        """Presses keys and the mouse."""
        assert self.process.stdin
        for line in lines:
            self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def shows(self, is_right: Callable[[pygame.Surface], bool], name: str) -> None:
        """Waits until the screen looks as it should, and keeps a picture of it in out/."""
        deadline = time.monotonic() + 30
        while not is_right(picture := self.screen.picture()) and time.monotonic() < deadline:
            time.sleep(0.2)
        (ROOT / "out").mkdir(exist_ok=True)
        pygame.image.save(picture.subsurface(self.window), ROOT / "out" / f"{name}.png")
        assert is_right(picture), f"see out/{name}.png"


@contextmanager
def game(screen: Screen, *words: str, position: str = "0,0") -> Iterator[Game]:
    """A game for as long as the block."""
    one = Game(screen, *words, position=position)
    try:
        yield one
    finally:
        one.process.terminate()
        one.process.wait(20)
        one.reader.thread.join(10)
        if one.process.stdin:
            one.process.stdin.close()


def count(picture: pygame.Surface, area: pygame.Rect, color: str) -> int:
    """How many pixels of an area have this colour."""
    return pygame.mask.from_threshold(picture.subsurface(area), pygame.Color(color), (6, 6, 6, 255)).count()


def has_menu(picture: pygame.Surface) -> bool:
    """Whether the menu stands there: its title, and its rows."""
    title, rows = pygame.Rect(300, 40, 360, 66), pygame.Rect(270, 168, 420, 300)
    return count(picture, title, _game.BRIGHT) > 1500 and count(picture, rows, _game.PANEL) > 20_000


def click(line: int) -> str:
    """What the mouse does to draw a line."""
    x, y = _lines_window.start_of(line)
    return f"click {x + 46} {y}" if line < HALF else f"click {x} {y + 46}"


def test_lines_is_played_from_the_menu_into_a_game_and_back(screen: Screen) -> None:
    with game(screen, "lines", "--name", "Ada", "--bots", "3") as one:
        one.shows(has_menu, "lines-menu")
        one.does(ALONE)
        one.shows(lambda picture: count(picture, WINDOW, _game.GOOD) > 5000, "lines-gathering")
        one.does("key K_SPACE")
        one.shows(lambda picture: count(picture, WINDOW, _game.GOOD) < 5000, "lines-begun")
        board = pygame.Rect(40, 80, 520, 520)
        own, other = _game.PLAYER_COLORS[:2]
        for line in range(2 * HALF):  # until it is our turn, each is refused, and says so
            one.does(click(line))
            time.sleep(0.03)
        one.shows(lambda picture: count(picture, board, own) > 400, "lines-own")
        one.shows(lambda picture: count(picture, board, other) > 400, "lines-playing")
        one.does("key K_ESCAPE")
        one.shows(has_menu, "lines-menu-again")


def test_two_windows_of_lines_on_one_screen_play_with_each_other(screen: Screen) -> None:
    with game(screen, "lines", "--serve", "play://127.0.0.1:0", "--name", "Ada", "--autoplay", "--bots", "1") as host:
        host.shows(lambda picture: count(picture, WINDOW, _game.PLAYER_COLORS[1]) > 2000, "lines-host")
        host.shows(lambda picture: count(picture, WINDOW, _game.PLAYER_COLORS[0]) > 4000, "lines-host")


def test_meadow_is_played_from_the_menu_into_a_crowd_and_back(screen: Screen) -> None:
    with game(screen, "meadow", "--name", "Ada", "--bots", "150") as one:
        one.shows(has_menu, "meadow-menu")
        one.does(ALONE)
        one.shows(lambda picture: count(picture, _meadow_window.PANEL, _game.BAD) > 2000, "meadow-window")
        one.does("key K_g", "key K_TAB")
        one.shows(lambda picture: count(picture, WINDOW, _meadow_window.GRID) > 500, "meadow-grid")
        assert count(one.screen.picture(), _meadow_window.PANEL, _game.BAD) < 2000
        one.does("key K_ESCAPE")
        one.shows(has_menu, "meadow-menu-again")


@pytest.mark.parametrize("name", ["lines", "meadow"])
def test_a_server_that_is_not_there_is_said_in_the_menu(screen: Screen, name: str) -> None:
    with game(screen, name, "--name", "Ada") as one:
        one.shows(has_menu, f"{name}-menu")
        one.does(JOIN, "key K_RETURN")
        one.shows(lambda picture: not has_menu(picture), f"{name}-calling")
        words = pygame.Rect(200, WINDOW.bottom - 50, 560, 44)
        one.shows(lambda picture: has_menu(picture) and count(picture, words, _game.WARN) > 100, f"{name}-not-there")


def test_the_code_that_one_window_shows_is_copied_into_the_menu_of_another(screen: Screen, relay: str) -> None:
    words = ["comets", "--relay", relay, "--bots", "2"]
    beside = WINDOW.move(960, 0)
    sign = pygame.Rect(300, 10, 360, 90)
    with (
        game(screen, *words, "--name", "Ada") as host,
        game(screen, *words, "--name", "Bob", position="960,0") as guest,
    ):
        host.shows(has_menu, "room-menu")
        host.does(HOST)
        host.shows(lambda picture: count(picture, sign, _game.GOOD) > 800, "room-code")
        host.does("key K_c")
        guest.shows(lambda picture: has_menu(picture.subsurface(beside)), "room-guest-menu")
        guest.does(CODE, "paste")
        field = pygame.Rect(960 + 208, 360, 250, 40)
        guest.shows(lambda picture: count(picture, field, _game.BRIGHT) > 45, "room-typed")
        guest.does("key K_RETURN")
        host.shows(lambda picture: count(picture, sign, _game.GOOD) < 100, "room-host-met")
        ping = pygame.Rect(960, 0, 960, 540)
        guest.shows(lambda picture: count(picture, ping, _game.GOOD) > 150, "room-guest-plays")
        host.does("key K_ESCAPE")
        words_of_the_menu = pygame.Rect(960 + 200, 490, 560, 44)
        guest.shows(
            lambda picture: (
                has_menu(picture.subsurface(beside)) and count(picture, words_of_the_menu, _game.WARN) > 100
            ),
            "room-host-left",
        )
        assert "The host has left." in guest.reader.lines
