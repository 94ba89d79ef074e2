"""netplay: simple networking for pygame.

Network events arrive in the pygame event queue beside the key presses:

    import pygame
    import netplay as net

    CHANNEL_CHAT = 1
    pygame.init()
    screen = pygame.display.set_mode((640, 480))
    net.connect("play://localhost:5000", name="Ada")
    running = True
    while running:
        net.poll()
        for e in pygame.event.get():
            if e.type == pygame.QUIT:
                running = False
            if e.type == net.NETWORK and e.what == net.NETWORK_CONNECTED:
                net.send("hello network.", CHANNEL_CHAT)
            if e.type == net.NETWORK and e.what == net.NETWORK_DATA_IN and e.channel == CHANNEL_CHAT:
                print(e.peer, "says", e.data)
        pygame.display.flip()

| module | noun |
|---|---|
| `_network` | `Network`: listen, connect, send, recv, poll, get, on, close |
| `_core` | `Peer`, `Listener`, `Event`, and all the work; written in Rust |
| `_events` | the type of our pygame events, and what can have happened |
| `_errors` | the exceptions, with their tree |
| `_kinds` | what an object travels as, and who makes the bytes |
| `_codec`, `_pygame_values` | plain values to bytes and back |
| `_messages`, `_schema` | `message`: classes whose objects travel; what their annotations say |
| `_compact` | `Float`, `Angle`, `Int`, `Flags`: fields of a few bits |
| `_remote` | events that travel from one pygame queue to another |
| `_ask` | questions and answers |
| `_strikes` | how much nonsense a peer may send |
| `_lan` | `Game`, `Finder`: games on the local network |
| `_rooms` | rooms: players who found each other by a code |
| `_bans` | who is kept out |
| `_trust` | this machine's key, and the keys of servers met before |
| `_netgraph` | `NetGraph`: how the connection is doing, drawn over the game |
| `_pygame` | the bridge to pygame's queue |
| `sync` | for action games: clocks, snapshots and inputs in step |

The functions here are the methods of one `Network` that is made for you. Making it starts nothing.
"""

from . import sync as sync
from ._compact import Angle, Flags, Float, Int, Limit
from ._core import Event, Listener, Peer, __version__
from ._errors import (
    BadURL,
    Error,
    ListenFailed,
    MessageTooLarge,
    NetworkFailed,
    NotConnected,
    PeerClosed,
    PygameMissing,
    UnsupportedData,
)
from ._events import (
    NETWORK,
    NETWORK_ANSWER,
    NETWORK_CONNECTED,
    NETWORK_DATA_IN,
    NETWORK_DISCONNECTED,
    NETWORK_EVENT,
    NETWORK_FOUND,
    NETWORK_GONE,
    NETWORK_HOST,
    NETWORK_JOINED,
    NETWORK_LEFT,
    NETWORK_LOST,
    NETWORK_RESUMED,
    NETWORK_ROOM,
    NETWORK_ROUTE,
    NETWORK_WAKE,
    What,
)
from ._lan import Finder, Game
from ._messages import message
from ._netgraph import NetGraph
from ._network import Network
from ._remote import event_type
from ._rooms import Room
from ._trust import forget

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
    "Angle",
    "BadURL",
    "Error",
    "Event",
    "Finder",
    "Flags",
    "Float",
    "Game",
    "Int",
    "Limit",
    "ListenFailed",
    "Listener",
    "MessageTooLarge",
    "NetGraph",
    "Network",
    "NetworkFailed",
    "NotConnected",
    "Peer",
    "PeerClosed",
    "PygameMissing",
    "Room",
    "UnsupportedData",
    "What",
    "__version__",
    "allow_events",
    "ban",
    "bans",
    "close",
    "connect",
    "event_type",
    "find",
    "forget",
    "get",
    "host_room",
    "join_room",
    "limit",
    "listen",
    "message",
    "on",
    "poll",
    "post",
    "recv",
    "send",
    "stats",
    "unban",
]

# Bound methods, so that netplay.send() costs no more than a method call.
_default = Network()
listen = _default.listen
connect = _default.connect
host_room = _default.host_room
join_room = _default.join_room
send = _default.send
find = _default.find
recv = _default.recv
poll = _default.poll
get = _default.get
on = _default.on
post = _default.post
allow_events = _default.allow_events
limit = _default.limit
ban = _default.ban
unban = _default.unban
bans = _default.bans
stats = _default.stats
close = _default.close
