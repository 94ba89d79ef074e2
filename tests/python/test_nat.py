"""Two players behind two routers, and a relay that both reach: who gets through directly, and how soon.

`NETPLAY_WRITE_NAT=1` writes what was measured into the table of docs/p2p.md: `make nat`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import line
from routers import KINDS, RELAY, Internet

from conftest import skip

URL = f"http://{RELAY}:3340"
PAIRS = list(itertools.combinations_with_replacement(KINDS, 2))
TABLE = Path(__file__).parents[2] / "docs" / "p2p.md"

# Tells where it is, hears numbers, and says at the end whether each came once, in order.
LISTENER = """
import sys, netplay
from netplay import NETWORK_DATA_IN
with netplay.Network() as network:
    print(network.listen("play+p2p://", relay=sys.argv[1]).addresses[0], flush=True)
    heard = []
    while True:
        for event in network.get(1.0):
            if event.what is NETWORK_DATA_IN and event.data == "end":
                print(heard == list(range(len(heard))), len(heard), event.peer.stats()["route"], flush=True)
                event.peer.send("heard")
            elif event.what is NETWORK_DATA_IN:
                heard.append(event.data)
                event.peer.send(event.data)
"""

# Sends a number every hundredth of a second: until a second after the way is direct, or for five seconds.
CALLER = """
import json, sys, time, netplay
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_ROUTE
with netplay.Network() as network:
    began = time.monotonic()
    peer = network.connect(sys.argv[1], timeout=20)
    sent, first, direct, first_route, others, is_over = 0, None, None, None, [], False
    while not is_over:
        now = time.monotonic() - began
        if peer.state == "connected":
            if first_route is None:
                first_route = peer.stats()["route"]
                direct = now if first_route == "direct" else None
            peer.send(sent)
            sent += 1
        tick = time.monotonic() + 0.01
        for event in network.get(0.01):
            if event.what is NETWORK_DATA_IN:
                first = first or time.monotonic() - began
            elif event.what is NETWORK_ROUTE:
                direct = time.monotonic() - began if event.route == "direct" else None
            elif event.what is not NETWORK_CONNECTED:
                others.append(str(event))
        time.sleep(max(0.0, tick - time.monotonic()))
        is_over = now > (5 + (first or 20) if direct is None else direct + 1) or peer.state == "closed"
    if peer.state == "connected":
        peer.send("end")
        while not any(event.what is NETWORK_DATA_IN and event.data == "heard" for event in network.get(5.0)):
            pass
    print(json.dumps([sent, first, direct, first_route, others]), flush=True)
"""


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    made = Internet()
    relay = None
    try:
        for command, package in (("ip", "iproute2"), ("nft", "nftables")):
            if shutil.which(command) is None:
                raise OSError(f"there is no command {command} (Debian: {package})")
        made.make()
        made.set_kind(0, "symmetric")
        folder = tmp_path_factory.mktemp("relay")
        relay = made.start(made.middle, folder, "-m", "netplay", "relay", "--host", RELAY)
        assert URL in line(relay)
    except OSError as error:
        made.delete()
        skip(f"an internet of network namespaces cannot be made here: {error}")
    yield made
    if relay is not None:
        relay.terminate()
        print(relay.communicate(timeout=10)[0])
        assert relay.returncode == 0
    made.delete()


@pytest.fixture(scope="module")
def rows() -> Iterator[list[str]]:
    measured: list[str] = []
    yield measured
    if os.environ.get("NETPLAY_WRITE_NAT") == "1":
        write(measured)


def is_direct(one: str, other: str) -> bool:
    """Whether routers of these kinds let two hosts talk directly."""
    if "UDP blocked" in (one, other):
        return False
    return not ("symmetric" in (one, other) and {one, other} <= {"symmetric", "port-restricted"})


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one}, {other}" for one, other in PAIRS])
def test_two_homes_find_each_other(
    one: str, other: str, internet: Internet, rows: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    internet.set_kind(0, one)
    internet.set_kind(1, other)
    with internet.start(internet.homes[0], tmp_path, "-c", LISTENER, URL) as listener:
        try:
            address = line(listener)
            caller = internet.start(internet.homes[1], tmp_path, "-c", CALLER, address)
            told = caller.communicate(timeout=40)[0].splitlines()
            assert told, "the caller said nothing"
            sent, first, direct, first_route, others = json.loads(told[-1])
            heard = line(listener) if first is not None else "nothing"
        finally:
            listener.kill()
    assert others == [], "nothing is lost, no link breaks"
    assert first is not None, "they never met"
    assert heard.startswith(f"True {sent} "), (heard, sent)
    outcome = "relayed" if direct is None else "direct"
    when = "-" if direct is None else f"{direct:.2f} s"
    rows.append(f"| {one} | {other} | {outcome} | {first:.2f} s | {when} |")
    with capsys.disabled():
        print(f"\n{rows[-1]} first by {first_route}, {sent} numbers")
    assert outcome == ("direct" if is_direct(one, other) else "relayed")


def write(measured: list[str]) -> None:
    text = TABLE.read_text("utf-8")
    before, _, rest = text.partition("<!-- nat -->\n")
    _, _, after = rest.partition("<!-- /nat -->")
    head = ["| one router | the other | outcome | first message | direct |", "|---|---|---|---|---|"]
    table = "\n".join([*head, *measured])
    TABLE.write_text(f"{before}<!-- nat -->\n{table}\n<!-- /nat -->{after}", "utf-8")
