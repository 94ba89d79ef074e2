# ruff: noqa: D103 (the names of tests are their sentences)
"""The demo in real windows on a virtual screen, looked at through the screen's own memory.

Xvfb (Debian's package `xvfb`) keeps its screen in a file if asked to, as an X window dump: no further tool is needed.
The picture stays in out/windows.png, for a person to look at.
"""

import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pygame
import pytest

from netplay.examples import chat, demo, gamepad

ROOT = Path(__file__).parents[2]
LEFT = pygame.Rect(*demo.POSITIONS[0], chat.WIDTH, chat.HEIGHT)
ARRIVED = "Every line has arrived everywhere."
RIGHT = pygame.Rect(*demo.POSITIONS[1], chat.WIDTH, chat.HEIGHT)


class Screen:
    """A virtual screen, with a free number of its own."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "Xvfb_screen0"
        reader, writer = os.pipe()
        command = [
            "Xvfb",
            "-displayfd",
            str(writer),
            "-screen",
            "0",
            "1280x800x24",
            "-fbdir",
            str(directory),
            "-nolisten",
            "tcp",
        ]
        self.process = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            is_ready = select.select([pipe], [], [], 20)[0]
            self.number = pipe.readline().strip() if is_ready else ""
        if not self.number:
            self.close()
            pytest.fail("Xvfb did not start within 20 seconds")

    def picture(self) -> pygame.Surface:
        """What the screen shows now."""
        dump = self.file.read_bytes()
        header = struct.unpack(">25I", dump[:100])
        width, height, bytes_per_line, colors = header[4], header[5], header[12], header[19]
        assert (header[11], bytes_per_line) == (32, width * 4), "a screen of another kind than asked for"
        start = header[0] + colors * 12
        bgra = bytearray(dump[start : start + bytes_per_line * height])
        bgra[3::4] = b"\xff" * (width * height)  # the fourth byte of a pixel means nothing to X
        return pygame.image.frombuffer(bgra, (width, height), "BGRA")

    def close(self) -> None:
        """Switches it off."""
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    """Returns a virtual screen, or skips with the reason; in CI there must be one."""
    if shutil.which("Xvfb") is None:
        reason = "no Xvfb on this machine (Debian: apt install xvfb), so no real windows were opened"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    screen = Screen(tmp_path)
    yield screen
    screen.close()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lets programs hear Ctrl-C even if we were started by a shell's `&`, which makes us and them deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def count(picture: pygame.Surface, area: pygame.Rect, color: str) -> int:
    """How many pixels of an area have this colour."""
    return pygame.mask.from_threshold(picture.subsurface(area), pygame.Color(color), (6, 6, 6, 255)).count()


def shows(picture: pygame.Surface, area: pygame.Rect, own: str, other: str) -> bool:
    """Whether a window shows both sides of a conversation, with the other one's name and face beside the lines."""
    beside = pygame.Rect(area.x, area.y + chat.HEADER, area.width // 2, area.height - chat.HEADER - chat.FOOTER)
    return (
        count(picture, area, chat.MINE) > 5000
        and count(picture, area, chat.BUBBLE) > 5000
        and count(picture, beside, chat.color_of(other)) > 1500
        and count(picture, beside, chat.color_of(own)) < 100
    )


@pytest.mark.usefixtures("ctrl_c")
def test_two_real_windows_show_what_the_other_one_says(screen: Screen, tmp_path: Path) -> None:
    env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
    command = [sys.executable, "-m", "netplay.examples.demo", "--autoplay", "--picture", str(tmp_path / "demo.png")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    reader = demo.Reader(process)
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
    assert (tmp_path / "demo.png").exists(), reader.lines


@pytest.mark.usefixtures("ctrl_c")
def test_a_key_in_one_real_window_moves_a_ship_in_another(screen: Screen) -> None:
    env = {**os.environ, "DISPLAY": f":{screen.number}", "SDL_VIDEODRIVER": "x11", "SDL_AUDIODRIVER": "dummy"}
    big = pygame.Rect(20, 60, *gamepad.SCREEN_SIZE)
    small = pygame.Rect(700, 60, *gamepad.PAD_SIZE)
    color = gamepad.COLORS[1]  # of the first pad
    sky = pygame.Rect(big.x, big.y + gamepad.TOP, big.width, big.height - gamepad.TOP)

    def start(area: pygame.Rect, *arguments: str) -> demo.Reader:
        command = [sys.executable, "-m", "netplay.examples.gamepad", *arguments]
        place = {"SDL_VIDEO_WINDOW_POS": f"{area.x},{area.y}", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env={**env, **place}, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        processes.append(process)
        return demo.Reader(process)

    def wait_for(reader: demo.Reader, word: str) -> str:
        deadline = time.monotonic() + 45
        while time.monotonic() < deadline and reader.thread.is_alive():
            for line in list(reader.lines):
                if word in line:
                    return line
            time.sleep(0.05)
        return f"no line with {word!r} among {reader.lines}"

    processes: list[subprocess.Popen[str]] = []
    try:
        host = start(big, "--serve", "play://127.0.0.1:0", "--seed", "3")
        url = wait_for(host, "serving ").removeprefix("serving ")
        pad = start(small, url, "--name", "Ada", "--autoplay", "--seed", "1")
        assert wait_for(host, "flies") == "Ada flies"
        places: list[tuple[int, int]] = []
        for _ in range(3):
            time.sleep(0.4)
            picture = screen.picture()
            ship = pygame.mask.from_threshold(picture.subsurface(sky), pygame.Color(color), (6, 6, 6, 255))
            assert ship.count() > 300, "a ship of the pad's colour on the screen"
            places.append(ship.centroid())
        assert len(set(places)) == 3, f"the ship moves, but is at {places}"
        assert wait_for(pad, "star ") == "star 1"
        time.sleep(1)  # until the flash has faded
        picture = screen.picture()
        (ROOT / "out").mkdir(exist_ok=True)
        pygame.image.save(picture, ROOT / "out" / "gamepad.png")
        assert count(picture, small, gamepad.GOLD) > 300, "the star on the pad, see out/gamepad.png"
        assert count(picture, small, color) > 1000, "a key held down and the name on the pad, see out/gamepad.png"
        assert count(picture, big, gamepad.GOLD) > 500, "the stars on the screen, see out/gamepad.png"
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
