"""What the simulation comes to, read from its golden tables in `crates/proto/tests/tables`. Knows their form only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["figures"]

PAGE: Final = Path(__file__).parents[1] / "crates/proto/tests/tables/golden.md"

Table = dict[str, dict[str, float]]
"""Numbers by the names of row and column."""


def figures() -> dict[str, float]:
    """Returns those of which something was set out to be reached."""
    reliable, single, snapshots, downloads, _, shares, *_ = _tables()
    clean = reliable["0 %"]
    return {
        "5 %: p99": reliable["5 %"]["p99 ms"],
        "5 %: worst max": reliable["5 %"]["worst max"],
        "10 %: p99": reliable["10 %"]["p99 ms"],
        "bursts: p99": reliable["5 %, bursts of 3"]["p99 ms"],
        "0 %: bytes": clean["B/message"] / clean["B without copies"],
        "5 %: bytes": reliable["5 %"]["B/message"] / reliable["5 %"]["B without copies"],
        "one a frame: bytes": single["0 %"]["B/message"],
        "snapshots: p99": snapshots["10 %"]["p99 ms"],
        "snapshots: lost by us": snapshots["10 %"]["% the path delivers"] - snapshots["10 %"]["% delivered"],
        "download: share": downloads["0 %"]["least %"],
        "download at 2 %: share": downloads["2 %"]["least %"],
        "download: positions": downloads["0 %"]["positions p99 ms"] - downloads["0 %"]["p99 on the empty path"],
        "two connections": max(row["worst"] for row in shares.values()),
    }


def _tables() -> list[Table]:
    tables: list[Table] = []
    head: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            tables.append({})
            head = []
        elif line.startswith("|"):
            name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
            if not head:
                head = cells
            elif not name.startswith("-"):
                tables[-1][name] = dict(zip(head, map(float, cells), strict=True))
    return tables
