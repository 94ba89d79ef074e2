"""`python -m netplay doctor`: what it says of this machine, its networks, and the way to a game."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import line
from routers import RELAY, Internet
from test_p2p import Relay, relays

import netplay
from conftest import skip
from netplay import __main__, _doctor
from netplay._doctor import _clock, _hosting, _nat
from netplay._doctor._finding import Finding
from netplay._doctor._nat import Sight

__all__ = ["relays"]  # a fixture


@pytest.fixture
def game() -> Iterator[netplay.Listener]:
    """A game with a password, on a free port of this machine."""
    with netplay.Network() as network:
        listener = network.listen("play://127.0.0.1:0", name="the table", password="swordfish")
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                network.get(timeout=0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener
        is_over.set()
        thread.join()


def test_a_way_that_is_open_is_shown_transport_by_transport(
    game: netplay.Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor.main([game.url, "--password", "swordfish"]) == 0
    text = capsys.readouterr().out
    for transport in ("UDP", "TCP", "WebSocket", "WebSocket under TLS"):
        assert f"ok  {transport}: 'the table' has let in the doctor" in text
    assert text.endswith("So: you can play there.\n")


def test_a_refusal_is_told_in_words_that_help(game: netplay.Listener, capsys: pytest.CaptureFixture[str]) -> None:
    url = game.url.replace("play://", "play+tcp://")
    assert _doctor.main([url, "--password", "tuna"]) == 1
    assert "no  TCP: a game answers, and it wants another password" in capsys.readouterr().out


def test_where_nobody_listens_each_transport_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert _doctor.main([f"play://127.0.0.1:{port}", "--timeout", "0.5"]) == 1
    text = capsys.readouterr().out
    assert "no  UDP: no answer: no game listens there" in text
    assert f"no  TCP: 127.0.0.1 refuses: nothing listens at TCP port {port}" in text


@pytest.mark.parametrize("url", ["foo://x", "play://127.0.0.1:99999", "play+udp://127.0.0.1:5000?lag_ms=much"])
def test_a_url_that_cannot_be_read_is_said_to_be_so(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor.main([url]) == 1
    assert "no  this is no URL to connect to: " in capsys.readouterr().out


def test_without_a_url_it_looks_at_the_machine_and_says_what_it_did_not_ask(capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "ok  a game can listen here, by UDP, TCP" in text
    assert "--  whether games find each other by multicast: not asked, because NETPLAY_LAN=machine" in text
    assert "--  whether the router opens ports: not asked" in text
    assert "--  whether a relay is reached: not asked; `--relay public` asks" in text
    assert "--  whether UDP gets out, and what kind of router is between (NAT): " in text
    assert " UTC here; nobody was asked whether that is so" in text
    assert "sleeping for 1 ms takes " in text
    assert "You can host for friends at home: not known, because nobody beyond the local network was asked" in text


def test_a_program_can_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["netplay"] == netplay.__version__
    machine = told["parts"]["This machine"]
    assert [set(finding) for finding in machine] == [{"topic", "mark", "text", "value"}] * len(machine)
    assert (machine[0]["topic"], machine[0]["mark"]) == ("listen", "ok")


def test_a_relay_is_tried_by_two_players_who_meet_through_it(
    relays: Callable[..., Relay], capsys: pytest.CaptureFixture[str]
) -> None:
    relay = relays("--port", "0")
    assert _doctor.main(["--relay", relay.url]) == 0
    text = capsys.readouterr().out
    assert f"ok  {relay.url} is reached by TCP" in text
    assert f"ok  two players on this machine meet by {relay.url}, " in text
    assert f"ok  UDP gets out: {relay.url} answers in " in text
    assert "ok  NAT: open: nothing on the way to the relay gives this machine another address" in text
    assert "UTC here, and the relay says the same" in text
    assert "You can host for friends at home: yes, by a room (host_room), and directly with most" in text
    relay.end()
    assert _doctor.main(["--relay", relay.url, "--timeout", "1"]) == 0
    text = capsys.readouterr().out
    assert f"no  {relay.url} is not reached by TCP: " in text
    assert f"no  nobody was found by {relay.url} in 1 s" in text
    assert "--  whether UDP gets out is unknown" in text
    assert "no  You can host for friends at home: no, because no relay is reached" in text


def test_a_relay_by_ipv6_tells_of_ipv6(
    relays: Callable[..., Relay], has_ipv6: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not has_ipv6:
        pytest.skip("this machine has no IPv6")
    relay = relays("--host", "::1", "--port", "0")
    assert _doctor.main(["--relay", relay.url]) == 0
    text = capsys.readouterr().out
    assert f"ok  UDP gets out: {relay.url} answers in " in text
    assert f"ok  IPv6 gets out: {relay.url} sees [::1]:" in text
    assert "ok  NAT: open" in text


def test_a_page_to_log_in_is_told_from_a_relay(capsys: pytest.CaptureFixture[str]) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert _doctor.main(["--relay", url, "--timeout", "0.5"]) == 0
        server.shutdown()
        thread.join()
    assert f"no  {url}: something else answers in its place (HTTP 302)" in capsys.readouterr().out


class Page(http.server.BaseHTTPRequestHandler):
    """Sends whoever asks to another page."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1/login")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keeps quiet."""


@pytest.mark.parametrize("relay", ["nonsense", "none", "ftp://127.0.0.1"])
def test_what_is_no_relay_is_said_to_be_none(relay: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor.main(["--relay", relay]) == 0
    assert f"no  relay={relay} " in capsys.readouterr().out


def sight(remote: str, local: str, seen: str | None) -> Sight:
    return Sight("http://relay.example", remote, local, None if seen is None else (seen, 0.01))


@pytest.mark.parametrize(
    ("sights", "kind"),
    [
        ([], "unseen"),
        ([sight("192.0.2.1:1", "10.0.0.2:7", None)], "unseen"),
        ([sight("192.0.2.1:1", "203.0.113.7:7", "203.0.113.7:7")], "open"),
        ([sight("192.0.2.1:1", "10.0.0.2:7", "203.0.113.7:7")], "one relay only"),
        (
            [sight("192.0.2.1:1", "10.0.0.2:7", "203.0.113.7:7"), sight("192.0.2.2:1", "10.0.0.2:7", None)],
            "one relay only",
        ),
        ([sight("192.0.2.1:1", "10.0.0.2:7", "203.0.113.7:7")] * 2, "one relay only"),
        ([sight(f"192.0.2.{n}:1", "10.0.0.2:7", "203.0.113.7:9") for n in (1, 2)], "easy"),
        ([sight(f"192.0.2.{n}:1", "10.0.0.2:7", f"203.0.113.7:{n}") for n in (1, 2)], "symmetric"),
    ],
)
def test_the_kind_of_router_follows_from_what_relays_have_seen(sights: list[Sight], kind: str) -> None:
    assert _nat.kind(sights) == kind


@pytest.mark.parametrize(
    ("ahead", "mark", "text"),
    [
        (0.4, "ok", "and the relay says the same"),
        (-60.0, "--", "by the relay this clock is 0:01:00 fast, which does no harm"),
        (7200.0, "no", "by the relay this clock is 2:00:00 slow: certificates (wss://, public relays) are refused"),
    ],
)
def test_a_clock_that_is_wrong_is_told_by_how_much(ahead: float, mark: str, text: str) -> None:
    finding = next(_clock.examine([ahead]))
    assert (finding.topic, finding.mark) == ("clock", mark)
    assert text in finding.text


@pytest.mark.parametrize(
    ("findings", "expected", "text"),
    [
        ({"meeting": "ok direct", "nat": "ok easy"}, "ok", "and directly with most, because no router hinders it"),
        ({"meeting": "ok direct", "nat": "-- symmetric"}, "ok", "but with most through the relay"),
        (
            {"meeting": "ok direct", "nat": "-- symmetric", "port mapping": "ok UPnP"},
            "ok",
            "and directly with most, because the router opens a port when asked",
        ),
        ({"meeting": "ok relayed", "udp": "no blocked"}, "ok", "but all through the relay, because UDP is blocked"),
        ({"meeting": "ok direct", "nat": "-- one relay only"}, "ok", "because one relay cannot tell"),
        ({"relay": "no x", "meeting": "no x"}, "no", "no, because no relay is reached"),
        ({"relay": "-- x"}, "--", "not known, because nobody beyond the local network was asked"),
        ({"relay": "-- x", "public address": "ok x"}, "--", "probably by an address above"),
        ({"interfaces": "no x", "relay": "-- x"}, "--", "not known"),
        ({"listen": "no x"}, "no", "no, because no game can listen here"),
    ],
)
def test_whether_friends_can_join_follows_from_the_rest(findings: dict[str, str], expected: str, text: str) -> None:
    told = [
        Finding(topic, mark, "", value)
        for topic, words in ({"listen": "ok x", "interfaces": "ok x"} | findings).items()
        for mark, value in [words.split(" ", 1)]
    ]
    conclusion = list(_hosting.conclude(told))[-1]
    assert conclusion.topic == "hosting"
    assert conclusion.mark == expected
    assert text in conclusion.text


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """Two homes, and two relays on the host between them."""
    made = Internet()
    started = []
    try:
        for command, package in (("ip", "iproute2"), ("nft", "nftables")):
            if shutil.which(command) is None:
                raise OSError(f"there is no command {command} (Debian: {package})")
        made.make()
        made.set_kind(0, "symmetric")
        folder = tmp_path_factory.mktemp("relay")
        for port in PORTS:
            relay = made.start(made.middle, folder, "-m", "netplay", "relay", "--host", RELAY, "--port", str(port))
            started.append(relay)
            assert f":{port}" in line(relay)
    except OSError as error:
        made.delete()
        skip(f"an internet of network namespaces cannot be made here: {error}")
    yield made
    for relay in started:
        relay.terminate()
        relay.communicate(timeout=10)
    made.delete()


PORTS = (3340, 3341)
URLS = [f"http://{RELAY}:{port}" for port in PORTS]

# The doctor at home, where it may ask everybody on the local network.
DOCTOR = """
import os, sys
os.environ["NETPLAY_LAN"] = "network"
from netplay import __main__
sys.exit(__main__.main(["doctor", "--json", *sys.argv[1:]]))
"""

# A router that can be asked by NAT-PMP.
OBLIGING = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.bind(("10.77.0.1", 5351))
    print("ready", flush=True)
    while True:
        question, who = asked.recvfrom(1100)
        if question == bytes(2):
            asked.sendto(bytes([0, 128, 0, 0, 0, 0, 0, 1, 198, 18, 8, 10]), who)
"""

# Somebody else's game on the local network.
GAME = """
import netplay, os
os.environ["NETPLAY_LAN"] = "network"
with netplay.Network() as network:
    network.listen("play://*:5000", advertise="pong")
    print("ready", flush=True)
    while True:
        network.get(1.0)
"""


def examined(internet: Internet, folder: Path, *words: str) -> dict[str, list[dict[str, str]]]:
    """Lets a doctor look at the first home; returns what was found, by topic."""
    doctor = internet.start(internet.homes[0], folder, "-c", DOCTOR, *words)
    text, _ = doctor.communicate(timeout=60)
    assert doctor.returncode == 0, text
    topics: dict[str, list[dict[str, str]]] = {}
    for part in json.loads(text)["parts"].values():
        for finding in part:
            topics.setdefault(finding["topic"], []).append(finding)
    return topics


@pytest.mark.parametrize(
    ("router", "kind", "conclusion"),
    [
        ("full cone", "easy", "and directly with most"),
        ("port-restricted", "easy", "and directly with most"),
        ("symmetric", "symmetric", "but with most through the relay"),
    ],
)
def test_routers_are_told_apart(router: str, kind: str, conclusion: str, internet: Internet, tmp_path: Path) -> None:
    internet.set_kind(0, router)
    found = examined(internet, tmp_path, "--relay", URLS[0], "--relay", URLS[1])
    assert [finding["mark"] for finding in found["udp"]] == ["ok", "ok"]
    assert [finding["value"] for finding in found["nat"]] == [kind]
    assert conclusion in found["hosting"][0]["text"]
    assert found["clock"][0]["mark"] == "ok"


def test_one_relay_says_that_it_cannot_tell_the_kind(internet: Internet, tmp_path: Path) -> None:
    internet.set_kind(0, "symmetric")
    found = examined(internet, tmp_path, "--relay", URLS[0])
    assert found["nat"][0]["value"] == "one relay only"
    assert "name a second --relay" in found["nat"][0]["text"]


def test_udp_that_is_blocked_is_told_from_a_relay_that_is_not_there(internet: Internet, tmp_path: Path) -> None:
    internet.set_kind(0, "UDP blocked")
    found = examined(internet, tmp_path, "--relay", URLS[0], "--relay", URLS[1])
    assert [(finding["mark"], finding["value"]) for finding in found["udp"]] == [("no", "blocked")]
    assert [finding["mark"] for finding in found["relay"]] == ["ok", "ok"]
    assert "nat" not in found
    assert "all through the relay, because UDP is blocked" in found["hosting"][0]["text"]
    gone = examined(internet, tmp_path, "--timeout", "1", "--relay", f"http://{RELAY}:9")
    assert [finding["mark"] for finding in gone["udp"]] == ["--"]
    assert [finding["mark"] for finding in gone["relay"]] == ["no"]
    assert "no, because no relay is reached" in gone["hosting"][0]["text"]


def test_a_router_that_opens_ports_is_told_from_one_that_does_not(internet: Internet, tmp_path: Path) -> None:
    internet.set_kind(0, "symmetric")
    assert examined(internet, tmp_path)["port mapping"][0]["value"] == "none"
    with internet.start(internet.routers[0], tmp_path, "-c", OBLIGING) as router:
        try:
            assert line(router) == "ready"
            assert examined(internet, tmp_path)["port mapping"][0]["value"] == "NAT-PMP"
        finally:
            router.kill()


def test_multicast_comes_back_unless_a_firewall_drops_it(internet: Internet, tmp_path: Path) -> None:
    [finding] = examined(internet, tmp_path)["multicast"]
    assert (finding["mark"], finding["value"]) == ("ok", "alone")
    assert finding["text"].startswith("lan: what is said to everybody goes out and comes back (IPv4")
    with internet.start(internet.routers[0], tmp_path, "-c", GAME) as router:
        try:
            assert line(router) == "ready"
            found = examined(internet, tmp_path)
        finally:
            router.kill()
    assert found["multicast"][0]["value"] == "others"
    assert "because they find it by itself" in found["hosting here"][0]["text"]
    home = internet.homes[0]
    wall = "table inet wall { chain in { type filter hook input priority 0; udp dport 5353 drop; }; }"
    internet.run(home, "nft", "-f", "-", given=wall)
    try:
        found = examined(internet, tmp_path)
    finally:
        internet.run(home, "nft", "delete table inet wall")
    assert found["multicast"][0]["mark"] == "no"
    assert "a firewall on this machine drops multicast DNS" in found["multicast"][0]["text"]


def test_nothing_leaves_the_local_network_unless_a_relay_or_a_url_is_given(internet: Internet, tmp_path: Path) -> None:
    internet.set_kind(0, "full cone")
    toll = "table ip toll { chain through { type filter hook forward priority -20; counter; }; }"
    internet.run(internet.routers[0], "nft", "-f", "-", given=toll)
    began = time.monotonic()
    examined(internet, tmp_path)
    assert time.monotonic() - began < 6
    assert "packets 0 " in listed(internet)
    examined(internet, tmp_path, "--relay", URLS[0])
    assert "packets 0 " not in listed(internet)


def listed(internet: Internet) -> str:
    command = ["ip", "netns", "exec", internet.routers[0], "nft", "list", "table", "ip", "toll"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_command_that_is_not_known_shows_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["docter"]) == 2
    text = capsys.readouterr().out
    assert "play " in text
    assert "doctor" in text
