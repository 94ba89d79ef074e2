"""The local network: whether what is said to everybody on it is heard, and whether its router opens ports when asked.

Nothing goes further than that network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from .._core import _ask_gateway, _echoes
from ._finding import NO, OK, UNTOLD, Finding

__all__ = ["examine"]

_HEAR: Final = 1.2
"""How long to listen, in seconds: an answer to everybody may be held back for half a second."""

_NAMES: Final = ("UPnP", "PCP", "NAT-PMP")


def examine() -> Iterator[Finding]:
    """Yields what the network around this machine does."""
    if os.environ.get("NETPLAY_LAN") == "machine":
        text = "not asked, because NETPLAY_LAN=machine keeps this to the machine"
        yield Finding("multicast", UNTOLD, f"whether games find each other by multicast: {text}")
        yield Finding("port mapping", UNTOLD, f"whether the router opens ports: {text}")
        return
    yield from _multicast()
    yield from _port_mapping()


def _multicast() -> Iterator[Finding]:
    families: dict[str, list[tuple[str, str | None, bool, list[str]]]] = {}
    try:
        for interface, address, problem, is_heard, others in _echoes(_HEAR):
            families.setdefault(interface, []).append((address, problem, is_heard, others))
    except OSError as error:
        yield Finding("multicast", UNTOLD, f"the interfaces cannot be listed: {error}")
        return
    if not families:
        yield Finding("multicast", UNTOLD, "no interface but loopback: there is nobody to find")
    for interface, echoes in families.items():
        heard = ["IPv6" if ":" in address else "IPv4" for address, _, is_heard, _ in echoes if is_heard]
        problems = {problem for _, problem, _, _ in echoes if problem is not None}
        spoke = {other for *_, others in echoes for other in others}
        if heard and spoke:
            many = f"{len(spoke)} other address{'es' if len(spoke) > 1 else ''}"
            yield Finding(
                "multicast",
                OK,
                f"{interface}: what is said to everybody goes out, and {many} on the network spoke: games are found"
                f" there ({', '.join(heard)})",
                "others",
            )
        elif heard:
            yield Finding(
                "multicast",
                OK,
                f"{interface}: what is said to everybody goes out and comes back ({', '.join(heard)}); nobody else"
                " spoke: nobody is there who would, or this network keeps its guests apart, as some wifis do",
                "alone",
            )
        elif problems:
            yield Finding(
                "multicast", NO, f"{interface}: nothing can be said to everybody: {'; '.join(sorted(problems))}"
            )
        else:
            yield Finding(
                "multicast",
                NO,
                f"{interface}: what is said to everybody does not come back: a firewall on this machine drops multicast"
                " DNS (UDP port 5353), so games are not found there",
            )


def _port_mapping() -> Iterator[Finding]:
    try:
        answers = _ask_gateway()
    except OSError as error:
        yield Finding("port mapping", UNTOLD, f"the router could not be asked whether it opens ports: {error}")
        return
    if answers is None:
        yield Finding("port mapping", UNTOLD, "there is no router that could be asked to open a port", "no router")
    elif any(answers):
        names = ", ".join(name for name, is_there in zip(_NAMES, answers, strict=True) if is_there)
        yield Finding("port mapping", OK, f"the router opens a port when a room asks for it, by {names}", names)
    else:
        yield Finding(
            "port mapping",
            UNTOLD,
            f"the router opens no port when it is asked ({', '.join(_NAMES)}): it may be switched off there",
            "none",
        )
