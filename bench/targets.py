"""What the figures are to be, beside what they are. Knows names of measurements, and no processes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from golden import figures
from table import Results, aligned, values

__all__ = ["targets"]

Numbers = dict[str, float]
"""The Rust layer's and the simulation's, by name."""


@dataclass(frozen=True)
class _Target:
    words: str
    limit: float
    read: Callable[[list[Results], Numbers], float | None]
    """None if it was not measured."""
    is_least: bool = False
    unit: str = ""
    digits: int = 2

    def row(self, results: list[Results], numbers: Numbers) -> list[str]:
        figure = self.read(results, numbers)
        holds = operator.ge if self.is_least else operator.le
        shown = "-" if figure is None else self._show(figure)
        verdict = "-" if figure is None else "yes" if holds(figure, self.limit) else "no"
        return [self.words, f"{'at least' if self.is_least else 'at most'} {self._show(self.limit)}", shown, verdict]

    def _show(self, figure: float) -> str:
        return f"{figure:,.{self.digits}f}{self.unit}"


def targets(results: list[Results], numbers: Numbers) -> str:
    """Returns the table of what was set out to be reached."""
    head = ["figure", "target", "measured", "reached"]
    known = {**figures(), **numbers}
    return aligned([head, *(target.row(results, known) for target in _TARGETS)])


def _number(name: str) -> Callable[[list[Results], Numbers], float | None]:
    return lambda _, numbers: numbers.get(name)


def _ratio(measurement: str, row: str, *others: str) -> Callable[[list[Results], Numbers], float | None]:
    """Reads netplay's number by the largest of the others', round by round; the median of that."""

    def read(results: list[Results], _: Numbers) -> float | None:
        for result in results:
            if result.name == measurement:
                found = values(result, row)
                ours, theirs = found.get("netplay"), [found[other] for other in others if other in found]
                if ours and theirs:
                    best = (max(of_round) for of_round in zip(*theirs, strict=True))
                    ratios: list[float] = [our / their for our, their in zip(ours, best, strict=True)]
                    return median(ratios)
        return None

    return read


def _own(measurement: str, row: str) -> Callable[[list[Results], Numbers], float | None]:
    def read(results: list[Results], _: Numbers) -> float | None:
        for result in results:
            if result.name == measurement and "netplay" in result.outcomes:
                return median(values(result, row)["netplay"])
        return None

    return read


_RATE: Final = "messages/s"
_WORK: Final = "server CPU, % of a core"
_P50: Final = "p50, µs"

_TARGETS: Final = (
    _Target("simulated, 5 % loss: p99 of reliable messages", 70, _number("5 %: p99"), unit=" ms", digits=0),
    _Target("the same: the latest of nine seeds", 150, _number("5 %: worst max"), unit=" ms", digits=0),
    _Target("simulated, 10 % loss: p99", 90, _number("10 %: p99"), unit=" ms", digits=0),
    _Target("simulated, 5 % loss in bursts of 3: p99", 135, _number("bursts: p99"), unit=" ms", digits=0),
    _Target("simulated, no loss: bytes by those without copies", 1.1, _number("0 %: bytes")),
    _Target("simulated, 5 % loss: bytes by those without copies", 3, _number("5 %: bytes")),
    _Target("64 B reliable once a frame, no loss", 160, _number("one a frame: bytes"), unit=" B", digits=0),
    _Target("1 KiB snapshots, 10 % loss: p99", 55, _number("snapshots: p99"), unit=" ms", digits=0),
    _Target("the same: lost beside what the path loses", 0.1, _number("snapshots: lost by us"), unit=" %", digits=1),
    _Target("5 MiB through 10 Mbit/s: share", 80, _number("download: share"), is_least=True, unit=" %", digits=0),
    _Target("the same at 2 % loss: share", 60, _number("download at 2 %: share"), is_least=True, unit=" %", digits=0),
    _Target(
        "positions beside it: p99 later than on the empty path",
        60,
        _number("download: positions"),
        unit=" ms",
        digits=0,
    ),
    _Target("two connections on one link: larger by smaller", 2, _number("two connections"), digits=1),
    _Target("Rust layer, 1,000 clients: lost", 0, _number("netplay, lost"), digits=0),
    _Target(
        "Rust layer, 1,000 clients: server CPU by that of a bare loop that wakes up for each datagram",
        1.6,
        _number("netplay : bare loop, woken by each datagram"),
    ),
    _Target(
        "Rust layer, 1,000 clients: server CPU by that of a bare loop that waits as netplay does",
        1.6,
        _number("netplay : bare loop, the same waits"),
    ),
    _Target(
        "an idle connection, 10,000 in one server", 6144, _number("idle connection, server, bytes"), unit=" B", digits=0
    ),
    _Target("a handshake, server CPU", 300, _number("handshake, server, µs"), unit=" µs", digits=0),
    _Target(
        "64 B one way, by `get()`: by the best of pyenet, asyncio TCP and a select loop, a message a call",
        1.3,
        _ratio("64 B one way", _RATE, "pyenet", "tcp", "select"),
        is_least=True,
    ),
    _Target(
        "64 B one way, by `get()`: by a select loop whose author joins 64 messages to a call",
        1.3,
        _ratio("64 B one way", _RATE, "joined"),
        is_least=True,
    ),
    _Target("64 B one way, by `get()`: by pyenet", 2, _ratio("64 B one way", _RATE, "pyenet"), is_least=True),
    _Target(
        "64 B one way, through pygame's queue",
        500_000,
        _own("64 B one way, with pygame", _RATE),
        is_least=True,
        unit="/s",
        digits=0,
    ),
    _Target("500 clients, server waiting: CPU by pyenet's", 0.5, _ratio("500 clients, waiting", _WORK, "pyenet")),
    _Target("500 clients, at 60 frames: CPU by pyenet's", 0.5, _ratio("500 clients, at 60 frames", _WORK, "pyenet")),
    _Target("echo, asking: p50 by pyenet's", 1, _ratio("echo, asking", _P50, "pyenet")),
    _Target("echo, waiting: p50 by pyenet's", 1, _ratio("echo, waiting", _P50, "pyenet")),
)
