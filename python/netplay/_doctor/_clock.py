"""The clocks: whether the one on the wall is right, as far as somebody has told, and how finely the others tick."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Iterator
from typing import Final

from ._finding import NO, OK, UNTOLD, Finding

__all__ = ["examine"]

_EXACT: Final = 5.0
_GOOD_ENOUGH: Final = 300.0
"""By how many seconds the clock may be wrong: to show the right time, and to take a certificate for what it is."""

_SLEEPS: Final = 30
_FINE_SLEEP: Final = 0.004
"""How long sleeping for a millisecond may take: a frame at 60 Hz has sixteen of them."""


def examine(aheads: list[float]) -> Iterator[Finding]:
    """Yields what the clocks do; `aheads` is by how many seconds those of others are ahead."""
    now = datetime.datetime.now(datetime.timezone.utc)
    here = f"it is {now:%Y-%m-%d %H:%M:%S} UTC here"
    if not aheads:
        yield Finding(
            "clock", UNTOLD, f"{here}; nobody was asked whether that is so, a relay can tell", f"{now:%FT%TZ}"
        )
    else:
        wrong = statistics.median(aheads)
        way = "slow" if wrong > 0 else "fast"
        by = datetime.timedelta(seconds=round(abs(wrong)))
        if abs(wrong) <= _EXACT:
            yield Finding("clock", OK, f"{here}, and the relay says the same", f"{wrong:.1f}")
        elif abs(wrong) <= _GOOD_ENOUGH:
            yield Finding(
                "clock", UNTOLD, f"{here}; by the relay this clock is {by} {way}, which does no harm", f"{wrong:.1f}"
            )
        else:
            yield Finding(
                "clock",
                NO,
                f"{here}; by the relay this clock is {by} {way}: certificates (wss://, public relays) are refused,"
                " so set it",
                f"{wrong:.1f}",
            )
    resolution = time.get_clock_info("monotonic").resolution
    taken = sorted(_sleep() for _ in range(_SLEEPS))
    median = statistics.median(taken)
    yield Finding(
        "timer",
        OK if median <= _FINE_SLEEP else UNTOLD,
        f"sleeping for 1 ms takes {median * 1000:.1f} ms, at worst {taken[-1] * 1000:.1f} of {_SLEEPS} times; the clock"
        f" behind it ticks every {_span(resolution)}"
        + ("" if median <= _FINE_SLEEP else ": a loop that sleeps so is late, get(timeout) is not"),
        f"{median:.6f}",
    )


def _sleep() -> float:
    began = time.perf_counter()
    time.sleep(0.001)
    return time.perf_counter() - began


def _span(seconds: float) -> str:
    for unit, name in ((1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds / 1e-9:g} ns"
