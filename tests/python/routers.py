"""An internet for tests: a relay's host, and homes behind routers of every kind (Linux, as root)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hosts import ip

RELAY = "198.18.8.1"
"""The address of the host in the middle, from the range that is set aside for tests of networks (RFC 2544)."""

KINDS = {
    "full cone": "Whoever knows the port gets in.",
    "address-restricted": "Who was sent something gets in, from any port.",
    "port-restricted": "Who was sent something gets in, from that port: most routers at home.",
    "symmetric": "The same, and every remote side sees another port: many mobile networks.",
    "UDP blocked": "Nothing but TCP: some schools and offices.",
}


class Internet:
    """A host in the middle, and two homes: each a router, and a host behind it."""

    def __init__(self) -> None:
        self.prefix = f"netplay-{os.getpid()}"
        self.middle = f"{self.prefix}-middle"
        self.routers = [f"{self.prefix}-router{home}" for home in (0, 1)]
        self.homes = [f"{self.prefix}-home{home}" for home in (0, 1)]

    def make(self) -> None:
        for name in (self.middle, *self.routers, *self.homes):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.middle, "link", "add", "street", "type", "bridge")
        ip("-n", self.middle, "address", "add", f"{RELAY}/24", "dev", "street")
        ip("-n", self.middle, "link", "set", "street", "up")
        for home, (router, host) in enumerate(zip(self.routers, self.homes, strict=True)):
            door = f"door{home}"
            ip("link", "add", door, "netns", self.middle, "type", "veth", "peer", "name", "wan", "netns", router)
            ip("-n", self.middle, "link", "set", door, "master", "street", "up")
            ip("-n", router, "address", "add", f"198.18.8.{10 + home}/24", "dev", "wan")
            ip("-n", router, "link", "set", "wan", "up")
            ip("link", "add", "lan", "netns", router, "type", "veth", "peer", "name", "lan", "netns", host)
            ip("-n", router, "address", "add", f"10.77.{home}.1/24", "dev", "lan")
            ip("-n", router, "link", "set", "lan", "up")
            ip("-n", host, "address", "add", f"10.77.{home}.2/24", "dev", "lan")
            ip("-n", host, "link", "set", "lan", "up")
            ip("-n", host, "route", "add", "default", "via", f"10.77.{home}.1")
            self.run(router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def delete(self) -> None:
        for name in (self.middle, *self.routers, *self.homes):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def set_kind(self, home: int, kind: str) -> None:
        """Makes the router of a home one of a kind, and lets it forget what it knew."""
        host = f"10.77.{home}.2"
        way_out = "masquerade random,fully-random" if kind == "symmetric" else "masquerade"
        way_in = {
            "full cone": f"iifname wan meta l4proto udp dnat to {host}",
            "address-restricted": f"iifname wan meta l4proto udp ip saddr @known dnat to {host}",
        }.get(kind, "accept")
        blocked = "meta l4proto udp drop" if kind == "UDP blocked" else ""
        rules = f"""
            flush ruleset
            table ip home {{
                set known {{ type ipv4_addr; flags dynamic, timeout; timeout 1m; }}
                chain out {{ type nat hook postrouting priority 100; oifname wan {way_out}; }}
                chain in {{ type nat hook prerouting priority -100; {way_in}; }}
                chain through {{
                    type filter hook forward priority 0;
                    {blocked}
                    iifname lan meta l4proto udp update @known {{ ip daddr }}
                    iifname wan ct status dnat accept
                    iifname wan ct state new drop
                }}
                chain own {{ type filter hook input priority 0; iifname wan meta l4proto udp drop; }}
            }}
        """
        self.run(self.routers[home], "nft", "-f", "-", given=rules)

    def run(self, name: str, *command: str, given: str = "") -> None:
        whole = ["ip", "netns", "exec", name, *command]
        done = subprocess.run(whole, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")

    def start(self, name: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """Starts Python with these arguments in a namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NETPLAY_DATA_DIR": str(folder / name)},
        )
