"""This machine: whether a game can listen on it, its interfaces, how far their addresses count. It sends nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

import netplay

from .._core import _interfaces
from ._finding import NO, OK, UNTOLD, Finding

__all__ = ["TRANSPORTS", "examine"]

TRANSPORTS: Final = {"udp": "UDP", "tcp": "TCP", "ws": "WebSocket", "wss": "WebSocket under TLS"}


def examine() -> Iterator[Finding]:
    """Yields what this machine is."""
    with netplay.Network() as network:
        try:
            listener = network.listen("play://*:0")
        except netplay.Error as error:
            yield Finding("listen", NO, f"no game can listen here: {error}")
            return
        transports = [TRANSPORTS[transport] for transport in listener.transports]
    yield Finding("listen", OK, f"a game can listen here, by {', '.join(transports)}")
    addresses: dict[str, list[ipaddress.IPv4Address | ipaddress.IPv6Address]] = {}
    for interface, address in _interfaces():
        ip = ipaddress.ip_address(address)
        if not ip.is_loopback:
            addresses.setdefault(interface, []).append(ip)
    if not addresses:
        yield Finding(
            "interfaces",
            NO,
            "it has no address but its own loopback: it is in no network, so only games on it can play together",
        )
        return
    for interface, ips in sorted(addresses.items()):
        yield Finding("interfaces", OK, f"{interface}: {', '.join(map(str, sorted(ips, key=_order)))}", interface)
    every = [ip for ips in addresses.values() for ip in ips]
    if any(ip.version == 4 and ip.is_global for ip in every):
        yield Finding(
            "public address", OK, "one of them can be called from the whole internet, if no firewall is there"
        )
    else:
        yield Finding(
            "public address",
            UNTOLD,
            "its IPv4 addresses count in the local network only: a router stands between it and the internet",
        )
    if any(ip.version == 6 and ip.is_global for ip in every):
        yield Finding("ipv6", OK, "it has an IPv6 address for the internet")
    else:
        yield Finding("ipv6", UNTOLD, "it has no IPv6 address for the internet; most players have IPv4 as well")


def _order(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int, bool, int]:
    return ip.version, ip.is_link_local, int(ip)
