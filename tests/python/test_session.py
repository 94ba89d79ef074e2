"""Listening, connecting, sending and taking, as a game does it."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

import netplay
from conftest import DEADLINE, Pair, only, send_lossy, wait_for, wait_until
from netplay import (
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    Event,
    Network,
    Peer,
)

Make = Callable[[], Network]


def test_two_networks_connect_and_talk_both_ways(pair: Pair) -> None:
    assert pair.client.send("hello network.", 1) == 1
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert (event.peer, event.channel, event.data, event.sequenceid, event.lossy) == (
        pair.to_client,
        1,
        "hello network.",
        0,
        False,
    )
    assert event.peer.send({"x": 1.5}, 2)
    event = only(wait_for(pair.client, NETWORK_DATA_IN))
    assert (event.peer, event.channel, event.data) == (pair.to_server, 2, {"x": 1.5})


def test_each_side_learns_the_name_state_and_key_of_the_other(pair: Pair) -> None:
    assert (pair.to_server.name, pair.to_client.name) == ("Server", "Ada")
    assert str(pair.to_client) == "Ada"
    assert pair.to_server.state == pair.to_client.state == "connected"
    assert pair.to_server.key == pair.listener.key
    assert pair.to_client.key not in (None, pair.listener.key)
    assert pair.to_client.is_incoming
    assert not pair.to_server.is_incoming
    assert pair.to_server.url == pair.listener.url


def free_port() -> int:
    """Returns a UDP port on which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
    return port


def test_messages_sent_before_the_connection_is_made_wait_for_it(networks: Make) -> None:
    # The server is not up yet, so that however slow this thread is, the connection is not made meanwhile.
    server, client, port = networks(), networks(), free_port()
    peer = client.connect(f"play://127.0.0.1:{port}")
    assert peer.state == "connecting"
    assert [client.send(number) for number in range(10)] == [1] * 10
    assert peer.send("direct")
    assert client.send("lossy ones do not wait", lossy=True) == 0
    assert not peer.send("nor do they here", lossy=True)
    server.listen(f"play://127.0.0.1:{port}")
    got = wait_for(server, NETWORK_DATA_IN, 11)
    assert [event.data for event in got] == [*range(10), "direct"]


def test_a_client_that_asks_before_its_server_is_up_gets_in(networks: Make) -> None:
    client, port = networks(), free_port()
    peer = client.connect(f"play://127.0.0.1:{port}")
    assert client.get(0.2) == []
    server = networks()
    server.listen(f"play://127.0.0.1:{port}")
    wait_for(client, NETWORK_CONNECTED)
    assert peer.state == "connected"


def test_localhost_works_whichever_family_the_server_is_on(networks: Make) -> None:
    for host in ("127.0.0.1", "[::1]"):
        server, client = networks(), networks()
        try:
            listener = server.listen(f"play://{host}:0")
        except netplay.ListenFailed:
            pytest.skip("this machine has no IPv6")
        client.connect("play://localhost:" + listener.url.rpartition(":")[2])
        wait_for(client, NETWORK_CONNECTED)


def test_one_thousand_messages_on_each_of_four_channels_arrive_once_and_in_order(pair: Pair) -> None:
    for number in range(1000):
        for channel in range(4):
            pair.client.send(number, channel)
    got = wait_for(pair.server, NETWORK_DATA_IN, 4000)
    for channel in range(4):
        events = [event for event in got if event.channel == channel]
        assert [event.data for event in events] == list(range(1000))
        assert [event.sequenceid for event in events] == list(range(1000))


def test_the_four_deliveries_arrive_on_a_bad_network(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0?seed=2")
    client.connect(listener.url + "?lag_ms=5&jitter_ms=10&loss_pct=20&dup_pct=5&seed=1")
    wait_for(client, NETWORK_CONNECTED)
    for number in range(200):
        client.send(number, 1)
        client.send(number, 2, ordered=False)
        client.send(number, 3, lossy=True)
        client.send(number, 4, lossy=True, ordered=False)
        if number % 10 == 0:
            time.sleep(0.001)
    got: list[Event] = []
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and sum(event.channel in (1, 2) for event in got) < 400:
        got += [event for event in server.get(0.1) if event.what == NETWORK_DATA_IN]
    by_channel = {channel: [event.data for event in got if event.channel == channel] for channel in (1, 2, 3, 4)}
    assert by_channel[1] == list(range(200))
    assert sorted(by_channel[2]) == list(range(200))
    assert by_channel[3] == sorted(set(by_channel[3]))
    assert len(by_channel[4]) == len(set(by_channel[4]))
    assert all(event.lossy == (event.channel > 2) for event in got)


def test_to_and_exclude_say_who_gets_it(networks: Make) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0")
    clients = [networks() for _ in range(3)]
    for index, client in enumerate(clients):
        client.connect(listener.url, name=f"c{index}")
        wait_for(client, NETWORK_CONNECTED)
    wait_for(server, NETWORK_CONNECTED, 3)
    a, b, c = (next(peer for peer in server.peers if peer.name == f"c{index}") for index in range(3))
    assert server.send("all") == 3
    assert server.send("a", to=a) == 1
    assert server.send("a and b", to=[a, b]) == 2
    assert server.send("a and c", to=(peer for peer in (a, c))) == 2
    assert server.send("not b", exclude=b) == 2
    assert server.send("only a", exclude=[b, c]) == 1
    assert server.send("b", to=[a, b], exclude=a) == 1
    assert server.send("nobody", to=[]) == 0
    assert server.send("nobody", to=a, exclude=a) == 0
    assert server.send("b by url", to=b.url) == 1
    expected = [
        ["all", "a", "a and b", "a and c", "not b", "only a"],
        ["all", "a and b", "b", "b by url"],
        ["all", "a and c", "not b"],
    ]
    for client, texts in zip(clients, expected, strict=True):
        assert [event.data for event in wait_for(client, NETWORK_DATA_IN, len(texts))] == texts
        assert client.get() == []


def test_a_server_with_nobody_there_sends_to_nobody(networks: Make) -> None:
    server = networks()
    server.listen("play://127.0.0.1:0")
    assert server.send("anybody?") == 0


def test_peer_close_tells_the_other_side_why(pair: Pair) -> None:
    pair.client.send("last words")
    pair.to_server.close("dinner")
    event = only(wait_for(pair.client, NETWORK_DISCONNECTED))
    assert (event.peer, event.reason) == (pair.to_server, "closed")
    said = wait_for(pair.server, NETWORK_DATA_IN)
    assert only(said).data == "last words"
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert (event.peer, event.reason, event.detail) == (pair.to_client, "goodbye", "dinner")
    assert pair.to_client.state == pair.to_server.state == "closed"
    assert pair.server.peers == []
    assert pair.listener.peers == []
    pair.to_server.close("twice is fine")


def test_what_a_stranger_calls_itself_or_says_can_be_drawn_and_printed(networks: Make) -> None:
    server, client = networks(), networks()
    to_server = client.connect(server.listen("play://127.0.0.1:0").url, name="A\0\n\x1b[31m\x9bBé")
    wait_for(client, NETWORK_CONNECTED)
    to_server.close("by\re")
    peer = only(wait_for(server, NETWORK_CONNECTED)).peer
    assert peer.name == "A���[31m�Bé"
    assert only(wait_for(server, NETWORK_DISCONNECTED)).detail == "by�e"


def test_a_long_goodbye_is_cut_between_two_characters(pair: Pair) -> None:
    pair.to_server.close("ä" * 300)
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert event.detail == "ä" * 100


def test_closing_a_listener_says_goodbye_to_its_peers_and_refuses_new_ones(networks: Make) -> None:
    server, client = networks(), networks()
    with server.listen("play://127.0.0.1:0") as listener:
        client.connect(listener.url)
        wait_for(client, NETWORK_CONNECTED)
        wait_for(server, NETWORK_CONNECTED)
        assert len(listener.peers) == 1
        assert server.listeners == [listener]
    assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "goodbye"
    assert server.listeners == []
    listener.close()
    assert listener.stats() == {}
    client.connect(listener.url, timeout=0.5)
    assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "no answer"


def test_closing_a_network_says_goodbye_and_it_can_be_used_again(pair: Pair) -> None:
    url = pair.listener.url
    pair.client.close()
    assert only(wait_for(pair.server, NETWORK_DISCONNECTED)).reason == "goodbye"
    assert pair.to_server.state == "closed"
    assert pair.client.get() == []
    with pytest.raises(netplay.NotConnected):
        pair.client.send("to whom?")
    again = pair.client.connect(url)
    wait_for(pair.client, NETWORK_CONNECTED)
    assert again.id > pair.to_server.id
    assert pair.client.send("back", exclude=pair.to_server) == 1  # the old one, and nobody else
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "back"
    pair.client.close()
    pair.client.close()


@pytest.mark.parametrize(
    ("listen", "connect", "reason"),
    [
        ({"password": "swordfish"}, {}, "wrong password"),
        ({"password": "swordfish"}, {"password": "sword"}, "wrong password"),
        ({"version": "1"}, {"version": "2"}, "wrong version"),
    ],
)
def test_a_refused_connection_says_why(
    networks: Make, listen: dict[str, str], connect: dict[str, str], reason: str
) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", **listen)  # type: ignore[arg-type]
    peer = client.connect(listener.url, **connect)  # type: ignore[arg-type]
    event = only(wait_for(client, NETWORK_DISCONNECTED))
    assert (event.peer, event.reason, peer.state) == (peer, reason, "closed")
    assert server.get() == []


def test_the_right_password_and_version_get_in(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", password="swordfish", version="1")
    client.connect(listener.url, password="swordfish", version="1")
    wait_for(client, NETWORK_CONNECTED)


def test_a_full_listener_refuses_the_next(networks: Make) -> None:
    server, first, second = networks(), networks(), networks()
    listener = server.listen("play://127.0.0.1:0", max_peers=1)
    first.connect(listener.url)
    wait_for(first, NETWORK_CONNECTED)
    second.connect(listener.url)
    assert only(wait_for(second, NETWORK_DISCONNECTED)).reason == "full"


def test_nobody_there_is_no_answer_and_an_unknown_name_is_an_unknown_host(networks: Make) -> None:
    client = networks()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        client.connect(f"play://127.0.0.1:{holder.getsockname()[1]}", timeout=0.3)
        assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "no answer"
    client.connect("play://no-such-host.invalid:5000", timeout=5)
    assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "unknown host"


def test_callbacks_are_called_inside_get_and_only_there(networks: Make) -> None:
    server, client = networks(), networks()
    calls: list[tuple[str, Peer, str | None]] = []
    listener = server.listen(
        "play://127.0.0.1:0",
        on_connect=lambda peer: calls.append(("server met", peer, None)),
        on_lost=lambda peer, reason: calls.append(("server lost", peer, reason)),
    )
    to_server = client.connect(
        listener.url,
        on_connect=lambda peer: calls.append(("client met", peer, None)),
        on_lost=lambda peer, reason: calls.append(("client lost", peer, reason)),
    )
    wait_until(lambda: server.stats()["events_waiting"] and client.stats()["events_waiting"], "a connection")
    assert calls == []
    [event] = server.get()
    assert event.what == NETWORK_CONNECTED
    to_client = event.peer
    assert calls == [("server met", to_client, None)]
    client.get()
    assert calls[1:] == [("client met", to_server, None)]
    to_server.close()
    wait_for(server, NETWORK_DISCONNECTED)
    wait_for(client, NETWORK_DISCONNECTED)
    assert calls[2:] == [("server lost", to_client, "goodbye"), ("client lost", to_server, "closed")]


def test_a_failed_connect_calls_on_lost_once(networks: Make) -> None:
    lost: list[str] = []
    client = networks()
    client.connect("local://nobody", timeout=0.2, on_lost=lambda peer, reason: lost.append(reason))
    wait_for(client, NETWORK_DISCONNECTED)
    assert lost == ["no answer"]


def test_a_handler_is_called_instead_of_an_event(pair: Pair) -> None:
    heard: list[object] = []

    @pair.server.on(7)
    def handle(event: Event) -> None:
        heard.append(event.data)

    for number in range(3):
        pair.client.send(number, 7)
        pair.client.send(number, 8)
    rest: list[object] = []
    until = time.monotonic() + DEADLINE
    while len(rest) < 3 or len(heard) < 3:
        assert time.monotonic() < until
        rest += [event.data for event in pair.server.get(0.1)]
    assert (heard, rest) == ([0, 1, 2], [0, 1, 2])


def test_a_handler_that_raises_loses_no_event(pair: Pair) -> None:
    @pair.server.on(7)
    def handle(event: Event) -> None:
        raise RuntimeError(f"no {event.data}")

    for channel, data in ((1, "a"), (7, "b"), (1, "c"), (7, "d"), (1, "e")):
        pair.client.send(data, channel)
    wait_until(lambda: pair.server.stats()["events_waiting"] == 5)
    heard: list[object] = []
    for refused in ("b", "d"):
        with pytest.raises(RuntimeError, match=f"no {refused}"):
            pair.server.get()
    heard += [event.data for event in pair.server.get()]
    assert heard == ["a", "c", "e"]


def test_a_callback_that_raises_loses_no_event(networks: Make) -> None:
    def on_connect(peer: Peer) -> None:
        raise RuntimeError("no room")

    server, client = networks(), networks()
    client.connect(server.listen("play://127.0.0.1:0", on_connect=on_connect).url)
    client.send("hello")
    with pytest.raises(RuntimeError, match="no room"):
        wait_for(server, NETWORK_CONNECTED)
    got = server.get(5)
    assert got[0].what == NETWORK_CONNECTED
    if len(got) == 1:
        got += server.get(5)
    assert got[1].data == "hello"


def test_the_same_peer_is_always_the_same_object(pair: Pair) -> None:
    pair.client.send("a")
    first = only(wait_for(pair.server, NETWORK_DATA_IN)).peer
    pair.client.send("b")
    second = only(wait_for(pair.server, NETWORK_DATA_IN)).peer
    assert first is second is pair.to_client is pair.server.peers[0] is pair.listener.peers[0]
    scores = {first: 3}
    assert scores[second] == 3
    first.data["score"] = 7
    assert second.data == {"score": 7}
    assert first != pair.to_server


def test_a_peer_that_is_gone_is_freed_even_if_it_holds_itself(networks: Make) -> None:
    server, client = networks(), networks()
    client.connect(server.listen("local://freed").url)
    wait_for(client, NETWORK_CONNECTED)
    peer = only(wait_for(server, NETWORK_CONNECTED)).peer
    client.send("keep me")
    peer.data["me"] = peer
    peer.data["event"] = only(wait_for(server, NETWORK_DATA_IN))
    gone = weakref.ref(peer)
    client.close()
    wait_for(server, NETWORK_DISCONNECTED)
    del peer
    gc.collect()
    assert gone() is None


def test_the_collector_knows_events_whose_memory_was_used_before(networks: Make) -> None:
    server, client = networks(), networks()
    client.connect(server.listen("local://used-again").url)
    wait_for(client, NETWORK_CONNECTED)
    peer = only(wait_for(server, NETWORK_CONNECTED)).peer
    places: set[int] = set()
    for number in range(20):
        client.send(number)
        event = only(wait_for(server, NETWORK_DATA_IN))
        assert gc.is_tracked(event)
        assert (event.data, event.sequenceid, event.peer) == (number, number, peer)
        peer.data["event"] = event
        places.add(id(event))
    assert len(places) < 20, "no memory was used again, so this test shows nothing"


def test_a_network_that_is_dropped_is_closed(networks: Make) -> None:
    server, client = networks(), Network()
    client.connect(server.listen("play://127.0.0.1:0").url)
    wait_for(client, NETWORK_CONNECTED)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    wait_for(server, NETWORK_DISCONNECTED)


def test_reprs_say_what_one_wants_to_know(pair: Pair, networks: Make) -> None:
    assert repr(pair.to_client).startswith(f"<Peer 1 'Ada' connected {pair.to_client.url}, ")
    assert repr(pair.to_client).endswith(" ms>")
    assert pair.listener.url in repr(pair.listener)
    assert all(address in repr(pair.listener) for address in pair.listener.addresses)
    assert repr(pair.server) == f"<Network 1 peers, listening on {pair.listener.url}>"
    text = repr(send_lossy(pair.client, "x" * 200, pair.server, 5))
    assert re.match("<Event NETWORK_DATA_IN Ada channel 5 #[0-9]+ lossy 'xxx", text)
    assert len(text) < 140
    other = networks()
    peer = other.connect("local://repr")
    assert repr(peer) == "<Peer 1 connecting local://repr>"
    assert str(peer) == "local://repr"
    assert repr(networks()) == "<Network 0 peers>"


def test_a_listener_says_what_to_give_out(networks: Make) -> None:
    listener = networks().listen("play://0.0.0.0:0")
    port = listener.url.rpartition(":")[2]
    assert port != "0"
    assert listener.addresses
    for address in listener.addresses:
        assert address.startswith("play://")
        assert address.endswith(":" + port)
        assert "0.0.0.0" not in address


def test_an_event_has_only_the_attributes_of_its_kind(pair: Pair) -> None:
    pair.client.send("x")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert event.what is NETWORK_DATA_IN
    assert f"{event.what!r} {event.what}" == "NETWORK_DATA_IN NETWORK_DATA_IN"
    for name in ("reason", "detail", "seconds", "seconds_left"):
        assert not hasattr(event, name)
        with pytest.raises(AttributeError, match=f"a NETWORK_DATA_IN event has no {name}"):
            getattr(event, name)
    pair.to_server.close()
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    for name in ("channel", "data", "sequenceid", "lossy", "seconds", "seconds_left"):
        assert not hasattr(event, name)


def test_numbers_about_a_peer_are_there(pair: Pair) -> None:
    for _ in range(20):
        pair.client.send(b"x" * 1000)
    wait_for(pair.server, NETWORK_DATA_IN, 20)
    wait_until(lambda: pair.to_server.queued == 0, "the acknowledgement")
    assert 0 < pair.to_server.rtt < 1
    assert 0 <= pair.to_server.jitter < 1
    assert 0 <= pair.to_server.loss < 0.5
    stats = pair.to_server.stats()
    assert stats["bytes_sent"] > 20_000
    assert stats["packets_sent"] > 0
    assert stats["transport"] in ("udp", "local")
    assert pair.to_client.stats()["messages_received"] == 20
    assert pair.listener.stats()["peers"] == 1
    pair.to_server.close()
    assert pair.to_server.stats()["bytes_sent"] > 20_000


def test_get_waits_for_the_first_event_and_no_longer(pair: Pair) -> None:
    started = time.monotonic()
    assert pair.server.get(0.15) == []
    assert 0.14 < time.monotonic() - started < 2
    timer = threading.Timer(0.1, pair.client.send, ["wake up"])
    timer.start()
    started = time.monotonic()
    [event] = pair.server.get(DEADLINE)
    assert event.data == "wake up"
    assert time.monotonic() - started < DEADLINE / 2
    timer.join()


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), 0, 1e-12])
def test_odd_timeouts_do_not_wait(networks: Make, timeout: float) -> None:
    assert networks().get(timeout) == []


def test_other_threads_run_while_get_waits(pair: Pair) -> None:
    count = 0
    is_waiting = True

    def work() -> None:
        nonlocal count
        while is_waiting:
            count += 1

    worker = threading.Thread(target=work)
    worker.start()
    pair.server.get(0.3)
    is_waiting = False
    worker.join()
    assert count > 50_000


def test_several_threads_may_send_and_take_at_once(pair: Pair) -> None:
    def send(channel: int) -> None:
        for number in range(500):
            pair.client.send(number, channel)

    threads = [threading.Thread(target=send, args=[channel]) for channel in range(4)]
    for thread in threads:
        thread.start()
    got = wait_for(pair.server, NETWORK_DATA_IN, 2000)
    for thread in threads:
        thread.join()
    for channel in range(4):
        assert [event.data for event in got if event.channel == channel] == list(range(500))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lets programs hear Ctrl-C even if we were started by a shell's `&`, which makes us and them deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_interrupts_a_wait() -> None:
    code = "import netplay; netplay.listen('play://127.0.0.1:0'); print('up', flush=True); netplay.get(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
    assert "KeyboardInterrupt" in errors


def test_a_game_that_does_nothing_stays_connected_and_finds_everything_in_order(udp_pair: Pair) -> None:
    # The thirty seconds of a loading screen in short form: longer than it takes to be reported lost (3 s).
    for number in range(50):
        udp_pair.client.send(number)
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        sum(range(100_000))  # a busy game, holding the interpreter lock
        udp_pair.client.send("tick", 2)
        assert [event for event in udp_pair.client.get(0.05) if event.what != NETWORK_DATA_IN] == []
    got = udp_pair.server.get()
    assert {event.what for event in got} == {NETWORK_DATA_IN}
    assert [event.data for event in got if event.channel == 0] == list(range(50))
    assert udp_pair.server.send("still here") == 1
    assert only(wait_for(udp_pair.client, NETWORK_DATA_IN)).data == "still here"


def test_the_functions_of_the_package_share_one_network(default: None, networks: Make) -> None:
    listener = netplay.listen("play://127.0.0.1:0")
    client = networks()
    client.connect(listener.url, name="Ada")
    client.send("hi", 1)
    heard: list[object] = []

    @netplay.on(1)
    def handle(event: Event) -> None:
        heard.append(event.data)

    until = time.monotonic() + DEADLINE
    while not heard and time.monotonic() < until:
        netplay.get(0.1)
    assert heard == ["hi"]
    assert netplay.send("welcome", 2) == 1
    assert only(wait_for(client, NETWORK_DATA_IN)).data == "welcome"
    assert netplay.stats()["closed_for_bad_data"] == 0


def test_a_subclass_may_take_arguments_of_its_own() -> None:
    class Game(Network):
        def __init__(self, title: str) -> None:
            super().__init__()
            self.title = title

    with Game("pong") as game:
        assert (game.title, game.get()) == ("pong", [])
    with pytest.raises(TypeError):
        Network("nothing to give")  # type: ignore[call-arg]
