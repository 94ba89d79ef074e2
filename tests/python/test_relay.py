"""The command `relay`, as whoever runs it sees it; what passes through one is in `test_p2p`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from conftest import wait_for
from netplay import NETWORK_CONNECTED, Network

RELAY = [sys.executable, "-m", "netplay", "relay", "--host", "127.0.0.1", "--port", "0"]


def test_a_relay_goes_on_when_nobody_reads_its_log_any_more() -> None:
    with (
        subprocess.Popen(RELAY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        Network() as server,
        Network() as client,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split("relay=")[1].strip()
            process.stdout.close()
            listener = server.listen("play+p2p://", relay=url)  # each of the two is a line that nobody reads
            client.connect(listener.addresses[0])
            wait_for(client, NETWORK_CONNECTED)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert (process.wait(10), process.stderr.read()) == (0, "")
        finally:
            process.kill()


def test_a_relay_names_the_ports_when_it_cannot_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*RELAY, "--metrics-port", port], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith(f"the relay cannot start on 127.0.0.1 port 0, numbers on port {port}: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "65536"], "--port is 65536, it must be from 0 to 65535"),
        (["--metrics-port", "0"], "--metrics-port is 0, it must be from 1 to 65535"),
        (["--max-clients", "0"], "--max-clients is 0"),
        (["--client-rate", "-1"], "--client-rate is -1"),
        (["--host", "localhost"], "it must be an IP address"),
    ],
)
def test_a_relay_says_what_it_cannot_be(options: list[str], words: str) -> None:
    done = subprocess.run([*RELAY, *options], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert words in done.stderr
