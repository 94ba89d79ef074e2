"""How fast we send, and how much twice: the options of listen() and connect()."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from conftest import only, wait_for
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, Network

Make = Callable[[], Network]


def test_a_large_message_takes_the_time_that_the_rate_allows(networks: Make) -> None:
    server, client = networks(), networks()
    client.connect(server.listen("play://127.0.0.1:0", send_rate=200_000).url)
    to_client = only(wait_for(server, NETWORK_CONNECTED)).peer
    began = time.monotonic()
    to_client.send(bytes(200_000), 1)
    assert len(only(wait_for(client, NETWORK_DATA_IN)).data) == 200_000
    # Never sooner, however slow this machine is: a tenth of a second's worth may leave at once. That it is not much
    # later either, `crates/proto/tests/stories/bounds.rs` shows in virtual time.
    assert time.monotonic() - began > 0.85


def test_without_copies_none_are_sent(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", copies=0)
    # So late that no acknowledgement can come before a copy is due, however slow this machine is.
    url = listener.url + "?lag_ms=100"
    peers = [client.connect(url, copies=copies) for copies in (0, 4.0)]
    wait_for(client, NETWORK_CONNECTED, 2)
    for number in range(30):
        assert client.send(number, 1) == 2
        time.sleep(0.01)
    wait_for(server, NETWORK_DATA_IN, 60)
    # A new path is taken for a lossy one.
    without, with_copies = (peer.stats() for peer in peers)
    assert without["copied"] == 0
    assert with_copies["copied"] > 0


@pytest.mark.parametrize("value", [0, -1])
def test_a_rate_must_be_at_least_one(networks: Make, value: int) -> None:
    network = networks()
    with pytest.raises(ValueError, match=f"send_rate is {value}"):
        network.listen("play://127.0.0.1:0", send_rate=value)
    with pytest.raises(ValueError, match=f"send_rate is {value}"):
        network.connect("play://127.0.0.1:9", send_rate=value)


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_copies_must_be_zero_or_more(networks: Make, value: float) -> None:
    network = networks()
    with pytest.raises(ValueError, match="copies is"):
        network.listen("play://127.0.0.1:0", copies=value)
    with pytest.raises(ValueError, match="copies is"):
        network.connect("play://127.0.0.1:9", copies=value)
