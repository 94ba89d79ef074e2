"""Strikes against peers: how much nonsense each may send before it is closed. Knows neither messages nor connections.

Some are forgiven as time goes by, so that an honest peer which disagrees now and then plays on for hours.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._core import Peer

__all__ = ["Strikes", "Unbearable"]

_MAX_AT_ONCE: Final = 1000
_FORGIVEN_PER_SECOND: Final = 10.0


class Unbearable(Exception):  # noqa: N818 (not an error of ours)
    """A peer has done what ends it; the text says what."""


class Strikes:
    """The strikes against the peers of one network."""

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Peer, tuple[float, float]] = weakref.WeakKeyDictionary()

    def add(self, peer: Peer, what: str) -> None:
        """Counts one more against a peer.

        Raises:
            Unbearable: That is too many; `what` says what it did.
        """
        now = time.monotonic()
        count, since = self._of.get(peer, (0.0, now))
        count = max(0.0, count - (now - since) * _FORGIVEN_PER_SECOND) + 1.0
        self._of[peer] = (count, now)
        if count > _MAX_AT_ONCE:
            raise Unbearable(what)
