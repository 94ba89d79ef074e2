"""The way to a URL, transport by transport: how far a connection gets, and why it stops.

It calls as a game would, by the package's public functions. Where a game answers, it comes in for a moment as a player
called "doctor" and says goodbye.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Generator, Iterator
from typing import Final
from urllib.parse import urlsplit

import netplay

from ._finding import NO, OK, Finding
from ._machine import TRANSPORTS

__all__ = ["examine"]

_DEFAULT_PORT: Final = 5000

_MEANINGS: Final = {
    "full": "a game answers, and it is full: wait until somebody leaves",
    "wrong password": "a game answers, and it wants another password: try --password",
    "wrong version": "a game answers, and it is of another version: both players need the same",
    "wrong protocol": "a game answers that uses another version of netplay: both players need the same",
    "key changed": "a game answers, and it is not the one that was there before, or not the one in the URL",
    "banned": "a game answers, and it does not let this address in",
}
"""What a refusal says: each of them comes from the game, so the way there is open."""


def examine(url: str, password: str | None, timeout: float) -> Iterator[Finding]:
    """Yields how far the way there goes, by every transport that it may take."""
    try:
        with netplay.Network() as network:
            network.connect(url)
    except (netplay.BadURL, ValueError) as error:
        yield Finding("url", NO, f"this is no URL to connect to: {error}")
        return
    parts = urlsplit(url)
    kind, _, transport = parts.scheme.partition("+")
    if kind == "play" and transport in ("", *TRANSPORTS) and parts.hostname:
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
        addresses = yield from _name(host, port)
        if not addresses:
            return
        for each in [transport] if transport else TRANSPORTS:
            if each != "udp":
                is_open = yield from _stream(addresses, each, timeout)
                if not is_open:
                    continue
            rest = url.partition(":")[2]
            yield from _call(f"play+{each}:{rest}", TRANSPORTS[each], password, timeout)
    else:
        yield from _call(url, parts.scheme, password, timeout)


def _name(host: str, port: int) -> Generator[Finding, None, list[tuple[str, int]]]:
    """Finds the addresses of a host; returns them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("name", NO, f"the name {host!r} has no address ({error.strerror}): is it written right?")
        return []
    addresses = list(dict.fromkeys((str(address[0]), port) for *_, address in found))
    if [host] != [address for address, _ in addresses]:
        yield Finding("name", OK, f"the name {host} stands for {', '.join(address for address, _ in addresses)}")
    return addresses


def _stream(addresses: list[tuple[str, int]], transport: str, timeout: float) -> Generator[Finding, None, bool]:
    """Tries whether anything listens there by TCP; returns true if so."""
    errors = []
    for address in addresses:
        try:
            socket.create_connection(address, timeout).close()
            return True
        except TimeoutError:
            errors.append(f"no answer from {address[0]}: a firewall drops it, or no machine is there")
        except ConnectionRefusedError:
            errors.append(f"{address[0]} refuses: nothing listens at TCP port {address[1]}")
        except OSError as error:
            errors.append(f"no way to {address[0]}: {error.strerror}")
    yield Finding("way", NO, f"{TRANSPORTS[transport]}: {'; '.join(errors)}")
    return False


def _call(url: str, what: str, password: str | None, timeout: float) -> Iterator[Finding]:
    """Calls as a game does."""
    with netplay.Network() as network:
        began = time.monotonic()
        peer = network.connect(url, name="doctor", password=password, timeout=timeout)
        until = began + timeout + 1
        while (left := until - time.monotonic()) > 0:
            for event in network.get(left):
                if event.what is netplay.NETWORK_CONNECTED:
                    time_taken = time.monotonic() - began
                    who = f"{event.peer.name!r} has" if event.peer.name else "the game has"
                    yield Finding("way", OK, f"{what}: {who} let in the doctor, after {time_taken * 1000:.0f} ms")
                    peer.close("only looking")
                    return
                if event.what is netplay.NETWORK_DISCONNECTED:
                    yield Finding("way", NO, f"{what}: {_MEANINGS.get(event.reason) or _no_answer(event, what)}")
                    return
    yield Finding("way", NO, f"{what}: nothing came")


def _no_answer(event: netplay.Event, what: str) -> str:
    if event.reason == "no answer" and what == "UDP":
        return "no answer: no game listens there, or a firewall or a router between drops UDP"
    return f"{event.reason} ({event.detail})" if event.detail else event.reason
