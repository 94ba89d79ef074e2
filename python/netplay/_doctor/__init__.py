"""`python -m netplay doctor [URL]`: what a player's network can do, and how far a connection gets, in plain words.

    python -m netplay doctor                              this machine and its local network
    python -m netplay doctor play://203.0.113.7:5000      and the way to a game, step by step
    python -m netplay doctor --relay public               and the internet, by the relays that rooms use by default
    python -m netplay doctor --relay http://192.0.2.7:3340 --relay http://192.0.2.8:3340      or by your own

Without a URL and without --relay nobody outside the local network is asked, and the output says what is unknown
therefore. One relay tells whether UDP gets out and what the clock is; two tell what kind of router is between.

| module | noun |
|---|---|
| `_machine` | this machine: listening, interfaces, addresses |
| `_lan` | the local network: multicast, and a router that opens ports |
| `_relays` | relays, and what they tell of the way to them |
| `_nat` | the kind of router, from what relays have seen |
| `_clock` | the clocks |
| `_way` | the way to a URL |
| `_hosting` | whether friends can join, from all of it |
| `_finding` | one thing that was tried |
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable

import netplay

from . import _clock, _hosting, _lan, _machine, _relays, _way
from ._finding import OK, Finding

__all__ = ["main"]


def main(words: list[str]) -> int:
    """Examines, prints what it finds as it finds it, and returns the exit code: 1 if there is no way to the URL."""
    parser = argparse.ArgumentParser(prog="python -m netplay doctor", description="What a player's network can do.")
    parser.add_argument("url", nargs="?", help="a game to look for, as it is given to netplay.connect()")
    parser.add_argument("--password", help="the game's password")
    parser.add_argument(
        "--relay",
        action="append",
        metavar="URL",
        help="a relay to ask, as for host_room(), or `public` for those of rooms by default; several tell more",
    )
    parser.add_argument("--timeout", type=float, default=4.0, help="seconds to wait for each answer (4)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, for a program to read")
    args = parser.parse_args(words)
    if args.timeout <= 0:
        parser.error(f"--timeout is {args.timeout}, it must be above 0")
    relays = list(dict.fromkeys(args.relay or []))
    if "public" in relays and len(relays) > 1:
        parser.error("--relay public stands alone: it means several relays already")
    report = _Report(is_printed=not args.json)
    report.say(f"netplay {netplay.__version__}, Python {platform.python_version()}, {platform.system()}")
    report.tell("This machine", _machine.examine())
    report.tell("The local network", _lan.examine())
    answers: list[_relays.Answer] = []
    beyond = _relays.examine(relays, args.timeout, answers) if relays else _relays.unasked()
    report.tell("Beyond the local network", beyond)
    report.tell("The clock", _clock.examine([answer.ahead for answer in answers if answer.ahead is not None]))
    report.tell("Hosting a game here", _hosting.conclude(report.findings))
    is_open = True
    if args.url is not None:
        way = report.tell(f"The way to {args.url}", _way.examine(args.url, args.password, args.timeout))
        is_open = any(finding.topic == "way" and finding.mark == OK for finding in way)
        open_text = "So: you can play there."
        report.say("\n" + (open_text if is_open else "So: there is no way in from here; the lines with `no` say why."))
    if args.json:
        print(
            json.dumps({"netplay": netplay.__version__, "system": platform.system(), "parts": report.parts}, indent=2)
        )
    return 0 if is_open else 1


class _Report:
    """What was found, by parts; printed as it comes, or kept."""

    def __init__(self, *, is_printed: bool) -> None:
        self.is_printed = is_printed
        self.parts: dict[str, list[dict[str, str | None]]] = {}
        self.findings: list[Finding] = []

    def say(self, text: str) -> None:
        if self.is_printed:
            print(text, flush=True)

    def tell(self, title: str, findings: Iterable[Finding]) -> list[Finding]:
        """Tells the findings of one part, and returns them."""
        self.say(f"\n{title}")
        part = self.parts.setdefault(title, [])
        told = []
        for finding in findings:
            self.say(f"  {finding.mark}  {finding.text}")
            part.append(finding._asdict())
            told.append(finding)
        self.findings += told
        return told
