"""Relays, and what they tell of the way to them: whether two players meet there, UDP, IPv6, NAT, the clock.

Nobody else is asked, and they only because somebody has named them.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import netplay

from .._core import _sights
from . import _nat
from ._finding import NO, OK, UNTOLD, Finding
from ._nat import Sight

__all__ = ["Answer", "examine", "unasked"]


class Answer(NamedTuple):
    """What a relay says by HTTP."""

    status: int
    seconds: float
    """How long it took."""
    ahead: float | None
    """By how many seconds its clock is ahead of ours, to a second or so; None if it does not say."""


def unasked() -> Iterator[Finding]:
    """Yields what is not known without a relay."""
    ask = "not asked; `--relay public` asks the relays that rooms use by default, `--relay URL` one of your own"
    yield Finding("relay", UNTOLD, f"whether a relay is reached: {ask}")
    yield Finding("udp", UNTOLD, "whether UDP gets out, and what kind of router is between (NAT): the same answers it")


def examine(relays: list[str], timeout: float, answers: list[Answer]) -> Iterator[Finding]:
    """Yields what these relays tell, or for `["public"]` the public ones. What they say by HTTP goes into `answers`."""
    which = None if relays == ["public"] else relays
    try:
        sights = [Sight(*told) for told in _sights(which, timeout)]
    except (OSError, ValueError) as error:
        yield Finding("relay", NO, str(error))
        return
    answered = [sight for sight in sights if sight.seen is not None]
    if which is not None:
        asked = relays
    elif sights:
        # One of the public ones is enough.
        asked = [(answered or sights)[0].relay]
    else:
        asked = []
        yield Finding("relay", NO, "the public relays are not found: no name server has answered (DNS)")
    for relay in asked:
        yield from _http(relay, timeout, answers)
    for relay in relays:
        yield from _meet(relay, timeout)
    # A network may have one family only.
    is_by_ipv6 = bool(answered) and all(sight.is_ipv6 for sight in answered)
    yield from _udp([sight for sight in answered if sight.is_ipv6 == is_by_ipv6], bool(answers))
    yield from _ipv6([sight for sight in sights if sight.is_ipv6])


def _http(relay: str, timeout: float, answers: list[Answer]) -> Iterator[Finding]:
    try:
        answer = _ask(relay, timeout)
    except OSError as error:
        yield Finding("relay", NO, f"{relay} is not reached by TCP: {error}")
        return
    except http.client.HTTPException as error:
        yield Finding("relay", NO, f"{relay}: what answers there is no relay ({error!r})")
        return
    if answer.status != 200:
        yield Finding(
            "relay",
            NO,
            f"{relay}: something else answers in its place (HTTP {answer.status}): is there a page to log in to?",
        )
        return
    answers.append(answer)
    yield Finding("relay", OK, f"{relay} is reached by TCP, it answers in {answer.seconds * 1000:.0f} ms")


def _ask(relay: str, timeout: float) -> Answer:
    parts = urlsplit(relay)
    # Whose clock is wrong can trust no certificate, and that is one of the things to find out.
    context = ssl._create_unverified_context() if parts.scheme == "https" else None
    host = (parts.hostname or "").rstrip(".")
    if context is None:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    else:
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    with contextlib.closing(connection):
        connection.connect()
        began, now = time.monotonic(), time.time()
        connection.request("GET", "/ping")
        response = connection.getresponse()
        seconds = time.monotonic() - began
        ahead = None
        with contextlib.suppress(TypeError, ValueError):
            # It is told in whole seconds.
            ahead = parsedate_to_datetime(response.headers["Date"]).timestamp() + 0.5 - (now + seconds / 2)
        return Answer(response.status, seconds, ahead)


def _meet(relay: str, timeout: float) -> Iterator[Finding]:
    """Lets two ends on this machine meet as two players do, each knowing of the other only an id and the relay."""
    which, name = (None, "the public relays") if relay == "public" else (relay, relay)
    with netplay.Network() as host, netplay.Network() as guest:
        try:
            listener = host.listen("play+p2p://", relay=which)
            began = time.monotonic()
            peer = guest.connect(f"play+p2p://{urlsplit(listener.url).netloc}", relay=which, timeout=timeout)
        except (netplay.Error, ValueError) as error:
            yield Finding("meeting", NO, str(error))
            return
        route: str | None = None
        while time.monotonic() < began + timeout + 1 and peer.state != "closed":
            host.get()
            guest.get(0.02)
            if peer.state == "connected" and route != (now := peer.stats()["route"]):
                route = now
                after = f"after {(time.monotonic() - began) * 1000:.0f} ms"
                if route == "direct":
                    yield Finding(
                        "meeting", OK, f"two players on this machine meet by {name}, then send directly {after}", route
                    )
                    return
                yield Finding(
                    "meeting", OK, f"two players on this machine meet by {name}, and send through it {after}", route
                )
    if route is not None:
        yield Finding("meeting", UNTOLD, f"no direct way between the two was found in {timeout:g} s")
    else:
        yield Finding(
            "meeting", NO, f"nobody was found by {name} in {timeout:g} s: nothing is there, or a firewall is before it"
        )


def _udp(answered: list[Sight], is_reached: bool) -> Iterator[Finding]:
    for sight in answered:
        if sight.seen is not None:
            address, seconds = sight.seen
            after = f"{sight.relay} answers in {seconds * 1000:.0f} ms"
            yield Finding("udp", OK, f"UDP gets out: {after}, and sees {sight.local} as {address}", address)
    if answered:
        kind = _nat.kind(answered)
        mark = OK if kind in ("open", "easy") else UNTOLD
        yield Finding("nat", mark, f"NAT: {_nat.WORDS[kind]}", kind)
    elif is_reached:
        text = "UDP is blocked, here or at the relay: TCP gets there, UDP does not; everything goes through the relay"
        yield Finding("udp", NO, text, "blocked")
    else:
        text = "whether UDP gets out is unknown: no relay has answered, neither by UDP nor by TCP"
        yield Finding("udp", UNTOLD, text)


def _ipv6(sights: list[Sight]) -> Iterator[Finding]:
    for sight in sights:
        if sight.seen is not None:
            address, _ = sight.seen
            text = f"IPv6 gets out: {sight.relay} sees {sight.local} as {address}"
            yield Finding("ipv6", OK, text, address)
            return
    if sights:
        yield Finding("ipv6", UNTOLD, "IPv6 does not get to the relay, though the relay has it")
