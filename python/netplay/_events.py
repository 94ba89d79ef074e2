"""The numbers and names of events. Knows neither pygame nor the network.

pygame's user event types go up to 65,534 (`pygame.NUMEVENTS - 1`), in pygame 2.6 and in pygame-ce alike.
`pygame.event.custom_type()` hands them out from the bottom, 32,866 upwards, and starts again after `pygame.quit()` and
`pygame.init()`.
A number taken from there would be given to somebody else after the next `init()`.
So ours are constants near the top: they are the same in every program, never change while it runs, and collide with
a custom type only in a game that makes 32,000 of them.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = [
    "NETWORK",
    "NETWORK_ANSWER",
    "NETWORK_CONNECTED",
    "NETWORK_DATA_IN",
    "NETWORK_DISCONNECTED",
    "NETWORK_EVENT",
    "NETWORK_FOUND",
    "NETWORK_GONE",
    "NETWORK_HOST",
    "NETWORK_JOINED",
    "NETWORK_LEFT",
    "NETWORK_LOST",
    "NETWORK_RESUMED",
    "NETWORK_ROOM",
    "NETWORK_ROUTE",
    "NETWORK_WAKE",
    "What",
]

NETWORK: Final = 65_000
"""The type of every netplay event in the pygame queue."""

NETWORK_WAKE: Final = 65_001
"""The type of an empty event that makes `pygame.event.wait()` return while network events wait for `poll()`."""


class What(enum.IntEnum):
    """What happened: the `what` of an event. Each member is also a constant of the package, `netplay.NETWORK_LOST`."""

    NETWORK_CONNECTED = 1
    """The handshake is done: `peer`."""
    NETWORK_DATA_IN = 2
    """A message arrived, whole: `peer`, `channel`, `data`, `sequenceid`, `lossy`, and `reply`, which answers it."""
    NETWORK_LOST = 3
    """The link broke; netplay goes on trying: `peer`, `reason`, `seconds_left`."""
    NETWORK_RESUMED = 4
    """The link is back, nothing lost and nothing twice: `peer`, `seconds`, `reason`."""
    NETWORK_DISCONNECTED = 5
    """The peer is gone for good, or could not be reached: `peer`, `reason` (its words: `Event.reason`), `detail`."""

    NETWORK_EVENT = 6
    """Somebody posted an event into our queue: `peer`, `channel`, `type`, `name`, `data`, `lossy`.

    Only `get()` returns it. `poll()` posts the event itself, of its own type, with its own attributes and `peer`.
    """
    NETWORK_ANSWER = 7
    """What came of `peer.ask()`: `peer`, `channel`, `token`, `data`, `reason` ("" when it was answered)."""
    NETWORK_FOUND = 8
    """A game that `find()` looks for is on the local network, or what it says of itself has changed: `game`."""
    NETWORK_GONE = 9
    """Such a game is there no more: `game`."""
    NETWORK_ROUTE = 10
    """What is sent to a `play+p2p://` peer takes another way from now on: `peer`, `route`, "direct" or "relayed"."""
    NETWORK_ROOM = 11
    """We are in the room: `room`, `code`."""
    NETWORK_JOINED = 12
    """Another player is in the room, and can be talked to: `room`, `peer`."""
    NETWORK_LEFT = 13
    """A player is in the room no longer: `room`, `peer`, `reason`, `detail`. `peer` is None if it is this one, also
    when the room could not be joined."""
    NETWORK_HOST = 14
    """Another player is the host from now on: `room`, `peer`, `is_host`. `peer` is None if it is this one."""

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


NETWORK_CONNECTED: Final = What.NETWORK_CONNECTED
NETWORK_DATA_IN: Final = What.NETWORK_DATA_IN
NETWORK_LOST: Final = What.NETWORK_LOST
NETWORK_RESUMED: Final = What.NETWORK_RESUMED
NETWORK_DISCONNECTED: Final = What.NETWORK_DISCONNECTED
NETWORK_EVENT: Final = What.NETWORK_EVENT
NETWORK_ANSWER: Final = What.NETWORK_ANSWER
NETWORK_FOUND: Final = What.NETWORK_FOUND
NETWORK_GONE: Final = What.NETWORK_GONE
NETWORK_ROOM: Final = What.NETWORK_ROOM
NETWORK_JOINED: Final = What.NETWORK_JOINED
NETWORK_LEFT: Final = What.NETWORK_LEFT
NETWORK_HOST: Final = What.NETWORK_HOST
NETWORK_ROUTE: Final = What.NETWORK_ROUTE
