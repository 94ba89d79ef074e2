"""Questions get one answer, or the reason why there is none, and nobody can make a game stumble over them."""

from __future__ import annotations

import gc
import socket
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import pytest

from conftest import DEADLINE, Pair, only, wait_for, wait_until
from netplay import (
    NETWORK_ANSWER,
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    Event,
    MessageTooLarge,
    Network,
    PeerClosed,
    UnsupportedData,
    _ask,
    _kinds,
    _strikes,
)

Make = Callable[[], Network]


class Raw(NamedTuple):
    """A message of any kind, as one who breaks the rules may send it."""

    kind: int
    data: bytes


@pytest.fixture(autouse=True)
def raw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_kinds.packers, Raw, lambda raw: (raw.kind, raw.data))


def answer_in(network: Network) -> Event:
    return only(wait_for(network, NETWORK_ANSWER))


@pytest.mark.parametrize("data", ["why?", b"\x00why", ("a", 7, {"b": [None]}), None, 2**80], ids=repr)
def test_a_question_and_its_answer_arrive_as_what_they_were(pair: Pair, data: object) -> None:
    token = pair.to_server.ask(data, 7)
    question = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert (question.peer, question.channel, question.data, question.lossy) == (pair.to_client, 7, data, False)
    assert type(question.data) is type(data)
    assert question.reply([data]) is True
    answer = answer_in(pair.client)
    assert (answer.what, answer.peer, answer.channel, answer.token) == (NETWORK_ANSWER, pair.to_server, 7, token)
    assert (answer.data, answer.reason) == ([data], "")


def test_both_sides_ask_and_the_tokens_do_not_mix(pair: Pair) -> None:
    first, second = pair.to_server.ask("client's"), pair.to_server.ask("client's second")
    third = pair.to_client.ask("server's")
    assert len({first, second}) == 2
    only(wait_for(pair.client, NETWORK_DATA_IN)).reply("to the server")
    asked = wait_for(pair.server, NETWORK_DATA_IN, 2)
    for event in reversed(asked):
        event.reply(f"to {event.data}")
    answers = {event.token: event.data for event in wait_for(pair.client, NETWORK_ANSWER, 2)}
    assert answers == {first: "to client's", second: "to client's second"}
    answer = answer_in(pair.server)
    assert (answer.token, answer.data) == (third, "to the server")


def test_a_handler_answers_by_what_it_returns(pair: Pair) -> None:
    @pair.server.on(3)
    def double(event: Event) -> object:
        return event.data * 2

    token = pair.to_server.ask(21, 3)
    wait_until(lambda: pair.server.get(0.01) or pair.client.stats()["events_waiting"])
    answer = answer_in(pair.client)
    assert (answer.token, answer.data) == (token, 42)


def test_a_handler_that_returns_nothing_answers_when_it_likes(pair: Pair) -> None:
    kept: list[Event] = []
    pair.server.on(3)(kept.append)
    pair.to_server.ask("when?", 3)
    wait_until(lambda: pair.server.get(0.01) or kept)
    assert pair.client.get(0.05) == []
    assert kept[0].reply("now")
    assert answer_in(pair.client).data == "now"


def test_an_answer_can_be_none(pair: Pair) -> None:
    pair.to_server.ask("anything?")
    only(wait_for(pair.server, NETWORK_DATA_IN)).reply()
    answer = answer_in(pair.client)
    assert (answer.data, answer.reason) == (None, "")


def test_what_a_handler_returns_for_no_question_goes_nowhere(pair: Pair) -> None:
    pair.server.on(3)(lambda event: object())
    pair.client.send("no question", 3)
    pair.client.send("the end", 4)
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "the end"
    assert pair.client.get(0.05) == []


def test_replying_to_what_is_no_question_does_nothing(pair: Pair) -> None:
    pair.client.send("a statement")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert event.reply("an answer") is False
    assert event.reply() is False
    assert pair.client.get(0.05) == []


def test_a_question_is_answered_once(pair: Pair) -> None:
    pair.to_server.ask("once?")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    reply = event.reply
    assert [reply("yes"), event.reply("no"), reply("no")] == [True, False, False]
    assert answer_in(pair.client).data == "yes"
    assert pair.client.get(0.05) == []
    assert "done" in repr(reply)


def test_a_reply_that_cannot_be_sent_says_so_and_can_be_tried_again(pair: Pair) -> None:
    pair.to_server.ask("a surface?")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    with pytest.raises(UnsupportedData):
        event.reply(object())
    assert event.reply("no") is True
    assert answer_in(pair.client).data == "no"


def test_an_unanswered_question_ends_in_a_timeout(pair: Pair) -> None:
    began = time.monotonic()
    token = pair.to_server.ask("is anybody there?", 2, timeout=0.2)
    assert pair.client.stats()["questions_open"] == 1
    answer = only(pair.client.get(DEADLINE))
    assert 0.19 < time.monotonic() - began < DEADLINE / 2
    assert (answer.what, answer.token, answer.channel, answer.peer) == (NETWORK_ANSWER, token, 2, pair.to_server)
    assert (answer.data, answer.reason) == (None, "timeout")
    assert pair.client.stats()["questions_open"] == 0


def test_get_waits_no_longer_and_no_shorter_than_it_was_told(pair: Pair) -> None:
    pair.to_server.ask("later", timeout=60)
    began = time.monotonic()
    assert pair.client.get(0.15) == []
    assert 0.14 < time.monotonic() - began < DEADLINE / 2


def test_timeouts_come_in_the_order_of_their_times(pair: Pair) -> None:
    tokens = [pair.to_server.ask(seconds, timeout=seconds) for seconds in (0.15, 0.05, 0.1)]
    answers = wait_for(pair.client, NETWORK_ANSWER, 3)
    assert [event.token for event in answers] == [tokens[1], tokens[2], tokens[0]]


def test_nothing_happens_outside_get(pair: Pair) -> None:
    pair.to_server.ask("quiet", timeout=0.02)
    time.sleep(0.1)
    assert pair.client.stats()["questions_open"] == 1
    assert answer_in(pair.client).reason == "timeout"


def test_an_answer_that_is_there_counts_even_if_the_game_looks_late(pair: Pair) -> None:
    pair.to_server.ask("quick?", timeout=0.1)
    only(wait_for(pair.server, NETWORK_DATA_IN)).reply("yes")
    wait_until(lambda: pair.client.stats()["events_waiting"])
    time.sleep(0.2)  # a loading screen
    assert answer_in(pair.client).data == "yes"


def test_an_answer_after_the_timeout_is_dropped_and_counted(pair: Pair) -> None:
    pair.to_server.ask("slow?", timeout=0.05)
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    assert answer_in(pair.client).reason == "timeout"
    assert event.reply("too late") is True
    pair.server.send("the end")
    assert only(wait_for(pair.client, NETWORK_DATA_IN)).data == "the end"
    assert pair.client.stats()["answers_unexpected"] == 1


def test_with_no_timeout_a_question_waits_as_long_as_the_peer_is_there(pair: Pair) -> None:
    token = pair.to_server.ask("for ever?", timeout=None)
    assert pair.client.get(0.1) == []
    pair.server.close()
    answer = answer_in(pair.client)
    assert (answer.token, answer.reason, answer.data) == (token, "disconnected", None)


def test_when_the_peer_goes_every_question_says_so_before_its_last_event(pair: Pair) -> None:
    tokens = [pair.to_server.ask(number) for number in range(5)]
    wait_for(pair.server, NETWORK_DATA_IN, 5)
    pair.server.close()
    events: list[Event] = []
    until = time.monotonic() + DEADLINE
    while not (events and events[-1].what == NETWORK_DISCONNECTED) and time.monotonic() < until:
        events += pair.client.get(0.1)
    assert [(event.what, event.token, event.reason) for event in events[:-1]] == [
        (NETWORK_ANSWER, token, "disconnected") for token in tokens
    ]
    assert pair.client.stats()["questions_open"] == 0
    assert pair.client.get(0.05) == []


def test_who_closes_a_peer_hears_of_its_questions_too(pair: Pair) -> None:
    token = pair.to_server.ask("never mind")
    pair.to_server.close()
    answer = answer_in(pair.client)
    assert (answer.token, answer.reason) == (token, "disconnected")
    with pytest.raises(PeerClosed):
        pair.to_server.ask("hello?")
    assert pair.client.stats()["questions_open"] == 0


def test_a_reply_to_one_who_is_gone_is_false(pair: Pair) -> None:
    pair.to_server.ask("wait for me")
    event = only(wait_for(pair.server, NETWORK_DATA_IN))
    pair.client.close()
    wait_for(pair.server, NETWORK_DISCONNECTED)
    assert event.reply("too late") is False


def test_a_question_waits_for_the_connection(networks: Make) -> None:
    server, client = networks(), networks()
    server.on(0)(lambda event: "welcome")
    listener = server.listen("play://127.0.0.1:0")
    token = client.connect(listener.url).ask("may I?", timeout=DEADLINE)
    wait_until(lambda: (server.get(0.01), client.stats()["events_waiting"] > 1)[1])
    answer = answer_in(client)
    assert (answer.token, answer.data) == (token, "welcome")


def test_a_call_that_nobody_takes_ends_its_questions(networks: Make) -> None:
    client = networks()
    token = client.connect("local://nobody-here", timeout=0.1).ask("anybody?", timeout=None)
    answer = answer_in(client)
    assert (answer.token, answer.reason) == (token, "disconnected")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_more_than_nothing(pair: Pair, timeout: float) -> None:
    with pytest.raises(ValueError, match="it must be more than 0; None waits"):
        pair.to_server.ask("x", timeout=timeout)


def test_what_cannot_be_asked_is_refused_and_leaves_nothing_behind(pair: Pair) -> None:
    for data, channel, error in [
        (object(), 0, UnsupportedData),
        (b"x" * (16 * 1024 * 1024), 0, MessageTooLarge),
        ("x", 256, ValueError),
        ("x", "1", TypeError),
    ]:
        with pytest.raises(error):
            pair.to_server.ask(data, channel)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pair.to_server.ask("x", 1, "soon")  # type: ignore[arg-type]
    assert pair.client.stats()["questions_open"] == 0
    assert pair.client._questions._open_to == {}


def test_more_questions_than_one_peer_may_have_open_are_answered_at_once(pair: Pair) -> None:
    tokens = [pair.to_server.ask(number, timeout=None) for number in range(_ask._MAX_OPEN + 2)]
    answers = wait_for(pair.client, NETWORK_ANSWER, 2)
    assert [(event.token, event.reason) for event in answers] == [(token, "too many") for token in tokens[-2:]]
    for event in wait_for(pair.server, NETWORK_DATA_IN, _ask._MAX_OPEN):
        event.reply(event.data)
    answers = wait_for(pair.client, NETWORK_ANSWER, _ask._MAX_OPEN)
    assert [(event.token, event.data) for event in answers] == list(zip(tokens, range(_ask._MAX_OPEN), strict=False))
    assert pair.client.stats()["questions_open"] == 0


def test_answered_questions_leave_nothing_behind_however_long_they_might_have_waited(pair: Pair) -> None:
    pair.server.on(1)(lambda event: event.data)
    for number in range(500):
        pair.to_server.ask(number, 1, timeout=3600)
        if number % 50 == 49:
            wait_until(lambda: (pair.server.get(), pair.client.get(), not pair.client.stats()["questions_open"])[2])
    questions = pair.client._questions
    assert len(questions._deadlines) < 200
    assert (questions._open, questions._open_to) == ({}, {})


def test_an_open_question_keeps_neither_its_peer_nor_its_network(networks: Make) -> None:
    server = networks()
    listener = server.listen("local://keeps-nothing")
    client = Network()
    peer = client.connect(listener.url)
    peer.ask("remember me?", timeout=None)
    gone: list[weakref.ref[object]] = [weakref.ref(client), weakref.ref(peer)]
    del client, peer
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_close_forgets_the_questions_and_the_network_can_ask_anew(pair: Pair) -> None:
    first = pair.to_server.ask("one", timeout=0.05)
    pair.client.close()
    assert pair.client.get(0.1) == []
    peer = pair.client.connect(pair.listener.url)
    second = peer.ask("two", timeout=0.05)
    assert second != first
    assert answer_in(pair.client).token == second


def test_a_restarted_server_ends_the_questions_to_the_one_before(networks: Make) -> None:
    first, client = networks(), networks()
    url = first.listen("play://127.0.0.1:0").url
    peer = client.connect(url)
    early = peer.ask("before you know me", timeout=None)
    wait_for(client, NETWORK_CONNECTED)
    only(wait_for(first, NETWORK_DATA_IN)).reply("still counts")
    assert answer_in(client).token == early
    tokens = [peer.ask(number, timeout=None) for number in range(3)]
    wait_for(first, NETWORK_DATA_IN, 3)
    first._vanish()
    second = networks()
    second.listen(url)
    events: list[Event] = []
    until = time.monotonic() + 3 * DEADLINE
    while not any(event.what == NETWORK_CONNECTED for event in events) and time.monotonic() < until:
        events += [event for event in client.get(0.1) if event.what in (NETWORK_ANSWER, NETWORK_CONNECTED)]
    assert [event.what for event in events] == [NETWORK_ANSWER] * 3 + [NETWORK_CONNECTED]
    assert [(event.token, event.reason) for event in events[:3]] == [(token, "disconnected") for token in tokens]
    peer.ask("and you?")
    only(wait_for(second, NETWORK_DATA_IN)).reply("here")
    assert answer_in(client).data == "here"


def test_a_peer_that_does_not_speak_netplay_cannot_be_asked(networks: Make) -> None:
    server = networks()
    listener = server.listen("tcp://127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", int(listener.url.rpartition(":")[2]))):
        peer = only(wait_for(server, NETWORK_CONNECTED)).peer
        with pytest.raises(UnsupportedData, match="does not speak netplay"):
            peer.ask("hello?")
        assert server.stats()["questions_open"] == 0


def test_two_runs_of_a_game_do_not_give_the_same_tokens() -> None:
    runs = {_ask.Questions(_strikes.Strikes())._next_token() for _ in range(20)}
    assert len(runs) == 20


# One who breaks the rules.


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01\x00\x00\x00", b"\x01\x00\x00\x00\x05\x01\x00\x00\x00\x01x", b"\x01\x00\x00\x00\x02\xc1", b"1234\xff"],
    ids=["empty", "short", "a question in a question", "no value", "no kind"],
)
@pytest.mark.parametrize("kind", [_kinds.QUESTION, _kinds.ANSWER])
def test_a_malformed_question_or_answer_closes_its_sender(pair: Pair, kind: int, data: bytes) -> None:
    pair.client.send(Raw(kind, data))
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert event.reason == "bad data"
    assert only(wait_for(pair.client, NETWORK_DISCONNECTED)).reason == "bad data"


def envelope(token: int, text: bytes) -> bytes:
    return token.to_bytes(4, "little") + b"\x01" + text


def test_answers_to_nothing_are_ignored_and_end_their_sender_past_a_bound(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_strikes, "_FORGIVEN_PER_SECOND", 0.0)
    for token in range(_strikes._MAX_AT_ONCE):
        pair.client.send(Raw(_kinds.ANSWER, envelope(token, b"42")))
    pair.client.send("still here")
    assert only(wait_for(pair.server, NETWORK_DATA_IN)).data == "still here"
    pair.client.send(Raw(_kinds.ANSWER, envelope(7, b"42")))
    event = only(wait_for(pair.server, NETWORK_DISCONNECTED))
    assert (event.reason, "answers to what nobody asked" in event.detail) == ("bad data", True)
    assert pair.server.stats()["answers_unexpected"] == _strikes._MAX_AT_ONCE + 1


def test_strikes_are_forgiven_as_time_goes_by(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("netplay._strikes.time.monotonic", lambda: now)
    strikes = _strikes.Strikes()
    for _ in range(_strikes._MAX_AT_ONCE):
        strikes.add(pair.to_client, "nonsense")
    with pytest.raises(_strikes.Unbearable, match="nonsense"):
        strikes.add(pair.to_client, "nonsense")
    now += 1.0
    strikes.add(pair.to_client, "nonsense")


def test_nobody_answers_for_somebody_else(networks: Make) -> None:
    server = networks()
    listener = server.listen("local://two-guests")
    honest, thief = networks(), networks()
    honest.connect(listener.url, name="honest")
    thief.connect(listener.url, name="thief")
    peers = {event.peer.name: event.peer for event in wait_for(server, NETWORK_CONNECTED, 2)}
    token = peers["honest"].ask("who are you?")
    thief.send(Raw(_kinds.ANSWER, envelope(token, b"I am honest")))
    thief.send("sent")
    wait_for(server, NETWORK_DATA_IN)
    assert server.stats()["answers_unexpected"] == 1
    only(wait_for(honest, NETWORK_DATA_IN)).reply("honest")
    answer = answer_in(server)
    assert (answer.peer.name, answer.data) == ("honest", "honest")
