"""What is measured, and how a process of a measurement talks to the command. Knows no contender.

Each measurement runs two processes over loopback: one that listens, and one that calls it. A contender is a module with
the same six functions, two for each measurement. Each takes a plan and a `Line` to the command, and is written the way
that contender's users would write it.

| measurement | listens | calls |
|---|---|---|
| echo | `echo_server` sends everything back | `echo_client` times each way there and back |
| flood | `flood_sink` counts | `flood_source` sends as fast as it is taken |
| crowd | `crowd_server` sends to all, 20 times a second | `crowd_clients` are all of them, and each sends too |
"""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

__all__ = ["BATCH", "END", "GO", "SECOND", "Crowd", "Echo", "Flood", "Line", "Outcome", "Plan"]

SECOND: Final = 1_000_000_000
"""In nanoseconds, as every moment here is."""

GO: Final = b"go"
"""Warm-up is over: a sink counts from here."""

END: Final = b"end"
"""Nothing comes after this."""

BATCH: Final = 64
"""How many messages of a flood are sent between two looks at the clock and the queue."""

Outcome = dict[str, Any]
"""The numbers of one process."""


@dataclass(frozen=True)
class Echo:
    """One message there and back, again and again."""

    count: int
    """Echoes that are timed."""
    warm_up: int
    """Echoes before that."""
    is_waiting: bool
    """Both sides block until something arrives; otherwise they ask again and again."""
    size: int = 64


@dataclass(frozen=True)
class Flood:
    """Messages one way, as many as go through."""

    size: int
    seconds: float
    warm_up: float
    """Seconds before the counting begins."""
    with_pygame: bool = False
    """The sink takes them from pygame's queue; only netplay can."""


@dataclass(frozen=True)
class Crowd:
    """A server that sends to all its clients at a steady rate, and hears from each at the same rate."""

    seconds: float
    is_waiting: bool
    """The server blocks until something arrives or is to be sent; otherwise it looks `frames` times a second."""
    clients: int = 100
    sockets: int = 10
    """What the clients share evenly; TCP needs one for each."""
    hz: int = 20
    frames: int = 60
    down: int = 1024
    """Bytes to each client."""
    up: int = 32
    """Bytes from each client."""
    settle: float = 0.25
    """Seconds in which what is still under way may arrive."""

    @property
    def ticks(self) -> int:
        """How often the server sends, and each client."""
        return round(self.seconds * self.hz)

    @property
    def period(self) -> int:
        """From one tick to the next."""
        return SECOND // self.hz

    @property
    def frame(self) -> int:
        """From one frame to the next."""
        return SECOND // self.frames

    def end(self, start: int) -> int:
        """Returns when the last tick is over, up to which the server's work is measured."""
        return start + self.ticks * self.period

    def over(self, start: int) -> int:
        """Returns when everybody stops."""
        return self.end(start) + round(self.settle * SECOND)


Plan = Echo | Flood | Crowd


class Line:
    """One process's line to the command that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, value: object) -> None:
        """Says something; the command knows what comes when."""
        self._connection.send(value)

    def hear(self) -> Any:
        """Waits until the command says something."""
        return self._connection.recv()
