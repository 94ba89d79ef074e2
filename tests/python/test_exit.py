"""Programs that end, however they do it, end soon; and the others are told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from conftest import only, wait_for
from netplay import NETWORK_CONNECTED, NETWORK_DISCONNECTED, Network

Make = Callable[[], Network]

CLIENT = """
import os, sys, threading, netplay
if "pygame" in sys.argv[2]:
    import pygame  # now: it may take a while, and is no part of the ending
peer = netplay.connect(sys.argv[1], name="Ada")
while peer.state != "connected":
    netplay.get(1)
netplay.send("hello")
"""

ENDINGS = {
    "falls off the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("1 / 0", 1),
    "close, then ends": ("netplay.close()", 0),
    "in a handler": ("netplay.on(1)(lambda event: sys.exit(4))\nwhile True: netplay.get(1)", 4),
    "a daemon thread waits": ("threading.Thread(target=netplay.get, args=[60], daemon=True).start()", 0),
    "many networks": (
        "others = [netplay.Network() for _ in range(20)]\nfor n in others: n.connect(sys.argv[1])",
        0,
    ),
    "polled with pygame": (
        "pygame.display.init()\nnetplay.poll(0.1)\npygame.display.quit()\nnetplay.poll()",
        0,
    ),
    "pygame still running": ("pygame.init()\nfor _ in range(5): netplay.poll(0.05)", 0),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_program_ends_soon_and_says_goodbye_by_itself(networks: Make, how: str) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0")
    code, expected = ENDINGS[how]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT + "print('ending', flush=True)\n" + code, listener.url, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        # The first of them: when this side is slow, others may have come meanwhile.
        assert wait_for(server, NETWORK_CONNECTED)[0].peer.name == "Ada"
        assert program.stdout is not None
        while program.stdout.readline() not in ("ending\n", ""):
            pass
        time.sleep(0.1)
        server.send("welcome", 1)
        started = time.monotonic()
        event = wait_for(server, NETWORK_DISCONNECTED)[0]
        assert event.reason == "goodbye"
        _, errors = program.communicate(timeout=10)
        assert time.monotonic() - started < 4
        assert program.returncode == expected, errors
        assert "netplay" not in errors.replace("import netplay", "") or expected == 1, errors


def test_a_server_that_ends_tells_its_clients(networks: Make) -> None:
    code = "import netplay; print(netplay.listen('play://127.0.0.1:0').url, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        clients = [networks() for _ in range(3)]
        for client in clients:
            client.connect(url)
            wait_for(client, NETWORK_CONNECTED)
        program.communicate("\n", timeout=10)
        for client in clients:
            assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "goodbye"


def test_a_network_may_be_closed_while_another_thread_waits_in_get(networks: Make) -> None:
    import threading

    network = networks()
    network.listen("play://127.0.0.1:0")
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(network.get(1.0)))
    thread.start()
    time.sleep(0.1)
    network.close()
    thread.join(5)
    assert results == [[]]
