"""Who is who: this machine's own key, and the keys of servers met before. Knows files, not sockets.

A server's key is trusted on first use: the first connection remembers it, and from then on a server at that host and
port with another key is refused with the reason "key changed".
A URL with `#k=` pins the key by itself, and nothing is remembered.
Nor is anything for `local://` and this machine itself: there is no network to attack, and developers restart servers
all day.

Files, in the folder that `NETPLAY_DATA_DIR` names or else the user's data folder:

| file | what |
|---|---|
| `identity` | this machine's secret key, 64 hexadecimal digits, for this user's eyes only; made by the first listen() |
| `known_servers.json` | `{"host:port": "public key as 64 hexadecimal digits"}` |

Neither is ever half written: they are written beside and moved into place.
Where the folder cannot be written to, netplay works without: a new key each run, and nothing is remembered.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from . import _core

__all__ = ["data_dir", "forget", "identity", "pinned_key", "remember", "write"]

_DEFAULT_PORT: Final = 5000
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger("netplay")
_warned: set[str] = set()
_identity_in_memory: bytes | None = None


def data_dir() -> Path:
    """Returns the folder of netplay's files, which may not exist yet.

    Raises:
        Nothing.

    Example:
        >>> data_dir().is_absolute()
        True
    """
    chosen = os.environ.get("NETPLAY_DATA_DIR")
    if chosen:
        return Path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("netplay", appauthor=False)).absolute()


def identity() -> bytes:
    """Returns this machine's secret key, making it if there is none.

    Returns:
        32 bytes. Where no file can be written, the same ones until the program ends.

    Raises:
        NetworkFailed: The operating system gave no randomness.
    """
    global _identity_in_memory
    path = data_dir() / "identity"
    try:
        return _read_identity(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _warn_once("identity", "cannot read the key in %s (%s): this run uses a new one", path, error)
        if _identity_in_memory is None:
            _identity_in_memory = _core._generate_key()
        return _identity_in_memory
    secret = _core._generate_key()
    try:
        write(path, secret.hex() + "\n", may_replace=False)
        return secret
    except FileExistsError:  # another program was faster
        return _read_identity(path)
    except OSError as error:
        _warn_once("identity", "cannot keep this machine's key in %s (%s): this run uses a new one", path, error)
        if _identity_in_memory is None:
            _identity_in_memory = secret
        return _identity_in_memory


def pinned_key(url: str) -> bytes | None:
    """Returns the key remembered for a server, None if there is none.

    Args:
        url: The URL to connect to.

    Raises:
        Nothing: where the file cannot be read, nothing is remembered.
    """
    place = _place(url)
    if place is None:
        return None
    key = _known().get(place)
    return None if key is None else bytes.fromhex(key)


def remember(url: str, key: str) -> None:
    """Remembers the key of a server met for the first time. One that is remembered already stays.

    Args:
        url: The URL it was called by.
        key: Its public key as 64 hexadecimal digits.

    Raises:
        Nothing: where the file cannot be written, that is logged once.
    """
    place = _place(url)
    if place is None:
        return
    known = _known()
    if place in known:
        return
    known[place] = key
    _write_known(known)


def forget(url: str) -> bool:
    """Forgets the key of a server, so that the next connect() trusts whichever it has then.

    Call it when a connection ended with the reason "key changed" and you know why: the server was set up anew.

    Args:
        url: The URL as it is given to connect().

    Returns:
        True if a key was remembered.

    Raises:
        Nothing: where the file cannot be written, that is logged once.

    Example:
        >>> import netplay
        >>> netplay.forget("play://never-met.example:5000")
        False
    """
    place = _place(url)
    known = _known()
    if place is None or place not in known:
        return False
    del known[place]
    return _write_known(known)


def _place(url: str) -> str | None:
    """Returns "host:port" for a URL whose server's key is to be remembered, None for others."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme.startswith("play") or not host or "k=" in parts.fragment:
        return None
    if parts.scheme == "play+p2p":  # the id in the URL is a key already, and a new one at every listen()
        return None
    if host == "localhost" or host.endswith(".localhost"):
        return None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_loopback or address.is_unspecified:
            return None
        if address.version == 6:
            host = f"[{address.compressed}]"
    return f"{host.rstrip('.')}:{_DEFAULT_PORT if port is None else port}"


def _known() -> dict[str, str]:
    path = data_dir() / "known_servers.json"
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _warn_once("known", "cannot read the keys of known servers in %s (%s): none is known", path, error)
        with contextlib.suppress(OSError):  # kept for whoever wants to mend it
            path.replace(path.with_suffix(".unreadable"))
        return {}
    if not isinstance(known, dict):
        return {}
    return {place: key for place, key in known.items() if isinstance(key, str) and _KEY.fullmatch(key)}


def _write_known(known: dict[str, str]) -> bool:
    path = data_dir() / "known_servers.json"
    try:
        write(path, json.dumps(known, indent=1, sort_keys=True) + "\n", may_replace=True)
    except OSError as error:
        _warn_once("known", "cannot remember servers' keys in %s (%s)", path, error)
        return False
    return True


def _read_identity(path: Path) -> bytes:
    text = path.read_text("ascii").strip()
    if not _KEY.fullmatch(text):
        raise ValueError("not 64 hexadecimal digits")
    return bytes.fromhex(text)


def write(path: Path, text: str, *, may_replace: bool) -> None:
    """Writes a file that only this user may read, in one step as others see it.

    Args:
        path: Where; folders that are missing are made.
        text: What, in ASCII.
        may_replace: Whether an older one may go.

    Raises:
        FileExistsError: There is one, and it may not go.
        OSError: It cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # made with mode 0600
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        if may_replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # unlike a move, this fails if the file is there already
    finally:
        beside.unlink(missing_ok=True)


def _warn_once(topic: str, message: str, *values: object) -> None:
    if topic not in _warned:
        _warned.add(topic)
        _log.warning(message, *values)
