"""Two hosts for those tests that need them: network namespaces and a cable, made and deleted here (Linux, as root)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HOME, AWAY, MOVED = "198.18.7.1", "198.18.7.2", "198.18.7.3"
"""Addresses from the range that is set aside for tests of networks (RFC 2544)."""


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

    def settle(self) -> None:
        """Waits until the addresses that the hosts gave themselves (IPv6) are known to be nobody else's."""
        until = time.monotonic() + 10
        while any(output("-n", name, "-6", "address", "show", "tentative") for name in self.names):
            if time.monotonic() > until:
                raise OSError("the addresses do not settle")
            time.sleep(0.1)

    def pull(self, place: int) -> None:
        """Pulls the cable out of one host."""
        ip("-n", self.names[place], "link", "set", "cable", "down")

    def plug(self, place: int) -> None:
        ip("-n", self.names[place], "link", "set", "cable", "up")

    def block_udp(self, place: int) -> None:
        """Lets a firewall drop every UDP datagram that comes to one host."""
        self.nft(place, "add table inet wall")
        self.nft(place, "add chain inet wall in { type filter hook input priority 0 ; }")
        self.nft(place, "add rule inet wall in meta l4proto udp drop")

    def let_udp_pass(self, place: int) -> None:
        self.nft(place, "delete table inet wall")

    def nft(self, place: int, rule: str) -> None:
        ip("netns", "exec", self.names[place], "nft", rule)

    def start(self, place: int, program: str, folder: Path) -> subprocess.Popen[str]:
        """Starts a Python program on the first (0) or second (1) host."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[place], sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NETPLAY_DATA_DIR": str(folder / str(place)), "NETPLAY_LAN": "network"},
        )


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def output(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


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
