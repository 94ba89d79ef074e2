"""`python -m netplay relay`: a relay of one's own, for games that find each other by `play+p2p://`.

    python -m netplay relay                          on every IPv4 address of this machine, port 3340
    python -m netplay relay --host 192.0.2.7 --port 80 --max-clients 200 --metrics-port 9090
    python -m netplay relay --host :: --certificate fullchain.pem privkey.pem      by HTTPS

Players give its URL as `relay=` to `listen()` and `connect()`, or as `?relay=` in the URL, and then nobody else is
asked for anything. A relay passes on what it cannot read: everything is encrypted from end to end. It needs one port,
of TCP (what is relayed) and of UDP (where players learn the address that others see; without it fewer ways are direct).

A player in a room takes two places of `--max-clients`, a `listen()` or `connect()` one.
One line on the standard output for each client that comes, goes or is refused; where nobody reads them any more, it
goes on without. Ctrl+C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from ._core import Relay

__all__ = ["main"]

_LOOK = 0.2
"""Seconds after which a signal has its effect."""


def main(words: list[str]) -> int:
    """Runs a relay until it is told to end. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m netplay relay", description="A relay of one's own, for play+p2p://"
    )
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on (0.0.0.0, every IPv4 address)")
    parser.add_argument("--port", type=int, default=3340, help="of TCP and of UDP (3340); 0 for any that is free")
    parser.add_argument("--max-clients", type=int, default=1000, help="how many may be connected at once (1000)")
    parser.add_argument("--client-rate", type=int, metavar="BYTES", help="how many bytes a second each may send")
    parser.add_argument("--metrics-port", type=int, help="of TCP, for Prometheus, at the same address: /metrics")
    parser.add_argument("--certificate", nargs=2, metavar=("CERT", "KEY"), help="two PEM files; then it is https://")
    args = parser.parse_args(words)
    for name, least in (("port", 0), ("metrics_port", 1)):
        port = getattr(args, name)
        if port is not None and not least <= port <= 65535:
            parser.error(f"--{name.replace('_', '-')} is {port}, it must be from {least} to 65535")
    for name in ("max_clients", "client_rate"):
        number = getattr(args, name)
        if number is not None and not 1 <= number < 2**32:
            parser.error(f"--{name.replace('_', '-')} is {number}, it must be at least 1 and below 2**32")
    try:
        relay = Relay(
            args.host,
            args.port,
            metrics_port=args.metrics_port,
            max_clients=args.max_clients,
            client_rate=args.client_rate,
            certificate=None if args.certificate is None else tuple(args.certificate),
        )
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        numbers = "" if args.metrics_port is None else f", numbers on port {args.metrics_port}"
        print(f"the relay cannot start on {args.host} port {args.port}{numbers}: {error}", file=sys.stderr)
        return 1
    ended: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _frame: ended.append(number)) for number in signals]
    try:
        for url in relay.urls:
            _say(f"relay={url}")
        if relay.metrics_url is not None:
            _say(f"numbers at {relay.metrics_url}")
        while not ended:
            event = relay.next_event(_LOOK)
            if event is not None:
                _say(event)
    finally:
        relay.close()
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    _say("the relay has ended")
    return 0


def _say(line: str) -> None:
    try:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), line, flush=True)
    except OSError:  # whoever read it has gone, and the players have not; Python would flush it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
