"""Numbers that a game gave, looked at: one out of range is an error that names it and the limit."""

from __future__ import annotations

import math

__all__ = ["at_least_one", "at_least_zero", "not_negative", "seconds"]


def at_least_zero(value: int, name: str) -> int:
    """Returns a count that may be 0 for the core, which says what is wrong with 0."""
    if value < 0:
        raise ValueError(f"{name} is {value}, it must be at least 1")
    return value


def at_least_one(value: int | None, name: str) -> int | None:
    """Returns a bound, or None for none."""
    if value is not None and value < 1:
        raise ValueError(f"{name} is {value}, it must be at least 1; None sets no bound")
    return value


def not_negative(value: float, name: str) -> float:
    """Returns a number that has an end."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} is {value}, it must be 0 or more, and not infinite")
    return value


def seconds(value: float, name: str) -> float:
    """Returns how long something may take; infinity is for ever."""
    if not value >= 0.0:
        raise ValueError(f"{name} is {value}, it must be 0 or more")
    return value
