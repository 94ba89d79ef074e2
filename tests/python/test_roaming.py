"""Eight members of a room, in eight processes: the host is killed, one moves about, and all agree who is in.

Seven are on the internet of `routers.py`, where the relay is; the eighth is at home behind a router.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from hosts import ip, line, output
from routers import RELAY, Internet

from conftest import skip

URL = f"http://{RELAY}:3340"
PATIENCE = 60.0

# Notes from which addresses datagrams come to those on the internet.
WATCH = """
    table ip watch {
        set seen { type ipv4_addr; flags dynamic; size 64; }
        chain in { type filter hook input priority 0; meta l4proto udp update @seen { ip saddr }; }
    }
"""

# Counts for everybody, fifty times a second, and listens to the others; says what it has seen when asked.
MEMBER = """
import json, select, sys, time, netplay
from netplay import NETWORK_DATA_IN, NETWORK_HOST, NETWORK_JOINED, NETWORK_LEFT, NETWORK_ROUTE
relay, code, name = sys.argv[1:4]
if code:
    room = netplay.join_room(code, "roaming", name=name, relay=relay, timeout=40)
else:
    room = netplay.host_room("roaming", name=name, relay=relay)
    print(room.code, flush=True)
sent, last, came, gaps, wrong, events, is_told = 0, {}, {}, {}, [], [], False
while True:
    tick = time.monotonic() + 0.02
    for event in netplay.get():
        now, who = time.monotonic(), str(event.peer)
        if event.what is NETWORK_DATA_IN:
            if event.data != last.get(who, event.data - 1) + 1:
                wrong.append([who, last[who], event.data])
            gaps[who] = max(gaps.get(who, 0.0), now - came.get(who, now))
            last[who], came[who] = event.data, now
        elif event.what is NETWORK_JOINED:
            # A stream begins anew with a peer.
            last.pop(who, None), came.pop(who, None)
        if event.what not in (NETWORK_DATA_IN, NETWORK_JOINED, NETWORK_ROUTE):
            events.append([str(event.what), who])
    if room.state == "open":
        room.send(sent, 1)
        sent += 1
    if select.select([sys.stdin], [], [], 0)[0]:
        if not sys.stdin.readline():
            break
        now = time.monotonic()
        print(json.dumps({
            "in": sorted([name, *map(str, room.members)]), "host": name if room.is_host else str(room.host),
            "state": room.state, "wrong": wrong, "events": events, "heard": last, "sent": sent,
            "gaps": {who: max(gap, now - came[who]) for who, gap in gaps.items() if who in came},
            "routes": {str(peer): peer.stats()["route"] for peer in room.members},
        }), flush=True)
        gaps.clear()
        events.clear()
    time.sleep(max(0.0, tick - time.monotonic()))
"""


class Member:
    def __init__(self, process: Popen[str], name: str) -> None:
        self.process, self.name = process, name
        self.events: list[list[str]] = []
        self.gaps: dict[str, float] = {}

    def report(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(line(self.process))
        assert said["wrong"] == [], f"{self.name} heard {said['wrong']}"
        self.events += said["events"]
        for name, gap in said["gaps"].items():
            self.gaps[name] = max(gap, self.gaps.get(name, 0.0))
        return said

    def forget(self) -> None:
        self.report()
        self.events.clear()
        self.gaps.clear()


class Party:
    """The members, in the order in which they came."""

    def __init__(self, internet: Internet, folder: Path) -> None:
        self.internet, self.folder = internet, folder
        self.members: list[Member] = []
        self.code = ""

    def add(self, place: str, name: str) -> None:
        process = self.internet.start(place, self.folder, "-c", MEMBER, URL, self.code, name)
        self.members.append(Member(process, name))
        if not self.code:
            self.code = line(process)

    def agree(self) -> None:
        """Waits until everybody sees everybody, and the first as the host."""
        until = time.monotonic() + PATIENCE
        names = [member.name for member in self.members]
        while True:
            said = [member.report() for member in self.members]
            if all((one["in"], one["host"]) == (sorted(names), names[0]) for one in said):
                return
            assert time.monotonic() < until, [(one["in"], one["host"], one["state"]) for one in said]
            time.sleep(0.2)

    def hear(self) -> list[dict[str, Any]]:
        """Waits until everybody has heard of each other what each has sent by now; returns what they say then."""
        sent = {member.name: member.report()["sent"] for member in self.members}
        until = time.monotonic() + PATIENCE
        while True:
            said = [member.report() for member in self.members]
            behind = [
                (member.name, name)
                for member, one in zip(self.members, said, strict=True)
                for name in sent
                if name != member.name and one["heard"].get(name, -1) < sent[name] - 1
            ]
            if not behind:
                return said
            assert time.monotonic() < until, behind
            time.sleep(0.1)

    def end(self) -> None:
        for member in self.members:
            member.process.kill()
        for member in self.members:
            member.process.communicate()


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    made = Internet()
    relay = None
    try:
        for command, package in (("ip", "iproute2"), ("nft", "nftables")):
            if shutil.which(command) is None:
                raise OSError(f"there is no command {command} (Debian: {package})")
        made.make()
        made.set_kind(0, "port-restricted")
        made.run(made.middle, "nft", "-f", "-", given=WATCH)
        relay = made.start(made.middle, tmp_path_factory.mktemp("relay"), "-m", "netplay", "relay", "--host", RELAY)
        assert URL in line(relay)
    except OSError as error:
        made.delete()
        skip(f"an internet of network namespaces cannot be made here: {error}")
    yield made
    if relay is not None:
        relay.kill()
        relay.communicate()
    made.delete()


@pytest.fixture(scope="module")
def party(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """Eight members of a room, of whom the first, its host, has been killed: p7 is at home."""
    made = Party(internet, tmp_path_factory.mktemp("party"))
    try:
        for number in range(8):
            made.add(internet.homes[0] if number == 7 else internet.middle, f"p{number}")
            made.agree()
        made.hear()
        made.members[0].process.kill()
        made.members.pop(0).process.communicate()
        made.agree()
        for member in made.members:
            left = [who for what, who in member.events if what == "NETWORK_LEFT"]
            assert left == ["p0"], (member.name, member.events)
        made.hear()
        yield made
    finally:
        made.end()


def readdress_home(internet: Internet) -> str:
    """The router gives the host another address, as another wifi does."""
    name = internet.homes[0]
    ip("-n", name, "address", "delete", "10.77.0.2/24", "dev", "lan")
    ip("-n", name, "address", "add", "10.77.0.3/24", "dev", "lan")
    ip("-n", name, "route", "add", "default", "via", "10.77.0.1")
    return "198.18.8.10"


def readdress_router(internet: Internet) -> str:
    """The provider gives the router another address, as many do each night; what it knew of connections is gone."""
    ip("-n", internet.routers[0], "address", "delete", "198.18.8.10/24", "dev", "wan")
    ip("-n", internet.routers[0], "address", "add", "198.18.8.20/24", "dev", "wan")
    return "198.18.8.20"


def change_router(internet: Internet) -> str:
    """From home to a mobile network: an address, and a router that shows every remote side another port."""
    internet.set_kind(0, "symmetric")
    ip("-n", internet.routers[0], "address", "delete", "198.18.8.20/24", "dev", "wan")
    ip("-n", internet.routers[0], "address", "add", "198.18.8.30/24", "dev", "wan")
    return "198.18.8.30"


def unplug(internet: Internet) -> str:
    """A tunnel, of a train: two seconds of nothing."""
    ip("-n", internet.homes[0], "link", "set", "lan", "down")
    time.sleep(2.0)
    ip("-n", internet.homes[0], "link", "set", "lan", "up")
    ip("-n", internet.homes[0], "route", "replace", "default", "via", "10.77.0.1")
    return "198.18.8.30"


@pytest.mark.parametrize("move", [readdress_home, readdress_router, change_router, unplug])
def test_a_member_moves_and_nobody_leaves(
    move: Callable[[Internet], str], party: Party, capsys: pytest.CaptureFixture[str]
) -> None:
    party.hear()
    for member in party.members:
        member.forget()
    began = time.monotonic()
    address = move(party.internet)
    time.sleep(0.5)
    said = party.hear()
    took = time.monotonic() - began
    *others, mover = party.members
    with capsys.disabled():
        to_others = [member.gaps["p7"] for member in others]
        routes = sorted(map(str, said[-1]["routes"].values()))
        print(f"\n{move.__name__}: not heard for {min(to_others):.2f} to {max(to_others):.2f} s;", end=" ")
        print(f"not hearing for {max(mover.gaps.values()):.2f} s; all is there after {took:.2f} s;", end=" ")
        print(", ".join(f"{routes.count(route)} {route}" for route in sorted(set(routes))))
    assert address in output("netns", "exec", party.internet.middle, "nft", "list", "set", "ip", "watch", "seen")
    party.agree()
    for member in party.members:
        assert {what for what, _ in member.events} <= {"NETWORK_LOST", "NETWORK_RESUMED"}, member.events


def test_a_member_that_was_away_for_long_comes_back_and_all_agree_again(party: Party) -> None:
    home = party.internet.homes[0]
    ip("-n", home, "link", "set", "lan", "down")
    away = party.members.pop()
    party.agree()
    for member in party.members:
        assert ["NETWORK_LEFT", "p7"] in member.events
    ip("-n", home, "link", "set", "lan", "up")
    ip("-n", home, "route", "replace", "default", "via", "10.77.0.1")
    party.members.append(away)
    party.agree()
    party.hear()
