"""A thousand players in `meadow`: does the tick hold, how late is what they see, and how many bytes is it? `make crowd`

A server in one process, its players in two others, over real UDP sockets on this computer. Each player is a connection
of its own with the game's own client behind it. The table is printed, and written into `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from netplay.examples._meadow_server import BUDGET, TICKS, Server
from netplay.examples.meadow import PAUSE, Flock, Guest
from table import MEADOW, aligned, section_of

WARM_UP = 4.0  # seconds
MAX_DELIVERY = 100  # milliseconds, for 99 of 100
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
TEXT = """\
{heading}

The game `meadow` (`python -m netplay.examples.meadow`) from end to end, all of it in Python but netplay's core.
The server is one process, its players are two others, over UDP on one machine.
Each player is a connection of its own with the game's own client behind it.
{ticks} times a second that unpacks a snapshot, looks for flowers, and says where it walks and which picture it has.

{table}

Made by `{command}` on {day}, over {seconds:.0f} s; {facts}.
*Delivery* begins when the world of a tick is ready, before anything was packed for anybody.
It ends when a player's program has unpacked it.
What it would be *without deltas* and *without interest* is reckoned, not sent: all that is near, and all there is.
The first seconds, in which everybody is told everything, do not count.

"""


class Served(NamedTuple):
    """What the server saw."""

    ready: dict[int, float]  # when the world of each tick was ready
    work: list[float]  # seconds of CPU that each tick took, to move everybody, to pack and to send
    without_deltas: float  # bytes of a snapshot on average, had there been no deltas
    without_interest: float  # the same, with neither deltas nor interest
    players: int
    cpu: float  # seconds of CPU a second, of all threads


class Heard(NamedTuple):
    """What the players of one process saw."""

    arrived: list[tuple[int, float, int]]  # of each snapshot: its tick, when it was unpacked, its bytes
    cpu: float


class Counting(Server):
    """A server that keeps a book."""

    def __init__(self, size: int) -> None:
        super().__init__("meadow", "play://127.0.0.1:0", size=size)
        self.begin()

    def begin(self) -> None:
        """Opens the book on a new page."""
        self.ready: dict[int, float] = {}
        self.work: list[float] = []
        self.sums = [0.0, 0.0, 0.0]
        self.started, self.cpu = time.monotonic(), time.process_time()

    def step(self) -> None:
        """Lets a tick pass."""
        start = time.thread_time()
        super().step()
        self.work.append(time.thread_time() - start)

    def tell(self) -> None:
        """Tells each what is near and new."""
        self.ready[self.world.tick] = time.monotonic()
        before = self.without_interest, self.without_deltas, self.messages
        super().tell()
        now = self.without_interest, self.without_deltas, self.messages
        self.sums = [total + new - old for total, new, old in zip(self.sums, now, before, strict=True)]

    def book(self) -> Served:
        """Returns what stands in the book."""
        count = max(1.0, self.sums[2])
        cpu = (time.process_time() - self.cpu) / (time.monotonic() - self.started)
        return Served(self.ready, self.work, self.sums[1] / count, self.sums[0] / count, len(self.rabbits), cpu)


class Timed(Guest):
    """A player who looks at the watch."""

    arrived: list[tuple[int, float, int]]

    def handle_picture(self, data: bytes) -> None:
        """Takes in a snapshot."""
        super().handle_picture(data)
        self.arrived.append((self.hearer.tick, time.monotonic(), len(data)))


def serve(line: Connection, size: int) -> None:
    """Is the server's process."""
    server = Counting(size)
    line.send(server.address)
    while True:
        server.update(1.0)
        if line.poll():
            if line.recv() == "end":
                break
            gc.collect()
            gc.freeze()
            server.begin()
    line.send(server.book())
    server.network.close()


def play(line: Connection, url: str, first: int, count: int) -> None:
    """Is a process with many players."""
    arrived: list[tuple[int, float, int]] = []
    Timed.arrived = arrived
    flock = Flock(url, kind=Timed)
    for number in range(first, first + count):
        flock.join(f"bot {number}")
        if number % 20 == 0:
            flock.update()
            time.sleep(PAUSE)
    while not all(guest.you >= 0 for guest in flock.order):
        flock.update()
        time.sleep(PAUSE)
    line.send("ready")
    cpu = begun = 0.0
    while True:
        flock.update()
        time.sleep(PAUSE)
        if line.poll():
            if line.recv() == "end":
                break
            gc.collect()
            gc.freeze()
            arrived.clear()
            cpu, begun = time.process_time(), time.monotonic()
    line.send(Heard(arrived, (time.process_time() - cpu) / (time.monotonic() - begun)))
    flock.network.close()


def measure(clients: int, processes: int, seconds: float) -> tuple[Served, list[Heard]]:
    """Runs it all."""
    context = multiprocessing.get_context("spawn")
    size = max(4, math.ceil(math.sqrt(clients / 4)))
    ours, theirs = context.Pipe()
    programs = [context.Process(target=serve, args=(theirs, size), daemon=True)]
    programs[0].start()
    url, lines = ours.recv(), []
    share = math.ceil(clients / processes)
    for first in range(0, clients, share):
        line, their_line = context.Pipe()
        count = min(share, clients - first)
        programs.append(context.Process(target=play, args=(their_line, url, first, count), daemon=True))
        programs[-1].start()
        lines.append(line)
    for line in lines:
        line.recv()
    time.sleep(WARM_UP)
    for line in [ours, *lines]:
        line.send("begin")
    time.sleep(seconds)
    ours.send("end")
    served = ours.recv()
    heard = []
    for line in lines:
        line.send("end")
        heard.append(line.recv())
    for program in programs:
        program.join(20)
    return served, heard


def quantile(values: list[float], share: float) -> float:
    """Returns the value below which this share of all lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(served: Served, heard: list[Heard]) -> tuple[str, bool]:
    """Returns the table, and whether everything is as it should be."""
    ticks = sorted(served.ready)
    # The first and the last ticks may lie on one side only of the moment at which counting began or ended.
    whole = set(ticks[2:-5])
    arrived = [entry for one in heard for entry in one.arrived if entry[0] in whole]
    delays = [(at - served.ready[tick]) * 1000 for tick, at, _ in arrived]
    sizes = [float(size) for _, _, size in arrived]
    gaps = [(served.ready[b] - served.ready[a]) * 1000 for a, b in itertools.pairwise(ticks)]
    work = [seconds * 1000 for seconds in served.work]
    rate = 1000 * len(gaps) / sum(gaps)
    late = quantile(delays, 0.99)
    lost = 1 - len(arrived) / (len(whole) * served.players)
    rows = [
        ["", "measured", "target"],
        ["players, each a connection", f"{served.players:,}", ""],
        ["ticks a second", f"{rate:.2f}", f"{0.99 * TICKS:.1f} to {1.01 * TICKS:.1f}"],
        ["from tick to tick: p99, longest", f"{quantile(gaps, 0.99):.0f} ms, {max(gaps):.0f} ms", ""],
        ["CPU of a tick: median, p99", f"{quantile(work, 0.5):.0f} ms, {quantile(work, 0.99):.0f} ms", ""],
        ["delivery: p50", f"{quantile(delays, 0.5):.0f} ms", ""],
        ["delivery: p99", f"{late:.0f} ms", f"below {MAX_DELIVERY} ms"],
        ["delivery: latest", f"{max(delays):.0f} ms", ""],
        ["snapshots that did not arrive", f"{lost:.2%}", ""],
        ["bytes for each player and tick: mean", f"{sum(sizes) / len(sizes):.0f}", ""],
        ["the same: p99, most", f"{quantile(sizes, 0.99):.0f}, {max(sizes):.0f}", f"at most {BUDGET}"],
        ["without deltas: mean", f"{served.without_deltas:,.0f}", ""],
        ["without deltas and without interest", f"{served.without_interest:,.0f}", ""],
        ["the server's CPU, of a core", f"{served.cpu:.0%}", ""],
        ["the players' CPU, of a core", f"{sum(one.cpu for one in heard):.0%}", ""],
    ]
    is_good = abs(rate / TICKS - 1) < 0.01 and late < MAX_DELIVERY and max(sizes) <= BUDGET
    return aligned(rows), is_good


def section(table: str, command: str, seconds: float) -> str:
    """Returns the part of the page."""
    facts = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    return TEXT.format(
        heading=MEADOW, table=table, command=command, day=date.today(), seconds=seconds, facts=facts, ticks=TICKS
    )


def main() -> int:
    """Measures, prints and writes; returns 1 if the tick did not hold, or delivery was late."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1000, help="how many players (%(default)s)")
    parser.add_argument(
        "--processes", type=int, default=2, help="of the players (%(default)s); the server has one more"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (%(default)s)")
    parser.add_argument("--write", action="store_true", help="writes the table into docs/benchmarks.md")
    args = parser.parse_args()
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    with tempfile.TemporaryDirectory(prefix="netplay-meadow-") as folder:
        os.environ["NETPLAY_DATA_DIR"] = folder
        table, is_good = report(*measure(args.clients, args.processes, args.seconds))
    print(table, flush=True)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        new = section(table, "make crowd", args.seconds)
        old = section_of(page, MEADOW)
        page = page.replace(old, new) if old else page.replace("## The machine\n", f"{new}## The machine\n")
        PAGE.write_text(page, encoding="utf-8")
    if not is_good:
        print("This is not as it should be.")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
