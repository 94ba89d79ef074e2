"""Games on this machine, found over loopback: what a menu sees, and what `lan://` joins."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import netplay
from conftest import only, wait_for, wait_until
from netplay import Finder, Game, Network


@pytest.fixture
def app() -> str:
    """The name of an app that no other test on this machine has at the same time."""
    return f"test-{secrets.token_hex(8)}"


def found(network: Network) -> Game:
    return only(wait_for(network, netplay.NETWORK_FOUND)).game


def test_a_game_is_found_changes_and_goes(networks: Callable[[], Network], app: str) -> None:
    host, menu, guest = networks(), networks(), networks()
    finder = menu.find(app)
    listener = host.listen("play://127.0.0.1:0", advertise=app, title="Ada's table", max_peers=4)
    began = time.monotonic()
    game = found(menu)
    assert time.monotonic() - began < 2
    assert (game.title, game.app, game.players, game.max_peers) == ("Ada's table", app, 0, 4)
    assert (game.needs_password, game.transports, game.key) == (False, ("udp", "tcp", "ws", "wss"), listener.key)
    assert game.url.startswith(listener.url + "#k=")
    assert finder.games == [game]
    guest.connect(game.url, name="Bob")
    wait_for(guest, netplay.NETWORK_CONNECTED)
    began = time.monotonic()
    assert found(menu).players == 1
    listener.title = "Ada's second table"
    changed = found(menu)
    assert time.monotonic() - began < 3
    assert (changed.id, changed.title) == (game.id, "Ada's second table")
    assert str(changed).startswith("Ada's second table (1/4 on ")
    listener.close()
    began = time.monotonic()
    assert only(wait_for(menu, netplay.NETWORK_GONE)).game.id == game.id
    assert time.monotonic() - began < 2
    assert finder.games == []


def test_a_finder_of_a_network_that_was_closed_lists_nothing(networks: Callable[[], Network], app: str) -> None:
    host, menu = networks(), networks()
    host.listen("play://127.0.0.1:0", advertise=app)
    finder = menu.find(app)
    found(menu)
    menu.close()
    assert finder.games == []
    assert repr(finder) == f"<Finder of {app!r}, closed>"
    again = menu.find(app)
    finder.close()
    game = found(menu)
    assert again.games == [game]


def test_two_games_of_one_title_are_two_in_one_order(networks: Callable[[], Network], app: str) -> None:
    host, other, menu = networks(), networks(), networks()
    host.listen("play://127.0.0.1:0", advertise=app, title="Table")
    other.listen("play://127.0.0.1:0", advertise=app, title="Table")
    host.listen("play://127.0.0.1:0", advertise=app, title="A table")
    with menu.find(app) as finder:
        wait_for(menu, netplay.NETWORK_FOUND, 3)
        assert [game.title for game in finder.games] == ["A table", "Table", "Table"]
        assert len({game.url for game in finder.games}) == 3
    assert finder.games == []
    assert menu.get(0.5) == []


def test_only_games_of_the_app_are_found_and_of_the_title_the_name_is_the_default(
    networks: Callable[[], Network], app: str
) -> None:
    host, menu = networks(), networks()
    host.listen("play://127.0.0.1:0", advertise=f"{app}-x", name="Ada")
    menu.find(app)
    assert menu.get(1.0) == []
    menu.find(f"{app}-x")
    assert found(menu).title == "Ada"


def test_nothing_is_announced_unless_asked(networks: Callable[[], Network], app: str) -> None:
    host, menu = networks(), networks()
    listener = host.listen("play://127.0.0.1:0", name=app)
    assert listener.title is None
    with pytest.raises(ValueError, match="not announced"):
        listener.title = "Table"
    menu.find(app)
    assert menu.get(1.0) == []


def test_lan_joins_the_first_or_the_named_game(networks: Callable[[], Network], app: str) -> None:
    ada, bob = networks(), networks()
    ada.listen("play://127.0.0.1:0", advertise=app, title="Ada's table", name="Ada")
    bob.listen("play://127.0.0.1:0", advertise=app, title="Bob's table", name="Bob")
    for url, names in (
        (f"lan://{app}", {"Ada", "Bob"}),
        (f"lan://{app}/Ada's%20table", {"Ada"}),
        (f"lan://{app}/Bob's table?lag_ms=5", {"Bob"}),
    ):
        client = networks()
        peer = client.connect(url)
        assert client.send("waits until it is there", to=peer) == 1
        wait_for(client, netplay.NETWORK_CONNECTED)
        assert peer.name in names
        assert peer.url == url


def test_lan_waits_for_a_game_that_is_started_meanwhile_and_knows_a_password(
    networks: Callable[[], Network], app: str
) -> None:
    host, client, wrong = networks(), networks(), networks()
    peer = client.connect(f"lan://{app}", password="sesame")
    assert client.get(0.5) == []
    host.listen("play://127.0.0.1:0", advertise=app, password="sesame")
    wait_for(client, netplay.NETWORK_CONNECTED)
    assert peer.state == "connected"
    wrong.find(app)
    assert found(wrong).needs_password
    wrong.connect(f"lan://{app}", password="open")
    assert only(wait_for(wrong, netplay.NETWORK_DISCONNECTED)).reason == "wrong password"


def test_a_game_that_nobody_announces_is_no_such_game(networks: Callable[[], Network], app: str) -> None:
    client = networks()
    client.connect(f"lan://{app}/Ada's table", timeout=0.5)
    event = only(wait_for(client, netplay.NETWORK_DISCONNECTED))
    assert event.reason == "no such game"
    assert event.detail == f'no game of "{app}" with the title "Ada\'s table" was seen on the local network'


def test_a_pinned_game_is_joined_and_no_other(networks: Callable[[], Network], app: str) -> None:
    host, client = networks(), networks()
    listener = host.listen("play://127.0.0.1:0", advertise=app)
    client.connect(f"lan://{app}#k={'0' * 64}", timeout=1.0)
    assert only(wait_for(client, netplay.NETWORK_DISCONNECTED)).reason == "no such game"
    client.connect(f"lan://{app}#k={listener.key}")
    wait_for(client, netplay.NETWORK_CONNECTED)


def test_a_seat_is_come_back_to(networks: Callable[[], Network], app: str) -> None:
    host = networks()
    host.listen("play://127.0.0.1:0", advertise=app, grace=30)
    first = networks()
    first.connect(f"lan://{app}", resume="game")
    wait_for(first, netplay.NETWORK_CONNECTED)
    peer = only(wait_for(host, netplay.NETWORK_CONNECTED)).peer
    first._close_within(0.0, is_crash=True)
    again = networks()
    again.connect(f"lan://{app}", resume="game")
    assert only(wait_for(again, netplay.NETWORK_CONNECTED)).reason == "resumed"
    assert only(wait_for(host, netplay.NETWORK_RESUMED)).peer is peer


HOST = """
import sys, netplay
netplay.listen("play://127.0.0.1:0", advertise=sys.argv[1], title="Other process")
print("there", flush=True)
while True:
    netplay.get(1.0)
"""


def test_a_process_that_is_killed_leaves_the_list(networks: Callable[[], Network], app: str) -> None:
    menu = networks()
    menu.find(app)
    with subprocess.Popen([sys.executable, "-c", HOST, app], stdout=subprocess.PIPE) as process:
        try:
            assert found(menu).title == "Other process"
            process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
            began = time.monotonic()
            wait_for(menu, netplay.NETWORK_GONE)
            assert time.monotonic() - began < 2
        finally:
            process.kill()


def test_what_cannot_be_is_said_at_once(networks: Callable[[], Network]) -> None:
    network = networks()
    for options, words in (
        ({"advertise": "Pong"}, "a to z"),
        ({"advertise": ""}, "1 to 32"),
        ({"advertise": "a" * 33}, "1 to 32"),
        ({"advertise": "pong", "title": "a" * 65}, "65 bytes"),
        ({"advertise": "pong", "title": "two\nlines"}, "nobody can see"),
        ({"title": "Table"}, "advertise="),
    ):
        with pytest.raises(ValueError, match=words):
            network.listen("play://127.0.0.1:0", **options)  # type: ignore[arg-type]
    for url in ("local://test-lan", "tcp://127.0.0.1:0", "play+wss://127.0.0.1:0"):
        with pytest.raises(ValueError, match="advertise is for"):
            network.listen(url, advertise="pong")
    with pytest.raises(ValueError, match="a to z"):
        network.find("po ng")
    for url in ("lan://", "lan://Pong", "lan://pong:5000", "lan://pong/%0a"):
        with pytest.raises(netplay.BadURL):
            network.connect(url)
    with pytest.raises(netplay.ListenFailed):
        network.listen("lan://pong")
    listener = network.listen("play://127.0.0.1:0", advertise="pong-x")
    with pytest.raises(ValueError, match="0 bytes"):
        listener.title = ""
    assert network.listeners == [listener]


def test_an_event_of_a_game_has_no_peer_and_a_repr(networks: Callable[[], Network], app: str) -> None:
    host, menu = networks(), networks()
    host.listen("play://127.0.0.1:0", advertise=app, title="Table", max_peers=4)
    finder = menu.find(app)
    event = only(wait_for(menu, netplay.NETWORK_FOUND))
    assert event._attributes()["peer"] is None
    assert repr(event) == f"<Event NETWORK_FOUND {event.game}>"
    assert event._attributes() == {"what": netplay.NETWORK_FOUND, "peer": None, "game": event.game}
    with pytest.raises(AttributeError, match="NETWORK_FOUND event has no data"):
        _ = event.data
    assert repr(finder) == f"<Finder of {app!r}, 1 games>"
    with pytest.raises(AttributeError):
        event.game.title = "Mine"  # type: ignore[misc]


def test_liars_on_the_machine_are_not_believed_and_counted(networks: Callable[[], Network], app: str) -> None:
    """Somebody on one of the ports answers with what is no game, and with far too many games."""
    menu = networks()
    liar = bound_liar()
    host = networks()
    host.listen("play://127.0.0.1:0", advertise=app, title="True")
    finder = menu.find(app)
    wait_for(menu, netplay.NETWORK_FOUND)
    until = time.monotonic() + 10
    while len(finder.games) < 200 and time.monotonic() < until:
        question, asker = liar.recvfrom(64)
        if len(question) != 15:
            continue
        head = b"npla\x4c\x01!" + question[7:]
        for spoilt in (b"", b"\xff", b"\x05ab", head[:-1], head, head + b"\xff" * 1000, head + bytes(500)):
            liar.sendto(spoilt, asker)
        for bad in (
            {"title": "evil\x1b[2J"},
            {"app": "X" * 300},
            {"players": "-1"},
            {"at": "no address"},
            {"key": "k"},
        ):
            liar.sendto(head + strings({**lie(app, 0), **bad}), asker)
        for number in range(100):
            liar.sendto(head + strings(lie(app, secrets.randbelow(1000) if number else 1)), asker)
        menu.get(0.05)
    menu.get(0.5)
    assert len(finder.games) <= 256
    assert menu.stats()["games_refused"] > 0
    assert {game.title for game in finder.games} <= {"True", "Lie"}
    liar.close()
    wait_until(lambda: menu.get(0.1) is None or [game.title for game in finder.games] == ["True"])


def bound_liar() -> socket.socket:
    for port in range(24721, 24689, -1):
        liar = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            liar.bind(("127.0.0.1", port))
        except OSError:
            liar.close()
            continue
        liar.settimeout(5)
        return liar
    raise AssertionError("no port is free")


def lie(app: str, number: int) -> dict[str, str]:
    return {"v": "1", "app": app, "id": f"{number:016x}", "title": "Lie", "at": "127.0.0.1:9"}


def strings(txt: dict[str, str]) -> bytes:
    pairs = [f"{key}={value}".encode()[:255] for key, value in txt.items()]
    return b"".join(bytes([len(pair)]) + pair for pair in pairs)


def test_nothing_of_a_test_leaves_the_machine(networks: Callable[[], Network], app: str) -> None:
    """What conftest sets holds: no thread of multicast DNS is started."""
    assert os.environ["NETPLAY_LAN"] == "machine"
    network = networks()
    network.listen("play://*:0", advertise=app)
    finder: Finder = network.find(app)
    wait_for(network, netplay.NETWORK_FOUND)
    assert len(finder.games) == 1
    threads = Path("/proc/self/task")
    if threads.exists():
        names = {(thread / "comm").read_text().strip() for thread in threads.iterdir()}
        assert "netplay-lan" in names
        assert "mDNS_daemon" not in names
