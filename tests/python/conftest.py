"""What the tests share: two networks that know each other, and waiting with a deadline."""

from __future__ import annotations

import os
import shutil
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hosts import Hosts

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # else the first example that imports pygame prints more

import netplay
from netplay import Event, Listener, Network, Peer

DEADLINE = 10.0
"""Seconds after which what should have happened long ago counts as not happening."""


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "netplay-data"
    monkeypatch.setenv("NETPLAY_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def networks() -> Iterator[Callable[[], Network]]:
    """Makes networks that are closed after the test."""
    made: list[Network] = []

    def make() -> Network:
        made.append(Network())
        return made[-1]

    yield make
    for network in made:
        network._close_within(0.0)


@pytest.fixture(scope="session")
def has_ipv6() -> bool:
    """Whether this machine can talk to itself over IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        for command, package in (("ip", "iproute2"), ("nft", "nftables")):
            if shutil.which(command) is None:
                raise OSError(f"there is no command {command} (Debian: {package})")
        made.make()
    except OSError as error:
        made.delete()
        skip(f"network namespaces cannot be made here: {error}")
    yield made
    made.delete()


def needs(command: str, package: str) -> pytest.MarkDecorator:
    """Marks a test that needs a command. In CI it runs, and fails, where there is none."""
    is_missing = shutil.which(command) is None and os.environ.get("CI") != "true"
    return pytest.mark.skipif(is_missing, reason=f"there is no {command} (Debian: {package})")


def skip(reason: str) -> NoReturn:
    """Skips a test with the reason; in CI, where everything must be there, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def default() -> Iterator[None]:
    """Leaves the network behind the functions of the package closed."""
    yield
    netplay.close()


class Pair:
    """A server and a client that are connected."""

    def __init__(self, server: Network, client: Network, url: str, **options: object) -> None:
        self.server, self.client = server, client
        self.listener: Listener = server.listen(url, name="Server")
        self.to_server: Peer = client.connect(self.listener.url, name="Ada")
        self.to_client: Peer = only(wait_for(server, netplay.NETWORK_CONNECTED)).peer
        wait_for(client, netplay.NETWORK_CONNECTED)


@pytest.fixture(params=["play://127.0.0.1:0", "local://pair"])
def pair(request: pytest.FixtureRequest, networks: Callable[[], Network]) -> Pair:
    return Pair(networks(), networks(), request.param)


@pytest.fixture
def udp_pair(networks: Callable[[], Network]) -> Pair:
    return Pair(networks(), networks(), "play://127.0.0.1:0")


_kept: weakref.WeakKeyDictionary[Network, list[Event]] = weakref.WeakKeyDictionary()


def wait_for(network: Network, what: netplay.What, count: int = 1) -> list[Event]:
    """Takes events until `count` of a kind have come; returns those of that kind, and keeps others for later calls."""
    kept = _kept.setdefault(network, [])
    until = time.monotonic() + DEADLINE
    while sum(event.what == what for event in kept) < count:
        assert time.monotonic() < until, f"{kept} and not {count} {what} within {DEADLINE} s"
        kept += network.get(0.1)
    found = [event for event in kept if event.what == what]
    kept[:] = [event for event in kept if event.what != what]
    return found


def wait_until(is_done: Callable[[], object], what: str = "it") -> None:
    """Waits until something is the case, asking every few milliseconds."""
    until = time.monotonic() + DEADLINE
    while not is_done():
        assert time.monotonic() < until, f"{what} did not happen within {DEADLINE} s"
        time.sleep(0.005)


def send_lossy(sender: Network, data: object, receiver: Network, channel: int = 0) -> Event:
    """Sends a message that may be lost until it is not, as it must not be on every try; returns its event."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        assert sender.send(data, channel, lossy=True) == 1
        for event in receiver.get(0.5):
            if event.what == netplay.NETWORK_DATA_IN:
                return event
    raise AssertionError(f"no lossy message arrived within {DEADLINE} s")


def only(events: list[Event]) -> Event:
    assert len(events) == 1, events
    return events[0]
