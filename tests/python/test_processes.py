"""Programs on one machine talk over real sockets: a server in one process, its clients in others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from conftest import DEADLINE, wait_for
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, Network, Peer

Make = Callable[[], Network]

COUNT = 200
CLIENTS = 3

CLIENT = """
import sys, netplay
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
peer = netplay.connect(url, name=name)
for number in range(count):
    netplay.send({"from": name, "number": number}, number % 4)
netplay.send(b"\\0" * 100_000, 9)  # in fragments
heard = []
while len(heard) < count:
    for event in netplay.get(timeout=1):
        if event.what == netplay.NETWORK_DISCONNECTED:
            sys.exit(f"{event.reason}: {event.detail}")
        if event.what == netplay.NETWORK_DATA_IN:
            heard.append(event.data)
assert heard == [(name, number) for number in range(count)], heard
peer.close("heard everything")
netplay.get(timeout=1)
"""


@pytest.mark.parametrize(
    ("host", "options"),
    [("127.0.0.1", ""), ("[::1]", ""), ("127.0.0.1", "?lag_ms=5&jitter_ms=5&loss_pct=10&dup_pct=5&seed=3")],
    ids=["ipv4", "ipv6", "a bad network"],
)
def test_clients_in_processes_of_their_own_lose_nothing_and_get_nothing_twice(
    networks: Make, host: str, options: str, has_ipv6: bool
) -> None:
    if host == "[::1]" and not has_ipv6:
        pytest.skip("this machine has no IPv6")
    server = networks()
    listener = server.listen(f"play://{host}:0{options}")
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, listener.url + options, f"client {index}", str(COUNT)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(CLIENTS)
    ]
    try:
        peers = [event.peer for event in wait_for(server, NETWORK_CONNECTED, CLIENTS)]
        for peer in peers:
            for number in range(COUNT):
                peer.send((peer.name, number), 7)
        events = wait_for(server, NETWORK_DATA_IN, CLIENTS * (COUNT + 1))
        for peer in peers:
            for channel in range(4):
                expected = [{"from": peer.name, "number": number} for number in range(channel, COUNT, 4)]
                assert [event.data for event in events if (event.peer, event.channel) == (peer, channel)] == expected
            assert [event.data for event in events if (event.peer, event.channel) == (peer, 9)] == [bytes(100_000)]
        endings: dict[Peer, tuple[str, str]] = {
            event.peer: (event.reason, event.detail) for event in wait_for(server, NETWORK_DISCONNECTED, CLIENTS)
        }
        assert endings == dict.fromkeys(peers, ("goodbye", "heard everything"))
        for program in programs:
            assert program.wait(DEADLINE) == 0, program.stderr and program.stderr.read()
    finally:
        for program in programs:
            program.kill()
            program.communicate()
