"""Games on the local network, as a game's menu sees them. How they are found is in `_core`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._events import NETWORK_GONE

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._core import Event
    from ._network import Network

__all__ = ["Finder", "Game"]


@dataclass(frozen=True, slots=True, order=True)
class Game:
    """A game that somebody on the local network has announced by `listen(advertise=)`.

    It is what that somebody says, and anybody can say anything: see docs/security.md.
    Sorted by title; `str(game)` is a line for a menu.
    """

    title: str
    """Its title, 1 to 64 bytes of UTF-8 with nothing invisible."""
    id: str
    """Tells it from every other; the same as long as it is open."""
    app: str
    """The app, as in `find()`."""
    url: str
    """What `connect()` takes; with the server's key pinned by `#k=`."""
    host: str
    """The name of its machine."""
    players: int
    """How many are connected to it."""
    max_peers: int
    """How many may be; 0 if it does not say."""
    needs_password: bool
    """Whether `connect()` needs a password."""
    transports: tuple[str, ...]
    """By what one can come: of "udp", "tcp", "ws" and "wss"; empty if it does not say."""
    key: str | None
    """Its public key as 64 hexadecimal digits; None if it does not say."""

    def __str__(self) -> str:
        players = f"{self.players}/{self.max_peers}" if self.max_peers else f"{self.players}"
        return f"{self.title} ({players} on {self.host}{', password' if self.needs_password else ''})"


class Finder:
    """Looks for games of one app on the local network, from `find()` until it is closed; also a context manager."""

    def __init__(self, network: Network, app: str, number: int) -> None:
        """Is made by `find()`."""
        self.app = app
        self._network = network
        self._number = number
        self._games: dict[str, Game] = {}

    @property
    def games(self) -> list[Game]:
        """The games that are there, by title; none once it is closed, by itself or with the network.

        It changes inside poll() and get(), with the events that tell of it. So keep the finder: what a new one returns
        here is empty until the next poll().
        """
        return sorted(self._games.values()) if self._is_open() else []

    def close(self) -> None:
        """Stops to look; no event comes any more, and there are no games. Twice is fine.

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network:
            ...     finder = network.find("docs-close")
            ...     finder.close()
            ...     finder
            <Finder of 'docs-close', closed>
        """
        if self._is_open():
            del self._network._finders[self._number]
            self._network._stop_finding(self._number)
        self._games.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"{len(self._games)} games" if self._is_open() else "closed"
        return f"<Finder of {self.app!r}, {state}>"

    def _is_open(self) -> bool:
        return self._network._finders.get(self._number) is self

    def _handle(self, event: Event) -> None:
        """Takes note of what the game is about to be told."""
        if event.what is NETWORK_GONE:
            self._games.pop(event.game.id, None)
        else:
            self._games[event.game.id] = event.game


Game.__module__ = "netplay"
Finder.__module__ = "netplay"
