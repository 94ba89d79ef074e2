"""`python -m netplay doctor [URL]`: what a player's network can do, and how far a connection gets, in plain words.

    python -m netplay doctor                              this machine and its networks
    python -m netplay doctor play://203.0.113.7:5000      and the way to a game, step by step
    python -m netplay doctor --relay public               and whether the relays that rooms use by default are reached

It asks as a game would, by the package's public functions, and says what it is told. Where a game answers, it comes in
for a moment as a player called "doctor" and says goodbye.
"""

from __future__ import annotations

import argparse
import ipaddress
import platform
import socket
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import netplay

__all__ = ["main"]

_TRANSPORTS: Final = {"udp": "UDP", "tcp": "TCP", "ws": "WebSocket", "wss": "WebSocket under TLS"}
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


class Finding(NamedTuple):
    """One thing that was tried, and how it went."""

    mark: str
    """`ok`, `no`, or `--` for what could not be told or does not matter."""
    text: str
    is_in: bool = False
    """A game has let us in."""


def main(words: list[str]) -> int:
    """Examines, prints what it finds as it finds it, and returns the exit code: 1 if there is no way to the URL."""
    parser = argparse.ArgumentParser(prog="python -m netplay doctor", description="What a player's network can do.")
    parser.add_argument("url", nargs="?", help="a game to look for, as it is given to netplay.connect()")
    parser.add_argument("--password", help="the game's password")
    parser.add_argument(
        "--relay", help="a relay to try, as for host_room(); or `public` for those that rooms use by default"
    )
    parser.add_argument("--timeout", type=float, default=4.0, help="seconds to wait for each answer (4)")
    args = parser.parse_args(words)
    if args.timeout <= 0:
        parser.error(f"--timeout is {args.timeout}, it must be above 0")
    print(f"netplay {netplay.__version__}, Python {platform.python_version()}, {platform.system()}")
    _tell("This machine", _machine())
    if args.relay is not None:
        _tell(f"The relay: {args.relay}", _relay(args.relay, args.timeout))
    if args.url is None:
        return 0
    way = _tell(f"The way to {args.url}", _way(args.url, args.password, args.timeout))
    is_open = any(finding.is_in for finding in way)
    print()
    print("So: you can play there." if is_open else "So: there is no way in from here; the lines with `no` say why.")
    return 0 if is_open else 1


def _tell(title: str, findings: Iterable[Finding]) -> list[Finding]:
    print(f"\n{title}")
    told = []
    for finding in findings:
        print(f"  {finding.mark}  {finding.text}", flush=True)
        told.append(finding)
    return told


def _machine() -> Iterator[Finding]:
    with netplay.Network() as network:
        try:
            listener = network.listen("play://*:0")
        except netplay.Error as error:
            yield Finding("no", f"no game can listen here: {error}")
            return
        hosts = [ipaddress.ip_address(urlsplit(address).hostname or "") for address in listener.addresses]
        transports = [_TRANSPORTS[transport] for transport in listener.transports]
    others = [host for host in hosts if not host.is_loopback]
    yield Finding("ok", f"a game can listen here, by {', '.join(transports)}")
    if not others:
        yield Finding(
            "no", "it has no address but its own loopback: it is in no network, so only games on it can play together"
        )
        return
    yield Finding("ok", f"its addresses: {', '.join(map(str, others))}")
    if any(host.version == 4 and host.is_global for host in others):
        yield Finding("ok", "one of them can be called from the whole internet, if no firewall is before it")
    else:
        yield Finding(
            "--", "its IPv4 addresses count in the local network only: a router stands between it and the internet"
        )
    if any(host.version == 6 and host.is_global for host in others):
        yield Finding("ok", "it has IPv6 to the internet")
    else:
        yield Finding("--", "it has no IPv6 to the internet; most players have IPv4 as well")


def _relay(relay: str, timeout: float) -> Iterator[Finding]:
    """Lets two ends on this machine meet as two players do, each knowing of the other only an id and the relay."""
    which = None if relay == "public" else relay
    with netplay.Network() as host, netplay.Network() as guest:
        try:
            listener = host.listen("play+p2p://", relay=which)
            began = time.monotonic()
            peer = guest.connect(f"play+p2p://{urlsplit(listener.url).netloc}", relay=which, timeout=timeout)
        except (netplay.Error, ValueError) as error:
            yield Finding("no", str(error))
            return
        route: str | None = None
        while time.monotonic() < began + timeout + 1 and peer.state != "closed":
            host.get()
            guest.get(0.02)
            if peer.state == "connected" and route != (now := peer.stats()["route"]):
                route = now
                after = f"after {(time.monotonic() - began) * 1000:.0f} ms"
                if route == "direct":
                    yield Finding("ok", f"two players meet, and send to each other directly {after}", is_in=True)
                    return
                yield Finding("ok", f"two players meet, and what they send goes through the relay {after}", is_in=True)
    if route is not None:
        yield Finding("--", f"no direct way was found in {timeout:g} s")
    else:
        yield Finding(
            "no", f"nobody was found through it in {timeout:g} s: it is not there, or a firewall is before it"
        )


def _way(url: str, password: str | None, timeout: float) -> Iterator[Finding]:
    try:
        with netplay.Network() as network:
            network.connect(url)
    except (netplay.BadURL, ValueError) as error:
        yield Finding("no", f"this is no URL to connect to: {error}")
        return
    parts = urlsplit(url)
    kind, _, transport = parts.scheme.partition("+")
    if kind == "play" and transport in ("", *_TRANSPORTS) and parts.hostname:
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
        addresses = yield from _name(host, port)
        if not addresses:
            return
        for each in [transport] if transport else _TRANSPORTS:
            if each != "udp":
                is_open = yield from _stream(addresses, each, timeout)
                if not is_open:
                    continue
            rest = url.partition(":")[2]
            yield from _call(f"play+{each}:{rest}", _TRANSPORTS[each], password, timeout)
    else:
        yield from _call(url, parts.scheme, password, timeout)


def _name(host: str, port: int) -> Generator[Finding, None, list[tuple[str, int]]]:
    """Finds the addresses of a host; returns them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("no", f"the name {host!r} has no address ({error.strerror}): is it written right?")
        return []
    addresses = list(dict.fromkeys((str(address[0]), port) for *_, address in found))
    if [host] != [address for address, _ in addresses]:
        yield Finding("ok", f"the name {host} stands for {', '.join(address for address, _ in addresses)}")
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
    yield Finding("no", f"{_TRANSPORTS[transport]}: {'; '.join(errors)}")
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
                    yield Finding(
                        "ok", f"{what}: {who} let in the doctor, after {time_taken * 1000:.0f} ms", is_in=True
                    )
                    peer.close("only looking")
                    return
                if event.what is netplay.NETWORK_DISCONNECTED:
                    yield Finding("no", f"{what}: {_MEANINGS.get(event.reason) or _no_answer(event, what)}")
                    return
    yield Finding("no", f"{what}: nothing came")


def _no_answer(event: netplay.Event, what: str) -> str:
    if event.reason == "no answer" and what == "UDP":
        return "no answer: no game listens there, or a firewall or a router between drops UDP"
    return f"{event.reason} ({event.detail})" if event.detail else event.reason
