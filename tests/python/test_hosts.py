"""What needs more than one host: an address that changes, and a host that calls too often."""

from __future__ import annotations

from pathlib import Path

from hosts import AWAY, HOME, MOVED, Hosts, go_on, ip, line, lines

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
