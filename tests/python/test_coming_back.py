"""Seats outlive links and processes: a game that was killed, stopped or restarted finds everything as it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import DEADLINE, only, wait_for
from netplay import (
    NETWORK_ANSWER,
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    NETWORK_LOST,
    NETWORK_RESUMED,
    Network,
    Peer,
)

Make = Callable[[], Network]
Start = Callable[..., "Program"]

# Says what happens, one JSON list a line; sends what it is told to send, and dies as it is told to die.
CLIENT = """
import json, select, sys, netplay
url, options = sys.argv[1], json.loads(sys.argv[2])
netplay.connect(url, **options)
while True:
    for event in netplay.get(timeout=0.02):
        reason = "" if event.what in (netplay.NETWORK_DATA_IN, netplay.NETWORK_RESUMED) else event.reason
        data = event.data if event.what == netplay.NETWORK_DATA_IN else None
        print(json.dumps([str(event.what), reason, data]), flush=True)
    while select.select([sys.stdin], [], [], 0)[0]:
        word = sys.stdin.readline().strip()
        if word == "crash":
            raise RuntimeError("a fault of the game's own")
        if word in ("", "quit"):
            sys.exit()
        netplay.send(word, 1)
"""


class Program:
    """A game in a process of its own."""

    def __init__(self, url: str, data_dir: Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, url, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NETPLAY_DATA_DIR": str(data_dir)},
            text=True,
        )

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self, count: int) -> list[list[str | None]]:
        """Returns what happened next, that many things."""
        assert self.process.stdout is not None
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def make(url: str, **options: object) -> Program:
        programs.append(Program(url, data_dir, **options))
        return programs[-1]

    yield make
    for program in programs:
        program.kill()


def connected(server: Network) -> Peer:
    return only(wait_for(server, NETWORK_CONNECTED)).peer


def test_a_game_that_was_killed_gets_its_seat_back_and_what_had_not_reached_it(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0", max_peers=1).url
    first = start(url, resume="pong", name="Ada")
    peer = connected(server)
    peer.data["score"] = 7
    assert first.hear(1) == [["NETWORK_CONNECTED", "", None]]
    first.say("hello")
    assert only(wait_for(server, NETWORK_DATA_IN)).data == "hello"
    first.kill()
    for number in range(5):
        server.send(f"news {number}", 1)
    lost = only(wait_for(server, NETWORK_LOST))
    assert lost.peer is peer
    assert str(peer.state) == "lost"
    second = start(url, resume="pong", name="Ada")
    resumed = only(wait_for(server, NETWORK_RESUMED))
    assert resumed.peer is peer
    assert peer.state == "connected"
    assert peer.data == {"score": 7}
    assert resumed.seconds > 2
    assert second.hear(7) == [
        ["NETWORK_CONNECTED", "resumed", None],
        ["NETWORK_RESUMED", "", None],
        *(["NETWORK_DATA_IN", "", f"news {number}"] for number in range(5)),
    ]
    second.say("back")
    message = only(wait_for(server, NETWORK_DATA_IN))
    assert (message.peer, message.data, message.sequenceid) == (peer, "back", 0)
    server.send("welcome", 1)
    assert second.hear(1) == [["NETWORK_DATA_IN", "", "welcome"]]


def test_a_game_that_comes_back_before_it_is_missed_is_told_of_all_the_same(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    first = start(url, resume="pong")
    peer = connected(server)
    first.hear(1)
    first.kill()
    start(url, resume="pong")
    assert only(wait_for(server, NETWORK_LOST)).reason == "restarted"
    assert only(wait_for(server, NETWORK_RESUMED)).peer is peer


def test_questions_that_a_killed_game_has_taken_along_end_when_it_is_back(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    first = start(url, resume="pong")
    peer = connected(server)
    first.hear(1)
    tokens = [peer.ask(number, 1, timeout=None) for number in range(2)]
    first.hear(2)  # it has them, and will never answer
    first.kill()
    assert only(wait_for(server, NETWORK_LOST)).reason == "timeout"
    asked_while_away = peer.ask("and you?", 1, timeout=None)
    second = start(url, resume="pong")
    assert [word for word, *_ in second.hear(3)] == ["NETWORK_CONNECTED", "NETWORK_RESUMED", "NETWORK_DATA_IN"]
    answers = wait_for(server, NETWORK_ANSWER, 2)
    assert [(answer.token, answer.reason) for answer in answers] == [(token, "disconnected") for token in tokens]
    assert only(wait_for(server, NETWORK_RESUMED)).reason == "restarted"
    assert server.stats()["questions_open"] == 1
    assert asked_while_away not in tokens


def test_questions_to_a_game_that_was_only_away_stay_open(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    game = start(url, resume="pong")
    peer = connected(server)
    game.hear(1)
    peer.ask("still there?", 1, timeout=None)
    game.hear(1)
    game.process.send_signal(signal.SIGSTOP)
    wait_for(server, NETWORK_LOST)
    game.process.send_signal(signal.SIGCONT)
    assert only(wait_for(server, NETWORK_RESUMED)).reason == ""
    assert server.stats()["questions_open"] == 1


def test_a_game_that_crashes_keeps_its_seat_and_one_that_quits_gives_it_up(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    first = start(url, resume="pong")
    peer = connected(server)
    first.hear(1)
    first.say("crash")
    assert first.process.wait(DEADLINE) == 1
    second = start(url, resume="pong")
    assert second.hear(1) == [["NETWORK_CONNECTED", "resumed", None]]
    wait_for(server, NETWORK_RESUMED)
    second.say("quit")
    assert second.process.wait(DEADLINE) == 0
    assert only(wait_for(server, NETWORK_DISCONNECTED)).peer is peer
    third = start(url, resume="pong")
    assert third.hear(1) == [["NETWORK_CONNECTED", "", None]]
    assert connected(server) is not peer


def test_two_windows_of_a_game_have_two_seats(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    windows = [start(url, resume="pong") for _ in range(2)]
    peers = {event.peer for event in wait_for(server, NETWORK_CONNECTED, 2)}
    for window in windows:
        assert window.hear(1) == [["NETWORK_CONNECTED", "", None]]
        window.kill()
    again = [start(url, resume="pong") for _ in range(2)]
    assert {event.peer for event in wait_for(server, NETWORK_RESUMED, 2)} == peers
    for window in again:
        assert window.hear(1) == [["NETWORK_CONNECTED", "resumed", None]]


def test_a_ticket_for_a_seat_that_was_given_up_makes_a_new_peer_and_says_so(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0", grace=0.5).url
    first = start(url, resume="pong")
    peer = connected(server)
    first.hear(1)
    first.kill()
    assert only(wait_for(server, NETWORK_DISCONNECTED)).peer is peer
    second = start(url, resume="pong")
    assert second.hear(1) == [["NETWORK_CONNECTED", "restarted", None]]
    assert connected(server) is not peer


def test_a_player_who_was_sent_away_does_not_come_back_by_the_ticket(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    first = start(url, resume="pong")
    peer = connected(server)
    first.hear(1)
    first.kill()
    peer.close("no cheating")
    second = start(url, resume="pong")
    assert second.hear(1) == [["NETWORK_DISCONNECTED", "goodbye", None]]
    third = start(url, resume="pong")  # the ticket is torn, so this is somebody new
    assert third.hear(1) == [["NETWORK_CONNECTED", "", None]]


def test_a_restarted_server_takes_its_players_as_new_and_they_are_told(networks: Make) -> None:
    first, client = networks(), networks()
    url = first.listen("play://127.0.0.1:0").url
    met: list[str] = []
    peer = client.connect(url, name="Ada", on_connect=lambda peer: met.append(peer.name))
    wait_for(client, NETWORK_CONNECTED)
    connected(first)
    first._vanish()
    peer.send("to one who is gone")
    second = networks()
    second.listen(url)
    again = only(wait_for(client, NETWORK_CONNECTED))
    assert (again.peer, again.reason) == (peer, "restarted")
    assert peer.state == "connected"
    assert len(met) == 2
    assert str(connected(second)) == "Ada"
    assert peer.send("to one who is new") is True
    message = only(wait_for(second, NETWORK_DATA_IN))
    assert (message.data, message.sequenceid) == ("to one who is new", 0)


def test_a_process_that_is_stopped_for_a_while_finds_everything_in_order(networks: Make, start: Start) -> None:
    server = networks()
    url = server.listen("play://127.0.0.1:0").url
    program = start(url)
    peer = connected(server)
    program.hear(1)
    os.kill(program.process.pid, signal.SIGSTOP)
    for number in range(20):
        server.send(number, 1)
        time.sleep(1)
    assert only(wait_for(server, NETWORK_LOST)).peer is peer
    os.kill(program.process.pid, signal.SIGCONT)
    assert only(wait_for(server, NETWORK_RESUMED)).peer is peer
    numbers: list[object] = []
    while len(numbers) < 20:
        numbers.extend(data for what, _, data in program.hear(1) if what == "NETWORK_DATA_IN")
    assert numbers == list(range(20))


@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf")])
def test_a_grace_that_is_no_time_is_refused(networks: Make, grace: float) -> None:
    with pytest.raises(ValueError, match="grace is"):
        networks().listen("local://grace", grace=grace)
    with pytest.raises(ValueError, match="grace is"):
        networks().connect("local://grace", grace=grace)
