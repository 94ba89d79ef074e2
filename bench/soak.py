"""Half an hour of a busy server, and what its memory does meanwhile: `make soak`.

500 clients in a process of their own hear 256 B from the server 20 times a second and a reliable line each second,
and say 32 B ten times a second. Half of them are on a bad network (20 to 30 ms late, one packet in 33 lost), and
every second one leaves and another comes. What must hold: no connection ends by itself, no line is missing or twice,
and the memory of both processes stays where it was after half of the time (a process whose clients come and go takes
some minutes to reach its level). The graph goes to `docs/soak.svg`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from netplay import NETWORK_CONNECTED, NETWORK_DATA_IN, NETWORK_DISCONNECTED, NETWORK_LOST, Network, Peer

PICTURE: Final = Path(__file__).parents[1] / "docs" / "soak.svg"
LINES: Final = 1  # the channel of what must arrive
BAD: Final = "?lag_ms=20&jitter_ms=10&loss_pct=3"
ALLOWED: Final = 1.05  # by this factor, noise of the allocator included


@dataclass
class Sample:
    """What both processes needed at one moment."""

    seconds: float
    server: float
    """MiB."""
    clients: float
    """MiB, of all clients together."""


@dataclass
class Crowd:
    """All clients, in their process."""

    url: str
    networks: list[Network] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    next_line: dict[Peer, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    left: set[Peer] = field(default_factory=set)

    def call(self) -> None:
        """One more client; every second one is on a bad network."""
        number = len(self.peers) + len(self.left)
        network = self.networks[number % len(self.networks)]
        self.peers.append(network.connect(self.url + (BAD if number % 2 else "")))

    def leave(self) -> None:
        """The client that has been there longest goes."""
        peer = self.peers.pop(0)
        self.left.add(peer)
        self.next_line.pop(peer, None)
        peer.close()

    def hear(self) -> None:
        """Takes what has arrived and checks it."""
        for network in self.networks:
            for event in network.get():
                peer = event.peer
                if event.what is NETWORK_DATA_IN:
                    if event.channel != LINES or peer in self.left:
                        continue
                    expected = self.next_line.get(peer, event.data)
                    if event.data != expected:
                        self.faults.append(f"line {event.data} and not {expected}")
                    self.next_line[peer] = event.data + 1
                elif event.what is NETWORK_LOST or (event.what is NETWORK_DISCONNECTED and peer not in self.left):
                    self.faults.append(f"{event.what}: {event.reason}")
                elif event.what is NETWORK_DISCONNECTED:
                    self.left.discard(peer)


def clients(pipe: Connection, url: str, count: int) -> None:
    """The process of all clients; reports its memory and its faults when it is asked."""
    crowd = Crowd(url, [Network() for _ in range(10)])
    said, next_said, next_change = bytes(32), time.monotonic(), time.monotonic() + 30.0
    while True:
        if len(crowd.peers) < count:
            crowd.call()
        crowd.hear()
        now = time.monotonic()
        if now >= next_said:
            next_said += 0.1
            for peer in crowd.peers:
                if peer.state == "connected":
                    peer.send(said, lossy=True)
        if now >= next_change:
            next_change += 1.0
            crowd.leave()
        if pipe.poll():
            if pipe.recv() == "end":
                break
            pipe.send((memory(), crowd.faults))
        time.sleep(max(0.0, min(0.005, next_said - time.monotonic())))
    for network in crowd.networks:
        network.close()


def memory() -> float:
    """Returns the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(seconds: float, count: int) -> tuple[list[Sample], list[str]]:
    """Serves for so long; returns samples of memory, and what went wrong."""
    samples: list[Sample] = []
    faults: list[str] = []
    with Network() as server:
        url = server.listen("play://127.0.0.1:0", max_peers=2 * count).url
        near, far = multiprocessing.get_context("spawn").Pipe()
        child = multiprocessing.get_context("spawn").Process(target=clients, args=(far, url, count), daemon=True)
        child.start()
        far.close()  # so that a child that fails is noticed
        began = next_tick = next_line = time.monotonic()
        next_sample, line, snapshot, present = began + 1.0, 0, bytes(256), 0
        heard: list[str] = []
        while time.monotonic() < began + seconds:
            for event in server.get(max(0.0, next_tick - time.monotonic())):
                if event.what is NETWORK_CONNECTED:
                    present += 1
                elif event.what is NETWORK_DISCONNECTED:
                    present -= 1
                    if event.reason != "goodbye":
                        faults.append(f"{event.what}: {event.reason}")
            now = time.monotonic()
            if now >= next_tick:
                next_tick += 0.05
                server.send(snapshot, lossy=True)
            if now >= next_line:
                next_line += 1.0
                server.send(line, LINES)
                line += 1
            if now >= next_sample:
                next_sample += max(1.0, seconds / 360)
                near.send("memory")
                theirs, their_faults = near.recv()
                heard = their_faults
                samples.append(Sample(now - began, memory(), theirs))
                print(f"{now - began:6.0f} s  {present} clients  server {samples[-1].server:.1f} MiB", file=sys.stderr)
        near.send("end")
        child.join(10)
    return samples, faults + heard


def picture(samples: list[Sample], title: str) -> str:
    """Draws both lines."""
    width, height, left, top = 720, 300, 60, 40
    end = samples[-1].seconds
    most = 1.15 * max(max(sample.server, sample.clients) for sample in samples)

    def x(seconds: float) -> float:
        return left + seconds / end * (width - left - 20)

    def y(mebibytes: float) -> float:
        return top + (1 - mebibytes / most) * (height - top - 40)

    step = next(step for step in (5, 10, 20, 50, 100, 200, 500) if most / step <= 8)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="14">{title}</text>',
    ]
    for value in range(0, int(most) + 1, step):
        parts.append(
            f'<path d="M{left} {y(value):.1f}H{width - 20}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value} MiB</text>'
        )
    for minute in range(0, int(end / 60) + 1, max(1, int(end / 360))):
        parts.append(f'<text x="{x(minute * 60):.1f}" y="{height - 20}" text-anchor="middle">{minute} min</text>')
    for name, color in (("server", "#1f77b4"), ("clients", "#ff7f0e")):
        points = " ".join(f"{x(sample.seconds):.1f},{y(getattr(sample, name)):.1f}" for sample in samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        last = getattr(samples[-1], name)
        parts.append(
            f'<text x="{width - 24}" y="{y(last) - 6:.1f}" text-anchor="end" fill="{color}">'
            f"{name} {last:.1f} MiB</text>"
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """Runs it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="how long (%(default)s)")
    parser.add_argument("--clients", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument("--out", type=Path, default=PICTURE, help="where the graph goes (docs/soak.svg)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="netplay-soak-") as folder:
        os.environ["NETPLAY_DATA_DIR"] = folder
        samples, faults = soak(options.minutes * 60, options.clients)
    title = f"Memory of a server and its {options.clients} clients, {options.minutes:g} minutes, one leaves each second"
    options.out.write_text(picture(samples, title), encoding="utf-8")
    settled = [sample for sample in samples if sample.seconds >= samples[-1].seconds / 2]
    growth = {name: getattr(settled[-1], name) / getattr(settled[0], name) for name in ("server", "clients")}
    for name, factor in growth.items():
        print(f"{name}: {getattr(settled[-1], name):.1f} MiB, {factor:.3f} of what it was when settled")
    print(f"{len(faults)} faults", *faults[:10], sep="\n")
    return int(bool(faults) or max(growth.values()) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
