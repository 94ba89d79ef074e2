"""The words of the API: listening, connecting, and handing out what arrives. What they do is in `_core`.

Everything the game is told, it is told inside `poll()` or `get()`: events, handlers and callbacks, in the order of
arrival.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from . import _codec, _core, _kinds, _messages, _remote, _trust
from ._ask import Answer, Question, Questions, Reply
from ._bans import Bans
from ._checks import at_least_one, at_least_zero, not_negative, seconds
from ._core import Event, Listener, Peer
from ._events import (
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    NETWORK_FOUND,
    NETWORK_GONE,
    NETWORK_HOST,
    NETWORK_JOINED,
    NETWORK_LEFT,
    NETWORK_LOST,
    NETWORK_RESUMED,
    NETWORK_ROOM,
)
from ._lan import Finder
from ._rooms import Room, Rooms
from ._strikes import Strikes, Unbearable
from ._tickets import Ticket

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._netgraph import NetGraph
    from ._pygame import Bridge

__all__ = ["Network"]

OnConnect: TypeAlias = Callable[[Peer], object]
OnLost: TypeAlias = Callable[[Peer, str], object]
Callbacks: TypeAlias = tuple[OnConnect | None, OnLost | None]
Handler = TypeVar("Handler", bound=Callable[[Event], object])

_MAX_EVENTS: Final = 16_384
"""How many events `get()` returns at most; the rest waits for the next call."""

_LINGER: Final = 0.5
"""How many seconds `close()` waits at most until every peer has heard the goodbye."""

_MAX_LINGER_AT_EXIT: Final = 1.0
"""How many seconds all networks together may keep a program that ends."""

_IDLE: Final = 30.0
"""How many seconds nothing passes before a connection is closed that was made for a message to a URL."""

_OF_ROOMS: Final = frozenset((NETWORK_ROOM, NETWORK_JOINED, NETWORK_LEFT, NETWORK_HOST))

_log = logging.getLogger("netplay")
_has_warned_of_enet = False
_all_networks: weakref.WeakSet[Network] = weakref.WeakSet()


class Network(Rooms, Bans):
    """All of one game's connections and listeners.

    The functions of the package act on one that is made for you; make another where one program needs two, such as a
    server inside a client. Use it as a context manager to have it closed.

    Nothing arrives outside `poll()` and `get()`. A thread of netplay's own, which never runs Python code, answers and
    resends while the game is busy, so a loading screen drops nobody.

    Example:
        >>> import netplay
        >>> with netplay.Network() as server, netplay.Network() as client:
        ...     _ = server.listen("local://docs-network")
        ...     peer = client.connect("local://docs-network", name="Ada")
        ...     client.send("hello network.", 1)
        ...     event = server.get(timeout=5)[0]
        ...     print(event.what, event.peer)
        1
        NETWORK_CONNECTED Ada
    """

    def __new__(cls, *_args: object, **_options: object) -> Self:
        """Makes the core's part; arguments are those of a subclass."""
        strikes = Strikes()
        questions = Questions(strikes)
        network = super().__new__(cls, _kinds.packers, _codec.encode, _codec.decode, _kinds.unpack, questions.ask)
        network._questions = questions
        network._door = _remote.Door(strikes)
        return network

    _questions: Questions
    _door: _remote.Door

    def __init__(self) -> None:
        """Makes a network with nothing in it; starts no thread and opens no socket yet."""
        self._handlers: dict[int | type, Callable[[Event], object]] = {}  # by channel and by typed message
        self._listener_callbacks: dict[int, Callbacks] = {}
        self._peer_callbacks: dict[int, Callbacks] = {}
        self._tickets: dict[int, Ticket] = {}
        self._finders: dict[int, Finder] = {}
        self._rooms: weakref.WeakSet[Room] = weakref.WeakSet()
        self._met: weakref.WeakSet[Peer] = weakref.WeakSet()  # those that were connected
        self._pending: deque[Event] = deque()  # taken, and nobody was called for them yet
        self._ready: list[Event] = []  # only to be handed out
        self._bridge: Bridge | None = None
        self._graph: NetGraph | None = None  # the one that NetGraph.over() draws
        _all_networks.add(self)

    def listen(
        self,
        url: str = "play://*:5000",
        *,
        on_connect: OnConnect | None = None,
        on_lost: OnLost | None = None,
        name: str = "",
        version: str = "",
        password: str | None = None,
        max_peers: int = 100,
        max_messages: int | None = None,
        max_rate: int | None = None,
        send_rate: int | None = None,
        copies: float = 4.0,
        grace: float = 30.0,
        transports: Iterable[str] | None = None,
        certificate: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        advertise: str | None = None,
        title: str = "",
        relay: str | None = None,
    ) -> Listener:
        """Accepts peers from now on. Each that comes is a NETWORK_CONNECTED event.

        Args:
            url: Where: `play://*:5000` for every address of this machine, IPv4 and IPv6 (`0.0.0.0` is IPv4 alone);
                port 0 for any free port, `local://name` inside this process. `play+udp://`, `play+tcp://`, `play+ws://`
                (WebSocket) and `play+wss://` (WebSocket under TLS) let peers come by that alone. Options such as
                `?lag_ms=80&loss_pct=5` simulate a bad network. `play+p2p://` lets peers come through
                routers, from machine to machine, with no server of one's own; its `addresses` hold an id in place of a
                host. For programs that do not use netplay: `tcp://` (a bare stream of bytes), `udp://` (bare datagrams;
                whoever sends one is a peer, and forgotten after 30 s of silence) and `enet://` (ENet 1.3; `?throttle=1`
                leaves its packet throttle on). These are not encrypted, `name` and `version` mean nothing there, and
                what arrives is bytes.
            on_connect: Called inside poll() or get() with each peer that came, just before its event is handed out.
            on_lost: Called so with a peer and a reason, once, when a peer is gone for good.
            name: Our name, told to those who come; at most 64 bytes of UTF-8.
            version: The game's version; those with another are refused. At most 64 bytes of UTF-8.
            password: What those who come must know; None lets everyone in.
            max_peers: How many may be connected at once.
            max_messages: How many messages a second one peer may send; None for as many as it can. Two seconds' worth
                may come at once. Beyond that lossy messages are dropped, and `peer.stats()["over_rate"]` counts them;
                reliable ones are never dropped. A peer that goes on sending more than twice as much, for longer than an
                outage can explain (half a minute's worth), is closed with the reason "too fast".
            max_rate: The same for bytes of messages a second. Let it be more than a thirtieth of the largest message
                that a peer sends.
            send_rate: How many bytes a second are sent to one peer at most, headers included; None for as many as the
                path carries. What has to wait goes in this order: small reliable messages, lossy ones (dropped after
                100 ms), large ones.
            copies: How many bytes of copies against loss may be sent for each byte of small reliable messages while a
                path loses packets; 0 for none.
            grace: How many seconds a peer whose link broke keeps its seat, and what was sent to it: NETWORK_LOST, and
                then NETWORK_RESUMED or NETWORK_DISCONNECTED. Hours are fine for a game in turns.
            transports: By what peers can come to a `play://` URL: any of "udp", "tcp", "ws" and "wss", all on the same
                port number. None for all of them; where another program has the port number of TCP, for UDP alone, and
                `listener.transports` tells.
            certificate: Two PEM files for `play+wss://`: a certificate, with those that vouch for it behind it, and its
                key. None for one that is made from our own key and vouches for itself: `listener.certificate` is what
                `#cert=` in a URL pins.
            advertise: The name of the game's app: announces the listener on the local network, so that `find()` with
                the same name finds it, and says its title, how many players are in it, and whether a password is
                needed. 1 to 32 of a to z, 0 to 9, - and _. None announces nothing. One that listens on loopback alone
                is found on this machine alone.
            title: What players see in their menus; 1 to 64 bytes of UTF-8. Where it is "", `name` takes its place, or
                else the name of this machine. `listener.title = ...` changes it later.
            relay: For `play+p2p://`: the URL of the relay that helps where no direct way is found, such as one's own by
                `python -m netplay relay`; then nobody else is asked. `#cert=` behind an `https://` URL names the
                certificate, for a relay that no authority vouches for; it says that URL itself. "none" for no relay
                at all, where the way is direct. None for what the URL says by `?relay=`, or else the public relays and
                lookup of iroh, run by number 0.

        Returns:
            The listener. Its `addresses` are what to give to other players.

        Raises:
            BadURL: The URL cannot be read, or is not one to listen on.
            ListenFailed: The address is in use, not this machine's, or not allowed.
            NetworkFailed: The operating system gave no thread or socket.
            ValueError: A name or version is too long; `max_peers`, `max_messages`, `max_rate` or `send_rate` is below
                1; `copies` or `grace` is not 0 or more; `transports` has an unknown word, none, or the URL says it
                already; `certificate` or `relay` cannot be used; `advertise` or `title` is not as above, or nobody on
                the network could come by the URL; or one of these is given for what has no such thing (`tcp://` and
                the like).

        Example:
            >>> import netplay
            >>> with netplay.Network() as server:
            ...     listener = server.listen("play://127.0.0.1:0", max_peers=4)
            ...     listener.url.startswith("play://127.0.0.1:")
            True
        """
        _warn_of_no_secrets(url)
        if title and advertise is None:
            raise ValueError(f"title is {title!r}, but without advertise= nobody sees it")
        listener = self._listen(
            url,
            name=name,
            version=version,
            password=password,
            max_peers=at_least_zero(max_peers, "max_peers"),
            max_messages=at_least_one(max_messages, "max_messages"),
            max_rate=at_least_one(max_rate, "max_rate"),
            send_rate=at_least_one(send_rate, "send_rate"),
            copies=not_negative(copies, "copies"),
            grace=not_negative(grace, "grace"),
            transports=None if transports is None else _words(transports),
            certificate=certificate,
            advertise=None if advertise is None else (advertise, title),
            relay=relay,
            secret_key=_trust.identity(),
        )
        self._listener_callbacks[listener._id] = (on_connect, on_lost)
        return listener

    def connect(
        self,
        url: str,
        *,
        on_connect: OnConnect | None = None,
        on_lost: OnLost | None = None,
        name: str = "",
        version: str = "",
        password: str | None = None,
        timeout: float = 10.0,
        send_rate: int | None = None,
        copies: float = 4.0,
        grace: float = 30.0,
        resume: str | None = None,
        relay: str | None = None,
    ) -> Peer:
        """Calls somebody and returns at once: NETWORK_CONNECTED or NETWORK_DISCONNECTED tells how it went.

        What is sent reliably meanwhile waits for the connection.

        Args:
            url: Whom: `play://host:port` or `local://name`; `lan://app` for the first game of that app that is seen on
                the local network, one with a free place if there is one, and `lan://app/title` for that game; both are
                safe from impostors of the one who announced it. `play://` goes by UDP, else by TCP, else by WebSocket;
                `play+udp://`, `play+tcp://`, `play+ws://` (WebSocket) and `play+wss://` (WebSocket under TLS) by that
                alone; `peer.stats()["transport"]` tells which it is. `#k=` and a key pins the server's public key,
                `#cert=` its certificate for `play+wss://`: a SHA-256, as `listener.certificate` gives it.
                `play+p2p://` and an id, as a listener's `addresses` show it, goes through routers; `?relay=` there is
                as `relay` here.
                `tcp://`, `udp://` and `enet://` as for `listen()`; a `udp://` peer is connected at once, whoever is
                there.
            on_connect: Called inside poll() or get() with the peer when it is connected.
            on_lost: Called so with the peer and a reason, once, when it is gone for good or could not be reached.
            name: Our name, told to the other side; at most 64 bytes of UTF-8.
            version: The game's version; the other side refuses another than its own. At most 64 bytes of UTF-8.
            password: The other side's password.
            timeout: How many seconds to go on asking; a server that is started meanwhile is found, and so
                is a game of `lan://`; if none is, the reason is "no such game".
            send_rate: As for `listen()`.
            copies: As for `listen()`.
            grace: How many seconds to go on trying when the link breaks, by every transport that the URL allows:
                NETWORK_LOST, and then NETWORK_RESUMED or NETWORK_DISCONNECTED. The other side has its own.
            resume: A name, such as the game's, under which the right to the seat is kept in a file. A game that was
                killed or has crashed, and connects again with the same name while the other side still keeps the
                seat, gets it back: NETWORK_CONNECTED with the reason "resumed" and NETWORK_RESUMED, and the reliable
                messages that had not arrived. If the other side does not know the seat any more, the reason is
                "restarted". A peer that is closed gives its seat up.
            relay: As for `listen()`; it must be the one that the other side uses.

        Returns:
            The peer, not connected yet.

        Raises:
            BadURL: The URL cannot be read, or is not one to connect to.
            NetworkFailed: The operating system gave no thread or socket.
            ValueError: A name or version is too long; `send_rate` is below 1; `copies`, `grace` or `timeout` is not 0
                or more; or a password, a rate, `resume` or `relay` is given for what has no such thing (`tcp://` and
                the like).

        Example:
            >>> import netplay
            >>> with netplay.Network() as client:
            ...     client.connect("local://docs-nobody").state
            'connecting'
        """
        _warn_of_no_secrets(url)
        ticket = None if resume is None else Ticket(resume, url)
        peer = self._connect(
            url,
            name=name,
            version=version,
            password=password,
            timeout=seconds(timeout, "timeout"),
            send_rate=at_least_one(send_rate, "send_rate"),
            copies=not_negative(copies, "copies"),
            grace=not_negative(grace, "grace"),
            relay=relay,
            pinned_key=_trust.pinned_key(url),
            secret_key=None if ticket is None else ticket.secret,
            seat=None if ticket is None else ticket.seat,
        )
        self._peer_callbacks[peer.id] = (on_connect, on_lost)
        if ticket is not None:
            self._tickets[peer.id] = ticket
        return peer

    def find(self, app: str) -> Finder:
        """Starts to look for games on the local network that were announced by `listen(advertise=app)`.

        Call it once, when the menu opens, and keep the finder: another call looks anew, and every event comes twice.
        Each that is found is a NETWORK_FOUND event, and one more whenever its title or the number of its players has
        changed, with the same `game.id`; when it is there no more, a NETWORK_GONE. So `menu[e.game.id] = e.game` and
        `del menu[e.game.id]` are all that a menu needs, or `finder.games`. It takes a second at most to see a game, and
        six until one is gone whose machine has crashed. At most 256 games of each way of finding them are kept.

        Args:
            app: The name of the app, 1 to 32 of a to z, 0 to 9, - and _.

        Returns:
            The finder. Close it when the menu is left; it is a context manager too.

        Raises:
            ValueError: The name is not as above.
            NetworkFailed: The operating system gave no thread or socket.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server, netplay.Network() as client:
            ...     url = "play://127.0.0.1:0"
            ...     _ = server.listen(url, advertise="docs-find", title="Ada's table", max_peers=4)
            ...     finder = client.find("docs-find")
            ...     event = client.get(timeout=5)[0]
            ...     print(event.what, event.game.title, f"{event.game.players}/{event.game.max_peers}")
            NETWORK_FOUND Ada's table 0/4
        """
        finder = Finder(self, app, self._find(app))
        self._finders[finder._number] = finder
        return finder

    def _connect_for_now(self, url: str) -> Peer:
        """Connects because something was sent to a URL; the connection is closed again when nothing passes."""
        peer = self.connect(url)
        self._close_when_idle(peer, _IDLE)
        return peer

    def poll(self, timeout: float = 0.0) -> int:
        """Hands everything that has arrived to the pygame queue. Call it once a frame, on the main thread.

        Each event is a `pygame.event.Event` of type `netplay.NETWORK`. What the queue has no room for waits for the
        next call; so does everything while pygame's video system is not initialised (`pygame.init()`), or while the
        game has blocked events of this type (`pygame.event.set_allowed(netplay.NETWORK)` lets them in).
        From the first call on, `pygame.event.wait()` also returns when something has arrived: with an empty event of
        type `netplay.NETWORK_WAKE`, so that the game's loop comes round to poll().

        Args:
            timeout: How many seconds to wait for the first event.

        Returns:
            How many events were put in the queue.

        Raises:
            PygameMissing: pygame cannot be imported; `get()` works without.
            Exception: What a handler or callback of the game raised. Nothing is lost: the next call goes on after it.

        Example:
            >>> import netplay, pygame
            >>> _ = pygame.init()
            >>> with netplay.Network() as network:
            ...     network.poll()
            0
        """
        if self._bridge is None:
            from ._pygame import Bridge

            self._bridge = Bridge(self)
        return self._bridge.poll(timeout)

    def get(self, timeout: float = 0.0) -> list[Event]:
        """Returns everything that has arrived, for programs with no pygame and no window.

        Args:
            timeout: How many seconds to wait for the first event. While lossy messages stream in, more than about a
                thousand a second, they are gathered for up to a millisecond, unless you have sent something since.

        Returns:
            The events in order of arrival, at most 16,384; the rest waits for the next call. Empty when the time was
            over, or when handlers took everything.

        Raises:
            Exception: What a handler or callback of the game raised. Nothing is lost: the next call goes on after it.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network:
            ...     network.get()
            []
        """
        return self._collect(_MAX_EVENTS, timeout)

    def on(self, what: int | type) -> Callable[[Handler], Handler]:
        """Makes a function the handler of a channel, or of a typed message on any channel.

        poll() and get() call it instead of handing out the event. The handler of a type goes before that of a channel.

        Args:
            what: 0 to 255, or a class that is a `netplay.message`. A later handler of the same takes the place of the
                earlier one.

        Returns:
            A decorator that returns the function as it is. The function is called with the event. What it returns
            answers the event if it is a question; to answer later, let it return None and call `event.reply(data)`.

        Raises:
            ValueError: The channel is not 0 to 255.
            TypeError: It is neither an int nor a typed message.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server, netplay.Network() as client:
            ...     @server.on(1)
            ...     def chat(event):
            ...         print(event.peer, "says", event.data)
            ...     _ = server.listen("local://docs-on")
            ...     _ = client.connect("local://docs-on", name="Ada")
            ...     _ = client.send("hello", 1)
            ...     for _ in range(2):
            ...         _ = server.get(timeout=5)
            Ada says hello
        """
        if isinstance(what, type) and not _messages.is_message(what):
            raise TypeError(f"{what.__qualname__} is no typed message; decorate it with @netplay.message first")
        key: int | type = what if isinstance(what, type) else self._watch(what, True)

        def register(handler: Handler) -> Handler:
            self._handlers[key] = handler
            return handler

        return register

    def post(
        self,
        event: object,
        attributes: dict[str, Any] | None = None,
        *,
        to: Peer | str | Iterable[Peer | str] | None = None,
        exclude: Peer | str | Iterable[Peer | str] | None = None,
        channel: int = 0,
        lossy: bool = False,
        ordered: bool = True,
    ) -> int:
        """Puts an event into the pygame queues of the other players, where it has the attribute `peer`: us.

        An event of a type made by `event_type()` gets in where the same type was made; one of the keyboard, the mouse,
        a joystick or a finger where `allow_events()` lets it in. No other event travels. Attributes that mean nothing
        elsewhere, such as the window, stay here. An event that came from a peer itself does not go back to it, so
        `post(e)` passes it on.

        Args:
            event: A `pygame.event.Event`; an event of `get()` whose `what` is NETWORK_EVENT; or, where there is no
                pygame, the number of a type, with the attributes.
            attributes: A dict, if `event` is a number.
            to: As for `send()`. None for every peer.
            exclude: As for `send()`.
            channel: As for `send()`; events keep their order among themselves and with the messages of their channel.
            lossy: As for `send()`; good for MOUSEMOTION.
            ordered: As for `send()`.

        Returns:
            To how many peers.

        Raises:
            UnsupportedData: Events of this type do not travel, or an attribute is missing, is none of its type, or has
                another type than `event_type()` was told. A tuple is welcome as a Vector2, Rect or Color.
            NotConnected, PeerClosed, ValueError, TypeError: As for `send()`.

        Example:
            >>> import netplay
            >>> SPLASH = netplay.event_type("docs-splash", where=tuple, size=int)
            >>> with netplay.Network() as server, netplay.Network() as client:
            ...     _ = server.listen("local://docs-post")
            ...     _ = client.connect("local://docs-post")
            ...     _ = client.post(SPLASH, {"where": (30, 40), "size": 3})
            ...     _, event = server.get(timeout=5) + server.get(timeout=0.1)
            ...     event.type == SPLASH, event.data["where"]
            (True, (30, 40))
        """
        message, origin = _remote.outgoing(event, attributes)
        if to is None and isinstance(origin, Peer) and any(origin is peer for peer in self.peers):
            if exclude is None or isinstance(exclude, (Peer, str)):
                exclude = [origin] if exclude is None else [exclude, origin]
            else:
                exclude = [*exclude, origin]
        return self.send(message, channel, lossy, to=to, ordered=ordered, exclude=exclude)

    def allow_events(self, *types: int | str) -> None:
        """Lets in standard events that other players post: keys, mouse, joysticks, controllers, fingers, text.

        Such an event arrives in the pygame queue like one of this machine's own, and has the attribute `peer`; so a
        key pressed elsewhere does whatever the key does here, the one that quits the game as well:
        look whether `hasattr(e, "peer")`. QUIT, window, drop and all other events are never let in.
        Without this call no standard event is.

        Args:
            types: All that are let in from now on: `pygame.KEYDOWN`, or "KEYDOWN" where there is no pygame. Those of an
                earlier call are not, unless they are named again; `allow_events()` lets in none.

        Raises:
            ValueError: Events of this type are never let in.

        Example:
            >>> import netplay
            >>> with netplay.Network() as network:
            ...     network.allow_events("KEYDOWN", "KEYUP")
        """
        self._door.allow(types)

    def limit(
        self,
        *,
        depth: int = 100,
        elements: int = 1_000_000,
        length: int = 16 * 1024 * 1024,
        int_bytes: int = 1024,
        bad_messages: int = 0,
    ) -> None:
        """Sets what one message that is sent or arrives may be; what is not given has its default again.

        With the defaults one message takes less than a hundred megabytes, whatever is in it. A peer that sends more
        than this, or what cannot be read at all, is closed with the reason "bad data". What this network sends is held
        against the same: plain values, questions, and the fields of typed messages and events that are not compact.

        Args:
            depth: How many lists, dicts and so on may be inside each other, 1 to 100. A tuple or set counts two.
            elements: How many numbers, texts, lists, keys and so on there may be in all. A set, a datetime, a Vector2
                and so on counts ten: that is how long one takes.
            length: How many bytes a str or bytes inside a value may have.
            int_bytes: How many bytes an int of more than 64 bits may have, at most 1,024.
            bad_messages: How many such messages a peer may send and stay; they are dropped, and
                `peer.stats()["bad_messages"]` counts them.

        Raises:
            ValueError: One of them is out of range.

        Example:
            >>> import netplay
            >>> with netplay.Network() as server, netplay.Network() as client:
            ...     server.limit(elements=1000, bad_messages=3)
            ...     _ = server.listen("local://docs-limit")
            ...     peer = client.connect("local://docs-limit")
            ...     peer.send([0] * 1000) and peer.send([0] * 10)
            ...     for _ in range(2):
            ...         for event in server.get(timeout=5):
            ...             print(event.what)
            True
            NETWORK_CONNECTED
            NETWORK_DATA_IN
        """
        if not 8 < int_bytes <= 1024:
            raise ValueError(f"int_bytes is {int_bytes}, it may be 9 to 1024")
        for name, value, least in (("elements", elements, 1), ("length", length, 1), ("bad_messages", bad_messages, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}, it must be at least {least}")
        self._limit(
            depth=max(depth, 0),
            elements=elements,
            length=length,
            int_length=int_bytes,
            bad_messages=bad_messages,
        )

    def stats(self) -> dict[str, int]:
        """Returns what this network counts.

        Returns:
            A dict: "events_waiting", "bans", "games_refused" (answers of the local network that could not be believed,
            or were too many), "closed_for_bad_data" (peers, since the first listen or connect),
            "messages_refused" (of a type that this side does not have, or not so), "events_refused" (remote events of a
            type unknown or not let in), "events_blocked" (those let in, and left out because the game blocks their
            type), "questions_open", "answers_unexpected" (to a question given up, or never asked), and "polls_blocked"
            (calls of poll() that could hand out nothing because the game blocks NETWORK).

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> netplay.Network().stats()["events_waiting"]
            0
        """
        stats = self._stats()
        stats["events_waiting"] += len(self._pending) + len(self._ready)
        stats["events_refused"] = self._door.refused
        stats["questions_open"] = len(self._questions)
        stats["answers_unexpected"] = self._questions.unexpected
        stats["polls_blocked"] = 0 if self._bridge is None else self._bridge.polls_blocked
        stats["events_blocked"] = 0 if self._bridge is None else self._bridge.events_blocked
        return stats

    def close(self) -> None:
        """Says goodbye to everybody, waits at most half a second until they know, and lets go of everything.

        Also done at exit, unless the game ends by an exception and has a seat to come back to (`connect(resume=)`).
        Events that were not handed out are gone, and no callback is called for it. Afterwards the network can listen
        and connect anew. Twice is fine.

        Raises:
            Nothing.

        Example:
            >>> import netplay
            >>> network = netplay.Network()
            >>> network.close()
        """
        self._close_within(_LINGER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_within(_LINGER, is_crash=isinstance(error, Exception))

    def __repr__(self) -> str:
        listening = "".join(f" {listener.url}" for listener in self.listeners)
        return f"<Network {len(self.peers)} peers{', listening on' if listening else ''}{listening}>"

    def _close_within(self, linger: float, *, is_crash: bool = False) -> None:
        """Closes; after a crash of the game without a goodbye if that keeps a seat for its next run."""
        if is_crash and self._tickets:
            self._vanish()
        else:
            self._close(linger)
        for ticket in self._tickets.values():
            if is_crash:
                ticket.let_go()
            else:
                ticket.tear()
        self._tickets.clear()
        self._finders.clear()
        for room in self._rooms:
            room._handle_closed()
        self._rooms.clear()
        self._pending.clear()
        self._ready.clear()
        self._questions.clear()
        self._listener_callbacks.clear()
        self._peer_callbacks.clear()
        if self._bridge is not None:
            self._bridge.stop()

    def _collect(self, limit: int, timeout: float) -> list[Event]:
        """Takes at most `limit` events, calls those who want to be called, and returns what is left for the game."""
        if not self._questions:
            return self._collect_arrived(limit, timeout)
        out = self._collect_arrived(limit, min(timeout, self._questions.seconds_left()))
        if not self._pending and not self._ready:  # otherwise an answer may be among them
            out += self._questions.take_overdue(limit - len(out))
        return out

    def _collect_arrived(self, limit: int, timeout: float) -> list[Event]:
        if not self._pending and not self._ready:
            events, is_plain = self._take(limit, timeout)
            if is_plain:
                return events
            self._pending.extend(events)
        out, self._ready = self._ready[:limit], self._ready[limit:]
        try:
            while self._pending and len(out) < limit:
                event = self._pending.popleft()
                if event.what is NETWORK_DATA_IN and event._kind >= _kinds.REMOTE_EVENT:
                    opened = self._opened(event)
                    if opened is None:
                        continue
                    event = opened
                if event.what is NETWORK_DATA_IN:
                    handler = self._handlers.get(type(event.data)) or self._handlers.get(event.channel)
                    if handler is not None:
                        answer = handler(event)
                        if answer is not None:
                            event.reply(answer)
                        continue
                elif event.what in _OF_ROOMS:
                    event.room._handle(event)
                    left = cast("Peer | None", event.peer) if event.what is NETWORK_LEFT else None
                    if left is not None:
                        out.extend(self._questions.take_disconnected(left))
                    out.append(event)
                    continue
                elif event.what is NETWORK_FOUND or event.what is NETWORK_GONE:
                    finder = self._finders.get(event._finder)
                    if finder is not None:  # else it was closed meanwhile
                        finder._handle(event)
                        out.append(event)
                    continue
                elif self._questions:
                    unanswered = self._unanswered(event)
                    if unanswered:
                        self._pending.extendleft([event, *reversed(unanswered)])  # they come before it
                        continue
                out.append(event)  # before any callback, so that one that raises does not lose it
                if event.what is NETWORK_CONNECTED:
                    self._handle_connected(event.peer)
                elif event.what is NETWORK_DISCONNECTED:
                    self._handle_disconnected(event.peer, event.reason)
        except BaseException:
            self._put_back(out)
            raise
        return out

    def _unanswered(self, event: Event) -> list[Event]:
        """Gives up the questions that nobody will answer any more, now that this has happened."""
        if event.what is NETWORK_DISCONNECTED:
            return self._questions.take_disconnected(event.peer)
        if event.what is NETWORK_RESUMED:
            return self._questions.handle_resumed(event.peer, is_restarted=event.reason == "restarted")
        was_met = event.what is NETWORK_LOST or (event.what is NETWORK_CONNECTED and event.peer in self._met)
        if was_met and event.reason == "restarted":
            return self._questions.take_disconnected(event.peer, is_gone=False)
        if event.what is NETWORK_LOST:
            self._questions.handle_lost(event.peer)
        return []

    def _opened(self, event: Event) -> Event | None:
        """Makes of a message that is a remote event, a question or an answer what the game gets; None for nothing."""
        data = event.data
        try:
            if type(data) is Question:
                return _core._question_event(event, data.kind, data.data, Reply(event.peer, event.channel, data.token))
            if type(data) is Answer:
                return self._questions.take_answered(event.peer, data)
            return self._door.admit(event, data) if type(data) is _remote.Arrived else event
        except Unbearable as end:
            if event.peer.state != "closed":
                self._end_unreadable(event.peer, str(end))
            return None

    def _handle_connected(self, peer: Peer) -> None:
        if not peer.is_incoming and peer.key is not None:
            _trust.remember(peer.url, peer.key)
        if peer.id in self._tickets and peer._seat is not None:
            self._tickets[peer.id].keep(peer._seat)
        self._met.add(peer)
        on_connect, _ = self._callbacks_of(peer)
        if on_connect is not None:
            on_connect(peer)

    def _handle_disconnected(self, peer: Peer, reason: str) -> None:
        _, on_lost = self._callbacks_of(peer)
        self._peer_callbacks.pop(peer.id, None)
        if peer.id in self._tickets:
            self._tickets.pop(peer.id).tear()
        if on_lost is not None:
            on_lost(peer, reason)

    def _callbacks_of(self, peer: Peer) -> Callbacks:
        if peer._listener is None:
            return self._peer_callbacks.get(peer.id, (None, None))
        return self._listener_callbacks.get(peer._listener, (None, None))

    def _put_back(self, events: list[Event]) -> None:
        """Keeps events that could not be handed out; they come first next time."""
        self._ready[:0] = events


def _warn_of_no_secrets(url: str) -> None:
    global _has_warned_of_enet
    if url.startswith("enet://") and not _has_warned_of_enet:
        _has_warned_of_enet = True
        _log.warning("enet:// is unencrypted: anybody on the way can read and change what is said there")


def _words(transports: Iterable[str]) -> list[str]:
    if isinstance(transports, str):
        raise TypeError(f"transports is {transports!r}; it must be a list, such as [{transports!r}]")
    return list(transports)


@atexit.register
def _close_all() -> None:
    until = time.monotonic() + _MAX_LINGER_AT_EXIT
    for network in list(_all_networks):
        linger = max(0.0, min(_LINGER, until - time.monotonic()))
        network._close_within(linger, is_crash=isinstance(getattr(sys, "last_value", None), Exception))


Network.__module__ = "netplay"
