# ruff: noqa: D103 (the names of tests are their sentences)
"""The examples as a player starts them, under SDL's dummy driver: nothing to see, but all drawn and all sent."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pygame
import pytest

import netplay as net
from netplay.examples import _game, chat, chats, meet
from netplay.examples._autoplay import DIALOGUE

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONUNBUFFERED": "1"}


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs an example to its end."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, env=ENV, capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False
    )


def free_port() -> int:
    """A UDP port that nobody uses just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def wait_until_somebody_listens(port: int) -> None:
    """Knocks at a UDP port until nobody refuses."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))
            for _ in range(2):  # the answer to the first knock is an error at the second
                probe.send(b"anybody there?")
                time.sleep(0.1)
            return


def test_the_list_names_every_example() -> None:
    printed = run("netplay.examples").stdout
    for name in ("hello", "chat", "chats", "comets", "demo", "gamepad", "lines", "meadow", "meet"):
        assert re.search(rf"^  {name} +\w", printed, re.MULTILINE), printed


def test_hello_started_twice_says_hello_both_ways() -> None:
    port = free_port()
    command = [sys.executable, "-m", "netplay.examples.hello", f"play://localhost:{port}"]
    with Running(command) as first:
        wait_until_somebody_listens(port)
        with Running(command) as second:
            assert first.wait_for("says") == "the second window says: hello network."
            assert second.wait_for("says") == "the first window says: hello network."


def test_the_game_in_the_readme_runs_as_it_stands_there(tmp_path: Path) -> None:
    port = free_port()
    url = f"play://localhost:{port}"
    code = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert "play://localhost:5000" in code
    game = tmp_path / "game.py"
    game.write_text(code.replace("play://localhost:5000", url), encoding="utf-8")
    with Running([sys.executable, "-m", "netplay.examples.hello", url]):
        wait_until_somebody_listens(port)
        with Running([sys.executable, str(game)]) as program:
            assert program.wait_for("says") == "the first window says: hello network."


class Running(chats.Reader):
    """A program that runs as long as the block."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        super().__init__(self.process)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)

    def wait_for(self, word: str) -> str:
        """Returns the first line with this word, or says what was printed instead."""
        deadline = time.monotonic() + 20
        is_over = False
        while time.monotonic() < deadline and not is_over:
            is_over = not self.thread.is_alive()  # asked first, so that the last line is looked at too
            for line in list(self.lines):
                if word in line:
                    return line
            time.sleep(0.05)
        return f"no line with {word!r} among {self.lines}"


def test_the_demo_begins_with_two_programs_that_find_each_other(tmp_path: Path) -> None:
    result = run("netplay.examples.demo", "--headless", "--picture", str(tmp_path / "demo.png"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^  by name  'hello from process \d+' after \d+ ms \(udp\)$", result.stdout, re.M), result.stdout
    assert re.search(r"^  by code  'hello from process \d+' after \d+ ms \(p2p, ", result.stdout, re.M), result.stdout
    assert result.stdout.index("by code") < result.stdout.index("deaths")
    assert (tmp_path / "demo.png").exists()


def test_where_nobody_can_be_found_it_is_said_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meet, "PATIENCE", 4.0)
    monkeypatch.setattr(net.Network, "connect", missing)
    meet.main([])
    assert "it did not work here: there is no network" in capfd.readouterr().out


def missing(*_: object, **_options: object) -> net.Peer:
    raise net.NetworkFailed("there is no network")


def test_two_chats_without_a_screen_bring_every_line_through(tmp_path: Path) -> None:
    picture = tmp_path / "chats.png"
    result = run("netplay.examples.chats", "--headless", "--picture", str(picture))
    assert result.returncode == 0, result.stdout + result.stderr
    for line in DIALOGUE:
        assert result.stdout.count(f": {line}\n") == 3, result.stdout
    image = pygame.image.load(picture)
    assert image.get_size() == (2 * chat.WIDTH + 3 * chats.GAP, chat.HEIGHT + 2 * chats.GAP)


def test_a_chat_with_nobody_to_answer_says_so_and_goes_on(tmp_path: Path) -> None:
    picture = tmp_path / "alone.png"
    url = f"play://127.0.0.1:{free_port()}"
    result = run("netplay.examples.chat", url, "--headless", "--seconds", "2", "--picture", str(picture))
    assert result.returncode == 0, result.stderr
    assert picture.exists()


class Deaf(chat.Chat):
    """A chat with no network behind it."""


def test_what_is_typed_is_said_when_enter_is_pressed() -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame.display.init()
    pygame.font.init()
    deaf = Deaf("Ada")
    window = chat.Window(deaf)
    for text in ("h", "i", "!", "?"):
        window.handle(pygame.event.Event(pygame.TEXTINPUT, text=text))
    window.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_BACKSPACE))
    window.draw()
    window.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RETURN))
    assert [(line.who, line.text, line.is_mine) for line in deaf.lines] == [("Ada", "hi!", True)]
    window.handle(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RETURN))
    assert len(deaf.lines) == 1, "an empty line is not said"
    window.draw()
    pygame.display.quit()


def test_long_words_and_long_lines_stay_in_their_bubble() -> None:
    pygame.font.init()
    for text in ("a" * 300, "word " * 60, "", "ä€" * 50):
        rows = chat.wrap(text)
        assert "".join(rows).replace(" ", "") == text.replace(" ", "")
        assert all(_game.write(row, 23, _game.BRIGHT).get_width() <= chat.WIDTH * 2 // 3 for row in rows)


def test_scrolling_stops_at_the_first_line() -> None:
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    pygame.display.init()
    pygame.font.init()
    deaf = Deaf("Ada")
    window = chat.Window(deaf)
    for i in range(30):
        deaf.add("Bob" if i % 2 else "", f"line {i}")
    for _ in range(100):
        window.handle(pygame.event.Event(pygame.MOUSEWHEEL, y=1))
        window.draw()
    at_the_top = window.scroll
    window.handle(pygame.event.Event(pygame.MOUSEWHEEL, y=1))
    window.draw()
    assert 100 < at_the_top == window.scroll < 2000
    pygame.display.quit()
