# ruff: noqa: D103 (the names of tests are their sentences)
"""A server is killed under its players and started again: they are in the new world, with nothing left of the old."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import netplay as net
from netplay.examples import _comets_messages as comets
from netplay.examples import _meadow_server as meadow
from netplay.examples._comets_client import Client
from netplay.examples.meadow import Player


def serve(game: str, url: str) -> tuple[subprocess.Popen[str], str]:
    """Starts a server; returns it and its URL."""
    command = [sys.executable, "-m", f"netplay.examples.{game}", "--serve", "--headless", url]
    env = {**os.environ, "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout
    return process, process.stdout.readline().split()[-1]


def restart_under(game: str, begin: Callable[[net.Network, str], Callable[[], bool]], welcomes: list[str]) -> None:
    """Plays twelve seconds, kills the server, starts it again, and plays until all is well in a younger world."""
    process, url = serve(game, "play://127.0.0.1:0")
    with net.Network() as network:
        try:
            play = begin(network, url)
            for count in (1, 2):
                began, is_well = time.monotonic(), False
                while not (is_well and (count == 2 or time.monotonic() > began + 12)):
                    assert time.monotonic() < began + (30 if count == 1 else 10), f"world {count}: {welcomes}"
                    is_well = play() and len(welcomes) == count
                    time.sleep(0.005)
                process.kill()
                process.communicate()
                process, _ = serve(game, url)
        finally:
            process.kill()
            process.communicate()


def test_a_client_of_comets_flies_in_the_new_world() -> None:
    welcomes = list[str]()

    def begin(network: net.Network, url: str) -> Callable[[], bool]:
        client = Client(network.connect(url, name="Ada", version=comets.VERSION), time.monotonic())

        def play() -> bool:
            for e in network.get():
                client.handle(e, time.monotonic())
                if e.what == net.NETWORK_CONNECTED:
                    welcomes.append(e.reason)
            client.update(time.monotonic(), 0)
            is_near = 0 <= client.truth_tick - client.others_time < 10 and 0 <= client.tick - client.truth_tick < 20
            return bool(client.me) and client.server.state == "connected" and is_near

        return play

    restart_under("comets", begin, welcomes)
    assert welcomes[-1] == "restarted"


def test_a_rabbit_is_in_the_new_meadow() -> None:
    welcomes, last = list[str](), 0

    def begin(network: net.Network, url: str) -> Callable[[], bool]:
        player = Player(network.connect(url, name="Ada", version=meadow.VERSION), "Ada")

        def play() -> bool:
            nonlocal last
            for e in network.get():
                player.handle(e)
                if e.what == net.NETWORK_CONNECTED:
                    welcomes.append(e.reason)
                    last = player.hearer.tick
            player.think()
            sample, tick = player.pictures.sample(time.monotonic()), player.hearer.tick
            return sample is not None and tick != last and 0 <= tick - sample.time * meadow.TICKS < 20

        return play

    restart_under("meadow", begin, welcomes)
    assert welcomes[-1] == "restarted"
