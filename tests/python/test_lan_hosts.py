"""Games on other hosts, found by DNS-SD: two network namespaces, which nothing leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from avahi import avahi
from flood import FLOOD
from hosts import AWAY, HOME, Hosts, ip, line

from conftest import needs

HOST = """
import sys, netplay
network = netplay.Network()
listener = network.listen("play://*:{port}", advertise="pong", title="Ada's table", max_peers=4{options})
print("there", flush=True)
for title in sys.stdin:
    if title.strip() == "close":
        network.close()
    else:
        listener.title = title.strip()
"""

MENU = """
import time, netplay
with netplay.Network() as network:
    finder = network.find("pong")
    print("looks", flush=True)
    while True:
        for e in network.get(1.0):
            print(e.what, e.game.title, e.game.players, e.game.url, e.game.host, sep="|", flush=True)
"""

GUEST = """
import sys, netplay
network = netplay.Network()
peer = network.connect({url!r}, name="Bob")
print("calls", flush=True)
while True:
    for e in network.get(1.0):
        print(e.what, peer.name, getattr(e, "reason", ""), sep="|", flush=True)
"""


class Told:
    """A program that runs on one host, and the lines it prints."""

    def __init__(self, hosts: Hosts, place: int, program: str, folder: Path) -> None:
        self.process = hosts.start(place, program, folder)
        line(self.process)  # it has begun

    def says(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def next(self, within: float) -> list[str]:
        """Waits for the next line, which must come in time."""
        began = time.monotonic()
        words = line(self.process).split("|")
        took = time.monotonic() - began
        print(words, f"{took:.2f} s")
        assert took < within, (words, took)
        return words


Start = Callable[[int, str], Told]


@pytest.fixture
def start(hosts: Hosts, tmp_path: Path) -> Iterator[Start]:
    started: list[Told] = []
    hosts.settle()

    def begin(place: int, program: str) -> Told:
        started.append(Told(hosts, place, program, tmp_path))
        return started[-1]

    yield begin
    for told in started:
        told.process.kill()
        told.process.communicate()


def host(options: str = "", port: int = 5000) -> str:
    return HOST.format(port=port, options=options)


def guest(url: str) -> str:
    return GUEST.format(url=url)


def test_two_hosts_find_each_other_and_each_change(start: Start) -> None:
    menu = start(1, MENU)
    table = start(0, host())
    what, title, players, url, _ = menu.next(2.0)
    assert (what, title, players) == ("NETWORK_FOUND", "Ada's table", "0")
    assert url.startswith(f"play://{HOME}:5000#k=")
    start(1, guest(url)).next(5.0)
    assert menu.next(2.0)[:3] == ["NETWORK_FOUND", "Ada's table", "1"]
    time.sleep(2.5)  # the game is asked for again meanwhile, and nothing is told
    table.says("Ada's second table")
    assert menu.next(2.0)[:3] == ["NETWORK_FOUND", "Ada's second table", "1"]
    table.says("close")
    assert menu.next(2.0)[:2] == ["NETWORK_GONE", "Ada's second table"]


def test_a_menu_that_opens_later_sees_the_game_and_lan_joins_it(start: Start) -> None:
    start(0, host(', password="sesame"'))
    time.sleep(3)
    assert start(1, MENU).next(2.0)[0] == "NETWORK_FOUND"
    program = guest("lan://pong/Ada's%20table?lag_ms=5").replace(
        'name="Bob"', 'name="Bob", password="sesame", resume="x"'
    )
    assert start(1, program).next(5.0)[0] == "NETWORK_CONNECTED"


def test_a_host_that_is_killed_or_silent_leaves_in_time_and_comes_back(hosts: Hosts, start: Start) -> None:
    menu = start(1, MENU)
    table = start(0, host())
    menu.next(2.0)
    hosts.block_udp(0)
    assert menu.next(7.0)[0] == "NETWORK_GONE"
    hosts.let_udp_pass(0)
    assert menu.next(10.0)[0] == "NETWORK_FOUND"
    table.process.kill()
    assert menu.next(7.0)[0] == "NETWORK_GONE"


def test_a_cable_that_is_pulled(hosts: Hosts, start: Start) -> None:
    menu = start(1, MENU)
    start(0, host())
    menu.next(2.0)
    hosts.pull(0)
    assert menu.next(7.0)[0] == "NETWORK_GONE"
    hosts.plug(0)
    assert menu.next(15.0)[0] == "NETWORK_FOUND"


def test_ipv6_alone_with_link_local_addresses_alone(hosts: Hosts, start: Start) -> None:
    for name, address in zip(hosts.names, (HOME, AWAY), strict=True):
        ip("-n", name, "address", "delete", f"{address}/24", "dev", "cable")
    time.sleep(2)  # until the addresses are known to be nobody else's
    menu = start(1, MENU)
    start(0, host())
    what, _, _, url, _ = menu.next(3.0)
    assert what == "NETWORK_FOUND"
    assert url.startswith("play://[fe80:")
    assert "%" in url
    assert start(1, guest(url)).next(5.0)[0] == "NETWORK_CONNECTED"
    menu.next(2.0)
    assert start(1, guest("lan://pong")).next(5.0)[0] == "NETWORK_CONNECTED"


def test_two_interfaces_are_one_game_that_is_found_by_the_other_when_one_goes(hosts: Hosts, start: Start) -> None:
    home, away = hosts.names
    ip("link", "add", "second", "netns", home, "type", "veth", "peer", "name", "second", "netns", away)
    for name, address in zip(hosts.names, ("198.18.8.1", "198.18.8.2"), strict=True):
        ip("-n", name, "address", "add", f"{address}/24", "dev", "second")
        ip("-n", name, "link", "set", "second", "up")
    hosts.settle()
    menu = start(1, MENU)
    table = start(0, host())
    assert menu.next(2.0)[0] == "NETWORK_FOUND"
    ip("-n", home, "link", "set", "cable", "down")
    for _ in range(4):  # it may be gone for a moment, and its addresses change one by one
        told = menu.next(8.0)
        if told[0] == "NETWORK_FOUND" and told[3].startswith("play://198.18.8.1:5000"):
            break
    else:
        raise AssertionError(told)
    table.says("Second cable")
    assert menu.next(2.0)[:2] == ["NETWORK_FOUND", "Second cable"]
    assert start(1, guest("lan://pong")).next(5.0)[0] == "NETWORK_CONNECTED"


def test_the_same_title_twice_on_one_host_and_once_on_the_other(start: Start) -> None:
    menu = start(1, MENU)
    start(0, host())
    start(0, host(port=5001))
    start(1, host())
    urls: set[str] = set()
    while not {f"play://{HOME}:5000", f"play://{HOME}:5001", "play://127.0.0.1:5000"} <= urls:
        urls.add(menu.next(3.0)[3].partition("#")[0])  # the near one may have been heard from outside first


def test_a_listener_on_loopback_is_not_told_to_others(start: Start) -> None:
    menu = start(1, MENU)
    near = start(0, MENU)
    start(0, host().replace("play://*", "play://127.0.0.1"))
    assert near.next(2.0)[0] == "NETWORK_FOUND"
    start(0, host(port=5001))
    assert f"play://{HOME}:5001" in menu.next(3.0)[3]


WATCH = """
import pathlib, time, netplay
with netplay.Network() as network:
    finder = network.find("pong")
    print("looks", flush=True)
    most, until = 0, time.monotonic() + 8
    while time.monotonic() < until:
        network.get(0.1)
        most = max(most, len(finder.games))
        assert all(game.title.isprintable() and len(game.title) < 65 for game in finder.games), finder.games
    refused = network.stats()["games_refused"]
    memory = pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(most, refused, int(memory) // 1024, flush=True)
    while not any(game.title == "Ada's table" for game in finder.games):
        network.get(0.1)
    print("finds", flush=True)
"""


def test_a_flood_of_lies_is_bounded_and_the_true_game_is_found_after_it(start: Start) -> None:
    watch = start(1, WATCH)
    flood = start(0, FLOOD)
    assert line(flood.process) == "over"
    most, refused, megabytes = map(int, line(watch.process).split())
    print(most, refused, megabytes)
    assert most <= 256
    assert refused > 0
    assert megabytes < 200
    flood.process.kill()
    start(0, host())
    assert watch.next(30.0) == ["finds"]


@needs("avahi-browse", "avahi-utils")
def test_avahi_sees_our_game(hosts: Hosts, start: Start, tmp_path: Path) -> None:
    start(0, host(', password="sesame"'))
    with avahi(hosts, 1, tmp_path / "avahi") as begin:
        time.sleep(2)
        seen = begin("avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", "_netplay._udp")
        text = seen.communicate(timeout=30)[0]
    print(text)
    resolved = [entry.split(";") for entry in text.splitlines() if entry.startswith("=") and ";IPv4;" in entry]
    assert len(resolved) == 1, text
    _, _, _, name, service, _, _, address, port, txt = resolved[0]
    assert name.startswith("Ada\\039s\\032table\\032\\040")
    assert (service, address, port) == ("_netplay._udp", HOME, "5000")
    for said in (
        '"v=1"',
        '"app=pong"',
        '"title=Ada\'s table"',
        '"players=0"',
        '"max=4"',
        '"pw=1"',
        '"by=udp,tcp,ws,wss"',
    ):
        assert said in txt, txt


@needs("avahi-browse", "avahi-utils")
def test_we_see_a_game_that_avahi_publishes(hosts: Hosts, start: Start, tmp_path: Path) -> None:
    menu = start(1, MENU)
    with avahi(hosts, 0, tmp_path / "avahi") as begin:
        time.sleep(2)
        said = begin("avahi-publish", "-s", "Bob. His table", "_netplay._udp", "5000", "v=1", "app=pong", "players=2")
        assert menu.next(4.0) == ["NETWORK_FOUND", "Bob. His table", "2", f"play://{HOME}:5000", "debian"]
        said.terminate()
        assert menu.next(3.0)[:2] == ["NETWORK_GONE", "Bob. His table"]
