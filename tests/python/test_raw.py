"""Bare streams and datagrams: the other end is Python's own `socket`, `asyncio` or `nc`."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

import netplay
from conftest import DEADLINE, needs, only, wait_for, wait_until
from netplay import Event, Listener, Network

Make = Callable[[], Network]


def place(listener: Listener) -> tuple[str, int]:
    """Where a listener on this machine listens, as `socket` writes it."""
    host, port = listener.url.split("://")[1].rsplit(":", 1)
    return host, int(port)


def bytes_from(network: Network, count: int) -> bytes:
    """Everything that data events bring, until it is this many bytes."""
    found = b""
    until = time.monotonic() + DEADLINE
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} bytes of {count}"
        found += b"".join(event.data for event in network.get(0.1) if event.what == netplay.NETWORK_DATA_IN)
    return found


def test_a_stream_of_python_sockets_arrives_as_it_was_sent(networks: Make) -> None:
    server = networks()
    listener = server.listen("tcp://127.0.0.1:0")
    with socket.create_connection(place(listener), timeout=DEADLINE) as other:
        peer = only(wait_for(server, netplay.NETWORK_CONNECTED)).peer
        assert peer.key is None
        assert peer.name == ""
        assert str(peer) == peer.url
        assert peer.url == "tcp://{}:{}".format(*other.getsockname())
        stats = peer.stats()
        assert (stats["transport"], stats["encrypted"]) == ("raw tcp", False)
        other.sendall(bytes(range(256)) * 4096)
        assert bytes_from(server, 2**20) == bytes(range(256)) * 4096
        assert peer.send("grüße, ")
        assert server.send(bytearray(b"and bytes"), to=peer) == 1
        expected = "grüße, and bytes".encode()
        server.get()
        assert other.recv(len(expected), socket.MSG_WAITALL) == expected
        assert listener.peers == [peer]
    event = only(wait_for(server, netplay.NETWORK_DISCONNECTED))
    assert (event.peer, event.reason) == (peer, "goodbye")
    assert listener.peers == []


def test_recv_gives_what_is_there_and_never_more_than_asked(networks: Make) -> None:
    server = networks()
    listener = server.listen("tcp://127.0.0.1:0")
    with socket.create_connection(place(listener), timeout=DEADLINE) as other:
        peer = only(wait_for(server, netplay.NETWORK_CONNECTED)).peer
        assert server.recv(peer, 100) == b""
        other.sendall(b"headerbody")
        found = b""

        def has_all() -> bool:
            nonlocal found
            part = server.recv(peer, 6)
            assert len(part) <= 6
            found += part
            return found == b"headerbody"

        wait_until(has_all, "all of it")
        other.sendall(b"last words")
    time.sleep(0.05)
    # They are not lost, though the other side is gone and the game looks for events first.
    assert [event.what for event in server.get(0.05)] == []
    assert server.recv(peer, 100) == b"last words"
    assert server.recv(peer, 100) == b""
    assert only(wait_for(server, netplay.NETWORK_DISCONNECTED)).reason == "goodbye"
    assert server.recv(peer, 100) == b""


def test_recv_says_what_is_wrong_with_its_arguments(networks: Make, udp_pair: object) -> None:
    server, client, other = networks(), networks(), networks()
    listener = server.listen("tcp://127.0.0.1:0")
    peer = client.connect(listener.url)
    with pytest.raises(ValueError, match="num_bytes is -1"):
        client.recv(peer, -1)
    with pytest.raises(ValueError, match="another Network"):
        other.recv(peer, 1)
    with pytest.raises(TypeError):
        client.recv("tcp://127.0.0.1:1", 1)  # type: ignore[arg-type]
    to_play = client.connect("local://nobody")
    with pytest.raises(ValueError, match="is no stream"):
        client.recv(to_play, 1)


def test_what_a_stream_cannot_do_is_an_error_that_says_so(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("tcp://127.0.0.1:0")
    peer = client.connect(listener.url)
    with pytest.raises(ValueError, match="lossy=True, but a tcp:// stream loses nothing"):
        client.send(b"x", lossy=True)
    with pytest.raises(ValueError, match="channel is 3, but tcp:// has no channels"):
        peer.send(b"x", 3)
    with pytest.raises(netplay.UnsupportedData, match=r"bytes or str only"):
        client.send({"x": 1}, to=peer)
    with pytest.raises(netplay.BadURL, match="lag_ms and rate_kbps"):
        client.connect("tcp://127.0.0.1:9?loss_pct=5")
    with pytest.raises(ValueError, match="password is for netplay's own protocol"):
        server.listen("tcp://127.0.0.1:0", password="swordfish")
    with pytest.raises(ValueError, match="max_messages"):
        server.listen("udp://127.0.0.1:0", max_messages=5)
    with pytest.raises(netplay.ListenFailed):
        server.listen(listener.url)


def test_a_refused_call_and_an_unknown_host_are_events(networks: Make) -> None:
    client = networks()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused = client.connect(f"tcp://127.0.0.1:{port}")
    event = only(wait_for(client, netplay.NETWORK_DISCONNECTED))
    assert (event.peer, event.reason) == (refused, "no answer")
    assert "refused" in event.detail
    unknown = client.connect("tcp://name.invalid:9")
    event = only(wait_for(client, netplay.NETWORK_DISCONNECTED))
    assert (event.peer, event.reason) == (unknown, "unknown host")


def test_a_reset_is_an_event_and_a_half_closed_stream_is_still_answered(networks: Make) -> None:
    server = networks()
    listener = server.listen("tcp://127.0.0.1:0")
    with socket.create_connection(place(listener), timeout=DEADLINE) as other:
        other.sendall(b"question")
        other.shutdown(socket.SHUT_WR)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            events = server.get(0.1)
            for event in events:
                if event.what == netplay.NETWORK_DATA_IN:
                    event.peer.send(event.data + b" answered")
            if any(event.what == netplay.NETWORK_DISCONNECTED for event in events):
                break
        assert other.recv(100, socket.MSG_WAITALL) == b"question answered"
    with socket.create_connection(place(listener), timeout=DEADLINE) as other:
        wait_for(server, netplay.NETWORK_CONNECTED)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    event = only(wait_for(server, netplay.NETWORK_DISCONNECTED))
    assert (event.reason, event.detail) == ("goodbye", "the connection was reset")


def test_an_asyncio_server_and_client_are_peers_like_others(networks: Make) -> None:
    ours = networks()
    listener = ours.listen("tcp://127.0.0.1:0")
    port = threading.Event()
    places: list[str] = []
    results: list[bytes] = []
    closed = threading.Event()

    async def run() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(10_000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            closed.set()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            places.append("tcp://{}:{}".format(*server.sockets[0].getsockname()))
            port.set()
            reader, writer = await asyncio.open_connection(*place(listener))
            writer.write(b"line one\nline two\n")
            results.append(await reader.readline())
            writer.close()
            await writer.wait_closed()
            while not closed.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(run(), DEADLINE)))
    thread.start()
    assert port.wait(DEADLINE)
    assert bytes_from(ours, 18) == b"line one\nline two\n"
    ours.send(b"got it\n")
    ours.get(0.01)
    wait_until(lambda: results, "the line")
    assert results == [b"got it\n"]
    theirs = networks()
    peer = theirs.connect(places[0])
    sent = bytes(range(256)) * 8192
    peer.send(sent)
    assert bytes_from(theirs, len(sent)) == sent
    peer.close()
    theirs.get(0.1)
    thread.join(DEADLINE)
    assert not thread.is_alive()


@needs("nc", "netcat-openbsd")
def test_nc_talks_to_a_game(networks: Make) -> None:
    server = networks()
    tcp, udp = server.listen("tcp://127.0.0.1:0"), server.listen("udp://127.0.0.1:0")

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["nc", "-w", "5", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    host, port = place(tcp)
    with run(host, str(port)) as nc:
        assert nc.stdin
        assert nc.stdout
        nc.stdin.write(b"hello from nc\n")
        nc.stdin.flush()
        assert bytes_from(server, 14) == b"hello from nc\n"
        tcp.peers[0].send("and back\n")
        server.get(0.01)
        assert nc.stdout.readline() == b"and back\n"
        tcp.peers[0].close()
    host, port = place(udp)
    with run("-u", host, str(port)) as nc:
        assert nc.stdin
        assert nc.stdout
        nc.stdin.write(b"by datagram\n")
        nc.stdin.flush()
        assert bytes_from(server, 12) == b"by datagram\n"
        udp.peers[0].send("and back\n")
        server.get(0.01)
        assert nc.stdout.readline() == b"and back\n"
        nc.stdin.close()
        nc.kill()


def test_a_sender_of_datagrams_is_a_peer(networks: Make) -> None:
    server = networks()
    listener = server.listen("udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(DEADLINE)
        other.sendto(b"one", place(listener))
        other.sendto(b"two", place(listener))
        events: list[Event] = []

        def have_come() -> bool:
            events.extend(server.get(0.1))
            return len(events) == 3

        wait_until(have_come, "three events")
        assert [event.what.name for event in events] == ["NETWORK_CONNECTED", "NETWORK_DATA_IN", "NETWORK_DATA_IN"]
        assert [(event.data, event.sequenceid, event.lossy) for event in events[1:]] == [
            (b"one", 0, True),
            (b"two", 1, True),
        ]
        peer = events[0].peer
        assert (peer.stats()["transport"], peer.stats()["encrypted"]) == ("raw udp", False)
        peer.send(b"x" * 65_507)
        server.get()
        assert other.recv(70_000) == b"x" * 65_507
        with pytest.raises(netplay.MessageTooLarge, match="65508 bytes, a udp:// datagram may be 65507"):
            peer.send(b"x" * 65_508)
        client = networks()
        other_peer = client.connect("udp://{}:{}".format(*other.getsockname()))
        wait_for(client, netplay.NETWORK_CONNECTED)
        other_peer.send("called")
        client.get()
        data, address = other.recvfrom(100)
        assert data == b"called"
        other.sendto(b"answer", address)
        assert bytes_from(client, 6) == b"answer"


def test_a_flood_of_senders_is_bounded_and_counted(networks: Make) -> None:
    server = networks()
    listener = server.listen("udp://127.0.0.1:0", max_peers=5)
    for number in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((f"127.8.0.{number + 1}", 0))
            other.sendto(b"forged", place(listener))
    wait_until(lambda: server.get(0.05) is not None and listener.stats()["datagrams_received"] == 100, "all")
    assert len(listener.peers) == 5
    assert listener.stats()["strangers_dropped"] == 95


@pytest.mark.parametrize("scheme", ["play", "tcp", "enet"])
def test_a_message_to_a_url_connects_by_itself_and_uses_the_connection_again(networks: Make, scheme: str) -> None:
    server, client = networks(), networks()
    listener = server.listen(f"{scheme}://127.0.0.1:0")

    def texts_until(last: str) -> str:
        found = ""
        until = time.monotonic() + DEADLINE
        while not found.endswith(last):
            assert time.monotonic() < until, found
            client.get()
            for event in server.get(0.02):
                if event.what == netplay.NETWORK_DATA_IN:
                    found += event.data if isinstance(event.data, str) else event.data.decode()
        return found

    for number in range(10):
        assert client.send(f"message {number}.", to=listener.url) == 1
    assert texts_until("message 9.") == "".join(f"message {number}." for number in range(10))
    assert len(listener.peers) == 1
    (peer,) = client.peers
    assert peer.url == listener.url
    assert client.send("and more", to=listener.url) == 1
    assert texts_until("more") == "and more"
    assert len(listener.peers) == 1
    if scheme != "tcp":  # there, nobody can tell whether the other side still listens when it has said everything
        listener.peers[0].close()
        server.get(0.1)
        time.sleep(0.1)
        # The game has not been told yet, and means whoever is there.
        assert client.send("to whoever", to=listener.url) == 1
        assert texts_until("whoever") == "to whoever"


def test_a_message_to_a_url_where_nobody_is_fails_by_an_event(networks: Make) -> None:
    client = networks()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    assert client.send(b"to nobody", to=url) == 1
    event = only(wait_for(client, netplay.NETWORK_DISCONNECTED))
    assert (event.peer.url, event.reason) == (url, "no answer")
    with pytest.raises(netplay.BadURL):
        client.send("x", to="nonsense")
    with pytest.raises(netplay.BadURL):
        client.send("x", to="http://example.org")


def test_a_datagram_to_a_url_needs_no_connection(networks: Make) -> None:
    client = networks()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(DEADLINE)
        url = f"udp://127.0.0.1:{other.getsockname()[1]}"
        assert client.send(b"one datagram", to=url) == 1
        assert other.recv(100) == b"one datagram"
        assert client.send("to two", to=[url, url]) == 2
        assert (other.recv(100), other.recv(100)) == (b"to two", b"to two")
        assert client.peers == []
        assert client.get() == []
        with pytest.raises(netplay.MessageTooLarge, match="65507"):
            client.send(b"x" * 65_508, to=url)
        with pytest.raises(netplay.UnsupportedData):
            client.send([1], to=url)
        with pytest.raises(netplay.BadURL, match="connect"):
            client.send(b"x", to=url + "?loss_pct=5")


def test_an_encrypted_peer_says_so(udp_pair: object) -> None:
    assert udp_pair.to_server.stats()["encrypted"] is True  # type: ignore[attr-defined]
