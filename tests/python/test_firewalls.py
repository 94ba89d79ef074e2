"""Firewalls, cables and addresses between two hosts: a game gets through, and comes back."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from hosts import AWAY, HOME, MOVED, Hosts, go_on, ip, line, lines

# Echoes whatever it hears, and says what happens to its guests.
SERVER = """
import netplay, sys
from netplay import NETWORK_DATA_IN
with netplay.Network() as network:
    network.listen("play://0.0.0.0:5000", grace=60)
    print("ready", flush=True)
    while True:
        for event in network.get(1.0):
            if event.what is not NETWORK_DATA_IN:
                print(event.what, flush=True)
            elif event.data == "end":
                print("end", event.peer.stats()["transport"], flush=True)
                sys.exit()
            else:
                event.peer.send(event.data)
"""

# Sends a number every hundredth of a second until it reads a line, and says when the transport changes.
CLIENT = """
import json, select, sys, time, netplay
from netplay import NETWORK_DATA_IN
with netplay.Network() as network:
    began = time.monotonic()
    peer = network.connect(sys.argv[1], grace=60)
    sent, heard, transport, is_over = 0, 0, "", False
    while not is_over or heard < sent:
        if not is_over and peer.state != "connecting":
            peer.send(sent)
            sent += 1
        for event in network.get(0.01):
            if event.what is NETWORK_DATA_IN:
                assert event.data == heard, (event.data, heard)
                heard += 1
            else:
                print(json.dumps([str(event.what), round(time.monotonic() - began, 2)]), flush=True)
        now = peer.stats()["transport"]
        if peer.state == "connected" and now != transport:
            transport = now
            print(json.dumps([transport, round(time.monotonic() - began, 2)]), flush=True)
        if not is_over and select.select([sys.stdin], [], [], 0)[0]:
            sys.stdin.readline()
            is_over = True
    print("in order", heard == sent > 0)
    peer.send("end")
    network.get(0.5)
"""


def told(process: subprocess.Popen[str], what: str) -> float:
    """Waits until a client says something, and returns when that was, in its seconds."""
    while True:
        text = line(process)
        assert text, f"it ended before {what}"
        word, at = json.loads(text)
        print(word, at)
        if word == what:
            return float(at)


def test_where_udp_is_blocked_a_game_connects_within_two_seconds_and_moves_up_when_it_can(
    hosts: Hosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts.block_udp(0)
    client_program = CLIENT.replace("sys.argv[1]", repr(f"play://{HOME}:5000"))
    with hosts.start(0, SERVER, tmp_path) as server, hosts.start(1, client_program, tmp_path) as client:
        try:
            assert line(server) == "ready"
            fallback = told(client, "tcp")
            assert fallback < 2
            hosts.let_udp_pass(0)
            upgrade = told(client, "udp") - fallback
            assert upgrade < 20
            hosts.block_udp(0)
            before = time.monotonic()
            told(client, "tcp")
            return_time = time.monotonic() - before
            assert return_time < 8
            go_on(client)
            assert lines(client)[-1] == "in order True"
            assert lines(server)[-1] == "end tcp"
            with capsys.disabled():
                print(f"\n  fallback {fallback:.2f} s, up after {upgrade:.1f} s, down again in {return_time:.1f} s")
        finally:
            server.kill()
            client.kill()


@pytest.mark.parametrize("scheme", ["play", "play+tcp", "play+ws", "play+wss"])
def test_a_cable_that_is_pulled_for_a_while_costs_a_pause(hosts: Hosts, tmp_path: Path, scheme: str) -> None:
    client_program = CLIENT.replace("sys.argv[1]", repr(f"{scheme}://{HOME}:5000"))
    with hosts.start(0, SERVER, tmp_path) as server, hosts.start(1, client_program, tmp_path) as client:
        try:
            assert line(server) == "ready"
            told(client, "NETWORK_CONNECTED")
            time.sleep(0.5)
            hosts.pull(1)
            told(client, "NETWORK_LOST")
            time.sleep(2)
            hosts.plug(1)
            told(client, "NETWORK_RESUMED")
            go_on(client)
            assert lines(client)[-1] == "in order True"
            events = lines(server)
            assert [event for event in events if event.startswith("NETWORK")] == [
                "NETWORK_CONNECTED",
                "NETWORK_LOST",
                "NETWORK_RESUMED",
            ]
        finally:
            server.kill()
            client.kill()


@pytest.mark.parametrize("scheme", ["play+tcp", "play+wss"])
def test_a_stream_whose_address_is_gone_is_replaced_by_one_from_the_new_address(
    hosts: Hosts, tmp_path: Path, scheme: str
) -> None:
    client_program = CLIENT.replace("sys.argv[1]", repr(f"{scheme}://{HOME}:5000"))
    with hosts.start(0, SERVER, tmp_path) as server, hosts.start(1, client_program, tmp_path) as client:
        try:
            assert line(server) == "ready"
            told(client, "NETWORK_CONNECTED")
            time.sleep(0.5)
            ip("-n", hosts.names[1], "address", "delete", f"{AWAY}/24", "dev", "cable")
            ip("-n", hosts.names[1], "address", "add", f"{MOVED}/24", "dev", "cable")
            time.sleep(6)
            go_on(client)
            assert lines(client)[-1] == "in order True"
            assert lines(server)[-1].startswith("end")
        finally:
            server.kill()
            client.kill()
