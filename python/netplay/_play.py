"""`python -m netplay play GAME`: a server and several players of one game, to try it alone while it is being made.

    python -m netplay play comets --players 4 --lag-ms 120 --loss-pct 5
    python -m netplay play my_game.py --lag-ms 20,150             the players in turn
    python -m netplay play my_client.py --server my_server.py     where these are two
    python -m netplay play comets -- --autoplay                   what follows -- is told to each player

The game is started once as `GAME --serve play://127.0.0.1:PORT --headless`, and for each player as `GAME
play://127.0.0.1:PORT`. Nothing in it needs to be changed, and a URL that stands in the game itself is as good:

* In the server's process, the first `listen()` also listens at one port more for each player, each with the bad network
  of that player, so it is bad in both directions.
* In a player's process, `connect()` calls that port whatever URL it was given. The window gets its place on the screen,
  beside the others as far as there is room, and a title that says which player it is and how bad the network.

It runs the game under the names of the package's public functions, and knows nothing of what is below them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

__all__ = ["main"]

_OPTIONS = {"lag_ms": "late by", "jitter_ms": "give or take", "loss_pct": "lost"}
_SERVER_GIVES_UP = 3.0
"""Seconds in which a server that ends is taken for one that did not begin."""


def main(words: list[str]) -> int:
    """Opens the server and the windows, and waits until they are closed. Returns the exit code."""
    words, told = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(
        prog="python -m netplay play", description="A server and several players of one game, each with a bad network."
    )
    parser.add_argument("game", help="the name of an example, a script, or a module")
    parser.add_argument("--players", type=int, default=2, help="how many windows (2)")
    parser.add_argument(
        "--lag-ms", default="0", help="how late everything is, each way; 20,150 for the players in turn"
    )
    parser.add_argument("--jitter-ms", default="0", help="by how much more or less")
    parser.add_argument("--loss-pct", default="0", help="how many of 100 packets are lost")
    parser.add_argument("--seed", type=int, default=7, help="makes the same losses every time")
    parser.add_argument(
        "--server", help="a script with its arguments, if the server is not GAME --serve URL --headless"
    )
    args = parser.parse_args(words)
    if args.players < 1:
        parser.error(f"--players is {args.players}, it must be at least 1")
    try:
        game = find(args.game)
        server = shlex.split(args.server) if args.server else None
        if server:
            server[0] = find(server[0])
        networks = [bad_network(args, i) for i in range(args.players)]
    except ValueError as error:
        parser.error(str(error))
    return run(game, server, networks, told)


def find(name: str) -> str:
    """Returns the path of a script, or the full name of a module."""
    if Path(name).is_file():
        return str(Path(name).resolve())
    for module in (f"netplay.examples.{name}", name):
        try:
            if importlib.util.find_spec(module):
                return module
        except (ImportError, ValueError):
            pass
    raise ValueError(f"there is no file, no example and no module {name!r}; python -m netplay.examples lists examples")


def bad_network(args: argparse.Namespace, player: int) -> dict[str, float]:
    """Returns the options of the URL of one player, where they are not 0."""
    options: dict[str, float] = {}
    for name in _OPTIONS:
        values = str(getattr(args, name)).split(",")
        try:
            value = float(values[player % len(values)])
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is {getattr(args, name)!r}, it must be a number from 0, or some with commas")
        if value:
            options[name] = value
    return options | {"seed": args.seed + player} if options else {}


def title(player: int, options: dict[str, float]) -> str:
    """Returns what stands in the title of a player's window."""
    words = []
    if options.get("lag_ms") or options.get("jitter_ms"):
        jitter = f" ± {options['jitter_ms']:g}" if "jitter_ms" in options else ""
        words.append(f"{options.get('lag_ms', 0):g}{jitter} ms each way")
    if "loss_pct" in options:
        words.append(f"{options['loss_pct']:g} % lost")
    return f"player {player + 1} · {', '.join(words) or 'good network'}"


def run(game: str, server: list[str] | None, networks: list[dict[str, float]], told: list[str]) -> int:
    """Runs the server and the players until the last window is closed or we are told to end; nobody stays behind."""
    is_over = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Ctrl-C, an editor's stop button, a terminal that is closed
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: is_over.set())
    ports = free_ports(len(networks) + 1)
    urls = [
        f"play://127.0.0.1:{port}" + ("?" + "&".join(f"{k}={v:g}" for k, v in options.items()) if options else "")
        for port, options in zip(ports[1:], networks, strict=True)
    ]
    main_url = f"play://127.0.0.1:{ports[0]}"
    serving = Program("server", server or [game, "--serve", main_url, "--headless"], {"listen": urls})
    players: list[Program] = []
    try:
        for i, (url, place) in enumerate(zip(urls, places(len(urls)), strict=True)):
            patch = {"connect": url, "title": title(i, networks[i]), "place": place}
            players.append(Program(f"player {i + 1}", [game, main_url, *told], patch))
        began = time.monotonic()
        while any(player.is_running for player in players) and not is_over.wait(0.1):
            if not serving.is_running and time.monotonic() < began + _SERVER_GIVES_UP:
                print(
                    "\nThe server has ended. It was started as GAME --serve URL --headless; if yours begins otherwise, "
                    "say how: --server 'my_server.py --its-arguments'",
                    file=sys.stderr,
                )
                return 1
    finally:
        for program in players:
            program.ask_to_leave()  # all at once, so that the whole takes no longer than the slowest
        for program in [*players, serving]:  # the server last, so that nobody is told that it went away
            program.stop()
    return max((player.process.returncode > 0 for player in players), default=0)


class Program:
    """One process of the game; what it prints is printed with its name before it."""

    def __init__(self, name: str, command: list[str], patch: dict[str, Any]) -> None:
        self.name = name
        env = {**os.environ, "PYGAME_HIDE_SUPPORT_PROMPT": "1", "PYTHONUNBUFFERED": "1"}
        if "listen" in patch:
            env["SDL_VIDEODRIVER"] = env["SDL_AUDIODRIVER"] = "dummy"
        else:
            env["SDL_VIDEO_WINDOW_POS"] = "{},{}".format(*patch["place"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "netplay._play", json.dumps({**patch, "parent": os.getpid()}), *command],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name == "posix",  # Ctrl-C is for us alone, who then stop them all
        )
        self.thread = threading.Thread(target=self._print, args=(self.process.stdout,), daemon=True)
        self.thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def ask_to_leave(self) -> None:
        """Asks it to leave, as a closed window does: pygame makes a QUIT event of it."""
        if self.is_running:
            self.process.terminate()

    def stop(self) -> None:
        """Asks it to leave, and waits until it has."""
        self.ask_to_leave()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join(3)

    def _print(self, output: IO[str]) -> None:
        with output:
            for line in output:
                print(f"{self.name} | {line}", end="", flush=True)


def free_ports(count: int) -> list[int]:
    """Returns UDP ports that nobody uses just now."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def places(count: int) -> list[tuple[int, int]]:
    """Returns where on the screen each of some windows goes."""
    width, height, bar = 1280, 720, 30  # a title's height
    with contextlib.suppress(Exception):  # no pygame or no screen: then it does not matter
        import pygame

        pygame.display.init()
        width, height = pygame.display.get_desktop_sizes()[0]
        pygame.display.quit()
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    return [(i % columns * width // columns, i // columns * height // rows + bar) for i in range(count)]


# What runs in the process of the game itself.


def run_game(patch: dict[str, Any], game: str, arguments: list[str]) -> None:
    """Runs the game as if it had been started alone, but for the network and the window."""
    if os.name == "posix":
        threading.Thread(target=leave_with, args=(patch["parent"],), daemon=True).start()
    if "listen" in patch:
        listen_more(patch["listen"])
    else:
        connect_only(patch["connect"])
        name_windows(patch["title"])
    sys.argv = [game, *arguments]
    if Path(game).is_file():
        sys.path[0] = str(Path(game).parent)
        runpy.run_path(game, run_name="__main__")
    else:
        runpy.run_module(game, run_name="__main__", alter_sys=True)


def leave_with(parent: int) -> None:
    """Ends this process when the one that started it has died without a word; else a server nobody sees would stay."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)
    os._exit(1)


def listen_more(urls: list[str]) -> None:
    """Makes the first `listen()` on a socket listen at these URLs too."""
    import netplay

    listen = netplay.Network.listen

    def patched(self: netplay.Network, url: str = "play://*:5000", **options: Any) -> netplay.Listener:
        listener = listen(self, url, **options)
        # One game is announced once.
        others = {name: value for name, value in options.items() if name not in ("advertise", "title")}
        while urls and not url.startswith("local://"):
            listen(self, urls.pop(), **others)
        return listener

    replace(netplay, "listen", patched)


def connect_only(player_url: str) -> None:
    """Makes every `connect()` call this URL, unless it is one inside the process."""
    import netplay

    connect = netplay.Network.connect

    def patched(self: netplay.Network, url: str, **options: Any) -> netplay.Peer:
        return connect(self, url if url.startswith("local://") else player_url, **options)

    replace(netplay, "connect", patched)


def replace(netplay: Any, name: str, function: Any) -> None:
    """Puts a function in the place of a method, also of the one bound to the network behind the package's functions."""
    setattr(netplay.Network, name, function)
    setattr(netplay, name, getattr(netplay._default, name))


def name_windows(title: str) -> None:
    """Puts into the title of the window whose it is, whatever title the game gives it."""
    try:
        import pygame
    except ImportError:
        return
    set_mode, set_caption = pygame.display.set_mode, pygame.display.set_caption

    def named(caption: str = "", *rest: Any) -> None:
        set_caption(f"{title} · {caption}" if caption else title, *rest)

    def opened(*args: Any, **options: Any) -> pygame.Surface:
        screen = set_mode(*args, **options)
        if title not in pygame.display.get_caption()[0]:
            named("")
        return screen

    pygame.display.set_mode, pygame.display.set_caption = opened, named


if __name__ == "__main__":
    run_game(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:])
