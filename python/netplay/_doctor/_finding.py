"""One thing that the doctor tried, and how it went. It knows no networks."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NO", "OK", "UNTOLD", "Finding"]

OK: Final = "ok"
NO: Final = "no"
UNTOLD: Final = "--"
"""Could not be told, was not asked, or does not matter."""


class Finding(NamedTuple):
    """One thing that was tried, and how it went."""

    topic: str
    """What it is about, in a word or two that stay the same: `listen`, `nat`, `way`."""
    mark: str
    """`ok`, `no`, or `--`."""
    text: str
    """For a person to read."""
    value: str | None = None
    """For a program to read, where a mark says too little."""
