# ruff: noqa: D103, F811 (the names of tests are their sentences; fixtures are imported, and then arguments)
"""The examples in real windows on a virtual screen. The pictures stay in out/, for a person to look at."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pygame
import pytest
from screens import Screen, ctrl_c, screen  # noqa: F401

from netplay.examples import _comets_picture, _game, chat, chats

ROOT = Path(__file__).parents[2]
LEFT = pygame.Rect(*chats.POSITIONS[0], chat.WIDTH, chat.HEIGHT)
ARRIVED = "Every line has arrived everywhere."
RIGHT = pygame.Rect(*chats.POSITIONS[1], chat.WIDTH, chat.HEIGHT)


def count(picture: pygame.Surface, area: pygame.Rect, color: str) -> int:
    """How many pixels of an area have this colour."""
    return pygame.mask.from_threshold(picture.subsurface(area), pygame.Color(color), (6, 6, 6, 255)).count()


def shows(picture: pygame.Surface, area: pygame.Rect, own: str, other: str) -> bool:
    """Whether a window shows both sides of a conversation, with the other one's name and face beside the lines."""
    beside = pygame.Rect(area.x, area.y + chat.HEADER, area.width // 2, area.height - chat.HEADER - chat.FOOTER)
    return (
        count(picture, area, chat.MINE) > 5000
        and count(picture, area, chat.BUBBLE) > 5000
        and count(picture, beside, _game.color_of(other)) > 1500
        and count(picture, beside, _game.color_of(own)) < 100
    )


@pytest.mark.usefixtures("ctrl_c")
def test_two_real_windows_show_what_the_other_one_says(screen: Screen, tmp_path: Path) -> None:
    env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
    command = [sys.executable, "-m", "netplay.examples.chats", "--autoplay", "--picture", str(tmp_path / "chats.png")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    reader = chats.Reader(process)
    try:
        deadline = time.monotonic() + 45
        while ARRIVED not in reader.lines and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # the last line still slides in
        picture = screen.picture()
        (ROOT / "out").mkdir(exist_ok=True)
        pygame.image.save(picture, ROOT / "out" / "windows.png")
        assert ARRIVED in reader.lines
        assert shows(picture, LEFT, "Ada", "Bob"), "the left window, see out/windows.png"
        assert shows(picture, RIGHT, "Bob", "Ada"), "the right window, see out/windows.png"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        reader.thread.join(10)
    assert process.returncode == 0, reader.lines
    assert (tmp_path / "chats.png").exists(), reader.lines


class Window:
    """A program with a window of its own on the screen."""

    def __init__(self, screen: Screen, *command: str) -> None:
        env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**env, "SDL_VIDEO_WINDOW_POS": "0,0"},
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.reader = chats.Reader(self.process)

    def close(self) -> int:
        """Asks it to leave; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self.reader.thread.join(10)
        return code


def looks_as(screen: Screen, is_right: Callable[[pygame.Surface], bool], name: str) -> bool:
    """Waits until the screen looks as it should, and keeps a picture of it in out/."""
    deadline = time.monotonic() + 30
    while True:
        picture = screen.picture()
        is_done = is_right(picture)
        if is_done or time.monotonic() > deadline:
            (ROOT / "out").mkdir(exist_ok=True)
            pygame.image.save(picture, ROOT / "out" / f"{name}.png")
            return is_done
        time.sleep(0.2)


@pytest.mark.usefixtures("ctrl_c")
def test_the_menu_of_comets_stands_in_a_real_window(screen: Screen) -> None:
    window = Window(screen, "netplay.examples.comets", "--name", "Ada")
    area = pygame.Rect(270, 168, 420, 300)
    try:
        assert looks_as(screen, lambda picture: count(picture, area, _game.PANEL) > 20_000, "comets-menu")
        assert count(screen.picture(), area, _game.PLAYER_COLORS[0]) > 500, "one row has the focus"
    finally:
        window.close()


@pytest.mark.usefixtures("ctrl_c")
def test_comets_with_the_net_graph_stands_in_a_real_window(screen: Screen) -> None:
    window = Window(screen, "netplay.examples.demo", "--autoplay", "--picture", "out/comets-leaving.png")
    try:
        graph = pygame.Rect(20, 60, 228, 46)
        assert looks_as(screen, lambda picture: count(picture, graph, "#59d0e8") > 200, "comets-window")
        everything = pygame.Rect((0, 0), _comets_picture.SIZE)
        assert looks_as(screen, lambda picture: count(picture, everything, _game.GOOD) > 150, "comets-window")
    finally:
        window.close()


@pytest.mark.usefixtures("ctrl_c")
def test_four_players_stand_side_by_side_each_with_a_network_of_its_own(screen: Screen) -> None:
    words = ["--players", "4", "--lag-ms", "20,120", "--loss-pct", "5", "--", "--autoplay", "--graph"]
    window = Window(screen, "netplay", "play", "comets", *words)
    spots = [pygame.Rect(x + 20, y + 30 + 60, 228, 46) for x in (0, 960) for y in (0, 555)]
    try:
        assert looks_as(
            screen, lambda picture: all(count(picture, spot, "#59d0e8") > 100 for spot in spots), "play-windows"
        )
    finally:
        assert window.close() == 0, window.reader.lines
