# ruff: noqa: D103 (the names of tests are their sentences)
"""`python -m netplay play`, with an example, with a script that knows nothing of it, and with mistakes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netplay import _play
from netplay.examples import chats

ENV = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONUNBUFFERED": "1"}

PLAYERS = ("player 1", "player 2")

SERVER = """
import netplay as net
net.listen("play://127.0.0.1:5999", name="a server of one's own")
while True:
    for e in net.get(0.1):
        if e.what == net.NETWORK_DATA_IN:
            net.send(e.data.upper(), to=e.peer)
"""

CLIENT = """
import sys, time
import pygame
import netplay as net
pygame.init()
pygame.display.set_mode((200, 100))
net.connect("play://127.0.0.1:5999")
start = time.monotonic()
while time.monotonic() < start + 20:
    net.poll()
    for e in pygame.event.get():
        if e.type == pygame.QUIT:
            sys.exit()
        if e.type == net.NETWORK and e.what == net.NETWORK_CONNECTED:
            net.send("hello")
        if e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN:
            print(pygame.display.get_caption()[0], "|", e.data, sys.argv[1:], f"{e.peer.rtt * 1000:.0f} ms")
            sys.exit()
    time.sleep(0.01)
sys.exit("nothing came")
"""


def run(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs `python -m netplay` to its end."""
    command = [sys.executable, "-m", "netplay", *words]
    return subprocess.run(
        command, env=ENV, capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False
    )


def test_a_game_of_ones_own_with_its_url_inside_plays_on_four_bad_networks(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "client.py").write_text(CLIENT)
    words = ["--players", "4", "--lag-ms", "20,60", "--loss-pct", "5", "--server", str(tmp_path / "server.py")]
    result = run("play", str(tmp_path / "client.py"), *words, "--", "--easy")
    assert result.returncode == 0, result.stdout + result.stderr
    for i, lag in enumerate([20, 60, 20, 60], start=1):
        line = next(line for line in result.stdout.splitlines() if line.startswith(f"player {i} | player"))
        assert re.search(rf"\| player {i} · {lag} ms each way, 5 % lost \| HELLO \[.*'--easy'\]", line), line
        ping = int(line.split()[-2])
        assert 2 * lag - 5 <= ping < 2 * lag + 100, line


def test_two_players_of_comets_meet_and_their_windows_are_closed_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netplay", "play", "comets", "--lag-ms", "40", "--loss-pct", "5", "--"]
    process = subprocess.Popen(
        [*command, "--headless", "--autoplay", "--seconds", "4"],
        env=ENV,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    reader = chats.Reader(process)
    assert process.wait(60) == 0, reader.lines
    reader.thread.join(10)
    people = [re.findall(rf"{player} \| \w+ +\d+ +\d+$", "\n".join(reader.lines), re.M) for player in PLAYERS]
    assert max(map(len, people)) == 2, reader.lines  # besides the bots; whoever left last is alone in the table
    assert min(map(len, people)) >= 1, reader.lines


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
time.sleep(100)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are counted in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
@pytest.mark.parametrize("game", ["comets", "one that will not go"])
def test_however_it_is_ended_nobody_stays_behind(name: str, game: str, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    # Where these tests were started in the background, both may be ignored, which a child inherits.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        words = [game, "--players", "2"] if game == "comets" else [str(tmp_path / "stubborn.py")]
        process = subprocess.Popen(
            [sys.executable, "-m", "netplay", "play", *words, "--", "--headless", "--autoplay"],
            env=ENV,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    reader = chats.Reader(process)
    until = time.monotonic() + 30
    awaited = 1 if game == "comets" else 3
    children: list[int] = []
    while time.monotonic() < until:
        told = sum("serving" in line or "pid" in line for line in reader.lines)
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        if told >= awaited and len(children) == 3:  # the players come after the server
            break
        time.sleep(0.05)
    else:
        process.kill()
    assert len(children) == 3, reader.lines
    process.send_signal(getattr(signal, name))
    assert process.wait(20) == (-signal.SIGKILL if name == "SIGKILL" else 0), reader.lines
    until = time.monotonic() + 10
    while any(is_alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in children if is_alive(pid)], reader.lines
    reader.thread.join(10)
    assert not reader.thread.is_alive(), "somebody still holds the output"


def test_what_cannot_be_is_said() -> None:
    result = run("play", "no_such_game")
    assert result.returncode == 2
    assert "no file, no example and no module 'no_such_game'" in result.stderr
    for word in ("-5", "many", "1,,2"):
        result = run("play", "comets", f"--lag-ms={word}")
        assert result.returncode == 2
        assert "--lag-ms" in result.stderr


def test_a_script_that_cannot_serve_is_told_how_to(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("import sys, time\nif '--serve' in sys.argv: sys.exit(3)\ntime.sleep(20)\n")
    result = run("play", str(tmp_path / "client.py"))
    assert result.returncode == 1
    assert "--server" in result.stderr


def test_titles_and_places() -> None:
    assert _play.title(0, {}) == "player 1 · good network"
    assert _play.title(2, {"lag_ms": 120.0, "jitter_ms": 20.0, "loss_pct": 5.0, "seed": 7}) == (
        "player 3 · 120 ± 20 ms each way, 5 % lost"
    )
    assert len(set(_play.places(4))) == 4
    assert len(_play.places(1)) == 1
