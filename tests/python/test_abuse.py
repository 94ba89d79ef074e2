"""Players who are not welcome, or send more than the game allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import netplay
from conftest import Pair, only, wait_for, wait_until
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, Listener, Network

Make = Callable[[], Network]


def refused(networks: Make, listener: Listener) -> str:
    """Calls as somebody new and returns the reason of the refusal."""
    client = networks()
    client.connect(listener.url)
    return only(wait_for(client, NETWORK_DISCONNECTED)).reason


def test_a_banned_peer_is_closed_at_once_and_both_sides_know_why(pair: Pair) -> None:
    pair.server.ban(pair.to_client)
    assert only(wait_for(pair.server, NETWORK_DISCONNECTED)).reason == "banned"
    assert only(wait_for(pair.client, NETWORK_DISCONNECTED)).reason == "banned"
    # On this machine only the key is banned; a client keeps its key as long as its network is open.
    assert pair.server.bans() == {pair.to_client.key: None}
    pair.client.connect(pair.listener.url)
    assert only(wait_for(pair.client, NETWORK_DISCONNECTED)).reason == "banned"
    assert pair.server.get(0.05) == []
    assert pair.listener.stats()["banned"] == 2
    assert pair.server.stats()["bans"] == 1
    assert pair.server.unban(pair.to_client)
    assert not pair.server.unban(pair.to_client)
    pair.client.connect(pair.listener.url)
    wait_for(pair.client, NETWORK_CONNECTED)


def test_a_banned_address_is_refused_and_others_are_not_disturbed(networks: Make) -> None:
    server, friend = networks(), networks()
    listener = server.listen("play://127.0.0.1:0")
    friend.connect(listener.url)
    wait_for(friend, NETWORK_CONNECTED)
    server.ban("10.0.0.0/8")
    server.ban("2001:db8::1", seconds=100)
    assert friend.send("undisturbed") == 1
    assert only(wait_for(server, NETWORK_DATA_IN)).data == "undisturbed"
    server.ban("127.0.0.1")
    assert only(wait_for(friend, NETWORK_DISCONNECTED)).reason == "banned"
    assert refused(networks, listener) == "banned"
    left = server.bans()
    assert set(left) == {"10.0.0.0/8", "2001:db8::/64", "127.0.0.1"}
    seconds = left["2001:db8::/64"]
    assert seconds is not None
    assert 90 < seconds <= 100


def test_a_ban_ends_when_its_time_is_over(networks: Make) -> None:
    server = networks()
    server.ban("127.0.0.1", seconds=0.3)  # also before there is a listener
    listener = server.listen("play://127.0.0.1:0")
    assert refused(networks, listener) == "banned"
    wait_until(lambda: not server.bans(), "the end of the ban")
    client = networks()
    client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)


def test_a_peer_that_is_gone_already_can_be_banned(udp_pair: Pair) -> None:
    udp_pair.to_server.close()
    wait_for(udp_pair.server, NETWORK_DISCONNECTED)
    udp_pair.server.ban(udp_pair.to_client, seconds=60)
    udp_pair.client.connect(udp_pair.listener.url)
    reasons = [event.reason for event in wait_for(udp_pair.client, NETWORK_DISCONNECTED, 2)]
    assert reasons[-1] == "banned"


def test_whom_a_ban_means_must_be_clear(networks: Make) -> None:
    server = networks()
    for words in ("", "localhost", "127.0.0.1:5000", "10.0.0.0/33", "ab" * 31):
        with pytest.raises(ValueError, match="no IP address, no range"):
            server.ban(words)
        with pytest.raises(ValueError, match="no IP address, no range"):
            server.unban(words)
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="seconds is"):
            server.ban("127.0.0.1", seconds)
    with pytest.raises(TypeError, match="must be a Peer"):
        server.ban(7)  # type: ignore[arg-type]
    assert server.bans() == {}
    server.ban("127.0.0.1", float("inf"))
    assert server.bans() == {"127.0.0.1": None}
    server.close()
    assert server.bans() == {}
    assert not server.unban("127.0.0.1")


def test_lossy_messages_beyond_the_bound_are_dropped_and_counted(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", max_messages=10)
    client.connect(listener.url)
    peer = only(wait_for(server, NETWORK_CONNECTED)).peer
    wait_for(client, NETWORK_CONNECTED)
    for number in range(100):
        client.send(number, 1, lossy=True, ordered=False)
        client.send(number, 2)
    got = wait_for(server, NETWORK_DATA_IN, 100)
    wait_until(lambda: peer.stats()["over_rate"] >= 70, "counting")
    got += server.get(0.05)
    assert [event.data for event in got if event.channel == 2] == list(range(100))
    assert sum(event.channel == 1 for event in got) <= 30
    assert peer.state == "connected"


@pytest.mark.parametrize(
    ("options", "data"), [({"max_messages": 10}, 1), ({"max_rate": 1000}, bytes(1000))], ids=["messages", "bytes"]
)
def test_a_peer_that_sends_far_too_much_is_closed_as_too_fast(
    networks: Make, options: dict[str, int], data: object
) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", **options)  # type: ignore[arg-type]
    client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)
    for _ in range(1000):
        client.send(data)
    event = only(wait_for(client, NETWORK_DISCONNECTED))
    assert event.reason == "too fast"
    assert "a second" in event.detail
    assert only(wait_for(server, NETWORK_DISCONNECTED)).reason == "too fast"
    assert listener.stats()["too_fast"] == 1


def test_bounds_below_one_are_refused(networks: Make) -> None:
    for name in ("max_messages", "max_rate"):
        for value in (0, -5):
            with pytest.raises(ValueError, match=f"{name} is {value}"):
                networks().listen("play://127.0.0.1:0", **{name: value})  # type: ignore[arg-type]


def test_keys_are_counted_as_they_are_renewed(udp_pair: Pair) -> None:
    # Every two minutes, which no test waits for; `crates/proto/tests/stories/renewal.rs` lets hours go by.
    assert udp_pair.to_client.stats()["keys_renewed"] == 0


def test_the_default_network_bans_too(default: None) -> None:
    netplay.ban("192.0.2.7")
    assert netplay.bans() == {"192.0.2.7": None}
    assert netplay.unban("192.0.2.7")
