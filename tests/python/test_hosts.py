"""What needs more than one host: two network namespaces and a cable, made and deleted here (Linux, as root)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME, AWAY, MOVED = "198.18.7.1", "198.18.7.2", "198.18.7.3"
"""Addresses from the range that is set aside for tests of networks (RFC 2544)."""

SERVER = """
import netplay, sys
from netplay import NETWORK_DATA_IN, What
with netplay.Network() as network:
    listener = network.listen("play://0.0.0.0:5000", max_peers=1000)
    print("ready", flush=True)
    while True:
        for event in network.get(1.0):
            if event.what is NETWORK_DATA_IN and event.data == "end":
                print("limited", listener.stats()["handshakes_limited"])
                print("address", event.peer.stats()["address"].rpartition(":")[0])
                sys.exit()
            if event.what is NETWORK_DATA_IN:
                event.peer.send(event.data)
            else:
                print(event.what, flush=True)
"""

ROAMER = f"""
import netplay, time
from netplay import NETWORK_DATA_IN
with netplay.Network() as network:
    peer = network.connect("play://{HOME}:5000")
    sent, echoed, told = 0, [], []
    until = time.monotonic() + 60
    while len(echoed) < 300 and time.monotonic() < until:
        if sent < 300:
            peer.send(sent)
            sent += 1
        for event in network.get(0.01):
            echoed.append(event.data) if event.what is NETWORK_DATA_IN else told.append(str(event.what))
        if sent == 100:
            print("move", flush=True)
            input()
    print("in order", echoed == list(range(300)))
    print("told", *told)
    peer.send("end")
"""

CALLERS = f"""
import netplay
from netplay import NETWORK_CONNECTED
with netplay.Network() as network:
    peers = [network.connect("play://{HOME}:5000", timeout=30) for _ in range(75)]
    connected = 0
    while connected < 75:
        connected += sum(event.what is NETWORK_CONNECTED for event in network.get(1.0))
    print("connected", connected)
    peers[0].send("end")
"""


class Hosts:
    """Two hosts, each a namespace of its own."""

    def __init__(self) -> None:
        self.names = [f"netplay-{os.getpid()}-{place}" for place in ("home", "away")]

    def make(self) -> None:
        home, away = self.names
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", home, "type", "veth", "peer", "name", "cable", "netns", away)
        for name, address in zip(self.names, (HOME, AWAY), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def delete(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def start(self, place: int, program: str, folder: Path) -> subprocess.Popen[str]:
        """Starts a Python program on the first (0) or second (1) host."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[place], sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NETPLAY_DATA_DIR": str(folder / str(place))},
        )


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        if shutil.which("ip") is None:
            raise OSError("there is no command ip (Debian: iproute2)")
        made.make()
    except OSError as error:
        made.delete()
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield made
    made.delete()


def line(process: subprocess.Popen[str]) -> str:
    """Waits for the next line that a program prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def go_on(process: subprocess.Popen[str]) -> None:
    """Lets a program go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=60)[0].splitlines()


def test_a_client_whose_address_changes_in_the_middle_of_the_game_plays_on(hosts: Hosts, tmp_path: Path) -> None:
    with hosts.start(0, SERVER, tmp_path) as server, hosts.start(1, ROAMER, tmp_path) as client:
        try:
            assert line(server) == "ready"
            assert line(client) == "move"
            ip("-n", hosts.names[1], "address", "delete", f"{AWAY}/24", "dev", "cable")
            ip("-n", hosts.names[1], "address", "add", f"{MOVED}/24", "dev", "cable")
            go_on(client)
            assert lines(client) == ["in order True", "told NETWORK_CONNECTED"]
            # No word of it to either game, and the server knows the new address.
            assert lines(server) == ["NETWORK_CONNECTED", "limited 0", f"address {MOVED}"]
        finally:
            server.kill()
            client.kill()


def test_a_host_that_calls_too_often_waits_and_gets_in(hosts: Hosts, tmp_path: Path) -> None:
    with hosts.start(0, SERVER, tmp_path) as server, hosts.start(1, CALLERS, tmp_path) as client:
        try:
            assert line(server) == "ready"
            assert lines(client) == ["connected 75"]
            limited = next(line for line in lines(server) if line.startswith("limited"))
            assert int(limited.split()[1]) > 0
        finally:
            server.kill()
            client.kill()
