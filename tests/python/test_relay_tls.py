"""A relay of one's own by HTTPS, with a certificate that vouches for itself: players pin it by a longer URL."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from test_p2p import Relay, relays
from test_rooms import Player, all_in, until

from conftest import needs, wait_for
from netplay import NETWORK_CONNECTED, NETWORK_DISCONNECTED, Network

__all__ = ["relays"]  # a fixture

pytestmark = needs("openssl", "openssl")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def fingerprint(certificate: Path) -> bytes:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).digest()


def test_a_room_is_joined_through_a_relay_whose_certificate_is_pinned(
    relays: Callable[..., Relay], networks: Callable[[], Network], tmp_path: Path
) -> None:
    files = make_certificate(tmp_path, "relay.example")
    relay = relays("--port", "0", "--certificate", *map(str, files))
    assert relay.url.startswith("https://127.0.0.1:")
    relay.says("if no authority vouches")
    (pinned,) = (re.findall(r"relay=(\S+)", line)[0] for line in relay.lines if "if no authority" in line)
    text = urlsafe_b64encode(fingerprint(files[0])).decode().rstrip("=")
    assert pinned == f"{relay.url}#cert={text}"
    network = networks()
    room = network.host_room("test", name="p0", relay=pinned)
    players = [Player(network, room, "p0")]
    until(players, lambda: room.state == "open", "the room is open")
    relay.says("came")
    network = networks()
    # The room's URL says all: the code, the app, the relay and its certificate.
    players.append(Player(network, network.join_room(room.url, name="p1"), "p1"))
    until(players, lambda: all_in(players), "the guest is in")
    network = networks()
    hexadecimal = f"{relay.url}#cert={fingerprint(files[0]).hex()}"
    players.append(Player(network, network.join_room(room.code, "test", name="p2", relay=hexadecimal), "p2"))
    until(players, lambda: all_in(players), "the other guest is in")


def test_a_relay_with_another_certificate_is_not_used(
    relays: Callable[..., Relay], networks: Callable[[], Network], tmp_path: Path
) -> None:
    files, others = make_certificate(tmp_path, "relay.example"), make_certificate(tmp_path, "another.example")
    relay = relays("--port", "0", "--certificate", *map(str, files))
    pinned, wrong = (f"{relay.url}#cert={fingerprint(one).hex()}" for one, _ in (files, others))
    server = networks()
    listener = server.listen("play+p2p://", relay=pinned)
    relay.says("came, 1 here")
    client = networks()
    client.connect(listener.url)
    wait_for(client, NETWORK_CONNECTED)
    # Neither another certificate nor one for which nobody vouches.
    for url in (wrong, relay.url):
        client = networks()
        client.connect(listener.url, relay=url, timeout=1.5)
        [event] = wait_for(client, NETWORK_DISCONNECTED)
        assert event.reason == "no answer"


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("nowhere.pem", "a.key.pem", '/nowhere.pem" cannot be used: No such file or directory'),
        ("a.pem", "nowhere.pem", '/nowhere.pem" cannot be used: No such file or directory'),
        ("a.key.pem", "a.key.pem", '/a.key.pem" cannot be used: there is no certificate in it'),
        ("a.pem", "a.pem", '/a.pem" cannot be used: there is no private key in it'),
        ("a.pem", "b.key.pem", '/b.key.pem" cannot be used: it is not the key of the certificate in '),
        ("large.pem", "a.key.pem", '/large.pem" cannot be used: it is longer than 1048576 bytes'),
        ("/dev/zero", "a.key.pem", '/dev/zero" cannot be used: it is longer than 1048576 bytes'),
        ("broken.pem", "a.key.pem", '/broken.pem" cannot be used: '),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line_that_says_why(
    certificate: str, key: str, words: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        make_certificate(tmp_path, name)
    (tmp_path / "large.pem").write_bytes(b"\n" * (2**20 + 1))
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n")
    files = [str(tmp_path / certificate), str(tmp_path / key)]
    words_given = [sys.executable, "-m", "netplay", "relay", "--host", "127.0.0.1", "--port", "0", "--certificate"]
    done = subprocess.run([*words_given, *files], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2, done
    *usage, error = done.stderr.strip().splitlines()
    assert error.startswith("python -m netplay relay: error: "), done.stderr
    assert words in error
    assert all(line.startswith(("usage:", " ")) for line in usage), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "relay",
    [
        "https://127.0.0.1:1#cert=",
        "https://127.0.0.1:1#cert=12",
        "https://127.0.0.1:1#k=12",
        f"http://127.0.0.1:1#cert={'07' * 32}",
    ],
)
def test_a_pin_that_is_none_is_an_error_that_names_it(relay: str) -> None:
    with Network() as network:
        with pytest.raises(ValueError, match="cert="):
            network.listen("play+p2p://", relay=relay)
        with pytest.raises(ValueError, match=r"cert=|written %23"):
            network.listen(f"play+p2p://?relay={relay}")
        with pytest.raises(ValueError, match="cert="):
            network.host_room("test", relay=relay)
