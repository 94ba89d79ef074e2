"""What a client needs to come back to its seat after its process was killed. Knows files, not sockets.

A ticket is a key pair of the client's own and the seat that the server gave it under that key; the server gives the
seat back to whoever proves the key.
So the file is worth what the seat is worth, and is for this user's eyes only.

Files, in the folder `tickets` beside those of `_trust`:

| file | what |
|---|---|
| `<digest>.json` | `{"name": ..., "url": ..., "secret": 64 hexadecimal digits, "seat": 32 hexadecimal digits}` |
| `<digest>.lock` | held by the process that uses the ticket, so that a second window of the game takes the next one |

The digest is of the name, the server's URL and the number of the window.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from . import _core, _trust

__all__ = ["Ticket"]

_MAX_WINDOWS: Final = 64
"""How many processes may use tickets of one name at once."""

_log = logging.getLogger("netplay")


class Ticket:
    """One client's right to its seat: a key pair, and the seat once there is one.

    Attributes:
        secret: The secret key, 32 bytes.
        seat: The seat that this key has at the server, 16 bytes; None if there is none yet.
    """

    def __init__(self, name: str, url: str) -> None:
        """Takes the ticket of this name for this server, which may be an empty one.

        Args:
            name: What the game calls it.
            url: The server, as it is given to connect().

        Raises:
            NetworkFailed: The operating system gave no randomness.
        """
        self.secret = b""
        self.seat: bytes | None = None
        self._name = name
        self._url = _server(url)
        self._path: Path | None = None
        self._lock: IO[bytes] | None = None
        folder = _trust.data_dir() / "tickets"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take(folder)
        except OSError as error:
            _log.warning("cannot keep a ticket in %s (%s): a restart will not get its seat back", folder, error)
        if not self.secret:
            self.secret = _core._generate_key()

    def keep(self, seat: bytes) -> None:
        """Keeps the seat for the next run.

        Args:
            seat: 16 bytes, from `peer._seat`.

        Raises:
            Nothing: where the file cannot be written, that is logged.
        """
        self.seat = seat
        if self._path is None:
            return
        content = {"name": self._name, "url": self._url, "secret": self.secret.hex(), "seat": seat.hex()}
        try:
            _trust.write(self._path, json.dumps(content, indent=1) + "\n", may_replace=True)
        except OSError as error:
            _log.warning("cannot keep a ticket in %s (%s): a restart will not get its seat back", self._path, error)

    def tear(self) -> None:
        """Throws the ticket away: the seat is given up.

        Raises:
            Nothing.
        """
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Leaves the ticket for the next run.

        Raises:
            Nothing.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _take(self, folder: Path) -> None:
        for window in range(_MAX_WINDOWS):
            digest = hashlib.sha256("\n".join((self._name, self._url, str(window))).encode()).hexdigest()[:32]
            lock = (folder / f"{digest}.lock").open("wb")
            if not _try_lock(lock):
                lock.close()
                continue
            self._lock = lock
            self._path = folder / f"{digest}.json"
            self._read()
            return

    def _read(self) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(self._path.read_text("utf-8"))
            secret, seat = bytes.fromhex(content["secret"]), bytes.fromhex(content["seat"])
            if len(secret) == 32 and len(seat) == 16:
                self.secret, self.seat = secret, seat


def _server(url: str) -> str:
    """Returns the part of a URL that says which server it is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
