"""TCP, WebSocket and WSS: they talk as UDP does, on one port number; strangers who do not speak netplay harm nobody."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websockets.asyncio.client
import websockets.exceptions

import netplay
from conftest import DEADLINE, Pair, needs, only, wait_for, wait_until
from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, Listener, Network

Make = Callable[[], Network]

STREAMS = ["tcp", "ws", "wss"]

MAGIC = b"NPLY\x01"


def port_of(listener: Listener) -> int:
    return int(listener.url.rpartition(":")[2])


def url_by(transport: str, listener: Listener) -> str:
    return f"play+{transport}://127.0.0.1:{port_of(listener)}"


@pytest.fixture
def served(networks: Make) -> tuple[Network, Listener]:
    """A listener that serves everything."""
    server = networks()
    return server, server.listen("play://127.0.0.1:0")


@contextlib.contextmanager
def driven(network: Network) -> Iterator[None]:
    """Lets a game poll while the test does something that blocks."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            network.get(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def stranger(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(listener)), timeout=DEADLINE)


def read_to_end(stream: socket.socket) -> bytes:
    """Returns all that comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while more := stream.recv(65536):
            received += more
    return received


def assert_undisturbed(server: Network, listener: Listener, networks: Make) -> None:
    """Checks that honest players come in and talk."""
    for transport in ["udp", *STREAMS]:
        client = networks()
        peer = client.connect(url_by(transport, listener))
        peer.send(f"by {transport}")
        assert only(wait_for(server, NETWORK_DATA_IN)).data == f"by {transport}"


@pytest.mark.parametrize("transport", ["udp", *STREAMS])
def test_each_transport_talks_both_ways_and_says_what_it_is(transport: str, networks: Make) -> None:
    pair = Pair(networks(), networks(), f"play+{transport}://127.0.0.1:0")
    assert pair.listener.transports == (transport,)
    assert pair.listener.addresses[0] == pair.listener.url
    pair.to_server.send({"from": "client"})
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == {"from": "client"}
    pair.to_client.send([1, 2.5, "back"])
    assert only(wait_for(pair.client, NETWORK_DATA_IN)).data == [1, 2.5, "back"]
    for peer in (pair.to_server, pair.to_client):
        assert peer.stats()["transport"] == transport
        assert peer.stats()["address"].startswith("127.0.0.1:")
    if transport != "udp":
        assert pair.to_client.url.startswith(f"play+{transport}://127.0.0.1:")
    pair.to_client.close("enough")
    ending = only(wait_for(pair.client, NETWORK_DISCONNECTED))
    assert (ending.reason, ending.detail) == ("goodbye", "enough")


@pytest.mark.parametrize("transport", STREAMS)
def test_big_messages_and_lossy_ones_cross_a_stream(transport: str, networks: Make) -> None:
    pair = Pair(networks(), networks(), f"play+{transport}://127.0.0.1:0")
    big = bytes(range(256)) * 8192
    pair.to_server.send(big)
    pair.to_client.send(big)
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == big
    assert only(wait_for(pair.client, NETWORK_DATA_IN)).data == big
    pair.to_server.send(b"position", lossy=True)
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert event.lossy
    assert event.data == b"position"


@pytest.mark.parametrize("transport", STREAMS)
def test_a_game_that_waits_is_woken_for_all_that_a_stream_has(transport: str, networks: Make) -> None:
    server, client = networks(), networks()
    peer = client.connect(url_by(transport, server.listen("play://127.0.0.1:0")))
    wait_for(server, NETWORK_CONNECTED)
    for number in range(6000):
        peer.send(number.to_bytes(2, "big") * 500)
    with driven(client):
        # What is left over from one reading must not wait for the next datagram, or for the end of a wait.
        messages = wait_for(server, NETWORK_DATA_IN, 6000)
    assert [int.from_bytes(message.data[:2], "big") for message in messages] == list(range(6000))


def test_one_port_number_serves_all_of_them(served: tuple[Network, Listener], networks: Make) -> None:
    server, listener = served
    assert listener.transports == ("udp", "tcp", "ws", "wss")
    assert_undisturbed(server, listener, networks)
    assert listener.stats()["streams"] == 3


def test_transports_are_an_option(networks: Make) -> None:
    listener = networks().listen("play://127.0.0.1:0", transports=["wss", "udp"])
    assert listener.transports == ("udp", "wss")
    assert networks().listen("play://127.0.0.1:0", transports=["tcp"]).certificate is None
    client = networks()
    client.connect(url_by("tcp", listener), timeout=0.3)
    assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "no answer"
    for wrong in (["tpc"], []):
        with pytest.raises(ValueError, match="transport"):
            networks().listen("play://127.0.0.1:0", transports=wrong)
    with pytest.raises(ValueError, match=r"play\+udp"):
        networks().listen("play+udp://127.0.0.1:0", transports=["udp"])
    with pytest.raises(TypeError, match="list"):
        networks().listen("play://127.0.0.1:0", transports="udp")


def test_a_password_and_a_pinned_key_hold_over_streams(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", password="sesame")
    for transport in STREAMS:
        client.connect(url_by(transport, listener), password="guess")
        assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "wrong password"
        client.connect(f"{url_by(transport, listener)}#k={'07' * 32}", password="sesame")
        assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "key changed"
        client.connect(f"{url_by(transport, listener)}#k={listener.key}", password="sesame")
        wait_for(client, NETWORK_CONNECTED)


def test_a_simulated_bad_network_holds_over_streams(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play+tcp://127.0.0.1:0")
    peer = client.connect(f"{listener.url}?lag_ms=100&loss_pct=20&seed=3")
    for number in range(20):
        peer.send(number)
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN, 20)] == list(range(20))
    wait_until(lambda: client.get() is not None and peer.stats()["packets_lost"] > 0, "a loss")


@pytest.mark.parametrize("transport", STREAMS)
def test_fifty_clients_at_once(transport: str, networks: Make) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0")
    clients = [networks() for _ in range(10)]
    for number in range(50):
        clients[number % 10].connect(url_by(transport, listener)).send(number)
    assert sorted(event.data for event in wait_for(server, NETWORK_DATA_IN, 50)) == list(range(50))
    assert server.send("to all") == 50
    for client in clients:
        assert [event.data for event in wait_for(client, NETWORK_DATA_IN, 5)] == ["to all"] * 5


# Proxies


class Proxy:
    """Stands between a client and a server, and lets the streams die in many ways."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.is_stalled = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to_port))
                self.pairs.append((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.is_stalled:
                    time.sleep(0.01)
                sink.sendall(data)

    def kill(self) -> None:
        """Resets every stream."""
        for pair in self.pairs:
            for stream in pair:
                with contextlib.suppress(OSError):
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    stream.shutdown(socket.SHUT_RDWR)
                stream.close()
        self.pairs.clear()

    def half_close(self) -> None:
        """Ends what the client sends, as a proxy does that gives up one direction."""
        for _, far in self.pairs:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.kill()


@pytest.fixture
def proxied(served: tuple[Network, Listener]) -> Iterator[tuple[Network, Listener, Proxy]]:
    server, listener = served
    proxy = Proxy(port_of(listener))
    yield server, listener, proxy
    proxy.close()


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("fault", ["kill", "half_close"])
def test_a_stream_that_dies_is_replaced_and_nothing_is_missing_or_twice(
    fault: str, transport: str, proxied: tuple[Network, Listener, Proxy], networks: Make
) -> None:
    server, _, proxy = proxied
    client = networks()
    peer = client.connect(f"play+{transport}://127.0.0.1:{proxy.port}")
    wait_for(client, NETWORK_CONNECTED)
    arrived: list[object] = []
    for number in range(300):
        peer.send(number)
        if number in (100, 200):
            getattr(proxy, fault)()
        arrived += [event.data for event in server.get(0.002) if event.what is NETWORK_DATA_IN]
        client.get()
    until = time.monotonic() + DEADLINE
    while len(arrived) < 300 and time.monotonic() < until:
        arrived += [event.data for event in server.get(0.05) if event.what is NETWORK_DATA_IN]
        client.get()
    assert arrived == list(range(300))
    assert peer.state == "connected"


def test_where_udp_leads_nowhere_play_goes_by_tcp_within_two_seconds(
    proxied: tuple[Network, Listener, Proxy], networks: Make
) -> None:
    server, _, proxy = proxied
    client = networks()
    began = time.monotonic()
    peer = client.connect(f"play://127.0.0.1:{proxy.port}")
    peer.send("here I am")
    assert only(wait_for(server, NETWORK_DATA_IN)).data == "here I am"
    assert time.monotonic() - began < 2.0
    assert peer.stats()["transport"] == "tcp"


def test_where_only_websockets_lead_somewhere_play_goes_by_them(networks: Make) -> None:
    server, client = networks(), networks()
    listener = server.listen("play+ws://127.0.0.1:0")
    began = time.monotonic()
    peer = client.connect(f"play://127.0.0.1:{port_of(listener)}")
    wait_for(client, NETWORK_CONNECTED)
    assert time.monotonic() - began < 2.0
    assert peer.stats()["transport"] == "ws"


def test_a_stalled_stream_catches_up(proxied: tuple[Network, Listener, Proxy], networks: Make) -> None:
    server, _, proxy = proxied
    client = networks()
    peer = client.connect(f"play+tcp://127.0.0.1:{proxy.port}")
    wait_for(client, NETWORK_CONNECTED)
    proxy.is_stalled = True
    for number in range(100):
        peer.send(number)
    time.sleep(1.0)
    assert not [event for event in server.get() if event.what is NETWORK_DATA_IN]
    proxy.is_stalled = False
    assert [event.data for event in wait_for(server, NETWORK_DATA_IN, 100)] == list(range(100))


# Strangers


def test_a_browser_gets_a_short_page_that_says_what_this_is(served: tuple[Network, Listener]) -> None:
    server, listener = served
    with driven(server):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{port_of(listener)}/index.html", timeout=DEADLINE)
        page = error.value.read().decode()
        error.value.close()
        assert error.value.code == 426
        assert error.value.headers["Content-Type"].startswith("text/html")
        assert "netplay" in page
        assert len(page) < 1000
        trusting = ssl._create_unverified_context()
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"https://127.0.0.1:{port_of(listener)}/", timeout=DEADLINE, context=trusting)
        error.value.close()
        assert error.value.code == 426


@pytest.mark.parametrize(
    "data",
    [
        MAGIC + b"\xff\xff",
        MAGIC + b"\x00\x00",
        MAGIC + b"\xb1\x04",
        b"NPLY\x02",
        b"\x00\x00\x01\x00",
        b"hello\n",
        b"X" * 100,
        b"\x16\x03\x01\x00\x05hello",
    ],
    ids=["65535", "0", "1201", "version", "zeros", "hello", "capitals", "no-tls"],
)
def test_what_is_no_stream_of_ours_is_closed_and_counted(
    data: bytes, served: tuple[Network, Listener], networks: Make
) -> None:
    server, listener = served
    with stranger(listener) as stream:
        stream.sendall(data)
        with driven(server):
            read_to_end(stream)
    assert listener.stats()["stream_errors"] == 1
    assert_undisturbed(server, listener, networks)


def test_who_sends_half_of_something_and_waits_is_closed_after_five_seconds(served: tuple[Network, Listener]) -> None:
    server, listener = served
    beginnings = [b"", MAGIC, MAGIC + b"\x10", b"GET / HTT", b"\x16\x03\x01\x02\x00"]
    began = time.monotonic()
    with contextlib.ExitStack() as stack, driven(server):
        streams = [stack.enter_context(stranger(listener)) for _ in beginnings]
        for stream, beginning in zip(streams, beginnings, strict=True):
            stream.sendall(beginning)
        for stream in streams:
            # Where TLS has begun, its goodbye.
            assert read_to_end(stream)[:1] in (b"", b"\x15")
            assert 4.0 < time.monotonic() - began < 9.0
    assert listener.stats()["streams_idle"] == len(beginnings)


def test_datagrams_that_are_no_netplay_are_counted_like_those_of_udp(
    served: tuple[Network, Listener], networks: Make
) -> None:
    server, listener = served
    with stranger(listener) as stream:
        stream.sendall(MAGIC + b"".join(struct.pack("<H", size) + bytes(size) for size in (1, 7, 1200)))
        wait_until(lambda: server.get() is not None and listener.stats()["bad_datagrams"] == 3, "three were counted")
    assert_undisturbed(server, listener, networks)


def test_tls_where_it_is_not_served_fails_at_once(networks: Make) -> None:
    server = networks()
    listener = server.listen("play://127.0.0.1:0", transports=["tcp", "ws"])
    context = ssl._create_unverified_context()
    with (
        driven(server),
        context.wrap_socket(stranger(listener), do_handshake_on_connect=False) as stream,
        pytest.raises(ssl.SSLError),
    ):
        stream.do_handshake()
    assert_undisturbed_by(server, listener, networks, ["tcp", "ws"])


def assert_undisturbed_by(server: Network, listener: Listener, networks: Make, transports: list[str]) -> None:
    for transport in transports:
        networks().connect(url_by(transport, listener)).send(transport)
        assert only(wait_for(server, NETWORK_DATA_IN)).data == transport


def test_two_hundred_half_open_streams_do_not_hurt_honest_players(
    served: tuple[Network, Listener], networks: Make
) -> None:
    server, listener = served
    client = networks()
    peer = client.connect(url_by("tcp", listener))
    wait_for(client, NETWORK_CONNECTED)
    beginnings = [b"", MAGIC[:3], MAGIC + b"\x01", b"GET / HTTP/1.1\r\nX-", b"\x16\x03\x01\x01"]
    streams = [stranger(listener) for _ in range(200)]
    try:
        slowest = 0.0
        for turn in range(300):
            # Each of them says a byte now and then, to look alive.
            with contextlib.suppress(OSError):
                streams[turn % 200].sendall(beginnings[turn % 5] or b"G")
            sent = time.monotonic()
            peer.send(turn)
            assert only(wait_for(server, NETWORK_DATA_IN)).data == turn
            slowest = max(slowest, time.monotonic() - sent)
        assert_undisturbed(server, listener, networks)
        assert slowest < 1.0

        def closed() -> int:
            server.get()
            stats = listener.stats()
            # Some have said what may not be said by now.
            return stats["streams_idle"] + stats["stream_errors"]

        wait_until(lambda: closed() >= 200, "all were closed")
    finally:
        for stream in streams:
            stream.close()
    assert peer.state == "connected"


STARVED = """
import netplay, resource, sys, time
with netplay.Network() as server:
    listener = server.listen("play://127.0.0.1:0")
    print(listener.url, flush=True)
    while not server.peers:
        server.get(0.1)
    used = max(int(name) for name in __import__("os").listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, used + 8))
    print("few left", flush=True)
    began, busy = time.monotonic(), time.process_time()
    while time.monotonic() - began < 2.0 or not listener.stats()["accept_errors"]:
        for event in server.get(0.1):
            if event.what is netplay.NETWORK_DATA_IN:
                event.peer.send(event.data)
    print(listener.stats()["accept_errors"], (time.process_time() - busy) / (time.monotonic() - began), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no list of descriptors")
def test_a_process_with_no_descriptors_left_goes_on_with_those_it_has(networks: Make) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STARVED], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        client = networks()
        peer = client.connect(url.replace("play://", "play+tcp://"))
        wait_for(client, NETWORK_CONNECTED)
        assert process.stdout.readline() == "few left\n"
        port = int(url.rpartition(":")[2])
        streams = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        for number in range(20):
            peer.send(number)
            assert only(wait_for(client, NETWORK_DATA_IN)).data == number
        errors, busy = process.stdout.readline().split()
        assert int(errors) >= 1
        # A pause, and no spinning: a retry each tenth of a second.
        assert int(errors) <= 60
        assert float(busy) < 0.3
        for stream in streams:
            stream.close()
        process.communicate("")


# WebSocket at the level of frames, by a client that nobody here wrote


async def echo_frames(url: str, frames: list[bytes | str], context: ssl.SSLContext | None) -> tuple[int | None, str]:
    """Sends messages, waits for the end, and returns its code and reason."""
    async with websockets.asyncio.client.connect(url, ssl=context, compression=None, open_timeout=DEADLINE) as client:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for frame in frames:
                await client.send(frame)
        await asyncio.wait_for(client.wait_closed(), DEADLINE)
        return client.close_code, client.close_reason or ""


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize(
    ("frame", "code"), [("text", 1003), (b"", 1008), (bytes(1201), 1009), (bytes(1_000_000), 1009)]
)
def test_messages_that_may_not_be_end_the_websocket_with_a_reason(
    frame: bytes | str, code: int, scheme: str, served: tuple[Network, Listener]
) -> None:
    server, listener = served
    context = ssl._create_unverified_context() if scheme == "wss" else None
    with driven(server):
        ended = asyncio.run(echo_frames(f"{scheme}://127.0.0.1:{port_of(listener)}/", [frame], context))
    assert ended[0] == code
    assert listener.stats()["stream_errors"] == 1


def test_a_websocket_client_is_answered_pings_fragments_and_goodbyes(served: tuple[Network, Listener]) -> None:
    server, listener = served

    async def talk() -> None:
        url = f"ws://127.0.0.1:{port_of(listener)}/"
        async with websockets.asyncio.client.connect(url, open_timeout=DEADLINE) as client:
            assert client.response is not None
            assert client.response.status_code == 101
            await asyncio.wait_for(await client.ping(b"are you there"), DEADLINE)
            await client.send([bytes(10), bytes(10), bytes(10)])
            await asyncio.wait_for(await client.ping(), DEADLINE)
            await client.close(1000, "bye")
            assert client.close_code == 1000

    with driven(server):
        asyncio.run(talk())
    stats = listener.stats()
    assert (stats["bad_datagrams"], stats["stream_errors"]) == (1, 0)


def upgraded(listener: Listener) -> socket.socket:
    """A WebSocket for writing frames by hand."""
    stream = stranger(listener)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    stream.sendall(
        f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stream.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    return stream


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),
        (b"\x82\xff" + b"\x7f" + b"\xff" * 7 + bytes(4), 1009),
        (b"\x02\x80" + bytes(4) + b"\x00\x80\x00\x00\x00\x00" * 5000, 1008),
        (b"\x02\xfe\x02\xbc" + bytes(704) + b"\x00\xfe\x02\xbc" + bytes(704), 1009),
        (b"\x89\x80" + bytes(4) + b"\x89\x80\x00\x00\x00\x00" * 5000, 1008),
        (b"\x00\x80" + bytes(4), 1002),
        (b"\xf2\x80" + bytes(4), 1002),
    ],
    ids=["unmasked", "eight-exabytes", "endless", "large-in-fragments", "pings", "continues-nothing", "reserved"],
)
def test_frames_that_break_the_rules_end_the_websocket(
    data: bytes, code: int, served: tuple[Network, Listener], networks: Make
) -> None:
    server, listener = served
    with driven(server), upgraded(listener) as stream:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            stream.sendall(data)
        ended = read_to_end(stream)
    # Of one who still writes, the end may get lost in a reset.
    assert not ended or (b"\x88" in ended and struct.pack(">H", code) in ended)
    assert listener.stats()["stream_errors"] == 1
    assert_undisturbed(server, listener, networks)


# TLS


def test_the_certificate_is_pinned_by_its_fingerprint_and_stays_the_same(networks: Make) -> None:
    server = networks()
    listener = server.listen("play+wss://127.0.0.1:0")
    assert listener.certificate is not None
    with driven(server):
        pem = ssl.get_server_certificate(("127.0.0.1", port_of(listener)))
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == listener.certificate
    client = networks()
    client.connect(f"{listener.url}#cert={listener.certificate}&k={listener.key}")
    wait_for(client, NETWORK_CONNECTED)
    client.connect(f"{listener.url}#cert={'07' * 32}", timeout=0.5)
    assert only(wait_for(client, NETWORK_DISCONNECTED)).reason == "no answer"
    again = networks().listen("play+wss://127.0.0.1:0")
    assert again.certificate == listener.certificate


openssl = needs("openssl", "openssl")


@openssl
def test_a_certificate_from_files_is_served(networks: Make, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    server, client = networks(), networks()
    listener = server.listen("play://127.0.0.1:0", certificate=(certificate, key))
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert listener.certificate == hashlib.sha256(der).hexdigest()
    client.connect(f"{url_by('wss', listener)}#cert={listener.certificate}")
    wait_for(client, NETWORK_CONNECTED)
    with pytest.raises(ValueError, match=r"nowhere\.pem"):
        networks().listen("play+wss://127.0.0.1:0", certificate=(tmp_path / "nowhere.pem", key))
    with pytest.raises(ValueError, match="certificate"):
        networks().listen("play+wss://127.0.0.1:0", certificate=(key, key))


@openssl
def test_openssl_shakes_hands(served: tuple[Network, Listener]) -> None:
    server, listener = served
    with driven(server):
        result = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port_of(listener)}", "-alpn", "http/1.1", "-ign_eof"],
            input=b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    output = result.stdout.decode(errors="replace")
    for words in ("netplay, self-signed", "TLSv1.3", "426 Upgrade Required"):
        assert words in output


@needs("nc", "netcat-openbsd")
def test_nc_gets_the_page_too(served: tuple[Network, Listener]) -> None:
    server, listener = served
    with driven(server):
        result = subprocess.run(
            ["nc", "127.0.0.1", str(port_of(listener))],
            input=b"HEAD / HTTP/1.0\r\n\r\n",
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    assert result.stdout.startswith(b"HTTP/1.1 426 ")


def test_another_program_on_the_port_of_tcp_leaves_udp(networks: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = networks().listen(f"play://127.0.0.1:{port}")
        assert listener.transports == ("udp",)
        with pytest.raises(netplay.ListenFailed):
            networks().listen(f"play+tcp://127.0.0.1:{port}")
