"""Every documented error: raised where it is said, catchable as the builtin one would guess, and saying what to do."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

import netplay
from conftest import Pair, wait_for
from netplay import NETWORK_DISCONNECTED, Network, _errors

Make = Callable[[], Network]

TREE = {
    "NotConnected": ConnectionError,
    "PeerClosed": ConnectionError,
    "MessageTooLarge": ValueError,
    "UnsupportedData": TypeError,
    "BadURL": ValueError,
    "ListenFailed": OSError,
    "NetworkFailed": OSError,
    "PygameMissing": ImportError,
}


def test_the_tree_is_what_it_is_drawn_as() -> None:
    assert set(TREE) | {"Error"} == set(_errors.__all__)
    for name, builtin in TREE.items():
        kind = getattr(netplay, name)
        assert issubclass(kind, netplay.Error)
        assert issubclass(kind, builtin)
        assert kind.__module__ == "netplay"
        assert f"{name} ({builtin.__name__})" in (_errors.__doc__ or "")


def test_send_before_listen_or_connect_says_what_to_call(networks: Make) -> None:
    with pytest.raises(netplay.NotConnected, match=r"call listen\(\) or connect\(\) first"):
        networks().send("x")
    with pytest.raises(ConnectionError):
        netplay.send("x")


def test_a_listen_or_connect_that_failed_does_not_count(networks: Make) -> None:
    network = networks()
    with pytest.raises(netplay.BadURL):
        network.connect("nonsense")
    with pytest.raises(netplay.BadURL):
        network.listen("nonsense")
    with pytest.raises(netplay.NotConnected):
        network.send("x")


def test_send_to_a_peer_that_is_gone_names_it(pair: Pair) -> None:
    pair.to_client.close()
    sends: list[Callable[[], int]] = [
        lambda: pair.to_client.send("x"),
        lambda: pair.server.send("x", to=pair.to_client),
    ]
    for send in sends:
        with pytest.raises(netplay.PeerClosed, match=r'peer 1 "Ada" at .* is gone; connect\(\) again, or leave it out'):
            send()
    assert pair.server.send("x", to=[pair.to_client]) == 0
    assert pair.server.send("x") == 0


def test_a_peer_that_went_without_the_game_knowing_raises_nothing(pair: Pair) -> None:
    pair.to_server.close()
    wait_for(pair.client, NETWORK_DISCONNECTED)
    pair.client.close()
    # The server's game has not looked yet: its event is still to come.
    pair.to_client.send("x")
    pair.server.send("x", to=pair.to_client)
    wait_for(pair.server, NETWORK_DISCONNECTED)
    with pytest.raises(netplay.PeerClosed):
        pair.to_client.send("x")


def test_a_peer_of_another_network_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match=r"to is peer 1 .* of another Network"):
        pair.client.send("x", to=pair.to_client)
    with pytest.raises(ValueError, match=r"exclude is peer 1 .* of another Network"):
        pair.client.send("x", exclude=pair.to_client)


def test_a_url_nobody_is_connected_by_cannot_be_left_out(pair: Pair) -> None:
    with pytest.raises(netplay.NotConnected, match=r'no peer has the url "play://elsewhere:5000"'):
        pair.client.send("x", exclude="play://elsewhere:5000")


@pytest.mark.parametrize("wrong", [5, 1.5, object(), [5], [None]])
def test_to_and_exclude_must_be_peers(pair: Pair, wrong: object) -> None:
    for word in ("to", "exclude"):
        with pytest.raises(TypeError, match=f"{word} is a .*, it must be None, a Peer, a URL, or several of them"):
            pair.client.send("x", **{word: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:5000", "scheme"),
        ("http://localhost", "scheme"),
        ("room://ABC", r"give the URL to join_room\(\)"),
        ("play://localhost:70000", "port"),
        ("play://localhost:5000/path", "path"),
        ("play://localhost?lag=5", "query option"),
        ("play://localhost?loss_pct=200", "query option"),
        ("play://localhost#k=short", "fragment"),
        ("play://user@localhost", "host"),
        ("local://", "host"),
        ("", "scheme"),
    ],
)
def test_a_bad_url_names_the_part_that_is_wrong(networks: Make, url: str, words: str) -> None:
    for call in (networks().connect, networks().listen):
        with pytest.raises(netplay.BadURL, match=words):
            call(url)
    with pytest.raises(ValueError, match=words):
        networks().connect(url)


def test_an_address_in_use_or_elsewhere_cannot_be_listened_on(networks: Make) -> None:
    taken = networks().listen("play://127.0.0.1:0")
    with pytest.raises(netplay.ListenFailed, match="listens there already") as caught:
        networks().listen(taken.url)
    assert isinstance(caught.value, OSError)
    with pytest.raises(netplay.ListenFailed, match="does not have that address"):
        networks().listen("play://192.0.2.1:0")
    networks().listen("local://taken")
    with pytest.raises(netplay.ListenFailed, match="already"):
        networks().listen("local://taken")


def test_options_out_of_range_name_the_limit(networks: Make) -> None:
    network = networks()
    with pytest.raises(ValueError, match="64"):
        network.connect("local://x", name="n" * 65)
    with pytest.raises(ValueError, match="64"):
        network.listen("local://x", version="ä" * 33)
    for max_peers in (0, -1):
        with pytest.raises(ValueError, match=r"max_peers is .*, it must be at least 1"):
            network.listen("local://x", max_peers=max_peers)


def test_sockets_that_hold_a_port_make_listen_fail(networks: Make) -> None:
    if sys.platform == "win32":
        pytest.skip("ports are shared otherwise there")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        with pytest.raises(netplay.ListenFailed):
            networks().listen(f"play://127.0.0.1:{holder.getsockname()[1]}")


@pytest.mark.skipif(sys.platform == "win32", reason="limits work otherwise there")
def test_where_the_system_gives_no_socket_listen_and_connect_fail_and_work_later() -> None:
    code = """
import os, resource, netplay
network = netplay.Network()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
for call in (network.connect, network.listen):
    try:
        call("play://127.0.0.1:0" if call == network.listen else "play://127.0.0.1:9")
    except netplay.NetworkFailed as error:
        assert isinstance(error, OSError)
        print(error)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
network.connect(network.listen("play://127.0.0.1:0").url)
print(network.get(5)[0].what)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    first, second, third = done.stdout.splitlines()
    assert first == second
    assert first.startswith("the operating system refused to start networking: ")
    assert third == "NETWORK_CONNECTED", done.stderr


@pytest.mark.parametrize("seconds", [-1.0, float("-inf"), float("nan")])
def test_a_time_below_nothing_is_named(networks: Make, seconds: float) -> None:
    network = networks()
    words = rf"is {seconds}, it must be 0 or more"
    with pytest.raises(ValueError, match=f"timeout {words}"):
        network.connect("local://nobody", timeout=seconds)
    with pytest.raises(ValueError, match=f"timeout {words}"):
        network.join_room("CDFG-2345", "pong", timeout=seconds, door="local://nobody")
    for_ever = network.connect("local://nobody", timeout=float("inf"))
    assert for_ever.state == "connecting"


@pytest.mark.parametrize("url", ["play+p2p://", "play+udp://127.0.0.1:0", "local://certified"])
def test_a_certificate_for_what_has_none_is_refused(networks: Make, url: str) -> None:
    with pytest.raises(ValueError, match=r"certificate is for play\+wss://"):
        networks().listen(url, certificate=("chain.pem", "key.pem"))
