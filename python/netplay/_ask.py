"""Questions and their answers: what was asked, until when, and what came of it. Knows no sockets and no pygame.

    ask() ──► open ──┬──► the answer has come    NETWORK_ANSWER, reason ""
                     ├──► the time is over       NETWORK_ANSWER, reason "timeout"
                     └──► the peer is gone,      NETWORK_ANSWER, reason "disconnected"
                          or was started anew

One that was started anew, and has its seat again, has forgotten what it was asked before it was missed. What it is
asked while it is away reaches the new run, and stays open.

One who asks keeps a number, the token, and a time; one who is asked keeps nothing: the event's `reply` knows whom to
answer. Nothing runs outside poll() and get(): there the answers are found, and those that are overdue are given up.

A question and an answer are messages of their own kinds, reliable and ordered, on the channel of the question:

| offset | size | field |
|---|---|---|
| 0 | 4 | token, little-endian |
| 4 | 1 | kind of the data, 0 to 3 |
| 5 | … | the data |

An answer to what was never asked, or asked somebody else, is a strike against its sender; one that comes late is none.
"""

from __future__ import annotations

import heapq
import math
import secrets
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import _core, _kinds
from ._strikes import Strikes

if TYPE_CHECKING:
    from ._core import Event, Peer

__all__ = ["Answer", "Question", "Questions", "Reply", "no_reply"]

_MAX_OPEN: Final = 1024
"""How many questions to one peer may be open; the next is answered at once, with the reason "too many"."""

_HEADER_LEN: Final = 5
_TOKENS: Final = 2**32


class Question(NamedTuple):
    """A question: as it is sent, and as it has arrived."""

    token: int
    data: object
    kind: int = _kinds.VALUE  # of the data; only for those that have arrived


class Answer(NamedTuple):
    """An answer: as it is sent, and as it has arrived."""

    token: int
    data: object


class Reply:
    """What `reply` of an event is when somebody asked: call it with the answer."""

    __slots__ = ("_channel", "_peer", "_token")

    def __init__(self, peer: Peer, channel: int, token: int) -> None:
        self._peer = peer
        self._channel = channel
        self._token: int | None = token

    def __call__(self, data: object = None) -> bool:
        """Answers, now or later. A second answer to the same question does nothing.

        Args:
            data: Whatever `send()` takes.

        Returns:
            True if the answer is on its way; False if there was one already, or if the one who asked is gone.

        Raises:
            MessageTooLarge: More than 16 MiB.
            UnsupportedData: The data cannot travel as what it is.
        """
        if self._token is None or self._peer.state == "closed":
            return False
        is_sent = self._peer.send(Answer(self._token, data), self._channel)
        self._token = None
        return is_sent

    def __repr__(self) -> str:
        return f"<reply to {self._peer}{', done' if self._token is None else ''}>"


def no_reply(data: object = None) -> bool:
    """The `reply` of a message that asked nothing: does nothing, so that no peer can make a game stumble over it."""
    return False


class _Open(NamedTuple):
    """A question that is not answered yet."""

    peer: weakref.ref[Peer]  # weak: a peer keeps this network's part of the core, which keeps this
    peer_id: int
    channel: int


class Questions:
    """What one network has asked and not heard of yet."""

    def __init__(self, strikes: Strikes) -> None:
        self.unexpected = 0
        self._strikes = strikes
        self.on_ask: Callable[[float], None] | None = None  # is told in how many seconds the next one is overdue
        self._open: dict[int, _Open] = {}
        self._deadlines: list[tuple[float, int]] = []  # a heap; those answered meanwhile are still in it
        self._open_to: dict[int, dict[int, None]] = {}  # the open ones, by peer, in the order of asking
        self._late_from: dict[int, int] = {}  # how many given up may still be answered, by peer
        self._asked_before: dict[int, list[int]] = {}  # what was open when a peer was lost, by peer
        self._refused: list[Event] = []  # answered by ourselves, as too many were open
        # By chance: an answer to what this game asked in its last run must not be taken for one to what it asks now.
        self._last_token = secrets.randbelow(_TOKENS)

    def __len__(self) -> int:
        return len(self._open) + len(self._refused)

    def ask(self, peer: Peer, data: object, channel: int, timeout: float | None) -> int:
        """Asks a peer; the arguments are those of `Peer.ask`, and so is what it raises."""
        seconds = math.inf if timeout is None else float(timeout)
        if not seconds > 0.0:
            raise ValueError(f"timeout is {timeout}, it must be more than 0; None waits as long as the peer is there")
        self._last_token = token = self._next_token()
        open_to = self._open_to.setdefault(peer.id, {})
        if len(open_to) >= _MAX_OPEN:
            self._refused.append(_core._answer_event(peer, channel, token, None, "too many"))
            return token
        open_to[token] = None
        self._open[token] = _Open(weakref.ref(peer), peer.id, channel)
        try:
            # If this says no, the peer has gone just now: its last event follows, and with it the answer.
            peer.send(Question(token, data), channel)
        except BaseException:
            self._close(token)
            raise
        if seconds < math.inf:
            heapq.heappush(self._deadlines, (time.monotonic() + seconds, token))
            if len(self._deadlines) > 2 * len(self._open) + 64:
                self._deadlines = [entry for entry in self._deadlines if entry[1] in self._open]
                heapq.heapify(self._deadlines)
        if self.on_ask is not None:
            self.on_ask(self.seconds_left())
        return token

    def seconds_left(self) -> float:
        """Returns how long until one is overdue; infinity if none ever is."""
        return 0.0 if self._refused else max(0.0, self._next_overdue() - time.monotonic())

    def _next_overdue(self) -> float:
        """Returns when the next one is overdue; infinity if none ever is."""
        while self._deadlines:
            until, token = self._deadlines[0]
            if token in self._open:
                return until
            heapq.heappop(self._deadlines)
        return math.inf

    def take_overdue(self, limit: int) -> list[Event]:
        """Gives up those whose time is over, at most `limit`, and returns the events that say so."""
        events, self._refused = self._refused[:limit], self._refused[limit:]
        while len(events) < limit and self._next_overdue() <= time.monotonic():
            token = heapq.heappop(self._deadlines)[1]
            question = self._close(token)
            self._late_from[question.peer_id] = self._late_from.get(question.peer_id, 0) + 1
            peer = question.peer()
            if peer is not None:
                events.append(_core._answer_event(peer, question.channel, token, None, "timeout"))
        return events

    def take_answered(self, peer: Peer, answer: Answer) -> Event | None:
        """Returns the event of an answer that has come, or None if nobody waits for it.

        Raises:
            Unbearable: Its sender has sent too many answers to nothing.
        """
        question = self._open.get(answer.token)
        if question is not None and question.peer_id == peer.id:
            self._close(answer.token)
            return _core._answer_event(peer, question.channel, answer.token, answer.data, "")
        self.unexpected += 1
        late = self._late_from.get(peer.id, 0)
        if late:
            self._late_from[peer.id] = late - 1
        else:
            self._strikes.add(peer, "sent too many answers to what nobody asked")
        return None

    def handle_lost(self, peer: Peer) -> None:
        """Takes note that a peer is away: whether it remembers what it was asked is seen when it comes back."""
        self._asked_before[peer.id] = list(self._open_to.get(peer.id, ()))

    def handle_resumed(self, peer: Peer, *, is_restarted: bool) -> list[Event]:
        """Gives up what a peer was asked before it was lost if it has forgotten that; returns the events of it."""
        before = self._asked_before.pop(peer.id, [])
        return self._give_up(peer, [token for token in before if token in self._open]) if is_restarted else []

    def take_disconnected(self, peer: Peer, *, is_gone: bool = True) -> list[Event]:
        """Gives up what was asked a peer, and returns the events that say so, in the order of asking.

        Args:
            peer: The peer that is gone, or that has lost its memory.
            is_gone: False if answers may still come of what it was asked last.
        """
        tokens = list(self._open_to.get(peer.id, ()))
        self._asked_before.pop(peer.id, None)
        events = self._give_up(peer, tokens)
        if is_gone:
            self._late_from.pop(peer.id, None)
        return events

    def _give_up(self, peer: Peer, tokens: list[int]) -> list[Event]:
        self._late_from[peer.id] = self._late_from.get(peer.id, 0) + len(tokens)
        return [_core._answer_event(peer, self._close(token).channel, token, None, "disconnected") for token in tokens]

    def clear(self) -> None:
        """Forgets everything, without events."""
        self._open.clear()
        self._deadlines.clear()
        self._open_to.clear()
        self._late_from.clear()
        self._asked_before.clear()
        self._refused.clear()

    def _next_token(self) -> int:
        token = self._last_token % (_TOKENS - 1) + 1
        while token in self._open:  # after four billion questions, one that still waits
            token = token % (_TOKENS - 1) + 1
        return token

    def _close(self, token: int) -> _Open:
        question = self._open.pop(token)
        open_to = self._open_to[question.peer_id]
        del open_to[token]
        if not open_to:
            del self._open_to[question.peer_id]
        return question


def _pack_question(question: Question) -> tuple[int, bytes]:
    return _kinds.QUESTION, _envelope(question.token, question.data)


def _pack_answer(answer: Answer) -> tuple[int, bytes]:
    return _kinds.ANSWER, _envelope(answer.token, answer.data)


def _envelope(token: int, data: object) -> bytes:
    kind, inner = _kinds.pack_inner(data)
    return token.to_bytes(4, "little") + bytes([kind]) + inner


def _unpack_question(data: bytes, peer: Peer) -> Question:
    token, inner, kind = _open_envelope(data, peer)
    return Question(token, inner, kind)


def _unpack_answer(data: bytes, peer: Peer) -> Answer:
    token, inner, _ = _open_envelope(data, peer)
    return Answer(token, inner)


def _open_envelope(data: bytes, peer: Peer) -> tuple[int, Any, int]:
    if len(data) < _HEADER_LEN:
        raise ValueError(f"a question or answer of {len(data)} bytes, it has {_HEADER_LEN} at least")
    kind = data[4]
    if kind > _kinds.TYPED:
        raise ValueError(f"a question or answer with data of kind {kind}")
    return int.from_bytes(data[:4], "little"), _kinds.unpack_inner(kind, data[_HEADER_LEN:], peer), kind


_kinds.packers[Question] = _pack_question
_kinds.packers[Answer] = _pack_answer
_kinds.unpackers[_kinds.QUESTION] = _unpack_question
_kinds.unpackers[_kinds.ANSWER] = _unpack_answer
