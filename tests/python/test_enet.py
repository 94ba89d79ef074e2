"""ENet as others wrote it: pyenet, and the C library of Debian."""

from __future__ import annotations

import importlib
import logging
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netplay
from conftest import DEADLINE, only, skip, wait_for
from netplay import Event, Network

Make = Callable[[], Network]

LARGE = random.Random(1).randbytes(50_000)


class Foreign:
    """A host of pyenet, serviced by turns with networks of ours."""

    def __init__(self, enet: Any, address: Any, channels: int = 255) -> None:
        self.enet = enet
        self.host = enet.Host(address, 8, channels, 0, 0)
        self.events: list[Any] = []

    def turn(self) -> None:
        event = self.host.service(2)
        if event.type != self.enet.EVENT_TYPE_NONE:
            data = event.packet.data if event.type == self.enet.EVENT_TYPE_RECEIVE else event.data
            self.events.append((event.type, event.channelID, data, event.peer))

    def packets(self) -> list[tuple[int, bytes]]:
        return [event[1:3] for event in self.events if event[0] == self.enet.EVENT_TYPE_RECEIVE]


@pytest.fixture
def enet() -> Any:
    try:
        return importlib.import_module("enet")
    except ImportError:
        skip("pyenet is not installed")


def both(foreign: Foreign, network: Network, is_done: Callable[[list[Event]], object]) -> list[Event]:
    """Lets both sides work until something is true of what ours was told."""
    found: list[Event] = []
    until = time.monotonic() + DEADLINE
    while not is_done(found):
        assert time.monotonic() < until, (found, foreign.events)
        foreign.turn()
        found += network.get(0.001)
    return found


def data_of(events: list[Event]) -> list[tuple[int, bytes, bool]]:
    return [(event.channel, event.data, event.lossy) for event in events if event.what == netplay.NETWORK_DATA_IN]


def test_pyenet_connects_to_a_game(networks: Make, enet: Any) -> None:
    server = networks()
    listener = server.listen("enet://127.0.0.1:0")
    client = Foreign(enet, None)
    port = int(listener.url.rsplit(":", 1)[1])
    to_server = client.host.connect(enet.Address(b"127.0.0.1", port), 20)
    events = both(client, server, lambda found: found and client.events)
    peer = only(events).peer
    assert (peer.stats()["transport"], peer.stats()["encrypted"]) == ("enet", False)
    to_server.send(3, enet.Packet(b"reliable", enet.PACKET_FLAG_RELIABLE))
    to_server.send(4, enet.Packet(LARGE, enet.PACKET_FLAG_RELIABLE))
    events = both(client, server, lambda found: len(data_of(found)) == 2)
    assert sorted(data_of(events)) == [(3, b"reliable", False), (4, LARGE, False)]
    to_server.send(5, enet.Packet(b"lossy", 0))
    to_server.send(5, enet.Packet(b"unsequenced", enet.PACKET_FLAG_UNSEQUENCED))
    to_server.send(6, enet.Packet(LARGE, enet.PACKET_FLAG_UNRELIABLE_FRAGMENT))
    events = both(client, server, lambda found: len(data_of(found)) == 3)
    assert sorted(data_of(events)) == [(5, b"lossy", True), (5, b"unsequenced", True), (6, LARGE, True)]
    peer.send(LARGE, 19)
    peer.send("text", 2)
    peer.send(b"lossy", 2, lossy=True)
    both(client, server, lambda _: len(client.packets()) == 3)
    assert sorted(client.packets()) == [(2, b"lossy"), (2, b"text"), (19, LARGE)]
    to_server.disconnect(77)
    event = only(both(client, server, lambda found: found))
    assert (event.what, event.reason, event.detail) == (netplay.NETWORK_DISCONNECTED, "goodbye", "77")


def test_a_game_connects_to_pyenet(networks: Make, enet: Any) -> None:
    server = Foreign(enet, enet.Address(b"127.0.0.1", 0), channels=4)
    client = networks()
    peer = client.connect(f"enet://127.0.0.1:{server.host.address.port}")
    assert peer.send("waits for the connection", 1)
    assert not peer.send("does not wait", 1, lossy=True)
    events = both(server, client, lambda found: found and server.packets())
    assert only(events).what == netplay.NETWORK_CONNECTED
    assert server.packets() == [(1, b"waits for the connection")]
    peer.send(LARGE, 3)
    peer.send(LARGE, 0, lossy=True)
    both(server, client, lambda _: len(server.packets()) == 3)
    assert sorted(server.packets()[1:]) == [(0, LARGE), (3, LARGE)]
    to_client = server.events[0][3]
    to_client.send(2, enet.Packet(LARGE, enet.PACKET_FLAG_RELIABLE))
    to_client.send(1, enet.Packet(b"lossy", 0))
    events = both(server, client, lambda found: len(data_of(found)) == 2)
    assert sorted(data_of(events)) == [(1, b"lossy", True), (2, LARGE, False)]
    peer.close("12345")
    both(server, client, lambda _: server.events[-1][0] == enet.EVENT_TYPE_DISCONNECT)
    assert server.events[-1][2] == 12345


def test_a_channel_that_the_other_side_does_not_have_ends_it_with_its_number(networks: Make, enet: Any) -> None:
    server = Foreign(enet, enet.Address(b"127.0.0.1", 0), channels=2)
    client = networks()
    peer = client.connect(f"enet://127.0.0.1:{server.host.address.port}")
    both(server, client, lambda found: found)
    peer.send("x", 2)
    event = only(both(server, client, lambda found: found))
    assert (event.reason, event.detail) == ("wrong protocol", "a message was sent on channel 2, it has 0 to 1")
    with pytest.raises(ValueError, match="channel is 255, enet:// has 0 to 254"):
        client.connect(f"enet://127.0.0.1:{server.host.address.port}").send("x", 255)


@pytest.mark.parametrize("option", ["", "?throttle=1"])
def test_on_a_path_that_loses_nothing_no_lossy_packet_is_dropped_without_the_throttle(
    networks: Make, enet: Any, option: str
) -> None:
    """The other side answers late now and then, which ENet takes for a path that is full."""
    server = Foreign(enet, enet.Address(b"127.0.0.1", 0), channels=4)
    client = networks()
    peer = client.connect(f"enet://127.0.0.1:{server.host.address.port}{option}")
    both(server, client, lambda found: found)
    for number in range(400):
        peer.send(b"%d" % number, 1, lossy=True, ordered=False)
        if number % 20 == 0:
            peer.send(b"reliable", 2)
        client.get()
        if number % 100 > 50:
            time.sleep(0.002)
        else:
            server.turn()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        server.turn()
        client.get()
    arrived = sum(channel == 1 for channel, _ in server.packets())
    if option:
        print(f"with the throttle {arrived} of 400 arrived")
    else:
        assert arrived == 400


def test_that_nothing_is_encrypted_is_in_the_log_once(
    networks: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netplay._network._has_warned_of_enet", False)
    server = networks()
    with caplog.at_level(logging.WARNING, "netplay"):
        for _ in range(2):
            networks().connect(server.listen("enet://127.0.0.1:0").url)
    assert [record.message for record in caplog.records] == [
        "enet:// is unencrypted: anybody on the way can read and change what is said there"
    ]


C_PROGRAM = r"""
/* A peer of ENet in C: sends everything back as it came; as a client it begins with 50 KB. */
#include <enet/enet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    ENetAddress address = {0};
    ENetHost *host;
    int is_client = argc > 1, done = 0;
    enet_initialize();
    enet_address_set_host(&address, "127.0.0.1");
    if (is_client) {
        host = enet_host_create(NULL, 1, 8, 0, 0);
        address.port = (enet_uint16)atoi(argv[1]);
        enet_host_connect(host, &address, 8, 42);
    } else {
        host = enet_host_create(&address, 4, 8, 0, 0);
        enet_socket_get_address(host->socket, &address);
        printf("%d\n", address.port);
        fflush(stdout);
    }
    while (!done) {
        ENetEvent event;
        if (enet_host_service(host, &event, 10000) <= 0) return 2;
        if (event.type == ENET_EVENT_TYPE_CONNECT && is_client) {
            char large[50000];
            memset(large, 'c', sizeof large);
            enet_peer_send(event.peer, 5, enet_packet_create(large, sizeof large, ENET_PACKET_FLAG_RELIABLE));
        }
        if (event.type == ENET_EVENT_TYPE_RECEIVE) {
            enet_uint32 flags = event.packet->flags;
            ENetPacket *copy = enet_packet_create(event.packet->data, event.packet->dataLength, flags & 15);
            enet_peer_send(event.peer, event.channelID, copy);
            enet_packet_destroy(event.packet);
        }
        if (event.type == ENET_EVENT_TYPE_DISCONNECT) {
            printf("disconnect data %u\n", event.data);
            done = 1;
        }
    }
    enet_host_destroy(host);
    return 0;
}
"""


@pytest.fixture(scope="module")
def c_peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("enet")
    source, program = folder / "peer.c", folder / "peer"
    source.write_text(C_PROGRAM)
    built = subprocess.run([compiler, str(source), "-o", str(program), "-lenet"], capture_output=True, text=True)
    if built.returncode != 0:
        skip("ENet's C library is not installed (Debian: libenet-dev)")
    return program


def exchange(network: Network, peer: netplay.Peer) -> None:
    """Sends one of each kind to an echo, and compares."""
    sent = [(1, LARGE, False), (2, b"small", False), (3, b"lossy", True), (4, LARGE, True)]
    for channel, data, lossy in sent:
        peer.send(data, channel, lossy=lossy)
        event = only(wait_for(network, netplay.NETWORK_DATA_IN))
        assert (event.channel, event.data, event.lossy) == (channel, data, lossy)


def test_a_c_program_connects_to_a_game(networks: Make, c_peer: Path) -> None:
    server = networks()
    listener = server.listen("enet://127.0.0.1:0")
    with subprocess.Popen([c_peer, listener.url.rsplit(":", 1)[1]], stdout=subprocess.PIPE, text=True) as other:
        peer = only(wait_for(server, netplay.NETWORK_CONNECTED)).peer
        event = only(wait_for(server, netplay.NETWORK_DATA_IN))
        assert (event.channel, event.data) == (5, b"c" * 50_000)
        exchange(server, peer)
        peer.close("7")
        server.get(0.1)
        assert other.stdout
        assert other.stdout.read() == "disconnect data 7\n"
        assert other.wait(DEADLINE) == 0


def test_a_game_connects_to_a_c_program(networks: Make, c_peer: Path) -> None:
    client = networks()
    with subprocess.Popen([c_peer], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        peer = client.connect(f"enet://127.0.0.1:{int(other.stdout.readline())}")
        wait_for(client, netplay.NETWORK_CONNECTED)
        exchange(client, peer)
        peer.close("8")
        client.get(0.1)
        assert other.stdout.read() == "disconnect data 8\n"
        assert other.wait(DEADLINE) == 0
