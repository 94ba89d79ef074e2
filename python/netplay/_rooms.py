"""A room as the game holds it: what was learnt from its events, and calls passed on. It decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from ._events import NETWORK_HOST, NETWORK_JOINED, NETWORK_LEFT, NETWORK_ROOM

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._core import Event, Peer
    from ._network import Network

__all__ = ["Room"]

RoomState: TypeAlias = Literal["opening", "joining", "open", "closed"]


class Room:
    """Players who found each other by a code: no server, and none of them is needed for the others to go on.

    Made by `host_room()` and `join_room()`. The members are peers as any other; `netplay.send()` reaches them all.
    What is told here is as of the last poll() or get(). A room is a context manager: it is left in the end.

    Example:
        >>> import netplay
        >>> with netplay.Network() as network, network.host_room("docs-room", door="local://docs-room") as room:
        ...     event = network.get(timeout=5)[0]
        ...     print(event.what, event.room is room, room.state, room.is_host, room.members)
        NETWORK_ROOM True open True []
    """

    def __init__(self, network: Network, code: str, app: str, *, is_host: bool, relay: str | None) -> None:
        """Is called by netplay alone."""
        self._network = network
        self._number = 0
        self._code = code
        self._app = app
        self._relay = relay
        self._state: RoomState = "opening" if is_host else "joining"
        self._is_host = is_host
        self._host: Peer | None = None
        self._members: list[Peer] = []

    @property
    def code(self) -> str:
        """What to tell the other players: eight letters and digits that nobody confuses, such as "CDFG-2345"."""
        return self._code

    @property
    def url(self) -> str:
        """The same as a URL, with all else that `join_room()` needs."""
        query = {"app": self._app} if self._relay is None else {"app": self._app, "relay": self._relay}
        return f"room://{self._code}?{urlencode(query, quote_via=quote)}"

    @property
    def app(self) -> str:
        """The name of the game, as it was given."""
        return self._app

    @property
    def state(self) -> RoomState:
        """Returns "opening" or "joining", then "open", then "closed"."""
        return self._state

    @property
    def members(self) -> list[Peer]:
        """The other players, in the order in which they came into the room."""
        return list(self._members)

    @property
    def host(self) -> Peer | None:
        """The player who is the host; None if it is this one, or nobody is known yet."""
        return self._host

    @property
    def is_host(self) -> bool:
        """True if this player is the host."""
        return self._is_host and self._state != "closed"

    def send(
        self,
        data: object,
        channel: int = 0,
        lossy: bool = False,
        *,
        ordered: bool = True,
        exclude: Peer | None = None,
    ) -> int:
        """Sends to every member.

        Args:
            data: As for `netplay.send()`.
            channel: 0 to 255.
            lossy: May be lost, and is never sent again.
            ordered: As for `netplay.send()`.
            exclude: A member to leave out.

        Returns:
            To how many members.

        Raises:
            MessageTooLarge, UnsupportedData, ValueError, TypeError: As for `netplay.send()`.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network, network.host_room("docs-room", door="local://docs-send") as room:
            ...     room.send("nobody is here yet")
            0
        """
        to = [peer for peer in self._members if peer is not exclude and peer.state != "closed"]
        return self._network.send(data, channel, lossy, to=to, ordered=ordered)

    def close(self) -> None:
        """Leaves the room, with a word to everybody; the others go on. The last event, NETWORK_LEFT, follows.

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network:
            ...     room = network.host_room("docs-room", door="local://docs-close")
            ...     room.close()
            ...     room.state
            'closed'
        """
        self._state = "closed"
        self._network._leave_room(self._number)

    def _handle(self, event: Event) -> None:
        """Takes in an event of this room, just before the game gets it."""
        peer = cast("Peer | None", event.peer)
        if event.what is NETWORK_ROOM and self._state != "closed":
            self._state = "open"
        elif event.what is NETWORK_JOINED and peer is not None:
            self._members.append(peer)
            self._members.sort(key=lambda member: member._order or 0)
            if event._is_of_host:
                self._host = peer
        elif event.what is NETWORK_HOST:
            self._is_host, self._host = event.is_host, peer
        elif event.what is NETWORK_LEFT:
            if peer is None:
                self._state = "closed"
                self._members.clear()
                self._host = None
            elif peer in self._members:
                self._members.remove(peer)
                if peer is self._host:
                    self._host = None

    def __str__(self) -> str:
        return self._code

    def __repr__(self) -> str:
        return f"<Room {self._code} of {self._app}, {self._state}, {len(self._members)} others>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def read_room(code_or_url: str, app: str | None, relay: str | None) -> tuple[str, str, str | None]:
    """Returns the code, the app and the relay that a code or a `room://` URL means.

    Raises:
        BadURL: It is neither.
        ValueError: The app is not said, or said twice and not alike.
    """
    from ._errors import BadURL

    code = code_or_url
    if "://" in code_or_url:
        parts = urlsplit(code_or_url)
        if parts.scheme != "room" or not parts.netloc or parts.path not in ("", "/") or parts.fragment:
            raise BadURL(f"{code_or_url!r} is no room; it must be a code, or room://CODE?app=NAME")
        code = parts.netloc
        try:
            query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise BadURL(f"{code_or_url!r} has options that cannot be read; there are app and relay") from None
        unknown = set(query) - {"app", "relay"}
        if unknown:
            raise BadURL(f"{min(unknown)!r} in {code_or_url!r} is not known; there are app and relay")
        of_url = query.get("app", [None])[-1]
        if app is not None and of_url is not None and of_url != app:
            raise ValueError(f"the room is one of {of_url!r}, and not of {app!r}")
        app = of_url if app is None else app
        relay = query.get("relay", [None])[-1] if relay is None else relay
    if app is None:
        raise ValueError(
            f'say which game: join_room({code_or_url!r}, "pong"), with the name that host_room() was given'
        )
    return code, app, relay
