"""What the rounds found out, as one table: medians, and ratios measured side by side. Knows no processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from plans import Crowd, Echo, Flood, Outcome, Plan

__all__ = ["CONTENDERS", "MEADOW", "Results", "aligned", "compared", "markdown", "section_of", "values"]

CONTENDERS: Final = {
    "netplay": "netplay",
    "pyenet": "pyenet",
    "tcp": "asyncio TCP",
    "select": "select TCP",
    "joined": "select TCP, joined",
    "udp": "UDP socket",
}
"""Their modules are `with_` and the key; the order is that of the columns."""

MEADOW: Final = "## A thousand players in one meadow"
"""The part of the page that `meadow.py` writes."""

_NONE: Final = "-"


@dataclass(frozen=True)
class _Row:
    """One kind of number that a measurement finds."""

    name: str
    read: Callable[[Outcome, Outcome], float]
    """From what the listening and the calling side found out."""
    show: Callable[[float], str]
    is_share: bool = False
    """A loss: rounds are added up, and there is no ratio."""


@dataclass
class Results:
    """All that the rounds of one measurement found out."""

    name: str
    plan: Plan
    outcomes: dict[str, list[tuple[Outcome, Outcome]]] = field(default_factory=dict)
    """By contender, in the order of rounds."""

    def add(self, contender: str, outcome: tuple[Outcome, Outcome]) -> None:
        """Adds one round of one contender."""
        self.outcomes.setdefault(contender, []).append(outcome)


def markdown(results: list[Results]) -> str:
    """Returns the table. A ratio is the median over the rounds of netplay's number by the other's of the same round."""
    others = [contender for contender in CONTENDERS if contender != "netplay"]
    head = ["", *CONTENDERS.values(), *(f"netplay : {CONTENDERS[other]}" for other in others)]
    lines = [head]
    for result in results:
        for row in _rows(result.plan):
            found = values(result, row.name)
            shown = [row.show(_middle(row, found[name])) if name in found else _NONE for name in CONTENDERS]
            ratios = [_NONE if row.is_share else _ratio(found.get("netplay"), found.get(name)) for name in others]
            lines.append([f"{result.name}: {row.name}", *shown, *ratios])
    return aligned(lines)


def compared(results: list[Results], names: dict[str, str]) -> str:
    """Returns the table of two contenders, with the ratio of the first by the second."""
    ours, theirs = names
    lines = [["", *names.values(), "ratio"]]
    for result in results:
        for row in _rows(result.plan):
            found = values(result, row.name)
            shown = [row.show(_middle(row, found[name])) for name in names]
            ratio = _NONE if row.is_share else _ratio(found[ours], found[theirs])
            lines.append([f"{result.name}: {row.name}", *shown, ratio])
    return aligned(lines)


def values(result: Results, name: str) -> dict[str, list[float]]:
    """Returns one kind of number of a measurement, by contender, in the order of rounds."""
    row = next(row for row in _rows(result.plan) if row.name == name)
    return {contender: [row.read(*pair) for pair in pairs] for contender, pairs in result.outcomes.items()}


def aligned(lines: list[list[str]]) -> str:
    """Returns a table, the first line its head."""
    head = lines[0]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(line, widths) for line in [head, rule, *lines[1:]])


def _line(cells: list[str], widths: list[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"


def _middle(row: _Row, values: list[float]) -> float:
    return sum(values) / len(values) if row.is_share else median(values)


def _ratio(ours: list[float] | None, theirs: list[float] | None) -> str:
    if ours is None or theirs is None or not all(theirs):
        return _NONE
    return f"{median(our / their for our, their in zip(ours, theirs, strict=True)):.2f}"


def _rows(plan: Plan) -> list[_Row]:
    if isinstance(plan, Echo):
        echoes = plan.warm_up + plan.count
        return [
            _Row("p50, µs", lambda _, client: _percentile(client["times"], 0.50) / 1e3, _one_place),
            _Row("p99, µs", lambda _, client: _percentile(client["times"], 0.99) / 1e3, _one_place),
            _Row("client CPU for each, µs", lambda _, client: client["processor"] / echoes / 1e3, _one_place),
        ]
    if isinstance(plan, Flood):
        return [
            _Row("messages/s", lambda sink, _: sink["received"] / sink["seconds"], _thousands),
            _Row("lost", lambda sink, source: 1 - sink["received"] / source["sent"], _percent, is_share=True),
        ]
    assert isinstance(plan, Crowd)
    return [
        _Row("server CPU, % of a core", lambda server, _: server["work"] * 100, _one_place),
        _Row("delay p50, ms", lambda _, clients: _percentile(clients["delays"], 0.50) / 1e6, _two_places),
        _Row("delay p99, ms", lambda _, clients: _percentile(clients["delays"], 0.99) / 1e6, _two_places),
        _Row(
            "lost on the way to clients",
            lambda server, clients: 1 - len(clients["delays"]) / server["sent"],
            _percent,
            is_share=True,
        ),
        _Row(
            "lost on the way to the server",
            lambda server, clients: 1 - server["received"] / clients["sent"],
            _percent,
            is_share=True,
        ),
    ]


def _percentile(values: list[int], share: float) -> int:
    return sorted(values)[int((len(values) - 1) * share)]


def _one_place(value: float) -> str:
    return f"{value:.1f}"


def _two_places(value: float) -> str:
    return f"{value:.2f}"


def _thousands(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    if share == 0:
        return "0"
    return "under 0.01 %" if 0 < share < 0.0001 else f"{share * 100:.2f} %"


def section_of(page: str, heading: str) -> str:
    """Returns what stands on a page under a heading, up to the next one; nothing if there is no such heading."""
    found = re.search(rf"^{re.escape(heading)}$.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return found.group() if found else ""
