"""Strangers and bad links: garbage, a flood, a client that never reads, a cable pulled out and put back."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import netplay
from conftest import DEADLINE, Pair, only, wait_for, wait_until
from netplay import (
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    NETWORK_LOST,
    NETWORK_RESUMED,
    Event,
    Network,
)

Make = Callable[[], Network]


def address_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("play://").rpartition(":")
    return host, int(port)


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        plain.setblocking(False)
        yield plain


def answers(plain: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found.append(plain.recv(65536))
        except (BlockingIOError, ConnectionError):
            return found


def test_garbage_from_a_stranger_changes_nothing(udp_pair: Pair, stranger: socket.socket) -> None:
    place = address_of(udp_pair.listener.url)
    dice = random.Random(7)
    sent = 0
    for size in [0, 1, 11, 12, 12, 13, 100, 1199, 1200, 1201, 1472, 9000, *(dice.randrange(2000) for _ in range(300))]:
        datagram = dice.randbytes(size)
        sent += len(datagram)
        stranger.sendto(datagram, place)
        stranger.sendto(bytes(size), place)
    udp_pair.client.send("undisturbed")
    assert only(wait_for(udp_pair.server, NETWORK_DATA_IN)).data == "undisturbed"
    wait_until(lambda: udp_pair.listener.stats()["bad_datagrams"] > 300, "counting garbage")
    assert sum(map(len, answers(stranger))) <= sent
    assert udp_pair.server.peers == [udp_pair.to_client]


class Relay:
    """A plain UDP relay between one client and a server, which sees, repeats, cuts short and drops what it likes."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back.bind(("127.0.0.1", 0))
        self.front.settimeout(0.05)
        self.back.settimeout(0.05)
        self.server = server
        self.client: tuple[str, int] | None = None
        self.is_cut = False
        self.copies = 1
        self.seen: list[bytes] = []
        self.is_running = True
        self.threads = [threading.Thread(target=self.forward), threading.Thread(target=self.backward)]
        for thread in self.threads:
            thread.start()

    @property
    def url(self) -> str:
        return f"play://127.0.0.1:{self.front.getsockname()[1]}"

    def forward(self) -> None:
        while self.is_running:
            try:
                datagram, self.client = self.front.recvfrom(65536)
            except (TimeoutError, ConnectionError):
                continue
            if not self.is_cut:
                self.seen.append(datagram)
                for _ in range(self.copies):
                    self.back.sendto(datagram, self.server)

    def backward(self) -> None:
        while self.is_running:
            try:
                datagram = self.back.recv(65536)
            except (TimeoutError, ConnectionError):
                continue
            if not self.is_cut and self.client is not None:
                for _ in range(self.copies):
                    self.front.sendto(datagram, self.client)

    def close(self) -> None:
        self.is_running = False
        for thread in self.threads:
            thread.join()
        self.front.close()
        self.back.close()


class Relayed:
    def __init__(self, server: Network, client: Network) -> None:
        self.server, self.client = server, client
        self.listener = server.listen("play://127.0.0.1:0")
        self.relay = Relay(address_of(self.listener.url))
        self.to_server = client.connect(self.relay.url, name="Ada")


@pytest.fixture
def relayed(networks: Make) -> Iterator[Relayed]:
    both = Relayed(networks(), networks())
    yield both
    both.relay.close()


def test_every_datagram_twice_is_every_message_once(relayed: Relayed) -> None:
    relayed.relay.copies = 2
    for number in range(200):
        relayed.client.send(number)
    got = wait_for(relayed.server, NETWORK_DATA_IN, 200)
    assert [event.data for event in got] == list(range(200))
    assert len(relayed.server.peers) == 1
    assert [event.what for event in relayed.client.get(0.1)].count(NETWORK_CONNECTED) == 1


def test_replayed_cut_and_changed_packets_change_nothing(relayed: Relayed, stranger: socket.socket) -> None:
    for number in range(50):
        relayed.client.send(number)
    assert len(wait_for(relayed.server, NETWORK_DATA_IN, 50)) == 50
    wait_for(relayed.client, NETWORK_CONNECTED)
    dice = random.Random(3)
    for datagram in list(relayed.relay.seen):
        changed = bytearray(datagram)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        for copy in (datagram, datagram[: dice.randrange(len(datagram))], bytes(changed)):
            relayed.relay.back.sendto(copy, relayed.relay.server)
            stranger.sendto(copy, relayed.relay.server)
    relayed.client.send("after all that")
    got = [event.data for event in wait_for(relayed.server, NETWORK_DATA_IN)]
    assert got == ["after all that"]
    assert relayed.to_server.state == "connected"
    assert len(relayed.server.peers) == 1


def test_a_pulled_cable_is_lost_then_resumed_with_nothing_lost(relayed: Relayed) -> None:
    wait_for(relayed.client, NETWORK_CONNECTED)
    relayed.relay.is_cut = True
    relayed.client.send("into the dark")
    event = only(wait_for(relayed.client, NETWORK_LOST))
    assert (event.peer, event.peer.state, event.reason) == (relayed.to_server, "lost", "timeout")
    assert 0 < event.seconds_left <= 60
    assert not hasattr(event, "seconds")
    assert " s left>" in repr(event)
    assert relayed.client.send("and this") == 1
    relayed.relay.is_cut = False
    event = only(wait_for(relayed.client, NETWORK_RESUMED))
    assert event.peer.state == "connected"
    assert event.seconds > 1
    got = wait_for(relayed.server, NETWORK_DATA_IN, 2)
    assert [event.data for event in got] == ["into the dark", "and this"]
    assert event.reason == ""
    assert set(event._attributes()) == {"what", "peer", "seconds", "reason"}


def test_a_flood_of_first_packets_from_strangers_does_not_lock_an_honest_client_out(networks: Make) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0", max_peers=100)
    place = address_of(listener.url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as decoy:
        # The first packet of a real client, caught on its way to nobody.
        decoy.bind(("127.0.0.1", 0))
        decoy.settimeout(DEADLINE)
        networks().connect(f"play://127.0.0.1:{decoy.getsockname()[1]}")
        hello = decoy.recv(65536)
    flood = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)]
    for plain in flood:
        plain.setblocking(False)
        plain.sendto(hello, place)
    honest = networks()
    honest.connect(listener.url)
    wait_for(honest, NETWORK_CONNECTED)
    for plain in flood:
        assert sum(map(len, answers(plain))) <= len(hello)
        plain.close()
    assert len(wait_for(server, NETWORK_CONNECTED)) == 1
    assert len(server.peers) == 1


def test_a_client_that_never_reads_holds_up_nobody_and_bounded_memory(networks: Make) -> None:
    server, sleeper, honest = networks(), networks(), networks()
    listener = server.listen("play://127.0.0.1:0")
    sleeper.connect(listener.url, name="sleeper")
    honest.connect(listener.url, name="honest")
    wait_for(sleeper, NETWORK_CONNECTED)
    wait_for(honest, NETWORK_CONNECTED)
    wait_for(server, NETWORK_CONNECTED, 2)
    slow = next(peer for peer in server.peers if peer.name == "sleeper")
    chunk = bytes(1024 * 1024)
    sent = received = 0
    ended: list[Event] = []
    most_queued = 0
    until = time.monotonic() + 6 * DEADLINE
    while not ended and time.monotonic() < until:
        sent += 1
        server.send(chunk)
        most_queued = max(most_queued, slow.queued)
        while received < sent and time.monotonic() < until:  # the honest one is as fast as it can be, and no faster
            received += sum(event.what == NETWORK_DATA_IN for event in honest.get(0.05))
        ended += [event for event in server.get() if event.what == NETWORK_DISCONNECTED]
    assert [(event.peer, event.reason) for event in ended] == [(slow, "too slow")]
    assert most_queued <= 64 * 1024 * 1024
    assert received == sent > 30
    assert server.send("you are still here", to=server.peers) == 1


def test_a_game_that_never_polls_does_not_grow_without_bound(networks: Make) -> None:
    server, chatty = networks(), networks()
    listener = server.listen("play://127.0.0.1:0")
    peer = chatty.connect(listener.url)
    wait_for(chatty, NETWORK_CONNECTED)
    for _ in range(200):
        chatty.send(bytes(100_000), lossy=False)
        chatty.send(bytes(1000), 1, lossy=True)
    wait_until(lambda: peer.queued < 20_000_000, "sending")
    time.sleep(0.5)
    # What the server's game has not taken is held back at the sender, which knows it and could slow down.
    assert peer.queued > 0
    assert peer.state == "connected"
    total = 0
    until = time.monotonic() + DEADLINE
    while total < 200 and time.monotonic() < until:
        total += sum(event.what == NETWORK_DATA_IN and event.channel == 0 for event in server.get(0.1))
        chatty.get()
    assert total == 200
    assert netplay.NETWORK_LOST not in [event.what for event in chatty.get()]
