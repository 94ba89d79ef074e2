"""What the processes of a measurement tell the time by. Knows plans, and no contender.

A moment is a `perf_counter_ns()`, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from time import perf_counter_ns, process_time_ns
from typing import Final

from plans import GO, SECOND, Crowd, Outcome

__all__ = ["Beat", "Stopwatch", "delay_of", "stamped", "turns"]

_STAMP: Final = struct.Struct("<q")


def stamped(size: int) -> bytes:
    """Returns a message of this size that says when it was made."""
    return _STAMP.pack(perf_counter_ns()) + bytes(size - _STAMP.size)


def delay_of(message: bytes) -> int:
    """Returns how long ago a stamped message was made."""
    return perf_counter_ns() - int(_STAMP.unpack_from(message)[0])


class Stopwatch:
    """Times a sink from one mark to the other."""

    def __init__(self) -> None:
        self._started = 0
        self._stopped = 0

    def is_end(self, mark: bytes) -> bool:
        """Takes note of a mark; false if the counting begins here, true if it ends."""
        if mark == GO:
            self._started = perf_counter_ns()
            return False
        self._stopped = perf_counter_ns()
        return True

    @property
    def seconds(self) -> float:
        """From the one mark to the other."""
        return (self._stopped - self._started) / SECOND


class Beat:
    """Tells a crowd's server when to send, how long to wait, and when to stop; measures its work meanwhile."""

    def __init__(self, plan: Crowd, start: int) -> None:
        self.ticks = 0
        self._plan, self._start = plan, start
        self._frame = start
        self._began: tuple[int, int] | None = None  # wall clock and work at the first tick
        self._share: float | None = None

    def is_over(self) -> bool:
        """True when the last message had time to arrive."""
        now = perf_counter_ns()
        if self._share is None and self._began is not None and now >= self._plan.end(self._start):
            wall, work = self._began
            self._share = (process_time_ns() - work) / (now - wall)
        return now >= self._plan.over(self._start)

    def is_tick(self) -> bool:
        """True if it is time to send."""
        now = perf_counter_ns()
        if self.ticks == self._plan.ticks or now < self._next_tick:
            return False
        if self._began is None:
            self._began = (now, process_time_ns())
        self.ticks += 1
        return True

    def left(self) -> float:
        """Returns the seconds until the server must act: to the next tick, or to the next frame if it has frames."""
        now = perf_counter_ns()
        if self._plan.is_waiting:
            if self.ticks < self._plan.ticks:
                until = self._next_tick
            elif now < self._plan.end(self._start):
                until = self._plan.end(self._start)
            else:
                until = self._plan.over(self._start)
        else:
            while self._frame <= now:
                self._frame += self._plan.frame
            until = self._frame
        return max(0, until - now) / SECOND

    def outcome(self, received: int) -> Outcome:
        """Returns the server's numbers, once it is over."""
        return {"received": received, "sent": self.ticks * self._plan.clients, "work": self._share}

    @property
    def _next_tick(self) -> int:
        return self._start + self.ticks * self._plan.period


def turns(plan: Crowd, start: int) -> Iterator[range]:
    """Yields again and again, until it is over, the numbers of the clients whose turn to send has come.

    They send one after the other, evenly spread over each period.
    """
    done, total = 0, plan.ticks * plan.clients
    over = plan.over(start)
    while (now := perf_counter_ns()) < over:
        due = min(total, max(0, (now - start) * plan.clients // plan.period))
        # Numbers may pass the last client: the caller takes them modulo the clients.
        yield range(done, due)
        done = due
