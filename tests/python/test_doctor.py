"""`python -m netplay doctor`: what it says of the way to a game."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from test_p2p import Relay, relays

import netplay
from netplay import __main__, _doctor

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


def test_without_a_url_it_looks_at_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert _doctor.main([]) == 0
    assert "ok  a game can listen here, by UDP, TCP" in capsys.readouterr().out


def test_a_relay_is_tried_by_two_players_who_meet_through_it(
    relays: Callable[..., Relay], capsys: pytest.CaptureFixture[str]
) -> None:
    relay = relays("--port", "0")
    assert _doctor.main(["--relay", relay.url]) == 0
    assert "ok  two players meet, and " in capsys.readouterr().out
    relay.end()
    assert _doctor.main(["--relay", relay.url, "--timeout", "1"]) == 0
    assert "no  nobody was found through it in 1 s" in capsys.readouterr().out


def test_a_command_that_is_not_known_shows_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["docter"]) == 2
    text = capsys.readouterr().out
    assert "play " in text
    assert "doctor" in text
