"""A virtual screen to open real windows on, looked at through its own memory.

Xvfb (Debian's package `xvfb`) keeps its screen in a file if asked to, as an X window dump: no further tool is needed.
"""

import os
import select
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pygame
import pytest


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
            "1920x1110x24",
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
