"""A relay that lies to those who have no other way: what they say to each other stays whole and in order, or ends."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from hosts import Hosts, line
from lying_relay import LIES

from conftest import skip

GRACE = 30

LIES_TO_NEWCOMERS = ("holds back", "hangs up", "says nothing", "speaks another version", "sends giants")
"""With these nobody gets in, and is told so in time."""

# A host and two guests, whom nothing but the relay joins. The guests count, by both kinds, and the host counts along.
GAME = """
import json, resource, select, sys, time, netplay
from netplay import NETWORK_DATA_IN, NETWORK_LOST
host, guests = netplay.Network(), [netplay.Network(), netplay.Network()]
url = host.listen("play+p2p://", relay=sys.argv[1], grace=30).url
peers = [guest.connect(url, grace=30, timeout=30, name=str(number)) for number, guest in enumerate(guests)]
sent, heard, last, events, wrong, lost, late = [0, 0], {}, {}, [], [], set(), netplay.Network()

def look(name, network):
    for event in network.get():
        if event.what is not NETWORK_DATA_IN:
            reason = getattr(event, "reason", "")
            events.append([name, str(event.what), str(reason)])
            (lost.add if event.what is NETWORK_LOST else lost.discard)((name, event.peer.id))
            continue
        line = (name, str(event.peer), event.channel)
        if (name, event.peer.id) in lost:
            wrong.append(["before it was back", *line])
        if event.lossy:
            is_right = event.data > last.get(line, -1)
            last[line] = event.data
        else:
            is_right = event.data == heard.get(line, 0)
            heard[line] = event.data + 1
            if name == "host":
                event.peer.send(event.data, 1)
        if not is_right:
            wrong.append([*line, event.data])

def report():
    used = resource.getrusage(resource.RUSAGE_SELF)
    rss = int(open("/proc/self/statm").read().split()[1]) * 4096
    said = {
        "sent": sent, "heard": sorted(heard.values()), "events": list(events), "wrong": wrong,
        "cpu": used.ru_utime + used.ru_stime, "rss": rss, "states": [peer.state for peer in peers],
        "routes": [peer.stats()["route"] for peer in peers if peer.state == "connected"],
    }
    events.clear()
    print(json.dumps(said), flush=True)

while True:
    tick = time.monotonic() + 0.01
    look("host", host)
    for number, guest in enumerate(guests):
        look(f"guest {number}", guest)
        if peers[number].state in ("connected", "lost"):
            peers[number].send(sent[number], 1)
            sent[number] += 1
            peers[number].send(sent[number], 2, lossy=True)
    look("late", late)
    if select.select([sys.stdin], [], [], 0)[0]:
        line = sys.stdin.readline()
        if line == "call\\n":
            late.connect(url, timeout=1.5)
        else:
            report()
    time.sleep(max(0.0, tick - time.monotonic()))
"""


class Table:
    """A host whose firewall drops all UDP, with a true relay, a lying one, and a game that knows the latter."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        name = hosts.names[0]
        python = ["ip", "netns", "exec", name, sys.executable]
        hosts.block_udp(0)
        self.processes: list[Popen[str]] = []
        self.relay = [*python, "-m", "netplay", "relay", "--host", "127.0.0.1", "--port"]
        self.true = self.start([*self.relay, "0"])
        self.port = re.findall(r"relay=\S+:(\d+)", line(self.true))[0]
        self.liar = self.start([*python, str(Path(__file__).with_name("lying_relay.py")), self.port])
        self.url = f"http://127.0.0.1:{line(self.liar)}"
        self.game = self.start([*python, "-c", GAME, self.url])

    def start(self, words: list[str]) -> Popen[str]:
        self.processes.append(Popen(words, stdin=PIPE, stdout=PIPE, text=True))
        return self.processes[-1]

    def lie(self, what: str) -> int:
        """Lets the relay do so from now on. Returns how often somebody has connected to it so far."""
        assert self.liar.stdin is not None
        self.liar.stdin.write(f"{what}\n")
        self.liar.stdin.flush()
        return int(line(self.liar))

    def tell_game(self, word: str) -> None:
        assert self.game.stdin is not None
        self.game.stdin.write(f"{word}\n")
        self.game.stdin.flush()

    def report(self) -> dict[str, Any]:
        self.tell_game("report")
        said: dict[str, Any] = json.loads(line(self.game))
        assert said["wrong"] == [], "something came that was not sent, or twice, or out of order"
        return said

    def settle(self) -> dict[str, Any]:
        """Waits until everything that was sent has been heard, with the relay honest again."""
        until = time.monotonic() + GRACE
        said = self.report()
        target, events = said["sent"], said["events"]
        while True:
            said = self.report()
            events += said["events"]
            assert "closed" not in said["states"], events
            if len(said["heard"]) == 4 and said["heard"][0] >= max(target):
                return {**said, "events": events}
            assert time.monotonic() < until, (said, events)
            time.sleep(0.05)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.communicate()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    hosts = Hosts()
    try:
        hosts.make()
        made = Table(hosts, tmp_path_factory.mktemp("table"))
    except OSError as error:
        hosts.delete()
        skip(f"network namespaces cannot be made here: {error}")
    until = time.monotonic() + 40
    while made.report()["states"] != ["connected", "connected"]:
        assert time.monotonic() < until, "they never met"
        time.sleep(0.1)
    yield made
    made.end()
    hosts.delete()


def calm(events: list[list[str]]) -> None:
    """Asserts that whoever was lost came back, and that nobody was given up."""
    of_those_at_the_table = [event for event in events if event[0] != "late"]
    whats = [what for _, what, _ in of_those_at_the_table]
    assert set(whats) <= {"NETWORK_LOST", "NETWORK_RESUMED"}, events
    assert whats.count("NETWORK_LOST") == whats.count("NETWORK_RESUMED"), events


@pytest.mark.parametrize("lie", LIES)
def test_a_relay_that_lies_changes_nothing_that_is_heard(
    lie: str, table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.settle()
    assert before["routes"] == ["relayed", "relayed"]
    came, began = table.lie(lie), time.monotonic()
    if lie in LIES_TO_NEWCOMERS:
        table.tell_game("call")
    time.sleep(3.0)
    during = table.report()
    taken = time.monotonic() - began
    came = table.lie("truth") - came
    after = table.settle()
    events = during["events"] + after["events"]
    cpu, grown = (during["cpu"] - before["cpu"]) / taken, (during["rss"] - before["rss"]) / 1e6
    sent, heard = (during[what][0] - before[what][0] for what in ("sent", "heard"))
    with capsys.disabled():
        back = time.monotonic() - began - taken
        print(f"\n{lie}: {heard} of {sent} heard, then all after {back:.1f} s;", end=" ")
        print(f"{came} connections, {cpu:.0%} of a core, memory {grown:+.1f} MB")
    calm(events)
    # One that has answered once is asked again at once (iroh), as fast as it hangs up.
    assert came <= 150 or lie == "greets and hangs up", "those who are cut off come again and again"
    assert cpu < 0.8
    assert grown < 32
    if lie in LIES_TO_NEWCOMERS:
        assert [event for event in events if event[0] == "late"] == [["late", "NETWORK_DISCONNECTED", "no answer"]]


def test_a_relay_that_is_killed_and_started_anew_loses_nothing_of_those_who_have_no_other_way(table: Table) -> None:
    table.settle()
    table.true.kill()
    table.true.wait()
    time.sleep(2.5)
    again = table.start([*table.relay, table.port])
    assert table.port in line(again)
    after = table.settle()
    calm(after["events"])
    assert after["events"], "it was noticed"
    assert after["routes"] == ["relayed", "relayed"]
