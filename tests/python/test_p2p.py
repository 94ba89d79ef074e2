"""Games that reach each other by an id instead of an address, on loopback: directly, and by a relay of one's own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hosts import AWAY, HOME, Hosts, go_on, ip, line, lines

import netplay
from conftest import wait_for, wait_until
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, NETWORK_LOST, NETWORK_RESUMED, Network

LISTEN = "play+p2p://?relay=none&addr=127.0.0.1:0"


class Relay:
    """A relay in a process of its own."""

    def __init__(self, *options: str) -> None:
        words = [sys.executable, "-m", "netplay", "relay", "--host", "127.0.0.1", *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        first = self._line()
        self.url = re.findall(r"relay=(\S+)", first)[0]
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def _read(self) -> None:
        while line := self._line():
            self.lines.append(line)

    def says(self, word: str) -> None:
        wait_until(lambda: any(word in line for line in self.lines), word)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


@pytest.fixture
def relays() -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(*options: str) -> Relay:
        made.append(Relay(*options))
        return made[-1]

    yield make
    for relay in made:
        relay.process.kill()
        relay.process.wait()
        relay.reader.join()
        assert relay.process.stdout is not None
        relay.process.stdout.close()


def test_an_id_and_an_address_are_enough(networks: Callable[[], Network]) -> None:
    server, client = networks(), networks()
    listener = server.listen(LISTEN, name="Server")
    assert listener.transports == ("p2p",)
    assert re.fullmatch(r"play\+p2p://[a-z0-9]{52}\?relay=none&addr=127\.0\.0\.1:\d+", listener.url)
    peer = client.connect(f"{listener.addresses[0]}#k={listener.key}", name="Ada")
    [event] = wait_for(server, NETWORK_CONNECTED)
    assert event.peer.name == "Ada"
    assert event.peer.url.startswith("play+p2p://")
    wait_for(client, NETWORK_CONNECTED)
    peer.send({"x": 1.5})
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN)] == [{"x": 1.5}]
    stats = peer.stats()
    assert (stats["transport"], stats["route"], stats["encrypted"]) == ("p2p", "direct", True)
    assert stats["address"].startswith("127.0.0.1:")


def test_what_has_no_route_says_so(networks: Callable[[], Network]) -> None:
    client = networks()
    assert client.connect("local://p2p-nobody").stats()["route"] is None
    with pytest.raises(ValueError, match="relay"):
        client.connect("play://127.0.0.1:1", relay="none")
    with pytest.raises(ValueError, match="relay=nonsense"):
        client.listen("play+p2p://", relay="nonsense")
    with pytest.raises(netplay.BadURL, match="endpoint id"):
        client.connect("play+p2p://somebody")


def test_a_guest_needs_only_an_id_and_a_relay(relays: Callable[..., Relay], networks: Callable[[], Network]) -> None:
    relay = relays("--port", "0")
    server, client = networks(), networks()
    listener = server.listen("play+p2p://", relay=relay.url)
    assert listener.url.endswith(f"?relay={quote(relay.url, safe='')}")
    relay.says("came, 1 here")
    peer = client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)
    relay.says("came, 2 here")
    peer.send("hello")
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN)] == ["hello"]
    # Both are on this machine, so there is a direct way, found sooner or later.
    wait_until(lambda: client.get(0.05) is not None and peer.stats()["route"] == "direct", "a direct way")
    client.close()
    relay.says("went, 1 here")
    assert relay.end() == 0


def test_a_relay_that_dies_and_comes_back_is_used_again(
    relays: Callable[..., Relay], networks: Callable[[], Network]
) -> None:
    relay = relays("--port", "0")
    server, client, late = networks(), networks(), networks()
    listener = server.listen("play+p2p://", relay=relay.url)
    peer = client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)
    wait_until(lambda: client.get(0.02) is not None and peer.stats()["route"] == "direct", "a direct way")
    relay.process.kill()
    relay.process.wait()
    for number in range(100):
        peer.send(number)
        time.sleep(0.01)
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN, 100)] == list(range(100))
    again = relays("--port", relay.url.rsplit(":", 1)[1])
    again.says("came")
    late.connect(listener.url, timeout=20)
    wait_for(late, NETWORK_CONNECTED)


def test_nobody_by_that_id_is_no_answer(relays: Callable[..., Relay], networks: Callable[[], Network]) -> None:
    relay = relays("--port", "0")
    server, client = networks(), networks()
    url = server.listen(LISTEN).url.split("?", maxsplit=1)[0]
    client.connect(url, relay=relay.url, timeout=1.5)
    [event] = wait_for(client, NETWORK_DISCONNECTED)
    assert event.reason == "no answer"


def test_a_relay_that_answers_with_garbage_is_no_answer(networks: Callable[[], Network]) -> None:
    client, server = networks(), networks()
    with socket.create_server(("127.0.0.1", 0)) as liar:

        def lie() -> None:
            while True:
                try:
                    line, _ = liar.accept()
                except OSError:
                    return
                with line:
                    line.recv(4096)
                    line.sendall(
                        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n" + bytes(range(256)) * 64
                    )

        threading.Thread(target=lie, daemon=True).start()
        relay = f"http://127.0.0.1:{liar.getsockname()[1]}"
        listener = server.listen("play+p2p://", relay=relay)
        client.connect(listener.url, timeout=2.0)
        [event] = wait_for(client, NETWORK_DISCONNECTED)
        assert event.reason == "no answer"
        # Neither side is worse for it.
        listener = server.listen(LISTEN)
        client.connect(listener.url)
        wait_for(client, NETWORK_CONNECTED)


def test_a_relay_has_limits_numbers_and_an_end(relays: Callable[..., Relay], networks: Callable[[], Network]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        metrics = probe.getsockname()[1]
    relay = relays("--port", "0", "--max-clients", "1", "--client-rate", "100000", "--metrics-port", str(metrics))
    networks().listen("play+p2p://", relay=relay.url)
    relay.says("came, 1 here")
    networks().listen("play+p2p://", relay=relay.url)
    relay.says("refused: full")
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        assert "relayserver_accepts_total" in answer.read().decode()
    assert relay.end(signal.SIGINT) == 0
    relay.says("ended")


def test_a_tunnel_keeps_a_seat(networks: Callable[[], Network], relays: Callable[..., Relay]) -> None:
    """A guest whose process is stopped for a while is lost, and comes back by another tunnel, nothing missing."""
    server = networks()
    listener = server.listen(LISTEN, grace=20)
    program = f"""
import netplay, time
with netplay.Network() as network:
    peer = network.connect({listener.url!r}, grace=20)
    for number in range(600):
        peer.send(number)
        network.get(0.01)
    network.get(10.0)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as guest:
        try:
            wait_for(server, NETWORK_DATA_IN, 100)
            guest.send_signal(signal.SIGSTOP)
            wait_for(server, NETWORK_LOST)
            guest.send_signal(signal.SIGCONT)
            wait_for(server, NETWORK_RESUMED)
            rest = wait_for(server, NETWORK_DATA_IN, 500)
            assert [event.data for event in rest][-1] == 599
        finally:
            guest.kill()


# A relay, a host and a guest by it, and another guest by an address; then a while in which somebody could be asked.
AT_HOME = """
import re, subprocess, sys, time, netplay
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN
words = [sys.executable, "-m", "netplay", "relay", "--host", "127.0.0.1", "--port", "0"]
with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as relay, netplay.Network() as server:
    url = re.findall(r"relay=(\\S+)", relay.stdout.readline())[0]
    listeners = [server.listen("play+p2p://", relay=url), server.listen("play+p2p://?relay=none&addr=127.0.0.1:0")]
    for listener in listeners:
        with netplay.Network() as guest:
            guest.connect(listener.url).send("hello")
            until = time.monotonic() + 2
            while time.monotonic() < until:
                print(*(event.what for event in server.get(0.1)), end=" ")
                guest.get(0.0)
    relay.terminate()
print("end")
"""


def test_at_home_nothing_leaves_the_machine(hosts: Hosts, tmp_path: Path) -> None:
    name = hosts.names[0]
    ip("-n", name, "route", "add", "default", "via", AWAY)
    hosts.nft(0, "add table inet watch")
    hosts.nft(0, "add chain inet watch out { type filter hook output priority 0 ; }")
    hosts.nft(0, "add rule inet watch out oifname cable meta l4proto { tcp, udp } counter")
    with hosts.start(0, AT_HOME, tmp_path) as process:
        said = " ".join(lines(process))
    assert said.count("NETWORK_DATA_IN") == 2, said
    watched = ["ip", "netns", "exec", name, "nft", "list", "table", "inet", "watch"]
    assert "counter packets 0 bytes 0" in subprocess.run(watched, capture_output=True, text=True, check=True).stdout


# A relay, which is killed and started again when asked; a host of a room, with a listener beside it. Says what happens.
AT_THE_RELAY = """
import select, subprocess, sys, time, netplay
from netplay import NETWORK_DATA_IN
def begin():
    words = [sys.executable, "-m", "netplay", "relay", "--host", HOME, "--port", "3340"]
    relay = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    relay.stdout.readline()
    return relay
relay, url = begin(), f"http://{HOME}:3340"
with netplay.Network() as network:
    listener = network.listen("play+p2p://", relay=url)
    room = network.host_room("test", name="host", relay=url)
    print(room.code, listener.url, flush=True)
    while True:
        for event in network.get(0.05):
            if event.what is not NETWORK_DATA_IN:
                print(event.what, getattr(event, "reason", ""), flush=True)
        if select.select([sys.stdin], [], [], 0)[0]:
            if not (pause := sys.stdin.readline().strip()):
                break
            relay.kill()
            relay.wait()
            time.sleep(float(pause))
            relay = begin()
print("end")
relay.kill()
"""

# A guest of both. Says what happens; at last how long it heard nothing of each, and by which way it hears them now.
BY_THE_RELAY = """
import select, sys, time, netplay
with netplay.Network() as rooms, netplay.Network() as peers:
    room = rooms.join_room(CODE, "test", name="guest", relay=RELAY)
    peer = peers.connect(URL)
    heard, gaps = {}, {}
    while not select.select([sys.stdin], [], [], 0)[0]:
        now = time.monotonic()
        for event in rooms.get(0.02) + peers.get(0.02):
            print(event.what, getattr(event, "reason", ""), flush=True)
        for who in [*room.members, peer]:
            packets = who.stats()["packets_received"]
            before, then = heard.get(who, (packets, now))
            gaps[who] = max(gaps.get(who, 0.0), now - then)
            heard[who] = packets, then if packets == before else now
            who.send("are you there?")
    print("gaps", *(f"{gap:.1f}" for gap in gaps.values()), flush=True)
    print("routes", *(who.stats()["route"] for who in gaps), flush=True)
"""


class Apart:
    """Two hosts with a cable and one relay, at the first; a room and a connection that lead from the second to it."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        hosts.settle()
        self.home = hosts.start(0, f"HOME = {HOME!r}\n{AT_THE_RELAY}", folder)
        code, url = line(self.home).split()
        known = f"CODE, URL, RELAY = {code!r}, {url!r}, 'http://{HOME}:3340'\n"
        self.guest = hosts.start(1, known + BY_THE_RELAY, folder)
        self.said: list[str] = []
        while not all(any(what in said for said in self.said) for what in ("ROOM", "JOINED", "CONNECTED")):
            self.said.append(line(self.guest))
            assert self.said[-1], self.said

    def end(self) -> tuple[list[str], list[str]]:
        """Returns what each has said; the guest's last two lines are the longest pauses, and the routes."""
        go_on(self.guest)
        said = self.said + lines(self.guest)
        go_on(self.home)
        return lines(self.home), said


def test_a_direct_way_that_dies_is_left_for_the_relay_before_anybody_is_given_up(hosts: Hosts, tmp_path: Path) -> None:
    apart = Apart(hosts, tmp_path)
    time.sleep(4)
    hosts.block_udp(1)
    time.sleep(12)
    home, guest = apart.end()
    said = " ".join(home + guest)
    assert not re.search("LEFT|DISCONNECTED|HOST", " ".join(guest)), said
    # Nobody was given up: what ended it was the guest's goodbye.
    assert "timeout" not in said, said
    assert guest[-1] == "routes relayed relayed", said
    # Both were direct before.
    assert guest.count("NETWORK_ROUTE ") >= 2, guest
    assert all(float(gap) < 6 for gap in guest[-2].split()[1:]), guest[-2]


def test_a_relay_that_is_started_again_parts_nobody(hosts: Hosts, tmp_path: Path) -> None:
    hosts.block_udp(1)
    apart = Apart(hosts, tmp_path)
    time.sleep(1)
    assert apart.home.stdin is not None
    apart.home.stdin.write("3\n")
    apart.home.stdin.flush()
    time.sleep(16)
    home, guest = apart.end()
    said = " ".join(home + guest)
    # It was silent for seconds, and what ended it was the guest's goodbye.
    assert not re.search("LEFT|DISCONNECTED|HOST", " ".join(guest)), said
    assert not re.search("(LEFT|DISCONNECTED) timeout", said), said
    assert guest[-1] == "routes relayed relayed", said


def test_only_the_machines_own_name_servers_are_asked_for_a_relay_of_ones_own(hosts: Hosts, tmp_path: Path) -> None:
    name = hosts.names[0]
    ip("-n", name, "route", "add", "default", "via", AWAY)
    own = re.findall(r"^nameserver\s+(\d+\.\d+\.\d+\.\d+)$", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    for server in own:
        if not server.startswith("127."):
            ip("-n", name, "route", "add", "unreachable", server)
    hosts.nft(0, "add table ip watch")
    hosts.nft(0, "add set ip watch seen { type ipv4_addr ; flags dynamic ; size 64 ; }")
    hosts.nft(0, "add chain ip watch out { type filter hook output priority 0 ; }")
    hosts.nft(0, "add rule ip watch out oifname cable meta l4proto { tcp, udp } update @seen { ip daddr }")
    program = """
import netplay
with netplay.Network() as network:
    network.listen("play+p2p://", relay="http://relay.example:3340")
    network.get(8.0)
"""
    with hosts.start(0, program, tmp_path) as process:
        lines(process)
    watched = ["ip", "netns", "exec", name, "nft", "list", "set", "ip", "watch", "seen"]
    seen = subprocess.run(watched, capture_output=True, text=True, check=True).stdout
    strangers = {address for address in re.findall(r"\d+\.\d+\.\d+\.\d+", seen) if address not in own}
    # What a router is asked for is for the router, and what is for everybody on the local network stays there.
    assert {address for address in strangers if address != AWAY and int(address.split(".")[0]) < 224} == set(), seen
