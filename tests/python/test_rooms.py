"""Rooms: players who found each other by a code, in one process and in several, and what becomes of them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from test_p2p import Relay, relays

import netplay
from netplay import (
    NETWORK_DATA_IN,
    NETWORK_HOST,
    NETWORK_JOINED,
    NETWORK_LEFT,
    NETWORK_ROOM,
    Event,
    Network,
    Peer,
    Room,
    _kinds,
)

Make = Callable[[], Network]

__all__ = ["relays"]  # a fixture

PATIENCE = 40.0
"""Seconds after which what should have happened long ago counts as not happening, also on a busy machine."""


def free_door() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"play+udp://127.0.0.1:{probe.getsockname()[1]}"


class Player:
    def __init__(self, network: Network, room: Room, name: str) -> None:
        self.network, self.room, self.name = network, room, name
        self.events: list[Event] = []

    def poll(self) -> None:
        self.events += self.network.get()

    def names(self) -> list[str]:
        return sorted([self.name, *(str(peer) for peer in self.room.members)])

    def heard(self) -> list[tuple[str, object]]:
        return [(str(event.peer), event.data) for event in self.events if event.what == NETWORK_DATA_IN]


def is_about_us(event: Event) -> bool:
    return cast("Peer | None", event.peer) is None


def until(players: list[Player], is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        for player in players:
            player.poll()
        if is_true():
            return
        views = [(player.room, player.names(), player.room.host, player.events[-3:]) for player in players]
        assert time.monotonic() < deadline, f"still not: {what}; {views}"
        time.sleep(0.005)


def all_in(players: list[Player]) -> bool:
    names = sorted(player.name for player in players)
    return all(player.room.state == "open" and player.names() == names for player in players)


def gather(make: Make, count: int, topology: Any = "mesh") -> tuple[list[Player], str]:
    door = free_door()
    network = make()
    room = network.host_room("test", name="p0", topology=topology, door=door)
    players = [Player(network, room, "p0")]
    until(players, lambda: room.state == "open", "the room is open")
    for number in range(1, count):
        network = make()
        name = f"p{number}"
        joined = network.join_room(room.code, "test", name=name, door=door)
        players.append(Player(network, joined, name))
        until(players, lambda: all_in(players), f"{name} is in")
    return players, door


@pytest.mark.parametrize("topology", ["mesh", "star"])
def test_everybody_in_a_room_hears_everybody_by_name(networks: Make, topology: str) -> None:
    players, _ = gather(networks, 4, topology)
    for player in players:
        assert player.network.send({"from": player.name}, 2) == 3
        assert player.room.send("hello", 2) == 3
        if player is not players[0]:
            assert player.room.host is not None
            assert str(player.room.host) == "p0"
            assert player.room.host.send("to the host", 3)
    count = {player.name: 6 + 3 * (player is players[0]) for player in players}
    until(players, lambda: all(len(player.heard()) == count[player.name] for player in players), "all is heard")
    for player in players:
        for other in players:
            said = [data for name, data in player.heard() if name == other.name]
            to_host = ["to the host"] if player is players[0] else []
            assert sorted(map(str, said)) == sorted(
                map(str, [] if other is player else [{"from": other.name}, "hello", *to_host])
            )
        joined = [str(event.peer) for event in player.events if event.what == NETWORK_JOINED]
        assert sorted(joined) == sorted(other.name for other in players if other is not player)
        (opened,) = (event for event in player.events if event.what == NETWORK_ROOM)
        assert (opened.room, opened.code, is_about_us(opened)) == (player.room, player.room.code, True)
    # Members are in the order in which they came into the room.
    assert [str(peer) for peer in players[3].room.members] == ["p0", "p1", "p2"]
    transports = {peer.stats()["transport"] for peer in players[2].room.members}
    assert transports == ({"udp"} if topology == "mesh" else {"udp", "host"})


def test_a_question_to_a_member_is_answered_also_by_way_of_the_host(networks: Make) -> None:
    players, _ = gather(networks, 3, "star")
    asked = players[1].network.on(7)
    asked(lambda event: event.data * 2)
    (peer,) = (peer for peer in players[2].room.members if str(peer) == "p1")
    token = peer.ask(21, 7)

    def answers() -> list[tuple[int, object]]:
        return [(e.token, e.data) for e in players[2].events if e.what == netplay.NETWORK_ANSWER]

    until(players, lambda: bool(answers()), "there is an answer")
    assert answers() == [(token, 42)]


def test_a_player_that_leaves_is_gone_and_the_next_host_lets_others_in(networks: Make) -> None:
    players, door = gather(networks, 3)
    host = players.pop(0)
    host.room.send("bye")
    host.room.close()
    assert (host.room.state, host.room.reason, players[0].room.reason) == ("closed", "closed", "")
    until([*players, host], lambda: all_in(players) and players[0].room.is_host, "the next is the host")
    (left,) = (event for event in host.events if event.what == NETWORK_LEFT and is_about_us(event))
    assert (left.room, left.reason) == (host.room, "closed")
    for player in players:
        whats = [event.what for event in player.events if event.what in (NETWORK_LEFT, NETWORK_HOST, NETWORK_DATA_IN)]
        assert whats == [NETWORK_DATA_IN, NETWORK_LEFT, NETWORK_HOST]
        (gone,) = (event for event in player.events if event.what == NETWORK_LEFT)
        assert (str(gone.peer), gone.reason, gone.peer.state) == ("p0", "goodbye", "closed")
    assert str(players[1].room.host) == "p1"
    assert not players[1].room.is_host
    # The old host comes back as an ordinary member, by the code alone.
    again = Player(host.network, host.network.join_room(players[0].room.code, "test", name="p0", door=door), "p0")
    players.append(again)
    until(players, lambda: all_in(players), "the old host is in again")
    assert [str(peer) for peer in again.room.members] == ["p1", "p2"]
    assert str(again.room.host) == "p1"


def test_what_cannot_be_joined_says_why(networks: Make) -> None:
    door = free_door()
    network = networks()
    room = network.host_room("test", name="p0", max_peers=2, password="swordfish", version="1", door=door)
    players = [Player(network, room, "p0")]
    until(players, lambda: room.state == "open", "the room is open")

    def reason(code: str, password: str | None, version: str, app: str = "test") -> str:
        network = networks()
        joining = network.join_room(code, app, password=password, version=version, timeout=2, door=door)
        late = Player(network, joining, "late")
        until([*players, late], lambda: joining.state == "closed", "it has failed")
        (event,) = late.events
        assert (event.what, event.room, is_about_us(event)) == (NETWORK_LEFT, joining, True)
        assert joining.reason == event.reason
        return event.reason

    other = "CDFG-2345" if room.code != "CDFG-2345" else "CDFG-2346"
    assert reason(other, "swordfish", "1") == "no room"
    assert reason(room.code, "swordfish", "1", "another game") == "no room"
    assert reason(room.code, "catfish", "1") == "wrong password"
    assert reason(room.code, None, "1") == "wrong password"
    assert reason(room.code, "swordfish", "2") == "wrong version"
    network = networks()
    guest = network.join_room(room.code.lower(), "test", name="p1", password="swordfish", version="1", door=door)
    players.append(Player(network, guest, "p1"))
    until(players, lambda: all_in(players), "the guest is in")
    assert reason(room.code, "swordfish", "1") == "full"
    # Who is put out by the host is told so.
    room.members[0].close("too loud")
    until(players, lambda: guest.state == "closed", "the guest is out")
    assert [event.reason for event in players[1].events if event.what == NETWORK_LEFT and is_about_us(event)] == [
        "goodbye"
    ]


def test_a_member_that_sends_nonsense_is_put_out_by_the_host_alone(networks: Make) -> None:
    players, _ = gather(networks, 3)
    # Bytes of a kind that cannot be read: to the host and to the other alike.
    kinds = _kinds.packers

    class Nonsense:
        pass

    kinds[Nonsense] = lambda _: (2, b"\xc1")
    try:
        players[2].network.send(Nonsense(), 1)
        until(players, lambda: players[2].room.state == "closed", "it is out")
    finally:
        del kinds[Nonsense]
    until(players[:2], lambda: all_in(players[:2]), "the others go on")
    assert [event.reason for event in players[0].events if event.what == NETWORK_LEFT] == ["bad data"]


def test_who_closes_the_host_has_left_the_room(networks: Make) -> None:
    players, _ = gather(networks, 3)
    host = players[1].room.host
    assert host is not None
    host.close()
    until(players, lambda: players[1].room.state == "closed", "it is out")
    last = [event for event in players[1].events if event.what == NETWORK_LEFT][-1]
    assert (is_about_us(last), last.reason, players[1].room.reason) == (True, "closed", "closed")
    others = [players[0], players[2]]
    until(others, lambda: all_in(others), "the others go on")


@pytest.mark.parametrize("topology", ["mesh", "star"])
def test_the_words_with_which_the_host_closes_a_member_reach_it(networks: Make, topology: str) -> None:
    players, _ = gather(networks, 2, topology)
    [peer] = players[0].room.members
    peer.close("too loud")
    until(players, lambda: players[1].room.state == "closed", "it is out")
    last = [event for event in players[1].events if event.what == NETWORK_LEFT][-1]
    assert (last.reason, last.detail) == ("goodbye", "the host has closed our place: too loud")


def test_where_no_relay_is_neither_the_host_nor_a_guest_is_told_of_a_wrong_code(networks: Make) -> None:
    # A port at which nobody answers.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    host, guest = networks(), networks()
    rooms = [host.host_room("test", relay=nobody), guest.join_room("CDFG-2345", "test", relay=nobody, timeout=3)]
    players = [Player(network, room, "") for network, room in zip((host, guest), rooms, strict=True)]
    until(players, lambda: all(room.state == "closed" for room in rooms), "both are told")
    for player in players:
        assert [event.what for event in player.events] == [NETWORK_LEFT]
        [event] = player.events
        assert (event.reason, event.detail) == ("no answer", f"the relay {nobody} cannot be reached")


MEMBER = """
import sys, time, netplay
door, code, name = sys.argv[1:4]
if code:
    room = netplay.join_room(code, "test", name=name, door=door)
else:
    room = netplay.host_room("test", name=name, door=door)
    print("code", room.code, flush=True)
before = None
while room.state != "closed":
    for event in netplay.get(timeout=0.05):
        if event.what == netplay.NETWORK_DATA_IN:
            if event.data == "say":
                room.send(name, 4)
            elif event.channel == 4:
                print("heard", event.peer, event.data, flush=True)
    host = name if room.is_host else str(room.host)
    view = "in " + ",".join(sorted([name, *map(str, room.members)])) + " host " + host
    if room.state == "open" and view != before:
        print(view, flush=True)
        before = view
"""


class Program:
    def __init__(self, door: str, code: str, name: str) -> None:
        self.name = name
        command = [sys.executable, "-u", "-c", MEMBER, door, code, name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []

    def wait_for(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            line = self.process.stdout.readline().strip()
            assert line or self.process.poll() is None, (self.name, self.lines)
            self.lines.append(line)
            found = re.fullmatch(pattern, line)
            if found:
                return found
            assert time.monotonic() < deadline, (self.name, pattern, self.lines)


def test_eight_processes_go_on_when_the_host_is_killed() -> None:
    door = free_door()
    programs = [Program(door, "", "p0")]
    try:
        code = programs[0].wait_for("code (.*)").group(1)
        programs += [Program(door, code, f"p{number}") for number in range(1, 8)]
        everybody = ",".join(f"p{number}" for number in range(8))
        for program in programs:
            program.wait_for(f"in {everybody} host p0")
        killed = programs.pop(0)
        killed.process.send_signal(signal.SIGKILL)
        survivors = everybody.removeprefix("p0,")
        hosts = {program.wait_for(f"in {survivors} host (p[1-7])").group(1) for program in programs}
        assert len(hosts) == 1, hosts
        # A latecomer with the code alone is introduced to everyone.
        programs.append(Program(door, code, "q"))
        for program in programs:
            program.wait_for(f"in {survivors},q host {min(hosts)}")
    finally:
        for program in programs:
            program.process.kill()
            program.process.communicate()
        killed.process.communicate()


def test_a_code_and_a_relay_are_enough_through_routers(networks: Make, relays: Callable[..., Relay]) -> None:
    relay = relays()
    network = networks()
    room = network.host_room("test", name="p0", relay=relay.url)
    players = [Player(network, room, "p0")]
    until(players, lambda: room.state == "open", "the room is open")
    for number in (1, 2):
        network = networks()
        players.append(Player(network, network.join_room(room.url, name=f"p{number}"), f"p{number}"))
        until(players, lambda: all_in(players), "the newcomer is in")
    assert {peer.stats()["transport"] for peer in room.members} == {"p2p"}
    host = players.pop(0)
    host.room.close()
    until([*players, host], lambda: all_in(players) and players[0].room.is_host, "the next is the host")
    network = networks()
    players.append(Player(network, network.join_room(room.code, "test", name="late", relay=relay.url), "late"))
    until(players, lambda: all_in(players), "the latecomer is in")
    players[2].room.send("hello", 1)
    until(players, lambda: ("late", "hello") in players[0].heard(), "it is heard")


def test_a_code_is_read_as_people_type_it() -> None:
    with Network() as network:
        room = network.host_room("test", door="local://test-typed", code="cdfg 2345")
        assert (room.code, room.url, str(room)) == ("CDFG-2345", "room://CDFG-2345?app=test", "CDFG-2345")
        for text in (
            "CDFG-2345",
            "cdfg2345",
            "CDFG-Z345",
            "c d f g 2 3 4 s",
            " CDFG\N{EN DASH}2345\r\n",
            room.url,
            f" {room.url}\n",
        ):
            app = None if "://" in text else "test"
            assert network.join_room(text, app, door="local://test-typed").code == "CDFG-2345"


@pytest.mark.parametrize(
    ("code", "app", "words"),
    [
        ("CDFG-2345", None, "say which game"),
        ("room://CDFG-2345", None, "say which game"),
        ("CDFG-234", "test", "7 characters"),
        ("CDFG-234O", "test", "'O' is in no code"),
        ("room://CDFG-2345?app=chess", "test", "one of 'chess'"),
        ("room://CDFG-2345?colour=red", "test", "'colour'"),
        ("play://CDFG-2345", "test", "is no room"),
        ("room://CDFG-2345/x", "test", "is no room"),
        ("room://[::1?app=test", None, "is no room"),
        ("room://CDFG-2345?app=%ff", None, "cannot be read"),
        ("room://CDFG-2345?app=a&app=b", None, "more than once"),
    ],
)
def test_what_is_no_room_is_an_error_that_says_so(code: str, app: str | None, words: str) -> None:
    with Network() as network, pytest.raises(ValueError, match=words):
        network.join_room(code, app, door="local://test-no-room")


def test_what_a_room_cannot_be_is_an_error_that_says_so() -> None:
    with Network() as network:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"max_peers": 1}, "max_peers is 1"),
            ({"max_peers": 65}, "max_peers is 65, a room may have 2 to 64"),
            ({"max_peers": -1}, "max_peers is -1, a room may have 2 to 64"),
            ({"max_peers": 10**30}, "a room may have 2 to 64"),
            ({"topology": "ring"}, "topology is 'ring'"),
            ({"name": "n" * 65}, "name is 65 bytes"),
            ({"door": "play://127.0.0.1:5000"}, "a door is"),
            ({"code": "AAAA-AAAA"}, "'A' is in no code"),
        ]
        for options, words in wrong:
            with pytest.raises(ValueError, match=words):
                network.host_room("test", **{"door": "local://test-wrong", **options})
        with pytest.raises(ValueError, match="app is 0 bytes"):
            network.host_room("", door="local://test-wrong")
        with pytest.raises(netplay.BadURL, match=r"give the URL to join_room\(\)"):
            network.connect("room://CDFG-2345")


def test_who_is_left_out_may_be_several(networks: Make) -> None:
    players, _ = gather(networks, 3)
    room = players[0].room
    assert room.send("to one", 1, exclude=room.members[0]) == 1
    assert room.send("to nobody", 1, exclude=room.members) == 0
    until(players, lambda: len(players[2].heard()) == 1, "one has heard it")
    assert players[1].heard() == []


def test_a_room_of_a_network_that_was_closed_is_closed(networks: Make) -> None:
    players, _ = gather(networks, 2)
    network, room = players[0].network, players[0].room
    network.close()
    assert (room.state, room.is_host, room.host, room.members) == ("closed", False, None, [])
