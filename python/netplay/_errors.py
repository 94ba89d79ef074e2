"""The exceptions a caller can meet, each also the builtin one would guess.

An exception is always the caller's to mend: it names the value and the limit, and says what to do.
What the network does is an event, and what a remote peer does wrong closes that peer with a reason; neither raises.

    netplay.Error
    ├── NotConnected (ConnectionError)   send() before any listen() or connect(), or after close()
    ├── PeerClosed (ConnectionError)     send() to a peer that is gone
    ├── MessageTooLarge (ValueError)     more bytes than this delivery allows
    ├── UnsupportedData (TypeError)      a value that cannot travel as what it is
    ├── BadURL (ValueError)              a URL that cannot be read, or is not for this call
    ├── ListenFailed (OSError)           the address cannot be listened on
    ├── NetworkFailed (OSError)          this machine gave no socket or no thread
    └── PygameMissing (ImportError)      poll() without pygame
"""

from __future__ import annotations

__all__ = [
    "BadURL",
    "Error",
    "ListenFailed",
    "MessageTooLarge",
    "NetworkFailed",
    "NotConnected",
    "PeerClosed",
    "PygameMissing",
    "UnsupportedData",
]


class Error(Exception):
    """The base of every exception that netplay itself raises."""


class NotConnected(Error, ConnectionError):  # noqa: N818 (named by what is the case, as the builtin TimeoutExpired is)
    """There is nobody to send to and never was: call `listen()` or `connect()` first."""


class PeerClosed(Error, ConnectionError):  # noqa: N818
    """The peer is gone, and the game has been told by its `NETWORK_DISCONNECTED` event or closed it itself."""


class MessageTooLarge(Error, ValueError):  # noqa: N818
    """The message has more bytes than its delivery allows."""


class UnsupportedData(Error, TypeError):  # noqa: N818
    """The data holds something that would not arrive as what it is; the message names its type and what to send."""

    _where: tuple[str, str] | None = None  # the path inside what was sent, such as "[3].image", and what is wrong there


class BadURL(Error, ValueError):  # noqa: N818
    """The URL cannot be read, or its scheme is not one this call can use."""


class ListenFailed(Error, OSError):  # noqa: N818
    """The address cannot be listened on: in use, not this machine's, or not allowed."""


class NetworkFailed(Error, OSError):  # noqa: N818
    """The operating system gave no socket or no thread."""


class PygameMissing(Error, ImportError):  # noqa: N818
    """`poll()` needs pygame, and it cannot be imported; `get()` gives the same events without it."""


# Tracebacks name what a game can catch by that name: netplay.NotConnected.
for _name in __all__:
    globals()[_name].__module__ = "netplay"
del _name
