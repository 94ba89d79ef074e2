"""Rooms as the game holds them: opened and joined, and what was learnt from their events. It decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from . import _core
from ._checks import seconds
from ._errors import BadURL
from ._events import NETWORK_HOST, NETWORK_JOINED, NETWORK_LEFT, NETWORK_ROOM

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from weakref import WeakSet

    from typing_extensions import Self

    from ._core import Event, Peer

__all__ = ["Room", "Rooms"]

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

    def __init__(self, network: Rooms, code: str, app: str, *, is_host: bool, relay: str | None) -> None:
        """Is called by netplay alone."""
        self._network = network
        self._number = 0
        self._code = code
        self._app = app
        self._relay = relay
        self._state: RoomState = "opening" if is_host else "joining"
        self._reason = ""
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
    def reason(self) -> str:
        """Why it is closed, in a word of NETWORK_LEFT such as "no room", "full" or "closed"; "" while it is not."""
        return self._reason

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
        exclude: Peer | str | Iterable[Peer | str] | None = None,
    ) -> int:
        """Sends to every member.

        Args:
            data: As for `netplay.send()`.
            channel: 0 to 255.
            lossy: May be lost, and is never sent again.
            ordered: As for `netplay.send()`.
            exclude: A member to leave out, or several of them.

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
        to = [peer for peer in self._members if peer.state != "closed"]
        return self._network.send(data, channel, lossy, to=to, ordered=ordered, exclude=exclude)

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
        if self._state != "closed":
            self._state, self._reason = "closed", "closed"
        self._network._leave_room(self._number)

    def _handle_closed(self) -> None:
        """It has ended, or its network has been closed, of which no event tells."""
        self._state, self._reason = "closed", self._reason or "closed"
        self._is_host, self._host = False, None
        self._members.clear()

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
                self._reason = self._reason or event.reason
                self._handle_closed()
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


class Rooms(_core.Network):
    """The part of a Network that opens and joins rooms."""

    _rooms: WeakSet[Room]

    def host_room(
        self,
        app: str,
        *,
        max_peers: int = 8,
        name: str = "",
        version: str = "",
        password: str | None = None,
        topology: Literal["mesh", "star"] = "mesh",
        code: str | None = None,
        relay: str | None = None,
        door: str | None = None,
    ) -> Room:
        """Opens a room for players who have no server, and returns at once.

        Show `room.code` to the others: whoever gives it to `join_room()` is in. NETWORK_ROOM tells that the room is
        open, NETWORK_JOINED and NETWORK_LEFT who comes and goes; `send()` reaches everybody, and what they say is
        NETWORK_DATA_IN with `peer`. When this player goes, the one who came first after it becomes the host: the others
        get a NETWORK_HOST, the room goes on, and the code is still good.

        Args:
            app: The name of the game, 1 to 64 bytes of UTF-8. The same code means another room in another game.
            max_peers: How many players there may be in the room, this one included: 2 to 64.
            name: Our name, told to the others; at most 64 bytes of UTF-8.
            version: The game's version; players with another are refused.
            password: What players must know beside the code; None for nothing.
            topology: "mesh": every member talks to every other directly. "star": all through the host, which passes
                messages on; good for many players of whom few have a fast line, and for a game with a server: it opens
                the room beside `listen()`, takes NETWORK_JOINED as NETWORK_CONNECTED and NETWORK_LEFT as
                NETWORK_DISCONNECTED; and the players send to `room.host`, believe nobody else, and go when it goes.
            code: The code to use; None for a new one.
            relay: The URL of the relay through which members find each other, such as one's own by
                `python -m netplay relay`. None for the public relays and lookup of iroh, run by number 0.
            door: Where the members find the host, all of them on this machine or inside this process: a `local://`
                URL, or `play+udp://` with an address and a port. For tests, and for playing alone. None for the way
                through the internet, `play+p2p://`.

        Returns:
            The room, not open yet. If no relay can be reached, a NETWORK_LEFT with `peer` None and the `reason` "no
            answer" says so after 12 seconds.

        Raises:
            BadURL: The door is no such URL.
            ValueError: `app`, `name` or `version` is too long; `max_peers` is not 2 to 64; or the topology, the code
                or the relay is none.
            NetworkFailed: The operating system gave no thread or socket.

        Example:
            >>> import netplay
            >>> with netplay.Network() as ada, netplay.Network() as bob:
            ...     room = ada.host_room("docs-pong", name="Ada", door="local://docs-host-room")
            ...     _ = bob.join_room(room.code, "docs-pong", name="Bob", door="local://docs-host-room")
            ...     while not room.members:
            ...         events = ada.get(timeout=0.05), bob.get(timeout=0.05)
            ...     print(room.members[0], "is here")
            Bob is here
        """
        code = _core._make_code() if code is None else _core._read_code(code)
        room = Room(self, code, app, is_host=True, relay=relay)
        room._number = self._open_room(
            room,
            is_host=True,
            code=code,
            app=app,
            name=name,
            version=version,
            password=password,
            max_peers=_members(max_peers),
            is_star=_is_star(topology),
            timeout=20.0,
            door=door,
            relay=relay,
        )
        self._rooms.add(room)
        return room

    def join_room(
        self,
        code: str,
        app: str | None = None,
        *,
        name: str = "",
        version: str = "",
        password: str | None = None,
        timeout: float = 20.0,
        relay: str | None = None,
        door: str | None = None,
    ) -> Room:
        """Joins a room by its code and returns at once: NETWORK_ROOM or NETWORK_LEFT tells how it went.

        Then comes a NETWORK_JOINED for everybody who is there, in no fixed order; `room.members` is in the order in
        which they came into the room.

        Args:
            code: The code, in upper or lower case, with any hyphens and spaces; or the room's URL,
                `room://CODE?app=...`, which says the app and the relay too.
            app: The name of the game, as `host_room()` was given it.
            name: Our name, told to the others; at most 64 bytes of UTF-8.
            version: The game's version.
            password: The room's password.
            timeout: How many seconds to go on knocking. A room whose host has just gone answers after some seconds.
            relay: As for `host_room()`.
            door: As for `host_room()`.

        Returns:
            The room, not joined yet. If it cannot be joined, a NETWORK_LEFT with `peer` None says why in `reason`:
            "no room" (a wrong code, or nobody is there), "no answer" (the relay cannot be reached), "full", "wrong
            password", "wrong version".

        Raises:
            BadURL: The URL is none of a room, or the door none of a door.
            ValueError: The code is none; the app is not said; or a name or version is too long.
            NetworkFailed: The operating system gave no thread or socket.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network:
            ...     room = network.join_room("cdfg 2345", "docs-pong", timeout=0.1, door="local://docs-join-room")
            ...     event = network.get(timeout=5)[0]
            ...     print(room.code, event.what, event.peer, event.reason)
            CDFG-2345 NETWORK_LEFT None no room
        """
        code, app, relay = _read_room(code, app, relay)
        code = _core._read_code(code)
        room = Room(self, code, app, is_host=False, relay=relay)
        room._number = self._open_room(
            room,
            is_host=False,
            code=code,
            app=app,
            name=name,
            version=version,
            password=password,
            max_peers=2,
            is_star=False,
            timeout=seconds(timeout, "timeout"),
            door=door,
            relay=relay,
        )
        self._rooms.add(room)
        return room


def _members(value: int) -> int:
    if not 2 <= value <= 64:
        raise ValueError(f"max_peers is {value}, a room may have 2 to 64")
    return value


def _is_star(topology: str) -> bool:
    if topology not in ("mesh", "star"):
        raise ValueError(f'topology is {topology!r}, it must be "mesh" or "star"')
    return topology == "star"


def _read_room(code_or_url: str, app: str | None, relay: str | None) -> tuple[str, str, str | None]:
    """Returns the code, the app and the relay that a code or a `room://` URL means.

    Raises:
        BadURL: It is neither.
        ValueError: The app is not said, or said twice and not alike.
    """
    if not isinstance(code_or_url, str):
        raise TypeError(f"the code is {code_or_url!r}, it must be a str such as 'CDFG-2345'")
    code_or_url = code_or_url.strip()  # it was pasted
    code = code_or_url
    if "://" in code_or_url:
        try:
            parts = urlsplit(code_or_url)
        except ValueError:
            raise BadURL(f"{code_or_url!r} is no room; it must be a code, or room://CODE?app=NAME") from None
        if parts.scheme != "room" or not parts.netloc or parts.path not in ("", "/") or parts.fragment:
            raise BadURL(f"{code_or_url!r} is no room; it must be a code, or room://CODE?app=NAME")
        code = parts.netloc
        try:
            query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
        except ValueError:
            raise BadURL(f"{code_or_url!r} has options that cannot be read; there are app and relay") from None
        unknown = set(query) - {"app", "relay"}
        if unknown:
            raise BadURL(f"{min(unknown)!r} in {code_or_url!r} is not known; there are app and relay")
        twice = {name for name, values in query.items() if len(values) > 1}
        if twice:
            raise BadURL(f"{min(twice)!r} is in {code_or_url!r} more than once")
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
